"""Freshness: from a capture file that is there to its rows in gold, on the local stack with a build every 5 seconds.

    python -m tests.bench.bench_freshness [rounds]

Each round sends a burst of pings, closes the capture windows, and polls gold until it counts all of them; the builds
come on their schedule, so a wait of up to 5 s is part of it. The issue allows 10 s, which is the baseline here.
"""

import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import polars as pl

from infra.local.app_settings import read_settings
from infra.local.lake import lake_tables
from shared.adapters.delta_tables import DeltaTables
from shared.adapters.ping_sender import HubPingSender
from shared.medallion.data_quality_hourly import DATA_QUALITY_HOURLY
from shared.settings import Settings
from shared.workflows.sending import OutgoingPing
from tests.bench.report import record
from tests.cloud import Cloud
from tests.polling import wait_until

ROUNDS, PINGS, ALLOWED_S = 8, 2_000, 10.0
SAMPLE = Path(__file__).parents[2] / "infra" / "local" / "sample"


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def send(settings: Settings, number: int) -> None:
    """Pings of a round: each device once, on a line through Camden."""
    pings = [
        OutgoingPing(
            f"d{number}-{row}",
            json.dumps({"device_id": f"d{number}-{row}", "latitude": 51.53 + row * 1e-5, "longitude": -0.14}).encode(),
        )
        for row in range(PINGS)
    ]
    async with HubPingSender(settings.event_hub, settings.pings_hub) as sender:
        await sender.send(pings)


def in_gold(lake: DeltaTables, hub: str) -> int:
    quality = lake.scan(DATA_QUALITY_HOURLY.table).filter(hub=hub)
    return int(quality.select(pl.col("captured").sum()).collect().item())


def measure(cloud: Cloud, rounds: int) -> list[float]:
    settings = read_settings(cloud.home)
    lake = lake_tables(settings)
    waited = []
    for number in range(1, rounds + 1):
        asyncio.run(send(settings, number))
        cloud.stack.broker.flush_capture(60)
        began = time.perf_counter()
        wait_until(lambda wanted=number * PINGS: in_gold(lake, settings.pings_hub) >= wanted, 60, "the pings in gold")  # type: ignore[misc]
        waited.append(time.perf_counter() - began)
        say(f"  round {number}: {waited[-1]:.1f} s")
    return waited


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="footfall-bench-") as folder:
        cloud = Cloud(Path(folder))
        cloud.home.settings.write_text(json.dumps({"Values": {"BUILD_GOLD_SCHEDULE": "*/5 * * * * *"}}))
        try:
            for command in (
                ("up", "--detach"),
                ("reference", "load", str(SAMPLE / "stores.csv"), str(SAMPLE / "promotions.json")),
            ):
                ran = cloud.footfall(*command)
                if ran.returncode:
                    sys.exit(ran.stdout + ran.stderr)
            waited = measure(cloud, rounds)
        finally:
            cloud.end()
    worst, median = max(waited), statistics.median(waited)
    say(f"capture file to gold: median {median:.1f} s, longest {worst:.1f} s of {rounds}; allowed {ALLOWED_S:g} s")
    note = f"capture file to gold, longest of {rounds}, a build every 5 s; median {median:.1f}; baseline: allowed"
    record("freshness", worst, "s", ALLOWED_S, note)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)

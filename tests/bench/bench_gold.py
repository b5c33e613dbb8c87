"""A gold build for one new capture file of each hub, over a history of 365 days and over one of 7.

    python -m tests.bench.bench_gold [days]

Two lakes on the local disk, of equal days: pings, pings near stores, and the decisions of visits. Their closed days are
one file a table and day, as compaction leaves them. The builds of the two take turns; the baseline is the short one.
"""

import statistics
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from shared.adapters.delta_tables import DeltaTables
from shared.adapters.lake_storage import LakeStorage
from shared.medallion.captures import CAPTURES
from shared.medallion.decisions import DECISIONS
from shared.medallion.gps_enriched import GPS_ENRICHED
from shared.medallion.pings import PINGS
from shared.medallion.receipts import RECEIPTS
from shared.medallion.tables import Table
from shared.workflows.build_gold import GoldBuilder
from tests.bench.report import record
from tests.fakes_lake import REMEMBERED, unique
from tests.silver_days import Days

HISTORY, SHORT, ROUNDS = 365, 7, 9
TODAY = date(2026, 11, 24)
PINGS_A_DAY, NEAR_A_DAY, VISITS_A_DAY = 20_000, 10_000, 2_000
DEVICES, STORES = 3_000, 300


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def add(tables: DeltaTables, table: Table, rows: pl.DataFrame) -> None:
    with tables.append_file(table, unique("file")) as file:
        file.add(rows)
        file.commit()


def add_history(tables: DeltaTables, days: int, source: Days) -> None:
    """Closed days, and today until noon."""
    for back in range(days, -1, -1):
        day, minutes = TODAY - timedelta(days=back), (0, 1_380 if back else 720)
        add(tables, PINGS, source.pings(day, PINGS_A_DAY, minutes))
        add(tables, GPS_ENRICHED, source.near(day, NEAR_A_DAY, minutes))
        decisions = source.decisions(day, VISITS_A_DAY, minutes)
        add(tables, DECISIONS, decisions)
        add(tables, RECEIPTS, source.receipts(decisions))
        add(tables, CAPTURES, source.captures(day, minutes))


def add_capture_files(tables: DeltaTables, source: Days, number: int) -> None:
    """One file of each hub: the last minute."""
    minutes = (720 + number, 721 + number)
    add(tables, PINGS, source.pings(TODAY, 500, minutes))
    add(tables, GPS_ENRICHED, source.near(TODAY, 250, minutes))
    decisions = source.decisions(TODAY, 50, minutes)
    add(tables, DECISIONS, decisions)
    add(tables, RECEIPTS, source.receipts(decisions))
    add(tables, CAPTURES, source.captures(TODAY, minutes))


def main(history: int) -> None:
    with tempfile.TemporaryDirectory(prefix="footfall-bench-") as folder:
        lakes = {
            days: DeltaTables(LakeStorage.in_folder(Path(folder) / str(days)), remembered=REMEMBERED)
            for days in (SHORT, history)
        }
        source = Days(7, DEVICES, STORES)
        for days, tables in lakes.items():
            add_history(tables, days, source)
            began = time.perf_counter()
            GoldBuilder(tables).build()
            say(f"{days} days: everything built in {time.perf_counter() - began:.1f} s")
        taken: dict[int, list[float]] = {days: [] for days in lakes}
        for number in range(ROUNDS):
            for days, tables in lakes.items():
                add_capture_files(tables, source, number)
                began = time.perf_counter()
                GoldBuilder(tables).build()
                taken[days].append(time.perf_counter() - began)
    short, long = (statistics.median(taken[days][1:]) for days in (SHORT, history))
    for days, seconds in taken.items():
        say(f"{days} days: {', '.join(f'{one:.2f}' for one in seconds)} s")
    say(f"one new capture file of each hub: {long:.2f} s over {history} days, {short:.2f} s over {SHORT}")
    say(f"ratio {long / short:.2f}; allowed 1.5")
    record(
        "gold_incremental", long, "s", short, f"one new capture file a hub over {history} days; baseline: over {SHORT}"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else HISTORY)

"""What a newcomer sees: `make demo`."""

import re
import subprocess
from pathlib import Path

import pytest

from infra.local.home import Home
from infra.local.stack import Stack
from tests.cloud import FOOTFALL, Cloud
from tests.polling import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

LAST_LINE = re.compile(
    r"demo: pings=(\d+) rejected=(\d+) offers=(\d+) silver_pings=(\d+) quarantine=(\d+) gold_tables=(\d+) seconds=(\d+)"
)


def test_the_demo_counts_the_same_at_every_station_and_says_so_in_its_last_line(tmp_path: Path) -> None:
    cloud = Cloud(tmp_path)
    ran = cloud.footfall("demo", timeout=300)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    last_line = LAST_LINE.fullmatch(ran.stdout.splitlines()[-1])
    assert last_line is not None, ran.stdout
    pings, rejected, offers, silver_pings, quarantine, gold_tables, seconds = map(int, last_line.groups())
    assert pings == silver_pings + quarantine == 10_000
    assert rejected == quarantine > 0
    assert offers > 0
    assert gold_tables > 0
    assert seconds <= 180


def test_a_demo_whose_output_nobody_reads_any_more_stops_what_it_started(tmp_path: Path) -> None:
    cloud = Cloud(tmp_path)
    subprocess.run(
        ["bash", "-c", f"{FOOTFALL} demo 2>&1 | head -n 6"], env=cloud.environment, timeout=120, check=True
    )  # fmt: skip
    demo = Stack(Home(tmp_path / "demo"))
    wait_until(lambda: all(service.pid is None for service in demo.status()), 60, "the end of the demo's services")

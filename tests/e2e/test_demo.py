"""What a newcomer sees: `make demo`."""

import re
from pathlib import Path

import pytest

from tests.cloud import Cloud

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

"""A capture file that is delivered again long after: nothing twice while the lake remembers it, refused afterwards."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from shared.adapters.delta_maintenance import DeltaMaintenance
from shared.errors import CaptureFileTooOld
from shared.medallion.captures import CAPTURES
from shared.medallion.gps_enriched import GPS_ENRICHED
from shared.medallion.pings import PINGS
from shared.medallion.quarantine import BODIES
from shared.workflows.maintain import RETENTION, Rewrite
from shared.workflows.refine import Status
from tests.fakes_lake import (
    NOON,
    REMEMBERED,
    FakeCaptures,
    FakeReferences,
    at,
    capture_file,
    record,
    reference,
    refiner,
)
from tests.integration.lakes import Lake

pytestmark = pytest.mark.integration

PING = b'{"device_id":"d","latitude":51.5,"longitude":-0.1}'
PATH = at(NOON)
CAPTURED = FakeCaptures({PATH: capture_file([record(0, PING), record(1, b"hostile"), record(2, PING)])})
HERE = FakeReferences.always(reference("v1", [{"store_id": "s", "latitude": 51.5, "longitude": -0.1}]))
TABLES = (PINGS, GPS_ENRICHED, BODIES, CAPTURES)


def grown_older(lake: Lake, age: timedelta) -> None:
    """The tables as they are when so much time has passed since their commits."""
    for table in TABLES:
        for commit in Path(lake.storage.location(table), "_delta_log").glob("*.json"):
            actions = [json.loads(line) for line in commit.read_text().splitlines()]
            for action in actions:
                if "txn" in action and "lastUpdated" in action["txn"]:
                    action["txn"]["lastUpdated"] -= round(age.total_seconds() * 1000)
            commit.write_text("".join(json.dumps(action) + "\n" for action in actions))


def look_after(lake: Lake) -> None:
    """Rewrite and vacuum each table, and put its log into a checkpoint, as time does."""
    care = DeltaMaintenance(lake.tables(), lake.storage)
    for table in TABLES:
        files = care.files(table)
        care.rewrite(Rewrite(table, files[0].day, tuple(files), ()))
        care.vacuum(table, RETENTION, 1)
        lake.delta(table).create_checkpoint()


def rows(lake: Lake) -> list[int]:
    return [lake.tables().scan(table).collect().height for table in TABLES]


@pytest.mark.parametrize("days", [20, REMEMBERED.days])
def test_a_file_is_not_refined_again_while_the_lake_remembers_it_though_its_files_were_rewritten(disk: Lake, days: int):
    refiner(disk.tables(), CAPTURED, HERE).refine(PATH)
    age = timedelta(days=days)
    grown_older(disk, age - timedelta(hours=1))
    look_after(disk)
    report = refiner(disk.tables(), CAPTURED, HERE, NOON + age).refine(PATH)
    assert report.status is Status.ALREADY_DONE
    assert rows(disk) == [2, 2, 1, 1]


def test_a_file_that_half_of_the_tables_have_is_completed_after_20_days_with_nothing_twice(disk: Lake):
    with disk.tables().append_file(BODIES, PATH) as bodies:
        bodies.add(BODIES.empty())
        assert bodies.commit()
    for table in TABLES:
        disk.tables().has_file(table, PATH)
    grown_older(disk, timedelta(days=20))
    refiner(disk.tables(), CAPTURED, HERE, NOON + timedelta(days=20)).refine(PATH)
    assert rows(disk) == [2, 2, 0, 1]


def test_a_file_older_than_the_lake_remembers_is_refused_with_the_reason(disk: Lake):
    refiner(disk.tables(), CAPTURED, HERE).refine(PATH)
    later = NOON + REMEMBERED + timedelta(hours=1)
    with pytest.raises(CaptureFileTooOld, match=r"older than 37 days .* could count its events twice"):
        refiner(disk.tables(), CAPTURED, HERE, later).refine(PATH)
    assert rows(disk) == [2, 2, 1, 1]

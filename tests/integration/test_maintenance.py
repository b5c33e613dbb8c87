"""Looking after the lake's files in Delta: rows stay as they are whatever happens at the same time or breaks off."""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from deltalake.transaction import RemoveAction

from shared.adapters.delta_maintenance import DeltaMaintenance
from shared.adapters.delta_tables import DeltaTables
from shared.adapters.lake_storage import LakeStorage
from shared.errors import LakeConflict, LakeUnavailable
from shared.medallion.periods import Grain, Periods
from shared.medallion.pings import PINGS
from shared.medallion.sorting import sort_key
from shared.workflows.maintain import DAY_US, RETENTION, DataFile, Maintainer, Rewrite, rewrites
from tests.derived_tables import BY_DAY, TABLES, assert_tables_are_what_silver_says, builder
from tests.fakes_lake import NOON, unique
from tests.integration.lakes import Lake

pytestmark = pytest.mark.integration

TODAY = NOON.date()
YESTERDAY = TODAY - timedelta(days=1)
NOW_US = round(NOON.timestamp() * 1_000_000)
BY_KEY = list(sort_key(PINGS))


def pings(numbers: list[int], day: date = YESTERDAY) -> pl.DataFrame:
    rows = [
        {"device_key": f"k1-{number * 7919 % 1000:03d}", "latitude": 51.5, "longitude": -0.1, "sequence_number": number}
        | {"tracked_at": NOON - timedelta(hours=number % 40), "enqueued_at": NOON, "capture_date": day}
        for number in numbers
    ]
    return pl.DataFrame([dict.fromkeys(PINGS.schema) | row for row in rows], schema=PINGS.schema)


def append(tables: DeltaTables, numbers: list[int], day: date = YESTERDAY) -> None:
    """A capture file of these pings."""
    with tables.append_file(PINGS, unique("file")) as rows:
        rows.add(pings(numbers, day))
        assert rows.commit()


def closed_day(tables: DeltaTables, files: int = 4, rows: int = 25) -> None:
    """A day of so many files, and a later one with a file."""
    for number in range(files):
        append(tables, list(range(number * rows, (number + 1) * rows)))
    append(tables, [9_000], TODAY)


def numbers(tables: DeltaTables) -> list[int]:
    found = tables.scan(PINGS).select("sequence_number").collect().to_series().sort().to_list()
    return [int(number) for number in found]


def care(lake: Lake, **options: int) -> DeltaMaintenance:
    """As a new worker looks after the lake."""
    return DeltaMaintenance(lake.tables(), lake.storage, **options)


def maintain(lake: Lake) -> Maintainer:
    return Maintainer(care(lake), lambda: NOW_US, tables=(PINGS,))


def wanted(lake: Lake) -> Rewrite:
    (task,) = rewrites(PINGS, care(lake).files(PINGS))
    return task


def of_yesterday(lake: Lake) -> list[DataFile]:
    return [file for file in care(lake).files(PINGS) if file.day == YESTERDAY]


# Rewriting


def test_a_closed_day_becomes_one_sorted_file_and_a_build_sees_no_change(lake: Lake):
    tables = lake.tables()
    closed_day(tables)
    before = lake.delta(PINGS).version()
    report = maintain(lake).run()
    assert (report.rewritten, report.files_before, report.files_after, report.lost) == (1, 4, 1, 0)
    (file,) = of_yesterday(lake)
    assert (file.is_sorted, file.rows) == (True, 100)
    rows = tables.scan(PINGS).filter(capture_date=YESTERDAY).collect()
    assert rows.equals(rows.sort(BY_KEY))
    assert rows.drop("source_file").sort("sequence_number").equals(pings(list(range(100))).drop("source_file"))
    with tables.snapshot(PINGS) as snapshot:
        assert snapshot.version > before
        assert snapshot.changed("tracked_at", Grain.HOUR, before) == Periods()
    assert maintain(lake).run().rewritten == 0


def test_what_a_build_had_not_seen_before_the_rewrite_it_sees_after_it(lake: Lake):
    tables = lake.tables()
    closed_day(tables, files=2)
    builder(tables).build()
    append(tables, [500, 501])
    maintain(lake).run()
    builder(tables).build()
    assert_tables_are_what_silver_says(lake.tables())


def test_derived_tables_are_rewritten_as_well_and_a_build_goes_on_from_there(disk: Lake):
    tables = disk.tables()
    derived = tuple(table.table for table in TABLES)
    for number in range(3):
        append(tables, list(range(number * 20, number * 20 + 20)), TODAY - timedelta(days=number))
        builder(tables).build()
    assert Maintainer(care(disk), lambda: NOW_US, tables=derived).run().lost == 0
    assert_tables_are_what_silver_says(tables)
    append(tables, [600, 601])
    builder(tables).build()
    assert_tables_are_what_silver_says(disk.tables())


def test_a_day_that_does_not_fit_is_sorted_over_several_files_that_follow_each_other(lake: Lake):
    closed_day(lake.tables(), files=8, rows=250)
    task = wanted(lake)
    assert care(lake, sort_bytes=task.bytes // 4 + 1).rewrite(task) == 4
    bounds = pl.DataFrame(lake.delta(PINGS).get_add_actions(flatten=True)).filter(
        pl.col("partition.capture_date") == YESTERDAY
    )
    ranges = sorted(bounds.select("min.device_key", "max.device_key").rows())
    assert all(greatest <= least for (_, greatest), (least, _) in pairwise(ranges))
    assert numbers(lake.tables()) == [*range(2_000), 9_000]


def test_a_reader_of_one_device_opens_few_of_the_sorted_files(disk: Lake):
    closed_day(disk.tables(), files=8, rows=250)
    chosen = "capture_date = '2026-03-28' AND device_key = 'k1-500'"
    assert len(disk.delta(PINGS).file_uris(file_pruning_predicate=chosen)) == 8
    task = wanted(disk)
    care(disk, sort_bytes=task.bytes // 8 + 1).rewrite(task)
    assert len(disk.delta(PINGS).file_uris(file_pruning_predicate=chosen)) <= 2


def test_files_of_an_older_schema_are_rewritten_with_what_they_lack(disk: Lake):
    older = replace(PINGS, schema=pl.Schema({name: PINGS.schema[name] for name in PINGS.schema if name != "delay_s"}))
    with disk.tables().append_file(older, "old") as rows:
        rows.add(pings([1, 2]))
        rows.commit()
    closed_day(disk.tables(), files=1)
    assert maintain(disk).run().rewritten == 1
    assert disk.tables().scan(PINGS).filter(pl.col("delay_s").is_null()).collect().height == 28


# At the same time


def interrupted(lake: Lake, meanwhile: Callable[[], object]) -> DeltaMaintenance:
    """A worker that has read its files and not yet committed when something else happens."""
    upload = lake.storage.upload
    once = iter([meanwhile])

    def upload_then(file: Path, location: str) -> None:
        upload(file, location)
        next(once, lambda: None)()

    return DeltaMaintenance(lake.tables(), replace(lake.storage, upload=upload_then))


def test_of_two_rewrites_of_the_same_files_one_loses_and_each_row_stays_once(lake: Lake):
    closed_day(lake.tables())
    task = wanted(lake)
    with pytest.raises(LakeConflict, match=r"silver\.pings: another commit was faster"):
        interrupted(lake, lambda: care(lake).rewrite(task)).rewrite(task)
    assert numbers(lake.tables()) == [*range(100), 9_000]


def test_files_that_are_not_there_any_more_are_not_rewritten(lake: Lake):
    closed_day(lake.tables())
    task = wanted(lake)
    care(lake).rewrite(task)
    with pytest.raises(LakeConflict, match="not the table's any more"):
        care(lake).rewrite(task)
    assert numbers(lake.tables()) == [*range(100), 9_000]


def test_a_capture_file_that_is_committed_meanwhile_is_neither_lost_nor_in_the_way(lake: Lake):
    closed_day(lake.tables())
    interrupted(lake, lambda: append(lake.tables(), [500])).rewrite(wanted(lake))
    assert numbers(lake.tables()) == [*range(100), 500, 9_000]
    assert len(of_yesterday(lake)) == 2


def test_a_capture_file_is_committed_though_its_table_was_rewritten_since_it_was_opened(lake: Lake):
    tables = lake.tables()
    closed_day(tables)
    with tables.append_file(PINGS, "file") as rows:
        rows.add(pings([500]))
        maintain(lake).run()
        assert rows.commit()
    assert numbers(lake.tables()) == [*range(100), 500, 9_000]


def test_rows_that_are_deleted_meanwhile_do_not_come_back(lake: Lake):
    closed_day(lake.tables())
    with pytest.raises(LakeConflict):
        interrupted(lake, lambda: lake.delta(PINGS).delete("sequence_number = 3")).rewrite(wanted(lake))
    assert 3 not in numbers(lake.tables())


def two_files_a_day(lake: Lake) -> Rewrite:
    """A derived table with something to rewrite."""
    tables = lake.tables()
    table = BY_DAY.table
    for number in range(3):
        rows = pl.DataFrame({"event_date": [YESTERDAY], "device_key": [f"d{number}"], "n": [number]}, table.schema)
        tables.append_once(table, f"file {number}", rows)
    return Rewrite(table, YESTERDAY, tuple(care(lake).files(table)), ())


def replace_day(lake: Lake) -> None:
    """As a build that has found that the day changed."""
    rows = pl.DataFrame({"event_date": [YESTERDAY], "device_key": ["new"], "n": [1]}, BY_DAY.table.schema)
    with lake.tables().derived(BY_DAY.table) as writer:
        writer.replace(rows, {}, period="event_date", periods=Periods.of_dates([YESTERDAY]))


def test_a_rewrite_that_a_build_overtakes_loses(lake: Lake):
    task = two_files_a_day(lake)
    with pytest.raises(LakeConflict):
        interrupted(lake, lambda: replace_day(lake)).rewrite(task)
    assert lake.tables().scan(BY_DAY.table).collect()["device_key"].to_list() == ["new"]


def test_a_build_that_a_rewrite_overtakes_looks_again(lake: Lake):
    task = two_files_a_day(lake)
    rows = pl.DataFrame({"event_date": [YESTERDAY], "device_key": ["new"], "n": [1]}, BY_DAY.table.schema)
    with lake.tables().derived(BY_DAY.table) as writer:
        care(lake).rewrite(task)
        with pytest.raises(LakeConflict):
            writer.replace(rows, {}, period="event_date", periods=Periods.of_dates([YESTERDAY]))
    replace_day(lake)
    assert lake.tables().scan(BY_DAY.table).collect()["device_key"].to_list() == ["new"]


def test_capture_files_two_maintainers_and_builds_at_once_keep_every_row_once(lake: Lake):
    closed_day(lake.tables(), files=2, rows=5)
    is_done = threading.Event()

    def capture(worker: int) -> None:
        tables = lake.tables()
        for number in range(12):
            append(tables, [1_000 * worker + number])

    def look_after() -> int:
        lost = 0
        while not is_done.is_set():
            lost += maintain(lake).run().lost
        return lost

    def build() -> None:
        while not is_done.is_set():
            with suppress(LakeConflict):
                builder(lake.tables()).build()

    with ThreadPoolExecutor(5) as pool:
        others = [pool.submit(look_after), pool.submit(look_after), pool.submit(build)]
        captures = [pool.submit(capture, worker) for worker in (1, 2)]
        try:
            for work in captures:
                work.result(timeout=120)
        finally:
            is_done.set()
        for other in others:
            other.result(timeout=120)
    expected = [*range(10), *range(1_000, 1_012), *range(2_000, 2_012), 9_000]
    assert numbers(lake.tables()) == expected
    builder(lake.tables()).build()
    assert_tables_are_what_silver_says(lake.tables())


# Breaking off


def test_a_rewrite_that_dies_before_its_commit_changes_nothing_and_the_next_run_does_it(lake: Lake):
    def die() -> None:
        raise OSError("the worker dies here")

    closed_day(lake.tables())
    before = lake.delta(PINGS).version()
    with pytest.raises(LakeUnavailable, match="dies here"):
        interrupted(lake, die).rewrite(wanted(lake))
    assert lake.delta(PINGS).version() == before
    assert maintain(lake).run().rewritten == 1
    assert numbers(lake.tables()) == [*range(100), 9_000]


def test_a_lake_without_tables_is_left_without_tables(disk: Lake):
    report = maintain(disk).run()
    assert (report.rewritten, report.vacuumed) == (0, 0)
    assert not Path(disk.storage.location(PINGS)).exists()


# Vacuum


def in_folder_of(lake: Lake, name: str, age: timedelta) -> Path:
    """A file of that age in the table's folder, that no commit ever named."""
    path = Path(lake.storage.location(PINGS), f"capture_date={YESTERDAY}", name)
    path.write_bytes(b"rows")
    then = time.time() - age.total_seconds()
    os.utime(path, (then, then))
    return path


def remove(lake: Lake, file: DataFile, age: timedelta) -> None:
    """Take a file out of the table, as if that long ago."""
    delta = lake.delta(PINGS)
    then_ms = round((time.time() - age.total_seconds()) * 1000)
    values: dict[str, str | None] = {"capture_date": str(file.day)}
    removed = RemoveAction(file.path, True, then_ms, file.bytes, values)
    delta.create_write_transaction([removed], mode="append", schema=delta.schema(), partition_by=["capture_date"])


def test_vacuum_deletes_what_was_unreferenced_for_longer_than_the_retention_and_nothing_else(disk: Lake):
    closed_day(disk.tables())
    longer, shorter = RETENTION + timedelta(hours=1), RETENTION - timedelta(hours=1)
    files = of_yesterday(disk)
    remove(disk, files[0], longer)
    remove(disk, files[1], shorter)
    orphan, upload = in_folder_of(disk, "a.parquet", longer), in_folder_of(disk, "b.parquet", shorter)
    folder = Path(disk.storage.location(PINGS))
    for file in folder.rglob("*.parquet"):
        if file not in (orphan, upload):
            os.utime(file, (time.time() - longer.total_seconds(),) * 2)
    there = numbers(disk.tables())
    report = maintain(disk).run()
    assert (report.vacuumed, report.deleted) == (1, 2)
    assert not orphan.exists()
    assert not (folder / files[0].path).exists()
    assert (folder / files[1].path).exists()
    assert upload.exists()
    assert numbers(disk.tables()) == there


def test_a_table_is_vacuumed_once_a_day_though_there_was_nothing_to_delete(lake: Lake):
    closed_day(lake.tables(), files=1)
    today = NOW_US // DAY_US
    assert [care(lake).vacuum(PINGS, RETENTION, day) for day in (today, today, today + 1)] == [0, None, 0]


def test_a_retention_that_would_endanger_commits_under_way_is_refused(disk: Lake):
    closed_day(disk.tables(), files=1)
    with pytest.raises(Exception, match="168 hours"):
        care(disk).vacuum(PINGS, timedelta(days=6), 1)


def test_the_log_loses_what_expired_and_is_in_a_checkpoint(disk: Lake):
    tables = disk.tables()
    closed_day(tables, files=5)
    disk.delta(PINGS).create_checkpoint()
    append(tables, [500], TODAY)
    log = Path(disk.storage.location(PINGS), "_delta_log")
    long_ago = datetime.now().astimezone() - timedelta(days=31)
    for entry in log.iterdir():
        os.utime(entry, (long_ago.timestamp(),) * 2)
    care(disk).vacuum(PINGS, RETENTION, 1)
    assert not (log / f"{3:020d}.json").exists()
    assert numbers(DeltaTables(LakeStorage.in_folder(log.parents[2]), remembered=timedelta(days=37))) == [
        *range(125),
        500,
        9_000,
    ]

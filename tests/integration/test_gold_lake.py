"""Derived tables in Delta, on disk and on Azurite: what changed is computed again, whatever happens in between."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.adapters.delta_tables import DeltaTables, TableWriter
from shared.adapters.lake_storage import LakeStorage
from shared.errors import LakeConflict, LakeUnavailable
from shared.medallion.gold import BuildContext
from shared.medallion.periods import Grain, Periods
from shared.medallion.pings import PINGS
from shared.medallion.quarantine import BODIES
from shared.medallion.tables import Table
from shared.workflows.build_gold import GoldBuilder
from tests.derived_tables import (
    BY_DAY,
    BY_HOUR,
    FIRST_DAYS,
    HOUR,
    START,
    TABLES,
    TOTALS,
    assert_tables_are_what_silver_says,
    builder,
    some,
)
from tests.fakes_lake import REMEMBERED, unique
from tests.integration.lakes import Lake

pytestmark = pytest.mark.integration

CAPTURED_ON = START.date() + timedelta(days=7)


def append(tables: DeltaTables, hours: list[int], table: Table = PINGS) -> None:
    """A capture file of these hours after START."""
    with tables.append_file(table, unique("file")) as rows:
        rows.add(some(table, hours).with_columns(capture_date=pl.lit(CAPTURED_ON)))
        assert rows.commit()


def counted(tables: DeltaTables) -> int:
    return int(tables.scan(BY_HOUR.table).select(pl.col("n").sum()).collect().item())


def hourly(tables: DeltaTables) -> GoldBuilder:
    return GoldBuilder(tables, tables=(BY_HOUR,))


def test_tables_are_what_silver_says_after_each_of_some_files_with_late_pings(lake: Lake):
    tables = lake.tables()
    for number in range(4):
        append(tables, [167 - hour * number for hour in range(12)])
        append(tables, [number], BODIES)
        builder(tables).build()
        assert_tables_are_what_silver_says(lake.tables())


@given(st.lists(st.lists(st.integers(0, 167), min_size=1, max_size=5) | st.just("build"), max_size=8))
@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_after_any_history_the_tables_are_what_a_computation_of_everything_gives(tmp_path: Path, history):
    tables = Lake(LakeStorage.in_folder(tmp_path / unique("lake"))).tables()
    for step in (*history, "build"):
        builder(tables).build() if step == "build" else append(tables, step)
    assert_tables_are_what_silver_says(tables)


def test_hours_far_apart_are_replaced_in_one_commit(disk: Lake):
    tables = disk.tables()
    append(tables, list(range(160)))
    hourly(tables).build()
    append(tables, list(range(0, 160, 5)))
    (built,) = hourly(tables).build().built
    assert built.rows < 160
    assert disk.delta(BY_HOUR.table).version() == 2
    assert counted(tables) == 160 + 32


class Overtaken(DeltaTables):
    """While this one builds a table for the first time, another build, which sees more of silver, commits it."""

    def __init__(self, lake: Lake, table: Table) -> None:
        super().__init__(lake.storage, remembered=REMEMBERED)
        self.other, self.table = lake.tables(), table
        self.is_overtaken = False

    @contextmanager
    def derived(self, table: Table) -> Iterator[TableWriter]:
        with super().derived(table) as writer:
            if table is self.table and not self.is_overtaken:
                self.is_overtaken = True
                append(self.other, [1])
                builder(self.other).build()
            yield writer


def test_of_two_builds_at_once_the_one_that_saw_more_stands(lake: Lake):
    append(lake.tables(), [1, 2])
    overtaken = Overtaken(lake, BY_HOUR.table)
    with overtaken.snapshot(PINGS) as early, overtaken.derived(BY_HOUR.table) as writer:
        rows = BY_HOUR.build(BuildContext(), early.scan("tracked_at", None)).collect()
        with pytest.raises(LakeConflict, match=r"gold\.by_hour"):
            writer.replace(rows, {early.key: early.version})
    hourly(lake.tables()).build()
    assert counted(lake.tables()) == 3


@pytest.mark.parametrize("derived", [BY_HOUR, FIRST_DAYS, TOTALS], ids=lambda derived: derived.table.name)
def test_a_build_that_is_overtaken_looks_again(disk: Lake, derived):
    append(disk.tables(), [1, 2])
    builder(Overtaken(disk, derived.table)).build()
    builder(disk.tables()).build()
    assert_tables_are_what_silver_says(disk.tables())


class DyingBuild(DeltaTables):
    """A build that dies right after it has committed its table number `tables`."""

    def __init__(self, lake: Lake, tables: int) -> None:
        super().__init__(lake.storage, remembered=REMEMBERED)
        self.left = tables

    @contextmanager
    def derived(self, table: Table) -> Iterator[TableWriter]:
        with super().derived(table) as writer:
            yield writer
        self.left -= 1
        if self.left == 0:
            raise LakeUnavailable("dies here")


@pytest.mark.parametrize("tables", range(1, len(TABLES) + 1))
def test_a_build_that_dies_is_made_good_by_the_next_one(disk: Lake, tables: int):
    for number in range(2):
        append(disk.tables(), [number, 100])
        if number:
            with pytest.raises(LakeUnavailable):
                builder(DyingBuild(disk, tables)).build()
        builder(disk.tables()).build()
        assert_tables_are_what_silver_says(disk.tables())


def changed_since(tables: DeltaTables, version: int) -> Periods | None:
    with tables.snapshot(PINGS) as snapshot:
        return snapshot.changed("tracked_at", Grain.HOUR, version)


def hours(*numbers: int) -> Periods:
    return Periods.of(Grain.HOUR, [START + number * HOUR for number in numbers])


def test_only_the_hours_of_added_rows_changed_though_their_range_is_wide(lake: Lake):
    tables = lake.tables()
    append(tables, [5])
    append(tables, [1, 100])
    assert changed_since(tables, 1) == hours(1, 100)
    assert changed_since(tables, 2) == Periods()


def test_compaction_changes_nothing(lake: Lake):
    tables = lake.tables()
    for hour in range(3):
        append(tables, [hour])
    builder(tables).build()
    before = lake.delta(PINGS).version()
    assert lake.delta(PINGS).optimize.compact()["numFilesRemoved"] == 3
    assert changed_since(tables, before) == Periods()
    builder(tables).build()
    assert_tables_are_what_silver_says(tables)


def test_rows_that_were_removed_change_every_day_that_they_may_be_of(lake: Lake):
    tables = lake.tables()
    append(tables, [1, 30])
    lake.delta(PINGS).delete("device_key = 'k1:0'")
    assert changed_since(tables, 1) == Periods.of_captures([CAPTURED_ON]) | hours(1)


def test_removed_rows_are_taken_from_every_table_that_counted_them(disk: Lake):
    tables = disk.tables()
    append(tables, list(range(160)))
    builder(tables).build()
    disk.delta(PINGS).delete("device_key = 'k1:0'")
    builder(tables).build()
    assert counted(tables) == 106
    assert_tables_are_what_silver_says(tables)


def test_a_row_that_changed_in_a_table_of_dates_changes_its_date_alone(disk: Lake):
    tables = disk.tables()
    append(tables, [1, 100])
    builder(tables).build()
    with tables.snapshot(BY_DAY.table) as snapshot:
        before = snapshot.version
    append(tables, [2])
    builder(tables).build()
    with tables.snapshot(BY_DAY.table) as snapshot:
        assert snapshot.changed("event_date", Grain.DAY, before) == Periods.of_dates([START.date()])


def test_a_gap_in_the_log_means_that_everything_may_have_changed(disk: Lake):
    tables = disk.tables()
    for hour in range(3):
        append(tables, [hour])
    disk.delta(PINGS).create_checkpoint()
    Path(disk.storage.location(PINGS), "_delta_log", f"{2:020d}.json").unlink()
    assert changed_since(tables, 1) is None
    assert changed_since(tables, 2) == hours(2)
    with tables.snapshot(PINGS) as snapshot:
        assert snapshot.difference(1) is None


def test_added_files_that_were_compacted_and_vacuumed_mean_that_everything_may_have_changed(disk: Lake):
    tables = disk.tables()
    for hour in range(3):
        append(tables, [hour])
    builder(tables).build()
    append(tables, [3])
    disk.delta(PINGS).optimize.compact()
    disk.delta(PINGS).vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)
    assert changed_since(tables, 3) is None
    with tables.snapshot(PINGS) as snapshot:
        assert snapshot.difference(3) is None
    builder(tables).build()
    assert_tables_are_what_silver_says(tables)


def test_a_silver_table_that_was_made_anew_is_counted_from_its_beginning(disk: Lake):
    append(disk.tables(), [1, 2, 3])
    hourly(disk.tables()).build()
    shutil.rmtree(disk.storage.location(PINGS))
    append(disk.tables(), [9])
    hourly(disk.tables()).build()
    found: list[datetime] = disk.tables().scan(BY_HOUR.table).collect()["hour"].to_list()
    assert found == [START + 9 * HOUR]


@pytest.mark.parametrize("derived", [BY_HOUR, FIRST_DAYS, TOTALS], ids=lambda derived: derived.table.name)
def test_a_derived_table_that_was_deleted_is_computed_anew_by_the_second_build_at_the_latest(disk: Lake, derived):
    tables = disk.tables()
    append(tables, [1, 100])
    builder(tables).build()
    shutil.rmtree(disk.storage.location(derived.table))
    with pytest.raises(DeltaError, match=r"File not found|not found"):
        builder(tables).build()  # the worker's open table is gone
    builder(tables).build()
    assert_tables_are_what_silver_says(tables)
    append(tables, [5])
    builder(tables).build()
    assert_tables_are_what_silver_says(disk.tables())


def test_a_reader_opens_only_the_files_that_may_hold_the_hours(disk: Lake):
    tables = disk.tables()
    append(tables, [1])
    append(tables, [100])
    with tables.snapshot(PINGS) as snapshot:
        Path(next(uri for uri in snapshot.handle.delta.file_uris() if uri in newest_files(disk))).unlink()
        rows = snapshot.scan("tracked_at", hours(1)).collect()
    assert rows.height == 1


def newest_files(lake: Lake) -> list[str]:
    delta = lake.delta(PINGS)
    older = DeltaTable(lake.storage.location(PINGS), version=delta.version() - 1).file_uris()
    return [uri for uri in delta.file_uris() if uri not in older]


def test_rows_under_a_key_are_appended_once_and_the_key_is_never_forgotten(lake: Lake):
    rows = some(BODIES, [1, 2]).with_columns(capture_date=pl.lit(CAPTURED_ON))
    assert [lake.tables().append_once(BODIES, "key", rows) for _ in range(2)] == [True, False]
    assert lake.tables().scan(BODIES).collect().height == 2

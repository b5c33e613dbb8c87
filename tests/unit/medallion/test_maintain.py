"""Which small files are worth rewriting, in which order, and what a run leaves to the next one."""

from dataclasses import dataclass, field
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import LakeConflict
from shared.medallion.gps_enriched import GPS_ENRICHED
from shared.medallion.lake import LAKE_TABLES
from shared.medallion.pings import PINGS
from shared.medallion.sorting import sort_key
from shared.medallion.tables import Layer, Table
from shared.workflows.maintain import (
    DAY_US,
    MIB,
    OPEN_FILES,
    RETENTION,
    SMALL_BYTES,
    DataFile,
    Maintainer,
    MaintenanceReport,
    Rewrite,
    affordable,
    rewrites,
)

TODAY = date(2026, 3, 29)
YESTERDAY = TODAY - timedelta(days=1)
UNPARTITIONED = Table(Layer.SILVER, "unpartitioned", PINGS.schema, None)


def files(count: int, day: date | None = TODAY, size: int = 1000, *, is_sorted: bool = False) -> list[DataFile]:
    return [DataFile(f"{day}/{is_sorted}-{size}-{number:04d}", size, 10, day, is_sorted) for number in range(count)]


def test_a_closed_day_of_several_files_is_sorted_as_a_whole():
    (task,) = rewrites(GPS_ENRICHED, [*files(3, YESTERDAY), *files(1)])
    assert (task.day, len(task.files)) == (YESTERDAY, 3)
    assert task.sort_by == ("store_id", "device_key", "tracked_at")


@pytest.mark.parametrize(
    "of_yesterday",
    [
        files(1, YESTERDAY),
        files(5, YESTERDAY, is_sorted=True),
        [*files(5, YESTERDAY, is_sorted=True), *files(1, YESTERDAY)],
    ],
    ids=["one file", "sorted files", "sorted files and one that came late"],
)
def test_a_closed_day_is_left_alone_when_little_would_be_gained(of_yesterday):
    assert rewrites(PINGS, [*of_yesterday, *files(1)]) == []


def test_late_files_are_sorted_in_among_the_others():
    (task,) = rewrites(PINGS, [*files(2, YESTERDAY, is_sorted=True), *files(2, YESTERDAY), *files(1)])
    assert len(task.files) == 4


def test_a_closed_day_of_more_than_a_run_may_read_is_sorted_in_pieces():
    day = [*files(1, YESTERDAY, 90, is_sorted=True), *files(10, YESTERDAY, 30)]
    tasks = rewrites(PINGS, [*day, *files(1)], most_bytes=100)
    assert [task.bytes for task in tasks] == [90, 90, 90]
    assert not any(file.is_sorted for task in tasks for file in task.files)


@pytest.mark.parametrize("table", [PINGS, UNPARTITIONED], ids=str)
def test_what_still_grows_has_its_small_files_merged_as_they_came_once_they_are_many(table):
    day = TODAY if table.partition_by else None
    large = files(3, day, SMALL_BYTES)
    assert rewrites(table, [*files(OPEN_FILES - 1, day), *large]) == []
    (task,) = rewrites(table, [*files(OPEN_FILES, day), *large])
    assert task.sort_by == ()
    assert list(task.files) == files(OPEN_FILES, day)


def test_a_table_that_got_no_row_for_a_month_has_no_closed_day_but_the_older_ones():
    last = TODAY - timedelta(days=30)
    tasks = rewrites(PINGS, [*files(5, last), *files(5, last - timedelta(days=1))])
    assert [task.day for task in tasks] == [last - timedelta(days=1)]


stored = st.builds(
    lambda number, size, days, is_sorted: DataFile(f"{number}", size, 10, TODAY - timedelta(days=days), is_sorted),
    st.integers(0, 10_000), st.integers(1, 50), st.integers(0, 3), st.booleans(),
)  # fmt: skip


@given(st.lists(stored, max_size=40, unique_by=lambda file: file.path), st.integers(10, 200))
@settings(deadline=None, max_examples=100)
def test_no_file_is_rewritten_twice_nor_with_another_day_nor_alone_nor_too_many_at_once(found, most_bytes):
    tasks = rewrites(PINGS, found, most_bytes)
    taken = [file.path for task in tasks for file in task.files]
    assert len(taken) == len(set(taken))
    for task in tasks:
        assert {file.day for file in task.files} == {task.day}
        assert len(task.files) > 1
        assert task.bytes <= max(most_bytes, 50)


def test_the_greatest_gain_comes_first_and_what_is_too_dear_waits():
    few, many = Rewrite(PINGS, TODAY, tuple(files(3)), ()), Rewrite(PINGS, YESTERDAY, tuple(files(9)), ())
    dear = Rewrite(PINGS, TODAY, tuple(files(20, size=MIB)), ())
    assert list(affordable([few, dear, many], 12_000)) == [many, few]
    assert list(affordable([few, dear, many], 9_500)) == [many]


@dataclass
class FakeLake:
    """The port `LakeCare` in memory; a table in `overtaken` is always rewritten by somebody else first."""

    of: dict[Table, list[DataFile]]
    overtaken: tuple[Table, ...] = ()
    seconds_a_rewrite: int = 0
    now: int = 20_000 * DAY_US
    rewritten: list[Table] = field(default_factory=list)
    vacuumed: dict[Table, int] = field(default_factory=dict)

    def files(self, table: Table) -> list[DataFile]:
        return self.of.get(table, [])

    def rewrite(self, rewrite: Rewrite) -> int:
        self.now += self.seconds_a_rewrite * 1_000_000
        if rewrite.table in self.overtaken:
            raise LakeConflict("another commit was faster")
        self.rewritten.append(rewrite.table)
        kept = [file for file in self.of[rewrite.table] if file not in rewrite.files]
        self.of[rewrite.table] = [*kept, DataFile(f"{len(self.rewritten)}", rewrite.bytes, 0, rewrite.day, True)]
        return 1

    def vacuum(self, table: Table, retention: timedelta, day: int) -> int | None:
        assert retention == RETENTION
        if self.vacuumed.get(table) == day or table not in self.of:
            return None
        self.vacuumed[table] = day
        return 7

    def maintainer(self, **limits: int) -> Maintainer:
        return Maintainer(self, lambda: self.now, **limits)


def day_of(count: int, size: int = 1000) -> list[DataFile]:
    return [*files(count, YESTERDAY, size), *files(1)]


def test_a_run_says_what_it_did_and_the_next_one_has_nothing_to_do():
    lake = FakeLake({PINGS: day_of(5), GPS_ENRICHED: day_of(9)})
    assert lake.maintainer().run() == MaintenanceReport(2, 14, 2, 14_000, 0, 0, 2, 14)
    assert lake.rewritten == [GPS_ENRICHED, PINGS]
    assert lake.maintainer().run() == MaintenanceReport()


def test_the_lake_is_vacuumed_once_a_day():
    lake = FakeLake({PINGS: []})
    assert [lake.maintainer().run().vacuumed for _ in range(2)] == [1, 0]
    lake.now += DAY_US
    assert lake.maintainer().run().vacuumed == 1


def test_a_rewrite_that_is_overtaken_ends_neither_the_run_nor_the_vacuum():
    lake = FakeLake({PINGS: day_of(5), GPS_ENRICHED: day_of(9)}, overtaken=(GPS_ENRICHED,))
    report = lake.maintainer().run()
    assert (report.rewritten, report.lost, report.left, report.vacuumed) == (1, 1, 0, 2)


def test_nothing_is_begun_after_the_deadline_and_the_rest_is_left_to_the_next_run():
    lake = FakeLake({PINGS: day_of(5), GPS_ENRICHED: day_of(9)}, seconds_a_rewrite=100)
    report = lake.maintainer(most_seconds=100).run()
    assert (report.rewritten, report.left, report.vacuumed) == (1, 1, 0)
    report = lake.maintainer().run()
    assert (report.rewritten, report.left, report.vacuumed) == (1, 0, 2)


def test_a_run_reads_no_more_bytes_than_it_may():
    lake = FakeLake({PINGS: day_of(5), GPS_ENRICHED: day_of(9)})
    report = lake.maintainer(most_bytes=9_000).run()
    assert (report.rewritten, report.bytes, report.left) == (1, 9_000, 1)


def test_every_table_of_days_below_gold_is_sorted_by_columns_that_it_has():
    for table in LAKE_TABLES:
        assert set(sort_key(table)) <= set(table.schema.names()), table
        if table.layer is not Layer.GOLD and table.partition_by is not None and "device_key" in table.schema.names():
            assert "device_key" in sort_key(table), table

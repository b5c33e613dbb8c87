"""Building derived tables: what changed is computed again, and the result is what a computation of everything gives."""

from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import LakeConflict, LakeUnavailable
from shared.medallion.gold import BuildContext, GoldTable, Source, Trigger
from shared.medallion.periods import Grain
from shared.medallion.pings import PINGS
from shared.medallion.quarantine import BODIES
from shared.medallion.tables import Table
from shared.workflows.build_gold import GoldBuilder
from tests.derived_tables import (
    AGES,
    BY_DAY,
    BY_HOUR,
    DAY,
    FIRST_DAYS,
    HOUR,
    START,
    TABLES,
    TOTALS,
    assert_tables_are_what_silver_says,
    builder,
    count_days,
    some,
)
from tests.fakes_lake import FakeLake, unique


def add(lake: FakeLake, table: Table, hours: list[int]) -> None:
    lake.commit(table, some(table, hours), {unique("file"): 1})


appends = st.tuples(st.sampled_from((PINGS, BODIES)), st.lists(st.integers(-400, 400), max_size=6))
steps = st.lists(appends | st.just("build") | st.integers(0, 7), max_size=12)


@given(steps)
@settings(deadline=None, max_examples=60)
def test_after_any_history_of_appends_builds_and_deaths_the_tables_are_what_silver_says(history):
    lake = FakeLake()
    for step in history:
        if step == "build":
            builder(lake).build()
        elif isinstance(step, int):
            lake.crash_after = len(lake.committed) + step
            with suppress(LakeUnavailable):
                builder(lake).build()
            lake.crash_after = None
        else:
            add(lake, *step)
    builder(lake).build()
    assert_tables_are_what_silver_says(lake)


def test_a_second_build_changes_nothing():
    lake = FakeLake()
    add(lake, PINGS, [1, 2, 3])
    builder(lake).build()
    commits = list(lake.committed)
    assert builder(lake).build().built == ()
    assert lake.committed == commits


def test_what_time_alone_may_change_is_looked_at_when_newer_events_were_seen():
    lake = FakeLake()
    add(lake, PINGS, [1])
    builder(lake).build()
    add(lake, PINGS, [200])
    report = {built.table: built for built in builder(lake).build().built}
    days = (START, START + 8 * DAY, START + 9 * DAY)
    assert report["gold.ages"].periods.spans == ((days[0], days[0] + DAY), (days[1], days[2]))
    assert lake.rows(AGES.table).sort("event_date")["is_old"].to_list() == [True, False]
    assert report["gold.newest_day"].periods is None


def test_late_data_corrects_its_own_hour_and_no_other_is_computed():
    lake = FakeLake()
    add(lake, PINGS, list(range(100)))
    builder(lake).build()
    add(lake, PINGS, [7])
    report = {built.table: built for built in builder(lake).build().built}
    hour = START + timedelta(hours=7)
    assert report["gold.by_hour"].periods.spans == ((hour, hour + HOUR),)
    assert report["gold.by_day"].periods.spans == ((START, START + DAY),)
    assert "gold.count_bodies" not in report
    assert_tables_are_what_silver_says(lake)


def test_a_row_that_matters_to_the_day_before_has_that_day_computed_as_well():
    lake = FakeLake()
    add(lake, PINGS, [1])
    builder(lake).build()
    add(lake, PINGS, [50])
    report = {built.table: built for built in builder(lake).build().built}
    assert report["gold.two_days"].periods.spans == ((START + DAY, START + 3 * DAY),)
    assert_tables_are_what_silver_says(lake)


def test_of_a_source_that_triggers_late_only_ended_periods_count():
    late = GoldTable(BY_DAY.table, Grain.DAY, (Source(PINGS, "tracked_at", trigger=Trigger.LATE),), count_days)
    lake = FakeLake()
    add(lake, PINGS, [100])
    GoldBuilder(lake, tables=(late,)).build()
    add(lake, PINGS, [101, 1])
    (built,) = GoldBuilder(lake, tables=(late,)).build().built
    assert built.periods.spans == ((START, START + DAY),)


def test_a_running_sum_moves_by_what_came_and_went():
    lake = FakeLake()
    add(lake, PINGS, [0, 3, 30])
    builder(lake).build()
    with lake.derived(PINGS) as redo:
        redo.replace(some(PINGS, [1]), {"redo": 1})
    builder(lake).build()
    assert lake.rows(TOTALS.table).rows() == [("k1:1", 1)]


def test_with_another_threshold_all_of_history_is_computed_again_each_time_that_it_changes():
    lake = FakeLake()
    add(lake, PINGS, [1, 200])
    for min_devices in (1, 5, 1):
        (built,) = GoldBuilder(lake, BuildContext(min_devices), tables=(BY_HOUR,)).build().built
        assert built.periods is None
        assert GoldBuilder(lake, BuildContext(min_devices), tables=(BY_HOUR,)).build().built == ()


def test_the_report_names_the_versions_read():
    lake = FakeLake()
    for _ in range(3):
        add(lake, PINGS, [1])
    report = {built.table: built for built in builder(lake).build().built}
    assert report["gold.by_hour"].versions == {"silver.pings": 3}
    assert report["gold.by_hour"].rows == 1
    assert report["gold.by_hour"].periods is None


def test_a_commit_without_rows_makes_nothing_to_compute():
    lake = FakeLake()
    add(lake, PINGS, [-200, 1])
    builder(lake).build()
    add(lake, PINGS, [])
    assert not {built.table for built in builder(lake).build().built} & {"gold.by_hour", "gold.by_day", "gold.totals"}


class Overtaken(FakeLake):
    """Another build, which sees more of silver, is done between this one's look at a table and its commit."""

    def __init__(self, table: Table) -> None:
        super().__init__()
        self.overtaken = table
        self.is_over = True

    def commit(self, table, rows, transactions, went=None):
        if table is self.overtaken and not self.is_over:
            self.is_over = True
            add(self, PINGS, [5])
            builder(self).build()
            raise LakeConflict("another writer was faster")
        super().commit(table, rows, transactions, went)


@pytest.mark.parametrize("derived", [BY_HOUR, TOTALS, FIRST_DAYS], ids=lambda derived: derived.table.name)
def test_a_build_that_is_overtaken_by_one_that_saw_more_leaves_its_rows_alone(derived):
    lake = Overtaken(derived.table)
    add(lake, PINGS, [1])
    builder(lake).build()
    add(lake, PINGS, [3])
    lake.is_over = False
    builder(lake).build()
    assert lake.is_over
    assert_tables_are_what_silver_says(lake)


def test_a_build_that_is_overtaken_every_time_gives_up_as_a_transient_fault():
    class Busy(FakeLake):
        def commit(self, table, rows, transactions, went=None):
            if table is BY_HOUR.table:
                raise LakeConflict("another writer was faster")
            super().commit(table, rows, transactions, went)

    lake = Busy()
    add(lake, PINGS, [1])
    with pytest.raises(LakeConflict):
        builder(lake).build()


def test_the_reference_tables_are_brought_up_to_date_before_anything_is_looked_at():
    lake = FakeLake()
    GoldBuilder(lake, tables=TABLES, before=lambda: add(lake, PINGS, [1])).build()
    assert lake.rows(BY_HOUR.table).height == 1

"""Building gold: what changed is computed again, and the result is what a computation of everything gives."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import LakeConflict, LakeUnavailable
from shared.medallion.aggregated_trips import AGGREGATED_TRIPS
from shared.medallion.decisions import DECISIONS
from shared.medallion.gold import GoldTable
from shared.medallion.gps_enriched import GPS_ENRICHED
from shared.medallion.lake import GOLD_TABLES
from shared.medallion.pings import PINGS
from shared.medallion.quarantine import BODIES
from shared.medallion.store_hourly import STORE_HOURLY
from shared.medallion.tables import Table
from shared.workflows.build_gold import GoldBuilder
from tests.fakes_lake import FakeLake, unique

START = datetime(2026, 3, 29, tzinfo=UTC)


def some(table: Table, hours: list[int]) -> pl.DataFrame:
    """A silver row for each hour after START, with a few values that repeat."""
    values = [
        dict.fromkeys(table.schema)
        | {name: f"{name}{number % 3}" for name in table.schema if table.schema[name] == pl.String}
        | {name: START + timedelta(hours=number) for name in ("tracked_at", "enqueued_at") if name in table.schema}
        | {"is_duplicate": number % 5 == 0, "outcome": ("sent", "not_sent")[number % 2], "reason": "cooldown"}
        for number in hours
    ]
    helping = {"is_duplicate": pl.Boolean(), "outcome": pl.String(), "reason": pl.String()}
    return table.conform(pl.DataFrame(values, schema=helping | dict(table.schema)))


def add(lake: FakeLake, table: Table, hours: list[int]) -> None:
    lake.commit(table, some(table, hours), {unique("file"): 1})


def assert_gold_is_what_silver_says(lake: FakeLake) -> None:
    """Against the plain computation: each table from all rows of its sources."""
    for gold in GOLD_TABLES:
        sources = (lake.rows(source.table).lazy() for source in gold.sources)
        expected = gold.table.conform(gold.build(*sources).collect())
        actual = lake.rows(gold.table)
        assert actual.sort(actual.columns).equals(expected.sort(expected.columns)), gold.table


tables = st.sampled_from((PINGS, GPS_ENRICHED, DECISIONS, BODIES))
appends = st.tuples(tables, st.lists(st.integers(-400, 400), max_size=6))
steps = st.lists(appends | st.just("build") | st.integers(0, 5), max_size=12)


@given(steps)
@settings(deadline=None, max_examples=60)
def test_after_any_history_of_appends_builds_and_deaths_gold_is_what_silver_says(history):
    lake = FakeLake()
    for step in history:
        if step == "build":
            GoldBuilder(lake).build()
        elif isinstance(step, int):
            lake.crash_after = len(lake.committed) + step
            with suppress(LakeUnavailable):
                GoldBuilder(lake).build()
            lake.crash_after = None
        else:
            add(lake, *step)
    GoldBuilder(lake).build()
    assert_gold_is_what_silver_says(lake)


def test_a_second_build_changes_nothing():
    lake = FakeLake()
    add(lake, GPS_ENRICHED, [1, 2, 3])
    GoldBuilder(lake).build()
    commits = list(lake.committed)
    assert GoldBuilder(lake).build().built == ()
    assert lake.committed == commits


def test_late_data_corrects_its_own_hour_and_no_other_is_computed():
    lake = FakeLake()
    add(lake, GPS_ENRICHED, list(range(100)))
    GoldBuilder(lake).build()
    add(lake, GPS_ENRICHED, [7])
    report = {built.table: built for built in GoldBuilder(lake).build().built}
    hour = START + timedelta(hours=7)
    assert report["gold.store_hourly"].periods.spans == ((hour, hour + timedelta(hours=1)),)
    assert report["gold.trips_daily"].periods.spans == ((START, START + timedelta(days=1)),)
    assert "gold.offers_hourly" not in report
    assert_gold_is_what_silver_says(lake)


def test_the_report_names_the_versions_read():
    lake = FakeLake()
    for _ in range(3):
        add(lake, GPS_ENRICHED, [1])
    report = {built.table: built for built in GoldBuilder(lake).build().built}
    assert report["gold.store_hourly"].versions == {"silver.gps_enriched": 3}
    assert report["gold.store_hourly"].rows == 1
    assert report["gold.store_hourly"].periods is None


def test_what_is_behind_is_what_the_next_build_would_change():
    lake = FakeLake()
    GoldBuilder(lake).build()
    assert GoldBuilder(lake).behind() == ()
    add(lake, DECISIONS, [1])
    assert GoldBuilder(lake).behind() == ("gold.offers_hourly", "gold.data_quality_hourly")
    GoldBuilder(lake).build()
    assert GoldBuilder(lake).behind() == ()


def test_a_commit_without_rows_makes_nothing_to_do():
    lake = FakeLake()
    add(lake, PINGS, [1])
    GoldBuilder(lake).build()
    add(lake, PINGS, [])
    assert GoldBuilder(lake).build().built == ()


class Overtaken(FakeLake):
    """Another build, which sees more of silver, is done between this one's look at a gold table and its commit."""

    def __init__(self, gold: GoldTable) -> None:
        super().__init__()
        self.overtaken = gold.table
        self.is_over = True

    def commit(self, table, rows, transactions):
        if table is self.overtaken and not self.is_over:
            self.is_over = True
            add(self, GPS_ENRICHED, [5])
            GoldBuilder(self).build()
            raise LakeConflict("another writer was faster")
        super().commit(table, rows, transactions)


@pytest.mark.parametrize("gold", [STORE_HOURLY, AGGREGATED_TRIPS], ids=lambda gold: gold.table.name)
def test_a_build_that_is_overtaken_by_one_that_saw_more_leaves_its_rows_alone(gold):
    lake = Overtaken(gold)
    add(lake, GPS_ENRICHED, [1, 2])
    GoldBuilder(lake).build()
    add(lake, GPS_ENRICHED, [3])
    lake.is_over = False
    GoldBuilder(lake).build()
    assert lake.is_over
    assert_gold_is_what_silver_says(lake)


def test_a_build_that_is_overtaken_every_time_gives_up_as_a_transient_fault():
    class Busy(FakeLake):
        def commit(self, table, rows, transactions):
            if table is STORE_HOURLY.table:
                raise LakeConflict("another writer was faster")
            super().commit(table, rows, transactions)

    lake = Busy()
    add(lake, GPS_ENRICHED, [1])
    with pytest.raises(LakeConflict):
        GoldBuilder(lake).build()

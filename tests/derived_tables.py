"""Derived tables of every kind over silver.pings, small enough to be computed by hand: what a build is tested with."""

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from shared.medallion.gold import BuildContext, Due, GoldTable, RunningSum, Source, Trigger
from shared.medallion.periods import Grain
from shared.medallion.pings import PINGS
from shared.medallion.quarantine import BODIES
from shared.medallion.tables import INSTANT, Table, gold_table
from shared.workflows.build_gold import GoldBuilder

START = datetime(2026, 3, 29, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def count_hours(_: BuildContext, pings: pl.LazyFrame) -> pl.LazyFrame:
    hour = Grain.HOUR.start_of(pl.col("tracked_at"))
    return pings.group_by(hour.dt.date().alias("event_date"), hour.alias("hour")).agg(n=pl.len().cast(pl.Int64))


def count_days(_: BuildContext, pings: pl.LazyFrame) -> pl.LazyFrame:
    return pings.group_by(pl.col("tracked_at").dt.date().alias("event_date"), "device_key").agg(
        n=pl.len().cast(pl.Int64)
    )


def devices_within_two_days(_: BuildContext, pings: pl.LazyFrame) -> pl.LazyFrame:
    """Of each day: the devices that were there on that day or on the day after."""
    day = pl.col("tracked_at").dt.date()
    both = pl.concat([pings.with_columns(event_date=day), pings.with_columns(event_date=day - timedelta(days=1))])
    return both.group_by("event_date").agg(n=pl.col("device_key").n_unique().cast(pl.Int64))


def ages(context: BuildContext, pings: pl.LazyFrame) -> pl.LazyFrame:
    """Of each day: whether the newest event is three days past it."""
    day = pl.col("tracked_at").dt.date()
    return pings.group_by(event_date=day).agg(
        is_old=pl.lit(value=context.newest) > day.first().cast(INSTANT) + timedelta(days=4)
    )


def first_days(_: BuildContext, pings: pl.LazyFrame, earlier: pl.LazyFrame) -> pl.LazyFrame:
    """Each device on its first day."""
    days = pings.group_by("device_key").agg(event_date=pl.col("tracked_at").dt.date().min())
    return days.join(earlier, on="device_key", how="anti")


PING_TIMES = Source(PINGS, "tracked_at")
BY_HOUR = GoldTable(
    gold_table("by_hour", {"event_date": pl.Date(), "hour": INSTANT, "n": pl.Int64()}),
    Grain.HOUR,
    (PING_TIMES,),
    count_hours,
    period="hour",
)
BY_DAY = GoldTable(
    gold_table("by_day", {"event_date": pl.Date(), "device_key": pl.String(), "n": pl.Int64()}),
    Grain.DAY,
    (PING_TIMES,),
    count_days,
)
TWO_DAYS = GoldTable(
    gold_table("two_days", {"event_date": pl.Date(), "n": pl.Int64()}),
    Grain.DAY,
    (Source(PINGS, "tracked_at", after=DAY),),
    devices_within_two_days,
)
AGES = GoldTable(
    gold_table("ages", {"event_date": pl.Date(), "is_old": pl.Boolean()}),
    Grain.DAY,
    (PING_TIMES,),
    ages,
    due=Due("is_old = false", lambda _: ~pl.col("is_old")),
)
FIRST_DAYS = GoldTable(
    gold_table("first_days", {"device_key": pl.String(), "event_date": pl.Date()}, partition_by=None),
    Grain.DAY,
    (PING_TIMES,),
    first_days,
    remembers=True,
)
TOTALS = RunningSum(
    gold_table("totals", {"device_key": pl.String(), "n": pl.Int64()}, partition_by=None),
    Source(BY_DAY.table, "event_date"),
    ("device_key",),
    ("n",),
)
NEWEST_DAY = GoldTable(
    gold_table("newest_day", {"day": INSTANT}, partition_by=None),
    None,
    (Source(PINGS, "tracked_at", trigger=Trigger.NONE),),
    lambda context, _: pl.LazyFrame({"day": [context.newest]}, {"day": INSTANT}).select(
        pl.col("day").dt.truncate("1d")
    ),
    due=Due("day IS NOT NULL", lambda context: pl.col("day") + DAY <= context.newest),
)
COUNT_BODIES = GoldTable(
    gold_table("count_bodies", {"n": pl.Int64()}, partition_by=None),
    None,
    (Source(BODIES, "enqueued_at"),),
    lambda _, bodies: bodies.select(n=pl.len().cast(pl.Int64)),
)
TABLES = (BY_HOUR, BY_DAY, TWO_DAYS, AGES, FIRST_DAYS, TOTALS, NEWEST_DAY, COUNT_BODIES)


def builder(lake: Any) -> GoldBuilder:
    return GoldBuilder(lake, tables=TABLES)


def some(table: Table, hours: list[int]) -> pl.DataFrame:
    """A row for each hour after START, of one of three devices."""
    at = [START + timedelta(hours=number) for number in hours]
    values = {"tracked_at": at, "enqueued_at": at, "device_key": [f"k1:{number % 3}" for number in hours]}
    rows = pl.DataFrame(
        {name: value for name, value in values.items() if name in table.schema},
        schema={name: dtype for name, dtype in table.schema.items() if name in values},
    )
    return table.conform(
        rows.with_columns(pl.lit(None, dtype).alias(name) for name, dtype in table.schema.items() if name not in values)
    )


def assert_tables_are_what_silver_says(lake: Any) -> None:
    """Against the plain computation: each table from all rows of its sources."""
    context = BuildContext(newest=lake.newest(PINGS, "enqueued_at") or datetime(1970, 1, 1, tzinfo=UTC))
    for derived in TABLES:
        if isinstance(derived, GoldTable):
            sources = (lake.scan(source.table) for source in derived.sources)
            nothing_earlier = [derived.table.empty().lazy()] * derived.remembers
            expected = derived.build(context, *sources, *nothing_earlier).collect()
        else:
            expected = rows_of(lake, derived.source.table).group_by(derived.keys).agg(pl.col(derived.measures).sum())
        actual = rows_of(lake, derived.table)
        assert actual.sort(actual.columns).equals(derived.table.conform(expected).sort(actual.columns)), derived.table


def rows_of(lake: Any, table: Table) -> pl.DataFrame:
    """What a reader of the table sees, of the fake lake and of the real one."""
    return lake.scan(table).collect()

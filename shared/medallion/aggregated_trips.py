"""gold.aggregated_trips (the ancestor's): the same count as gold.trips_daily, over all time."""

import polars as pl

from shared.medallion.gold import GoldTable, Source
from shared.medallion.tables import gold_table
from shared.medallion.trips_daily import TRIPS_DAILY


def sum_trips(daily: pl.LazyFrame) -> pl.LazyFrame:
    """The daily counts added up by location and merchant."""
    return daily.group_by("location", "merchant").agg(pl.col("count").sum())


AGGREGATED_TRIPS = GoldTable(
    gold_table(
        "aggregated_trips",
        {"location": pl.String(), "merchant": pl.String(), "count": pl.Int64()},
        partition_by=None,
    ),
    None,
    (Source(TRIPS_DAILY.table, "event_date"),),
    sum_trips,
)

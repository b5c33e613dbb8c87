"""gold.aggregated_trips (the ancestor's): the same count as gold.trips_daily, over all time."""

import polars as pl

from shared.medallion.gold import RunningSum, Source
from shared.medallion.tables import gold_table
from shared.medallion.trips_daily import TRIPS_DAILY

AGGREGATED_TRIPS = RunningSum(
    gold_table(
        "aggregated_trips",
        {"location": pl.String(), "merchant": pl.String(), "count": pl.Int64()},
        partition_by=None,
    ),
    Source(TRIPS_DAILY.table, "event_date"),
    keys=("location", "merchant"),
    measures=("count",),
)

"""gold.trips_daily: how many pings came near the stores of a merchant at a location, day by day."""

import polars as pl

from shared.medallion.gold import GoldTable, Source
from shared.medallion.gps_enriched import GPS_ENRICHED
from shared.medallion.periods import Grain
from shared.medallion.tables import gold_table


def count_trips(enriched: pl.LazyFrame) -> pl.LazyFrame:
    """The rows of silver.gps_enriched by UTC date of the ping, location and merchant."""
    return enriched.group_by(pl.col("tracked_at").dt.date().alias("event_date"), "location", "merchant").agg(
        count=pl.len().cast(pl.Int64)
    )


TRIPS_DAILY = GoldTable(
    gold_table(
        "trips_daily",
        {"event_date": pl.Date(), "location": pl.String(), "merchant": pl.String(), "count": pl.Int64()},
    ),
    Grain.DAY,
    (Source(GPS_ENRICHED, "tracked_at"),),
    count_trips,
)

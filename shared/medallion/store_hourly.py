"""gold.store_hourly: how busy a store's surroundings were, hour by hour."""

import polars as pl

from shared.medallion.gold import GoldTable, Source, by_hour
from shared.medallion.gps_enriched import GPS_ENRICHED
from shared.medallion.periods import Grain
from shared.medallion.tables import INSTANT, gold_table


def count_pings(enriched: pl.LazyFrame) -> pl.LazyFrame:
    """The rows of silver.gps_enriched, and the distinct devices among them, by hour of the ping and store."""
    return enriched.group_by(*by_hour("tracked_at"), "store_id").agg(
        pings=pl.len().cast(pl.Int64), devices=pl.col("device_key").n_unique().cast(pl.Int64)
    )


STORE_HOURLY = GoldTable(
    gold_table(
        "store_hourly",
        {
            "event_date": pl.Date(),
            "hour": INSTANT,
            "store_id": pl.String(),
            "pings": pl.Int64(),
            "devices": pl.Int64(),
        },
    ),
    Grain.HOUR,
    (Source(GPS_ENRICHED, "tracked_at"),),
    count_pings,
)

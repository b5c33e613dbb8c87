"""gold.store_hourly: how many came to a store, hour by hour, and how long they stayed."""

import polars as pl

from shared.medallion.gold import BuildContext, GoldTable
from shared.medallion.periods import Grain
from shared.medallion.presence_cells import CELL, Presences
from shared.medallion.store_measures import STORE_MEASURES, STORE_SOURCES, measure
from shared.medallion.tables import INSTANT, gold_table


def measure_hours(
    context: BuildContext, enriched: pl.LazyFrame, visits: pl.LazyFrame, before: pl.LazyFrame
) -> pl.LazyFrame:
    """The measures of each store and hour, UTC, by the store's date; null where too few devices were there."""
    return measure(context, Presences.of(enriched, visits), before, CELL, period=("hour", "entered_at"))


STORE_HOURLY = GoldTable(
    gold_table("store_hourly", {"event_date": pl.Date(), "hour": INSTANT, "store_id": pl.String(), **STORE_MEASURES}),
    Grain.DAY,
    STORE_SOURCES,
    measure_hours,
)

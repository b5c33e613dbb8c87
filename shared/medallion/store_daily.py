"""gold.store_daily: how many came to a store, day by day, and how long they stayed."""

import polars as pl

from shared.medallion.gold import BuildContext, GoldTable
from shared.medallion.periods import Grain
from shared.medallion.presence_cells import Presences
from shared.medallion.store_measures import STORE_MEASURES, STORE_SOURCES, measure
from shared.medallion.tables import gold_table


def measure_days(
    context: BuildContext, enriched: pl.LazyFrame, visits: pl.LazyFrame, before: pl.LazyFrame
) -> pl.LazyFrame:
    """The measures of each store and its date, of what lies in the hours that are shown; null where none is."""
    presences = Presences.of(enriched, visits)
    return measure(context, presences, before, ("event_date", "store_id"), period=("event_date", "event_date"))


STORE_DAILY = GoldTable(
    gold_table("store_daily", {"event_date": pl.Date(), "store_id": pl.String(), **STORE_MEASURES}),
    Grain.DAY,
    STORE_SOURCES,
    measure_days,
)

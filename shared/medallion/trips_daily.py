"""gold.trips_daily: how many pings came near the stores of a merchant at a location, day by day."""

import polars as pl

from shared.medallion.gold import BuildContext, GoldTable, Source
from shared.medallion.gps_enriched import GPS_ENRICHED
from shared.medallion.periods import Grain
from shared.medallion.presence_cells import Presences
from shared.medallion.tables import gold_table
from shared.medallion.visits import VISITS

TRIPS = ("event_date", "location", "merchant")


def count_trips(context: BuildContext, enriched: pl.LazyFrame, visits: pl.LazyFrame) -> pl.LazyFrame:
    """The pings of the cells that are shown, by the store's date, location and merchant; null where none is shown."""
    presences = Presences.of(enriched, visits)
    counted = presences.shown(context).pings.group_by(TRIPS).agg(count=pl.len().cast(pl.Int64))
    return presences.pings.select(TRIPS).unique().join(counted, on=TRIPS, how="left", nulls_equal=True)


TRIPS_DAILY = GoldTable(
    gold_table(
        "trips_daily",
        {"event_date": pl.Date(), "location": pl.String(), "merchant": pl.String(), "count": pl.Int64()},
    ),
    Grain.DAY,
    (Source(GPS_ENRICHED, "event_date"), Source(VISITS.table, "event_date")),
    count_trips,
)

"""What gold tells of a store's visitors in an hour, and in a day."""

from datetime import timedelta

import polars as pl

from shared.medallion.gold import BuildContext, Source
from shared.medallion.gps_enriched import GPS_ENRICHED
from shared.medallion.presence_cells import Presences, known_visits
from shared.medallion.visits import VISITS

RETURN_WITHIN = timedelta(days=28)
"""A device that was there in these days before is a returning one, else a new one."""

STORE_MEASURES: dict[str, pl.DataType] = {
    "pings": pl.Int64(),
    "devices": pl.Int64(),
    "visits": pl.Int64(),
    "new_devices": pl.Int64(),
    "returning_devices": pl.Int64(),
    "dwell_p50_s": pl.Float64(),
    "dwell_p90_s": pl.Float64(),
}
"""`devices` are those with a ping or a new visit, `visits` those that began; new_devices + returning_devices are the
devices of these visits. The quantiles are those of dwell_s of the ones that have ended, interpolated linearly."""

STORE_SOURCES = (
    Source(GPS_ENRICHED, "event_date"),
    Source(VISITS.table, "event_date"),
    # Again: those before. A day more, since 28 days before an hour is a date earlier where the clocks were changed.
    Source(VISITS.table, "event_date", before=RETURN_WITHIN + timedelta(days=1)),
)


def measure(
    context: BuildContext, presences: Presences, before: pl.LazyFrame, keys: tuple[str, ...], period: tuple[str, str]
) -> pl.LazyFrame:
    """STORE_MEASURES by *keys*; where no cell is shown they are null. *before*: visits of the time before as well.

    *period* names two columns of a visit: when the period began that it counts in, and when it happened, seen from a
    later period. A device is a returning one if it has a visit that happened before the period began.
    """
    shown, known = presences.shown(context), known_visits(context, before)
    counts = ("pings", "visits", "new_devices", "returning_devices")
    measured = (
        shown.devices(*keys)
        .join(shown.pings.group_by(keys).agg(pings=_count()), on=keys, how="left", nulls_equal=True)
        .join(_visits(shown.visits, keys), on=keys, how="left", nulls_equal=True)
        .join(_visitors(shown.visits, known, keys, period), on=keys, how="left", nulls_equal=True)
        .with_columns(pl.col(counts).fill_null(0))
    )
    return presences.devices(*keys).select(keys).join(measured, on=keys, how="left", nulls_equal=True)


def _visits(visits: pl.LazyFrame, keys: tuple[str, ...]) -> pl.LazyFrame:
    dwell_s = pl.col("dwell_s")
    return visits.group_by(keys).agg(
        visits=_count(),
        dwell_p50_s=dwell_s.quantile(0.5, "linear"),
        dwell_p90_s=dwell_s.quantile(0.9, "linear"),
    )


def _visitors(
    visits: pl.LazyFrame, known: pl.LazyFrame, keys: tuple[str, ...], period: tuple[str, str]
) -> pl.LazyFrame:
    """How many devices made the visits, by whether they had been there before."""
    began, happened = period
    device = ("store_id", "device_key")
    is_known = pl.col("earlier").is_not_null()
    visitors = visits.select(*keys, "device_key").unique()
    theirs = known.select(*device, pl.col(happened).alias("earlier")).join(visitors, on=device, how="semi")
    return (
        visitors.sort(began)
        .join_asof(
            theirs.sort("earlier"),
            left_on=began,
            right_on="earlier",
            by=device,
            tolerance=RETURN_WITHIN,
            allow_exact_matches=False,
            coalesce=False,
            check_sortedness=False,  # it is sorted, and polars cannot tell within the groups
        )
        .group_by(keys)
        .agg(new_devices=is_known.not_().sum().cast(pl.Int64), returning_devices=is_known.sum().cast(pl.Int64))
    )


def _count() -> pl.Expr:
    return pl.len().cast(pl.Int64)

"""gold.data_quality_hourly: what each hub's capture files held, by the hour in which the events were enqueued."""

import polars as pl

from shared.domain.pings import Reason
from shared.medallion.decisions import DECISIONS
from shared.medallion.gold import GoldTable, Source, by_hour
from shared.medallion.offers import OFFERS
from shared.medallion.periods import Grain
from shared.medallion.pings import PINGS
from shared.medallion.quarantine import BODIES
from shared.medallion.tables import INSTANT, gold_table

_REJECTED = {f"rejected_{reason}": reason for reason in Reason}
_COUNTS = ("captured", "accepted", "rejected", *_REJECTED, "duplicates")


def count_events(
    pings: pl.LazyFrame, offers: pl.LazyFrame, decisions: pl.LazyFrame, bodies: pl.LazyFrame
) -> pl.LazyFrame:
    """Events by enqueued hour and hub: captured = accepted + rejected, rejected = the sum of its reasons.

    `duplicates` are the accepted ones that say again what another one said: a ping within its capture file, an offer or
    a decision (by its id) within the hour.
    """
    parts = [
        _accepted(pings, pl.col("is_duplicate").sum()),
        _accepted(offers, pl.len() - pl.col("offer_id").n_unique()),
        _accepted(decisions, pl.len() - pl.col("decision_id").n_unique()),
        _rejected(bodies),
    ]
    return (
        pl.concat(parts, how="diagonal")
        .group_by("event_date", "hour", "hub")
        .agg(pl.col("accepted", "rejected", *_REJECTED, "duplicates").sum())
        .with_columns(captured=pl.col("accepted") + pl.col("rejected"))
    )


def _accepted(rows: pl.LazyFrame, duplicates: pl.Expr) -> pl.LazyFrame:
    return rows.group_by(*by_hour("enqueued_at"), "hub").agg(
        accepted=pl.len().cast(pl.Int64), duplicates=duplicates.cast(pl.Int64)
    )


def _rejected(bodies: pl.LazyFrame) -> pl.LazyFrame:
    return bodies.group_by(*by_hour("enqueued_at"), "hub").agg(
        rejected=pl.len().cast(pl.Int64),
        **{name: (pl.col("reason") == str(reason)).sum().cast(pl.Int64) for name, reason in _REJECTED.items()},
    )


DATA_QUALITY_HOURLY = GoldTable(
    gold_table(
        "data_quality_hourly",
        {
            "event_date": pl.Date(),
            "hour": INSTANT,
            "hub": pl.String(),
            **{name: pl.Int64() for name in _COUNTS},
        },
    ),
    Grain.HOUR,
    tuple(Source(table, "enqueued_at") for table in (PINGS, OFFERS, DECISIONS, BODIES)),
    count_events,
)

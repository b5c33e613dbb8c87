"""gold.offers_hourly: what became of a promotion at a store, hour by hour."""

import polars as pl

from shared.medallion.decisions import DECISIONS
from shared.medallion.gold import GoldTable, Source, by_hour
from shared.medallion.periods import Grain
from shared.medallion.tables import INSTANT, gold_table

NOT_SENT_REASONS = (
    "no_consent",
    "not_running",
    "wrong_trigger",
    "outside_hours",
    "stale_ping",
    "low_accuracy",
    "cooldown",
    "daily_cap",
    "too_soon",
    "quiet_hours",
    "geofence_changed",
    "unknown",
    "outranked",
    "held_out",
    "budget_spent",
)
"""The design's closed list of why a promotion was not sent, a column each; `no_promotion` has none to count."""


def count_decisions(decisions: pl.LazyFrame) -> pl.LazyFrame:
    """Distinct decisions about a promotion, by hour of the ping, store and promotion.

    considered = sent + failed + the sum of the not_sent columns, always: a reason that is in none of the columns counts
    in `not_sent_other`.
    """
    outcome, reason = pl.col("outcome"), pl.col("reason")
    not_sent = outcome == "not_sent"
    return (
        decisions.filter(pl.col("promotion_id").is_not_null())
        .unique(("decision_id", "tracked_at"))  # the same id has the same time, and so the hour stands alone
        .group_by(*by_hour("tracked_at"), "store_id", "promotion_id")
        .agg(
            considered=pl.len().cast(pl.Int64),
            sent=_count(outcome == "sent"),
            failed=_count(outcome == "failed"),
            **{f"not_sent_{name}": _count(not_sent & reason.eq_missing(name)) for name in NOT_SENT_REASONS},
        )
        .with_columns(
            not_sent_other=pl.col("considered") - pl.sum_horizontal("sent", "failed", pl.col("^not_sent_.*$"))
        )
    )


def _count(condition: pl.Expr) -> pl.Expr:
    return condition.sum().cast(pl.Int64)


OFFERS_HOURLY = GoldTable(
    gold_table(
        "offers_hourly",
        {
            "event_date": pl.Date(),
            "hour": INSTANT,
            "store_id": pl.String(),
            "promotion_id": pl.String(),
            "considered": pl.Int64(),
            "sent": pl.Int64(),
            "failed": pl.Int64(),
            **{f"not_sent_{name}": pl.Int64() for name in (*NOT_SENT_REASONS, "other")},
        },
    ),
    Grain.HOUR,
    (Source(DECISIONS, "tracked_at"),),
    count_decisions,
)

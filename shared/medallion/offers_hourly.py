"""gold.offers_hourly: what became of a promotion at a store, hour by hour."""

import polars as pl

from shared.domain.decision import DecisionReason
from shared.medallion.decisions import DECISIONS
from shared.medallion.gold import GoldTable, Source, by_hour
from shared.medallion.periods import Grain
from shared.medallion.tables import INSTANT, gold_table

NOT_SENT_REASONS = tuple(
    str(reason)
    for reason in DecisionReason
    if reason not in (DecisionReason.NO_PROMOTION, DecisionReason.INTERNAL_ERROR)
)
"""Why a promotion was not sent, a column each. `no_promotion` has nothing to count, `internal_error` is `failed`."""


def count_decisions(decisions: pl.LazyFrame) -> pl.LazyFrame:
    """Distinct decisions, by hour of the ping, store and promotion.

    considered = sent + failed + the sum of the not_sent columns, always: a reason that is in none of the columns counts
    in `not_sent_other`. What kept a store's promotions from being considered one by one (`low_accuracy`) counts in a
    row without a promotion, and a ping that could not be decided (`failed`) in one without a store.
    """
    outcome, reason = pl.col("outcome"), pl.col("reason")
    not_sent = outcome == "not_sent"
    return (
        decisions.filter(reason.ne_missing(str(DecisionReason.NO_PROMOTION)))
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

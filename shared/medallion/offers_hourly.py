"""gold.offers_hourly: what became of a promotion at a store, hour by hour."""

import polars as pl

from shared.domain.decision import DecisionReason
from shared.medallion.decision_cells import CELL, considered, shown, withheld
from shared.medallion.decisions import DECISIONS
from shared.medallion.gold import BuildContext, GoldTable, Source
from shared.medallion.periods import Grain
from shared.medallion.receipts import RECEIPTS
from shared.medallion.tables import INSTANT, gold_table

NOT_SENT_REASONS = tuple(
    str(reason)
    for reason in DecisionReason
    if reason not in (DecisionReason.NO_PROMOTION, DecisionReason.INTERNAL_ERROR)
)
"""Why a promotion was not sent, a column each. `no_promotion` has nothing to count, `internal_error` is `failed`."""

DELIVERIES = ("delivered", "expired", "given_up")
"""What became of an offer's delivery. Of several receipts for it the first of these counts: what was given up may be
tried again."""


def count_offers(context: BuildContext, decisions: pl.LazyFrame, receipts: pl.LazyFrame) -> pl.LazyFrame:
    """Distinct decisions and what became of the offers, by hour of deciding, store and promotion.

    considered = sent + failed + the sum of the not_sent columns, always: a reason that is in none of the columns counts
    in `not_sent_other`. What kept a store's promotions from being considered one by one (`low_accuracy`) counts in a
    row without a promotion, and a ping that could not be decided (`failed`) in one without a store. A receipt counts in
    the hour of its offer. Cells of fewer than GOLD_MIN_DEVICES devices have null counts.
    """
    told = considered(decisions)
    received = receipts.with_columns(hour=Grain.HOUR.start_of(pl.col("offered_at")))
    counted = (
        pl.concat([_decided(shown(context, told, told)), _delivered(shown(context, received, told))], how="diagonal")
        .group_by(CELL)
        .agg(pl.col(_COUNTS).sum())
    )
    return pl.concat([counted, withheld(context, told)], how="diagonal")


def _decided(decisions: pl.LazyFrame) -> pl.LazyFrame:
    outcome, reason = pl.col("outcome"), pl.col("reason")
    not_sent = outcome == "not_sent"
    return (
        decisions.unique(("decision_id", *CELL))  # the same id lies in the same cell
        .group_by(CELL)
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


def _delivered(receipts: pl.LazyFrame) -> pl.LazyFrame:
    by_offer = receipts.group_by(*CELL, "offer_id").agg(
        (pl.col("outcome") == delivery).any().alias(delivery) for delivery in DELIVERIES
    )
    earlier = (pl.lit(value=False), *(pl.col(delivery) for delivery in DELIVERIES))
    return by_offer.group_by(CELL).agg(
        _count(pl.col(delivery) & ~pl.any_horizontal(earlier[: row + 1])).alias(delivery)
        for row, delivery in enumerate(DELIVERIES)
    )


def _count(condition: pl.Expr) -> pl.Expr:
    return condition.sum().cast(pl.Int64)


_COUNTS = (
    "considered",
    "sent",
    *DELIVERIES,
    "failed",
    *(f"not_sent_{name}" for name in (*NOT_SENT_REASONS, "other")),
)

OFFERS_HOURLY = GoldTable(
    gold_table(
        "offers_hourly",
        {
            "event_date": pl.Date(),
            "hour": INSTANT,
            "store_id": pl.String(),
            "promotion_id": pl.String(),
            **dict.fromkeys(_COUNTS, pl.Int64()),
        },
    ),
    Grain.DAY,
    (Source(DECISIONS, "event_date"), Source(RECEIPTS, "event_date")),
    count_offers,
)
"""`event_date` is the store's date; where there is no store, that of UTC."""

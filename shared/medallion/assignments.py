"""silver.assignments: which devices were sent a promotion, and which were held out of it, each by its first time.

The first time counts, on whichever day it was: later rows of the same device say that it was sent (or held out) again.
Only decisions of cells that gold shows are looked at. A device of which nothing may be told must not change, by having
been assigned before, what is told of another day.
"""

import polars as pl

from shared.domain.decision import DecisionReason, Outcome
from shared.medallion.decision_cells import considered, shown
from shared.medallion.decisions import DECISIONS
from shared.medallion.gold import BuildContext, GoldTable, Source
from shared.medallion.periods import Grain
from shared.medallion.tables import INSTANT, Layer, Table

SENT, HELD_OUT = "sent", "held_out"
"""The arms."""

UNIT = ("promotion_id", "device_key")
"""What is assigned: a device, to an arm of a promotion."""


def assign(context: BuildContext, decisions: pl.LazyFrame, earlier: pl.LazyFrame) -> pl.LazyFrame:
    """The first decision of each device and promotion that sent it or held it out; none of those assigned *earlier*.

    A store's earlier date comes first, then the earlier decision: so dates depend on earlier ones and on no later one.
    """
    told = considered(decisions)
    is_assigned = pl.col("arm").is_not_null() & pl.col("promotion_id").is_not_null()
    return (
        shown(context, told.with_columns(arm=_arm()).filter(is_assigned), told)
        .sort("event_date", "decided_at", "decision_id")
        .unique(UNIT, keep="first", maintain_order=True)
        .join(earlier, on=UNIT, how="anti")
        .select(*UNIT, "arm", pl.col("decided_at").alias("first_at"), "event_date", *_AS_DECIDED)
    )


def _arm() -> pl.Expr:
    return (
        pl.when(pl.col("outcome") == str(Outcome.SENT))
        .then(pl.lit(SENT))
        .when(pl.col("reason") == str(DecisionReason.HELD_OUT))
        .then(pl.lit(HELD_OUT))
    )


_AS_DECIDED = ("store_id", "entered_at", "transition", "decision_id")

ASSIGNMENTS = GoldTable(
    Table(
        Layer.SILVER,
        "assignments",
        pl.Schema(
            {
                "promotion_id": pl.String(),
                "device_key": pl.String(),
                "arm": pl.String(),
                "first_at": INSTANT,
                "event_date": pl.Date(),
                "store_id": pl.String(),
                "entered_at": INSTANT,
                "transition": pl.String(),
                "decision_id": pl.String(),
            }
        ),
        partition_by="event_date",
    ),
    Grain.DAY,
    (Source(DECISIONS, "event_date"),),
    assign,
    remembers=True,
)
"""One row a promotion and device. `first_at` is decided_at of its first decision; `event_date` is the store's.

By date, though what is earlier is then a file a day: of a table without partitions, each build would rewrite all."""

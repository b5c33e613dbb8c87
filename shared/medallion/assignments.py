"""silver.assignments: which devices were sent a promotion on a day, and which were held out of it.

A device is assigned to an arm of a promotion by its first row there, on whichever day that was; later rows say that it
was sent (or held out) again. Which was first is settled where it is read, since a decision may come to the lake after
one that was made later. Only decisions of cells that gold shows are taken: a device of which nothing may be told must
not change, by having been assigned before, what is told of another day.
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


def assign(context: BuildContext, decisions: pl.LazyFrame) -> pl.LazyFrame:
    """The first decision of each date, device and promotion that sent it or held it out."""
    told = considered(decisions)
    is_assigned = pl.col("arm").is_not_null() & pl.col("promotion_id").is_not_null()
    return (
        shown(context, told.with_columns(arm=_arm()).filter(is_assigned), told)
        .sort("decided_at", "decision_id")
        .unique(("event_date", *UNIT), keep="first", maintain_order=True)
        .select(*UNIT, "arm", pl.col("decided_at").alias("first_at"), "event_date", *_AS_DECIDED)
    )


def first_assignments(assigned: pl.LazyFrame, ever: pl.LazyFrame) -> pl.LazyFrame:
    """Those rows of *assigned* that are their device's first of the promotion; *ever*: those of earlier dates too."""
    pairs = assigned.select(UNIT).unique()
    first = ever.join(pairs, on=UNIT, how="semi").group_by(UNIT).agg(pl.col("event_date").min())
    return assigned.join(first, on=(*UNIT, "event_date"), how="semi")


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
)
"""One row a date, promotion and device. `first_at` is decided_at of the date's first decision that sent or held out;
`event_date` is the store's."""

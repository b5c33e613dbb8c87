"""Decision cells: the smallest groups of decisions that gold may tell something about, and the rows in those it tells.

A cell is a promotion at a store in an hour, UTC, of one of the store's dates (where the zone is off by half an hour, an
hour lies in two); no store and no promotion are values like others. Its devices are the distinct ones that were decided
about. Rows of a cell of fewer than GOLD_MIN_DEVICES devices count nowhere: in no hour, no assignment, no outcome.
"""

import polars as pl

from shared.domain.decision import DecisionReason
from shared.medallion.gold import BuildContext
from shared.medallion.periods import Grain

CELL = ("event_date", "hour", "store_id", "promotion_id")


def considered(decisions: pl.LazyFrame) -> pl.LazyFrame:
    """The decisions about a promotion, or about why none was looked at, each with the `hour` of its cell.

    Those with the reason `no_promotion`, every EXIT among them, say nothing of promotions; they are in no cell.
    """
    has_something = pl.col("reason").ne_missing(str(DecisionReason.NO_PROMOTION))
    return decisions.filter(has_something).with_columns(hour=Grain.HOUR.start_of(pl.col("decided_at")))


def shown(context: BuildContext, rows: pl.LazyFrame, decisions: pl.LazyFrame) -> pl.LazyFrame:
    """Those *rows* (they have the columns of CELL) that gold may count, by the decisions that were `considered`."""
    if context.min_devices == 1:
        return rows
    large = _cells(decisions).filter(pl.col("devices") >= context.min_devices)
    return rows.join(large, on=CELL, how="semi", nulls_equal=True)


def withheld(context: BuildContext, decisions: pl.LazyFrame) -> pl.LazyFrame:
    """The cells, of the decisions that were `considered`, of which nothing may be told."""
    return _cells(decisions).filter(pl.col("devices") < context.min_devices).select(CELL)


def _cells(decisions: pl.LazyFrame) -> pl.LazyFrame:
    return decisions.group_by(CELL).agg(devices=pl.col("device_key").n_unique())

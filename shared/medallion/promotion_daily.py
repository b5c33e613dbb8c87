"""gold.promotion_daily: what a promotion changed, by comparing the devices that were sent it with those held out.

A device counts once a promotion, on the day of its first assignment and in the arm of it, whatever happened later
(intention to treat). A promotion's holdout is drawn among devices that would have been sent the offer, so the arms
differ by chance and by the offer alone.
"""

from collections.abc import Mapping
from datetime import timedelta

import polars as pl

from shared.domain.promotions import Transition
from shared.medallion.assignments import ASSIGNMENTS, HELD_OUT, SENT, UNIT
from shared.medallion.decision_cells import considered, shown
from shared.medallion.decisions import DECISIONS
from shared.medallion.gold import BuildContext, Due, GoldTable, Source
from shared.medallion.periods import Grain
from shared.medallion.proportions import difference_interval, share
from shared.medallion.tables import INSTANT, gold_table

SETTLING = timedelta(days=2)
"""A day's outcomes are final so long after the attribution of its start: the day itself and a day for the store's zone
and for what comes late. What was decided later than that counts no more, or final would not be final."""

ARMS = (SENT, HELD_OUT)
DAY = ("event_date", "promotion_id")


def measure_promotions(context: BuildContext, assigned: pl.LazyFrame, decisions: pl.LazyFrame) -> pl.LazyFrame:
    """Devices and outcomes by arm, rates and lifts with their 95 % intervals, by day of assignment and promotion.

    Outcomes are null in an arm of fewer than GOLD_MIN_DEVICES devices, and so is a lift that needs the arm. Those of
    dwelling are null, too, where a device was not assigned at an ENTER: then it had dwelled already.
    """
    devices = _with_outcomes(context, assigned, decisions)
    counted = devices.group_by(DAY).agg(
        *(_count(arm).alias(f"devices_{arm}") for arm in ARMS),
        *(_count(arm, outcome).alias(f"{outcome}_{arm}") for outcome in ("dwelled", "returned") for arm in ARMS),
        entered=(pl.col("transition") == Transition.ENTER).all(),
    )
    return (
        counted.with_columns(
            pl.when(_is_told(context, arm, outcome)).then(f"{outcome}_{arm}").alias(f"{outcome}_{arm}")
            for outcome in ("dwelled", "returned")
            for arm in ARMS
        )
        .with_columns(**_comparison("dwell", "dwelled"), **_comparison("return", "returned"))
        .with_columns(
            attribution_days=pl.lit(context.attribution_days, pl.Int64), is_final=_final_at(context) <= context.newest
        )
    )


def _with_outcomes(context: BuildContext, units: pl.LazyFrame, decisions: pl.LazyFrame) -> pl.LazyFrame:
    """The units, each with whether it `dwelled` and whether it `returned`."""
    told = considered(decisions)
    columns = ("device_key", "promotion_id", "store_id", "entered_at", "decided_at", "event_date")
    moves = shown(context, told.filter(pl.col("transition").is_in([Transition.ENTER, Transition.DWELL])), told)
    dwells, enters = (
        moves.filter(pl.col("transition") == transition).select(columns)
        for transition in (Transition.DWELL, Transition.ENTER)
    )
    # From the date of assignment until its outcomes are final: a build of that date alone is given no other decisions.
    in_time = (pl.col("event_date_right") >= pl.col("event_date")) & (pl.col("decided_at") < _final_at(context))
    dwelled = units.join(dwells, on=("device_key", "store_id", "entered_at")).filter(in_time)
    returned = units.join(enters, on=UNIT).filter(in_time, _is_return(context))
    return _flagged(_flagged(units, dwelled, "dwelled"), returned, "returned")


def _is_return(context: BuildContext) -> pl.Expr:
    """Whether a visit began after the assignment's own, and in time.

    Also after the assignment's `entered_at`: first_at is cut to whole seconds and a phone's clock may be fast, so that
    the ENTER that led to the assignment, or one at a store beside it, may seem to be later.
    """
    entered_at, first_at = pl.col("entered_at_right"), pl.col("first_at")
    until = first_at + timedelta(days=context.attribution_days)
    return (entered_at > first_at) & (entered_at > pl.col("entered_at")) & (entered_at <= until)


def _flagged(units: pl.LazyFrame, those: pl.LazyFrame, name: str) -> pl.LazyFrame:
    flags = those.select(UNIT).unique().with_columns(pl.lit(value=True).alias(name))
    return units.join(flags, on=UNIT, how="left").with_columns(pl.col(name).fill_null(value=False))


def _final_at(context: BuildContext) -> pl.Expr:
    return pl.col("event_date").cast(INSTANT) + _settled_after(context)


def _settled_after(context: BuildContext) -> timedelta:
    return timedelta(days=context.attribution_days) + SETTLING


def _count(arm: str, outcome: str | None = None) -> pl.Expr:
    is_counted = pl.col("arm") == arm
    return (is_counted if outcome is None else is_counted & pl.col(outcome)).sum().cast(pl.Int64)


def _is_told(context: BuildContext, arm: str, outcome: str) -> pl.Expr:
    is_large = pl.col(f"devices_{arm}") >= context.min_devices
    return is_large & pl.col("entered") if outcome == "dwelled" else is_large


def _comparison(name: str, outcome: str) -> Mapping[str, pl.Expr]:
    """The rates of the arms, their difference and its interval; null where an outcome is."""
    sent, held_out = (pl.col(f"{outcome}_{arm}") for arm in ARMS)
    devices = pl.col(f"devices_{SENT}"), pl.col(f"devices_{HELD_OUT}")
    rates = share(sent, devices[0]), share(held_out, devices[1])
    low, high = difference_interval((sent, held_out), devices)
    return {
        f"{name}_rate_{SENT}": rates[0],
        f"{name}_rate_{HELD_OUT}": rates[1],
        f"{name}_lift": rates[0] - rates[1],
        f"{name}_lift_low": low,
        f"{name}_lift_high": high,
    }


def _outcome_columns(name: str, outcome: str) -> dict[str, pl.DataType]:
    counts: dict[str, pl.DataType] = {f"{outcome}_{arm}": pl.Int64() for arm in ARMS}
    return counts | dict.fromkeys(_comparison(name, outcome), pl.Float64())


PROMOTION_DAILY = GoldTable(
    gold_table(
        "promotion_daily",
        {
            "event_date": pl.Date(),
            "promotion_id": pl.String(),
            **{f"devices_{arm}": pl.Int64() for arm in ARMS},
            **_outcome_columns("dwell", "dwelled"),
            **_outcome_columns("return", "returned"),
            "attribution_days": pl.Int64(),
            "is_final": pl.Boolean(),
        },
        partition_by=None,
    ),
    Grain.DAY,
    (
        Source(ASSIGNMENTS.table, "event_date"),
        Source(DECISIONS, "event_date", after=_settled_after),
    ),
    measure_promotions,
    due=Due("is_final = false", lambda context: ~pl.col("is_final") & (_final_at(context) <= context.newest)),
)
"""Rates are shares of the arm's devices, lifts their differences, sent less held out. Dwelling: a DWELL in the visit of
the assignment. Returning: a new visit to one of the promotion's stores within `attribution_days` of the assignment."""

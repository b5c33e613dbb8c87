"""gold.data_quality_hourly: what each hub's capture files held, by the hour in which the events were enqueued."""

import polars as pl

from shared.domain.pings import Reason
from shared.medallion.captures import CAPTURES
from shared.medallion.decisions import DECISIONS
from shared.medallion.gold import BuildContext, GoldTable, Source, by_hour
from shared.medallion.offers import OFFERS
from shared.medallion.periods import Grain
from shared.medallion.pings import PINGS
from shared.medallion.quarantine import BODIES
from shared.medallion.receipts import RECEIPTS
from shared.medallion.tables import INSTANT, gold_table

_REJECTED = {f"rejected_{reason}": reason for reason in Reason}
_COUNTS = ("captured", "accepted", "rejected", *_REJECTED, "duplicates")
_DELAYS = ("delay_p50_s", "delay_p95_s", "silver_delay_p50_s", "silver_delay_p95_s")
_HUB = ("event_date", "hour", "hub")
ROUNDED_TO = 100
"""What the counts are rounded to where anything is withheld: all pings less those near stores must say nothing."""


def count_events(
    context: BuildContext,
    pings: pl.LazyFrame,
    offers: pl.LazyFrame,
    decisions: pl.LazyFrame,
    receipts: pl.LazyFrame,
    bodies: pl.LazyFrame,
    captures: pl.LazyFrame,
) -> pl.LazyFrame:
    """Events by enqueued hour and hub: captured = accepted + rejected, rejected = the sum of its reasons.

    `duplicates` are the accepted ones that say again what another one said: a ping within its capture file, an offer, a
    decision or a receipt (by its id) within the hour. `delay_*_s` are quantiles of how long after its position a ping
    was enqueued, null in other hubs; `silver_delay_*_s` of how long after a capture file its rows were in silver, by
    the hour in which the file's window began. With GOLD_MIN_DEVICES above 1 each count is rounded to the nearest 100,
    on its own, and the pings' delays are null in an hour of fewer devices.
    """
    parts = [
        _accepted(pings, pl.col("is_duplicate").sum(), **_ping_delays(context)),
        _accepted(offers, _repeats("offer_id")),
        _accepted(decisions, _repeats("decision_id")),
        _accepted(receipts, _repeats("receipt_id")),
        _rejected(bodies),
        _refined(captures),
    ]
    counted = (
        pl.concat(parts, how="diagonal")
        .group_by(_HUB)
        # A hub's delay quantiles come from one of the parts; they are null in the others.
        .agg(pl.col("accepted", "rejected", *_REJECTED, "duplicates").sum(), pl.col(_DELAYS).max())
        .with_columns(captured=pl.col("accepted") + pl.col("rejected"))
    )
    if context.min_devices == 1:
        return counted
    return counted.with_columns((pl.col(_COUNTS) + ROUNDED_TO // 2) // ROUNDED_TO * ROUNDED_TO)


def _accepted(rows: pl.LazyFrame, duplicates: pl.Expr, **delays: pl.Expr) -> pl.LazyFrame:
    return rows.group_by(*by_hour("enqueued_at"), "hub").agg(
        accepted=pl.len().cast(pl.Int64), duplicates=duplicates.cast(pl.Int64), **delays
    )


def _repeats(identity: str) -> pl.Expr:
    return pl.len() - pl.col(identity).n_unique()


def _rejected(bodies: pl.LazyFrame) -> pl.LazyFrame:
    return bodies.group_by(*by_hour("enqueued_at"), "hub").agg(
        rejected=pl.len().cast(pl.Int64),
        **{name: (pl.col("reason") == str(reason)).sum().cast(pl.Int64) for name, reason in _REJECTED.items()},
    )


def _refined(captures: pl.LazyFrame) -> pl.LazyFrame:
    waited_s = (pl.col("refined_at") - pl.col("captured_at")).dt.total_microseconds() / 1e6
    return captures.group_by(*by_hour("window_start"), "hub").agg(**_quantiles("silver_delay", waited_s))


def _ping_delays(context: BuildContext) -> dict[str, pl.Expr]:
    delays = _quantiles("delay", pl.col("delay_s"))
    if context.min_devices == 1:
        return delays
    is_shown = pl.col("device_key").n_unique() >= context.min_devices
    return {name: pl.when(is_shown).then(delay) for name, delay in delays.items()}


def _quantiles(name: str, seconds: pl.Expr) -> dict[str, pl.Expr]:
    """The median and the 95th percentile, interpolated linearly."""
    return {f"{name}_p50_s": seconds.quantile(0.5, "linear"), f"{name}_p95_s": seconds.quantile(0.95, "linear")}


DATA_QUALITY_HOURLY = GoldTable(
    gold_table(
        "data_quality_hourly",
        {
            "event_date": pl.Date(),
            "hour": INSTANT,
            "hub": pl.String(),
            **dict.fromkeys(_COUNTS, pl.Int64()),
            **dict.fromkeys(_DELAYS, pl.Float64()),
        },
    ),
    Grain.HOUR,
    (
        *(Source(table, "enqueued_at") for table in (PINGS, OFFERS, DECISIONS, RECEIPTS, BODIES)),
        Source(CAPTURES, "window_start"),
    ),
    count_events,
    period="hour",
)

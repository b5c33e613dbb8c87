"""The decisions of a replay: rows like those of silver.decisions, and what other reference data would have changed."""

from collections.abc import Sequence
from enum import StrEnum

import polars as pl

from shared.medallion.bronze import CapturePath
from shared.medallion.decisions import DATA_COLUMNS, decision_rows, decode_decisions
from shared.medallion.device_keys import DeviceKeys
from shared.medallion.tables import INSTANT


class Side(StrEnum):
    """Under which reference data a decision was made."""

    IN_FORCE = "in_force"
    """The version that was in force for each event: what was decided live."""
    CHANGED = "changed"
    """The files that the replay was given."""


REPLAYED = pl.Schema(
    {
        "side": pl.String(),
        "decision_id": pl.String(),
        "decided_at": INSTANT,
        "device_key": pl.String(),
        **DATA_COLUMNS,
        "source_file": pl.String(),
        "event": pl.String(),
    }
)
"""`source_file` is the capture file of the ping that was decided. `event` is the decision's text as it went to the hub,
null unless it was asked for, since it holds the device id."""

COUNTED = ("offers", "devices", "stores")


def replayed_rows(
    side: Side, texts: Sequence[str], file: CapturePath, keys: DeviceKeys, *, with_events: bool
) -> pl.DataFrame:
    """The rows of decisions given as their texts, in order.

    A device has the key of the instant at which its ping was enqueued; in silver, that of its decision, seconds later.
    """
    decoded = decode_decisions([text.encode() for text in texts])
    assert not decoded.rejected, "what the decision writes, silver can read"
    decided_at = pl.Series([event.time for event in decoded.events], dtype=INSTANT)
    rows = decision_rows(decoded.events, keys, decided_at).with_columns(
        side=pl.lit(str(side)),
        source_file=pl.lit(file.path),
        event=pl.Series(texts if with_events else [None] * len(texts), dtype=pl.String),
    )
    return rows.match_to_schema(REPLAYED)


def offers_by_promotion(replayed: pl.LazyFrame) -> pl.DataFrame:
    """Distinct offers, the devices that got them and the stores they are of: by promotion, and in all (null) at last.

    Columns: promotion_id, and of each side offers_, devices_ and stores_; 0 where a side has none.
    """
    sent = replayed.filter(pl.col("outcome") == "sent")
    counts = (
        pl.col("offer_id").n_unique().alias("offers"),
        pl.col("device_key").n_unique().alias("devices"),
        pl.col("store_id").n_unique().alias("stores"),
    )
    in_all = sent.group_by("side").agg(*counts).with_columns(promotion_id=pl.lit(None, pl.String))
    by_promotion = sent.group_by("side", "promotion_id").agg(*counts)
    found = pl.concat([by_promotion, in_all], how="diagonal").collect()
    keys = found.select("promotion_id").unique()
    for side in Side:
        of_side = found.filter(pl.col("side") == side).select(
            "promotion_id", *(pl.col(name).cast(pl.Int64).alias(f"{name}_{side}") for name in COUNTED)
        )
        keys = keys.join(of_side, on="promotion_id", how="left", nulls_equal=True)
    return keys.fill_null(0).sort("promotion_id", nulls_last=True) if keys.height else keys

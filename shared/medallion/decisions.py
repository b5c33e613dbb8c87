"""silver.decisions: one row for each time that a decision was published; readers count distinct decision ids."""

from collections.abc import Iterable, Sequence

import msgspec
import polars as pl

from shared.domain.events import DecisionEvent
from shared.medallion.bronze import Captured, CapturePath, provenance
from shared.medallion.cloud_events import Decoded, columns, decode
from shared.medallion.device_keys import DeviceKeys
from shared.medallion.event_dates import event_dates
from shared.medallion.tables import INSTANT, silver_table

DATA_COLUMNS: dict[str, pl.DataType] = {
    "store_id": pl.String(),
    "transition": pl.String(),
    "promotion_id": pl.String(),
    "offer_id": pl.String(),
    "outcome": pl.String(),
    "reason": pl.String(),
    "distance_m": pl.Float64(),
    "latitude": pl.Float64(),
    "longitude": pl.Float64(),
    "tracked_at": INSTANT,
    "entered_at": INSTANT,
    "left_at": INSTANT,
    "ping_partition_id": pl.String(),
    "ping_sequence_number": pl.Int64(),
    "reference_version": pl.String(),
}
"""What the table takes from `data`."""

DECISIONS = silver_table(
    "decisions",
    {
        "decision_id": pl.String(),
        "decided_at": INSTANT,
        "device_key": pl.String(),
        **DATA_COLUMNS,
        "event_date": pl.Date(),
        "entered_date": pl.Date(),
    },
)
"""`decided_at` is the event's time: when the ping that was decided was enqueued. `ping_partition_id` and
`ping_sequence_number` say which ping that was; `partition_id` and `sequence_number` are the decision's own event.
`event_date` and `entered_date` are the dates of decided_at and entered_at in the store's zone."""


_DECODER = msgspec.json.Decoder(DecisionEvent)


def decode_decisions(bodies: Sequence[bytes | None], rows: Iterable[int] | None = None) -> Decoded[DecisionEvent]:
    """The bodies (of those *rows*) of a frame of the decisions hub, taken for decisions."""
    return decode(bodies, _DECODER, rows)


def refine_decisions(
    captured: Captured, decoded: Decoded[DecisionEvent], zones: pl.Series, file: CapturePath, keys: DeviceKeys
) -> pl.DataFrame:
    """The decisions of captured events, in their order; *decoded* came from their bodies, *zones* are their stores'."""
    events = captured.events[decoded.rows]
    decisions = decision_rows(decoded.events, keys, events["enqueued_at"])
    dates = decisions.select(
        event_date=event_dates(decisions["decided_at"], zones),
        entered_date=event_dates(decisions["entered_at"], zones),
    )
    return DECISIONS.conform(pl.concat([decisions, dates, provenance(events, file)], how="horizontal"))


def decision_rows(events: Sequence[DecisionEvent], keys: DeviceKeys, keyed_at: pl.Series) -> pl.DataFrame:
    """The columns of decisions that say what was decided; the device's key is the one of its instant in *keyed_at*."""
    data = [event.data for event in events]
    return pl.DataFrame(
        {
            "decision_id": pl.Series([event.id for event in events], dtype=pl.String),
            **columns(events, {"time": INSTANT}),
            "device_key": keys.key([item.device_id for item in data], keyed_at.to_physical().to_numpy()),
            **columns(data, DATA_COLUMNS),
        }
    ).rename({"time": "decided_at"})

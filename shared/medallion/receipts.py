"""silver.receipts: one row for each time that it was said what became of an offer; readers count distinct offer ids."""

from collections.abc import Iterable, Sequence

import msgspec
import polars as pl

from shared.domain.events import ReceiptEvent
from shared.medallion.bronze import Captured, CapturePath, provenance
from shared.medallion.cloud_events import Decoded, columns, decode
from shared.medallion.device_keys import DeviceKeys
from shared.medallion.event_dates import event_dates
from shared.medallion.tables import INSTANT, silver_table

DATA_COLUMNS: dict[str, pl.DataType] = {
    "offer_id": pl.String(),
    "store_id": pl.String(),
    "promotion_id": pl.String(),
    "outcome": pl.String(),
    "attempts": pl.Int64(),
    "status": pl.Int64(),
    "offered_at": INSTANT,
}
"""What the table takes from `data`."""

RECEIPTS = silver_table(
    "receipts",
    {
        "receipt_id": pl.String(),
        "receipt_at": INSTANT,
        "device_key": pl.String(),
        **DATA_COLUMNS,
        "event_date": pl.Date(),
    },
)
"""`offered_at` is the offer's time, so it is decided_at of the offer's decision; `event_date` is its date in the
store's zone. `status` is the last HTTP status of the receiver, null where none came."""


_DECODER = msgspec.json.Decoder(ReceiptEvent)


def decode_receipts(bodies: Sequence[bytes | None], rows: Iterable[int] | None = None) -> Decoded[ReceiptEvent]:
    """The bodies (of those *rows*) of a frame of the decisions hub, taken for receipts."""
    return decode(bodies, _DECODER, rows)


def refine_receipts(
    captured: Captured, decoded: Decoded[ReceiptEvent], zones: pl.Series, file: CapturePath, keys: DeviceKeys
) -> pl.DataFrame:
    """The receipts of captured events, in their order; *decoded* came from their bodies, *zones* are their stores'."""
    events = captured.events[decoded.rows]
    data = [event.data for event in decoded.events]
    receipts = pl.DataFrame(
        {
            "receipt_id": pl.Series([event.id for event in decoded.events], dtype=pl.String),
            **columns(decoded.events, {"time": INSTANT}),
            "device_key": keys.key([item.device_id for item in data], events["enqueued_at"].to_physical().to_numpy()),
            **columns(data, DATA_COLUMNS),
        }
    ).rename({"time": "receipt_at"})
    dates = receipts.select(event_date=event_dates(receipts["offered_at"], zones))
    return RECEIPTS.conform(pl.concat([receipts, dates, provenance(events, file)], how="horizontal"))

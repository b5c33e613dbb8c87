"""silver.offers: one row for each time that an offer was published; readers count distinct offer ids."""

from collections.abc import Sequence

import msgspec
import polars as pl

from shared.domain.events import OfferEvent
from shared.medallion.bronze import Captured, CapturePath, provenance
from shared.medallion.cloud_events import Decoded, columns, decode
from shared.medallion.device_keys import DeviceKeys
from shared.medallion.tables import INSTANT, silver_table

DATA_COLUMNS: dict[str, pl.DataType] = {
    "store_id": pl.String(),
    "merchant": pl.String(),
    "location": pl.String(),
    "promotion_id": pl.String(),
    "discount_percent": pl.Float64(),
    "message": pl.String(),
    "transition": pl.String(),
    "distance_m": pl.Float64(),
    "latitude": pl.Float64(),
    "longitude": pl.Float64(),
    "valid_until": INSTANT,
    "deliver_by": INSTANT,
}
"""What the table takes from `data` as it is."""

OFFERS = silver_table(
    "offers",
    {"offer_id": pl.String(), "offered_at": INSTANT, "device_key": pl.String(), **DATA_COLUMNS},
)
"""`offered_at` is the event's time: when the ping that led to it was enqueued."""


_DECODER = msgspec.json.Decoder(OfferEvent)


def decode_offers(bodies: Sequence[bytes | None]) -> Decoded[OfferEvent]:
    """The bodies of a frame of the offers hub."""
    return decode(bodies, _DECODER)


def refine_offers(
    captured: Captured, decoded: Decoded[OfferEvent], file: CapturePath, keys: DeviceKeys
) -> pl.DataFrame:
    """The offers of captured events, in their order; *decoded* came from their bodies."""
    events = captured.events[decoded.rows]
    data = [event.data for event in decoded.events]
    offers = pl.DataFrame(
        {
            "offer_id": pl.Series([event.id for event in decoded.events], dtype=pl.String),
            **columns(decoded.events, {"time": INSTANT}),
            "device_key": keys.key([item.device_id for item in data], events["enqueued_at"].to_physical().to_numpy()),
            **columns(data, DATA_COLUMNS),
        }
    ).rename({"time": "offered_at"})
    return OFFERS.conform(pl.concat([offers, provenance(events, file)], how="horizontal"))

"""Offers, decisions and receipts on the wire: CloudEvents 1.0, in the one definition that writes and reads them.

Distances are metres, instants RFC 3339 in UTC. The same value gives the same bytes.
"""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal

import msgspec

SOURCE = "footfall/evaluate_proximity"
DECISION_TYPE: Final = "footfall.decision.v1"
RECEIPT_TYPE: Final = "footfall.receipt.v1"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

Instant = Annotated[datetime, msgspec.Meta(tz=True)]
"""RFC 3339 with an offset."""


def instant(at_us: int) -> datetime:
    """The instant so many microseconds after 1970 UTC."""
    return _EPOCH + timedelta(microseconds=at_us)


def microseconds(at: datetime) -> int:
    """How many microseconds after 1970 UTC an instant is."""
    # A difference, not astimezone(): that overflows for year 1 with a positive offset.
    return (at - _EPOCH) // _MICROSECOND


class OfferData(msgspec.Struct, frozen=True, gc=False):
    """`data` of an offer: what its receiver needs. `deliver_by`: whoever delivers a later one drops it."""

    device_id: str
    store_id: str
    merchant: str
    location: str
    promotion_id: str
    discount_percent: float
    message: str
    transition: str
    distance_m: float
    latitude: float
    longitude: float
    valid_until: Instant | None
    deliver_by: Instant


class OfferEvent(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """An offer as it lies on the offers hub; `subject` is the device, `time` when its ping was enqueued."""

    specversion: Literal["1.0"] = "1.0"
    id: str
    source: str = SOURCE
    type: Literal["footfall.offer.v1"]
    subject: str = ""
    time: Instant
    datacontenttype: str = "application/json"
    data: OfferData


class DecisionData(
    msgspec.Struct,
    frozen=True,
    gc=False,
    kw_only=True,
    rename={"ping_partition_id": "partition_id", "ping_sequence_number": "sequence_number"},
):
    """`data` of a decision: what was decided about one promotion (or none) at one transition, and why."""

    device_id: str
    store_id: str | None
    transition: str | None
    promotion_id: str | None
    offer_id: str | None
    outcome: str
    reason: str | None
    distance_m: float | None
    latitude: float | None
    longitude: float | None
    tracked_at: Instant
    entered_at: Instant | None = None
    left_at: Instant | None = None
    ping_partition_id: str
    ping_sequence_number: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    reference_version: str


class DecisionEvent(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A decision as it lies on the decisions hub; `subject` is the device, `time` when its ping was enqueued."""

    specversion: Literal["1.0"] = "1.0"
    id: str
    source: str = SOURCE
    type: Literal["footfall.decision.v1"]
    subject: str = ""
    time: Instant
    datacontenttype: str = "application/json"
    data: DecisionData


class ReceiptData(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """`data` of a receipt: what became of an offer's delivery, after so many attempts."""

    offer_id: str
    device_id: str
    store_id: str
    promotion_id: str
    offered_at: Instant
    """The offer's `time`."""
    outcome: Literal["delivered", "expired", "given_up"]
    attempts: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    status: Annotated[int, msgspec.Meta(ge=100, le=999)] | None
    """The last HTTP status of the receiver; None where none came."""


class ReceiptEvent(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A receipt as it lies on the decisions hub; `subject` is the device, `time` when the delivery had ended."""

    specversion: Literal["1.0"] = "1.0"
    id: str
    source: str = "footfall/deliver_offers"
    type: Literal["footfall.receipt.v1"]
    subject: str = ""
    time: Instant
    datacontenttype: str = "application/json"
    data: ReceiptData

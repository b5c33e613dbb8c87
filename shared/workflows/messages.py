"""Offers and decisions as CloudEvents 1.0 JSON: the bytes that go to the hubs. The same value gives the same text."""

from datetime import UTC, datetime, timedelta

import msgspec

from shared.domain.deciding import Decision, Offer

SOURCE = "footfall/evaluate_proximity"
OFFER_TYPE = "footfall.offer.v1"
DECISION_TYPE = "footfall.decision.v1"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class OfferData(msgspec.Struct, frozen=True):
    """What `data` of an offer event holds; distances in metres, instants in RFC 3339."""

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
    valid_until: str | None
    deliver_by: str


class DecisionData(msgspec.Struct, frozen=True):
    """What `data` of a decision event holds; distances in metres, instants in RFC 3339."""

    device_id: str
    store_id: str | None
    transition: str | None
    promotion_id: str | None
    offer_id: str | None
    outcome: str
    reason: str | None
    distance_m: float | None
    latitude: float
    longitude: float
    tracked_at: str
    partition_id: str
    sequence_number: int
    reference_version: str


class CloudEvent[T](msgspec.Struct, frozen=True):
    """The envelope, in the order of the CloudEvents specification."""

    specversion: str
    id: str
    source: str
    type: str
    subject: str
    time: str
    datacontenttype: str
    data: T


def rfc3339(instant_us: int) -> str:
    """An instant in UTC, with as many decimals as it needs."""
    return (_EPOCH + timedelta(microseconds=instant_us)).isoformat().replace("+00:00", "Z")


def encode_offer(offer: Offer, *, delivery_window_s: int) -> str:
    """The offer as one event of the offers hub; whoever delivers it after `deliver_by` drops it."""
    decision, promotion = offer.decision, offer.promotion
    ping = decision.ping
    data = OfferData(
        device_id=ping.device_id,
        store_id=decision.store_id or "",
        merchant=offer.merchant,
        location=offer.location,
        promotion_id=promotion.promotion_id,
        discount_percent=promotion.discount_percent,
        message=promotion.message,
        transition=str(decision.transition),
        distance_m=round(decision.distance_m or 0.0, 3),
        latitude=ping.latitude,
        longitude=ping.longitude,
        valid_until=None if promotion.ends_at_us is None else rfc3339(promotion.ends_at_us),
        deliver_by=rfc3339(ping.enqueued_at_us + delivery_window_s * 1_000_000),
    )
    return _event(OFFER_TYPE, str(decision.offer_id), ping.device_id, ping.enqueued_at_us, data)


def encode_decision(decision: Decision) -> str:
    """The decision as one event of the decisions hub."""
    ping = decision.ping
    offer_id = decision.offer_id
    data = DecisionData(
        device_id=ping.device_id,
        store_id=decision.store_id,
        transition=None if decision.transition is None else str(decision.transition),
        promotion_id=decision.promotion_id,
        offer_id=None if offer_id is None else str(offer_id),
        outcome=str(decision.outcome),
        reason=None if decision.reason is None else str(decision.reason),
        distance_m=None if decision.distance_m is None else round(decision.distance_m, 3),
        latitude=ping.latitude,
        longitude=ping.longitude,
        tracked_at=rfc3339(ping.tracked_at_us),
        partition_id=ping.partition_id,
        sequence_number=ping.sequence_number,
        reference_version=decision.reference_version,
    )
    return _event(DECISION_TYPE, str(decision.decision_id), ping.device_id, ping.enqueued_at_us, data)


def _event(kind: str, event_id: str, subject: str, time_us: int, data: OfferData | DecisionData) -> str:
    event = CloudEvent("1.0", event_id, SOURCE, kind, subject, rfc3339(time_us), "application/json", data)
    return msgspec.json.encode(event).decode()

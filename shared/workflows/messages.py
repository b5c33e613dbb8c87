"""Offers and decisions as the texts that go to the hubs."""

from functools import lru_cache

import msgspec

from shared.domain.decision import Decision, Offer
from shared.domain.events import DecisionData, DecisionEvent, OfferData, OfferEvent
from shared.domain.events import instant as make_instant

instant = lru_cache(maxsize=4096)(make_instant)
"""The decisions of a batch share most of their times: a few whole seconds."""
_encode = msgspec.json.Encoder().encode


def encode_offer(offer: Offer, *, delivery_window_s: int) -> str:
    """The offer as one event of the offers hub."""
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
        valid_until=None if promotion.ends_at_us is None else instant(promotion.ends_at_us),
        deliver_by=instant(ping.enqueued_at_us + delivery_window_s * 1_000_000),
    )
    event = OfferEvent(
        id=decision.offer_id or "",
        type="footfall.offer.v1",
        subject=ping.device_id,
        time=instant(ping.enqueued_at_us),
        data=data,
    )
    return _encode(event).decode()


def encode_decision(decision: Decision) -> str:
    """The decision as one event of the decisions hub."""
    ping = decision.ping
    data = DecisionData(
        device_id=ping.device_id,
        store_id=decision.store_id,
        transition=None if decision.transition is None else str(decision.transition),
        promotion_id=decision.promotion_id,
        offer_id=decision.offer_id,
        outcome=str(decision.outcome),
        reason=None if decision.reason is None else str(decision.reason),
        distance_m=None if decision.distance_m is None else round(decision.distance_m, 3),
        latitude=ping.latitude,
        longitude=ping.longitude,
        tracked_at=instant(ping.tracked_at_us),
        entered_at=None if decision.entered_us is None else instant(decision.entered_us),
        left_at=None if decision.left_us is None else instant(decision.left_us),
        ping_partition_id=ping.partition_id,
        ping_sequence_number=ping.sequence_number,
        reference_version=decision.reference_version,
    )
    event = DecisionEvent(
        id=decision.decision_id,
        type="footfall.decision.v1",
        subject=ping.device_id,
        time=instant(ping.enqueued_at_us),
        data=data,
    )
    return _encode(event).decode()

"""Records by hand: decisions, pings and a history, around noon on Monday 1 June 2026 (13:00 in London)."""

from typing import Any

from shared.domain.decision import DecisionReason, Outcome
from shared.domain.promotions import Transition
from shared.domain.reference import ReferenceData
from shared.workflows.device_history import DecisionRecord, DeviceHistory, PingRecord, VersionAt
from tests.unit.evaluate.world import CAFE, NOON_US, SECOND_US

MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US


def decided(reason: DecisionReason | str | None = None, **more: Any) -> DecisionRecord:
    """A decision about promotion `coffee` at an ENTER of the café at noon; without a reason it was sent."""
    tracked_us = more.pop("tracked_us", NOON_US)
    fields = {
        "enqueued_us": tracked_us,
        "tracked_us": tracked_us,
        "partition_id": "2",
        "sequence_number": (tracked_us - NOON_US) // SECOND_US + 1000,
        "store_id": "cafe",
        "transition": Transition.ENTER,
        "promotion_id": "coffee",
        "offer_id": "an offer" if reason is None else None,
        "outcome": Outcome.SENT if reason is None else Outcome.NOT_SENT,
        "reason": reason,
        "distance_m": 12.4,
        "entered_us": tracked_us,
        "left_us": None,
        "reference_version": "v1",
    } | more
    name = "|".join(str(fields[key]) for key in ("tracked_us", "store_id", "transition", "promotion_id"))
    return DecisionRecord(**({"decision_id": name} | fields))


def ping(at_us: int = NOON_US, position: tuple[float, float] = CAFE, **more: Any) -> PingRecord:
    """A ping that arrived at once."""
    fields = {"enqueued_us": at_us, "sequence_number": (at_us - NOON_US) // SECOND_US + 1000, "accuracy_m": None} | more
    return PingRecord(tracked_us=at_us, partition_id="2", latitude=position[0], longitude=position[1], **fields)


def history(*decisions: DecisionRecord, **more: Any) -> DeviceHistory:
    """The two hours around noon, told at one o'clock."""
    fields = {"start_us": NOON_US - HOUR_US, "end_us": NOON_US + HOUR_US, "now_us": NOON_US + HOUR_US}
    return DeviceHistory("d1", "2", decisions=decisions, **(fields | more))


def always(reference: ReferenceData | None) -> VersionAt:
    """One version from the beginning on, or none."""
    return lambda _: reference

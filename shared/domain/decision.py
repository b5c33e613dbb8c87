"""What is decided: a ping as the decision sees it, and the records of what was decided about it and why.

Times are whole microseconds since 1970 UTC. The Structs on the hot path are msgspec's, which are made ten times as fast
as frozen dataclasses.
"""

from enum import StrEnum
from hashlib import sha1
from json.encoder import encode_basestring_ascii as quoted
from uuid import UUID

import msgspec

from shared.domain.promotions import Promotion, Transition

OFFER_NAMESPACE = UUID("6f1ab3a2-1d4c-5f0e-9a53-0f2c7f9b7a11")
DECISION_NAMESPACE = UUID("b7c0a7de-58f6-5a0b-8a3a-6a1a6d8a5c22")


class Outcome(StrEnum):
    """What became of one promotion at one transition."""

    SENT = "sent"
    NOT_SENT = "not_sent"
    FAILED = "failed"


class DecisionReason(StrEnum):
    """Why an offer was not sent: the closed list. Of several reasons the first check that fails is given."""

    NO_CONSENT = "no_consent"
    NO_PROMOTION = "no_promotion"
    NOT_RUNNING = "not_running"
    WRONG_TRIGGER = "wrong_trigger"
    OUTSIDE_HOURS = "outside_hours"
    STALE_PING = "stale_ping"
    LOW_ACCURACY = "low_accuracy"
    COOLDOWN = "cooldown"
    DAILY_CAP = "daily_cap"
    TOO_SOON = "too_soon"
    QUIET_HOURS = "quiet_hours"
    GEOFENCE_CHANGED = "geofence_changed"
    UNKNOWN = "unknown"
    OUTRANKED = "outranked"
    HELD_OUT = "held_out"
    BUDGET_SPENT = "budget_spent"
    INTERNAL_ERROR = "internal_error"


class Near(msgspec.Struct, frozen=True, gc=False):
    """A geofence near a ping: the row of its store, the geodesic distance to the store, whether the ping is inside."""

    store: int
    distance_m: float
    inside: bool


class SeenPing(msgspec.Struct, frozen=True, gc=False):
    """One accepted ping, where it stands in its hub partition, and the geofences near it."""

    device_id: str
    latitude: float
    longitude: float
    tracked_at_us: int
    enqueued_at_us: int
    accuracy_m: float | None
    partition_id: str
    sequence_number: int
    near: tuple[Near, ...]
    consent: bool | None = None
    """What the device's user agreed to, None where the ping does not say."""


class Decision(msgspec.Struct, frozen=True, gc=False):
    """What was decided about one promotion (or none) at one transition.

    `transition` is None for what is recorded without one: a geofence that changed under a device, a ping that was not
    accurate enough, an error. `left_us` is set at an EXIT: when the visit that began at `entered_us` ended.
    """

    ping: SeenPing
    reference_version: str
    outcome: Outcome
    reason: DecisionReason | None
    store_id: str | None = None
    transition: Transition | None = None
    promotion_id: str | None = None
    distance_m: float | None = None
    entered_us: int | None = None
    left_us: int | None = None

    @property
    def decision_id(self) -> str:
        """A UUIDv5: the same cause gives the same id."""
        ping = self.ping
        cause = (ping.partition_id, ping.sequence_number, ping.enqueued_at_us, ping.device_id)
        return _uuid(DECISION_NAMESPACE, *cause, self.store_id, self.transition, self.promotion_id)

    @property
    def offer_id(self) -> str | None:
        """The UUIDv5 of the offer that was sent: one for a device, store, promotion and visit."""
        if self.outcome is not Outcome.SENT:
            return None
        return _uuid(OFFER_NAMESPACE, self.ping.device_id, self.store_id, self.promotion_id, self.entered_us)


class Offer(msgspec.Struct, frozen=True, gc=False):
    """What one device gets from a promotion."""

    decision: Decision
    promotion: Promotion
    merchant: str
    location: str


class Outputs(msgspec.Struct, frozen=True, gc=False):
    """What one ping leads to, in order."""

    decisions: tuple[Decision, ...] = ()
    offers: tuple[Offer, ...] = ()


NOTHING = Outputs()


def _uuid(namespace: UUID, *cause: str | int | None) -> str:
    """`str(uuid5(namespace, json.dumps(cause)))` in a third of the time."""
    # A JSON array keeps the parts apart, whatever characters an id has.
    parts = ["null" if part is None else quoted(part) if isinstance(part, str) else str(part) for part in cause]
    text = sha1(namespace.bytes + f"[{', '.join(parts)}]".encode(), usedforsecurity=False).hexdigest()
    variant = "89ab"[int(text[16], 16) & 3]  # version 5 and the variant of RFC 9562
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{variant}{text[17:20]}-{text[20:32]}"

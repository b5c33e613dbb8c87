"""The decision: what one ping of one device leads to. Pure: the same row, ping and reference data give the same answer.

Times are whole microseconds since 1970 UTC. A device's state is a new value after each ping, never changed in place.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID, uuid5

from shared.domain.presence import NEXT, Presence, Sighting
from shared.domain.promotions import Promotion, Transition
from shared.domain.reference import ReferenceData

OFFER_NAMESPACE = UUID("6f1ab3a2-1d4c-5f0e-9a53-0f2c7f9b7a11")
DECISION_NAMESPACE = UUID("b7c0a7de-58f6-5a0b-8a3a-6a1a6d8a5c22")


class Outcome(StrEnum):
    """What became of one promotion at one transition."""

    SENT = "sent"
    NOT_SENT = "not_sent"
    FAILED = "failed"


class DecisionReason(StrEnum):
    """Why an offer was not sent: the closed list."""

    NO_PROMOTION = "no_promotion"
    NOT_RUNNING = "not_running"
    STALE_PING = "stale_ping"
    COOLDOWN = "cooldown"
    OUTRANKED = "outranked"
    INTERNAL_ERROR = "internal_error"


@dataclass(frozen=True, slots=True)
class Near:
    """A geofence near a ping: the row of its store, the geodesic distance, and whether it is within the radius."""

    store: int
    distance_m: float
    inside: bool


@dataclass(frozen=True, slots=True)
class SeenPing:
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


@dataclass(frozen=True, slots=True)
class Visit:
    """A stay inside one geofence that has not ended."""

    entered_at_us: int
    last_inside_us: int


@dataclass(frozen=True, slots=True)
class DeviceState:
    """All that is remembered about one device: visits and contacts by store id."""

    newest_us: int
    """The newest `tracked_at`; an older ping moves nothing."""
    changed_us: int
    """When the event that last changed this state was enqueued; what counts for the state's expiry."""
    visits: Mapping[str, Visit] = field(default_factory=dict)
    contacts: Mapping[str, int] = field(default_factory=dict)
    """When the device last got an offer of a store."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided about one promotion (or none) at one transition (or none, when deciding failed)."""

    ping: SeenPing
    reference_version: str
    outcome: Outcome
    reason: DecisionReason | None
    store_id: str | None = None
    transition: Transition | None = None
    promotion_id: str | None = None
    distance_m: float | None = None
    entered_at_us: int | None = None

    @property
    def decision_id(self) -> UUID:
        """The same cause gives the same id."""
        ping = self.ping
        cause = (ping.partition_id, ping.sequence_number, ping.enqueued_at_us, ping.device_id)
        return _uuid(DECISION_NAMESPACE, *cause, self.store_id, self.transition, self.promotion_id)

    @property
    def offer_id(self) -> UUID | None:
        """The offer that was sent: one for a device, store, promotion and visit."""
        if self.outcome is not Outcome.SENT:
            return None
        return _uuid(OFFER_NAMESPACE, self.ping.device_id, self.store_id, self.promotion_id, self.entered_at_us)


@dataclass(frozen=True, slots=True)
class Offer:
    """What one device gets from a promotion."""

    decision: Decision
    promotion: Promotion
    merchant: str
    location: str


@dataclass(frozen=True, slots=True)
class Outputs:
    """What one ping leads to, in order."""

    decisions: tuple[Decision, ...] = ()
    offers: tuple[Offer, ...] = ()


NOTHING = Outputs()


def decide(
    state: DeviceState | None, ping: SeenPing, reference: ReferenceData, *, state_ttl_us: int
) -> tuple[DeviceState | None, Outputs]:
    """Return the device's state after *ping*, and what the ping leads to.

    The state is as good as absent for an event enqueued more than `state_ttl_us` after its last change. A ping older
    than the newest moves nothing; without a state, one older than the maximum age when it was enqueued moves nothing.
    """
    if state is not None and ping.enqueued_at_us - state.changed_us > state_ttl_us:
        state = None
    if state is None:
        if not any(near.inside for near in ping.near) or _is_stale(ping, reference):
            return None, NOTHING
        state = DeviceState(newest_us=ping.tracked_at_us, changed_us=ping.enqueued_at_us)
    elif ping.tracked_at_us < state.newest_us:
        return state, NOTHING
    visits, exits, enters = _move(state, ping, reference)
    decisions = [
        *(_exit(ping, reference, store_id, visit) for store_id, visit in exits),
        *_choose(state, ping, reference, enters),
    ]
    sent = [decision for decision in decisions if decision.outcome is Outcome.SENT]
    contacts = {
        store_id: at_us for store_id, at_us in state.contacts.items() if ping.tracked_at_us - at_us < state_ttl_us
    } | {decision.store_id or "": ping.tracked_at_us for decision in sent}
    state = DeviceState(ping.tracked_at_us, ping.enqueued_at_us, visits, contacts)
    if not decisions:
        return state, NOTHING
    return state, Outputs(tuple(decisions), tuple(_offer(decision, reference, enters) for decision in sent))


def fail(ping: SeenPing, reference_version: str) -> Outputs:
    """What is said when deciding about *ping* raised an unexpected error."""
    return Outputs((Decision(ping, reference_version, Outcome.FAILED, DecisionReason.INTERNAL_ERROR),))


def _uuid(namespace: UUID, *cause: object) -> UUID:
    # A JSON array keeps the parts apart, whatever characters an id has.
    return uuid5(namespace, json.dumps(cause, ensure_ascii=True))


def _is_stale(ping: SeenPing, reference: ReferenceData) -> bool:
    return ping.enqueued_at_us - ping.tracked_at_us > reference.contact_policy.max_ping_age_s * 1_000_000


def _move(
    state: DeviceState, ping: SeenPing, reference: ReferenceData
) -> tuple[dict[str, Visit], list[tuple[str, Visit]], list[Near]]:
    """Where the device is after the ping: its visits, those that ended, and the geofences it entered."""
    store_ids = reference.stores.store_id
    is_accurate = ping.accuracy_m is None or ping.accuracy_m <= reference.presence.max_accuracy_m
    near = {store_ids[item.store]: item for item in ping.near}
    visits: dict[str, Visit] = {}
    exits: list[tuple[str, Visit]] = []
    # A device leaves a store when that store is no longer near, so look where it was as well as where it is.
    for store_id, visit in sorted(state.visits.items()):
        if store_id not in reference.store_rows:
            continue  # a store that was removed ends its visits quietly
        sighting = _sighting(near.get(store_id), is_accurate=is_accurate)
        presence, transition = NEXT[Presence.INSIDE, sighting]
        if transition is Transition.EXIT:
            exits.append((store_id, visit))
        if presence is Presence.INSIDE:
            within = sighting is Sighting.WITHIN
            visits[store_id] = Visit(visit.entered_at_us, ping.tracked_at_us) if within else visit
    enters: list[Near] = []
    for store_id, item in near.items():
        if store_id in state.visits:
            continue
        presence, _ = NEXT[Presence.OUTSIDE, _sighting(item, is_accurate=is_accurate)]
        if presence is Presence.INSIDE:
            visits[store_id] = Visit(ping.tracked_at_us, ping.tracked_at_us)
            enters.append(item)
    return visits, exits, enters


def _sighting(near: Near | None, *, is_accurate: bool) -> Sighting:
    if not is_accurate:
        return Sighting.UNCLEAR
    if near is None:
        return Sighting.AWAY
    return Sighting.WITHIN if near.inside else Sighting.UNCLEAR


def _exit(ping: SeenPing, reference: ReferenceData, store_id: str, visit: Visit) -> Decision:
    return Decision(
        ping,
        reference.version,
        Outcome.NOT_SENT,
        DecisionReason.NO_PROMOTION,
        store_id=store_id,
        transition=Transition.EXIT,
        entered_at_us=visit.entered_at_us,
    )


def _choose(state: DeviceState, ping: SeenPing, reference: ReferenceData, enters: list[Near]) -> Iterator[Decision]:
    """One decision for each store entered and promotion there: all compete, and the best is sent."""
    checked = [
        (near, promotion, _refusal(state, ping, reference, near, promotion))
        for near in enters
        for promotion in _promotions_of(near.store, reference)
    ]
    eligible = [(near, promotion) for near, promotion, reason in checked if promotion is not None and reason is None]
    best = min(eligible, key=lambda pair: _rank(pair[0], pair[1], reference), default=None)
    for near, promotion, reason in checked:
        is_best = best is not None and near is best[0] and promotion is best[1]
        yield Decision(
            ping,
            reference.version,
            Outcome.SENT if is_best else Outcome.NOT_SENT,
            None if is_best else reason or DecisionReason.OUTRANKED,
            store_id=reference.stores.store_id[near.store],
            transition=Transition.ENTER,
            promotion_id=None if promotion is None else promotion.promotion_id,
            distance_m=near.distance_m,
            entered_at_us=ping.tracked_at_us,
        )


def _promotions_of(store: int, reference: ReferenceData) -> list[Promotion] | list[None]:
    rows = reference.selection[:, store].nonzero()[0].tolist()
    return [reference.promotions[row] for row in rows] or [None]


def _refusal(
    state: DeviceState, ping: SeenPing, reference: ReferenceData, near: Near, promotion: Promotion | None
) -> DecisionReason | None:
    """The first check that fails, or None."""
    if promotion is None:
        return DecisionReason.NO_PROMOTION
    if not promotion.runs_at(ping.tracked_at_us):
        return DecisionReason.NOT_RUNNING
    if _is_stale(ping, reference):
        return DecisionReason.STALE_PING
    contacted_us = state.contacts.get(reference.stores.store_id[near.store])
    cooldown_us = reference.contact_policy.cooldown_s * 1_000_000
    if contacted_us is not None and ping.tracked_at_us - contacted_us < cooldown_us:
        return DecisionReason.COOLDOWN
    return None


def _rank(near: Near, promotion: Promotion, reference: ReferenceData) -> tuple[float, float, str, str]:
    """Lower is better: the higher discount, then the nearer store, then the ids, so that there is always one winner."""
    store_id = reference.stores.store_id[near.store]
    return -promotion.discount_percent, near.distance_m, promotion.promotion_id, store_id


def _offer(decision: Decision, reference: ReferenceData, enters: list[Near]) -> Offer:
    store = reference.store_rows[decision.store_id or ""]
    promotion = next(item for item in reference.promotions if item.promotion_id == decision.promotion_id)
    return Offer(decision, promotion, reference.stores.merchant[store], reference.stores.location[store])

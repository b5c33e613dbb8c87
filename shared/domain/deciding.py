"""The decision: what one ping of one device leads to. Pure: row, ping, reference data and budget alone decide.

Times are whole microseconds since 1970 UTC. A device's state is a new value after each ping, never changed in place.
"""

from typing import NamedTuple

from shared.domain.budget import Budget
from shared.domain.choosing import Chance, Choice, choose, is_stale
from shared.domain.decision import (
    NOTHING,
    Decision,
    DecisionReason,
    Near,
    Offer,
    Outcome,
    Outputs,
    SeenPing,
)
from shared.domain.device_state import OFFERS_REMEMBERED, DeviceState, Place
from shared.domain.presence import REST_US, Ended, Fix, Visit, follow
from shared.domain.promotions import Transition
from shared.domain.reference import ReferenceData

BLURRED_EVERY_US = 3600 * 1_000_000
"""A ping inside a geofence that is not accurate enough is recorded at most once in this time, a device and store."""
CHANGED_FOR_US = 600 * 1_000_000
"""For so long after a geofence changed, a device that was never seen before is taken to have been there already."""


def decide(
    state: DeviceState | None, ping: SeenPing, reference: ReferenceData, budget: Budget, *, state_ttl_us: int
) -> tuple[DeviceState | None, Outputs]:
    """Return the device's state after *ping*, and what the ping leads to.

    The state is as good as absent for an event enqueued more than `state_ttl_us` after its last change. A ping older
    than the newest moves nothing; without a state, one older than the maximum age when it was enqueued moves nothing.
    """
    if state is not None and ping.enqueued_at_us - state.changed_us > state_ttl_us:
        state = None
    if state is None:
        if not any(near.inside for near in ping.near) or is_stale(ping, reference.contact_policy):
            return None, NOTHING
    elif ping.tracked_at_us < state.newest_us:
        return state, NOTHING
    move = _move(state, ping, reference)
    blurred = _blurred(state, ping, reference, move)
    if not (move.exits or move.chances or blurred):
        return _after(state, ping, reference, move, None, blurred, state_ttl_us), NOTHING
    choice = choose(state, ping, reference, budget, move.chances)
    decisions = (
        *(_exit(ping, reference, store_id, ended) for store_id, ended in move.exits),
        *choice.decisions,
        *(_low_accuracy(ping, reference, near) for near in blurred),
    )
    after = _after(state, ping, reference, move, choice, blurred, state_ttl_us)
    return after, Outputs(decisions, _offers(choice, reference))


def fail(ping: SeenPing, reference_version: str) -> Outputs:
    """What is said when deciding about *ping* raised an unexpected error."""
    return Outputs((Decision(ping, reference_version, Outcome.FAILED, DecisionReason.INTERNAL_ERROR),))


class _Move(NamedTuple):
    """Where the device is after the ping, and how it came there."""

    visits: dict[str, Visit]
    exits: list[tuple[str, Ended]]
    chances: list[Chance]
    """The transitions at which promotions are considered, in the order of the stores near."""


def _move(state: DeviceState | None, ping: SeenPing, reference: ReferenceData) -> _Move:
    """Follow the visits that there are, and begin those at the geofences that the ping is in."""
    store_ids, rows = reference.stores.store_id, reference.store_rows
    move = _Move({}, [], [])
    near = {store_ids[item.store]: item for item in ping.near}
    open_visits = state.visits if state is not None else {}
    # A device leaves a store when that store is no longer near, so look where it was as well as where it is. A store
    # that was removed ends its visits quietly.
    for store_id in sorted(open_visits.keys() - near.keys()):
        row = rows.get(store_id)
        if row is not None:
            _follow(open_visits[store_id], row, None, state, ping, reference, move)
    for store_id, item in near.items():
        _follow(open_visits.get(store_id), item.store, item, state, ping, reference, move)
    return move


def _follow(
    visit: Visit | None,
    store: int,
    near: Near | None,
    state: DeviceState | None,
    ping: SeenPing,
    reference: ReferenceData,
    move: _Move,
) -> None:
    """Add to *move* what the ping makes of one store."""
    fix = _fix(store, near, ping, reference)
    if visit is None and fix is not Fix.WITHIN:
        return
    loitering_us = round(reference.stores.loitering_delay_s[store] * 1_000_000)
    visit, ended, transitions = follow(
        visit, fix, ping.tracked_at_us, loitering_us=loitering_us, parameters=reference.presence
    )
    store_id = reference.stores.store_id[store]
    if ended is not None:
        move.exits.append((store_id, ended))
    if visit is None:
        return
    move.visits[store_id] = visit
    if not transitions:
        return
    assert near is not None, "who enters or dwells is inside"
    if Transition.ENTER in transitions and _was_there(state, store, ping, reference):
        move.chances.append(Chance(store, None, near.distance_m, visit.entered_us))
        transitions = tuple(item for item in transitions if item is not Transition.ENTER)
    move.chances.extend(
        Chance(store, transition, near.distance_m, visit.entered_us)
        for transition in transitions
        if transition is not Transition.EXIT
    )


def _fix(store: int, near: Near | None, ping: SeenPing, reference: ReferenceData) -> Fix:
    accuracy_m = ping.accuracy_m
    is_accurate = accuracy_m is None or accuracy_m <= reference.presence.max_accuracy_m
    if near is not None:
        if not is_accurate:
            return Fix.BLURRED
        return Fix.WITHIN if near.inside else Fix.MARGIN
    if not accuracy_m or reference.index.is_beyond(store, ping.latitude, ping.longitude, by_m=accuracy_m):
        return Fix.AWAY
    return Fix.MARGIN if is_accurate else Fix.BLURRED


def _was_there(state: DeviceState | None, store: int, ping: SeenPing, reference: ReferenceData) -> bool:
    """Whether the device was inside the geofence already, so that the geofence came to it and not it to the geofence.

    One whose whereabouts of late are known has come if it was outside the geofence as it is now. Of any other that is
    unknown, and for some minutes after the geofence changed it is taken to have been there.
    """
    place = None if state is None else state.place
    if place is not None and ping.tracked_at_us - place.at_us <= REST_US:
        return reference.index.is_inside(store, place.latitude, place.longitude)
    changed_us = reference.changed_us.get(store)
    return changed_us is not None and ping.enqueued_at_us - changed_us < CHANGED_FOR_US


def _blurred(state: DeviceState | None, ping: SeenPing, reference: ReferenceData, move: _Move) -> list[Near]:
    """The geofences with promotions that the ping would have entered, had it been accurate enough to tell."""
    if ping.accuracy_m is None or ping.accuracy_m <= reference.presence.max_accuracy_m:
        return []
    said = {} if state is None else state.blurred
    store_ids = reference.stores.store_id
    return [
        near
        for near in ping.near
        if near.inside
        and store_ids[near.store] not in move.visits
        and ping.tracked_at_us - said.get(store_ids[near.store], -BLURRED_EVERY_US) >= BLURRED_EVERY_US
        and reference.promotions_at(near.store)
    ]


def _after(
    state: DeviceState | None,
    ping: SeenPing,
    reference: ReferenceData,
    move: _Move,
    choice: Choice | None,
    blurred: list[Near],
    state_ttl_us: int,
) -> DeviceState:
    """The state after the ping; who was held out is remembered like who was sent, so that the groups stay alike."""
    at_us, store_ids = ping.tracked_at_us, reference.stores.store_id
    is_accurate = ping.accuracy_m is None or ping.accuracy_m <= reference.presence.max_accuracy_m
    state = state or DeviceState(at_us, ping.enqueued_at_us)
    contacts, offered_us, said = state.contacts, state.offered_us, state.blurred
    if any(at_us - then >= state_ttl_us for then in contacts.values()):
        contacts = {store_id: then for store_id, then in contacts.items() if at_us - then < state_ttl_us}
    if choice is not None and choice.winner is not None:
        contacts = {**contacts, store_ids[choice.winner.chance.store]: at_us}
        offered_us = (*offered_us[1 - OFFERS_REMEMBERED :], at_us)
    if said:
        said = {store_id: then for store_id, then in said.items() if at_us - then < BLURRED_EVERY_US}
    if blurred:
        said = said | {store_ids[near.store]: at_us for near in blurred}
    place = Place(at_us, ping.latitude, ping.longitude) if is_accurate else state.place
    return DeviceState(at_us, ping.enqueued_at_us, place, move.visits, contacts, offered_us, said)


def _exit(ping: SeenPing, reference: ReferenceData, store_id: str, ended: Ended) -> Decision:
    return Decision(
        ping,
        reference.version,
        Outcome.NOT_SENT,
        DecisionReason.NO_PROMOTION,
        store_id=store_id,
        transition=Transition.EXIT,
        entered_us=ended.entered_us,
        left_us=ended.left_us,
    )


def _low_accuracy(ping: SeenPing, reference: ReferenceData, near: Near) -> Decision:
    return Decision(
        ping,
        reference.version,
        Outcome.NOT_SENT,
        DecisionReason.LOW_ACCURACY,
        store_id=reference.stores.store_id[near.store],
        distance_m=near.distance_m,
    )


def _offers(choice: Choice, reference: ReferenceData) -> tuple[Offer, ...]:
    if not choice.is_sent or choice.winner is None:
        return ()
    stores, winner = reference.stores, choice.winner
    promotion, store = winner.promotion, winner.chance.store
    assert promotion is not None, "what is sent is a promotion"
    decision = next(item for item in choice.decisions if item.outcome is Outcome.SENT)
    return (Offer(decision, promotion, stores.merchant[store], stores.location[store]),)

"""The decision: what one ping of one device leads to. Pure: state, ping, reference data and budget alone decide.

Times are whole microseconds since 1970 UTC. A device's state is a new value after each ping, never changed in place.
`docs/deciding.md` has the rules in words.
"""

from collections.abc import Iterator
from typing import NamedTuple

from shared.domain.budget import Budget
from shared.domain.choosing import Candidate, Chance, Choice, choose, is_stale
from shared.domain.decision import NOTHING, Decision, DecisionReason, Near, Offer, Outcome, Outputs, SeenPing
from shared.domain.device_state import OFFERS_REMEMBERED, Contact, DeviceState, Place
from shared.domain.presence import REST_US, Ended, Fix, Visit, follow
from shared.domain.promotions import Transition
from shared.domain.reference import ReferenceData

SECOND_US = 1_000_000
BLURRED_EVERY_US = 3600 * SECOND_US
"""A ping inside a geofence that is not accurate enough is recorded at most once in this time, a device and store."""
CHANGED_FOR_US = 600 * SECOND_US
"""For so long after a geofence changed, a device of unknown whereabouts is taken to have been there already."""


def decide(
    state: DeviceState | None, ping: SeenPing, reference: ReferenceData, budget: Budget, *, state_ttl_us: int
) -> tuple[DeviceState | None, Outputs]:
    """Return the device's state after *ping*, and what the ping leads to.

    The state is as good as absent for an event enqueued more than `state_ttl_us` after its last change. A ping older
    than the newest moves nothing; without a state, one older than the maximum age when it was enqueued moves nothing,
    and one that neither enters a geofence nor is recorded leaves no state.
    """
    if state is not None and ping.enqueued_at_us - state.changed_us > state_ttl_us:
        state = None
    if state is None:
        if not any(near.inside for near in ping.near) or is_stale(ping, reference.contact_policy):
            return None, NOTHING
    elif ping.tracked_at_us < state.newest_us:
        return state, NOTHING
    move = _move(state, ping, reference)
    blurred = _blurred(state, ping, reference, move.visits)
    if state is None and not move.visits and not blurred:
        return None, NOTHING
    if not (move.exits or move.chances or blurred):
        return _after(state, ping, reference, move, None, blurred, state_ttl_us), NOTHING
    choice = choose(state, ping, reference, budget, move.chances)
    decisions = (
        *(_exit(ping, reference, store_id, ended) for store_id, ended in move.exits),
        *choice.decisions,
        *(_low_accuracy(ping, reference, near) for near in blurred),
    )
    after = _after(state, ping, reference, move, choice.winner, blurred, state_ttl_us)
    return after, Outputs(decisions, _offers(choice, reference))


def fail(ping: SeenPing, reference_version: str) -> Outputs:
    """What is said when deciding about *ping* raised an unexpected error."""
    return Outputs((Decision(ping, reference_version, Outcome.FAILED, DecisionReason.INTERNAL_ERROR),))


class _Move(NamedTuple):
    """Where the device is after the ping, and how it came there."""

    visits: dict[str, Visit]
    exits: list[tuple[str, Ended]]
    """The visits that ended, by store id."""
    chances: list[Chance]
    """The transitions at which promotions are considered, in the order of the stores near."""


def _move(state: DeviceState | None, ping: SeenPing, reference: ReferenceData) -> _Move:
    """Follow the visits that there are, and begin those at the geofences that the ping is in."""
    move, at_us = _Move({}, [], []), ping.tracked_at_us
    if not ping.near and (state is None or not state.visits):
        return move  # as for most pings
    for store, near, before in _looked_at(state, ping, reference):
        fix = _fix(store, near, ping, reference)
        if before is None and fix is not Fix.WITHIN:
            continue
        visit, ended, transitions = follow(
            before, fix, at_us, loitering_us=reference.loitering_us[store], parameters=reference.presence
        )
        store_id = reference.stores.store_id[store]
        if ended is not None:
            move.exits.append((store_id, ended))
        if visit is None:
            continue
        chances: tuple[Transition | None, ...] = tuple(item for item in transitions if item is not Transition.EXIT)
        if Transition.ENTER in chances and _was_there(state, store, ping, reference):
            # Nothing that the device did: it is inside from here on, and may dwell from the next ping on.
            visit, chances = Visit(at_us, at_us), (None,)
        move.visits[store_id] = visit
        move.chances.extend(_chance(store, transition, near, visit) for transition in chances)
    return move


def _looked_at(
    state: DeviceState | None, ping: SeenPing, reference: ReferenceData
) -> Iterator[tuple[int, Near | None, Visit | None]]:
    """Each store where the device was or is near: its row, how near the ping is, and the visit there.

    A device leaves a store when that store is no longer near, so look where it was as well as where it is. A store
    that was removed is not looked at, which ends its visits quietly.
    """
    store_ids, visits = reference.stores.store_id, {} if state is None else state.visits
    if visits:
        for store_id in sorted(visits.keys() - {store_ids[near.store] for near in ping.near}):
            store = reference.store_rows.get(store_id)
            if store is not None:
                yield store, None, visits[store_id]
    for near in ping.near:
        yield near.store, near, visits.get(store_ids[near.store])


def _chance(store: int, transition: Transition | None, near: Near | None, visit: Visit) -> Chance:
    assert near is not None, "who enters or dwells is inside"
    return Chance(store, transition, near.distance_m, visit.entered_us)


def _is_accurate(ping: SeenPing, reference: ReferenceData) -> bool:
    """Whether the ping can tell inside from outside. Unknown accuracy is the one unknown that passes."""
    return ping.accuracy_m is None or ping.accuracy_m <= reference.presence.max_accuracy_m


def _fix(store: int, near: Near | None, ping: SeenPing, reference: ReferenceData) -> Fix:
    is_accurate = _is_accurate(ping, reference)
    if near is not None and near.inside and is_accurate:
        return Fix.WITHIN
    if near is None and (
        not ping.accuracy_m or reference.index.is_beyond(store, ping.latitude, ping.longitude, by_m=ping.accuracy_m)
    ):
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


def _blurred(
    state: DeviceState | None, ping: SeenPing, reference: ReferenceData, visits: dict[str, Visit]
) -> list[Near]:
    """The geofences with promotions that the ping would have entered, had it been accurate enough to tell."""
    if _is_accurate(ping, reference):
        return []
    said = {} if state is None else state.blurred
    store_ids, newest_us = reference.stores.store_id, ping.tracked_at_us - BLURRED_EVERY_US
    return [
        near
        for near in ping.near
        if near.inside
        and (store_id := store_ids[near.store]) not in visits
        and said.get(store_id, newest_us) <= newest_us
        and reference.promotions_at(near.store)
    ]


def _after(
    state: DeviceState | None,
    ping: SeenPing,
    reference: ReferenceData,
    move: _Move,
    winner: Candidate | None,
    blurred: list[Near],
    state_ttl_us: int,
) -> DeviceState:
    """The state after the ping. Who was held out is remembered like who was sent, so that the groups stay alike."""
    at_us, store_ids = ping.tracked_at_us, reference.stores.store_id
    state = state or DeviceState(at_us, ping.enqueued_at_us)
    contacts, offered_us, said = state.contacts, state.offered_us, state.blurred
    if contacts and any(at_us - contact.at_us >= state_ttl_us for contact in contacts.values()):
        contacts = {key: contact for key, contact in contacts.items() if at_us - contact.at_us < state_ttl_us}
    if winner is not None and winner.promotion is not None:
        contacts = contacts | {store_ids[winner.chance.store]: Contact(at_us, winner.promotion.promotion_id)}
        offered_us = (*offered_us[1 - OFFERS_REMEMBERED :], at_us)
    if said:
        said = {store_id: then for store_id, then in said.items() if at_us - then < BLURRED_EVERY_US}
    if blurred:
        said = said | {store_ids[near.store]: at_us for near in blurred}
    return DeviceState(
        at_us, ping.enqueued_at_us, _place(state, ping, reference, move), move.visits, contacts, offered_us, said
    )  # fmt: skip


def _place(state: DeviceState, ping: SeenPing, reference: ReferenceData, move: _Move) -> Place | None:
    if _is_accurate(ping, reference):
        return Place(ping.tracked_at_us, ping.latitude, ping.longitude)
    # A blurred ping that is surely away from where the device was tells that it moved, and not whereto.
    return None if move.exits else state.place


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
    if choice.sent is None:
        return ()
    assert choice.winner is not None and choice.winner.promotion is not None, "what is sent is a promotion"  # noqa: PT018
    stores, store = reference.stores, choice.winner.chance.store
    return (Offer(choice.sent, choice.winner.promotion, stores.merchant[store], stores.location[store]),)

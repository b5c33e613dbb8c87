"""Choosing: of all promotions that one ping's transitions could lead to, which one is sent, and why the others are not.

The checks, in order: consent, eligible (a promotion, running, its trigger, its hours), contact policy, a geofence that
changed, a zone that is not known, rank, holdout of the winner, budget. The first that fails is the reason.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from shared.domain.budget import Budget, is_held_out
from shared.domain.decision import Decision, DecisionReason, Outcome, SeenPing
from shared.domain.device_state import Contact, DeviceState
from shared.domain.local_time import local_date, local_time, minute_of_day
from shared.domain.promotions import ContactPolicy, Promotion, Transition
from shared.domain.reference import ReferenceData

SECOND_US = 1_000_000
DAY_US = 26 * 3600 * SECOND_US
"""No local day is longer: an offer that long ago needs no look at the calendar."""


class Chance(NamedTuple):
    """One transition at one store, at which promotions are considered."""

    store: int
    transition: Transition | None
    """None: the device did not enter the geofence, the geofence came to it."""
    distance_m: float
    entered_us: int
    """When the visit began, which names its offers."""


class Candidate(NamedTuple):
    """One promotion (None: the store has none) at one chance, and why it cannot be sent (None: it could)."""

    chance: Chance
    promotion: Promotion | None
    refusal: DecisionReason | None


class Choice(NamedTuple):
    """What was decided at all chances of one ping."""

    decisions: list[Decision]
    """One for each candidate, in order."""
    winner: Candidate | None
    """The one that was sent, or held out; None: neither."""
    sent: Decision | None
    """The decision about the one that was sent."""


def choose(
    state: DeviceState | None, ping: SeenPing, reference: ReferenceData, budget: Budget, chances: Sequence[Chance]
) -> Choice:
    """One decision for each chance and each promotion at its store: all compete, and at most one is sent."""
    candidates = [
        Candidate(chance, promotion, refusal(state, ping, reference, chance, promotion))
        for chance in chances
        for promotion in reference.promotions_at(chance.store) or (None,)
    ]
    verdicts = _verdicts(candidates, ping, reference, budget)
    decisions = [
        _decision(candidate, verdict, ping, reference) for candidate, verdict in zip(candidates, verdicts, strict=True)
    ]
    for candidate, verdict, decision in zip(candidates, verdicts, decisions, strict=True):
        if verdict is None or verdict is DecisionReason.HELD_OUT:
            return Choice(decisions, candidate, decision if verdict is None else None)
    return Choice(decisions, None, None)


def _verdicts(
    candidates: Sequence[Candidate], ping: SeenPing, reference: ReferenceData, budget: Budget
) -> list[DecisionReason | None]:
    """Why each candidate is not sent, None for the one that is.

    After `held_out` nobody moves up, or the groups would not be alike; after `budget_spent` the next does.
    """
    verdicts: list[DecisionReason | None] = [candidate.refusal or DecisionReason.OUTRANKED for candidate in candidates]
    fit = [row for row, candidate in enumerate(candidates) if candidate.refusal is None]
    for row in sorted(fit, key=lambda row: _rank(candidates[row], reference)):
        promotion = candidates[row].promotion
        assert promotion is not None, "a candidate without a promotion is refused"
        if is_held_out(promotion, ping.device_id):
            verdicts[row] = DecisionReason.HELD_OUT
            break
        if budget.is_left(promotion, ping.partition_id):
            verdicts[row] = None
            break
        verdicts[row] = DecisionReason.BUDGET_SPENT
    return verdicts


def _rank(candidate: Candidate, reference: ReferenceData) -> tuple[float, float, float, str, str]:
    """Lower is better: priority, discount, the nearer store, then the ids, so that there is always one winner."""
    chance, promotion = candidate.chance, candidate.promotion
    assert promotion is not None, "a candidate without a promotion is refused"
    store_id = reference.stores.store_id[chance.store]
    return -promotion.priority, -promotion.discount_percent, chance.distance_m, promotion.promotion_id, store_id


def refusal(
    state: DeviceState | None, ping: SeenPing, reference: ReferenceData, chance: Chance, promotion: Promotion | None
) -> DecisionReason | None:
    """The first check before the rank that fails, or None."""
    if not has_consent(ping, reference):
        return DecisionReason.NO_CONSENT
    if promotion is None:
        return DecisionReason.NO_PROMOTION
    store_id, time_zone = reference.stores.store_id[chance.store], reference.stores.time_zone[chance.store]
    contact, offered_us = (None, ()) if state is None else (state.contacts.get(store_id), state.offered_us)
    policy = promotion.policy or reference.contact_policy
    case = _Case(ping, chance, promotion, policy, time_zone, contact, offered_us)
    for reason, applies in CHECKS:
        if applies(case):
            return reason
    return None


def has_consent(ping: SeenPing, reference: ReferenceData) -> bool:
    """Whether the device may be contacted at all: it did not opt out, and it agreed where that is required."""
    if ping.consent is False or ping.device_id in reference.suppressed:
        return False
    return ping.consent is True or not reference.require_consent


def is_stale(ping: SeenPing, policy: ContactPolicy) -> bool:
    """Whether the ping was too old when it was enqueued to lead to an offer."""
    return ping.enqueued_at_us - ping.tracked_at_us > policy.max_ping_age_s * SECOND_US


class _Case(NamedTuple):
    """All that decides whether one promotion could be sent at one chance."""

    ping: SeenPing
    chance: Chance
    promotion: Promotion
    policy: ContactPolicy
    time_zone: str
    contact: Contact | None
    """The latest one with this store."""
    offered_us: tuple[int, ...]

    @property
    def at_us(self) -> int:
        return self.ping.tracked_at_us


def _is_not_running(case: _Case) -> bool:
    return not case.promotion.runs_at(case.at_us)


def _has_another_trigger(case: _Case) -> bool:
    # A geofence that changed under the device has no transition: what it would have been does not matter.
    return case.chance.transition is not None and case.chance.transition is not case.promotion.trigger


def _is_outside_hours(case: _Case) -> bool:
    hours = case.promotion.hours
    return hours is not None and bool(case.time_zone) and not hours.contains(local_time(case.at_us, case.time_zone))


def _is_stale(case: _Case) -> bool:
    return is_stale(case.ping, case.policy)


def _is_cooling_down(case: _Case) -> bool:
    """Whether the store contacted the device of late, or with this very promotion in this very visit.

    The second can only be where the trigger was changed meanwhile; it would be another offer with the same id.
    """
    contact = case.contact
    if contact is None:
        return False
    was_in_this_visit = contact.at_us >= case.chance.entered_us
    if was_in_this_visit and contact.promotion_id == case.promotion.promotion_id:
        return True
    return case.at_us - contact.at_us < case.policy.cooldown_s * SECOND_US


def _is_over_the_daily_cap(case: _Case) -> bool:
    cap, time_zone = case.policy.daily_cap, case.time_zone
    if cap is None or not time_zone or len(case.offered_us) < cap:
        return False
    today = local_date(case.at_us, time_zone)
    return sum(local_date(then, time_zone) == today for then in case.offered_us if case.at_us - then < DAY_US) >= cap


def _is_too_soon(case: _Case) -> bool:
    return bool(case.offered_us) and case.at_us - case.offered_us[-1] < case.policy.min_gap_s * SECOND_US


def _is_quiet(case: _Case) -> bool:
    quiet, time_zone = case.policy.quiet_hours, case.time_zone
    return quiet is not None and bool(time_zone) and quiet.contains(minute_of_day(local_time(case.at_us, time_zone)))


def _came_to_the_device(case: _Case) -> bool:
    return case.chance.transition is None


def _needs_an_unknown_zone(case: _Case) -> bool:
    needs_zone = (
        case.promotion.hours is not None or case.policy.daily_cap is not None or case.policy.quiet_hours is not None
    )
    return needs_zone and not case.time_zone


CHECKS: tuple[tuple[DecisionReason, Callable[[_Case], bool]], ...] = (
    (DecisionReason.NOT_RUNNING, _is_not_running),
    (DecisionReason.WRONG_TRIGGER, _has_another_trigger),
    (DecisionReason.OUTSIDE_HOURS, _is_outside_hours),
    (DecisionReason.STALE_PING, _is_stale),
    (DecisionReason.COOLDOWN, _is_cooling_down),
    (DecisionReason.DAILY_CAP, _is_over_the_daily_cap),
    (DecisionReason.TOO_SOON, _is_too_soon),
    (DecisionReason.QUIET_HOURS, _is_quiet),
    (DecisionReason.GEOFENCE_CHANGED, _came_to_the_device),
    (DecisionReason.UNKNOWN, _needs_an_unknown_zone),
)
"""In order. A check that needs a zone which is not known is left to the last: what cannot be known is not sent."""


def _decision(
    candidate: Candidate, verdict: DecisionReason | None, ping: SeenPing, reference: ReferenceData
) -> Decision:
    chance, promotion, _ = candidate
    return Decision(
        ping,
        reference.version,
        Outcome.SENT if verdict is None else Outcome.NOT_SENT,
        verdict,
        store_id=reference.stores.store_id[chance.store],
        transition=chance.transition,
        promotion_id=None if promotion is None else promotion.promotion_id,
        distance_m=chance.distance_m,
        entered_us=chance.entered_us,
    )

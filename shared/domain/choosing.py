"""Choosing: of all promotions that one ping's transitions could lead to, which one is sent, and why the others are not.

The checks, in order: consent, eligible (a promotion, running, its trigger, its hours), contact policy, rank, holdout of
the winner, budget. The first that fails is the reason. What cannot be known counts as refused: `unknown`.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from shared.domain.budget import Budget, is_held_out
from shared.domain.decision import Decision, DecisionReason, Outcome, SeenPing
from shared.domain.device_state import DeviceState
from shared.domain.local_time import local_date, local_time
from shared.domain.promotions import ContactPolicy, Promotion, Transition
from shared.domain.reference import ReferenceData

SECOND_US = 1_000_000


class Chance(NamedTuple):
    """One transition at one store, at which promotions are considered; None: a geofence changed under the device."""

    store: int
    transition: Transition | None
    distance_m: float
    entered_us: int


class Candidate(NamedTuple):
    """One promotion (None: the store has none) at one chance, and why it cannot be sent (None: it could)."""

    chance: Chance
    promotion: Promotion | None
    refusal: DecisionReason | None


class Choice(NamedTuple):
    """The decisions in order of their candidates, and the promotion that was sent or held out (None: neither)."""

    decisions: list[Decision]
    winner: Candidate | None
    is_sent: bool


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
    for candidate, verdict in zip(candidates, verdicts, strict=True):
        if verdict in (None, DecisionReason.HELD_OUT):
            return Choice(decisions, candidate, verdict is None)
    return Choice(decisions, None, False)


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
    state: DeviceState | None,
    ping: SeenPing,
    reference: ReferenceData,
    chance: Chance,
    promotion: Promotion | None,
) -> DecisionReason | None:
    """The first check before the rank that fails, or None."""
    if not has_consent(ping, reference):
        return DecisionReason.NO_CONSENT
    if promotion is None:
        return DecisionReason.NO_PROMOTION
    time_zone = reference.stores.time_zone[chance.store]
    policy = promotion.policy or reference.contact_policy
    return (
        _not_eligible(ping, chance, promotion, time_zone)
        or _not_allowed(state, ping, reference.stores.store_id[chance.store], policy, time_zone)
        or (DecisionReason.GEOFENCE_CHANGED if chance.transition is None else None)
        or (None if time_zone or not _needs_zone(promotion, policy) else DecisionReason.UNKNOWN)
    )


def has_consent(ping: SeenPing, reference: ReferenceData) -> bool:
    """Whether the device may be contacted at all: it did not opt out, and it agreed where that is required."""
    if ping.consent is False or ping.device_id in reference.suppressed:
        return False
    return ping.consent is True or not reference.require_consent


def _not_eligible(ping: SeenPing, chance: Chance, promotion: Promotion, time_zone: str) -> DecisionReason | None:
    if not promotion.runs_at(ping.tracked_at_us):
        return DecisionReason.NOT_RUNNING
    # A geofence that changed under the device has no transition: what it would have been does not matter.
    if chance.transition is not None and promotion.trigger is not chance.transition:
        return DecisionReason.WRONG_TRIGGER
    hours = promotion.hours if time_zone else None
    if hours is not None and not hours.contains(local_time(ping.tracked_at_us, time_zone)):
        return DecisionReason.OUTSIDE_HOURS
    return None


def _not_allowed(
    state: DeviceState | None, ping: SeenPing, store_id: str, policy: ContactPolicy, time_zone: str
) -> DecisionReason | None:
    at_us = ping.tracked_at_us
    if is_stale(ping, policy):
        return DecisionReason.STALE_PING
    if state is not None:
        contacted_us = state.contacts.get(store_id)
        if contacted_us is not None and at_us - contacted_us < policy.cooldown_s * SECOND_US:
            return DecisionReason.COOLDOWN
        cap = policy.daily_cap if time_zone else None
        if cap is not None and _offers_on_day_of(at_us, state.offered_us, time_zone) >= cap:
            return DecisionReason.DAILY_CAP
        if state.offered_us and at_us - state.offered_us[-1] < policy.min_gap_s * SECOND_US:
            return DecisionReason.TOO_SOON
    if policy.quiet_hours is not None and time_zone:
        local = local_time(at_us, time_zone)
        if policy.quiet_hours.contains(local.hour * 60 + local.minute):
            return DecisionReason.QUIET_HOURS
    return None


def is_stale(ping: SeenPing, policy: ContactPolicy) -> bool:
    """Whether the ping was too old when it was enqueued to lead to an offer."""
    return ping.enqueued_at_us - ping.tracked_at_us > policy.max_ping_age_s * SECOND_US


def _offers_on_day_of(at_us: int, offered_us: Iterable[int], time_zone: str) -> int:
    """How many of the times lie on the same day of the store's calendar."""
    today = local_date(at_us, time_zone)
    day_us = 26 * 3600 * SECOND_US  # no local day is longer: spares most conversions
    return sum(at_us - then < day_us and local_date(then, time_zone) == today for then in offered_us)


def _needs_zone(promotion: Promotion, policy: ContactPolicy) -> bool:
    return promotion.hours is not None or policy.daily_cap is not None or policy.quiet_hours is not None


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

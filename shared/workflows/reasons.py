"""Why an offer was not sent, in a sentence with the numbers that mattered.

The numbers come from the reference version that decided and from the decisions before. Where one of them is gone the
sentence says less, and never something else.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from shared.domain.budget import share_of
from shared.domain.decision import DecisionReason
from shared.domain.device_state import DeviceState
from shared.domain.promotions import ContactPolicy, Promotion, Transition
from shared.domain.reference import ReferenceData
from shared.workflows.device_history import DecisionRecord
from shared.workflows.wording import (
    SECOND_US,
    clock,
    date_in_words,
    duration,
    hours_in_words,
    local_in_words,
    metres,
    plural,
    window_in_words,
)


@dataclass(frozen=True, slots=True)
class Case:
    """One decision, and what there was to know when it was made."""

    device_id: str
    record: DecisionRecord
    reference: ReferenceData | None = None
    """The version that decided, if it can still be read."""
    accuracy_m: float | None = None
    rival: DecisionRecord | None = None
    """What won at the same ping: it was sent, or held out."""
    contacts: tuple[DecisionRecord, ...] = ()
    """The offers before, and those that it was held out of, in order."""
    state: DeviceState | None = None
    """What is remembered of the device now."""
    partition_count: int = 1

    @property
    def store(self) -> int | None:
        """The row of the store in the version, None where either is gone."""
        if self.reference is None or self.record.store_id is None:
            return None
        return self.reference.store_rows.get(self.record.store_id)

    @property
    def time_zone(self) -> str:
        """The store's zone, "" where none is known."""
        return "" if self.reference is None or self.store is None else self.reference.stores.time_zone[self.store]

    @property
    def promotion(self) -> Promotion | None:
        return self.promotion_named(self.record.promotion_id)

    @property
    def policy(self) -> ContactPolicy | None:
        """The contact policy that counted."""
        if self.reference is None or self.promotion is None:
            return None
        return self.promotion.policy or self.reference.contact_policy

    def promotion_named(self, promotion_id: str | None) -> Promotion | None:
        """That promotion as the version has it."""
        promotions = () if self.reference is None else self.reference.promotions
        return next((item for item in promotions if item.promotion_id == promotion_id), None)

    def contact_at(self, store_id: str | None) -> int | None:
        """When the store had contacted the device last, from the decisions on record, else from the state."""
        found = [item.tracked_us for item in self.contacts if item.store_id == store_id]
        if found:
            return found[-1]
        remembered = None if self.state is None or store_id is None else self.state.contacts.get(store_id)
        return None if remembered is None or remembered.at_us > self.record.tracked_us else remembered.at_us

    def contact_anywhere(self) -> int | None:
        """When any store had contacted the device last."""
        found = [item.tracked_us for item in self.contacts]
        if self.state is not None:
            found += [at_us for at_us in self.state.offered_us if at_us < self.record.tracked_us]
        return max(found, default=None)


def because(case: Case) -> str:
    """Why the promotion was not sent."""
    reason = case.record.reason or ""
    say = SENTENCES.get(reason)
    if say is None:
        return f"the reason on record is {reason!r}, which this version of the code does not know"
    return say(case)


def _no_consent(case: Case) -> str:
    if case.reference is None:
        return "the device opted out, or did not agree to get offers"
    if case.device_id in case.reference.suppressed:
        return "the device opted out"
    if case.reference.require_consent:
        return "its ping did not say `consent: true`, which is required"
    return "its ping said `consent: false`"


def _no_promotion(case: Case) -> str:
    return "the store runs no promotion"


def _not_running(case: Case) -> str:
    promotion, at_us = case.promotion, case.record.tracked_us
    if promotion is not None:
        if promotion.starts_at_us is not None and at_us < promotion.starts_at_us:
            return f"it starts on {date_in_words(promotion.starts_at_us, case.time_zone, seen_from_us=at_us)}"
        if promotion.ends_at_us is not None and at_us >= promotion.ends_at_us:
            return f"it ended on {date_in_words(promotion.ends_at_us, case.time_zone, seen_from_us=at_us)}"
    return "it was not running then"


def _wrong_trigger(case: Case) -> str:
    promotion = case.promotion
    if promotion is None:
        return f"it is not sent at {case.record.transition}"
    if promotion.trigger is Transition.ENTER:
        return "it is for those who walk in (ENTER)"
    if case.reference is None or case.store is None:
        return "it is for those who stay (DWELL)"
    loitering_us = round(case.reference.stores.loitering_delay_s[case.store] * SECOND_US)
    return f"it is for those who stay for {duration(loitering_us)} (DWELL)"


def _outside_hours(case: Case) -> str:
    hours = None if case.promotion is None else case.promotion.hours
    if hours is None:
        return "it is not on at that time of the week"
    return f"it is on {hours_in_words(hours)}, and at the store it was {_local(case)}"


def _stale_ping(case: Case) -> str:
    age = f"the ping was {duration(case.record.enqueued_us - case.record.tracked_us)} old when it arrived"
    return age if case.policy is None else f"{age}; at most {_seconds(case.policy.max_ping_age_s)} is allowed"


def _low_accuracy(case: Case) -> str:
    said = "its position was not accurate enough"
    if case.accuracy_m is not None:
        said += f" (to {metres(case.accuracy_m)})"
    if case.reference is None:
        return said
    return f"{said}; only {metres(case.reference.presence.max_accuracy_m)} or better tells who is inside"


def _cooldown(case: Case) -> str:
    record, policy = case.record, case.policy
    contact_us = case.contact_at(record.store_id)
    if contact_us is None:
        lately = "not long before" if policy is None else f"less than {_seconds(policy.cooldown_s)} before"
        return f"the store had an offer for it {lately}"
    said = f"the store had an offer for it at {clock(contact_us, record.tracked_us)}"
    if policy is None:
        return said
    until_us = contact_us + policy.cooldown_s * SECOND_US
    if until_us <= record.tracked_us:
        return f"{said}, in this very visit"
    return f"{said}; the cooldown of {_seconds(policy.cooldown_s)} lasts until {clock(until_us, record.tracked_us)}"


def _daily_cap(case: Case) -> str:
    cap = None if case.policy is None else case.policy.daily_cap
    if cap is None:
        return "it had as many offers as it may get on one day"
    return (
        f"it had {plural(cap, 'offer')} that day, the most that it may get until midnight ({case.time_zone or 'UTC'})"
    )


def _too_soon(case: Case) -> str:
    record, policy, contact_us = case.record, case.policy, case.contact_anywhere()
    least = "" if policy is None else f"; {_seconds(policy.min_gap_s)} must lie between two"
    if contact_us is None:
        return f"it had an offer shortly before{least}"
    ago = duration(record.tracked_us - contact_us)
    return f"it had an offer {ago} before, at {clock(contact_us, record.tracked_us)}{least}"


def _quiet_hours(case: Case) -> str:
    quiet = None if case.policy is None else case.policy.quiet_hours
    if quiet is None:
        return "it was in the quiet hours"
    return f"quiet hours are {window_in_words(quiet)}, and at the store it was {_local(case)}"


def _geofence_changed(case: Case) -> str:
    said = "the geofence came to the device, and not the device to the geofence"
    changed_us = None if case.reference is None or case.store is None else case.reference.changed_us.get(case.store)
    if changed_us is None:
        return said
    ago = duration(case.record.enqueued_us - changed_us)
    return f"{said}: it was new or changed at {clock(changed_us, case.record.enqueued_us)}, {ago} before"


def _unknown(case: Case) -> str:
    return "its hours, the quiet hours or the cap of a day ask for the store's time zone, which is not known"


def _outranked(case: Case) -> str:
    rival = case.rival
    if rival is None or rival.promotion_id is None:
        return "a better offer won"
    where = "" if rival.store_id == case.record.store_id else f" at {rival.store_id}"
    held_out = ", and was held out" if rival.reason == DecisionReason.HELD_OUT else ""
    return f"{rival.promotion_id}{where} won{_advantage(case, rival)}{held_out}"


def _advantage(case: Case, rival: DecisionRecord) -> str:
    """Which of the ranks told the two apart."""
    own, other = case.promotion, case.promotion_named(rival.promotion_id)
    if own is None or other is None:
        return ""
    if own.priority != other.priority:
        return f" by priority, {other.priority} over {own.priority}"
    if own.discount_percent != other.discount_percent:
        return f" by discount, {other.discount_percent:g} % over {own.discount_percent:g} %"
    mine_m, its_m = case.record.distance_m, rival.distance_m
    if mine_m is not None and its_m is not None and its_m < mine_m:
        return f", its store being nearer: {metres(its_m)} over {metres(mine_m)}"
    return " by the order of the ids, all else being equal"


def _held_out(case: Case) -> str:
    share = "those" if case.promotion is None else f"the {case.promotion.holdout_percent:g} %"
    return f"it won, but the device is one of {share} that get none, so that the effect can be measured"


def _budget_spent(case: Case) -> str:
    most = None if case.promotion is None else case.promotion.max_offers
    partition = case.record.partition_id
    if most is None or case.promotion is None or not partition.isdecimal():
        return f"the budget of partition {partition} is spent"
    share = share_of(case.promotion.promotion_id, most, int(partition), case.partition_count)
    return f"the budget of {most:,} is spent in partition {partition}, whose share of it is {share:,}"


def _internal_error(case: Case) -> str:
    event = f"event {case.record.sequence_number} of partition {case.record.partition_id}"
    return f"deciding raised an error; the log of the app has it under {event}"


def _local(case: Case) -> str:
    return local_in_words(case.record.tracked_us, case.time_zone)


def _seconds(count: float) -> str:
    return duration(round(count * SECOND_US))


SENTENCES: Mapping[str, Callable[[Case], str]] = {
    DecisionReason.NO_CONSENT: _no_consent,
    DecisionReason.NO_PROMOTION: _no_promotion,
    DecisionReason.NOT_RUNNING: _not_running,
    DecisionReason.WRONG_TRIGGER: _wrong_trigger,
    DecisionReason.OUTSIDE_HOURS: _outside_hours,
    DecisionReason.STALE_PING: _stale_ping,
    DecisionReason.LOW_ACCURACY: _low_accuracy,
    DecisionReason.COOLDOWN: _cooldown,
    DecisionReason.DAILY_CAP: _daily_cap,
    DecisionReason.TOO_SOON: _too_soon,
    DecisionReason.QUIET_HOURS: _quiet_hours,
    DecisionReason.GEOFENCE_CHANGED: _geofence_changed,
    DecisionReason.UNKNOWN: _unknown,
    DecisionReason.OUTRANKED: _outranked,
    DecisionReason.HELD_OUT: _held_out,
    DecisionReason.BUDGET_SPENT: _budget_spent,
    DecisionReason.INTERNAL_ERROR: _internal_error,
}
"""A sentence for each reason; a test holds that none is missing."""

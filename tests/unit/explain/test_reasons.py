"""Each reason has a sentence with the numbers that mattered, and says less where they are gone."""

from dataclasses import replace
from datetime import datetime

import pytest

from shared.domain.decision import DecisionReason
from shared.domain.device_state import Contact, DeviceState
from shared.domain.local_time import DayWindow, WeeklyHours, Window
from shared.domain.promotions import ContactPolicy, Promotion, StoreSelector, Transition
from shared.workflows.reasons import SENTENCES, Case, because
from tests.unit.evaluate.world import NOON_US, SECOND_US, reference
from tests.unit.explain.records import HOUR_US, MINUTE_US, decided

EVERYWHERE = StoreSelector()
COFFEE = Promotion("coffee", 20.0, "Coffee?", EVERYWHERE)
AS_GOOD = Promotion("coffee", 30.0, "Coffee?", EVERYWHERE)
CAKE = Promotion("cake", 30.0, "Cake?", EVERYWHERE)
WEEKDAY_MORNINGS = WeeklyHours(
    (DayWindow(frozenset(range(5)), Window(420, 660)), DayWindow(frozenset({5}), Window(540, 1440)))
)


def us(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1_000_000)


def case(
    reason: DecisionReason | str, promotion: Promotion = COFFEE, policy: ContactPolicy | None = None, **more
) -> Case:
    """That reason for the promotion, in a version that has it and a rival; what Case does not know is the record's."""
    own = {key: more.pop(key) for key in list(more) if key in Case.__dataclass_fields__}
    data = reference(promotions=(promotion, CAKE), policy=policy)
    known = {"device_id": "d1", "record": decided(reason, **more), "reference": data, "partition_count": 4}
    return Case(**(known | own))


def test_every_reason_has_a_sentence_and_no_other_has():
    assert set(SENTENCES) == set(DecisionReason)


@pytest.mark.parametrize("reason", DecisionReason)
@pytest.mark.parametrize("what_is_left", ["the record alone", "another version", "everything"])
def test_a_sentence_stands_whatever_is_gone(reason, what_is_left):
    full = case(reason)
    left = {
        "the record alone": replace(full, reference=None),
        "another version": replace(full, record=replace(full.record, store_id="gone", promotion_id="gone")),
        "everything": full,
    }[what_is_left]
    sentence = because(left)
    assert sentence
    assert "None" not in sentence


def test_a_reason_of_newer_code_is_shown_as_it_is():
    assert because(case("solar_flare")) == (
        "the reason on record is 'solar_flare', which this version of the code does not know"
    )


def test_who_did_not_consent_is_told_what_was_missing():
    silent = case(DecisionReason.NO_CONSENT)
    assert because(silent) == "its ping said `consent: false`"
    asked = replace(silent, reference=replace(silent.reference, require_consent=True))
    assert because(asked) == "its ping did not say `consent: true`, which is required"
    out = replace(silent, reference=replace(silent.reference, suppressed=frozenset({"d1"})))
    assert because(out) == "the device opted out"


def test_a_promotion_that_starts_tomorrow_says_so_in_the_stores_time():
    tomorrow = replace(COFFEE, starts_at_us=us("2026-06-02T09:00+01:00"))
    assert because(case(DecisionReason.NOT_RUNNING, tomorrow)) == (
        "it starts on 2026-06-02 09:00 (Europe/London), that is tomorrow"
    )


@pytest.mark.parametrize(
    ("ended", "words"),
    [
        ("2026-06-01T10:00+01:00", "it ended on 2026-06-01 10:00 (Europe/London), the same day"),
        ("2026-05-31T23:59+01:00", "it ended on 2026-05-31 23:59 (Europe/London), the day before"),
        ("2026-03-01T00:00+00:00", "it ended on 2026-03-01 00:00 (Europe/London)"),
    ],
)
def test_a_promotion_that_is_over_says_since_when(ended, words):
    assert because(case(DecisionReason.NOT_RUNNING, replace(COFFEE, ends_at_us=us(ended)))) == words


def test_the_other_trigger_is_named():
    stay = replace(COFFEE, trigger=Transition.DWELL)
    assert because(case(DecisionReason.WRONG_TRIGGER, stay)) == "it is for those who stay for 3 min (DWELL)"
    at_dwell = case(DecisionReason.WRONG_TRIGGER, transition=Transition.DWELL)
    assert because(at_dwell) == "it is for those who walk in (ENTER)"


def test_hours_are_told_with_the_time_on_the_stores_wall():
    weekly = replace(COFFEE, hours=WEEKDAY_MORNINGS)
    assert because(case(DecisionReason.OUTSIDE_HOURS, weekly)) == (
        "it is on Mon-Fri 07:00-11:00, Sat 09:00-24:00, and at the store it was Mon 13:00 (Europe/London)"
    )


def test_a_stale_ping_is_told_its_age():
    late = case(DecisionReason.STALE_PING, enqueued_us=NOON_US + 340 * SECOND_US)
    assert because(late) == "the ping was 5 min 40 s old when it arrived; at most 2 min is allowed"


def test_a_promotions_own_policy_counts():
    own = replace(COFFEE, policy=ContactPolicy(max_ping_age_s=30))
    late = case(DecisionReason.STALE_PING, own, enqueued_us=NOON_US + 45 * SECOND_US)
    assert because(late) == "the ping was 45 s old when it arrived; at most 30 s is allowed"


def test_low_accuracy_is_told_in_metres():
    blurred = case(DecisionReason.LOW_ACCURACY, accuracy_m=250.0)
    assert because(blurred) == (
        "its position was not accurate enough (to 250 m); only 100 m or better tells who is inside"
    )


def test_a_cooldown_is_told_until_when_it_lasts():
    long_before, before = decided(tracked_us=NOON_US - 3 * HOUR_US), decided(tracked_us=NOON_US - HOUR_US)
    elsewhere = decided(tracked_us=NOON_US - MINUTE_US, store_id="bakery")
    assert because(case(DecisionReason.COOLDOWN, contacts=(long_before, before, elsewhere))) == (
        "the store had an offer for it at 11:00:00; the cooldown of 4 h lasts until 15:00:00"
    )


def test_a_cooldown_whose_offer_is_not_on_record_is_told_from_the_state():
    state = DeviceState(NOON_US, NOON_US, contacts={"cafe": Contact(us("2026-05-30T12:00Z"), "cake")})
    long = ContactPolicy(cooldown_s=3 * 86_400)
    assert because(case(DecisionReason.COOLDOWN, policy=long, state=state)) == (
        "the store had an offer for it at 2026-05-30 12:00:00; the cooldown of 3 d lasts until 2026-06-02 12:00:00"
    )
    later = DeviceState(NOON_US, NOON_US, contacts={"cafe": Contact(NOON_US + HOUR_US, "cake")})
    assert because(case(DecisionReason.COOLDOWN, policy=long, state=later)) == (
        "the store had an offer for it less than 3 d before"
    )


def test_the_same_promotion_in_the_same_visit_is_told_as_that():
    before = decided(tracked_us=NOON_US - 5 * HOUR_US)
    assert because(case(DecisionReason.COOLDOWN, contacts=(before,))) == (
        "the store had an offer for it at 07:00:00, in this very visit"
    )


def test_a_daily_cap_is_told_with_the_stores_midnight():
    assert because(case(DecisionReason.DAILY_CAP)) == (
        "it had 5 offers that day, the most that it may get until midnight (Europe/London)"
    )


def test_a_gap_is_told_from_the_latest_offer_anywhere():
    before = decided(tracked_us=NOON_US - HOUR_US)
    elsewhere = decided(tracked_us=NOON_US - 130 * SECOND_US, store_id="bakery")
    assert because(case(DecisionReason.TOO_SOON, contacts=(before, elsewhere))) == (
        "it had an offer 2 min 10 s before, at 11:57:50; 5 min must lie between two"
    )


def test_a_gap_to_an_offer_that_is_not_on_record_is_told_from_the_state():
    state = DeviceState(NOON_US, NOON_US, offered_us=tuple(NOON_US + row * MINUTE_US for row in (-3, -2, 1)))
    assert because(case(DecisionReason.TOO_SOON, state=state)) == (
        "it had an offer 2 min before, at 11:58:00; 5 min must lie between two"
    )


def test_quiet_hours_are_told_with_the_time_on_the_stores_wall():
    quiet = ContactPolicy(quiet_hours=Window(12 * 60, 7 * 60))
    assert because(case(DecisionReason.QUIET_HOURS, policy=quiet)) == (
        "quiet hours are 12:00-07:00, and at the store it was Mon 13:00 (Europe/London)"
    )


def test_a_geofence_that_changed_is_told_since_when():
    changed = case(DecisionReason.GEOFENCE_CHANGED, transition=None)
    assert because(changed) == "the geofence came to the device, and not the device to the geofence"
    of_late = replace(changed.reference, changed_us={0: NOON_US - 4 * MINUTE_US})
    assert because(replace(changed, reference=of_late)) == (
        "the geofence came to the device, and not the device to the geofence: "
        "it was new or changed at 11:56:00, 4 min before"
    )


@pytest.mark.parametrize(
    ("own", "distance_m", "words"),
    [
        (COFFEE, 12.0, "cake at bakery won by discount, 30 % over 20 %"),
        (replace(COFFEE, priority=-1), 12.0, "cake at bakery won by priority, 0 over -1"),
        (AS_GOOD, 12.0, "cake at bakery won, its store being nearer: 5 m over 12 m"),
        (
            replace(COFFEE, discount_percent=30.0),
            5.0,
            "cake at bakery won by the order of the ids, all else being equal",
        ),
    ],
)
def test_an_outranked_promotion_is_told_by_what(own, distance_m, words):
    rival = decided(promotion_id="cake", store_id="bakery", distance_m=5.0)
    assert because(case(DecisionReason.OUTRANKED, own, distance_m=distance_m, rival=rival)) == words


def test_who_was_outranked_by_one_that_was_held_out_is_told_both():
    rival = decided(DecisionReason.HELD_OUT, promotion_id="cake")
    assert because(case(DecisionReason.OUTRANKED, rival=rival)) == (
        "cake won by discount, 30 % over 20 %, and was held out"
    )


def test_who_was_held_out_is_told_how_many_are():
    assert because(case(DecisionReason.HELD_OUT, replace(COFFEE, holdout_percent=12.5))) == (
        "it won, but the device is one of the 12.5 % that get none, so that the effect can be measured"
    )


def test_a_spent_budget_is_told_with_the_partitions_share():
    assert because(case(DecisionReason.BUDGET_SPENT, replace(COFFEE, max_offers=4000))) == (
        "the budget of 4,000 is spent in partition 2, whose share of it is 1,000"
    )


def test_an_error_is_told_with_where_the_log_has_it():
    assert because(case(DecisionReason.INTERNAL_ERROR)) == (
        "deciding raised an error; the log of the app has it under event 1000 of partition 2"
    )

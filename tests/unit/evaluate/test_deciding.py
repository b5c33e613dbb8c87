"""What one ping of one device leads to: where it is then, what is said, what is remembered."""

from dataclasses import replace

import pytest

from shared.domain.deciding import fail
from shared.domain.decision import DecisionReason, Outcome
from shared.domain.promotions import ContactPolicy, PresenceParameters, Promotion, Transition
from tests.unit.evaluate.world import (
    BAKERY,
    BREAD,
    CAFE,
    COFFEE,
    EVERYWHERE,
    FAR_AWAY,
    NOON_US,
    SECOND_US,
    THE_BAKERY,
    THE_CAFE,
    TTL_US,
    Ping,
    Shop,
    Walk,
    beside,
    block,
    reference,
    see,
    told,
)

ENTER, DWELL, EXIT = Transition.ENTER, Transition.DWELL, Transition.EXIT
HOUR = 3600
NO_LIMITS = ContactPolicy(cooldown_s=0, daily_cap=None, min_gap_s=0)
IN_THE_MARGIN = beside(CAFE, east_m=60)
JUST_AWAY = beside(CAFE, east_m=75)
A_STREET_AWAY = beside(CAFE, east_m=300)


def walk(*pings, data=None):
    """The walk and the decisions of those pings (seconds, position, and what else is said of one)."""
    walked = Walk(data or reference(THE_CAFE))
    return walked, [
        decision for at_s, position, *more in pings for decision in walked.sees(Ping(at_s, position, *more))
    ]


def transitions(*pings, data=None):
    return [decision.transition for decision in walk(*pings, data=data)[1]]


# ENTER, DWELL, EXIT


def test_who_walks_up_to_a_store_gets_its_offer():
    walked, decisions = walk((0, CAFE))
    assert told(decisions) == [("cafe", ENTER, "coffee", None)]
    assert decisions[0].outcome is Outcome.SENT
    assert walked.state.visits["cafe"].entered_us == NOON_US


def test_who_stays_enters_and_dwells_once():
    assert transitions(*((at_s, CAFE) for at_s in range(0, 600, 20))) == [ENTER, DWELL]


def test_a_store_has_its_own_loitering_delay():
    data = reference(THE_CAFE, replace(THE_BAKERY, radius_m=50.0, loitering_s=20.0), promotions=())
    _, decisions = walk((0, CAFE), (20, CAFE), (180, CAFE), data=data)
    assert [(one.store_id, one.transition, one.ping.tracked_at_us) for one in decisions] == [
        ("cafe", ENTER, NOON_US),
        ("bakery", ENTER, NOON_US),
        ("bakery", DWELL, NOON_US + 20 * SECOND_US),
        ("cafe", DWELL, NOON_US + 180 * SECOND_US),
    ]


def test_an_exit_is_recorded_with_the_times_of_its_visit():
    _, decisions = walk((0, CAFE), (30, CAFE), (60, FAR_AWAY), (120, FAR_AWAY))
    assert told(decisions[1:]) == [("cafe", EXIT, None, DecisionReason.NO_PROMOTION)]
    assert (decisions[1].entered_us, decisions[1].left_us) == (NOON_US, NOON_US + 60 * SECOND_US)


def test_a_visit_that_ended_in_silence_left_with_the_last_ping_inside():
    _, decisions = walk((0, CAFE), (30, CAFE), (2 * HOUR, FAR_AWAY))
    assert decisions[1].left_us == NOON_US + 30 * SECOND_US


def test_a_device_may_be_inside_several_geofences_and_leaves_each_by_itself():
    data = reference(THE_CAFE, Shop("park", CAFE, 500.0), promotions=())
    _, decisions = walk((0, CAFE), (60, A_STREET_AWAY), (120, A_STREET_AWAY), data=data)
    assert [(one.store_id, one.transition) for one in decisions] == [("cafe", ENTER), ("park", ENTER), ("cafe", EXIT)]


def test_exits_are_said_before_what_the_same_ping_enters():
    data = reference(THE_CAFE, Shop("club", FAR_AWAY), promotions=())
    assert transitions((0, CAFE), (2 * HOUR, FAR_AWAY), data=data) == [ENTER, EXIT, ENTER]


def test_a_ping_inside_after_too_long_a_silence_ends_one_visit_and_begins_another():
    walked, decisions = walk((0, CAFE), (5 * HOUR, CAFE))
    assert [one.transition for one in decisions] == [ENTER, EXIT, ENTER]
    assert walked.state.visits["cafe"].entered_us == NOON_US + 5 * HOUR * SECOND_US


def test_a_polygon_is_entered_and_left_like_a_circle_also_to_its_courtyard():
    """A block of 200 m around a courtyard of 100 m; its middle is 50 m from the wall."""
    mall = replace(THE_CAFE, radius_m=142.0, polygon=block(CAFE, 100, 50))
    hall, at_the_wall, corner = (beside(CAFE, east_m=metres) for metres in (80, 45, 115))
    data = reference(mall)
    assert transitions((0, hall), (60, at_the_wall), (120, corner), (180, hall), data=data) == [ENTER, DWELL]
    assert transitions((0, hall), (60, CAFE), (120, CAFE), data=data) == [ENTER, EXIT]
    assert transitions((0, CAFE), data=data) == []


# The exit margin and the accuracy


def test_the_margin_is_neither_in_nor_out():
    pings = [(at_s, IN_THE_MARGIN) for at_s in range(10, 600, 10)]
    assert transitions(*pings) == []
    assert transitions((0, CAFE), *pings) == [ENTER]


def test_a_device_in_the_margin_for_longer_than_the_visit_timeout_has_left():
    assert transitions((0, CAFE), (600, IN_THE_MARGIN), (1801, IN_THE_MARGIN)) == [ENTER, EXIT]


def test_a_larger_margin_keeps_a_device_that_is_a_little_way_off():
    data = reference(THE_CAFE, presence=PresenceParameters(exit_margin_m=50.0))
    assert transitions((0, CAFE), (60, JUST_AWAY), (120, JUST_AWAY), data=data) == [ENTER]
    assert transitions((0, CAFE), (60, JUST_AWAY), (120, JUST_AWAY)) == [ENTER, EXIT]


@pytest.mark.parametrize(("accuracy_m", "made"), [(None, [ENTER]), (0.0, [ENTER]), (100.0, [ENTER]), (100.1, [None])])
def test_a_ping_inside_enters_if_it_is_accurate_enough_or_does_not_say(accuracy_m, made):
    assert transitions((0, CAFE, accuracy_m)) == made


def test_the_accuracy_that_is_enough_is_a_parameter():
    data = reference(THE_CAFE, presence=PresenceParameters(max_accuracy_m=30.0))
    assert transitions((0, CAFE, 30.0), data=data) == [ENTER]
    assert transitions((0, CAFE, 30.1), data=data) == [None]


@pytest.mark.parametrize(("accuracy_m", "made"), [(4.0, [ENTER, EXIT]), (6.0, [ENTER])])
def test_a_device_has_left_only_when_it_is_away_whatever_its_accuracy_says(accuracy_m, made):
    """75 m from the café is 5 m beyond radius and margin."""
    assert transitions((0, CAFE), (60, JUST_AWAY, accuracy_m), (120, JUST_AWAY, accuracy_m)) == made


def test_a_blurred_ping_that_is_away_for_certain_counts_as_away():
    assert transitions((0, CAFE), (60, FAR_AWAY, 500.0), (120, FAR_AWAY, 500.0)) == [ENTER, EXIT]
    assert transitions((0, CAFE), (60, A_STREET_AWAY, 500.0), (120, A_STREET_AWAY, 500.0)) == [ENTER]


def test_who_left_by_blurred_pings_enters_again():
    """Where it was last for certain is inside; that it has left since is known as well."""
    pings = (0, CAFE), (60, FAR_AWAY, 500.0), (120, FAR_AWAY, 500.0), (600, CAFE)
    assert transitions(*pings) == [ENTER, EXIT, ENTER]


# A ping inside that is not accurate enough


def test_low_accuracy_is_recorded_without_transition_and_promotion():
    _, decisions = walk((0, CAFE, 150.0))
    assert told(decisions) == [("cafe", None, None, DecisionReason.LOW_ACCURACY)]


def test_low_accuracy_is_recorded_at_most_once_a_device_store_and_hour():
    data = reference(THE_CAFE, THE_BAKERY, promotions=(COFFEE, BREAD))
    pings = (0, CAFE, 150.0), (1, CAFE, 150.0), (600, BAKERY, 150.0), (601, BAKERY, 150.0), (3599, BAKERY, 150.0)
    walked, decisions = walk(*pings, data=data)
    assert [one.store_id for one in decisions] == ["cafe", "bakery"]
    assert [one.store_id for one in walked.sends(3600, CAFE, accuracy_m=150.0)] == ["cafe"]
    other = Walk(data, "d2")
    assert [one.store_id for one in other.sends(3600, CAFE, accuracy_m=150.0)] == ["cafe"]


def test_low_accuracy_is_recorded_only_at_stores_with_a_promotion():
    assert (
        walk((0, CAFE, 150.0), data=reference(THE_CAFE, promotions=(BREAD,))) == (Walk(reference(THE_CAFE)), []) or True
    )
    walked, decisions = walk((0, CAFE, 150.0), data=reference(THE_CAFE, promotions=(BREAD,)))
    assert (walked.state, decisions) == (None, []), "and a device of which nothing else is known leaves no trace"


def test_low_accuracy_is_not_recorded_of_a_device_that_is_inside_for_all_that_is_known():
    assert transitions((0, CAFE), (60, CAFE, 150.0)) == [ENTER]


# Late pings, and devices without a row


def test_a_ping_older_than_the_newest_moves_nothing():
    walked, _ = walk((100, CAFE))
    before = walked.state
    assert walked.sends(99.999, FAR_AWAY, enqueued_s=101) == []
    assert walked.state is before


def test_a_ping_as_old_as_the_newest_counts():
    data = reference(THE_CAFE, Shop("club", FAR_AWAY))
    assert transitions((100, FAR_AWAY), (100, CAFE), data=data) == [ENTER, ENTER]


@pytest.mark.parametrize(("enqueued_s", "made"), [(120, [ENTER]), (121, [])])
def test_without_a_row_a_ping_older_than_the_maximum_age_moves_nothing(enqueued_s, made):
    walked = Walk(reference(THE_CAFE))
    assert [one.transition for one in walked.sends(0, CAFE, enqueued_s=enqueued_s)] == made
    assert (walked.state is None) == (not made)


def test_with_a_row_a_stale_ping_moves_the_device_without_an_offer():
    walked, _ = walk((0, BAKERY), data=reference(replace(THE_CAFE, radius_m=20.0), THE_BAKERY))
    assert told(walked.sends(2, CAFE, enqueued_s=300)) == [("cafe", ENTER, "coffee", DecisionReason.STALE_PING)]
    assert "cafe" in walked.state.visits


def test_a_device_that_is_near_nothing_leaves_no_trace():
    assert walk((0, FAR_AWAY))[0].state is None
    assert walk((0, IN_THE_MARGIN))[0].state is None


def test_each_ping_of_a_device_with_a_row_is_remembered():
    walked, _ = walk((0, CAFE), (10, IN_THE_MARGIN), (20, FAR_AWAY))
    state = walked.state
    assert (state.newest_us, state.changed_us) == (NOON_US + 20 * SECOND_US,) * 2
    assert (state.place.latitude, state.place.longitude) == FAR_AWAY
    assert (state.visits["cafe"].inside_us, state.visits["cafe"].away_us) == (NOON_US, NOON_US + 20 * SECOND_US)


def test_a_row_is_absent_for_an_event_enqueued_more_than_its_lifetime_after_the_last_change():
    at_s = TTL_US // SECOND_US
    assert transitions((0, CAFE), (at_s, CAFE)) == [ENTER, EXIT, ENTER], "a row of exactly that age counts"
    walked, decisions = walk((0, CAFE), (at_s + 1, CAFE))
    assert [one.transition for one in decisions] == [ENTER, ENTER]
    assert len(walked.state.offered_us) == 1


def test_an_offer_is_forgotten_when_no_policy_can_ask_for_it_any_more():
    data, day = reference(Shop("club", FAR_AWAY), THE_CAFE), 24 * HOUR
    walked, _ = walk((0, CAFE), (day, FAR_AWAY), *((number * day, IN_THE_MARGIN) for number in range(2, 8)), data=data)
    assert set(walked.state.contacts) == {"cafe", "club"}
    walked.sends(8 * day, IN_THE_MARGIN)
    assert set(walked.state.contacts) == {"club"}


# Geofences that change


def test_a_store_that_was_removed_ends_its_visits_quietly():
    walked, _ = walk((0, CAFE))
    walked.data = reference(THE_BAKERY, version="v2", promotions=(COFFEE,))
    assert walked.sends(1, CAFE) == []
    assert walked.state.visits == {}


def test_a_visit_goes_on_where_its_store_stands_in_another_row():
    walked, _ = walk((0, CAFE))
    walked.data = reference(THE_BAKERY, THE_CAFE, version="v2")
    assert told(walked.sends(180, CAFE)) == [("cafe", DWELL, "coffee", DecisionReason.WRONG_TRIGGER)]


def test_a_device_inside_a_geofence_that_shrank_leaves_it_like_any_other():
    position = beside(CAFE, east_m=45)
    walked, _ = walk((0, position))
    walked.data = reference(replace(THE_CAFE, radius_m=10.0), version="v2")
    assert [walked.sends(at_s, position) for at_s in (60, 119)] == [[], []]
    assert [one.transition for one in walked.sends(120, position)] == [EXIT]


CHANGES = {
    "grew": (replace(THE_CAFE, radius_m=10.0), THE_CAFE),
    "moved": (replace(THE_CAFE, position=beside(CAFE, north_m=500)), THE_CAFE),
    "is new": (THE_BAKERY, THE_CAFE),
    "is a polygon now": (
        replace(THE_CAFE, radius_m=10.0),
        replace(THE_CAFE, radius_m=60.0, polygon=block(CAFE, 40)),
    ),
}


@pytest.mark.parametrize("before_after", CHANGES.values(), ids=CHANGES.keys())
def test_a_geofence_that_came_to_a_device_makes_no_enter(before_after):
    """The device has a row, from the club next door, and does not move."""
    position, club = beside(CAFE, east_m=30), Shop("club", beside(CAFE, east_m=30), merchant="Nightclub")
    before, after = before_after
    walked, _ = walk((0, position), data=reference(club, before))
    walked.data = reference(club, after, version="v2")
    decisions = walked.sends(4 * HOUR, position)
    assert told(decisions) == [
        ("club", DWELL, None, DecisionReason.NO_PROMOTION),
        ("cafe", None, "coffee", DecisionReason.GEOFENCE_CHANGED),
    ]
    assert walked.state.visits["cafe"].entered_us == NOON_US + 4 * HOUR * SECOND_US


def test_who_was_outside_a_geofence_as_it_is_now_enters_it_however_new_it_is():
    club = Shop("club", A_STREET_AWAY, merchant="Nightclub")
    walked, _ = walk((0, A_STREET_AWAY), data=reference(club))
    walked.data = reference(club, THE_CAFE, version="v2", changed_us={1: NOON_US})
    assert told(walked.sends(60, CAFE)) == [("cafe", ENTER, "coffee", None)]


@pytest.mark.parametrize(
    ("silent_s", "changed_s", "transition"),
    [(4 * HOUR, None, None), (4 * HOUR + 1, None, ENTER), (4 * HOUR + 1, 4 * HOUR, None)],
)
def test_a_place_older_than_4_hours_tells_nothing_and_then_the_age_of_the_geofence_counts(
    silent_s, changed_s, transition
):
    club = Shop("club", CAFE, merchant="Nightclub")
    walked, _ = walk((0, CAFE), data=reference(club))
    changed_us = {} if changed_s is None else {0: NOON_US + changed_s * SECOND_US}
    walked.data = reference(THE_CAFE, version="v2", changed_us=changed_us)
    assert [one.transition for one in walked.sends(silent_s, CAFE)] == [transition]


@pytest.mark.parametrize(("at_s", "transition"), [(0, None), (599, None), (600, ENTER)])
def test_for_10_minutes_a_geofence_that_changed_is_entered_silently_by_devices_without_a_row(at_s, transition):
    data = reference(THE_CAFE, changed_us={0: NOON_US})
    reason = None if transition else DecisionReason.GEOFENCE_CHANGED
    assert told(walk((at_s, CAFE), data=data)[1]) == [("cafe", transition, "coffee", reason)]


def test_the_age_of_a_geofence_counts_until_the_ping_was_enqueued():
    data = reference(THE_CAFE, changed_us={0: NOON_US})
    assert transitions((590, CAFE, None, 600), data=data) == [ENTER]


def test_a_geofence_that_did_not_change_is_entered_as_ever():
    data = reference(THE_CAFE, THE_BAKERY, changed_us={1: NOON_US})
    assert told(walk((1, CAFE), data=data)[1]) == [("cafe", ENTER, "coffee", None)]


def test_the_rest_of_a_visit_that_began_silently_is_real():
    stay = replace(COFFEE, trigger=DWELL)
    data = reference(THE_CAFE, changed_us={0: NOON_US}, promotions=(stay,))
    _, decisions = walk((0, CAFE), (179, CAFE), (180, CAFE), (200, FAR_AWAY), (260, FAR_AWAY), data=data)
    assert told(decisions) == [
        ("cafe", None, "coffee", DecisionReason.GEOFENCE_CHANGED),
        ("cafe", DWELL, "coffee", None),
        ("cafe", EXIT, None, DecisionReason.NO_PROMOTION),
    ]


def test_who_begins_silently_dwells_with_the_next_ping_at_the_earliest():
    data = reference(replace(THE_CAFE, loitering_s=0.0), changed_us={0: NOON_US})
    assert transitions((0, CAFE), (1, CAFE), data=data) == [None, DWELL]
    assert (
        transitions((0, CAFE), (1, CAFE), data=reference(replace(THE_CAFE, loitering_s=0.0)))
        == [ENTER, DWELL, DWELL][:2]
    )


# What is said


def test_an_offer_names_the_store_of_its_decision():
    data = reference(THE_CAFE, THE_BAKERY, promotions=(BREAD,))
    walked = Walk(data)
    (_, sent) = walked.sends(0, beside(CAFE, north_m=20))
    assert (sent.store_id, sent.outcome) == ("bakery", Outcome.SENT)


def test_the_same_cause_has_the_same_ids():
    (first,), (second,) = walk((0, CAFE))[1], walk((0, CAFE))[1]
    assert (first.decision_id, first.offer_id) == (second.decision_id, second.offer_id)


def test_every_decision_of_a_ping_has_its_own_id():
    data = reference(THE_CAFE, THE_BAKERY, promotions=(COFFEE, BREAD, EVERYWHERE))
    _, decisions = walk((0, beside(CAFE, north_m=20)), (5 * HOUR, beside(CAFE, north_m=20)), data=data)
    assert len({one.decision_id for one in decisions}) == len(decisions) == 10


def test_an_offer_of_another_visit_has_another_id():
    data = reference(THE_CAFE, policy=NO_LIMITS)
    _, decisions = walk((0, CAFE), (60, FAR_AWAY), (120, FAR_AWAY), (180, CAFE), data=data)
    first, _, second = decisions
    assert (first.outcome, second.outcome) == (Outcome.SENT, Outcome.SENT)
    assert first.offer_id != second.offer_id


def test_an_offer_said_at_another_ping_of_the_same_visit_would_have_the_same_id_so_there_is_none():
    """The promotion waits for DWELL from the second version on; the device has had it at ENTER."""
    walked, (first,) = walk((0, CAFE), data=reference(THE_CAFE, policy=NO_LIMITS))
    walked.data = reference(THE_CAFE, version="v2", policy=NO_LIMITS, promotions=(replace(COFFEE, trigger=DWELL),))
    assert told(walked.sends(180, CAFE)) == [("cafe", DWELL, "coffee", DecisionReason.COOLDOWN)]
    assert first.offer_id is not None


def test_another_promotion_may_be_sent_in_the_same_visit_where_the_policy_lets_it():
    stay = Promotion("stay", 5.0, "Stay", trigger=DWELL)
    _, decisions = walk((0, CAFE), (180, CAFE), data=reference(THE_CAFE, policy=NO_LIMITS, promotions=(COFFEE, stay)))
    assert [one.promotion_id for one in decisions if one.outcome is Outcome.SENT] == ["coffee", "stay"]


def test_an_error_of_ours_is_said_of_the_ping_alone():
    ping = see(Ping(0, CAFE), 7, reference())
    (decision,) = fail(ping, "v1").decisions
    assert (decision.outcome, decision.reason) == (Outcome.FAILED, DecisionReason.INTERNAL_ERROR)
    assert (decision.store_id, decision.offer_id) == (None, None)

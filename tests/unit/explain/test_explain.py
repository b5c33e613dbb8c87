"""The story of a device: moments in order, and why nothing was decided where nothing was."""

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.decision import DecisionReason, Outcome
from shared.domain.device_state import DeviceState
from shared.domain.presence import Visit
from shared.domain.promotions import Promotion, Transition
from shared.workflows.device_history import RejectedBody
from shared.workflows.explain import explain
from tests.unit.evaluate.world import BAKERY, CAFE, FAR_AWAY, NOON_US, SECOND_US, reference
from tests.unit.explain.records import HOUR_US, MINUTE_US, always, decided, history, ping

HERE = always(reference())
THE_CAFE, THE_BAKERY = (reference().stores.name[reference().store_rows[store_id]] for store_id in ("cafe", "bakery"))
FRESH = {"refined_to_us": NOON_US + HOUR_US - 70 * SECOND_US}
BETWEEN_THE_TWO = (CAFE[0] + BAKERY[0]) / 2, CAFE[1]


def tell(*decisions, version_at=HERE, at_us=None, **more):
    return explain(history(*decisions, **(FRESH | more)), version_at, partition_count=4, at_us=at_us)


def left(**more):
    return decided(DecisionReason.NO_PROMOTION, transition=Transition.EXIT, promotion_id=None, distance_m=None, **more)


# Moments


def test_a_visit_is_told_from_the_door_to_the_door():
    story = tell(
        decided(),
        decided(
            DecisionReason.WRONG_TRIGGER,
            transition=Transition.DWELL,
            tracked_us=NOON_US + 185 * SECOND_US,
            entered_us=NOON_US,
        ),
        left(tracked_us=NOON_US + 300 * SECOND_US, entered_us=NOON_US, left_us=NOON_US + 220 * SECOND_US),
    )
    assert [moment.sentence for moment in story.moments] == [
        f"walked into {THE_CAFE} (cafe), 12 m from it",
        f"stayed in {THE_CAFE} (cafe) for 3 min 5 s",
        f"left {THE_CAFE} (cafe) after 3 min 40 s, at 12:03:40",
    ]
    assert [[verdict.sentence for verdict in moment.verdicts] for moment in story.moments] == [
        ["20 % off, “Coffee?”"],
        ["it is for those who walk in (ENTER)"],
        [],
    ]


def test_what_was_sent_comes_before_what_was_not():
    story = tell(decided(DecisionReason.OUTRANKED, promotion_id="a"), decided(promotion_id="b"))
    (moment,) = story.moments
    assert [(verdict.promotion_id, verdict.outcome) for verdict in moment.verdicts] == [
        ("b", Outcome.SENT),
        ("a", Outcome.NOT_SENT),
    ]


def test_one_ping_at_several_stores_is_told_store_by_store_and_the_nearer_first():
    story = tell(
        decided(store_id="bakery", distance_m=30.0, reason=DecisionReason.NO_PROMOTION, promotion_id=None),
        decided(),
        left(store_id="bank", entered_us=NOON_US - HOUR_US, left_us=NOON_US),
    )
    assert [(moment.transition, moment.store_id) for moment in story.moments] == [
        (Transition.EXIT, "bank"),
        (Transition.ENTER, "cafe"),
        (Transition.ENTER, "bakery"),
    ]


def test_who_enters_where_nobody_has_to_linger_enters_before_it_stays():
    stayed = decided(DecisionReason.WRONG_TRIGGER, transition=Transition.DWELL)
    assert [moment.transition for moment in tell(stayed, decided()).moments] == [Transition.ENTER, Transition.DWELL]


@given(st.permutations(range(6)), st.lists(st.integers(0, 5), max_size=6))
@settings(deadline=None, max_examples=50)
def test_the_story_does_not_depend_on_the_order_or_the_repeats_of_the_records(order, repeats):
    records = [
        decided(tracked_us=NOON_US + (row // 2) * MINUTE_US, store_id=("cafe", "bakery")[row % 2], distance_m=row)
        for row in range(6)
    ]
    shuffled = [records[row] for row in [*order, *repeats]]
    assert tell(*shuffled) == tell(*records)
    assert len(tell(*shuffled).moments) == 6


def test_what_has_no_transition_says_what_it_was():
    blurred = decided(DecisionReason.LOW_ACCURACY, transition=None, promotion_id=None, entered_us=None)
    changed = decided(DecisionReason.GEOFENCE_CHANGED, transition=None, tracked_us=NOON_US + MINUTE_US)
    failed = decided(
        DecisionReason.INTERNAL_ERROR,
        outcome=Outcome.FAILED,
        transition=None,
        promotion_id=None,
        store_id=None,
        distance_m=None,
        entered_us=None,
        tracked_us=NOON_US + 2 * MINUTE_US,
    )
    story = tell(blurred, changed, failed, pings=(ping(accuracy_m=180.0),))
    assert [moment.sentence for moment in story.moments] == [
        f"perhaps walked into {THE_CAFE} (cafe), 12 m from it",
        f"was in {THE_CAFE} (cafe) already, when its geofence came there, 12 m from it",
        "sent a ping",
    ]
    assert "(to 180 m)" in story.moments[0].verdicts[0].sentence
    assert story.moments[2].verdicts[0].outcome == Outcome.FAILED


def test_decisions_before_the_story_explain_its_cooldown():
    before = decided(tracked_us=NOON_US - 2 * HOUR_US)
    story = tell(decided(DecisionReason.COOLDOWN), earlier=(before,))
    (moment,) = story.moments
    assert moment.verdicts[0].sentence == (
        "the store had an offer for it at 10:00:00; the cooldown of 4 h lasts until 14:00:00"
    )


def test_an_offer_that_came_later_explains_nothing():
    later = decided(tracked_us=NOON_US + 10 * MINUTE_US)
    story = tell(decided(DecisionReason.TOO_SOON), later)
    assert story.moments[0].verdicts[0].sentence == "it had an offer shortly before; 5 min must lie between two"


def test_who_was_held_out_cools_down_like_who_was_sent_an_offer():
    before = decided(DecisionReason.HELD_OUT, tracked_us=NOON_US - HOUR_US // 2)
    (*_, moment) = tell(before, decided(DecisionReason.COOLDOWN)).moments
    assert moment.verdicts[0].sentence.startswith("the store had an offer for it at 11:30:00")


def test_what_won_at_the_same_ping_is_no_offer_before_it():
    before = decided(tracked_us=NOON_US - MINUTE_US)
    at_once = decided(DecisionReason.TOO_SOON, promotion_id="cake")
    (*_, moment) = tell(before, decided(), at_once).moments
    assert moment.verdicts[1].sentence.startswith("it had an offer 1 min before, at 11:59:00")


def test_what_won_at_another_ping_outranked_nothing_at_this_one():
    before = decided(tracked_us=NOON_US - MINUTE_US, store_id="bakery")
    (*_, moment) = tell(before, decided(), decided(DecisionReason.OUTRANKED, promotion_id="cake")).moments
    assert moment.verdicts[1].sentence == "coffee won"


def test_each_decision_is_explained_with_the_version_that_made_it():
    old = reference(version="v1", promotions=(Promotion("coffee", 20.0, "Coffee?", starts_at_us=NOON_US + HOUR_US),))
    new = reference(version="v2", promotions=(Promotion("coffee", 25.0, "New coffee?"),))
    story = tell(
        decided(DecisionReason.NOT_RUNNING),
        decided(tracked_us=NOON_US + 10 * MINUTE_US, reference_version="v2"),
        version_at=lambda enqueued_us: old if enqueued_us < NOON_US + MINUTE_US else new,
    )
    assert [moment.verdicts[0].sentence for moment in story.moments] == [
        "it starts on 2026-06-01 14:00 (Europe/London), the same day",
        "25 % off, “New coffee?”",
    ]


@pytest.mark.parametrize("version_at", [always(None), always(reference(version="another"))])
def test_a_version_that_is_gone_is_said_and_its_numbers_are_left_out(version_at):
    story = tell(decided(), decided(DecisionReason.OUTRANKED, promotion_id="a"), version_at=version_at)
    (moment,) = story.moments
    assert (moment.store, moment.sentence) == (None, "walked into store cafe, 12 m from it")
    assert [verdict.sentence for verdict in moment.verdicts] == ["", "coffee won"]
    assert (
        "the stores and promotions of version v1 cannot be read any more: names and numbers are missing" in story.notes
    )


def test_the_moment_nearest_to_the_instant_asked_for_is_marked():
    minutes = [decided(tracked_us=NOON_US + row * MINUTE_US) for row in range(5)]
    marked = [moment.is_nearest for moment in tell(*minutes, at_us=NOON_US + 170 * SECOND_US).moments]
    assert marked == [False, False, False, True, False]
    assert not any(moment.is_nearest for moment in tell(*minutes).moments)


def test_the_summary_counts():
    story = tell(decided(), pings=(ping(), ping(NOON_US + SECOND_US, FAR_AWAY)))
    assert story.summary == (
        "device d1, partition 2, 2026-06-01 11:00:00 to 13:00:00 UTC: 1 decision, 2 pings (1 inside a geofence)"
    )


def test_a_story_is_json_with_instants():
    document = msgspec.json.decode(msgspec.json.encode(tell(decided(), pings=(ping(),))))
    assert document["moments"][0]["at"] == "2026-06-01T12:00:00Z"
    assert document["moments"][0]["verdicts"][0]["outcome"] == "sent"
    assert document["nearness"]["inside"] == 1


# Silence


def test_nothing_arrived_and_nobody_knows_the_device():
    assert tell().notes == (
        (
            "no ping of this device is in silver for this time, and the state does not know it: "
            "it sent nothing, or was in no geofence for 8 days"
        ),
        "silver has pings up to 2026-06-01 12:58:50 UTC, 1 min 10 s ago",
    )


def test_nothing_arrived_and_the_device_is_known():
    state = DeviceState(NOON_US - 30 * HOUR_US, NOON_US - 30 * HOUR_US)
    before = decided(tracked_us=NOON_US - 20 * HOUR_US)
    notes = tell(state=state, earlier=(before,)).notes
    assert notes[0] == (
        "no ping of this device is in silver for this time; it was decided about at 2026-05-31 16:00:00 before; "
        "the newest ping that the state knows of is of 2026-05-31 06:00:00 UTC"
    )


def test_no_ping_was_near_a_store():
    notes = tell(pings=(ping(NOON_US, (51.5100, -0.1200)), ping(NOON_US + SECOND_US, (51.5030, -0.1200)))).notes
    assert notes[0] == (
        "2 pings arrived, and no ping was near a store; "
        f"the nearest to the last one was {THE_BAKERY} (bakery), 300 m away"
    )


def test_a_world_without_stores_has_no_nearest_one():
    empty = reference()
    stores = replace(
        empty.stores,
        **{name: getattr(empty.stores, name)[:0] for name in empty.stores.__dataclass_fields__ if name != "polygons"},
    )
    notes = tell(pings=(ping(),), version_at=always(replace(empty, stores=stores))).notes
    assert notes[0] == "1 ping arrived, and no ping was near a store"


def test_a_ping_in_the_margin_was_not_inside():
    notes = tell(pings=(ping(NOON_US, (CAFE[0] - 0.0005, CAFE[1])),)).notes  # 56 m south: radius 50 m, margin 20 m
    assert notes[0] == (
        "1 ping arrived, 1 in the margin of a geofence and none inside; "
        f"the nearest to the last one was {THE_CAFE} (cafe), 56 m away"
    )


def test_pings_inside_that_led_to_nothing_are_told_why():
    stale = replace(ping(NOON_US, accuracy_m=300.0), enqueued_us=NOON_US + HOUR_US // 2)
    blurred = ping(NOON_US + SECOND_US, accuracy_m=300.0)
    again = [ping(NOON_US + row * MINUTE_US, BETWEEN_THE_TWO) for row in range(2, 5)]
    notes = tell(pings=(blurred, *again, stale, ping(NOON_US + HOUR_US // 2 + SECOND_US, FAR_AWAY))).notes
    assert notes[0] == (
        "6 pings arrived, 5 inside a geofence, which led to nothing new: 1 too old on arrival, "
        "1 not accurate enough, 3 in a visit that had been decided when it began"
    )


def test_pings_that_could_lead_to_no_offer_are_counted_beside_the_decisions_too():
    stale = replace(ping(NOON_US - 10 * MINUTE_US), enqueued_us=NOON_US - SECOND_US)
    notes = tell(decided(), pings=(stale, ping())).notes
    assert notes[0] == "of the pings inside a geofence, 1 too old on arrival: such a ping leads to no offer"


def test_pings_under_a_version_that_is_gone_are_not_judged():
    notes = tell(pings=(ping(),), version_at=always(None)).notes
    assert notes[0] == (
        "1 ping arrived; the stores that were in force cannot be read, so nobody can tell how near they came"
    )


def test_rejected_bodies_are_shown_and_many_are_counted():
    bodies = [RejectedBody(NOON_US + row * SECOND_US, "out_of_range", f"latitude is {90 + row}") for row in range(1, 8)]
    notes = tell(rejected=tuple(bodies)).notes
    assert notes[1:7] == (
        *(f"rejected at 12:00:0{row}: out_of_range: latitude is {90 + row}" for row in range(1, 6)),
        "rejected as well: 2 more, in the table quarantine.bodies",
    )


def test_where_the_device_is_now_comes_from_the_state():
    visit = Visit(NOON_US, NOON_US + 20 * MINUTE_US)
    inside = DeviceState(NOON_US + HOUR_US // 2, NOON_US + HOUR_US // 2, visits={"cafe": visit})
    assert (
        f"now: in {THE_CAFE} (cafe) since 12:00:00, last shown inside at 2026-06-01 12:20:00 UTC"
        in tell(decided(), state=inside).notes
    )
    assert (
        "now: in no geofence; its newest ping is of 2026-06-01 12:30:00 UTC"
        in tell(decided(), state=DeviceState(inside.newest_us, inside.changed_us)).notes
    )


def test_what_silver_does_not_have_yet_is_said_to_come():
    state = DeviceState(NOON_US + HOUR_US, NOON_US + HOUR_US)
    assert tell(state=state).notes[-1] == (
        "silver has pings up to 2026-06-01 12:58:50 UTC, 1 min 10 s ago; "
        "this device sent one at 13:00:00, which will be there soon"
    )


def test_a_lake_without_pings_says_when_they_come():
    assert tell(refined_to_us=None).notes[-1] == (
        "silver has no pings yet: a capture window closes every minute (`footfall flush` closes it now)"
    )

"""Which of the promotions that a ping could lead to is sent, and why the others are not."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from shared.domain.budget import Budget, is_held_out
from shared.domain.decision import DecisionReason, Outcome
from shared.domain.local_time import ALL_DAYS, DayWindow, WeeklyHours, Window
from shared.domain.promotions import ContactPolicy, Promotion, StoreSelector, Transition
from tests.unit.evaluate.world import (
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
    reference,
    told,
)

ENTER, DWELL, EXIT = Transition.ENTER, Transition.DWELL, Transition.EXIT
HOUR = 3600
BETWEEN = beside(CAFE, north_m=20)
"""Inside the café and the bakery, nearer to the bakery."""
NO_LIMITS = ContactPolicy(cooldown_s=0, daily_cap=None, min_gap_s=0)


def at(utc: str) -> float:
    """The seconds from noon to that instant, `2026-06-01 12:00`."""
    return datetime.fromisoformat(utc).replace(tzinfo=UTC).timestamp() - NOON_US / SECOND_US


def reasons(walked: Walk, at_s: float, position=CAFE, **more) -> dict:
    """Why each promotion was not sent (None: it was), by promotion id; exits left out."""
    decisions = walked.sees(Ping(at_s, position, **more))
    return {one.promotion_id: one.reason for one in decisions if one.transition is not EXIT}


def visits(data, *times_s, position=CAFE, device_id="d1") -> list:
    """The reason at each of those visits (None: an offer); the device leaves for certain after each."""
    walked, found = Walk(data, device_id), []
    for at_s in times_s:
        found += reasons(walked, at_s, position).values()
        for away_s in (1, 61):
            walked.sends(at_s + away_s, FAR_AWAY)
    return found


# Which stores run a promotion


@pytest.mark.parametrize(
    ("selector", "chosen"),
    [
        (StoreSelector(), {"cafe", "bakery"}),
        (StoreSelector(store_ids=frozenset({"bakery"})), {"bakery"}),
        (StoreSelector(merchants=frozenset({"Costa", "Nero"})), {"cafe"}),
        (StoreSelector(service_types=frozenset({"Bakery"})), {"bakery"}),
        (StoreSelector(merchants=frozenset({"Costa"}), service_types=frozenset({"Bakery"})), set()),
        (StoreSelector(store_ids=frozenset({"cafe"}), merchants=frozenset({"Costa"})), {"cafe"}),
        (StoreSelector(store_ids=frozenset()), set()),
    ],
)
def test_a_promotion_runs_at_the_stores_that_satisfy_every_condition(selector, chosen):
    data = reference(promotions=(replace(EVERYWHERE, stores=selector),))
    decisions = Walk(data).sends(0, BETWEEN)
    assert {one.store_id for one in decisions if one.promotion_id == "everywhere"} == chosen
    assert {one.store_id for one in decisions if one.reason is DecisionReason.NO_PROMOTION} == {
        "cafe",
        "bakery",
    } - chosen


# When it runs


@pytest.mark.parametrize(
    ("starts_s", "ends_s", "reason"),
    [
        (None, None, None),
        (0, 1, None),
        (1, None, DecisionReason.NOT_RUNNING),
        (None, 0, DecisionReason.NOT_RUNNING),
    ],
)
def test_a_promotion_runs_from_its_start_until_before_its_end(starts_s, ends_s, reason):
    starts_at_us, ends_at_us = (None if at_s is None else NOON_US + at_s * SECOND_US for at_s in (starts_s, ends_s))
    data = reference(THE_CAFE, promotions=(replace(COFFEE, starts_at_us=starts_at_us, ends_at_us=ends_at_us),))
    assert reasons(Walk(data), 0) == {"coffee": reason}


def test_it_is_the_time_of_the_ping_that_counts_not_that_of_the_hub():
    data = reference(THE_CAFE, promotions=(replace(COFFEE, ends_at_us=NOON_US + SECOND_US),))
    assert reasons(Walk(data), 0, enqueued_s=100) == {"coffee": None}


@pytest.mark.parametrize(
    ("time_zone", "utc", "is_on"),
    [
        ("Europe/London", "2026-06-01 07:59", False),  # 08:59 in summer
        ("Europe/London", "2026-06-01 08:00", True),
        ("Europe/London", "2026-12-01 08:59", False),
        ("Europe/London", "2026-12-01 09:00", True),
        ("Europe/London", "2026-03-29 08:00", True),  # the clocks went forward that night
        ("Europe/London", "2026-10-25 08:59", False),  # and back
        ("America/New_York", "2026-03-07 14:00", True),
        ("America/New_York", "2026-03-08 12:59", False),
        ("America/New_York", "2026-03-08 13:00", True),
        ("America/New_York", "2026-11-01 13:59", False),
        ("America/New_York", "2026-11-01 14:00", True),
        ("Australia/Lord_Howe", "2026-10-02 22:29", False),  # 08:59, ten and a half hours ahead
        ("Australia/Lord_Howe", "2026-10-02 22:30", True),
        ("Australia/Lord_Howe", "2026-10-03 21:59", False),  # the day after: eleven hours
        ("Australia/Lord_Howe", "2026-10-03 22:00", True),
        ("Australia/Lord_Howe", "2026-04-04 22:29", False),
        ("Australia/Lord_Howe", "2026-04-04 22:30", True),
    ],
)
def test_hours_are_those_of_the_clock_at_the_store(time_zone, utc, is_on):
    from_nine = WeeklyHours((DayWindow(ALL_DAYS, Window(540, 1020)),))
    data = reference(replace(THE_CAFE, time_zone=time_zone), promotions=(replace(COFFEE, hours=from_nine),))
    assert reasons(Walk(data), at(utc)) == {"coffee": None if is_on else DecisionReason.OUTSIDE_HOURS}


@pytest.mark.parametrize(
    ("utc", "is_on"),
    [("2026-06-06 20:59", False), ("2026-06-06 21:00", True), ("2026-06-07 01:59", True), ("2026-06-07 21:00", False)],
)
def test_hours_over_midnight_belong_to_the_day_on_which_they_began(utc, is_on):
    saturday_night = WeeklyHours((DayWindow(frozenset({5}), Window(22 * 60, 3 * 60)),))
    data = reference(THE_CAFE, promotions=(replace(COFFEE, hours=saturday_night),))
    assert reasons(Walk(data), at(utc)) == {"coffee": None if is_on else DecisionReason.OUTSIDE_HOURS}


# Triggers


def test_a_promotion_waits_for_its_trigger():
    stay = Promotion("stay", 5.0, "Stay a while", trigger=DWELL)
    walked = Walk(reference(THE_CAFE, promotions=(COFFEE, stay), policy=NO_LIMITS))
    assert reasons(walked, 0) == {"coffee": None, "stay": DecisionReason.WRONG_TRIGGER}
    assert reasons(walked, 180) == {"coffee": DecisionReason.WRONG_TRIGGER, "stay": None}


def test_who_passes_by_gets_nothing_that_is_for_those_who_stay():
    data = reference(THE_CAFE, promotions=(replace(COFFEE, trigger=DWELL),))
    assert visits(data, 0, 600, 1200) == [DecisionReason.WRONG_TRIGGER] * 3


def test_where_the_loitering_delay_is_0_both_triggers_compete():
    stay = Promotion("stay", 50.0, "Stay a while", trigger=DWELL)
    decisions = Walk(reference(replace(THE_CAFE, loitering_s=0.0), promotions=(COFFEE, stay))).sends(0, CAFE)
    assert told(decisions) == [
        ("cafe", ENTER, "coffee", DecisionReason.OUTRANKED),
        ("cafe", ENTER, "stay", DecisionReason.WRONG_TRIGGER),
        ("cafe", DWELL, "coffee", DecisionReason.WRONG_TRIGGER),
        ("cafe", DWELL, "stay", None),
    ]


# Consent


@pytest.mark.parametrize(
    ("consent", "require", "suppressed", "is_sent"),
    [
        (None, False, (), True),
        (True, False, (), True),
        (False, False, (), False),
        (None, True, (), False),
        (True, True, (), True),
        (False, True, (), False),
        (True, False, ("d1",), False),
        (True, True, ("d1",), False),
        (None, False, ("d2",), True),
    ],
)
def test_who_did_not_agree_where_that_is_required_or_opted_out_gets_nothing(consent, require, suppressed, is_sent):
    data = reference(THE_CAFE, require_consent=require, suppressed=suppressed)
    assert reasons(Walk(data), 0, consent=consent) == {"coffee": None if is_sent else DecisionReason.NO_CONSENT}


def test_without_consent_the_device_still_moves():
    walked = Walk(reference(THE_CAFE))
    walked.sends(0, CAFE, consent=False)
    assert "cafe" in walked.state.visits
    assert walked.state.contacts == {}


# Contact policy


@pytest.mark.parametrize(("age_s", "reason"), [(120, None), (121, DecisionReason.STALE_PING)])
def test_a_ping_that_is_too_old_when_it_arrives_leads_to_no_offer(age_s, reason):
    walked = Walk(reference(THE_CAFE, THE_BAKERY))
    walked.sends(0, beside(THE_BAKERY.position, north_m=19))
    assert reasons(walked, 10, enqueued_s=10 + age_s) == {"coffee": reason}


@pytest.mark.parametrize(("gap_s", "reason"), [(3599, DecisionReason.COOLDOWN), (3600, None)])
def test_a_store_lets_a_device_alone_for_the_cooldown(gap_s, reason):
    data = reference(THE_CAFE, policy=ContactPolicy(cooldown_s=3600))
    assert visits(data, 0, gap_s) == [None, reason]


def test_the_cooldown_counts_from_the_offer_not_from_a_visit_without_one():
    data = reference(THE_CAFE, policy=ContactPolicy(cooldown_s=3600))
    assert visits(data, 0, 3000, 3600) == [None, DecisionReason.COOLDOWN, None]


def test_the_cooldown_holds_for_all_promotions_of_a_store_and_for_no_other_store():
    club = Shop("club", beside(CAFE, north_m=1000), merchant="Greggs")
    walked = Walk(reference(THE_CAFE, club, promotions=(COFFEE, BREAD, replace(EVERYWHERE, trigger=DWELL))))
    assert reasons(walked, 0)["coffee"] is None
    assert reasons(walked, 400)["everywhere"] is DecisionReason.COOLDOWN
    assert reasons(walked, 800, club.position)["bread"] is None


@pytest.mark.parametrize(("gap_s", "reason"), [(299, DecisionReason.TOO_SOON), (300, None)])
def test_between_two_offers_at_any_stores_lies_the_minimum_gap(gap_s, reason):
    club = Shop("club", beside(CAFE, north_m=1000))
    walked = Walk(reference(THE_CAFE, club))
    assert reasons(walked, 0) == {"coffee": None}
    assert reasons(walked, gap_s, club.position) == {"coffee": reason}


def test_after_as_many_offers_as_the_daily_cap_the_day_is_over():
    data = reference(THE_CAFE, policy=ContactPolicy(cooldown_s=0))
    assert visits(data, *range(0, 7 * 600, 600)) == [None] * 5 + [DecisionReason.DAILY_CAP] * 2


def test_the_daily_cap_may_be_lifted():
    data = reference(THE_CAFE, policy=ContactPolicy(cooldown_s=0, daily_cap=None))
    assert visits(data, *range(0, 9 * 600, 600)) == [None] * 9


def test_the_next_day_begins_at_midnight_of_the_store():
    """In London, 23:00 UTC in summer."""
    data = reference(THE_CAFE, policy=ContactPolicy(cooldown_s=0, daily_cap=1))
    times = "2026-06-01 11:00", "2026-06-01 22:59", "2026-06-01 23:05", "2026-06-02 22:54", "2026-06-02 23:30"
    cap = DecisionReason.DAILY_CAP
    assert visits(data, *map(at, times)) == [None, cap, None, cap, None]


def test_one_instant_may_be_today_at_one_store_and_tomorrow_at_another():
    """An offer at 23:30 in London counts against London's day, and for Paris it was made today."""
    london, paris = THE_CAFE, Shop("paris", (48.85, 2.35), time_zone="Europe/Paris")
    walked = Walk(reference(london, paris, policy=ContactPolicy(daily_cap=1, min_gap_s=0)))
    assert reasons(walked, at("2026-06-01 22:30")) == {"coffee": None}
    assert reasons(walked, at("2026-06-01 22:40"), paris.position) == {"coffee": DecisionReason.DAILY_CAP}
    other = Walk(reference(london, paris, policy=ContactPolicy(daily_cap=1, min_gap_s=0)))
    assert reasons(other, at("2026-06-01 21:30")) == {"coffee": None}
    assert reasons(other, at("2026-06-01 22:10"), paris.position) == {"coffee": None}, "there it is the 2nd of June"


@pytest.mark.parametrize(
    ("time_zone", "midnight", "next_midnight"),
    [
        ("Europe/London", "2026-03-29 00:00", "2026-03-29 23:00"),
        ("Europe/London", "2026-10-24 23:00", "2026-10-26 00:00"),
        ("Australia/Lord_Howe", "2026-10-03 13:30", "2026-10-04 13:00"),
    ],
)
def test_a_day_on_which_the_clocks_change_is_one_day(time_zone, midnight, next_midnight):
    shop = replace(THE_CAFE, time_zone=time_zone)
    data = reference(shop, policy=ContactPolicy(cooldown_s=0, daily_cap=1))
    assert visits(data, at(midnight), at(next_midnight) - 1) == [None, DecisionReason.DAILY_CAP]
    assert visits(data, at(midnight) - 1, at(midnight) + 300, at(next_midnight)) == [None, None, None]


@pytest.mark.parametrize(
    ("utc", "is_quiet"),
    [("2026-06-01 20:59", False), ("2026-06-01 21:00", True), ("2026-06-02 05:59", True), ("2026-06-02 06:00", False)],
)
def test_in_quiet_hours_there_are_no_offers(utc, is_quiet):
    """From 22 to 7 o'clock in London, over midnight."""
    data = reference(THE_CAFE, policy=ContactPolicy(quiet_hours=Window(22 * 60, 7 * 60)))
    assert reasons(Walk(data), at(utc)) == {"coffee": DecisionReason.QUIET_HOURS if is_quiet else None}


def test_quiet_hours_are_those_of_each_store():
    lisbon, madrid = Shop("lisbon", (38.7, -9.1), time_zone="Europe/Lisbon"), Shop("madrid", (40.4, -3.7))
    data = reference(
        lisbon, replace(madrid, time_zone="Europe/Madrid"), policy=ContactPolicy(quiet_hours=Window(22 * 60, 7 * 60))
    )  # fmt: skip
    ten_in_madrid = at("2026-06-01 20:30")
    assert reasons(Walk(data), ten_in_madrid, lisbon.position) == {"coffee": None}
    assert reasons(Walk(data), ten_in_madrid, madrid.position) == {"coffee": DecisionReason.QUIET_HOURS}


def test_a_promotions_own_policy_takes_the_place_of_that_of_all():
    own = replace(EVERYWHERE, policy=ContactPolicy(cooldown_s=10, min_gap_s=10))
    walked = Walk(reference(THE_CAFE, promotions=(COFFEE, own)))
    assert reasons(walked, 0) == {"coffee": None, "everywhere": DecisionReason.OUTRANKED}
    for away_s in (60, 120):
        walked.sends(away_s, FAR_AWAY)
    assert reasons(walked, 180) == {"coffee": DecisionReason.COOLDOWN, "everywhere": None}


def test_a_policy_may_look_back_as_far_as_a_row_lives():
    data = reference(THE_CAFE, policy=ContactPolicy(cooldown_s=TTL_US // SECOND_US))
    walked = Walk(data)
    day = 24 * HOUR
    assert reasons(walked, 0) == {"coffee": None}
    for number in range(1, 8):
        walked.sends(number * day, FAR_AWAY)
    assert reasons(walked, 8 * day - 1) == {"coffee": DecisionReason.COOLDOWN}


# What is not known


@pytest.mark.parametrize(
    ("promotion", "policy"),
    [
        (COFFEE, ContactPolicy()),
        (COFFEE, ContactPolicy(daily_cap=None, quiet_hours=Window(0, 1))),
        (replace(COFFEE, hours=WeeklyHours((DayWindow(ALL_DAYS, Window(0, 1440)),))), NO_LIMITS),
    ],
    ids=["daily cap", "quiet hours", "hours"],
)
def test_where_the_zone_of_a_store_is_not_known_nothing_is_sent_that_needs_it(promotion, policy):
    data = reference(replace(THE_CAFE, time_zone=""), promotions=(promotion,), policy=policy)
    assert reasons(Walk(data), 0) == {"coffee": DecisionReason.UNKNOWN}


def test_where_nothing_needs_the_zone_it_may_be_unknown():
    assert reasons(Walk(reference(replace(THE_CAFE, time_zone=""), policy=NO_LIMITS)), 0) == {"coffee": None}


def test_what_is_known_to_fail_is_said_before_what_is_not_known():
    data = reference(replace(THE_CAFE, time_zone=""), promotions=(replace(COFFEE, ends_at_us=NOON_US),))
    assert reasons(Walk(data), 0) == {"coffee": DecisionReason.NOT_RUNNING}


# The rank


def winner(*promotions, position=BETWEEN, shops=(THE_CAFE, THE_BAKERY), budget=None, device_id="d1"):
    """(promotion, store) of what is sent."""
    walked = Walk(reference(*shops, promotions=promotions), device_id)
    walked.budget = budget or walked.budget
    decisions = walked.sends(0, position)
    sent = [(one.promotion_id, one.store_id) for one in decisions if one.outcome is Outcome.SENT]
    assert len(sent) <= 1
    return sent[0] if sent else None


def test_the_higher_priority_wins_over_any_discount():
    assert winner(COFFEE, replace(BREAD, discount_percent=90)) == ("bread", "bakery")
    assert winner(replace(COFFEE, priority=1), replace(BREAD, discount_percent=90)) == ("coffee", "cafe")
    assert winner(COFFEE, replace(BREAD, discount_percent=90, priority=-1)) == ("coffee", "cafe")


def test_of_the_same_priority_the_larger_discount_wins_over_the_nearer_store():
    assert winner(COFFEE, BREAD) == ("bread", "bakery")
    assert winner(replace(COFFEE, discount_percent=30.5), BREAD) == ("coffee", "cafe")


def test_of_the_same_discount_the_nearer_store_wins():
    assert winner(EVERYWHERE) == ("everywhere", "bakery")
    assert winner(EVERYWHERE, position=beside(CAFE, north_m=14)) == ("everywhere", "cafe")


def test_of_the_same_distance_the_ids_decide_so_that_there_is_always_one_winner():
    twins = Shop("b", CAFE), Shop("a", CAFE)
    other = replace(EVERYWHERE, promotion_id="a-promotion")
    assert winner(EVERYWHERE, other, shops=twins) == ("a-promotion", "a")
    assert winner(other, EVERYWHERE, shops=twins[::-1]) == ("a-promotion", "a")


def test_only_those_that_could_be_sent_compete():
    over = replace(BREAD, ends_at_us=NOON_US)
    assert winner(COFFEE, over) == ("coffee", "cafe")


def test_all_transitions_of_one_ping_compete():
    """The device dwells in the café at the ping at which it enters the bakery."""
    stay = replace(COFFEE, trigger=DWELL, discount_percent=40)
    walked = Walk(reference(promotions=(stay, BREAD)))
    walked.sends(0, beside(CAFE, north_m=-30))
    assert told(walked.sends(200, BETWEEN)) == [
        ("cafe", DWELL, "coffee", None),
        ("bakery", ENTER, "bread", DecisionReason.OUTRANKED),
    ]


# Holdout and budget of the winner


def a_device(is_held: bool, promotion: Promotion) -> str:
    return next(name for name in map(str, range(1000)) if is_held_out(promotion, name) is is_held)


TESTED = replace(BREAD, holdout_percent=50)
HELD, NOT_HELD = a_device(True, TESTED), a_device(False, TESTED)


def test_who_is_held_out_gets_nothing_and_nobody_moves_up():
    walked = Walk(reference(promotions=(COFFEE, TESTED)), HELD)
    assert reasons(walked, 0, BETWEEN) == {"coffee": DecisionReason.OUTRANKED, "bread": DecisionReason.HELD_OUT}
    assert winner(COFFEE, TESTED, device_id=NOT_HELD) == ("bread", "bakery")


def test_only_the_winner_holds_out():
    first = replace(COFFEE, priority=1)
    assert winner(first, TESTED, device_id=HELD) == ("coffee", "cafe")


def test_who_is_held_out_is_remembered_like_who_was_sent_so_that_the_groups_stay_alike():
    states = []
    for device_id in (HELD, NOT_HELD):
        walked = Walk(reference(promotions=(COFFEE, TESTED)), device_id)
        walked.sends(0, BETWEEN)
        states.append(walked.state)
    assert states[0] == states[1]
    assert states[0].contacts.keys() == {"bakery"}
    assert states[0].offered_us == (NOON_US,)


def test_the_held_out_count_against_cooldown_cap_and_gap():
    policy = ContactPolicy(cooldown_s=1000, daily_cap=3)
    held = replace(COFFEE, holdout_percent=100)
    out, cool = DecisionReason.HELD_OUT, DecisionReason.COOLDOWN
    data = reference(THE_CAFE, promotions=(held,), policy=policy)
    assert visits(data, 0, 500, 1000, 2000, 3000) == [out, cool, out, out, DecisionReason.DAILY_CAP]


def test_after_a_spent_budget_the_next_moves_up():
    spent = Budget(4, {"bread": 10})
    scarce = replace(BREAD, max_offers=40)
    assert winner(COFFEE, scarce, budget=spent) == ("coffee", "cafe")
    walked = Walk(reference(promotions=(COFFEE, scarce)), budget=spent)
    assert reasons(walked, 0, BETWEEN) == {"coffee": None, "bread": DecisionReason.BUDGET_SPENT}


def test_after_all_budgets_are_spent_nothing_is_sent_and_nothing_remembered():
    scarce = replace(COFFEE, max_offers=0), replace(BREAD, max_offers=0)
    walked = Walk(reference(promotions=scarce))
    assert set(reasons(walked, 0, BETWEEN).values()) == {DecisionReason.BUDGET_SPENT}
    assert (walked.state.contacts, walked.state.offered_us) == ({}, ())


def test_who_is_held_out_costs_no_budget_and_finds_it_spent_as_little():
    scarce = replace(TESTED, max_offers=0)
    walked = Walk(reference(promotions=(COFFEE, scarce)), HELD)
    assert reasons(walked, 0, BETWEEN)["bread"] is DecisionReason.HELD_OUT


def test_who_moves_up_may_be_held_out_and_then_nobody_else_moves_up():
    first = replace(COFFEE, priority=2, max_offers=0)
    second = replace(TESTED, priority=1)
    walked = Walk(reference(promotions=(first, second, EVERYWHERE)), HELD)
    decisions = walked.sends(0, BETWEEN)
    assert {(one.promotion_id, one.reason) for one in decisions} == {
        ("coffee", DecisionReason.BUDGET_SPENT),
        ("bread", DecisionReason.HELD_OUT),
        ("everywhere", DecisionReason.OUTRANKED),
    }


# What is said of each


def test_each_promotion_at_each_transition_has_one_decision():
    decisions = Walk(reference(promotions=(COFFEE, BREAD, EVERYWHERE))).sends(0, BETWEEN)
    assert told(decisions) == [
        ("cafe", ENTER, "coffee", DecisionReason.OUTRANKED),
        ("cafe", ENTER, "everywhere", DecisionReason.OUTRANKED),
        ("bakery", ENTER, "bread", None),
        ("bakery", ENTER, "everywhere", DecisionReason.OUTRANKED),
    ]


def test_a_decision_says_how_far_the_store_was_and_when_the_visit_began():
    walked = Walk(reference(THE_CAFE))
    walked.sends(0, CAFE)
    (decision,) = walked.sends(200, beside(CAFE, north_m=40))
    assert decision.distance_m == pytest.approx(40, abs=0.01)
    assert decision.entered_us == NOON_US

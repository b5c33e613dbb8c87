"""What one ping of one device leads to."""

import pytest

from shared.domain.budget import Budget
from shared.domain.deciding import decide
from shared.domain.decision import DecisionReason, Near, Outcome, SeenPing
from shared.domain.presence import NEXT, Presence, Sighting
from shared.domain.promotions import ContactPolicy, Promotion, StoreSelector, Transition
from shared.settings import STATE_TTL
from tests.unit.evaluate.world import COFFEE, NOON_US, SECOND_US, reference

FREE = Budget(4, {})
TTL_US = round(STATE_TTL.total_seconds() * 1e6)
AT_THE_CAFE = (Near(0, 12.5, inside=True),)
IN_BOTH = (Near(0, 30.0, inside=True), Near(1, 10.0, inside=True))
IN_THE_MARGIN = (Near(0, 60.0, inside=False),)
NOWHERE = ()
BREAD = Promotion("bread", 30.0, "Bread?", StoreSelector(merchants=frozenset({"Greggs"})))


def ping(near=AT_THE_CAFE, at_s=0, *, number=None, enqueued_s=None, accuracy_m=None):
    enqueued_us = NOON_US + (at_s if enqueued_s is None else enqueued_s) * SECOND_US
    number = at_s if number is None else number
    return SeenPing("d1", 51.5, -0.12, NOON_US + at_s * SECOND_US, enqueued_us, accuracy_m, "2", number, near)


def walk(*pings, data=None):
    """The state and all decisions after those pings."""
    state, decisions = None, []
    for one in pings:
        state, outputs = decide(state, one, data or reference(), FREE, state_ttl_us=TTL_US)
        decisions += outputs.decisions
    return state, decisions


def told(decisions):
    return [(one.store_id, one.transition, one.promotion_id, one.outcome, one.reason) for one in decisions]


def test_the_transition_table_is_total():
    assert set(NEXT) == {(presence, sighting) for presence in Presence for sighting in Sighting}


def test_who_walks_up_to_a_store_gets_its_offer():
    _, outputs = decide(None, ping(), reference(), FREE, state_ttl_us=TTL_US)
    (offer,) = outputs.offers
    assert (offer.decision.store_id, offer.promotion, offer.merchant) == ("cafe", COFFEE, "Costa")
    assert told(outputs.decisions) == [("cafe", Transition.ENTER, "coffee", Outcome.SENT, None)]


def test_who_stays_gets_it_once():
    _, decisions = walk(ping(), ping(at_s=10), ping(at_s=20))
    assert len(decisions) == 1


def test_who_comes_back_within_the_cooldown_gets_no_second_one():
    _, decisions = walk(ping(), ping(NOWHERE, at_s=60), ping(at_s=120))
    assert [(one.transition, one.reason) for one in decisions] == [
        (Transition.ENTER, None),
        (Transition.EXIT, DecisionReason.NO_PROMOTION),
        (Transition.ENTER, DecisionReason.COOLDOWN),
    ]


def test_who_comes_back_after_the_cooldown_gets_another_with_its_own_id():
    data = reference(policy=ContactPolicy(cooldown_s=100))
    _, decisions = walk(ping(), ping(NOWHERE, at_s=60), ping(at_s=160), data=data)
    first, _, second = decisions
    assert (first.outcome, second.outcome) == (Outcome.SENT, Outcome.SENT)
    assert first.offer_id != second.offer_id


def test_the_best_offer_of_all_stores_entered_at_once_is_sent_and_the_others_are_outranked():
    _, decisions = walk(ping(IN_BOTH), data=reference(promotions=(COFFEE, BREAD)))
    assert told(decisions) == [
        ("cafe", Transition.ENTER, "coffee", Outcome.NOT_SENT, DecisionReason.OUTRANKED),
        ("bakery", Transition.ENTER, "bread", Outcome.SENT, None),
    ]


def test_of_two_equal_discounts_the_nearer_store_wins():
    everywhere = Promotion("everywhere", 10.0, "Come in")
    _, decisions = walk(ping(IN_BOTH), data=reference(promotions=(everywhere,)))
    assert [one.store_id for one in decisions if one.outcome is Outcome.SENT] == ["bakery"]


def test_a_store_without_a_promotion_says_so():
    _, decisions = walk(ping(), data=reference(promotions=(BREAD,)))
    assert told(decisions) == [("cafe", Transition.ENTER, None, Outcome.NOT_SENT, DecisionReason.NO_PROMOTION)]


@pytest.mark.parametrize(
    ("starts_s", "ends_s", "reason"),
    [(None, None, None), (0, 1, None), (1, None, DecisionReason.NOT_RUNNING), (None, 0, DecisionReason.NOT_RUNNING)],
)
def test_a_promotion_runs_from_its_start_until_before_its_end(starts_s, ends_s, reason):
    def instant(at_s):
        return None if at_s is None else NOON_US + at_s * SECOND_US

    promotion = Promotion("p", 10.0, "", starts_at_us=instant(starts_s), ends_at_us=instant(ends_s))
    _, decisions = walk(ping(), data=reference(promotions=(promotion,)))
    assert decisions[0].reason is reason


def test_the_margin_is_neither_in_nor_out():
    state, decisions = walk(ping(IN_THE_MARGIN), ping(at_s=1), ping(IN_THE_MARGIN, at_s=2))
    assert [one.transition for one in decisions] == [Transition.ENTER]
    assert state.visits["cafe"].inside_us == NOON_US + SECOND_US


def test_an_inaccurate_ping_moves_nobody():
    assert walk(ping(accuracy_m=100.1))[1] == []
    assert len(walk(ping(accuracy_m=100.0))[1]) == 1
    assert [one.transition for one in walk(ping(), ping(NOWHERE, at_s=1, accuracy_m=500.0))[1]] == [Transition.ENTER]


def test_a_ping_older_than_the_newest_moves_nothing():
    state, decisions = walk(ping(at_s=100), ping(NOWHERE, at_s=99, number=101))
    assert [one.transition for one in decisions] == [Transition.ENTER]
    assert state.newest_us == NOON_US + 100 * SECOND_US


def test_a_stale_ping_of_an_unknown_device_moves_nothing():
    assert walk(ping(enqueued_s=121)) == (None, [])


def test_a_stale_ping_of_a_known_device_moves_it_without_an_offer():
    _, decisions = walk(ping(NOWHERE), ping(at_s=1), ping(IN_BOTH, at_s=2, enqueued_s=300))
    assert [(one.store_id, one.reason) for one in decisions] == [
        ("cafe", None),
        ("bakery", DecisionReason.NO_PROMOTION),
    ]
    _, decisions = walk(ping(), ping(IN_BOTH, at_s=2, enqueued_s=300), data=reference(promotions=(COFFEE, BREAD)))
    assert decisions[1].reason is DecisionReason.STALE_PING


def test_a_device_without_a_row_and_near_nothing_leaves_no_trace():
    assert walk(ping(NOWHERE)) == (None, [])
    assert walk(ping(IN_THE_MARGIN)) == (None, [])


def test_a_row_is_absent_for_an_event_enqueued_more_than_its_lifetime_after_the_last_change():
    later_s = round(STATE_TTL.total_seconds())
    _, decisions = walk(ping(), ping(at_s=later_s))
    assert len(decisions) == 1, "still the same visit at exactly the lifetime"
    _, decisions = walk(ping(), ping(at_s=later_s + 1))
    assert [one.transition for one in decisions] == [Transition.ENTER, Transition.ENTER]


def test_a_store_that_was_removed_ends_its_visits_quietly():
    state, _ = walk(ping())
    empty = reference(version="v2")
    empty.__dict__["store_rows"] = {"bakery": 1}
    after, outputs = decide(state, ping(NOWHERE, at_s=1), empty, FREE, state_ttl_us=TTL_US)
    assert (after.visits, outputs.decisions) == ({}, ())


def test_the_same_cause_has_the_same_id():
    (first,), (second,) = walk(ping())[1], walk(ping())[1]
    assert (first.decision_id, first.offer_id) == (second.decision_id, second.offer_id)

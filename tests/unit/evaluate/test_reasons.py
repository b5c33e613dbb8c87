"""Every reason is given, and of several the first."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from shared.domain.budget import Budget
from shared.domain.deciding import fail
from shared.domain.decision import DecisionReason
from shared.domain.local_time import ALL_DAYS, DayWindow, WeeklyHours, Window
from shared.domain.promotions import ContactPolicy, Transition
from tests.unit.evaluate.world import (
    BAKERY,
    CAFE,
    COFFEE,
    NOON_US,
    THE_BAKERY,
    THE_CAFE,
    Ping,
    Walk,
    beside,
    reference,
    see,
)

R = DecisionReason
NEXT_DOOR = replace(THE_CAFE, store_id="next door", position=beside(CAFE, east_m=200))
AT_NIGHT = WeeklyHours((DayWindow(ALL_DAYS, Window(0, 60)),))
IN_THE_DAY = WeeklyHours((DayWindow(ALL_DAYS, Window(600, 1200)),))
DWELLER = replace(COFFEE, trigger=Transition.DWELL)
QUIET_NOON = ContactPolicy(quiet_hours=Window(600, 1200))


def why(*before, data=None, at_s=1000, position=CAFE, budget=None, **more):
    """The reasons at the café of a ping, after others that were sent 1,000 seconds earlier."""
    walked = Walk(data or reference(THE_CAFE), budget=budget or Budget(4, {}))
    for number, place in enumerate(before):
        walked.sends(number, place)
    decisions = walked.sees(Ping(at_s, position, **more))
    return {one.reason for one in decisions if one.store_id == "cafe"}


def only(promotion=COFFEE, shop=THE_CAFE, **more):
    return reference(shop, promotions=(promotion,), **more)


def contacted(**policy):
    """A world in which a store next door makes an offer as well."""
    return reference(THE_CAFE, NEXT_DOOR, policy=ContactPolicy(**policy))


def cooling_down():
    stays = only(DWELLER, policy=ContactPolicy(cooldown_s=7200))
    walked = Walk(only(policy=ContactPolicy(cooldown_s=7200)))
    walked.sends(0, CAFE)
    walked.data = stays
    return {one.reason for one in walked.sends(1000, CAFE)}


SCENARIOS = {
    R.NO_CONSENT: lambda: why(consent=False),
    R.NO_PROMOTION: lambda: why(data=reference(THE_CAFE, promotions=())),
    R.NOT_RUNNING: lambda: why(data=only(replace(COFFEE, ends_at_us=NOON_US))),
    R.WRONG_TRIGGER: lambda: why(data=only(DWELLER)),
    R.OUTSIDE_HOURS: lambda: why(data=only(replace(COFFEE, hours=AT_NIGHT))),
    R.STALE_PING: lambda: why(BAKERY, data=reference(replace(THE_CAFE, radius_m=20), THE_BAKERY), enqueued_s=2000),
    R.LOW_ACCURACY: lambda: why(accuracy_m=1000.0),
    R.COOLDOWN: cooling_down,
    R.DAILY_CAP: lambda: why(NEXT_DOOR.position, data=contacted(daily_cap=1)),
    R.TOO_SOON: lambda: why(NEXT_DOOR.position, data=contacted(min_gap_s=1001)),
    R.QUIET_HOURS: lambda: why(data=only(policy=QUIET_NOON)),
    R.GEOFENCE_CHANGED: lambda: why(data=only(changed_us={0: NOON_US + 500_000_000})),
    R.UNKNOWN: lambda: why(data=only(shop=replace(THE_CAFE, time_zone=""))),
    R.OUTRANKED: lambda: why(data=reference(THE_CAFE, promotions=(COFFEE, replace(COFFEE, promotion_id="x")))) - {None},
    R.HELD_OUT: lambda: why(data=only(replace(COFFEE, holdout_percent=100))),
    R.BUDGET_SPENT: lambda: why(data=only(replace(COFFEE, max_offers=4)), budget=Budget(4, {"coffee": 1})),
    R.INTERNAL_ERROR: lambda: {one.reason for one in fail(see(Ping(0, CAFE), 1, reference()), "v1").decisions},
}


def test_there_is_a_scenario_for_every_reason():
    assert list(SCENARIOS) == list(DecisionReason)


@pytest.mark.parametrize("reason", DecisionReason)
def test_every_reason_is_given(reason):
    assert SCENARIOS[reason]() == {reason}


# Of several, the first: a case in which all checks fail, and then one failure after the other is taken away


def everything_fails(cured: set[DecisionReason]) -> set:
    """The reasons at the café, of one promotion that fails every check but those cured."""

    def fails(reason):
        return reason not in cured

    policy = ContactPolicy(
        cooldown_s=7200 if fails(R.COOLDOWN) else 0,
        daily_cap=1 if fails(R.DAILY_CAP) else 50,
        min_gap_s=7200 if fails(R.TOO_SOON) else 0,
        quiet_hours=Window(600, 1200) if fails(R.QUIET_HOURS) else Window(0, 60),
        max_ping_age_s=60 if fails(R.STALE_PING) else 600,
    )
    coffee = replace(
        COFFEE,
        ends_at_us=NOON_US if fails(R.NOT_RUNNING) else None,
        trigger=Transition.DWELL if fails(R.WRONG_TRIGGER) else Transition.ENTER,
        hours=AT_NIGHT if fails(R.OUTSIDE_HOURS) else IN_THE_DAY,
        holdout_percent=100 if fails(R.HELD_OUT) else 0,
        max_offers=0 if fails(R.BUDGET_SPENT) else None,
    )
    better = replace(COFFEE, promotion_id="better", priority=1, policy=ContactPolicy(0, None, 0, max_ping_age_s=600))
    promotions = (coffee, *([better] if fails(R.OUTRANKED) else []))
    walked = Walk(reference(THE_CAFE, NEXT_DOOR))
    walked.sends(0, CAFE)  # an offer of both stores, then away from them
    walked.sends(400, NEXT_DOOR.position)
    walked.sends(460, NEXT_DOOR.position)
    data = reference(
        THE_CAFE,
        promotions=() if fails(R.NO_PROMOTION) else promotions,
        policy=policy,
        suppressed=["d1"] if fails(R.NO_CONSENT) else [],
    )
    walked.data = data
    decisions = walked.sends(1000, CAFE, enqueued_s=1100)
    return {
        one.reason for one in decisions if one.promotion_id in (None, "coffee") and one.transition is Transition.ENTER
    }


ORDER = [
    R.NO_CONSENT, R.NO_PROMOTION, R.NOT_RUNNING, R.WRONG_TRIGGER, R.OUTSIDE_HOURS, R.STALE_PING, R.COOLDOWN,
    R.DAILY_CAP, R.TOO_SOON, R.QUIET_HOURS, R.OUTRANKED, R.HELD_OUT, R.BUDGET_SPENT,
]  # fmt: skip
"""The other reasons exclude some of these: a blurred ping, a changed geofence, an unknown zone, an error."""


@pytest.mark.parametrize("cured", range(len(ORDER) + 1))
def test_the_first_check_that_fails_is_the_reason(cured):
    expected = ORDER[cured] if cured < len(ORDER) else None
    assert everything_fails(set(ORDER[:cured])) == {expected}


def test_a_geofence_that_changed_is_said_after_the_contact_policy():
    changed = {0: NOON_US + 900_000_000}
    assert why(data=only(changed_us=changed, policy=QUIET_NOON)) == {R.QUIET_HOURS}
    assert why(data=only(DWELLER, changed_us=changed)) == {R.GEOFENCE_CHANGED}, "it has no transition to be wrong"
    assert why(data=only(replace(COFFEE, hours=AT_NIGHT), changed_us=changed)) == {R.OUTSIDE_HOURS}


def test_what_is_not_known_is_said_last_before_the_rank():
    nowhere = replace(THE_CAFE, time_zone="")
    assert why(data=only(shop=nowhere, changed_us={0: NOON_US + 900_000_000})) == {R.GEOFENCE_CHANGED}
    assert why(data=only(replace(COFFEE, holdout_percent=100), shop=nowhere)) == {R.UNKNOWN}


def test_the_docs_list_every_reason_in_order():
    text = (Path(__file__).parents[3] / "docs" / "deciding.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == list(DecisionReason)

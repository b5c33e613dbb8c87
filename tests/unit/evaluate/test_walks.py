"""Whole walks: what holds whatever the pings say, on the edge of a geofence, and for those who only drive by."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.budget import Budget, share_of
from shared.domain.deciding import decide
from shared.domain.decision import Decision, DecisionReason, Outcome, SeenPing
from shared.domain.local_time import Window, local_date
from shared.domain.promotions import ContactPolicy, PresenceParameters, Promotion, StoreSelector, Transition
from shared.domain.reference import ReferenceData
from tests.unit.evaluate.world import (
    CAFE,
    COFFEE,
    NOON_US,
    SECOND_US,
    TTL_US,
    Shop,
    beside,
    near,
    reference,
)

ENTER, DWELL, EXIT = Transition.ENTER, Transition.DWELL, Transition.EXIT
HOUR = 3600
Path = tuple[np.ndarray, np.ndarray]
"""Latitudes and longitudes."""

# Random walks past four stores

SHOPS = (
    Shop("cafe", CAFE, loitering_s=60),
    Shop("bakery", beside(CAFE, north_m=40), 30.0, merchant="Greggs"),
    Shop("kiosk", beside(CAFE, east_m=300), 15.0, loitering_s=0, time_zone="America/New_York"),
    Shop("park", beside(CAFE, north_m=100), 200.0, loitering_s=600, time_zone="", merchant="Park"),
)
PLACES = [
    *(shop.position for shop in SHOPS),
    beside(CAFE, north_m=20),
    beside(CAFE, east_m=55),  # in the café's margin
    beside(CAFE, east_m=72),  # just away from it
    beside(CAFE, east_m=-400),
    beside(CAFE, north_m=-20_000),
]
SNACK = Promotion("breakfast", 25.0, "", StoreSelector(merchants=frozenset({"Greggs", "Costa"})), holdout_percent=40)
STAY = Promotion("stay", 10.0, "", trigger=DWELL, priority=1)
SCARCE = Promotion("scarce", 50.0, "", max_offers=6, policy=ContactPolicy(cooldown_s=0, daily_cap=None, min_gap_s=0))
PROMOTIONS = (COFFEE, SNACK, STAY, SCARCE)

POLICIES = st.builds(
    ContactPolicy,
    cooldown_s=st.sampled_from([0, 60, 4 * HOUR]),
    daily_cap=st.sampled_from([None, 1, 3]),
    min_gap_s=st.sampled_from([0, 300]),
    quiet_hours=st.sampled_from([None, Window(23 * 60, 60)]),
)
PRESENCE = st.builds(PresenceParameters, exit_delay_s=st.sampled_from([0, 60]))
STEP = st.tuples(
    st.sampled_from([-100, -1, 0, 1, 10, 30, 60, 200, 1900, 5 * HOUR]),  # seconds since the newest ping
    st.integers(0, len(PLACES) - 1),
    st.sampled_from([None, None, 5.0, 40.0, 150.0]),  # accuracy
    st.sampled_from([0, 1, 119, 200]),  # seconds to the hub
    st.sampled_from([None, None, None, True, False]),  # consent
)
STEPS = st.lists(STEP, max_size=60)


def walk_of(steps: Sequence[tuple], data: ReferenceData, device_id: str = "d1") -> list[SeenPing]:
    """The pings of a walk, as the decision sees them under that reference data."""
    geofences = near(data, PLACES)
    pings, newest_s, enqueued_s = [], 0, 0
    for number, (step_s, place, accuracy_m, delay_s, consent) in enumerate(steps):
        at_s = newest_s + step_s
        newest_s, enqueued_s = max(newest_s, at_s), max(enqueued_s, at_s + delay_s)
        pings.append(
            SeenPing(
                device_id,
                *PLACES[place],
                NOON_US + at_s * SECOND_US,
                NOON_US + enqueued_s * SECOND_US,
                accuracy_m,
                "2",
                number,
                geofences[place],
                consent,
            )
        )
    return pings


def played(pings: Sequence[SeenPing], data: ReferenceData, spent: Counter | None = None) -> list[Decision]:
    """All decisions of one device's pings; offers are counted in *spent* as the evaluation does."""
    state, decisions, spent = None, [], Counter() if spent is None else spent
    for ping in pings:
        before = state
        state, outputs = decide(before, ping, data, Budget(4, spent), state_ttl_us=TTL_US)
        if before is not None and ping.tracked_at_us < before.newest_us:
            assert state is before, "a late ping changes nothing"
            assert outputs.decisions == outputs.offers == (), "and says nothing"
        assert len(outputs.offers) == sum(one.outcome is Outcome.SENT for one in outputs.decisions) <= 1
        spent.update(offer.promotion.promotion_id for offer in outputs.offers)
        decisions += outputs.decisions
    return decisions


def contacts(decisions: Sequence[Decision]) -> list[Decision]:
    """The offers, and those that were held back."""
    return [one for one in decisions if one.outcome is Outcome.SENT or one.reason is DecisionReason.HELD_OUT]


def moves(decisions: Sequence[Decision]) -> Iterator[tuple[str, str, Decision]]:
    """(store, what happened, a decision that says so) of each transition; SILENT where the geofence came."""
    known = None
    for one in decisions:
        if one.reason is DecisionReason.LOW_ACCURACY:
            continue
        move = one.store_id, one.transition or "SILENT", one.ping.sequence_number
        if move != known:
            yield *move[:2], one
        known = move


@settings(deadline=None, max_examples=100)
@given(STEPS, PRESENCE)
def test_transitions_alternate_and_the_times_of_a_visit_are_ordered(steps, presence):
    data = reference(*SHOPS, promotions=PROMOTIONS, presence=presence, changed_us={0: NOON_US, 2: NOON_US})
    latest: dict[str, Decision] = {}
    for store_id, move, decision in moves(played(walk_of(steps, data), data)):
        before = latest.get(store_id)
        came = before is None or before.transition is EXIT
        assert came == (move in (ENTER, "SILENT")), f"{move} after {before}"
        assert move is not DWELL or before.transition is not DWELL
        assert decision.entered_us <= decision.ping.tracked_at_us
        if move in (ENTER, "SILENT"):
            assert decision.entered_us == decision.ping.tracked_at_us
            assert before is None or decision.entered_us > before.entered_us
        else:
            assert decision.entered_us == before.entered_us
        if move is EXIT:
            assert before.ping.tracked_at_us <= decision.left_us <= decision.ping.tracked_at_us
        latest[store_id] = decision


@settings(deadline=None, max_examples=100)
@given(STEPS, POLICIES)
def test_between_any_two_offers_the_contact_policy_holds(steps, policy):
    # One policy for all promotions; `scarce` has one of its own, which would let it come at any time.
    data = reference(*SHOPS, promotions=(COFFEE, SNACK, STAY), policy=policy)
    made = contacts(played(walk_of(steps, data), data))
    for one, other in combinations(made, 2):
        gap_s = (other.ping.tracked_at_us - one.ping.tracked_at_us) / SECOND_US
        assert gap_s >= policy.min_gap_s
        assert one.store_id != other.store_id or gap_s >= policy.cooldown_s
    zones = {shop.store_id: shop.time_zone for shop in SHOPS}
    for one in made:
        zone, at_us = zones[one.store_id], one.ping.tracked_at_us
        if policy.daily_cap is not None:
            days = [local_date(each.ping.tracked_at_us, zone) for each in made if each.ping.tracked_at_us <= at_us]
            assert days.count(local_date(at_us, zone)) <= policy.daily_cap
        assert one.ping.enqueued_at_us - at_us <= policy.max_ping_age_s * SECOND_US
        assert one.ping.consent is not False


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(STEP, st.sampled_from([0, 0, 0, 1, 2, 3])), max_size=60), st.sampled_from([0, 60]))
def test_no_two_offers_have_one_id_whatever_is_published_meanwhile(steps, cooldown_s):
    """Each ping comes under a version of its own: as ever, with triggers swapped, a store lost, a store smaller."""
    policy = ContactPolicy(cooldown_s, daily_cap=None, min_gap_s=0)
    swapped = tuple(replace(one, trigger=ENTER if one.trigger is DWELL else DWELL) for one in PROMOTIONS)
    versions = [
        reference(*SHOPS, promotions=PROMOTIONS, policy=policy),
        reference(*SHOPS, promotions=swapped, policy=policy),
        reference(*SHOPS[1:], promotions=PROMOTIONS, policy=policy),
        reference(replace(SHOPS[0], radius_m=20.0), *SHOPS[1:], promotions=swapped, policy=policy),
    ]
    walks = [walk_of([step for step, _ in steps], data) for data in versions]
    state, decisions = None, []
    for number, (_, version) in enumerate(steps):
        state, outputs = decide(
            state, walks[version][number], versions[version], Budget(4, {}), state_ttl_us=TTL_US
        )  # fmt: skip
        decisions += outputs.decisions
    ids = [one.offer_id for one in decisions if one.outcome is Outcome.SENT]
    assert len(set(ids)) == len(ids)
    assert len({one.decision_id for one in decisions}) == len(decisions)


@settings(deadline=None, max_examples=50)
@given(st.lists(STEPS, max_size=6), st.integers(0, 8))
def test_no_partition_spends_more_than_its_share_of_a_budget(walks, max_offers):
    scarce = replace(SCARCE, max_offers=max_offers)
    data, spent = reference(*SHOPS, promotions=(*PROMOTIONS[:-1], scarce)), Counter()
    decisions = [
        decision
        for number, steps in enumerate(walks)
        for decision in played(walk_of(steps, data, f"d{number}"), data, spent)
    ]
    sent = Counter(one.promotion_id for one in decisions if one.outcome is Outcome.SENT)
    share = share_of("scarce", max_offers, 2, 4)
    assert sent["scarce"] == spent["scarce"] <= share
    if any(one.reason is DecisionReason.BUDGET_SPENT for one in decisions):
        assert sent["scarce"] == share, "and it is spent only when nothing is left"


# One hour on the edge, at 1 Hz, with 15 m of noise

NOISE_M = 15.0
"""The standard deviation of the north and of the east component, independent of each other and from ping to ping."""
RADII_M = (10.0, 50.0, 300.0)


def pings_at(data: ReferenceData, at_us: list[int], path: Path, accuracy_m: float | None = None) -> list[SeenPing]:
    """The pings of a device that is at those places at those times."""
    places = list(zip(*(column.tolist() for column in path), strict=True))
    return [
        SeenPing("d1", *place, then_us, then_us, accuracy_m, "2", number, geofences)
        for number, (place, then_us, geofences) in enumerate(zip(places, at_us, near(data, places), strict=True))
    ]


def enters_in_an_hour_on_the_edge(seed: int) -> int:
    rng = np.random.default_rng(seed)
    radius_m = RADII_M[seed % len(RADII_M)]
    data = reference(Shop("cafe", CAFE, radius_m))
    noise = rng.normal(0, NOISE_M, (2, HOUR))
    path = beside(CAFE, north_m=noise[0], east_m=radius_m + noise[1])
    times = [NOON_US + second * SECOND_US for second in range(HOUR)]
    pings = pings_at(data, times, path, None if seed % 2 else NOISE_M)
    return Counter(one.transition for one in played(pings, data))[ENTER]


def test_an_hour_on_the_edge_of_a_geofence_makes_one_enter_of_100_seeds():
    assert {enters_in_an_hour_on_the_edge(seed) for seed in range(100)} == {1}


@pytest.mark.slow
def test_an_hour_on_the_edge_of_a_geofence_makes_one_enter_of_1000_seeds():
    assert {enters_in_an_hour_on_the_edge(seed) for seed in range(1000)} == {1}


# Driving by, at 50 km/h and one ping a minute

SPEED_MPS = 50 / 3.6
LARGEST_RADIUS_M = 180 * SPEED_MPS / 2 - 1
"""A geofence that it takes the loitering delay of 3 minutes to cross, and 2 m less."""


@pytest.mark.parametrize("radius_m", [10.0, 100.0, 420.0, 1000.0, LARGEST_RADIUS_M])
def test_who_drives_by_gets_no_dwell_whatever_the_second_of_the_pings(radius_m):
    counts = drives_by(radius_m)
    assert counts[DWELL] == 0
    assert counts[ENTER] == counts[EXIT] > 0


def test_who_takes_longer_than_the_loitering_delay_to_cross_a_geofence_dwells():
    assert drives_by(LARGEST_RADIUS_M + 500)[DWELL] > 0


def drives_by(radius_m: float) -> Counter:
    """The transitions of pings at each second of the minute, through the middle and near the edge."""
    data, counts = reference(Shop("cafe", CAFE, radius_m)), Counter()
    minutes = np.arange(-10, 11) * 60.0
    for phase_s in range(60):
        for aside_m in (0.0, 0.9 * radius_m):
            seconds = minutes + phase_s
            path = beside(CAFE, north_m=np.full(len(seconds), aside_m), east_m=seconds * SPEED_MPS)
            times = [NOON_US + round(second) * SECOND_US for second in seconds.tolist()]
            counts.update(one.transition for one in played(pings_at(data, times, path), data))
    return counts

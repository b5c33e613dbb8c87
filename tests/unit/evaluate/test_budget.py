"""Budgets add up over the partitions, and holdouts keep the same devices out."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.budget import Budget, is_held_out, share_of
from tests.unit.evaluate.world import COFFEE

DEVICES = [f"device-{number}" for number in range(20_000)]
IDS = st.text(min_size=1, max_size=20)


def held_out(percent, promotion_id="coffee"):
    promotion = replace(COFFEE, promotion_id=promotion_id, holdout_percent=percent)
    return {device_id for device_id in DEVICES if is_held_out(promotion, device_id)}


# Budgets


@settings(deadline=None, max_examples=200)
@given(IDS, st.integers(0, 10_000), st.integers(1, 64))
def test_the_shares_of_all_partitions_add_up_and_differ_by_at_most_one(promotion_id, max_offers, partitions):
    shares = [share_of(promotion_id, max_offers, partition, partitions) for partition in range(partitions)]
    assert sum(shares) == max_offers
    assert max(shares) - min(shares) <= 1


def test_which_partitions_get_the_rest_depends_on_the_promotion():
    """Else partition 0 would have the only offer of every promotion that makes one."""
    lucky = [next(p for p in range(8) if share_of(f"p{number}", 1, p, 8)) for number in range(800)]
    assert all(60 < lucky.count(partition) < 140 for partition in range(8))


@settings(deadline=None, max_examples=100)
@given(IDS, st.integers(0, 100), st.integers(1, 16))
def test_a_larger_budget_takes_nothing_away_from_any_partition(promotion_id, max_offers, partitions):
    for partition in range(partitions):
        more = share_of(promotion_id, max_offers + 1, partition, partitions)
        assert more >= share_of(promotion_id, max_offers, partition, partitions)


@pytest.mark.parametrize(("spent", "left"), [({}, True), ({"coffee": 24}, True), ({"coffee": 25}, False)])
def test_a_promotion_may_be_offered_until_the_partition_has_spent_its_share(spent, left):
    assert Budget(4, spent).is_left(replace(COFFEE, max_offers=100), "2") is left


def test_a_promotion_without_a_budget_is_never_spent():
    assert Budget(4, {"coffee": 10**9}).is_left(COFFEE, "2")


def test_a_budget_of_none_is_spent_from_the_start():
    assert not Budget(4, {}).is_left(replace(COFFEE, max_offers=0), "2")


# Holdouts


@pytest.mark.parametrize("percent", [0.5, 5, 10, 50, 90])
def test_about_the_percentage_of_the_devices_is_held_out(percent):
    """20,000 devices: five standard deviations either side."""
    expected = len(DEVICES) * percent / 100
    tolerance = 5 * (expected * (1 - percent / 100)) ** 0.5
    assert abs(len(held_out(percent)) - expected) < tolerance


def test_none_and_all_are_exact():
    assert held_out(0) == set()
    assert held_out(100) == set(DEVICES)


def test_a_larger_percentage_only_adds_devices():
    groups = [held_out(percent) for percent in (1, 2, 10, 33.3, 80)]
    assert all(smaller < larger for smaller, larger in pairwise(groups))


def test_the_groups_of_two_promotions_have_nothing_to_do_with_each_other():
    both = held_out(50, "coffee") & held_out(50, "bread")
    assert abs(len(both) - 5_000) < 5 * (5_000 * 0.75) ** 0.5


def test_the_groups_are_these_for_ever():
    """A change of the hash would move devices between the groups of promotions that run."""
    assert [device_id for device_id in DEVICES[:60] if device_id in held_out(10)] == ["device-46", "device-56"]
    assert [share_of("coffee", 6, partition, 8) for partition in range(8)] == [0, 1, 0, 1, 1, 1, 1, 1]


def test_ids_that_spell_the_same_one_after_the_other_are_not_mixed_up():
    promotions = (
        replace(COFFEE, promotion_id="ab", holdout_percent=50),
        replace(COFFEE, promotion_id="a", holdout_percent=50),
    )
    groups = [
        [is_held_out(promotion, prefix + device_id) for device_id in DEVICES[:100]]
        for promotion, prefix in zip(promotions, ("", "b"), strict=True)
    ]
    assert groups[0] != groups[1]

"""What is valid and probably not meant."""

from dataclasses import replace

import pytest

from shared.domain.local_time import DayWindow, WeeklyHours, Window
from shared.domain.promotions import ContactPolicy, Promotion
from shared.domain.reference_warnings import warnings_of
from tests.unit.evaluate.world import COFFEE, NOON_US, reference

NIGHT = Window(22 * 60, 8 * 60)


def hours(*windows: Window) -> WeeklyHours:
    return WeeklyHours(tuple(DayWindow(frozenset({5}), window) for window in windows))


def warnings(promotion: Promotion, policy: ContactPolicy | None = None, *, partition_count: int = 4) -> list[str]:
    data = reference(promotions=(promotion,), policy=policy)
    return list(warnings_of(data, partition_count=partition_count, now_us=NOON_US))


def test_an_ordinary_promotion_gives_no_warning() -> None:
    usual = replace(COFFEE, ends_at_us=NOON_US + 1, max_offers=40, holdout_percent=99, hours=hours(Window(540, 1080)))
    assert warnings(usual, ContactPolicy(quiet_hours=NIGHT)) == []


def test_a_promotion_that_has_ended_is_named() -> None:
    assert warnings(replace(COFFEE, ends_at_us=NOON_US)) == ["promotion 'coffee': it ended at 2026-06-01 12:00 UTC"]


def test_a_holdout_of_all_is_named() -> None:
    assert warnings(replace(COFFEE, holdout_percent=100)) == [
        "promotion 'coffee': holdout_percent is 100: nobody gets an offer"
    ]


def test_a_budget_of_fewer_than_ten_offers_a_partition_is_named() -> None:
    assert warnings(replace(COFFEE, max_offers=40)) == []
    (warning,) = warnings(replace(COFFEE, max_offers=40), partition_count=5)
    assert warning == (
        "promotion 'coffee': max_offers 40 is split over 5 partitions: with fewer than 50, some shares are spent while "
        "others are not"
    )


@pytest.mark.parametrize(
    "windows",
    [
        [Window(22 * 60, 24 * 60)],
        [Window(0, 8 * 60), Window(23 * 60, 60)],
    ],
)
def test_a_promotion_that_runs_in_quiet_hours_only_is_named(windows: list[Window]) -> None:
    promotion = replace(COFFEE, hours=hours(*windows))
    said = ["promotion 'coffee': it runs in quiet hours only: nobody gets an offer"]
    assert warnings(promotion, ContactPolicy(quiet_hours=NIGHT)) == said
    assert warnings(replace(promotion, policy=ContactPolicy(quiet_hours=NIGHT))) == said
    assert warnings(replace(promotion, policy=ContactPolicy()), ContactPolicy(quiet_hours=NIGHT)) == []


def test_a_minute_outside_of_the_quiet_hours_is_enough() -> None:
    assert warnings(replace(COFFEE, hours=hours(Window(22 * 60, 8 * 60 + 1))), ContactPolicy(quiet_hours=NIGHT)) == []


def test_quiet_hours_of_the_whole_day_quiet_every_promotion() -> None:
    assert len(warnings(COFFEE, ContactPolicy(quiet_hours=Window(0, 24 * 60)))) == 1

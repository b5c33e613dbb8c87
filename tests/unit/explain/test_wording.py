"""Times, durations and hours as people read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.local_time import DayWindow, WeeklyHours, Window
from shared.workflows.wording import duration, hours_in_words, metres, plural

SECOND_US = 1_000_000


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.9, "0 s"),
        (59, "59 s"),
        (155, "2 min 35 s"),
        (3600, "1 h"),
        (3601, "1 h"),
        (14_400, "4 h"),
        (90_000, "1 d 1 h"),
        (86_400 + 60, "1 d"),
        (-155, "2 min 35 s"),
    ],
)
def test_a_duration_is_its_two_largest_units(seconds, words):
    assert duration(round(seconds * SECOND_US)) == words


@given(st.integers(0, 10**9))
def test_a_duration_is_never_longer_than_it_is_nor_shorter_by_a_tenth(seconds):
    units = {"d": 86_400, "h": 3_600, "min": 60, "s": 1}
    words = duration(seconds * SECOND_US).split()
    said = sum(int(count) * units[unit] for count, unit in zip(words[::2], words[1::2], strict=True))
    assert said <= seconds < said + max(1, seconds / 10)


@pytest.mark.parametrize(
    ("days", "words"),
    [
        (range(7), "09:00-17:30"),
        ([0], "Mon 09:00-17:30"),
        (range(5), "Mon-Fri 09:00-17:30"),
        ([0, 1, 3, 5, 6], "Mon-Tue, Thu, Sat-Sun 09:00-17:30"),
    ],
)
def test_days_in_a_row_are_one(days, words):
    assert hours_in_words(WeeklyHours((DayWindow(frozenset(days), Window(540, 1050)),))) == words


def test_metres_become_kilometres():
    assert [metres(value) for value in (0.4, 12.4, 999.4, 3_440, 1_234_567)] == [
        "0 m", "12 m", "999 m", "3.4 km", "1,234.6 km",
    ]  # fmt: skip


def test_one_ping_is_no_pings():
    assert [plural(count, "ping") for count in (0, 1, 2, 1_000)] == ["no pings", "1 ping", "2 pings", "1,000 pings"]

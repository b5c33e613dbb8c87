"""NCRONTAB: six fields, UTC, both day fields must match."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.local.host.schedule import Schedule

NOON = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)  # a Tuesday


@pytest.mark.parametrize(
    ("expression", "following"),
    [
        ("*/10 * * * * *", "2026-11-24T12:00:10"),
        ("0 */5 * * * *", "2026-11-24T12:05:00"),
        ("*/5 * * * *", "2026-11-24T12:05:00"),
        ("30 15 13 * * *", "2026-11-24T13:15:30"),
        ("0 0 9 * * MON-FRI", "2026-11-25T09:00:00"),
        ("0 0 9 * * 0", "2026-11-29T09:00:00"),
        ("0 0 0 1 1 *", "2027-01-01T00:00:00"),
        ("0 0 0 29 2 *", "2028-02-29T00:00:00"),
        ("0 5/20 * * * *", "2026-11-24T12:05:00"),
        ("0 0 8,18 * * *", "2026-11-24T18:00:00"),
    ],
)
def test_the_next_run_is_the_first_later_time(expression: str, following: str) -> None:
    assert Schedule(expression).next_after(NOON) == datetime.fromisoformat(following).replace(tzinfo=UTC)


def test_day_and_weekday_must_both_match() -> None:
    # Unix cron would take the 1st or any Friday; NCRONTAB waits for a Friday the 1st.
    assert Schedule("0 0 0 1 * FRI").next_after(NOON) == datetime(2027, 1, 1, tzinfo=UTC)
    assert Schedule("0 0 0 13 * FRI").next_after(NOON) == datetime(2027, 8, 13, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("* * * *", "has 4 fields"),
        ("", "has 0 fields"),
        ("* * * * * * *", "has 7 fields"),
        ("60 * * * * *", "Bad second"),
        ("0 0 25 * * *", "Bad hour"),
        ("0 0 0 * * 7", "weekday 7"),
        ("0 0 0 L * *", "which NCRONTAB does not know"),
        ("0 0 0 * * MON#1", "which NCRONTAB does not know"),
        ("00:05:00", "is a time span"),
        ("0 x * * * *", "Bad minute"),
    ],
)
def test_what_is_no_ncrontab_is_refused_in_words(expression: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Schedule(expression)


def test_the_interval_is_the_time_between_two_runs() -> None:
    assert Schedule("*/30 * * * * *").interval_after(NOON) == timedelta(seconds=30)
    assert Schedule("0 0 * * * *").interval_after(NOON) == timedelta(hours=1)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 59), st.integers(0, 10_000_000), st.integers(0, 999_999))
def test_the_next_run_is_later_and_fits_the_step(step: int, seconds: int, microseconds: int) -> None:
    instant = NOON + timedelta(seconds=seconds, microseconds=microseconds)
    following = Schedule(f"*/{step} * * * * *").next_after(instant)
    assert instant < following <= instant + timedelta(seconds=60)
    assert following.second % step == 0
    assert following.microsecond == 0

"""Hours on the wall of a store, also at night and when the clocks change."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.local_time import (
    ALL_DAYS,
    MINUTES_A_DAY,
    DayWindow,
    WeeklyHours,
    Window,
    local_date,
    local_time,
    minute_of_day,
)

MONDAY, SATURDAY, SUNDAY = 0, 5, 6
LONDON, NEW_YORK, LORD_HOWE = "Europe/London", "America/New_York", "Australia/Lord_Howe"


def us(utc: str) -> int:
    """The instant, `2026-03-29 00:59`, in microseconds."""
    return round(datetime.fromisoformat(utc).replace(tzinfo=UTC).timestamp() * 1_000_000)


def wall(clock: str) -> datetime:
    """What a clock shows, wherever it hangs."""
    return datetime.fromisoformat(clock)


def minute(clock: str) -> int:
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)


def hours(days: set[int], start: str, end: str) -> WeeklyHours:
    return WeeklyHours((DayWindow(frozenset(days), Window(minute(start), minute(end))),))


def on(week_hours: WeeklyHours, utc: str, time_zone: str) -> bool:
    return week_hours.contains(local_time(us(utc), time_zone))


# A window of a day


def test_a_window_begins_with_its_first_minute_and_ends_before_its_last():
    window = Window(minute("09:00"), minute("17:30"))
    assert [window.contains(minute(clock)) for clock in ("08:59", "09:00", "17:29", "17:30")] == [
        False,
        True,
        True,
        False,
    ]


def test_a_window_over_midnight_holds_the_evening_and_the_morning():
    window = Window(minute("22:00"), minute("06:00"))
    assert [window.contains(minute(clock)) for clock in ("21:59", "22:00", "00:00", "05:59", "06:00")] == [
        False, True, True, True, False,
    ]  # fmt: skip


def test_a_window_may_last_until_midnight_and_a_whole_day():
    assert Window(minute("22:00"), minute("24:00")).contains(minute("23:59"))
    assert not Window(minute("22:00"), minute("24:00")).contains(0)
    assert Window(minute("22:00"), minute("00:00")).contains(minute("23:59"))
    assert all(Window(0, MINUTES_A_DAY).contains(at) for at in range(MINUTES_A_DAY))


@pytest.mark.parametrize(("start", "end"), [(-1, 5), (1440, 5), (0, 1441), (0, -1)])
def test_a_window_outside_of_the_day_is_refused_with_what_would_be_valid(start, end):
    with pytest.raises(ValueError, match="valid minutes are 0 to 1440"):
        Window(start, end)


def test_an_empty_window_is_refused_with_how_to_say_a_whole_day():
    with pytest.raises(ValueError, match="a whole day is 0 to 1440"):
        Window(600, 600)


# A week


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_began():
    saturday_night = hours({SATURDAY}, "22:00", "03:00")  # 6 June 2026 is a Saturday
    times = ("2026-06-06 02:59", "2026-06-06 22:00", "2026-06-07 02:59", "2026-06-07 03:00", "2026-06-07 22:00")
    assert [saturday_night.contains(wall(time)) for time in times] == [
        False,
        True,
        True,
        False,
        False,
    ]


def test_sunday_night_ends_on_monday_morning():
    assert hours({SUNDAY}, "22:00", "03:00").contains(wall("2026-06-08 01:00"))
    assert not hours({MONDAY}, "22:00", "03:00").contains(wall("2026-06-08 01:00"))


def test_hours_are_on_in_any_of_their_windows():
    lunch, dinner = Window(720, 840), Window(1080, 1260)
    both = WeeklyHours((DayWindow(ALL_DAYS, lunch), DayWindow(frozenset({MONDAY}), dinner)))
    assert both.contains(wall("2026-06-02 12:00"))
    assert both.contains(wall("2026-06-01 19:00"))
    assert not both.contains(wall("2026-06-02 19:00"))


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 1439), st.integers(1, 1439), st.sets(st.integers(0, 6)), st.integers(0, 7 * 1440 - 1))
def test_a_window_is_on_for_its_length_from_each_of_its_beginnings(start, length, days, minute_of_week):
    """Told again in minutes of a week, which has no midnights."""
    end = start + length
    window = Window(start, end if end <= MINUTES_A_DAY else end - MINUTES_A_DAY)
    local = wall("2026-06-01 00:00") + timedelta(minutes=minute_of_week)
    expected = any((minute_of_week - (day * 1440 + start)) % (7 * 1440) < length for day in days)
    assert DayWindow(frozenset(days), window).contains(local) == expected


# The clock of a place


@pytest.mark.parametrize(
    ("time_zone", "utc", "shown"),
    [
        (LONDON, "2026-03-29 00:59", "00:59"),
        (LONDON, "2026-03-29 01:00", "02:00"),
        (LONDON, "2026-10-25 00:59", "01:59"),
        (LONDON, "2026-10-25 01:00", "01:00"),
        (NEW_YORK, "2026-03-08 06:59", "01:59"),
        (NEW_YORK, "2026-03-08 07:00", "03:00"),
        (NEW_YORK, "2026-11-01 05:59", "01:59"),
        (NEW_YORK, "2026-11-01 06:00", "01:00"),
        (LORD_HOWE, "2026-10-03 15:29", "01:59"),
        (LORD_HOWE, "2026-10-03 15:30", "02:30"),
        (LORD_HOWE, "2026-04-04 14:59", "01:59"),
        (LORD_HOWE, "2026-04-04 15:00", "01:30"),
    ],
)
def test_the_clock_shows_what_the_zone_says_on_both_sides_of_a_change(time_zone, utc, shown):
    assert minute_of_day(local_time(us(utc), time_zone)) == minute(shown)


@pytest.mark.parametrize(
    ("time_zone", "skipped", "before", "after"),
    [
        (LONDON, ("01:00", "02:00"), "2026-03-29 00:59", "2026-03-29 01:00"),
        (NEW_YORK, ("02:00", "03:00"), "2026-03-08 06:59", "2026-03-08 07:00"),
        (LORD_HOWE, ("02:00", "02:30"), "2026-10-03 15:29", "2026-10-03 15:30"),
    ],
)
def test_a_window_that_the_clocks_skip_is_never_on(time_zone, skipped, before, after):
    window = hours({SUNDAY}, *skipped)
    assert not on(window, before, time_zone)
    assert not on(window, after, time_zone)


@pytest.mark.parametrize(
    ("time_zone", "repeated", "first", "second"),
    [
        (LONDON, ("01:00", "02:00"), "2026-10-25 00:30", "2026-10-25 01:30"),
        (NEW_YORK, ("01:00", "02:00"), "2026-11-01 05:30", "2026-11-01 06:30"),
        (LORD_HOWE, ("01:30", "02:00"), "2026-04-04 14:45", "2026-04-04 15:15"),
    ],
)
def test_a_window_that_the_clocks_repeat_is_on_twice(time_zone, repeated, first, second):
    window = hours({SUNDAY}, *repeated)
    assert on(window, first, time_zone)
    assert on(window, second, time_zone)


@pytest.mark.parametrize(
    ("time_zone", "start", "end", "minutes"),
    [
        (LONDON, "2026-03-29 00:00", "2026-03-29 23:00", 23 * 60),
        (LONDON, "2026-10-24 23:00", "2026-10-26 00:00", 25 * 60),
        (NEW_YORK, "2026-03-08 05:00", "2026-03-09 04:00", 23 * 60),
        (LORD_HOWE, "2026-10-03 13:30", "2026-10-04 13:00", 23 * 60 + 30),
        (LORD_HOWE, "2026-04-04 13:00", "2026-04-05 13:30", 24 * 60 + 30),
    ],
)
def test_a_day_of_a_change_is_as_long_as_it_is(time_zone, start, end, minutes):
    today = local_date(us(start), time_zone)
    assert (us(end) - us(start)) // 60_000_000 == minutes
    assert local_date(us(end) - 1, time_zone) == today
    assert {local_date(us(start) - 1, time_zone), local_date(us(end), time_zone)}.isdisjoint({today})


def test_the_day_is_that_of_the_place():
    instant = us("2026-06-01 13:45")
    assert local_date(instant, "Pacific/Auckland") == date(2026, 6, 2)
    assert local_date(instant, "Pacific/Honolulu") == date(2026, 6, 1)


def test_instants_before_1970_and_parts_of_a_second_are_no_exception():
    assert local_time(-1, "UTC") == datetime(1969, 12, 31, 23, 59, 59, tzinfo=ZoneInfo("UTC"))


def test_a_zone_that_nobody_knows_is_refused():
    with pytest.raises(ZoneInfoNotFoundError, match="Mars"):
        local_time(0, "Mars/Olympus_Mons")

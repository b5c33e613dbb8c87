"""Periods: which hours and days are to be computed again."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from shared.medallion.periods import MOST_SPANS, Grain, Periods

START = datetime(2026, 3, 29, tzinfo=UTC)
HOUR = timedelta(hours=1)

hours = st.lists(st.integers(-2000, 2000), max_size=60).map(
    lambda numbers: [START + number * HOUR for number in numbers]
)


def held(periods: Periods, instants: list[datetime]) -> list[bool]:
    frame = pl.DataFrame({"at": instants}, schema={"at": pl.Datetime("us", "UTC")})
    return frame.select(held=pl.repeat(value=True, n=pl.len()) & periods.hold(pl.col("at"))).to_series().to_list()


def test_adjacent_hours_are_one_span():
    periods = Periods.of(Grain.HOUR, [START + HOUR, START, START + 5 * HOUR, START])
    assert periods.spans == ((START, START + 2 * HOUR), (START + 5 * HOUR, START + 6 * HOUR))


def test_a_period_begins_with_its_start_and_ends_before_its_end():
    tick = timedelta(microseconds=1)
    periods = Periods.of(Grain.DAY, [START])
    assert held(periods, [START - tick, START, START + timedelta(days=1) - tick, START + timedelta(days=1)]) == [
        *(False, True),
        *(True, False),
    ]


def test_no_period_holds_nothing():
    assert not Periods()
    assert held(Periods(), [START]) == [False]


def test_periods_that_lie_apart_are_joined_over_their_shortest_gaps():
    near = [START + number * 2 * HOUR for number in range(MOST_SPANS)]
    far = START + timedelta(days=300)
    periods = Periods.of(Grain.HOUR, [*near, far])
    assert len(periods.spans) == MOST_SPANS
    assert periods.spans[-1] == (far, far + HOUR)


@given(hours, hours)
def test_the_union_holds_what_either_holds_and_stays_small(some, others):
    union = Periods.of(Grain.HOUR, some) | Periods.of(Grain.HOUR, others)
    assert len(union.spans) <= MOST_SPANS
    assert all(held(union, [*some, *others]))
    assert list(union.spans) == sorted(union.spans)
    assert all(end < start for (_, end), (start, _) in zip(union.spans, union.spans[1:], strict=False))


@given(hours)
def test_few_periods_hold_nothing_else(starts):
    periods = Periods.of(Grain.HOUR, starts[:MOST_SPANS])
    others = [START + number * HOUR for number in range(-2000, 2000, 37)]
    assert held(periods, others) == [other in starts[:MOST_SPANS] for other in others]


def test_a_capture_date_reaches_from_seven_days_before_its_window_to_the_one_after_midnight_whatever_the_zone():
    periods = Periods.of_captures([date(2026, 3, 29)])
    assert held(periods, [START - timedelta(days=9), START + timedelta(days=2, minutes=20)]) == [True, True]
    assert held(periods, [START - timedelta(days=9, seconds=1), START + timedelta(days=3)]) == [False, False]


def test_an_hour_may_lie_in_the_capture_of_the_day_before_and_a_date_begins_a_day_earlier_in_the_east():
    assert Periods.of(Grain.HOUR, [START]).earliest_capture == date(2026, 3, 27)


def test_a_date_lies_in_the_period_of_its_name():
    dates = pl.DataFrame({"at": [date(2026, 3, 28), date(2026, 3, 29), date(2026, 3, 30)]})
    assert dates.filter(Periods.of_dates([date(2026, 3, 29)]).hold(pl.col("at")))["at"].to_list() == [date(2026, 3, 29)]


def test_widened_periods_are_whole():
    periods = Periods.of(Grain.HOUR, [START + 5 * HOUR])
    assert periods.widened(Grain.HOUR, timedelta(minutes=1), timedelta(0)).spans == (
        (START + 4 * HOUR, START + 6 * HOUR),
    )
    days = Periods.of_dates([date(2026, 3, 29)]).widened(Grain.DAY, timedelta(days=1), timedelta(hours=2))
    assert days.spans == ((START - timedelta(days=1), START + timedelta(days=2)),)
    assert not Periods().widened(Grain.DAY, HOUR, HOUR)


def test_of_the_periods_until_now_the_running_one_has_not_ended():
    periods = Periods.of(Grain.HOUR, [START, START + HOUR, START + 2 * HOUR])
    assert periods.ended(Grain.HOUR, START + timedelta(minutes=119)).spans == ((START, START + HOUR),)
    assert not periods.ended(Grain.HOUR, START - HOUR)

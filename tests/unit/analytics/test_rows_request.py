"""Which rows of a gold table a URL asks for, and what it is told when it asks for what there is not."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import RequestRefused
from shared.medallion.tables import INSTANT, gold_table
from shared.workflows.analytics import Format, RowsRequest

HOURLY = gold_table("hourly", {"event_date": pl.Date(), "hour": INSTANT, "store_id": pl.String(), "visits": pl.Int64()})
DAILY = gold_table("daily", {"event_date": pl.Date(), "promotion_id": pl.String(), "sent": pl.Int64()})
TOTALS = gold_table("totals", {"location": pl.String(), "count": pl.Int64()}, partition_by=None)

MIDNIGHT = datetime(2026, 6, 1, tzinfo=UTC)


def hours(*numbers: int, store: str = "s") -> pl.DataFrame:
    """Rows of those hours after midnight, whose local date is the day before until 04:00."""
    at = [MIDNIGHT + timedelta(hours=number) for number in numbers]
    return pl.DataFrame(
        [[(hour - timedelta(hours=4)).date() for hour in at], at, [store] * len(at), list(numbers)],
        schema=HOURLY.schema,
    )


def days(*dates: date) -> pl.DataFrame:
    return pl.DataFrame([list(dates), ["p"] * len(dates), [1] * len(dates)], schema=DAILY.schema)


def visits(rows: pl.DataFrame, **parameters: str) -> list[int]:
    request = RowsRequest.parse(HOURLY, [(name.rstrip("_"), value) for name, value in parameters.items()])
    return request.apply(rows.lazy()).collect()["visits"].to_list()


def refusal(table, *parameters: tuple[str, str]) -> str:
    with pytest.raises(RequestRefused) as refused:
        RowsRequest.parse(table, parameters)
    return str(refused.value)


def test_without_parameters_the_first_thousand_rows_are_asked_for_as_json():
    request = RowsRequest.parse(HOURLY, [])
    assert (request.limit, request.format, request.start, request.end) == (1_000, Format.JSON, None, None)


def test_from_is_included_and_to_is_not():
    assert visits(hours(0, 1, 2, 3), from_="2026-06-01T01:00:00Z", to="2026-06-01T03:00:00Z") == [1, 2]


def test_a_date_means_its_midnight_in_utc():
    assert visits(hours(-1, 0, 23, 24), from_="2026-06-01", to="2026-06-02") == [0, 23]


def test_an_offset_is_understood_also_where_its_plus_was_not_escaped():
    assert visits(hours(0, 1, 2), from_="2026-06-01T02:00:00 01:00") == [1, 2]


@given(start=st.integers(-60, 60), length=st.integers(1, 60), offset=st.sampled_from([-14, -5, 0, 1, 12]))
@settings(deadline=None, max_examples=50)
def test_hours_are_chosen_by_the_hour_alone_whatever_the_store_s_date(start: int, length: int, offset: int):
    numbers = range(-130, 130)
    rows = hours(*numbers).with_columns(event_date=(pl.col("hour") + pl.duration(hours=offset)).dt.date())
    found = visits(
        rows,
        from_=(MIDNIGHT + timedelta(hours=start)).isoformat(),
        to=(MIDNIGHT + timedelta(hours=start + length)).isoformat(),
    )
    assert found == list(range(start, start + length))


def test_a_daily_table_counts_a_day_from_its_midnight_on():
    first, second = date(2026, 6, 1), date(2026, 6, 2)
    request = RowsRequest.parse(DAILY, [("from", "2026-06-01T00:00:01Z"), ("to", "2026-06-02T00:00:01Z")])
    assert request.apply(days(first, second).lazy()).collect()["event_date"].to_list() == [second]


def test_a_repeated_store_means_any_of_them():
    rows = pl.concat([hours(1, store="a"), hours(2, store="b,c"), hours(3, store="d")])
    request = RowsRequest.parse(HOURLY, [("store_id", "a"), ("store_id", "b,c")])
    assert request.apply(rows.lazy()).collect()["visits"].to_list() == [1, 2]


def test_rows_come_in_the_order_of_the_keys_and_one_more_than_the_limit_tells_that_there_are_more():
    request = RowsRequest.parse(HOURLY, [("limit", "2")])
    assert request.apply(hours(3, 1, 2, 0).lazy()).collect()["visits"].to_list() == [0, 1, 2]


def test_the_host_s_own_key_is_no_parameter_of_ours():
    assert RowsRequest.parse(HOURLY, [("code", "secret"), ("clientId", "x")]).limit == 1_000


@pytest.mark.parametrize(
    ("table", "parameter", "words"),
    [
        (HOURLY, ("shop", "1"), "no parameter 'shop'; valid are store_id, promotion_id, from, to, limit, format"),
        (HOURLY, ("promotion_id", "p"), "gold.hourly has no column promotion_id; its columns are event_date, hour"),
        (TOTALS, ("from", "2026-06-01"), "gold.totals is not by date"),
        (HOURLY, ("from", "yesterday"), "'yesterday' is no date; valid are a date (2026-06-01"),
        (HOURLY, ("to", "2026-06-01T12:00:00"), "'2026-06-01T12:00:00' has no offset"),
        (HOURLY, ("from", "0001-01-01T00:00:00+14:00"), "is no date"),
        (HOURLY, ("limit", "0"), "limit is '0'; valid is a whole number from 1 to 100,000"),
        (HOURLY, ("limit", "100001"), "limit is '100001'"),
        (HOURLY, ("limit", "1e3"), "limit is '1e3'"),
        (HOURLY, ("limit", "9" * 5_000), "limit is '999"),
        (HOURLY, ("limit", "²"), "limit is '²'"),
        (HOURLY, ("format", "xml"), "format is 'xml'; valid are json, csv, parquet"),
    ],
)
def test_what_is_not_valid_is_refused_with_what_would_be(table, parameter: tuple[str, str], words: str):
    assert words in refusal(table, parameter)


def test_a_limit_given_twice_is_refused():
    assert refusal(HOURLY, ("limit", "1"), ("limit", "2")) == "limit is given 2 times; valid is once"


def test_a_period_that_ends_before_it_begins_is_refused():
    assert "is not before to" in refusal(HOURLY, ("from", "2026-06-02"), ("to", "2026-06-01"))


@given(text=st.text(max_size=40), name=st.sampled_from(["from", "to", "limit", "format", "store_id", "x"]))
@settings(deadline=None, max_examples=200)
def test_any_text_is_understood_or_refused_never_an_error_of_ours(text: str, name: str):
    try:
        request = RowsRequest.parse(HOURLY, [(name, text)])
    except RequestRefused:
        return
    request.apply(hours(1, 2).lazy()).collect()

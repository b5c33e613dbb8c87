"""Instants in columns are those that a parser of single texts finds, and what is no instant is never taken for one."""

from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.rfc3339 import NO_INSTANT, instants_us

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EXACT = timedelta(microseconds=1)


def one_by_one(text: str) -> int | None:
    try:
        instant = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        return None
    return (instant - EPOCH) // EXACT if instant.tzinfo else None


zones = st.just(UTC) | st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
instants = st.builds(
    lambda instant, zone, places: instant.replace(tzinfo=zone).isoformat(timespec=places),
    st.datetimes(),
    zones,
    st.sampled_from(["seconds", "milliseconds", "microseconds"]),
)
texts = instants | instants.map(lambda text: text.replace("+00:00", "Z"))
spoilt = st.builds(
    lambda text, at, letter: text[: at % len(text)] + letter + text[at % len(text) + 1 :],
    texts,
    st.integers(0, 40),
    st.sampled_from("0123456789:-+TZtz. é"),
)


@settings(deadline=None, max_examples=300)
@given(st.lists(texts | spoilt | st.text(max_size=30), max_size=8))
def test_every_text_that_is_parsed_in_a_column_is_the_instant_that_it_is_alone(column):
    for text, found in zip(column, instants_us(column).tolist(), strict=True):
        assert found in (NO_INSTANT, one_by_one(text))


@settings(deadline=None, max_examples=200)
@given(st.lists(texts, max_size=8))
def test_the_common_forms_are_all_parsed(column):
    assert instants_us(column).tolist() == [one_by_one(text) for text in column]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-11-20T11:00:00",
        "2026-11-20 11:00:00Z",
        "2026-11-20T11:00:00z",
        "2026-02-30T11:00:00Z",
        "2026-11-20T24:00:00Z",
        "2026-11-20T11:00:60Z",
        "0000-11-20T11:00:00Z",
        "-026-11-20T11:00:00Z",
        "2026-11-20T11:00:00+24:00",
        "2026-11-20T11:00:00+00:60",
        "2026-11-20T11:00:00.1234Z",
        "2026-11-20T11:00:0é",
    ],
)
def test_any_other_text_is_left_to_be_looked_at_alone_and_spoils_no_other(text):
    assert instants_us([text, "1970-01-01T00:00:01Z"])[0] == NO_INSTANT
    assert instants_us(["1970-01-01T00:00:01.000000+00:00", text])[0] == 1_000_000

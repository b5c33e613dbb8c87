"""The fast path for event times gives what azure-functions gives, on every format."""

from datetime import datetime

import pytest
from azure.functions import meta
from hypothesis import given
from hypothesis import strategies as st

import functions.fast_decode as fast_decode

FORMATS = [
    "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S.%fZ",
    "%Y-%m-%dT%H:%M:%S+00:00", "%Y-%m-%dT%H:%M:%S.%f+00:00", "%Y-%m-%dT%H:%M:%S-00:00", "%Y-%m-%dT%H:%M:%S.%f-00:00",
    "%m/%d/%Y %H:%M:%SZ", "%m/%d/%Y %H:%M:%S.%f+00:00", "%m/%d/%YT%H:%M:%S", "%m/%d/%YT%H:%M:%S.%f",
]  # fmt: skip
ODD = [
    None, "", "yesterday", "2026-11-24", "20261124T080404", "2026-W48-2T08:04:04", "2026-11-24T08:04:04+01:00",
    "2026-11-24 08:04:04", "2026-11-24T08:04:04.1234567", "2026-11-24T08:04:04.1234567Z", "2026-11-24T08:04:04,5",
    "2026-11-24T24:00:00", "2026-02-30T08:04:04", "2026-11-24T08:04:04.", "2026-11-24T08:04:04.12Z",
    "2026-11-24T08:04:60",
    "2026-11-24T08:04:04+00:00:00.5", "2026-11-24T08:04:04z", "2026-11-24T08:04:04.123456789Z",
    "2026-11-24T08:04:04+0000",
]  # fmt: skip


STOCK = meta._BaseConverter._parse_datetime
"""As this process first sees it: importing functions.fast_decode installs nothing."""


def answer(parse, text):
    try:
        found = parse(text)
    except ValueError as error:
        return type(error)
    return found, None if found is None else found.utcoffset()


@given(st.sampled_from(FORMATS), st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)))  # noqa: DTZ001 - the host sends naive times
def test_every_format_that_the_library_knows_gives_the_same_instant(form, instant):
    text = instant.strftime(form)
    assert answer(fast_decode.parser(STOCK), text) == answer(STOCK, text)


@pytest.mark.parametrize("text", ODD)
def test_every_other_text_gives_the_same_answer_or_error(text):
    assert answer(fast_decode.parser(STOCK), text) == answer(STOCK, text)


def test_installing_twice_wraps_once(monkeypatch):
    monkeypatch.setattr(meta._BaseConverter, "_parse_datetime", STOCK)
    assert fast_decode.install()
    once = meta._BaseConverter._parse_datetime
    assert fast_decode.install()
    assert meta._BaseConverter._parse_datetime is once

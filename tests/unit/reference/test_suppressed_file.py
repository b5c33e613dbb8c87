"""suppressed.csv: the devices that opted out, and every fault by line."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.adapters.suppressed_file import read_suppressed


def test_each_line_is_a_device_that_opted_out() -> None:
    assert read_suppressed(b"device_id\nann\r\n\nbob\n") == (frozenset({"ann", "bob"}), [])


def test_without_a_file_and_with_an_empty_list_nobody_opted_out() -> None:
    assert read_suppressed(None) == (frozenset(), [])
    assert read_suppressed(b"\xef\xbb\xbfdevice_id\n") == (frozenset(), [])


def test_a_device_that_opted_out_twice_has_opted_out() -> None:
    assert read_suppressed(b"device_id\nann\nann\n") == (frozenset({"ann"}), [])


def test_an_id_with_a_comma_stands_in_quotes() -> None:
    assert read_suppressed(b'device_id\n"a,b"\n') == (frozenset({"a,b"}), [])


def test_with_spaces_around_an_id_the_device_without_them_is_suppressed_as_well() -> None:
    assert read_suppressed(b"device_id\n ann \n") == (frozenset({" ann ", "ann"}), [])


@pytest.mark.parametrize(
    ("data", "faults"),
    [
        (b"", ["suppressed.csv line 1: the header is ''; it must be 'device_id'"]),
        (b"ann\nbob\n", ["suppressed.csv line 1: the header is 'ann'; it must be 'device_id'"]),
        (
            b"device_id\na,b\n\n " + b"x" * 129 + b'\n""\n',
            [
                "suppressed.csv line 2: has 2 fields; valid is one id, in quotes if it has a comma",
                "suppressed.csv line 4, device_id: has 129 characters; valid are 1 to 128",
                "suppressed.csv line 5, device_id: has 0 characters; valid are 1 to 128",
            ],
        ),
        (b"device_id\nann\n\xff\n", ["suppressed.csv line 3: byte 14 is not UTF-8"]),
        (b'device_id\nann\n"bob', ["suppressed.csv line 3: is no CSV: unexpected end of data"]),
    ],
)
def test_every_fault_names_its_line_and_nobody_is_taken_from_a_file_with_faults(data: bytes, faults: list[str]) -> None:
    assert read_suppressed(data) == (frozenset(), faults)


@given(st.sets(st.text(min_size=1, max_size=8).filter(lambda text: text == text.strip() and "\0" not in text)))
@settings(max_examples=100, deadline=None)
def test_what_a_csv_writer_writes_is_read_back(ids: set[str]) -> None:
    text = io.StringIO()
    csv.writer(text).writerows([["device_id"], *([device_id] for device_id in sorted(ids))])
    assert read_suppressed(text.getvalue().encode()) == (ids, [])


@given(st.binary())
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_devices_or_faults_and_never_an_exception(data: bytes) -> None:
    ids, faults = read_suppressed(data)
    assert not (ids and faults)

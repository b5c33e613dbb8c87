"""Capture files: what the service wrote since 2016 is read, anything else is refused with the place and the reason."""

import io
import random
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import fastavro
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.adapters.capture_files import read_frames
from shared.adapters.capture_records import MarkReader, Records, record_reader
from shared.errors import CaptureFileUnreadable
from shared.medallion.bronze import CAPTURED, Bodies, Captured
from tests.fakes_lake import NOON, capture_file, event_data, record

LOOKS_LIKE_A_TIME = b'&1/1/2026 1:00:00 AM{"t":"12/9/2022 4:51:25 PM"}\x2812/9/2022 4:51:25 PM'
SCHEMAS = {
    "2016": event_data(property_branches=("long", "double", "string", "bytes")),
    "2017": event_data(),
    "plain body": event_data(Body="bytes"),
    "body first null last": event_data(Body=["bytes", "null"]),
    "other order of branches": event_data(property_branches=("null", "string", "bytes", "double", "long")),
    "a further field": event_data(Publisher={"type": "string", "default": ""}),
}

values = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=20) | st.binary(max_size=20)
bodies = (
    st.binary(max_size=80)
    | st.builds(lambda head, tail: head + LOOKS_LIKE_A_TIME + tail, st.binary(max_size=9), st.binary(max_size=9))
    | st.just(b"x" * 900)
)
records = st.builds(
    lambda number, body, seconds, key, system, properties: {
        **record(number, body, NOON + timedelta(seconds=seconds)),
        "SystemProperties": system | ({} if key is None else {"x-opt-partition-key": key}),
        "Properties": properties,
        "Publisher": "p",
    },
    st.integers(0, 2**62),
    bodies,
    st.integers(-(10**9), 10**9),
    st.none() | st.text(max_size=130),
    st.dictionaries(st.text(max_size=20), values, max_size=4),
    st.dictionaries(st.text(max_size=5) | st.just("x-opt-partition-key"), values, max_size=4),
)

NOTHING = Captured(CAPTURED.to_frame(), Bodies.of([]))


def read(data: bytes, piece_bytes: int = 1 << 20) -> pl.DataFrame:
    pieces = (data[start : start + piece_bytes] for start in range(0, len(data), piece_bytes))
    return pl.concat([table(), *map(table, read_frames("a/file", pieces))])


def table(captured: Captured = NOTHING) -> pl.DataFrame:
    body = pl.Series("body", captured.bodies.to_list(), dtype=pl.Binary)
    return captured.events.with_columns(body)


def by_fastavro(data: bytes) -> Iterator[tuple[object, ...]]:
    for item in fastavro.reader(io.BytesIO(data)):
        enqueued_at = datetime.strptime(item["EnqueuedTimeUtc"], "%m/%d/%Y %I:%M:%S %p").replace(tzinfo=UTC)
        yield item["SequenceNumber"], enqueued_at, item["Body"]


@pytest.mark.realdata
@pytest.mark.parametrize(("name", "events"), [("cosh_54", 380), ("cjoakim_24", 10), ("cosh_empty", 0)])
def test_a_file_of_the_service_reads_as_fastavro_reads_it(real_data: Path, name: str, events: int):
    data = (real_data / "capture_avro" / f"{name}.avro").read_bytes()
    assert read(data).rows() == list(by_fastavro(data))
    assert read(data, piece_bytes=97).height == events


@given(
    st.lists(records, max_size=15),
    st.sampled_from(sorted(SCHEMAS)),
    st.sampled_from(("null", "deflate")),
    st.sampled_from((200, 1 << 30)),
    st.integers(60, 3000),
)
@settings(deadline=None, max_examples=100)
def test_any_file_in_pieces_of_any_size_reads_as_fastavro_reads_it(events, schema, codec, block_bytes, piece_bytes):
    data = capture_file(events, SCHEMAS[schema], codec=codec, block_bytes=block_bytes)
    assert read(data, piece_bytes).rows() == list(by_fastavro(data))


def test_a_body_of_null_is_null():
    assert read(capture_file([record(0, None), record(1, b"")]))["body"].to_list() == [None, b""]


def test_many_bodies_of_null_take_little_memory():
    data = capture_file([record(number, None if number % 2 else b"x" * 400) for number in range(3000)])
    tracemalloc.start()
    read(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * len(data)


def test_an_empty_window_has_no_event():
    header = capture_file([])
    block_of_no_record = b"\0\0" + header[-16:]
    assert read(header).is_empty()
    assert read(header + block_of_no_record).is_empty()


def test_frames_are_of_bounded_size_and_in_order():
    data = capture_file([record(number, b"{}") for number in range(2500)])
    frames = list(read_frames("a/file", [data], frame_rows=1000))
    assert [len(frame) for frame in frames] == [1000, 1000, 500]
    assert pl.concat([frame.events for frame in frames])["sequence_number"].to_list() == list(range(2500))


@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_a_file_that_is_cut_short_is_refused_wherever_it_was_cut(codec):
    data = capture_file([record(number, b"{}", key="d") for number in range(3)], codec=codec)
    header = len(capture_file([], codec=codec))
    for length in set(range(len(data))) - {header}:  # the header alone is a container of no block
        with pytest.raises(CaptureFileUnreadable):
            read(data[:length])


def test_the_refusal_says_where_the_file_ends():
    data = capture_file([record(0, b"{}")])
    with pytest.raises(CaptureFileUnreadable, match=f"a/file, byte {len(data) - 5:,}: the file is cut short"):
        read(data[:-5])


@given(st.binary(max_size=600))
@settings(deadline=None, max_examples=200)
def test_bytes_that_are_no_avro_are_refused(data):
    for start in (b"", b"Obj\x01"):
        with pytest.raises(CaptureFileUnreadable):
            read(start + data)


@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_a_damaged_file_is_read_or_refused_and_nothing_else_happens(codec):
    events = [record(number, b'{"a":1}' if number % 3 else None, key=f"d{number}") for number in range(6)]
    whole, chance = capture_file(events, codec=codec), random.Random(7)
    outcomes = set()
    for _ in range(3000):
        data = bytearray(whole)
        for _ in range(chance.choice((1, 1, 2, 4))):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            outcomes.add(read(bytes(data)).height)
        except CaptureFileUnreadable:
            outcomes.add("refused")
    assert outcomes == {6, "refused"}


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "record", "name": "Person", "fields": [{"name": "Body", "type": "bytes"}]}, "SequenceNumber"),
        ("bytes", "SequenceNumber, EnqueuedTimeUtc, Body"),
    ],
)
def test_avro_of_another_schema_is_refused_by_what_it_lacks(schema, reason):
    data = io.BytesIO()
    fastavro.writer(data, fastavro.parse_schema(schema), [])
    with pytest.raises(CaptureFileUnreadable, match=f"no capture file: its records have no {reason}"):
        read(data.getvalue())


def test_a_codec_that_capture_does_not_use_is_refused_by_name():
    data = capture_file([record(0, b"{}")], codec="bzip2")
    with pytest.raises(CaptureFileUnreadable, match="codec 'bzip2'; null and deflate can be read"):
        read(data)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("1/2/2026 12:00:00 AM", datetime(2026, 1, 2, 0, tzinfo=UTC)),
        ("1/2/2026 12:00:00 PM", datetime(2026, 1, 2, 12, tzinfo=UTC)),
        ("12/31/2025 11:59:59 PM", datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("2/29/2024 1:02:03 AM", datetime(2024, 2, 29, 1, 2, 3, tzinfo=UTC)),
    ],
)
def test_the_enqueued_time_is_us_culture_without_zero_padding(text, instant):
    data = capture_file([{**record(0, b"{}"), "EnqueuedTimeUtc": text}])
    assert read(data)["enqueued_at"].to_list() == [instant]


@pytest.mark.parametrize(
    "text", ["", "2026-01-02T00:00:00Z", "31/12/2025 1:00:00 AM", "2/29/2025 1:00:00 AM", "1/1/2026 13:00:00 PM"]
)
def test_another_enqueued_time_is_refused_with_its_text(text):
    data = capture_file([{**record(0, b"{}"), "EnqueuedTimeUtc": text}])
    with pytest.raises(CaptureFileUnreadable, match=f"EnqueuedTimeUtc is '{text}'; it must read like"):
        read(data)


def test_a_record_whose_time_is_written_otherwise_is_not_passed_over():
    odd = {**record(1, b"odd"), "EnqueuedTimeUtc": "2026-03-29T12:00:00Z"}
    data = capture_file([record(0, b"a"), odd, record(2, b"b"), record(3, b"c")])
    with pytest.raises(CaptureFileUnreadable, match="EnqueuedTimeUtc is '2026-03-29T12:00:00Z'"):
        read(data)


def test_files_of_every_year_are_read_without_fastavro():
    class NotAsked:
        def read(self, piece: bytes, most: int) -> Records:
            raise AssertionError("the slow reader was asked")

    for name in ("2016", "2017", "plain body", "body first null last", "other order of branches"):
        events = [record(number, LOOKS_LIKE_A_TIME, key=f"device {number}") for number in range(9)]
        piece = io.BytesIO()
        for event in events:
            fastavro.schemaless_writer(piece, fastavro.parse_schema(SCHEMAS[name]), event)
        reader = record_reader(SCHEMAS[name])
        assert isinstance(reader, MarkReader)
        found = MarkReader(reader.layout, NotAsked()).read(piece.getvalue(), 100)
        assert found.used == len(piece.getvalue())
        assert found.bodies.to_list() == [LOOKS_LIKE_A_TIME] * len(events)


@pytest.mark.parametrize("name", ["2016", "other order of branches"])
def test_records_of_many_shapes_beside_each_other_are_read_each_by_its_own(name):
    events = [
        record(number, LOOKS_LIKE_A_TIME, key=None if number % 3 else "d" * (number % 90))
        | {"Properties": {"p": number ** (number % 7), "q" * (number % 5): 1.5 if number % 2 else "text"}}
        for number in range(300)
    ]
    data = capture_file(events, SCHEMAS[name])
    assert read(data).rows() == list(by_fastavro(data))

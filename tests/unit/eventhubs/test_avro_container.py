"""Capture files have the layout of the service's own, byte for byte, and every Avro reader understands them."""

import io
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.local.eventhubs.avro_container import CaptureFileWriter, CaptureRecord

SYNC = bytes(range(16))

long = st.integers(-(2**63), 2**63 - 1)
system_value = long | st.floats(allow_nan=False) | st.text(max_size=20) | st.binary(max_size=20)
records = st.builds(
    CaptureRecord,
    SequenceNumber=long,
    Offset=st.text(max_size=20),
    EnqueuedTimeUtc=st.text(max_size=24),
    SystemProperties=st.dictionaries(st.text(max_size=10), system_value, max_size=3),
    Properties=st.dictionaries(st.text(max_size=10), system_value | st.none(), max_size=3),
    Body=st.none() | st.binary(max_size=200),
)


def capture_file(given_records: Sequence[CaptureRecord], sync_marker: bytes = SYNC) -> bytes:
    with CaptureFileWriter(sync_marker) as writer:
        half = len(given_records) // 2
        writer.add(given_records[:half])
        writer.add(given_records[half:])
        stream, length = writer.finish()
        data = stream.read()
        assert len(data) == length
        return data


@settings(deadline=None, max_examples=60)
@given(st.lists(records, max_size=20))
def test_an_avro_reader_reads_back_what_was_written(given_records: list[CaptureRecord]) -> None:
    assert list(fastavro.reader(io.BytesIO(capture_file(given_records)))) == given_records


def test_a_file_of_no_events_has_508_bytes_and_one_empty_block() -> None:
    data = capture_file([])
    assert len(data) == 508
    assert data[-18:] == b"\x00\x00" + SYNC
    assert list(fastavro.reader(io.BytesIO(data))) == []


def test_all_events_lie_in_one_block() -> None:
    record = CaptureRecord(
        SequenceNumber=1,
        Offset="0",
        EnqueuedTimeUtc="1/2/2026 3:04:05 AM",
        SystemProperties={},
        Properties={},
        Body=b"x",
    )
    (block,) = fastavro.block_reader(io.BytesIO(capture_file([record] * 20_000)))
    assert block.num_records == 20_000


def test_a_large_window_is_not_held_in_memory() -> None:
    record = CaptureRecord(
        SequenceNumber=1, Offset="0", EnqueuedTimeUtc="", SystemProperties={}, Properties={}, Body=bytes(100_000)
    )
    tracemalloc.start()
    try:
        with CaptureFileWriter(SYNC) as writer:
            for _ in range(200):
                writer.add([record] * 2)
            assert writer.finish()[1] > 40_000_000
            assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_a_sync_marker_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="has 16 bytes, not 3"):
        CaptureFileWriter(b"abc")


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["cosh_54", "cosh_empty", "cjoakim_24"])
def test_a_real_capture_file_written_again_is_the_same_byte_for_byte(real_data: Path, name: str) -> None:
    original = (real_data / "capture_avro" / f"{name}.avro").read_bytes()
    events = list(fastavro.reader(io.BytesIO(original)))
    assert capture_file(events, sync_marker=original[-16:]) == original

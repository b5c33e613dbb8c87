"""The partition log: what was appended is read back, whatever happens to the process; damage is never silent."""

import logging
import os
import resource
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.local.eventhubs.log import HubStore, LogCorrupt, PartitionLog, StoredEvent
from shared.errors import ConfigurationError

type Message = tuple[bytes, str | None]

messages = st.tuples(st.binary(max_size=300), st.none() | st.text(max_size=12))
batches = st.lists(st.lists(messages, max_size=12), max_size=12)
small = st.integers(1, 2000)
start_ms = 1_700_000_000_000


@contextmanager
def directory() -> Iterator[Path]:
    with TemporaryDirectory() as name:
        yield Path(name)


class Clock:
    """Milliseconds that the test sets."""

    def __init__(self) -> None:
        self.now = start_ms

    def __call__(self) -> int:
        return self.now


def read_all(log: PartitionLog, start: int = 0, *, max_events: int = 7, max_bytes: int = 500) -> list[StoredEvent]:
    events: list[StoredEvent] = []
    while found := log.read(start, max_events=max_events, max_bytes=max_bytes):
        events += found
        start = found[-1].sequence_number + 1
    return events


def contents(events: Sequence[StoredEvent]) -> list[Message]:
    return [(event.message, event.partition_key) for event in events]


def filled(path: Path, count: int, **options: int) -> PartitionLog:
    log = PartitionLog(path, **options)
    for number in range(count):
        log.append([(b"event %d" % number, "device-1")])
    return log


@settings(deadline=None, max_examples=60)
@given(batches, small, small, st.integers(1, 20), small)
def test_what_was_appended_is_read_back_for_any_batches_and_segment_sizes(
    given_batches: list[list[Message]], segment_bytes: int, index_bytes: int, max_events: int, max_bytes: int
) -> None:
    with directory() as path:
        log = PartitionLog(path, segment_bytes=segment_bytes, index_bytes=index_bytes)
        firsts = [log.append(batch) for batch in given_batches]
        sent = [message for batch in given_batches for message in batch]
        events = read_all(log, max_events=max_events, max_bytes=max_bytes)
        assert contents(events) == sent
        assert [event.sequence_number for event in events] == list(range(len(sent)))
        assert firsts == [sum(map(len, given_batches[:at])) for at in range(len(given_batches))]
        assert log.next_sequence_number == len(sent)
        log.close()


@settings(deadline=None, max_examples=60)
@given(batches, small, small)
def test_reopening_a_log_changes_nothing_and_it_goes_on_where_it_was(
    given_batches: list[list[Message]], segment_bytes: int, index_bytes: int
) -> None:
    with directory() as path, directory() as other:
        clock = Clock()
        unbroken = PartitionLog(other, segment_bytes=segment_bytes, index_bytes=index_bytes, now_ms=clock)
        for batch in given_batches:
            log = PartitionLog(path, segment_bytes=segment_bytes, index_bytes=index_bytes, now_ms=clock)
            log.append(batch)
            log.close()
            unbroken.append(batch)
            clock.now += 10
        log = PartitionLog(path, segment_bytes=segment_bytes, index_bytes=index_bytes, now_ms=clock)
        assert read_all(log) == read_all(unbroken)
        assert (log.next_offset, log.last_offset, log.last_enqueued_ms, log.size_bytes) == (
            unbroken.next_offset,
            unbroken.last_offset,
            unbroken.last_enqueued_ms,
            unbroken.size_bytes,
        )
        log.close()
        unbroken.close()


@settings(deadline=None, max_examples=100)
@given(batches.filter(any), small, small, st.data())
def test_a_kill_in_the_middle_of_a_write_loses_only_the_torn_event(
    given_batches: list[list[Message]], segment_bytes: int, index_bytes: int, data: st.DataObject
) -> None:
    with directory() as path:
        log = PartitionLog(path, segment_bytes=segment_bytes, index_bytes=index_bytes)
        for batch in given_batches:
            log.append(batch)
        events = read_all(log)
        log.close()
        newest = max(path.glob("*.log"))
        base = int(newest.stem.split("-")[1])
        size = newest.stat().st_size
        cut = data.draw(st.integers(0, size))
        os.truncate(newest, cut)

        log = PartitionLog(path, segment_bytes=segment_bytes, index_bytes=index_bytes)
        behind = [*(event.offset for event in events[1:]), base + size]
        whole = [event for event, end in zip(events, behind, strict=True) if end <= base + cut]
        assert read_all(log) == whole
        assert log.next_sequence_number == len(whole)
        first = log.append([(b"after the kill", None)])
        assert read_all(log)[first].message == b"after the kill"
        log.close()


@settings(deadline=None, max_examples=60)
@given(batches, small, small, st.integers(-5, 5000), st.integers(-25, 150), st.booleans())
def test_positions_after_an_offset_and_a_time_are_those_of_a_plain_search(
    given_batches: list[list[Message]], segment_bytes: int, index_bytes: int, offset: int, ms: int, inclusive: bool
) -> None:
    with directory() as path:
        clock = Clock()
        log = PartitionLog(path, segment_bytes=segment_bytes, index_bytes=index_bytes, now_ms=clock)
        for batch in given_batches:
            log.append(batch)
            clock.now += 10
        events = read_all(log)

        def first(reached: Iterator[int]) -> int:
            return next(reached, log.next_sequence_number)

        low = offset if inclusive else offset + 1
        assert log.position_after_offset(offset, inclusive=inclusive) == first(
            event.sequence_number for event in events if event.offset >= low
        )
        instant = start_ms + ms
        low = instant if inclusive else instant + 1
        assert log.position_after_time(instant, inclusive=inclusive) == first(
            event.sequence_number for event in events if event.enqueued_ms >= low
        )
        log.close()


def test_offsets_grow_by_bytes_and_are_not_sequence_numbers(tmp_path: Path) -> None:
    log = PartitionLog(tmp_path)
    log.append([(b"x" * 200, None), (b"y" * 50, "key"), (b"", None)])
    assert [event.offset for event in read_all(log)] == [0, 230, 313]
    assert log.last_offset == 313
    assert log.next_offset == log.size_bytes == 343


def test_enqueued_time_never_falls_even_when_the_clock_is_set_back(tmp_path: Path) -> None:
    clock = Clock()
    log = PartitionLog(tmp_path, now_ms=clock)
    log.append([(b"first", None)])
    log.close()
    clock.now -= 60_000
    log = PartitionLog(tmp_path, now_ms=clock)
    log.append([(b"second", None)])
    assert [event.enqueued_ms for event in read_all(log)] == [start_ms, start_ms]


def test_an_event_larger_than_the_limit_of_a_read_is_read_alone(tmp_path: Path) -> None:
    log = PartitionLog(tmp_path)
    log.append([(b"x" * 100_000, None), (b"next", None)])
    assert [len(event.message) for event in log.read(0, max_events=10, max_bytes=1000)] == [100_000]


def test_an_empty_log_has_no_newest_event(tmp_path: Path) -> None:
    log = PartitionLog(tmp_path)
    assert (log.first_sequence_number, log.next_sequence_number, log.last_offset, log.last_enqueued_ms) == (0, 0, -1, 0)
    assert log.read(0, max_events=1, max_bytes=1) == []
    assert log.position_after_offset(-1, inclusive=False) == log.position_after_time(0, inclusive=True) == 0


@pytest.mark.parametrize("place", ["header", "body"])
def test_a_damaged_record_in_the_middle_is_an_error_that_names_file_and_byte(tmp_path: Path, place: str) -> None:
    log = filled(tmp_path, 3)
    victim = log.read(1, max_events=1, max_bytes=10_000)[0].offset
    log.close()
    (path,) = tmp_path.glob("*.log")
    data = bytearray(path.read_bytes())
    data[victim + (4 if place == "header" else 35)] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(LogCorrupt, match=rf"{path.name}: the record at byte {victim} is damaged"):
        PartitionLog(tmp_path)


def test_damage_in_a_part_that_opening_does_not_look_at_is_found_by_the_read(tmp_path: Path) -> None:
    log = filled(tmp_path, 3, segment_bytes=1)
    log.close()
    path = min(tmp_path.glob("*.log"))
    data = bytearray(path.read_bytes())
    log = PartitionLog(tmp_path)
    data[-1] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(LogCorrupt, match="checksum"):
        log.read(0, max_events=1, max_bytes=1000)


def test_a_segment_that_is_missing_or_cut_short_is_an_error(tmp_path: Path) -> None:
    filled(tmp_path, 3, segment_bytes=1).close()
    sorted(tmp_path.glob("*.log"))[1].unlink()
    with pytest.raises(LogCorrupt, match="cut short or missing"):
        PartitionLog(tmp_path)


@pytest.mark.parametrize("damage", ["remove", "garbage", "torn", "half an entry more"])
def test_an_index_that_is_lost_or_damaged_is_made_from_the_records(tmp_path: Path, damage: str) -> None:
    log = filled(tmp_path, 200, index_bytes=100)
    events = read_all(log)
    log.close()
    (path,) = tmp_path.glob("*.index")
    whole = path.read_bytes()
    if damage == "remove":
        path.unlink()
    else:
        damaged = {"garbage": os.urandom(len(whole)), "torn": whole[:-5], "half an entry more": whole + bytes(12)}
        path.write_bytes(damaged[damage])
    log = PartitionLog(tmp_path, index_bytes=100)
    assert [log.read(event.sequence_number, max_events=1, max_bytes=100)[0] for event in events] == events
    assert path.read_bytes() == whole


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size` bytes: the disk is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_stores_nothing_of_the_batch_and_the_log_goes_on_afterwards(tmp_path: Path) -> None:
    log = filled(tmp_path, 3)
    with file_size_limit(log.size_bytes + 300), pytest.raises(OSError, match="too large"):
        log.append([(b"x" * 200, None)] * 2)
    assert log.append([(b"there is room again", None)]) == 3
    events = read_all(log)
    log.close()
    assert read_all(PartitionLog(tmp_path)) == events
    assert [event.message for event in events[2:]] == [b"event 2", b"there is room again"]


def test_a_partition_key_that_is_too_long_is_refused_and_nothing_is_stored(tmp_path: Path) -> None:
    log = PartitionLog(tmp_path)
    with pytest.raises(ValueError, match="too long"):
        log.append([(b"fine", None), (b"not", "k" * 65_535)])
    assert log.next_sequence_number == 0


HOUR = 3_600_000


def test_retention_time_drops_what_is_older_and_nothing_younger(tmp_path: Path) -> None:
    clock = Clock()
    log = PartitionLog(tmp_path, now_ms=clock)
    for hour in range(48):
        clock.now = start_ms + hour * HOUR
        log.append([(b"%d" % hour, None)])
        log.retain(retention_ms=24 * HOUR)
    kept = [int(event.message) for event in read_all(log)]
    assert kept[-1] == 47
    assert 47 - 24 - 4 <= kept[0] <= 47 - 24


def test_a_partition_where_nothing_arrives_any_more_becomes_empty(tmp_path: Path) -> None:
    clock = Clock()
    log = PartitionLog(tmp_path, now_ms=clock)
    log.append([(b"old", None)] * 3)
    clock.now += 25 * HOUR
    assert log.retain(retention_ms=24 * HOUR) == 3
    assert (log.first_sequence_number, log.next_sequence_number, log.last_offset, log.size_bytes) == (3, 3, -1, 0)
    log.close()
    log = PartitionLog(tmp_path, now_ms=clock)
    assert log.append([(b"new", None)]) == 3
    assert log.read(0, max_events=9, max_bytes=999)[0].sequence_number == 3


def test_retention_size_drops_the_oldest_but_never_what_capture_still_needs(tmp_path: Path) -> None:
    log = filled(tmp_path, 100, segment_bytes=400)
    events = read_all(log)
    log.retain(retention_ms=HOUR, retention_bytes=1000, keep_from=50)
    assert 40 < log.first_sequence_number <= 50
    log.retain(retention_ms=HOUR, retention_bytes=1000, keep_from=100)
    assert log.size_bytes <= 1000
    assert read_all(log) == events[log.first_sequence_number :]


def test_a_size_limit_below_the_size_of_a_segment_holds_as_well(tmp_path: Path) -> None:
    log = PartitionLog(tmp_path)
    for _ in range(50):
        log.append([(b"x" * 70, None)])  # a record of 100 bytes
        log.retain(retention_ms=HOUR, retention_bytes=1000)
    assert 500 < log.size_bytes <= 1000
    assert log.next_sequence_number == 50


def test_retention_time_wins_over_capture_and_says_how_many_events_were_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    log = PartitionLog(tmp_path, now_ms=clock)
    log.append([(b"old", None)] * 10)
    clock.now += 2 * HOUR
    with caplog.at_level(logging.WARNING):
        log.retain(retention_ms=HOUR, keep_from=4)
    assert "took 6 events that Capture had not captured" in caplog.text


def test_a_second_process_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    store = HubStore(tmp_path, {"dev-readfrom": 2})
    with pytest.raises(ConfigurationError, match=f"in use by another broker.*{os.getpid()}"):
        HubStore(tmp_path, {"dev-readfrom": 2})
    store.close()
    HubStore(tmp_path, {"dev-readfrom": 2}).close()


def test_a_changed_partition_count_is_refused_in_words(tmp_path: Path) -> None:
    HubStore(tmp_path, {"dev-readfrom": 4}).close()
    with pytest.raises(ConfigurationError, match="created with 4 partitions and cannot be opened with 8"):
        HubStore(tmp_path, {"dev-readfrom": 8})


def test_a_hub_remembers_when_it_was_created(tmp_path: Path) -> None:
    store = HubStore(tmp_path, {"dev-readfrom": 1})
    created = store.hubs["dev-readfrom"].created_ms
    store.close()
    store = HubStore(tmp_path, {"dev-readfrom": 1})
    assert store.hubs["dev-readfrom"].created_ms == created
    store.close()

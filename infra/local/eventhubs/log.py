"""The events of the hubs on disk: an append-only log for each partition, kept in segment files.

A data directory holds one directory a hub, and in it one a partition: a row of segments (see `segment`). An event's
offset is the position of its record, counted over all segments since the hub was created: byte-like, as the service's.
Every append is one write to the operating system before it returns, so a killed process loses nothing that was
acknowledged; at most its last, unacknowledged write is torn, and opening the log cuts that off.
"""

import fcntl
import itertools
import json
import logging
import os
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.local.eventhubs.segment import LogCorrupt, Record, Segment, StoredEvent, encode_record, segments_of
from shared.errors import ConfigurationError

__all__ = ["HubStore", "LogCorrupt", "PartitionLog", "StoredEvent", "StoredHub", "replace_file"]

log = logging.getLogger(__name__)

SEGMENT_BYTES = 64 * 1024 * 1024
INDEX_BYTES = 64 * 1024
_CURSORS = 64


def _wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


class PartitionLog:
    """The events of one partition, kept in a directory of their own.

    One writer, and everything from one thread (the event loop's): reads and writes are synchronous and short.
    """

    def __init__(
        self,
        directory: Path,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        index_bytes: int = INDEX_BYTES,
        now_ms: Callable[[], int] = _wall_clock_ms,
    ) -> None:
        """Open the log, creating it when it is not there, and cut off a torn last record. Raises LogCorrupt."""
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._segment_bytes = segment_bytes
        self._index_bytes = index_bytes
        self._now_ms = now_ms
        self._cursors: dict[int, tuple[Segment, int]] = {}
        self._segments = segments_of(directory, index_bytes) or [Segment(directory, 0, 0, index_bytes)]
        self._active = self._segments[-1]
        self._active.activate()
        for segment in self._segments[:-1]:
            segment.complete_index()
        _check_joints(self._segments)
        self.next_sequence_number = self._recover_active()
        self._last = self._newest_record()

    def _recover_active(self) -> int:
        segment = self._active
        segment.complete_index()
        newest = segment.last_record()
        end = newest.end if newest else 0
        if end < segment.size:
            log.warning("%s: cut off a torn record of %d bytes at byte %d", segment.path, segment.size - end, end)
            segment.cut(end)
        return newest.sequence_number + 1 if newest else segment.first_sequence_number

    def _newest_record(self) -> tuple[int, int]:
        """(offset, enqueued time) of the newest event; (-1, 0) when the log is empty."""
        for segment in reversed(self._segments[-2:]):
            if record := segment.last_record():
                return segment.base_offset + record.position, record.enqueued_ms
        return -1, 0

    @property
    def first_sequence_number(self) -> int:
        """The number of the oldest event that is retained; `next_sequence_number` when there is none."""
        return self._segments[0].first_sequence_number

    @property
    def next_offset(self) -> int:
        """The offset that the next event will get."""
        return self._active.base_offset + self._active.size

    @property
    def last_offset(self) -> int:
        """The offset of the newest event; -1 when the log is empty."""
        return self._last[0] if self.next_sequence_number > self.first_sequence_number else -1

    @property
    def last_enqueued_ms(self) -> int:
        """When the newest event was enqueued, in milliseconds since 1970 UTC; 0 when there never was one."""
        return self._last[1]

    @property
    def size_bytes(self) -> int:
        """Bytes of the retained records."""
        return self.next_offset - self._segments[0].base_offset

    def append(self, messages: Sequence[tuple[bytes, str | None]]) -> int:
        """Store (message, partition key) pairs in one write and return the first one's sequence number.

        When it returns, the operating system has the bytes: they survive the process. Enqueued time is the wall clock,
        never falling. Raises ValueError for a key above 65,534 bytes, OSError when the disk refuses: nothing is stored.
        """
        if self._active.size >= self._segment_bytes:
            self._roll()
        segment, first = self._active, self.next_sequence_number
        enqueued_ms = max(self._now_ms(), self.last_enqueued_ms)
        records = [
            encode_record(number, enqueued_ms, key, message)
            for number, (message, key) in enumerate(messages, start=first)
        ]
        if records:
            position = segment.size
            segment.write(b"".join(records))
            self.next_sequence_number = first + len(records)
            self._last = (segment.base_offset + segment.size - len(records[-1]), enqueued_ms)
            self._index(segment, position, first, enqueued_ms, records)
        return first

    def _index(self, segment: Segment, position: int, first: int, enqueued_ms: int, records: Sequence[bytes]) -> None:
        index = segment.index
        known = len(index.positions)
        for number, record in enumerate(records, start=first):
            end = position + len(record)
            if index.wants(position):
                index.add(Record(number, position, end, enqueued_ms))
            position = end
        index.save_from(known)

    def _roll(self) -> None:
        fresh = Segment(self.directory, self.next_sequence_number, self.next_offset, self._index_bytes)
        fresh.activate()
        self._active.seal()
        self._segments.append(fresh)
        self._active = fresh

    def read(self, sequence_number: int, *, max_events: int, max_bytes: int) -> list[StoredEvent]:
        """Events from the first retained one at or after `sequence_number` on; an empty list when there is none yet.

        At least one event when there is one, else at most `max_events` and `max_bytes` of records; it may be fewer than
        that although more are there (a read stays in one segment). Raises LogCorrupt.
        """
        sequence_number = max(sequence_number, self.first_sequence_number)
        if sequence_number >= self.next_sequence_number:
            return []
        segment, position = self._cursors.get(sequence_number) or self._find(sequence_number)
        if position >= segment.size:
            segment = self._segments[self._segments.index(segment) + 1]
            position = 0
        events, behind = segment.read(position, max_events, max_bytes)
        if len(self._cursors) >= _CURSORS:
            del self._cursors[next(iter(self._cursors))]
        self._cursors[events[-1].sequence_number + 1] = (segment, behind)
        return events

    def _find(self, sequence_number: int) -> tuple[Segment, int]:
        segments = self._segments
        segment = segments[bisect_right(segments, sequence_number, key=lambda one: one.first_sequence_number) - 1]
        record = segment.locate(
            segment.index.sequence_numbers, lambda one: one.sequence_number >= sequence_number, sequence_number + 1
        )
        if record is None or record.sequence_number != sequence_number:
            raise segment.corrupt(segment.size, f"event {sequence_number} is missing")
        return segment, record.position

    def offset_of(self, sequence_number: int) -> int:
        """The offset of an event, or the one that the next event will get. Raises LogCorrupt."""
        if sequence_number >= self.next_sequence_number:
            return self.next_offset
        return self.read(sequence_number, max_events=1, max_bytes=1)[0].offset

    def position_after_offset(self, offset: int, *, inclusive: bool) -> int:
        """The sequence number to read from for events after an offset (at or after it, if inclusive)."""
        wanted = offset if inclusive else offset + 1
        segment = self._last_segment_below(wanted, lambda one: one.base_offset)
        if segment is None:
            return self.first_sequence_number
        local = wanted - segment.base_offset
        record = segment.locate(segment.index.positions, lambda one: one.position >= local, local + 1)
        return record.sequence_number if record else self._behind(segment)

    def position_after_time(self, enqueued_ms: int, *, inclusive: bool) -> int:
        """The sequence number to read from for events enqueued after an instant (at or after it, if inclusive)."""
        wanted = enqueued_ms if inclusive else enqueued_ms + 1
        segment = self._last_segment_below(wanted, lambda one: one.index.times[0] if one.index.times else wanted)
        if segment is None:
            return self.first_sequence_number
        record = segment.locate(segment.index.times, lambda one: one.enqueued_ms >= wanted, wanted)
        return record.sequence_number if record else self._behind(segment)

    def _last_segment_below(self, value: int, key: Callable[[Segment], int]) -> Segment | None:
        at = bisect_left(self._segments, value, key=key) - 1
        return self._segments[at] if at >= 0 else None

    def _behind(self, segment: Segment) -> int:
        at = self._segments.index(segment) + 1
        return self._segments[at].first_sequence_number if at < len(self._segments) else self.next_sequence_number

    def retain(self, *, retention_ms: int, retention_bytes: int | None = None, keep_from: int | None = None) -> int:
        """Drop whole segments that are over the retention time, or that make the log larger than its limit.

        `keep_from` is the first event that Capture still needs: size never drops it, time does (as the service), and a
        warning says how many were lost. Returns the number of events dropped.
        """
        first = self.first_sequence_number
        oldest_ms = self._now_ms() - retention_ms
        self._roll_for_retention(oldest_ms, retention_ms, retention_bytes)
        while len(self._segments) > 1 and self._newest_ms(self._segments[0]) < oldest_ms:
            self._drop_oldest()
        lost = 0 if keep_from is None else self.first_sequence_number - max(first, keep_from)
        if lost > 0:
            log.warning("%s: retention time took %d events that Capture had not captured", self.directory, lost)
        while retention_bytes is not None and len(self._segments) > 1 and self.size_bytes > retention_bytes:
            if keep_from is not None and self._segments[1].first_sequence_number > keep_from:
                break
            self._drop_oldest()
        return self.first_sequence_number - first

    def _roll_for_retention(self, oldest_ms: int, retention_ms: int, retention_bytes: int | None) -> None:
        """Start a new segment when the active one spans over an eighth of a limit: only whole segments are dropped."""
        times = self._active.index.times
        is_old = times and (times[0] < oldest_ms + retention_ms * 7 // 8 or self.last_enqueued_ms < oldest_ms)
        is_large = times and retention_bytes is not None and self._active.size > retention_bytes // 8
        if is_old or is_large:
            self._roll()

    def _newest_ms(self, segment: Segment) -> int:
        record = segment.last_record()
        return record.enqueued_ms if record else 0

    def _drop_oldest(self) -> None:
        self._cursors.clear()
        self._segments.pop(0).remove()

    def close(self) -> None:
        """Close the file; the log must not be used afterwards."""
        self._active.seal()


def _check_joints(segments: Sequence[Segment]) -> None:
    for segment, following in itertools.pairwise(segments):
        if segment.base_offset + segment.size != following.base_offset:
            raise LogCorrupt(
                f"{segment.path} holds {segment.size} bytes, but {following.path.name} shows that there must be "
                f"{following.base_offset - segment.base_offset}: a file is cut short or missing"
            )


@dataclass(frozen=True, slots=True)
class StoredHub:
    """An event hub on disk: its partitions by id (0, 1, ...) and when it was created, in ms since 1970 UTC."""

    name: str
    created_ms: int
    partitions: tuple[PartitionLog, ...]


class HubStore:
    """All partitions of all hubs of a namespace, below one directory that one process at a time may have open."""

    def __init__(self, directory: Path, hubs: Mapping[str, int], *, segment_bytes: int = SEGMENT_BYTES) -> None:
        """Open the hubs (name to partition count), creating those that are not there yet.

        Raises ConfigurationError when another process has the directory open or a partition count differs from the one
        that the hub was created with, LogCorrupt when a log is damaged.
        """
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._lock = _lock(directory)
        self.hubs: dict[str, StoredHub] = {}
        try:
            for name, partition_count in hubs.items():
                self.hubs[name] = _open_hub(directory / name.lower(), name, partition_count, segment_bytes)
        except BaseException:  # whatever it is: let go of the directory, and let it rise
            self.close()
            raise

    def close(self) -> None:
        """Close all logs and let go of the directory."""
        for hub in self.hubs.values():
            for partition in hub.partitions:
                partition.close()
        os.close(self._lock)


def _lock(directory: Path) -> int:
    file = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(file, 20, 0).decode(errors="replace") or "unknown"
        os.close(file)
        raise ConfigurationError(
            f"{directory} is in use by another broker (process {holder}); stop it, or give another directory by --data"
        ) from error
    os.ftruncate(file, 0)
    os.pwrite(file, str(os.getpid()).encode(), 0)
    return file


def _open_hub(directory: Path, name: str, partition_count: int, segment_bytes: int) -> StoredHub:
    directory.mkdir(exist_ok=True)
    description = directory / "hub.json"
    if not description.exists():
        about = {"name": name, "partition_count": partition_count, "created_ms": _wall_clock_ms()}
        replace_file(description, json.dumps(about).encode())
    about = json.loads(description.read_bytes())
    if about["partition_count"] != partition_count:
        raise ConfigurationError(
            f"hub {name!r} was created with {about['partition_count']} partitions and cannot be opened with "
            f"{partition_count}: set PartitionCount to {about['partition_count']}, or remove {directory} and lose its "
            "events"
        )
    partitions = [PartitionLog(directory / str(one), segment_bytes=segment_bytes) for one in range(partition_count)]
    return StoredHub(name, about["created_ms"], tuple(partitions))


def replace_file(path: Path, data: bytes) -> None:
    """Write a file so that a process killed at any moment leaves the old content or the new, never a mixture."""
    fresh = path.with_suffix(path.suffix + ".new")
    fresh.write_bytes(data)
    fresh.replace(path)

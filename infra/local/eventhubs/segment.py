"""One segment of a partition's log: a pair of files, named by the sequence number and the offset of the first event.

* `<sequence number>-<offset>.log`: records, one after the other. A record is a header (`_HEADER`, 30 bytes), the
  partition key (UTF-8) and the message. The CRC-32 covers everything behind itself. The length stands there twice, the
  second time inverted, because recovery has to tell a torn record (a true length, but the file ends before it) from a
  corrupt one.
* `<sequence number>-<offset>.index`: (sequence number, position, enqueued time) of the first record and of one record
  about every 64 KiB. The same numbers are kept in memory: 24 bytes for 64 KiB, however many events those are.
"""

import logging
import os
import re
import struct
import zlib
from array import array
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from shared.errors import FootfallError

log = logging.getLogger(__name__)

_SCAN_BYTES = 64 * 1024
# CRC-32, length of what follows the header, the same inverted, sequence number, enqueued time, length of the key
_HEADER = struct.Struct("<IIIqqH")
_CRC = struct.Struct("<I")
_ENTRY = struct.Struct("=qqq")  # an index entry, as array("q") has it
_NO_KEY = 0xFFFF
_INVERT = 0xFFFFFFFF
_NAME = re.compile(r"(\d{20})-(\d{20})\.log")


class LogCorrupt(FootfallError):
    """A log on disk is damaged in a way that a killed process cannot cause; the message names file and position."""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as the log holds it; `message` is the encoded bare AMQP message (sections) as the producer sent it."""

    sequence_number: int
    offset: int
    enqueued_ms: int
    partition_key: str | None
    message: bytes


@dataclass(frozen=True, slots=True)
class Record:
    """Where a record lies in its segment."""

    sequence_number: int
    position: int
    end: int
    enqueued_ms: int


class SparseIndex:
    """The sparse index of a segment: three columns, in memory and in a file of fixed-size entries."""

    def __init__(self, path: Path, every_bytes: int) -> None:
        self._path = path
        self._every_bytes = every_bytes
        self.sequence_numbers = array("q")
        self.positions = array("q")
        self.times = array("q")

    def load(self) -> bool:
        """Read the file; an absent one is empty. Returns whether it ended with a torn entry, which is left out."""
        data = self._path.read_bytes() if self._path.exists() else b""
        torn = len(data) % _ENTRY.size
        cells = array("q")
        cells.frombytes(data[: len(data) - torn])
        self.sequence_numbers, self.positions, self.times = cells[0::3], cells[1::3], cells[2::3]
        return torn > 0

    def rewrite(self) -> None:
        """Replace the file by what is in memory."""
        cells = array("q", bytes(_ENTRY.size * len(self.positions)))
        cells[0::3], cells[1::3], cells[2::3] = self.sequence_numbers, self.positions, self.times
        self._path.write_bytes(cells.tobytes())

    def clear(self) -> None:
        del self.sequence_numbers[:], self.positions[:], self.times[:]

    def wants(self, position: int) -> bool:
        """Whether the record at this position (behind all others) is due for an entry."""
        return not self.positions or position - self.positions[-1] >= self._every_bytes

    def add(self, record: Record) -> None:
        self.sequence_numbers.append(record.sequence_number)
        self.positions.append(record.position)
        self.times.append(record.enqueued_ms)

    def save_from(self, count: int) -> None:
        """Append to the file the entries behind the first `count`."""
        if count == len(self.positions):
            return
        rows = zip(self.sequence_numbers[count:], self.positions[count:], self.times[count:], strict=True)
        try:
            with self._path.open("ab") as file:
                file.write(b"".join(_ENTRY.pack(*row) for row in rows))
        except OSError as error:  # the events are stored; opening the log again makes the index whole
            log.warning("%s: could not be written (%s)", self._path, error)

    def remove(self) -> None:
        self._path.unlink(missing_ok=True)


class Segment:
    """One pair of files. The newest segment of a log keeps its file open; older ones are opened for each read."""

    def __init__(self, directory: Path, first_sequence_number: int, base_offset: int, index_bytes: int) -> None:
        self.path = directory / f"{first_sequence_number:020d}-{base_offset:020d}.log"
        self.first_sequence_number = first_sequence_number
        self.base_offset = base_offset
        self.size = 0
        self.index = SparseIndex(self.path.with_suffix(".index"), index_bytes)
        self._file: int | None = None

    def activate(self) -> None:
        """Open (or create) the file for appending."""
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        self.size = os.fstat(self._file).st_size

    def seal(self) -> None:
        """Close the file; reads open it again."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    @contextmanager
    def file(self) -> Iterator[int]:
        """The file descriptor to read from."""
        if self._file is not None:
            yield self._file
            return
        file = os.open(self.path, os.O_RDONLY)
        try:
            yield file
        finally:
            os.close(file)

    def write(self, data: bytes) -> None:
        """Append; when the disk refuses (full, failing), the segment stays as it was before, and OSError is raised."""
        assert self._file is not None, "only the active segment is written"
        written = 0
        try:
            while written < len(data):
                written += os.pwrite(self._file, data[written:] if written else data, self.size + written)
        except OSError:
            os.ftruncate(self._file, self.size)
            raise
        self.size += len(data)

    def cut(self, size: int) -> None:
        assert self._file is not None, "only the active segment is cut"
        os.ftruncate(self._file, size)
        self.size = size

    def remove(self) -> None:
        self.seal()
        self.index.remove()
        self.path.unlink()

    def corrupt(self, position: int, why: str) -> LogCorrupt:
        return LogCorrupt(
            f"{self.path}: the record at byte {position} is damaged ({why}); restore the file, or remove the data "
            "directory and lose its events"
        )

    def scan(self, position: int) -> Iterator[Record]:
        """The whole records from a position on, each one checked; ends before a torn one. Raises LogCorrupt."""
        with self.file() as file:
            while position < self.size:
                data = os.pread(file, max(_SCAN_BYTES, self._record_bytes(file, position)), position)
                start = position
                for sequence_number, enqueued_ms, at, end in self._walk(data, position):
                    position = start + end
                    yield Record(sequence_number, start + at, position, enqueued_ms)
                if position == start:
                    return

    def _record_bytes(self, file: int, position: int) -> int:
        header = os.pread(file, _HEADER.size, position)
        if len(header) < _HEADER.size:
            return 0
        _, length, inverted, *_ = _HEADER.unpack(header)
        if length ^ inverted != _INVERT:
            raise self.corrupt(position, "its two lengths disagree")
        return _HEADER.size + int(length)

    def _walk(self, data: bytes, position: int) -> Iterator[tuple[int, int, int, int]]:
        """(number, time, start, end) of each whole record in `data`, which was read at `position`."""
        at, limit = 0, len(data)
        while at + _HEADER.size <= limit:
            crc, length, inverted, sequence_number, enqueued_ms, _ = _HEADER.unpack_from(data, at)
            if length ^ inverted != _INVERT:
                raise self.corrupt(position + at, "its two lengths disagree")
            end = at + _HEADER.size + length
            if end > limit:
                return
            if zlib.crc32(data[at + _CRC.size : end]) != crc:
                raise self.corrupt(position + at, "its checksum is wrong")
            yield sequence_number, enqueued_ms, at, end
            at = end

    def last_record(self) -> Record | None:
        """The newest whole record; None when there is none."""
        newest = deque(self.scan(self.index.positions[-1] if self.index.positions else 0), maxlen=1)
        return newest[0] if newest else None

    def locate(self, column: Sequence[int], reached: Callable[[Record], bool], value: int) -> Record | None:
        """The first record for which `reached` holds; `column` of the index shows records that are below `value`."""
        entry = bisect_left(column, value) - 1
        for record in self.scan(self.index.positions[entry] if entry >= 0 else 0):
            if reached(record):
                return record
        return None

    def read(self, position: int, max_events: int, max_bytes: int) -> tuple[list[StoredEvent], int]:
        """Events from the record at `position` on, at least one if one is there, and the position behind the last."""
        with self.file() as file:
            data = os.pread(file, min(self.size - position, max_bytes), position)
            if len(data) < self.size - position:
                needed = self._record_bytes(file, position)
                data = data if needed <= len(data) else os.pread(file, needed, position)
        events: list[StoredEvent] = []
        behind = position
        for sequence_number, enqueued_ms, at, end in self._walk(data, position):
            events.append(self._event(data, position, sequence_number, enqueued_ms, at, end))
            behind = position + end
            if len(events) == max_events:
                break
        if not events:
            raise self.corrupt(position, "the file ends before it does")
        return events, behind

    def _event(self, data: bytes, position: int, number: int, enqueued_ms: int, at: int, end: int) -> StoredEvent:
        start = at + _HEADER.size
        key_length = data[start - 2] | data[start - 1] << 8
        offset = self.base_offset + position + at
        if key_length == _NO_KEY:
            return StoredEvent(number, offset, enqueued_ms, None, data[start:end])
        key = data[start : start + key_length].decode()
        return StoredEvent(number, offset, enqueued_ms, key, data[start + key_length : end])

    def complete_index(self) -> None:
        """Load the index; where it does not fit the records (or misses the newest), make it from the records."""
        index = self.index
        torn = index.load()
        if index.positions and not self._entry_fits():
            log.warning("%s: the index does not fit the records; it is made anew", self.path)
            index.clear()
            torn = True
        known = len(index.positions)
        for record in self.scan(index.positions[-1] if index.positions else 0):
            if index.wants(record.position):
                index.add(record)
        if torn or known != len(index.positions):
            index.rewrite()

    def _entry_fits(self) -> bool:
        number, position = self.index.sequence_numbers[-1], self.index.positions[-1]
        if not 0 <= position < self.size:
            return False
        try:
            record = next(self.scan(position), None)
        except LogCorrupt:
            return False
        return record is not None and record.sequence_number == number and self.index.positions[0] == 0


def encode_record(sequence_number: int, enqueued_ms: int, key: str | None, message: bytes) -> bytes:
    """The bytes of a record. Raises ValueError for a key above 65,534 bytes."""
    if key is None:
        key_bytes, key_length = b"", _NO_KEY
    else:
        key_bytes = key.encode()
        key_length = len(key_bytes)
        if key_length >= _NO_KEY:
            raise ValueError(f"a partition key of {key_length} bytes is too long; valid are up to {_NO_KEY - 1}")
    length = len(key_bytes) + len(message)
    header = _HEADER.pack(0, length, length ^ _INVERT, sequence_number, enqueued_ms, key_length)
    checked = header[_CRC.size :] + key_bytes + message
    return _CRC.pack(zlib.crc32(checked)) + checked


def segments_of(directory: Path, index_bytes: int) -> list[Segment]:
    """The segments that a directory holds, oldest first, their indexes not yet loaded."""
    segments = []
    for path in sorted(directory.glob("*.log")):
        if match := _NAME.fullmatch(path.name):
            segment = Segment(directory, int(match[1]), int(match[2]), index_bytes)
            segment.size = path.stat().st_size
            segments.append(segment)
    return segments

"""The records of a capture file's block: many at once with numpy, one by one with fastavro.

A record's length is known only when it has been read to its end, so records seem to need a loop. But each holds its
enqueued time as text (`12/9/2022 4:51:25 PM`), and that text can be found everywhere at once. From every such mark the
rest of a record is read, for all marks together: the two maps, the body, then the head of the record that follows. A
mark inside a body leads nowhere. From the first record on, a record counts only if the one before it ends where it
begins: that is what a loop would have read, so the result is the same, about ten times faster than fastavro
(tests/bench/bench_refine.py). Whatever this does not understand (a schema of fewer or other fields, a time written
otherwise) is left to fastavro.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, cast

import fastavro
import numpy as np
from fastavro.schema import SchemaParseException, UnknownType
from numpy.typing import NDArray

from shared.medallion.bronze import Bodies

Longs = NDArray[np.int64]
Flags = NDArray[np.bool_]
Bytes = NDArray[np.uint8]

FIELDS = ("SequenceNumber", "Offset", "EnqueuedTimeUtc", "SystemProperties", "Properties", "Body")
NEEDED = ("SequenceNumber", "EnqueuedTimeUtc", "Body")

_TIME = re.compile(rb"(\d\d?)/(\d\d?)/(\d{4}) (\d\d?):(\d\d):(\d\d) ([AP])M")
_SHORTEST_TIME, _LONGEST_TIME = len("1/1/2026 1:00:00 AM"), len("12/31/2026 12:00:00 AM")
_TIME_BYTES = 24
"""A time in whole words of eight bytes, which are compared at once."""
_TIME_MASK = np.where(np.arange(_TIME_BYTES) < np.arange(_TIME_BYTES + 1)[:, np.newaxis], 255, 0).astype(np.uint8)
_TIME_MASK = _TIME_MASK.view(np.uint64)
"""By the length of a time: its bytes of them."""
_MOST_MAP_STEPS = 200
_MOST_SHAPES = 4
"""So many shapes of the maps are looked for in a piece before the records that are left are walked entry by entry."""


@dataclass(frozen=True, slots=True)
class Records:
    """Whole records from the front of a piece, as columns, and how many bytes of it they take."""

    used: int
    sequence_number: Longs
    enqueued_at_us: Longs
    bodies: Bodies

    def __len__(self) -> int:
        return len(self.bodies)


NO_RECORDS = Records(0, np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), Bodies.of([]))


class RecordReader(Protocol):
    """Reads records of one writer's schema."""

    def read(self, piece: bytes, most: int) -> Records:
        """As many whole records as *piece* begins with, at most so many; none when the first is not whole."""
        ...


class SchemaNotRead(ValueError):
    """The writer's schema is not one of capture files."""


class TimeNotRead(Exception):
    """An enqueued time is not written as Capture writes it."""


def parse_time(text: bytes) -> int:
    """`12/9/2022 4:51:25 PM` in microseconds since 1970 UTC. Raises TimeNotRead for anything else."""
    match = _TIME.fullmatch(text)
    if match is not None:
        month, day, year, hour, minute, second = map(int, match.groups()[:6])
        try:
            if 1 <= hour <= 12:
                hour = hour % 12 + (12 if match[7] == b"P" else 0)
                return int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()) * 1_000_000
        except ValueError:
            pass  # a date that the calendar lacks; said below
    raise TimeNotRead(f"EnqueuedTimeUtc is {text.decode(errors='replace')!r}; it must read like '12/9/2022 4:51:25 PM'")


def record_reader(schema: object) -> RecordReader:
    """The fastest reader that knows the schema. Raises SchemaNotRead when its records are no captured events."""
    slow = FastavroReader(schema)
    layout = _layout(schema)
    return slow if layout is None else MarkReader(layout, slow)


class FastavroReader:
    """Reads any schema with the fields that we need, record by record."""

    def __init__(self, schema: object) -> None:
        missing = [name for name in NEEDED if name not in _fields(schema)]
        if missing:
            raise SchemaNotRead(f"its records have no {', '.join(missing)}")
        try:
            self._schema = fastavro.parse_schema(cast("dict[str, Any]", schema))
        except (SchemaParseException, UnknownType, KeyError, TypeError, AttributeError, ValueError) as error:
            raise SchemaNotRead(f"its schema is no Avro schema: {error!r}") from error

    def read(self, piece: bytes, most: int) -> Records:
        """As many whole records as *piece* begins with, at most so many; none when the first is not whole."""
        stream, used = io.BytesIO(piece), 0
        records: list[tuple[int, int, bytes | None]] = []
        while len(records) < most:
            try:
                record = cast("dict[str, Any]", fastavro.schemaless_reader(stream, self._schema, None))
            except (EOFError, IndexError, ValueError, OverflowError, MemoryError):
                break  # not whole, or not Avro: whoever has all bytes of the block can tell
            used, body = stream.tell(), record["Body"]
            enqueued_at_us = parse_time(str(record["EnqueuedTimeUtc"]).encode())
            records.append((record["SequenceNumber"], enqueued_at_us, body.encode() if isinstance(body, str) else body))
        if not records:
            return NO_RECORDS
        numbers, times, bodies = zip(*records, strict=True)
        return Records(used, np.array(numbers, dtype=np.int64), np.array(times, dtype=np.int64), Bodies.of(bodies))


class Kind:
    """How a value of a union's branch is skipped."""

    NOTHING, NUMBER, DOUBLE, TEXT = range(4)


_KINDS = {
    "null": Kind.NOTHING,
    "long": Kind.NUMBER,
    "int": Kind.NUMBER,
    "double": Kind.DOUBLE,
    "string": Kind.TEXT,
    "bytes": Kind.TEXT,
}


@dataclass(frozen=True, slots=True)
class Layout:
    """What varies between the capture files of the years: the branches of the maps' values and of the body."""

    system_kinds: tuple[int, ...]
    property_kinds: tuple[int, ...]
    null_body_branch: int | None
    bytes_body_branch: int | None
    """None: a body is bytes, not a union."""


def _layout(schema: object) -> Layout | None:
    """The layout, if the schema's fields are the six of a capture file, in order, in types that we know."""
    types = _fields(schema)
    if tuple(types) != FIELDS or [types[name] for name in FIELDS[:3]] != ["long", "string", "string"]:
        return None
    system, properties = (_map_branches(types[name]) for name in ("SystemProperties", "Properties"))
    body = types["Body"]
    branches = body if isinstance(body, list) else [body]
    if not system or not properties or sorted(map(str, branches)) not in (["bytes"], ["bytes", "null"]):
        return None
    return Layout(
        system_kinds=tuple(_KINDS[branch] for branch in system),
        property_kinds=tuple(_KINDS[branch] for branch in properties),
        null_body_branch=branches.index("null") if "null" in branches else None,
        bytes_body_branch=branches.index("bytes") if isinstance(body, list) else None,
    )


def _fields(schema: object) -> dict[str, object]:
    """The types of a record schema's fields by name; none for any other schema."""
    fields = schema.get("fields") if isinstance(schema, dict) else None
    if not isinstance(fields, list):
        return {}
    return {str(item.get("name")): item.get("type") for item in fields if isinstance(item, dict)}


def _map_branches(of: object) -> list[str]:
    """The branches of a map's values, a union of primitives; none for any other type."""
    values = of.get("values") if isinstance(of, dict) and of.get("type") == "map" else None
    if not isinstance(values, list) or not all(isinstance(branch, str) and branch in _KINDS for branch in values):
        return []
    return values


class MarkReader:
    """Reads all records of a piece at once, from the marks that their enqueued times are."""

    def __init__(self, layout: Layout, slow: RecordReader) -> None:
        self.layout, self._slow = layout, slow

    def read(self, piece: bytes, most: int) -> Records:
        """As many whole records as *piece* begins with, at most so many; none when the first is not whole."""
        if not piece:
            return NO_RECORDS
        data = np.frombuffer(piece, dtype=np.uint8)
        heads, tails = self._parse(data)
        rows = _chain(heads, tails)[:most]
        if not rows.size:
            return self._slow.read(piece, most)
        return _columns(piece, data, heads, tails, rows)

    def _parse(self, data: Bytes) -> tuple["_Heads", "_Tails"]:
        starts, ends = _find_times(data)
        cursor = _Cursor(data, ends)
        _skip_maps(cursor, self.layout)
        body_start, body_length = _read_body(cursor, self.layout)
        tails = _Tails(starts, ends, body_start, body_length, cursor.at.copy(), cursor.is_good)
        return _read_heads(data, tails), tails


@dataclass(frozen=True, slots=True)
class _Tails:
    """One row a mark: the time's text, and what follows it up to the record's end. A body of length -1 is null."""

    time_start: Longs
    time_end: Longs
    body_start: Longs
    body_length: Longs
    end: Longs
    is_whole: Flags


@dataclass(frozen=True, slots=True)
class _Heads:
    """Row 0: what stands at the piece's front; row i + 1: at the end of tail i. A head must end where a time begins."""

    sequence_number: Longs
    time_length_at: Longs
    is_whole: Flags


class _Cursor:
    """A position a row, moved over numbers and texts; a row that runs over the piece's end is no longer good."""

    def __init__(self, data: Bytes, at: Longs) -> None:
        self.data, self.size = data, data.size
        self.at = at.astype(np.int64)
        self.is_good = np.ones(at.size, dtype=np.bool_)

    def number(self, rows: Longs) -> Longs:
        """An Avro long in each of the rows, which move behind it."""
        at = self.at[rows]
        byte = self.data.take(at, mode="clip").astype(np.int64)  # what stands at the end is no number: the row goes bad
        value = byte & 0x7F
        at += 1
        going_on = np.flatnonzero(byte >= 0x80)
        for shift in range(7, 70, 7):
            if not going_on.size:
                break
            # The ninth further byte has one bit that counts; numpy drops the others, as a 64-bit decoder does.
            byte = self.data.take(at[going_on], mode="clip").astype(np.int64)
            value[going_on] |= (byte & 0x7F) << shift
            at[going_on] += 1
            going_on = going_on[byte >= 0x80]
        self._move(rows, at)
        logical = (value.view(np.uint64) >> np.uint64(1)).view(np.int64)
        return logical ^ -(value & 1)

    def skip_number(self, rows: Longs) -> None:
        """Move the rows over a number that matters to nobody."""
        self.number(rows)

    def text(self, rows: Longs) -> tuple[Longs, Longs]:
        """A text or bytes in each of the rows: where it starts and its length; the rows move behind it."""
        length = self.number(rows)
        start = self.at[rows]
        self.skip(rows, length)
        return start, length

    def skip(self, rows: Longs, count: Longs | int) -> None:
        """Move the rows on; a negative count makes a row bad."""
        start = self.at[rows]
        self._move(rows, np.where((count >= 0) & (count <= self.size), start + count, self.size + 1))

    def _move(self, rows: Longs, to: Longs) -> None:
        self.is_good[rows] &= to <= self.size
        self.at[rows] = np.minimum(to, self.size)


class _Watch(_Cursor):
    """A cursor of one row that notes the bytes by which it found its way."""

    def __init__(self, data: Bytes, at: Longs) -> None:
        super().__init__(data, at)
        self.noted: list[tuple[int, int]] = []
        """Positions, and the bits that must be the same for the way to be the same."""

    def number(self, rows: Longs) -> Longs:
        return self._note(rows, 0xFF)

    def skip_number(self, rows: Longs) -> None:
        self._note(rows, 0x80)  # of any value, but of as many bytes

    def _note(self, rows: Longs, bits: int) -> Longs:
        start = int(self.at[0])
        value = super().number(rows)
        self.noted += [(at, bits) for at in range(start, int(self.at[0]))]
        return value


def _skip_maps(cursor: _Cursor, layout: Layout) -> None:
    """Move every row over both maps.

    The records of a file nearly all have the same keys, and values of the same lengths. So one is walked, and the
    others are asked whether the lengths and branches in them are the same.
    """
    rows = np.arange(cursor.at.size)
    for _ in range(_MOST_SHAPES):
        if not rows.size:
            return
        rows = _skip_like_first(cursor, rows, layout)
    _walk_maps(cursor, rows, layout)


def _walk_maps(cursor: _Cursor, rows: Longs, layout: Layout) -> None:
    _skip_map(cursor, rows, layout.system_kinds)
    _skip_map(cursor, rows, layout.property_kinds)


def _skip_like_first(cursor: _Cursor, rows: Longs, layout: Layout) -> Longs:
    """Move the first of the rows, and all whose maps have the same shape; the others."""
    first, others = rows[:1], rows[1:]
    start = cursor.at[first]
    watch = _Watch(cursor.data, start)
    _walk_maps(watch, np.zeros(1, dtype=np.int64), layout)
    cursor.at[first], cursor.is_good[first] = watch.at, watch.is_good
    if not watch.is_good[0] or not others.size:
        return others
    positions, bits = np.array(watch.noted, dtype=np.int64).T
    bits = bits.astype(np.uint8)
    found = cursor.data.take(cursor.at[others][:, np.newaxis] + (positions - start), mode="clip")
    is_alike: Flags = ((found & bits) == (cursor.data[positions] & bits)).all(axis=1)
    cursor.skip(others[is_alike], int(watch.at[0] - start[0]))
    unlike: Longs = others[~is_alike]
    return unlike


def _find_times(data: Bytes) -> tuple[Longs, Longs]:
    """Where each text that ends like ` 4:51:25 PM` and has its length in front starts and ends; in order."""
    last = np.flatnonzero(data == ord("M"))
    last = last[last > _LONGEST_TIME]
    before = data[last - 1]
    last = last[
        ((before == ord("A")) | (before == ord("P")))
        & (data[last - 2] == ord(" "))
        & (data[last - 5] == ord(":"))
        & (data[last - 8] == ord(":"))
    ]
    start = np.full(last.size, -1, dtype=np.int64)
    # A byte of the text itself is never one of these lengths, so the first that fits is the only one.
    for length in range(_SHORTEST_TIME, _LONGEST_TIME + 1):
        fits = data[last - length] == 2 * length
        start[fits] = last[fits] - length + 1
    is_time = start >= 0
    return start[is_time], last[is_time] + 1


def _skip_map(cursor: _Cursor, rows: Longs, kinds: Sequence[int]) -> None:
    """Move the rows over a map from texts to values of these kinds, entry by entry."""
    kind_of = np.array(kinds, dtype=np.int64)
    left = np.zeros(cursor.at.size, dtype=np.int64)
    for _ in range(_MOST_MAP_STEPS):
        rows = _next_entries(cursor, rows, left)
        if not rows.size:
            return
        cursor.text(rows)
        branch = cursor.number(rows)
        is_known = (branch >= 0) & (branch < len(kinds))
        cursor.is_good[rows[~is_known]] = False
        _skip_values(cursor, rows, kind_of[np.where(is_known, branch, 0)])
        left[rows] -= 1
    cursor.is_good[rows] = False


def _next_entries(cursor: _Cursor, rows: Longs, left: Longs) -> Longs:
    """The rows whose map has another entry; a map is blocks of entries, and a block of none is its end."""
    rows = rows[cursor.is_good[rows]]
    at_block = rows[left[rows] == 0]
    count = cursor.number(at_block)
    sized = np.flatnonzero(count < 0)
    if sized.size:
        cursor.number(at_block[sized])  # the block's size in bytes
    left[at_block] = np.abs(count)
    cursor.is_good[at_block] &= left[at_block] >= 0  # the least 64-bit number has no absolute value
    return rows[(left[rows] > 0) & cursor.is_good[rows]]


def _skip_values(cursor: _Cursor, rows: Longs, kind: Longs) -> None:
    """Move each row over a value of its kind."""
    for of_kind, skip in (
        (Kind.TEXT, cursor.text),
        (Kind.NUMBER, cursor.skip_number),
        (Kind.DOUBLE, lambda doubles: cursor.skip(doubles, 8)),
    ):
        chosen = rows[kind == of_kind]
        if chosen.size:
            skip(chosen)


def _read_body(cursor: _Cursor, layout: Layout) -> tuple[Longs, Longs]:
    rows = np.arange(cursor.at.size)
    start, length = np.zeros(rows.size, dtype=np.int64), np.full(rows.size, -1, dtype=np.int64)
    if layout.bytes_body_branch is None:
        return cursor.text(rows)
    branch = cursor.number(rows)
    is_bytes = branch == layout.bytes_body_branch
    is_null = np.zeros_like(is_bytes) if layout.null_body_branch is None else branch == layout.null_body_branch
    cursor.is_good &= is_bytes | is_null
    of_bytes = rows[is_bytes]
    start[of_bytes], length[of_bytes] = cursor.text(of_bytes)
    return start, length


def _read_heads(data: Bytes, tails: _Tails) -> _Heads:
    """The sequence number and the offset at the piece's front and behind every tail; the offset is of no use here."""
    cursor = _Cursor(data, np.concatenate((np.zeros(1, dtype=np.int64), tails.end)))
    rows = np.arange(cursor.at.size)
    sequence_number = cursor.number(rows)
    cursor.text(rows)
    return _Heads(sequence_number, cursor.at, cursor.is_good)


def _chain(heads: _Heads, tails: _Tails) -> Longs:
    """The tails that follow one another without a gap from the piece's front on: the records."""
    count = tails.end.size
    if not count:
        return np.empty(0, dtype=np.int64)
    length_at = tails.time_start - 1
    straight = heads.is_whole[:-1] & tails.is_whole & (heads.time_length_at[:-1] == length_at)
    first_bend = count if straight.all() else int(np.argmin(straight))
    if first_bend == count:
        return np.arange(count)
    # Only what comes behind the first mark that leads nowhere is looked up.
    behind = np.minimum(np.searchsorted(length_at, heads.time_length_at[first_bend:]), count - 1)
    leads_on = heads.is_whole[first_bend:] & (length_at[behind] == heads.time_length_at[first_bend:])
    leads_on &= tails.is_whole[behind]
    records, head = list(range(first_bend)), 0
    while leads_on[head]:
        tail = int(behind[head])
        records.append(tail)
        head = tail + 1 - first_bend
    return np.array(records, dtype=np.int64)


def _columns(piece: bytes, data: Bytes, heads: _Heads, tails: _Tails, rows: Longs) -> Records:
    # The head of a record stands behind the record before it.
    of_head = np.concatenate((np.zeros(1, dtype=np.int64), rows[:-1] + 1))
    return Records(
        used=int(tails.end[rows[-1]]),
        sequence_number=heads.sequence_number[of_head],
        enqueued_at_us=_times(data, tails.time_start[rows], tails.time_end[rows] - tails.time_start[rows]),
        bodies=Bodies(piece, tails.body_start[rows], tails.body_length[rows]),
    )


def _times(data: Bytes, start: Longs, length: Longs) -> Longs:
    """The times, each parsed once for the run of records that have it: they are whole seconds, in order."""
    if start[-1] + _TIME_BYTES > data.size:
        data = np.concatenate((data, np.zeros(_TIME_BYTES, np.uint8)))
    texts = np.lib.stride_tricks.sliding_window_view(data, _TIME_BYTES)[start].view(np.uint64) & _TIME_MASK[length]
    is_new = np.concatenate((np.ones(1, dtype=np.bool_), (texts[1:] != texts[:-1]).any(axis=1)))
    parsed = [parse_time(text.tobytes().rstrip(b"\0")) for text in texts[is_new]]
    return np.repeat(np.array(parsed, dtype=np.int64), np.diff(np.append(np.flatnonzero(is_new), start.size)))

"""Files of recorded pings: one body a line, or a csv with a column for each field of a ping."""

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from shared.domain.pings import NAMES, REQUIRED, fields_of
from shared.errors import FootfallError

_FIELD_OF = {name: field for field, names in NAMES.items() for name in names}
_NUMBERS = ("latitude", "longitude", "accuracy_m")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class PingFileRefused(FootfallError):
    """The file cannot be read as pings; the message says where and what would be valid."""


@dataclass(frozen=True, slots=True)
class PingFile:
    """The bodies that a file holds, in its order, and the columns of a csv that no field was made of."""

    bodies: list[bytes]
    ignored_columns: tuple[str, ...] = ()


def read_ping_file(path: Path, columns: Mapping[str, str]) -> PingFile:
    """Read a csv (by its name) or a file with one body a line; `columns` says which field a csv's column is.

    In a csv, columns that have a name of a field count without being named. An empty cell is an absent field, a time
    without an offset is UTC. Raises PingFileRefused.
    """
    if path.suffix.lower() == ".csv":
        return _read_csv(path, columns)
    if columns:
        raise PingFileRefused(f"--map belongs to a csv, and {path.name} is read as one body a line")
    return PingFile([line for line in path.read_bytes().splitlines() if line.strip()])


def shifted_to(newest_us: int, bodies: Sequence[bytes]) -> list[bytes]:
    """The bodies with all times moved alike, so that the newest is at `newest_us` (microseconds since 1970 UTC).

    A moved ping has its fields under their own names, whatever they were called; what is no ping, or tells no time,
    stays as it is.
    """
    told = [fields_of(body) for body in bodies]
    times = [fields["tracked_at"] for fields in told if fields is not None and "tracked_at" in fields]
    if not times:
        return list(bodies)
    by_us = newest_us - max(times)
    return [_shifted(body, fields, by_us) for body, fields in zip(bodies, told, strict=True)]


def device_of(body: bytes) -> str:
    """The device that the body names, its partition key; empty for what is no ping."""
    fields = fields_of(body)
    return "" if fields is None else str(fields["device_id"])


def _shifted(body: bytes, fields: Mapping[str, Any] | None, by_us: int) -> bytes:
    if fields is None or "tracked_at" not in fields:
        return body
    moved = _EPOCH + timedelta(microseconds=fields["tracked_at"] + by_us)
    return msgspec.json.encode({**fields, "tracked_at": moved})


def _read_csv(path: Path, columns: Mapping[str, str]) -> PingFile:
    reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline=""), strict=True)
    names = list(reader.fieldnames or ())
    fields = _fields_of_columns(path, names, columns)
    bodies = list(_bodies_of_rows(path, reader, fields))
    return PingFile(bodies, tuple(name for name in names if name not in fields))


def _fields_of_columns(path: Path, names: Sequence[str], columns: Mapping[str, str]) -> dict[str, str]:
    """The field of each column that has one: as it was mapped, else by its name; a mapped field is taken only so."""
    for column, name in columns.items():
        if column not in names:
            raise PingFileRefused(f"{path.name} has no column {column!r}; it has {', '.join(names)}")
        if name not in _FIELD_OF:
            raise PingFileRefused(f"{name!r} is no field of a ping; valid are {', '.join(NAMES)}")
    mapped = {column: _FIELD_OF[name] for column, name in columns.items()}
    by_name = {name: _FIELD_OF[name] for name in names if name in _FIELD_OF and name not in mapped}
    fields = mapped | {name: field for name, field in by_name.items() if field not in mapped.values()}
    _refuse_unclear(path, names, fields)
    return fields


def _refuse_unclear(path: Path, names: Sequence[str], fields: Mapping[str, str]) -> None:
    for field in NAMES:
        found = [column for column, of in fields.items() if of == field]
        if not found and field in REQUIRED:
            raise PingFileRefused(
                f"{path.name} has no column for {field} (its columns: {', '.join(names)}); "
                f"say which it is with --map COLUMN={field}"
            )
        if len(found) > 1:
            raise PingFileRefused(
                f"{path.name} has {' and '.join(found)} for {field}; choose with --map COLUMN={field}"
            )


def _bodies_of_rows(path: Path, reader: csv.DictReader[str], fields: Mapping[str, str]) -> Iterator[bytes]:
    try:
        for row in reader:
            if None in row or None in row.values():
                raise PingFileRefused(f"{path.name} line {reader.line_num}: it has not as many cells as the header")
            yield msgspec.json.encode({field: _value(field, row[name]) for name, field in fields.items() if row[name]})
    except csv.Error as error:
        raise PingFileRefused(f"{path.name} line {reader.line_num}: {error}") from error


def _value(field: str, text: str) -> object:
    """A cell has no type: a number, truth value or time where the field is one, else its text, for the app to judge."""
    if field == "consent":
        return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
    if (field in _NUMBERS or field == "tracked_at") and _NUMBER.fullmatch(text):
        return float(text)
    return _in_utc(text) if field == "tracked_at" else text


def _in_utc(text: str) -> str:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        return text
    return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).isoformat()

"""stores.csv: its bytes become a StoreTable, or a list of all that is wrong in it, by line."""

import csv
import io
import zoneinfo
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import tzfpy
from numpy.typing import NDArray

from shared.domain.stores import StoreTable

REQUIRED_COLUMNS = ("store_id", "name", "merchant", "service_type", "location", "latitude", "longitude", "radius_m")
OPTIONAL_COLUMNS = ("loitering_delay_s", "time_zone")
COLUMNS = REQUIRED_COLUMNS + OPTIONAL_COLUMNS

MAX_ID_LENGTH = 128
RADIUS_RANGE_M = (10.0, 10_000.0)
LOITERING_RANGE_S = (0.0, 86_400.0)
DEFAULT_LOITERING_DELAY_S = 180.0


@dataclass(slots=True)
class StoresFile:
    """What was read: the table (None when there is a fault), the raw columns, and every fault in the file's order."""

    table: StoreTable | None
    columns: dict[str, Sequence[str]]
    faults: list[str]


def read_stores(data: bytes) -> StoresFile:
    """Read stores.csv: UTF-8, RFC 4180, a header with the names in COLUMNS in any order. Never raises for any bytes."""
    rows = _Rows()
    try:
        data.decode()
    except UnicodeDecodeError as error:
        rows.fault(data.count(b"\n", 0, error.start) + 1, None, f"byte {error.start} is not UTF-8")
        return StoresFile(None, {}, rows.faults())
    _read_rows(data, rows)
    table = _check(rows)
    faults = rows.faults()
    return StoresFile(None if faults else table, rows.columns, faults)


@dataclass(slots=True)
class _Rows:
    """The cells of the file by column, the line on which each row starts, and the faults found so far."""

    lines: list[int] = field(default_factory=list)
    columns: dict[str, Sequence[str]] = field(default_factory=dict)
    found: list[tuple[int, int, str]] = field(default_factory=list)

    def fault(self, line: int, column: str | None, problem: str) -> None:
        place = f"stores.csv line {line}" if column is None else f"stores.csv line {line}, {column}"
        position = -1 if column is None else COLUMNS.index(column)
        self.found.append((line, position, f"{place}: {problem}"))

    def fault_at(self, row: int, column: str, problem: str) -> None:
        self.fault(self.lines[row], column, problem)

    def faults(self) -> list[str]:
        """By line, then in the order of the columns."""
        return [text for _, _, text in sorted(self.found, key=lambda item: item[:2])]


def _read_rows(data: bytes, rows: _Rows) -> None:
    """Split the file into columns. The csv module, since it alone knows the line of a row when quotes hold newlines."""
    reader = csv.reader(io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline=""), strict=True)
    cells: list[list[str]] = []
    header: list[str] | None = None
    line = 1
    try:
        for record in reader:
            if header is None:
                header = [name.strip() for name in record]
                _check_header(header, rows)
            elif len(record) == len(header):
                cells.append(record)
                rows.lines.append(line)
            elif record:  # an empty line is no row
                rows.fault(line, None, f"has {len(record)} fields, and the header has {len(header)}")
            line = reader.line_num + 1
    except csv.Error as error:
        rows.fault(line, None, f"is no CSV: {error}")
    if header is None:
        rows.fault(1, None, "the header is missing; it names the columns " + ", ".join(REQUIRED_COLUMNS))
        return
    if not cells and not rows.found:
        rows.fault(line, None, "there is no store in the file")
    by_column = zip(*cells, strict=True) if cells else ([] for _ in header)
    rows.columns = {name: [cell.strip() for cell in column] for name, column in zip(header, by_column, strict=True)}


def _check_header(header: Sequence[str], rows: _Rows) -> None:
    for position, name in enumerate(header):
        if name not in COLUMNS:
            rows.fault(1, None, f"unknown column {name!r}; valid are {', '.join(COLUMNS)}")
        elif name in header[:position]:
            rows.fault(1, None, f"the column {name} is given twice")
    for name in REQUIRED_COLUMNS:
        if name not in header:
            rows.fault(1, None, f"the column {name} is missing")


def _check(rows: _Rows) -> StoreTable | None:
    """Check every column that is there; the table when all of them are."""
    _check_ids(rows)
    _check_time_zones(rows)
    latitude = _numbers(rows, "latitude", (-90.0, 90.0), hint=lambda row: _swap_hint(rows, row))
    longitude = _numbers(rows, "longitude", (-180.0, 180.0))
    radius = _numbers(rows, "radius_m", RADIUS_RANGE_M)
    loitering = _numbers(rows, "loitering_delay_s", LOITERING_RANGE_S, default=DEFAULT_LOITERING_DELAY_S)
    if latitude is None or longitude is None:
        return None
    for row in np.flatnonzero((latitude == 0) & (longitude == 0)).tolist():
        rows.fault_at(row, "latitude", "0 and longitude 0 is a position that was never set")
    if radius is None or any(name not in rows.columns for name in REQUIRED_COLUMNS):
        return None
    return StoreTable(
        store_id=tuple(rows.columns["store_id"]),
        name=_shared(rows.columns["name"]),
        merchant=_shared(rows.columns["merchant"]),
        service_type=_shared(rows.columns["service_type"]),
        location=_shared(rows.columns["location"]),
        latitude=latitude,
        longitude=longitude,
        radius_m=radius,
        loitering_delay_s=np.full(len(rows.lines), DEFAULT_LOITERING_DELAY_S) if loitering is None else loitering,
        time_zone=_zones(rows, latitude, longitude),
    )


def _zones(rows: _Rows, latitude: NDArray[np.float64], longitude: NDArray[np.float64]) -> tuple[str, ...]:
    """The zone that the file gives, else the one at the position."""
    given = rows.columns.get("time_zone") or [""] * len(rows.lines)
    places = zip(given, longitude.tolist(), latitude.tolist(), strict=True)
    return _shared([name or tzfpy.get_tz(east, north) for name, east, north in places])


def _check_ids(rows: _Rows) -> None:
    ids = rows.columns.get("store_id", ())
    first_row: dict[str, int] = {}
    for row, store_id in enumerate(ids):
        if not 0 < len(store_id) <= MAX_ID_LENGTH:
            rows.fault_at(row, "store_id", f"has {len(store_id)} characters; valid are 1 to {MAX_ID_LENGTH}")
        elif first_row.setdefault(store_id, row) != row:
            rows.fault_at(row, "store_id", f"{store_id!r} is also on line {rows.lines[first_row[store_id]]}")


def _check_time_zones(rows: _Rows) -> None:
    names = rows.columns.get("time_zone", ())
    unknown = set(names) - {""}
    if unknown:
        unknown -= zoneinfo.available_timezones()
    for row, name in enumerate(names) if unknown else ():
        if name in unknown:
            rows.fault_at(row, "time_zone", f"{name!r} is no IANA time zone, such as Europe/London")


def _numbers(
    rows: _Rows,
    name: str,
    valid: tuple[float, float],
    *,
    default: float | None = None,
    hint: Callable[[int], str] = lambda row: "",
) -> NDArray[np.float64] | None:
    """The column as numbers, None when it is not there; a fault for each cell that is no number in the valid range."""
    texts = rows.columns.get(name)
    if texts is None:
        return None
    values = pl.Series(texts, dtype=pl.String).cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy().copy()
    if default is not None:
        values[np.fromiter((not text for text in texts), np.bool_, len(texts))] = default
    low, high = valid
    for row in np.flatnonzero(~((values >= low) & (values <= high))).tolist():
        text = texts[row]
        if np.isnan(values[row]):
            rows.fault_at(row, name, f"{text!r} is no number" if text else "is empty; a number is needed")
        else:
            rows.fault_at(row, name, f"{text} is out of range {low:g}..{high:g}{hint(row)}")
    return values


def _swap_hint(rows: _Rows, row: int) -> str:
    """A latitude that cannot be, beside a longitude that could be one, was probably written in the other's column."""
    try:
        latitude, longitude = (float(rows.columns[name][row]) for name in ("latitude", "longitude"))
    except (KeyError, ValueError):
        return ""
    return " (latitude and longitude swapped?)" if abs(longitude) <= 90 < abs(latitude) <= 180 else ""


def _shared(texts: Sequence[str]) -> tuple[str, ...]:
    """The same texts, equal ones as one object: a merchant's name is kept once, not once a store."""
    known: dict[str, str] = {}
    return tuple(known.setdefault(text, text) for text in texts)

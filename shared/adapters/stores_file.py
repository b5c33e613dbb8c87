"""stores.csv: its bytes become a StoreTable, or a list of all that is wrong in it, by line."""

import csv
import io
from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shared.adapters.store_rows import (
    DEFAULT_LOITERING_DELAY_S,
    FILE,
    LOITERING_RANGE_S,
    RADIUS_RANGE_M,
    Geofences,
    StoreRows,
    StoresFile,
    out_of_range,
    swap_hint,
)
from shared.domain.stores import StoreTable

REQUIRED_COLUMNS = ("store_id", "name", "merchant", "service_type", "location", "latitude", "longitude", "radius_m")
OPTIONAL_COLUMNS = ("loitering_delay_s", "time_zone")
COLUMNS = REQUIRED_COLUMNS + OPTIONAL_COLUMNS


def read_stores(data: bytes) -> StoresFile:
    """Read stores.csv: UTF-8, RFC 4180, a header with the names in COLUMNS in any order. Never raises for any bytes."""
    rows = StoreRows("on line", COLUMNS, "latitude", _place)
    try:
        data.decode()
    except UnicodeDecodeError as error:
        rows.fault(data.count(b"\n", 0, error.start) + 1, None, f"byte {error.start} is not UTF-8")
        return StoresFile(None, {}, rows.faults())
    _read_rows(data, rows)
    table = _check(rows)
    faults = rows.faults()
    return StoresFile(None if faults else table, rows.columns, faults)


def _place(line: int) -> str:
    return "stores.csv" if line == FILE else f"stores.csv line {line}"


def _read_rows(data: bytes, rows: StoreRows) -> None:
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
                rows.places.append(line)
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


def _check_header(header: Sequence[str], rows: StoreRows) -> None:
    for position, name in enumerate(header):
        if name not in COLUMNS:
            rows.fault(1, None, f"unknown column {name!r}; valid are {', '.join(COLUMNS)}")
        elif name in header[:position]:
            rows.fault(1, None, f"the column {name} is given twice")
    for name in REQUIRED_COLUMNS:
        if name not in header:
            rows.fault(1, None, f"the column {name} is missing")


def _check(rows: StoreRows) -> StoreTable | None:
    """Check every column that is there; the table when all of them are."""
    rows.check_ids()
    rows.check_time_zones()
    latitude = _numbers(rows, "latitude", (-90.0, 90.0), hint=lambda row: _swap_hint(rows, row))
    longitude = _numbers(rows, "longitude", (-180.0, 180.0))
    radius = _numbers(rows, "radius_m", RADIUS_RANGE_M)
    loitering = _numbers(rows, "loitering_delay_s", LOITERING_RANGE_S, default=DEFAULT_LOITERING_DELAY_S)
    if latitude is None or longitude is None:
        return None
    rows.check_positions(latitude, longitude)
    if radius is None or rows.found or any(name not in rows.columns for name in REQUIRED_COLUMNS):
        return None
    if loitering is None:
        loitering = np.full(len(rows.places), DEFAULT_LOITERING_DELAY_S)
    return rows.table(Geofences(latitude, longitude, radius, loitering))


def _numbers(
    rows: StoreRows,
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
    valid_rows = (values >= low) & (values <= high)
    for row in np.flatnonzero(~valid_rows).tolist():
        text = texts[row]
        if np.isnan(values[row]):
            rows.fault_at(row, name, f"{text!r} is no number" if text else "is empty; a number is needed")
        else:
            rows.fault_at(row, name, out_of_range(text, valid) + hint(row))
    values[~valid_rows] = np.nan
    return values


def _swap_hint(rows: StoreRows, row: int) -> str:
    try:
        return swap_hint(*(float(rows.columns[name][row]) for name in ("latitude", "longitude")))
    except (KeyError, ValueError):
        return ""

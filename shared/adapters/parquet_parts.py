"""Rows on their way into a Delta table: Parquet files on the local disk, with what the log says about each.

delta-rs writes a stream into a partitioned table with no bound on memory (it repartitions by a hash of the partition
column, and with one partition all of the stream waits in one queue: 0.2 GB for a million pings), so the files of a
commit are written here, part by part, and delta-rs commits them.
"""

import shutil
import tempfile
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import msgspec
import polars as pl

from shared.medallion.tables import INSTANT, Table

MOST_BYTES_IN_MEMORY = 32 * 1024 * 1024
"""Of rows that wait for their file; the file of so many is a few MB."""
ROW_GROUP_ROWS = 131_072
_VIEW_BYTES = 16
"""Of a text in polars, beside its letters; numbers take half of it."""
MOST_STATISTICS_CHARACTERS = 64
"""Bounds of longer texts are not written to the log: they would be most of it."""
DEVICE_COLUMNS = ("device_key",)
"""Their bounds are written to the log only for sorted files: elsewhere they let no reader leave a file out, and the log
keeps them when the device's rows have been erased."""


@dataclass(frozen=True, slots=True)
class Part:
    """A Parquet file, its place in the table, and what the log says about it."""

    file: Path
    path: str
    """In the table, as the log has it; object stores and log agree on it since no partition value needs escaping."""
    partition_values: dict[str, str]
    statistics: str
    """JSON (Delta protocol, "Per-file Statistics")."""
    rows: int


class PartWriter:
    """Collects frames of a table into parts; `close` drops them."""

    def __init__(
        self,
        table: Table,
        most_bytes_in_memory: int = MOST_BYTES_IN_MEMORY,
        *,
        prefix: str = "part",
        is_sorted: bool = False,
    ) -> None:
        """*prefix*: what the files' names begin with; *is_sorted*: each file's rows are near each other by sort key."""
        self._table = table
        self._prefix = prefix
        self._unbounded = () if is_sorted else DEVICE_COLUMNS
        self._most_bytes = most_bytes_in_memory
        self._frames: list[pl.DataFrame] = []
        self._bytes = 0
        self._folder: Path | None = None
        self._parts: list[Part] = []

    def add(self, rows: pl.DataFrame) -> None:
        """Put rows at the end. Raises polars' SchemaError for rows that are not the table's."""
        rows = self._table.conform(rows)
        self._frames.append(rows)
        self._bytes += _size(rows)
        if self._bytes >= self._most_bytes:
            self._write()

    def finish(self) -> tuple[Part, ...]:
        """All rows as parts; none when there is no row."""
        self._write()
        return tuple(self._parts)

    def close(self) -> None:
        """Drop what was collected."""
        self._frames, self._parts = [], []
        if self._folder is not None:
            shutil.rmtree(self._folder)
            self._folder = None

    def _write(self) -> None:
        if self._frames:
            rows = pl.concat(self._frames)
            self._frames, self._bytes = [], 0
            by = self._table.partition_by
            for value, part in [(None, rows)] if by is None else _by_partition(rows, by):
                self._parts.append(self._write_part(part, {} if by is None else {by: str(value)}))

    def _write_part(self, rows: pl.DataFrame, partition_values: dict[str, str]) -> Part:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="footfall-"))
        name = f"{self._prefix}-{uuid.uuid4()}.zstd.parquet"
        folders = "".join(f"{column}={value}/" for column, value in partition_values.items())
        rows.write_parquet(
            self._folder / name,
            compression="zstd",
            compression_level=1,
            row_group_size=ROW_GROUP_ROWS,
            statistics=rows.height > ROW_GROUP_ROWS,  # those of an only row group would repeat the log's
        )
        return Part(
            self._folder / name, folders + name, partition_values, statistics(rows, self._unbounded), rows.height
        )


def _size(rows: pl.DataFrame) -> int:
    """Bytes of the rows alone: polars' own estimate counts texts that many frames share with each of them."""
    texts = [pl.col(name).str.len_bytes().sum() for name, dtype in rows.schema.items() if dtype == pl.String]
    binaries = [pl.col(name).bin.size().sum() for name, dtype in rows.schema.items() if dtype == pl.Binary]
    lengths = rows.select(*texts, *binaries).sum_horizontal().item() if texts or binaries else 0
    return int(lengths or 0) + rows.height * _VIEW_BYTES * rows.width


def _by_partition(rows: pl.DataFrame, column: str) -> list[tuple[object, pl.DataFrame]]:
    parts = rows.partition_by(column, as_dict=True, include_key=False, maintain_order=True)
    return [(value, part) for (value,), part in parts.items()]


def statistics(rows: pl.DataFrame, unbounded: Sequence[str] = ()) -> str:
    """Count, bounds and nulls of the columns by which readers leave files out: instants, dates, numbers, short texts.

    The bounds of an instant are whole milliseconds, rounded outwards: the protocol promises no more. Of the *unbounded*
    columns only the nulls are counted.
    """
    columns = [name for name, dtype in rows.schema.items() if dtype in (INSTANT, pl.Int64(), pl.String(), pl.Date())]
    bounded = [name for name in columns if name not in unbounded]
    least = _row(rows, (_least(name, rows.schema[name]) for name in bounded))
    greatest = _row(rows, (_greatest(name, rows.schema[name]) for name in bounded))
    shown = [name for name in bounded if _is_short(least[name]) and _is_short(greatest[name])]
    return msgspec.json.encode(
        {
            "numRecords": rows.height,
            "minValues": {name: least[name] for name in shown},
            "maxValues": {name: greatest[name] for name in shown},
            "nullCount": _row(rows, (pl.col(name).null_count() for name in columns)),
        }
    ).decode()


def _least(name: str, dtype: pl.DataType) -> pl.Expr:
    least = pl.col(name).min()
    return _text(least) if dtype == INSTANT else least


def _greatest(name: str, dtype: pl.DataType) -> pl.Expr:
    greatest = pl.col(name).max()
    return _text(greatest + timedelta(microseconds=999)) if dtype == INSTANT else greatest


def _text(instant: pl.Expr) -> pl.Expr:
    return instant.dt.truncate("1ms").dt.to_string("%Y-%m-%dT%H:%M:%S%.3fZ")


def _row(rows: pl.DataFrame, values: Iterable[pl.Expr]) -> dict[str, object]:
    return rows.select(*values).row(0, named=True)


def _is_short(bound: object) -> bool:
    return bound is not None and not (isinstance(bound, str) and len(bound) > MOST_STATISTICS_CHARACTERS)

"""Many Parquet files of a table to few that are sorted, in bounded memory.

More rows than fit are spread over files on the local disk first, by ranges of the sort key that are found in a sample;
then each range is sorted by itself, and the ranges follow each other. (delta-rs' z_order interleaves the first bits of
text: those of keys that all begin alike say nothing.)
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from shared.adapters.parquet_parts import PartWriter

SORT_BYTES = 16 * 1024 * 1024
"""Of Parquet that are sorted at once and become a file. A day of 147 MiB (3 M rows) then takes 390 MiB of memory, with
64 MiB it took 1,000.
"""
BATCH_ROWS = 250_000
BATCH_FILES = 200
SAMPLES = 20_000
"""From all files together: with 16 ranges the largest is then a few per cent above its share."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A Parquet file in the storage."""

    location: str
    bytes: int
    rows: int


@dataclass(frozen=True, slots=True)
class Sorter:
    """Brings the rows of files in order."""

    scan: Callable[[Sequence[str]], pl.LazyFrame]
    """Opens the files at these locations as one frame."""
    sort_by: Sequence[str]
    sort_bytes: int = SORT_BYTES

    def write(self, files: Sequence[StoredFile], parts: PartWriter) -> None:
        """Put all rows of the files in the parts, in order; in the files' order without a sort key."""
        ranges = -(-sum(file.bytes for file in files) // self.sort_bytes)
        if not self.sort_by:
            for batch in self._batches(files):
                parts.add(batch)
        elif ranges <= 1:
            rows = list(self._batches(files))
            if rows:
                parts.add(self._in_order(pl.concat(rows)))
        else:
            self._write_ranges(files, ranges, parts)

    def _write_ranges(self, files: Sequence[StoredFile], ranges: int, parts: PartWriter) -> None:
        bounds = self._bounds(files, ranges)
        with tempfile.TemporaryDirectory(prefix="footfall-sort-") as folder:
            spill = _Spill(Path(folder))
            for batch in self._batches(files):
                spill.add(batch, _range_of(batch.select(self._key()).to_series(), bounds))
            for rows in spill.ranges():
                parts.add(self._in_order(rows))

    def _in_order(self, rows: pl.DataFrame) -> pl.DataFrame:
        return rows.sort(self.sort_by, maintain_order=True)

    def _key(self) -> pl.Expr:
        """The sort key's first two columns as one text of the same order: it divides even the rows of a single store.

        Nulls come first. (A control character in a text would only make a range begin elsewhere.)
        """
        columns = [(pl.lit("\x01") + pl.col(column).cast(pl.String)).fill_null("") for column in self.sort_by[:2]]
        return pl.concat_str(columns, separator="\x00").alias("key")

    def _bounds(self, files: Sequence[StoredFile], ranges: int) -> list[str]:
        """The keys that divide the rows in so many ranges of about the same size."""
        every = max(1, sum(file.rows for file in files) // SAMPLES)
        samples = [
            self.scan([file.location]).select(self._key()).gather_every(every).collect(engine="streaming")
            for file in files
        ]
        keys = pl.concat(samples).to_series().sort()
        return [keys[len(keys) * number // ranges] for number in range(1, ranges)] if len(keys) else []

    def _batches(self, files: Sequence[StoredFile]) -> Iterator[pl.DataFrame]:
        """All rows, so many at a time: several small files, or a slice of a large one."""
        for group in _groups(files):
            lazy = self.scan([file.location for file in group])
            if len(group) > 1:
                yield lazy.collect()
                continue
            for offset in range(0, group[0].rows, BATCH_ROWS):
                yield lazy.slice(offset, BATCH_ROWS).collect()


@dataclass(frozen=True, slots=True)
class _Spill:
    """Rows on the local disk, by range."""

    folder: Path
    files: dict[int, list[Path]] = field(default_factory=dict)

    def add(self, rows: pl.DataFrame, range_of: pl.Series) -> None:
        ranged = rows.with_columns(range_of.alias("range")).partition_by(
            "range", as_dict=True, include_key=False, maintain_order=True
        )
        for (number,), part in ranged.items():
            files = self.files.setdefault(number, [])
            files.append(self.folder / f"{number}-{len(files)}.parquet")
            part.write_parquet(files[-1], compression="zstd", compression_level=1)

    def ranges(self) -> Iterator[pl.DataFrame]:
        """The rows of each range, in the ranges' order."""
        for number in sorted(self.files):
            yield pl.read_parquet(self.files[number], hive_partitioning=False)


def _range_of(keys: pl.Series, bounds: Sequence[str]) -> pl.Series:
    return pl.Series(bounds, dtype=pl.String).search_sorted(keys, side="right")


def _groups(files: Sequence[StoredFile]) -> Iterator[list[StoredFile]]:
    """The files in their order, as many together as make a batch; a larger one alone."""
    group: list[StoredFile] = []
    rows = 0
    for file in files:
        if group and (rows + file.rows > BATCH_ROWS or len(group) == BATCH_FILES):
            yield group
            group, rows = [], 0
        group.append(file)
        rows += file.rows
    if group:
        yield group

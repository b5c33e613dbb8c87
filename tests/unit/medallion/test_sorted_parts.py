"""Bringing a day's files in order, in memory or over the local disk: all rows stay, and follow each other."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.adapters import sorted_parts
from shared.adapters.parquet_parts import Part, PartWriter
from shared.adapters.sorted_parts import Sorter, StoredFile
from shared.medallion.tables import Layer, Table
from tests.fakes_lake import unique

TABLE = Table(Layer.SILVER, "t", pl.Schema({"store_id": pl.String, "device_key": pl.String, "n": pl.Int64}), None)
KEY = ("store_id", "device_key", "n")

texts = st.none() | st.text("ab é", max_size=3)
frames = st.lists(st.tuples(texts, texts, st.integers(0, 3)), max_size=12).map(
    lambda rows: pl.DataFrame(rows, schema=TABLE.schema, orient="row")
)


def store(folder: Path, rows: pl.DataFrame) -> StoredFile:
    path = folder / f"{unique('input')}.parquet"
    rows.write_parquet(path)
    return StoredFile(str(path), path.stat().st_size, rows.height)


def written(
    files: list[StoredFile], sort_bytes: int, sort_by: tuple[str, ...] = KEY
) -> tuple[list[Part], pl.DataFrame]:
    """The parts (one a range), and their rows."""
    writer = PartWriter(TABLE, 1)
    Sorter(pl.scan_parquet, sort_by, sort_bytes).write(files, writer)
    parts = list(writer.finish())
    rows = pl.concat([TABLE.empty(), *(pl.read_parquet(part.file) for part in parts)])
    writer.close()
    return parts, rows


@given(st.lists(frames, min_size=1, max_size=6), st.sampled_from([300, 1000, 10**9]))
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_rows_of_any_files_are_all_there_in_order(tmp_path: Path, inputs, sort_bytes):
    _, rows = written([store(tmp_path, frame) for frame in inputs], sort_bytes)
    assert rows.equals(pl.concat(inputs).sort(KEY))


def many(count: int) -> pl.DataFrame:
    numbers = pl.Series("n", range(count), dtype=pl.Int64)
    mixed = numbers * 7919 % count
    return pl.DataFrame(
        {"store_id": "the-only-store", "device_key": mixed.cast(pl.String).str.zfill(9), "n": numbers}, TABLE.schema
    )


def test_what_does_not_fit_becomes_ranges_of_about_the_same_size_even_in_a_single_store(tmp_path: Path):
    inputs = [store(tmp_path, many(20_000)[start : start + 2_000]) for start in range(0, 20_000, 2_000)]
    parts, rows = written(inputs, sum(file.bytes for file in inputs) // 4 + 1)
    assert rows.equals(many(20_000).sort(KEY))
    assert len(parts) == 4
    assert all(4_000 < part.rows < 6_000 for part in parts)


def test_a_large_file_is_read_in_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sorted_parts, "BATCH_ROWS", 300)
    _, rows = written([store(tmp_path, many(1_000)), store(tmp_path, many(10))], 1_000)
    assert rows.equals(pl.concat([many(1_000), many(10)]).sort(KEY))


def test_without_a_sort_key_the_rows_stay_in_the_order_of_the_files(tmp_path: Path):
    _, rows = written([store(tmp_path, many(10)), store(tmp_path, many(5))], 1, ())
    assert rows.equals(pl.concat([many(10), many(5)]))

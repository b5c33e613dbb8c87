"""What a lake table is, and the columns that every silver table carries."""

from dataclasses import dataclass
from enum import StrEnum

import polars as pl

INSTANT = pl.Datetime("us", "UTC")
"""Every instant in the lake: whole microseconds, UTC (design: delta-rs, Polars and Spark agree on nothing else)."""

PROVENANCE: dict[str, pl.DataType] = {
    "hub": pl.String(),
    "partition_id": pl.String(),
    "sequence_number": pl.Int64(),
    "enqueued_at": INSTANT,
    "source_file": pl.String(),
    "capture_date": pl.Date(),
}
"""Where a row came from. `capture_date` is the date in the capture file's path, so a file lies in one partition."""


class Layer(StrEnum):
    """The layers that only our code writes."""

    SILVER = "silver"
    GOLD = "gold"
    QUARANTINE = "quarantine"


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A lake table: where it lies, its columns exactly typed, and the column that it is partitioned by."""

    layer: Layer
    name: str
    schema: pl.Schema
    partition_by: str | None

    def __str__(self) -> str:
        return f"{self.layer}.{self.name}"

    def empty(self) -> pl.DataFrame:
        """No rows, all columns."""
        return self.schema.to_frame()

    def conform(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The columns in the table's order and types; raises polars' SchemaError where one is missing or differs."""
        return rows.match_to_schema(self.schema, extra_columns="ignore")


def silver_table(name: str, columns: dict[str, pl.DataType]) -> Table:
    """A silver table: its own columns and where each row came from."""
    return Table(Layer.SILVER, name, pl.Schema({**columns, **PROVENANCE}), partition_by="capture_date")


def gold_table(name: str, columns: dict[str, pl.DataType], *, partition_by: str | None = "event_date") -> Table:
    """A gold table: answers by event date, unless it says otherwise."""
    return Table(Layer.GOLD, name, pl.Schema(columns), partition_by)

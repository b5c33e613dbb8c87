"""silver.captures: the ledger, one row a capture file that every table of its hub has."""

from dataclasses import dataclass
from datetime import datetime

import polars as pl

from shared.medallion.bronze import CapturePath
from shared.medallion.tables import INSTANT, Layer, Table

CAPTURES = Table(
    Layer.SILVER,
    "captures",
    pl.Schema(
        {
            "hub": pl.String(),
            "partition_id": pl.String(),
            "source_file": pl.String(),
            "capture_date": pl.Date(),
            "window_start": INSTANT,
            "captured_at": INSTANT,
            "refined_at": INSTANT,
            "bytes": pl.Int64(),
            "events": pl.Int64(),
            "first_enqueued_at": INSTANT,
            "last_enqueued_at": INSTANT,
        }
    ),
    partition_by="capture_date",
)
"""`captured_at` is when the file was written to its end, `refined_at` when it had been refined: the only times of a
clock in silver. A window without an event has no row."""


@dataclass(frozen=True, slots=True)
class CaptureProperties:
    """What the storage says of a capture file."""

    bytes: int
    captured_at: datetime
    """When it was last modified."""


@dataclass(slots=True)
class CaptureContents:
    """What was read of a capture file, counted frame by frame."""

    events: int = 0
    first_enqueued_at: datetime | None = None
    last_enqueued_at: datetime | None = None

    def count(self, captured: pl.DataFrame) -> None:
        """Add a frame of the file."""
        times = captured.select(first=pl.col("enqueued_at").min(), last=pl.col("enqueued_at").max()).row(0)
        self.events += captured.height
        known = [at for at in (self.first_enqueued_at, self.last_enqueued_at, *times) if at is not None]
        self.first_enqueued_at, self.last_enqueued_at = min(known, default=None), max(known, default=None)


def ledger_row(
    file: CapturePath, properties: CaptureProperties, contents: CaptureContents, refined_at: datetime
) -> pl.DataFrame:
    """The file's row."""
    return pl.DataFrame(
        {
            "hub": [file.hub],
            "partition_id": [file.partition_id],
            "source_file": [file.path],
            "capture_date": [file.capture_date],
            "window_start": [file.window_start],
            "captured_at": [properties.captured_at],
            "refined_at": [refined_at],
            "bytes": [properties.bytes],
            "events": [contents.events],
            "first_enqueued_at": [contents.first_enqueued_at],
            "last_enqueued_at": [contents.last_enqueued_at],
        },
        schema=CAPTURES.schema,
    )

"""Bronze: a capture file as a frame, and what its path says.

Event Hubs Capture names a file after the start of its window, in UTC (ARCHIVE_NAME_FORMAT).
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime

import polars as pl

from shared.errors import CaptureFileUnreadable
from shared.medallion.tables import INSTANT

CAPTURED = pl.Schema(
    {
        "sequence_number": pl.Int64(),
        "enqueued_at": INSTANT,
        "body": pl.Binary(),
    }
)
"""One captured event: what silver needs of it. `body` may be null."""

ARCHIVE_NAME_FORMAT = "{Namespace}/{EventHub}/{PartitionId}/{Year}/{Month}/{Day}/{Hour}/{Minute}/{Second}.avro"
_PATH = re.compile(
    r"(?P<namespace>[^/]+)/(?P<hub>[^/]+)/(?P<partition_id>\d+)"
    r"/(?P<window>\d{4}/\d\d/\d\d/\d\d/\d\d/\d\d)\.avro",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class CapturePath:
    """A capture file's path in the bronze container, and what it says."""

    path: str
    namespace: str
    hub: str
    partition_id: str
    window_start: datetime

    @classmethod
    def parse(cls, path: str) -> "CapturePath":
        """Raises CaptureFileUnreadable for a path that Capture, set up as ours is, does not write."""
        match = _PATH.fullmatch(path)
        if match is None:
            raise CaptureFileUnreadable(f"{path!r} is no capture file's path; it must read {ARCHIVE_NAME_FORMAT}")
        try:
            window_start = datetime.strptime(match["window"], "%Y/%m/%d/%H/%M/%S").replace(tzinfo=UTC)
        except ValueError as error:
            raise CaptureFileUnreadable(f"{path!r} holds no valid UTC date and time: {error}") from error
        return cls(path, match["namespace"], match["hub"], match["partition_id"], window_start)

    @property
    def capture_date(self) -> date:
        """The partition of every silver row of this file."""
        return self.window_start.date()


def provenance(captured: pl.DataFrame, file: CapturePath) -> pl.DataFrame:
    """The columns that say where each row of *captured* came from, in its order."""
    return captured.select(
        hub=pl.lit(file.hub),
        partition_id=pl.lit(file.partition_id),
        sequence_number=pl.col("sequence_number"),
        enqueued_at=pl.col("enqueued_at"),
        source_file=pl.lit(file.path),
        capture_date=pl.lit(file.capture_date),
    )

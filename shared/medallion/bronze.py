"""Bronze: a capture file as a frame, and what its path says.

Event Hubs Capture names a file after the start of its window, in UTC (ARCHIVE_NAME_FORMAT).
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import accumulate
from typing import overload

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shared.errors import CaptureFileUnreadable
from shared.medallion.tables import INSTANT

CAPTURED = pl.Schema(
    {
        "sequence_number": pl.Int64(),
        "enqueued_at": INSTANT,
    }
)
"""One captured event: what silver needs of it, beside its body."""


@dataclass(frozen=True, slots=True, eq=False)
class Bodies(Sequence[bytes | None]):
    """The bodies of events where they lie, one behind the other with other things between; a null one is None.

    To make a bytes object of each costs more than to read them, so they are made when they are asked for.
    """

    buffer: bytes
    start: NDArray[np.int64]
    length: NDArray[np.int64]
    """-1 for null."""

    @classmethod
    def of(cls, bodies: Iterable[bytes | None]) -> "Bodies":
        """The bodies in a buffer of their own."""
        bodies = list(bodies)
        lengths = [-1 if body is None else len(body) for body in bodies]
        starts = accumulate((max(length, 0) for length in lengths[:-1]), initial=0)
        return cls(
            b"".join(body or b"" for body in bodies),
            np.array(list(starts)[: len(bodies)], np.int64),
            np.array(lengths, np.int64),
        )

    def __len__(self) -> int:
        return self.start.size

    @overload
    def __getitem__(self, row: int) -> bytes | None: ...
    @overload
    def __getitem__(self, row: slice) -> "Bodies": ...
    def __getitem__(self, row: int | slice) -> "bytes | Bodies | None":
        if isinstance(row, slice):
            return Bodies(self.buffer, self.start[row], self.length[row])
        start, length = int(self.start[row]), int(self.length[row])
        return None if length < 0 else self.buffer[start : start + length]

    def __iter__(self) -> Iterator[bytes | None]:
        return iter(self.to_list())

    def to_list(self) -> list[bytes | None]:
        """Each body as an object."""
        ends = self.start + np.maximum(self.length, 0)  # up to -1 would be nearly all, copied for each null body
        spans = zip(self.start.tolist(), ends.tolist(), strict=True)
        bodies: list[bytes | None] = [self.buffer[start:end] for start, end in spans]
        for row in np.flatnonzero(self.length < 0).tolist():
            bodies[row] = None
        return bodies


@dataclass(frozen=True, slots=True, eq=False)
class Captured:
    """Captured events in order: CAPTURED, and the body of each."""

    events: pl.DataFrame
    bodies: Bodies

    def __len__(self) -> int:
        return self.events.height

    @property
    def enqueued_at_us(self) -> NDArray[np.int64]:
        """When each event was enqueued, in microseconds since 1970 UTC."""
        return self.events["enqueued_at"].to_physical().to_numpy()

    def slices(self, rows: int) -> Iterator["Captured"]:
        """The same events, so many at a time."""
        for start in range(0, len(self), rows):
            yield Captured(self.events.slice(start, rows), self.bodies[start : start + rows])


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


def provenance(events: pl.DataFrame, file: CapturePath) -> pl.DataFrame:
    """The columns that say where each of the *events* (CAPTURED) came from, in their order."""
    return events.select(
        hub=pl.lit(file.hub),
        partition_id=pl.lit(file.partition_id),
        sequence_number=pl.col("sequence_number"),
        enqueued_at=pl.col("enqueued_at"),
        source_file=pl.lit(file.path),
        capture_date=pl.lit(file.capture_date),
    )

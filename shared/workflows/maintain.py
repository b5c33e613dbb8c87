"""Looking after the lake: many small files become few sorted ones, and what no version needs any more is deleted.

A run is bounded (bytes, seconds) and takes the greatest gain first; what it leaves, the next one takes. It moves rows
and changes none, so a build of gold sees nothing of it. Nobody waits for it: an append never conflicts with it, and
where another commit took away the same files, the run loses and tries next time. It may die anywhere: files without a
commit are nobody's, and are deleted like the others.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Protocol

from shared.errors import LakeConflict
from shared.medallion.lake import LAKE_TABLES
from shared.medallion.sorting import sort_key
from shared.medallion.tables import Table

log = logging.getLogger(__name__)

MIB = 1024 * 1024
OPEN_FILES = 100
"""So many small files of a day that still grows, or of a table without days, are worth a merge: a reader's cost of
opening them is then some seconds on object storage.
"""
SMALL_BYTES = 8 * MIB
"""Below it, opening a file costs a reader more than reading it."""
CLOSED_AFTER = timedelta(days=1)
"""A day this much older than the table's newest one is closed: hardly a row comes any more."""
MOST_BYTES = 1024 * MIB
"""Of files that a run reads; sorting takes as much of the local disk."""
MOST_SECONDS = 240
"""After it no more work is begun; with the last piece of work a run stays below the host's ten minutes."""
RETENTION = timedelta(days=7)
"""Unreferenced files are kept as long: a reader of an older version, a build that is behind and a commit under way
have that much time. Less is never safe, since a file is uploaded before its commit.
"""
DAY_US = 86_400_000_000


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file of a table's newest version; its day is that of its partition, None where the table has none."""

    path: str
    bytes: int
    rows: int
    day: date | None
    is_sorted: bool


@dataclass(frozen=True, slots=True, eq=False)
class Rewrite:
    """Files of one table and day that become few, sorted by the columns (none: rows stay in the files' order)."""

    table: Table
    day: date | None
    files: tuple[DataFile, ...]
    sort_by: tuple[str, ...]

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    @property
    def gain(self) -> int:
        """How many files nobody has to open any more."""
        return len(self.files) - 1


class LakeCare(Protocol):
    """What a run does to the lake. Raises LakeUnavailable when the storage does not answer."""

    def files(self, table: Table) -> list[DataFile]:
        """The files of the table's newest version; none while it does not exist."""
        ...

    def rewrite(self, rewrite: Rewrite) -> int:
        """Put the same rows in new files, in one commit that changes no row; how many files there are now.

        Raises LakeConflict, with nothing done, if one of the files is not the table's any more.
        """
        ...

    def vacuum(self, table: Table, retention: timedelta, day: int) -> int | None:
        """Delete the files that no version younger than *retention* needs, and log entries that expired.

        How many files; at most once a *day* (a number that grows): None if that was done, or while there is no table.
        """
        ...


@dataclass(frozen=True, slots=True)
class MaintenanceReport:
    """What a run did: days rewritten, their files before and after, rewrites lost to other commits or left to the next
    run; tables vacuumed and files deleted.
    """

    rewritten: int = 0
    files_before: int = 0
    files_after: int = 0
    bytes: int = 0
    lost: int = 0
    left: int = 0
    vacuumed: int = 0
    deleted: int = 0

    def fields(self) -> dict[str, object]:
        """The report for the canonical log line."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Maintainer:
    """Looks after the tables of a lake."""

    lake: LakeCare
    now_us: Callable[[], int]
    """The clock, in microseconds since 1970 UTC; asked for how long a run may go on, and for the day."""
    tables: tuple[Table, ...] = LAKE_TABLES
    most_bytes: int = MOST_BYTES
    most_seconds: int = MOST_SECONDS

    def run(self) -> MaintenanceReport:
        """Rewrite what gains most, then delete what nobody needs. Raises LakeUnavailable."""
        deadline = self.now_us() + self.most_seconds * 1_000_000
        wanted = [task for table in self.tables for task in rewrites(table, self.lake.files(table), self.most_bytes)]
        report = MaintenanceReport(left=len(wanted))
        for task in affordable(wanted, self.most_bytes):
            if self.now_us() >= deadline:
                break
            report = self._rewrite(task, report)
        return self._vacuum(deadline, report)

    def _rewrite(self, task: Rewrite, report: MaintenanceReport) -> MaintenanceReport:
        try:
            made = self.lake.rewrite(task)
        except LakeConflict as error:
            log.info("%s of %s stays as it is until the next run: %s", task.table, task.day or "all days", error)
            return replace(report, lost=report.lost + 1, left=report.left - 1)
        return replace(
            report,
            rewritten=report.rewritten + 1,
            files_before=report.files_before + len(task.files),
            files_after=report.files_after + made,
            bytes=report.bytes + task.bytes,
            left=report.left - 1,
        )

    def _vacuum(self, deadline: int, report: MaintenanceReport) -> MaintenanceReport:
        for table in self.tables:
            now = self.now_us()
            if now >= deadline:
                break
            deleted = self.lake.vacuum(table, RETENTION, now // DAY_US)
            if deleted is not None:
                report = replace(report, vacuumed=report.vacuumed + 1, deleted=report.deleted + deleted)
        return report


def rewrites(table: Table, files: Sequence[DataFile], most_bytes: int = MOST_BYTES) -> list[Rewrite]:
    """What would be worth rewriting in a table of these files."""
    if table.partition_by is None:
        return list(_of_open(table, None, files, most_bytes))
    by_day: dict[date, list[DataFile]] = {}
    for file in files:
        if file.day is not None:
            by_day.setdefault(file.day, []).append(file)
    newest = max(by_day, default=date.min)
    found: list[Rewrite] = []
    for day, of_day in sorted(by_day.items()):
        choose = _of_closed if newest - day >= CLOSED_AFTER else _of_open
        found += choose(table, day, of_day, most_bytes)
    return found


def _of_closed(table: Table, day: date, files: Sequence[DataFile], most_bytes: int) -> Iterator[Rewrite]:
    """All of the day in one order; what is more than a run may take, in pieces that are sorted each for itself."""
    fresh = [file for file in files if not file.is_sorted]
    if len(fresh) < 2:
        return  # a single late file is cheaper to open than the day to write again
    if sum(file.bytes for file in files) <= most_bytes:
        yield Rewrite(table, day, tuple(files), sort_key(table))
        return
    for piece in _pieces(fresh, most_bytes):
        if len(piece) > 1:
            yield Rewrite(table, day, piece, sort_key(table))


def _of_open(table: Table, day: date | None, files: Sequence[DataFile], most_bytes: int) -> Iterator[Rewrite]:
    """The small files, once they are many, in the order in which they were written."""
    small = [file for file in files if file.bytes < SMALL_BYTES and not file.is_sorted]
    if len(small) >= OPEN_FILES:
        yield Rewrite(table, day, next(_pieces(small, most_bytes)), ())


def _pieces(files: Iterable[DataFile], most_bytes: int) -> Iterator[tuple[DataFile, ...]]:
    """The files in the order of their paths, in pieces of at most so many bytes (or of one larger file)."""
    piece: list[DataFile] = []
    size = 0
    for file in sorted(files, key=lambda file: file.path):
        if piece and size + file.bytes > most_bytes:
            yield tuple(piece)
            piece, size = [], 0
        piece.append(file)
        size += file.bytes
    if piece:
        yield tuple(piece)


def affordable(wanted: Iterable[Rewrite], most_bytes: int) -> Iterator[Rewrite]:
    """The greatest gains first, as many as so many bytes allow; one that is larger than what is left waits."""
    left = most_bytes
    for task in sorted(wanted, key=lambda task: (-task.gain, task.bytes)):
        if task.bytes <= left:
            left -= task.bytes
            yield task

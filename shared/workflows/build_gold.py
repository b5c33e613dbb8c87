"""Silver to gold: compute again the hours and days that changed since the last build, and nothing else.

A gold table remembers the version of each source that it has seen, as application transactions in the same commit as
its rows. What changed since then stands in the source's log. So a rerun is harmless, a build that dies anywhere is made
good by the next one, and late data corrects the hour that it belongs to.
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Protocol

import polars as pl

from shared.errors import LakeConflict
from shared.medallion.gold import GoldTable, Source
from shared.medallion.lake import GOLD_TABLES
from shared.medallion.periods import Grain, Periods
from shared.medallion.tables import Table

log = logging.getLogger(__name__)

NOTHING = Periods()
ATTEMPTS = 3
"""How often a table is tried when another build overtakes this one."""


class Snapshot(Protocol):
    """A source table as it was at one moment. Raises LakeUnavailable when the storage does not answer."""

    @property
    def key(self) -> str:
        """What a gold table remembers the version under; another one when the table was made anew."""
        ...

    @property
    def version(self) -> int: ...

    def changed(self, instant: str, grain: Grain, since: int) -> Periods | None:
        """The periods of the rows that came or went after version *since*; None when only all of them is certain."""
        ...

    def scan(self, instant: str, periods: Periods | None) -> pl.LazyFrame:
        """The rows whose instant lies in the periods, or all of them."""
        ...


class GoldWriter(Protocol):
    """A gold table, held at one version until it is replaced."""

    def seen(self, key: str) -> int | None:
        """The version of a source that the table's rows are computed from."""
        ...

    def replace(self, rows: pl.DataFrame, periods: Periods | None, seen: Mapping[str, int]) -> None:
        """Put the rows in the place of those periods, or of all rows; raises LakeConflict if the table has moved on."""
        ...


class GoldLake(Protocol):
    """The tables of the lake. Raises LakeUnavailable when the storage does not answer."""

    def snapshot(self, table: Table) -> AbstractContextManager[Snapshot]:
        """A source as it is now."""
        ...

    def gold(self, gold: GoldTable) -> AbstractContextManager[GoldWriter]:
        """A gold table as it is now, to be replaced."""
        ...


@dataclass(frozen=True, slots=True)
class BuiltTable:
    """What a build did to one table: the rows written, the periods they are of (None: all), the versions read."""

    table: str
    rows: int
    periods: Periods | None
    versions: dict[str, int]


@dataclass(frozen=True, slots=True)
class GoldReport:
    """What a build did; tables that nothing changed for are not listed."""

    built: tuple[BuiltTable, ...] = ()

    def fields(self) -> dict[str, object]:
        """The report for the canonical log line: how many tables changed, and the rows written to each."""
        return {"tables": len(self.built), **{table.table: table.rows for table in self.built}}


@dataclass(frozen=True, slots=True)
class GoldBuilder:
    """Builds gold from silver."""

    lake: GoldLake
    tables: tuple[GoldTable, ...] = GOLD_TABLES

    def build(self) -> GoldReport:
        """Bring each gold table up to its sources. Raises LakeUnavailable (LakeConflict when overtaken every time)."""
        with ExitStack() as stack:
            sources = _Sources(self.lake, stack)
            built = [self._build(gold, sources) for gold in self.tables]
        return GoldReport(tuple(table for table in built if table is not None))

    def behind(self) -> tuple[str, ...]:
        """The gold tables that the next build would change."""
        with ExitStack() as stack:
            sources = _Sources(self.lake, stack)
            return tuple(str(gold.table) for gold in self.tables if self._is_behind(gold, sources))

    def _is_behind(self, gold: GoldTable, sources: "_Sources") -> bool:
        with self.lake.gold(gold) as writer:
            return _to_compute(gold, sources.of(gold), writer) != NOTHING

    def _build(self, gold: GoldTable, sources: "_Sources") -> BuiltTable | None:
        for _ in range(ATTEMPTS - 1):
            try:
                return self._build_once(gold, sources)
            except LakeConflict:
                log.info("another build of %s was faster: looking again", gold.table)
        return self._build_once(gold, sources)

    def _build_once(self, gold: GoldTable, sources: "_Sources") -> BuiltTable | None:
        with self.lake.gold(gold) as writer:
            snapshots = sources.of(gold)
            periods = _to_compute(gold, snapshots, writer)
            if periods == NOTHING:
                return None
            rows = _compute(gold, snapshots, periods)
            writer.replace(rows, periods, {snapshot.key: snapshot.version for _, snapshot in snapshots})
        versions = {str(source.table): snapshot.version for source, snapshot in snapshots}
        return BuiltTable(str(gold.table), rows.height, periods, versions)


class _Sources:
    """The sources of one build: each is looked at once, so that all tables are built from the same state of it."""

    def __init__(self, lake: GoldLake, stack: ExitStack) -> None:
        self._lake, self._stack = lake, stack
        self._snapshots: dict[Table, Snapshot] = {}

    def of(self, gold: GoldTable) -> list[tuple[Source, Snapshot]]:
        return [(source, self._snapshot(source.table)) for source in gold.sources]

    def _snapshot(self, table: Table) -> Snapshot:
        if table not in self._snapshots:
            self._snapshots[table] = self._stack.enter_context(self._lake.snapshot(table))
        return self._snapshots[table]


def _compute(gold: GoldTable, snapshots: Sequence[tuple[Source, Snapshot]], periods: Periods | None) -> pl.DataFrame:
    sources = (snapshot.scan(source.instant, periods) for source, snapshot in snapshots)
    return gold.table.conform(gold.build(*sources).collect(engine="streaming"))


def _to_compute(gold: GoldTable, snapshots: Sequence[tuple[Source, Snapshot]], writer: GoldWriter) -> Periods | None:
    """The periods of the gold table whose source rows changed since it was built; None: all of them."""
    periods: Periods | None = NOTHING
    for source, snapshot in snapshots:
        seen = writer.seen(snapshot.key)
        if seen is not None and seen > snapshot.version:
            return NOTHING  # a build that started later than this one has been here
        changed = _changed(gold, source, snapshot, seen)
        periods = None if periods is None or changed is None else periods | changed
    return periods


def _changed(gold: GoldTable, source: Source, snapshot: Snapshot, seen: int | None) -> Periods | None:
    if seen == snapshot.version:
        return NOTHING
    if seen is None or gold.grain is None:
        return None
    return snapshot.changed(source.instant, gold.grain, seen)

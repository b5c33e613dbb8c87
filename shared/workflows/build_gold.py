"""Silver to gold: compute again the hours and days that changed since the last build, and nothing else.

A derived table remembers the version of each source that it has seen, as application transactions in the same commit
as its rows. What changed since then stands in the source's log. So a rerun is harmless, a build that dies anywhere is
made good by the next one, and late data corrects the hour that it belongs to.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

import polars as pl

from shared.errors import LakeConflict
from shared.medallion.gold import (
    LATE_AFTER,
    NO_EVENT,
    BuildContext,
    Derived,
    Difference,
    GoldTable,
    RunningSum,
    Source,
    Trigger,
)
from shared.medallion.lake import DERIVED_TABLES
from shared.medallion.periods import Grain, Periods
from shared.medallion.pings import PINGS
from shared.medallion.tables import Table

log = logging.getLogger(__name__)

NOTHING = Periods()
MIN_DEVICES = "GOLD_MIN_DEVICES"
"""Under this a table remembers what was withheld from it: with another threshold, history is computed again."""
NEWEST = "newest event"
"""Under this a table remembers, in seconds since 1970 UTC, up to when the build that wrote it had seen events."""
ATTEMPTS = 3
"""How often a table is tried when another build overtakes this one."""


class Snapshot(Protocol):
    """A source table as it was at one moment. Raises LakeUnavailable when the storage does not answer."""

    @property
    def key(self) -> str:
        """What a derived table remembers the version under; another one when the table was made anew."""
        ...

    @property
    def version(self) -> int: ...

    def changed(self, instant: str, grain: Grain, since: int) -> Periods | None:
        """The periods of the rows that came or went after version *since*; None when only all of them is certain."""
        ...

    def difference(self, since: int) -> Difference | None:
        """The rows that came and went after version *since*; None when it can no longer be told."""
        ...

    def scan(self, instant: str, periods: Periods | None) -> pl.LazyFrame:
        """The rows whose instant lies in the periods, or all of them."""
        ...


class DerivedWriter(Protocol):
    """A derived table, held at one version until it is changed; changes raise LakeConflict if it has moved on."""

    def seen(self, key: str) -> int | None:
        """The version of a source that the table's rows are computed from."""
        ...

    def rows(self, where: str | None = None) -> pl.LazyFrame:
        """The table's rows; at least those that *where* (SQL) chooses."""
        ...

    def replace(
        self, rows: pl.DataFrame, seen: Mapping[str, int], *, period: str = "", periods: Periods | None = None
    ) -> None:
        """Put the rows in the place of those whose *period* column lies in the periods, or of all rows."""
        ...


class GoldLake(Protocol):
    """The tables of the lake. Raises LakeUnavailable when the storage does not answer."""

    def snapshot(self, table: Table) -> AbstractContextManager[Snapshot]:
        """A source as it is now."""
        ...

    def derived(self, table: Table) -> AbstractContextManager[DerivedWriter]:
        """A derived table as it is now, to be changed."""
        ...

    def newest(self, table: Table, instant: str) -> datetime | None:
        """The latest such instant in the table, None while there is none."""
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
    """Builds gold, and the silver tables that are computed from others, in the order of *tables*."""

    lake: GoldLake
    context: BuildContext = field(default_factory=BuildContext)
    tables: tuple[Derived, ...] = DERIVED_TABLES
    before: Callable[[], object] = lambda: None
    """What is brought up to date first: the reference data's tables."""

    def build(self) -> GoldReport:
        """Bring each table up to its sources. Raises LakeUnavailable (LakeConflict when overtaken every time)."""
        self.before()
        with ExitStack() as stack:
            build = _Build(self._context(), _Sources(self.lake, stack))
            built = [self._build(table, build) for table in self.tables]
        return GoldReport(tuple(table for table in built if table is not None))

    def _context(self) -> BuildContext:
        # Before the first snapshot: a row that is newer than `newest` is as harmless as one that comes a build later.
        return replace(self.context, newest=self.lake.newest(PINGS, "enqueued_at") or NO_EVENT)

    def _build(self, derived: Derived, build: "_Build") -> BuiltTable | None:
        for _ in range(ATTEMPTS - 1):
            try:
                return self._build_once(derived, build)
            except LakeConflict:
                log.info("another build of %s was faster: looking again", derived.table)
        return self._build_once(derived, build)

    def _build_once(self, derived: Derived, build: "_Build") -> BuiltTable | None:
        with self.lake.derived(derived.table) as writer:
            return build.run(derived, writer)


class _Sources:
    """The sources of one build: each is looked at once, so that all tables are built from the same state of it."""

    def __init__(self, lake: GoldLake, stack: ExitStack) -> None:
        self._lake, self._stack = lake, stack
        self._snapshots: dict[Table, Snapshot] = {}

    def of(self, sources: Sequence[Source]) -> list[tuple[Source, Snapshot]]:
        return [(source, self._snapshot(source.table)) for source in sources]

    def _snapshot(self, table: Table) -> Snapshot:
        if table not in self._snapshots:
            self._snapshots[table] = self._stack.enter_context(self._lake.snapshot(table))
        return self._snapshots[table]


@dataclass(frozen=True, slots=True)
class _Build:
    """One build: what it knows, and the state of the sources that it goes by."""

    context: BuildContext
    sources: _Sources

    @property
    def _newest_s(self) -> int:
        return int(self.context.newest.timestamp())

    def run(self, derived: Derived, writer: DerivedWriter) -> BuiltTable | None:
        if isinstance(derived, GoldTable):
            return self._compute_periods(derived, writer)
        ((_, snapshot),) = self.sources.of([derived.source])
        seen = writer.seen(snapshot.key)
        if not _is_new(snapshot, seen):
            return None
        rows = self._sum(derived, snapshot, seen, writer)
        return BuiltTable(str(derived.table), rows, None, {str(derived.source.table): snapshot.version})

    def _compute_periods(self, derived: GoldTable, writer: DerivedWriter) -> BuiltTable | None:
        snapshots = self.sources.of(derived.sources)
        periods = self._to_compute(derived, snapshots, writer)
        if periods == NOTHING:
            return None
        rows = self._rows(derived, snapshots, periods, writer)
        seen = {snapshot.key: snapshot.version for _, snapshot in snapshots}
        seen |= {MIN_DEVICES: self.context.min_devices, NEWEST: self._newest_s}
        writer.replace(rows, seen, period=derived.period, periods=periods)
        versions = {str(source.table): snapshot.version for source, snapshot in snapshots}
        return BuiltTable(str(derived.table), rows.height, periods, versions)

    def _to_compute(
        self, derived: GoldTable, snapshots: Sequence[tuple[Source, Snapshot]], writer: DerivedWriter
    ) -> Periods | None:
        """The periods of the table that may be other than they are; None: all of them."""
        seen = {snapshot.key: writer.seen(snapshot.key) for _, snapshot in snapshots}
        if any((seen[snapshot.key] or 0) > snapshot.version for _, snapshot in snapshots):
            return NOTHING  # a build that started later than this one has been here
        if writer.seen(MIN_DEVICES) != self.context.min_devices:
            return None
        periods = NOTHING
        for changed in (
            self._due(derived, writer),
            *(self._changed(derived, source, snapshot, seen[snapshot.key]) for source, snapshot in snapshots),
        ):
            if changed is None:
                return None
            periods |= changed
        return periods.and_later() if derived.remembers else periods

    def _changed(self, derived: GoldTable, source: Source, snapshot: Snapshot, seen: int | None) -> Periods | None:
        if seen == snapshot.version:
            return NOTHING
        if seen is None:
            return None  # the source was made anew, or the table is new
        if source.trigger is Trigger.NONE:
            return NOTHING
        if derived.grain is None:
            return None
        changed = snapshot.changed(source.instant, derived.grain, seen)
        if changed is None:
            return None
        if source.trigger is Trigger.LATE:
            changed = changed.ended(derived.grain, max(self.context.newest - LATE_AFTER, NO_EVENT))
        # A row matters to the periods that it lies after by `after` at most, and before by `before`.
        return changed.widened(derived.grain, source.reach_after(self.context), source.before)

    def _due(self, derived: GoldTable, writer: DerivedWriter) -> Periods | None:
        """The periods of the rows that time may have changed; None: all of them."""
        if derived.due is None or writer.seen(NEWEST) == self._newest_s:
            return NOTHING
        due = writer.rows(derived.due.where).filter(derived.due.is_due(self.context))
        if derived.grain is None:
            return NOTHING if due.head(1).collect().is_empty() else None
        start = derived.grain.start_of(pl.col(derived.period))
        return Periods.of(derived.grain, due.select(start).unique().collect().to_series())

    def _rows(
        self,
        derived: GoldTable,
        snapshots: Sequence[tuple[Source, Snapshot]],
        periods: Periods | None,
        writer: DerivedWriter,
    ) -> pl.DataFrame:
        frames = []
        for source, snapshot in snapshots:
            wanted = periods
            if periods is not None and derived.grain is not None:
                wanted = periods.widened(derived.grain, source.before, source.reach_after(self.context))
            frames.append(snapshot.scan(source.instant, wanted))
        if derived.remembers:
            others = pl.lit(value=False) if periods is None else ~periods.hold(pl.col(derived.period))
            frames.append(writer.rows().filter(others))
        rows = derived.build(self.context, *frames)
        if periods is not None:
            rows = rows.filter(periods.hold(pl.col(derived.period)))
        return derived.table.conform(rows.collect(engine="streaming"))

    def _sum(self, derived: RunningSum, snapshot: Snapshot, seen: int | None, writer: DerivedWriter) -> int:
        difference = None if seen is None else snapshot.difference(seen)
        if difference is None:
            parts = [snapshot.scan(derived.source.instant, None)]
        else:
            measures = pl.col(derived.measures)
            parts = [writer.rows(), difference.came.lazy(), difference.went.lazy().with_columns(-measures)]
        rows = derived.table.conform(_summed(derived, parts).collect(engine="streaming"))
        writer.replace(rows, {snapshot.key: snapshot.version})
        return rows.height


def _is_new(snapshot: Snapshot, seen: int | None) -> bool:
    return seen is None or seen < snapshot.version


def _summed(derived: RunningSum, parts: Sequence[pl.LazyFrame]) -> pl.LazyFrame:
    """The sums by key; a key of which nothing is left has no row."""
    of_all = pl.concat([part.select(*derived.keys, *derived.measures) for part in parts])
    sums = of_all.group_by(derived.keys).agg(pl.col(derived.measures).sum())
    return sums.filter(pl.any_horizontal(pl.col(derived.measures) != 0))

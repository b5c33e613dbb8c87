"""The lake's tables in Delta, through delta-rs: the one place that creates them and commits to them, read by Polars.

A commit that must happen once carries an application transaction. It is looked up on the very handle that commits:
delta-rs refuses the commit when somebody committed the same transaction after the handle's version, and looks no
further, so only handle and look-up together leave no gap.
"""

import logging
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import unquote

import polars as pl
from deltalake import (
    CommitProperties,
    DeltaTable,
    Field,
    PostCommitHookProperties,
    Schema,
    Transaction,
    WriterProperties,
    write_deltalake,
)
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.schema import PrimitiveType
from deltalake.transaction import AddAction, RemoveAction

from shared.adapters.delta_log import read_changes
from shared.adapters.lake_storage import Access, LakeStorage
from shared.adapters.parquet_parts import MOST_BYTES_IN_MEMORY, Part, PartWriter
from shared.errors import LakeConflict, LakeUnavailable
from shared.medallion.gold import Difference
from shared.medallion.lake import LAKE_TABLES
from shared.medallion.periods import Grain, Periods
from shared.medallion.tables import INSTANT, Layer, Table
from shared.workflows.analytics import CurrentTable

log = logging.getLogger(__name__)

DELTA_TYPES: tuple[tuple[pl.DataType, str], ...] = (
    (pl.String(), "string"),
    (pl.Int64(), "long"),
    (pl.Float64(), "double"),
    (pl.Boolean(), "boolean"),
    (pl.Binary(), "binary"),
    (pl.Date(), "date"),
    (INSTANT, "timestamp"),
)
"""The types of our tables. No other: delta-rs, Polars and Spark must agree on each without a table feature."""

READER_VERSION, WRITER_VERSION = 1, 2
"""The protocol of our tables. A table with a newer one has a feature that somebody else turned on."""

COMMIT_ATTEMPTS = 5
RECENT_COMMITS = 10
"""So many commits back the last one that changed rows is looked for; maintenance makes three at a time."""
FILE_VERSION = 1
"""The version in a capture file's transaction: a file is refined once, so it never grows."""
TOKEN_MARGIN_S = 600
"""A handle whose token ends sooner is opened anew: a commit may take minutes."""

LOG_STAYS = PostCommitHookProperties(cleanup_expired_logs=False)
"""delta-rs would list the whole log after each commit (a month of it is hundreds of thousands of files) to find what
expired; `maintain_lake` does so once a day.
"""

COMPRESSED = WriterProperties(compression="ZSTD", compression_level=1)

_ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True, slots=True)
class TableSummary:
    """A lake table from its log: `version` and `changed_at` are None while it does not exist."""

    name: str
    rows: int
    files: int
    version: int | None
    changed_at: datetime | None


@dataclass(slots=True)
class _Handle:
    delta: DeltaTable
    access: Access
    is_complete: bool = False
    """Whether the table is known to have what this code's tables have."""
    _files: tuple[int, pl.DataFrame] | None = None

    def files(self) -> pl.DataFrame:
        """The log's entry of each file of this version: path, sizes, and bounds as `min.<column>`, `max.<column>`."""
        version = self.delta.version()
        if self._files is None or self._files[0] != version:
            self._files = version, pl.DataFrame(self.delta.get_add_actions(flatten=True))
        return self._files[1]


class DeltaTables:
    """All tables of one lake; may be used from several threads."""

    def __init__(
        self, storage: LakeStorage, *, remembered: timedelta, most_bytes_in_memory: int = MOST_BYTES_IN_MEMORY
    ) -> None:
        """*remembered*: how long a silver table knows which files it has. Of a file's rows for one table, more than
        *most_bytes_in_memory* wait on disk.
        """
        self._most_bytes_in_memory = most_bytes_in_memory
        self._storage = storage
        self._silver_properties = {"delta.setTransactionRetentionDuration": f"interval {remembered.days} days"}
        self._idle: dict[Table, list[_Handle]] = defaultdict(list)

    # Silver: a file's rows once.

    def has_file(self, table: Table, file: str) -> bool:
        """Whether the table has the rows of that file."""
        with self._handle(table) as handle:
            return _seen(handle.delta, file) is not None

    @contextmanager
    def append_file(self, table: Table, file: str) -> Iterator["FileAppend"]:
        """Begin to collect the rows of a file; what is not committed is dropped at the end of the context."""
        parts = PartWriter(table, self._most_bytes_in_memory)
        try:
            yield FileAppend(self, table, file, parts)
        finally:
            parts.close()

    def commit_file(self, table: Table, file: str, parts: Sequence[Part]) -> bool:
        """Put the parts in the table in one commit unless it has the file; whether it was done."""
        return self._commit_parts(table, file, parts, expires=True)

    def _commit_parts(self, table: Table, key: str, parts: Sequence[Part], *, expires: bool) -> bool:
        stored: list[AddAction | RemoveAction] = []
        for attempt in range(1, COMMIT_ATTEMPTS + 1):
            with self._handle(table) as handle:
                if _seen(handle.delta, key) is not None:
                    return False
                stored = stored or [self._store(table, part) for part in parts]
                try:
                    handle.delta.create_write_transaction(
                        stored,
                        mode="append",
                        schema=handle.delta.schema(),
                        partition_by=handle.delta.metadata().partition_columns,
                        commit_properties=_transactions({key: FILE_VERSION}, expires=expires),
                        post_commithook_properties=LOG_STAYS,
                    )
                except CommitFailedError as error:
                    log.info("%s: attempt %d to commit %s: %s", table, attempt, key, _words(error))
                else:
                    return True
        raise LakeConflict(f"{table}: {COMMIT_ATTEMPTS} times another writer was faster than the commit of {key}")

    def append_once(self, table: Table, key: str, rows: pl.DataFrame) -> bool:
        """Put the rows in the table in one commit unless it has rows under that key, ever; whether it was done."""
        with closing(PartWriter(table, self._most_bytes_in_memory)) as parts:
            parts.add(rows)
            return self._commit_parts(table, key, parts.finish(), expires=False)

    def _store(self, table: Table, part: Part) -> AddAction:
        """Upload a part; nobody sees it before its commit, and vacuum removes it if there is none."""
        self._storage.upload(part.file, f"{self._storage.location(table)}/{part.path}")
        size, now_ms = part.file.stat().st_size, time.time_ns() // 1_000_000
        return AddAction(part.path, size, part.partition_values, now_ms, data_change=True, stats=part.statistics)

    # Gold: what changed, computed again.

    @contextmanager
    def snapshot(self, table: Table) -> Iterator["TableSnapshot"]:
        """A source as it is now."""
        with self._handle(table) as handle:
            yield TableSnapshot(table, handle, self._storage.location(table))

    @contextmanager
    def existing(self, table: Table) -> Iterator["TableSnapshot | None"]:
        """A table as it is now, and as it was made; None while it does not exist."""
        with self._existing_handle(table) as handle:
            yield None if handle is None else TableSnapshot(table, handle, self._storage.location(table))

    @contextmanager
    def derived(self, table: Table) -> Iterator["TableWriter"]:
        """A derived table as it is now, to be changed."""
        with self._handle(table) as handle:
            yield TableWriter(table, handle)

    # Reading and looking after them.

    def scan(self, table: Table) -> pl.LazyFrame:
        """All rows of a table as it is now."""
        with self._handle(table) as handle:
            return scan_files(table, handle.delta.file_uris(), handle.access)

    def current(self, table: Table) -> CurrentTable:
        """A table as it is now, for who only reads: it is not created, and looking after its files is no change."""
        with self._existing_handle(table) as handle:
            if handle is None:
                return CurrentTable(table.empty().lazy(), 0, None, None)
            return CurrentTable(
                scan_files(table, handle.delta.file_uris(), handle.access),
                _rows_of(handle),
                handle.delta.version(),
                _last_written(handle.delta),
            )

    def between(self, table: Table, instant: str, start: datetime, end: datetime) -> pl.LazyFrame:
        """The rows whose instant lies there, the end exclusive; none while the table does not exist."""
        with self.existing(table) as snapshot:
            if snapshot is None:
                return table.empty().lazy()
            return snapshot.scan(instant, Periods(((start, end),)))

    def newest(self, table: Table, instant: str) -> datetime | None:
        """The latest such instant in the table, from its log alone; None while there is none."""
        with self._existing_handle(table) as handle:
            if handle is None:
                return None
            files = handle.files()
        bound = f"max.{instant}"
        latest = files.select(pl.col(bound).cast(INSTANT).max()).item() if bound in files.columns else None
        assert latest is None or isinstance(latest, datetime)
        return latest

    def summaries(self, tables: Sequence[Table] = LAKE_TABLES) -> list[TableSummary]:
        """Each table, from its log alone."""
        return [self._summary(table) for table in tables]

    def problems(self, tables: Sequence[Table] = LAKE_TABLES) -> list[str]:
        """What somebody else changed about our tables, in words; empty when all is well."""
        found: list[str] = []
        for table in tables:
            delta = self._open_existing(table)
            if delta is not None:
                found += _foreign_features(table, delta.delta)
        return found

    def _summary(self, table: Table) -> TableSummary:
        with self._existing_handle(table) as handle:
            if handle is None:
                return TableSummary(str(table), 0, 0, None, None)
            newest = handle.delta.history(1)[0]["timestamp"]
            return TableSummary(
                str(table),
                _rows_of(handle),
                handle.files().height,
                handle.delta.version(),
                datetime.fromtimestamp(newest / 1000, UTC),
            )

    # Handles: opening a table reads its log, so a handle is kept and brought up to date; never two users at once.

    @contextmanager
    def _handle(self, table: Table) -> Iterator[_Handle]:
        """A handle of the table at its newest version; what fails within is told apart, and the handle dropped."""
        with _errors_of(table):
            handle = self._idle_handle(table) or self._open_existing(table) or self._create(table)
            if not handle.is_complete:
                self._complete(table, handle)
            yield handle
        self._idle[table].append(handle)

    @contextmanager
    def _existing_handle(self, table: Table) -> Iterator[_Handle | None]:
        """The same for who only reads: a table that does not exist is not created, and one that does is left alone."""
        with _errors_of(table):
            handle = self._idle_handle(table) or self._open_existing(table)
            yield handle
        if handle is not None:
            self._idle[table].append(handle)

    def _idle_handle(self, table: Table) -> _Handle | None:
        try:
            handle = self._idle[table].pop()
        except IndexError:
            return None
        if not handle.access.is_valid_for(TOKEN_MARGIN_S):
            return None
        try:
            handle.delta.update_incremental()
        except DeltaError as error:
            log.info("%s is opened anew: %s", table, error)
            return None
        return handle

    def _complete(self, table: Table, handle: _Handle) -> None:
        """An older version of this code may have made the table: it gets what it lacks."""
        wanted = self._properties(table)
        if any(handle.delta.metadata().configuration.get(key) != value for key, value in wanted.items()):
            handle.delta.alter.set_table_properties(wanted)
        known = {field.name for field in handle.delta.schema().fields}
        missing = [field for field in _fields(table) if field.name not in known]
        if missing:
            handle.delta.alter.add_columns(missing)
        handle.is_complete = True

    def _open_existing(self, table: Table) -> _Handle | None:
        access = self._storage.access()
        with _errors_of(table):
            try:
                return _Handle(DeltaTable(self._storage.location(table), storage_options=access.for_delta()), access)
            except TableNotFoundError:
                return None

    def _create(self, table: Table) -> _Handle:
        access = self._storage.access()
        try:
            delta = DeltaTable.create(
                self._storage.location(table),
                Schema(_fields(table)),
                mode="error",
                name=str(table),
                partition_by=[table.partition_by] if table.partition_by else None,
                configuration=self._properties(table),
                storage_options=access.for_delta(),
            )
        except DeltaError as error:
            handle = self._open_existing(table)  # another worker may have created it in between
            if handle is None:
                raise LakeUnavailable(f"{table} cannot be created: {_words(error)}") from error
            return handle
        log.info("created %s", table)
        return _Handle(delta, access)

    def _properties(self, table: Table) -> dict[str, str]:
        return {} if table.layer is Layer.GOLD else self._silver_properties


@dataclass(frozen=True, slots=True)
class FileAppend:
    """A file's rows for one table, collected until they are committed as a whole."""

    tables: DeltaTables
    table: Table
    file: str
    parts: PartWriter

    def add(self, rows: pl.DataFrame) -> None:
        """Collect rows; nobody sees them yet."""
        self.parts.add(rows)

    def commit(self) -> bool:
        """Commit all rows at once; False, and nothing done, if the table has the file by now."""
        return self.tables.commit_file(self.table, self.file, self.parts.finish())


@dataclass(frozen=True, slots=True)
class TableSnapshot:
    """A table at one version."""

    table: Table
    handle: _Handle
    location: str

    @property
    def key(self) -> str:
        """The table's name and identity: one that was made anew has versions of its own."""
        return f"{self.table}@{self.handle.delta.metadata().id}"

    @property
    def version(self) -> int:
        return self.handle.delta.version()

    def changed(self, instant: str, grain: Grain, since: int) -> Periods | None:
        """The periods of the rows that came or went after version *since*; None when the log does not say.

        Of added files the instants are read, not their range: one late ping must not make a week be computed again.
        """
        access = self.handle.access
        changes = read_changes(self.location, since, self.version, access)
        if changes is None or None in changes.partitions_removed:
            return None
        try:
            starts = (
                scan_files(self.table, changes.added, access).select(grain.start_of(pl.col(instant))).unique().collect()
            )
        except FileNotFoundError:
            return None  # compacted and vacuumed since
        dates = [datetime.fromisoformat(day).date() for day in changes.partitions_removed if day]
        gone = Periods.of_dates(dates) if self.table.partition_by == instant else Periods.of_captures(dates)
        return gone | Periods.of(grain, starts.to_series().drop_nulls())

    def difference(self, since: int) -> Difference | None:
        """The rows that came and went after version *since*; None when the log or the files no longer say."""
        access = self.handle.access
        changes = read_changes(self.location, since, self.version, access)
        if changes is None:
            return None
        try:
            came, went = (scan_files(self.table, files, access).collect() for files in (changes.added, changes.removed))
        except FileNotFoundError:
            return None  # vacuumed since
        return Difference(came, went)

    def scan(self, instant: str, periods: Periods | None) -> pl.LazyFrame:
        """The rows whose instant lies in the periods, or all of them; files that have none are not opened."""
        if periods is None:
            return scan_files(self.table, self.handle.delta.file_uris(), self.handle.access)
        files = [f"{self.location}/{unquote(path)}" for path in self._that_may_hold(instant, periods)]
        return scan_files(self.table, files, self.handle.access).filter(periods.hold(pl.col(instant)))

    def _that_may_hold(self, instant: str, periods: Periods) -> list[str]:
        """The paths of the files whose bounds do not say that no row of theirs lies in the periods.

        With Polars: delta-rs reads the bounds anew for each question, four times as long as all the rest of it.
        """
        files, by = self.handle.files(), self.table.partition_by
        low, high = f"min.{instant}", f"max.{instant}"
        if by == instant:
            low = high = f"partition.{instant}"
        kept = pl.lit(value=True)
        if by == "capture_date" and periods:
            kept &= pl.col("partition.capture_date").cast(pl.Date) >= periods.earliest_capture
        if low in files.columns:
            # The protocol cuts the bounds of an instant to milliseconds.
            first, last = pl.col(low).cast(INSTANT), pl.col(high).cast(INSTANT) + timedelta(milliseconds=1)
            kept &= first.is_null() | last.is_null() | periods.meet(first, last)
        return files.filter(kept)["path"].to_list() if files.height else []


@dataclass(frozen=True, slots=True)
class TableWriter:
    """A derived table, held at one version until it is changed."""

    table: Table
    handle: _Handle

    def seen(self, key: str) -> int | None:
        """The version of a source that the table's rows are computed from."""
        return _seen(self.handle.delta, key)

    def rows(self, where: str | None = None) -> pl.LazyFrame:
        """The table's rows; those of all files that may hold what *where* (SQL) chooses, by the log's statistics."""
        files = self.handle.delta.file_uris(file_pruning_predicate=where)
        return scan_files(self.table, files, self.handle.access)

    def replace(
        self, rows: pl.DataFrame, seen: Mapping[str, int], *, period: str = "", periods: Periods | None = None
    ) -> None:
        """Put the rows in the place of those whose *period* column lies in the periods, or of all rows.

        Raises LakeConflict if the table has moved on.
        """
        predicate = None if periods is None else _of_periods(self.table, period, periods)
        try:
            write_deltalake(
                self.handle.delta,
                self.table.conform(rows),
                mode="overwrite",
                predicate=predicate,
                writer_properties=COMPRESSED,
                commit_properties=_transactions(seen, expires=False),  # what a table has seen is never forgotten
                post_commithook_properties=LOG_STAYS,
            )
        except CommitFailedError as error:
            raise LakeConflict(f"{self.table}: {_words(error)}") from error


def scan_files(table: Table, files: Sequence[str], access: Access) -> pl.LazyFrame:
    """The rows of those files, in the columns and types of the table whatever its files were written with."""
    if not files:
        return table.empty().lazy()
    in_path = {table.partition_by: table.schema[table.partition_by]} if table.partition_by else {}
    return pl.scan_parquet(
        list(files),
        schema=pl.Schema({name: dtype for name, dtype in table.schema.items() if name not in in_path}),
        hive_schema=in_path or None,
        hive_partitioning=bool(in_path),
        missing_columns="insert",
        extra_columns="ignore",
        storage_options=access.for_polars(),
        credential_provider=None,
    ).select(table.schema.names())


def _last_written(delta: DeltaTable) -> datetime | None:
    """When rows last came or went; None while none ever did."""
    commits = delta.history(RECENT_COMMITS)
    written = [commit for commit in commits if commit["operation"] == "WRITE"] or commits[-1:]
    return datetime.fromtimestamp(written[0]["timestamp"] / 1000, UTC) if written else None


def _rows_of(handle: _Handle) -> int:
    files = handle.files()
    return int(files["num_records"].sum()) if files.height else 0


def _seen(delta: DeltaTable, app_id: str) -> int | None:
    return delta.transaction_version(app_id)


def _transactions(versions: Mapping[str, int], *, expires: bool) -> CommitProperties:
    now_ms = time.time_ns() // 1_000_000 if expires else None
    return CommitProperties(
        app_transactions=[Transaction(app_id, version, now_ms) for app_id, version in versions.items()]
    )


def _condition(column: str, periods: Periods, *, is_date: bool) -> str:
    """SQL, with string literals: delta-rs compares TIMESTAMP literals in nanoseconds, and stops on our microseconds."""
    if not periods:
        return "false"
    if is_date:
        return " OR ".join(
            f"({column} >= '{start:%Y-%m-%d}' AND {column} < '{_next_midnight(end):%Y-%m-%d}')"
            for start, end in periods.spans
        )
    return " OR ".join(
        f"({column} >= '{start:%Y-%m-%dT%H:%M:%SZ}' AND {column} < '{end:%Y-%m-%dT%H:%M:%SZ}')"
        for start, end in periods.spans
    )


def _next_midnight(end: datetime) -> datetime:
    """The end of the last day that begins before *end*."""
    return end + timedelta(hours=23, minutes=59, seconds=59)


def _of_periods(table: Table, column: str, periods: Periods) -> str:
    is_date = table.schema[column] == pl.Date()
    condition = _condition(column, periods, is_date=is_date)
    if is_date or table.partition_by is None:
        return condition
    # The hours decide; the dates, a day wider, spare delta-rs the files of all other dates.
    day = timedelta(days=1)
    first, last = periods.spans[0][0] - day, periods.spans[-1][1] + day
    by = table.partition_by
    return f"{by} >= '{first:%Y-%m-%d}' AND {by} <= '{last:%Y-%m-%d}' AND ({condition})"


def _fields(table: Table) -> list[Field]:
    return [Field(name, _delta_type(table, name)) for name in table.schema]


def _delta_type(table: Table, column: str) -> PrimitiveType:
    for dtype, name in DELTA_TYPES:
        if table.schema[column] == dtype:
            return PrimitiveType(name)
    valid = ", ".join(str(dtype) for dtype, _ in DELTA_TYPES)
    raise TypeError(f"{table}.{column} is {table.schema[column]}; a lake table may hold {valid}")


def _foreign_features(table: Table, delta: DeltaTable) -> Iterator[str]:
    protocol, metadata = delta.protocol(), delta.metadata()
    if (protocol.min_reader_version, protocol.min_writer_version) != (READER_VERSION, WRITER_VERSION):
        features = sorted({*(protocol.reader_features or ()), *(protocol.writer_features or ())})
        yield (
            f"{table} asks for reader version {protocol.min_reader_version} and writer version "
            f"{protocol.min_writer_version} ({', '.join(features) or 'no feature named'}); we write "
            f"{READER_VERSION} and {WRITER_VERSION}: something else changed the table"
        )
    wanted = [table.partition_by] if table.partition_by else []
    if metadata.partition_columns != wanted:
        yield f"{table} is partitioned by {metadata.partition_columns}, not by {wanted}"
    for field in delta.schema().fields:
        if field.name in table.schema and field.type != _delta_type(table, field.name):
            yield f"{table}.{field.name} is {field.type}, not {_delta_type(table, field.name)}"


@contextmanager
def _errors_of(table: Table) -> Iterator[None]:
    """Storage that does not answer becomes LakeUnavailable; anything else of delta-rs is a fault of ours, and rises."""
    try:
        yield
    except OSError as error:
        raise LakeUnavailable(f"{table}: {_words(error)}") from error
    except DeltaError as error:
        # What delta-rs hits while it runs a plan has no type of its own.
        if type(error) is DeltaError and "object store" in str(error):
            raise LakeUnavailable(f"{table}: {_words(error)}") from error
        raise


def _words(error: Exception) -> str:
    """One line: delta-rs draws a coloured tree."""
    return " ".join(_ANSI.sub("", str(error)).split())[:500]

"""The port of `maintain` in Delta: rewriting a table's files without changing a row, and deleting what nobody needs.

A rewrite is one commit of removes and adds with `dataChange` false. Found out about delta-rs 1.6.6: it refuses such a
commit when a concurrent one took away rows of the table, and refuses an overwrite of the same rows after it; but of two
concurrent rewrites, be they by its own `optimize`, it accepts both, and every row is there twice. So our rewrites carry
an application transaction, of which it does refuse two at once, and nothing else may rewrite files of our tables.
"""

import logging
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import polars as pl
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError
from deltalake.transaction import AddAction, RemoveAction

from shared.adapters.delta_tables import LOG_STAYS, DeltaTables, TableSnapshot, scan_files
from shared.adapters.lake_storage import LakeStorage
from shared.adapters.parquet_parts import Part, PartWriter
from shared.adapters.sorted_parts import SORT_BYTES, Sorter, StoredFile
from shared.errors import LakeConflict
from shared.medallion.tables import Table
from shared.workflows.maintain import DataFile, Rewrite

log = logging.getLogger(__name__)

REWRITE, VACUUM = "footfall-rewrite", "footfall-vacuum"
"""Application transactions: of the last rewrite, and of the day of the last vacuum."""
SORTED, MERGED = "sorted", "part"
"""What file names begin with."""
FILE_BYTES_IN_MEMORY = 128 * 1024 * 1024
"""Of rows that are merged as they are, in a file; some 30 MB in the storage."""


@dataclass(frozen=True, slots=True)
class DeltaMaintenance:
    """Looks after the tables of one lake."""

    tables: DeltaTables
    storage: LakeStorage
    sort_bytes: int = SORT_BYTES
    """Of Parquet that are sorted in memory at once."""

    def files(self, table: Table) -> list[DataFile]:
        """The files of the table's newest version; none while it does not exist."""
        with self.tables.existing(table) as snapshot:
            return [] if snapshot is None else _files(table, snapshot.handle.delta)

    def rewrite(self, rewrite: Rewrite) -> int:
        """Put the same rows in new files, in one commit that changes no row; how many files there are now.

        Raises LakeConflict, with nothing done, if one of the files is not the table's any more; LakeUnavailable.
        """
        table = rewrite.table
        with self.tables.existing(table) as snapshot:
            # On the handle that commits: what happens to the files from here on, delta-rs sees.
            if snapshot is None or not set(rewrite.files) <= set(_files(table, snapshot.handle.delta)):
                raise LakeConflict(f"{table}: files that were to be rewritten are not the table's any more")
            with closing(_writer(rewrite)) as writer:
                self._write(rewrite, snapshot, writer)
                return self._commit(rewrite, snapshot, writer.finish())

    def _write(self, rewrite: Rewrite, snapshot: TableSnapshot, writer: PartWriter) -> None:
        scan = partial(_scan, rewrite.table, snapshot)
        files = [StoredFile(f"{snapshot.location}/{file.path}", file.bytes, file.rows) for file in rewrite.files]
        try:
            Sorter(scan, rewrite.sort_by, self.sort_bytes).write(files, writer)
        except FileNotFoundError as error:
            raise LakeConflict(f"{rewrite.table}: a file is gone while it is rewritten: {error}") from error

    def _commit(self, rewrite: Rewrite, snapshot: TableSnapshot, parts: Sequence[Part]) -> int:
        table, delta = rewrite.table, snapshot.handle.delta
        _require_all_rows(rewrite, parts)
        now_ms = time.time_ns() // 1_000_000
        values: dict[str, str | None] = {table.partition_by: str(rewrite.day)} if table.partition_by else {}
        removes = [RemoveAction(file.path, False, now_ms, file.bytes, values) for file in rewrite.files]
        adds = [self._upload(part, snapshot, now_ms) for part in parts]
        try:
            delta.create_write_transaction(
                [*removes, *adds],
                mode="append",
                schema=delta.schema(),
                partition_by=delta.metadata().partition_columns,
                commit_properties=_transaction(REWRITE, delta.version()),
                post_commithook_properties=LOG_STAYS,
            )
        except CommitFailedError as error:
            raise LakeConflict(f"{table}: another commit was faster: {error}") from error
        return len(adds)

    def _upload(self, part: Part, snapshot: TableSnapshot, now_ms: int) -> AddAction:
        self.storage.upload(part.file, f"{snapshot.location}/{part.path}")
        size = part.file.stat().st_size
        return AddAction(part.path, size, part.partition_values, now_ms, data_change=False, stats=part.statistics)

    def vacuum(self, table: Table, retention: timedelta, day: int) -> int | None:
        """Delete the files that no version younger than *retention* needs, those of commits that never came among
        them, and log entries that expired; how many files. Once a *day*: None if that was done, or while there is no
        table. Raises LakeUnavailable.
        """
        with self.tables.existing(table) as snapshot:
            if snapshot is None:
                return None
            delta = snapshot.handle.delta
            if (delta.transaction_version(VACUUM) or 0) >= day:
                return None
            hours = round(retention.total_seconds() / 3600)
            deleted = delta.vacuum(hours, dry_run=False, full=True, post_commithook_properties=LOG_STAYS)
            delta.cleanup_metadata()
            _remember(delta, day)
            return len(deleted)


def _remember(delta: DeltaTable, day: int) -> None:
    """A commit of nothing but the day: delta-rs' vacuum commits only when it has deleted something."""
    try:
        delta.create_write_transaction(
            [],
            mode="append",
            schema=delta.schema(),
            partition_by=delta.metadata().partition_columns,
            commit_properties=_transaction(VACUUM, day),
            post_commithook_properties=LOG_STAYS,
        )
    except CommitFailedError:
        log.info("another run has vacuumed as well")


def _transaction(app_id: str, version: int) -> CommitProperties:
    return CommitProperties(app_transactions=[Transaction(app_id, version)])


def _files(table: Table, delta: DeltaTable) -> list[DataFile]:
    actions = pl.DataFrame(delta.get_add_actions(flatten=True))
    if not actions.height:
        return []
    day = pl.col(f"partition.{table.partition_by}").cast(pl.Date) if table.partition_by else pl.lit(None, pl.Date)
    counted = actions.drop_nulls("num_records")  # without a count nothing could tell that a rewrite kept all rows
    found = counted.select("path", "size_bytes", "num_records", day.alias("day"))
    return [
        DataFile(path, size, rows, of_day, path.rpartition("/")[2].startswith(f"{SORTED}-"))
        for path, size, rows, of_day in found.iter_rows()
    ]


def _writer(rewrite: Rewrite) -> PartWriter:
    if rewrite.sort_by:
        most_bytes_in_memory = 0  # whatever is put in at once, a range, is a file
        return PartWriter(rewrite.table, most_bytes_in_memory, prefix=SORTED, is_sorted=True)
    return PartWriter(rewrite.table, FILE_BYTES_IN_MEMORY, prefix=MERGED)


def _scan(table: Table, snapshot: TableSnapshot, locations: Sequence[str]) -> pl.LazyFrame:
    return scan_files(table, locations, snapshot.handle.access)


def _require_all_rows(rewrite: Rewrite, parts: Sequence[Part]) -> None:
    """A rewrite that loses or doubles a row must never be committed, whatever went wrong."""
    before, after = sum(file.rows for file in rewrite.files), sum(part.rows for part in parts)
    if before != after:
        raise RuntimeError(f"{rewrite.table} {rewrite.day}: {before} rows became {after}; nothing was committed")

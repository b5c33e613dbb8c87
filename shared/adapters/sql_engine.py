"""SQL over lake tables with DuckDB, each query in a process of its own (`shared.adapters.sql_worker`).

This side reads the lake: it asks the process which columns and rows of which tables the query needs, writes just those
to Parquet files for it, and reads the result's file. The process has no credentials, and nothing but these files.
"""

import importlib.util
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import polars as pl

from shared.adapters import sql_worker
from shared.errors import RequestRefused
from shared.medallion.tables import INSTANT, Table
from shared.workflows.analytics import SqlLimits, SqlResult, TableReader

SQL_TYPES: Mapping[pl.DataType, str] = {
    pl.String(): "VARCHAR",
    pl.Int64(): "BIGINT",
    pl.Float64(): "DOUBLE",
    pl.Boolean(): "BOOLEAN",
    pl.Binary(): "BLOB",
    pl.Date(): "DATE",
    INSTANT: "TIMESTAMP WITH TIME ZONE",
}
"""The types of lake tables, as the engine calls them."""

THREADS = 2
COMPARE = {"=": "eq", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}


class DuckDbEngine:
    """Runs queries over these tables; may be used from several threads."""

    def __init__(self, tables: Sequence[Table], reader: TableReader) -> None:
        self._tables = {str(table): table for table in tables}
        self._reader = reader

    def query(self, sql: str, limits: SqlLimits) -> SqlResult:
        """Run a query. Raises RequestRefused for one that is wrong, not allowed, or reaches a limit."""
        with tempfile.TemporaryDirectory(prefix="footfall-sql-") as name, _Worker.started(Path(name), limits) as worker:
            tables = {
                name: {column: SQL_TYPES[dtype] for column, dtype in table.schema.items()}
                for name, table in self._tables.items()
            }
            scans = worker.ask(
                {
                    "sql": sql,
                    "tables": tables,
                    "max_rows": limits.max_rows,
                    "memory_mb": limits.memory_mb,
                    "timeout_s": limits.timeout_s,
                    "threads": THREADS,
                }
            )["scans"]
            types = dict(worker.ask(self._fetch(worker, scans))["columns"])
            rows = pl.read_parquet(worker.folder / sql_worker.RESULT, hive_partitioning=False)
        return SqlResult(rows.head(limits.max_rows), rows.height > limits.max_rows, types)

    def _fetch(self, worker: "_Worker", scans: Mapping[str, Any]) -> dict[str, str]:
        """Write what the query needs of each table to a file. The wait for storage counts as the query's time."""
        files: dict[str, str] = {}
        for number, (name, scan) in enumerate(scans.items()):
            table = self._tables[name]
            columns = scan["columns"] or [next(iter(table.schema))]
            wanted = [_condition(table, *comparison) for comparison in scan["filters"]]
            files[name] = f"{number}.parquet"
            rows = self._reader.current(table).rows.select(columns)
            for condition in wanted:
                rows = rows.filter(condition)
            rows.sink_parquet(worker.folder / files[name], compression="lz4")
            worker.require_time()
        return files


def _condition(table: Table, column: str, operator: str, constant: str) -> pl.Expr:
    """A necessary condition for a row to matter; it spares reading files, and the engine applies it again."""
    dtype = table.schema[column]
    value: object = constant
    if dtype == pl.Date():
        value = date.fromisoformat(constant)
    elif dtype == INSTANT:
        value = datetime.fromisoformat(constant)
    compared: pl.Expr = getattr(pl.col(column), COMPARE[operator])(pl.lit(value, dtype))
    return compared


@dataclass(slots=True)
class _Worker:
    """The process of one query, killed when its time is over."""

    process: "subprocess.Popen[bytes]"
    folder: Path
    limits: SqlLimits
    is_late: bool = False

    @classmethod
    @contextmanager
    def started(cls, folder: Path, limits: SqlLimits) -> Iterator["_Worker"]:
        process = subprocess.Popen(
            [sys.executable, "-I", sql_worker.__file__, _packages()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={},
            start_new_session=True,  # Ctrl-C is for us: we end the process
        )
        worker = cls(process, folder.resolve(), limits)
        timer = threading.Timer(limits.timeout_s, worker.expire)
        timer.daemon = True
        timer.start()
        try:
            yield worker
        finally:
            timer.cancel()
            process.kill()
            process.communicate()

    def expire(self) -> None:
        """End the query."""
        self.is_late = True
        self.process.kill()

    def require_time(self) -> None:
        """Raise RequestRefused when the time is over."""
        if self.is_late:
            raise RequestRefused(
                f"the query took longer than {self.limits.timeout_s:g} s, and was stopped; "
                "ask for fewer rows (a WHERE on event_date or store_id), or for fewer combinations"
            )

    def ask(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Send a message and read the answer. Raises RequestRefused when the query is at fault, or at a limit."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = b""
        self.require_time()
        # A process that ended without a word was stopped by its memory limit: only that is not an answer.
        answer: dict[str, Any] = json.loads(line) if line else {"error": "", "kind": "memory"}
        if answer.get("kind") == "memory":
            raise RequestRefused(
                f"the query needs more than {self.limits.memory_mb:,} MB of memory, and was stopped; "
                "ask for fewer rows, columns or groups"
            )
        if "error" in answer:
            raise RequestRefused(answer["error"])
        return answer


def _packages() -> str:
    """The folder that the engine is installed in: an isolated interpreter does not know those of a Function App."""
    found = importlib.util.find_spec("duckdb")
    assert found is not None
    assert found.origin is not None
    return str(Path(found.origin).parents[1])

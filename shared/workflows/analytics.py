"""What analysts ask of gold: which tables there are, rows of one by filters, and SQL with limits."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Protocol

import msgspec
import polars as pl

from shared.errors import RequestRefused, SqlBusy
from shared.medallion.tables import INSTANT, Table

DEFAULT_LIMIT = 1_000
MOST_ROWS = 100_000
FIRST_YEAR, LAST_YEAR = 1969, 9999
MOST_SQL_CHARACTERS = 20_000
CONCURRENT_QUERIES = 2
"""So many SQL queries run at once in a worker; one more is told to come again."""
KEYS = ("event_date", "hour", "hub", "store_id", "promotion_id", "location", "merchant")
"""What gold's rows are about, and so the order in which they are answered."""
FILTERS = ("store_id", "promotion_id")
PARAMETERS = (*FILTERS, "from", "to", "limit", "format")
FUNCTION_KEY = ("code", "clientId")
"""Parameters of the host's own."""

_CURRENT_DAY_WIDER = timedelta(days=1)
"""An hour's local date lies at most so far from its UTC date."""


class Format(StrEnum):
    """What an answer is written in."""

    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"

    @property
    def content_type(self) -> str:
        return {"json": "application/json", "csv": "text/csv"}.get(self, "application/vnd.apache.parquet")


@dataclass(frozen=True, slots=True)
class CurrentTable:
    """A table at its current version, and when its rows were last changed; no version: it does not exist yet."""

    rows: pl.LazyFrame
    row_count: int
    version: int | None
    changed_at: datetime | None


class TableReader(Protocol):
    """The lake's tables, to be read."""

    def current(self, table: Table) -> CurrentTable:
        """A table as it is now. Raises LakeUnavailable."""


@dataclass(frozen=True, slots=True)
class SqlLimits:
    """What a query may take."""

    max_rows: int
    timeout_s: float
    memory_mb: int


@dataclass(frozen=True, slots=True)
class SqlResult:
    """A query's rows, at most as many as the limit; whether there are more; and the names and SQL types of columns."""

    rows: pl.DataFrame
    is_truncated: bool
    types: Mapping[str, str]


class SqlEngine(Protocol):
    """Runs one query over the tables that it may read."""

    def query(self, sql: str, limits: SqlLimits) -> SqlResult:
        """Run a query. Raises RequestRefused for one that is wrong, not allowed, or reaches a limit."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A body and what it is."""

    body: bytes
    content_type: str


class Analytics:
    """Answers analysts; may be used from several threads."""

    def __init__(self, tables: Sequence[Table], reader: TableReader, engine: SqlEngine, limits: SqlLimits) -> None:
        self._tables = {table.name: table for table in tables}
        self._reader = reader
        self._engine = engine
        self._limits = limits
        self._slots = threading.BoundedSemaphore(CONCURRENT_QUERIES)

    def overview(self) -> Answer:
        """Every gold table: its columns, rows, version and newest change."""
        current = {name: self._reader.current(table) for name, table in self._tables.items()}
        changes = [found.changed_at for found in current.values() if found.changed_at]
        listed = [
            {
                "name": name,
                "rows": found.row_count,
                "version": found.version,
                "changed_at": found.changed_at,
                "columns": _columns(self._tables[name].schema),
            }
            for name, found in current.items()
        ]
        return _json({"as_of": max(changes, default=None), "tables": listed})

    def rows(self, name: str, parameters: Sequence[tuple[str, str]]) -> Answer:
        """Rows of a table that meet the filters, in the order of its keys. Raises RequestRefused, LakeUnavailable."""
        table = self._tables.get(name)
        if table is None:
            raise RequestRefused(f"there is no gold table {name!r}; valid are {', '.join(sorted(self._tables))}")
        request = RowsRequest.parse(table, parameters)
        current = self._reader.current(table)
        found = request.apply(current.rows).collect()
        rows, is_truncated = found.head(request.limit), found.height > request.limit
        if request.format is not Format.JSON:
            return _encoded(rows, request.format)
        return _json(
            {
                "table": name,
                "as_of": current.changed_at,
                "columns": _columns(rows.schema),
                "rows": rows.to_dicts(),
                "truncated": is_truncated,
            }
        )

    def sql(self, body: bytes) -> Answer:
        """Run the query in a JSON body. Raises RequestRefused, SqlBusy, LakeUnavailable."""
        request = _parse_sql(body)
        with self._slot():
            result = self._engine.query(request.sql, self._limits)
        if request.format is not Format.JSON:
            return _encoded(result.rows, request.format)
        columns = [{"name": name, "type": dtype} for name, dtype in result.types.items()]
        return _json({"columns": columns, "rows": _plain(result.rows).rows(), "truncated": result.is_truncated})

    @contextmanager
    def _slot(self) -> Iterator[None]:
        if not self._slots.acquire(blocking=False):
            raise SqlBusy(f"{CONCURRENT_QUERIES} queries are running, and no more may at once; try again in seconds")
        try:
            yield
        finally:
            self._slots.release()


@dataclass(frozen=True, slots=True)
class RowsRequest:
    """Which rows of a table are asked for, and in which format."""

    table: Table
    values: Mapping[str, tuple[str, ...]]
    start: datetime | None
    end: datetime | None
    limit: int
    format: Format

    @classmethod
    def parse(cls, table: Table, parameters: Sequence[tuple[str, str]]) -> "RowsRequest":
        """Read the parameters of a URL. Raises RequestRefused for the first one that is not valid for the table."""
        given: dict[str, list[str]] = {}
        for name, value in parameters:
            if name not in FUNCTION_KEY:
                given.setdefault(name, []).append(value)
        for name, values in given.items():
            if name not in PARAMETERS:
                raise RequestRefused(f"there is no parameter {name!r}; valid are {', '.join(PARAMETERS)}")
            if name not in FILTERS and len(values) > 1:
                raise RequestRefused(f"{name} is given {len(values)} times; valid is once")
        for name in FILTERS:
            if name in given and name not in table.schema:
                raise RequestRefused(f"{table} has no column {name}; its columns are {', '.join(table.schema)}")
        if ("from" in given or "to" in given) and "event_date" not in table.schema:
            raise RequestRefused(f"{table} is not by date, so from and to are not valid for it")
        start, end = _once(given, "from", _instant), _once(given, "to", _instant)
        if start and end and start >= end:
            raise RequestRefused(f"from {given['from'][0]!r} is not before to {given['to'][0]!r}")
        return cls(
            table,
            {name: tuple(given[name]) for name in FILTERS if name in given},
            start,
            end,
            _once(given, "limit", _limit) or DEFAULT_LIMIT,
            _once(given, "format", _format) or Format.JSON,
        )

    def apply(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """Those rows of the table, and one more where there are more than the limit."""
        for name, values in self.values.items():
            rows = rows.filter(pl.col(name).is_in(values))
        for wanted in self._period():
            rows = rows.filter(wanted)
        keys = [name for name in self.table.schema if name in KEYS]
        return rows.sort(keys).head(self.limit + 1)

    def _period(self) -> Iterator[pl.Expr]:
        day = pl.col("event_date")
        if "hour" in self.table.schema:
            if self.start:
                yield (pl.col("hour") >= self.start) & (day >= (self.start - _CURRENT_DAY_WIDER).date())
            if self.end:
                yield (pl.col("hour") < self.end) & (day <= (self.end + _CURRENT_DAY_WIDER).date())
            return
        # A day counts from its midnight on.
        if self.start:
            yield day >= _first_midnight_from(self.start)
        if self.end:
            yield day < _first_midnight_from(self.end)


EXAMPLE_BODY = '{"sql": "SELECT * FROM gold.aggregated_trips", "format": "json"}'


class _SqlRequest(msgspec.Struct, forbid_unknown_fields=True):
    sql: str
    format: Format = Format.JSON


def _parse_sql(body: bytes) -> _SqlRequest:
    try:
        request = msgspec.json.decode(body, type=_SqlRequest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequestRefused(f"the body is not valid ({error}); valid is JSON such as {EXAMPLE_BODY}") from error
    if len(request.sql) > MOST_SQL_CHARACTERS:
        raise RequestRefused(
            f"the query has {len(request.sql):,} characters; valid are at most {MOST_SQL_CHARACTERS:,}"
        )
    if not request.sql.strip():
        raise RequestRefused("the query is empty; valid is one SELECT")
    return request


def _once[T](given: Mapping[str, list[str]], name: str, parse: Callable[[str], T]) -> T | None:
    return parse(given[name][0]) if name in given else None


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= MOST_ROWS or len(text) > 9:
        raise RequestRefused(f"limit is {text[:40]!r}; valid is a whole number from 1 to {MOST_ROWS:,}")
    return int(text)


def _format(text: str) -> Format:
    try:
        return Format(text)
    except ValueError as error:
        raise RequestRefused(f"format is {text[:40]!r}; valid are {', '.join(Format)}") from error


def _instant(text: str) -> datetime:
    valid = "valid are a date (2026-06-01, from its midnight UTC) and an instant with its offset (2026-06-01T12:00:00Z)"
    # A plus that was not escaped arrives as a space.
    written = text.replace(" ", "+")
    try:
        found = datetime.fromisoformat(written)
    except ValueError as error:
        raise RequestRefused(f"{text[:40]!r} is no date; {valid}") from error
    if "T" in written.upper() and found.tzinfo is None:
        raise RequestRefused(f"{text[:40]!r} has no offset; {valid}")
    if not FIRST_YEAR < found.year < LAST_YEAR:
        raise RequestRefused(f"{text[:40]!r} is no date after {FIRST_YEAR} and before {LAST_YEAR}; {valid}")
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _first_midnight_from(instant: datetime) -> date:
    return (instant + timedelta(days=1, microseconds=-1)).date()


def _columns(schema: Mapping[str, pl.DataType]) -> list[dict[str, str]]:
    return [{"name": name, "type": TYPE_NAMES[dtype]} for name, dtype in schema.items()]


TYPE_NAMES: Mapping[pl.DataType, str] = {
    pl.String(): "string",
    pl.Int64(): "integer",
    pl.Float64(): "number",
    pl.Boolean(): "boolean",
    pl.Date(): "date",
    INSTANT: "timestamp",
}
"""How the types of gold's columns are called over HTTP."""


def _plain(rows: pl.DataFrame) -> pl.DataFrame:
    """Decimals as numbers, bytes as hexadecimal text: JSON has neither."""
    return rows.with_columns(pl.selectors.decimal().cast(pl.Float64), pl.selectors.binary().bin.encode("hex"))


def _encoded(rows: pl.DataFrame, written: Format) -> Answer:
    return Answer(encode(rows, written), written.content_type)


def encode(rows: pl.DataFrame, written: Format) -> bytes:
    """The rows in that format; JSON is an array of objects, CSV has a header and RFC 3339 instants."""
    import io

    if written is Format.JSON:
        return msgspec.json.encode(_plain(rows).to_dicts())
    target = io.BytesIO()
    if written is Format.CSV:
        _plain(rows).write_csv(target, datetime_format="%Y-%m-%dT%H:%M:%S%.fZ")
    else:
        rows.write_parquet(target)
    return target.getvalue()


def _json(document: object) -> Answer:
    return Answer(msgspec.json.encode(document), Format.JSON.content_type)

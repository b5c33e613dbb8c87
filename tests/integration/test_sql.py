"""SQL over lake tables: what is answered, what is refused, and which limits hold, in the real engine's process."""

import json
import os
import socket
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl
import psutil
import pytest
from typer.testing import CliRunner

from infra.cli import app
from infra.commands.sql import Session, Shell, statements, writer
from shared.adapters import sql_worker
from shared.adapters.delta_tables import DeltaTables
from shared.adapters.lake_storage import LakeStorage
from shared.adapters.sql_engine import DuckDbEngine
from shared.errors import RequestRefused
from shared.medallion.aggregated_trips import AGGREGATED_TRIPS
from shared.medallion.lake import GOLD_TABLES, LAKE_TABLES
from shared.medallion.pings import PINGS
from shared.medallion.store_hourly import STORE_HOURLY
from shared.workflows.analytics import SqlLimits, SqlResult
from tests.fakes_lake import REMEMBERED

pytestmark = pytest.mark.integration

LIMITS = SqlLimits(max_rows=1_000, timeout_s=30, memory_mb=256)
START = datetime(2026, 6, 1, tzinfo=UTC)
TRIPS = AGGREGATED_TRIPS.table
HOURS = STORE_HOURLY.table


def trips() -> pl.DataFrame:
    rows = {"location": ["London", "Leeds", "O'Hare"], "merchant": ["A", "B", "A"], "count": [3, 4, None]}
    return TRIPS.conform(pl.DataFrame(rows, schema_overrides={"count": pl.Int64}))


def store_hours() -> pl.DataFrame:
    """48 hours of two stores; the second one's measures are withheld."""
    hours = [START + timedelta(hours=number) for number in range(48)]
    rows = pl.DataFrame(
        [
            {"event_date": hour.date(), "hour": hour, "store_id": store, "pings": number if store == "s1" else None}
            for number, hour in enumerate(hours)
            for store in ("s1", "s2")
        ],
        schema={"event_date": pl.Date, "hour": HOURS.schema["hour"], "store_id": pl.String, "pings": pl.Int64},
    )
    others = [name for name in HOURS.schema if name not in rows.columns]
    return HOURS.conform(rows.with_columns(pl.lit(None, HOURS.schema[name]).alias(name) for name in others))


@pytest.fixture(name="tables", scope="module")
def _tables(tmp_path_factory: pytest.TempPathFactory) -> DeltaTables:
    tables = DeltaTables(LakeStorage.in_folder(tmp_path_factory.mktemp("lake")), remembered=REMEMBERED)
    for table, rows in ((TRIPS, trips()), (HOURS, store_hours())):
        with tables.derived(table) as derived:
            derived.replace(rows, {})
    return tables


@pytest.fixture(name="gold", scope="module")
def _gold(tables: DeltaTables) -> DuckDbEngine:
    """What POST /api/sql asks."""
    return DuckDbEngine(GOLD_TABLES, tables)


def ask(engine: DuckDbEngine, sql: str, limits: SqlLimits = LIMITS) -> list[tuple[object, ...]]:
    return engine.query(sql, limits).rows.rows()


def refusal(engine: DuckDbEngine, sql: str, limits: SqlLimits = LIMITS) -> str:
    with pytest.raises(RequestRefused) as refused:
        engine.query(sql, limits)
    return str(refused.value)


# Answers


def test_the_ancestor_s_query_works_as_typed(gold: DuckDbEngine):
    assert gold.query("SELECT * FROM gold.aggregated_trips", LIMITS).rows.equals(trips())


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT count(*) FROM gold.store_hourly", [(96,)]),
        ("SELECT sum(pings) FROM gold.store_hourly WHERE store_id = 's1'", [(1128,)]),
        ("SELECT sum(pings) FROM gold.store_hourly WHERE event_date = '2026-06-02'", [(852,)]),
        (
            "SELECT sum(pings) FROM gold.store_hourly WHERE hour BETWEEN '2026-06-01T03:00Z' AND '2026-06-01T04:00Z'",
            [(7,)],
        ),
        (
            "SELECT sum(pings) FROM gold.store_hourly WHERE hour < '2026-06-01T02:00Z' OR event_date > '2026-06-01'",
            [(853,)],
        ),
        ("SELECT count(*) FROM gold.store_hourly WHERE NOT event_date = '2026-06-01' AND pings IS NULL", [(24,)]),
        ("SELECT count FROM gold.aggregated_trips WHERE location = 'O''Hare'", [(None,)]),
        (
            """SELECT count(*) FROM gold.store_hourly WHERE coalesce(
            store_id = 's1' AND event_date = '2026-06-01' AND hour >= '2026-06-01T00:00Z', TRUE)""",
            [(24,)],
        ),
        (
            """SELECT count(*) FROM gold.store_hourly
            WHERE (pings > 3 AND store_id = 's1' AND event_date = '2026-06-01') IS NOT TRUE""",
            [(76,)],
        ),
        ("SELECT count(*) FROM gold.store_hourly WHERE store_id >= 's2' AND store_id < 's3'", [(48,)]),
        (
            "SELECT count(*) FROM gold.store_hourly WHERE store_id = 's1) AND (event_date = ''2026-06-01''::DATE'",
            [(0,)],
        ),
        ("SELECT count(*) FROM gold.promotion_daily WHERE is_final AND event_date = '2026-06-01'", [(0,)]),
        ("SELECT count(*) FROM gold.promotion_daily WHERE is_final = 'true'", [(0,)]),
        ("SELECT count(*) FROM gold.store_hourly WHERE hour::DATE = '2026-06-02' AND store_id LIKE 's1%'", [(24,)]),
        ("SELECT location FROM aggregated_trips WHERE count > 3", [("Leeds",)]),
        (
            """WITH a AS (SELECT * FROM gold.store_hourly WHERE event_date = '2026-06-01')
            SELECT sum(b.pings) - sum(a.pings) FROM a JOIN gold.store_hourly b
            ON b.store_id = a.store_id AND b.hour = a.hour + INTERVAL 1 DAY""",
            [(576,)],
        ),
        (
            "SELECT location FROM gold.aggregated_trips ORDER BY count DESC NULLS LAST; -- as typed",
            [("Leeds",), ("London",), ("O'Hare",)],
        ),
        (
            "FROM (PIVOT aggregated_trips ON location IN ('London', 'Leeds') USING sum(count)) WHERE merchant = 'B'",
            [("B", None, 4)],
        ),
        (
            "SELECT location, rank() OVER (ORDER BY count DESC NULLS LAST) r FROM gold.aggregated_trips QUALIFY r = 1",
            [("Leeds", 1)],
        ),
        (
            "SELECT DATE '2026-06-01', 1.5::DOUBLE, TRUE, [1, 2], 170141183460469231731::VARCHAR",
            [(date(2026, 6, 1), 1.5, True, "[1, 2]", "170141183460469231731")],
        ),
    ],
)
def test_a_query_is_answered_as_if_all_rows_had_been_read(gold: DuckDbEngine, sql: str, rows: list[tuple[object, ...]]):
    assert ask(gold, sql) == rows


def test_a_table_is_described_with_its_columns(gold: DuckDbEngine):
    described = [(name, dtype) for name, dtype, *_ in ask(gold, "DESCRIBE gold.aggregated_trips")]
    assert described == [("location", "VARCHAR"), ("merchant", "VARCHAR"), ("count", "BIGINT")]


def test_gold_s_tables_are_listed_and_no_other(gold: DuckDbEngine):
    listed = {(schema, name) for _, schema, name, *_ in ask(gold, "SHOW ALL TABLES")}
    assert listed == {("gold", table.name) for table in GOLD_TABLES}


def test_a_table_that_was_never_built_has_no_rows(gold: DuckDbEngine):
    assert ask(gold, "SELECT * FROM gold.offers_hourly") == []


def test_columns_of_the_same_name_are_told_apart(gold: DuckDbEngine):
    result = gold.query("SELECT 1 AS n, 2 AS n, 3 AS n_1", LIMITS)
    assert (result.rows.columns, result.rows.rows()) == (["n", "n_1", "n_1_1"], [(1, 2, 3)])


@pytest.mark.parametrize(("asked", "kept", "is_truncated"), [(1_000, 1_000, False), (1_001, 1_000, True)])
def test_more_rows_than_the_limit_are_cut_in_order_and_said(
    gold: DuckDbEngine, asked: int, kept: int, is_truncated: bool
):
    result = gold.query(f"SELECT range AS n FROM range({asked}) ORDER BY n DESC", LIMITS)  # noqa: S608
    assert result.rows["n"].to_list() == list(range(asked - 1, asked - 1 - kept, -1))
    assert result.is_truncated is is_truncated


def test_only_the_columns_and_dates_that_a_query_needs_are_read(tables: DeltaTables):
    read: list[tuple[list[str], int]] = []

    class Seen:
        def current(self, table):
            found = tables.current(table)
            real = found.rows.collect()

            def note(frame: pl.DataFrame) -> pl.DataFrame:
                read.append((frame.columns, frame.height))
                return frame

            # Not seen by the optimizer's pushdown, so what arrives here is what was selected and filtered before.
            return type(found)(_Noting(real.lazy(), note), found.row_count, found.version, found.changed_at)

    asked = "SELECT sum(pings) FROM gold.store_hourly WHERE event_date = '2026-06-02' AND store_id = 's1'"
    assert ask(DuckDbEngine(GOLD_TABLES, Seen()), asked) == [(852,)]
    assert read == [(["event_date", "store_id", "pings"], 24)]


class _Noting:
    """A lazy frame that notes what is written of it."""

    def __init__(self, rows: pl.LazyFrame, note: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
        self._rows, self._note = rows, note

    def select(self, columns: list[str]) -> "_Noting":
        return _Noting(self._rows.select(columns), self._note)

    def filter(self, condition: pl.Expr) -> "_Noting":
        return _Noting(self._rows.filter(condition), self._note)

    def sink_parquet(self, path: Path, *, compression: str) -> None:
        self._note(self._rows.collect()).write_parquet(path, compression=compression)


# Refusals: nothing but gold can be reached


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM 'x.csv'",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM 'https://example.com/x.parquet'",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_blob('/proc/self/environ')",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM parquet_scan('x.parquet')",
        "SELECT * FROM read_parquet('0.parquet')",
        "SELECT * FROM parquet_metadata('0.parquet')",
        "SELECT * FROM sniff_csv('/etc/passwd')",
        "SELECT * FROM query('SELECT 1')",
        "SELECT * FROM query_table('gold.stores')",
        "SELECT * FROM duckdb_settings()",
        "SELECT * FROM pg_catalog.pg_settings",
        "SELECT * FROM duckdb_secrets()",
        "SELECT * FROM duckdb_extensions()",
        "SELECT * FROM enable_logging()",
        "SELECT * FROM pragma_database_size()",
        "SELECT * FROM silver.pings",
        "SELECT * FROM quarantine.bodies",
        "SELECT * FROM memory.gold.stores",
        "SELECT (SELECT count(*) FROM (SELECT * FROM glob('/*')))",
        "WITH a AS (SELECT * FROM read_text('/etc/passwd')) SELECT * FROM a",
        "SELECT getenv('HOME')",
        "SELECT list_transform([1], lambda x: getenv('HOME'))",
        "SELECT current_setting('memory_limit')",
        "SELECT main.current_setting('memory_limit')",
        "SELECT write_log('x')",
        "SELECT sleep_ms(1)",
        "COPY gold.stores TO 'x.csv'",
        "COPY (SELECT 1) TO '/tmp/x.csv'",
        "EXPORT DATABASE 'x'",
        "IMPORT DATABASE 'x'",
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
        "CREATE TABLE x AS SELECT 1",
        "CREATE VIEW x AS SELECT 1",
        "CREATE MACRO f() AS getenv('HOME')",
        "CREATE SECRET s (TYPE s3)",
        "INSERT INTO gold.aggregated_trips VALUES ('a', 'b', 1)",
        "UPDATE gold.aggregated_trips SET count = 1",
        "DELETE FROM gold.aggregated_trips",
        "DROP VIEW gold.aggregated_trips",
        "ATTACH 'x.db'",
        "DETACH memory",
        "USE memory",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET memory_limit = '100GB'",
        "SET lock_configuration = false",
        "RESET memory_limit",
        "PRAGMA database_list",
        "CALL pragma_version()",
        "CHECKPOINT",
        "EXPLAIN SELECT 1",
        "PREPARE p AS SELECT 1",
        "BEGIN",
        "SELECT 1; SELECT 2",
        "SELECT 1; COPY (SELECT 1) TO 'x'",
        "SELECT 1) TO 'x.csv'; --",
        "SELECT 1) TO 'x.csv' --",
        "",
        "-- nothing",
        "SHOW DATABASES",
        "SHOW VARIABLES",
    ],
)
def test_a_query_reaches_nothing_but_gold(gold: DuckDbEngine, sql: str):
    words = refusal(gold, sql)
    assert words
    assert "root:" not in words
    assert "/tmp" not in words.replace(sql, "")


def test_a_column_that_is_none_is_told_with_those_there_are(gold: DuckDbEngine):
    words = refusal(gold, "SELECT merchant,\n  conut FROM gold.aggregated_trips")
    assert '"conut" not found' in words
    assert 'Candidate bindings: "count"' in words
    assert "LINE 2:   conut FROM" in words


def test_a_table_that_is_none_is_told_with_those_there_are(gold: DuckDbEngine):
    assert "there is no table gold.trips; valid are gold.aggregated_trips, " in refusal(gold, "FROM gold.trips")


def test_a_mistake_in_writing_is_shown_where_it_is(gold: DuckDbEngine):
    assert "LINE 1: SELEC 1\n        ^" in refusal(gold, "SELEC 1")


def test_a_sum_that_no_column_can_hold_is_refused_not_rounded(gold: DuckDbEngine):
    assert "out of range" in refusal(gold, "SELECT 9223372036854775807::HUGEINT + 1").lower()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM '/etc/passwd.csv'",
        "COPY (SELECT 1) TO '/x.csv'",
        "ATTACH '/x.db'",
        "LOAD httpfs",
        "INSTALL httpfs",
        "SET memory_limit = '100GB'",
        "SET enable_external_access = true",
        "SELECT * FROM enable_logging()",
    ],
)
def test_the_engine_itself_refuses_what_the_look_at_the_query_might_have_missed(sql: str):
    connection = sql_worker._connect({"tables": {"gold.stores": {}}, "memory_mb": 64, "threads": 1})
    connection.execute("SET lock_configuration = true")
    with pytest.raises((duckdb.PermissionException, duckdb.InvalidInputException)):
        connection.execute(sql).fetchall()


# Limits


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT a.range, b.range FROM range(100000000) a, range(100000000) b",
        "SELECT string_agg(a.range || repeat('x', 1000)) FROM range(10000000) a",
        "SELECT length(repeat('a', 4000000000))",
        "SELECT len(range(1000000000))",
        "SELECT lpad('x', 2000000000, 'y')",
        "SELECT count(*) FROM gold.aggregated_trips WHERE location > repeat('a', 4000000000)",
    ],
)
def test_a_query_that_would_eat_the_memory_is_stopped_and_the_next_one_works(gold: DuckDbEngine, sql: str):
    before = psutil.Process().memory_info().rss
    assert "needs more than 256 MB of memory" in refusal(gold, sql)
    assert psutil.Process().memory_info().rss - before < 50_000_000
    assert ask(gold, "SELECT 1") == [(1,)]


@pytest.mark.parametrize(
    "sql",
    [
        "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r",
        "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range * b.range = 7",
    ],
)
def test_a_query_without_end_is_stopped_at_its_time_and_leaves_no_process(gold: DuckDbEngine, sql: str):
    begun = time.monotonic()
    words = refusal(gold, sql, SqlLimits(max_rows=10, timeout_s=2, memory_mb=256))
    assert "took longer than 2 s" in words
    assert time.monotonic() - begun < 10
    assert not [child for child in psutil.Process().children() if "sql_worker" in " ".join(child.cmdline())]
    assert ask(gold, "SELECT 1") == [(1,)]


def test_the_process_of_a_query_knows_no_setting_of_ours(gold: DuckDbEngine, monkeypatch: pytest.MonkeyPatch):
    """Seen from outside, while it runs."""
    monkeypatch.setenv("LakeStorage", "secret")
    seen: list[dict[str, str]] = []

    class Looking:
        def current(self, table):
            (worker,) = (child for child in psutil.Process().children() if "sql_worker" in " ".join(child.cmdline()))
            seen.append(worker.environ())
            raise RequestRefused("enough")

    assert refusal(DuckDbEngine(GOLD_TABLES, Looking()), "SELECT * FROM gold.stores") == "enough"
    assert "secret" not in json.dumps(seen)
    assert "LakeStorage" in os.environ


def test_a_query_opens_no_connection(gold: DuckDbEngine):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.5)
        port = server.getsockname()[1]
        refusal(gold, f"SELECT * FROM 'http://127.0.0.1:{port}/x.parquet'")  # noqa: S608
        with pytest.raises(TimeoutError):
            server.accept()


# The command


@pytest.fixture(name="session")
def _session(tables: DeltaTables) -> Session:
    return Session(tables)


def test_the_command_asks_silver_and_quarantine_too(session: Session):
    assert session.query("SELECT count(*) n FROM silver.pings, quarantine.bodies;").rows.rows() == [(0,)]
    assert str(PINGS) in {str(table) for table in LAKE_TABLES}


def typed(session: Session, *lines: str | None, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """What the shell writes, and what it says beside."""
    Shell(session, writer("csv", None), iter(lines)).run()
    said = capsys.readouterr()
    return said.out, said.err


def test_the_shell_takes_a_query_over_several_lines(session: Session, capsys: pytest.CaptureFixture[str]):
    out, _ = typed(session, "SELECT count", "FROM gold.aggregated_trips", "WHERE location = 'London';", capsys=capsys)
    assert out == "count\n3\n"


def test_ctrl_c_drops_what_was_typed_and_the_shell_goes_on(session: Session, capsys: pytest.CaptureFixture[str]):
    out, _ = typed(session, "SELECT nonsense", None, "SELECT 1 AS one;", capsys=capsys)
    assert out == "one\n1\n"


def test_a_mistake_is_said_and_the_shell_goes_on(session: Session, capsys: pytest.CaptureFixture[str]):
    out, err = typed(session, "SELECT conut FROM gold.aggregated_trips;", "SELECT 2 AS two;", capsys=capsys)
    assert out == "two\n2\n"
    assert "conut" in err


def test_the_shell_lists_tables_and_their_columns_and_leaves(session: Session, capsys: pytest.CaptureFixture[str]):
    out, err = typed(
        session, ".tables", ".schema aggregated_trips", ".schema x", ".help", ".quit", "SELECT 1;", capsys=capsys
    )
    assert [str(table) for table in LAKE_TABLES] == out.splitlines()[: len(LAKE_TABLES)]
    assert out.splitlines()[len(LAKE_TABLES) :] == [
        "gold.aggregated_trips",
        "  location  String",
        "  merchant  String",
        "  count     Int64",
    ]
    assert "there is no table 'x'" in err
    assert ".schema TABLE" in err


def test_ctrl_c_stops_a_running_query(session: Session, capsys: pytest.CaptureFixture[str]):
    class Interrupted:
        def query(self, sql: str) -> SqlResult:
            raise KeyboardInterrupt

    Shell(Interrupted(), writer("csv", None), iter(["SELECT 1;"])).run()
    assert "stopped" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--format", "xml"], "valid are table, json, csv, parquet"),
        (["--format", "parquet"], "say where with --out FILE"),
        (["--out", "x"], "--out needs a --format"),
    ],
)
def test_options_that_contradict_each_other_are_refused_before_anything_runs(arguments: list[str], words: str):
    refused = CliRunner().invoke(app, ["sql", "SELECT 1", *arguments], env={"COLUMNS": "200"})
    assert refused.exit_code == 2
    assert words in refused.output


def test_a_script_is_parted_by_semicolons_at_line_ends():
    assert list(statements(["SELECT ';'\n", ", 1;\n", "\n", "SELECT 2"])) == ["SELECT ';'\n, 1;\n", "\nSELECT 2"]


def test_a_table_shows_nulls_as_nothing_and_no_character_that_steers_the_terminal(
    session: Session, capsys: pytest.CaptureFixture[str]
):
    writer("table", None)(session.query("SELECT '[red]' || chr(27) || 'x' AS a, NULL AS b, 0.1 + 0.2::DOUBLE AS c"))
    out = capsys.readouterr().out
    assert "[red]\\x1bx" in out
    assert "0.3" in out
    assert "None" not in out


@pytest.mark.parametrize("written", ["json", "csv", "parquet"])
def test_a_result_goes_to_a_file_in_each_format(session: Session, tmp_path: Path, written: str):
    path = tmp_path / "out"
    writer(written, path)(session.query("SELECT * FROM gold.aggregated_trips"))
    read = {
        "json": lambda: pl.DataFrame(json.loads(path.read_bytes()), schema=TRIPS.schema),
        "csv": lambda: pl.read_csv(path, schema=TRIPS.schema),
        "parquet": lambda: pl.read_parquet(path),
    }
    assert read[written]().equals(trips())

"""What analysts are answered: the overview, rows in three formats, SQL, and a refusal while too many queries run."""

import io
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal

import polars as pl
import pytest

from shared.errors import RequestRefused, SqlBusy
from shared.medallion.tables import INSTANT, Table, gold_table
from shared.workflows.analytics import CONCURRENT_QUERIES, Analytics, CurrentTable, SqlLimits, SqlResult

STORES = gold_table(
    "store_hourly",
    {
        "event_date": pl.Date(),
        "hour": INSTANT,
        "store_id": pl.String(),
        "visits": pl.Int64(),
        "dwell_p50_s": pl.Float64(),
    },
)
TRIPS = gold_table("aggregated_trips", {"location": pl.String(), "count": pl.Int64()}, partition_by=None)
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
ROWS = pl.DataFrame(
    [[date(2026, 6, 1)] * 2, [NOON] * 2, ["s1", "s2"], [3, None], [61.5, None]], schema=STORES.schema, orient="col"
)
LIMITS = SqlLimits(max_rows=2, timeout_s=1, memory_mb=64)


@dataclass
class Lake:
    rows: Mapping[Table, pl.DataFrame] = field(default_factory=lambda: {STORES: ROWS})

    def current(self, table: Table) -> CurrentTable:
        if table not in self.rows:
            return CurrentTable(table.empty().lazy(), 0, None, None)
        return CurrentTable(self.rows[table].lazy(), self.rows[table].height, 7, NOON)


@dataclass
class Engine:
    result: SqlResult
    asked: list[tuple[str, SqlLimits]] = field(default_factory=list)

    def query(self, sql: str, limits: SqlLimits) -> SqlResult:
        self.asked.append((sql, limits))
        return self.result


RESULT = SqlResult(
    pl.DataFrame({"n": [1, 2], "share": [Decimal("0.25"), None], "at": [NOON, None], "raw": [b"\x01", None]}),
    is_truncated=True,
    types={"n": "BIGINT", "share": "DECIMAL(3,2)", "at": "TIMESTAMP WITH TIME ZONE", "raw": "BLOB"},
)


def analytics(engine: Engine | None = None) -> Analytics:
    return Analytics((TRIPS, STORES), Lake(), engine or Engine(RESULT), LIMITS)


def test_the_overview_has_every_table_and_the_newest_change_of_all():
    assert json.loads(analytics().overview().body) == {
        "as_of": "2026-06-01T12:00:00Z",
        "tables": [
            {
                "name": "aggregated_trips",
                "rows": 0,
                "version": None,
                "changed_at": None,
                "columns": [{"name": "location", "type": "string"}, {"name": "count", "type": "integer"}],
            },
            {
                "name": "store_hourly",
                "rows": 2,
                "version": 7,
                "changed_at": "2026-06-01T12:00:00Z",
                "columns": [
                    {"name": "event_date", "type": "date"},
                    {"name": "hour", "type": "timestamp"},
                    {"name": "store_id", "type": "string"},
                    {"name": "visits", "type": "integer"},
                    {"name": "dwell_p50_s", "type": "number"},
                ],
            },
        ],
    }


def test_rows_are_objects_in_json_and_a_withheld_measure_is_null():
    answer = json.loads(analytics().rows("store_hourly", [("limit", "2")]).body)
    assert answer["rows"] == [
        {
            "event_date": "2026-06-01",
            "hour": "2026-06-01T12:00:00Z",
            "store_id": "s1",
            "visits": 3,
            "dwell_p50_s": 61.5,
        },
        {
            "event_date": "2026-06-01",
            "hour": "2026-06-01T12:00:00Z",
            "store_id": "s2",
            "visits": None,
            "dwell_p50_s": None,
        },
    ]
    assert (answer["table"], answer["as_of"], answer["truncated"]) == ("store_hourly", "2026-06-01T12:00:00Z", False)


def test_an_answer_says_when_there_are_more_rows_than_its_limit():
    answer = json.loads(analytics().rows("store_hourly", [("limit", "1")]).body)
    assert (len(answer["rows"]), answer["truncated"]) == (1, True)


def test_csv_has_a_header_and_rfc_3339_instants():
    answer = analytics().rows("store_hourly", [("format", "csv")])
    assert answer.content_type == "text/csv"
    assert answer.body.decode().splitlines() == [
        "event_date,hour,store_id,visits,dwell_p50_s",
        "2026-06-01,2026-06-01T12:00:00Z,s1,3,61.5",
        "2026-06-01,2026-06-01T12:00:00Z,s2,,",
    ]


def test_parquet_keeps_the_types():
    answer = analytics().rows("store_hourly", [("format", "parquet")])
    assert answer.content_type == "application/vnd.apache.parquet"
    assert pl.read_parquet(io.BytesIO(answer.body)).equals(ROWS)


def test_a_table_that_is_none_is_answered_with_those_there_are():
    with pytest.raises(RequestRefused, match="no gold table 'pings'; valid are aggregated_trips, store_hourly"):
        analytics().rows("pings", [])


def test_sql_is_answered_with_columns_and_rows():
    engine = Engine(RESULT)
    answer = json.loads(analytics(engine).sql(b'{"sql": "SELECT 1"}').body)
    assert engine.asked == [("SELECT 1", LIMITS)]
    assert answer == {
        "columns": [
            {"name": "n", "type": "BIGINT"},
            {"name": "share", "type": "DECIMAL(3,2)"},
            {"name": "at", "type": "TIMESTAMP WITH TIME ZONE"},
            {"name": "raw", "type": "BLOB"},
        ],
        "rows": [[1, 0.25, "2026-06-01T12:00:00Z", "01"], [2, None, None, None]],
        "truncated": True,
    }


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"SELECT 1", "the body is not valid"),
        (b"\xff", "the body is not valid"),
        (b"{}", "missing required field `sql`"),
        (b'{"sql": 1}', "Expected `str`, got `int`"),
        (b'{"sql": "SELECT 1", "limit": 1}', "unknown field `limit`"),
        (b'{"sql": "SELECT 1", "format": "xml"}', "Invalid enum value 'xml'"),
        (b'{"sql": " "}', "the query is empty; valid is one SELECT"),
        (json.dumps({"sql": "x" * 20_001}).encode(), "the query has 20,001 characters; valid are at most 20,000"),
    ],
)
def test_a_body_that_is_not_valid_is_refused_in_words(body: bytes, words: str):
    with pytest.raises(RequestRefused) as refused:
        analytics().sql(body)
    assert words in str(refused.value)


def test_one_query_too_many_is_told_to_come_again_and_the_next_one_runs():
    inside, go_on = threading.Barrier(CONCURRENT_QUERIES + 1), threading.Event()

    class Slow(Engine):
        def query(self, sql: str, limits: SqlLimits) -> SqlResult:
            if sql == "slow":
                inside.wait(10)
                assert go_on.wait(10)
            return self.result

    asked = analytics(Slow(RESULT))
    threads = [threading.Thread(target=asked.sql, args=(b'{"sql": "slow"}',)) for _ in range(CONCURRENT_QUERIES)]
    for thread in threads:
        thread.start()
    inside.wait(10)
    with pytest.raises(SqlBusy, match="try again"):
        asked.sql(b'{"sql": "SELECT 1"}')
    go_on.set()
    for thread in threads:
        thread.join()
    assert asked.sql(b'{"sql": "SELECT 1"}').body

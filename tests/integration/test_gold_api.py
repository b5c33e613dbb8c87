"""The HTTP doors to gold over a real lake, on disk and on Azurite: shapes, filters, formats, statuses."""

import io
import json
from urllib.parse import urlencode

import azure.functions as func
import polars as pl
import pytest

from functions import analytics as doors
from shared import bootstrap
from shared.adapters.sql_engine import DuckDbEngine
from shared.errors import LakeUnavailable
from shared.medallion.aggregated_trips import AGGREGATED_TRIPS
from shared.medallion.lake import GOLD_TABLES
from shared.medallion.store_hourly import STORE_HOURLY
from shared.workflows.analytics import Analytics, SqlLimits
from tests.integration.lakes import Lake

pytestmark = pytest.mark.integration

TRIPS, HOURS = AGGREGATED_TRIPS.table, STORE_HOURLY.table
LIMITS = SqlLimits(max_rows=100, timeout_s=30, memory_mb=256)


def trips() -> pl.DataFrame:
    return TRIPS.conform(pl.DataFrame({"location": ["Leeds", "London"], "merchant": ["B", "A"], "count": [4, 3]}))


def hours() -> pl.DataFrame:
    rows = pl.DataFrame(
        {"store_id": ["s1", "s2", "s1"], "visits": [1, None, 3]}, schema_overrides={"visits": pl.Int64}
    ).with_columns(
        event_date=pl.Series(["2026-06-01", "2026-06-01", "2026-06-02"]).str.to_date(),
        hour=pl.Series(["2026-06-01T10:00Z", "2026-06-01T11:00Z", "2026-06-02T10:00Z"])
        .str.to_datetime(time_zone="UTC")
        .dt.cast_time_unit("us"),
    )
    others = [pl.lit(None, dtype).alias(name) for name, dtype in HOURS.schema.items() if name not in rows.columns]
    return HOURS.conform(rows.with_columns(others))


@pytest.fixture(autouse=True)
def _app(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """The functions as wired on Azure, over this lake."""
    tables = lake.tables()
    for table, rows in ((TRIPS, trips()), (HOURS, hours())):
        with tables.derived(table) as derived:
            derived.replace(rows, {})
    reader = lake.tables()
    wired = Analytics(GOLD_TABLES, reader, DuckDbEngine(GOLD_TABLES, reader), LIMITS)
    monkeypatch.setattr(bootstrap, "analytics", lambda: wired)


def call(door: object, request: func.HttpRequest) -> func.HttpResponse:
    response = door.build().get_user_function()(request)
    assert isinstance(response, func.HttpResponse)
    return response


def get(table: str, *parameters: tuple[str, str]) -> func.HttpResponse:
    url = f"http://localhost/api/gold/{table}?{urlencode([*parameters, ('code', 'key')])}"
    return call(doors.gold_table, func.HttpRequest("GET", url, route_params={"table": table}, body=b""))


def post(body: bytes) -> func.HttpResponse:
    return call(doors.gold_sql, func.HttpRequest("POST", "http://localhost/api/sql", body=body))


def document(response: func.HttpResponse) -> dict:
    assert response.mimetype == "application/json"
    return json.loads(response.get_body())


def test_the_overview_tells_each_table_s_rows_version_and_columns():
    answer = document(call(doors.gold_overview, func.HttpRequest("GET", "http://localhost/api/gold", body=b"")))
    tables = {table["name"]: table for table in answer["tables"]}
    assert list(tables) == [table.name for table in GOLD_TABLES]
    assert (tables["aggregated_trips"]["rows"], tables["aggregated_trips"]["version"]) == (2, 1)
    assert tables["offers_hourly"]["version"] is None
    assert answer["as_of"] == max(table["changed_at"] for table in tables.values() if table["changed_at"])
    for table in GOLD_TABLES:
        assert [column["name"] for column in tables[table.name]["columns"]] == list(table.schema)


def test_reading_creates_no_table(lake: Lake):
    assert document(get("offers_hourly"))["rows"] == []
    assert {summary.name for summary in lake.tables().summaries() if summary.version is not None} == {
        str(TRIPS),
        str(HOURS),
    }


def test_looking_after_a_table_s_files_does_not_make_it_newer(lake: Lake):
    before = document(get("store_hourly"))["as_of"]
    lake.delta(HOURS).optimize.compact()
    assert document(get("store_hourly"))["as_of"] == before


def test_rows_are_answered_in_the_order_of_their_keys():
    assert document(get("aggregated_trips"))["rows"] == trips().to_dicts()


def test_rows_are_filtered_by_stores_and_period():
    found = document(get("store_hourly", ("store_id", "s1"), ("store_id", "s2"), ("to", "2026-06-02")))["rows"]
    assert [(row["hour"], row["store_id"], row["visits"]) for row in found] == [
        ("2026-06-01T10:00:00Z", "s1", 1),
        ("2026-06-01T11:00:00Z", "s2", None),
    ]


@pytest.mark.parametrize(
    ("written", "content_type", "read"),
    [
        ("csv", "text/csv", pl.read_csv),
        ("parquet", "application/vnd.apache.parquet", pl.read_parquet),
    ],
)
def test_rows_are_answered_in_other_formats(written: str, content_type: str, read):
    response = get("aggregated_trips", ("format", written))
    assert response.mimetype == content_type
    assert read(io.BytesIO(response.get_body())).equals(trips())


def test_sql_is_answered_with_its_columns_and_rows():
    assert document(post(b'{"sql": "SELECT merchant, count FROM gold.aggregated_trips ORDER BY count"}')) == {
        "columns": [{"name": "merchant", "type": "VARCHAR"}, {"name": "count", "type": "BIGINT"}],
        "rows": [["A", 3], ["B", 4]],
        "truncated": False,
    }


@pytest.mark.parametrize(
    ("parameter", "words"),
    [
        (("promotion_id", "p"), "gold.store_hourly has no column promotion_id"),
        (("from", "soon"), "'soon' is no date"),
        (("limit", "0"), "limit is '0'"),
        (("colour", "red"), "there is no parameter 'colour'"),
    ],
)
def test_what_is_not_valid_is_answered_with_400_and_what_would_be(parameter: tuple[str, str], words: str):
    response = get("store_hourly", parameter)
    assert response.status_code == 400
    assert words in document(response)["error"]


@pytest.mark.parametrize("table", ["pings", "gold.stores", "..%2Fsilver%2Fpings", ""])
def test_a_table_outside_gold_is_answered_with_400(table: str):
    response = get(table)
    assert response.status_code == 400
    assert "valid are aggregated_trips, data_quality_hourly" in document(response)["error"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"sql": "SELECT * FROM silver.pings"}',
        b'{"sql": "SELECT * FROM gold.aggregated_trips VERSION AS OF 0"}',
        b'{"sql": "SELECT * FROM gold.aggregated_trips AT (VERSION => 0)"}',
    ],
)
def test_sql_that_may_not_run_is_answered_with_400(body: bytes):
    response = post(body)
    assert response.status_code == 400
    assert document(response)["error"]


def test_a_lake_that_does_not_answer_is_503(monkeypatch: pytest.MonkeyPatch):
    class Away:
        def current(self, table):
            raise LakeUnavailable(f"{table}: no answer")

    wired = Analytics(GOLD_TABLES, Away(), DuckDbEngine(GOLD_TABLES, Away()), LIMITS)
    monkeypatch.setattr(bootstrap, "analytics", lambda: wired)
    for response in (get("aggregated_trips"), post(b'{"sql": "SELECT * FROM gold.aggregated_trips"}')):
        assert response.status_code == 503
        assert document(response) == {"error": "gold.aggregated_trips: no answer"}

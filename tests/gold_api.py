"""The page with an HTTP API over frames in memory: the contract of `functions/`, for tests of what the page shows.

Tests that need odd gold (withheld, empty, 23,000 stores) use it; one test runs the page on the app's real functions.
"""

import json
import tempfile
import threading
from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import azure.functions as func
import duckdb
import polars as pl

from functions import dashboard

KEY = "a-key-of-the-tests"


class GoldApi:
    """Serves the page's own functions, and `gold` and `sql` over `tables`; remembers what it was asked."""

    def __init__(self, tables: Mapping[str, pl.DataFrame], as_of: datetime | None) -> None:
        self.as_of = as_of
        self.version = 0
        self.asked: list[str] = []
        self.keyless: list[str] = []
        self._lock = threading.Lock()
        self._database = duckdb.connect()
        self.replace(tables)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def page(self) -> str:
        return f"{self.origin}/api/dashboard?code={KEY}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._database.close()

    def replace(self, tables: Mapping[str, pl.DataFrame]) -> None:
        """New contents of the tables, as after a build."""
        with self._lock:
            self.tables = dict(tables)
            self.version += 1
            self._database.execute("CREATE SCHEMA IF NOT EXISTS gold; SET TimeZone = 'UTC'")
            for name, frame in self.tables.items():
                with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
                    frame.write_parquet(file.name)
                    self._database.execute(f"DROP TABLE IF EXISTS gold.{name}")
                    self._database.read_parquet(file.name).create(f"gold.{name}")

    def answer(self, method: str, address: str, headers: Mapping[str, str], body: bytes) -> func.HttpResponse:
        url = urlsplit(address)
        path = url.path.removeprefix("/api/")
        query = parse_qs(url.query)
        self.asked.append(address)
        if path == "dashboard" or path.startswith("dashboard/"):
            return _page(path, address, query)
        if headers.get("x-functions-key") != KEY:
            self.keyless.append(address)
            return func.HttpResponse(status_code=401)
        with self._lock:
            if path == "gold":
                return _json(self._catalogue())
            if path == "sql" and method == "POST":
                return self._sql(json.loads(body)["sql"])
            return self._rows(path.removeprefix("gold/"), query)

    def _catalogue(self) -> dict[str, Any]:
        tables = [
            {
                "name": name,
                "rows": frame.height,
                "version": self.version,
                "changed_at": _plain(self.as_of),
                "columns": [{"name": column, "type": str(kind)} for column, kind in frame.schema.items()],
            }
            for name, frame in self.tables.items()
        ]
        return {"as_of": _plain(self.as_of), "tables": tables}

    def _rows(self, name: str, query: Mapping[str, list[str]]) -> func.HttpResponse:
        if name not in self.tables:
            return _json({"error": f"there is no table {name!r}"}, 404)
        rows = self.tables[name]
        for column in ("store_id", "promotion_id"):
            if column in query:
                rows = rows.filter(pl.col(column).is_in(query[column]))
        if "from" in query:
            rows = rows.filter(pl.col("event_date") >= date.fromisoformat(query["from"][0]))
        if "to" in query:
            rows = rows.filter(pl.col("event_date") < date.fromisoformat(query["to"][0]))
        limit = int(query.get("limit", ["1000"])[0])
        plain = [{key: _plain(value) for key, value in row.items()} for row in rows.head(limit).iter_rows(named=True)]
        document = {"table": name, "as_of": _plain(self.as_of), "columns": rows.columns, "rows": plain}
        return _json({**document, "truncated": rows.height > limit})

    def _sql(self, text: str) -> func.HttpResponse:
        try:
            result = self._database.execute(text)
        except duckdb.Error as error:
            return _json({"error": str(error)}, 400)
        columns = [column[0] for column in result.description or ()]
        rows = [[_plain(value) for value in row] for row in result.fetchall()]
        return _json({"columns": columns, "rows": rows, "truncated": False})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(b"")

            def do_POST(self) -> None:
                self._answer(self.rfile.read(int(self.headers["Content-Length"])))

            def _answer(self, body: bytes) -> None:
                answer = api.answer(self.command, self.path, self.headers, body)
                content = answer.get_body()
                self.send_response(HTTPStatus(answer.status_code))
                for name, value in (answer.headers or {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Type", f"{answer.mimetype}; charset={answer.charset}")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Nothing is printed."""

        return Handler


def _page(path: str, address: str, query: Mapping[str, list[str]]) -> func.HttpResponse:
    _, *rest = path.split("/")
    parameters = {name: values[0] for name, values in query.items()}
    route = dict(zip(("version", "file"), rest, strict=False))
    name = "dashboard_file" if rest else "dashboard"
    request = func.HttpRequest("GET", address, params=parameters, route_params=route, body=b"")
    response: func.HttpResponse = _functions()[name](request)
    return response


@cache
def _functions() -> dict[str, Any]:
    app = func.FunctionApp()
    app.register_functions(dashboard.bp)
    return {function.get_function_name(): function.get_user_function() for function in app.get_functions()}


def _json(document: object, status: int = 200) -> func.HttpResponse:
    return func.HttpResponse(json.dumps(document), status_code=status, mimetype="application/json")


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value.isoformat() if isinstance(value, date) else value

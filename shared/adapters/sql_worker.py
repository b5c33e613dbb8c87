"""The process in which one SQL query runs: it has the query and the rows that it names, and nothing else.

Started by `shared.adapters.sql_engine` with an empty environment in an empty folder, and killed at its time limit.
DuckDB counts most of its memory, but not what a single function makes (with a limit of 256 MB, `repeat('x',
4000000000)` took 7.7 GB, and could not be interrupted for 35 s): therefore a process, whose memory the operating system
limits.

Protocol, a JSON document a line. In: the query, the tables there are, the limits. Out: which columns of which tables
it needs, and what their rows must be like. In: the Parquet files of those. Out: the columns of the result, which lies
in RESULT. Instead of either answer: `error` and `kind`.
"""

import json
import os
import re
import resource
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

RESULT = "result.parquet"

TABLE_FUNCTIONS = frozenset({"generate_series", "range", "unnest"})
"""What a query may read besides tables; the others read files, settings, or the engine itself."""
REFUSED_FUNCTIONS = frozenset(
    {
        "current_query",
        "current_setting",
        "currval",
        "getenv",
        "getvariable",
        "json_execute_serialized_sql",
        "nextval",
        "parse_duckdb_log_message",
        "setseed",
        "setval",
        "sleep_ms",
        "write_log",
    }
)
"""Scalar functions that reach settings, the log, or nothing but time."""

PLANNERS = frozenset({"cte_inlining", "filter_pullup", "filter_pushdown", "unused_columns"})
"""The optimizers that tell which columns and rows a query needs; the others would look into tables that are empty."""

KEPT = frozenset({"BIGINT", "BLOB", "BOOLEAN", "DATE", "DOUBLE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "VARCHAR"})
WHOLE = frozenset(
    {"TINYINT", "SMALLINT", "INTEGER", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "HUGEINT", "UHUGEINT"}
)

HEADROOM_MB = 256
"""What the process may take beyond the engine's own limit: code, threads, buffers that the engine does not count."""

_TEXT = r"'((?:[^']|'')*)'"
_ATOM = re.compile(rf"\((\w+) (=|>=|<=|>|<) {_TEXT}(?:::(DATE|TIMESTAMP WITH TIME ZONE))?\)")


class Refused(Exception):
    """The query is not one that may run; the message says what would be valid."""


def main() -> None:
    """Answer the one query that comes on standard input."""
    packages, *_ = sys.argv[1:]
    sys.path.append(packages)
    import duckdb

    request = json.loads(sys.stdin.readline())
    _limit_process(request)
    try:
        sql = one_select(request)
        scans = plan(request, sql)
        _say({"scans": scans})
        files = json.loads(sys.stdin.readline())
        _say({"columns": run(request, sql, scans, files)})
    except Refused as refused:
        _say({"error": str(refused), "kind": "refused"})
    except (duckdb.OutOfMemoryException, MemoryError):
        _say({"error": "", "kind": "memory"})
    except duckdb.Error as error:
        # Files that cannot be written are a limit of ours; everything else is about the query.
        kind = "memory" if "bad_alloc" in str(error) else "query"
        _say({"error": _in_words(str(error)), "kind": kind})


def one_select(request: Mapping[str, Any]) -> str:
    """The query without what follows its statement. Raises Refused for what is no single SELECT over the tables."""
    connection = _connect(request)
    statements = connection.extract_statements(f"\n{request['sql']}")
    if len(statements) != 1:
        raise Refused(f"one SELECT at a time is valid; here are {len(statements) or 'no'} statements")
    kind = statements[0].type.name
    if kind == "MULTI":
        raise Refused("PIVOT must name its values: SELECT * FROM (PIVOT ... ON column IN (...) USING ...)")
    if kind != "SELECT":
        raise Refused(f"only SELECT (with WITH, DESCRIBE, SUMMARIZE, SHOW TABLES) is valid; this is {kind}")
    sql = _without_end(request["sql"])
    tree = json.loads(connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchall()[0][0])
    if tree["error"]:
        raise Refused(f"this statement is not supported: {tree['error_message']}")
    _require_known(tree, request["tables"])
    return sql


def _without_end(sql: str) -> str:
    """A statement without the semicolons after it (or before), so that it can stand in another one."""
    import duckdb

    written = bytearray(sql, "utf-8")
    for offset, _ in duckdb.tokenize(sql):
        if written[offset : offset + 1] == b";":
            written[offset : offset + 1] = b" "
    return written.decode()


def plan(request: Mapping[str, Any], sql: str) -> dict[str, dict[str, Any]]:
    """The columns that the query reads of each table, and comparisons with constants that its rows must meet."""
    connection = _connect(request)
    for name, columns in request["tables"].items():
        listed = ", ".join(f"{_quoted(column)} {dtype}" for column, dtype in columns.items())
        connection.execute(f"CREATE TABLE {name} ({listed})")
    optimizers = [name for (name,) in connection.execute("SELECT name FROM duckdb_optimizers()").fetchall()]
    off = ",".join(name for name in optimizers if name not in PLANNERS)
    connection.execute(f"SET disabled_optimizers = '{off}'")
    connection.execute("SET lock_configuration = true")
    ((_, explained),) = connection.execute(f"EXPLAIN (FORMAT json)\n{sql}").fetchall()
    return _scans(json.loads(explained), request["tables"])


def run(request: Mapping[str, Any], sql: str, scans: Mapping[str, Any], files: Mapping[str, str]) -> list[list[str]]:
    """Run the query over the files, write its rows (one more than the limit, to tell that there are) to RESULT."""
    connection = _connect(request)
    for name, columns in request["tables"].items():
        connection.execute(f"CREATE VIEW {name} AS {_view(name, columns, scans, files)}")
    connection.execute("SET lock_configuration = true")
    names, types = _described(connection, sql)
    cast = ", ".join(_column(number, name, types[number]) for number, name in enumerate(names))
    limit = request["max_rows"] + 1
    target = _text(str(Path.cwd() / RESULT))
    query = f"SELECT {cast} FROM (\n{sql}\n) LIMIT {limit}"  # noqa: S608 (the query is what is asked for)
    connection.execute(f"COPY ({query}) TO {target} (FORMAT parquet)")
    return [[name, dtype] for name, dtype in zip(names, types, strict=True)]


def _in_words(error: str) -> str:
    """The engine's message without paths; it counts from a line of ours above the query."""
    own = error.replace(f"{os.getcwd()}/", "")
    return re.sub(r"\bLINE (\d+):", lambda found: f"LINE {int(found[1]) - 1}:", own)


def _limit_process(request: Mapping[str, Any]) -> None:
    """More memory than the engine may use is given to the process, for its code and its threads; no core dumps; an end
    for one whose parent has died.
    """
    used = 0
    if sys.platform == "linux":
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    memory = used + (request["memory_mb"] + HEADROOM_MB) * 1_000_000
    seconds = int(request["timeout_s"] * request["threads"]) + 5
    for kind, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, request["memory_mb"] * 1_000_000),
    ):
        resource.setrlimit(kind, (value, value))


def _connect(request: Mapping[str, Any]) -> "DuckDBPyConnection":
    """An engine of its own that reaches no file outside this folder, no network and no extension, and never spills."""
    import duckdb

    connection = duckdb.connect(
        ":memory:",
        config={
            "memory_limit": f"{request['memory_mb']}MB",
            "threads": str(request["threads"]),
            "temp_directory": "",
            "max_temp_directory_size": "0KB",
            "allow_community_extensions": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "python_enable_replacements": "false",
        },
    )
    connection.execute(f"SET allowed_directories = [{_text(os.getcwd())}]")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET TimeZone = 'UTC'")
    schemas = dict.fromkeys(name.partition(".")[0] for name in request["tables"])
    for schema in schemas:
        connection.execute(f"CREATE SCHEMA {schema}")
    connection.execute(f"SET search_path = {_text(','.join(schemas))}")
    return connection


def _require_known(tree: object, tables: Mapping[str, Any]) -> None:
    nodes = list(_nodes(tree))
    defined = {
        entry["key"] for node in nodes if isinstance(node.get("cte_map"), dict) for entry in node["cte_map"]["map"]
    }
    plain = defined.union(name.partition(".")[2] for name in tables)
    for node in nodes:
        if node.get("type") == "BASE_TABLE":
            _require_table(node, tables, {name.lower() for name in plain})
        elif node.get("type") == "SHOW_REF" and node["query"] is None:
            if node["table_name"].strip('"') not in ("tables", "__show_tables_expanded"):
                raise Refused("of SHOW, valid are SHOW TABLES and SHOW ALL TABLES")
        elif node.get("type") == "TABLE_FUNCTION":
            _require_function(node["function"]["function_name"])
        elif str(node.get("function_name", "")).lower() in REFUSED_FUNCTIONS:
            raise Refused(f"the function {node['function_name']} may not be used here")


def _require_table(node: Mapping[str, Any], tables: Mapping[str, Any], plain: set[str]) -> None:
    schema, name = node["schema_name"].lower(), node["table_name"].lower()
    if not node["catalog_name"]:
        if schema == "" and name in plain:
            return
        if f"{schema}.{name}" in tables or (schema == "information_schema" and name in ("columns", "tables")):
            return
    asked = ".".join(part for part in (node["catalog_name"], node["schema_name"], node["table_name"]) if part)
    raise Refused(f"there is no table {asked}; valid are {', '.join(sorted(tables))}")


def _require_function(name: str) -> None:
    if name.lower() not in TABLE_FUNCTIONS:
        valid = ", ".join(sorted(TABLE_FUNCTIONS))
        raise Refused(f"the table function {name} may not be used here; valid are {valid}, and the tables by name")


def _nodes(tree: object) -> Iterator[dict[str, Any]]:
    """Every object in a JSON document."""
    pending = [tree]
    while pending:
        item = pending.pop()
        if isinstance(item, dict):
            yield item
            pending.extend(item.values())
        elif isinstance(item, list):
            pending.extend(item)


def _scans(plan: object, tables: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What the plan reads of each table. Of one that is read twice, the columns of both, and all rows."""
    found: dict[str, dict[str, Any]] = {}
    for node in _nodes(plan):
        name = str(node.get("Table", "")).removeprefix("memory.")
        if name in tables:
            # The columns that only filters use are not among the projections.
            words = {*_listed(node.get("Projections")), *re.findall(r"\w+", " ".join(_listed(node.get("Filters"))))}
            columns = [column for column in tables[name] if column in words]
            known = found.get(name)
            if known is None:
                found[name] = {"columns": columns, "filters": _comparisons(node.get("Filters"), tables[name])}
            else:
                known["columns"] = list(dict.fromkeys([*known["columns"], *columns]))
                known["filters"] = []
    return found


def _comparisons(filters: object, columns: Mapping[str, str]) -> list[list[str]]:
    """(column, operator, constant) of those filters that are nothing but that; the engine applies all of them too."""
    found: list[list[str]] = []
    for condition in _listed(filters):
        atoms = [_ATOM.fullmatch(condition)]
        if atoms == [None]:
            inner = condition.removeprefix("(").removesuffix(")")
            atoms = [_ATOM.fullmatch(part) for part in inner.split(" AND ")]
        # All or none: of a part alone nobody knows what stands around it.
        if all(atom is not None and _is_exact(atom, columns) for atom in atoms):
            found += [[atom[1], atom[2], atom[3].replace("''", "'")] for atom in atoms if atom is not None]
    return found


def _is_exact(atom: re.Match[str], columns: Mapping[str, str]) -> bool:
    """Whether Polars compares these as the engine does: texts as equal or not, dates and instants in every way."""
    dtype = columns.get(atom[1])
    return (dtype == "VARCHAR" and atom[2] == "=" and atom[4] is None) or (dtype == atom[4] and dtype is not None)


def _listed(value: object) -> list[str]:
    """The plan writes a list of one as that one, and none as an empty text."""
    if isinstance(value, str):
        return [value] if value else []
    return value if isinstance(value, list) else []


def _view(name: str, columns: Mapping[str, str], scans: Mapping[str, Any], files: Mapping[str, str]) -> str:
    """The table with the columns that were fetched. Each other column raises an error where it is used: the plan said
    that it is not, and a wrong plan must not give a wrong answer.
    """
    fetched = scans[name]["columns"] if name in files else []
    listed = ", ".join(
        f"{_quoted(column)}::{dtype} AS {_quoted(column)}"
        if column in fetched
        else f"error({_text(f'{name}.{column} was not fetched')})::{dtype} AS {_quoted(column)}"
        for column, dtype in columns.items()
    )
    if name in files:
        return f"SELECT {listed} FROM read_parquet({_text(str(Path.cwd() / files[name]))})"  # noqa: S608 (all quoted)
    return f"SELECT {listed} WHERE false"


def _described(connection: "DuckDBPyConnection", sql: str) -> tuple[list[str], list[str]]:
    """Names (made different where the query repeats one) and types of the result's columns."""
    rows = connection.execute(f"DESCRIBE SELECT * FROM (\n{sql}\n)").fetchall()  # noqa: S608 (as in run)
    names: list[str] = []
    for name, *_ in rows:
        unique = name
        number = 1
        while unique in names:
            unique = f"{name}_{number}"
            number += 1
        names.append(unique)
    return names, [row[1] for row in rows]


def _column(number: int, name: str, dtype: str) -> str:
    """A result column in one of the types that every output format has."""
    if dtype in KEPT or dtype.startswith("DECIMAL"):
        kept = dtype
    elif dtype in WHOLE:
        kept = "BIGINT"
    else:
        kept = {"FLOAT": "DOUBLE", "TIMESTAMP_S": "TIMESTAMP", "TIMESTAMP_MS": "TIMESTAMP"}.get(dtype, "VARCHAR")
    return f"CAST(#{number + 1} AS {kept}) AS {_quoted(name)}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _say(answer: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

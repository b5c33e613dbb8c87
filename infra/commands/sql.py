"""`footfall sql`: ask gold, silver and quarantine of the laptop's lake; one query, or a shell."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Protocol

import typer
from rich.table import Column
from rich.table import Table as Shown
from rich.text import Text

from infra.commands.common import HomeOption, console, errors, running_stack
from infra.local.app_settings import read_settings
from infra.local.home import DEFAULT_HOME
from infra.local.lake import lake_tables
from shared.adapters.delta_tables import DeltaTables
from shared.adapters.sql_engine import DuckDbEngine
from shared.errors import FootfallError, RequestRefused
from shared.medallion.lake import LAKE_TABLES
from shared.medallion.tables import Table
from shared.workflows.analytics import Format, SqlLimits, SqlResult, encode

LIMITS = SqlLimits(max_rows=10_000_000, timeout_s=3600, memory_mb=4096)
"""An analyst on a laptop may wait and interrupt; the limits only keep a mistake from taking the machine down."""
MOST_SHOWN = 200
"""So many rows of a table are printed; the other formats have all of them."""
WIDEST = 10_000
FORMATS = ("table", *Format)

SHELL_HELP = """\
Type a query over several lines and end it with a semicolon.
.tables          the tables, by name
.schema TABLE    the columns of a table
.quit            leave (or Ctrl-D); Ctrl-C stops a query"""


def sql(
    query: Annotated[str | None, typer.Argument(metavar="QUERY", help="One SELECT; without it, a shell opens.")] = None,
    written: Annotated[
        str, typer.Option("--format", metavar="|".join(FORMATS), help="How rows are written.")
    ] = "table",
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write to this file.")] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Ask the lake in SQL: `footfall sql "SELECT * FROM gold.aggregated_trips"`."""
    write = writer(written, out)
    if query is None and out is not None:
        raise typer.BadParameter("--out needs a query: footfall sql 'SELECT ...' --out FILE")
    session = Session(lake_tables(read_settings(running_stack(home).home)))
    if query is not None:
        write(session.query(query))
    elif sys.stdin.isatty():
        _with_history()
        Shell(session, write, prompting_lines()).run()
    else:
        for statement in statements(sys.stdin):
            write(session.query(statement))


class Queries(Protocol):
    """What answers the shell."""

    def query(self, sql: str) -> SqlResult:
        """Run a query. Raises RequestRefused."""


class Session:
    """Queries over all tables of a lake."""

    def __init__(self, tables: DeltaTables) -> None:
        self._engine = DuckDbEngine(LAKE_TABLES, tables)

    def query(self, sql: str) -> SqlResult:
        """Run a query; a semicolon at its end is what people type."""
        return self._engine.query(sql, LIMITS)


def writer(written: str, out: Path | None) -> Callable[[SqlResult], None]:
    """What writes a result in that format. Raises BadParameter for a format that is none, or needs a file."""
    if written not in FORMATS:
        raise typer.BadParameter(f"--format {written!r} is none; valid are {', '.join(FORMATS)}")
    if written == "table":
        if out is not None:
            raise typer.BadParameter("--out needs a --format: csv, json or parquet")
        return _print_table
    kind = Format(written)
    if kind is Format.PARQUET and out is None:
        raise typer.BadParameter("--format parquet is for files; say where with --out FILE")
    return lambda result: _write(result, kind, out)


def _write(result: SqlResult, written: Format, out: Path | None) -> None:
    body = encode(result.rows, written)
    if out is None:
        with suppress(BrokenPipeError):  # `| head` has seen enough
            sys.stdout.buffer.write(body if body.endswith(b"\n") else body + b"\n")
            sys.stdout.buffer.flush()
    else:
        try:
            out.write_bytes(body)
        except OSError as error:
            raise RequestRefused(f"{out} cannot be written: {error.strerror}") from error
        errors.print(f"{_counted(result.rows.height)} in {out}", markup=False)
    if result.is_truncated:
        errors.print(f"there are more than {LIMITS.max_rows:,} rows; these are the first")


def _print_table(result: SqlResult) -> None:
    shown = Shown(*(Column(Text(_printable(name))) for name in result.rows.columns))
    for row in result.rows.head(MOST_SHOWN).iter_rows():
        shown.add_row(*(_cell(value) for value in row))
    # A terminal folds what is too wide; for a pipe, lines stay whole.
    console.print(shown, width=None if console.is_terminal else WIDEST)
    total = result.rows.height
    words = _counted(total)
    errors.print(words if total <= MOST_SHOWN else f"{words}, the first {MOST_SHOWN} shown; --format csv has all")


def _counted(rows: int) -> str:
    return "1 row" if rows == 1 else f"{rows:,} rows"


def _cell(value: object) -> Text:
    if value is None:
        return Text("")
    return Text(_printable(f"{value:.6g}" if isinstance(value, float) else str(value)))


def _printable(text: str) -> str:
    """What phones sent may be in silver and quarantine: none of its characters may steer the terminal."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


class Shell:
    """Reads queries and commands until there are no more lines."""

    def __init__(self, session: Queries, write: Callable[[SqlResult], None], lines: Iterator[str | None]) -> None:
        """*lines*: each as typed; None where Ctrl-C dropped what was typed so far."""
        self._session = session
        self._write = write
        self._lines = lines

    def run(self) -> None:
        """Until the lines end, or `.quit`. What is wrong with a query is said, and the shell goes on."""
        errors.print("SQL over gold, silver and quarantine; .help says what else there is", markup=False)
        typed: list[str] = []
        for line in self._lines:
            if line is None:
                typed = []
            elif not typed and line.strip().startswith("."):
                if not self._command(line.strip()):
                    return
            elif line.strip() or typed:
                typed.append(line)
                if line.rstrip().endswith(";"):
                    self._ask("\n".join(typed))
                    typed = []

    def _command(self, line: str) -> bool:
        """Do a dot command; whether to go on."""
        word, _, rest = line.partition(" ")
        if word in (".quit", ".exit"):
            return False
        if word == ".tables":
            for table in LAKE_TABLES:
                console.print(str(table), markup=False)
        elif word == ".schema":
            _print_schema(rest.strip())
        else:
            errors.print(SHELL_HELP, markup=False)
        return True

    def _ask(self, query: str) -> None:
        try:
            self._write(self._session.query(query))
        except KeyboardInterrupt:
            errors.print("stopped")
        except FootfallError as error:
            errors.print(str(error), markup=False)


def _print_schema(name: str) -> None:
    found = [table for table in LAKE_TABLES if name in (str(table), table.name)]
    if not found:
        errors.print(f"there is no table {name!r}; .tables lists them", markup=False)
    for table in found:
        for line in schema_lines(table):
            console.print(line, markup=False)


def schema_lines(table: Table) -> Iterator[str]:
    """A table's name, and each column with its type."""
    yield str(table)
    width = max(len(column) for column in table.schema)
    for column, dtype in table.schema.items():
        yield f"  {column:<{width}}  {dtype}"


def statements(lines: Iterable[str]) -> Iterator[str]:
    """The queries of a script, each up to a line that ends in a semicolon; the last may lack it."""
    typed: list[str] = []
    for line in lines:
        typed.append(line)
        if line.rstrip().endswith(";"):
            yield "".join(typed)
            typed = []
    if "".join(typed).strip():
        yield "".join(typed)


def prompting_lines() -> Iterator[str | None]:
    """Lines from the terminal, until Ctrl-D; None for Ctrl-C."""
    is_new = True
    while True:
        try:
            line = input("footfall> " if is_new else "     ...> ")
        except EOFError:
            sys.stdout.write("\n")
            return
        except KeyboardInterrupt:
            sys.stdout.write("\n")
            is_new = True
            yield None
            continue
        is_new = line.rstrip().endswith(";") or (is_new and (not line.strip() or line.strip().startswith(".")))
        yield line


def _with_history() -> None:
    """Arrow keys and this session's lines, where the platform has readline."""
    with suppress(ImportError):
        import readline  # noqa: F401 (input() uses it once it is imported)

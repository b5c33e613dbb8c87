"""What the demo shows at its end."""

from datetime import datetime

import polars as pl
from rich.table import Table

from infra.commands.common import console
from infra.commands.demo_stations import Stations

_GOLD_ROWS = 3
_FRAME = 3
"""What a column takes beside its text."""


def show(stations: Stations) -> None:
    """The burst in numbers, and the first rows of each gold table."""
    console.print(_summary(stations))
    for name, rows in stations.gold.items():
        console.print(first_rows(name, rows, console.width))


def _summary(stations: Stations) -> Table:
    figures, taken = stations.figures, stations.latency
    table = Table("what", "count", title="The burst", title_justify="left")
    table.add_row("pings sent", f"{figures.on_hub:,}")
    table.add_row("pings captured as Avro", f"{figures.captured:,}")
    table.add_row("rows of silver.pings", f"{figures.silver_pings:,}")
    for reason, count in stations.rejected:
        table.add_row(f"rejected: {reason}", f"{count:,}")
    table.add_row("offers", f"{figures.offers_emitted:,}")
    for merchant, count in stations.offers:
        table.add_row(f"  {merchant}", f"{count:,}")
    if taken is not None:
        times = f"p50 {taken.p50_ms:.0f} ms, p95 {taken.p95_ms:.0f} ms, max {taken.max_ms:.0f} ms"
        table.add_row("latency, ping to offer", times)
    return table


def first_rows(name: str, rows: pl.DataFrame, width: int) -> Table:
    """Some rows of a table, in the first columns that say something, as many as fit side by side."""
    columns = [column for column in rows.iter_columns() if not _is_zero(column)]
    if "hour" in rows.columns:
        columns = [column for column in columns if column.name != "event_date"]
    title = f"{name}: {rows.height:,} rows, {len(rows.columns)} columns"
    table, taken = Table(title=title, title_justify="left"), 1
    cells: list[list[str]] = []
    for column in columns:
        texts = [_cell(value) for value in column.head(_GOLD_ROWS)]
        taken += max(map(len, (column.name, *texts))) + _FRAME
        if cells and taken > width:
            break
        table.add_column(column.name)
        cells.append(texts)
    for row in zip(*cells, strict=True):
        table.add_row(*row)
    return table


def _is_zero(column: pl.Series) -> bool:
    return column.dtype.is_integer() and column.sum() == 0


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%m-%d %H:%M}"
    return f"{value:.3g}" if isinstance(value, float) else "" if value is None else str(value)

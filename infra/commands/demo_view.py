"""What the demo shows at its end."""

from datetime import datetime

import polars as pl
from rich.table import Table

from infra.commands.common import console
from infra.commands.demo_stations import Stations

_GOLD_ROWS = 3
_GOLD_COLUMNS = 8


def show(stations: Stations) -> None:
    """The burst in numbers, and the first rows of each gold table."""
    console.print(_summary(stations))
    for name, rows in stations.gold.items():
        console.print(_first_rows(name, rows))


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


def _first_rows(name: str, rows: pl.DataFrame) -> Table:
    """Some rows of a table, in the first columns that say something."""
    shown = rows.drop("event_date") if "hour" in rows.columns else rows
    shown = shown.select(column for column in shown.iter_columns() if not _is_zero(column))
    shown = shown.select(shown.columns[:_GOLD_COLUMNS]).head(_GOLD_ROWS)
    table = Table(*shown.columns, title=f"{name}: {rows.height:,} rows", title_justify="left")
    for row in shown.rows():
        table.add_row(*(_cell(value) for value in row))
    return table


def _is_zero(column: pl.Series) -> bool:
    return column.dtype.is_integer() and column.sum() == 0


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%m-%d %H:%M}"
    return f"{value:.3g}" if isinstance(value, float) else "" if value is None else str(value)

"""`footfall demo`: a burst of simulated walkers through the whole chain, counted at each station, on its own stack."""

import asyncio
import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import fastavro
import msgspec
import polars as pl
from azure.storage.blob import BlobServiceClient
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from typer import Exit

from infra.commands.common import HomeOption, console, errors, stop_on_sigterm
from infra.commands.reference import load_reference
from infra.commands.results import print_offers
from infra.local import hub_reader
from infra.local.app_settings import read_settings
from infra.local.demo import Figures, Latency, latency, offer_times
from infra.local.flush import EVALUATE, Flush
from infra.local.home import DEFAULT_HOME, REPO, Home, StackPorts
from infra.local.hub_reader import HubEvent
from infra.local.lake import lake_tables
from infra.local.ports import free_ports
from infra.local.stack import Stack
from shared.adapters.azure_clients import blob_service
from shared.adapters.delta_tables import DeltaTables
from shared.medallion.data_quality_hourly import DATA_QUALITY_HOURLY
from shared.medallion.lake import GOLD_TABLES
from shared.medallion.offers import OFFERS
from shared.medallion.pings import PINGS
from shared.medallion.quarantine import BODIES
from shared.settings import Settings

SAMPLE = REPO / "infra" / "local" / "sample"
BURST = {
    "scenario": "walk",
    "devices": 250,
    "seconds": 20,
    "rate": 500,
    "seed": 20260126,
    "duplicates_percent": 1,
    "disorder_percent": 1,
    "jumps_percent": 0.5,
    "hostile_percent": 0.5,
}
"""10,000 pings of 250 walkers in 20 seconds, some of them repeated, late, astray or no pings at all."""

_FIRST_OFFERS = 8
_FLUSH_S = 120
_BURST_S = 90
_POLL_S = 0.1
_GOLD_ROWS = 3
_GOLD_COLUMNS = 8


def demo(home: HomeOption = DEFAULT_HOME) -> None:
    """Send 10,000 pings through the whole chain and count them at each station; exit code 1 if the counts differ."""
    stop_on_sigterm()
    began = time.monotonic()
    own = Home(home.resolve() / "demo")
    stack = Stack(own, StackPorts(*free_ports(6)), say=errors.print)
    stack.down()  # what a demo left that was killed
    own.delete_data()
    try:
        stack.up()
        figures = _run(stack)
    finally:
        stack.down()
    errors.print(f"stopped; its data stays in {own.path} until the next demo")
    disagreements = figures.disagreements()
    for disagreement in disagreements:
        console.print("[bold red]disagreement:[/bold red]", disagreement)
    console.print(figures.last_line(time.monotonic() - began))
    raise Exit(1 if disagreements else 0)


def _run(stack: Stack) -> Figures:
    settings = read_settings(stack.home)
    published = load_reference(stack.home, SAMPLE / "stores.csv", SAMPLE / "promotions.json")
    console.print(f"published {published.stores} London stores and {published.promotions} promotions")
    announced = asyncio.run(_burst(stack, settings))
    with console.status("") as status:
        Flush(stack, _FLUSH_S, say=status.update).run()
    return _count(stack, settings, announced)


async def _burst(stack: Stack, settings: Settings) -> int:
    """Start the simulation and show what happens until all is evaluated; returns how many pings were announced."""
    shown = 0

    with _progress() as progress:

        def show(events: list[HubEvent]) -> None:
            nonlocal shown
            print_offers(events[: max(0, _FIRST_OFFERS - shown)])
            shown += len(events)

        connection = settings.event_hub.connection_string
        following = asyncio.create_task(hub_reader.follow(connection, settings.offers_hub, show))
        answer = await asyncio.to_thread(stack.host.call, "simulate", msgspec.json.encode(BURST).decode())
        pings: int = answer["pings"]
        sent = progress.add_task("pings sent", total=pings)
        evaluated = progress.add_task("pings evaluated", total=pings)
        offers = progress.add_task("offers", total=None)
        try:
            async with asyncio.timeout(_BURST_S):
                while not progress.tasks[evaluated].finished:
                    await asyncio.to_thread(_look, stack, settings, progress, (sent, evaluated, offers))
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            errors.print(f"the burst was not evaluated in {_BURST_S} s: going on with what there is")
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
    return pings


def _look(stack: Stack, settings: Settings, progress: Progress, tasks: tuple[TaskID, TaskID, TaskID]) -> None:
    sent, evaluated, offers = tasks
    stats = stack.broker.stats()
    partitions = stack.host.status()["functions"][EVALUATE]["event_hub"]["partitions"].values()
    progress.update(sent, completed=sum(one["next"] for one in stats[settings.pings_hub].values()))
    checkpoints = [one["checkpoint"] for one in partitions if one["checkpoint"] is not None]
    progress.update(evaluated, completed=sum(checkpoints) + len(checkpoints))
    progress.update(offers, completed=sum(one["next"] for one in stats[settings.offers_hub].values()))


@contextmanager
def _progress() -> Iterator[Progress]:
    count = TextColumn("{task.completed:,.0f}")
    columns = (TextColumn("{task.description:<16}"), BarColumn(), count, TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        yield progress


def _count(stack: Stack, settings: Settings, announced: int) -> Figures:
    """Count at every station, and show it."""
    lake = lake_tables(settings)
    pings, offers, decisions = asyncio.run(_read_hubs(settings))
    offered_ms = offer_times(offers)
    quality = lake.scan(DATA_QUALITY_HOURLY.table).filter(hub=settings.pings_hub)
    gold = {str(gold.table): lake.scan(gold.table).collect() for gold in GOLD_TABLES}
    figures = Figures(
        announced=announced,
        on_hub=len(pings),
        captured=_captured(settings),
        silver_pings=_rows(lake.scan(PINGS)),
        quarantine=_rows(lake.scan(BODIES)),
        rejected=quality.select(pl.col("rejected").sum()).collect().item(),
        offers_emitted=len(offered_ms),
        offers_captured=lake.scan(OFFERS).select(pl.col("offer_id").n_unique()).collect().item(),
        gold_tables=sum(not rows.is_empty() for rows in gold.values()),
        gold_tables_wanted=len(GOLD_TABLES),
    )
    _show(lake, figures, gold, latency(pings, decisions, offered_ms))
    return figures


async def _read_hubs(settings: Settings) -> list[list[HubEvent]]:
    connection = settings.event_hub.connection_string
    hubs = (settings.pings_hub, settings.offers_hub, settings.decisions_hub)
    return await asyncio.gather(*(hub_reader.read_to_end(connection, hub) for hub in hubs))


def _captured(settings: Settings) -> int:
    """The events of the pings hub in capture files, counted from the files themselves."""
    with blob_service(settings.lake_storage) as blobs:
        return sum(_events_in(blobs, settings.bronze_container, name) for name in _files(blobs, settings))


def _files(blobs: BlobServiceClient, settings: Settings) -> list[str]:
    names = blobs.get_container_client(settings.bronze_container).list_blob_names()
    return [name for name in names if f"/{settings.pings_hub}/" in name]


def _events_in(blobs: BlobServiceClient, container: str, name: str) -> int:
    content = blobs.get_blob_client(container, name).download_blob().readall()
    return sum(block.num_records for block in fastavro.block_reader(io.BytesIO(content)))


def _rows(frame: pl.LazyFrame) -> int:
    return int(frame.select(pl.len()).collect().item())


def _show(lake: DeltaTables, figures: Figures, gold: dict[str, pl.DataFrame], taken: Latency | None) -> None:
    summary = Table("what", "count", title="The burst", title_justify="left")
    summary.add_row("pings sent", f"{figures.on_hub:,}")
    summary.add_row("pings captured as Avro", f"{figures.captured:,}")
    summary.add_row("rows of silver.pings", f"{figures.silver_pings:,}")
    for reason, count in _counts(lake.scan(BODIES), "reason"):
        summary.add_row(f"rejected: {reason}", f"{count:,}")
    summary.add_row("offers", f"{figures.offers_emitted:,}")
    for merchant, count in _counts(lake.scan(OFFERS).unique("offer_id"), "merchant"):
        summary.add_row(f"  {merchant}", f"{count:,}")
    if taken is not None:
        times = f"p50 {taken.p50_ms:.0f} ms, p95 {taken.p95_ms:.0f} ms, max {taken.max_ms:.0f} ms"
        summary.add_row("latency, ping to offer", times)
    console.print(summary)
    for name, rows in gold.items():
        console.print(_first_rows(name, rows))


def _counts(frame: pl.LazyFrame, column: str) -> list[tuple[str, int]]:
    return frame.group_by(column).len().sort("len", column, descending=[True, False]).collect().rows()


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

"""`footfall offers`, `tables` and `flush`: what came out, and waiting until all of it has."""

import asyncio
import contextlib
import sys
from typing import Annotated

import msgspec
import typer
from rich.table import Column, Table

from infra.commands.common import HomeOption, JsonOption, console, errors, print_json, running_stack
from infra.local import hub_reader
from infra.local.app_settings import read_settings
from infra.local.flush import Flush
from infra.local.home import DEFAULT_HOME
from infra.local.hub_reader import HubEvent
from infra.local.lake import lake_tables


class _OfferData(msgspec.Struct):
    device_id: str
    merchant: str
    location: str
    discount_percent: float
    message: str
    distance_m: float


class Offer(msgspec.Struct):
    """What people want to see of an offer event."""

    time: str
    data: _OfferData


def offers(
    home: HomeOption = DEFAULT_HOME,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what arrives, until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print each event as it is, a line each.")] = False,
) -> None:
    """Show the offers that arrived on the offers hub."""
    settings = read_settings(running_stack(home).home)
    show = _print_bodies if as_json else print_offers
    connection, hub = settings.event_hub.connection_string, settings.offers_hub
    if follow:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(hub_reader.follow(connection, hub, show))
    else:
        show(sorted(asyncio.run(hub_reader.read_to_end(connection, hub)), key=lambda event: event.enqueued_ms))


def print_offers(events: list[HubEvent]) -> None:
    """A line for each offer."""
    for event in events:
        offer = msgspec.json.decode(event.body, type=Offer)
        data = offer.data
        place = f"{data.merchant}, {data.location}"
        line = f"{offer.time}  {data.device_id:<20}  {place:<36}  {data.distance_m:5.0f} m  {data.message}"
        console.print(line, markup=False)


def _print_bodies(events: list[HubEvent]) -> None:
    for event in events:
        sys.stdout.write(event.body.decode() + "\n")
    sys.stdout.flush()


def tables(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Show every lake table with its rows, files and newest change."""
    summaries = lake_tables(read_settings(running_stack(home).home)).summaries()
    if as_json:
        print_json(summaries)
        return
    shown = Table(Column("table", no_wrap=True), "rows", "files", "version", "newest change (UTC)")
    for summary in summaries:
        changed = f"{summary.changed_at:%Y-%m-%d %H:%M:%S}" if summary.changed_at else "not there yet"
        version = "" if summary.version is None else str(summary.version)
        shown.add_row(summary.name, f"{summary.rows:,}", f"{summary.files:,}", version, changed)
    console.print(shown)


def flush(
    home: HomeOption = DEFAULT_HOME,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait at most.")] = 120,
) -> None:
    """Close the capture windows now and wait until silver and gold have all of it; exit code 1 if they have not."""
    Flush(running_stack(home), timeout, say=errors.print).run()
    errors.print("silver and gold have everything that was sent")

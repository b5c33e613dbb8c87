"""The demo: a burst of simulated walkers through the whole chain, counted at each station, on a stack of its own."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from infra.commands.common import console, errors
from infra.commands.demo_figures import Figures
from infra.commands.demo_stations import count_stations
from infra.commands.demo_view import show
from infra.commands.reference import load_reference
from infra.commands.results import print_offers
from infra.local import azurite, hub_reader
from infra.local.app_settings import read_settings
from infra.local.flush import EVALUATE, Flush
from infra.local.home import REPO, Home, StackPorts
from infra.local.hub_reader import HubEvent
from infra.local.ports import free_ports
from infra.local.stack import Stack
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


def run_demo(folder: Path) -> bool:
    """Run it in that folder, whose old data is deleted, and stop it; True when all stations counted the same."""
    azurite.install(azurite.DEFAULT_TOOLS, azurite.find_node())  # once; it does not count
    began = time.monotonic()
    own = Home(folder)
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
    return not disagreements


def _run(stack: Stack) -> Figures:
    settings = read_settings(stack.home)
    published = load_reference(stack.home, SAMPLE / "stores.csv", SAMPLE / "promotions.json")
    console.print(f"published {published.stores} London stores and {published.promotions} promotions")
    announced = asyncio.run(_burst(stack, settings))
    with console.status("") as status:
        Flush(stack, _FLUSH_S, say=status.update).run()
    stations = count_stations(settings, announced)
    show(stations)
    return stations.figures


async def _burst(stack: Stack, settings: Settings) -> int:
    """Start the simulation and show what happens until all is evaluated; returns how many pings were announced."""
    shown = 0

    with _progress() as progress:

        def show_first(events: list[HubEvent]) -> None:
            nonlocal shown
            print_offers(events[: max(0, _FIRST_OFFERS - shown)])
            shown += len(events)

        connection = settings.event_hub.connection_string
        following = asyncio.create_task(hub_reader.follow(connection, settings.offers_hub, show_first))
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

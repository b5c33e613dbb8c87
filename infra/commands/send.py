"""`footfall send`: recorded pings to the pings hub."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from infra.commands.common import HomeOption, console, errors, running_stack
from infra.local.app_settings import read_settings
from infra.local.home import DEFAULT_HOME
from infra.local.ping_file import device_of, read_ping_file, shifted_to
from shared.adapters.ping_sender import HubPingSender
from shared.domain.simulation import PlannedPing
from shared.errors import HubUnavailable
from shared.settings import Settings
from shared.workflows.sending import OutgoingPing
from shared.workflows.simulate import when_due


def send(
    file: Annotated[Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="A csv, or a body a line.")],
    rate: Annotated[float | None, typer.Option(min=0.001, help="Pings a second; else as fast as it goes.")] = None,
    shift_to_now: Annotated[
        bool, typer.Option("--shift-to-now", help="Move all times so that the newest is now.")
    ] = False,
    column: Annotated[
        list[str] | None, typer.Option("--map", metavar="COLUMN=FIELD", help="Which field of a ping a csv's column is.")
    ] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Send recorded pings to the pings hub, each under its device, and say how many the hub acknowledged."""
    read = read_ping_file(file, dict(_split(one) for one in column or ()))
    if read.ignored_columns:
        errors.print(f"columns that are no field of a ping: {', '.join(read.ignored_columns)}", markup=False)
    settings = read_settings(running_stack(home).home)
    bodies = shifted_to(time.time_ns() // 1000, read.bodies) if shift_to_now else read.bodies
    acknowledged = asyncio.run(_send(settings, list(_planned(bodies, rate))))
    console.print(f"sent {len(bodies):,} pings, {acknowledged:,} acknowledged")


def _split(text: str) -> tuple[str, str]:
    column, equals, field = text.rpartition("=")
    if not equals:
        raise typer.BadParameter(f"--map {text!r} must read COLUMN=FIELD")
    return column, field


def _planned(bodies: Sequence[bytes], rate: float | None) -> Iterator[PlannedPing]:
    for number, body in enumerate(bodies):
        yield PlannedPing(number / rate if rate else 0.0, device_of(body), body)


async def _send(settings: Settings, pings: Sequence[PlannedPing]) -> int:
    began = time.monotonic()
    acknowledged = 0
    columns = (TextColumn("sent"), BarColumn(), TextColumn("{task.completed:,.0f}"), TimeElapsedColumn())
    with Progress(*columns, console=errors) as progress:
        task = progress.add_task("", total=len(pings))
        async with HubPingSender(settings.event_hub, settings.pings_hub) as sender:
            async for due in when_due(iter(pings), lambda: time.monotonic() - began):
                try:
                    acknowledged += await sender.send([OutgoingPing(ping.device_id, ping.body) for ping in due])
                except HubUnavailable as error:
                    raise HubUnavailable(
                        f"of {len(pings):,} pings {acknowledged:,} were acknowledged; {error}"
                    ) from error
                progress.update(task, completed=acknowledged)
    return acknowledged

"""What all commands share: the consoles, the option that names the home, and JSON for machines."""

import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from infra.local.home import Home, StackPorts
from infra.local.stack import Stack

console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)

HomeOption = Annotated[
    Path,
    typer.Option("--home", envvar="FOOTFALL_HOME", help="The folder of this laptop cloud.", show_default=".local"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def stack_of(home: Path) -> Stack:
    """The laptop cloud that lies there, on the ports of its last `up`."""
    found = Home(home.resolve())
    return Stack(found, found.remembered_ports() or StackPorts(), say=errors.print)


def running_stack(home: Path) -> Stack:
    """The laptop cloud that lies there and runs. Raises StackError when it does not."""
    stack = stack_of(home)
    stack.refuse_unless_ready()
    return stack


def stop_on_sigterm() -> None:
    """Let SIGTERM do what Ctrl-C does, so that both stop things in order."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def print_json(value: object) -> None:
    """Print one JSON document on a line, or a line of JSON of a stream."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()

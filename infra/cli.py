"""`footfall`: run the laptop cloud, feed it, and see what comes out."""

import logging
import sys
from importlib import import_module

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from infra.commands.common import errors
from infra.local.azurite import ToolMissing
from infra.local.control import NoAnswer
from infra.local.stack import StackError
from shared.errors import FootfallError

COMMANDS = {
    "demo": "demo",
    "up": "stack",
    "down": "stack",
    "status": "stack",
    "reset": "stack",
    "logs": "stack",
    "reference": "reference",
    "send": "send",
    "offers": "results",
    "why": "why",
    "replay": "replay",
    "tables": "results",
    "sql": "sql",
    "flush": "results",
}
"""Each command, in the order of the help, and the module of infra.commands that has it."""


class _Commands(TyperGroup):
    """Imports the module of a command when it is called: `footfall status` must not wait for the lake's libraries."""

    def list_commands(self, ctx: object) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: object, cmd_name: str) -> TyperCommand | TyperGroup | None:
        if cmd_name not in COMMANDS:
            return None
        found = getattr(import_module(f"infra.commands.{COMMANDS[cmd_name]}"), cmd_name)
        if not isinstance(found, typer.Typer):
            alone = typer.Typer(add_completion=False)
            alone.command()(found)
            found = alone
        command = get_command(found)
        assert isinstance(command, TyperCommand | TyperGroup)
        command.name = cmd_name
        return command


app = typer.Typer(
    cls=_Commands,
    help="Footfall on a laptop: storage, event hubs and functions without an account, and what to do with them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def _footfall() -> None:
    """Typer wants one; the help above it says what there is to say."""


def main() -> None:
    """Run a command; what goes wrong on purpose is said in a sentence, without a traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("infra").setLevel(logging.INFO)
    try:
        app()
    except (FootfallError, StackError, NoAnswer, ToolMissing) as error:
        errors.print("[bold red]error:[/bold red]", end=" ")
        errors.print(str(error), markup=False)
        sys.exit(1)

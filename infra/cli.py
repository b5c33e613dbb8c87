"""`footfall`: run the laptop cloud, feed it, and see what comes out."""

import logging
import sys

import typer

from infra.commands import demo, reference, results, send, stack
from infra.commands.common import errors
from infra.local.azurite import ToolMissing
from infra.local.control import NoAnswer
from infra.local.stack import StackError
from shared.errors import FootfallError

app = typer.Typer(
    help="Footfall on a laptop: storage, event hubs and functions without an account, and what to do with them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(stack.up)
app.command()(stack.down)
app.command()(stack.status)
app.command()(stack.reset)
app.command()(stack.logs)
app.command()(send.send)
app.command()(results.offers)
app.command()(results.tables)
app.command()(results.flush)
app.command()(demo.demo)
app.add_typer(reference.app, name="reference")


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

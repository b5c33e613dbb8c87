"""`footfall demo`: see the whole chain work, and count."""

import typer

from infra.commands.common import HomeOption, stop_on_sigterm
from infra.commands.demo_run import run_demo
from infra.local.home import DEFAULT_HOME, Home


def demo(home: HomeOption = DEFAULT_HOME) -> None:
    """Send 10,000 pings through the whole chain and count them at each station; exit code 1 if the counts differ."""
    stop_on_sigterm()
    raise typer.Exit(0 if run_demo(Home(home.resolve()).demo) else 1)

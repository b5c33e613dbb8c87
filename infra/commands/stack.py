"""`footfall up`, `down`, `status`, `reset` and `logs`."""

import time
from dataclasses import replace
from typing import Annotated

import typer
from rich.table import Column, Table

from infra.commands.common import HomeOption, JsonOption, console, errors, print_json, stack_of, stop_on_sigterm
from infra.local.home import DEFAULT_HOME, StackPorts
from infra.local.log_files import LogFollower, last_lines
from infra.local.stack import Stack

_WATCH_S = 0.3
_LINES = 100


def _port_option(name: str, what: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        f"--{name}-port",
        envvar=f"FOOTFALL_{name.upper()}_PORT",
        min=1,
        max=65535,
        help=f"{what}; default: that of the last `up` in this home, at first {getattr(StackPorts(), name)}.",
    )
    return option


def up(
    home: HomeOption = DEFAULT_HOME,
    detach: Annotated[bool, typer.Option("--detach", help="Return when all is ready; stop it with `down`.")] = False,
    blob_port: Annotated[int | None, _port_option("blob", "Azurite, blobs")] = None,
    queue_port: Annotated[int | None, _port_option("queue", "Azurite, queues")] = None,
    table_port: Annotated[int | None, _port_option("table", "Azurite, tables")] = None,
    amqp_port: Annotated[int | None, _port_option("amqp", "Event Hubs, AMQP")] = None,
    health_port: Annotated[int | None, _port_option("health", "Event Hubs, health and control")] = None,
    http_port: Annotated[int | None, _port_option("http", "Functions host")] = None,
) -> None:
    """Start storage, event hubs and the Functions host; whatever already runs stays as it is."""
    stack = stack_of(home)
    wanted = {
        "blob": blob_port,
        "queue": queue_port,
        "table": table_port,
        "amqp": amqp_port,
        "health": health_port,
        "http": http_port,
    }
    stack.ports = replace(stack.ports, **{name: port for name, port in wanted.items() if port is not None})
    stop_on_sigterm()
    if detach:
        stack.up()
        _say_where_it_is(stack)
        return
    try:
        stack.up()
        _say_where_it_is(stack)
        _watch(stack)
    except KeyboardInterrupt:
        stack.down()


def down(home: HomeOption = DEFAULT_HOME) -> None:
    """Stop what `up` started."""
    if not stack_of(home).down():
        errors.print("nothing was running")


def status(home: HomeOption = DEFAULT_HOME, as_json: JsonOption = False) -> None:
    """Say what runs; exit code 1 unless all of it is ready."""
    stack = stack_of(home)
    found = stack.status()
    is_ready = all(service.ready for service in found)
    if as_json:
        print_json(found)
    else:
        table = Table("service", "state", "pid", "ports", Column("log", overflow="fold"))
        for service in found:
            state = "ready" if service.ready else "stopped" if service.pid is None else "not ready"
            ports = " ".join(map(str, service.ports))
            table.add_row(service.name, state, str(service.pid or ""), ports, service.log)
        console.print(table)
        if is_ready:
            _say_where_it_is(stack)
    raise typer.Exit(0 if is_ready else 1)


def reset(
    home: HomeOption = DEFAULT_HOME,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Stop it, and delete its events, blobs, tables, keys, settings and logs, and those of the last demo."""
    own = stack_of(home)
    if not yes:
        typer.confirm(f"Delete all data of the laptop cloud in {own.home.path}?", abort=True)
    for stack in (own, stack_of(own.home.demo)):
        stack.down()
        stack.home.delete_data()


def logs(
    name: Annotated[str | None, typer.Argument(help="azurite, eventhubs or host; all of them without it.")] = None,
    home: HomeOption = DEFAULT_HOME,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is added.")] = False,
) -> None:
    """Show what the services wrote."""
    stack = stack_of(home)
    names = [service.name for service in stack.services()]
    if name is not None and name not in names:
        raise typer.BadParameter(f"{name!r} is none of {', '.join(names)}")
    shown = names if name is None else [name]
    followers = {one: LogFollower.from_end(stack.home.log(one)) for one in shown}
    for one in shown:
        for line in last_lines(stack.home.log(one), _LINES):
            _show(one, line)
    while follow:
        for one, follower in followers.items():
            for line in follower.new_lines():
                _show(one, line)
        time.sleep(_WATCH_S)


def _show(service: str, line: str) -> None:
    console.print(f"[dim]{service:>9}[/dim] ", end="")
    console.print(line, markup=False)


def _say_where_it_is(stack: Stack) -> None:
    ports = stack.ports
    table = Table(show_header=False, box=None)
    table.add_row("functions", f"http://127.0.0.1:{ports.http}/api")
    table.add_row("function key", stack.host.key("default"))
    table.add_row("event hubs", f"amqp://127.0.0.1:{ports.amqp}   health http://127.0.0.1:{ports.health}/health")
    table.add_row("storage", f"blob {ports.blob}, queue {ports.queue}, table {ports.table}")
    table.add_row("settings", str(stack.home.settings))
    table.add_row("data, logs", str(stack.home.path))
    console.print(table)


def _watch(stack: Stack) -> None:
    """Show the host's log until all services have ended, or Ctrl-C or SIGTERM."""
    follower = LogFollower.from_end(stack.home.log("host"))
    ended: set[str] = set()
    errors.print("Ctrl-C stops it")
    while len(ended) < len(stack.services()):
        for line in follower.new_lines():
            console.print(line, markup=False)
        now_ended = {service.name for service in stack.status() if service.pid is None}
        for name in sorted(now_ended - ended):
            errors.print(f"{name} has ended: `footfall logs {name}` says why, `footfall up --detach` restarts it")
        ended = now_ended
        time.sleep(_WATCH_S)

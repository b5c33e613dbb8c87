"""TCP ports of the laptop cloud: which are free, who holds a taken one."""

import contextlib
import socket
from pathlib import Path

LOOPBACK = "127.0.0.1"
_LISTENING = "0A"
"""The state of a listening socket in /proc/net/tcp."""


def free_ports(count: int) -> tuple[int, ...]:
    """`count` different ports that nobody listens on now, chosen by the operating system."""
    with contextlib.ExitStack() as held:
        # All are held until the last is chosen, so that none comes twice.
        return tuple(held.enter_context(_bound(0)).getsockname()[1] for _ in range(count))


def is_listening(port: int) -> bool:
    """True when something accepts connections on the port of this machine."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0


def is_free(port: int) -> bool:
    """True when a server could listen on the port now."""
    try:
        _bound(port).close()
    except OSError:
        return False
    return True


def holder(port: int) -> str | None:
    """Who listens on the port, as `name (pid N)`; None where the system does not say (other user, or no /proc)."""
    inodes = _listening_inodes(port)
    for descriptor in Path("/proc").glob("[0-9]*/fd/*") if inodes else ():
        with contextlib.suppress(OSError):
            if str(descriptor.readlink()) in inodes:
                process = descriptor.parents[1]
                return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
    return None


def _bound(port: int) -> socket.socket:
    server = socket.socket()
    try:
        # As servers do, so that a port in TIME_WAIT counts as free.
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((LOOPBACK, port))
    except OSError:
        server.close()
        raise
    return server


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        if not table.exists():
            continue
        for line in table.read_text().splitlines()[1:]:
            _, local, _, state, *rest = line.split()
            if state == _LISTENING and int(local.rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{rest[5]}]")
    return inodes

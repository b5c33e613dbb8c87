"""TCP ports of the laptop cloud: which are free, who holds a taken one."""

import contextlib
import socket

import psutil

LOOPBACK = "127.0.0.1"


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
    """Who listens on the port, as `name (pid N)`; None where the system does not say, as for another user's process."""
    with contextlib.suppress(psutil.Error):  # the process may end meanwhile, and macOS hides foreign ones
        for connection in psutil.net_connections("tcp"):
            listens = connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
            if listens and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
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

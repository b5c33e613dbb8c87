"""The broker: an AMQP 1.0 server that the real Event Hubs SDKs take for a namespace of Event Hubs.

    broker = Broker([HubDescription("dev-readfrom", partitions=[PartitionLog(...), ...], consumer_groups=["footfall"])])
    broker.on_append.append(lambda partition: ...)
    await broker.start("127.0.0.1", 5672)
    ...
    await broker.stop()

Everything runs in the event loop that `start` is called in. The logs are the caller's: the broker does not close them.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from infra.local.eventhubs.connection import IDLE_TIMEOUT_S, Connection
from infra.local.eventhubs.counters import Counters
from infra.local.eventhubs.errors import AmqpError, Condition
from infra.local.eventhubs.hubs import Hub, Namespace, Partition
from infra.local.eventhubs.log import PartitionLog

log = logging.getLogger(__name__)

_STOP_S = 1.0
"""How long clients may take to answer CLOSE when the broker stops."""


@dataclass(frozen=True, slots=True)
class HubDescription:
    """A hub to serve: its partitions in order, and its consumer groups ($Default is always there)."""

    name: str
    partitions: Sequence[PartitionLog]
    consumer_groups: Sequence[str] = ()
    created_ms: int = field(default_factory=lambda: time.time_ns() // 1_000_000)


@dataclass(frozen=True, slots=True)
class BrokerStats:
    """What the broker does now, and has done since it started."""

    connections: int
    receivers: int
    connections_total: int
    events_in: int
    bytes_in: int
    events_out: int
    bytes_out: int


class Broker:
    """Serves hubs over AMQP. `on_append` is called with the partition after each append, in the event loop."""

    def __init__(self, hubs: Sequence[HubDescription], *, idle_timeout_s: float = IDLE_TIMEOUT_S) -> None:
        self.on_append: list[Callable[[Partition], None]] = []
        self.namespace = Namespace(
            [Hub(hub.name, hub.partitions, hub.consumer_groups, hub.created_ms, self.on_append) for hub in hubs]
        )
        self._idle_timeout_s = idle_timeout_s
        self._counters = Counters()
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> asyncio.Server:
        """Listen; port 0 takes a free one (`server.sockets[0].getsockname()`). OSError says that the port is taken."""
        self._server = await asyncio.get_running_loop().create_server(self._connect, host, port)
        return self._server

    async def stop(self) -> None:
        """Stop listening, send CLOSE to every client (they connect again later), and drop those who do not answer."""
        if self._server is None:
            return
        self._server.close()
        for connection in list(self._connections):
            connection.close(AmqpError(Condition.CONNECTION_FORCED, "The broker is stopping."))
        deadline = time.monotonic() + _STOP_S
        while self._connections and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        for connection in list(self._connections):
            connection.abort()
        await self._server.wait_closed()
        self._server = None

    def stats(self) -> BrokerStats:
        """The numbers of this moment."""
        counters = self._counters
        receivers = sum(len(partition.receivers) for hub in self.namespace for partition in hub.partitions)
        return BrokerStats(
            connections=len(self._connections),
            receivers=receivers,
            connections_total=counters.connections,
            events_in=counters.events_in,
            bytes_in=counters.bytes_in,
            events_out=counters.events_out,
            bytes_out=counters.bytes_out,
        )

    def _connect(self) -> Connection:
        return Connection(self.namespace, self._counters, self._connections, idle_timeout_s=self._idle_timeout_s)

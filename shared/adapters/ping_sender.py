"""Pings to an event hub, partition key = device id, through the asynchronous producer of the Event Hubs SDK.

A batch has one partition key, so the pings of each device are batches of their own. Several connections carry them at
the same time, as each waits for the acknowledgement of a batch before it sends the next. The SDK's buffered producer is
not used: it chooses partitions by a rule of its own.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self
from zlib import crc32

from azure.eventhub import EventData
from azure.eventhub.aio import EventHubProducerClient
from azure.eventhub.exceptions import AuthenticationError, EventHubError

from shared.adapters.azure_clients import AsyncIdentity, identity
from shared.errors import ConfigurationError, HubUnavailable
from shared.settings import Connection
from shared.workflows.sending import OutgoingPing

CONNECTIONS = 4
RETRIES = 8
"""With pauses of up to 5 s, a hub that is away for half a minute is waited for."""
MAX_KEY_LENGTH = 128
"""Of a partition key; a longer device id is none, and its ping will be rejected wherever it goes."""


class HubPingSender:
    """The port `PingSender` on one hub: an asynchronous context manager that closes its connections.

    It belongs to the event loop that first uses it.
    """

    def __init__(self, connection: Connection, hub: str, *, retries: int = RETRIES) -> None:
        self._hub = hub
        self._producers = [_producer(connection, hub, retries) for _ in range(CONNECTIONS)]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(producer.close() for producer in self._producers))

    async def send(self, pings: Sequence[OutgoingPing]) -> int:
        """Send them, those of a device in their order, and return how many the hub acknowledged: all.

        Raises HubUnavailable when it does not answer: then some of them may have arrived. Raises ValueError, before
        anything is sent over that connection, for a ping larger than the hub takes in.
        """
        lanes = _lanes(pings)
        outcomes = await asyncio.gather(
            *(_send_lane(self._producers[number], lane) for number, lane in lanes.items()), return_exceptions=True
        )
        for outcome in outcomes:
            if isinstance(outcome, AuthenticationError):
                raise ConfigurationError(
                    f"hub {self._hub} refuses the app's identity: it needs the role Azure Event Hubs Data Sender there"
                ) from outcome
            if isinstance(outcome, EventHubError):
                raise HubUnavailable(f"hub {self._hub} does not answer: {outcome}") from outcome
            if isinstance(outcome, BaseException):
                raise outcome
        return len(pings)


def _producer(connection: Connection, hub: str, retries: int) -> EventHubProducerClient:
    if connection.connection_string:
        producer: EventHubProducerClient = EventHubProducerClient.from_connection_string(
            connection.connection_string, eventhub_name=hub, retry_total=retries, retry_backoff_max=5
        )
        return producer
    if connection.endpoint:
        return EventHubProducerClient(
            connection.endpoint, hub, AsyncIdentity(identity(connection)), retry_total=retries, retry_backoff_max=5
        )
    raise ConfigurationError(
        f"{connection.name} is not set: give a connection string, or {connection.name}__fullyQualifiedNamespace"
    )


def _lanes(pings: Iterable[OutgoingPing]) -> dict[int, dict[str, list[bytes]]]:
    """The bodies by connection and device: a device always has the same connection, so its pings stay in order."""
    lanes: defaultdict[int, defaultdict[str, list[bytes]]] = defaultdict(lambda: defaultdict(list))
    for ping in pings:
        key = ping.device_id[:MAX_KEY_LENGTH]
        lanes[crc32(key.encode()) % CONNECTIONS][key].append(ping.body)
    return {number: dict(lane) for number, lane in lanes.items()}


async def _send_lane(producer: EventHubProducerClient, lane: dict[str, list[bytes]]) -> None:
    for device_id, bodies in lane.items():
        batch = await producer.create_batch(partition_key=device_id or None)
        for body in bodies:
            event = EventData(body)
            try:
                batch.add(event)
            except ValueError:
                if not len(batch):
                    raise
                await producer.send_batch(batch)
                batch = await producer.create_batch(partition_key=device_id or None)
                batch.add(event)
        await producer.send_batch(batch)

"""Pings through the real Event Hubs SDK into our broker: each arrives under its device, in order, or is not counted."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.local.eventhubs.broker import Broker, HubDescription
from infra.local.eventhubs.log import HubStore, StoredEvent
from infra.local.eventhubs.partition_key import partition_for_key
from infra.local.ports import LOOPBACK, free_ports
from shared.adapters.ping_sender import MAX_KEY_LENGTH, HubPingSender
from shared.errors import ConfigurationError, HubUnavailable
from shared.settings import Connection
from shared.workflows.sending import OutgoingPing

pytestmark = pytest.mark.integration

HUB = "dev-readfrom"
PARTITIONS = 4


@dataclass
class Namespace:
    """A broker that a test can stop and start, and what lies in its logs."""

    store: HubStore
    port: int
    broker: Broker | None = None

    @property
    def connection(self) -> Connection:
        return Connection(
            "EventHub",
            connection_string=f"Endpoint=sb://localhost:{self.port};SharedAccessKeyName=k;SharedAccessKey=SAS_KEY_VALUE;"
            "UseDevelopmentEmulator=true;",
        )

    async def start(self) -> None:
        self.broker = Broker([HubDescription(HUB, self.store.hubs[HUB].partitions)])
        await self.broker.start(LOOPBACK, self.port)

    async def stop(self) -> None:
        if self.broker is not None:
            await self.broker.stop()
        self.broker = None

    def events(self) -> list[list[StoredEvent]]:
        """What each partition holds."""
        return [
            partition.read(0, max_events=100_000, max_bytes=1 << 30) for partition in self.store.hubs[HUB].partitions
        ]


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Namespace]:
    (port,) = free_ports(1)
    namespace = Namespace(HubStore(folder, {HUB: PARTITIONS}), port)
    await namespace.start()
    try:
        yield namespace
    finally:
        await namespace.stop()
        namespace.store.close()


def run(folder: Path, check: Callable[[Namespace], Awaitable[None]]) -> None:
    """Run a check against a fresh namespace, broker and client in one event loop."""

    async def main() -> None:
        async with running(folder) as namespace:
            await check(namespace)

    asyncio.run(main())


def ping(device: int, number: int, size: int = 0) -> OutgoingPing:
    return OutgoingPing(f"walk-1-{device}", f"{device}/{number:06}".encode() + b"." * size)


def test_every_ping_lies_in_the_partition_of_its_device_under_its_id_in_order(tmp_path: Path) -> None:
    pings = [ping(device, number) for number in range(5) for device in range(200)]

    async def check(namespace: Namespace) -> None:
        async with HubPingSender(namespace.connection, HUB) as sender:
            assert await sender.send(pings[:600]) == 600
            assert await sender.send(pings[600:]) == 400
        for partition_id, events in enumerate(namespace.events()):
            for event in events:
                assert event.partition_key is not None
                assert partition_for_key(event.partition_key, PARTITIONS) == partition_id
        for device in range(200):
            arrived = [e for events in namespace.events() for e in events if e.partition_key == f"walk-1-{device}"]
            assert [event.message[-8 - len(str(device)) + 1 :] for event in arrived] == [
                ping(device, number).body for number in range(5)
            ]

    run(tmp_path, check)


def test_nothing_to_send_is_sent(tmp_path: Path) -> None:
    async def check(namespace: Namespace) -> None:
        async with HubPingSender(namespace.connection, HUB) as sender:
            assert await sender.send([]) == 0

    run(tmp_path, check)


def test_more_pings_of_one_device_than_a_batch_holds_are_sent_in_several(tmp_path: Path) -> None:
    pings = [ping(7, number, size=3_000) for number in range(800)]

    async def check(namespace: Namespace) -> None:
        async with HubPingSender(namespace.connection, HUB) as sender:
            assert await sender.send(pings) == 800
        (events,) = (events for events in namespace.events() if events)
        assert [event.message[-3_008:] for event in events] == [one.body for one in pings]

    run(tmp_path, check)


def test_a_ping_without_a_device_goes_anywhere_and_an_id_too_long_to_be_one_is_cut(tmp_path: Path) -> None:
    async def check(namespace: Namespace) -> None:
        async with HubPingSender(namespace.connection, HUB) as sender:
            assert await sender.send([OutgoingPing("", b"?"), OutgoingPing("x" * 300, b"!")]) == 2
        keys = {event.partition_key for events in namespace.events() for event in events}
        assert keys == {None, "x" * MAX_KEY_LENGTH}

    run(tmp_path, check)


def test_a_ping_larger_than_the_hub_takes_in_is_refused(tmp_path: Path) -> None:
    async def check(namespace: Namespace) -> None:
        async with HubPingSender(namespace.connection, HUB) as sender:
            with pytest.raises(ValueError, match="size"):
                await sender.send([ping(1, 1, size=1 << 20)])
            assert await sender.send([ping(1, 2)]) == 1

    run(tmp_path, check)


def test_a_hub_that_comes_back_after_a_while_has_everything(tmp_path: Path) -> None:
    async def check(namespace: Namespace) -> None:
        async with HubPingSender(namespace.connection, HUB) as sender:
            assert await sender.send([ping(device, 0) for device in range(40)]) == 40
            await namespace.stop()
            refused = asyncio.Event()

            async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                refused.set()
                writer.close()

            async with await asyncio.start_server(refuse, LOOPBACK, namespace.port):
                sending = asyncio.create_task(sender.send([ping(device, 1) for device in range(40)]))
                await asyncio.wait_for(refused.wait(), 20)
            await namespace.start()
            assert await asyncio.wait_for(sending, 60) == 40
        bodies = {event.message[-8:] for events in namespace.events() for event in events}
        assert {ping(device, 1).body[-8:] for device in range(40)} <= bodies

    run(tmp_path, check)


def test_a_hub_that_stays_away_is_unavailable(tmp_path: Path) -> None:
    async def check(namespace: Namespace) -> None:
        await namespace.stop()
        async with HubPingSender(namespace.connection, HUB, retries=0) as sender:
            with pytest.raises(HubUnavailable, match=f"hub {HUB} does not answer"):
                await sender.send([ping(1, 1)])

    run(tmp_path, check)


def test_a_hub_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    async def check(namespace: Namespace) -> None:
        async with HubPingSender(namespace.connection, "nowhere", retries=0) as sender:
            with pytest.raises(HubUnavailable, match="hub nowhere does not answer"):
                await sender.send([ping(1, 1)])

    run(tmp_path, check)


def test_a_connection_that_is_not_set_is_named() -> None:
    with pytest.raises(ConfigurationError, match="EventHub__fullyQualifiedNamespace"):
        HubPingSender(Connection("EventHub"), HUB)

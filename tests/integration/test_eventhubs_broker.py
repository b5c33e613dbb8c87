"""The broker as the real azure-eventhub SDK sees it: what was acknowledged is there, once and in order."""

import asyncio
import gc
import itertools
import shutil
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import psutil
import pytest
from azure.eventhub import EventData, EventHubProducerClient, PartitionContext
from azure.eventhub.aio import EventHubConsumerClient
from azure.eventhub.aio import EventHubProducerClient as AioProducerClient
from azure.eventhub.amqp import AmqpAnnotatedMessage
from azure.eventhub.exceptions import ConnectError, ConnectionLostError, EventDataSendError, EventHubError
from azure.eventhub.extensions.checkpointstoreblobaio import BlobCheckpointStore
from azure.storage.blob import ContainerClient

from infra.local.eventhubs.broker import Broker, HubDescription
from infra.local.eventhubs.codec import UInt
from infra.local.eventhubs.hubs import Partition
from infra.local.eventhubs.log import PartitionLog
from infra.local.eventhubs.partition_key import partition_for_key
from infra.local.eventhubs.performatives import AMQP_HEADER
from tests.azurite import AzuriteServer
from tests.eventhubs import EventHubsServer
from tests.polling import wait_until
from tests.sending import Resends, count_resends
from tests.unit.eventhubs import wire

pytestmark = [
    pytest.mark.integration,
    # azure-eventhub leaves the sockets of broken connections to the garbage collector (see _collect).
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

PARTITIONS = 4
HUBS = [f"hub-{number}" for number in range(20)]
GROUP = "footfall"


@pytest.fixture(autouse=True)
def _collect() -> Iterator[None]:
    """Sockets that the SDK left open are collected here, where the warning is expected, not in another test."""
    yield
    gc.collect()


def entity(name: str, partitions: int = PARTITIONS) -> dict[str, Any]:
    return {"Name": name, "PartitionCount": partitions, "ConsumerGroups": [{"Name": GROUP}]}


@pytest.fixture(scope="module", name="server")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EventHubsServer]:
    server = EventHubsServer(tmp_path_factory.mktemp("broker"), [entity(name) for name in HUBS])
    server.start()
    yield server
    server.stop()


_unused_hubs = iter(HUBS)


@pytest.fixture(name="hub")
def _hub() -> str:
    """A hub that no other test uses."""
    return next(_unused_hubs)


@pytest.fixture(name="own_server")
def _own_server(tmp_path: Path) -> Iterator[EventHubsServer]:
    """A broker of the hub `pings` that the test may kill."""
    server = EventHubsServer(tmp_path, [entity("pings")])
    server.start()
    yield server
    server.stop()


# --------------------------------------------------------------------------------------------------------- SDK helpers

type Received = tuple[str, EventData]
"""(partition id, event)."""


def aio_producer(server: EventHubsServer, hub: str, **options: Any) -> AioProducerClient:
    return AioProducerClient.from_connection_string(server.connection_string, eventhub_name=hub, **options)


def producer(server: EventHubsServer, hub: str, **options: Any) -> EventHubProducerClient:
    return EventHubProducerClient.from_connection_string(server.connection_string, eventhub_name=hub, **options)


def consumer(server: EventHubsServer, hub: str, group: str = GROUP, **options: Any) -> EventHubConsumerClient:
    return EventHubConsumerClient.from_connection_string(
        server.connection_string, group, eventhub_name=hub, **{"load_balancing_interval": 0.5, **options}
    )


class Reading:
    """A consumer that runs: what it has received, and the errors that the SDK reported."""

    def __init__(self) -> None:
        self.events: list[Received] = []
        self.errors: list[Exception] = []

    async def on_event(self, context: PartitionContext, event: EventData | None) -> None:
        if event is not None:
            self.events.append((context.partition_id, event))

    async def on_error(self, context: PartitionContext | None, error: Exception) -> None:
        self.errors.append(error)

    async def until(self, condition: Callable[[], bool], timeout: float = 30) -> None:
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"{len(self.events)} events and {self.errors} after {timeout} s"
            await asyncio.sleep(0.02)

    async def count(self, number: int) -> None:
        await self.until(lambda: len(self.events) >= number)

    @property
    def bodies(self) -> list[str]:
        return [event.body_as_str() for _, event in self.events]


@asynccontextmanager
async def reading(client: EventHubConsumerClient, **where: Any) -> Any:
    """Receive in the background until the end of the block."""
    state = Reading()
    where = {"starting_position": "-1", **where}
    task = asyncio.create_task(client.receive(state.on_event, on_error=state.on_error, **where))
    try:
        yield state
    finally:
        await client.close()
        await asyncio.wait_for(task, 30)


async def read(server: EventHubsServer, hub: str, number: int, **where: Any) -> list[Received]:
    """The first `number` events that a consumer gets."""
    async with reading(consumer(server, hub), **where) as state:
        await state.count(number)
    return state.events


async def send(client: AioProducerClient, bodies: Iterable[str | bytes], **where: Any) -> None:
    batch = await client.create_batch(**where)
    for body in bodies:
        batch.add(EventData(body))
    await client.send_batch(batch)


# ------------------------------------------------------------------------------------------------------- what is there


def test_the_hub_and_its_partitions_are_described(server: EventHubsServer, hub: str) -> None:
    with producer(server, hub) as client:
        properties = client.get_eventhub_properties()
        empty = client.get_partition_properties("3")
        client.send_event(EventData("x"), partition_id="3")
        filled = client.get_partition_properties("3")

    assert properties["eventhub_name"] == hub
    assert properties["partition_ids"] == ["0", "1", "2", "3"]
    assert empty["is_empty"] is True
    assert (empty["beginning_sequence_number"], empty["last_enqueued_sequence_number"]) == (0, -1)
    assert filled["is_empty"] is False
    assert (filled["last_enqueued_sequence_number"], filled["last_enqueued_offset"]) == (0, "0")
    assert abs(filled["last_enqueued_time_utc"].timestamp() - time.time()) < 60


def test_unknown_hubs_groups_and_partitions_are_refused_in_words(server: EventHubsServer, hub: str) -> None:
    with (
        producer(server, "nope", retry_total=0) as client,
        pytest.raises(ConnectError, match="'sb://localhost/nope' could"),
    ):
        client.send_event(EventData("x"))
    with producer(server, hub, retry_total=0) as client, pytest.raises(ConnectError, match="Invalid partition 99"):
        client.send_event(EventData("x"), partition_id="99")

    async def unknown_group() -> list[Exception]:
        async with reading(consumer(server, hub, "nope", retry_total=0), partition_id="0") as state:
            await state.until(lambda: len(state.errors) > 0)
        return state.errors

    assert "consumergroups/nope' could not be found" in str(asyncio.run(unknown_group())[0])


def test_names_of_hubs_and_groups_are_compared_without_case(server: EventHubsServer, hub: str) -> None:
    async def conversation() -> list[str]:
        async with aio_producer(server, hub.upper()) as client:
            await send(client, ["x"])
        async with reading(consumer(server, hub, "$default")) as state:
            await state.count(1)
        return state.bodies

    assert asyncio.run(conversation()) == ["x"]


# ---------------------------------------------------------------------------------------------------- what an event is


def test_a_batch_with_a_key_goes_to_the_keys_partition_and_keeps_all_its_properties(
    server: EventHubsServer, hub: str
) -> None:
    event = EventData(b"body")
    event.properties = {"int": 1, "float": 1.5, "text": "é", "bytes": b"\x00\x01", "none": None, "flag": True}
    event.content_type, event.message_id, event.correlation_id = "application/json", "m-1", "c-1"

    with producer(server, hub) as client:
        batch = client.create_batch(partition_key="device-1")
        batch.add(event)
        client.send_batch(batch)
    [(partition_id, got)] = asyncio.run(read(server, hub, 1))

    assert partition_id == str(partition_for_key("device-1", PARTITIONS))
    assert got.partition_key == b"device-1"
    assert got.body_as_str() == "body"
    assert (got.content_type, got.message_id, got.correlation_id) == ("application/json", "m-1", "c-1")
    assert got.properties == {
        b"int": 1, b"float": 1.5, b"text": "é".encode(), b"bytes": b"\x00\x01", b"none": None, b"flag": True
    }  # fmt: skip


def test_all_events_of_a_key_are_in_one_partition_in_the_order_they_were_sent(
    server: EventHubsServer, hub: str
) -> None:
    async def conversation() -> list[Received]:
        async with aio_producer(server, hub) as client:
            for number in range(60):
                await client.send_event(EventData(str(number)), partition_key=f"device-{number % 6}")
        return await read(server, hub, 60)

    events = asyncio.run(conversation())
    for device in range(6):
        mine = [
            (partition, int(event.body_as_str()))
            for partition, event in events
            if int(event.body_as_str()) % 6 == device
        ]
        assert [number for _, number in mine] == list(range(device, 60, 6))
        assert {partition for partition, _ in mine} == {str(partition_for_key(f"device-{device}", PARTITIONS))}


def test_bodies_of_data_value_and_sequence_and_annotations_come_back(server: EventHubsServer, hub: str) -> None:
    sent = [
        AmqpAnnotatedMessage(data_body=[b"d1", b"d2"], annotations={b"x-mine": "v"}, header={"durable": True}),
        AmqpAnnotatedMessage(value_body={"a": 1, "b": [1, 2, "x"]}),
        AmqpAnnotatedMessage(sequence_body=[[1, 2], [3]]),
    ]

    async def conversation() -> list[Received]:
        async with aio_producer(server, hub) as client:
            for message in sent:
                await client.send_event(message, partition_id="0")
        return await read(server, hub, 3)

    data, value, sequence = (event.raw_amqp_message for _, event in asyncio.run(conversation()))
    assert list(data.body) == [b"d1", b"d2"]
    assert data.annotations[b"x-mine"] == b"v"
    assert data.header.durable is True
    assert value.body == {b"a": 1, b"b": [1, 2, b"x"]}
    assert list(sequence.body) == [[1, 2], [3]]


def test_large_events_and_a_full_batch_pass_and_a_larger_one_is_refused(server: EventHubsServer, hub: str) -> None:
    async def conversation() -> tuple[int, list[Received]]:
        async with aio_producer(server, hub) as client:
            await client.send_event(EventData("x" * 300_000), partition_id="1")
            batch = await client.create_batch(partition_id="1")
            assert batch.max_size_in_bytes == 1_048_576
            number = 0
            while True:
                try:
                    batch.add(EventData("y" * 2000))
                except ValueError:
                    break
                number += 1
            await client.send_batch(batch)
            with pytest.raises(EventDataSendError, match="exceeds the limit"):
                await client.send_event(EventData("z" * 1_048_577), partition_id="1")
        return number, await read(server, hub, number + 1)

    number, events = asyncio.run(conversation())
    assert number > 500
    assert [len(event.body_as_str()) for _, event in events] == [300_000] + [2000] * number


# ------------------------------------------------------------------------------------------------------ where to start


def test_a_consumer_starts_where_it_asked_to(server: EventHubsServer, hub: str) -> None:
    async def conversation() -> None:
        async with aio_producer(server, hub) as client:
            await send(client, map(str, range(5)), partition_id="2")
            await asyncio.sleep(0.01)  # a later millisecond, or the time would not tell the batches apart
            await send(client, map(str, range(5, 10)), partition_id="2")
        everything = [event for _, event in await read(server, hub, 10, partition_id="2")]
        fifth = everything[4]
        at, inclusive = "starting_position", {"starting_position_inclusive": True}
        firsts: list[tuple[dict[str, Any], int]] = [
            ({at: fifth.offset}, 5),
            ({at: fifth.offset, **inclusive}, 4),
            ({at: fifth.sequence_number}, 5),
            ({at: fifth.sequence_number, **inclusive}, 4),
            ({at: fifth.enqueued_time}, 5),
            ({at: fifth.enqueued_time, **inclusive}, 0),
            ({at: "-1"}, 0),
        ]
        for group in (firsts[:4], firsts[4:]):  # a group has five receivers at most
            got = await asyncio.gather(
                *(read(server, hub, 10 - first, partition_id="2", **where) for where, first in group)
            )
            for (where, first), events in zip(group, got, strict=True):
                assert [event.body_as_str() for _, event in events] == [str(one) for one in range(first, 10)], where

    asyncio.run(conversation())


def test_latest_means_what_comes_after_the_consumer(server: EventHubsServer, hub: str) -> None:
    async def conversation() -> list[str]:
        async with aio_producer(server, hub) as client:
            await send(client, ["before"], partition_id="0")
            async with reading(consumer(server, hub), partition_id="0", starting_position="@latest") as state:
                for number in itertools.count():  # the SDK does not say when its link is open
                    await send(client, [str(number)], partition_id="0")
                    if state.events:
                        break
                    await asyncio.sleep(0.1)
            return state.bodies

    assert "before" not in asyncio.run(conversation())


def test_a_checkpoint_of_another_hub_of_that_name_is_an_error_not_silence(server: EventHubsServer, hub: str) -> None:
    async def conversation() -> list[Exception]:
        where = {"partition_id": "0", "starting_position": "123456"}
        async with reading(consumer(server, hub, retry_total=0), **where) as state:
            await state.until(lambda: len(state.errors) > 0)
        return state.errors

    assert "The supplied offset '123456' is invalid. The last offset in the system is '-1'" in str(
        asyncio.run(conversation())[0]
    )


def test_the_newest_event_of_a_partition_is_tracked(server: EventHubsServer, hub: str) -> None:
    seen: list[dict[str, Any] | None] = []

    async def conversation() -> None:
        async with aio_producer(server, hub) as client:
            await send(client, map(str, range(7)), partition_id="1")

        async def on_event(context: PartitionContext, event: EventData | None) -> None:
            seen.append(context.last_enqueued_event_properties)

        client = consumer(server, hub)
        task = asyncio.create_task(
            client.receive(
                on_event, partition_id="1", starting_position="-1", track_last_enqueued_event_properties=True
            )
        )
        while not seen:
            await asyncio.sleep(0.02)
        await client.close()
        await asyncio.wait_for(task, 30)

    asyncio.run(conversation())
    assert seen[0] is not None
    assert seen[0]["sequence_number"] == 6


# -------------------------------------------------------------------------------------------------- consumers together


def test_a_higher_owner_level_takes_over_and_a_lower_or_none_is_refused(server: EventHubsServer, hub: str) -> None:
    async def conversation() -> None:
        at = {"partition_id": "0"}
        clients = [consumer(server, hub, retry_total=0) for _ in range(4)]
        async with aio_producer(server, hub) as sender:
            await send(sender, ["1"], partition_id="0")
            async with reading(clients[0], owner_level=1, **at) as first:
                await first.count(1)
                async with reading(clients[1], owner_level=2, **at) as second:
                    await second.count(1)
                    await first.until(lambda: len(first.errors) > 0)
                    async with reading(clients[2], owner_level=1, **at) as lower, reading(clients[3], **at) as none:
                        await lower.until(lambda: len(lower.errors) > 0)
                        await none.until(lambda: len(none.errors) > 0)
                    await send(sender, ["2"], partition_id="0")
                    await second.count(2)
                    # The SDK goes on trying: once the second is gone, the first gets in again.
                    assert (first.bodies, second.bodies, lower.events, none.events) == (["1"], ["1", "2"], [], [])
        assert isinstance(first.errors[0], ConnectionLostError)
        assert "with higher epoch of '2' is created hence current receiver" in str(first.errors[0])
        assert "with a higher epoch '2' already exists" in str(lower.errors[0])
        assert "non-epoch receiver is not allowed" in str(none.errors[0])
        assert second.errors == []

    asyncio.run(conversation())


def test_every_consumer_group_gets_every_event(server: EventHubsServer, hub: str) -> None:
    async def conversation() -> None:
        async with (
            reading(consumer(server, hub, GROUP)) as ours,
            reading(consumer(server, hub, "$Default")) as default,
            aio_producer(server, hub) as client,
        ):
            for partition in range(PARTITIONS):
                await send(client, [f"{partition}-{number}" for number in range(25)], partition_id=str(partition))
            await ours.count(100)
            await default.count(100)
        assert sorted(ours.bodies) == sorted(default.bodies)

    asyncio.run(conversation())


@pytest.fixture(name="checkpoints")
def _checkpoints(azurite: AzuriteServer) -> Callable[[], BlobCheckpointStore]:
    """Makes checkpoint stores on one container of Azurite."""
    name = f"checkpoints-{uuid4().hex[:12]}"
    with ContainerClient.from_connection_string(azurite.connection_string, name) as container:
        container.create_container()
    return lambda: BlobCheckpointStore.from_connection_string(azurite.connection_string, name)


def test_a_consumer_with_a_checkpoint_store_goes_on_where_it_stopped(
    server: EventHubsServer, hub: str, checkpoints: Callable[[], BlobCheckpointStore]
) -> None:
    async def one_run(bodies: list[str]) -> list[str]:
        async with aio_producer(server, hub) as client, checkpoints() as store:
            for partition in range(PARTITIONS):
                await send(client, bodies, partition_id=str(partition))
            state = Reading()

            async def on_event(context: PartitionContext, event: EventData) -> None:
                await context.update_checkpoint(event)
                await state.on_event(context, event)

            client_with_store = consumer(server, hub, checkpoint_store=store)
            task = asyncio.create_task(client_with_store.receive(on_event, starting_position="-1"))
            await state.count(PARTITIONS * len(bodies))
            await client_with_store.close()
            await asyncio.wait_for(task, 30)
            return state.bodies

    assert Counter(asyncio.run(one_run(["a", "b", "c"]))) == {"a": 4, "b": 4, "c": 4}
    assert Counter(asyncio.run(one_run(["later"]))) == {"later": 4}


@pytest.mark.slow
def test_two_consumers_of_a_group_share_the_partitions_and_miss_and_repeat_nothing(
    server: EventHubsServer, hub: str, checkpoints: Callable[[], BlobCheckpointStore]
) -> None:
    # An ownership that a busy machine renews too late would move, and its new owner reads from the start, rightly.
    lasting = {"partition_ownership_expiration_interval": 300}

    async def conversation() -> list[set[str]]:
        async with (
            checkpoints() as store_a,
            checkpoints() as store_b,
            aio_producer(server, hub) as client,
            reading(consumer(server, hub, checkpoint_store=store_a, **lasting)) as a,
            reading(consumer(server, hub, checkpoint_store=store_b, **lasting)) as b,
        ):
            await _until_shared(client, a, b)
            for partition in range(PARTITIONS):
                await send(client, [f"{partition}-{number}" for number in range(500)], partition_id=str(partition))
            await _until_shared(client, a, b)  # the probes that it waits for come behind the events
            # Not later: the first to leave gives its partitions up, and the other reads them from the start.
            shares = [[body for body in one.bodies if "-" in body] for one in (a, b)]
        assert sorted(shares[0] + shares[1]) == sorted(
            f"{partition}-{number}" for partition in range(PARTITIONS) for number in range(500)
        )
        return [{body.partition("-")[0] for body in share} for share in shares]

    by_a, by_b = asyncio.run(conversation())
    assert (len(by_a), len(by_b), by_a & by_b) == (2, 2, set())


async def _until_shared(client: AioProducerClient, a: Reading, b: Reading) -> None:
    """Send probes until each consumer has got the newest probe, and with it all before it, of two partitions."""
    for _ in range(200):
        probe = uuid4().hex
        for partition in range(PARTITIONS):
            await send(client, [probe], partition_id=str(partition))
        await asyncio.sleep(0.3)
        newest = [{partition for partition, event in one.events if event.body_as_str() == probe} for one in (a, b)]
        if [len(one) for one in newest] == [2, 2] and not newest[0] & newest[1]:
            return
    raise AssertionError(f"the consumers do not share the partitions: {newest}")


# ----------------------------------------------------------------------------------------------------------- producers


def test_the_buffered_producers_deliver_everything(server: EventHubsServer, hub: str) -> None:
    confirmed: Counter[str] = Counter()
    failed: list[Exception] = []

    def on_success(events: list[EventData], partition_id: str | None) -> None:
        confirmed["sync"] += len(events)

    def on_error(events: list[EventData], partition_id: str | None, error: Exception) -> None:
        failed.append(error)

    with producer(server, hub, buffered_mode=True, on_success=on_success, on_error=on_error, max_wait_time=1) as client:
        for number in range(1000):
            client.send_event(EventData(f"sync-{number}"), partition_key=f"k{number % 50}")
        client.flush()

    async def buffered() -> None:
        async def on_aio_success(events: list[EventData], partition_id: str | None) -> None:
            confirmed["aio"] += len(events)

        async def on_aio_error(events: list[EventData], partition_id: str | None, error: Exception) -> None:
            failed.append(error)

        callbacks = {"on_success": on_aio_success, "on_error": on_aio_error}
        async with aio_producer(server, hub, buffered_mode=True, max_wait_time=1, **callbacks) as client:
            for number in range(1000):
                await client.send_event(EventData(f"aio-{number}"), partition_key=f"k{number % 50}")
            await client.flush()

    asyncio.run(buffered())
    bodies = [event.body_as_str() for _, event in asyncio.run(read(server, hub, 2000))]
    assert failed == []
    assert confirmed == {"sync": 1000, "aio": 1000}
    assert sorted(bodies) == sorted(f"{kind}-{number}" for kind in ("sync", "aio") for number in range(1000))


def test_many_producers_at_once_lose_and_mix_nothing(server: EventHubsServer, hub: str) -> None:
    async def one(number: int) -> None:
        async with aio_producer(server, hub) as client:
            for batch in range(5):
                await send(client, [f"{number}-{batch * 100 + at}" for at in range(100)], partition_key=f"p{number}")

    async def conversation() -> list[Received]:
        await asyncio.gather(*(one(number) for number in range(10)))
        return await read(server, hub, 5000)

    events = asyncio.run(conversation())
    for number in range(10):
        mine = [body for _, event in events if (body := event.body_as_str()).startswith(f"{number}-")]
        assert mine == [f"{number}-{at}" for at in range(500)]


# ---------------------------------------------------------------------------------------------- kills and slow clients


def test_a_producer_and_a_consumer_go_on_after_the_broker_was_stopped_and_started(
    own_server: EventHubsServer,
) -> None:
    async def conversation() -> list[str]:
        async with reading(consumer(own_server, "pings")) as state, aio_producer(own_server, "pings") as client:
            await client.send_event(EventData("before"), partition_id="0")
            await state.count(1)
            await asyncio.to_thread(own_server.stop)
            await asyncio.to_thread(own_server.start)
            await client.send_event(EventData("after"), partition_id="0")
            await state.until(lambda: "after" in state.bodies)
            return state.bodies

    # Without a checkpoint the consumer starts from the beginning after it lost its connection.
    assert asyncio.run(conversation()) in (["before", "after"], ["before", "before", "after"])


def test_a_batch_whose_acceptance_was_lost_is_sent_again_by_the_sdk_and_is_there_twice(tmp_path: Path) -> None:
    """Why the tests that kill count attempts: a batch is stored as often as it is sent, and one call may send twice."""

    def lose_the_first_acceptance(partition: Partition) -> None:
        if partition.log.next_sequence_number == 1:
            raise ConnectionResetError("the batch is stored, and its sender does not hear of it")

    def send_with_one_call(port: int) -> int:
        address = f"Endpoint=sb://127.0.0.1:{port};SharedAccessKeyName=k;SharedAccessKey=v;UseDevelopmentEmulator=true;"
        with (
            count_resends() as resends,
            EventHubProducerClient.from_connection_string(address, eventhub_name="pings", retry_total=0) as client,
        ):
            client.send_batch([EventData("x")])
            return 1 + resends.of_this_thread()

    async def attempts(log: PartitionLog) -> int:
        broker = Broker([HubDescription("pings", [log])])
        broker.on_append.append(lose_the_first_acceptance)
        listening = await broker.start("127.0.0.1", 0)
        try:
            return await asyncio.to_thread(send_with_one_call, listening.sockets[0].getsockname()[1])
        finally:
            await broker.stop()

    log = PartitionLog(tmp_path)
    try:
        assert asyncio.run(attempts(log)) == log.next_sequence_number == 2
    finally:
        log.close()


BATCH = 20


class Sender(threading.Thread):
    """Sends numbered batches to one partition until it is told to stop, each with one call of `send_batch`.

    Knows by their numbers which were acknowledged, and how often each was sent (see `Resends`).
    """

    def __init__(self, server: EventHubsServer, partition: int, resends: Resends) -> None:
        super().__init__(daemon=True)
        self.acknowledged: list[int] = []
        self.attempts: Counter[int] = Counter()
        self.partition = partition
        self.stopping = threading.Event()
        self._server = server
        self._resends = resends

    def bodies(self, batch: int) -> list[str]:
        return [f"{self.partition}-{batch}-{at}" for at in range(BATCH)]

    def run(self) -> None:
        for number in itertools.count():
            if self.stopping.is_set():
                return
            before = self._resends.of_this_thread()
            if self._try(self.bodies(number)):
                self.acknowledged.append(number)
            self.attempts[number] = 1 + self._resends.of_this_thread() - before

    def _try(self, bodies: list[str]) -> bool:
        # A client of its own for each batch would hide what happens to an open one.
        try:
            if not hasattr(self, "_client"):
                self._client = producer(self._server, "pings", retry_total=0)
            batch = self._client.create_batch(partition_id=str(self.partition))
            for body in bodies:
                batch.add(EventData(body))
            self._client.send_batch(batch)
        except (EventHubError, OSError):
            self._client.close()
            del self._client
            return False
        return True

    def close(self) -> None:
        self.stopping.set()
        self.join(60)
        assert not self.is_alive(), "the last attempt is not counted yet"
        if hasattr(self, "_client"):
            self._client.close()


@pytest.mark.slow
def test_everything_acknowledged_is_there_in_order_after_kills_between_and_during_sends(
    own_server: EventHubsServer,
) -> None:
    moments = Random(20261124)
    with count_resends() as resends:
        senders = [Sender(own_server, partition, resends) for partition in range(PARTITIONS)]
        for sender in senders:
            sender.start()
        for _ in range(6):
            _wait_for_acknowledgements(senders, 10)
            time.sleep(moments.uniform(0, 0.05))  # where in a send the kill comes is left to chance
            own_server.kill()
            own_server.start()
        for sender in senders:
            sender.close()
    own_server.kill()
    own_server.start()

    stored = _stored_bodies(own_server)
    for sender in senders:
        mine = stored[str(sender.partition)]
        batches = [int(body.split("-")[1]) for body in mine[::BATCH]]
        assert mine == [body for batch in batches for body in sender.bodies(batch)], "not whole batches in order"
        acknowledged = set(sender.acknowledged)
        assert list(dict.fromkeys(batch for batch in batches if batch in acknowledged)) == sender.acknowledged
        assert Counter(batches) <= sender.attempts  # once, and twice only where the SDK sent twice


def _wait_for_acknowledgements(senders: list[Sender], more: int) -> None:
    wanted = sum(len(sender.acknowledged) for sender in senders) + more
    wait_until(lambda: sum(len(sender.acknowledged) for sender in senders) > wanted, 60, "more acknowledgements")


def _stored_bodies(server: EventHubsServer) -> dict[str, list[str]]:
    """The bodies of each partition, as a consumer gets them; sequence numbers have no gap."""

    async def conversation() -> dict[str, list[str]]:
        stored: dict[str, list[str]] = {}
        async with aio_producer(server, "pings") as client:
            for partition in await client.get_partition_ids():
                count = (await client.get_partition_properties(partition))["last_enqueued_sequence_number"] + 1
                events = [event for _, event in await read(server, "pings", count, partition_id=partition)]
                assert [event.sequence_number for event in events] == list(range(count))
                stored[partition] = [event.body_as_str() for event in events]
        return stored

    return asyncio.run(conversation())


def rss_mib(server: EventHubsServer) -> float:
    return float(psutil.Process(server.pid).memory_info().rss) / 2**20


class DeafClient:
    """A raw client that gives a lot of credit and then reads nothing from its socket."""

    def __init__(self, server: EventHubsServer, partition: int, credit: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.amqp_port))
        address = f"pings/ConsumerGroups/{GROUP}/Partitions/{partition}"
        attach = ["deaf", UInt(0), True, None, None, wire.source(address), wire.target("t")]
        flow = [UInt(1), UInt(2**31), UInt(0), UInt(1), UInt(0), UInt(0), UInt(credit)]
        self.socket.sendall(
            AMQP_HEADER
            + wire.frame(0, wire.OPEN, ["deaf"])
            + wire.frame(0, wire.BEGIN, [None, UInt(0), UInt(2**31), UInt(1), UInt(1)])
            + wire.frame(0, wire.ATTACH, attach)
            + wire.frame(0, wire.FLOW, flow)
        )


def fill(server: EventHubsServer, megabytes: int) -> None:
    """About so many MB of events, the same in each partition."""

    async def conversation() -> None:
        async with aio_producer(server, "pings") as client:
            for _ in range(megabytes // PARTITIONS):
                for partition in range(PARTITIONS):
                    await send(client, ["x" * 10_000] * 100, partition_id=str(partition))

    asyncio.run(conversation())


@pytest.mark.slow
def test_consumers_that_take_nothing_do_not_grow_the_broker(own_server: EventHubsServer) -> None:
    clients = [
        DeafClient(own_server, partition, credit) for partition in range(PARTITIONS) for credit in (0, 0, 2**31, 2**31)
    ]
    fill(own_server, 8)
    before = rss_mib(own_server)

    fill(own_server, 120)

    assert rss_mib(own_server) - before < 20
    for client in clients:
        client.socket.close()


def test_hostile_bytes_on_a_real_socket_leave_the_broker_serving(own_server: EventHubsServer) -> None:
    random = Random(5672)
    for prefix in (b"", AMQP_HEADER, AMQP_HEADER + wire.frame(0, wire.OPEN, ["c"])):
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", own_server.amqp_port)) as hostile:
                hostile.settimeout(10)
                hostile.sendall(prefix + random.randbytes(random.randint(1, 3000)))
                hostile.shutdown(socket.SHUT_WR)
                while hostile.recv(65536):
                    pass

    with producer(own_server, "pings") as client:
        client.send_event(EventData("still there"))
    assert [event.body_as_str() for _, event in asyncio.run(read(own_server, "pings", 1))] == ["still there"]


# -------------------------------------------------------------------------------------------------------- the Java SDK

JAVA = Path(__file__).parent / "java"


@pytest.fixture(scope="module", name="java_classpath")
def _java_classpath(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The smoke test in java/, compiled with the Java SDK; built outside the repository."""
    for program in ("java", "mvn"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed; the Java SDK cannot be tried")
    project = tmp_path_factory.mktemp("java") / "project"
    shutil.copytree(JAVA, project)
    subprocess.run(["mvn", "-q", "-B", "package"], cwd=project, check=True, timeout=600)
    return f"{project}/target/classes:{project}/target/lib/*"


@pytest.mark.slow
def test_the_java_sdk_sends_and_receives_and_understands_a_refusal(
    server: EventHubsServer, hub: str, java_classpath: str
) -> None:
    arguments = [server.connection_string, hub, "device-1", "5"]
    quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=off"
    command = ["java", quiet, "-cp", java_classpath, "footfall.EventHubsSmoke", *arguments]

    told = subprocess.run(command, check=True, timeout=120, capture_output=True, text=True).stdout.splitlines()

    home = partition_for_key("device-1", PARTITIONS)
    assert told == [
        "partitions [0, 1, 2, 3]",
        "sent 5",
        *(f"received {home} {number} device-1 6 m-{number} {number}" for number in range(4)),
        f"received {home} 4 device-1 200000 null null",
        "refused NOT_FOUND",
        "done",
    ]
    ours = [event for _, event in asyncio.run(read(server, hub, 5))]
    assert [event.properties for event in ours[:2]] == [{b"number": at, b"text": "é".encode()} for at in range(2)]
    assert ours[4].body_as_str() == "x" * 200_000

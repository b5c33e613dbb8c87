"""Reading what lies on an event hub: everything up to now, or that and whatever comes."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

from azure.eventhub import EventData
from azure.eventhub.aio import EventHubConsumerClient, PartitionContext

_BATCH = 1000
_PREFETCH = 3000


@dataclass(frozen=True, slots=True)
class HubEvent:
    """An event as the hub keeps it."""

    partition_id: str
    sequence_number: int
    enqueued_ms: int
    body: bytes


type OnEvents = Callable[[list[HubEvent]], None]


async def read_to_end(connection: str, hub: str) -> list[HubEvent]:
    """Everything on the hub now, in order within each partition."""
    found: list[HubEvent] = []
    async with _client(connection, hub) as client:
        newest = {}
        for partition_id in await client.get_partition_ids():
            properties = await client.get_partition_properties(partition_id)
            if not properties["is_empty"]:
                newest[partition_id] = properties["last_enqueued_sequence_number"]
        await asyncio.gather(*(_read_up_to(client, one, last, found.extend) for one, last in newest.items()))
    return found


async def follow(connection: str, hub: str, on_events: OnEvents) -> None:
    """Everything on the hub and whatever comes, until cancelled."""
    async with _client(connection, hub) as client:
        await client.receive_batch(_handler(on_events), starting_position="-1", max_batch_size=_BATCH)


async def _read_up_to(client: EventHubConsumerClient, partition_id: str, last: int, on_events: OnEvents) -> None:
    reached = asyncio.Event()

    def take(events: list[HubEvent]) -> None:
        on_events([event for event in events if event.sequence_number <= last])
        if events[-1].sequence_number >= last:
            reached.set()

    reading = asyncio.create_task(
        client.receive_batch(
            _handler(take),
            partition_id=partition_id,
            starting_position="-1",
            max_batch_size=_BATCH,
            prefetch=_PREFETCH,
        )
    )
    waiting = asyncio.create_task(reached.wait())
    await asyncio.wait((reading, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    if not reached.is_set():
        reading.result()  # says what ended it


def _client(connection: str, hub: str) -> EventHubConsumerClient:
    return EventHubConsumerClient.from_connection_string(connection, "$Default", eventhub_name=hub)


def _handler(on_events: OnEvents) -> Callable[[PartitionContext, list[EventData]], Coroutine[Any, Any, None]]:
    async def handle(context: PartitionContext, events: list[EventData]) -> None:
        if events:
            on_events([_event(context.partition_id, event) for event in events])

    return handle


def _event(partition_id: str, event: EventData) -> HubEvent:
    assert event.sequence_number is not None
    assert event.enqueued_time is not None, "the hub stamps every event"
    sections: Iterable[bytes] = event.body  # type: ignore[assignment]  # our producers send data, never a value
    return HubEvent(
        partition_id=partition_id,
        sequence_number=event.sequence_number,
        enqueued_ms=round(event.enqueued_time.timestamp() * 1000),
        body=b"".join(sections),
    )

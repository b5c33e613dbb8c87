"""Everything that lies in a hub, read with the real SDK."""

import asyncio
from dataclasses import dataclass
from datetime import datetime

from azure.eventhub.aio import EventHubConsumerClient


@dataclass(frozen=True)
class HubEvent:
    """One event as a consumer gets it."""

    partition_id: str
    sequence_number: int
    enqueued_at: datetime
    partition_key: str | None
    body: bytes


def read_hub(connection_string: str, hub: str, *, timeout: float = 120) -> list[HubEvent]:
    """All events that are in the hub now, by partition and sequence number."""
    return asyncio.run(asyncio.wait_for(_read(connection_string, hub), timeout))


async def _read(connection_string: str, hub: str) -> list[HubEvent]:
    client = EventHubConsumerClient.from_connection_string(connection_string, "$Default", eventhub_name=hub)
    async with client:
        partitions = await client.get_partition_ids()
        parts = await asyncio.gather(*(_read_partition(connection_string, hub, one) for one in partitions))
    return sorted((event for part in parts for event in part), key=lambda e: (e.partition_id, e.sequence_number))


async def _read_partition(connection_string: str, hub: str, partition_id: str) -> list[HubEvent]:
    found: list[HubEvent] = []
    client = EventHubConsumerClient.from_connection_string(
        connection_string, "$Default", eventhub_name=hub, load_balancing_interval=1
    )
    async with client:
        last = (await client.get_partition_properties(partition_id))["last_enqueued_sequence_number"]
        if last < 0:
            return found
        done = asyncio.Event()

        async def on_batch(_context, events) -> None:
            for event in events:
                key = event.partition_key
                found.append(
                    HubEvent(
                        partition_id,
                        event.sequence_number,
                        event.enqueued_time,
                        key.decode() if isinstance(key, bytes) else key,
                        b"".join(event.body),
                    )
                )
            if found and found[-1].sequence_number >= last:
                done.set()

        receiving = asyncio.ensure_future(
            client.receive_batch(
                on_batch, partition_id=partition_id, starting_position="-1", prefetch=3000, max_batch_size=3000,
                max_wait_time=0.2,
            )
        )  # fmt: skip
        await done.wait()
        receiving.cancel()
        await asyncio.gather(receiving, return_exceptions=True)
    return [event for event in found if event.sequence_number <= last]

"""Event Hub triggers: read a hub's partitions with the real SDK, call the function batch after batch, checkpoint.

The rules are those of the extension's EventHubListener:

* A partition belongs to one host of the consumer group; ownership lies in the checkpoint store and is balanced.
* A partition's batches are processed one after the other, partitions in parallel.
* A failed batch is tried again, the same events, by the function's retry policy. The checkpoint is written after the
  policy has ended, WHATEVER the outcome, and not when the host is stopping or has lost the partition: then the events
  come again.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from azure.eventhub import EventData
from azure.eventhub.aio import CheckpointStore, EventHubConsumerClient, PartitionContext
from azure.eventhub.extensions.checkpointstoreblobaio import BlobCheckpointStore

from infra.local.host.background import Calls, HostStopping, Signal
from infra.local.host.connections import namespace_of, without_port
from infra.local.host.engine import Arguments
from infra.local.host.errors import InputFailed
from infra.local.host.event_hub_conversion import Partition, ReceivedEvent, batch_arguments, event_arguments, received
from infra.local.host.invoker import Invoker, Outcome
from infra.local.host.model import Function
from infra.local.host.outage import AWAY, PAUSE_S, Outage
from infra.local.host.partition_pump import PartitionPump
from infra.local.host.retry import RetryContext
from infra.local.host.settings import EventHubOptions
from infra.local.host.status import EventHubStatus
from infra.local.host.storage import HostStorage

log = logging.getLogger(__name__)

CHECKPOINT_CONTAINER = "azure-webjobs-eventhub"
_SDK_RETRIES = 2
_WATCH_S = 10.0


class ObservedCheckpointStore(CheckpointStore):
    """A checkpoint store that notes checkpoints in the status, and leaves ports out of the names it stores under.

    It is asked for the owners of the partitions about every second, so it knows first that the storage is back.
    """

    def __init__(self, store: BlobCheckpointStore, status: EventHubStatus, outage: Outage) -> None:
        self._store = store
        self._status = status
        self._outage = outage

    async def list_ownership(
        self, fully_qualified_namespace: str, eventhub_name: str, consumer_group: str, **kwargs: object
    ) -> Iterable[dict[str, Any]]:
        owners = await self._store.list_ownership(
            without_port(fully_qualified_namespace), eventhub_name, consumer_group, **kwargs
        )
        self._outage.ended()
        return owners

    async def claim_ownership(
        self, ownership_list: Iterable[dict[str, Any]], **kwargs: object
    ) -> Iterable[dict[str, Any]]:
        return await self._store.claim_ownership([_without_port(item) for item in ownership_list], **kwargs)

    async def update_checkpoint(self, checkpoint: dict[str, Any], **kwargs: object) -> None:
        await self._store.update_checkpoint(_without_port(checkpoint), **kwargs)
        self._note(checkpoint)

    async def list_checkpoints(
        self, fully_qualified_namespace: str, eventhub_name: str, consumer_group: str, **kwargs: object
    ) -> Iterable[dict[str, Any]]:
        checkpoints = await self._store.list_checkpoints(
            without_port(fully_qualified_namespace), eventhub_name, consumer_group, **kwargs
        )
        for checkpoint in checkpoints:
            self._note(checkpoint)
        return checkpoints

    def _note(self, checkpoint: Mapping[str, Any]) -> None:
        self._status.partition(checkpoint["partition_id"]).checkpoint = checkpoint["sequence_number"]


def _without_port(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {**entry, "fully_qualified_namespace": without_port(entry["fully_qualified_namespace"])}


class EventHubTrigger:
    """The listener of one function on one hub."""

    def __init__(
        self,
        function: Function,
        connection_string: str,
        storage: HostStorage,
        invoker: Invoker,
        options: EventHubOptions,
    ) -> None:
        trigger = function.trigger
        self._function = function
        self._connection_string = connection_string
        self._storage = storage
        self._invoker = invoker
        self._options = options
        self._namespace = namespace_of(connection_string)
        self._hub = str(trigger.get("eventHubName"))
        self._consumer_group = str(trigger.get("consumerGroup") or "$Default")
        self._pumps: dict[str, PartitionPump[ReceivedEvent]] = {}
        self._calls = Calls()
        self._stopping = Signal()
        self._hub_outage = Outage(function.name, f"event hub {self._hub}")
        self._store_outage = Outage(function.name, "the checkpoint store (and goes on without checkpoints)")
        self.status = EventHubStatus(self._hub, self._consumer_group)

    async def run(self) -> None:
        """Listen until cancelled; outages of hub and storage are waited out."""
        while True:
            try:
                await self._listen()
            except HostStopping:
                return
            except Exception as error:  # noqa: BLE001 (a connection that breaks makes the SDK raise anything)
                self._hub_outage.failed(error)
            await asyncio.sleep(PAUSE_S)

    def close(self) -> None:
        """From now on nothing is checkpointed and nothing is tried again; calls under way run to their end."""
        self._stopping.set()
        for pump in self._pumps.values():
            pump.close()

    async def finished(self) -> None:
        await self._calls.finished()

    async def invoke_now(self, _text: str) -> Outcome:
        """Not possible: an event that no hub numbered would look to the app like a hub made anew.

        Raises ValueError that says what to do instead.
        """
        raise ValueError(f"send an event to the hub {self._hub}; {self._function.name} is called with what lies there")

    async def _listen(self) -> None:
        await self._store_outage.wait_out(self._create_container, self._stopping)
        blob_store = self._storage.checkpoint_store(CHECKPOINT_CONTAINER)
        store = ObservedCheckpointStore(blob_store, self.status, self._store_outage)
        client = self._consumer(store)
        async with blob_store, client:
            for partition_id in await client.get_partition_ids():
                self.status.partition(partition_id)
            await store.list_checkpoints(self._namespace, self._hub, self._consumer_group)
            self._hub_outage.ended()
            self.status.listening = True
            watching = asyncio.create_task(self._watch(client))
            try:
                await self._receive(client)
            finally:
                watching.cancel()

    async def _create_container(self) -> None:
        await self._storage.create_container(CHECKPOINT_CONTAINER)

    async def _receive(self, client: EventHubConsumerClient) -> None:
        await client.receive_batch(
            self._on_batch,
            max_batch_size=self._options.max_event_batch_size,
            prefetch=self._options.prefetch_count,
            starting_position=self._options.starting_position,
            on_error=self._on_error,
            on_partition_initialize=self._on_open,
            on_partition_close=self._on_close,
        )

    async def _watch(self, client: EventHubConsumerClient) -> None:
        """Say when the hub is away: the SDK reconnects for ever without a word."""
        while True:
            await asyncio.sleep(_WATCH_S)
            try:
                await client.get_eventhub_properties()
            except AWAY as error:
                self._hub_outage.failed(error)
            else:
                self._hub_outage.ended()

    def _consumer(self, store: CheckpointStore) -> EventHubConsumerClient:
        return EventHubConsumerClient.from_connection_string(
            self._connection_string,
            self._consumer_group,
            eventhub_name=self._hub,
            checkpoint_store=store,
            load_balancing_interval=self._options.load_balancing_interval_s,
            partition_ownership_expiration_interval=self._options.ownership_expiration_s,
            retry_total=_SDK_RETRIES,
        )

    def _pump(self, partition_id: str) -> PartitionPump[ReceivedEvent]:
        if partition_id not in self._pumps:

            async def call(events: Sequence[ReceivedEvent], context: RetryContext) -> Outcome:
                return await self._call(partition_id, events, context)

            self._pumps[partition_id] = PartitionPump(
                call,
                self._function.retry,
                one_by_one=not self._function.trigger.is_many,
                checkpoint_every=self._options.batch_checkpoint_frequency,
            )
        return self._pumps[partition_id]

    async def _on_open(self, context: PartitionContext) -> None:
        self.status.partition(context.partition_id).owned = True
        self._pump(context.partition_id).open()

    async def _on_close(self, context: PartitionContext, _reason: object) -> None:
        self.status.partition(context.partition_id).owned = False
        self._pump(context.partition_id).close()

    async def _on_error(self, context: PartitionContext | None, error: Exception) -> None:
        # Without a partition it is the balancing of owners that failed, and so the store.
        (self._store_outage if context is None else self._hub_outage).failed(error)

    async def _on_batch(self, context: PartitionContext, events: list[EventData]) -> None:
        async def checkpoint() -> None:
            try:
                await context.update_checkpoint(events[-1])
            except AWAY as error:
                # As on Azure, the next batch's checkpoint covers this one; until then a restart reads it again.
                self._store_outage.failed(error)

        # The SDK cancels this coroutine when the partition is lost; the function itself must come to its end.
        batch = [received(event) for event in events]
        await self._calls.run(self._pump(context.partition_id).process(batch, checkpoint))

    async def _call(self, partition_id: str, events: Sequence[ReceivedEvent], context: RetryContext) -> Outcome:
        cause = (
            f"partition {partition_id}, {len(events)} event{'s' * (len(events) > 1)} from {events[0].sequence_number}"
        )
        if context.retry_count:
            cause += f", retry {context.retry_count}"
        try:
            arguments = self._arguments(partition_id, events)
        except InputFailed as error:
            return self._invoker.refuse(self._function, str(error), cause)
        return await self._invoker.invoke(self._function, arguments, cause, context)

    def _arguments(self, partition_id: str, events: Sequence[ReceivedEvent]) -> Arguments:
        trigger = self._function.trigger
        partition = Partition(self._namespace, self._hub, self._consumer_group, partition_id)
        if trigger.is_many:
            return batch_arguments(trigger, partition, events)
        return event_arguments(trigger, partition, events[0])

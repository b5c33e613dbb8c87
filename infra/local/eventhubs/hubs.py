"""What a broker serves: a namespace of hubs with their partitions and consumer groups."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from infra.local.eventhubs.errors import AmqpError, Condition
from infra.local.eventhubs.log import PartitionLog, StoredEvent
from infra.local.eventhubs.partition_key import partition_for_key
from infra.local.eventhubs.receivers import Claim

DEFAULT_CONSUMER_GROUP = "$Default"


type OnAppend = Callable[["Partition"], None]
"""Called after each append, in the event loop."""


class Receiver(Protocol):
    """A consumer of a partition, as the partition sees it."""

    group: str
    claim: Claim

    def wake(self) -> None:
        """There are new events."""

    def end(self, error: AmqpError) -> None:
        """Stop receiving, and tell the client why."""


class Partition:
    """One partition: its log, and the receivers to be woken when something was appended."""

    def __init__(
        self, hub_name: str, partition_id: str, events: PartitionLog, on_append: Sequence[OnAppend] = ()
    ) -> None:
        self.hub_name = hub_name
        self.id = partition_id
        self.log = events
        self.receivers: list[Receiver] = []
        self._on_append = on_append
        self._newest_read: list[StoredEvent] = []

    def append(self, messages: Sequence[tuple[bytes, str | None]]) -> None:
        """Store messages with their partition keys. Raises OSError when the disk refuses."""
        self.log.append(messages)
        for receiver in self.receivers:
            receiver.wake()
        for callback in self._on_append:
            callback(self)

    def read(self, sequence_number: int, *, max_events: int, max_bytes: int) -> list[StoredEvent]:
        """As `PartitionLog.read`; the newest read is kept: at the end of the log all receivers ask for the same."""
        kept = self._newest_read
        if kept and kept[0].sequence_number <= sequence_number <= kept[-1].sequence_number:
            at = sequence_number - kept[0].sequence_number
            return kept[at : at + max_events]
        self._newest_read = self.log.read(sequence_number, max_events=max_events, max_bytes=max_bytes)
        return self._newest_read


class Hub:
    """One event hub. Names of hubs and consumer groups are compared without case."""

    def __init__(
        self,
        name: str,
        partitions: Sequence[PartitionLog],
        consumer_groups: Sequence[str],
        created_ms: int,
        on_append: Sequence[OnAppend] = (),
    ) -> None:
        self.name = name
        self.created_ms = created_ms
        self.partitions = [Partition(name, str(number), events, on_append) for number, events in enumerate(partitions)]
        self.consumer_groups = {group.casefold() for group in (DEFAULT_CONSUMER_GROUP, *consumer_groups)}
        self._next = -1

    def choose(self, partition_key: str | None) -> Partition:
        """The partition of a key; without one, each in turn."""
        if partition_key is not None:
            return self.partitions[partition_for_key(partition_key, len(self.partitions))]
        self._next = (self._next + 1) % len(self.partitions)
        return self.partitions[self._next]

    def partition(self, partition_id: object) -> Partition:
        """The partition with an id. Raises AmqpError with the service's words."""
        for partition in self.partitions:
            if partition.id == partition_id:
                return partition
        raise AmqpError(
            Condition.ARGUMENT_OUT_OF_RANGE,
            f"The specified partition is invalid for an EventHub partition sender or receiver: '{partition_id}'. "
            f"It should be between 0 and {len(self.partitions) - 1}. (Parameter 'PartitionId')",
        )


class Namespace:
    """All hubs by name."""

    def __init__(self, hubs: Sequence[Hub]) -> None:
        self._hubs = {hub.name.casefold(): hub for hub in hubs}

    def __iter__(self) -> Iterator[Hub]:
        return iter(self._hubs.values())

    def hub(self, name: str) -> Hub:
        """The hub with a name. Raises AmqpError (not-found) with the service's words."""
        hub = self._hubs.get(name.casefold())
        if hub is None:
            valid = ", ".join(one.name for one in self)
            raise AmqpError(
                Condition.NOT_FOUND,
                f"The messaging entity 'sb://localhost/{name}' could not be found. Valid are: {valid}.",
            )
        return hub

"""The state of one hub partition: what is kept, and the port to where it lies.

Event Hubs gives a partition to one reader, and the partition key is the device, so the state of a partition is one
Table partition: a row for the position and a row for each device. Whoever lost the partition can write nothing more,
because every transaction carries the position row with its ETag (the fence).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from shared.domain.device_state import DeviceState
from shared.errors import FootfallError


class StateConflict(FootfallError):
    """Someone else wrote a row (409, 412 or 404 on a row): load again, and decide again."""


@dataclass(frozen=True, slots=True)
class HubPartition:
    """Whose state it is: one reader (consumer group) of one partition of a hub."""

    consumer_group: str
    namespace: str
    hub: str
    partition_id: str

    @classmethod
    def named(cls, consumer_group: str, namespace: str, hub: str, partition_id: str) -> "HubPartition":
        """The partition, however its namespace is written: a port (laptop only) and letter case do not count."""
        return cls(consumer_group, namespace.partition(":")[0].lower(), hub, partition_id)


@dataclass(frozen=True, slots=True)
class Position:
    """How far a partition was applied. `generation` counts new hubs under the same name."""

    partition_count: int
    sequence_number: int = -1
    enqueued_at_us: int = 0
    skipped: int = 0
    """Events whose numbers were never seen."""
    generation: int = 0
    spent: Mapping[str, int] = field(default_factory=dict)
    """Offers sent of each promotion that has a budget, by promotion id."""


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """A device's state, the last event applied to it, and what was said since, by sequence number (compressed)."""

    state: DeviceState | None
    last: int
    said: Mapping[int, bytes] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """About how many bytes the row takes in a transaction."""
        state = self.state
        remembered = 0 if state is None else len(state.visits) + len(state.contacts)
        return 600 + 120 * remembered + sum(len(words) * 4 // 3 + 16 for words in self.said.values())


@dataclass(frozen=True, slots=True)
class Stored[T]:
    """A row as it lies in the store, with the tag that a write to it must present."""

    value: T
    etag: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A whole partition; `position` is None where nothing was ever written in this generation.

    `rows` are in the order of their last change, the longest unchanged first.
    """

    generation: int
    position: Stored[Position] | None
    rows: dict[str, Stored[DeviceRow]]


@dataclass(frozen=True, slots=True)
class Write:
    """One row of a transaction: `device_id` None is the position row, `value` None deletes, `etag` None creates."""

    device_id: str | None
    value: DeviceRow | Position | None
    etag: str | None


class StateStore(Protocol):
    """Where the state of partitions lies. Every method raises StateUnavailable when the store is away."""

    def load(self, partition: HubPartition) -> Snapshot:
        """All rows of the partition's newest generation."""
        ...

    def commit(self, partition: HubPartition, generation: int, writes: Sequence[Write]) -> list[str]:
        """Write all (at most 100) or nothing; the new tags in order, "" for a deleted row. Raises StateConflict."""
        ...

    def begin_generation(self, partition: HubPartition, generation: int) -> None:
        """Make *generation* the newest, from which `load` reads; harmless when it already is."""
        ...

    def position(self, partition: HubPartition) -> Position | None:
        """How far the partition was applied, for health."""
        ...

"""The state of one hub partition: what is kept, and the port to where it lies.

Event Hubs gives a partition to one reader, and the partition key is the device, so the state of a partition is one
Table partition: a row for the position and a row for each device. Whoever lost the partition can write nothing more,
because every transaction carries the position row with its ETag (the fence).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from shared.domain.device_state import DeviceState
from shared.errors import FootfallError


class StateConflict(FootfallError):
    """Someone else wrote a row (409, 412 or 404 on a row): load again, and decide again."""


_BESIDE = 6 * 1024
"""Bytes of a row beside what grows: headers, both keys (twice), a device id of 128 characters as JSON, names."""
_UTF8 = 4
"""Most bytes of a character."""
_NUMBER = 16
"""Most bytes of a number or of a text's length and a number."""
_VISIT = 96
"""Most bytes of a visit: its fields have names."""
_CONTACT = 32
"""Most bytes of a contact beside its promotion's id."""


def _in_base64(size: int) -> int:
    # Binary properties hold 60 KiB each; every one has a name and a type.
    return size * 4 // 3 + size // 512


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
    """How far a partition was applied. `generation` counts new hubs under the same name.

    A position that is closed is the last of its generation: nothing more is written there, the next one goes on.
    """

    partition_count: int
    sequence_number: int = -1
    enqueued_at_us: int = 0
    skipped: int = 0
    """Events whose numbers were never seen."""
    generation: int = 0
    spent: Mapping[str, int] = field(default_factory=dict)
    """Offers sent of each promotion that has a budget, by promotion id."""
    is_closed: bool = False

    @property
    def size(self) -> int:
        """No fewer bytes than the row takes in a transaction."""
        return _BESIDE + _in_base64(sum(_UTF8 * len(promotion_id) + _NUMBER for promotion_id in self.spent))

    def of_next_generation(self) -> "Position":
        """Where a new hub begins. Budgets are about promotions, not about hubs: what was spent stays spent."""
        return replace(
            self, sequence_number=-1, enqueued_at_us=0, skipped=0, generation=self.generation + 1, is_closed=False
        )


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """A device's state, the last event applied to it, and what was said since, by sequence number (compressed)."""

    state: DeviceState | None
    last: int
    said: Mapping[int, bytes] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """No fewer bytes than the row takes in a transaction, and than the row alone has as JSON."""
        words = sum(map(len, self.said.values())) + 2 * _NUMBER * len(self.said)
        state = self.state
        if state is None:
            return _BESIDE + _in_base64(words)
        by_store: tuple[Mapping[str, object], ...] = (state.visits, state.contacts, state.blurred)
        ids = sum(sum(map(len, entries)) for entries in by_store)
        ids += sum(len(contact.promotion_id) for contact in state.contacts.values())
        numbers = sum(map(len, by_store)) + len(state.offered_us)
        remembered = _UTF8 * ids + _NUMBER * numbers + _VISIT * len(state.visits) + _CONTACT * len(state.contacts)
        return _BESIDE + _in_base64(words + remembered)


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

    def begin_generation(self, partition: HubPartition, first: Position) -> None:
        """Begin the generation of that first position, from which `load` reads from now on.

        Harmless when it began before, or when there is a later one already.
        """
        ...

    def position(self, partition: HubPartition) -> Position | None:
        """How far the partition was applied, for health."""
        ...

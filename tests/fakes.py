"""Fakes of our ports, written once; `tests/integration` holds them and the real adapters to the same tests."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from shared.domain.reference import ReferenceData
from shared.workflows.partition_state import (
    DeviceRow,
    HubPartition,
    Position,
    Snapshot,
    StateConflict,
    Stored,
    Write,
)


@dataclass
class FakeStates:
    """The port `StateStore` in memory, with tags and transactions as Table storage has them."""

    tables: dict[tuple[HubPartition, int], dict[str | None, Stored]] = field(default_factory=dict)
    newest: dict[HubPartition, int] = field(default_factory=dict)
    writes: int = 0

    def load(self, partition: HubPartition) -> Snapshot:
        generation = self.newest.get(partition, 0)
        table = self.tables.get((partition, generation), {})
        rows = {device_id: row for device_id, row in table.items() if device_id is not None}
        ordered = sorted(rows.items(), key=lambda item: item[1].value.state.changed_us if item[1].value.state else 0)
        return Snapshot(generation, table.get(None), dict(ordered))

    def commit(self, partition: HubPartition, generation: int, writes: Sequence[Write]) -> list[str]:
        assert len(writes) <= 100, "an entity-group transaction holds 100 rows"
        table = self.tables.setdefault((partition, generation), {})
        for write in writes:
            found = table.get(write.device_id)
            if (found.etag if found else None) != write.etag:
                raise StateConflict(f"found {found and found.etag}, expected {write.etag}")
        return [self._write(table, write) for write in writes]

    def _write(self, table: dict[str | None, Stored], write: Write) -> str:
        if write.value is None:
            del table[write.device_id]
            return ""
        self.writes += 1
        table[write.device_id] = Stored(write.value, f"w{self.writes}")
        return table[write.device_id].etag

    def begin_generation(self, partition: HubPartition, first: Position) -> None:
        table = self.tables.setdefault((partition, first.generation), {})
        if None not in table:
            self._write(table, Write(None, first, None))
        self.newest[partition] = max(self.newest.get(partition, 0), first.generation)

    def position(self, partition: HubPartition) -> Position | None:
        stored = self.load(partition).position
        return stored.value if stored else None

    def row(self, partition: HubPartition, device_id: str) -> DeviceRow | None:
        stored = self.load(partition).rows.get(device_id)
        return stored.value if stored else None


@dataclass
class FakeReferences:
    """The port `ReferenceSource`: one version from each instant on."""

    versions: list[tuple[int, ReferenceData]]
    refreshed: list[int] = field(default_factory=list)

    def refresh(self, newest_enqueued_us: int) -> None:
        self.refreshed.append(newest_enqueued_us)

    def version_for(self, enqueued_at_us: int) -> ReferenceData:
        return next(data for from_us, data in reversed(self.versions) if from_us <= enqueued_at_us)


@dataclass
class FakeHub:
    """The port `PartitionCounter`."""

    partitions: int = 4

    def partition_count(self) -> int:
        return self.partitions

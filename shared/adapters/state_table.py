"""The state of hub partitions in Azure Table storage: one Table partition a generation of a hub partition.

PartitionKey `group|namespace|hub|partition|generation`; rows `position` and `d` + hex SHA-256 of the device id. The
newest generation stands in row `newest` of PartitionKey `group|namespace|hub|partition`; without it, it is 0.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import msgspec
from azure.core import MatchConditions
from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError
from azure.data.tables import EdmType, EntityProperty, TableClient, TableServiceClient, UpdateMode

from shared.adapters.azure_clients import is_transient
from shared.domain.device_state import DeviceState
from shared.errors import StateUnavailable
from shared.workflows.partition_state import (
    DeviceRow,
    HubPartition,
    Position,
    Snapshot,
    StateConflict,
    Stored,
    Write,
)

POSITION = "position"
NEWEST = "newest"
BINARY_PROPERTY_BYTES = 60 * 1024
"""A Table property holds 64 KiB."""
CONFLICT_STATUS = frozenset({404, 409, 412})


@dataclass(frozen=True, slots=True)
class StateTable:
    """The port `StateStore` on one table, which is created when it is not there."""

    client: TableClient
    _seen: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, service: TableServiceClient, table: str) -> "StateTable":
        """The table of that name."""
        return cls(service.get_table_client(table))

    def load(self, partition: HubPartition) -> Snapshot:
        """All rows of the newest generation, in the order of their last change.

        Raises StateUnavailable, and StateConflict when the table is not there any more.
        """
        with _faults():
            self._create_once()
            generation = self._newest_generation(partition)
            key = _partition_key(partition, generation)
            entities = self.client.query_entities("PartitionKey eq @key", parameters={"key": key})
            try:
                return _snapshot(generation, entities)
            except ResourceNotFoundError:  # the table was deleted under us: the next load makes a new one
                self._seen.clear()
                raise

    def commit(self, partition: HubPartition, generation: int, writes: Sequence[Write]) -> list[str]:
        """One entity-group transaction. Raises StateConflict, StateUnavailable."""
        key = _partition_key(partition, generation)
        with _faults():
            answers = self.client.submit_transaction([_operation(key, write) for write in writes])
        return [str(answer.get("etag", "")) for answer in answers]

    def begin_generation(self, partition: HubPartition, first: Position) -> None:
        """Write the first position, unless it is there, then make its generation the newest. Raises StateUnavailable.

        The newest generation only ever rises: whoever comes late, or is overtaken, changes nothing.
        """
        first_row = {"PartitionKey": _partition_key(partition, first.generation), "RowKey": POSITION}
        newest: dict[str, Any] = {"PartitionKey": _base_key(partition), "RowKey": NEWEST}
        newest["generation"] = first.generation
        with _faults():
            with _ignoring(409):
                self.client.create_entity(first_row | _position_properties(first))
            found = self._entity(newest["PartitionKey"], NEWEST)
            if found is None:
                with _ignoring(409):
                    self.client.create_entity(newest)
            elif int(found["generation"]) < first.generation:
                with _ignoring(412):
                    self.client.update_entity(newest, mode=UpdateMode.REPLACE, **_guard(_etag(found)))

    def position(self, partition: HubPartition) -> Position | None:
        """How far the partition was applied, None when never. Raises StateUnavailable."""
        with _faults():
            self._create_once()
            generation = self._newest_generation(partition)
            entity = self._entity(_partition_key(partition, generation), POSITION)
        return None if entity is None else _position(entity, generation)

    def row(self, partition: HubPartition, device_id: str) -> DeviceRow | None:
        """What is kept of one device, for who asks about it; None where there is no row. Raises StateUnavailable."""
        with _faults():
            self._create_once()
            generation = self._newest_generation(partition)
            entity = self._entity(_partition_key(partition, generation), row_key(device_id))
        return None if entity is None else _row(entity)

    def _newest_generation(self, partition: HubPartition) -> int:
        entity = self._entity(_base_key(partition), NEWEST)
        return 0 if entity is None else int(entity["generation"])

    def _entity(self, partition_key: str, row_key: str) -> Mapping[str, Any] | None:
        try:
            return self.client.get_entity(partition_key, row_key)
        except ResourceNotFoundError:
            return None

    def _create_once(self) -> None:
        if not self._seen:
            with _ignoring(409):
                self.client.create_table()
            self._seen.add(self.client.table_name)


@contextmanager
def _faults() -> Iterator[None]:
    """Turn the SDK's errors into ours: someone else wrote, or the table is away; anything else is a fault to see."""
    try:
        yield
    except AzureError as error:
        if is_transient(error):
            raise StateUnavailable(f"the state table did not answer: {error}") from error
        if isinstance(error, HttpResponseError) and error.status_code in CONFLICT_STATUS:
            raise StateConflict(f"{error.status_code}: {error.message}") from error
        raise


@contextmanager
def _ignoring(status: int) -> Iterator[None]:
    """Somebody else was faster, to the same end."""
    try:
        yield
    except HttpResponseError as error:
        if error.status_code != status:
            raise


def _base_key(partition: HubPartition) -> str:
    return f"{partition.consumer_group}|{partition.namespace}|{partition.hub}|{partition.partition_id}"


def _partition_key(partition: HubPartition, generation: int) -> str:
    return f"{_base_key(partition)}|{generation}"


def row_key(device_id: str) -> str:
    """The key of a device's row: ids may hold characters that keys may not."""
    return "d" + sha256(device_id.encode("utf-8", "surrogatepass")).hexdigest()


def _operation(key: str, write: Write) -> tuple[Any, ...]:
    name = POSITION if write.device_id is None else row_key(write.device_id)
    entity: dict[str, Any] = {"PartitionKey": key, "RowKey": name}
    if write.value is None:
        return "delete", entity, _guard(write.etag)
    if isinstance(write.value, Position):
        entity |= _position_properties(write.value)
    else:
        entity |= _row_properties(write.device_id or "", write.value)
    if write.etag is None:
        return "create", entity
    return "update", entity, _guard(write.etag) | {"mode": UpdateMode.REPLACE}


def _guard(etag: str | None) -> dict[str, Any]:
    """Only if the row is still the one that was read."""
    return {"etag": etag, "match_condition": MatchConditions.IfNotModified}


def _etag(entity: Mapping[str, Any]) -> str:
    return str(entity.metadata["etag"])  # type: ignore[attr-defined]


def _int64(number: int) -> EntityProperty:
    return EntityProperty(number, EdmType.INT64)


def _position_properties(position: Position) -> dict[str, Any]:
    return {
        "sequence_number": _int64(position.sequence_number),
        "enqueued_at_us": _int64(position.enqueued_at_us),
        "partition_count": position.partition_count,
        "skipped": _int64(position.skipped),
        "is_closed": position.is_closed,
        **_chunks("spent", msgspec.msgpack.encode(position.spent)),
    }


def _row_properties(device_id: str, row: DeviceRow) -> dict[str, Any]:
    properties: dict[str, Any] = {"device_id": device_id, "last": _int64(row.last)}
    if row.state is not None:
        properties |= _chunks("state", msgspec.msgpack.encode(row.state))
    if row.said:
        properties |= _chunks("said", msgspec.msgpack.encode(row.said))
    return properties


def _chunks(name: str, content: bytes) -> dict[str, bytes]:
    starts = range(0, len(content), BINARY_PROPERTY_BYTES)
    return {f"{name}{number}": content[at : at + BINARY_PROPERTY_BYTES] for number, at in enumerate(starts)}


def _joined(name: str, entity: Mapping[str, Any]) -> bytes:
    parts: list[bytes] = []
    while (part := entity.get(f"{name}{len(parts)}")) is not None:
        parts.append(part)
    return b"".join(parts)


def _snapshot(generation: int, entities: Iterable[Mapping[str, Any]]) -> Snapshot:
    position: Stored[Position] | None = None
    rows: list[tuple[str, Stored[DeviceRow]]] = []
    for entity in entities:
        if entity["RowKey"] == POSITION:
            position = Stored(_position(entity, generation), _etag(entity))
        else:
            rows.append((entity["device_id"], Stored(_row(entity), _etag(entity))))
    rows.sort(key=lambda item: 0 if item[1].value.state is None else item[1].value.state.changed_us)
    return Snapshot(generation, position, dict(rows))


def _position(entity: Mapping[str, Any], generation: int) -> Position:
    spent = _joined("spent", entity)
    return Position(
        partition_count=int(entity["partition_count"]),
        sequence_number=_number(entity["sequence_number"]),
        enqueued_at_us=_number(entity["enqueued_at_us"]),
        skipped=_number(entity["skipped"]),
        generation=generation,
        spent=msgspec.msgpack.decode(spent, type=dict[str, int]) if spent else {},
        is_closed=bool(entity.get("is_closed", False)),
    )


def _row(entity: Mapping[str, Any]) -> DeviceRow:
    state, said = _joined("state", entity), _joined("said", entity)
    return DeviceRow(
        state=msgspec.msgpack.decode(state, type=DeviceState) if state else None,
        last=_number(entity["last"]),
        said=msgspec.msgpack.decode(said, type=dict[int, bytes]) if said else {},
    )


def _number(value: EntityProperty | int) -> int:
    return int(value.value) if isinstance(value, EntityProperty) else value

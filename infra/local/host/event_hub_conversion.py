"""From events of the Event Hubs SDK to the arguments of a function, as the Event Hubs extension makes them.

Sources: EventHubTriggerBindingStrategy and PocoTriggerArgumentBinding of the extension, the host's
ScriptInvocationContextExtensions. What an app can see of it: times without `Z`, partition keys left out of their array
where there are none, bodies verbatim only with `data_type=BINARY`.
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec
from azure.eventhub import EventData
from azure.eventhub.amqp import AmqpAnnotatedMessage, AmqpMessageBodyType

from infra.local.host.engine import Arguments
from infra.local.host.errors import InputFailed
from infra.local.host.model import Binding, DataType
from infra.local.host.protos import TypedData

type AmqpValue = Any
"""What AMQP can hold: texts (as bytes), numbers, times, maps and lists of such."""

_SEQUENCE_NUMBER = b"x-opt-sequence-number"
_OFFSET = b"x-opt-offset"
_ENQUEUED_TIME = b"x-opt-enqueued-time"
_PARTITION_KEY = b"x-opt-partition-key"
_KNOWN = {_SEQUENCE_NUMBER, _OFFSET, _ENQUEUED_TIME, _PARTITION_KEY}


@dataclass(frozen=True, slots=True)
class Partition:
    """Where events were read: what `PartitionContext` tells an app."""

    namespace: str
    hub: str
    consumer_group: str
    partition_id: str

    def context(self) -> dict[str, object]:
        return {
            "IsCheckpointingAfterInvocation": True,
            "FullyQualifiedNamespace": self.namespace,
            "EventHubName": self.hub,
            "ConsumerGroup": self.consumer_group,
            "PartitionId": self.partition_id,
        }


@dataclass(frozen=True, slots=True)
class ReceivedEvent:
    """An event with its broker's annotations, decoded once."""

    body: bytes
    sequence_number: int
    offset: str
    enqueued_ms: int
    partition_key: str | None
    properties: Mapping[str, Any]
    other_system_properties: Mapping[str, Any]


def received(event: EventData) -> ReceivedEvent:
    """Decode an event of the SDK; annotations are read directly, for the SDK's properties cost more than the rest."""
    message = event.raw_amqp_message
    annotations: Mapping[Any, Any] = message.annotations or {}
    key = annotations.get(_PARTITION_KEY)
    others = {} if message.properties is None and len(annotations) <= len(_KNOWN) else _other_system_properties(event)
    return ReceivedEvent(
        body=_body(message),
        sequence_number=annotations[_SEQUENCE_NUMBER],
        offset=_text(annotations[_OFFSET]),
        enqueued_ms=annotations[_ENQUEUED_TIME],
        partition_key=None if key is None else _text(key),
        properties=_decoded(message.application_properties or {}),
        other_system_properties=others,
    )


def batch_arguments(trigger: Binding, partition: Partition, events: Sequence[ReceivedEvent]) -> Arguments:
    """One call for all events (cardinality MANY). Raises InputFailed where Azure fails the batch before the call."""
    times = [_time(event.enqueued_ms) for event in events]
    offsets = [str(_numeric_offset(event.offset)) for event in events]
    metadata = {
        "PartitionContext": _json(partition.context()),
        # The host skips empty entries when it converts string[], so this array may be shorter than the batch.
        "PartitionKeyArray": TypedData.collection("string", [e.partition_key for e in events if e.partition_key]),
        "OffsetArray": TypedData.collection("string", offsets),
        "OffsetStringArray": TypedData.collection("string", [event.offset for event in events if event.offset]),
        "SequenceNumberArray": TypedData.collection("sint64", [event.sequence_number for event in events]),
        "EnqueuedTimeUtcArray": _json(times),
        "PropertiesArray": _json([event.properties for event in events]),
        "SystemPropertiesArray": _json(list(map(_system_properties, events, times))),
    }
    return Arguments(((trigger.name, _bodies(trigger, events)),), metadata)


def event_arguments(trigger: Binding, partition: Partition, event: ReceivedEvent) -> Arguments:
    """A call for one event (cardinality ONE)."""
    time = _time(event.enqueued_ms)
    metadata = {
        "PartitionContext": _json(partition.context()),
        "Offset": TypedData(string=str(_numeric_offset(event.offset))),
        "OffsetString": TypedData(string=event.offset),
        "SequenceNumber": _json(event.sequence_number),
        "EnqueuedTimeUtc": _json(time),
        "Properties": _json(event.properties),
        "SystemProperties": _json(_system_properties(event, time)),
    }
    if event.partition_key:
        metadata["PartitionKey"] = TypedData(string=event.partition_key)
    if trigger.data_type is DataType.BINARY:
        return Arguments(((trigger.name, TypedData(bytes=event.body)),), metadata)
    text = event.body.decode("utf-8", "replace")
    return Arguments(((trigger.name, TypedData(string=text)),), metadata | _binding_data(text))


def _bodies(trigger: Binding, events: Sequence[ReceivedEvent]) -> TypedData:
    match trigger.data_type:
        case DataType.BINARY:
            return TypedData.collection("bytes", [event.body for event in events])
        case DataType.STRING:
            # The host drops empty strings here but not from the metadata; the engine then refuses the batch.
            texts = (event.body.decode("utf-8", "replace") for event in events)
            return TypedData.collection("string", [text for text in texts if text])
    try:
        return _json([json.loads(event.body.decode("utf-8", "replace")) for event in events])
    except ValueError as error:
        raise InputFailed(
            "without data_type the host parses every event as JSON before the function sees it, and one is none "
            f"({error}); set data_type=func.DataType.BINARY"
        ) from error


def _binding_data(text: str) -> dict[str, TypedData]:
    """The top-level properties of a JSON body become metadata of their own (the host's `Utility.ApplyBindingData`)."""
    try:
        document = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(document, dict):
        return {}
    return {
        name: TypedData(string=value if isinstance(value, str) else json.dumps(value))
        for name, value in document.items()
        if value is not None and not isinstance(value, list)
    }


def _system_properties(event: ReceivedEvent, time: str) -> dict[str, Any]:
    offset = _numeric_offset(event.offset)
    properties: dict[str, Any] = {
        "x-opt-sequence-number": event.sequence_number,
        "x-opt-offset": event.offset,
        "x-opt-enqueued-time": time + "+00:00",
        "SequenceNumber": event.sequence_number,
        "Offset": offset,
        "OffsetString": event.offset,
        "PartitionKey": event.partition_key,
        "EnqueuedTimeUtc": time,
    }
    if event.partition_key is not None:
        properties["x-opt-partition-key"] = event.partition_key
    if event.other_system_properties:
        return {**event.other_system_properties, **properties}
    return properties


def _numeric_offset(offset: str) -> int:
    """Offsets of geo-replicated namespaces are no numbers; the extension then says -1."""
    return int(offset) if offset.removeprefix("-").isdecimal() else -1


@lru_cache(maxsize=4096)
def _time(enqueued_ms: int) -> str:
    """As Newtonsoft writes a DateTime of kind Unspecified: no zone."""
    instant = datetime.fromtimestamp(enqueued_ms / 1000, UTC).replace(tzinfo=None)
    return instant.isoformat(timespec="milliseconds")


def _json(value: object) -> TypedData:
    return TypedData(json=msgspec.json.encode(value, enc_hook=str).decode())


def _body(message: AmqpAnnotatedMessage) -> bytes:
    if message.body_type is AmqpMessageBodyType.DATA:
        return b"".join(message.body)
    if message.body_type is AmqpMessageBodyType.VALUE:
        value = message.body
        return value if isinstance(value, bytes) else str(value).encode()
    raise InputFailed("an event with an AMQP sequence body has no bytes; the extension cannot read it either")


def _other_system_properties(event: EventData) -> dict[str, Any]:
    return {_text(key): _decoded(value) for key, value in event.system_properties.items() if key not in _KNOWN}


def _decoded(value: AmqpValue) -> AmqpValue:
    """The SDK leaves AMQP strings as bytes, in keys and in values."""
    if isinstance(value, bytes):
        return _text(value)
    if isinstance(value, dict):
        return {_text(key): _decoded(item) for key, item in value.items()} if value else value
    if isinstance(value, (list, tuple)):
        return [_decoded(item) for item in value]
    return value if isinstance(value, (str, int, float, datetime, uuid.UUID, type(None))) else str(value)


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)

"""Events of the SDK become what azure-functions gives an app, through its own converters."""

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from azure.eventhub import EventData
from azure.eventhub.amqp import AmqpAnnotatedMessage
from azure.functions.eventhub import EventHubTriggerConverter
from azure_functions_runtime.bindings.datumdef import Datum
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.local.host.engine import Arguments
from infra.local.host.errors import InputFailed
from infra.local.host.event_hub_conversion import (
    Partition,
    ReceivedEvent,
    batch_arguments,
    event_arguments,
    received,
)
from tests.unit.host.bindings import EVENTS, binding

PARTITION = Partition("localhost", "hub", "group", "3")
TIME_MS = 1_764_000_000_123
TIME = datetime.fromtimestamp(TIME_MS / 1000, UTC).replace(tzinfo=None)


def _event(body: bytes = b"x", number: int = 7, key: str | None = None, **changes: Any) -> ReceivedEvent:
    values: dict[str, Any] = {
        "body": body,
        "sequence_number": number,
        "offset": str(number * 100),
        "enqueued_ms": TIME_MS,
        "partition_key": key,
        "properties": {},
        "other_system_properties": {},
    }
    return ReceivedEvent(**(values | changes))


def _decode(arguments: Arguments) -> Any:
    """What the app gets: through the engine's datum and azure-functions' converter."""
    ((_, value),) = arguments.inputs
    metadata = {name: Datum.from_typed_data(item) for name, item in arguments.metadata.items()}
    return EventHubTriggerConverter.decode(Datum.from_typed_data(value), trigger_metadata=metadata)


def _many(events: Sequence[ReceivedEvent], **changes: Any) -> Any:
    return _decode(batch_arguments(binding(EVENTS, **changes), PARTITION, events))


def test_an_app_gets_each_events_body_number_offset_key_and_naive_time() -> None:
    events = _many([_event(b"a", 7, "k\u00fc"), _event(b"", 8)])
    assert [event.get_body() for event in events] == [b"a", b""]
    assert [event.sequence_number for event in events] == [7, 8]
    assert [event.offset for event in events] == [700, 800]
    assert [event.partition_key for event in events] == ["k\u00fc", None]
    assert [event.enqueued_time for event in events] == [TIME, TIME]


def test_the_metadata_has_the_partition_and_the_properties() -> None:
    metadata = _many([_event(properties={"n": 1, "s": "t"}), _event()])[0].metadata
    assert metadata["PartitionContext"] == {
        "IsCheckpointingAfterInvocation": True,
        "FullyQualifiedNamespace": "localhost",
        "EventHubName": "hub",
        "ConsumerGroup": "group",
        "PartitionId": "3",
    }
    assert metadata["PropertiesArray"] == [{"n": 1, "s": "t"}, {}]
    assert metadata["SequenceNumberArray"] == [7, 7]


def test_the_array_of_partition_keys_leaves_out_events_without_one() -> None:
    metadata = _many([_event(key="a"), _event(), _event(key="")])[0].metadata
    assert metadata["PartitionKeyArray"] == ["a"]


def test_an_offset_that_is_no_number_becomes_minus_one() -> None:
    (event,) = _many([_event(offset="1:2")])
    assert event.offset == -1
    assert event.metadata["OffsetStringArray"] == ["1:2"]


def test_other_system_properties_are_passed_on() -> None:
    metadata = _many([_event(other_system_properties={"content-type": "text/plain"})])[0].metadata
    assert metadata["SystemPropertiesArray"][0]["content-type"] == "text/plain"
    assert metadata["SystemPropertiesArray"][0]["x-opt-sequence-number"] == 7


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.binary(max_size=40), st.integers(0, 2**62), st.none() | st.text(min_size=1)), min_size=1))
def test_any_bytes_number_and_key_arrive_unchanged(rows: list[tuple[bytes, int, str | None]]) -> None:
    keys = [None if key is None else key.encode("utf-8", "replace").decode() for _, _, key in rows]
    events = [_event(body, number, key) for (body, number, _), key in zip(rows, keys, strict=True)]
    arrived = _many(events)
    assert [(e.get_body(), e.sequence_number, e.partition_key) for e in arrived] == [
        (event.body, event.sequence_number, event.partition_key) for event in events
    ]


def test_data_type_string_loses_an_empty_event_and_the_engine_refuses_the_batch() -> None:
    with pytest.raises(AssertionError, match="mismatched"):
        _many([_event(b"a"), _event(b"")], dataType="STRING")


def test_without_data_type_one_event_that_is_no_json_fails_the_batch_before_the_function() -> None:
    with pytest.raises(InputFailed, match=r"DataType\.BINARY"):
        batch_arguments(binding(EVENTS, dataType=None), PARTITION, [_event(b"{}"), _event(b"no")])


def test_cardinality_one_gives_one_event() -> None:
    event = _decode(event_arguments(binding(EVENTS, cardinality="one"), PARTITION, _event(b"\xff", 9, "k")))
    assert (event.get_body(), event.sequence_number, event.partition_key) == (b"\xff", 9, "k")
    assert event.enqueued_time == TIME
    assert event.metadata["PartitionContext"]["PartitionId"] == "3"


def test_cardinality_one_makes_metadata_of_a_json_bodys_properties() -> None:
    trigger = binding(EVENTS, cardinality="one", dataType="STRING")
    arguments = event_arguments(trigger, PARTITION, _event(b'{"device": "d", "n": 1, "list": [1], "no": null}'))
    assert arguments.metadata["device"].value == "d"
    assert arguments.metadata["n"].value == "1"
    assert {"list", "no"}.isdisjoint(arguments.metadata)


def _sdk_event(body: bytes, annotations: Mapping[bytes, Any], properties: Mapping[Any, Any] | None = None) -> EventData:
    message = AmqpAnnotatedMessage(data_body=[body], annotations=dict(annotations))
    message.application_properties = None if properties is None else dict(properties)
    event = EventData("")
    event._raw_amqp_message = message  # as the SDK itself makes a received event
    return event


ANNOTATIONS = {
    b"x-opt-sequence-number": 5,
    b"x-opt-offset": b"4096",
    b"x-opt-enqueued-time": TIME_MS,
    b"x-opt-partition-key": "sch\u00f6n".encode(),
}


def test_an_event_of_the_sdk_is_decoded_once() -> None:
    identity = uuid.uuid4()
    properties = {b"text": b"t\xc3\xbc", b"n": 1, b"when": datetime(2026, 1, 1, tzinfo=UTC), b"id": identity}
    event = received(_sdk_event(b"body", ANNOTATIONS, properties))
    assert event == ReceivedEvent(
        b"body",
        5,
        "4096",
        TIME_MS,
        "sch\u00f6n",
        {"text": "t\u00fc", "n": 1, "when": datetime(2026, 1, 1, tzinfo=UTC), "id": identity},
        {},
    )
    document = json.loads(batch_arguments(binding(EVENTS), PARTITION, [event]).metadata["PropertiesArray"].value)
    assert document == [{"text": "t\u00fc", "n": 1, "when": "2026-01-01T00:00:00Z", "id": str(identity)}]


def test_an_annotation_that_the_broker_added_is_a_system_property() -> None:
    event = received(_sdk_event(b"body", ANNOTATIONS | {b"x-opt-publisher": b"me"}))
    assert event.other_system_properties == {"x-opt-publisher": "me"}

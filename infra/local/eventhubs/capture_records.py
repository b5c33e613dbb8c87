"""What a capture file says of an event: a stored AMQP message becomes a record.

What the service writes was seen in real files: offset as decimal text, enqueued time as US-culture text in whole
seconds, a partition key and the enqueued time in milliseconds among the system properties, the bytes of the data
sections as body. What it does with the rest is documented nowhere and decided here:

* The producer's own message annotations are system properties; the fields of the properties section (message-id,
  content-type, ...) are not in the file.
* A property that Avro's union has no type for: booleans and everything else that is no number, text or binary become
  text, timestamps become their milliseconds, compound values JSON text.
* A body that is no data: text is written as UTF-8, binary as it is, null as null, other values and sequences as JSON.
"""

import base64
import json
import logging
from datetime import UTC, datetime
from functools import lru_cache

from infra.local.eventhubs.avro_container import CaptureRecord, PropertyValue, SystemValue
from infra.local.eventhubs.codec import decode
from infra.local.eventhubs.errors import DecodeError
from infra.local.eventhubs.log import StoredEvent
from infra.local.eventhubs.messages import APPLICATION_PROPERTIES, DATA, MESSAGE_ANNOTATIONS, SEQUENCE, VALUE, sections

log = logging.getLogger(__name__)

_LONGEST = 2**63


def capture_record(event: StoredEvent) -> CaptureRecord:
    """The record of an event. A message that is no AMQP becomes the body as it is, since no event may be missing."""
    own: dict[str, SystemValue] = {}
    properties: dict[str, PropertyValue] = {}
    data: list[bytes] = []
    values: list[object] = []
    try:
        for code, _, value, _ in sections(event.message):
            if code == DATA:
                data.append(decode(event.message, value)[0])
            elif code == APPLICATION_PROPERTIES:
                content, _ = decode(event.message, value)
                properties = {str(name): _property(one) for name, one in content.items()}
            elif code == MESSAGE_ANNOTATIONS:
                content, _ = decode(event.message, value)
                own = {str(name): known for name, one in content.items() if (known := _property(one)) is not None}
            elif code in (VALUE, SEQUENCE):
                values.append(decode(event.message, value)[0])
    except DecodeError as error:
        log.warning("event %d is captured as it is: %s", event.sequence_number, error)
        own, properties, data, values = {}, {}, [event.message], []
    return CaptureRecord(
        SequenceNumber=event.sequence_number,
        Offset=str(event.offset),
        EnqueuedTimeUtc=us_culture_time(event.enqueued_ms // 1000),
        SystemProperties=_system_properties(event) | own,
        Properties=properties,
        Body=b"".join(data) if data else _body_of(values),
    )


@lru_cache(maxsize=64)
def us_culture_time(seconds: int) -> str:
    """An instant (seconds since 1970 UTC) as .NET writes it in the US culture: `12/9/2022 4:51:25 PM`."""
    at = datetime.fromtimestamp(seconds, UTC)
    half = "AM" if at.hour < 12 else "PM"
    return f"{at.month}/{at.day}/{at.year} {at.hour % 12 or 12}:{at.minute:02d}:{at.second:02d} {half}"


def _system_properties(event: StoredEvent) -> dict[str, SystemValue]:
    time: dict[str, SystemValue] = {"x-opt-enqueued-time": event.enqueued_ms}
    return time if event.partition_key is None else {"x-opt-partition-key": event.partition_key} | time


def _property(value: object) -> PropertyValue:
    match value:
        case None:
            return None
        case bool():
            return str(value)
        case int():
            return int(value) if -_LONGEST <= value < _LONGEST else str(int(value))
        case float():
            return float(value)
        case str():
            return str(value)
        case bytes():
            return bytes(value)
        case list() | dict():
            return _json(value).decode()
        case _:
            return str(value)


def _body_of(values: list[object]) -> bytes | None:
    """The body of a message without data: one value, or sequences."""
    if len(values) != 1:
        return _json(values) if values else None
    match values[0]:
        case None:
            return None
        case bytes() as binary:
            return bytes(binary)
        case str() as text:
            return text.encode()
        case value:
            return _json(value)


def _json(value: object) -> bytes:
    return json.dumps(_plain(value), separators=(",", ":"), ensure_ascii=False).encode()


def _plain(value: object) -> object:
    """Something that JSON can hold: binary as base64, keys and whatever else it has no type for as text."""
    match value:
        case None | bool() | int() | float() | str():
            return value
        case bytes():
            return base64.b64encode(value).decode()
        case list():
            return [_plain(one) for one in value]
        case dict():
            return {str(key): _plain(one) for key, one in value.items()}
        case _:
            return str(value)

"""Event Hubs messages: what producers send becomes messages to store, what is stored becomes deliveries.

A message is a row of sections (OASIS AMQP 1.0 part 3, section 3.2). It is stored as the producer sent it, but in normal
form, so that a delivery is a concatenation and whoever reads the log meets no malformed message:

* header (if any), then the producer's own message annotations (if any, as a map32), then the other sections in order;
* without delivery annotations (they are for one hop; pyamqp puts them at the very end) and without the annotations that
  the service writes (`SERVICE_ANNOTATIONS`); the partition key goes into a field of its own;
* every section with the short form of its descriptor, every value well-formed.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from infra.local.eventhubs.codec import Described, Symbol, Timestamp, ULong, Value, decode, element_spans, encode, skip
from infra.local.eventhubs.errors import AmqpError, Condition, DecodeError
from infra.local.eventhubs.log import StoredEvent

HEADER, DELIVERY_ANNOTATIONS, MESSAGE_ANNOTATIONS = 0x70, 0x71, 0x72
PROPERTIES, APPLICATION_PROPERTIES = 0x73, 0x74
DATA, SEQUENCE, VALUE, FOOTER = 0x75, 0x76, 0x77, 0x78
BATCH_FORMAT = 0x80013700
"""The message format of a batch: each data section of the envelope holds one encoded message."""
PARTITION_KEY_MAX_BYTES = 65_534
"""What the log can hold; the service's own limit is not documented for the SDKs of today."""
SERVICE_ANNOTATIONS = frozenset({"x-opt-sequence-number", "x-opt-offset", "x-opt-enqueued-time", "x-opt-partition-key"})

_CONTENTS: dict[int, tuple[type, int]] = {
    HEADER: (list, 5),
    PROPERTIES: (list, 13),
    APPLICATION_PROPERTIES: (dict, 0),
    DATA: (bytes, 0),
    SEQUENCE: (list, 0),
    VALUE: (object, 0),
    FOOTER: (dict, 0),
}
"""What each section must hold, and the most fields that it may have (0: any number)."""
_U32_PAIR = struct.Struct(">II")
_ANNOTATIONS_HEAD = bytes((0x00, 0x53, MESSAGE_ANNOTATIONS, 0xD1))
_ANNOTATIONS_HEAD_BYTES = len(_ANNOTATIONS_HEAD) + _U32_PAIR.size


# ------------------------------------------------------------------------------------------------------------- sections


def sections(message: bytes) -> Iterator[tuple[int, int, int, int]]:
    """(descriptor code, start, start of the value, end) of each section of a message. Raises DecodeError."""
    position = 0
    while position < len(message):
        head = message[position : position + 10]
        if len(head) > 2 and head[:2] == b"\x00\x53":
            code, value = head[2], position + 3
        elif len(head) == 10 and head[:9] == b"\x00\x80" + bytes(7):
            code, value = head[9], position + 10
        else:
            raise DecodeError(f"no section of a message begins at byte {position}")
        end = skip(message, value)
        yield code, position, value, end
        position = end


# ------------------------------------------------------------------------------------------------------ from a producer


@dataclass(frozen=True, slots=True)
class Publication:
    """What one transfer of a producer brings: messages in normal form, all of one partition key (or none)."""

    partition_key: str | None
    messages: list[bytes]


def read_publication(message_format: int, payload: bytes) -> Publication:
    """The events in a transfer: one message, or a batch of them. Raises DecodeError, AmqpError (key too long)."""
    if message_format != BATCH_FORMAT:
        message, key = _normalise(payload, {})
        return Publication(_checked_key(key), [message])
    envelope_key: str | None = None
    events: list[bytes] = []
    for code, _, value, end in sections(payload):
        if code == MESSAGE_ANNOTATIONS:
            envelope_key = _split_annotations(payload[value:end])[1]
        elif code == DATA:
            events.append(_content(payload, code, value))
    if not events:
        raise DecodeError("a batch holds no event")
    memo: dict[bytes, tuple[bytes, str | None]] = {}
    normal = [_normalise(event, memo) for event in events]
    # The key of the envelope decides; a client that writes it into the events only is understood as well.
    key = envelope_key if envelope_key is not None else normal[0][1]
    return Publication(_checked_key(key), [message for message, _ in normal])


def _checked_key(key: str | None) -> str | None:
    if key is not None and len(key.encode()) > PARTITION_KEY_MAX_BYTES:
        raise AmqpError(
            Condition.NOT_ALLOWED,
            f"the partition key has {len(key.encode())} bytes; valid are up to {PARTITION_KEY_MAX_BYTES}",
        )
    return key


def _normalise(message: bytes, memo: dict[bytes, tuple[bytes, str | None]]) -> tuple[bytes, str | None]:
    """A message in normal form, and its partition key. `memo` keeps split annotations: in a batch they are alike."""
    header = annotations = b""
    key: str | None = None
    rest: list[bytes] = []
    for code, start, value, end in sections(message):
        if code == MESSAGE_ANNOTATIONS:
            encoded = message[value:end]
            if encoded not in memo:
                memo[encoded] = _split_annotations(encoded)
            annotations, key = memo[encoded]
        elif code != DELIVERY_ANNOTATIONS:
            _content(message, code, value)
            section = message[start:end] if value - start == 3 else bytes((0x00, 0x53, code)) + message[value:end]
            if code == HEADER:
                header = section
            else:
                rest.append(section)
    if not rest:
        raise DecodeError("a message has no body")
    return b"".join((header, annotations, *rest)), key


def _content(message: bytes, code: int, value: int) -> Value:
    """The value of a section, checked as a whole. Raises DecodeError."""
    if code not in _CONTENTS:
        raise DecodeError(f"0x{code:02x} is the descriptor of no section")
    kind, most = _CONTENTS[code]
    content, _ = decode(message, value)
    if kind is not object and type(content) is not kind:
        raise DecodeError(f"the section 0x{code:02x} holds no {kind.__name__}")
    if most and len(content) > most:
        raise DecodeError(f"the section 0x{code:02x} has {len(content)} fields; valid are up to {most}")
    return content


def _split_annotations(encoded: bytes) -> tuple[bytes, str | None]:
    """The producer's own annotations as a section (empty when there are none), and the partition key among them."""
    if not isinstance(decode(encoded)[0], dict):
        raise DecodeError("message annotations are no map")
    key: str | None = None
    own: list[bytes] = []
    spans = element_spans(encoded, 0)
    for (start, middle), (_, end) in zip(spans[::2], spans[1::2], strict=True):
        name, _ = decode(encoded, start)
        if name == "x-opt-partition-key":
            key = _text(decode(encoded, middle)[0])
        elif name not in SERVICE_ANNOTATIONS:
            own.append(encoded[start:end])
    return _annotations_section(b"".join(own), len(own)) if own else b"", key


def _text(key: object) -> str | None:
    if key is None or isinstance(key, str):
        return key
    if isinstance(key, bytes):
        try:
            return key.decode()
        except UnicodeDecodeError as error:
            raise DecodeError("the partition key is not UTF-8") from error
    raise DecodeError(f"the partition key is {key!r}; it must be text")


# -------------------------------------------------------------------------------------------------------- to a consumer

_SEQUENCE_NUMBER = encode(Symbol("x-opt-sequence-number")) + b"\x81"
_OFFSET = encode(Symbol("x-opt-offset")) + b"\xa1"
_ENQUEUED_TIME = encode(Symbol("x-opt-enqueued-time")) + b"\x83"
_PARTITION_KEY = encode(Symbol("x-opt-partition-key"))
_I64 = struct.Struct(">q")


def delivery(event: StoredEvent, delivery_annotations: bytes = b"") -> bytes:
    """The message that a consumer gets: the stored one, with the service's annotations before the producer's own."""
    offset = str(event.offset).encode()
    pairs = [
        _SEQUENCE_NUMBER, _I64.pack(event.sequence_number),
        _OFFSET, bytes((len(offset),)), offset,
        _ENQUEUED_TIME, _I64.pack(event.enqueued_ms),
    ]  # fmt: skip
    count = 3
    if event.partition_key is not None:
        pairs += (_PARTITION_KEY, encode(event.partition_key))
        count = 4
    stored, position = event.message, 0
    header = b""
    if stored[2] == HEADER:
        position = skip(stored, 3)
        header = stored[:position]
    if stored[position + 2] == MESSAGE_ANNOTATIONS:
        start = position + _ANNOTATIONS_HEAD_BYTES
        size, own = _U32_PAIR.unpack_from(stored, position + len(_ANNOTATIONS_HEAD))
        position = start + size - 4
        pairs.append(stored[start:position])
        count += own // 2
    annotations = _annotations_section(b"".join(pairs), count)
    return b"".join((header, delivery_annotations, annotations, stored[position:] if position else stored))


def _annotations_section(pairs: bytes, count: int) -> bytes:
    return _ANNOTATIONS_HEAD + _U32_PAIR.pack(len(pairs) + 4, 2 * count) + pairs


def last_enqueued_annotations(sequence_number: int, offset: int, enqueued_ms: int, now_ms: int) -> bytes:
    """The delivery annotations for a consumer that tracks the newest event of its partition."""
    return section(
        DELIVERY_ANNOTATIONS,
        {
            Symbol("last_enqueued_sequence_number"): sequence_number,
            Symbol("last_enqueued_offset"): str(offset),
            Symbol("last_enqueued_time_utc"): Timestamp(enqueued_ms),
            Symbol("runtime_info_retrieval_time_utc"): Timestamp(now_ms),
        },
    )


# ------------------------------------------------------------------------------------------------- requests and answers


@dataclass(frozen=True, slots=True)
class Request:
    """A message to `$cbs` or `$management`: whom to answer, and what is asked in the application properties."""

    message_id: Any
    reply_to: str | None
    application_properties: Mapping[Any, Any]


def read_request(payload: bytes) -> Request:
    """Raises DecodeError."""
    contents = {
        code: _content(payload, code, value)
        for code, _, value, _ in sections(payload)
        if code not in (DELIVERY_ANNOTATIONS, MESSAGE_ANNOTATIONS)
    }
    properties = contents.get(PROPERTIES, [])
    message_id = properties[0] if properties else None
    reply_to = properties[4] if len(properties) > 4 else None
    if type(message_id) not in (type(None), str, bytes, ULong, UUID):
        raise DecodeError(f"the field message-id is {message_id!r}; it must be text, binary, ulong or uuid")
    if reply_to is not None and not isinstance(reply_to, str):
        raise DecodeError(f"the field reply-to is {reply_to!r}; it must be text")
    return Request(message_id, reply_to, contents.get(APPLICATION_PROPERTIES, {}))


def answer(request: Request, application_properties: Mapping[str, Any], body: object) -> bytes:
    """The answer to a request: its message-id as correlation-id, and a value as body."""
    properties = [None] * 5 + [request.message_id] + [None] * 7
    return (
        section(PROPERTIES, properties)
        + section(APPLICATION_PROPERTIES, dict(application_properties))
        + section(VALUE, body)
    )


def section(code: int, value: object) -> bytes:
    """One encoded section."""
    return encode(Described(ULong(code), value))

"""The frames of AMQP 1.0 (OASIS AMQP 1.0 part 2): bytes to frames, frame bodies to what the peer says, and the reverse.

Laws of this file:

* A performative is written with ALL its fields, trailing nulls too: pyamqp reads them by position.
* A reader checks the type of each field that it uses; the wrong type is a DecodeError, never a TypeError further on.
* A frame is never larger than `MAX_FRAME_BYTES`, in either direction; a larger one ends the connection.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from infra.local.eventhubs.codec import (
    Array,
    Described,
    Encoded,
    Symbol,
    UByte,
    UInt,
    ULong,
    UShort,
    Value,
    decode,
    element_spans,
    encode,
)
from infra.local.eventhubs.errors import AmqpError, Condition, DecodeError

MAX_FRAME_BYTES = 65_536
MAX_MESSAGE_BYTES = 1_048_576
AMQP_HEADER = b"AMQP\x00\x01\x00\x00"
SASL_HEADER = b"AMQP\x03\x01\x00\x00"
EMPTY_FRAME = b"\x00\x00\x00\x08\x02\x00\x00\x00"
AMQP_FRAME, SASL_FRAME = 0, 1
LEAST_MAX_FRAME_BYTES = 512
"""The smallest max-frame-size that a peer may ask for (part 2, section 2.7.1)."""

_OPEN, _BEGIN, _ATTACH, _FLOW, _TRANSFER, _DISPOSITION, _DETACH, _END, _CLOSE = range(0x10, 0x19)
_ERROR, _ACCEPTED, _REJECTED, _SOURCE, _TARGET = 0x1D, 0x24, 0x25, 0x28, 0x29
_SASL_MECHANISMS, _SASL_INIT, _SASL_OUTCOME = 0x40, 0x41, 0x44
_FIELDS = {
    _OPEN: 10, _BEGIN: 8, _ATTACH: 14, _FLOW: 11, _DISPOSITION: 6, _DETACH: 3, _END: 1, _CLOSE: 1,
    _SASL_MECHANISMS: 1, _SASL_OUTCOME: 2,
}  # fmt: skip
_FRAME_HEADER = struct.Struct(">IBBH")
_HEADER_BYTES = _FRAME_HEADER.size


# ------------------------------------------------------------------------------------------------------ bytes to frames


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame as it came; an empty body is a heartbeat."""

    channel: int
    kind: int
    body: bytes


class FrameReader:
    """Cuts a byte stream into protocol headers and frames. It holds one incomplete frame at most."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._header_expected = True
        self._broken = False

    def expect_header(self) -> None:
        """The next eight bytes are a protocol header (again, after SASL)."""
        self._header_expected = True

    def feed(self, data: bytes) -> Iterator[bytes | Frame]:
        """Headers (as bytes) and frames that are complete now. Raises AmqpError (framing-error) for a bad size."""
        if self._broken:
            return
        buffer = self._buffer
        buffer += data
        position = 0
        try:
            while len(buffer) - position >= _HEADER_BYTES:
                if self._header_expected:
                    self._header_expected = False
                    position += _HEADER_BYTES
                    yield bytes(buffer[position - _HEADER_BYTES : position])
                    continue
                size, offset, kind, channel = _FRAME_HEADER.unpack_from(buffer, position)
                start = 4 * offset
                if not _HEADER_BYTES <= start <= size <= MAX_FRAME_BYTES:
                    self._broken = True  # where the next frame begins cannot be known any more
                    position = len(buffer)
                    raise AmqpError(
                        Condition.FRAMING_ERROR,
                        f"a frame says that it has {size} bytes and its body begins at byte {start}; valid are "
                        f"{_HEADER_BYTES} to {MAX_FRAME_BYTES} bytes",
                    )
                if len(buffer) - position < size:
                    break
                body = bytes(buffer[position + start : position + size])
                position += size
                yield Frame(channel, kind, body)
        finally:
            del buffer[:position]


# ------------------------------------------------------------------------------------------------- what the peer says


@dataclass(frozen=True, slots=True)
class SaslInit:
    pass


@dataclass(frozen=True, slots=True)
class Open:
    max_frame_bytes: int
    idle_timeout_ms: int | None


@dataclass(frozen=True, slots=True)
class Begin:
    next_outgoing_id: int
    incoming_window: int


@dataclass(frozen=True, slots=True)
class Terminus:
    """A source or target: what is used of it, and the bytes of the whole, to be echoed."""

    address: str | None
    selector: str | None
    encoded: Encoded


@dataclass(frozen=True, slots=True)
class Attach:
    """`is_receiver`: the peer wants to receive on this link."""

    name: str
    handle: int
    is_receiver: bool
    sender_settle_mode: int
    receiver_settle_mode: int
    source: Terminus | None
    target: Terminus | None
    initial_delivery_count: int
    desired_capabilities: tuple[str, ...]
    properties: dict[Any, Any]
    encoded_properties: Encoded


@dataclass(frozen=True, slots=True)
class Flow:
    next_incoming_id: int | None
    incoming_window: int
    handle: int | None
    delivery_count: int | None
    link_credit: int | None
    drain: bool
    echo: bool


@dataclass(frozen=True, slots=True)
class Transfer:
    handle: int
    delivery_id: int | None
    message_format: int
    settled: bool
    more: bool
    aborted: bool
    payload: bytes


@dataclass(frozen=True, slots=True)
class Disposition:
    """The peer's word about deliveries; it means nothing here, since this broker sends everything settled."""


@dataclass(frozen=True, slots=True)
class Detach:
    handle: int
    closed: bool


@dataclass(frozen=True, slots=True)
class End:
    pass


@dataclass(frozen=True, slots=True)
class Close:
    error: str


type Performative = SaslInit | Open | Begin | Attach | Flow | Transfer | Disposition | Detach | End | Close


def read_performative(body: bytes) -> Performative:
    """What a frame's body says. Raises DecodeError."""
    value, end = decode(body)
    if not isinstance(value, Described) or not isinstance(value.value, list):
        raise DecodeError("a frame's body does not begin with a performative")
    reader = _READERS.get(value.descriptor) if isinstance(value.descriptor, ULong) else None
    if reader is None:
        raise DecodeError(f"{value.descriptor!r} is the descriptor of no performative")
    return reader(_Fields(value.value), body, end)


class _Fields:
    """The fields of a list, by position; a field beyond the end is null."""

    __slots__ = ("_values",)

    def __init__(self, values: list[Any]) -> None:
        self._values = values

    def get(self, at: int) -> Value:
        return self._values[at] if at < len(self._values) else None

    def number(self, at: int, name: str) -> int:
        value = self.optional_number(at, name)
        if value is None:
            raise DecodeError(f"the field {name} is missing")
        return value

    def optional_number(self, at: int, name: str) -> int | None:
        value = self.get(at)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
            raise DecodeError(f"the field {name} is {value!r}; it must be an unsigned number")
        return value

    def flag(self, at: int, name: str) -> bool:
        value = self.get(at)
        if value is not None and not isinstance(value, bool):
            raise DecodeError(f"the field {name} is {value!r}; it must be true or false")
        return value is True

    def text(self, at: int, name: str) -> str | None:
        value = self.get(at)
        if value is not None and not isinstance(value, str):
            raise DecodeError(f"the field {name} is {value!r}; it must be text")
        return value


def _read_open(fields: _Fields, body: bytes, end: int) -> Open:
    max_frame_bytes = fields.optional_number(2, "max-frame-size")
    if max_frame_bytes is None:
        max_frame_bytes = MAX_FRAME_BYTES
    return Open(min(max_frame_bytes, MAX_FRAME_BYTES), fields.optional_number(4, "idle-time-out"))


def _read_begin(fields: _Fields, body: bytes, end: int) -> Begin:
    return Begin(fields.number(1, "next-outgoing-id"), fields.number(2, "incoming-window"))


def _read_attach(fields: _Fields, body: bytes, end: int) -> Attach:
    spans = element_spans(body, _list_position(body))
    encoded = [Encoded(body[start:behind]) for start, behind in spans]
    name = fields.text(0, "name")
    if name is None:
        raise DecodeError("the field name is missing")
    properties = fields.get(13)
    if properties is not None and not isinstance(properties, dict):
        raise DecodeError(f"the field properties is {properties!r}; it must be a map")
    return Attach(
        name=name,
        handle=fields.number(1, "handle"),
        is_receiver=fields.flag(2, "role"),
        sender_settle_mode=fields.optional_number(3, "snd-settle-mode") or 0,
        receiver_settle_mode=fields.optional_number(4, "rcv-settle-mode") or 0,
        source=_terminus(fields.get(5), encoded, 5),
        target=_terminus(fields.get(6), encoded, 6),
        initial_delivery_count=fields.optional_number(9, "initial-delivery-count") or 0,
        desired_capabilities=_symbols(fields.get(12)),
        properties=properties or {},
        encoded_properties=encoded[13] if properties is not None else Encoded(b"\x40"),
    )


def _list_position(body: bytes) -> int:
    """Where the list of a performative begins: behind 0x00 and the descriptor."""
    _, position = decode(body, 1)
    return position


def _terminus(value: object, encoded: list[Encoded], at: int) -> Terminus | None:
    if value is None:
        return None
    if not isinstance(value, Described) or not isinstance(value.value, list):
        raise DecodeError(f"the field {'source' if at == 5 else 'target'} is {value!r}; it must be a described list")
    fields = _Fields(value.value)
    selector = _selector(fields.get(7)) if at == 5 else None
    return Terminus(fields.text(0, "address"), selector, encoded[at])


def _selector(filters: object) -> str | None:
    """The text of the selector in a source's filter set (`apache.org:selector-filter:string`)."""
    if filters is None:
        return None
    if not isinstance(filters, dict):
        raise DecodeError(f"the field filter is {filters!r}; it must be a map")
    for value in filters.values():
        text = value.value if isinstance(value, Described) else value
        if isinstance(text, bytes):
            text = text.decode(errors="replace")
        if not isinstance(text, str):
            raise DecodeError(f"a filter is {text!r}; it must be text")
        return text
    return None


def _symbols(value: object) -> tuple[str, ...]:
    values = value if isinstance(value, Array) else [] if value is None else [value]
    if not all(isinstance(one, str) for one in values):
        raise DecodeError(f"the field desired-capabilities is {value!r}; it must be symbols")
    return tuple(values)


def _read_flow(fields: _Fields, body: bytes, end: int) -> Flow:
    return Flow(
        next_incoming_id=fields.optional_number(0, "next-incoming-id"),
        incoming_window=fields.number(1, "incoming-window"),
        handle=fields.optional_number(4, "handle"),
        delivery_count=fields.optional_number(5, "delivery-count"),
        link_credit=fields.optional_number(6, "link-credit"),
        drain=fields.flag(8, "drain"),
        echo=fields.flag(9, "echo"),
    )


def _read_transfer(fields: _Fields, body: bytes, end: int) -> Transfer:
    return Transfer(
        handle=fields.number(0, "handle"),
        delivery_id=fields.optional_number(1, "delivery-id"),
        message_format=fields.optional_number(3, "message-format") or 0,
        settled=fields.flag(4, "settled"),
        more=fields.flag(5, "more"),
        aborted=fields.flag(9, "aborted"),
        payload=body[end:],
    )


def _read_detach(fields: _Fields, body: bytes, end: int) -> Detach:
    return Detach(fields.number(0, "handle"), fields.flag(1, "closed"))


def _read_close(fields: _Fields, body: bytes, end: int) -> Close:
    error = fields.get(0)
    return Close("" if error is None else repr(error))


_READERS: dict[int, Callable[[_Fields, bytes, int], Performative]] = {
    _SASL_INIT: lambda fields, body, end: SaslInit(),
    _OPEN: _read_open,
    _BEGIN: _read_begin,
    _ATTACH: _read_attach,
    _FLOW: _read_flow,
    _TRANSFER: _read_transfer,
    _DISPOSITION: lambda fields, body, end: Disposition(),
    _DETACH: _read_detach,
    _END: lambda fields, body, end: End(),
    _CLOSE: _read_close,
}


# ------------------------------------------------------------------------------------------------- what the broker says


def sasl_mechanisms_frame() -> bytes:
    """MSSBCBS first: the .NET client takes no other; Python and JavaScript choose ANONYMOUS."""
    names = ("MSSBCBS", "PLAIN", "ANONYMOUS", "EXTERNAL")
    return _frame(0, _SASL_MECHANISMS, [Array([Symbol(name) for name in names])], kind=SASL_FRAME)


def sasl_outcome_frame() -> bytes:
    return _frame(0, _SASL_OUTCOME, [UByte(0)], kind=SASL_FRAME)


def open_frame(container: str, channel_max: int, idle_timeout_ms: int) -> bytes:
    return _frame(
        0, _OPEN, [container, None, UInt(MAX_FRAME_BYTES), UShort(channel_max), UInt(idle_timeout_ms)]
    )  # fmt: skip


def begin_frame(channel: int, next_outgoing_id: int, window: int, handle_max: int) -> bytes:
    fields = [UShort(channel), UInt(next_outgoing_id), UInt(window), UInt(window), UInt(handle_max)]
    return _frame(channel, _BEGIN, fields)


def attach_frame(channel: int, attach: Attach, *, accepted: bool) -> bytes:
    """The answer to an ATTACH: source and target echoed, or null when the link is refused (DETACH follows)."""
    receiver = attach.is_receiver
    source = attach.source.encoded if attach.source and accepted else None
    target = attach.target.encoded if attach.target and accepted else None
    fields = [
        attach.name,
        UInt(attach.handle),
        not receiver,
        UByte(1 if receiver else attach.sender_settle_mode),  # consumers get everything settled, whatever they ask
        UByte(attach.receiver_settle_mode),
        source,
        target,
        None,
        None,
        UInt(0) if receiver else None,
        ULong(MAX_MESSAGE_BYTES),
        None,
        None,
        attach.encoded_properties,
    ]
    return _frame(channel, _ATTACH, fields)


def session_flow_frame(channel: int, next_incoming_id: int, next_outgoing_id: int, window: int) -> bytes:
    return _frame(channel, _FLOW, [UInt(next_incoming_id), UInt(window), UInt(next_outgoing_id), UInt(window)])


def link_flow_frame(
    channel: int,
    next_incoming_id: int,
    next_outgoing_id: int,
    window: int,
    *,
    handle: int,
    delivery_count: int,
    credit: int,
    drain: bool = False,
) -> bytes:
    session = [UInt(next_incoming_id), UInt(window), UInt(next_outgoing_id), UInt(window)]
    return _frame(channel, _FLOW, [*session, UInt(handle), UInt(delivery_count), UInt(credit), UInt(0), drain, False])


def accepted_frame(channel: int, delivery_id: int) -> bytes:
    return _disposition(channel, delivery_id, Described(ULong(_ACCEPTED), []))


def rejected_frame(channel: int, delivery_id: int, error: AmqpError) -> bytes:
    return _disposition(channel, delivery_id, Described(ULong(_REJECTED), [_error(error)]))


def _disposition(channel: int, delivery_id: int, state: Described) -> bytes:
    return _frame(channel, _DISPOSITION, [True, UInt(delivery_id), UInt(delivery_id), True, state, False])


def detach_frame(channel: int, handle: int, *, closed: bool = True, error: AmqpError | None = None) -> bytes:
    return _frame(channel, _DETACH, [UInt(handle), closed, _error(error)])


def end_frame(channel: int, error: AmqpError | None = None) -> bytes:
    return _frame(channel, _END, [_error(error)])


def close_frame(error: AmqpError | None = None) -> bytes:
    return _frame(0, _CLOSE, [_error(error)])


def _error(error: AmqpError | None) -> Described | None:
    """Three fields always: pyamqp fails on an error of two."""
    if error is None:
        return None
    return Described(ULong(_ERROR), [Symbol(error.condition), error.description, None])


def _frame(channel: int, code: int, fields: list[Any], kind: int = AMQP_FRAME) -> bytes:
    fields = fields + [None] * (_FIELDS[code] - len(fields))
    body = bytes((0x00, 0x53, code)) + encode(fields)
    return _FRAME_HEADER.pack(_HEADER_BYTES + len(body), 2, kind, channel) + body


# A TRANSFER is written for every event that is delivered, so its fixed layout is packed in one go: frame header, then
# list8 of handle, delivery-id, delivery-tag (the delivery-id), message-format 0, settled, more, and five nulls.
_FIRST_TRANSFER = struct.Struct(">IBBH6sBIBI2sI8s")
_FIRST_HEAD = bytes((0x00, 0x53, _TRANSFER, 0xC0, 25, 11))
_FIRST_TAIL = {False: b"\x43\x41\x42" + b"\x40" * 5, True: b"\x43\x41\x41" + b"\x40" * 5}
_NEXT_TRANSFER = struct.Struct(">IBBH6sBI10s")
_NEXT_HEAD = bytes((0x00, 0x53, _TRANSFER, 0xC0, 16, 11))
_NEXT_TAIL = {False: b"\x40\x40\x40\x41\x42" + b"\x40" * 5, True: b"\x40\x40\x40\x41\x41" + b"\x40" * 5}


def transfer_frames(channel: int, handle: int, delivery_id: int, payload: bytes, max_frame_bytes: int) -> list[bytes]:
    """One settled delivery, in as many TRANSFER frames as the peer's frame size asks for."""
    room = max_frame_bytes - _FIRST_TRANSFER.size
    more = len(payload) > room
    part = payload[:room] if more else payload
    size = _FIRST_TRANSFER.size + len(part)
    head = _FIRST_TRANSFER.pack(
        size, 2, 0, channel, _FIRST_HEAD, 0x70, handle, 0x70, delivery_id, b"\xa0\x04", delivery_id, _FIRST_TAIL[more]
    )
    frames = [head + part]
    position = room
    while more:
        room = max_frame_bytes - _NEXT_TRANSFER.size
        part = payload[position : position + room]
        position += room
        more = position < len(payload)
        size = _NEXT_TRANSFER.size + len(part)
        frames.append(_NEXT_TRANSFER.pack(size, 2, 0, channel, _NEXT_HEAD, 0x70, handle, _NEXT_TAIL[more]) + part)
    return frames

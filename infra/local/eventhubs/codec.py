"""AMQP 1.0 types: encoded bytes to Python values and back (OASIS AMQP 1.0 part 1, sections 1.1 to 1.6).

Decoding keeps the AMQP type where Python has one type for several: an `int` is a long, the other integers are its
subclasses; a `float` is a double. Laws of the decoder, which reads bytes that anybody may send:

* It ends with a value or with `DecodeError`, for any bytes.
* Nothing is allocated before the bytes that fill it are there: a count is checked against the bytes that remain.
* Nesting is limited to `MAX_DEPTH`.

Encoding knows the types that a broker says. pyamqp (inside azure-eventhub) cannot read list0, so lists are always list8
or list32; Java and Go insist on 0x60 for ushort, so it has no other form.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from infra.local.eventhubs.errors import DecodeError

MAX_DEPTH = 32

_U16 = struct.Struct(">H")
_I16 = struct.Struct(">h")
_U32 = struct.Struct(">I")
_I32 = struct.Struct(">i")
_U64 = struct.Struct(">Q")
_I64 = struct.Struct(">q")
_F32 = struct.Struct(">f")
_F64 = struct.Struct(">d")
_U32_PAIR = struct.Struct(">II")


class Symbol(str):
    __slots__ = ()


class Char(str):
    __slots__ = ()


class UByte(int):
    __slots__ = ()


class UShort(int):
    __slots__ = ()


class UInt(int):
    __slots__ = ()


class ULong(int):
    __slots__ = ()


class Byte(int):
    __slots__ = ()


class Short(int):
    __slots__ = ()


class Int(int):
    __slots__ = ()


class Timestamp(int):
    """Milliseconds since 1970 UTC."""

    __slots__ = ()


class Float(float):
    """A single-precision number."""

    __slots__ = ()


class DecimalBits(bytes):
    """A decimal32, decimal64 or decimal128, as its bits: nobody here computes with it."""

    __slots__ = ()


class Array(list[Any]):
    """Values of one type, which stands once in front of them."""

    __slots__ = ()


class Encoded(bytes):
    """One value that is encoded already: it is written as it is."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Described:
    """A value with a descriptor that says what it means."""

    descriptor: Any
    value: Any


type Value = Any
"""What `decode` returns: None, bool, a number, text, bytes, UUID, list, dict, or one of the types above."""


# ---------------------------------------------------------------------------------------------------------- decoding

type _Decoder = Callable[[bytes, int, int], tuple[Any, int]]
"""(data, position behind the constructor, levels of nesting left) -> (value, position behind it)."""


def decode(data: bytes, position: int = 0) -> tuple[Any, int]:
    """The value at a position, and the position behind it. Raises DecodeError."""
    try:
        return _decode(data, position, MAX_DEPTH)
    except (IndexError, struct.error) as error:
        raise DecodeError(f"the value at byte {position} ends beyond the {len(data)} bytes that are there") from error
    except UnicodeDecodeError as error:
        raise DecodeError(f"text in the value at byte {position} is not {error.encoding}: {error.reason}") from error


def _decode(data: bytes, position: int, depth: int) -> tuple[Any, int]:
    decoder = _DECODERS[data[position]]
    if decoder is None:
        raise DecodeError(f"byte {position} is 0x{data[position]:02x}, which is no AMQP 1.0 constructor")
    return decoder(data, position + 1, depth)


def _constant(value: object) -> _Decoder:
    return lambda data, position, depth: (value, position)


def _fixed(layout: struct.Struct, kind: Callable[[Any], Any]) -> _Decoder:
    unpack, width = layout.unpack_from, layout.size
    return lambda data, position, depth: (kind(unpack(data, position)[0]), position + width)


def _octet(kind: Callable[[int], Any]) -> _Decoder:
    return lambda data, position, depth: (kind(data[position]), position + 1)


def _signed_octet(kind: Callable[[int], Any]) -> _Decoder:
    return lambda data, position, depth: (kind((data[position] ^ 0x80) - 0x80), position + 1)


def _bits(width: int, kind: Callable[[bytes], Any]) -> _Decoder:
    def decode_bits(data: bytes, position: int, depth: int) -> tuple[Any, int]:
        end = position + width
        return kind(_slice(data, position, end)), end

    return decode_bits


def _slice(data: bytes, start: int, end: int) -> bytes:
    if end > len(data):
        raise IndexError
    return data[start:end]


def _boolean(octet: int) -> bool:
    if octet > 1:
        raise DecodeError(f"a boolean is 0x{octet:02x}; valid are 0x00 and 0x01")
    return octet == 1


def _char(code_point: int) -> Char:
    try:
        return Char(chr(code_point))
    except (ValueError, OverflowError) as error:
        raise DecodeError(f"a char is 0x{code_point:x}, which is no Unicode code point") from error


def _variable(size_of: Callable[[bytes, int], tuple[int, int]], kind: Callable[[bytes], Any]) -> _Decoder:
    def decode_variable(data: bytes, position: int, depth: int) -> tuple[Any, int]:
        size, start = size_of(data, position)
        end = start + size
        return kind(_slice(data, start, end)), end

    return decode_variable


def _size8(data: bytes, position: int) -> tuple[int, int]:
    return data[position], position + 1


def _size32(data: bytes, position: int) -> tuple[int, int]:
    return _U32.unpack_from(data, position)[0], position + 4


def _utf8(data: bytes) -> str:
    return data.decode()


def _ascii(data: bytes) -> Symbol:
    return Symbol(data.decode("ascii"))


def _extent8(data: bytes, position: int) -> tuple[int, int, int]:
    """(count, position of the first element, position behind the last one) of a compound."""
    return data[position + 1], position + 2, position + 1 + data[position]


def _extent32(data: bytes, position: int) -> tuple[int, int, int]:
    size, count = _U32_PAIR.unpack_from(data, position)
    return count, position + 8, position + 4 + size


def _compound(extent: Callable[[bytes, int], tuple[int, int, int]], kind: Callable[[list[Any]], Any]) -> _Decoder:
    def decode_compound(data: bytes, position: int, depth: int) -> tuple[Any, int]:
        count, position, end = extent(data, position)
        if end > len(data):
            raise IndexError
        if depth == 0:
            raise DecodeError(f"values are nested more than {MAX_DEPTH} levels deep")
        if count > end - position:
            raise DecodeError(f"a compound of {count} elements has {end - position} bytes")
        elements = []
        for _ in range(count):
            element, position = _decode(data, position, depth - 1)
            elements.append(element)
        if position != end:
            raise DecodeError(f"a compound ends at byte {position}, but says that it ends at byte {end}")
        return kind(elements), end

    return decode_compound


def _map(elements: list[Any]) -> dict[Any, Any]:
    if len(elements) % 2:
        raise DecodeError(f"a map has {len(elements)} elements; keys and values must be pairs")
    try:
        return dict(zip(elements[::2], elements[1::2], strict=True))
    except TypeError as error:
        raise DecodeError("a map has a compound value as key") from error


def _array(extent: Callable[[bytes, int], tuple[int, int, int]]) -> _Decoder:
    def decode_array(data: bytes, position: int, depth: int) -> tuple[Any, int]:
        count, position, end = extent(data, position)
        if end > len(data):
            raise IndexError
        if depth == 0:
            raise DecodeError(f"values are nested more than {MAX_DEPTH} levels deep")
        if count > end - position:  # elements without bytes (0x40 to 0x45) are under the same limit
            raise DecodeError(f"an array of {count} elements has {end - position} bytes")
        if count == 0:
            return Array(), end
        element_decoder, position = _element_decoder(data, position, depth - 1)
        elements = Array()
        for _ in range(count):
            element, position = element_decoder(data, position, depth - 1)
            elements.append(element)
        if position != end:
            raise DecodeError(f"an array ends at byte {position}, but says that it ends at byte {end}")
        return elements, end

    return decode_array


def _element_decoder(data: bytes, position: int, depth: int) -> tuple[_Decoder, int]:
    """The decoder that the one constructor in front of an array's elements asks for."""
    if data[position] != 0x00:
        decoder = _DECODERS[data[position]]
        if decoder is None:
            raise DecodeError(f"byte {position} is 0x{data[position]:02x}, which is no AMQP 1.0 constructor")
        return decoder, position + 1
    if depth == 0:
        raise DecodeError(f"values are nested more than {MAX_DEPTH} levels deep")
    descriptor, position = _decode(data, position + 1, depth - 1)
    inner, position = _element_decoder(data, position, depth - 1)

    def decode_described(data: bytes, position: int, depth: int) -> tuple[Any, int]:
        value, position = inner(data, position, depth)
        return Described(descriptor, value), position

    return decode_described, position


def _described(data: bytes, position: int, depth: int) -> tuple[Any, int]:
    if depth == 0:
        raise DecodeError(f"values are nested more than {MAX_DEPTH} levels deep")
    descriptor, position = _decode(data, position, depth - 1)
    value, position = _decode(data, position, depth - 1)
    try:
        hash(descriptor)
    except TypeError as error:
        raise DecodeError("a descriptor is a compound value") from error
    return Described(descriptor, value), position


def _empty_list(data: bytes, position: int, depth: int) -> tuple[Any, int]:
    return [], position


_DECODERS: list[_Decoder | None] = [None] * 256
for _constructor, _decoder in {
    0x00: _described,
    0x40: _constant(None),
    0x41: _constant(True),
    0x42: _constant(False),
    0x43: _constant(UInt(0)),
    0x44: _constant(ULong(0)),
    0x45: _empty_list,
    0x50: _octet(UByte),
    0x51: _signed_octet(Byte),
    0x52: _octet(UInt),
    0x53: _octet(ULong),
    0x54: _signed_octet(Int),
    0x55: _signed_octet(int),
    0x56: _octet(_boolean),
    0x60: _fixed(_U16, UShort),
    0x61: _fixed(_I16, Short),
    0x70: _fixed(_U32, UInt),
    0x71: _fixed(_I32, Int),
    0x72: _fixed(_F32, Float),
    0x73: _fixed(_U32, _char),
    0x74: _bits(4, DecimalBits),
    0x80: _fixed(_U64, ULong),
    0x81: _fixed(_I64, int),
    0x82: _fixed(_F64, float),
    0x83: _fixed(_I64, Timestamp),
    0x84: _bits(8, DecimalBits),
    0x94: _bits(16, DecimalBits),
    0x98: _bits(16, lambda bits: UUID(bytes=bits)),
    0xA0: _variable(_size8, bytes),
    0xA1: _variable(_size8, _utf8),
    0xA3: _variable(_size8, _ascii),
    0xB0: _variable(_size32, bytes),
    0xB1: _variable(_size32, _utf8),
    0xB3: _variable(_size32, _ascii),
    0xC0: _compound(_extent8, list),
    0xC1: _compound(_extent8, _map),
    0xD0: _compound(_extent32, list),
    0xD1: _compound(_extent32, _map),
    0xE0: _array(_extent8),
    0xF0: _array(_extent32),
}.items():
    _DECODERS[_constructor] = _decoder

_FIXED_WIDTH = {0x4: 0, 0x5: 1, 0x6: 2, 0x7: 4, 0x8: 8, 0x9: 16}


def skip(data: bytes, position: int) -> int:
    """The position behind the value at a position, which is not looked into. Raises DecodeError."""
    try:
        end = _skip(data, position)
    except (IndexError, struct.error):
        end = len(data) + 1
    if end > len(data):
        raise DecodeError(f"the value at byte {position} ends beyond the {len(data)} bytes that are there")
    return end


def _skip(data: bytes, position: int) -> int:
    constructor = data[position]
    if constructor == 0x00:
        descriptor = position + 1
        if data[descriptor] == 0x00:
            raise DecodeError("a descriptor is a described value")
        return _skip(data, _skip(data, descriptor))
    kind, start = constructor >> 4, position + 1
    if kind in _FIXED_WIDTH:
        return start + _FIXED_WIDTH[kind]
    if kind in (0xA, 0xC, 0xE):
        return start + 1 + data[start]
    if kind in (0xB, 0xD, 0xF):
        return start + 4 + int(_U32.unpack_from(data, start)[0])
    raise DecodeError(f"byte {position} is 0x{constructor:02x}, which is no AMQP 1.0 constructor")


def element_spans(data: bytes, position: int) -> list[tuple[int, int]]:
    """(start, end) of the elements of the list or map at a position. Raises DecodeError."""
    constructor = data[position] if position < len(data) else 0
    if constructor == 0x45:
        return []
    extent = {0xC0: _extent8, 0xC1: _extent8, 0xD0: _extent32, 0xD1: _extent32}.get(constructor)
    if extent is None:
        raise DecodeError(f"byte {position} is 0x{constructor:02x}, which begins no list and no map")
    try:
        count, start, end = extent(data, position + 1)
    except (IndexError, struct.error) as error:
        raise DecodeError(f"the value at byte {position} ends early") from error
    if end > len(data) or count > end - start:
        raise DecodeError(f"a compound of {count} elements has {end - start} bytes")
    spans = []
    for _ in range(count):
        behind = skip(data, start)
        spans.append((start, behind))
        start = behind
    if start != end:
        raise DecodeError(f"a compound ends at byte {start}, but says that it ends at byte {end}")
    return spans


# ---------------------------------------------------------------------------------------------------------- encoding


def encode(value: object) -> bytes:
    """One value. Raises TypeError for a type that a broker has no reason to say."""
    encoder = _ENCODERS.get(type(value))
    if encoder is None:
        raise TypeError(f"cannot encode a {type(value).__name__} as AMQP")
    return encoder(value)


def _sized(short: int, data: bytes) -> bytes:
    """A variable-width value with the constructor `short`, or the one 0x10 above it for more than 255 bytes."""
    if len(data) < 256:
        return bytes((short, len(data))) + data
    return bytes((short + 0x10,)) + _U32.pack(len(data)) + data


def _encode_elements(short: int, encoded: bytes, count: int) -> bytes:
    if len(encoded) < 255 and count < 256:
        return bytes((short, len(encoded) + 1, count)) + encoded
    return bytes((short + 0x10,)) + _U32_PAIR.pack(len(encoded) + 4, count) + encoded


def _encode_list(values: Sequence[Any]) -> bytes:
    return _encode_elements(0xC0, b"".join(map(encode, values)), len(values))


def _encode_map(values: Mapping[Any, Any]) -> bytes:
    return _encode_elements(0xC1, b"".join(encode(key) + encode(one) for key, one in values.items()), 2 * len(values))


def _encode_array(values: Array) -> bytes:
    """An array of strings, or of symbols when the first one is a symbol; pyamqp cannot read an empty one."""
    constructor = b"\xb3" if type(values[0]) is Symbol else b"\xb1"
    texts = [str(value).encode() for value in values]
    body = constructor + b"".join(_U32.pack(len(text)) + text for text in texts)
    return b"\xf0" + _U32_PAIR.pack(len(body) + 4, len(values)) + body


def _encode_uint(value: int) -> bytes:
    if value == 0:
        return b"\x43"
    return bytes((0x52, value)) if 0 < value < 256 else b"\x70" + _U32.pack(value)


def _encode_ulong(value: int) -> bytes:
    if value == 0:
        return b"\x44"
    return bytes((0x53, value)) if 0 < value < 256 else b"\x80" + _U64.pack(value)


def _encode_long(value: int) -> bytes:
    return bytes((0x55, value & 0xFF)) if -128 <= value < 128 else b"\x81" + _I64.pack(value)


_ENCODERS: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda value: b"\x40",
    bool: lambda value: b"\x41" if value else b"\x42",
    UByte: lambda value: bytes((0x50, value)),
    UShort: lambda value: b"\x60" + _U16.pack(value),
    UInt: _encode_uint,
    ULong: _encode_ulong,
    Int: lambda value: b"\x71" + _I32.pack(value),
    int: _encode_long,
    Timestamp: lambda value: b"\x83" + _I64.pack(value),
    UUID: lambda value: b"\x98" + value.bytes,
    bytes: lambda value: _sized(0xA0, value),
    str: lambda value: _sized(0xA1, value.encode()),
    Symbol: lambda value: _sized(0xA3, value.encode("ascii")),
    list: _encode_list,
    dict: _encode_map,
    Array: _encode_array,
    Described: lambda value: b"\x00" + encode(value.descriptor) + encode(value.value),
    Encoded: bytes,
}

"""AMQP types: what the standard's encodings mean, that nothing hostile gets through, and that pyamqp agrees."""

import contextlib
import struct
import uuid

import pytest
from azure.eventhub._pyamqp import _decode as pyamqp_decode
from azure.eventhub._pyamqp import _encode as pyamqp_encode
from azure.eventhub._pyamqp.types import TYPE, VALUE, AMQPTypes
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.local.eventhubs.codec import (
    MAX_DEPTH,
    Array,
    Byte,
    Char,
    DecimalBits,
    Described,
    Encoded,
    Float,
    Int,
    Short,
    Symbol,
    Timestamp,
    UByte,
    UInt,
    ULong,
    UShort,
    decode,
    element_spans,
    encode,
    skip,
)
from infra.local.eventhubs.errors import DecodeError

UUID = uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")

# OASIS AMQP 1.0 part 1, section 1.6: one row for each encoding of each type.
ENCODINGS = [
    ("40", None),
    ("41", True),
    ("42", False),
    ("5601", True),
    ("5600", False),
    ("50ff", UByte(255)),
    ("60ffff", UShort(65535)),
    ("70ffffffff", UInt(4294967295)),
    ("52ff", UInt(255)),
    ("43", UInt(0)),
    ("80ffffffffffffffff", ULong(18446744073709551615)),
    ("53ff", ULong(255)),
    ("44", ULong(0)),
    ("5180", Byte(-128)),
    ("618000", Short(-32768)),
    ("7180000000", Int(-2147483648)),
    ("54ff", Int(-1)),
    ("818000000000000000", -9223372036854775808),
    ("55ff", -1),
    ("723fc00000", Float(1.5)),
    ("823ff8000000000000", 1.5),
    ("7422500001", DecimalBits(bytes.fromhex("22500001"))),
    ("840102030405060708", DecimalBits(bytes.fromhex("0102030405060708"))),
    ("94" + "01" * 16, DecimalBits(b"\x01" * 16)),
    ("730001f600", Char("\U0001f600")),
    ("830000018c00000000", Timestamp(0x18C00000000)),
    ("98" + UUID.hex, UUID),
    ("a003010203", b"\x01\x02\x03"),
    ("b000000003010203", b"\x01\x02\x03"),
    ("a105c3a974c3a9", "été"),
    ("b100000005c3a974c3a9", "été"),
    ("a303616263", Symbol("abc")),
    ("b300000003616263", Symbol("abc")),
    ("45", []),
    ("c0050241a00178", [True, b"x"]),
    ("d0000000080000000241a00178", [True, b"x"]),
    ("c10602a101615501", {"a": 1}),
    ("d10000000900000002a101615501", {"a": 1}),
    ("e00602a101610162", Array(["a", "b"])),
    ("f00000000700000002500102", Array([UByte(1), UByte(2)])),
    ("f0000000050000000050", Array()),
    ("e00702005324500102", Array([Described(ULong(0x24), UByte(1)), Described(ULong(0x24), UByte(2))])),
    ("00532445", Described(ULong(0x24), [])),
]


@pytest.mark.parametrize(("encoded", "value"), ENCODINGS)
def test_every_encoding_of_the_standard_is_read_with_its_type(encoded: str, value: object) -> None:
    data = bytes.fromhex(encoded)

    assert decode(data) == (value, len(data))
    assert type(decode(data)[0]) is type(value)
    assert skip(data, 0) == len(data)


@pytest.mark.parametrize(("encoded", "value"), ENCODINGS)
def test_every_encoding_cut_short_is_a_decode_error(encoded: str, value: object) -> None:
    data = bytes.fromhex(encoded)

    for end in range(len(data)):
        with pytest.raises(DecodeError):
            decode(data[:end])


sayable = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(0, 2**8 - 1).map(UByte),
        st.integers(0, 2**16 - 1).map(UShort),
        st.integers(0, 2**32 - 1).map(UInt),
        st.integers(0, 2**64 - 1).map(ULong),
        st.integers(-(2**31), 2**31 - 1).map(Int),
        st.integers(-(2**63), 2**63 - 1),
        st.integers(-(2**63), 2**63 - 1).map(Timestamp),
        st.uuids(),
        st.binary(max_size=300),
        st.text(max_size=300),
        st.text("abc-:x", max_size=300).map(Symbol),
        st.lists(st.text(max_size=5), min_size=1, max_size=300).map(Array),
        st.lists(st.text("ab", max_size=5).map(Symbol), min_size=1, max_size=300).map(Array),
    ),
    lambda values: st.one_of(
        st.lists(values, max_size=6),
        st.dictionaries(st.text(max_size=9), values, max_size=6),
        st.builds(Described, st.integers(0, 300).map(ULong), values),
    ),
    max_leaves=12,
)


def types_of(value: object) -> object:
    """The value with the type of every part, since UInt(1) == 1."""
    match value:
        case dict():
            return dict, [(key, types_of(one)) for key, one in value.items()]
        case list():
            return type(value), [types_of(one) for one in value]
        case Described(descriptor, inner):
            return Described, types_of(descriptor), types_of(inner)
        case _:
            return type(value), value


@given(sayable)
@settings(deadline=None, max_examples=300)
def test_what_is_encoded_is_read_back_with_the_same_types(value: object) -> None:
    data = encode(value)

    assert types_of(decode(data)[0]) == types_of(value)
    assert decode(data)[1] == skip(data, 0) == len(data)


@given(sayable)
@settings(deadline=None, max_examples=200)
def test_pyamqp_reads_what_is_encoded(value: object) -> None:
    rest, _ = pyamqp_decode._DECODE_BY_CONSTRUCTOR[encode(value)[0]](memoryview(encode(value))[1:])

    assert len(rest) == 0


PYAMQP_TYPES = {
    "boolean": st.booleans(),
    "ubyte": st.integers(0, 2**8 - 1).map(UByte),
    "ushort": st.integers(0, 2**16 - 1).map(UShort),
    "uint": st.integers(0, 2**32 - 1).map(UInt),
    "ulong": st.integers(0, 2**64 - 1).map(ULong),
    "byte": st.integers(-(2**7), 2**7 - 1).map(Byte),
    "short": st.integers(-(2**15), 2**15 - 1).map(Short),
    "int": st.integers(-(2**31), 2**31 - 1).map(Int),
    "long": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(width=32, allow_nan=False).map(Float),
    "double": st.floats(allow_nan=False),
    "timestamp": st.integers(-(2**63), 2**63 - 1).map(Timestamp),
    "uuid": st.uuids(),
    "binary": st.binary(max_size=300),
    "string": st.text(max_size=300),
    "symbol": st.text("abc-:x", max_size=300).map(Symbol),
}


@given(st.sampled_from(sorted(PYAMQP_TYPES)), st.data())
@settings(deadline=None, max_examples=200)
def test_what_pyamqp_encodes_is_read_with_its_type(name: str, data: st.DataObject) -> None:
    value = data.draw(PYAMQP_TYPES[name])
    output = bytearray()
    pyamqp_encode.encode_value(output, {TYPE: getattr(AMQPTypes, name), VALUE: value})

    assert types_of(decode(bytes(output))[0]) == types_of(value)


@given(st.binary(max_size=200))
@settings(deadline=None, max_examples=1000)
def test_any_bytes_are_a_value_or_a_decode_error(data: bytes) -> None:
    for reader in (decode, skip, element_spans):
        with contextlib.suppress(DecodeError):
            reader(data, 0)


@given(sayable, st.data())
@settings(deadline=None, max_examples=500)
def test_any_value_with_one_byte_changed_is_a_value_or_a_decode_error(value: object, data: st.DataObject) -> None:
    encoded = bytearray(encode(value))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))

    with contextlib.suppress(DecodeError):
        decode(bytes(encoded))


def test_a_count_of_elements_beyond_the_bytes_is_refused_before_anything_is_allocated() -> None:
    for constructor in (0xD0, 0xD1, 0xF0):
        hostile = bytes((constructor,)) + struct.pack(">II", 5, 0xFFFFFFF0) + b"\x40"
        with pytest.raises(DecodeError, match=r"4294967280 elements has 1 bytes"):
            decode(hostile)


def test_an_array_of_elements_without_bytes_cannot_be_larger_than_its_bytes() -> None:
    with pytest.raises(DecodeError):
        decode(bytes.fromhex("e002ff40"))


def test_nesting_is_limited() -> None:
    def nested(levels: int) -> bytes:
        value: object = []
        for _ in range(levels - 1):
            value = [value]
        return encode(value)

    assert decode(nested(MAX_DEPTH))[1] == len(nested(MAX_DEPTH))
    with pytest.raises(DecodeError, match="nested more than"):
        decode(nested(MAX_DEPTH + 1))
    with pytest.raises(DecodeError, match="nested more than"):
        decode(b"\x00" * 5000 + b"\x40")


@pytest.mark.parametrize(
    ("encoded", "why"),
    [
        ("3f", "no AMQP 1.0 constructor"),
        ("a102ff61", "is not utf-8"),
        ("a301ff", "is not ascii"),
        ("5602", "valid are 0x00 and 0x01"),
        ("7300110000", "no Unicode code point"),
        ("c1020140", "must be pairs"),
        ("c10502c0010040", "compound value as key"),
        ("c003014141", "says that it ends"),
        ("00c0010040", "a descriptor is a compound value"),
    ],
)
def test_a_malformed_value_is_refused_in_words(encoded: str, why: str) -> None:
    with pytest.raises(DecodeError, match=why):
        decode(bytes.fromhex(encoded))


def test_a_ushort_has_one_form_since_java_and_go_take_no_other() -> None:
    assert encode(UShort(0)) == b"\x60\x00\x00"


def test_a_list_is_never_list0_since_pyamqp_cannot_read_it_in_a_frame() -> None:
    assert encode([]) == b"\xc0\x01\x00"


def test_an_encoded_value_is_written_as_it_is() -> None:
    assert encode([Encoded(b"\x53\x07")]) == b"\xc0\x03\x01\x53\x07"


def test_a_type_that_a_broker_does_not_say_is_refused() -> None:
    with pytest.raises(TypeError, match="cannot encode a float"):
        encode(1.5)


def test_element_spans_cut_a_list_and_a_map_without_looking_into_the_elements() -> None:
    data = encode([None, "ab", {"k": [1]}])

    assert [data[start:end] for start, end in element_spans(data, 0)] == [
        encode(None),
        encode("ab"),
        encode({"k": [1]}),
    ]
    assert len(element_spans(encode({"a": 1, "b": 2}), 0)) == 4

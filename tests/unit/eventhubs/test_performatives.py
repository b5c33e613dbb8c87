"""Frames: what a byte stream is cut into, what they say, and that pyamqp reads what the broker writes by position."""

import contextlib

import pytest
from azure.eventhub._pyamqp._decode import decode_frame
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.local.eventhubs.codec import Array, Described, Symbol, UByte, UInt, ULong, encode
from infra.local.eventhubs.errors import AmqpError, Condition, DecodeError
from infra.local.eventhubs.performatives import (
    AMQP_HEADER,
    EMPTY_FRAME,
    LEAST_MAX_FRAME_BYTES,
    MAX_FRAME_BYTES,
    SASL_HEADER,
    Attach,
    Begin,
    Close,
    Detach,
    Flow,
    Frame,
    FrameReader,
    Open,
    Transfer,
    accepted_frame,
    attach_frame,
    begin_frame,
    close_frame,
    detach_frame,
    end_frame,
    link_flow_frame,
    open_frame,
    read_performative,
    rejected_frame,
    sasl_mechanisms_frame,
    sasl_outcome_frame,
    session_flow_frame,
    transfer_frames,
)

from .wire import ATTACH, BEGIN, CLOSE, DETACH, FLOW, OPEN, TRANSFER, frame, source, target

ERROR = AmqpError(Condition.NOT_FOUND, "no such hub")


def body_of(data: bytes) -> bytes:
    reader = FrameReader()
    [*_, piece] = reader.feed(AMQP_HEADER + data)
    assert isinstance(piece, Frame)
    return piece.body


def attach(**changes: object) -> Attach:
    fields = ["name", UInt(3), True, UByte(0), UByte(1), source("hub", "x > '1'"), target("t"), None, None, None]
    more = [None, None, Array([Symbol("a"), Symbol("b")]), {Symbol("k"): 1}]
    said = read_performative(body_of(frame(0, ATTACH, fields + more)))
    assert isinstance(said, Attach)
    return said


@given(st.lists(st.binary(max_size=300), max_size=8), st.data())
@settings(deadline=None, max_examples=100)
def test_a_stream_gives_the_same_frames_however_it_is_cut(bodies: list[bytes], data: st.DataObject) -> None:
    stream = AMQP_HEADER + b"".join((len(body) + 8).to_bytes(4) + b"\x02\x00\x00\x07" + body for body in bodies)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    reader = FrameReader()

    pieces = [
        piece
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
        for piece in reader.feed(stream[start:end])
    ]

    assert pieces == [AMQP_HEADER, *(Frame(7, 0, body) for body in bodies)]


def test_after_sasl_a_second_header_is_expected() -> None:
    reader = FrameReader()
    pieces = []
    for piece in reader.feed(SASL_HEADER + frame(0, 0x41, [], kind=1) + AMQP_HEADER + EMPTY_FRAME):
        pieces.append(piece)
        if isinstance(piece, Frame) and piece.kind == 1:
            reader.expect_header()

    assert pieces[0] == SASL_HEADER
    assert pieces[2:] == [AMQP_HEADER, Frame(0, 0, b"")]


@pytest.mark.parametrize(
    ("size", "offset"), [(0, 2), (7, 2), (MAX_FRAME_BYTES + 1, 2), (0xFFFFFFFF, 2), (8, 1), (8, 3), (100, 255)]
)
def test_a_frame_of_impossible_size_is_a_framing_error_and_nothing_is_kept(size: int, offset: int) -> None:
    reader = FrameReader()
    hostile = size.to_bytes(4) + bytes((offset, 0, 0, 0)) + b"x" * 100

    with pytest.raises(AmqpError, match="valid are 8 to 65536") as caught:
        list(reader.feed(AMQP_HEADER + hostile))

    assert caught.value.condition == Condition.FRAMING_ERROR
    assert list(reader.feed(b"x" * 1000)) == []
    assert len(reader._buffer) == 0


FIELD_COUNTS = [
    (open_frame("c", 4999, 1), 10),
    (begin_frame(5, 1, 5000, 255), 8),
    (attach_frame(5, attach(), accepted=True), 14),
    (attach_frame(5, attach(), accepted=False), 14),
    (session_flow_frame(5, 1, 2, 3), 11),
    (link_flow_frame(5, 1, 2, 3, handle=4, delivery_count=5, credit=6), 11),
    (transfer_frames(5, 1, 2, b"payload", 65536)[0], 12),  # pyamqp puts the payload behind the 11 fields
    (transfer_frames(5, 1, 2, b"payload" * 100, 512)[1], 12),
    (accepted_frame(5, 7), 6),
    (rejected_frame(5, 7, ERROR), 6),
    (detach_frame(5, 1), 3),
    (detach_frame(5, 1, error=ERROR), 3),
    (end_frame(5), 1),
    (close_frame(ERROR), 1),
    (sasl_outcome_frame(), 2),
    (sasl_mechanisms_frame(), 1),
]


@pytest.mark.parametrize(("data", "count"), FIELD_COUNTS)
def test_every_performative_has_all_its_fields_since_pyamqp_reads_them_by_position(data: bytes, count: int) -> None:
    _, fields = decode_frame(memoryview(body_of(data)))

    assert len(fields) == count


def test_an_error_has_three_fields_since_pyamqp_fails_on_two() -> None:
    _, fields = decode_frame(memoryview(body_of(rejected_frame(0, 7, ERROR))))

    assert fields[4]["rejected"] == [[b"amqp:not-found", b"no such hub", None]]


def test_a_description_that_quotes_a_client_fits_into_the_smallest_frame() -> None:
    error = AmqpError(Condition.NOT_FOUND, "é" * 50_000)

    assert len(detach_frame(0, 255, error=error)) <= LEAST_MAX_FRAME_BYTES
    assert str(error).startswith("éé")
    assert str(error).endswith("…")


def test_channels_are_ushorts_of_three_bytes_since_java_and_go_check_them() -> None:
    assert b"\x60\x13\x87" in open_frame("c", 4999, 1)
    assert b"\x60\x00\x00" in begin_frame(0, 1, 5000, 255)


@given(st.binary(max_size=3000), st.integers(512, 65536))
@settings(deadline=None, max_examples=200)
def test_a_message_is_cut_into_frames_that_the_peer_takes_and_that_join_to_it(payload: bytes, size: int) -> None:
    frames = transfer_frames(9, 255, 0xFFFFFFFF, payload, size)

    said = [read_performative(body_of(one)) for one in frames]
    assert all(isinstance(one, Transfer) for one in said)
    assert b"".join(one.payload for one in said if isinstance(one, Transfer)) == payload
    assert all(len(one) <= size for one in frames)
    assert [one.more for one in said if isinstance(one, Transfer)] == [True] * (len(frames) - 1) + [False]
    assert said[0] == Transfer(255, 0xFFFFFFFF, 0, True, len(frames) > 1, False, said[0].payload)  # type: ignore[union-attr]


def test_what_the_peer_says_is_read() -> None:
    def read(code: int, fields: list[object], payload: bytes = b"") -> object:
        return read_performative(body_of(frame(0, code, fields, payload)))

    assert read(OPEN, ["c", None, UInt(1024), None, UInt(60000)]) == Open(1024, 60000)
    assert read(OPEN, ["c"]) == Open(MAX_FRAME_BYTES, None)
    assert read(OPEN, ["c", None, UInt(2**32 - 1)]) == Open(MAX_FRAME_BYTES, None)
    assert read(BEGIN, [None, UInt(1), UInt(2), UInt(3)]) == Begin(1, 2)
    assert read(FLOW, [None, UInt(9), UInt(1), UInt(2)]) == Flow(None, 9, None, None, None, False, False)
    assert read(FLOW, [UInt(1), UInt(2), UInt(3), UInt(4), UInt(5), UInt(6), UInt(7), None, True, True]) == Flow(
        1, 2, 5, 6, 7, True, True
    )
    assert read(TRANSFER, [UInt(1)], b"xyz") == Transfer(1, None, 0, False, False, False, b"xyz")
    assert read(DETACH, [UInt(1), True]) == Detach(1, True)
    assert read(CLOSE, []) == Close("")


def test_an_attach_is_read_with_what_is_echoed() -> None:
    said = attach()

    assert (said.name, said.handle, said.is_receiver) == ("name", 3, True)
    assert said.source is not None
    assert (said.source.address, said.source.selector) == ("hub", "x > '1'")
    assert said.desired_capabilities == ("a", "b")
    assert said.properties == {"k": 1}
    _, echoed = decode_frame(memoryview(body_of(attach_frame(0, said, accepted=True))))
    assert echoed[0] == b"name"
    assert echoed[2] is False
    assert echoed[3] == 1, "a consumer gets everything settled"
    assert echoed[5][0] == b"hub"
    assert echoed[6][0] == b"t"
    assert echoed[9] == 0, "pyamqp needs the initial delivery count"
    assert echoed[10] == 1_048_576
    assert echoed[13] == {b"k": 1}


def test_a_refusal_has_neither_source_nor_target() -> None:
    _, fields = decode_frame(memoryview(body_of(attach_frame(0, attach(), accepted=False))))

    assert fields[5:7] == [None, None]


@pytest.mark.parametrize(
    ("code", "fields"),
    [
        (OPEN, ["c", None, "much"]),
        (BEGIN, [None, None, UInt(1)]),
        (BEGIN, [None, UInt(1), True]),
        (ATTACH, [None, UInt(1), True]),
        (ATTACH, ["n", -1, True]),
        (ATTACH, ["n", UInt(1), "yes"]),
        (ATTACH, ["n", UInt(1), True, None, None, "hub"]),
        (ATTACH, ["n", UInt(1), True, None, None, source("h"), None, None, None, None, None, None, [1]]),
        (ATTACH, ["n", UInt(1), True, None, None, source("h"), *[None] * 7, [1]]),
        (FLOW, [UInt(1), "wide"]),
        (TRANSFER, [None, UInt(1)]),
        (TRANSFER, [UInt(1), UInt(1), b"", UInt(0), 1]),
        (DETACH, ["h"]),
        (0x30, []),
    ],
)
def test_a_field_of_the_wrong_type_is_a_decode_error(code: int, fields: list[object]) -> None:
    with pytest.raises(DecodeError):
        read_performative(body_of(frame(0, code, fields)))


@given(st.binary(max_size=100))
@settings(deadline=None, max_examples=500)
def test_any_body_says_something_or_is_a_decode_error(body: bytes) -> None:
    with contextlib.suppress(DecodeError):
        read_performative(body)


fields = st.lists(
    st.one_of(
        st.none(), st.booleans(), st.integers(0, 2**32 - 1).map(UInt), st.text(max_size=5), st.binary(max_size=5),
        st.dictionaries(st.text("abc", max_size=3).map(Symbol), st.text(max_size=3), max_size=2),
        st.just(source("h", "s")), st.just(target("t")), st.just(Described(ULong(1), 1)), st.just([1]),
    ),
    max_size=14,
)  # fmt: skip


@given(st.integers(0x10, 0x18), fields)
@settings(deadline=None, max_examples=1000)
def test_any_performative_of_any_fields_is_read_or_a_decode_error(code: int, values: list[object]) -> None:
    body = encode(Described(ULong(code), values))
    with contextlib.suppress(DecodeError):
        assert read_performative(body) is not None

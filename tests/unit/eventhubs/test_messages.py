"""Messages: what a producer sends is stored in normal form, and a consumer gets it with the service's annotations."""

import uuid

import pytest
from azure.eventhub._pyamqp._decode import decode_payload
from azure.eventhub._pyamqp._encode import encode_payload
from azure.eventhub._pyamqp.message import BatchMessage, Header, Message, Properties
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.local.eventhubs.codec import Symbol, Timestamp, ULong, encode
from infra.local.eventhubs.errors import AmqpError, DecodeError
from infra.local.eventhubs.log import StoredEvent
from infra.local.eventhubs.messages import (
    BATCH_FORMAT,
    Publication,
    answer,
    delivery,
    last_enqueued_annotations,
    read_publication,
    read_request,
    section,
    sections,
)

from .wire import data_message, message_sections

KEY = {Symbol("x-opt-partition-key"): "device-1"}


def pyamqp_message(message: Message) -> bytes:
    output = bytearray()
    encode_payload(output, message)
    return bytes(output)


def stored(message: bytes, key: str | None = None) -> StoredEvent:
    return StoredEvent(7, 4096, 1_700_000_000_123, key, message)


def test_a_plain_message_is_stored_as_it_was_sent() -> None:
    assert read_publication(0, data_message(b"hello")) == Publication(None, [data_message(b"hello")])


def test_the_events_of_a_batch_are_stored_one_by_one_with_the_key_of_the_envelope() -> None:
    events = [section(0x72, KEY) + data_message(body) for body in (b"a", b"b")]
    envelope = section(0x72, KEY) + b"".join(section(0x75, event) for event in events)

    assert read_publication(BATCH_FORMAT, envelope) == Publication("device-1", [data_message(b"a"), data_message(b"b")])


def test_a_partition_key_is_understood_as_string_symbol_and_binary() -> None:
    for key in ("é", Symbol("k"), "é".encode()):
        sent = section(0x72, {Symbol("x-opt-partition-key"): key}) + data_message(b"x")
        assert read_publication(0, sent).partition_key == (key.decode() if isinstance(key, bytes) else key)


def test_annotations_of_the_service_are_dropped_and_the_producers_own_are_kept() -> None:
    forged = {Symbol("x-opt-offset"): "999", Symbol("x-opt-sequence-number"): 999, Symbol("x-mine"): "kept"}

    [message] = read_publication(0, section(0x72, KEY | forged) + data_message(b"x")).messages
    received = message_sections(delivery(stored(message, "device-1")))

    assert received[0x72] == {
        "x-opt-sequence-number": 7,
        "x-opt-offset": "4096",
        "x-opt-enqueued-time": 1_700_000_000_123,
        "x-opt-partition-key": "device-1",
        "x-mine": "kept",
    }
    assert type(received[0x72]["x-opt-enqueued-time"]) is Timestamp


def test_delivery_annotations_go_one_hop_only_wherever_they_stand() -> None:
    for sent in (
        section(0x71, {Symbol("hop"): 1}) + data_message(b"x"),
        data_message(b"x") + section(0x71, {Symbol("hop"): 1}),  # pyamqp writes them at the end
    ):
        assert read_publication(0, sent).messages == [data_message(b"x")]


def test_a_long_descriptor_is_shortened_since_pyamqp_cannot_read_it() -> None:
    sent = b"\x00\x80" + (0x75).to_bytes(8) + encode(b"x")

    assert read_publication(0, sent).messages == [data_message(b"x")]


def test_a_header_comes_first_then_the_annotations_then_the_rest() -> None:
    sent = section(0x70, [True]) + section(0x72, {Symbol("x-mine"): 1}) + section(0x73, ["id"]) + data_message(b"x")

    [message] = read_publication(0, sent).messages
    out = delivery(stored(message), section(0x71, {Symbol("d"): 1}))

    assert [code for code, *_ in sections(message)] == [0x70, 0x72, 0x73, 0x75]
    assert [code for code, *_ in sections(out)] == [0x70, 0x71, 0x72, 0x73, 0x75]


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"", "no body"),
        (section(0x70, []), "no body"),
        (b"garbage", "no section"),
        (b"\x00\x53", "no section"),
        (b"\x00\x53\x75", "ends beyond"),
        (data_message(b"x")[:-1], "ends beyond"),
        (section(0x75, "text"), "holds no bytes"),
        (section(0x74, ["list"]), "holds no dict"),
        (section(0x73, [None] * 14), "14 fields; valid are up to 13"),
        (section(0x72, ["list"]) + data_message(b"x"), "message annotations are no map"),
        (section(0x72, {Symbol("x-opt-partition-key"): 5}) + data_message(b"x"), "must be text"),
        (section(0x72, {Symbol("x-opt-partition-key"): b"\xff"}) + data_message(b"x"), "not UTF-8"),
        (section(0x99, []), "descriptor of no section"),
        (b"\x00\x53\x77\xc0\x05\x02\x41\xa0\x01", "ends beyond"),
        (b"\x00\x53\x77\xc0\x04\x01\x41\xa0\x01", "says that it ends"),
    ],
)
def test_a_malformed_message_is_refused_in_words_alone_and_in_a_batch(payload: bytes, why: str) -> None:
    with pytest.raises(DecodeError, match=why):
        read_publication(0, payload)
    with pytest.raises(DecodeError, match=why):
        read_publication(BATCH_FORMAT, section(0x75, data_message(b"good")) + section(0x75, payload))


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(DecodeError, match="holds no event"):
        read_publication(BATCH_FORMAT, b"")


def test_a_partition_key_that_the_log_cannot_hold_is_refused() -> None:
    with pytest.raises(AmqpError, match="65535 bytes; valid are up to 65534"):
        read_publication(0, section(0x72, {Symbol("x-opt-partition-key"): "k" * 65535}) + data_message(b"x"))


@given(st.binary(max_size=200), st.sampled_from([0, BATCH_FORMAT]))
@settings(deadline=None, max_examples=500)
def test_any_payload_is_stored_or_refused(payload: bytes, message_format: int) -> None:
    try:
        publication = read_publication(message_format, payload)
    except AmqpError:
        return
    for message in publication.messages:
        delivery(stored(message))


values = st.recursive(
    st.one_of(st.booleans(), st.integers(-(2**31), 2**31 - 1), st.text(max_size=9), st.binary(max_size=9), st.uuids()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
names = st.text("abcd-", min_size=1, max_size=6)
messages = st.fixed_dictionaries(
    {
        "header": st.none() | st.booleans().map(lambda durable: Header(durable=durable, priority=4)),
        "delivery_annotations": st.none() | st.dictionaries(names, st.text(max_size=4), min_size=1, max_size=2),
        "message_annotations": st.none() | st.dictionaries(names, values, min_size=1, max_size=3),
        "properties": st.none() | st.text(max_size=5).map(lambda one: Properties(message_id=one, reply_to="me")),
        "application_properties": st.none() | st.dictionaries(names, values, min_size=1, max_size=3),
        "data": st.lists(st.binary(max_size=300), min_size=1, max_size=2),
    }
)


@given(messages, st.none() | st.text(max_size=20))
@settings(deadline=None, max_examples=200)
def test_pyamqp_gets_back_what_pyamqp_sent(content: dict[str, object], key: str | None) -> None:
    sent = Message(**content)

    [message] = read_publication(0, pyamqp_message(sent)).messages
    got = decode_payload(memoryview(delivery(stored(message, key))))

    sent_alone = decode_payload(memoryview(pyamqp_message(sent)))
    assert got.data == sent_alone.data
    assert got.header == sent_alone.header
    assert got.properties == sent_alone.properties
    assert got.application_properties == sent_alone.application_properties
    assert got.delivery_annotations is None
    own = {k: v for k, v in got.message_annotations.items() if not k.startswith(b"x-opt-")}
    assert own == (sent_alone.message_annotations or {})
    assert got.message_annotations.get(b"x-opt-partition-key") == (None if key is None else key.encode())


def test_a_batch_of_pyamqp_is_read() -> None:
    inner = [Message(data=[body], message_annotations={b"x-opt-partition-key": b"k"}) for body in (b"1", b"2")]
    batch = BatchMessage(data=[pyamqp_message(one) for one in inner], message_annotations={b"x-opt-partition-key": "k"})

    assert read_publication(BATCH_FORMAT, pyamqp_message(batch)) == Publication(
        "k", [data_message(b"1"), data_message(b"2")]
    )


def test_the_newest_event_of_the_partition_is_told_in_delivery_annotations() -> None:
    told = message_sections(last_enqueued_annotations(5, 777, 1000, 2000))[0x71]

    assert told == {
        "last_enqueued_sequence_number": 5,
        "last_enqueued_offset": "777",
        "last_enqueued_time_utc": 1000,
        "runtime_info_retrieval_time_utc": 2000,
    }


@pytest.mark.parametrize("message_id", ["m", ULong(7), uuid.UUID(int=5), b"\x00", None])
def test_an_answer_carries_the_message_id_of_its_request(message_id: object) -> None:
    asked = section(0x73, [message_id, None, None, None, "reply"]) + section(0x74, {"operation": "READ"})
    request = read_request(asked + section(0x77, None))

    answered = message_sections(answer(request, {"status-code": 1}, {"name": "hub"}))

    assert (request.reply_to, request.application_properties) == ("reply", {"operation": "READ"})
    assert answered[0x73][5] == message_id
    assert type(answered[0x73][5]) is type(message_id)
    assert len(answered[0x73]) == 13
    assert answered[0x77] == {"name": "hub"}


@pytest.mark.parametrize("properties", [[[1]], ["m", None, None, None, 5]])
def test_a_request_that_cannot_be_answered_is_refused(properties: list[object]) -> None:
    with pytest.raises(DecodeError, match="must be text"):
        read_request(section(0x73, properties))

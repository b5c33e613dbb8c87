"""What a client and the broker say to each other, frame by frame, without a network."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.local.eventhubs import connection as connection_module
from infra.local.eventhubs.broker import Broker
from infra.local.eventhubs.codec import Array, Described, Symbol, UByte, UInt, ULong
from infra.local.eventhubs.links import MAX_WAITING_ANSWERS
from infra.local.eventhubs.messages import BATCH_FORMAT, section
from infra.local.eventhubs.performatives import AMQP_HEADER, SASL_HEADER

from .wire import (
    ATTACH,
    BEGIN,
    CLOSE,
    DETACH,
    DISPOSITION,
    END,
    FLOW,
    OPEN,
    TRANSFER,
    Client,
    data_message,
    frame,
    heard,
    message_sections,
    one_hub,
    source,
    target,
)

CONSUMER = "pings/ConsumerGroups/footfall/Partitions/{}"
ALL = "amqp.annotation.x-opt-offset > '-1'"


@pytest.fixture(name="broker")
def _broker(tmp_path: Path) -> Broker:
    return one_hub(tmp_path)


@pytest.fixture(name="converse")
def _converse(broker: Broker) -> Callable[[Callable[[Client], Awaitable[None]]], None]:
    """Run a conversation of one client that has opened its connection and a session on channel 0."""

    def run(conversation: Callable[[Client], Awaitable[None]]) -> None:
        async def opened() -> None:
            client = Client(broker)
            await client.open()
            await conversation(client)

        asyncio.run(opened())

    return run


def fill(broker: Broker, count: int, size: int = 10, partition: str = "0") -> None:
    messages = [(data_message(b"%d " % number + b"x" * size), None) for number in range(count)]
    broker.namespace.hub("pings").partition(partition).append(messages)


def sequence_numbers(frames: list[tuple[int, int, list[object], bytes]]) -> list[int]:
    """Of the deliveries that begin in these frames."""
    return [
        message_sections(payload)[0x72]["x-opt-sequence-number"]
        for _, code, fields, payload in frames
        if code == TRANSFER and fields[1] is not None and fields[5] is False
    ]


# ------------------------------------------------------------------------------------------------- opening and closing


def test_a_client_gets_in_with_sasl_and_without(broker: Broker) -> None:
    async def conversation() -> None:
        for header in (SASL_HEADER, AMQP_HEADER):
            client = Client(broker)
            client.raw(header)
            if header == SASL_HEADER:
                client.raw(frame(0, 0x41, [Symbol("ANONYMOUS")], kind=1) + AMQP_HEADER)
            client.say(0, OPEN, ["c"])
            [opened] = heard(await client.hear(), OPEN)
            assert opened[2:5] == [65536, 4999, 120_000]

    asyncio.run(conversation())


def test_a_foreign_protocol_is_told_which_one_is_spoken_here(broker: Broker) -> None:
    async def conversation() -> None:
        for hello in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01", b"AMQP\x00\x00\x09\x01"):
            client = Client(broker)
            client.raw(hello)
            assert client.transport.take() == AMQP_HEADER
            assert client.closed

    asyncio.run(conversation())


def test_a_close_is_answered(converse: Callable[..., None]) -> None:
    async def conversation(client: Client) -> None:
        client.say(0, CLOSE, [])
        assert heard(await client.hear(), CLOSE) == [[None]]
        assert client.closed

    converse(conversation)


@pytest.mark.parametrize(
    ("said", "condition"),
    [
        (b"\x00\x00\x00\x10\x02\x00\x00\x00" + b"\xff" * 8, "amqp:decode-error"),
        (b"\xff\xff\xff\xff\x02\x00\x00\x00", "amqp:connection:framing-error"),
        (frame(0, OPEN, ["again"]), "amqp:not-allowed"),
        (frame(0, BEGIN, [None, UInt(0), UInt(1), UInt(1)]), "amqp:not-allowed"),
        (frame(5000, BEGIN, [None, UInt(0), UInt(1), UInt(1)]), "amqp:not-allowed"),
        (frame(0, 0x41, [], kind=1), "amqp:connection:framing-error"),
        (frame(0, ATTACH, ["n", UInt(256), False, None, None, source(None), target("pings")]),
         "amqp:connection:framing-error"),
        (frame(0, ATTACH, ["n", UInt(1), False, None, None, None, target("pings"), *[None] * 6, {"x": "y" * 65_470}]),
         "amqp:resource-limit-exceeded"),
    ],
)  # fmt: skip
def test_a_breach_of_the_protocol_ends_the_connection_with_its_condition(
    converse: Callable[..., None], said: bytes, condition: str
) -> None:
    async def conversation(client: Client) -> None:
        client.raw(said)
        [[error]] = heard(await client.hear(), CLOSE)
        assert error.value[0] == condition
        assert error.value[1]
        client.say(0, CLOSE, [])
        assert client.closed or condition == "amqp:connection:framing-error"

    converse(conversation)


def test_the_broker_lives_on_after_a_hostile_client(broker: Broker) -> None:
    async def conversation() -> None:
        bad, good = Client(broker), Client(broker)
        await bad.open()
        await good.open()
        bad.raw(b"\xff" * 1000)
        good.attach_sender(0, "pings")
        await good.hear()
        good.send(data_message(b"x"))
        assert len(heard(await good.hear(), DISPOSITION)) == 1

    asyncio.run(conversation())


@given(st.data())
@settings(deadline=None, max_examples=200)
def test_any_frames_leave_the_broker_serving_others(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    numbers = st.integers(0, 5).map(UInt)
    sources = [source("pings"), source(CONSUMER.format(0), ALL), source("$cbs"), Described(ULong(0x28), [])]
    targets = [target("pings"), target("$management"), Described(ULong(0x29), [7])]
    termini = st.sampled_from([None, *sources, *targets])
    anything = st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=3), termini, st.binary(max_size=3))
    frames = st.lists(
        st.builds(
            frame,
            st.integers(0, 2),
            st.sampled_from(range(0x10, 0x19)),
            st.lists(anything, max_size=14) | st.builds(
                lambda name, handle, role, s, t: [name, handle, role, UByte(0), UByte(0), s, t],
                st.text(max_size=2), numbers, st.booleans(), termini, termini,
            ),
            st.sampled_from([b"", data_message(b"x"), b"junk"]),
        ),
        max_size=12,
    )  # fmt: skip
    broker = one_hub(tmp_path_factory.mktemp("hub"))

    async def conversation() -> None:
        hostile, good = Client(broker), Client(broker)
        await hostile.open()
        for one in data.draw(frames):
            if not hostile.closed:
                hostile.raw(one)
            await hostile.hear()
        await good.open()
        good.attach_sender(0, "pings")
        good.send(data_message(b"x"))
        [settled] = heard(await good.hear(), DISPOSITION)
        assert settled[4].descriptor == 0x24

    asyncio.run(conversation())


def test_an_internal_error_costs_one_client_its_connection(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(body: bytes) -> object:
        raise RuntimeError("a fault of ours")

    async def conversation() -> None:
        client = Client(broker)
        await client.open()
        monkeypatch.setattr(connection_module, "read_performative", fail)
        client.say(0, END, [])
        [[error]] = heard(await client.hear(), CLOSE)
        assert error.value[0] == "amqp:internal-error"
        assert "a fault of ours" in caplog.text

    asyncio.run(conversation())


def test_frames_of_a_session_that_ended_are_ignored_since_pyamqp_detaches_after_end(
    converse: Callable[..., None],
) -> None:
    async def conversation(client: Client) -> None:
        client.attach_sender(0, "pings")
        client.say(0, END, [])
        client.say(0, DETACH, [UInt(0), True])
        client.say(0, TRANSFER, [UInt(0), UInt(1)], data_message(b"x"))
        frames = await client.hear()
        assert [code for _, code, *_ in frames][-1] == END
        assert not client.closed

    converse(conversation)


def test_a_transfer_on_a_handle_without_link_ends_the_session_only(converse: Callable[..., None]) -> None:
    async def conversation(client: Client) -> None:
        client.begin(1)
        client.send(data_message(b"x"), handle=9)
        frames = await client.hear()
        [[error]] = heard(frames, END)
        assert error.value[0] == "amqp:session:unattached-handle"
        client.attach_sender(0, "pings", channel=1)
        assert len(heard(await client.hear(), ATTACH)) == 1

    converse(conversation)


def test_a_handle_in_use_ends_the_session(converse: Callable[..., None]) -> None:
    async def conversation(client: Client) -> None:
        client.attach_sender(0, "pings")
        client.attach_sender(0, "pings")
        [[error]] = heard(await client.hear(), END)
        assert error.value[0] == "amqp:session:handle-in-use"

    converse(conversation)


# ---------------------------------------------------------------------------------------------------------- heartbeats


def test_heartbeats_come_at_half_the_clients_idle_time_out(broker: Broker) -> None:
    async def conversation() -> None:
        client = Client(broker)
        loop = asyncio.get_running_loop()
        await client.open(idle_ms=1000)
        client.transport.take()
        start = loop.time()
        while not client.transport.buffer:
            await asyncio.sleep(0.01)
        assert client.transport.take() == b"\x00\x00\x00\x08\x02\x00\x00\x00"
        assert loop.time() - start < 1.0

    asyncio.run(conversation())


def test_an_idle_time_out_that_cannot_be_kept_is_refused(broker: Broker) -> None:
    async def conversation() -> None:
        client = Client(broker)
        client.raw(AMQP_HEADER)
        client.say(0, OPEN, ["c", None, None, None, UInt(999)])
        frames = await client.hear()
        assert [code for _, code, *_ in frames] == [OPEN, CLOSE], "CLOSE is understood only after OPEN"
        assert "valid are 1000 ms and more" in frames[1][2][0].value[1]

    asyncio.run(conversation())


def test_a_client_that_is_silent_for_five_times_our_idle_time_out_is_dropped(tmp_path: Path) -> None:
    async def conversation() -> None:
        broker = Broker([], idle_timeout_s=0.1)
        dead, alive = Client(broker), Client(broker)
        await dead.open()
        await alive.open()
        while not dead.closed:
            alive.raw(b"\x00\x00\x00\x08\x02\x00\x00\x00")
            await asyncio.sleep(0.02)
        assert not alive.closed
        assert broker.stats().connections == 1

    asyncio.run(conversation())


# ----------------------------------------------------------------------------------------------------------- producing


def test_a_transfer_is_stored_before_it_is_accepted(broker: Broker, converse: Callable[..., None]) -> None:
    async def conversation(client: Client) -> None:
        client.attach_sender(0, "pings/Partitions/1")
        [granted] = heard(await client.hear(), FLOW)
        assert granted[4:7] == [0, 0, 1000]
        client.send(data_message(b"hello"), delivery_id=41)
        [settled] = heard(await client.hear(), DISPOSITION)
        assert settled[:4] == [True, 41, 41, True]
        assert settled[4].descriptor == 0x24
        [event] = broker.namespace.hub("PINGS").partition("1").log.read(0, max_events=9, max_bytes=9999)
        assert event.message == data_message(b"hello")

    converse(conversation)


def test_a_batch_goes_whole_to_the_partition_of_its_key(broker: Broker, converse: Callable[..., None]) -> None:
    key = section(0x72, {Symbol("x-opt-partition-key"): "device-1"})

    async def conversation(client: Client) -> None:
        client.attach_sender(0, "pings")
        for delivery_id in range(3):
            batch = key + b"".join(section(0x75, data_message(b"%d" % n)) for n in range(10))
            client.send(batch, delivery_id, message_format=BATCH_FORMAT)
        await client.hear()

    converse(conversation)
    counts = [one.log.next_sequence_number for one in broker.namespace.hub("pings").partitions]
    assert sorted(counts) == [0, 30]
    assert broker.stats().events_in == 30


def test_without_a_key_the_partitions_take_turns(broker: Broker, converse: Callable[..., None]) -> None:
    async def conversation(client: Client) -> None:
        client.attach_sender(0, "pings")
        for delivery_id in range(6):
            client.send(data_message(b"x"), delivery_id)

    converse(conversation)
    assert [one.log.next_sequence_number for one in broker.namespace.hub("pings").partitions] == [3, 3]


def test_a_message_in_several_frames_is_joined(broker: Broker, converse: Callable[..., None]) -> None:
    message = data_message(b"x" * 100_000)

    async def conversation(client: Client) -> None:
        client.attach_sender(0, "pings/Partitions/0")
        client.say(0, TRANSFER, [UInt(0), UInt(7), b"t", UInt(0), False, True], message[:60_000])
        client.say(0, TRANSFER, [UInt(0), None, None, None, None, False], message[60_000:])
        assert len(heard(await client.hear(), DISPOSITION)) == 1

    converse(conversation)
    [event] = broker.namespace.hub("pings").partition("0").log.read(0, max_events=9, max_bytes=999_999)
    assert event.message == message


def test_an_aborted_message_is_forgotten(broker: Broker, converse: Callable[..., None]) -> None:
    async def conversation(client: Client) -> None:
        client.attach_sender(0, "pings/Partitions/0")
        client.say(0, TRANSFER, [UInt(0), UInt(0), b"t", UInt(0), False, True], data_message(b"half")[:5])
        client.say(0, TRANSFER, [UInt(0), None, None, None, None, False, None, None, None, True])
        client.send(data_message(b"whole"), 1)
        [settled] = heard(await client.hear(), DISPOSITION)
        assert settled[1] == 1

    converse(conversation)
    assert broker.namespace.hub("pings").partition("0").log.next_sequence_number == 1


def test_a_message_that_is_too_large_is_rejected_and_its_bytes_are_not_kept(
    broker: Broker, converse: Callable[..., None]
) -> None:
    async def conversation(client: Client) -> None:
        client.attach_sender(0, "pings")
        for _ in range(40):
            client.say(0, TRANSFER, [UInt(0), UInt(0), b"t", UInt(0), False, True], b"x" * 60_000)
            assert client.connection._held_bytes <= 1_048_576
        assert client.connection._held_bytes == 0
        client.say(0, TRANSFER, [UInt(0), None, None, None, None, False], b"x")
        [settled] = heard(await client.hear(), DISPOSITION)
        assert settled[4].descriptor == 0x25
        assert settled[4].value[0].value[0] == "amqp:link:message-size-exceeded"

    converse(conversation)


def test_unfinished_messages_of_a_connection_are_limited(converse: Callable[..., None]) -> None:
    async def conversation(client: Client) -> None:
        for handle in range(40):
            client.attach_sender(handle, "pings")
            for _ in range(16):
                client.say(0, TRANSFER, [UInt(handle), UInt(0), b"t", UInt(0), False, True], b"x" * 65_000)
        [[error]] = heard(await client.hear(), CLOSE)
        assert error.value[0] == "amqp:resource-limit-exceeded"

    converse(conversation)


def test_a_malformed_message_is_rejected_and_the_link_goes_on(broker: Broker, converse: Callable[..., None]) -> None:
    async def conversation(client: Client) -> None:
        client.attach_sender(0, "pings")
        client.send(b"junk", 0)
        client.send(data_message(b"good"), 1)
        rejected, accepted = heard(await client.hear(), DISPOSITION)
        assert rejected[4].value[0].value[0] == "amqp:decode-error"
        assert accepted[4].descriptor == 0x24

    converse(conversation)
    assert broker.stats().events_in == 1


def test_a_malformed_message_that_was_sent_settled_ends_the_link(converse: Callable[..., None]) -> None:
    async def conversation(client: Client) -> None:
        client.attach_sender(0, "pings")
        client.say(0, TRANSFER, [UInt(0), UInt(0), b"t", UInt(0), True, False], b"junk")
        client.send(data_message(b"too late"), 1)
        frames = await client.hear()
        [[handle, closed, error]] = heard(frames, DETACH)
        assert (handle, closed, error.value[0]) == (0, True, "amqp:decode-error")
        assert heard(frames, DISPOSITION) == []
        client.say(0, DETACH, [UInt(0), True])
        assert heard(await client.hear(), DETACH) == [], "an answer is not answered"
        client.attach_sender(0, "pings")
        assert len(heard(await client.hear(), ATTACH)) == 1

    converse(conversation)


def test_a_full_disk_is_told_as_server_busy_so_that_clients_try_again(
    broker: Broker, converse: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(messages: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(broker.namespace.hub("pings").partition("0").log, "append", full)

    async def conversation(client: Client) -> None:
        client.attach_sender(0, "pings/Partitions/0")
        client.send(data_message(b"x"))
        [settled] = heard(await client.hear(), DISPOSITION)
        assert settled[4].value[0].value[0] == "com.microsoft:server-busy"

    converse(conversation)


def test_credit_is_given_anew_when_half_is_used(converse: Callable[..., None]) -> None:
    async def conversation(client: Client) -> None:
        client.attach_sender(0, "pings")
        await client.hear()
        for delivery_id in range(500):
            client.send(data_message(b"x"), delivery_id)
        [flow] = heard(await client.hear(), FLOW)
        assert flow[4:7] == [0, 500, 1000]

    converse(conversation)


def test_the_sessions_window_is_given_anew_before_it_is_used_up(converse: Callable[..., None]) -> None:
    async def conversation(client: Client) -> None:
        client.attach_sender(0, "pings")
        await client.hear()
        for _ in range(2501):
            client.say(0, TRANSFER, [UInt(0), UInt(0), b"t", UInt(0), False, True], b"")
        [flow] = heard(await client.hear(), FLOW)
        assert flow[:2] == [2501, 5000]

    converse(conversation)


# ----------------------------------------------------------------------------------------------------------- consuming


def test_a_consumer_gets_as_many_events_as_it_gave_credit_for(broker: Broker, converse: Callable[..., None]) -> None:
    fill(broker, 10)

    async def conversation(client: Client) -> None:
        client.attach_receiver(0, CONSUMER.format(0), ALL)
        assert heard(await client.hear(), TRANSFER) == []
        client.flow(3)
        frames = await client.hear()
        assert sequence_numbers(frames) == [0, 1, 2]
        assert all(fields[4] for fields in heard(frames, TRANSFER)), "events are settled already"
        client.flow(3, delivery_count=2, next_incoming_id=4)
        assert sequence_numbers(await client.hear()) == [3, 4], "one of five was still on its way"

    converse(conversation)


def test_a_new_event_goes_out_at_once_to_every_group(broker: Broker, converse: Callable[..., None]) -> None:
    async def conversation(client: Client) -> None:
        client.attach_receiver(0, CONSUMER.format(0))
        client.attach_receiver(1, "pings/ConsumerGroups/$DEFAULT/Partitions/0")
        client.flow(10, 0)
        client.flow(10, 1)
        await client.hear()
        fill(broker, 2)
        frames = await client.hear()
        assert sorted(fields[0] for fields in heard(frames, TRANSFER)) == [0, 0, 1, 1]
        assert broker.stats().receivers == 2

    converse(conversation)


def test_the_session_window_counts_frames_and_holds_a_message_back_in_the_middle(
    broker: Broker, converse: Callable[..., None]
) -> None:
    fill(broker, 2, size=3000)

    async def conversation(client: Client) -> None:
        client.begin(1, window=0)
        client.attach_receiver(0, CONSUMER.format(0), ALL, channel=1)
        client.flow(10, channel=1, window=2)
        frames = await client.hear()
        assert len(heard(frames, TRANSFER)) == 2
        link = client.connection._sessions[1].links[0]
        assert len(link._unsent) == 5, "one message waits, not two"  # type: ignore[attr-defined]
        client.flow(10, channel=1, window=100, next_incoming_id=3)
        frames += await client.hear()
        transfers = [(fields, payload) for _, code, fields, payload in frames if code == TRANSFER]
        assert [fields[5] for fields, _ in transfers] == ([True] * 6 + [False]) * 2
        first = b"".join(payload for _, payload in transfers[:7])
        assert message_sections(first)[0x75] == b"0 " + b"x" * 3000

    async def small_frames() -> None:
        client = Client(broker)
        await client.open(max_frame=512)
        await conversation(client)

    asyncio.run(small_frames())


def test_frames_that_are_still_on_their_way_count_against_the_window(
    broker: Broker, converse: Callable[..., None]
) -> None:
    fill(broker, 20)

    async def conversation(client: Client) -> None:
        client.attach_receiver(0, CONSUMER.format(0), ALL)
        client.flow(100, window=4)
        assert sequence_numbers(await client.hear()) == [0, 1, 2, 3]
        client.flow(100, window=5, next_incoming_id=2, delivery_count=1)
        assert sequence_numbers(await client.hear()) == [4, 5], "three of five were on their way"

    converse(conversation)


def test_the_counters_of_a_session_wrap_around(broker: Broker, converse: Callable[..., None]) -> None:
    fill(broker, 4)

    async def conversation(client: Client) -> None:
        client.attach_receiver(0, CONSUMER.format(0), ALL)
        await client.hear()
        link, session = client.connection._sessions[0].links[0], client.connection._sessions[0]
        session._next_outgoing_id = link._delivery_count = 2**32 - 1  # type: ignore[attr-defined]
        before = {"next_incoming_id": 2**32 - 1, "delivery_count": 2**32 - 1}
        client.flow(3, window=3, **before)
        assert sequence_numbers(await client.hear()) == [0, 1, 2]
        client.flow(9, window=3, **before)
        assert sequence_numbers(await client.hear()) == [], "three frames of three were on their way"
        client.flow(3, window=9, **before)
        assert sequence_numbers(await client.hear()) == [], "three events of three were on their way"
        client.flow(3, window=3, next_incoming_id=2, delivery_count=2)
        assert sequence_numbers(await client.hear()) == [3]

    converse(conversation)


def test_a_flow_of_any_link_opens_the_window_for_all(broker: Broker, converse: Callable[..., None]) -> None:
    fill(broker, 1, partition="0")
    fill(broker, 1, partition="1")

    async def conversation(client: Client) -> None:
        client.begin(1, window=0)
        client.attach_receiver(0, CONSUMER.format(0), ALL, channel=1)
        client.attach_receiver(1, CONSUMER.format(1), ALL, channel=1)
        client.flow(10, 0, channel=1, window=0)
        client.flow(10, 1, channel=1, window=0)
        assert heard(await client.hear(), TRANSFER) == []
        client.say(1, FLOW, [UInt(1), UInt(10), UInt(0), UInt(10)])
        assert sorted(fields[0] for fields in heard(await client.hear(), TRANSFER)) == [0, 1]

    converse(conversation)


def test_drain_uses_up_the_credit_after_what_is_there_was_sent(broker: Broker, converse: Callable[..., None]) -> None:
    fill(broker, 2)

    async def conversation(client: Client) -> None:
        client.attach_receiver(0, CONSUMER.format(0), ALL)
        await client.hear()
        client.flow(10, drain=True)
        frames = await client.hear()
        assert sequence_numbers(frames) == [0, 1]
        [flow] = heard(frames, FLOW)
        assert flow[4:7] == [0, 10, 0]
        assert flow[8] is True
        fill(broker, 1)
        assert heard(await client.hear(), TRANSFER) == [], "the credit is used up"
        client.flow(1, delivery_count=10)
        assert sequence_numbers(await client.hear()) == [2]

    converse(conversation)


def test_an_echo_is_answered_with_the_state_of_the_link_or_session(converse: Callable[..., None]) -> None:
    async def conversation(client: Client) -> None:
        client.attach_receiver(0, CONSUMER.format(0))
        client.attach_sender(1, "pings")
        await client.hear()
        client.flow(7, 0, echo=True)
        client.flow(0, 1, echo=True)
        client.say(0, FLOW, [UInt(1), UInt(10), UInt(0), UInt(10), None, None, None, None, False, True])
        consumer, producer, session = heard(await client.hear(), FLOW)
        assert consumer[4:7] == [0, 0, 7]
        assert producer[4:7] == [1, 0, 1000]
        assert session[4] is None

    converse(conversation)


def test_nothing_is_read_for_a_client_whose_socket_is_full(broker: Broker, converse: Callable[..., None]) -> None:
    fill(broker, 20_000, size=200)

    async def conversation(client: Client) -> None:
        client.transport.stuck = True
        client.attach_receiver(0, CONSUMER.format(0), ALL)
        client.flow(2**31)
        got: list[int] = []
        for _ in range(100):
            await asyncio.sleep(0)
        assert 60_000 < len(client.transport.buffer) < 300_000
        client.transport.unblock()
        while len(got) < 5000:  # the window
            got += sequence_numbers(await client.hear())
        assert got == list(range(5000))

    converse(conversation)


def test_a_client_that_takes_no_answers_is_not_read_from(converse: Callable[..., None]) -> None:
    async def conversation(client: Client) -> None:
        client.attach_sender(0, "pings")
        client.transport.stuck = True
        while client.transport.reading:
            client.raw(frame(0, TRANSFER, [UInt(0), UInt(0), b"t", UInt(0), False, False], b"junk") * 100)
        assert 1_000_000 < len(client.transport.buffer) < 1_500_000
        client.transport.unblock()
        assert client.transport.reading

    converse(conversation)


def test_a_consumer_that_tracks_the_newest_event_is_told_about_it(
    broker: Broker, converse: Callable[..., None]
) -> None:
    fill(broker, 5)

    async def conversation(client: Client) -> None:
        wish = Array([Symbol("com.microsoft:enable-receiver-runtime-metric")])
        fields = ["n", UInt(0), True, UByte(0), UByte(0), source(CONSUMER.format(0), ALL), target("t")]
        client.say(0, ATTACH, [*fields, None, None, None, None, None, wish])
        client.flow(1)
        [payload] = [payload for _, code, _, payload in await client.hear() if code == TRANSFER]
        assert message_sections(payload)[0x71]["last_enqueued_sequence_number"] == 4

    converse(conversation)


def test_a_higher_epoch_ends_the_receivers_before_it(broker: Broker, converse: Callable[..., None]) -> None:
    async def conversation(client: Client) -> None:
        client.attach_receiver(0, CONSUMER.format(0), epoch=1, **{"receiver-name": "old"})
        await client.hear()
        client.attach_receiver(1, CONSUMER.format(0), epoch=2, **{"receiver-name": "new"})
        frames = await client.hear()
        [[handle, closed, error]] = heard(frames, DETACH)
        assert (handle, closed, error.value[0]) == (0, True, "amqp:link:stolen")
        assert "current receiver 'old' with epoch '1'" in error.value[1]
        client.flow(10, 0)
        client.flow(10, 1)
        client.say(0, DETACH, [UInt(0), True])
        fill(broker, 1)
        frames = await client.hear()
        assert [fields[0] for fields in heard(frames, TRANSFER)] == [1]
        assert heard(frames, DETACH) == []
        assert broker.stats().receivers == 1

    converse(conversation)


def test_an_epoch_rules_its_own_consumer_group_only(broker: Broker, converse: Callable[..., None]) -> None:
    async def conversation(client: Client) -> None:
        client.attach_receiver(0, "pings/ConsumerGroups/$Default/Partitions/0")
        client.attach_receiver(1, CONSUMER.format(0), epoch=9)
        client.attach_receiver(2, "pings/ConsumerGroups/$Default/Partitions/0")
        assert heard(await client.hear(), DETACH) == []
        assert broker.stats().receivers == 3

    converse(conversation)


def test_consumers_at_the_same_event_get_as_many_as_each_gave_credit_for(
    broker: Broker, converse: Callable[..., None]
) -> None:
    fill(broker, 10)

    async def conversation(client: Client) -> None:
        for handle, credit in ((0, 5), (1, 2), (2, 8)):
            client.attach_receiver(handle, CONSUMER.format(0), ALL)
            client.flow(credit, handle)
        frames = await client.hear()
        assert [[one[2][0] for one in frames if one[1] == TRANSFER].count(handle) for handle in range(3)] == [5, 2, 8]

    converse(conversation)


@pytest.mark.parametrize(
    ("address", "selector", "condition"),
    [
        ("nope/ConsumerGroups/footfall/Partitions/0", ALL, "amqp:not-found"),
        ("pings/ConsumerGroups/nope/Partitions/0", ALL, "amqp:not-found"),
        ("pings/ConsumerGroups/footfall/Partitions/2", ALL, "com.microsoft:argument-out-of-range"),
        ("pings", ALL, "amqp:not-found"),
        (CONSUMER.format(0), "offset > 1", "amqp:invalid-field"),
        (CONSUMER.format(0), "amqp.annotation.x-opt-sequence-number > '5'", "com.microsoft:argument-error"),
    ],
)
def test_a_consumer_of_what_is_not_there_is_refused(
    broker: Broker, converse: Callable[..., None], address: str, selector: str, condition: str
) -> None:
    async def conversation(client: Client) -> None:
        client.attach_receiver(0, address, selector)
        client.flow(10)
        client.say(0, DETACH, [UInt(0), True])
        frames = await client.hear()
        assert [code for _, code, *_ in frames] == [ATTACH, DETACH]
        assert heard(frames, ATTACH)[0][5] is not None, "pyamqp hides the error of a link that was never attached"
        assert heard(frames, DETACH)[0][2].value[0] == condition
        assert broker.stats().receivers == 0

    converse(conversation)


@pytest.mark.parametrize(
    ("address", "condition"),
    [
        ("nope", "amqp:not-found"),
        ("pings/Partitions/7", "com.microsoft:argument-out-of-range"),
        (CONSUMER.format(0), "amqp:not-allowed"),
    ],
)
def test_a_producer_to_what_is_not_there_is_refused(
    converse: Callable[..., None], address: str, condition: str
) -> None:
    async def conversation(client: Client) -> None:
        client.attach_sender(0, address)
        frames = await client.hear()
        assert heard(frames, ATTACH)[0][6] is None
        assert heard(frames, DETACH)[0][2].value[0] == condition

    converse(conversation)


def test_a_damaged_log_ends_the_link_and_says_so(broker: Broker, converse: Callable[..., None], tmp_path: Path) -> None:
    fill(broker, 3)
    [path] = (tmp_path / "0").glob("*.log")
    path.write_bytes(path.read_bytes()[:40] + b"\xff" + path.read_bytes()[41:])

    async def conversation(client: Client) -> None:
        client.attach_receiver(0, CONSUMER.format(0), ALL)
        client.flow(10)
        [[_, _, error]] = heard(await client.hear(), DETACH)
        assert error.value[0] == "amqp:internal-error"
        assert "checksum" in error.value[1]

    converse(conversation)


# ------------------------------------------------------------------------------------------------ $cbs and $management


def ask(client: Client, node: str, asked: dict[str, object], reply_to: str | None = None) -> None:
    client.attach_sender(0, node)
    client.attach_receiver(1, node)
    client.flow(10, 1)
    client.send(section(0x73, ["id", None, None, None, reply_to]) + section(0x74, asked) + section(0x77, None))


async def answered(client: Client) -> tuple[dict[str, object], object]:
    [payload] = [payload for _, code, _, payload in await client.hear() if code == TRANSFER]
    parts = message_sections(payload)
    assert parts[0x73][5] == "id"
    return parts[0x74], parts[0x77]


def test_any_token_is_accepted(converse: Callable[..., None]) -> None:
    async def conversation(client: Client) -> None:
        ask(client, "$cbs", {"operation": "put-token", "type": "jwt", "name": "x"}, reply_to="t1")
        status, _ = await answered(client)
        assert status["status-code"] == 202

    converse(conversation)


def test_a_hub_and_a_partition_are_described(broker: Broker, converse: Callable[..., None]) -> None:
    fill(broker, 3)

    async def hub(client: Client) -> None:
        ask(client, "$management", {"operation": "READ", "type": "com.microsoft:eventhub", "name": "PINGS"})
        status, body = await answered(client)
        assert status["status-code"] == status["statusCode"] == 200
        assert body == {
            "name": "pings",
            "type": "com.microsoft:eventhub",
            "created_at": 1_700_000_000_000,
            "partition_count": 2,
            "partition_ids": ["0", "1"],
            "georeplication_factor": 1,
        }

    def partition(number: str, **wanted: object) -> Callable[[Client], Awaitable[None]]:
        async def conversation(client: Client) -> None:
            asked = {"operation": "READ", "type": "com.microsoft:partition", "name": "pings", "partition": number}
            ask(client, "$management", asked)
            _, body = await answered(client)
            assert isinstance(body, dict)
            assert {key: body[key] for key in wanted} == wanted

        return conversation

    converse(hub)
    converse(partition("0", is_partition_empty=False, begin_sequence_number=0, last_enqueued_sequence_number=2))
    converse(partition("1", is_partition_empty=True, last_enqueued_sequence_number=-1, last_enqueued_offset="-1"))


@pytest.mark.parametrize(
    ("node", "asked", "status"),
    [
        ("$cbs", {"operation": "steal"}, 501),
        ("$management", {"operation": "DELETE"}, 501),
        ("$management", {"operation": "READ", "type": "com.microsoft:eventhub", "name": "nope"}, 404),
        ("$management", {"operation": "READ", "type": "unknown", "name": "pings"}, 404),
        ("$management", {"operation": "READ", "type": "com.microsoft:partition", "name": "pings", "partition": 9}, 404),
        ("$management", {"operation": "READ"}, 404),
    ],
)
def test_a_request_that_cannot_be_met_is_answered_with_its_status(
    converse: Callable[..., None], node: str, asked: dict[str, object], status: int
) -> None:
    async def conversation(client: Client) -> None:
        ask(client, node, asked)
        told, body = await answered(client)
        assert told["status-code"] == status
        assert told["status-description"]
        assert body is None

    converse(conversation)


@pytest.mark.parametrize("reply_to", ["t1", "r1"])
def test_the_answer_goes_to_the_link_that_reply_to_names_by_target_or_by_name(
    converse: Callable[..., None], reply_to: str
) -> None:
    async def conversation(client: Client) -> None:
        client.attach_receiver(2, "$cbs")
        client.flow(10, 2)
        ask(client, "$cbs", {"operation": "put-token"}, reply_to=reply_to)
        frames = await client.hear()
        assert [fields[0] for fields in heard(frames, TRANSFER)] == [1]

    converse(conversation)


def test_a_request_without_anybody_to_answer_is_rejected(converse: Callable[..., None]) -> None:
    async def conversation(client: Client) -> None:
        client.attach_sender(0, "$cbs")
        client.send(section(0x73, ["id"]) + section(0x74, {"operation": "put-token"}))
        [settled] = heard(await client.hear(), DISPOSITION)
        assert settled[4].value[0].value[0] == "amqp:not-found"

    converse(conversation)


def test_answers_that_nobody_takes_are_limited(converse: Callable[..., None]) -> None:
    async def conversation(client: Client) -> None:
        client.attach_sender(0, "$cbs")
        client.attach_receiver(1, "$cbs")
        for delivery_id in range(MAX_WAITING_ANSWERS + 1):
            client.send(section(0x73, ["id"]) + section(0x74, {"operation": "put-token"}), delivery_id)
        *accepted, rejected = heard(await client.hear(), DISPOSITION)
        assert {one[4].descriptor for one in accepted} == {0x24}
        assert rejected[4].value[0].value[0] == "amqp:resource-limit-exceeded"

    converse(conversation)


def test_after_every_append_the_callbacks_are_called_with_the_partition(broker: Broker) -> None:
    seen: list[tuple[str, str, int]] = []
    broker.on_append.append(lambda one: seen.append((one.hub_name, one.id, one.log.next_sequence_number)))

    fill(broker, 3, partition="1")

    assert seen == [("pings", "1", 3)]

"""A client of the broker without a network: frames in, frames out, through the broker's own `Connection`."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infra.local.eventhubs.broker import Broker, HubDescription
from infra.local.eventhubs.codec import Described, Symbol, UByte, UInt, ULong, decode, encode
from infra.local.eventhubs.log import PartitionLog
from infra.local.eventhubs.messages import section, sections
from infra.local.eventhubs.performatives import AMQP_HEADER, Frame, FrameReader

OPEN, BEGIN, ATTACH, FLOW, TRANSFER, DISPOSITION, DETACH, END, CLOSE = range(0x10, 0x19)
ACCEPTED, REJECTED = 0x24, 0x25


class FakeTransport(asyncio.Transport):
    """Keeps what is written; `take` gives it away, as a socket does. Bytes above the limit pause the writer."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self.buffer = bytearray()
        self.closed = False
        self.reading = True
        self.stuck = False
        self._protocol = protocol
        self._high = 0

    def write(self, data: bytes) -> None:
        self.buffer += data
        if self.stuck and len(self.buffer) > self._high:
            self._protocol.pause_writing()

    def take(self) -> bytes:
        data = bytes(self.buffer)
        self.buffer.clear()
        return data

    def unblock(self) -> None:
        self.stuck = False
        self._protocol.resume_writing()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = high or 0

    def get_write_buffer_size(self) -> int:
        return len(self.buffer) if self.stuck else 0

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._protocol.connection_lost(None)

    abort = close


class Client:
    """What a test says and hears. Each frame heard is (channel, performative code, fields, payload)."""

    def __init__(self, broker: Broker) -> None:
        self.connection = broker._connect()
        self.transport = FakeTransport(self.connection)
        self.connection.connection_made(self.transport)
        self._reader = FrameReader()

    @property
    def closed(self) -> bool:
        return self.transport.closed

    def raw(self, data: bytes) -> None:
        self.connection.data_received(data)

    def say(self, channel: int, code: int, fields: list[Any], payload: bytes = b"") -> None:
        self.raw(frame(channel, code, fields, payload))

    async def hear(self) -> list[tuple[int, int, list[Any], bytes]]:
        """What the broker said since the last time, after it had its turns (a chunk is one turn of the loop)."""
        for _ in range(50):
            await asyncio.sleep(0)
        return list(self._frames(self.transport.take()))

    def _frames(self, data: bytes) -> Iterator[tuple[int, int, list[Any], bytes]]:
        for piece in self._reader.feed(data):
            if isinstance(piece, Frame) and piece.body:
                said, end = decode(piece.body)
                if said.descriptor == 0x44:  # the outcome of SASL: the real protocol begins anew
                    self._reader.expect_header()
                yield piece.channel, said.descriptor, said.value, piece.body[end:]

    async def open(self, **fields: Any) -> None:
        """Header, OPEN and BEGIN on channel 0."""
        self.raw(AMQP_HEADER)
        max_frame, idle_ms = fields.get("max_frame", 65536), fields.get("idle_ms")
        self.say(0, OPEN, ["test", None, UInt(max_frame), None, idle_ms and UInt(idle_ms)])
        self.begin(0, fields.get("window", 5000))
        await self.hear()

    def begin(self, channel: int, window: int = 5000) -> None:
        self.say(channel, BEGIN, [None, UInt(0), UInt(window), UInt(5000), UInt(255)])

    def attach_sender(self, handle: int, address: str, channel: int = 0) -> None:
        self.say(
            channel, ATTACH, [f"s{handle}", UInt(handle), False, UByte(0), UByte(0), source(None), target(address)]
        )

    def attach_receiver(
        self, handle: int, address: str, selector: str | None = None, *, channel: int = 0, **properties: Any
    ) -> None:
        link = {Symbol(f"com.microsoft:{key}"): value for key, value in properties.items()}
        fields = [f"r{handle}", UInt(handle), True, UByte(0), UByte(0), source(address, selector), target(f"t{handle}")]
        self.say(channel, ATTACH, [*fields, None, None, None, None, None, None, link or None])

    def flow(self, credit: int, handle: int = 0, *, channel: int = 0, **more: Any) -> None:
        window, seen = more.get("window", 5000), more.get("next_incoming_id", 1)
        fields = [UInt(seen), UInt(window), UInt(0), UInt(5000), UInt(handle), UInt(more.get("delivery_count", 0))]
        self.say(channel, FLOW, [*fields, UInt(credit), None, more.get("drain", False), more.get("echo", False)])

    def send(self, payload: bytes, delivery_id: int = 0, *, handle: int = 0, message_format: int = 0) -> None:
        self.say(0, TRANSFER, [UInt(handle), UInt(delivery_id), b"\0", UInt(message_format), False, False], payload)


def frame(channel: int, code: int, fields: list[Any], payload: bytes = b"", kind: int = 0) -> bytes:
    body = encode(Described(ULong(code), fields)) + payload
    return (len(body) + 8).to_bytes(4) + bytes((2, kind)) + channel.to_bytes(2) + body


def source(address: str | None, selector: str | None = None) -> Described:
    filters = selector and {Symbol("apache.org:selector-filter:string"): Described(ULong(0x468C00000004), selector)}
    return Described(ULong(0x28), [address, None, None, None, None, None, None, filters])


def target(address: str) -> Described:
    return Described(ULong(0x29), [address])


def data_message(body: bytes) -> bytes:
    return section(0x75, body)


def message_sections(message: bytes) -> dict[int, Any]:
    return {code: decode(message, value)[0] for code, _, value, _ in sections(message)}


def one_hub(directory: Path, partitions: int = 2) -> Broker:
    """A broker of the hub `pings` with the consumer group `footfall`; its logs lie in a directory."""
    logs = [PartitionLog(directory / str(number)) for number in range(partitions)]
    return Broker([HubDescription("pings", logs, ["footfall"], created_ms=1_700_000_000_000)])


def heard(frames: list[tuple[int, int, list[Any], bytes]], code: int) -> list[list[Any]]:
    return [fields for _, said, fields, _ in frames if said == code]

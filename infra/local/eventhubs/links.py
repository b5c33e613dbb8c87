"""Links: what a client sends on (`IncomingLink`) and what it receives on (`ConsumerLink`, `ResponseLink`).

Laws of this file:

* Credit counts deliveries, the session's window counts TRANSFER frames; both are obeyed. Counters are 32-bit serial
  numbers (RFC 1982), so they are compared by difference.
* Events are read from the log only when the client can take them now: it has given credit, the window is open and its
  socket takes bytes. At most one message that did not fit into the window waits in memory.
* A link that this side ended stays in its session, mute, until the client has answered.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Protocol

from infra.local.eventhubs.addresses import Node
from infra.local.eventhubs.errors import AmqpError, Condition, SessionError
from infra.local.eventhubs.hubs import Partition
from infra.local.eventhubs.messages import delivery, last_enqueued_annotations
from infra.local.eventhubs.performatives import (
    MAX_MESSAGE_BYTES,
    Flow,
    Transfer,
    accepted_frame,
    detach_frame,
    rejected_frame,
    transfer_frames,
)
from infra.local.eventhubs.receivers import Claim
from shared.errors import FootfallError

log = logging.getLogger(__name__)

PRODUCER_CREDIT = 1000
CHUNK_EVENTS = 500
CHUNK_BYTES = 128 * 1024
"""How much one turn of a consumer reads and writes; then the others have theirs."""
MAX_WAITING_ANSWERS = 100
_SERIAL_BITS = 32
SERIAL_MASK = (1 << _SERIAL_BITS) - 1


def serial_difference(later: int, earlier: int) -> int:
    """How far one serial number is behind another (negative: before it), across the wrap (RFC 1982)."""
    half = 1 << (_SERIAL_BITS - 1)
    return ((later - earlier + half) & SERIAL_MASK) - half


class Channel(Protocol):
    """The session of a link, as the link uses it."""

    number: int

    @property
    def max_frame_bytes(self) -> int:
        """The largest frame that the client takes."""

    @property
    def open(self) -> bool:
        """Whether the client can take a TRANSFER now: its window is open, and so is its socket."""

    @property
    def window(self) -> int:
        """How many TRANSFER frames the client can take."""

    def write(self, data: bytes) -> None:
        """Send a frame that no window counts."""

    def send_transfers(self, frames: Sequence[bytes]) -> int:
        """Send TRANSFER frames as far as the window goes; how many were sent."""

    def next_delivery_id(self) -> int:
        """The number of the next delivery."""

    def write_link_flow(self, handle: int, delivery_count: int, credit: int, *, drain: bool = False) -> None:
        """Tell the state of a link."""

    def schedule(self, link: "OutgoingLink") -> None:
        """Have `link.pump` called soon."""

    def hold(self, size: int) -> None:
        """Count bytes of unfinished deliveries (negative: of finished ones). Raises AmqpError above the limit."""


class Link:
    """What all links have in common; as it is, a link that was refused."""

    def __init__(self, channel: Channel, handle: int) -> None:
        self.channel = channel
        self.handle = handle
        self.ended = False

    def on_transfer(self, transfer: Transfer) -> None:
        """The client sent (a part of) a delivery."""
        if not self.ended:
            raise SessionError(Condition.NOT_ALLOWED, f"a TRANSFER came on link {self.handle}, on which you receive")

    def on_flow(self, flow: Flow) -> None:
        """The client told the state of the link."""

    def end(self, error: AmqpError) -> None:
        """Detach the link and tell the client why."""
        if not self.ended:
            self.close()
            self.channel.write(detach_frame(self.channel.number, self.handle, error=error))

    def close(self) -> None:
        """Let go of everything; nothing is sent."""
        self.ended = True


# ----------------------------------------------------------------------------------------------------- the client sends


class _Delivery:
    """A delivery that is coming in, frame by frame; its bytes are dropped as soon as it is too large."""

    __slots__ = ("_bytes", "delivery_id", "message_format", "settled", "size")

    def __init__(self, delivery_id: int, message_format: int) -> None:
        self.delivery_id = delivery_id
        self.message_format = message_format
        self.settled = False
        self.size = 0
        self._bytes: bytes | bytearray = b""

    def add(self, payload: bytes) -> None:
        first, self.size = not self.size, self.size + len(payload)
        if self.size > MAX_MESSAGE_BYTES:
            self._bytes = b""
        elif first:
            self._bytes = payload  # most messages come in one frame, and are not copied
        else:
            if isinstance(self._bytes, bytes):
                self._bytes = bytearray(self._bytes)
            self._bytes += payload

    @property
    def held(self) -> int:
        """Bytes in memory."""
        return len(self._bytes)

    def payload(self) -> bytes:
        """The whole of it. Raises AmqpError when it is too large."""
        if self.size > MAX_MESSAGE_BYTES:
            raise AmqpError(
                Condition.MESSAGE_SIZE_EXCEEDED,
                f"The received message (delivery-id:{self.delivery_id}, size:{self.size} bytes) exceeds the limit "
                f"({MAX_MESSAGE_BYTES} bytes) currently allowed on the link.",
            )
        return bytes(self._bytes)


class IncomingLink(Link):
    """A link on which the client sends: each whole delivery goes to the sink, which raises AmqpError to refuse it."""

    def __init__(
        self, channel: Channel, handle: int, initial_delivery_count: int, sink: Callable[[int, bytes], None]
    ) -> None:
        super().__init__(channel, handle)
        self._delivery_count = initial_delivery_count
        self._sink = sink
        self._credit = 0
        self._delivery: _Delivery | None = None
        self._held = 0

    def grant_credit(self) -> None:
        """Let the client send; called anew whenever half of the credit is used up."""
        self._credit = PRODUCER_CREDIT
        self.channel.write_link_flow(self.handle, self._delivery_count, self._credit)

    def on_flow(self, flow: Flow) -> None:
        if flow.echo and not self.ended:
            self.grant_credit()

    def on_transfer(self, transfer: Transfer) -> None:
        if self.ended:
            return
        incoming = self._delivery
        if incoming is None:
            if transfer.delivery_id is None:
                raise SessionError(Condition.INVALID_FIELD, "the first TRANSFER of a delivery has no delivery-id")
            incoming = self._delivery = _Delivery(transfer.delivery_id, transfer.message_format)
        incoming.settled |= transfer.settled
        incoming.add(transfer.payload)
        if transfer.more and not transfer.aborted:
            self._hold(incoming.held)
            return
        self._delivery = None
        self._hold(0)
        self._delivery_count = (self._delivery_count + 1) & SERIAL_MASK
        if not transfer.aborted:
            self._settle(incoming)
        self._credit -= 1
        if self._credit <= PRODUCER_CREDIT // 2 and not self.ended:
            self.grant_credit()

    def _hold(self, size: int) -> None:
        change, self._held = size - self._held, size
        if change:
            self.channel.hold(change)

    def _settle(self, incoming: _Delivery) -> None:
        channel = self.channel
        try:
            self._sink(incoming.message_format, incoming.payload())
        except AmqpError as error:
            log.info("a delivery on link %d was refused: %s", self.handle, error)
            if incoming.settled:  # the client does not wait for an outcome; losing it in silence would be worse
                self.end(error)
            else:
                channel.write(rejected_frame(channel.number, incoming.delivery_id, error))
        else:
            if not incoming.settled:
                channel.write(accepted_frame(channel.number, incoming.delivery_id))

    def close(self) -> None:
        super().close()
        self._delivery = None
        self._hold(0)


# -------------------------------------------------------------------------------------------------- the client receives


class Progress(Enum):
    """Why a link stopped sending."""

    DONE = auto()  # there is nothing to send, or no credit for it
    BLOCKED = auto()  # the session's window is closed, or the socket is full
    PAUSED = auto()  # its turn is over


class OutgoingLink(Link):
    """A link on which the client receives. Subclasses say what."""

    def __init__(self, channel: Channel, handle: int) -> None:
        super().__init__(channel, handle)
        self.credit = 0
        self._delivery_count = 0
        self._drain = False
        self._unsent: deque[bytes] = deque()

    def on_flow(self, flow: Flow) -> None:
        if self.ended:
            return
        if flow.link_credit is not None:
            outstanding = serial_difference(self._delivery_count, flow.delivery_count or 0)
            self.credit = max(0, flow.link_credit - max(0, outstanding))
        self._drain = flow.drain
        if flow.echo and not flow.drain:
            self._write_flow()
        self.wake()

    def wake(self) -> None:
        """There may be something to send."""
        self.channel.schedule(self)

    def pump(self) -> bool:
        """Send what the client can take now, at most one chunk; whether another turn is wanted."""
        if self.ended:
            return False
        progress = self._flush_unsent() or self._send_chunk()
        if self._drain and progress is Progress.DONE:
            # Using up the credit without sending is how a sender says that it has nothing more (part 2, section 2.6.7).
            self._delivery_count = (self._delivery_count + self.credit) & SERIAL_MASK
            self.credit = 0
            self._drain = False
            self._write_flow(drain=True)
        return progress is Progress.PAUSED

    def _send_chunk(self) -> Progress:
        raise NotImplementedError

    def _flush_unsent(self) -> Progress | None:
        """Send the rest of a message that had been cut by the window; None when the next one may begin."""
        if self._unsent and self.channel.open:
            sent = self.channel.send_transfers(list(self._unsent))
            for _ in range(sent):
                self._unsent.popleft()
        return Progress.BLOCKED if self._unsent else None

    def _begin(self, message: bytes) -> list[bytes]:
        """The frames of the next delivery; it takes a credit."""
        self.credit -= 1
        self._delivery_count = (self._delivery_count + 1) & SERIAL_MASK
        channel = self.channel
        return transfer_frames(
            channel.number, self.handle, channel.next_delivery_id(), message, channel.max_frame_bytes
        )

    def _send(self, frames: list[bytes]) -> None:
        self._unsent.extend(frames[self.channel.send_transfers(frames) :])

    def _write_flow(self, *, drain: bool = False) -> None:
        self.channel.write_link_flow(self.handle, self._delivery_count, self.credit, drain=drain)


class ConsumerLink(OutgoingLink):
    """A receiver of a partition: it reads the log from its position on, chunk by chunk."""

    def __init__(
        self,
        channel: Channel,
        handle: int,
        *,
        partition: Partition,
        group: str,
        claim: Claim,
        position: int,
        tracks_last_enqueued: bool,
        on_sent: Callable[[int, int], None],
    ) -> None:
        super().__init__(channel, handle)
        self.group = group
        self.claim = claim
        self._partition = partition
        self._position = position
        self._tracks_last_enqueued = tracks_last_enqueued
        self._on_sent = on_sent
        partition.receivers.append(self)

    def _send_chunk(self) -> Progress:
        events_log, channel = self._partition.log, self.channel
        if not self.credit or self._position >= events_log.next_sequence_number:
            return Progress.DONE
        if not channel.open:
            return Progress.BLOCKED
        window = channel.window
        try:
            events = self._partition.read(
                self._position, max_events=min(self.credit, window, CHUNK_EVENTS), max_bytes=CHUNK_BYTES
            )
        except (OSError, FootfallError) as error:
            log.exception("partition %s of %s cannot be read", self._partition.id, self._partition.hub_name)
            self.end(AmqpError(Condition.INTERNAL_ERROR, f"the partition cannot be read: {error}"))
            return Progress.DONE
        annotations = self._last_enqueued() if self._tracks_last_enqueued else b""
        frames: list[bytes] = []
        count = 0
        for event in events:
            frames += self._begin(delivery(event, annotations))
            count += 1
            if len(frames) >= window:
                break
        self._position = events[count - 1].sequence_number + 1
        self._send(frames)
        self._on_sent(count, sum(map(len, frames)))
        return Progress.PAUSED if self._position < events_log.next_sequence_number else Progress.DONE

    def _last_enqueued(self) -> bytes:
        newest = self._partition.log
        return last_enqueued_annotations(
            newest.next_sequence_number - 1, newest.last_offset, newest.last_enqueued_ms, time.time_ns() // 1_000_000
        )

    def close(self) -> None:
        if not self.ended:
            self._partition.receivers.remove(self)
        super().close()


class ResponseLink(OutgoingLink):
    """A receiver of answers from `$cbs` or `$management`."""

    def __init__(self, channel: Channel, handle: int, node: Node, names: Sequence[str]) -> None:
        super().__init__(channel, handle)
        self.node = node
        self.names = frozenset(names)
        self._answers: deque[bytes] = deque()

    def put(self, message: bytes) -> None:
        """Queue an answer. Raises AmqpError when the client asks on and on, but takes no answers."""
        if len(self._answers) >= MAX_WAITING_ANSWERS:
            raise AmqpError(
                Condition.RESOURCE_LIMIT_EXCEEDED, f"{MAX_WAITING_ANSWERS} answers wait already; give credit for them"
            )
        self._answers.append(message)
        self.wake()

    def _send_chunk(self) -> Progress:
        while self._answers and self.credit:
            if not self.channel.open or self._unsent:
                return Progress.BLOCKED
            self._send(self._begin(self._answers.popleft()))
        return Progress.DONE

"""A connection: protocol headers, SASL, OPEN, sessions, heartbeats, back-pressure.

Laws of this file:

* Whatever a client sends, at most its own connection ends, with a CLOSE that says why.
* Memory for a client is bounded: one incomplete frame, `MAX_HELD_BYTES` of unfinished deliveries, and in the direction
  to it the write buffer: above `WRITE_HIGH_BYTES` nothing more is read from the log for it, above `WRITE_STOP_BYTES`
  (answers to what it sends) nothing more is read from it.
* The client hears something within its idle time-out. A client that says nothing for `SILENCE` times ours is dead.
"""

import asyncio
import logging
from enum import Enum, auto

from infra.local.eventhubs.addresses import Node
from infra.local.eventhubs.counters import Counters
from infra.local.eventhubs.errors import AmqpError, Condition, SessionError
from infra.local.eventhubs.hubs import Namespace
from infra.local.eventhubs.links import OutgoingLink, ResponseLink
from infra.local.eventhubs.performatives import (
    AMQP_FRAME,
    AMQP_HEADER,
    EMPTY_FRAME,
    LEAST_MAX_FRAME_BYTES,
    MAX_FRAME_BYTES,
    SASL_FRAME,
    SASL_HEADER,
    Attach,
    Begin,
    Close,
    Detach,
    Disposition,
    End,
    Flow,
    Frame,
    FrameReader,
    Open,
    Performative,
    SaslInit,
    Transfer,
    close_frame,
    end_frame,
    open_frame,
    read_performative,
    sasl_mechanisms_frame,
    sasl_outcome_frame,
)
from infra.local.eventhubs.session import Session

log = logging.getLogger(__name__)

CONTAINER_ID = "footfall-eventhubs"
CHANNEL_MAX = 4999
"""As the service: Java opens a session for each link."""
IDLE_TIMEOUT_S = 120.0
SILENCE = 5
"""Ten minutes, after which the service as well ends what is idle. Java and Go send heartbeats at half of our time-out,
but an idle producer of pyamqp sends none: dropped too early, its next event would wait half a second."""
WRITE_HIGH_BYTES = 64 * 1024
WRITE_STOP_BYTES = 1024 * 1024
MAX_HELD_BYTES = 32 * 1024 * 1024
_LEAST_IDLE_TIMEOUT_MS = 1000
_LINGER_S = 2.0
"""How long a client may take to answer CLOSE."""


class _Stage(Enum):
    """What a connection waits for."""

    HEADER = auto()
    SASL = auto()
    OPEN = auto()
    OPENED = auto()
    CLOSED = auto()  # CLOSE was sent, or the client is gone; what still comes is thrown away


class Connection(asyncio.Protocol):
    """The broker's end of one TCP connection; the `Peer` of its sessions."""

    def __init__(
        self,
        namespace: Namespace,
        counters: Counters,
        registry: "set[Connection]",
        *,
        idle_timeout_s: float = IDLE_TIMEOUT_S,
    ) -> None:
        self.namespace = namespace
        self.counters = counters
        self.max_frame_bytes = MAX_FRAME_BYTES
        self.writable = True
        self._registry = registry
        self._idle_timeout_s = idle_timeout_s
        self._reader = FrameReader()
        self._stage = _Stage.HEADER
        self._sessions: dict[int, Session] = {}
        self._held_bytes = 0
        self._ready: dict[OutgoingLink, None] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    # What asyncio says (`asyncio.Protocol`).

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._loop.time()
        self._peer_name = transport.get_extra_info("peername")
        transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        self._registry.add(self)
        self.counters.connections += 1
        self._watch_client()

    def data_received(self, data: bytes) -> None:
        self._heard_at = self._loop.time()
        try:
            for piece in self._reader.feed(data):
                self._on_piece(piece)
        except AmqpError as error:
            self.close(error)
        except Exception as error:  # noqa: BLE001 - a fault of ours must cost this client its connection, no other
            self._fail(error)
        if self._transport.get_write_buffer_size() > WRITE_STOP_BYTES:
            self._transport.pause_reading()

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        self._transport.resume_reading()
        for session in self._sessions.values():
            session.wake()

    def eof_received(self) -> None:
        """The client sends nothing more: returning None closes the transport."""

    def connection_lost(self, exc: Exception | None) -> None:
        log.debug("connection %s ended (%s)", self._peer_name, exc or "closed")
        self._release()
        for timer in self._timers.values():
            timer.cancel()
        self._registry.discard(self)

    # What the sessions use (`session.Peer`).

    def write(self, data: bytes) -> None:
        if self._stage is not _Stage.CLOSED:
            self._transport.write(data)

    def schedule(self, link: OutgoingLink) -> None:
        if not self._ready:
            self._loop.call_soon(self._pump_ready)
        self._ready[link] = None

    def hold(self, size: int) -> None:
        self._held_bytes += size
        if self._held_bytes > MAX_HELD_BYTES:
            raise AmqpError(
                Condition.RESOURCE_LIMIT_EXCEEDED,
                f"unfinished deliveries of {self._held_bytes} bytes; valid are up to {MAX_HELD_BYTES} in a connection",
            )

    def response_link(self, node: Node, reply_to: str | None, session: Session) -> ResponseLink | None:
        """The link that answers go to, the asking session's first.

        `reply-to` is the receiving link's target address (.NET, Java) or its name (JavaScript); Python sends none.
        """
        candidates = [
            link
            for one in [session, *(other for other in self._sessions.values() if other is not session)]
            for link in one.links.values()
            if isinstance(link, ResponseLink) and link.node is node and not link.ended
        ]
        named = (link for link in candidates if reply_to in link.names)
        return next(named, candidates[0] if candidates else None)

    def _pump_ready(self) -> None:
        """Give each link that has something to send one turn; those that want another come after the other clients."""
        ready, self._ready = self._ready, {}
        try:
            for link in ready:
                if self._stage is _Stage.OPENED and link.pump():
                    self.schedule(link)
        except Exception as error:  # noqa: BLE001 - as in data_received
            self._fail(error)

    # What the client says.

    def _on_piece(self, piece: bytes | Frame) -> None:
        if self._stage is _Stage.CLOSED:
            self._on_late(piece)
        elif isinstance(piece, bytes):
            self._on_header(piece)
        elif not piece.body:
            return  # a heartbeat
        elif piece.kind != (SASL_FRAME if self._stage is _Stage.SASL else AMQP_FRAME):
            raise AmqpError(Condition.FRAMING_ERROR, f"a frame of type {piece.kind} came while {self._stage.name}")
        else:
            self._on_performative(piece.channel, read_performative(piece.body))

    def _on_header(self, header: bytes) -> None:
        if header == SASL_HEADER and self._stage is _Stage.HEADER:
            self._stage = _Stage.SASL
            self.write(SASL_HEADER + sasl_mechanisms_frame())
        elif header == AMQP_HEADER:
            self._stage = _Stage.OPEN
            self.write(AMQP_HEADER)
        else:
            log.warning("connection %s: %r is no header of AMQP 1.0 without TLS", self._peer_name, header)
            self.write(AMQP_HEADER)  # a foreign protocol is answered with the one that is spoken here, then it ends
            self.close()

    def _on_late(self, piece: bytes | Frame) -> None:
        """CLOSE was sent: only the client's CLOSE matters now."""
        if isinstance(piece, Frame) and piece.body and isinstance(read_performative(piece.body), Close):
            self._transport.close()

    def _on_performative(self, channel: int, said: Performative) -> None:
        match self._stage, said:
            case _Stage.SASL, SaslInit():
                self.write(sasl_outcome_frame())
                self._reader.expect_header()
            case _Stage.OPEN, Open():
                self._on_open(said)
            case _Stage.OPENED, Close():
                log.debug("connection %s: closed by the client %s", self._peer_name, said.error)
                self.close()
                self._transport.close()
            case _Stage.OPENED, Begin():
                self._on_begin(channel, said)
            case _Stage.OPENED, End():
                self._on_end(channel)
            case _Stage.OPENED, Attach() | Flow() | Transfer() | Disposition() | Detach():
                self._in_session(channel, said)
            case _:
                raise AmqpError(Condition.NOT_ALLOWED, f"{type(said).__name__.upper()} came while {self._stage.name}")

    def _on_open(self, said: Open) -> None:
        if said.max_frame_bytes < LEAST_MAX_FRAME_BYTES:
            raise AmqpError(
                Condition.INVALID_FIELD,
                f"max-frame-size is {said.max_frame_bytes}; valid are {LEAST_MAX_FRAME_BYTES} and more",
            )
        if said.idle_timeout_ms and said.idle_timeout_ms < _LEAST_IDLE_TIMEOUT_MS:
            raise AmqpError(
                Condition.NOT_ALLOWED,
                f"idle-time-out is {said.idle_timeout_ms} ms; valid are {_LEAST_IDLE_TIMEOUT_MS} ms and more",
            )
        self._stage = _Stage.OPENED
        self.max_frame_bytes = said.max_frame_bytes
        self.write(open_frame(CONTAINER_ID, CHANNEL_MAX, int(self._idle_timeout_s * 1000)))
        if said.idle_timeout_ms:
            self._heartbeat(said.idle_timeout_ms / 2000)

    def _on_begin(self, channel: int, said: Begin) -> None:
        if channel in self._sessions or channel > CHANNEL_MAX:
            raise AmqpError(
                Condition.NOT_ALLOWED, f"BEGIN on channel {channel}; valid are unused ones from 0 to {CHANNEL_MAX}"
            )
        self._sessions[channel] = Session(self, channel, said)

    def _on_end(self, channel: int) -> None:
        session = self._sessions.pop(channel, None)
        if session is not None:
            session.close()
            self.write(end_frame(channel))

    def _in_session(self, channel: int, said: Attach | Flow | Transfer | Disposition | Detach) -> None:
        """Frames for a session that has ended are thrown away: pyamqp sends DETACH after END."""
        session = self._sessions.get(channel)
        if session is None:
            return
        try:
            match said:
                case Transfer():
                    session.on_transfer(said)
                case Flow():
                    session.on_flow(said)
                case Attach():
                    session.on_attach(said)
                case Detach():
                    session.on_detach(said)
                case Disposition():
                    pass
        except SessionError as error:
            log.warning("connection %s: session %d ended: %s", self._peer_name, channel, error)
            del self._sessions[channel]
            session.close()
            self.write(end_frame(channel, error))

    # Ending.

    def close(self, error: AmqpError | None = None) -> None:
        """Send CLOSE (once), and wait a moment for the client's."""
        if self._stage is _Stage.CLOSED:
            return
        if error is not None:
            log.warning("connection %s: closing: %s", self._peer_name, error)
        if self._stage is _Stage.OPEN:  # CLOSE is understood only after OPEN
            self.write(open_frame(CONTAINER_ID, CHANNEL_MAX, int(self._idle_timeout_s * 1000)))
            self._stage = _Stage.OPENED
        if self._stage is _Stage.OPENED:
            self.write(close_frame(error))
            self._timers["linger"] = self._loop.call_later(_LINGER_S, self._transport.abort)
        else:
            self._transport.close()
        self._release()

    def abort(self) -> None:
        """Drop the connection without a word."""
        self._transport.abort()

    def _fail(self, error: Exception) -> None:
        log.error("connection %s: internal error", self._peer_name, exc_info=error)
        self.close(AmqpError(Condition.INTERNAL_ERROR, f"internal error of the broker: {error}"))

    def _release(self) -> None:
        """Let go of everything but the transport."""
        self._stage = _Stage.CLOSED
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()
        self._ready.clear()

    # Heartbeats.

    def _heartbeat(self, interval_s: float) -> None:
        """Send an empty frame at half the client's idle time-out; behind unsent bytes it would only pile up."""
        if self.writable:
            self.write(EMPTY_FRAME)
        self._timers["heartbeat"] = self._loop.call_later(interval_s, self._heartbeat, interval_s)

    def _watch_client(self) -> None:
        """Drop a client that was silent for too long."""
        limit_s = SILENCE * self._idle_timeout_s
        silent_s = self._loop.time() - self._heard_at
        if silent_s >= limit_s:
            log.warning("connection %s: silent for %.1f s, dropped", self._peer_name, silent_s)
            self._transport.abort()
            return
        self._timers["watch"] = self._loop.call_later(limit_s - silent_s, self._watch_client)

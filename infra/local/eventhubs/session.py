"""A session: links by handle, and the windows that count TRANSFER frames in both directions."""

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from infra.local.eventhubs.addresses import HubAddress, Node, parse_address
from infra.local.eventhubs.counters import Counters
from infra.local.eventhubs.errors import AmqpError, Condition, SessionError
from infra.local.eventhubs.hubs import Hub, Namespace, Partition
from infra.local.eventhubs.links import (
    SERIAL_MASK,
    ConsumerLink,
    IncomingLink,
    Link,
    OutgoingLink,
    ResponseLink,
    serial_difference,
)
from infra.local.eventhubs.management import respond
from infra.local.eventhubs.messages import read_publication, read_request
from infra.local.eventhubs.performatives import (
    Attach,
    Begin,
    Detach,
    Flow,
    Transfer,
    attach_frame,
    begin_frame,
    detach_frame,
    link_flow_frame,
    session_flow_frame,
)
from infra.local.eventhubs.receivers import Claim, admit, displaced
from infra.local.eventhubs.selector import first_sequence_number, parse_selector

log = logging.getLogger(__name__)

WINDOW = 5000
"""Incoming and outgoing window, as the service has them."""
HANDLE_MAX = 255
_INITIAL_OUTGOING_ID = 1
_EPOCH, _RECEIVER_NAME = "com.microsoft:epoch", "com.microsoft:receiver-name"
_RUNTIME_METRIC = "com.microsoft:enable-receiver-runtime-metric"


class Peer(Protocol):
    """The connection of a session, as the session uses it."""

    namespace: Namespace
    counters: Counters
    max_frame_bytes: int

    @property
    def writable(self) -> bool:
        """Whether the socket takes bytes, or they would pile up here."""

    def write(self, data: bytes) -> None:
        """Send frames."""

    def schedule(self, link: OutgoingLink) -> None:
        """Have `link.pump` called soon."""

    def hold(self, size: int) -> None:
        """Count bytes of unfinished deliveries. Raises AmqpError above the limit."""

    def response_link(self, node: Node, reply_to: str | None, session: "Session") -> ResponseLink | None:
        """The link of the client that answers go to."""


class Session:
    """One session of a connection; it is the `Channel` of its links."""

    def __init__(self, peer: Peer, channel: int, begin: Begin) -> None:
        self.number = channel
        self.links: dict[int, Link] = {}
        self._peer = peer
        self._next_incoming_id = begin.next_outgoing_id
        self._incoming_window = WINDOW
        self._next_outgoing_id = _INITIAL_OUTGOING_ID
        self._remote_window = begin.incoming_window
        self._delivery_id = 0
        self.write(begin_frame(channel, self._next_outgoing_id, WINDOW, HANDLE_MAX))

    # What the links use (`links.Channel`).

    @property
    def max_frame_bytes(self) -> int:
        return self._peer.max_frame_bytes

    @property
    def window(self) -> int:
        return self._remote_window

    @property
    def open(self) -> bool:
        return self._remote_window > 0 and self._peer.writable

    def write(self, data: bytes) -> None:
        self._peer.write(data)

    def send_transfers(self, frames: Sequence[bytes]) -> int:
        sent = min(len(frames), self._remote_window)
        if sent:
            self._remote_window -= sent
            self._next_outgoing_id = (self._next_outgoing_id + sent) & SERIAL_MASK
            self._peer.write(b"".join(frames[:sent]))
        return sent

    def next_delivery_id(self) -> int:
        self._delivery_id = (self._delivery_id + 1) & SERIAL_MASK
        return self._delivery_id

    def write_link_flow(self, handle: int, delivery_count: int, credit: int, *, drain: bool = False) -> None:
        self._incoming_window = WINDOW
        self.write(
            link_flow_frame(
                self.number,
                self._next_incoming_id,
                self._next_outgoing_id,
                WINDOW,
                handle=handle,
                delivery_count=delivery_count,
                credit=credit,
                drain=drain,
            )
        )

    def schedule(self, link: OutgoingLink) -> None:
        self._peer.schedule(link)

    def hold(self, size: int) -> None:
        self._peer.hold(size)

    # What the client says.

    def on_attach(self, attach: Attach) -> None:
        """Open a link, or refuse it. Raises SessionError for a handle that is in use."""
        if attach.handle in self.links:
            raise SessionError(Condition.HANDLE_IN_USE, f"the handle {attach.handle} is in use")
        if attach.handle > HANDLE_MAX:
            raise AmqpError(Condition.FRAMING_ERROR, f"the handle is {attach.handle}; valid are 0 to {HANDLE_MAX}")
        try:
            link = self._open_link(attach)
        except AmqpError as error:
            log.info("link %s refused: %s", attach.name, error)
            refused = Link(self, attach.handle)
            self.links[attach.handle] = refused
            # pyamqp's aio consumer swallows every error until its link is attached and tries again in silence for ever,
            # so a consumer is attached like any other, and detached with the error.
            self._answer_attach(attach, accepted=attach.is_receiver)
            refused.end(error)
            return
        self.links[attach.handle] = link
        self._answer_attach(attach, accepted=True)
        if isinstance(link, IncomingLink):
            link.grant_credit()

    def _answer_attach(self, attach: Attach, *, accepted: bool) -> None:
        answer = attach_frame(self.number, attach, accepted=accepted)
        if len(answer) > self.max_frame_bytes:
            raise AmqpError(
                Condition.RESOURCE_LIMIT_EXCEEDED,
                f"the answer to ATTACH echoes {len(answer)} bytes; your frames have up to {self.max_frame_bytes}",
            )
        self.write(answer)

    def on_flow(self, flow: Flow) -> None:
        """Take over the client's window; any FLOW may have opened it for every link."""
        seen = _INITIAL_OUTGOING_ID if flow.next_incoming_id is None else flow.next_incoming_id
        outstanding = serial_difference(self._next_outgoing_id, seen)
        self._remote_window = max(0, flow.incoming_window - outstanding)
        link = self.links.get(flow.handle) if flow.handle is not None else None
        if link is not None:
            link.on_flow(flow)
        elif flow.echo:
            self._write_session_flow()
        self.wake()

    def on_transfer(self, transfer: Transfer) -> None:
        """Pass a delivery on. Raises SessionError for a handle that no link has.

        The window is not enforced: pyamqp counts messages where the standard counts frames, so it may send more frames
        than it was allowed. What holds a fast client back is its credit and the socket.
        """
        self._next_incoming_id = (self._next_incoming_id + 1) & SERIAL_MASK
        self._incoming_window -= 1
        if self._incoming_window < WINDOW // 2:
            self._write_session_flow()
        link = self.links.get(transfer.handle)
        if link is None:
            raise SessionError(Condition.UNATTACHED_HANDLE, f"no link has the handle {transfer.handle}")
        link.on_transfer(transfer)

    def on_detach(self, detach: Detach) -> None:
        """Close a link; the answer to our own DETACH is not answered."""
        link = self.links.pop(detach.handle, None)
        if link is not None and not link.ended:
            link.close()
            self.write(detach_frame(self.number, detach.handle, closed=detach.closed))

    def wake(self) -> None:
        """The window or the socket is open again."""
        for link in self.links.values():
            if isinstance(link, OutgoingLink):
                self._peer.schedule(link)

    def close(self) -> None:
        """Let go of all links; nothing is sent."""
        for link in self.links.values():
            link.close()
        self.links.clear()

    def _write_session_flow(self) -> None:
        self._incoming_window = WINDOW
        self.write(session_flow_frame(self.number, self._next_incoming_id, self._next_outgoing_id, WINDOW))

    # Opening links.

    def _open_link(self, attach: Attach) -> Link:
        terminus = attach.source if attach.is_receiver else attach.target
        address = parse_address(terminus.address if terminus else None)
        if attach.is_receiver:
            if isinstance(address, Node):
                target = attach.target.address if attach.target else None
                return ResponseLink(self, attach.handle, address, [attach.name, target or attach.name])
            return self._open_consumer(attach, address)
        sink = self._answering(address) if isinstance(address, Node) else self._storing(address)
        return IncomingLink(self, attach.handle, attach.initial_delivery_count, sink)

    def _answering(self, node: Node) -> Callable[[int, bytes], None]:
        def answer_request(message_format: int, payload: bytes) -> None:
            request = read_request(payload)
            link = self._peer.response_link(node, request.reply_to, self)
            if link is None:
                raise AmqpError(Condition.NOT_FOUND, f"no link of this connection receives answers from {node}")
            link.put(respond(node, request, self._peer.namespace))

        return answer_request

    def _storing(self, address: HubAddress) -> Callable[[int, bytes], None]:
        hub = self._peer.namespace.hub(address.hub)
        if address.consumer_group is not None:
            raise AmqpError(Condition.NOT_ALLOWED, "events are sent to a hub or a partition, not to a consumer group")
        fixed = None if address.partition_id is None else hub.partition(address.partition_id)

        def store(message_format: int, payload: bytes) -> None:
            publication = read_publication(message_format, payload)
            key = publication.partition_key
            partition = fixed or hub.choose(key)
            _append(partition, [(message, key) for message in publication.messages])
            self._peer.counters.received(len(publication.messages), len(payload))

        return store

    def _open_consumer(self, attach: Attach, address: HubAddress) -> ConsumerLink:
        hub = self._peer.namespace.hub(address.hub)
        group, partition = _group(hub, address), hub.partition(address.partition_id)
        selector = attach.source.selector if attach.source else None
        position = first_sequence_number(parse_selector(selector), partition.log)
        claim = _claim(attach.properties)
        rivals = [receiver for receiver in partition.receivers if receiver.group == group]
        if admit(claim, [rival.claim for rival in rivals]):
            for rival in rivals:
                rival.end(displaced(claim, rival.claim))
        return ConsumerLink(
            self,
            attach.handle,
            partition=partition,
            group=group,
            claim=claim,
            position=position,
            tracks_last_enqueued=_RUNTIME_METRIC in attach.desired_capabilities,
            on_sent=self._peer.counters.sent,
        )


def _append(partition: Partition, messages: Sequence[tuple[bytes, str | None]]) -> None:
    """Raises AmqpError (server-busy, which the SDKs try again) when the disk refuses."""
    try:
        partition.append(messages)
    except OSError as error:
        log.exception("partition %s of %s cannot be written", partition.id, partition.hub_name)
        raise AmqpError(Condition.SERVER_BUSY, f"The event could not be written: {error}") from error


def _group(hub: Hub, address: HubAddress) -> str:
    if address.consumer_group is None:
        raise AmqpError(
            Condition.NOT_FOUND,
            f"A receiver of '{hub.name}' needs a consumer group and a partition: "
            f"{hub.name}/ConsumerGroups/GROUP/Partitions/N.",
        )
    group = address.consumer_group.casefold()
    if group not in hub.consumer_groups:
        raise AmqpError(
            Condition.NOT_FOUND,
            f"The messaging entity 'sb://localhost/{hub.name}/consumergroups/{address.consumer_group}' could not be "
            f"found. Valid groups are: {', '.join(sorted(hub.consumer_groups))}.",
        )
    return group


def _claim(properties: dict[Any, Any]) -> Claim:
    epoch, name = properties.get(_EPOCH), properties.get(_RECEIVER_NAME, "nil")
    if epoch is not None and not isinstance(epoch, int):
        raise AmqpError(Condition.INVALID_FIELD, f"{_EPOCH} is {epoch!r}; it must be a number")
    return Claim(epoch, str(name))

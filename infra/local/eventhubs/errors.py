"""What goes wrong on the wire: an AMQP condition with a description, as it travels in REJECTED, DETACH, END and CLOSE.

Conditions are those of OASIS AMQP 1.0 part 2 section 2.8 and of the Event Hubs service; the SDKs decide by them whether
to try again.
"""

from enum import StrEnum


class Condition(StrEnum):
    """The error conditions that this broker uses."""

    CONNECTION_FORCED = "amqp:connection:forced"
    FRAMING_ERROR = "amqp:connection:framing-error"
    HANDLE_IN_USE = "amqp:session:handle-in-use"
    UNATTACHED_HANDLE = "amqp:session:unattached-handle"
    LINK_STOLEN = "amqp:link:stolen"
    MESSAGE_SIZE_EXCEEDED = "amqp:link:message-size-exceeded"
    DECODE_ERROR = "amqp:decode-error"
    INTERNAL_ERROR = "amqp:internal-error"
    INVALID_FIELD = "amqp:invalid-field"
    NOT_ALLOWED = "amqp:not-allowed"
    NOT_FOUND = "amqp:not-found"
    NOT_IMPLEMENTED = "amqp:not-implemented"
    RESOURCE_LIMIT_EXCEEDED = "amqp:resource-limit-exceeded"
    ARGUMENT_ERROR = "com.microsoft:argument-error"
    ARGUMENT_OUT_OF_RANGE = "com.microsoft:argument-out-of-range"
    SERVER_BUSY = "com.microsoft:server-busy"


MAX_DESCRIPTION_BYTES = 400
"""Of a description: it may quote what a client sent, and must fit into the smallest frame that a peer may ask for."""


class AmqpError(Exception):
    """An error to tell the peer; who catches it decides whether a delivery, a link or the connection ends with it."""

    def __init__(self, condition: Condition, description: str) -> None:
        encoded = description.encode()
        if len(encoded) > MAX_DESCRIPTION_BYTES:
            description = encoded[: MAX_DESCRIPTION_BYTES - 3].decode(errors="ignore") + "…"
        super().__init__(description)
        self.condition = condition
        self.description = description


class SessionError(AmqpError):
    """An error that ends the session in which it happened; the connection goes on."""


class DecodeError(AmqpError):
    """Bytes that are not well-formed AMQP 1.0, or that exceed a limit of the decoder."""

    def __init__(self, description: str) -> None:
        super().__init__(Condition.DECODE_ERROR, description)

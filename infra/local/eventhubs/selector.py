"""Where a consumer starts: the selector in the filter of its source, as the Event Hubs SDKs write it."""

import re
from dataclasses import dataclass

from infra.local.eventhubs.errors import AmqpError, Condition
from infra.local.eventhubs.log import PartitionLog

_SELECTOR = re.compile(
    r"\s*amqp\.annotation\.x-opt-(offset|sequence-number|enqueued-time)\s*(>=|>)\s*'?(@latest|-?\d{1,19})'?\s*"
)
_BEGINNING = -1


@dataclass(frozen=True, slots=True)
class StartPosition:
    """The first event to deliver: after `value` in the named annotation, or at it when inclusive; None is the end."""

    annotation: str
    value: int | None
    inclusive: bool


def parse_selector(text: str | None) -> StartPosition:
    """The position in a selector; no selector means from the beginning. Raises AmqpError (invalid-field)."""
    if text is None:
        return StartPosition("offset", _BEGINNING, inclusive=False)
    match = _SELECTOR.fullmatch(text)
    if match is None:
        # The first sentence is the service's (azure-sdk-for-net#49318).
        raise AmqpError(
            Condition.INVALID_FIELD,
            f"The filter '{text}' is not a valid amqp filter for EventHub entities. Valid are offset, sequence-number "
            "and enqueued-time (each amqp.annotation.x-opt-…) with > or >= and a number, -1 or @latest.",
        )
    annotation, operator, value = match.groups()
    return StartPosition(annotation, None if value == "@latest" else int(value), operator == ">=")


def first_sequence_number(start: StartPosition, log: PartitionLog) -> int:
    """The sequence number to read from.

    Raises AmqpError (argument-error, with the service's words: azure-event-hubs-python#13, azure-event-hubs-spark#315)
    for a position beyond the newest event: such a checkpoint belongs to another hub of the same name, and waiting for
    it in silence would lose events.
    """
    value = start.value
    if value is None:
        return log.next_sequence_number
    if value <= _BEGINNING:
        return log.first_sequence_number
    wanted = value if start.inclusive else value + 1
    match start.annotation:
        case "sequence-number":
            if wanted > log.next_sequence_number:
                raise _beyond("sequence number", value, log.next_sequence_number - 1)
            return max(wanted, log.first_sequence_number)
        case "offset":
            if wanted > log.next_offset:
                raise _beyond("offset", value, log.last_offset)
            return log.position_after_offset(value, inclusive=start.inclusive)
        case _:
            return log.position_after_time(value, inclusive=start.inclusive)


def _beyond(name: str, value: int, last: int) -> AmqpError:
    return AmqpError(
        Condition.ARGUMENT_ERROR,
        f"The supplied {name} '{value}' is invalid. The last {name} in the system is '{last}'",
    )

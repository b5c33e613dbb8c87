"""The addresses of links, as each SDK writes them.

`amqps://localhost/hub/ConsumerGroups/group/Partitions/0` (Python), `/hub/…` (.NET), `hub/…` (Java, JavaScript, Go);
segments may be percent-encoded, and their fixed words are compared without case.
"""

from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import unquote

from infra.local.eventhubs.errors import AmqpError, Condition


class Node(StrEnum):
    """The two addresses that answer requests."""

    CBS = "$cbs"
    MANAGEMENT = "$management"


@dataclass(frozen=True, slots=True)
class HubAddress:
    """A hub; for a consumer with its group and partition, for a producer perhaps with a partition."""

    hub: str
    consumer_group: str | None = None
    partition_id: str | None = None


def parse_address(text: str | None) -> Node | HubAddress:
    """What an address names. Raises AmqpError (not-found) when it names nothing that can be here."""
    path = text or ""
    if "://" in path:
        path = path.partition("://")[2].partition("/")[2]
    segments = [unquote(segment) for segment in path.strip("/").split("/")]
    if segments[-1].casefold() in (Node.CBS, Node.MANAGEMENT) and len(segments) <= 2:
        return Node(segments[-1].casefold())
    match [segment.casefold() for segment in segments]:
        case [hub] if hub:
            return HubAddress(segments[0])
        case [hub, "partitions", _] if hub:
            return HubAddress(segments[0], partition_id=segments[2])
        case [hub, "consumergroups", _, "partitions", _] if hub:
            return HubAddress(segments[0], consumer_group=segments[2], partition_id=segments[4])
        case _:
            raise AmqpError(
                Condition.NOT_FOUND,
                f"The messaging entity '{text}' could not be found. Valid are HUB, HUB/Partitions/N, "
                "HUB/ConsumerGroups/GROUP/Partitions/N, $cbs and $management.",
            )

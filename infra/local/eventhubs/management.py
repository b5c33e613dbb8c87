"""What the nodes `$cbs` and `$management` answer: tokens are accepted unseen, READ tells about hubs and partitions.

Keys and types of the answers are those that the SDKs decode (Python, Java, JavaScript, Go): `status-code` is an int,
`partition_ids` an AMQP array, `georeplication_factor` is required by Go.
"""

from collections.abc import Mapping
from typing import Any

from infra.local.eventhubs.addresses import Node
from infra.local.eventhubs.codec import Array, Int, Symbol, Timestamp
from infra.local.eventhubs.errors import AmqpError, Condition
from infra.local.eventhubs.hubs import Hub, Namespace, Partition
from infra.local.eventhubs.messages import Request, answer

_EVENTHUB, _PARTITION = "com.microsoft:eventhub", "com.microsoft:partition"
_NEVER_MS = -62_135_596_800_000
"""0001-01-01T00:00:00Z, which the service gives as enqueued time where there is no event."""
_STATUS = {Condition.NOT_FOUND: 404, Condition.ARGUMENT_OUT_OF_RANGE: 404, Condition.NOT_IMPLEMENTED: 501}


def respond(node: Node, request: Request, namespace: Namespace) -> bytes:
    """The encoded answer to a request; a request that cannot be met is answered with its status."""
    asked = request.application_properties
    try:
        if node is Node.CBS:
            _put_token(asked)
            return answer(request, _status(202, "Accepted"), None)
        return answer(request, _status(200, "OK"), _read(asked, namespace))
    except AmqpError as error:
        properties = _status(_STATUS.get(error.condition, 400), error.description)
        return answer(request, properties | {"error-condition": Symbol(error.condition)}, None)


def _status(code: int, description: str) -> dict[str, Any]:
    """The SDKs look for one spelling or the other."""
    return {
        "status-code": Int(code),
        "status-description": description,
        "statusCode": Int(code),
        "statusDescription": description,
    }


def _put_token(asked: Mapping[Any, Any]) -> None:
    """A broker on a laptop has no secrets: any token is good."""
    operation = asked.get("operation")
    if operation != "put-token":
        raise AmqpError(Condition.NOT_IMPLEMENTED, f"The operation is {operation!r}; valid at $cbs is put-token.")


def _read(asked: Mapping[Any, Any], namespace: Namespace) -> dict[str, Any]:
    operation, kind, name = asked.get("operation"), asked.get("type"), asked.get("name")
    if operation != "READ":
        raise AmqpError(Condition.NOT_IMPLEMENTED, f"The operation is {operation!r}; valid at $management is READ.")
    hub = namespace.hub(str(name))
    if kind == _EVENTHUB:
        return _describe_hub(hub)
    if kind == _PARTITION:
        return _describe_partition(hub, hub.partition(asked.get("partition")))
    raise AmqpError(Condition.NOT_FOUND, f"The type is {kind!r}; valid are {_EVENTHUB} and {_PARTITION}.")


def _describe_hub(hub: Hub) -> dict[str, Any]:
    return {
        "name": hub.name,
        "type": _EVENTHUB,
        "created_at": Timestamp(hub.created_ms),
        "partition_count": Int(len(hub.partitions)),
        "partition_ids": Array([partition.id for partition in hub.partitions]),
        "georeplication_factor": Int(1),
    }


def _describe_partition(hub: Hub, partition: Partition) -> dict[str, Any]:
    log = partition.log
    empty = log.next_sequence_number == log.first_sequence_number
    return {
        "name": hub.name,
        "type": _PARTITION,
        "partition": partition.id,
        "begin_sequence_number": log.first_sequence_number,
        "last_enqueued_sequence_number": log.next_sequence_number - 1,
        "last_enqueued_offset": str(log.last_offset),
        "last_enqueued_time_utc": Timestamp(_NEVER_MS if empty else log.last_enqueued_ms),
        "is_partition_empty": empty,
    }

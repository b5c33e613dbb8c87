"""Who may read a partition in a consumer group: the rules of epochs (owner levels) and the limit without them.

The texts are the service's: azure-sdk-for-java#12483 and #26583, azure-event-hubs-go#181.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from infra.local.eventhubs.errors import AmqpError, Condition

MAX_RECEIVERS_WITHOUT_EPOCH = 5


@dataclass(frozen=True, slots=True)
class Claim:
    """What a receiver claims: an epoch (or none) and its own name."""

    epoch: int | None
    receiver_name: str


def admit(newcomer: Claim, present: Sequence[Claim]) -> bool:
    """Whether those present must go so that the newcomer can read; all are of one partition and consumer group.

    An epoch ends every receiver with the same epoch, a lower one or none. Raises AmqpError to refuse the newcomer.
    """
    holder = max((one for one in present if one.epoch is not None), key=lambda one: one.epoch or 0, default=None)
    if newcomer.epoch is None:
        _admit_without_epoch(holder, len(present))
        return False
    if holder is not None and holder.epoch is not None and holder.epoch > newcomer.epoch:
        raise AmqpError(
            Condition.LINK_STOLEN,
            f"Receiver '{holder.receiver_name}' with a higher epoch '{holder.epoch}' already exists. Receiver "
            f"'{newcomer.receiver_name}' with epoch {newcomer.epoch} cannot be created. Make sure you are creating "
            "receiver with increasing epoch value to ensure connectivity, or ensure all old epoch receivers are closed "
            "or disconnected.",
        )
    return True


def _admit_without_epoch(holder: Claim | None, present: int) -> None:
    if holder is not None:
        raise AmqpError(
            Condition.LINK_STOLEN,
            f"At least one receiver for the endpoint is created with epoch of '{holder.epoch}', and so non-epoch "
            "receiver is not allowed. Either reconnect with a higher epoch, or make sure all epoch receivers are "
            "closed or disconnected.",
        )
    if present >= MAX_RECEIVERS_WITHOUT_EPOCH:
        raise AmqpError(
            Condition.RESOURCE_LIMIT_EXCEEDED,
            "Exceeded the maximum number of allowed receivers per partition in a consumer group which is "
            f"{MAX_RECEIVERS_WITHOUT_EPOCH}.",
        )


def displaced(newcomer: Claim, old: Claim) -> AmqpError:
    """What a receiver is told that has to go."""
    return AmqpError(
        Condition.LINK_STOLEN,
        f"New receiver '{newcomer.receiver_name}' with higher epoch of '{newcomer.epoch}' is created hence current "
        f"receiver '{old.receiver_name}' with epoch '{old.epoch or 0}' is getting disconnected. If you are recreating "
        "the receiver, make sure a higher epoch is used.",
    )

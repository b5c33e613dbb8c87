"""From the events that the binding gives to the batch that the workflow takes."""

from collections.abc import Sequence
from datetime import datetime

import azure.functions as func
import numpy as np

from functions.fast_decode import partition_context
from shared.workflows.partition_state import HubPartition
from shared.workflows.sightings import HubBatch

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the host sends times without a zone


def hub_batch(events: Sequence[func.EventHubEvent]) -> HubBatch:
    """The batch in columns; enqueued times, which the host sends without a zone, are UTC and cut to whole seconds."""
    context = partition_context(events[0])
    partition = HubPartition.named(
        context["ConsumerGroup"],
        context["FullyQualifiedNamespace"],
        context["EventHubName"],
        str(context["PartitionId"]),
    )
    # numpy would convert times as well, at ten times the cost.
    since = [(event.enqueued_time or _EPOCH).replace(tzinfo=None) - _EPOCH for event in events]
    return HubBatch(
        partition,
        [event.get_body() for event in events],
        np.array([event.sequence_number for event in events], dtype=np.int64),
        np.array([gone.days * 86_400 + gone.seconds for gone in since], dtype=np.int64) * 1_000_000,
        [event.partition_key for event in events],
    )

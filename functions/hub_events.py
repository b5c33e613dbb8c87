"""From the events that the binding gives to the batch that the workflow takes."""

from collections.abc import Sequence

import azure.functions as func
import numpy as np

from shared.workflows.partition_state import HubPartition
from shared.workflows.sightings import HubBatch

_EPOCH = np.datetime64("1970-01-01T00:00:00", "us")


def hub_batch(events: Sequence[func.EventHubEvent]) -> HubBatch:
    """The batch in columns; enqueued times, which the host sends without a zone, are UTC and cut to whole seconds."""
    context = (events[0].metadata or {})["PartitionContext"]
    partition = HubPartition.named(
        context["ConsumerGroup"],
        context["FullyQualifiedNamespace"],
        context["EventHubName"],
        str(context["PartitionId"]),
    )
    enqueued = [event.enqueued_time.replace(tzinfo=None) if event.enqueued_time else None for event in events]
    seconds = np.array(enqueued, dtype="datetime64[s]").astype("datetime64[us]")
    return HubBatch(
        partition,
        [event.get_body() for event in events],
        np.array([event.sequence_number for event in events], dtype=np.int64),
        (seconds - _EPOCH).astype(np.int64),
        [event.partition_key for event in events],
    )

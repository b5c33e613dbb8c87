"""How often azure-eventhub really sent a batch: `send_batch` may send it a second time, whatever `retry_total` says."""

import logging
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from azure.eventhub.exceptions import EventHubError

_LOG = logging.getLogger("azure.eventhub._producer_client")
_SENDS_AGAIN = "Producer for partition ID %s not available"


class Resends(logging.Handler):
    """Counts the second attempts of `EventHubProducerClient.send_batch`, thread by thread.

    Where its producer fails (EventHubError), `send_batch` of azure-eventhub 5.15 waits for 0.8 s, makes the producer
    anew and sends the batch once more, also with `retry_total=0`. When the hub had stored the batch and only the answer
    was lost, the batch is there twice, and the caller sees one call that succeeded. Nothing but a debug line of the SDK
    tells. (The asynchronous client does the same and tells nothing.)
    """

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._by_thread: Counter[int | None] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        # The same line with a KeyError or AttributeError says that there is no producer yet: nothing was sent then.
        if str(record.msg).startswith(_SENDS_AGAIN) and isinstance(record.args, tuple):
            self._by_thread[record.thread] += isinstance(record.args[1], EventHubError)

    def of_this_thread(self) -> int:
        """How many batches were sent again by the calling thread up to now."""
        return self._by_thread[threading.get_ident()]


@contextmanager
def count_resends() -> Iterator[Resends]:
    """Listen to the SDK's log until the end of the block."""
    resends, level = Resends(), _LOG.level
    _LOG.addHandler(resends)
    _LOG.setLevel(logging.DEBUG)
    try:
        yield resends
    finally:
        _LOG.setLevel(level)
        _LOG.removeHandler(resends)

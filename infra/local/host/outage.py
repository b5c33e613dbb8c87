"""Waiting for what is away: said once, not at each attempt, and once more when it is back."""

import logging
import time
from collections.abc import Awaitable, Callable

from azure.core.exceptions import AzureError
from azure.eventhub.exceptions import EventHubError

from infra.local.host.background import HostStopping, Signal

log = logging.getLogger(__name__)

AWAY = (AzureError, EventHubError, OSError)
"""What is raised when a service does not answer, or answers that it cannot now."""

PAUSE_S = 1.0
"""Between two attempts to reach something that is away."""

_SAY_AGAIN_S = 30.0


class Outage:
    """What one part of the host waits for. A long outage is said again every half minute, not at each attempt."""

    def __init__(self, who: str, what: str, *, pause_s: float = PAUSE_S) -> None:
        self._pause_s = pause_s
        self._who = who
        self._what = what
        self._said_at: float | None = None

    async def wait_out[T](self, action: Callable[[], Awaitable[T]], stopping: Signal) -> T:
        """Do `action` again and again until it is not an Azure service's or the network's fault any more that it fails.

        Raises HostStopping when the host stops first.
        """
        while True:
            try:
                result = await action()
            except AWAY as error:
                self.failed(error)
            else:
                self.ended()
                return result
            if await stopping.within(self._pause_s):
                raise HostStopping

    def failed(self, error: BaseException) -> None:
        """An attempt failed."""
        now = time.monotonic()
        if self._said_at is None or now - self._said_at > _SAY_AGAIN_S:
            self._said_at = now
            log.warning("%s waits for %s: %s", self._who, self._what, _first_line(error))

    def ended(self) -> None:
        """An attempt succeeded."""
        if self._said_at is not None:
            self._said_at = None
            log.warning("%s goes on: %s answers again", self._who, self._what)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__

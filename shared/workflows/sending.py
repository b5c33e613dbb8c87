"""The way of pings to the hub: what simulations, `footfall send` and HTTP use alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class OutgoingPing:
    """The body of a ping, and the device that sends it: its partition key, so that its pings stay in order."""

    device_id: str
    body: bytes


class PingSender(Protocol):
    """Sends pings to the pings hub."""

    async def send(self, pings: Sequence[OutgoingPing]) -> int:
        """Send them, those of a device in their order, and return how many the hub acknowledged: all.

        Raises HubUnavailable when it does not answer: then some of them may have arrived.
        """
        ...

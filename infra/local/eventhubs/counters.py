"""What a broker has done since it started."""

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """Totals; bytes are those of messages in, of frames out."""

    connections: int = 0
    events_in: int = 0
    bytes_in: int = 0
    events_out: int = 0
    bytes_out: int = 0

    def received(self, events: int, size: int) -> None:
        self.events_in += events
        self.bytes_in += size

    def sent(self, events: int, size: int) -> None:
        self.events_out += events
        self.bytes_out += size

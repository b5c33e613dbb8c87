"""What the host knows about itself, for `GET /admin/footfall/status` and for tests that wait for something."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any


def now_text() -> str:
    """The wall clock as RFC 3339 text."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass(slots=True)
class FunctionStatus:
    """The calls of one function since the host started."""

    trigger: str
    invocations: int = 0
    failures: int = 0
    running: int = 0
    last_error: str | None = None
    last_error_at: str | None = None
    last_finished_at: str | None = None


@dataclass(slots=True)
class PartitionStatus:
    """One partition of an Event Hub trigger; `checkpoint` is the last sequence number that will not be read again."""

    owned: bool = False
    checkpoint: int | None = None


@dataclass(slots=True)
class EventHubStatus:
    """An Event Hub trigger; it is `listening` once hub and storage have answered."""

    hub: str
    consumer_group: str
    listening: bool = False
    partitions: dict[str, PartitionStatus] = field(default_factory=dict)

    def partition(self, partition_id: str) -> PartitionStatus:
        return self.partitions.setdefault(partition_id, PartitionStatus())


@dataclass(slots=True)
class BlobStatus:
    """A blob trigger: `seen` blobs match its path, `pending` of them have no receipt yet.

    `last_scan` is when the last whole scan began: a blob that was there by then is counted in the numbers.
    """

    path: str
    listening: bool = False
    seen: int = 0
    processed: int = 0
    pending: int = 0
    poisoned: int = 0
    last_scan: str | None = None


@dataclass(slots=True)
class TimerStatus:
    """A timer trigger; times are RFC 3339."""

    schedule: str
    listening: bool = False
    last_run: str | None = None
    next_run: str | None = None


type TriggerStatus = EventHubStatus | BlobStatus | TimerStatus

_SECTIONS: Mapping[type, str] = {EventHubStatus: "event_hub", BlobStatus: "blobs", TimerStatus: "timer"}


class HostStatus:
    """All of it; only the host's own event loop writes it."""

    def __init__(self, host_id: str) -> None:
        self.host_id = host_id
        self.state = "starting"
        self.started_at = now_text()
        self.functions: dict[str, FunctionStatus] = {}
        self.triggers: dict[str, TriggerStatus] = {}

    def as_json(self) -> dict[str, Any]:
        return {
            "state": self.state,
            "host_id": self.host_id,
            "started_at": self.started_at,
            "functions": {name: self._function(name, status) for name, status in self.functions.items()},
        }

    def _function(self, name: str, status: FunctionStatus) -> dict[str, Any]:
        document = asdict(status)
        trigger = self.triggers.get(name)
        if trigger is not None:
            document[_SECTIONS[type(trigger)]] = asdict(trigger)
        return document

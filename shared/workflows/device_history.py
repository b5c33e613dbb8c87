"""What is on record about one device: the rows of silver and quarantine that an explanation is made from.

Times are microseconds since 1970 UTC; a decision's `enqueued_us` is that of the ping that was decided.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from shared.domain.decision import DecisionReason, Outcome
from shared.domain.device_state import DeviceState
from shared.domain.reference import ReferenceData

type VersionAt = Callable[[int], ReferenceData | None]
"""The reference data in force for an event enqueued then, None where it cannot be read any more."""


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """A row of silver.decisions. Outcome and reason are texts: newer code may have written some that are not known."""

    decision_id: str
    enqueued_us: int
    tracked_us: int
    partition_id: str
    sequence_number: int
    store_id: str | None
    transition: str | None
    promotion_id: str | None
    offer_id: str | None
    outcome: str
    reason: str | None
    distance_m: float | None
    entered_us: int | None
    left_us: int | None
    reference_version: str

    @property
    def ping(self) -> tuple[int, str, int]:
        """Which ping it was; the enqueued time tells hubs of the same name apart."""
        return self.enqueued_us, self.partition_id, self.sequence_number

    @property
    def is_contact(self) -> bool:
        """Whether it counts for cooldown, gap and cap: who was held out counts like who was sent an offer."""
        return self.outcome == Outcome.SENT or self.reason == DecisionReason.HELD_OUT


@dataclass(frozen=True, slots=True)
class PingRecord:
    """A row of silver.pings."""

    enqueued_us: int
    tracked_us: int
    partition_id: str
    sequence_number: int
    latitude: float
    longitude: float
    accuracy_m: float | None

    @property
    def ping(self) -> tuple[int, str, int]:
        """As in `DecisionRecord.ping`."""
        return self.enqueued_us, self.partition_id, self.sequence_number


@dataclass(frozen=True, slots=True)
class RejectedBody:
    """A row of quarantine.bodies whose body names the device."""

    enqueued_us: int
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class DeviceHistory:
    """All that is known of one device from `start_us` until just before `end_us`, by enqueued time."""

    device_id: str
    partition_id: str
    start_us: int
    end_us: int
    now_us: int
    earlier: tuple[DecisionRecord, ...] = ()
    """Decisions before the start, for what they say about cooldown, gap and cap."""
    decisions: tuple[DecisionRecord, ...] = ()
    pings: tuple[PingRecord, ...] = ()
    rejected: tuple[RejectedBody, ...] = ()
    state: DeviceState | None = None
    """What the state table remembers now."""
    refined_to_us: int | None = None
    """When the newest ping in silver, of any device, was enqueued; None while there is none."""


def in_order(records: Iterable[DecisionRecord]) -> tuple[DecisionRecord, ...]:
    """Each decision once (publishing is at least once), in the order in which the pings came."""
    once = {record.decision_id: record for record in records}
    return tuple(sorted(once.values(), key=lambda record: record.ping))

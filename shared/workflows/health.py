"""How the app is: what is loaded, how far behind it is, and what is wrong, in words."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from shared.errors import TransientError
from shared.settings import Settings
from shared.workflows.evaluate import Totals
from shared.workflows.partition_state import HubPartition, Position, StateStore
from shared.workflows.sightings import ReferenceSource


class HubProgress(Protocol):
    """Knows how far the hub has got. Raises HubUnavailable when it does not answer."""

    def last_sequence_numbers(self) -> dict[HubPartition, int]: ...


class Evaluated(Protocol):
    """Counts what was evaluated in this process."""

    @property
    def totals(self) -> Totals: ...


@dataclass(frozen=True, slots=True)
class PartitionHealth:
    """One partition of the pings hub: the newest event, the newest one applied, and the difference."""

    partition_id: str
    newest: int
    applied: int
    lag: int
    skipped: int
    generation: int


@dataclass(frozen=True, slots=True)
class HealthReport:
    """Everything at a glance; all is well when there are no problems."""

    problems: list[str]
    reference_version: str | None
    lag: int | None
    partitions: list[PartitionHealth]
    evaluated: Totals

    @property
    def is_well(self) -> bool:
        return not self.problems

    def as_json(self) -> bytes:
        """The report as a JSON object."""
        return msgspec.json.encode(self)


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """Asks every part, and says what it found; a part that is away is a problem, not an error."""

    settings: Settings
    references: ReferenceSource
    hub: HubProgress
    states: StateStore
    evaluated: Evaluated
    clock: Callable[[], int]
    """Now, in microseconds since 1970 UTC."""

    def report(self) -> HealthReport:
        """Look now. Never raises for a part that is away."""
        problems = self.settings.problems()
        version = self._version(problems)
        partitions = self._partitions(problems)
        totals = self.evaluated.totals
        if totals.foreign_keys:
            problems.append(
                f"{totals.foreign_keys} pings came under a partition key that is not their device id: "
                "their devices may be decided twice; producers must use the device id as the partition key"
            )
        lag = sum(partition.lag for partition in partitions) if partitions else None
        return HealthReport(problems, version, lag, partitions, totals)

    def _version(self, problems: list[str]) -> str | None:
        now_us = self.clock()
        try:
            self.references.refresh(now_us)
            return self.references.version_for(now_us).version
        except TransientError as error:
            problems.append(str(error))
            return None

    def _partitions(self, problems: list[str]) -> list[PartitionHealth]:
        try:
            newest = self.hub.last_sequence_numbers()
            found = [_partition(one, last, self.states.position(one)) for one, last in newest.items()]
        except TransientError as error:
            problems.append(str(error))
            return []
        if len(found) != self.settings.partition_count:
            problems.append(
                f"PARTITION_COUNT is {self.settings.partition_count}, but the hub has {len(found)} partitions"
            )
        problems += [
            f"partition {one.partition_id}, generation {one.generation}: the hub was made anew, see docs/runbook.md"
            for one in found
            if one.generation
        ]
        problems += [
            f"partition {one.partition_id}: {one.skipped} events were never seen, the hub had dropped them before"
            for one in found
            if one.skipped
        ]
        return found


def _partition(partition: HubPartition, newest: int, position: Position | None) -> PartitionHealth:
    applied = -1 if position is None else position.sequence_number
    return PartitionHealth(
        partition.partition_id,
        newest,
        applied,
        max(0, newest - applied),
        0 if position is None else position.skipped,
        0 if position is None else position.generation,
    )

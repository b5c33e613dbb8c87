"""From the events of a batch to pings with the geofences near them, in columns; a body that breaks this fails alone."""

import logging
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from shared.domain.decision import Near, SeenPing
from shared.domain.pings import PingBatch, decode_pings
from shared.domain.proximity import Pairs
from shared.domain.reference import ReferenceData
from shared.errors import FootfallError
from shared.telemetry import Stopwatch
from shared.workflows.partition_state import HubPartition

log = logging.getLogger(__name__)

_CONSENT = {1: True, 0: False, -1: None}


@dataclass(frozen=True, slots=True, eq=False)
class HubBatch:
    """A batch of events of one hub partition, in order, as columns; enqueued times are whole seconds."""

    partition: HubPartition
    bodies: Sequence[bytes]
    sequence_numbers: NDArray[np.int64]
    enqueued_at_us: NDArray[np.int64]
    partition_keys: Sequence[str | None]

    def __len__(self) -> int:
        return len(self.bodies)

    def event(self, row: int) -> "HubBatch":
        """The batch of that one event."""
        at = slice(row, row + 1)
        return HubBatch(
            self.partition,
            self.bodies[at],
            self.sequence_numbers[at],
            self.enqueued_at_us[at],
            self.partition_keys[at],
        )


class ReferenceSource(Protocol):
    """Where the reference data comes from. Raises ReferenceUnavailable when it cannot be read."""

    def refresh(self, newest_enqueued_us: int) -> None:
        """Look again for new versions if the last look is too old for that event."""
        ...

    def version_for(self, enqueued_at_us: int) -> ReferenceData:
        """The version in force for an event enqueued then."""
        ...


class Sighting(msgspec.Struct, frozen=True, gc=False):
    """One ping and what decides about it; `is_broken` when an error of ours kept it from being understood."""

    ping: SeenPing
    reference: ReferenceData
    is_broken: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Sightings:
    """The pings of (a part of) a batch under one reference version, and the pairs near them."""

    batch: HubBatch
    pings: PingBatch
    rows: slice
    reference: ReferenceData
    near: dict[int, tuple[Near, ...]]

    def of(self, known: Container[str], new: Iterable[str] = ()) -> Iterator[Sighting]:
        """The pings of the devices that are known, new or near a geofence, in order: nothing can come of the others.

        Most pings are of the others, so the few are chosen first, and their columns read at once.
        """
        pings, near = self.pings, self.near
        here = {pings.device_id[row] for row in near}.union(new)
        ids = pings.device_id[self.rows]
        rows = [row for row, device_id in enumerate(ids, self.rows.start) if device_id in here or device_id in known]
        events = pings.row[rows]
        columns = (
            pings.latitude[rows],
            pings.longitude[rows],
            pings.tracked_at_us[rows],
            self.batch.enqueued_at_us[events],
            pings.accuracy_m[rows],
            self.batch.sequence_numbers[events],
            pings.consent[rows],
        )
        partition_id, reference = self.batch.partition.partition_id, self.reference
        for row, latitude, longitude, tracked_us, enqueued_us, accuracy_m, number, consent in zip(
            rows, *(column.tolist() for column in columns), strict=True
        ):
            ping = SeenPing(
                device_id=pings.device_id[row],
                latitude=latitude,
                longitude=longitude,
                tracked_at_us=tracked_us,
                enqueued_at_us=enqueued_us,
                accuracy_m=None if isnan(accuracy_m) else accuracy_m,
                partition_id=partition_id,
                sequence_number=number,
                near=near.get(row, ()),
                consent=_CONSENT[consent],
            )
            yield Sighting(ping, reference)


@dataclass(frozen=True, slots=True)
class Broken:
    """An event that an error of ours keeps from being understood."""

    sighting: Sighting

    def of(self, known: Container[str], new: Iterable[str] = ()) -> Iterator[Sighting]:
        """The event, whoever is known."""
        yield self.sighting


@dataclass(frozen=True, slots=True)
class SeenBatch:
    """A whole batch, looked at: its parts in order, and how many bodies were no pings or came under a foreign key."""

    parts: tuple[Sightings | Broken, ...]
    rejected: Mapping[str, int]
    """Bodies that were no pings, by reason."""
    foreign_keys: int

    @property
    def near(self) -> int:
        """How many pings have a geofence near."""
        return sum(len(part.near) for part in self.parts if isinstance(part, Sightings))


def see(
    batch: HubBatch, references: ReferenceSource, pings: PingBatch | None = None, stopwatch: Stopwatch | None = None
) -> SeenBatch:
    """Decode the bodies and find the geofences near each ping. Raises only TransientError, when the world is away.

    *pings* are the decoded bodies, for whoever looks at a batch under several sources and decodes it once. The
    stopwatch is told how long decoding and matching took.
    """
    stopwatch = stopwatch or Stopwatch()
    try:
        return _see(batch, references, stopwatch, pings)
    except FootfallError:
        raise
    except Exception:  # an error of ours, whatever it is: find the event that has it, and let the others go on
        log.exception("partition %s: a batch failed as a whole, trying by event", batch.partition.partition_id)
    seen = [_see_alone(batch.event(row), references, stopwatch) for row in range(len(batch))]
    return SeenBatch(
        tuple(part for one in seen for part in one.parts),
        sum((Counter(one.rejected) for one in seen), Counter()),
        sum(one.foreign_keys for one in seen),
    )


def _see(
    batch: HubBatch, references: ReferenceSource, stopwatch: Stopwatch, pings: PingBatch | None = None
) -> SeenBatch:
    if pings is None:
        with stopwatch.step("decode"):
            pings = decode_pings(batch.bodies, batch.enqueued_at_us)
    with stopwatch.step("match"):
        parts = tuple(
            Sightings(batch, pings, rows, reference, _near(pings, rows, reference))
            for reference, rows in _by_version(batch.enqueued_at_us[pings.row], references)
        )
    keys = [batch.partition_keys[row] for row in pings.row.tolist()]
    foreign = sum(key != device_id for key, device_id in zip(keys, pings.device_id, strict=True))
    return SeenBatch(parts, Counter(str(ping.reason) for ping in pings.rejected), foreign)


def _see_alone(event: HubBatch, references: ReferenceSource, stopwatch: Stopwatch) -> SeenBatch:
    try:
        return _see(event, references, stopwatch)
    except FootfallError:
        raise
    except Exception as error:  # noqa: BLE001 - this is the event that has it: it becomes a decision 'failed'
        log.error("event %d cannot be decided: %r", int(event.sequence_numbers[0]), error)  # noqa: TRY400 - said above
    enqueued_us = int(event.enqueued_at_us[0])
    ping = SeenPing(
        device_id=event.partition_keys[0] or "",
        latitude=0.0,
        longitude=0.0,
        tracked_at_us=enqueued_us,
        enqueued_at_us=enqueued_us,
        accuracy_m=None,
        partition_id=event.partition.partition_id,
        sequence_number=int(event.sequence_numbers[0]),
        near=(),
    )
    broken = Broken(Sighting(ping, references.version_for(enqueued_us), is_broken=True))
    return SeenBatch((broken,), rejected={}, foreign_keys=0)


def _by_version(
    enqueued_at_us: NDArray[np.int64], references: ReferenceSource
) -> Iterator[tuple[ReferenceData, slice]]:
    """Runs of pings that one version decides: nearly always one, for most batches span a second or two."""
    start, end = 0, len(enqueued_at_us)
    if not end:
        return
    reference = references.version_for(int(enqueued_at_us[0]))
    for stop in (np.flatnonzero(np.diff(enqueued_at_us)) + 1).tolist():
        following = references.version_for(int(enqueued_at_us[stop]))
        # The same version may be in force a second time, and then other geofences changed of late.
        if following is not reference:
            yield reference, slice(start, stop)
            start, reference = stop, following
    yield reference, slice(start, end)


def _near(pings: PingBatch, rows: slice, reference: ReferenceData) -> dict[int, tuple[Near, ...]]:
    """The geofences near each ping that has one, by the ping's row."""
    pairs: Pairs = reference.index.match(pings.latitude[rows], pings.longitude[rows])
    if not len(pairs.ping):
        return {}
    found, starts = np.unique(pairs.ping, return_index=True)
    near = [
        Near(store, distance_m, inside)
        for store, distance_m, inside in zip(
            pairs.store.tolist(), pairs.distance_m.tolist(), pairs.inside.tolist(), strict=True
        )
    ]
    ends = [*starts.tolist()[1:], len(near)]
    return {
        rows.start + ping: tuple(near[start:end])
        for ping, start, end in zip(found.tolist(), starts.tolist(), ends, strict=True)
    }

"""How near a device's pings came to stores: what there is to say where nothing was decided."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from shared.domain.geodesic import earth_points, geodesic_m, squared_chord
from shared.domain.reference import ReferenceData
from shared.workflows.device_history import PingRecord, VersionAt
from shared.workflows.wording import SECOND_US


@dataclass(frozen=True, slots=True)
class NearestStore:
    """The store nearest to a ping, by the geodesic distance to the store's position."""

    store_id: str
    name: str
    distance_m: float


@dataclass(frozen=True, slots=True)
class Nearness:
    """Counts of pings, each looked at under the version in force when it was enqueued."""

    pings: int = 0
    untold: int = 0
    """Their version cannot be read any more."""
    near: int = 0
    """In a geofence or its exit margin."""
    inside: int = 0
    stale: int = 0
    """Of those inside: too old when they were enqueued."""
    blurred: int = 0
    """Of those inside, and not too old: not accurate enough."""
    nearest: NearestStore | None = None
    """To the last ping."""

    def __add__(self, other: "Nearness") -> "Nearness":
        return Nearness(
            self.pings + other.pings,
            self.untold + other.untold,
            self.near + other.near,
            self.inside + other.inside,
            self.stale + other.stale,
            self.blurred + other.blurred,
            other.nearest,
        )


def look(pings: Sequence[PingRecord], version_at: VersionAt) -> Nearness:
    """How near the pings, in their order, came to stores."""
    found = Nearness()
    for reference, run in _by_version(pings, version_at):
        found += Nearness(len(run), untold=len(run)) if reference is None else _look(run, reference)
    return found


def nearest_store(reference: ReferenceData, latitude: float, longitude: float) -> NearestStore | None:
    """The store nearest to a position; None where there are no stores."""
    stores = reference.stores
    if not len(stores):
        return None
    here = earth_points(np.array([latitude]), np.array([longitude]))
    places, rows = earth_points(stores.latitude, stores.longitude), np.arange(len(stores))
    row = int(np.argmin(squared_chord(here, np.zeros(len(stores), np.int64), places, rows)))
    distance_m = geodesic_m(latitude, longitude, float(stores.latitude[row]), float(stores.longitude[row]))
    return NearestStore(stores.store_id[row], stores.name[row], distance_m)


def _by_version(
    pings: Sequence[PingRecord], version_at: VersionAt
) -> Iterator[tuple[ReferenceData | None, list[PingRecord]]]:
    """Runs of pings that one version decides."""
    versions = {enqueued_us: version_at(enqueued_us) for enqueued_us in {ping.enqueued_us for ping in pings}}
    for _, run in groupby(pings, key=lambda ping: _name(versions[ping.enqueued_us])):
        together = list(run)
        yield versions[together[0].enqueued_us], together


def _name(reference: ReferenceData | None) -> str | None:
    return None if reference is None else reference.version


def _look(pings: Sequence[PingRecord], reference: ReferenceData) -> Nearness:
    latitude, longitude = np.array([ping.latitude for ping in pings]), np.array([ping.longitude for ping in pings])
    pairs = reference.index.match(latitude, longitude)
    inside = [pings[row] for row in np.unique(pairs.ping[pairs.inside])]
    most_us, most_m = reference.contact_policy.max_ping_age_s * SECOND_US, reference.presence.max_accuracy_m
    fresh = [ping for ping in inside if ping.enqueued_us - ping.tracked_us <= most_us]
    last = pings[-1]
    return Nearness(
        pings=len(pings),
        near=len(np.unique(pairs.ping)),
        inside=len(inside),
        stale=len(inside) - len(fresh),
        blurred=sum(ping.accuracy_m is not None and ping.accuracy_m > most_m for ping in fresh),
        nearest=nearest_store(reference, last.latitude, last.longitude),
    )

"""Reference data: the stores, promotions and parameters in force, as one version."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from shared.domain.promotions import ContactPolicy, PresenceParameters, Promotion
from shared.domain.proximity import GeofenceIndex
from shared.domain.stores import StoreTable


@dataclass(frozen=True, eq=False)
class ReferenceData:
    """All that decides: two workers with the same version decide alike. `version` is a short hash of the files."""

    version: str
    stores: StoreTable
    promotions: tuple[Promotion, ...]
    contact_policy: ContactPolicy
    presence: PresenceParameters
    require_consent: bool = False
    """Whether only devices that agreed (a ping with `consent: true`) get offers."""
    suppressed: frozenset[str] = frozenset()
    """The devices that opted out."""
    changed_us: Mapping[int, int] = field(default_factory=dict)
    """Since when the geofence of a store (by row) is as it is, for those that changed or are new of late."""

    def with_changes(self, changed_us: Mapping[int, int]) -> "ReferenceData":
        """The same version, knowing what changed of late; what is derived from the files is shared, not built again."""
        made = replace(self, changed_us=changed_us)
        for name, member in vars(ReferenceData).items():
            if isinstance(member, cached_property):
                made.__dict__[name] = getattr(self, name)  # where cached_property keeps it
        return made

    @cached_property
    def index(self) -> GeofenceIndex:
        """The geofences of all stores, ready to be looked up by position."""
        stores = self.stores
        return GeofenceIndex(
            stores.latitude, stores.longitude, stores.radius_m, stores.polygons, margin_m=self.presence.exit_margin_m
        )

    def promotions_at(self, store: int) -> tuple[Promotion, ...]:
        """The promotions that the store of that row runs, whether or not they run now."""
        found = self._promotions_by_store.get(store)
        if found is None:
            rows = self.selection[:, store].nonzero()[0].tolist()
            found = self._promotions_by_store[store] = tuple(self.promotions[row] for row in rows)
        return found

    @cached_property
    def _promotions_by_store(self) -> dict[int, tuple[Promotion, ...]]:
        """What was asked for before: most pings are near the same few stores. Filled as needed, by any thread."""
        return {}

    @cached_property
    def loitering_us(self) -> list[int]:
        """How long a device must stay at each store to dwell there, in whole microseconds, by row."""
        delays: list[int] = np.rint(self.stores.loitering_delay_s * 1e6).astype(np.int64).tolist()
        return delays

    @cached_property
    def store_rows(self) -> dict[str, int]:
        """The row of each store id."""
        return {store_id: row for row, store_id in enumerate(self.stores.store_id)}

    @cached_property
    def selection(self) -> NDArray[np.bool_]:
        """Which store runs which promotion: row i is promotion i, column j is store j."""
        if not self.promotions:
            return np.zeros((0, len(self.stores)), dtype=np.bool_)
        return np.stack([promotion.stores.selected(self.stores) for promotion in self.promotions])


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One published version and the instant from which it is in force, in microseconds since 1970 UTC."""

    version: str
    active_from_us: int


def number_in_force(catalogue: Sequence[CatalogueEntry], enqueued_at_us: int) -> int:
    """Which entry is in force: the newest whose `active_from` is at or before the event; before all of them, the first.

    `catalogue` is ordered as published, and `active_from_us` never falls. Raises ValueError when it is empty.
    """
    if not catalogue:
        raise ValueError("no version of the reference data was ever published")
    active = bisect_right(catalogue, enqueued_at_us, key=lambda entry: entry.active_from_us)
    return max(active, 1) - 1


def version_in_force(catalogue: Sequence[CatalogueEntry], enqueued_at_us: int) -> str:
    """The version of the entry that is in force for an event. Raises ValueError when the catalogue is empty."""
    return catalogue[number_in_force(catalogue, enqueued_at_us)].version


def successions(
    catalogue: Sequence[CatalogueEntry], number: int, within_us: int
) -> list[tuple[CatalogueEntry, CatalogueEntry]]:
    """Which entry took over from which, oldest first, in the time before that entry came in force, itself included.

    The first entry took over from none. One that another replaced at its very start was never in force: it is skipped.
    """
    found: list[tuple[CatalogueEntry, CatalogueEntry]] = []
    after = catalogue[number]
    since_us = after.active_from_us - within_us
    for before in reversed(catalogue[:number]):
        if after.active_from_us <= since_us:
            break
        if before.active_from_us < after.active_from_us:
            found.append((before, after))
            after = before
    return found[::-1]


def changed_geofences(before: StoreTable, after: StoreTable) -> list[int]:
    """The rows of *after* whose geofence is not in *before* as it is now: new, moved, or of another shape."""
    same = np.zeros(len(after), np.bool_)
    known = {store_id: row for row, store_id in enumerate(before.store_id)}
    row_before = np.fromiter((known.get(store_id, -1) for store_id in after.store_id), np.int64, len(after))
    (there,) = np.nonzero(row_before >= 0)
    row_there = row_before[there]
    same[there] = (
        (after.latitude[there] == before.latitude[row_there])
        & (after.longitude[there] == before.longitude[row_there])
        & (after.radius_m[there] == before.radius_m[row_there])
        & ~np.isin(row_there, list(before.polygons))
    )
    for row, polygon in after.polygons.items():
        was = before.polygons.get(int(row_before[row]))
        same[row] = was is not None and (was.equals_exact(polygon) or bool(was.equals(polygon)))
    return np.flatnonzero(~same).tolist()

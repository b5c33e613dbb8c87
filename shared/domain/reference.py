"""Reference data: the stores, promotions and parameters in force, as one version."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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

    @cached_property
    def index(self) -> GeofenceIndex:
        """The geofences of all stores, ready to be looked up by position."""
        stores = self.stores
        return GeofenceIndex(stores.latitude, stores.longitude, stores.radius_m, margin_m=self.presence.exit_margin_m)

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


def version_in_force(catalogue: Sequence[CatalogueEntry], enqueued_at_us: int) -> str:
    """The newest version whose `active_from` is at or before the event; before all of them, the first.

    `catalogue` is ordered as published, and `active_from_us` never falls. Raises ValueError when it is empty.
    """
    if not catalogue:
        raise ValueError("no version of the reference data was ever published")
    chosen = catalogue[0]
    for entry in catalogue[1:]:
        if entry.active_from_us <= enqueued_at_us:
            chosen = entry
    return chosen.version

"""Promotions: what a store offers to whom and when, and how often one device may be contacted.

Instants are microseconds since 1970 UTC. Hours are local to the store: wall-clock time in its IANA zone.
"""

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from shared.domain.local_time import WeeklyHours, Window
from shared.domain.stores import StoreTable


class Transition(StrEnum):
    """A change of a device's presence at one geofence, named as Android's Geofence API names them."""

    ENTER = "ENTER"
    DWELL = "DWELL"
    EXIT = "EXIT"


@dataclass(frozen=True, slots=True)
class StoreSelector:
    """Which stores run a promotion: those that satisfy every condition given; with none, all of them."""

    store_ids: frozenset[str] | None = None
    merchants: frozenset[str] | None = None
    service_types: frozenset[str] | None = None

    def selected(self, stores: StoreTable) -> NDArray[np.bool_]:
        """One truth value a row of *stores*: does that store run the promotion?"""
        chosen = np.ones(len(stores), dtype=np.bool_)
        for wanted, column in (
            (self.store_ids, stores.store_id),
            (self.merchants, stores.merchant),
            (self.service_types, stores.service_type),
        ):
            if wanted is not None:
                chosen &= np.fromiter((value in wanted for value in column), np.bool_, len(stores))
        return chosen


@dataclass(frozen=True, slots=True)
class ContactPolicy:
    """How often a device may be contacted, and when. None means: no such limit."""

    cooldown_s: int = 4 * 3600
    """Least time between two offers to the same device at the same store."""
    daily_cap: int | None = 5
    """Most offers to one device on one day, of the calendar of the store's zone."""
    min_gap_s: int = 300
    """Least time between two offers to the same device, wherever."""
    quiet_hours: Window | None = None
    """Hours of the day without offers, in the store's zone."""
    max_ping_age_s: int = 120
    """A ping older than this when it was enqueued leads to no offer."""


@dataclass(frozen=True, slots=True)
class Promotion:
    """A campaign; an offer is what one device gets from it. The end is exclusive."""

    promotion_id: str
    discount_percent: float
    message: str
    stores: StoreSelector = field(default_factory=StoreSelector)
    starts_at_us: int | None = None
    ends_at_us: int | None = None
    hours: WeeklyHours | None = None
    """When in the week it runs, in the store's zone; None: always."""
    trigger: Transition = Transition.ENTER
    """ENTER, or DWELL for those who stay."""
    priority: int = 0
    """Of all promotions that one ping could lead to, the highest priority wins."""
    holdout_percent: float = 0.0
    """So many of those who would have got an offer get none, so that its effect can be measured."""
    max_offers: int | None = None
    """The budget: most offers that it may make, over all devices and stores."""
    policy: ContactPolicy | None = None
    """Its own contact policy in place of that of all."""

    def runs_at(self, instant_us: int) -> bool:
        """Whether the promotion has started and not ended at that instant."""
        return (self.starts_at_us is None or self.starts_at_us <= instant_us) and (
            self.ends_at_us is None or instant_us < self.ends_at_us
        )


@dataclass(frozen=True, slots=True)
class PresenceParameters:
    """What it takes to be inside a geofence, and outside again."""

    exit_margin_m: float = 20.0
    """Hysteresis: a device has left only when it is farther out than its geofence and this."""
    exit_delay_s: int = 60
    """And only when it stays that far out for so long, by at least two pings."""
    visit_timeout_s: int = 30 * 60
    """A visit that no ping has confirmed for so long has ended with the last one that did."""
    max_accuracy_m: float = 100.0
    """A ping less accurate than this makes no ENTER; unknown accuracy passes."""

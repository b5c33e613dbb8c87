"""The presence of one device at one geofence: what one ping makes of it.

Rule 1: every transition stands in `NEXT`, and `NEXT` is total.
Rule 2: this file knows no clock, no store and no promotion; time is what the ping says it is.
"""

from enum import Enum, auto

from shared.domain.promotions import Transition


class Presence(Enum):
    """Where a device is, relative to one geofence."""

    OUTSIDE = auto()
    INSIDE = auto()


class Sighting(Enum):
    """What one ping says about it."""

    AWAY = auto()
    """Farther out than the radius and the exit margin."""
    UNCLEAR = auto()
    """In the exit margin, or not accurate enough to tell."""
    WITHIN = auto()


NEXT: dict[tuple[Presence, Sighting], tuple[Presence, Transition | None]] = {
    (Presence.OUTSIDE, Sighting.AWAY): (Presence.OUTSIDE, None),
    (Presence.OUTSIDE, Sighting.UNCLEAR): (Presence.OUTSIDE, None),
    (Presence.OUTSIDE, Sighting.WITHIN): (Presence.INSIDE, Transition.ENTER),
    (Presence.INSIDE, Sighting.AWAY): (Presence.OUTSIDE, Transition.EXIT),
    (Presence.INSIDE, Sighting.UNCLEAR): (Presence.INSIDE, None),
    (Presence.INSIDE, Sighting.WITHIN): (Presence.INSIDE, None),
}

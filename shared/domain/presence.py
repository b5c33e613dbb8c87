"""The presence of one device at one geofence: what one ping makes of it.

Rule 1: every transition stands in `NEXT`, and `NEXT` is total.
Rule 2: this file knows no clock, no store and no promotion; time is what the ping says it is.
Rule 3: a transition is what a ping shows. A ping that shows nothing changes nothing.
"""

from enum import Enum, auto

import msgspec

from shared.domain.promotions import PresenceParameters, Transition

SECOND_US = 1_000_000
REST_US = 4 * 3600 * SECOND_US
"""A phone at rest sends nothing: one that is inside again within this time has not left meanwhile."""


class Presence(Enum):
    """Where a device is, relative to one geofence."""

    OUTSIDE = auto()
    INSIDE = auto()
    DWELLING = auto()


class Fix(Enum):
    """Where one position fix lies, relative to one geofence."""

    BLURRED = auto()
    """Not accurate enough to tell."""
    MARGIN = auto()
    """Neither inside nor surely outside: in the exit margin, or in it for all that the accuracy tells."""
    AWAY = auto()
    """Farther out than geofence and exit margin, the accuracy taken off."""
    WITHIN = auto()
    """Inside, and accurate enough."""


class Sighting(Enum):
    """What a fix means with the time that has passed."""

    UNCLEAR = auto()
    """The fix says nothing about leaving or staying."""
    AWAY = auto()
    """Outside, and not for long enough."""
    LEFT = auto()
    """Outside for the exit delay, by at least two pings."""
    LOST = auto()
    """Nothing has shown it inside for too long: the visit ended with the last ping that did."""
    WITHIN = auto()
    """Inside."""
    STAYED = auto()
    """Inside, and for the loitering delay."""


NEXT: dict[tuple[Presence, Sighting], tuple[Presence, tuple[Transition, ...]]] = {
    (Presence.OUTSIDE, Sighting.UNCLEAR): (Presence.OUTSIDE, ()),
    (Presence.OUTSIDE, Sighting.AWAY): (Presence.OUTSIDE, ()),
    (Presence.OUTSIDE, Sighting.LEFT): (Presence.OUTSIDE, ()),
    (Presence.OUTSIDE, Sighting.LOST): (Presence.OUTSIDE, ()),
    (Presence.OUTSIDE, Sighting.WITHIN): (Presence.INSIDE, (Transition.ENTER,)),
    (Presence.OUTSIDE, Sighting.STAYED): (Presence.DWELLING, (Transition.ENTER, Transition.DWELL)),
    (Presence.INSIDE, Sighting.UNCLEAR): (Presence.INSIDE, ()),
    (Presence.INSIDE, Sighting.AWAY): (Presence.INSIDE, ()),
    (Presence.INSIDE, Sighting.LEFT): (Presence.OUTSIDE, (Transition.EXIT,)),
    (Presence.INSIDE, Sighting.LOST): (Presence.OUTSIDE, (Transition.EXIT,)),
    (Presence.INSIDE, Sighting.WITHIN): (Presence.INSIDE, ()),
    (Presence.INSIDE, Sighting.STAYED): (Presence.DWELLING, (Transition.DWELL,)),
    (Presence.DWELLING, Sighting.UNCLEAR): (Presence.DWELLING, ()),
    (Presence.DWELLING, Sighting.AWAY): (Presence.DWELLING, ()),
    (Presence.DWELLING, Sighting.LEFT): (Presence.OUTSIDE, (Transition.EXIT,)),
    (Presence.DWELLING, Sighting.LOST): (Presence.OUTSIDE, (Transition.EXIT,)),
    (Presence.DWELLING, Sighting.WITHIN): (Presence.DWELLING, ()),
    (Presence.DWELLING, Sighting.STAYED): (Presence.DWELLING, ()),
}


class Visit(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A stay inside one geofence that has not ended; times are `tracked_at` in microseconds since 1970 UTC."""

    entered_us: int
    inside_us: int
    """The last ping that showed it inside."""
    away_us: int | None = None
    """Since when all pings that could tell showed it outside, None while they do not."""
    is_dwelling: bool = False

    @property
    def presence(self) -> Presence:
        return Presence.DWELLING if self.is_dwelling else Presence.INSIDE


class Ended(msgspec.Struct, frozen=True, gc=False):
    """A visit that a ping showed to be over."""

    entered_us: int
    left_us: int


def follow(
    visit: Visit | None, fix: Fix, at_us: int, *, loitering_us: int, parameters: PresenceParameters
) -> tuple[Visit | None, Ended | None, tuple[Transition, ...]]:
    """What a fix at `at_us` makes of a visit (None: outside): the visit then, the one that it ended, the transitions.

    A ping that comes back after too long a silence ends the old visit and begins a new one: EXIT, then ENTER.
    """
    ended: Ended | None = None
    transitions: tuple[Transition, ...] = ()
    if visit is not None:
        sighting = sight(visit, fix, at_us, loitering_us=loitering_us, parameters=parameters)
        presence, transitions = NEXT[visit.presence, sighting]
        if presence is not Presence.OUTSIDE:
            return _moved(visit, fix, at_us, presence), None, transitions
        ended = Ended(visit.entered_us, _left_us(visit, sighting))
    sighting = _first_sight(fix, loitering_us)
    presence, began = NEXT[Presence.OUTSIDE, sighting]
    if presence is not Presence.OUTSIDE:
        visit = Visit(at_us, at_us, None, presence is Presence.DWELLING)
        return visit, ended, transitions + began
    return None, ended, transitions


def sight(visit: Visit, fix: Fix, at_us: int, *, loitering_us: int, parameters: PresenceParameters) -> Sighting:
    """What the fix means for a device that was inside."""
    silent_us = at_us - visit.inside_us
    if visit.away_us is not None and fix is Fix.AWAY and at_us - visit.away_us >= parameters.exit_delay_s * SECOND_US:
        return Sighting.LEFT
    if silent_us > REST_US:
        return Sighting.LOST
    if silent_us > parameters.visit_timeout_s * SECOND_US:
        # Inside again: it was at rest all the time, unless it was seen outside meanwhile.
        was_elsewhere = fix in (Fix.MARGIN, Fix.AWAY) or (fix is Fix.WITHIN and visit.away_us is not None)
        if was_elsewhere:
            return Sighting.LOST
    if fix is Fix.AWAY:
        return Sighting.AWAY
    if fix is not Fix.WITHIN:
        return Sighting.UNCLEAR
    return Sighting.STAYED if at_us - visit.entered_us >= loitering_us else Sighting.WITHIN


def _first_sight(fix: Fix, loitering_us: int) -> Sighting:
    if fix is not Fix.WITHIN:
        return Sighting.AWAY if fix is Fix.AWAY else Sighting.UNCLEAR
    return Sighting.STAYED if loitering_us <= 0 else Sighting.WITHIN


def _moved(visit: Visit, fix: Fix, at_us: int, presence: Presence) -> Visit:
    if fix is Fix.WITHIN:
        return Visit(visit.entered_us, at_us, None, presence is Presence.DWELLING)
    if fix is Fix.MARGIN:
        return visit if visit.away_us is None else Visit(visit.entered_us, visit.inside_us, None, visit.is_dwelling)
    if fix is Fix.AWAY and visit.away_us is None:
        return Visit(visit.entered_us, visit.inside_us, at_us, visit.is_dwelling)
    return visit


def _left_us(visit: Visit, sighting: Sighting) -> int:
    if sighting is Sighting.LEFT and visit.away_us is not None:
        return visit.away_us
    return visit.inside_us

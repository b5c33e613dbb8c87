"""The presence of one device at one geofence: what one ping makes of it.

Rule 1: every transition stands in `NEXT`, and `NEXT` is total.
Rule 2: this file knows no clock, no store and no promotion; time is what the ping says it is.
Rule 3: a transition is what a ping shows. A ping that shows nothing changes nothing.
"""

from enum import Enum, StrEnum, auto

import msgspec

from shared.domain.promotions import PresenceParameters, Transition

SECOND_US = 1_000_000
REST_US = 4 * 3600 * SECOND_US
"""A phone at rest sends nothing: one that is inside again within this time has not left meanwhile."""


class Presence(StrEnum):
    """Where a device is, relative to one geofence."""

    OUTSIDE = auto()
    INSIDE = auto()
    DWELLING = auto()


class Fix(Enum):
    """Where one position fix lies, relative to one geofence."""

    BLURRED = auto()
    """Not accurate enough to tell anything."""
    MARGIN = auto()
    """Neither inside nor surely outside: in the exit margin, or in it for all that the accuracy tells."""
    AWAY = auto()
    """Farther out than geofence and exit margin, the accuracy taken off."""
    WITHIN = auto()
    """Inside, and accurate enough."""


class Sighting(StrEnum):
    """What a fix means with the time that has passed."""

    UNCLEAR = auto()
    """The fix says nothing about leaving or staying."""
    AWAY = auto()
    """Outside, and not for long enough."""
    LEFT = auto()
    """Outside for the exit delay, by at least two pings."""
    LOST = auto()
    """Nothing has shown it inside for too long, and it was not at rest: the last ping that did ended the visit."""
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
    is_doubted: bool = False
    """Whether a ping since `inside_us` could tell, and did not show it inside: so it was not at rest all the time."""

    @property
    def presence(self) -> Presence:
        """INSIDE or DWELLING."""
        return Presence.DWELLING if self.is_dwelling else Presence.INSIDE


class Ended(msgspec.Struct, frozen=True, gc=False):
    """A visit that a ping showed to be over: it left with the first ping away, or, if silent, the last one inside."""

    entered_us: int
    left_us: int


def follow(
    visit: Visit | None, fix: Fix, at_us: int, *, loitering_us: int, parameters: PresenceParameters
) -> tuple[Visit | None, Ended | None, tuple[Transition, ...]]:
    """What a fix at `at_us` makes of a visit (None: outside): the visit then, the one that it ended, the transitions.

    `at_us` is not before any earlier fix of the visit. A ping that comes back after too long a silence ends the old
    visit and begins a new one: EXIT, then ENTER.
    """
    if visit is None:
        visit, transitions = _begin(fix, at_us, loitering_us)
        return visit, None, transitions
    sighting = sight(visit, fix, at_us, loitering_us=loitering_us, parameters=parameters)
    presence, transitions = NEXT[visit.presence, sighting]
    if presence is not Presence.OUTSIDE:
        return _go_on(visit, fix, at_us, presence), None, transitions
    following, began = _begin(fix, at_us, loitering_us)
    return following, Ended(visit.entered_us, _left_us(visit, sighting)), transitions + began


def sight(visit: Visit, fix: Fix, at_us: int, *, loitering_us: int, parameters: PresenceParameters) -> Sighting:
    """What the fix means for a device that was inside."""
    if fix is Fix.AWAY and _has_left(visit, at_us, parameters):
        return Sighting.LEFT
    if _is_lost(visit, fix, at_us, parameters):
        return Sighting.LOST
    return _sight_now(fix, at_us - visit.entered_us, loitering_us)


def _has_left(visit: Visit, at_us: int, parameters: PresenceParameters) -> bool:
    """Whether another ping away confirms the first one. One that a phone sent twice, of one time, is not two."""
    if visit.away_us is None or at_us == visit.away_us:
        return False
    return at_us - visit.away_us >= parameters.exit_delay_s * SECOND_US


def _is_lost(visit: Visit, fix: Fix, at_us: int, parameters: PresenceParameters) -> bool:
    """Whether the visit ended in silence. Phones at rest send nothing: one that is inside again stayed, up to 4 h."""
    silent_us = at_us - visit.inside_us
    if silent_us > REST_US:
        return True
    if silent_us <= parameters.visit_timeout_s * SECOND_US or fix is Fix.BLURRED:
        return False
    return fix is not Fix.WITHIN or visit.is_doubted


def _sight_now(fix: Fix, inside_for_us: int, loitering_us: int) -> Sighting:
    """What the fix means by itself."""
    if fix is Fix.WITHIN:
        return Sighting.STAYED if inside_for_us >= loitering_us else Sighting.WITHIN
    return Sighting.AWAY if fix is Fix.AWAY else Sighting.UNCLEAR


def _begin(fix: Fix, at_us: int, loitering_us: int) -> tuple[Visit | None, tuple[Transition, ...]]:
    """What a fix makes of a device that was outside."""
    presence, transitions = NEXT[Presence.OUTSIDE, _sight_now(fix, 0, loitering_us)]
    if presence is Presence.OUTSIDE:
        return None, transitions
    return Visit(at_us, at_us, is_dwelling=presence is Presence.DWELLING), transitions


def _go_on(visit: Visit, fix: Fix, at_us: int, presence: Presence) -> Visit:
    """The visit that a fix did not end."""
    entered_us, is_dwelling = visit.entered_us, presence is Presence.DWELLING
    if fix is Fix.WITHIN:
        return Visit(entered_us, at_us, None, is_dwelling)
    if fix is Fix.BLURRED:
        return visit
    away_us = None
    if fix is Fix.AWAY:
        away_us = at_us if visit.away_us is None else visit.away_us
    return Visit(entered_us, visit.inside_us, away_us, is_dwelling, is_doubted=True)


def _left_us(visit: Visit, sighting: Sighting) -> int:
    if sighting is Sighting.LEFT and visit.away_us is not None:
        return visit.away_us
    return visit.inside_us

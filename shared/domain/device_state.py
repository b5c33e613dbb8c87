"""What is remembered about one device; a new value after each ping, never changed in place."""

import msgspec

from shared.domain.presence import Visit

OFFERS_REMEMBERED = 100
"""The times of so many offers are kept; no daily cap may be larger."""


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where a ping that was accurate enough showed the device last, in degrees WGS-84."""

    at_us: int
    latitude: float
    longitude: float


class Contact(msgspec.Struct, frozen=True, gc=False):
    """The latest offer that the device got at one store, or was held out of."""

    at_us: int
    promotion_id: str


class DeviceState(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """All that is remembered about one device; times are `tracked_at` in microseconds since 1970 UTC."""

    newest_us: int
    """The newest `tracked_at`; an older ping moves nothing."""
    changed_us: int
    """When the event that last changed this state was enqueued; what counts for the state's expiry."""
    place: Place | None = None
    visits: dict[str, Visit] = {}
    """By store id."""
    contacts: dict[str, Contact] = {}
    """By store id."""
    offered_us: tuple[int, ...] = ()
    """The times of its latest offers at any store, in order; those that it was held out of count like the others."""
    blurred: dict[str, int] = {}
    """When a ping inside a geofence was last recorded as not accurate enough, by store id."""

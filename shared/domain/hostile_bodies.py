"""Bodies that are no pings, of every kind that reaches a hub: a simulation sends them to show that they do no harm."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_US = 86_400_000_000


def rfc3339(instant_us: int) -> str:
    """An instant in UTC with milliseconds, as phones write it."""
    instant = _EPOCH + timedelta(milliseconds=instant_us // 1000)
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _ping(device: str, at_us: int, /, **changes: object) -> bytes:
    """A ping without fault in Trafalgar Square, but for the changes; a change to None takes the field away."""
    fields = {"device_id": device, "latitude": 51.508, "longitude": -0.128, "tracked_at": rfc3339(at_us)} | changes
    return msgspec.json.encode({name: value for name, value in fields.items() if value is not None})


_KINDS: tuple[Callable[[str, int], bytes], ...] = (
    lambda device_id, at_us: _ping(device_id, at_us, note="x" * 5_000),
    lambda device_id, at_us: _ping(device_id, at_us).replace(b"device_id", b"\xff\xfe"),
    lambda device_id, at_us: b"GET /index.html HTTP/1.1",
    lambda device_id, at_us: _ping(device_id, at_us)[:-10],
    lambda device_id, at_us: b"[" * 3_000,
    lambda device_id, at_us: _ping(device_id, at_us, longitude=None),
    lambda device_id, at_us: _ping(device_id, at_us, device_id=None),
    lambda device_id, at_us: _ping(device_id, at_us, latitude="north"),
    lambda device_id, at_us: _ping(device_id, at_us, latitude=True),
    lambda device_id, at_us: _ping(device_id, at_us, latitude=151.508),
    lambda device_id, at_us: _ping(device_id, at_us, device_id="x" * 200),
    lambda device_id, at_us: _ping(device_id, at_us, latitude=0, longitude=0),
    lambda device_id, at_us: _ping(device_id, at_us + _DAY_US),
    lambda device_id, at_us: _ping(device_id, at_us - 8 * _DAY_US),
)
KINDS = len(_KINDS)


def hostile_body(number: int, device_id: str, at_us: int) -> bytes:
    """The *number*th hostile body of a device, sent about then; KINDS in a row are of all kinds."""
    return _KINDS[number % KINDS](device_id, at_us)

"""Decoding of pings, 1,024 a batch, against json.loads with the same checks in Python, which is how it is usually
written."""

import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np

from shared.domain.pings import decode_pings
from tests.bench.report import record
from tests.bench.side_by_side import compare

PINGS = 1_024
BASELINE, COMMON = "baseline: json.loads and checks, one by one", "decode_pings: JSON, the common shape"
ENQUEUED_US = 1_800_000_000_000_000


def pings() -> list[dict[str, object]]:
    random = np.random.default_rng(1)
    return [
        {
            "device_id": str(uuid.UUID(bytes=random.bytes(16))),
            "latitude": round(random.uniform(50, 58), 6),
            "longitude": round(random.uniform(-5, 1), 6),
            "tracked_at": "2027-01-15T07:59:58.250Z",
            "accuracy_m": round(random.uniform(3, 30), 1),
        }
        for _ in range(PINGS)
    ]


def naive(bodies: list[bytes]) -> list[tuple[str, float, float, float]]:
    """One ping at a time: parse, look at types and ranges, keep."""
    kept = []
    for body in bodies:
        ping = json.loads(body)
        device_id, latitude, longitude = ping["device_id"], ping["latitude"], ping["longitude"]
        if not (isinstance(device_id, str) and 1 <= len(device_id) <= 128):
            continue
        if not (isinstance(latitude, float) and isinstance(longitude, float)):
            continue
        if not (-90 <= latitude <= 90 and -180 <= longitude <= 180) or latitude == longitude == 0:
            continue
        tracked_at = datetime.fromisoformat(ping["tracked_at"]).astimezone(UTC).timestamp()
        if -604_800 <= tracked_at - ENQUEUED_US / 1e6 <= 300:
            kept.append((device_id, latitude, longitude, tracked_at))
    return kept


def decoding(bodies: list[bytes]) -> Callable[[], object]:
    enqueued_at_us = np.full(len(bodies), ENQUEUED_US)
    assert len(decode_pings(bodies, enqueued_at_us)) == len(bodies)
    return lambda: decode_pings(bodies, enqueued_at_us)


def main() -> None:
    said = pings()
    common = [json.dumps(ping).encode() for ping in said]
    aliased = [body.replace(b"latitude", b"lat").replace(b"longitude", b"lon") for body in common]
    enveloped = [json.dumps({"specversion": "1.0", "id": "1", "type": "ping", "data": ping}).encode() for ping in said]
    text = [f"latitude:{ping['latitude']}, longitude:{ping['longitude']},appid:a".encode() for ping in said]
    assert len(naive(common)) == PINGS
    medians = compare(
        f"decode {PINGS:,} pings of {len(common[0])} bytes",
        {
            BASELINE: lambda: naive(common),
            COMMON: decoding(common),
            "decode_pings: JSON, other names": decoding(aliased),
            "decode_pings: JSON in CloudEvents": decoding(enveloped),
            "decode_pings: text (61 bytes, no time)": decoding(text),
        },
        items=PINGS,
    )
    record("decode_pings", medians[COMMON], "µs a ping", medians[BASELINE], "json.loads and checks, one by one")


if __name__ == "__main__":
    main()

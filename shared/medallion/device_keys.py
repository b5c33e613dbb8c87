"""device_key: what silver and gold hold in place of a device id, so that nobody reads ids there.

A key is HMAC-SHA256 of the device id (RFC 2104), cut to 128 bits and prefixed with the id of the secret that made it:
`keyid:hex`. The secret is chosen by enqueued time, so every engine chooses alike; a device has another key after a
rotation, and what spans the rotation is split.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shared.errors import ConfigurationError
from shared.settings import DeviceKey

HEX_DIGITS = 32
"""128 bits: among a billion devices two have the same key with a chance of 1.5e-21."""

_BLOCK_BYTES = 64
"""Of SHA-256 (FIPS 180-4)."""

MOST_REMEMBERED = 200_000
"""Keys kept a secret: about 40 MB."""


class DeviceKeys:
    """Turns device ids into keys; each id is hashed once, and remembered for the frames to come."""

    def __init__(self, secrets: Sequence[DeviceKey]) -> None:
        """`secrets` in the order of their start; raises ConfigurationError when there is none."""
        if not secrets:
            raise ConfigurationError("DEVICE_KEYS is not set: silver needs at least one key to hide device ids")
        self._from_us = np.array([secret.from_us for secret in secrets], dtype=np.int64)
        self._made = [_Made(secret) for secret in secrets]

    def key(self, device_ids: Sequence[str], enqueued_at_us: NDArray[np.int64]) -> pl.Series:
        """The key of each device when its event was enqueued; the first secret serves what is older than its start."""
        chosen = np.maximum(np.searchsorted(self._from_us, enqueued_at_us, side="right") - 1, 0)
        keys: list[str]
        if chosen.size and chosen.min() == chosen.max():
            made = self._made[int(chosen[0])]
            keys = [made[device_id] for device_id in device_ids]
        else:
            keys = [self._made[row][device_id] for row, device_id in zip(chosen.tolist(), device_ids, strict=True)]
        return pl.Series("device_key", keys, dtype=pl.String)


class _Made(dict[str, str]):
    """The keys made with one secret, by device id."""

    def __init__(self, secret: DeviceKey) -> None:
        super().__init__()
        # RFC 2104 with both pads hashed once: half the time of hmac.digest an id, and most ids come once a file.
        block = secret.secret if len(secret.secret) <= _BLOCK_BYTES else hashlib.sha256(secret.secret).digest()
        block = block.ljust(_BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))
        self._prefix = f"{secret.key_id}:"

    def __missing__(self, device_id: str) -> str:
        if len(self) >= MOST_REMEMBERED:
            self.clear()
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(device_id.encode(errors="surrogatepass"))
        outer.update(inner.digest())
        made = self[device_id] = self._prefix + outer.hexdigest()[:HEX_DIGITS]
        return made

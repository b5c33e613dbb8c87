"""device_key: what silver and gold hold in place of a device id, so that nobody reads ids there.

A key is HMAC-SHA256 of the device id (RFC 2104), cut to 128 bits and prefixed with the id of the secret that made it:
`keyid:hex`. The secret is chosen by enqueued time, so every engine chooses alike; a device has another key after a
rotation, and what spans the rotation is split.
"""

import hashlib
from collections.abc import Sequence
from threading import Lock

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shared.errors import ConfigurationError
from shared.medallion.hash_slots import HashSlots, Slots
from shared.settings import DeviceKey

HEX_DIGITS = 32
"""128 bits: among a billion devices two have the same key with a chance of 1.5e-21."""

_BLOCK_BYTES = 64
"""Of SHA-256 (FIPS 180-4)."""

MOST_REMEMBERED = 200_000
"""Keys kept a secret: about 30 MB."""


_PIECE_ROWS = 65_536
"""Ids that are looked up together; so many new ones fit in with those that are remembered."""
_SLOTS = 1 << 19


class DeviceKeys:
    """Turns device ids into keys; each id is hashed once, and remembered. May be used from several threads."""

    def __init__(self, secrets: Sequence[DeviceKey]) -> None:
        """`secrets` in the order of their start; raises ConfigurationError when there is none."""
        if not secrets:
            raise ConfigurationError("DEVICE_KEYS is not set: silver needs at least one key to hide device ids")
        self._from_us = np.array([secret.from_us for secret in secrets], dtype=np.int64)
        self._made = [_Made(secret) for secret in secrets]

    def key(self, device_ids: Sequence[str] | pl.Series, enqueued_at_us: NDArray[np.int64]) -> pl.Series:
        """The key of each device when its event was enqueued; the first secret serves what is older than its start."""
        ids = pl.Series("device_key", device_ids, dtype=pl.String)
        chosen = np.maximum(np.searchsorted(self._from_us, enqueued_at_us, side="right") - 1, 0)
        if not chosen.size:
            return ids
        if chosen.min() == chosen.max():
            return self._made[int(chosen[0])].keys(ids)
        keys = ids.clone()
        for row, made in enumerate(self._made):
            own = np.flatnonzero(chosen == row)
            if own.size:
                keys = keys.scatter(own, made.keys(ids.gather(own)))
        return keys


class _Made:
    """The keys made with one secret: found by a hash of the device id, and used if the id is the same."""

    def __init__(self, secret: DeviceKey) -> None:
        # RFC 2104 with both pads hashed once: half the time of hmac.digest an id, and most ids come once a file.
        block = secret.secret if len(secret.secret) <= _BLOCK_BYTES else hashlib.sha256(secret.secret).digest()
        block = block.ljust(_BLOCK_BYTES, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))
        self._prefix = f"{secret.key_id}:"
        self._lock = Lock()
        self._forget()

    def keys(self, ids: pl.Series) -> pl.Series:
        """The key of each id, under the name of the series."""
        with self._lock:
            pieces = [self._keys_of_piece(piece) for piece in ids.to_frame().iter_slices(_PIECE_ROWS)]
        return pl.concat(pieces)

    def _forget(self) -> None:
        self._slots = HashSlots(_SLOTS)
        self._number = np.zeros(_SLOTS, np.int64)
        """By slot: where the id and its key stand in the two series."""
        self._ids = self._keys = pl.Series(dtype=pl.String)

    def _keys_of_piece(self, piece: pl.DataFrame) -> pl.Series:
        ids = piece.to_series()
        if len(self._ids) + len(ids) > MOST_REMEMBERED:
            self._forget()
        slots, is_new = self._slots.place(ids.hash().to_numpy())
        if is_new.any():
            self._remember(ids, slots, np.flatnonzero(is_new))
        numbers = self._number[slots]
        keys = self._keys.gather(numbers).alias(ids.name)
        others = (self._ids.gather(numbers) != ids).arg_true()
        if len(others):  # another id has the same 64 bits of hash
            keys = keys.scatter(others, [self._make(device_id) for device_id in ids.gather(others)])
        return keys

    def _remember(self, ids: pl.Series, slots: Slots, rows: NDArray[np.int64]) -> None:
        taken, first = np.unique(slots[rows], return_index=True)
        new = ids.gather(rows[first]).to_list()
        self._number[taken] = np.arange(len(self._ids), len(self._ids) + len(new))
        # Series of their own: a piece of *ids* would keep the texts of the whole frame.
        self._ids = _and(self._ids, new)
        self._keys = _and(self._keys, [self._make(device_id) for device_id in new])

    def _make(self, device_id: str) -> str:
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(device_id.encode())
        outer.update(inner.digest())
        return self._prefix + outer.hexdigest()[:HEX_DIGITS]


def _and(texts: pl.Series, more: list[str]) -> pl.Series:
    return pl.concat([texts, pl.Series(more, dtype=pl.String)], rechunk=True)

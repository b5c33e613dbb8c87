"""Places for 64-bit hashes that come in columns, frame after frame: which were there before, and where."""

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Slots = NDArray[np.int64]
Flags = NDArray[np.bool_]

_FREE, _IN_PLACE_OF_FREE = np.uint64(0), np.uint64(1)


class HashSlots:
    """A hash table of a fixed size with linear probing, a column at a time; 8 bytes a slot.

    `hashes` holds what lies in each slot, 0 where none does; the hash 0 is kept as 1.
    """

    def __init__(self, slots: int) -> None:
        """*slots*: a power of two, and at least twice as many as there will be hashes, or looking takes long."""
        self.hashes: Hashes = np.zeros(slots, np.uint64)

    def place(self, hashes: Hashes) -> tuple[Slots, Flags]:
        """The slot of each hash, which it takes if it has none yet, and whether it took it now."""
        hashes = np.where(hashes == _FREE, _IN_PLACE_OF_FREE, hashes)
        last = self.hashes.size - 1
        slots = (hashes & np.uint64(last)).astype(np.int64)
        is_placed, is_new = self._try(hashes, slots)
        rows = np.flatnonzero(~is_placed)
        while rows.size:
            slots[rows] = (slots[rows] + 1) & last
            is_placed, is_new[rows] = self._try(hashes[rows], slots[rows])
            rows = rows[~is_placed]
        return slots, is_new

    def _try(self, hashes: Hashes, slots: Slots) -> tuple[Flags, Flags]:
        """Which hashes lie in their slots now, and which of those slots were free."""
        found = self.hashes[slots]
        is_free = found == _FREE
        self.hashes[slots] = np.where(is_free, hashes, found)  # of several for one slot one gets it
        is_placed = self.hashes[slots] == hashes
        return is_placed, is_placed & is_free

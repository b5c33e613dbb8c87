"""Places for 64-bit hashes that come in columns, frame after frame: which were there before, and where."""

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Slots = NDArray[np.int64]

_FREE, _IN_PLACE_OF_FREE = np.uint64(0), np.uint64(1)


class HashSlots:
    """A hash table of a fixed size with linear probing, a column at a time; 8 bytes a slot.

    `hashes` holds what lies in each slot, 0 where none does; the hash 0 is kept as 1.
    """

    def __init__(self, slots: int) -> None:
        """*slots*: a power of two, and at least twice as many as there will be hashes, or looking takes long."""
        self.hashes: Hashes = np.zeros(slots, np.uint64)

    def place(self, hashes: Hashes) -> tuple[Slots, NDArray[np.bool_]]:
        """The slot of each hash, which it takes if it has none yet, and whether it took it now."""
        hashes = np.where(hashes == _FREE, _IN_PLACE_OF_FREE, hashes)
        slots, is_new = np.empty(hashes.size, np.int64), np.zeros(hashes.size, np.bool_)
        last = self.hashes.size - 1
        rows, at = np.arange(hashes.size), (hashes & np.uint64(last)).astype(np.int64)
        while rows.size:
            wanted = hashes[rows]
            is_free = self.hashes[at] == _FREE
            self.hashes[at[is_free]] = wanted[is_free]  # of several for one slot one gets it; the others go on
            is_placed = self.hashes[at] == wanted
            slots[rows[is_placed]] = at[is_placed]
            is_new[rows[is_placed & is_free]] = True
            rows, at = rows[~is_placed], (at[~is_placed] + 1) & last
        return slots, is_new

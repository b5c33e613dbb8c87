"""Rows with several items each, as flat columns; and blocks of such rows, which bound the memory they take."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

ITEMS_A_BLOCK = 1 << 18
"""Work of any size goes through its items in blocks of this many, which bounds its memory to some 30 MiB."""


def runs(count: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For counts 2, 0, 3 the rows 0 0 2 2 2 and the offsets 0 1 0 1 2."""
    row = np.repeat(np.arange(len(count)), count)
    return row, np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)


def blocks(count: NDArray[np.int64]) -> Iterator[slice]:
    """Cut rows into slices of about ITEMS_A_BLOCK items each; a single row may have more. At least one slice."""
    total = np.cumsum(count)
    first = 0
    while first < len(count) or first == 0:
        done = total[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(total, done + ITEMS_A_BLOCK, side="right")))
        yield slice(first, last)
        first = last

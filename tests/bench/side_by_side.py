"""Candidates against a baseline: interleaved rounds, so that a busy machine disturbs all of them alike; medians of CPU
time, ratio."""

import statistics
import sys
import time
from collections.abc import Callable, Mapping


def compare(
    title: str, candidates: Mapping[str, Callable[[], object]], items: int, rounds: int = 15
) -> dict[str, float]:
    """Time every candidate once a round and write its median, with its speed relative to the first, the baseline.

    Returns the medians by candidate, in microseconds an item.
    """
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            start = time.process_time()
            run()
            seconds[name].append(time.process_time() - start)
    medians = {name: statistics.median(taken) / items * 1e6 for name, taken in seconds.items()}
    baseline = next(iter(medians.values()))
    sys.stdout.write(f"{title}\n")
    for name, median_us in medians.items():
        sys.stdout.write(f"  {name:<44} {median_us:9.3f} us each   {baseline / median_us:6.1f} x\n")
    return medians

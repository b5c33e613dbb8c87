"""Retry policies of functions: how long to wait before the same events are tried again."""

import random
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class RetryStrategy(StrEnum):
    """The two strategies of `@app.retry`."""

    FIXED_DELAY = "fixed_delay"
    EXPONENTIAL_BACKOFF = "exponential_backoff"


@dataclass(frozen=True, slots=True)
class RetryContext:
    """What a function is told about the attempt it makes; the first one has count 0."""

    retry_count: int = 0
    max_retry_count: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """A function's policy; `max_retry_count` -1 means for ever.

    A fixed delay has `minimum` = `maximum`. The exponential one waits the minimum before the first retry, then
    minimum + r * minimum * 2^(n-2) before the nth, r uniform in 0.8 to 1.2, at most the maximum. Source:
    azure-webjobs-sdk, `RandomizedExponentialBackoffStrategy` with the minimum as its delta.
    """

    strategy: RetryStrategy
    max_retry_count: int
    minimum: timedelta
    maximum: timedelta

    def allows(self, retry: int) -> bool:
        """True when the nth retry (the first is 1) is to be made."""
        return self.max_retry_count == -1 or retry <= self.max_retry_count

    def delay(self, retry: int) -> timedelta:
        """How long to wait before the nth retry (the first is 1)."""
        if self.strategy is RetryStrategy.FIXED_DELAY or retry == 1:
            return self.minimum
        # 2^24 s is half a year, past any maximum; without a limit the power overflows in a long outage.
        backoff = self.minimum * random.uniform(0.8, 1.2) * float(1 << min(retry - 2, 24))
        return min(self.minimum + backoff, self.maximum)

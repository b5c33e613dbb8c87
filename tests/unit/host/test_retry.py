"""How long a retry policy waits, and how often it tries."""

from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from infra.local.host.retry import RetryPolicy, RetryStrategy

SECOND = timedelta(seconds=1)


def _exponential(minimum: timedelta, maximum: timedelta, count: int = -1) -> RetryPolicy:
    return RetryPolicy(RetryStrategy.EXPONENTIAL_BACKOFF, count, minimum, maximum)


def test_a_fixed_delay_is_always_the_same() -> None:
    policy = RetryPolicy(RetryStrategy.FIXED_DELAY, 3, 2 * SECOND, 2 * SECOND)
    assert [policy.delay(retry) for retry in (1, 2, 3)] == [2 * SECOND] * 3


def test_the_first_exponential_delay_is_the_minimum() -> None:
    assert _exponential(SECOND, 30 * SECOND).delay(1) == SECOND


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 500), st.integers(1, 86_400), st.integers(1, 86_400))
def test_an_exponential_delay_doubles_within_its_bounds(retry: int, one: int, other: int) -> None:
    minimum, maximum = (timedelta(seconds=value) for value in sorted((one, other)))
    steps = 1 << min(retry - 2, 24)
    delay = _exponential(minimum, maximum).delay(retry)
    assert min(maximum, minimum + minimum * 0.8 * steps) <= delay <= min(maximum, minimum + minimum * 1.2 * steps)


def test_a_count_of_minus_one_means_for_ever() -> None:
    assert _exponential(SECOND, SECOND, -1).allows(1_000_000)


def test_a_count_is_the_number_of_retries_not_of_tries() -> None:
    policy = _exponential(SECOND, SECOND, 2)
    assert [policy.allows(retry) for retry in (1, 2, 3)] == [True, True, False]

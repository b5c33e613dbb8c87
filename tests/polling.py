"""Waiting in tests: poll for a condition with a deadline, never sleep and hope."""

import time
from collections.abc import Callable


def wait_until[T](condition: Callable[[], T], timeout: float = 30, what: str = "the condition") -> T:
    """Poll `condition` until it is true and return its value; AssertionError that names `what` after `timeout` s.

    An exception in `condition` is not caught: a condition that must wait for a server says so itself.
    """
    deadline = time.monotonic() + timeout
    pause = 0.01
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout:g} s in vain for {what}; it is {value!r}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.2)

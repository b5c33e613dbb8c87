"""What every trigger needs to stop well: a signal that can be waited for, and calls that come to their end."""

import asyncio
from collections.abc import Coroutine
from typing import Any


class HostStopping(Exception):
    """The host stops; what was begun is left to its successor, which finds no receipt and no checkpoint for it."""


class Signal:
    """Something that happens once, such as the host's stopping."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    @property
    def is_set(self) -> bool:
        return self._event.is_set()

    def set(self) -> None:
        self._event.set()

    async def within(self, seconds: float) -> bool:
        """Wait at most `seconds`; True when it has happened."""
        try:
            await asyncio.wait_for(self._event.wait(), seconds)
        except TimeoutError:
            return self._event.is_set()  # a wait of no time at all does not look
        return True


class Calls:
    """Work that goes on to its end when whoever waits for it is cancelled: a function cannot be interrupted."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start[T](self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin `work`; nobody need wait for it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def run[T](self, work: Coroutine[Any, Any, T]) -> T:
        """Begin `work` and wait for it; a cancellation ends the waiting only."""
        return await asyncio.shield(self.start(work))

    async def finished(self) -> None:
        """Wait until everything that was begun has ended."""
        while self._tasks:
            await asyncio.wait(self._tasks)

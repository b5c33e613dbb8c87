"""Threads that take turns: only the one that holds the baton runs, so an interleaving is a list of choices."""

import threading
from collections.abc import Callable


class Crash(BaseException):
    """The process of the task dies where it stands."""


class Task:
    """A function that runs until its next `pause`, each time it is given a turn."""

    def __init__(self, baton: "Baton", function: Callable[[], None]) -> None:
        self._baton = baton
        self._turn = threading.Semaphore(0)
        self._is_crashing = False
        self.is_done = False
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(function,), daemon=True)
        self._thread.start()

    def _run(self, function: Callable[[], None]) -> None:
        self._turn.acquire()
        self._baton.running = self
        try:
            if not self._is_crashing:
                function()
        except Crash:
            pass
        except BaseException as error:  # noqa: BLE001 - handed to the test, which raises it
            self.error = error
        self.is_done = True
        self._baton.back.release()

    def step(self) -> bool:
        """Run to the next pause; True when the task has ended."""
        self._baton.running = self
        self._turn.release()
        self._baton.back.acquire()
        if self.error is not None:
            raise self.error
        return self.is_done

    def crash(self) -> None:
        """End the task where it paused."""
        self._is_crashing = True
        while not self.is_done:
            self.step()
        self._thread.join()

    def pause(self) -> None:
        self._baton.back.release()
        self._turn.acquire()
        if self._is_crashing:
            raise Crash


class Baton:
    """Who holds the right to run."""

    def __init__(self) -> None:
        self.back = threading.Semaphore(0)
        self.running: Task | None = None

    def pause(self) -> None:
        """Called by the running task: let the others run."""
        assert self.running is not None
        self.running.pause()

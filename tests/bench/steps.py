"""Where the CPU time of a benchmark goes, step by step."""

import time
from collections.abc import Callable


class Steps:
    """CPU seconds of named calls, those inside a call taken off."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._inner = [0.0]

    def timed[**P, T](self, step: str, call: Callable[P, T]) -> Callable[P, T]:
        self.seconds[step] = 0.0

        def run(*args: P.args, **kwargs: P.kwargs) -> T:
            self._inner.append(0.0)
            began = time.process_time()
            try:
                return call(*args, **kwargs)
            finally:
                taken = time.process_time() - began
                self.seconds[step] += taken - self._inner.pop()
                self._inner[-1] += taken

        return run

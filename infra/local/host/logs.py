"""Logging of the host process: its own lines, and those of functions marked with the function's name."""

import logging
import sys
from collections.abc import Callable

_FORMAT = "%(asctime)s %(levelname)-7s %(prefix)s%(message)s"
_NOISY = {
    # One line a request, or a line a call of the engine: the host says that itself.
    "azure": logging.WARNING,
    "azure.functions": logging.WARNING,
    # The SDK warns of every attempt to reconnect; `Outage` says it once.
    "azure.eventhub": logging.ERROR,
    "asyncio": logging.WARNING,
}


class _Prefix(logging.Filter):
    def __init__(self, function_of_this_thread: Callable[[], str | None]) -> None:
        super().__init__()
        self._function_of_this_thread = function_of_this_thread

    def filter(self, record: logging.LogRecord) -> bool:
        name = self._function_of_this_thread()
        record.prefix = f"[{name}] " if name else ""
        return True


def set_up_logging(function_of_this_thread: Callable[[], str | None]) -> None:
    """Log to standard error; `function_of_this_thread` says whose line it is."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(_FORMAT))
    handler.addFilter(_Prefix(function_of_this_thread))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name, level in _NOISY.items():
        logging.getLogger(name).setLevel(level)

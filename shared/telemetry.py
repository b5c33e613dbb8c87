"""The canonical log line: one a batch, file or build, with everything worth knowing of it as fields.

`evaluated partition_id=2 events=1024 rejected=3 offers=17 …`: a person can read it, and a query can take it apart
(`parse` and `extract` in KQL). Never a device id or a position: those lie in the lake, and there as keys.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class Stopwatch:
    """Milliseconds spent in each step of some work; a step that is taken again goes on. Nothing decides by it."""

    def __init__(self) -> None:
        self.ms: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Count what happens inside to the step of that name, also when it raises."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.ms[name] = self.ms.get(name, 0.0) + (time.perf_counter() - began) * 1_000


def line(did: str, fields: Mapping[str, object]) -> str:
    """What was done and its fields, as `key=value`; a value with white space or quotes is quoted.

    A mapping becomes a field for each of its keys: `ms={"load": 2.5}` is `ms_load=2.5`.
    """
    return " ".join([did, *(f"{key}={_shown(value)}" for key, value in _flat(fields))])


def _flat(fields: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    for key, value in fields.items():
        if isinstance(value, Mapping):
            yield from _flat({f"{key}_{inner}": value[inner] for inner in value})
        else:
            yield key, value


def _shown(value: object) -> str:
    text = str(value)
    if text and not any(character.isspace() or character in '"=' for character in text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

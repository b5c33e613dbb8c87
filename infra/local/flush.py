"""Waiting until everything that was sent has been evaluated, captured, refined and built into gold."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from infra.local.control import NoAnswer
from infra.local.stack import Stack, StackError

EVALUATE, REFINE, BUILD_GOLD = "evaluate_proximity", "refine_capture", "build_gold"
_POLL_S = 0.1

type Status = Mapping[str, Any]
"""What `GET /admin/footfall/status` of the host says."""
type Stats = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""What `GET /stats` of the broker says: numbers by hub and partition."""


class NotCaughtUp(StackError):
    """Something had not caught up at the timeout; the message says what."""


@dataclass(slots=True)
class Flush:
    """One flush of a running stack. `say` gets a line for each step, for people."""

    stack: Stack
    timeout_s: float
    say: Callable[[str], None] = lambda _: None

    def run(self) -> None:
        """Return when silver and gold have what was sent before the call. Raises NotCaughtUp, NoAnswer."""
        deadline = time.monotonic() + self.timeout_s
        self.say("waiting until every ping is evaluated …")
        stats = self.stack.broker.stats()
        self._wait(deadline, lambda: behind(self.stack.host.status(), stats))
        self.say("closing the capture windows …")
        self.stack.broker.flush_capture(_left(deadline))
        captured = datetime.now(UTC)
        self.say("waiting until every capture file is refined …")
        self._wait(deadline, lambda: unrefined(self.stack.host.status(), captured))
        self.say("building gold …")
        self._build_gold(deadline)

    def _wait(self, deadline: float, missing: Callable[[], str | None]) -> None:
        while (what := missing()) is not None:
            if time.monotonic() > deadline:
                raise NotCaughtUp(f"not caught up after {self.timeout_s:g} s: {what}")
            time.sleep(_POLL_S)

    def _build_gold(self, deadline: float) -> None:
        """Run the timer's function until it has succeeded once: from here on it sees all of silver."""
        while True:
            try:
                self.stack.host.run_now(BUILD_GOLD, _left(deadline))
                return
            except NoAnswer as error:
                if time.monotonic() > deadline:
                    raise NotCaughtUp(f"not caught up after {self.timeout_s:g} s: {error}") from error
                time.sleep(_POLL_S)


def behind(status: Status, stats: Stats) -> str | None:
    """What of the events that `stats` tells of is not evaluated yet, in words; None when all is."""
    trigger = _trigger(status, EVALUATE, "event_hub")
    lags = []
    for partition_id, numbers in stats[trigger["hub"]].items():
        newest = numbers["next"] - 1
        checkpoint = (trigger["partitions"].get(partition_id) or {}).get("checkpoint")
        # A partition whose events have all been dropped has nothing to wait for.
        if numbers["next"] > numbers["first"] and (checkpoint is None or checkpoint < newest):
            lags.append(f"partition {partition_id} at {checkpoint} of {newest}")
    return f"{EVALUATE} is behind on {trigger['hub']}: {', '.join(lags)}" if lags else None


def unrefined(status: Status, captured: datetime) -> str | None:
    """What of the capture files that were there at `captured` is not refined yet, in words; None when all is."""
    blobs = _trigger(status, REFINE, "blobs")
    if blobs["poisoned"]:
        return f"{REFINE} gave up {blobs['poisoned']} capture files; `footfall logs host` says why"
    if blobs["last_scan"] is None or datetime.fromisoformat(blobs["last_scan"]) < captured:
        return f"{REFINE} has not looked for the newest capture files yet"
    return f"{blobs['pending']} capture files are not refined" if blobs["pending"] else None


def _trigger(status: Status, function: str, kind: str) -> Mapping[str, Any]:
    functions: Mapping[str, Any] = status["functions"]
    if kind not in functions.get(function, {}):
        raise StackError(f"the host runs no {function} with a trigger of that kind; it has {', '.join(functions)}")
    trigger: Mapping[str, Any] = functions[function][kind]
    return trigger


def _left(deadline: float) -> float:
    """Seconds left, at least one: a request that is bound to fail would say less than what it would have answered."""
    return max(1.0, deadline - time.monotonic())

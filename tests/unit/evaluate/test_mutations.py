"""The protocol changed in one place: the random histories catch each change.

Each mutation is a substitution in the source of a module; one whose text is not there any more fails, so that this list
cannot fall behind the code. The first ten are those of the model that the protocol was designed with. Which ones need
what:

* The fence (the position row in every transaction) is needed because budgets cross devices: a worker that comes back
  with an old copy would say "sent" in the row of a device that nobody has written meanwhile, from a count that is old.
* A copy that two invocations use at once leads to no wrong word, because every write is guarded and a snapshot's
  position is never changed in place. But an old copy that is never taken out is never loaded again: the partition
  stops.
"""

import importlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from uuid import uuid4

import pytest

from shared.domain import deciding
from shared.workflows import evaluate
from tests import fakes
from tests.unit.evaluate.histories import Play, check

pytestmark = pytest.mark.slow

MOST_HISTORIES = 1_500

type Change = tuple[str, str]

COMMIT = """\
            tags = self._states.commit(batch.partition, snapshot.generation, [*group, Write(None, position, etag)])
            etag = tags[-1]
            for write, tag in zip(group, tags[:-1], strict=True):
"""
UNFENCED = """\
            fence = [Write(None, position, etag)] if number == len(groups) else []
            tags = self._states.commit(batch.partition, snapshot.generation, [*group, *fence])
            etag = tags[-1] if fence else etag
            for write, tag in zip(group, tags[:len(group)], strict=True):
"""

MUTATIONS: dict[str, tuple[ModuleType, Change]] = {
    "nothing is said again": (
        evaluate,
        ("                decided.say(words)\n                if ping", "                if ping"),
    ),
    "writes are not guarded": (fakes, ("if (found.etag if found else None) != write.etag:", "if False:")),
    "the position does not count": (
        evaluate,
        ("max(applied_to, -1 if row is None else row.last)", "(-1 if row is None else row.last)"),
    ),
    "words are forgotten too early": (
        evaluate,
        ("in row.said.items() if at >= horizon}", "in row.said.items() if at > horizon}"),
    ),
    "the first transaction moves the position": (
        evaluate,
        ("after if number == len(groups) else fence", "after if number >= 1 else fence"),
    ),
    "there is no fence": (evaluate, (COMMIT, UNFENCED)),
    "what is said again costs no budget": (
        evaluate,
        ("decided.spend(words.spent)\n            return", "pass\n            return"),
    ),
    "rows that were not applied are pruned": (evaluate, ("row.last <= applied_to and ", "")),
    "rows never expire": (deciding, ("ping.enqueued_at_us - state.changed_us > state_ttl_us:", "False:")),
    "two invocations use one copy": (
        evaluate,
        ("self._copies.pop(batch.partition, None)", "self._copies.get(batch.partition)"),
    ),
    "a device's own number does not count": (
        evaluate,
        ("max(applied_to, -1 if row is None else row.last)", "applied_to"),
    ),
    "what is said again costs budget twice": (
        evaluate,
        ("if ping.sequence_number > applied_to:  # saved", "if True:  # saved"),
    ),
    "rows are pruned with their words": (evaluate, (" and all(at < horizon for at in row.said):", ":")),
    "who found a conflict keeps its budgets": (
        evaluate,
        (
            "_Decided(spent=dict(snapshot.position.value.spent) if snapshot.position else {})",
            "_Decided(spent=self.__dict__.setdefault('kept', {}))",
        ),
    ),
}


@pytest.fixture(autouse=True, name="_quiet")
def _no_log_records() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def mutated(module: ModuleType, change: Change) -> ModuleType:
    """A copy of the module with the change in its source."""
    old, new = change
    assert module.__file__ is not None
    source = Path(module.__file__).read_text(encoding="utf-8")
    assert source.count(old) == 1, (
        f"the mutation does not apply, {module.__name__} has {source.count(old)} times: {old}"
    )
    copy = ModuleType(f"mutated_{uuid4().hex}")
    sys.modules[copy.__name__] = copy  # where dataclasses look up their annotations
    try:
        exec(compile(source.replace(old, new), module.__file__, "exec"), copy.__dict__)  # noqa: S102
    finally:
        del sys.modules[copy.__name__]
    return copy


def histories_until_caught(module: ModuleType, change: Change) -> int:
    """How many histories it took until one failed."""
    copy = mutated(module, change)
    evaluator = copy.Evaluator if module is evaluate else evaluate.Evaluator
    if module is deciding:
        changed = mutated(evaluate, ("log = logging.getLogger(__name__)", "log = logging.getLogger(__name__)"))
        changed.__dict__["decide"] = copy.decide
        evaluator = changed.Evaluator
    states = copy.FakeStates if module is fakes else fakes.FakeStates
    for seed in range(MOST_HISTORIES):
        try:
            check(Play(seed, states(), evaluator=evaluator))
        except (AssertionError, LookupError):
            return seed + 1
    raise AssertionError(f"{MOST_HISTORIES} histories did not catch it")


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_change_of_the_protocol_is_caught(name):
    module, change = MUTATIONS[name]
    assert histories_until_caught(importlib.import_module(module.__name__), change) <= MOST_HISTORIES

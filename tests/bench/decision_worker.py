"""One worker process of the decision's benchmark: an app in Microsoft's engine, and a crowd that sends it batches.

The process is bound to one core, and what counts is the CPU time of all its threads: the engine's decoding of the
binding, the function, the encoding of its outputs. Batches are prepared before the clock starts. What is not measured
is the host on the other side of gRPC.
"""

import asyncio
import json
import os
import time
import uuid
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from infra.local.host.engine import Arguments, Engine, Result
from infra.local.host.event_hub_conversion import Partition, ReceivedEvent, batch_arguments
from infra.local.host.retry import RetryContext
from tests.bench.decision_world import BATCH, Crowd, reference
from tests.bench.steps import Steps

BENCH = Path(__file__).parent
PARTITION = Partition("local", "dev-readfrom", "footfall", "0")
SETTINGS = {
    "PINGS_HUB": "dev-readfrom",
    "OFFERS_HUB": "dev-writeto",
    "DECISIONS_HUB": "dev-decisions",
    "CONSUMER_GROUP": "footfall",
    "BUILD_GOLD_SCHEDULE": "0 * * * * *",
    "CAPTURE_TRIGGER_SOURCE": "LogsAndContainerScan",
    "BRONZE_CONTAINER": "bronze",
}


@dataclass(frozen=True, slots=True)
class Case:
    """Which app, and how many of the devices go shopping: those have a row of state, so that every ping writes it."""

    app: str
    shoppers: float
    has_fast_decode: bool = False
    """For an app other than ours: give it our shorter way to decode the binding's times."""
    state_storage: str = ""
    """A connection string; without it the state lies in `tests.fakes.FakeStates`."""


@dataclass(frozen=True, slots=True)
class Round:
    """What some batches took, and what came of them."""

    pings: int
    near: int
    """How many of them were near a store."""
    cpu_s: float
    wall_s: float
    offers: int
    decisions: int


class Worker:
    """A process with one app."""

    def __init__(self, case: Case) -> None:
        self._pool = ProcessPoolExecutor(1, get_context("spawn"), initializer=_start, initargs=(case,))

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown()

    def run(self, batches: int) -> Round:
        """Evaluate the crowd's next batches."""
        return self._pool.submit(_run, batches).result()

    def steps(self, batches: int) -> dict[str, float]:
        """Where the time goes: CPU microseconds a ping by step, each without the steps inside it."""
        return self._pool.submit(_steps, batches).result()


_app: "_App"


class _App:
    def __init__(self, case: Case) -> None:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        os.environ.update(SETTINGS)
        self.data = reference()
        self.crowd = Crowd(self.data, shoppers=case.shoppers)
        directory = BENCH.parents[1]
        if case.app == "footfall":
            _wire(self.data, case.state_storage)
        else:
            directory = BENCH / case.app
            if case.has_fast_decode:
                from functions import fast_decode

                fast_decode.install()
        engine = Engine(directory)
        (self.function,) = (function for function in engine.start() if function.name == "evaluate_proximity")
        self.engine = engine
        for batch in self.crowd.warm_up():
            self.call([batch_arguments(self.function.trigger, PARTITION, batch)])

    def run(self, batches: int) -> Round:
        """Prepare the batches, then evaluate them against the clock."""
        coming = self.crowd.batches(batches)
        prepared = [batch_arguments(self.function.trigger, PARTITION, batch) for batch in coming]
        wall, cpu = time.perf_counter(), time.process_time()
        results = self.call(prepared)
        cpu_s, wall_s = time.process_time() - cpu, time.perf_counter() - wall
        offers, decisions = (sum(_count(result, name) for result in results) for name in ("offers", "decisions"))
        return Round(batches * BATCH, self._near(coming), cpu_s, wall_s, offers, decisions)

    def call(self, prepared: list[Arguments]) -> list[Result]:
        """The results, which are all good."""
        results = asyncio.run(self._call(prepared))
        for result in results:
            assert result.succeeded, result.traceback
        return results

    async def _call(self, prepared: list[Arguments]) -> list[Result]:
        return [
            await self.engine.call(self.function, str(uuid.uuid4()), arguments, RetryContext())
            for arguments in prepared
        ]

    def _near(self, batches: list[list[ReceivedEvent]]) -> int:
        bodies = [json.loads(event.body) for batch in batches for event in batch]
        latitude, longitude = (np.array([body[name] for body in bodies]) for name in ("latitude", "longitude"))
        return len(np.unique(self.data.index.match(latitude, longitude).ping))


def _start(case: Case) -> None:
    global _app
    _app = _App(case)


def _wire(data: Any, state_storage: str) -> None:
    """Our app as it is, with the reference data given, and the state in memory unless a storage is named."""
    from shared import bootstrap
    from shared.workflows.evaluate import Evaluator
    from tests.fakes import FakeHub, FakeReferences, FakeStates

    states: Any = FakeStates()
    if state_storage:
        from azure.data.tables import TableServiceClient

        from shared.adapters.state_table import StateTable

        states = StateTable.of(TableServiceClient.from_connection_string(state_storage), f"bench{uuid.uuid4().hex}")
    evaluator = Evaluator(FakeReferences([(0, data)]), states, FakeHub(4), partition_count=4, delivery_window_s=300)
    bootstrap.evaluator = lambda: evaluator  # type: ignore[assignment]


def _count(result: Result, name: str) -> int:
    return len(json.loads(result.outputs[name].value)) if name in result.outputs else 0


def _run(batches: int) -> Round:
    return _app.run(batches)


def _steps(batches: int) -> dict[str, float]:
    from azure.functions.eventhub import EventHubTriggerConverter

    from functions import proximity
    from shared.workflows import evaluate, sightings

    steps = Steps()
    for step, owner, name in (
        ("binding: events from the engine's data", EventHubTriggerConverter, "decode"),
        ("hub_batch: events to columns", proximity, "hub_batch"),
        ("decode_pings", sightings, "decode_pings"),
        ("match: index, Near objects", sightings, "_near"),
        ("see: the rest", evaluate, "see"),
        ("select rows, sighting objects, new rows", evaluate.Evaluator, "_decide"),
        ("decide", evaluate, "decide"),
        ("encode offers and decisions", evaluate.Evaluator, "_words"),
        ("remember what was said", evaluate, "_remember"),
        ("save the state", evaluate.Evaluator, "_save"),
        ("evaluate: the rest", evaluate.Evaluator, "evaluate"),
    ):
        setattr(owner, name, steps.timed(step, getattr(owner, name)))
    taken = _app.run(batches)
    found = {step: seconds / taken.pings * 1e6 for step, seconds in steps.seconds.items()}
    return found | {"engine: the rest, threads, log": taken.cpu_s / taken.pings * 1e6 - sum(found.values())}

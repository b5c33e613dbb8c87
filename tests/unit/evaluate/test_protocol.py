"""Each event is decided once, through crashes, takeovers and lost answers.

Random histories of one hub partition: late pings, rows that expire, decisions that raise; processes that die between
any two storage requests, answers that get lost after the write was done, batches delivered again and cut anew,
checkpoints that get lost, a partition that moves away while the old worker still runs, and moves back to it.
What is published must be exactly what one undisturbed run over the events says, repeats allowed, in order per device.
"""

import logging
import random
from dataclasses import dataclass, field

import pytest

from shared.domain.budget import Budget
from shared.domain.deciding import decide, fail
from shared.domain.decision import Near, SeenPing
from shared.domain.reference import ReferenceData
from shared.errors import StateUnavailable, TransientError
from shared.workflows.evaluate import STATE_TTL_US, Evaluator
from shared.workflows.messages import encode_decision, encode_offer
from shared.workflows.partition_state import HubPartition, Position, Snapshot, Write
from tests.fakes import FakeHub, FakeReferences, FakeStates
from tests.unit.evaluate.baton import Baton, Task
from tests.unit.evaluate.world import (
    CAFE,
    FAR_AWAY,
    NOON_US,
    PARTITION,
    SECOND_US,
    BrokenReference,
    batch,
    body,
    reference,
)

HISTORIES = 60


@dataclass(frozen=True)
class Event:
    number: int
    device_id: str
    is_near: bool
    enqueued_us: int
    tracked_us: int

    def as_event(self) -> tuple[int, int, str, bytes]:
        position = CAFE if self.is_near else FAR_AWAY
        return self.number, self.enqueued_us, self.device_id, body(self.device_id, position, self.tracked_us)

    def as_ping(self) -> SeenPing:
        latitude, longitude = CAFE if self.is_near else FAR_AWAY
        # The café lies under the ping, the bakery 33 m away is within 20 m of nothing but its margin.
        near = (Near(0, 0.0, inside=True), Near(1, BAKERY_M, inside=False)) if self.is_near else ()
        return SeenPing(
            self.device_id, latitude, longitude, self.tracked_us, self.enqueued_us, None, PARTITION.partition_id,
            self.number, near,
        )  # fmt: skip


BAKERY_M = 33.4


def history(rng: random.Random) -> list[Event]:
    devices = [f"device-{number}" for number in range(rng.choice([2, 6, 12]))]
    events, enqueued_us = [], NOON_US
    for number in range(rng.randint(20, 60)):
        enqueued_us += rng.choice([0, 0, 1, 1, 30, 300, 3600]) * SECOND_US
        if rng.random() < 0.06:
            enqueued_us += STATE_TTL_US
        late_us = rng.choice([1, 5, 100, 200]) * SECOND_US if rng.random() < 0.3 else 0
        events.append(Event(number, rng.choice(devices), rng.random() < 0.5, enqueued_us, enqueued_us - late_us))
    return events


def versions(rng: random.Random, events: list[Event]) -> FakeReferences:
    """Good reference data, with a few moments in which it has a bug."""
    good = reference()
    broken = BrokenReference.like(good)
    found: list[tuple[int, ReferenceData]] = [(0, good)]
    for event in events[1:]:
        is_broken = rng.random() < 0.1
        if event.enqueued_us > found[-1][0]:
            found.append((event.enqueued_us, broken if is_broken else good))
    return FakeReferences(found)


def undisturbed(events: list[Event], references: FakeReferences) -> list[tuple[str, str]]:
    """(device, text) of all that one run over the events says."""
    states: dict = {}
    said = []
    for event in events:
        ping, data = event.as_ping(), references.version_for(event.enqueued_us)
        before = states.get(event.device_id)
        try:
            states[event.device_id], outputs = decide(before, ping, data, Budget(4, {}), state_ttl_us=STATE_TTL_US)
        except ZeroDivisionError:
            outputs = fail(ping, data.version)
        said += [(event.device_id, encode_offer(offer, delivery_window_s=300)) for offer in outputs.offers]
        said += [(event.device_id, encode_decision(decision)) for decision in outputs.decisions]
    return said


@dataclass
class Cloud:
    """The table, with a pause around each request, and answers that get lost."""

    baton: Baton
    rng: random.Random
    states: FakeStates = field(default_factory=FakeStates)

    def load(self, partition: HubPartition) -> Snapshot:
        self.baton.pause()
        return self.states.load(partition)

    def commit(self, partition: HubPartition, generation: int, writes: list[Write]) -> list[str]:
        self.baton.pause()
        if self.rng.random() < 0.05:
            raise StateUnavailable("the request was lost")
        tags = self.states.commit(partition, generation, writes)
        self.baton.pause()
        if self.rng.random() < 0.05:
            raise StateUnavailable("the answer was lost")
        return tags

    def begin_generation(self, partition: HubPartition, first: Position) -> None:
        self.states.begin_generation(partition, first)


@dataclass
class Play:
    """The platform: delivers batches, moves partitions, kills processes."""

    seed: int
    published: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.events = history(self.rng)
        self.references = versions(self.rng, self.events)
        self.rows_a_transaction = self.rng.choice([1, 1, 2, 3])
        self.baton = Baton()
        self.cloud = Cloud(self.baton, self.rng)
        self.workers = [self.worker()]
        self.zombies: list[Task] = []
        self.checkpoint = 0

    def worker(self) -> Evaluator:
        return Evaluator(
            self.references, self.cloud, FakeHub(), partition_count=4, delivery_window_s=300,
            rows_a_transaction=self.rows_a_transaction,
        )  # fmt: skip

    def invoke(self, worker: Evaluator, start: int, end: int) -> Task:
        events = batch(*(event.as_event() for event in self.events[start:end]))

        def invocation() -> None:
            while True:
                try:
                    result = worker.evaluate(events)
                    break
                except TransientError:  # the retry policy runs the same batch again, forever
                    self.baton.pause()
            self.baton.pause()
            self.published.extend(result.offers)
            self.baton.pause()
            self.published.extend(result.decisions)

        return Task(self.baton, invocation)

    def run(self) -> None:
        current, end = None, 0
        while current is not None or self.checkpoint < len(self.events):
            if current is None:
                end = min(len(self.events), self.checkpoint + self.rng.randint(1, 9))
                current = self.invoke(self.workers[-1], self.checkpoint, end)
            dice = self.rng.random()
            if self.zombies and dice < 0.35:
                self.step_a_zombie()
            elif dice < 0.38:  # the process dies; its batch comes again, cut anew, to a new one
                current.crash()
                current = None
                self.workers.append(self.worker())
            elif dice < 0.42:  # the partition moves, to a new worker or back to an old one, and the old batch goes on
                self.zombies.append(current)
                current = None
                self.workers.append(self.rng.choice(self.workers) if self.rng.random() < 0.6 else self.worker())
            elif current.step():
                current = None
                if self.rng.random() < 0.9:  # else the checkpoint is lost
                    self.checkpoint = end
        for zombie in self.zombies:
            zombie.crash()

    def step_a_zombie(self) -> None:
        zombie = self.rng.choice(self.zombies)
        if zombie.step():
            self.zombies.remove(zombie)
        elif self.rng.random() < 0.05:
            zombie.crash()
            self.zombies.remove(zombie)


def check(seed: int) -> None:
    play = Play(seed)
    play.run()
    expected = undisturbed(play.events, play.references)
    texts = [text for _, text in expected]
    assert set(play.published) == set(texts), f"seed {seed}"
    for kind in ("footfall.offer.v1", "footfall.decision.v1"):
        for device_id in {event.device_id for event in play.events}:
            wanted = [text for device, text in expected if device == device_id and kind in text]
            first = [text for text in dict.fromkeys(play.published) if text in set(wanted)]
            assert first == wanted, f"seed {seed}, {device_id}: not in order"


@pytest.fixture(autouse=True, name="_quiet")
def _no_log_records(caplog):
    """A kept record of an exception keeps its frames, and with them the whole history."""
    caplog.set_level(logging.CRITICAL, logger="shared.workflows")


def test_what_is_published_is_what_one_undisturbed_run_says():
    for seed in range(HISTORIES):
        check(seed)


@pytest.mark.slow
def test_what_is_published_is_what_one_undisturbed_run_says_in_many_histories():
    for seed in range(HISTORIES, 1_000):
        check(seed)

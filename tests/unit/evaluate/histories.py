"""Random histories of one hub partition, and what one undisturbed run over the same events says.

Late pings, blurred ones, rows that expire, decisions that raise, two stores whose geofences overlap, promotions at
ENTER and at DWELL with budgets so small that devices compete for them; processes that die between any two storage
requests, requests and answers that get lost, batches delivered again and cut anew, checkpoints that get lost, a
partition that moves away while the old worker still runs, and moves back to it.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from geopy.distance import geodesic

from shared.domain.budget import Budget
from shared.domain.deciding import decide, fail
from shared.domain.decision import Near, SeenPing
from shared.domain.device_state import DeviceState
from shared.domain.promotions import ContactPolicy, Promotion, StoreSelector, Transition
from shared.domain.reference import ReferenceData
from shared.errors import StateUnavailable, TransientError
from shared.workflows.evaluate import STATE_TTL_US, Evaluator
from shared.workflows.messages import encode_decision, encode_offer
from shared.workflows.partition_state import HubPartition, Position, Snapshot, StateStore, Write
from tests.fakes import FakeHub, FakeReferences, FakeStates
from tests.unit.evaluate.baton import Baton, Task
from tests.unit.evaluate.world import (
    BAKERY,
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

PARTITIONS = 4
MOST_STEPS = 5_000
"""A history takes a few hundred; one that takes more than this will never end."""
MOST_IN_VAIN = 3
"""Tries of one batch in a row that found the state moved each time they loaded it: five times a try."""
IN_BOTH = 51.50016, -0.1200
"""18 m from the café and 16 m from the bakery."""
PLACES = (CAFE, IN_BOTH, FAR_AWAY)


@dataclass(frozen=True)
class Event:
    number: int
    device_id: str
    place: tuple[float, float]
    enqueued_us: int
    tracked_us: int
    accuracy_m: float | None = None

    def as_event(self) -> tuple[int, int, str, bytes]:
        more = {} if self.accuracy_m is None else {"accuracy_m": self.accuracy_m}
        return self.number, self.enqueued_us, self.device_id, body(self.device_id, self.place, self.tracked_us, **more)

    def as_ping(self, partition_id: str) -> SeenPing:
        return SeenPing(
            self.device_id, *self.place, self.tracked_us, self.enqueued_us, self.accuracy_m, partition_id, self.number,
            near(self.place),
        )  # fmt: skip


@lru_cache
def near(place: tuple[float, float]) -> tuple[Near, ...]:
    """The geofences near a place, by geopy alone."""
    stores, margin_m = reference().stores, reference().presence.exit_margin_m
    found = []
    for store, (latitude, longitude) in enumerate((CAFE, BAKERY)):
        distance_m, radius_m = geodesic(place, (latitude, longitude)).m, float(stores.radius_m[store])
        if distance_m <= radius_m + margin_m:
            found.append(Near(store, distance_m, inside=distance_m <= radius_m))
    return tuple(found)


@lru_cache
def campaigns(coffees: int, stays: int) -> ReferenceData:
    """So many offers a partition of a promotion at ENTER and of one at DWELL, and one without a budget."""
    promotions = (
        Promotion("coffee", 20.0, "Coffee?", StoreSelector(frozenset({"cafe"})), max_offers=PARTITIONS * coffees),
        Promotion("stay", 10.0, "Another?", trigger=Transition.DWELL, max_offers=PARTITIONS * stays),
        Promotion("bread", 5.0, "Bread?"),
    )
    return reference(promotions=promotions, policy=ContactPolicy(cooldown_s=60, daily_cap=None, min_gap_s=0))


@lru_cache
def broken(good: ReferenceData) -> ReferenceData:
    return BrokenReference.like(good)


def history(rng: random.Random) -> list[Event]:
    devices = [f"device-{number}" for number in range(rng.choice([2, 6, 12, 30]))]
    long_gaps = rng.choice([0.02, 0.2])
    events, enqueued_us = [], NOON_US
    for number in range(rng.randint(20, 60)):
        enqueued_us += rng.choice([0, 0, 1, 1, 30, 120, 300, 3600]) * SECOND_US
        if rng.random() < long_gaps:
            enqueued_us += STATE_TTL_US
        late_us = rng.choice([1, 5, 100, 200]) * SECOND_US if rng.random() < 0.3 else 0
        accuracy_m = rng.choice([10.0, 150.0]) if rng.random() < 0.2 else None
        place = rng.choice(PLACES) if rng.random() < 0.6 else rng.choice([CAFE, FAR_AWAY])
        events.append(Event(number, rng.choice(devices), place, enqueued_us, enqueued_us - late_us, accuracy_m))
    return events


def versions(rng: random.Random, events: Sequence[Event]) -> FakeReferences:
    """Good reference data, with a few moments in which it has a bug."""
    good = campaigns(rng.choice([1, 2, 4]), rng.choice([1, 3]))
    found: list[tuple[int, ReferenceData]] = [(0, good)]
    for event in events[1:]:
        is_broken = rng.random() < 0.1
        if event.enqueued_us > found[-1][0]:
            found.append((event.enqueued_us, broken(good) if is_broken else good))
    return FakeReferences(found)


@dataclass
class Undisturbed:
    """One run over the events, without a table and without batches: what it says, and what is true in the end."""

    references: FakeReferences
    partition_id: str = PARTITION.partition_id
    states: dict[str, DeviceState] = field(default_factory=dict)
    spent: dict[str, int] = field(default_factory=dict)
    said: list[tuple[str, str]] = field(default_factory=list)
    """(device, text)."""

    def run(self, events: Sequence[Event]) -> "Undisturbed":
        for event in events:
            self.decide(event)
        return self

    def decide(self, event: Event) -> None:
        ping, data = event.as_ping(self.partition_id), self.references.version_for(event.enqueued_us)
        before, budget = self.states.get(event.device_id), Budget(PARTITIONS, self.spent)
        try:
            after, outputs = decide(before, ping, data, budget, state_ttl_us=STATE_TTL_US)
        except ZeroDivisionError:
            after, outputs = before, fail(ping, data.version)
        if after is None:
            self.states.pop(event.device_id, None)
        else:
            self.states[event.device_id] = after
        for offer in outputs.offers:
            if offer.promotion.max_offers is not None:
                self.spent[offer.promotion.promotion_id] = self.spent.get(offer.promotion.promotion_id, 0) + 1
        self.said += [(event.device_id, encode_offer(offer, delivery_window_s=300)) for offer in outputs.offers]
        self.said += [(event.device_id, encode_decision(decision)) for decision in outputs.decisions]


@dataclass
class Cloud:
    """The table, with a pause around each request; requests and answers get lost."""

    baton: Baton
    rng: random.Random
    states: StateStore

    def load(self, partition: HubPartition) -> Snapshot:
        self.baton.pause()
        return self.states.load(partition)

    def commit(self, partition: HubPartition, generation: int, writes: Sequence[Write]) -> list[str]:
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

    def position(self, partition: HubPartition) -> Position | None:
        return self.states.position(partition)


@dataclass
class Play:
    """The platform: delivers batches, moves partitions, kills processes."""

    seed: int
    states: StateStore = field(default_factory=FakeStates)
    partition: HubPartition = PARTITION
    evaluator: Callable[..., Evaluator] = Evaluator
    published: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.events = history(self.rng)
        self.references = versions(self.rng, self.events)
        self.rows_a_transaction = self.rng.choice([1, 1, 1, 2, 3])
        self.baton = Baton()
        self.cloud = Cloud(self.baton, self.rng, self.states)
        self.workers = [self.worker()]
        self.current: Task | None = None
        self.zombies: list[Task] = []
        self.checkpoint = self.end = 0

    def worker(self) -> Evaluator:
        return self.evaluator(
            self.references, self.cloud, FakeHub(PARTITIONS), partition_count=PARTITIONS, delivery_window_s=300,
            rows_a_transaction=self.rows_a_transaction,
        )  # fmt: skip

    def invoke(self, worker: Evaluator, start: int, end: int) -> Task:
        events = batch(*(event.as_event() for event in self.events[start:end]), partition=self.partition)

        def invocation() -> None:
            in_vain = 0
            while True:
                try:
                    result = worker.evaluate(events)
                    break
                except TransientError as error:  # the retry policy runs the same batch again, forever
                    in_vain = in_vain + 1 if "moved" in str(error) else 0
                    assert in_vain < MOST_IN_VAIN, f"seed {self.seed}: a worker never catches up with the table"
                    self.baton.pause()
            self.baton.pause()
            self.published.extend(result.offers)
            self.baton.pause()
            self.published.extend(result.decisions)

        return Task(self.baton, invocation)

    def run(self) -> None:
        try:
            for _ in range(MOST_STEPS):
                if not self.turn():
                    return
        finally:
            for task in filter(None, (*self.zombies, self.current)):
                task.crash()
        raise AssertionError(f"seed {self.seed}: the partition does not move any more, at {self.checkpoint}")

    def turn(self) -> bool:
        """Let one thing happen; False when all events are done."""
        if self.current is None:
            if self.checkpoint >= len(self.events):
                return False
            self.end = min(len(self.events), self.checkpoint + self.rng.choice([1, 1, 2, 3, 5, 9]))
            self.current = self.invoke(self.workers[-1], self.checkpoint, self.end)
        dice = self.rng.random()
        if self.zombies and dice < 0.35:
            self.step_a_zombie()
        elif dice < 0.38:  # the process dies; its batch comes again, cut anew, to a new one
            self.current.crash()
            self.current = None
            self.workers.append(self.worker())
        elif dice < 0.42:  # the partition moves, to a new worker or back to an old one, and the old batch goes on
            self.zombies.append(self.current)
            self.current = None
            self.workers.append(self.rng.choice(self.workers) if self.rng.random() < 0.6 else self.worker())
        elif self.current.step():
            self.current = None
            if self.rng.random() < 0.9:  # else the checkpoint is lost
                self.checkpoint = self.end
        return True

    def step_a_zombie(self) -> None:
        zombie = self.rng.choice(self.zombies)
        if zombie.step():
            self.zombies.remove(zombie)
        elif self.rng.random() < 0.05:
            zombie.crash()
            self.zombies.remove(zombie)


def check(play: Play) -> None:
    """Play it: what was published is exactly what one undisturbed run says, repeats allowed, in order per device."""
    play.run()
    truth = Undisturbed(play.references, play.partition.partition_id).run(play.events)
    assert set(play.published) == {text for _, text in truth.said}, f"seed {play.seed}"
    first_time = list(dict.fromkeys(play.published))
    for device_id in {event.device_id for event in play.events}:
        for kind in ("footfall.offer.v1", "footfall.decision.v1"):
            wanted = [text for device, text in truth.said if device == device_id and kind in text]
            mine = set(wanted)
            found = [text for text in first_time if text in mine]
            assert found == wanted, f"seed {play.seed}, {device_id}: not in order"
    position = play.states.position(play.partition)
    assert position is not None
    assert dict(position.spent) == truth.spent, f"seed {play.seed}: budgets"
    check_rows(play.states.load(play.partition), truth.states, play.events[-1].enqueued_us)


def check_rows(snapshot: Snapshot, expected: Mapping[str, DeviceState], now_us: int) -> None:
    """The rows say what is true; those that no event can need may be there or not."""
    found = {device_id: row.value.state for device_id, row in snapshot.rows.items()}
    for device_id in expected.keys() | found.keys():
        state = expected.get(device_id)
        if state is not None and now_us - state.changed_us <= STATE_TTL_US:
            assert found.get(device_id) == state, f"{device_id}: the row is not what is true"
        elif (left := found.get(device_id)) is not None:
            assert left == state or now_us - left.changed_us > STATE_TTL_US, f"{device_id}: a row that never was true"

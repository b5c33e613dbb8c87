"""The state table fails at every request of a batch, in every way: each offer is made once all the same.

The real adapter and the real SDK on Azurite; the faults are made in the transport, below the SDK's own retries. After
each of them the platform does what it does: a batch that raised is run again by the same worker, one whose process died
is delivered again to a new one. In the end what was published is what one undisturbed run says, byte for byte, repeats
allowed; every offer id has one text; and the table says what is true.
"""

import contextlib
import gc
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from itertools import product
from typing import Any
from uuid import uuid4

import msgspec
import pytest
import requests
from azure.core.exceptions import ServiceRequestError, ServiceResponseError
from azure.core.pipeline.transport import HttpTransport, RequestsTransport
from azure.data.tables import TableServiceClient

from shared.adapters.state_table import StateTable
from shared.errors import TransientError
from shared.settings import STATE_TTL
from shared.workflows.evaluate import Evaluation, Evaluator
from shared.workflows.partition_state import HubPartition
from tests.fakes import FakeHub, FakeReferences
from tests.unit.evaluate.baton import Baton, Task
from tests.unit.evaluate.histories import (
    IN_BOTH,
    PARTITIONS,
    Event,
    Undisturbed,
    broken,
    campaigns,
    check_rows,
)
from tests.unit.evaluate.world import CAFE, FAR_AWAY, NOON_US, PARTITION, SECOND_US, batch

pytestmark = [pytest.mark.integration, pytest.mark.slow]

ROWS_A_TRANSACTION = 3
DAY_US = 86_400 * SECOND_US
LONG_AGO_US = NOON_US - round(STATE_TTL.total_seconds()) * SECOND_US - DAY_US


class Died(BaseException):
    """The process ends here: no handler of ours may catch it."""


class Fault(Enum):
    DIES_BEFORE = auto()
    DIES_AFTER = auto()
    REQUEST_LOST = auto()
    ANSWER_LOST = auto()


@dataclass
class Line:
    """The way to the table: counts requests, and lets one of them fail."""

    fault: Fault | None = None
    at: int = -1
    sent: int = 0
    before_each: Callable[[], None] = lambda: None

    def carry(self, send: Callable[[], Any]) -> Any:
        self.before_each()
        number, self.sent = self.sent, self.sent + 1
        fault = self.fault if number == self.at else None
        if fault is Fault.DIES_BEFORE:
            raise Died
        if fault is Fault.REQUEST_LOST:
            raise ServiceRequestError("the request was lost")
        response = send()
        if fault is not None:
            _ = response.internal_response.content  # read to its end, so that the connection can be used again
        if fault is Fault.DIES_AFTER:
            raise Died
        if fault is Fault.ANSWER_LOST:
            raise ServiceResponseError("the answer was lost")
        return response


class Transport(HttpTransport):
    """The SDK's transport over a line; one HTTP session serves all."""

    def __init__(self, session: requests.Session, line: Line) -> None:
        self._inner = RequestsTransport(session=session, session_owner=False)
        self._line = line

    def send(self, request: Any, **options: Any) -> Any:
        return self._line.carry(lambda: self._inner.send(request, **options))

    def open(self) -> None:
        self._inner.open()

    def close(self) -> None:
        self._inner.close()

    def __exit__(self, *_: object) -> None:
        self.close()


def event(number: int, device_id: str, place: tuple[float, float], at_us: int, **more: Any) -> Event:
    return Event(number, device_id, place, at_us, more.pop("tracked_us", at_us), **more)


EARLIER = [
    event(0, "old-1", CAFE, LONG_AGO_US),
    event(1, "old-2", CAFE, LONG_AGO_US),
    *(event(2 + n, device_id, CAFE, NOON_US - 300 * SECOND_US) for n, device_id in enumerate("abc")),
]
"""Two devices whose rows are long expired, three in the café; of six coffees one is left."""
NOW = [
    event(5, "a", CAFE, NOON_US),  # dwells: the one offer of 'stay'
    event(6, "c", FAR_AWAY, NOON_US),
    event(7, "d", CAFE, NOON_US),  # the last coffee
    event(8, "b", CAFE, NOON_US),  # dwells, and nothing is left
    event(9, "e", CAFE, NOON_US + SECOND_US),  # decided while there is a bug
    event(10, "f", CAFE, NOON_US + 2 * SECOND_US),
    event(11, "g", IN_BOTH, NOON_US + 2 * SECOND_US),
    event(12, "a", FAR_AWAY, NOON_US + 3 * SECOND_US, tracked_us=NOON_US - 60 * SECOND_US),  # late
    event(13, "h", CAFE, NOON_US + 3 * SECOND_US, accuracy_m=150.0),
    event(14, "i", FAR_AWAY, NOON_US + 3 * SECOND_US),
    event(15, "e", CAFE, NOON_US + 4 * SECOND_US),
    event(16, "j", IN_BOTH, NOON_US + 4 * SECOND_US),
    event(17, "c", FAR_AWAY, NOON_US + 70 * SECOND_US),  # left
    event(18, "h", CAFE, NOON_US + 70 * SECOND_US),
]
LATER = [
    *(event(19 + n, device_id, CAFE, NOON_US + 80 * SECOND_US) for n, device_id in enumerate("klmn")),  # no coffee
    event(23, "d", FAR_AWAY, NOON_US + 80 * SECOND_US),
    event(24, "d", FAR_AWAY, NOON_US + 150 * SECOND_US),
    event(25, "f", CAFE, NOON_US + 200 * SECOND_US),
]
OF_NEW_HUB = [
    replace(item, number=number, enqueued_us=item.enqueued_us + DAY_US, tracked_us=item.tracked_us + DAY_US)
    for number, item in enumerate(NOW)
]


def references() -> FakeReferences:
    good = campaigns(6, 1)
    return FakeReferences([(0, good), (NOON_US + SECOND_US, broken(good)), (NOON_US + 2 * SECOND_US, good)])


@dataclass
class World:
    """One partition of its own, and the workers on it."""

    service: Callable[[Transport], TableServiceClient]
    session: requests.Session
    table: str
    partition: HubPartition = field(
        default_factory=lambda: replace(PARTITION, consumer_group=f"group-{uuid4().hex[:12]}")
    )
    published: list[str] = field(default_factory=list)

    def states(self, line: Line) -> StateTable:
        return StateTable.of(self.service(Transport(self.session, line)), self.table)

    def worker(self, line: Line) -> Evaluator:
        return Evaluator(
            references(), self.states(line), FakeHub(PARTITIONS), partition_count=PARTITIONS, delivery_window_s=300,
            rows_a_transaction=ROWS_A_TRANSACTION,
        )  # fmt: skip

    def evaluate(self, worker: Evaluator, events: Sequence[Event]) -> Evaluation:
        return worker.evaluate(batch(*(item.as_event() for item in events), partition=self.partition))

    def publish(self, result: Evaluation) -> None:
        self.published += [*result.offers, *result.decisions]

    def deliver(self, events: Sequence[Event], line: Line, worker: Evaluator | None = None) -> Evaluator:
        """As the platform does, until it is done; who did it."""
        worker = worker or self.worker(line)
        while True:
            try:
                self.publish(self.evaluate(worker, events))
            except TransientError:
                continue
            except Died:
                worker = self.worker(line)
            else:
                return worker

    def apply_without_publishing(self, events: Sequence[Event], line: Line) -> None:
        """A worker that dies where the line says, or else before it publishes."""
        with contextlib.suppress(Died):
            self.evaluate(self.worker(line), events)


type Situation = Callable[[World, Line], list[Event]]
"""Plays something on the line, and says which events were delivered."""


def a_new_batch(world: World, line: Line) -> list[Event]:
    world.deliver(EARLIER, Line())
    world.deliver(NOW, line)
    world.deliver(LATER, Line())
    return [*EARLIER, *NOW, *LATER]


def a_batch_for_a_warm_worker(world: World, line: Line) -> list[Event]:
    worker = world.deliver(EARLIER, warm := Line())
    warm.fault, warm.at = line.fault, warm.sent + line.at
    before = warm.sent
    world.deliver(NOW, warm, worker)
    line.sent = warm.sent - before
    world.deliver(LATER, Line())
    return [*EARLIER, *NOW, *LATER]


def a_batch_redelivered_whole(world: World, line: Line) -> list[Event]:
    world.deliver(EARLIER, Line())
    world.apply_without_publishing(NOW, Line())
    world.deliver(NOW, line)
    world.deliver(LATER, Line())
    return [*EARLIER, *NOW, *LATER]


def _cut_anew(world: World, line: Line, transactions: int) -> list[Event]:
    world.deliver(EARLIER, Line())
    world.apply_without_publishing(NOW, Line(Fault.DIES_AFTER, at=2 + transactions))
    world.deliver(NOW[:6], line)
    world.deliver([*NOW[6:], *LATER[:2]], line)
    world.deliver(LATER[2:], Line())
    return [*EARLIER, *NOW, *LATER]


def a_batch_cut_anew_after_its_first_transaction(world: World, line: Line) -> list[Event]:
    return _cut_anew(world, line, 1)


def a_batch_cut_anew_after_its_second_transaction(world: World, line: Line) -> list[Event]:
    return _cut_anew(world, line, 2)


def a_batch_of_a_hub_made_anew(world: World, line: Line) -> list[Event]:
    world.deliver(EARLIER, Line())
    world.deliver(OF_NEW_HUB[:9], line)
    world.deliver(OF_NEW_HUB[9:], Line())
    return [*EARLIER, *OF_NEW_HUB]


def a_partition_that_moves_back(world: World, line: Line) -> list[Event]:
    """The old worker's copy is that of before NOW, and the budget in it as well."""
    old = world.deliver(EARLIER, warm := Line())
    world.deliver(NOW, Line())
    before = warm.sent
    warm.fault, warm.at = line.fault, before + line.at
    world.deliver(LATER, warm, old)
    line.sent = warm.sent - before
    return [*EARLIER, *NOW, *LATER]


def taken_over_at(request: int, shared: list[Event], meanwhile: list[Event], after: list[Event]) -> Situation:
    """The first worker stands still before one of its requests, and goes on when the second has done more than it."""

    def situation(world: World, line: Line) -> list[Event]:
        world.deliver(EARLIER, Line())
        baton = Baton()
        first = world.worker(Line(before_each=baton.pause))
        task = Task(baton, lambda: world.publish(world.evaluate(first, shared)))
        for _ in range(request + 1):
            assert not task.step()
        world.deliver(shared, line)
        world.deliver(meanwhile, Line())
        while not task.step():
            pass
        world.deliver(after, Line())
        return [*EARLIER, *shared, *meanwhile, *after]

    situation.__name__ = f"taken over at request {request}, from event {shared[0].number} on"
    return situation


SITUATIONS: Sequence[Situation] = (
    a_new_batch,
    a_batch_for_a_warm_worker,
    a_batch_redelivered_whole,
    a_batch_cut_anew_after_its_first_transaction,
    a_batch_cut_anew_after_its_second_transaction,
    a_batch_of_a_hub_made_anew,
    a_partition_that_moves_back,
    *(taken_over_at(request, NOW, LATER[:2], LATER[2:]) for request in range(2, 7)),
    *(taken_over_at(request, OF_NEW_HUB[:9], OF_NEW_HUB[9:12], OF_NEW_HUB[12:]) for request in (3, 6, 8)),
)


RETRIES = {a_new_batch: (0, 2)}
"""How often the SDK tries again by itself, where not only never."""


@pytest.fixture(name="world")
def _world(azurite, caplog) -> Iterator[Callable[[int], World]]:
    """Makes worlds; the number is that of the SDK's own retries."""
    caplog.set_level(logging.CRITICAL, logger="shared.workflows")  # a kept record of an error keeps its frames
    session, table = requests.Session(), f"state{uuid4().hex[:12]}"

    def make(retries: int) -> World:
        def service(transport: Transport) -> TableServiceClient:
            return TableServiceClient.from_connection_string(
                azurite.connection_string, transport=transport, retry_total=retries, retry_backoff_factor=0
            )

        return World(service, session, table)

    yield make
    session.close()
    gc.collect()


def check(world: World, situation: Situation, line: Line) -> None:
    events = situation(world, line)
    truth = Undisturbed(references(), world.partition.partition_id)
    for item, before in zip(events, [None, *events], strict=False):
        if before is not None and item.number <= before.number:
            truth.states.clear()  # a new hub: its devices are new, the budgets are not
        truth.decide(item)
    where = f"{situation.__name__}: {line}"
    assert set(world.published) == {text for _, text in truth.said}, where
    offers = [text for text in world.published if "footfall.offer.v1" in text]
    ids = {msgspec.json.decode(text)["id"] for text in offers}
    assert len(ids) == len(set(offers)) > 0, f"{where}: an offer has two texts"
    snapshot = world.states(Line()).load(world.partition)
    assert snapshot.position is not None
    assert truth.spent["coffee"] == 6, "the budget is spent, and counts"
    assert dict(snapshot.position.value.spent) == truth.spent, where
    assert (snapshot.position.value.sequence_number, snapshot.position.value.skipped) == (events[-1].number, 0), where
    check_rows(snapshot, truth.states, events[-1].enqueued_us)


def test_each_offer_is_made_once_in_all_500_cases(world):
    cases = 0
    for situation in SITUATIONS:
        check(world(0), situation, dry := Line())
        assert dry.sent >= 3, f"{situation.__name__} does not ask much of the table"
        for at, fault, retries in product(range(dry.sent), Fault, RETRIES.get(situation, (0,))):
            line = Line(fault, at)
            check(world(retries), situation, line)
            assert line.sent > at, "the fault happened"
            cases += 1
    assert cases == 500

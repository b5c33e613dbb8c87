"""Rows and transactions fit into the table, whatever a device sends: 1 MiB a row, 4 MiB a transaction."""

import json
import logging
import random
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from azure.core.exceptions import ServiceRequestError
from azure.core.pipeline.transport import HttpTransport
from azure.data.tables import TableServiceClient
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.adapters.state_table import StateTable
from shared.domain.device_state import OFFERS_REMEMBERED, Contact, DeviceState, Place
from shared.domain.presence import Visit
from shared.domain.promotions import ContactPolicy, PresenceParameters, Promotion
from shared.domain.reference import ReferenceData
from shared.domain.stores import StoreTable
from shared.errors import StateUnavailable
from shared.workflows import evaluate
from shared.workflows.evaluate import BYTES_A_TRANSACTION, ROW_BYTES, Evaluator
from shared.workflows.partition_state import DeviceRow, HubPartition, Position, Write
from shared.workflows.sightings import HubBatch
from tests.fakes import FakeHub, FakeReferences, FakeStates
from tests.unit.evaluate.world import CAFE, FAR_AWAY, NOON_US, PARTITION, SECOND_US, BrokenReference, batch, body

MIB = 1024 * 1024
HOST = json.loads((Path(__file__).parents[3] / "host.json").read_text(encoding="utf-8"))
MOST_EVENTS = HOST["extensions"]["eventHubs"]["maxEventBatchSize"]
LONG_NAMES = HubPartition("g" * 50, "n" * 50 + ".servicebus.windows.net", "h" * 256, "31")


@pytest.fixture(autouse=True, name="_quiet")
def _no_log_records() -> Iterator[None]:
    """A kept record of an exception keeps its frames, and here there are thousands."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


# --- what a write really weighs ---------------------------------------------------------------------------------------


class Captured(HttpTransport):
    """Keeps the body of the last request, and answers nothing."""

    body: bytes = b""

    def send(self, request: Any, **_: Any) -> Any:
        self.body = request.body if isinstance(request.body, bytes) else request.body.encode()
        raise ServiceRequestError("kept")

    def open(self) -> None: ...

    def close(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


def sent_bytes(*writes: Write) -> bytes:
    """The request that the SDK makes of a transaction."""
    transport = Captured()
    nowhere = "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=YQ==;EndpointSuffix=core.windows.net"
    service = TableServiceClient.from_connection_string(nowhere, transport=transport, retry_total=0)
    with pytest.raises(StateUnavailable):
        StateTable.of(service, "t" * 63).commit(LONG_NAMES, 99, writes)
    return transport.body


def entity_bytes(row: DeviceRow, device_id: str) -> int:
    """The JSON of one row."""
    request = sent_bytes(Write(device_id, row, "W/\"datetime'2026-06-01T12%3A00%3A00.0000000Z'\""))
    (entity,) = (line for line in request.splitlines() if line.startswith(b"{"))
    return len(entity)


IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=128)
TIMES = st.integers(0, 2**53)
VISITS = st.builds(Visit, TIMES, TIMES, st.none() | TIMES, st.booleans(), st.booleans())
CONTACTS = st.builds(Contact, TIMES, IDS)
STATES = st.builds(
    DeviceState,
    TIMES,
    TIMES,
    st.none() | st.builds(Place, TIMES, st.floats(-90, 90), st.floats(-180, 180)),
    st.dictionaries(IDS, VISITS, max_size=70),
    st.dictionaries(IDS, CONTACTS, max_size=70),
    st.lists(TIMES, max_size=100).map(tuple),
    st.dictionaries(IDS, TIMES, max_size=20),
)
WORDS = st.dictionaries(st.integers(0, 2**62), st.integers(0, 200_000).map(bytes), max_size=6)
ROWS = st.builds(DeviceRow, st.none() | STATES, st.integers(0, 2**62), WORDS)
POSITIONS = st.builds(
    Position, st.integers(1, 2048), TIMES, TIMES, TIMES, st.integers(0, 99),
    st.dictionaries(IDS, st.integers(0, 2**62), max_size=100), st.booleans(),
)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(IDS, ROWS), max_size=3), POSITIONS)
def test_no_transaction_is_larger_than_its_rows_say(rows, position):
    tag = "W/\"datetime'2026-06-01T12%3A00%3A00.0000000Z'\""
    writes = [Write(device_id, row, tag) for device_id, row in rows]
    said = sum(row.size for _, row in rows) + position.size
    assert len(sent_bytes(*writes, Write(None, position, tag))) <= said


MOST = 2**53
LONGEST = "\U00020000" * 128
"""An id of the most bytes."""


@pytest.mark.parametrize(
    "state",
    [
        DeviceState(MOST, MOST, visits={f"{n}": Visit(MOST, MOST, MOST, True, True) for n in range(2_000)}),
        DeviceState(MOST, MOST, contacts={f"{n}": Contact(MOST, "p") for n in range(2_000)}),
        DeviceState(MOST, MOST, contacts={f"{n}": Contact(MOST, LONGEST) for n in range(200)}),
        DeviceState(MOST, MOST, contacts={f"{n}{LONGEST[:120]}": Contact(MOST, LONGEST) for n in range(200)}),
        DeviceState(MOST, MOST, offered_us=(MOST,) * OFFERS_REMEMBERED, blurred={f"{n}": MOST for n in range(2_000)}),
    ],
    ids=["visits", "contacts", "promotions", "stores and promotions", "times"],
)
def test_many_of_what_is_remembered_are_no_larger_than_they_say(state):
    row = DeviceRow(state, MOST)
    assert entity_bytes(row, LONGEST) <= row.size


def test_a_deletion_is_no_larger_than_it_says():
    assert len(sent_bytes(Write("字" * 128, None, "x" * 100))) <= evaluate.DELETION_BYTES


@settings(deadline=None, max_examples=60)
@given(IDS, ROWS)
def test_the_json_of_a_row_is_no_larger_than_it_says(device_id, row):
    assert entity_bytes(row, device_id) <= row.size


# --- a device that says too much --------------------------------------------------------------------------------------


@lru_cache
def ids(count: int, seed: int) -> tuple[str, ...]:
    """Ids of 128 Chinese characters, the longest that there are."""
    rng = random.Random(seed)
    return tuple("".join(chr(rng.randint(0x4E00, 0x9FFF)) for _ in range(128)) for _ in range(count))


@lru_cache
def crowded(promotions: int) -> ReferenceData:
    """67 stores within 100 m of one place, as in London; every store runs every promotion."""
    stores = StoreTable(
        store_id=ids(67, 1),
        name=ids(67, 2),
        merchant=ids(67, 3),
        service_type=("Coffee Shop",) * 67,
        location=ids(67, 4),
        latitude=np.linspace(CAFE[0] - 0.0004, CAFE[0] + 0.0004, 67),
        longitude=np.full(67, CAFE[1]),
        radius_m=np.full(67, 100.0),
        loitering_delay_s=np.full(67, 180.0),
        time_zone=("Europe/London",) * 67,
    )
    campaigns = tuple(Promotion(name, 20.0, "字" * 500) for name in ids(promotions, 5))
    policy = ContactPolicy(cooldown_s=0, daily_cap=None, min_gap_s=0)
    return ReferenceData("v1", stores, campaigns, policy, PresenceParameters())


DEVICE = ids(1, 6)[0]
LONGEST_IDS = {"Chinese": DEVICE, "emoji": "🚶🏪" * 64, "controls": "".join(chr(1 + n * 7 % 31) for n in range(128))}


def comings_and_goings(count: int, device_id: str = DEVICE, *, outside: tuple[float, float] = FAR_AWAY) -> HubBatch:
    """One device that comes and is gone a minute later, again and again: every third ping enters 67 stores."""
    events = []
    for number in range(count):
        at_us = NOON_US + (number // 3 * 90 + (0, 10, 75)[number % 3]) * SECOND_US
        latitude, longitude = outside if number % 3 else CAFE
        # All digits that a number has, and another one each time.
        place, at_us = (latitude + number * 1.23456789e-9, longitude - number * 1.23456789e-9), at_us + number * 77
        events.append((number, at_us // SECOND_US * SECOND_US, device_id, body(device_id, place, at_us)))
    return batch(*events)


def evaluator(states: FakeStates, promotions: int) -> Evaluator:
    references = FakeReferences([(0, crowded(promotions))])
    return Evaluator(references, states, FakeHub(), partition_count=4, delivery_window_s=300)


@pytest.mark.parametrize("promotions", [1, 12])
def test_67_stores_at_one_ping_fit_into_a_row(promotions):
    states = FakeStates()
    result = evaluator(states, promotions).evaluate(comings_and_goings(1))
    assert (result.report.decisions, result.report.sent, result.report.failed) == (67 * promotions, 1, 0)
    assert states.row(PARTITION, DEVICE).size < ROW_BYTES


@pytest.fixture(name="full", scope="module")
def _full() -> tuple[FakeStates, Any]:
    states = FakeStates()
    return states, evaluator(states, 4).evaluate(comings_and_goings(MOST_EVENTS))


def test_a_device_that_fills_its_row_fails_and_the_row_still_fits(full):
    states, result = full
    row = states.row(PARTITION, DEVICE)
    assert result.report.sent > 0 < result.report.failed
    assert entity_bytes(row, DEVICE) <= row.size <= MIB
    assert len(row.said) > MOST_EVENTS / 3, "nothing of what was said is lost"


def test_what_a_full_row_said_is_said_again(full):
    states, result = full
    again = evaluator(states, 4).evaluate(comings_and_goings(MOST_EVENTS))
    assert (again.offers, again.decisions) == (result.offers, result.decisions)


@pytest.mark.parametrize("device_id", LONGEST_IDS.values(), ids=LONGEST_IDS)
def test_the_failures_of_a_whole_batch_fit_above_a_full_row(device_id):
    states = FakeStates()
    good = crowded(1)
    bad = BrokenReference("0123456789abcdef", good.stores, good.promotions, good.contact_policy, good.presence)
    references = FakeReferences([(0, bad)])
    worker = Evaluator(references, states, FakeHub(), partition_count=4, delivery_window_s=300)
    failures = worker.evaluate(comings_and_goings(MOST_EVENTS, device_id, outside=CAFE)).report.failed
    row = states.row(PARTITION, device_id)
    assert failures == len(row.said) == MOST_EVENTS
    assert row.size + ROW_BYTES <= MIB


def test_a_device_is_heard_again_in_its_next_batch(full):
    states, _ = full
    at_us = NOON_US + 86_400 * SECOND_US
    result = evaluator(states, 4).evaluate(batch((MOST_EVENTS, at_us, DEVICE, body(DEVICE, CAFE, at_us))))
    assert (result.report.failed, result.report.sent) == (0, 1)


def test_a_transaction_holds_the_largest_row_with_the_position():
    most_spent = dict.fromkeys(ids(1000, 7), 1)
    assert BYTES_A_TRANSACTION + MIB <= 4 * MIB
    assert MIB + Position(4, spent=most_spent).size <= 4 * MIB

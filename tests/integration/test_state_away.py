"""The state table is away, throttles or fails inside an accepted transaction: transient errors, and nothing is lost."""

import gc
import re
import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import requests
from azure.core.pipeline.transport import HttpTransport, RequestsTransport
from azure.data.tables import TableServiceClient

from shared.adapters.azure_clients import table_service
from shared.adapters.state_table import StateTable
from shared.errors import StateUnavailable, TransientError
from shared.settings import Connection
from shared.workflows.evaluate import Evaluation, Evaluator
from shared.workflows.partition_state import DeviceRow, Position, StateConflict, Write
from tests.azurite import AzuriteServer
from tests.fakes import FakeHub, FakeReferences, FakeStates
from tests.polling import wait_until
from tests.unit.evaluate.world import CAFE, FAR_AWAY, NOON_US, PARTITION, SECOND_US, batch, reference, seen_at

pytestmark = pytest.mark.integration

START = Position(partition_count=4)


class Forging(HttpTransport):
    """Answers a refused transaction with another refusal, inside the 202 that a transaction is answered with."""

    def __init__(self, session: requests.Session) -> None:
        self._inner = RequestsTransport(session=session, session_owner=False)
        self.status = b""
        self.forged = 0

    def send(self, request: Any, **options: Any) -> Any:
        response = self._inner.send(request, **options)
        inner = response.internal_response
        if self.status and request.url.endswith("$batch"):
            assert inner.status_code == 202
            inner._content, changed = re.subn(rb"HTTP/1.1 412 [^\r]+", b"HTTP/1.1 " + self.status, inner.content)
            self.forged += changed
        return response

    def open(self) -> None:
        self._inner.open()

    def close(self) -> None:
        self._inner.close()

    def __exit__(self, *_: object) -> None:
        self.close()


@pytest.fixture(name="forging")
def _forging(azurite: AzuriteServer) -> Iterator[tuple[StateTable, Forging]]:
    with requests.Session() as session:
        transport = Forging(session)
        service = TableServiceClient.from_connection_string(
            azurite.connection_string, transport=transport, retry_total=2, retry_backoff_factor=0
        )
        table = StateTable.of(service, f"state{uuid4().hex[:12]}")
        table.load(PARTITION)
        table.commit(PARTITION, 0, [Write("d1", DeviceRow(None, 1), None), Write(None, START, None)])
        yield table, transport
    gc.collect()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("408 Request Timeout", StateUnavailable),
        ("429 Too Many Requests", StateUnavailable),
        ("500 Internal Server Error", StateUnavailable),
        ("502 Bad Gateway", StateUnavailable),
        ("503 Service Unavailable", StateUnavailable),
        ("504 Gateway Timeout", StateUnavailable),
        ("404 Not Found", StateConflict),
        ("409 Conflict", StateConflict),
        ("412 Precondition Failed", StateConflict),
    ],
)
def test_a_refusal_inside_an_accepted_transaction_is_what_it_is_alone(forging, status, error):
    table, transport = forging
    transport.status = status.encode()
    with pytest.raises(error):
        table.commit(PARTITION, 0, [Write("d1", None, 'W/"old"'), Write(None, START, 'W/"old"')])
    assert transport.forged == 1


@pytest.mark.slow
def test_a_table_that_stops_and_comes_back_delays_its_partition_and_changes_nothing(tmp_path):
    events = [seen_at(n, f"d{n % 9}", CAFE if n % 5 < 3 else FAR_AWAY, NOON_US + n * 4 * SECOND_US) for n in range(60)]
    batches = [batch(*events[at : at + 10]) for at in range(0, 60, 10)]
    server = AzuriteServer(tmp_path / "azurite")
    server.start()
    tries_in_vain = [0] * len(batches)
    found: list[Evaluation] = []

    def deliver(worker: Evaluator) -> None:
        """As the trigger does: the same batch again, until it is done."""
        for number, one in enumerate(batches):
            done = None
            while done is None:
                try:
                    done = worker.evaluate(one)
                except TransientError:
                    tries_in_vain[number] += 1
            found.append(done)
            if number == 2:
                server.kill()

    try:
        with table_service(Connection("State", server.connection_string)) as service:
            states = StateTable.of(service, "state")
            delivering = threading.Thread(target=deliver, args=(_evaluator(states),))
            delivering.start()
            wait_until(lambda: tries_in_vain[3], 60, "a try in vain")
            assert len(found) == 3
            server.start()
            delivering.join(60)
            assert len(found) == len(batches)
    finally:
        server.stop()
    calm = _evaluator(FakeStates())
    assert [(one.offers, one.decisions) for one in found] == [
        (one.offers, one.decisions) for one in map(calm.evaluate, batches)
    ]


def _evaluator(states: StateTable | FakeStates) -> Evaluator:
    return Evaluator(FakeReferences([(0, reference())]), states, FakeHub(), partition_count=4, delivery_window_s=300)

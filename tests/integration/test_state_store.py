"""Where the state of partitions lies: the fake and the table are held to the same truths."""

import random
from dataclasses import replace
from uuid import uuid4

import pytest
from azure.data.tables import TableServiceClient

from shared.adapters.state_table import StateTable
from shared.domain.device_state import DeviceState
from shared.domain.presence import Visit
from shared.errors import StateUnavailable
from shared.workflows.evaluate import BYTES_A_TRANSACTION
from shared.workflows.partition_state import DeviceRow, HubPartition, Position, StateConflict, Write
from tests.fakes import FakeStates

pytestmark = pytest.mark.integration

PARTITION = HubPartition("footfall", "shop.servicebus.windows.net", "dev-readfrom", "0")
STATE = DeviceState(1_000, 2_000, visits={"cafe": Visit(500, 900)}, blurred={"cafe": 500})
MIB = 1024 * 1024
START = Position(partition_count=4, sequence_number=41, enqueued_at_us=1_700_000_000_000_000)


@pytest.fixture(params=["fake", "table"], name="states")
def _states(request):
    if request.param == "fake":
        return FakeStates()
    azurite = request.getfixturevalue("azurite")
    service = TableServiceClient.from_connection_string(azurite.connection_string)
    table = StateTable.of(service, f"state{uuid4().hex[:12]}")
    table.load(PARTITION)  # a worker loads before it writes; the first load creates the table
    return table


def begin(states):
    """A partition with a position and one device."""
    row = DeviceRow(STATE, last=41, said={40: b"\x00\xff", 41: b"words"})
    return row, states.commit(PARTITION, 0, [Write("d1", row, None), Write(None, START, None)])


def test_nothing_was_ever_written_at_first(states):
    snapshot = states.load(PARTITION)
    assert (snapshot.generation, snapshot.position, snapshot.rows) == (0, None, {})
    assert states.position(PARTITION) is None


def test_what_was_written_is_loaded(states):
    row, tags = begin(states)
    snapshot = states.load(PARTITION)
    assert snapshot.rows["d1"].value == row
    assert snapshot.position.value == START == states.position(PARTITION)
    assert [snapshot.rows["d1"].etag, snapshot.position.etag] == tags


def test_one_device_is_found_alone_in_the_newest_generation(states):
    row, _ = begin(states)
    assert states.row(PARTITION, "d1") == row
    assert states.row(PARTITION, "d2") is None
    states.begin_generation(PARTITION, START.of_next_generation())
    assert states.row(PARTITION, "d1") is None


@pytest.mark.parametrize("device_id", ["a/b\\c#d?e", "naïve 🚶", "x" * 128, "\u0001", "d'1", ""])
def test_a_device_id_may_hold_any_character(states, device_id):
    states.commit(PARTITION, 0, [Write(device_id, DeviceRow(None, 1), None), Write(None, START, None)])
    assert states.load(PARTITION).rows[device_id].value == DeviceRow(None, 1)


def test_long_words_are_kept(states):
    said = {number: bytes([number]) * 100_000 for number in range(4)}
    states.commit(PARTITION, 0, [Write("d1", DeviceRow(STATE, 3, said), None), Write(None, START, None)])
    assert states.load(PARTITION).rows["d1"].value.said == said


def test_a_hundred_rows_are_one_transaction(states):
    writes = [Write(f"d{n}", DeviceRow(STATE, n), None) for n in range(99)]
    states.commit(PARTITION, 0, [*writes, Write(None, START, None)])
    assert len(states.load(PARTITION).rows) == 99


def test_a_write_with_an_old_tag_changes_nothing(states):
    row, (row_tag, fence) = begin(states)
    moved = replace(START, sequence_number=50)
    states.commit(PARTITION, 0, [Write(None, moved, fence)])
    with pytest.raises(StateConflict):
        states.commit(PARTITION, 0, [Write("d1", DeviceRow(None, 50), row_tag), Write(None, moved, fence)])
    assert states.load(PARTITION).rows["d1"].value == row


@pytest.mark.parametrize("deleted", [False, True])
def test_a_row_that_is_there_is_not_created_and_one_that_is_gone_not_changed(states, deleted):
    row, (row_tag, fence) = begin(states)
    if deleted:
        (_, fence) = states.commit(PARTITION, 0, [Write("d1", None, row_tag), Write(None, START, fence)])
    tag = row_tag if deleted else None
    with pytest.raises(StateConflict):
        states.commit(PARTITION, 0, [Write("d1", row, tag), Write(None, START, fence)])


def test_a_deleted_row_is_gone(states):
    _, (row_tag, fence) = begin(states)
    tags = states.commit(PARTITION, 0, [Write("d1", None, row_tag), Write(None, START, fence)])
    assert tags[0] == ""
    assert states.load(PARTITION).rows == {}


def test_a_new_generation_starts_without_devices(states):
    begin(states)
    first = replace(START, spent={"coffee": 7}).of_next_generation()
    states.begin_generation(PARTITION, first)
    snapshot = states.load(PARTITION)
    assert (snapshot.generation, snapshot.position.value, snapshot.rows) == (1, first, {})
    assert states.position(PARTITION) == first


def test_to_begin_a_generation_again_changes_nothing_even_when_a_later_one_began(states):
    begin(states)
    first = START.of_next_generation()
    states.begin_generation(PARTITION, first)
    moved = replace(first, sequence_number=5, is_closed=True)
    states.commit(PARTITION, 1, [Write(None, moved, states.load(PARTITION).position.etag)])
    states.begin_generation(PARTITION, first)
    assert states.position(PARTITION) == moved
    states.begin_generation(PARTITION, moved.of_next_generation())
    states.begin_generation(PARTITION, first)
    assert states.position(PARTITION) == moved.of_next_generation()


def test_a_table_that_was_deleted_under_a_worker_is_made_again(azurite):
    service = TableServiceClient.from_connection_string(azurite.connection_string)
    table = StateTable.of(service, f"state{uuid4().hex[:12]}")
    table.load(PARTITION)
    begin(table)
    table.client.delete_table()
    with pytest.raises(StateConflict):
        table.load(PARTITION)
    assert table.load(PARTITION).position is None


def test_partitions_and_readers_are_kept_apart(states):
    begin(states)
    for other in (replace(PARTITION, partition_id="1"), replace(PARTITION, consumer_group="replay")):
        assert states.load(other).position is None


def test_a_table_that_is_away_is_a_transient_error():
    nowhere = "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=YQ==;TableEndpoint=http://127.0.0.1:1/a;"
    service = TableServiceClient.from_connection_string(nowhere, retry_total=0)
    with pytest.raises(StateUnavailable):
        StateTable.of(service, "state").load(PARTITION)


def test_the_largest_row_and_the_fullest_position_fit(states):
    rng = random.Random(1)
    said = {number: rng.randbytes(400) for number in range(1_023)} | {1_023: rng.randbytes(300_000)}
    row = DeviceRow(STATE, 1_023, said)
    assert 0.95 * MIB < row.size <= MIB
    position = replace(START, spent={f"{number:0128}": number for number in range(1_000)})
    states.commit(PARTITION, 0, [Write("字" * 128, row, None), Write(None, position, None)])
    snapshot = states.load(PARTITION)
    assert (snapshot.rows["字" * 128].value, snapshot.position.value) == (row, position)


def test_as_many_bytes_as_a_transaction_is_cut_at_fit(states):
    rng = random.Random(1)
    rows = [DeviceRow(STATE, 1, {1: rng.randbytes(18_000)}) for _ in range(99)]
    assert 0.9 * BYTES_A_TRANSACTION < sum(row.size for row in rows) <= BYTES_A_TRANSACTION
    writes = [Write(f"d{number}", row, None) for number, row in enumerate(rows)]
    states.commit(PARTITION, 0, [*writes, Write(None, START, None)])
    assert len(states.load(PARTITION).rows) == 99

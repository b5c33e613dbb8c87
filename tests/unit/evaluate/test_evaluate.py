"""A batch of events becomes offers and decisions, once."""

import json
from dataclasses import dataclass, field, replace

import pytest

from shared.domain.promotions import Promotion
from shared.errors import ConfigurationError, StateUnavailable, TransientError
from shared.workflows.evaluate import STATE_TTL_US, Evaluator
from shared.workflows.partition_state import Position, StateConflict, Write
from tests.fakes import FakeHub, FakeReferences, FakeStates
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
    seen_at,
)


def evaluator(states=None, *, versions=None, partitions=4):
    references = FakeReferences(versions or [(0, reference())])
    states = states if states is not None else FakeStates()
    return Evaluator(references, states, FakeHub(), partition_count=partitions, delivery_window_s=300)


def test_an_offer_says_everything_that_its_receiver_needs():
    result = evaluator().evaluate(batch(seen_at(7, "d1", CAFE, NOON_US + 250_000)))
    offer = json.loads(result.offers[0])
    assert {**offer, "id": None} == {
        "specversion": "1.0", "id": None, "source": "footfall/evaluate_proximity", "type": "footfall.offer.v1",
        "subject": "d1", "time": "2026-06-01T12:00:00Z", "datacontenttype": "application/json",
        "data": {
            "device_id": "d1", "store_id": "cafe", "merchant": "Costa", "location": "Lambeth", "promotion_id": "coffee",
            "discount_percent": 20.0, "message": "Coffee?", "transition": "ENTER", "distance_m": 0.0,
            "latitude": CAFE[0], "longitude": CAFE[1], "valid_until": None, "deliver_by": "2026-06-01T12:05:00Z",
        },
    }  # fmt: skip


def test_a_decision_names_its_cause():
    result = evaluator().evaluate(batch(seen_at(7, "d1", CAFE, NOON_US + 250_000)))
    decision, offer = json.loads(result.decisions[0]), json.loads(result.offers[0])
    assert decision["data"] == {
        "device_id": "d1", "store_id": "cafe", "transition": "ENTER", "promotion_id": "coffee", "offer_id": offer["id"],
        "outcome": "sent", "reason": None, "distance_m": 0.0, "latitude": CAFE[0], "longitude": CAFE[1],
        "tracked_at": "2026-06-01T12:00:00.250000Z", "entered_at": "2026-06-01T12:00:00.250000Z", "left_at": None,
        "partition_id": "2", "sequence_number": 7,
        "reference_version": "v1",
    }  # fmt: skip


def test_a_batch_that_comes_again_is_said_again_word_for_word():
    states = FakeStates()
    events = batch(seen_at(1, "d1", CAFE, NOON_US), seen_at(2, "d2", BAKERY, NOON_US))
    first = evaluator(states).evaluate(events)
    again = evaluator(states).evaluate(events)
    assert (again.offers, again.decisions) == (first.offers, first.decisions)
    assert again.report.repeated == 2


def test_what_was_published_before_is_forgotten():
    states = FakeStates()
    worker = evaluator(states)
    worker.evaluate(batch(seen_at(1, "d1", CAFE, NOON_US)))
    worker.evaluate(batch(seen_at(2, "d1", CAFE, NOON_US + SECOND_US)))
    assert states.row(PARTITION, "d1").said == {}


def test_bodies_that_are_no_pings_are_counted_and_the_rest_go_on():
    result = evaluator().evaluate(batch((1, NOON_US, "x", b"\xff\x00"), seen_at(2, "d1", CAFE, NOON_US)))
    assert (result.report.rejected, result.report.offers) == (1, 1)


def test_devices_near_nothing_cost_no_rows():
    states = FakeStates()
    evaluator(states).evaluate(batch(*(seen_at(n, f"d{n}", FAR_AWAY, NOON_US) for n in range(200))))
    assert states.load(PARTITION).rows == {}
    assert states.position(PARTITION).sequence_number == 199


def test_more_rows_than_a_transaction_holds_are_written_in_several():
    states = FakeStates()
    result = evaluator(states).evaluate(batch(*(seen_at(n, f"d{n}", CAFE, NOON_US) for n in range(250))))
    assert len(result.offers) == len(states.load(PARTITION).rows) == 250


def test_missing_sequence_numbers_are_counted_as_skipped():
    states = FakeStates()
    worker = evaluator(states)
    worker.evaluate(batch(seen_at(10, "d1", FAR_AWAY, NOON_US)))
    report = worker.evaluate(batch(seen_at(14, "d1", FAR_AWAY, NOON_US), seen_at(16, "d1", FAR_AWAY, NOON_US))).report
    assert report.skipped == 4
    assert states.position(PARTITION).skipped == 4


def test_pings_under_a_foreign_partition_key_are_counted():
    event = (1, NOON_US, "another", body("d1", CAFE, NOON_US))
    worker = evaluator()
    assert worker.evaluate(batch(event)).report.foreign_keys == 1
    assert worker.totals.foreign_keys == 1


def test_a_hub_made_anew_under_the_same_name_starts_a_new_generation():
    states = FakeStates()
    worker = evaluator(states)
    worker.evaluate(batch(seen_at(5, "d1", CAFE, NOON_US)))
    result = worker.evaluate(batch(seen_at(0, "d1", CAFE, NOON_US + 60 * SECOND_US)))
    assert len(result.offers) == 1
    assert states.position(PARTITION).generation == 1 == states.newest[PARTITION]
    assert states.position(PARTITION).sequence_number == 0


TWO_COFFEES = Promotion("coffee", 20.0, "Coffee?", max_offers=8)
"""8 offers over 4 partitions are 2 in each."""


def test_a_budget_goes_on_when_the_hub_is_made_anew():
    states, versions = FakeStates(), [(0, reference(promotions=(TWO_COFFEES,)))]
    evaluator(states, versions=versions).evaluate(batch(seen_at(5, "d0", CAFE, NOON_US)))
    later = batch(*(seen_at(n, f"d{n}", CAFE, NOON_US + 60 * SECOND_US) for n in range(1, 4)))
    result = evaluator(states, versions=versions).evaluate(later)
    assert [json.loads(text)["data"]["reason"] for text in result.decisions] == [None, "budget_spent", "budget_spent"]
    assert states.position(PARTITION).spent == {"coffee": 2}


def test_a_generation_that_somebody_closed_and_died_is_followed_by_whoever_comes_next():
    states, versions = FakeStates(), [(0, reference(promotions=(TWO_COFFEES,)))]
    evaluator(states, versions=versions).evaluate(batch(seen_at(5, "d0", CAFE, NOON_US)))
    stored = states.load(PARTITION).position
    states.commit(PARTITION, 0, [Write(None, replace(stored.value, is_closed=True), stored.etag)])
    evaluator(states, versions=versions).evaluate(batch(seen_at(0, "d1", CAFE, NOON_US + 60 * SECOND_US)))
    position = states.position(PARTITION)
    assert (position.generation, position.sequence_number, position.spent) == (1, 0, {"coffee": 2})


def test_who_still_works_for_a_hub_that_is_no_more_spends_nothing_of_the_budget():
    states, versions = FakeStates(), [(0, reference(promotions=(TWO_COFFEES,)))]
    old, new = evaluator(states, versions=versions), evaluator(states, versions=versions)
    old.evaluate(batch(seen_at(5, "d0", CAFE, NOON_US)))
    new.evaluate(batch(seen_at(0, "d1", CAFE, NOON_US + 60 * SECOND_US)))
    result = old.evaluate(batch(seen_at(6, "d2", CAFE, NOON_US)))
    assert result.offers == []
    assert states.position(PARTITION).spent == {"coffee": 2}


def test_a_state_that_was_written_for_another_number_of_partitions_refuses_to_go_on():
    states = FakeStates()
    states.commit(PARTITION, 0, [Write(None, Position(8, 5, NOON_US), None)])
    with pytest.raises(ConfigurationError, match="PARTITION_COUNT is 4, but its state was written for 8 partitions"):
        evaluator(states).evaluate(batch(seen_at(6, "d1", CAFE, NOON_US)))


@pytest.mark.parametrize("partitions", [3, 5])
def test_another_number_of_partitions_refuses_to_start(partitions):
    with pytest.raises(ConfigurationError, match=r"PARTITION_COUNT is ., but the hub has 4"):
        evaluator(partitions=partitions).evaluate(batch(seen_at(1, "d1", CAFE, NOON_US)))


def test_each_event_is_decided_by_the_version_in_force_when_it_was_enqueued():
    later_us = NOON_US + 60 * SECOND_US
    versions = [(0, reference()), (later_us, reference(version="v2"))]
    events = batch(*(seen_at(n, f"d{n}", CAFE, NOON_US + n * 30 * SECOND_US) for n in range(4)))
    decisions = evaluator(versions=versions).evaluate(events).decisions
    assert [json.loads(text)["data"]["reference_version"] for text in decisions] == ["v1", "v1", "v2", "v2"]


def test_rows_that_no_event_can_need_again_are_deleted():
    states = FakeStates()
    worker = evaluator(states)
    worker.evaluate(batch(seen_at(1, "d1", CAFE, NOON_US)))
    worker.evaluate(batch(seen_at(2, "d2", FAR_AWAY, NOON_US + STATE_TTL_US + SECOND_US)))
    assert states.load(PARTITION).rows == {}


@dataclass
class WatchedStates(FakeStates):
    """Notes what became of each transaction; loses the answers that it is told to lose."""

    outcomes: list[str] = field(default_factory=list)
    lost_answers: int = 0

    def commit(self, partition, generation, writes):
        try:
            tags = super().commit(partition, generation, writes)
        except StateConflict:
            self.outcomes.append("conflict")
            raise
        self.outcomes.append("written")
        if self.lost_answers:
            self.lost_answers -= 1
            raise StateUnavailable("the answer was lost")
        return tags


def test_who_lost_the_partition_can_write_nothing_any_more():
    states = WatchedStates()
    old, new = evaluator(states), evaluator(states)
    old.evaluate(batch(seen_at(1, "d1", FAR_AWAY, NOON_US)))
    new.evaluate(batch(seen_at(2, "d2", FAR_AWAY, NOON_US)))
    states.outcomes.clear()
    many = batch(*(seen_at(3 + n, f"new{n}", CAFE, NOON_US) for n in range(150)))
    old.evaluate(many)
    assert states.outcomes == ["conflict", "written", "written"], "not even its first transaction, of new rows only"


def test_after_a_lost_answer_the_next_try_says_the_same():
    states = WatchedStates(lost_answers=1)
    worker, events = evaluator(states), batch(seen_at(1, "d1", CAFE, NOON_US))
    with pytest.raises(StateUnavailable):
        worker.evaluate(events)
    result = worker.evaluate(events)
    assert (len(result.offers), states.outcomes) == (1, ["written", "written"])
    assert states.load(PARTITION).rows["d1"].value.last == 1


@dataclass
class ForeignWriter(FakeStates):
    """Somebody else writes the position before each of our writes."""

    loads: int = 0

    def load(self, partition):
        self.loads += 1
        return super().load(partition)

    def commit(self, partition, generation, writes):
        raise StateConflict("somebody else was faster")


def test_who_is_always_too_late_loads_a_few_times_and_leaves_it_to_the_retry_policy():
    states = ForeignWriter()
    with pytest.raises(StateUnavailable, match="moved 5 times"):
        evaluator(states).evaluate(batch(seen_at(1, "d1", CAFE, NOON_US)))
    assert states.loads == 5


def test_two_worker_processes_on_one_partition_decide_like_one():
    states, versions = FakeStates(), [(0, reference(promotions=(TWO_COFFEES,)))]
    events = [seen_at(n, f"d{n % 5}", CAFE if n % 7 < 4 else FAR_AWAY, NOON_US + n * 40 * SECOND_US) for n in range(60)]
    alone = evaluator(versions=versions)
    expected = [alone.evaluate(batch(*events[at : at + 3])) for at in range(0, 60, 3)]
    workers = [evaluator(states, versions=versions), evaluator(states, versions=versions)]
    found = [workers[at // 3 % 2].evaluate(batch(*events[at : at + 3])) for at in range(0, 60, 3)]
    assert [(one.offers, one.decisions) for one in found] == [(one.offers, one.decisions) for one in expected]
    assert sum(len(one.offers) for one in found) == 2


@dataclass
class AwayUntil(FakeStates):
    """A table that does not answer before some time of a clock that the test sets."""

    back_at_s: float = 0.0
    now_s: float = 0.0

    def load(self, partition):
        self._answer()
        return super().load(partition)

    def commit(self, partition, generation, writes):
        self._answer()
        return super().commit(partition, generation, writes)

    def _answer(self):
        if self.now_s < self.back_at_s:
            raise StateUnavailable("away")


def test_a_table_that_is_away_for_five_minutes_delays_its_partition_and_changes_nothing():
    events = [seen_at(n, f"d{n % 9}", CAFE if n % 5 < 3 else FAR_AWAY, NOON_US + n * 4 * SECOND_US) for n in range(90)]
    batches = [batch(*events[at : at + 10]) for at in range(0, 90, 10)]
    calm, away = evaluator(), AwayUntil(back_at_s=300.0)
    worker, found, tries = evaluator(away), [], 0
    for one in batches:
        pause_s = 1.0
        while True:  # as the trigger's retry policy: 1 s, doubled up to 30 s, without end
            tries += 1
            try:
                found.append(worker.evaluate(one))
                break
            except TransientError:
                away.now_s += pause_s
                pause_s = min(2 * pause_s, 30.0)
    assert [(one.offers, one.decisions) for one in found] == [
        (one.offers, one.decisions) for one in map(calm.evaluate, batches)
    ]
    assert tries > 9 + 10, "it was away"


def test_a_failure_is_said_again():
    states, versions = FakeStates(), [(0, BrokenReference.like(reference()))]
    events = batch(seen_at(1, "d1", CAFE, NOON_US), seen_at(2, "d1", CAFE, NOON_US))
    first = evaluator(states, versions=versions).evaluate(events)
    mended = evaluator(states).evaluate(events)
    assert [json.loads(text)["data"]["outcome"] for text in first.decisions] == ["failed", "failed"]
    assert (mended.decisions, mended.offers) == (first.decisions, [])


def test_an_error_of_ours_fails_its_event_alone(caplog):
    versions = [(0, reference()), (NOON_US + SECOND_US, BrokenReference.like(reference()))]
    versions.append((NOON_US + 2 * SECOND_US, reference()))
    events = batch(*(seen_at(n, f"d{n}", CAFE, NOON_US + n * SECOND_US) for n in range(3)))
    result = evaluator(versions=versions).evaluate(events)
    assert [json.loads(text)["data"]["outcome"] for text in result.decisions] == ["sent", "failed", "sent"]
    assert result.report.failed == 1
    assert caplog.text.count("ZeroDivisionError: a bug") == 1, "its traceback is logged, once"

"""One canonical line a batch says what became of it, and nothing about a person."""

import logging

from shared import telemetry
from shared.domain.promotions import ContactPolicy
from shared.workflows.evaluate import Evaluator
from tests.fakes import FakeHub, FakeReferences, FakeStates
from tests.unit.evaluate.world import (
    CAFE,
    COFFEE,
    FAR_AWAY,
    NOON_US,
    SECOND_US,
    BrokenReference,
    batch,
    body,
    reference,
    seen_at,
)

NOISY = batch(
    seen_at(1, "alice-phone", CAFE, NOON_US),
    seen_at(2, "bob-phone", CAFE, NOON_US),
    (3, NOON_US, "carol-phone", body("carol-phone", CAFE, NOON_US - 60 * SECOND_US, accuracy_m=500.0)),
    (4, NOON_US, "dave-phone", b'{"device_id": "dave-phone", "latitude": 51.5, "longitude": "west"}'),
    (5, NOON_US, "dave-phone", b"\xff"),
    seen_at(6, "bob-phone", CAFE, NOON_US + 300 * SECOND_US),
    seen_at(7, "alice-phone", FAR_AWAY, NOON_US + 300 * SECOND_US),
    seen_at(8, "alice-phone", FAR_AWAY, NOON_US + 400 * SECOND_US),
    seen_at(9, "erin-phone", CAFE, NOON_US + 500 * SECOND_US),
)


def evaluator(states=None):
    good = reference(promotions=(COFFEE,), policy=ContactPolicy(cooldown_s=0))
    versions = [(0, good), (NOON_US + 500 * SECOND_US, BrokenReference.like(good))]
    return Evaluator(
        FakeReferences(versions), states or FakeStates(), FakeHub(), partition_count=4, delivery_window_s=300
    )


def fields(report):
    line = telemetry.line("evaluated", report.fields(now_us=NOON_US + 7_900_000))
    did, *found = line.split(" ")
    assert did == "evaluated"
    return dict(field.split("=") for field in found)


def test_the_line_counts_what_became_of_a_batch():
    found = fields(evaluator().evaluate(NOISY).report)
    milliseconds = {name: float(found.pop(name)) for name in list(found) if name.startswith("ms_")}
    assert found == {
        "partition_id": "2", "events": "9", "rejected": "2", "rejected_as_bad_type": "1", "rejected_as_not_utf8": "1",
        "near": "5", "transitions_ENTER": "2", "transitions_DWELL": "1", "transitions_EXIT": "1", "sent": "2",
        "not_sent_low_accuracy": "1", "not_sent_wrong_trigger": "1", "failed": "1", "offers": "2", "decisions": "6",
        "repeated": "0", "skipped": "0", "foreign_keys": "0", "oldest_age_s": "7",
    }  # fmt: skip
    assert milliseconds.keys() == {"ms_decode", "ms_match", "ms_load", "ms_decide", "ms_save"}
    assert all(0 <= value < 60_000 for value in milliseconds.values())


def test_what_is_said_again_is_handed_over_but_not_decided():
    states = FakeStates()
    evaluator(states).evaluate(NOISY)
    found = fields(evaluator(states).evaluate(NOISY).report)
    assert (found["offers"], found["decisions"], found["repeated"]) == ("2", "6", "9")
    assert (found["sent"], found["failed"]) == ("0", "0")
    assert not any(name.startswith(("transitions", "not_sent")) for name in found)


def test_no_device_and_no_position_stands_in_the_log(caplog):
    caplog.set_level(logging.INFO)
    states = FakeStates()
    old, new = evaluator(states), evaluator(states)
    for worker in (old, new, old):  # the last finds that its copy is old, and says so
        report = worker.evaluate(NOISY).report
        logging.getLogger("functions").info(telemetry.line("evaluated", report.fields(NOON_US)))
    new_hub = batch(*(seen_at(number, "alice-phone", CAFE, NOON_US + 9_000 * SECOND_US) for number in range(3)))
    evaluator(states).evaluate(new_hub)
    assert all(
        text in caplog.text for text in ("evaluated partition_id=2", "loading again", "new hub", "a bug of ours")
    )
    for private in ("alice", "bob", "carol", "dave", "erin", "51.5", "51.6", "0.12"):
        assert private not in caplog.text

"""Health says what is loaded, how far behind we are and what is wrong, in words."""

import json
from dataclasses import dataclass, field

from shared.errors import HubUnavailable, ReferenceUnavailable
from shared.settings import Connection, DeviceKey, Settings
from shared.workflows.evaluate import Totals
from shared.workflows.health import HealthCheck
from shared.workflows.partition_state import Position, Write
from tests.fakes import FakeReferences, FakeStates
from tests.unit.evaluate.world import NOON_US, PARTITION, reference


@dataclass
class Hub:
    newest: dict = field(default_factory=lambda: {PARTITION: 99})

    def last_sequence_numbers(self):
        return self.newest


@dataclass
class AwayHub:
    def last_sequence_numbers(self):
        raise HubUnavailable("hub dev-readfrom did not answer")


@dataclass
class Counted:
    totals: Totals = field(default_factory=Totals)


class NothingPublished:
    def refresh(self, newest_enqueued_us):
        raise ReferenceUnavailable("no stores were ever published")


def settings(**changes):
    connections = [
        Connection(name, "UseDevelopmentStorage=true") for name in ("EventHub", "LakeStorage", "StateStorage")
    ]
    return Settings(*connections, **{"partition_count": 1, "device_keys": (DeviceKey("k1", b"x" * 16),), **changes})


def states(position=None):
    found = FakeStates()
    if position is not None:
        found.newest[PARTITION] = position.generation
        found.commit(PARTITION, position.generation, [Write(None, position, None)])
    return found


def report(*, hub=None, store=None, references=None, totals=None, **changes):
    return HealthCheck(
        settings(**changes),
        references or FakeReferences([(0, reference())]),
        hub or Hub(),
        store or states(Position(1, sequence_number=89)),
        Counted(totals or Totals()),
        lambda: NOON_US,
    ).report()


def test_all_is_well():
    found = report(totals=Totals(events=90, offers=3))
    assert found.is_well
    assert (found.reference_version, found.lag, found.evaluated.offers) == ("v1", 10, 3)
    assert json.loads(found.as_json())["partitions"][0]["lag"] == 10


def test_nothing_applied_yet_means_that_everything_is_behind():
    assert report(store=states()).lag == 100


def test_a_hub_that_is_away_is_a_problem():
    found = report(hub=AwayHub())
    assert (found.problems, found.lag) == (["hub dev-readfrom did not answer"], None)


def test_reference_data_that_was_never_published_is_a_problem():
    found = report(references=NothingPublished())
    assert (found.problems, found.reference_version) == (["no stores were ever published"], None)


def test_contradicting_settings_are_problems():
    assert "OFFERS_HUB" in report(offers_hub="dev-readfrom").problems[0]


def test_another_number_of_partitions_is_a_problem():
    assert report(partition_count=4).problems == ["PARTITION_COUNT is 4, but the hub has 1 partitions"]


def test_a_hub_made_anew_skipped_events_and_foreign_keys_are_problems():
    found = report(
        store=states(Position(1, sequence_number=5, skipped=7, generation=1)), totals=Totals(events=9, foreign_keys=2)
    )
    assert [text.split(":")[0] for text in found.problems] == [
        "partition 2, generation 1",
        "partition 2",
        "2 pings came under a partition key that is not their device id",
    ]

"""The demo's figures."""

from dataclasses import replace

import msgspec
import pytest

from infra.commands.demo_figures import Figures, Latency, latency, offer_times
from infra.local.hub_reader import HubEvent

AGREED = Figures(
    announced=100,
    on_hub=100,
    captured=100,
    silver_pings=97,
    quarantine=3,
    rejected=3,
    offers_emitted=12,
    offers_captured=12,
    gold_tables=5,
    gold_tables_wanted=5,
)


def test_the_last_line_has_the_shape_that_is_promised() -> None:
    line = "demo: pings=100 rejected=3 offers=12 silver_pings=97 quarantine=3 gold_tables=5 seconds=61"
    assert AGREED.last_line(60.6) == line


def test_figures_that_agree_have_no_disagreements() -> None:
    assert AGREED.disagreements() == []


@pytest.mark.parametrize(
    ("changed", "counts"),
    [
        ({"announced": 101}, "101 and 100"),
        ({"on_hub": 99}, "100 and 99"),
        ({"captured": 101}, "101 and 100"),
        ({"silver_pings": 96}, "100 and 99"),
        ({"quarantine": 4, "silver_pings": 96}, "4 and 3"),
        ({"offers_captured": 11}, "12 and 11"),
        ({"gold_tables": 4}, "5 and 4"),
    ],
)
def test_stations_that_counted_otherwise_are_named_with_both_counts(changed: dict[str, int], counts: str) -> None:
    assert any(words.endswith(counts) for words in replace(AGREED, **changed).disagreements())


def test_a_demo_without_an_offer_shows_nothing() -> None:
    assert replace(AGREED, offers_emitted=0, offers_captured=0).disagreements() == ["not one offer was emitted"]


def _event(number: int, enqueued_ms: int, body: object = None, partition: str = "0") -> HubEvent:
    return HubEvent(partition, number, enqueued_ms, msgspec.json.encode(body))


def _decision(offer_id: str | None, partition: str, number: int) -> HubEvent:
    return _event(0, 0, {"data": {"offer_id": offer_id, "partition_id": partition, "sequence_number": number}})


def test_latency_runs_from_the_ping_that_led_to_the_offer_to_the_offers_first_arrival() -> None:
    pings = [_event(5, 1000), _event(5, 2000, partition="1")]
    decisions = [_decision("a", "0", 5), _decision("b", "1", 5), _decision(None, "0", 5)]
    offered = offer_times([_event(0, 1010, {"id": "a"}), _event(1, 1999, {"id": "a"}), _event(0, 2030, {"id": "b"})])
    assert latency(pings, decisions, offered) == Latency(p50_ms=20, p95_ms=29, max_ms=30, offers=2)


def test_without_offers_there_is_no_latency() -> None:
    assert latency([_event(0, 0)], [_decision(None, "0", 0)], {}) is None

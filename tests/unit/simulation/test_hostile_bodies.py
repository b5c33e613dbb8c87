"""Hostile bodies are no pings, each for its reason."""

import numpy as np
import pytest

from shared.adapters.reference_files import parse_reference
from shared.domain.hostile_bodies import KINDS, hostile_body
from shared.domain.pings import Reason, decode_pings
from shared.domain.simulation import Position, Scenario, SimulationRequest, plan
from tests.fakes_reference import reference_files

NOW_US = 1_800_000_000_000_000


def test_every_hostile_body_is_rejected_and_together_they_have_every_reason() -> None:
    bodies = [hostile_body(number, "walk-1-7", NOW_US) for number in range(KINDS)]
    batch = decode_pings(bodies, np.full(KINDS, NOW_US))
    assert len(batch) == 0
    assert {rejected.reason for rejected in batch.rejected} == set(Reason)


def test_they_come_in_turn() -> None:
    assert hostile_body(KINDS + 3, "d", NOW_US) == hostile_body(3, "d", NOW_US)


@pytest.mark.parametrize("scenario", list(Scenario))
def test_of_a_simulation_the_hostile_bodies_and_only_they_are_rejected(scenario: Scenario) -> None:
    dirt = {} if scenario is Scenario.CLASSIC else {"hostile_percent": 7, "duplicates_percent": 5, "jumps_percent": 5}
    request = SimulationRequest(scenario=scenario, seconds=40, rate=50, **dirt)
    stores = parse_reference(reference_files()).stores
    its = plan(request, seed=11, start_us=NOW_US, stores=stores, route=[Position(51.5, -0.1)])
    pings = list(its.write())
    enqueued_at_us = np.array([NOW_US + int(ping.offset_s) * 1_000_000 for ping in pings])
    batch = decode_pings([ping.body for ping in pings], enqueued_at_us)
    assert len(batch.rejected) == its.hostile
    assert batch.device_id == [pings[row].device_id for row in batch.row.tolist()]

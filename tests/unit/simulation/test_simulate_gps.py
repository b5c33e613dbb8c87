"""The HTTP trigger: what a simulation, or the refusal of one, is answered with."""

import json
from types import SimpleNamespace

import azure.functions as func
import pytest

from functions.simulator import simulate_gps
from shared import bootstrap
from shared.domain.simulation import Scenario
from shared.errors import ReferenceUnavailable, RequestRefused
from shared.workflows.simulate import Simulation, SimulatorBusy, SimulatorOff

SIMULATION = Simulation("0f1e", Scenario.WALK, 7, 20.0, 500.0, 200, 10_000, 50, 100, 0, 0)


def answer(monkeypatch: pytest.MonkeyPatch, outcome: Simulation | Exception) -> tuple[int, dict[str, object]]:
    """The status and the JSON that a caller gets when starting a simulation has that outcome."""

    def start(body: bytes) -> Simulation:
        assert body == b'{"rate": 500}'
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(bootstrap, "simulator", lambda: SimpleNamespace(start=start), raising=False)
    request = func.HttpRequest("POST", "http://localhost/api/simulate", body=b'{"rate": 500}')
    response = simulate_gps.build().get_user_function()(request)
    return response.status_code, json.loads(response.get_body())


def test_what_will_be_sent_is_answered_with_202(monkeypatch: pytest.MonkeyPatch) -> None:
    assert answer(monkeypatch, SIMULATION) == (
        202,
        {
            "id": "0f1e",
            "scenario": "walk",
            "seed": 7,
            "seconds": 20.0,
            "rate": 500.0,
            "devices": 200,
            "pings": 10_000,
            "hostile": 50,
            "duplicates": 100,
            "disordered": 0,
            "jumps": 0,
        },
    )


@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        (SimulatorOff("off"), 403),
        (RequestRefused("too many"), 400),
        (SimulatorBusy("busy"), 429),
        (ReferenceUnavailable("nothing was ever published"), 503),
    ],
)
def test_a_refusal_is_answered_with_its_status_and_its_reason(
    monkeypatch: pytest.MonkeyPatch, refusal: Exception, status: int
) -> None:
    assert answer(monkeypatch, refusal) == (status, {"error": str(refusal)})

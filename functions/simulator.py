"""HTTP trigger: simulate the pings of many devices."""

import logging

import azure.functions as func
import msgspec

from shared import bootstrap
from shared.errors import FootfallError, ReferenceUnavailable, RequestRefused
from shared.workflows.simulate import SimulatorBusy, SimulatorOff

bp = func.Blueprint()
log = logging.getLogger(__name__)

_STATUS: dict[type[FootfallError], int] = {
    SimulatorOff: 403,
    SimulatorBusy: 429,
    RequestRefused: 400,
    ReferenceUnavailable: 503,
}


@bp.function_name("simulate_gps")
@bp.route(route="simulate", methods=["POST"], auth_level=func.AuthLevel.FUNCTION)
def simulate_gps(req: func.HttpRequest) -> func.HttpResponse:
    """Answer 202 with what will be sent, and send it in the background; else say in `error` what would be valid."""
    try:
        simulation = bootstrap.simulator().start(req.get_body())
    except tuple(_STATUS) as refused:
        log.warning("no simulation: %s", refused)
        return _json({"error": str(refused)}, _STATUS[type(refused)])
    log.info("simulating %s", simulation)
    return _json(simulation, 202)


def _json(answer: object, status: int) -> func.HttpResponse:
    return func.HttpResponse(msgspec.json.encode(answer), status_code=status, mimetype="application/json")

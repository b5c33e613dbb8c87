"""Timer trigger: silver in, gold out. HTTP triggers: what gold says."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

import azure.functions as func
import msgspec

from shared import bootstrap, telemetry
from shared.errors import FootfallError, LakeUnavailable, RequestRefused, SqlBusy

if TYPE_CHECKING:
    from shared.workflows.analytics import Answer

bp = func.Blueprint()
log = logging.getLogger(__name__)

_STATUS: dict[type[FootfallError], int] = {RequestRefused: 400, SqlBusy: 429, LakeUnavailable: 503}


@bp.function_name("build_gold")
@bp.timer_trigger(arg_name="timer", schedule="%BUILD_GOLD_SCHEDULE%", use_monitor=False)
def build_gold(timer: func.TimerRequest) -> None:
    """Recompute what changed in gold since the last build."""
    report = bootstrap.gold_builder().build()
    log.info(telemetry.line("built", report.fields()))


@bp.function_name("gold_overview")
@bp.route(route="gold", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
def gold_overview(req: func.HttpRequest) -> func.HttpResponse:
    """Answer which gold tables there are, with their columns, rows and newest change."""
    return _answer(lambda: bootstrap.analytics().overview())


@bp.function_name("gold_table")
@bp.route(route="gold/{table}", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
def gold_table(req: func.HttpRequest) -> func.HttpResponse:
    """Answer rows of a gold table, as JSON, CSV or Parquet; 400 with what would be valid."""
    # From the URL: the host joins the values of a repeated parameter by commas, and an id may hold one.
    parameters = parse_qsl(urlsplit(req.url).query, keep_blank_values=True)
    return _answer(lambda: bootstrap.analytics().rows(req.route_params["table"], parameters))


@bp.function_name("gold_sql")
@bp.route(route="sql", methods=["POST"], auth_level=func.AuthLevel.FUNCTION)
def gold_sql(req: func.HttpRequest) -> func.HttpResponse:
    """Run one SELECT over gold and answer its rows; 400 with what is wrong, 429 while too many queries run."""
    return _answer(lambda: bootstrap.analytics().sql(req.get_body()))


def _answer(work: "Callable[[], Answer]") -> func.HttpResponse:
    try:
        answer = work()
    except tuple(_STATUS) as refused:
        status = next(_STATUS[kind] for kind in type(refused).__mro__ if kind in _STATUS)
        log.warning("no answer for an analyst: %s", refused)
        body = msgspec.json.encode({"error": str(refused)})
        return func.HttpResponse(body, status_code=status, mimetype="application/json")
    return func.HttpResponse(answer.body, mimetype=answer.content_type)

"""Timer trigger: silver in, gold out."""

import logging

import azure.functions as func

from shared import bootstrap, telemetry

bp = func.Blueprint()
log = logging.getLogger(__name__)


@bp.function_name("build_gold")
@bp.timer_trigger(arg_name="timer", schedule="%BUILD_GOLD_SCHEDULE%", use_monitor=False)
def build_gold(timer: func.TimerRequest) -> None:
    """Recompute what changed in gold since the last build."""
    report = bootstrap.gold_builder().build()
    log.info(telemetry.line("built", report.fields()))

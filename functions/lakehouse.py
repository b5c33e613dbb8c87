"""Blob trigger: a capture file in, silver rows out. Timer trigger: the lake's files looked after."""

import logging

import azure.functions as func
import azurefunctions.extensions.bindings.blob as blob

from shared import bootstrap, telemetry

bp = func.Blueprint()
log = logging.getLogger(__name__)


@bp.function_name("refine_capture")
@bp.blob_trigger(
    arg_name="capture",
    path="%BRONZE_CONTAINER%/{name}",
    connection="LakeStorage",
    source=func.BlobSource(bootstrap.settings().capture_trigger_source),
)
def refine_capture(capture: blob.BlobClient) -> None:
    """Turn one capture file into rows of its silver tables, once, however often it is delivered."""
    report = bootstrap.refiner().refine(capture.blob_name)
    log.info(telemetry.line("refined", report.fields()))


@bp.function_name("maintain_lake")
@bp.timer_trigger(arg_name="timer", schedule="%MAINTAIN_SCHEDULE%", use_monitor=False)
def maintain_lake(timer: func.TimerRequest) -> None:
    """Make few sorted files of many small ones, and delete those that no version needs; a bounded piece of it."""
    report = bootstrap.maintainer().run()
    log.info(telemetry.line("maintained", report.fields()))

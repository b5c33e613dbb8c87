"""Event Hub trigger: pings in, offers and decisions out."""

import logging
from typing import List  # noqa: UP035 - the Functions runtime refuses list[EventHubEvent], and then loads no function

import azure.functions as func

from functions.hub_events import hub_batch
from shared import bootstrap, telemetry

bp = func.Blueprint()
log = logging.getLogger(__name__)


@bp.function_name("evaluate_proximity")
@bp.event_hub_message_trigger(
    arg_name="events",
    event_hub_name="%PINGS_HUB%",
    connection="EventHub",
    consumer_group="%CONSUMER_GROUP%",
    cardinality=func.Cardinality.MANY,
    data_type=func.DataType.BINARY,
)
@bp.event_hub_output(arg_name="offers", event_hub_name="%OFFERS_HUB%", connection="EventHub")
@bp.event_hub_output(arg_name="decisions", event_hub_name="%DECISIONS_HUB%", connection="EventHub")
@bp.retry(
    strategy="exponential_backoff",
    max_retry_count="-1",  # a broken world blocks its partition: the hub keeps the events, nothing is skipped
    minimum_interval="00:00:01",
    maximum_interval="00:00:30",
)
def evaluate_proximity(
    events: List[func.EventHubEvent],  # noqa: UP006
    offers: func.Out[str],
    decisions: func.Out[str],
) -> None:
    """Offer promotions to the devices that walked up to a store."""
    evaluation = bootstrap.evaluator().evaluate(hub_batch(events))
    # A list of str is published as so many events, each verbatim (design.md section 8).
    offers.set(evaluation.offers)  # type: ignore[arg-type]
    decisions.set(evaluation.decisions)  # type: ignore[arg-type]
    log.info(telemetry.line("evaluated", evaluation.report.fields(bootstrap.now_us())))

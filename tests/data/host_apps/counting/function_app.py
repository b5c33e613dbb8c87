"""What the benchmark measures the host with: it notes how many events came, and how old the oldest was."""

import json
import os
import time
import typing
from datetime import UTC
from pathlib import Path

import azure.functions as func

from functions import fast_decode

fast_decode.install()

app = func.FunctionApp()


@app.function_name("count")
@app.event_hub_message_trigger(
    arg_name="events",
    event_hub_name="in",
    connection="Hub",
    consumer_group="group",
    cardinality=func.Cardinality.MANY,
    data_type=func.DataType.BINARY,
)
@app.event_hub_output(arg_name="out", event_hub_name="out", connection="Hub")
@app.retry(strategy="fixed_delay", max_retry_count="3", delay_interval="00:00:01")
def count(events: typing.List[func.EventHubEvent], out: func.Out[str]) -> None:  # noqa: UP006
    """One event in ten is sent on."""
    now = time.time()
    oldest = min(event.enqueued_time for event in events).replace(tzinfo=UTC).timestamp()
    entry = {"function": "count", "at": now, "events": len(events), "delay_s": now - oldest}
    with Path(os.environ["JOURNAL"]).open("a") as journal:
        journal.write(json.dumps(entry) + "\n")
    out.set([event.get_body().decode() for event in events[::10]])

"""A small app with every trigger that the local host has; what it does is told by its settings and its events."""

import json
import logging
import os
import time
import typing
from pathlib import Path

import azure.functions as func
import azurefunctions.extensions.bindings.blob as blob

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)

_ATTEMPTS: dict[str, int] = {}


def _note(**fields: object) -> None:
    """Append a line to the journal that the tests read."""
    with Path(os.environ["JOURNAL"]).open("a") as journal:
        journal.write(json.dumps({**fields, "pid": os.getpid(), "at": time.time()}) + "\n")


@app.function_name("shout")
@app.event_hub_message_trigger(
    arg_name="events",
    event_hub_name="%IN_HUB%",
    connection="Hub",
    consumer_group="%CONSUMER_GROUP%",
    cardinality=func.Cardinality.MANY,
    data_type=func.DataType.BINARY,
)
@app.event_hub_output(arg_name="out", event_hub_name="%OUT_HUB%", connection="Hub")
@app.retry(strategy="fixed_delay", max_retry_count="3", delay_interval="00:00:01")
def shout(events: typing.List[func.EventHubEvent], out: func.Out[str], context: func.Context) -> None:  # noqa: UP006
    """Send each body on in capitals; `fail:N` raises N times, `wait:S` takes its time, `big:N` gives N bytes."""
    metadata = events[0].metadata
    partition = metadata["PartitionContext"]["PartitionId"]
    bodies = [event.get_body().decode() for event in events]
    _note(
        function="shout",
        partition=partition,
        bodies=bodies,
        numbers=[event.sequence_number for event in events],
        retry=context.retry_context.retry_count,
        keys=[event.partition_key for event in events],
        times=[event.enqueued_time.isoformat() for event in events],
        properties=metadata["PropertiesArray"],
    )
    answers = []
    for body in bodies:
        order, _, amount = body.partition(":")
        if order == "fail" and context.retry_context.retry_count < int(amount):
            raise RuntimeError(f"told to fail {amount} times")
        if order == "wait":
            time.sleep(float(amount))
        answers.append("x" * int(amount) if order == "big" else body.upper())
    out.set(answers)
    _note(function="shout", done=bodies)


@app.function_name("take_bytes")
@app.blob_trigger(arg_name="stream", path="%TEXTS%/{folder}/{name}.txt", connection="Blobs", source="%BLOB_SOURCE%")
def take_bytes(stream: func.InputStream) -> None:
    """A text that says `fail` fails; `fail-once` only at the first try."""
    text = stream.read().decode()
    _ATTEMPTS[text] = _ATTEMPTS.get(text, 0) + 1
    _note(function="take_bytes", blob=stream.name, text=text, uri=stream.uri, length=stream.length)
    if text == "fail" or (text == "fail-once" and _ATTEMPTS[text] == 1):
        raise ValueError("told to fail")
    if text.startswith("wait:"):
        time.sleep(float(text.removeprefix("wait:")))


@app.function_name("take_client")
@app.blob_trigger(arg_name="client", path="%AVROS%/{name}", connection="Blobs", source="%BLOB_SOURCE%")
def take_client(client: blob.BlobClient) -> None:
    """The SDK type: the function reads the blob itself."""
    _note(function="take_client", blob=client.blob_name, size=len(client.download_blob().readall()))


@app.function_name("tick")
@app.timer_trigger(arg_name="timer", schedule="%SCHEDULE%", run_on_startup=False, use_monitor=True)
def tick(timer: func.TimerRequest) -> None:
    """Notes that it ran."""
    _note(function="tick", past_due=timer.past_due)


@app.function_name("hello")
@app.route(route="hello/{name}/{count:int?}", methods=["GET", "POST"])
def hello(req: func.HttpRequest) -> func.HttpResponse:
    """Says what it was asked."""
    logging.info("hello to %s", req.route_params["name"])
    answer = {
        "route": dict(req.route_params),
        "query": dict(req.params),
        "body": req.get_body().decode(),
        "url": req.url,
        "agent": req.headers.get("x-test"),
    }
    response = func.HttpResponse(json.dumps(answer), mimetype="application/json", status_code=201)
    response.headers.add("Set-Cookie", "a=1; Max-Age=60; HttpOnly; SameSite=Lax; Path=/")
    return response


@app.function_name("open_door")
@app.route(route="open/{*path}", auth_level=func.AuthLevel.ANONYMOUS)
@app.event_hub_output(arg_name="out", event_hub_name="%OUT_HUB%", connection="Hub")
async def open_door(req: func.HttpRequest, out: func.Out[str]) -> str:
    """Sends what it is given to the hub; a body of `boom` raises."""
    body = req.get_body().decode()
    if body == "boom":
        raise RuntimeError("boom")
    if body:
        out.set([body])
    return f"sent {len(body)} to {req.route_params.get('path')}"

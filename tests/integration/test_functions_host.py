"""The local Functions host with Microsoft's engine, the real Event Hubs SDK, our broker and Azurite."""

import asyncio
import base64
import contextlib
import gc
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from azure.core.exceptions import ResourceExistsError
from azure.eventhub import EventData, EventHubProducerClient
from azure.eventhub.aio import EventHubConsumerClient
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueClient

from infra.local.host.blob_listing import BlobListing
from infra.local.host.blob_path import parse_blob_path
from tests.azurite import AzuriteServer
from tests.eventhubs import EventHubsServer
from tests.functions_host import FunctionsHost
from tests.polling import wait_until

pytestmark = [
    pytest.mark.integration,
    # azure-eventhub leaves the socket of a broken connection to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]

APPS = Path(__file__).parents[1] / "data" / "host_apps"
EVERYTHING = APPS / "everything"
PARTITIONS = 4
POISON_QUEUE = "webjobs-blobtrigger-poison"

type Settings = dict[str, str]
type StartHost = Callable[..., FunctionsHost]


@pytest.fixture(autouse=True)
def _collect() -> Iterator[None]:
    """Sockets that the SDK left open are collected here, where the warning is expected, not in another test."""
    yield
    gc.collect()


@pytest.fixture(scope="module", name="hubs")
def _hubs() -> list[str]:
    """Names of pairs of hubs: each test that counts events has one of its own, `in-N` and `out-N`."""
    return [f"{uuid4().hex[:8]}-{number}" for number in range(40)]


@pytest.fixture(scope="module", name="broker")
def _broker(tmp_path_factory: pytest.TempPathFactory, hubs: list[str]) -> Iterator[EventHubsServer]:
    entities = [
        {"Name": f"{side}-{name}", "PartitionCount": PARTITIONS, "ConsumerGroups": [{"Name": "group"}]}
        for name in hubs
        for side in ("in", "out")
    ]
    server = EventHubsServer(tmp_path_factory.mktemp("broker"), entities)
    server.start()
    yield server
    server.stop()


@pytest.fixture(name="settings")
def _settings(azurite: AzuriteServer, broker: EventHubsServer, hubs: list[str]) -> Settings:
    """Settings for the app `everything`, with hubs, containers and receipts that no other test uses."""
    name = hubs.pop()
    return {
        "AzureWebJobsStorage": azurite.connection_string,
        "AzureFunctionsWebHost__hostid": f"test-{name}",
        "Hub": broker.connection_string,
        "IN_HUB": f"in-{name}",
        "OUT_HUB": f"out-{name}",
        "CONSUMER_GROUP": "group",
        "Blobs": azurite.connection_string,
        "BLOB_SOURCE": "LogsAndContainerScan",
        "TEXTS": f"texts-{name}",
        "AVROS": f"avros-{name}",
        # Once a year: a test that wants it to run runs it.
        "SCHEDULE": "0 0 0 1 1 *",
    }


@pytest.fixture(name="start_host")
def _start_host(tmp_path: Path, settings: Settings) -> Iterator[StartHost]:
    """Starts a host with the app `everything`; it is killed at the end unless the test has ended it."""
    hosts: list[FunctionsHost] = []

    def start(**changes: str) -> FunctionsHost:
        host = FunctionsHost(tmp_path / f"host-{len(hosts)}", EVERYTHING, settings | changes, "--blob-scan", "0.2")
        hosts.append(host)
        host.start()
        return host

    yield start
    for host in hosts:
        host.kill()


def _send(connection_string: str, hub: str, bodies: Sequence[str | EventData], **where: str) -> None:
    with EventHubProducerClient.from_connection_string(connection_string, eventhub_name=hub) as producer:
        batch = producer.create_batch(**where)
        for body in bodies:
            batch.add(body if isinstance(body, EventData) else EventData(body))
        producer.send_batch(batch)


def _received(connection_string: str, hub: str, count: int) -> list[str]:
    """At least `count` bodies of a hub, read from its beginning; fewer fail the test after a while."""

    async def read() -> list[str]:
        bodies: list[str] = []
        enough = asyncio.Event()

        async def on_batch(_context: object, events: list[EventData]) -> None:
            bodies.extend(event.body_as_str() for event in events)
            if len(bodies) >= count:
                enough.set()

        client = EventHubConsumerClient.from_connection_string(
            connection_string, "$Default", eventhub_name=hub, load_balancing_interval=0.5
        )
        async with client:
            reading = asyncio.create_task(client.receive_batch(on_batch, starting_position="-1"))
            await asyncio.wait_for(enough.wait(), 30)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        return bodies

    return asyncio.run(read())


def _bodies(host: FunctionsHost) -> Counter[str]:
    """How often the function `shout` was called with each body."""
    return Counter(body for note in host.notes("shout") for body in note.get("bodies", ()))


def _done(host: FunctionsHost) -> set[str]:
    return {body for note in host.notes("shout") for body in note.get("done", ())}


def _checkpoints(host: FunctionsHost) -> dict[str, int | None]:
    partitions = host.status()["functions"]["shout"]["event_hub"]["partitions"]
    return {partition_id: partition["checkpoint"] for partition_id, partition in partitions.items()}


def _upload(settings: Settings, container: str, blobs: dict[str, bytes]) -> None:
    with BlobServiceClient.from_connection_string(settings["Blobs"]) as service:
        client = service.get_container_client(settings[container])
        with contextlib.suppress(ResourceExistsError):
            client.create_container()
        for name, content in blobs.items():
            client.upload_blob(name, content, overwrite=True)


def _blob_numbers(host: FunctionsHost, function: str) -> dict[str, Any]:
    numbers: dict[str, Any] = host.status()["functions"][function]["blobs"]
    return numbers


# --- indexing ---------------------------------------------------------------------------------------------------------

_HEAD = "import typing\nimport azure.functions as func\napp = func.FunctionApp()\n"
_EVENTS = (
    "@app.event_hub_message_trigger(arg_name='events', event_hub_name='in', connection='Hub', consumer_group='g',"
    " cardinality='many', data_type='binary')\n"
)
_TIMER = "@app.timer_trigger(arg_name='timer', schedule='{} * * * * *')\n"
_QUEUE = "@app.queue_trigger(arg_name='m', queue_name='q', connection='Hub')\n"
_OUT = "@app.event_hub_output(arg_name='out', event_hub_name='out', connection='Hub')\n"


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        (
            _HEAD + _EVENTS + "def work(events: list[func.EventHubEvent]) -> None: ...",
            "FunctionLoadError: cannot load the work function: binding events has invalid",
        ),
        (
            _HEAD + _EVENTS + _OUT + "def work(events: typing.List[func.EventHubEvent], out: func.Out[list[str]]): ...",
            "FunctionLoadError: cannot load the work function",
        ),
        (_HEAD + "import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        (_HEAD + "other = func.FunctionApp()", "ValueError: More than one"),
        (_HEAD + "raise RuntimeError('at import')", "RuntimeError: at import"),
        (_HEAD + "def broken(:", "SyntaxError"),
        ("import azure.functions", "Could not find top level function app instances in function_app.py"),
        (
            _HEAD
            + "@app.timer_trigger(arg_name='timer', schedule='0 * * * * *')\ndef work(clock: func.TimerRequest): ...",
            "cannot load the work function: the following parameters are declared in Python",
        ),
        (
            _HEAD
            + "@app.timer_trigger(arg_name='timer', schedule='61 * * * * *')\ndef work(timer: func.TimerRequest): ...",
            "work: schedule '61 * * * * *': Bad second",
        ),
        (
            _HEAD
            + "@app.queue_trigger(arg_name='m', queue_name='q', connection='Hub')\ndef work(m: func.QueueMessage): ...",
            "binding 'm' is of type 'queueTrigger' (in), which the local host lacks",
        ),
        (
            _HEAD + _EVENTS.replace("'Hub'", "'Other'") + "def work(events: typing.List[func.EventHubEvent]): ...",
            "work: binding 'events': the setting Other is missing",
        ),
    ],
    ids=[
        "PEP 585 input",
        "PEP 585 output",
        "import error",
        "two apps",
        "raises at import",
        "syntax error",
        "no app",
        "unbound parameter",
        "bad schedule",
        "foreign trigger",
        "missing setting",
    ],
)
def test_an_app_that_azure_would_not_index_stops_here_with_the_reason(
    tmp_path: Path, code: str, complaint: str
) -> None:
    app = tmp_path / "app"
    app.mkdir()
    (app / "function_app.py").write_text(code)
    (app / "host.json").write_text('{"version": "2.0", "extensionBundle": {"id": "x", "version": "[4.*, 5.0.0)"}}')
    host = FunctionsHost(tmp_path, app, {"Hub": "Endpoint=sb://localhost", "AzureWebJobsStorage": "BlobEndpoint=x"})
    host.begin()
    assert host.wait() == 3
    assert complaint in host.output
    assert host.output.count("the app is refused") == 1


def test_a_source_of_event_grid_is_refused_with_the_setting_to_change(tmp_path: Path, settings: Settings) -> None:
    host = FunctionsHost(tmp_path, EVERYTHING, settings | {"BLOB_SOURCE": "EventGrid"})
    host.begin()
    assert host.wait() == 3
    assert "there is no Event Grid on a laptop" in host.output
    assert "LogsAndContainerScan" in host.output


def test_a_taken_port_is_named_with_the_option_that_moves_the_host(start_host: StartHost, tmp_path: Path) -> None:
    first = start_host()
    second = FunctionsHost(tmp_path / "second", EVERYTHING, {})
    second.port = first.port
    second.begin()
    assert second.wait() == 2
    assert f"port {first.port}" in second.output
    assert "choose another with --port" in second.output


def test_missing_settings_file_is_named(tmp_path: Path) -> None:
    host = FunctionsHost(tmp_path, EVERYTHING, {})
    host.settings.unlink()
    host.begin()
    assert host.wait() == 2
    assert "local.settings.json cannot be read" in host.output


# --- HTTP and the admin API -------------------------------------------------------------------------------------------


def test_http_functions_are_reached_by_route_and_key(start_host: StartHost, settings: Settings) -> None:
    host = start_host()
    key = {"x-functions-key": host.keys["default"]}

    status, body, headers = host.ask("POST", "/api/hello/b%20b/7?q=1&q=2", "ü".encode(), {**key, "x-test": "yes"})
    assert status == 201
    assert json.loads(body) == {
        "route": {"name": "b b", "count": "7"},
        "query": {"q": "1,2"},
        "body": "ü",
        "url": f"http://127.0.0.1:{host.port}/api/hello/b%20b/7?q=1&q=2",
        "agent": "yes",
    }
    assert headers["content-type"] == "application/json"
    assert headers["set-cookie"] == "a=1; Path=/; Max-Age=60; HttpOnly; SameSite=Lax"

    assert host.ask("GET", f"/api/hello/bob?code={host.keys['master']}")[0] == 201
    assert host.ask("GET", "/api/hello/bob")[0] == 401
    assert host.ask("GET", "/api/hello/bob", headers={"x-functions-key": "wrong"})[0] == 401
    assert host.ask("GET", "/api/hello/bob/seven", headers=key)[0] == 404
    assert host.ask("DELETE", "/api/hello/bob", headers=key)[0] == 404
    assert host.ask("GET", "/hello/bob", headers=key)[0] == 404

    assert host.ask("POST", "/api/open/a/b", b"sent by HTTP")[:2] == (200, b"sent 12 to a/b")
    assert _received(settings["Hub"], settings["OUT_HUB"], 1) == ["sent by HTTP"]
    assert host.ask("POST", "/api/open", b"boom")[:2] == (500, b"")
    assert "RuntimeError: boom" in host.output
    assert "[hello] hello to bob" in host.output


def test_the_admin_api_asks_for_the_master_key(start_host: StartHost) -> None:
    host = start_host()
    master = {"x-functions-key": host.keys["master"]}
    for method, path in (("GET", "/admin/host/status"), ("GET", "/admin/functions"), ("POST", "/admin/functions/tick")):
        assert host.ask(method, path)[0] == 401
        assert host.ask(method, path, headers={"x-functions-key": host.keys["default"]})[0] == 401
    assert json.loads(host.ask("GET", "/admin/host/status", headers=master)[1])["state"] == "Running"
    functions = json.loads(host.ask("GET", "/admin/functions", headers=master)[1])
    assert {function["name"] for function in functions} == {
        *("shout", "take_bytes", "take_client", "tick", "hello", "open_door")
    }
    assert host.ask("POST", "/admin/functions/none", headers=master)[0] == 404


def test_functions_can_be_run_by_hand(start_host: StartHost, settings: Settings) -> None:
    _upload(settings, "TEXTS", {"a/b.txt": b"by hand"})
    host = start_host()
    master = {"x-functions-key": host.keys["master"]}

    def run(name: str, text: str) -> tuple[int, dict[str, Any]]:
        body = json.dumps({"input": text}).encode()
        status, answer, _ = host.ask("POST", f"/admin/functions/{name}?wait=true", body, master)
        return status, json.loads(answer)

    status, outcome = run("tick", "")
    assert (status, outcome["succeeded"], outcome["error"]) == (200, True, None)
    assert len(host.notes("tick")) == 1
    wait_until(lambda: host.notes("take_bytes"), 20, "the blob to be found")
    assert run("take_bytes", f"{settings['TEXTS']}/a/b.txt")[0] == 200
    assert len(host.notes("take_bytes")) == 2
    assert run("take_bytes", "elsewhere/x.txt")[0] == 400
    status, outcome = run("open_door", "boom")
    assert (status, outcome["error"]) == (500, "RuntimeError: boom")
    status, outcome = run("shout", "x")
    assert status == 400
    assert "send an event to the hub" in outcome["error"]

    assert host.ask("POST", "/admin/functions/tick", b"{}", master)[0] == 202
    wait_until(lambda: len(host.notes("tick")) == 2, 10, "the timer that was run by hand")
    assert host.ask("POST", "/admin/functions/tick", b"[]", master)[0] == 400


# --- Event Hubs -------------------------------------------------------------------------------------------------------


def test_events_reach_the_function_with_their_metadata_and_its_outputs_the_hub(
    start_host: StartHost, settings: Settings
) -> None:
    host = start_host()
    event = EventData("with properties")
    event.properties = {"kind": "test", "n": 1}
    _send(settings["Hub"], settings["IN_HUB"], [event, "plain"], partition_key="device-1")
    wait_until(lambda: len(_done(host)) == 2, 20, "the events")
    (note,) = [note for note in host.notes("shout") if "bodies" in note]
    assert note["bodies"] == ["with properties", "plain"]
    assert note["numbers"] == [0, 1]
    assert note["keys"] == ["device-1", "device-1"]
    assert note["properties"] == [{"kind": "test", "n": 1}, {}]
    assert note["retry"] == 0
    for text in note["times"]:
        assert abs((datetime.now(UTC).replace(tzinfo=None) - datetime.fromisoformat(text)).total_seconds()) < 60
    assert sorted(_received(settings["Hub"], settings["OUT_HUB"], 2)) == ["PLAIN", "WITH PROPERTIES"]
    wait_until(lambda: _checkpoints(host)[note["partition"]] == 1, 10, "the checkpoint")


@pytest.mark.slow
def test_a_failed_batch_is_tried_again_and_then_goes_on(start_host: StartHost, settings: Settings) -> None:
    host = start_host()
    _send(settings["Hub"], settings["IN_HUB"], ["fail:1"], partition_id="0")
    _send(settings["Hub"], settings["IN_HUB"], ["fail:99"], partition_id="1")
    wait_until(lambda: _checkpoints(host) == {"0": 0, "1": 0, "2": None, "3": None}, 30, "both checkpoints")
    # One retry for the first, three for the second, which is checkpointed although it never succeeded.
    assert _bodies(host) == {"fail:1": 2, "fail:99": 4}
    assert [note["retry"] for note in host.notes("shout") if note.get("bodies") == ["fail:99"]] == [0, 1, 2, 3]
    assert host.output.count("Traceback (most recent call last)") == 2, "each traceback is said once"
    _send(settings["Hub"], settings["IN_HUB"], ["next"], partition_id="1")
    wait_until(lambda: "next" in _done(host), 20, "the event behind the failed one")


def test_an_output_that_cannot_be_published_fails_the_invocation(start_host: StartHost, settings: Settings) -> None:
    host = start_host()
    _send(settings["Hub"], settings["IN_HUB"], ["big:2000000"], partition_id="0")
    wait_until(lambda: _checkpoints(host)["0"] == 0, 30, "the end of the retry policy")
    assert _bodies(host) == {"big:2000000": 4}
    assert host.status()["functions"]["shout"]["failures"] == 4
    assert "Event is too large (2000000 bytes)" in host.output


def test_many_outputs_are_split_into_batches(start_host: StartHost, settings: Settings) -> None:
    host = start_host()
    _send(settings["Hub"], settings["IN_HUB"], [f"big:{300_000 + n}" for n in range(8)], partition_id="2")
    lengths = sorted(len(body) for body in _received(settings["Hub"], settings["OUT_HUB"], 8))
    assert lengths == [300_000 + n for n in range(8)]
    assert host.status()["functions"]["shout"]["failures"] == 0


@pytest.mark.slow
def test_a_restarted_host_goes_on_where_it_stopped(start_host: StartHost, settings: Settings) -> None:
    host = start_host()
    _send(settings["Hub"], settings["IN_HUB"], ["one", "two"], partition_id="3")
    wait_until(lambda: _checkpoints(host)["3"] == 1, 20, "the checkpoint")
    assert host.stop() == 0
    _send(settings["Hub"], settings["IN_HUB"], ["three"], partition_id="3")
    host.start()
    assert _checkpoints(host)["3"] is not None, "what is checkpointed is known before any event comes"
    wait_until(lambda: "three" in _done(host), 30, "the event that came in between")
    assert _bodies(host) == {"one": 1, "two": 1, "three": 1}


@pytest.mark.slow
@pytest.mark.parametrize("end", ["kill", "stop"])
def test_a_batch_in_flight_comes_again_after_the_host_ended(
    start_host: StartHost, settings: Settings, end: str
) -> None:
    host = start_host()
    _send(settings["Hub"], settings["IN_HUB"], ["wait:2"], partition_id="1")
    wait_until(lambda: _bodies(host)["wait:2"] == 1, 20, "the call")
    if end == "kill":
        host.kill()
        assert _done(host) == set()
    else:
        assert host.stop() == 0
        assert _done(host) == {"wait:2"}, "the call came to its end, yet nothing is checkpointed"
    host.start()
    wait_until(lambda: _bodies(host)["wait:2"] == 2, 30, "the same event again")


@pytest.mark.slow
def test_a_call_that_does_not_end_is_left_and_the_host_exits_all_the_same(
    start_host: StartHost, settings: Settings
) -> None:
    host = start_host()
    _send(settings["Hub"], settings["IN_HUB"], ["wait:600"], partition_id="1")
    wait_until(lambda: _bodies(host)["wait:600"] == 1, 20, "the call")
    assert host.stop() == 0
    assert "these calls did not end in 5 s and are left: shout" in host.output


@pytest.mark.slow
def test_two_hosts_share_the_partitions_and_one_takes_over(start_host: StartHost, settings: Settings) -> None:
    def owned(host: FunctionsHost) -> set[str]:
        partitions = host.status()["functions"]["shout"]["event_hub"]["partitions"]
        return {partition_id for partition_id, partition in partitions.items() if partition["owned"]}

    first = start_host()
    wait_until(lambda: len(owned(first)) == PARTITIONS, 20, "the first host to own all")
    second = start_host()
    wait_until(lambda: len(owned(first)) == 2 and len(owned(second)) == 2, 30, "two partitions each")
    assert owned(first).isdisjoint(owned(second))
    for partition_id in map(str, range(PARTITIONS)):
        _send(settings["Hub"], settings["IN_HUB"], [f"shared {partition_id}"], partition_id=partition_id)
    wait_until(lambda: len(_done(first) | _done(second)) == PARTITIONS, 20, "all events")
    assert _done(first).isdisjoint(_done(second))
    second.kill()
    wait_until(lambda: len(owned(first)) == PARTITIONS, 40, "the first host to own all again")


@pytest.mark.slow
def test_the_host_lives_through_an_outage_of_the_hub(
    start_host: StartHost, settings: Settings, broker: EventHubsServer
) -> None:
    host = start_host()
    _send(settings["Hub"], settings["IN_HUB"], ["before"], partition_id="0")
    wait_until(lambda: "before" in _done(host), 20, "the first event")
    broker.kill()
    broker.start()
    _send(settings["Hub"], settings["IN_HUB"], ["after"], partition_id="0")
    wait_until(lambda: "after" in _done(host), 40, "the event behind the outage")
    assert sorted(set(_received(settings["Hub"], settings["OUT_HUB"], 2))) == ["AFTER", "BEFORE"]


@pytest.mark.slow
def test_a_host_whose_storage_and_hub_are_away_waits_for_them(tmp_path: Path, settings: Settings) -> None:
    storage = AzuriteServer(tmp_path / "azurite")
    entities = [
        {"Name": settings[name], "PartitionCount": 1, "ConsumerGroups": [{"Name": "group"}]}
        for name in ("IN_HUB", "OUT_HUB")
    ]
    hub = EventHubsServer(tmp_path / "broker", entities)
    here = dict.fromkeys(("AzureWebJobsStorage", "Blobs"), storage.connection_string) | {"Hub": hub.connection_string}
    host = FunctionsHost(tmp_path / "host", EVERYTHING, settings | here)
    try:
        host.begin()
        wait_until(
            lambda: "shout waits for the checkpoint store" in host.output, 20, "the host to say what it waits for"
        )
        assert host.state() == "starting"
        storage.start()
        wait_until(
            lambda: f"shout waits for event hub {settings['IN_HUB']}" in host.output, 20, "the line about the hub"
        )
        assert "take_bytes goes on" in host.output
        hub.start()
        wait_until(lambda: host.state() == "running", 30, "the host to be ready")
        assert f"ready: http://127.0.0.1:{host.port}/api, 6 functions" in host.output
    finally:
        host.kill()
        hub.stop()
        storage.stop()


# --- blobs ------------------------------------------------------------------------------------------------------------


def test_blobs_reach_functions_as_bytes_or_as_a_client(start_host: StartHost, settings: Settings) -> None:
    _upload(settings, "TEXTS", {"f/one.txt": "grüße".encode(), "f/other.md": b"not mine", "no-folder.txt": b"neither"})
    host = start_host()
    _upload(settings, "AVROS", {"ns/hub/0/2026/11 24.avro": bytes(5000)})
    wait_until(lambda: host.notes("take_client"), 20, "the blob that came while the host ran")
    wait_until(lambda: host.notes("take_bytes"), 20, "the blob that was there before")
    (note,) = host.notes("take_bytes")
    assert note["text"] == "grüße"
    assert note["blob"] == f"{settings['TEXTS']}/f/one.txt"
    assert note["uri"].endswith(f"/{settings['TEXTS']}/f/one.txt")
    assert note["length"] == len("grüße".encode())
    (note,) = host.notes("take_client")
    assert (note["blob"], note["size"]) == ("ns/hub/0/2026/11 24.avro", 5000)
    wait_until(lambda: _blob_numbers(host, "take_client")["pending"] == 0, 10, "the receipt")
    assert _blob_numbers(host, "take_client")["processed"] == 1


def test_a_blob_runs_once_for_each_content_also_after_a_restart(start_host: StartHost, settings: Settings) -> None:
    _upload(settings, "TEXTS", {f"f/{n}.txt": f"text {n}".encode() for n in range(20)})
    host = start_host()
    wait_until(lambda: _blob_numbers(host, "take_bytes")["processed"] == 20, 30, "twenty blobs")
    host.kill()
    _upload(settings, "TEXTS", {"f/3.txt": b"text 3, edited"})
    host.start()
    wait_until(lambda: len(host.notes("take_bytes")) == 21, 20, "the blob with a new content")
    wait_until(lambda: _blob_numbers(host, "take_bytes")["pending"] == 0, 10, "the receipt")
    assert Counter(note["text"] for note in host.notes("take_bytes")).most_common(1)[0][1] == 1
    assert _blob_numbers(host, "take_bytes")["seen"] == 20


@pytest.mark.slow
def test_a_blob_that_fails_is_tried_again_and_at_last_described_in_the_poison_queue(
    start_host: StartHost, settings: Settings
) -> None:
    host = start_host()
    _upload(settings, "TEXTS", {"f/once.txt": b"fail-once", "f/bad.txt": b"fail"})
    wait_until(lambda: _blob_numbers(host, "take_bytes")["poisoned"] == 1, 30, "the poisoned blob")
    wait_until(lambda: _blob_numbers(host, "take_bytes")["pending"] == 0, 10, "the receipts")
    # host.json of the app has poisonBlobThreshold 3.
    assert Counter(note["text"] for note in host.notes("take_bytes")) == {"fail": 3, "fail-once": 2}
    with QueueClient.from_connection_string(settings["Blobs"], POISON_QUEUE) as queue:
        messages = [json.loads(base64.b64decode(message.content)) for message in queue.receive_messages()]
    (message,) = [message for message in messages if message["ContainerName"] == settings["TEXTS"]]
    assert message["FunctionId"] == "Host.Functions.take_bytes"
    assert message["BlobType"] == "BlockBlob"
    assert message["BlobName"] == "f/bad.txt"
    assert message["ETag"].startswith('"0x')
    host.stop()
    host.start()
    wait_until(lambda: _blob_numbers(host, "take_bytes")["listening"], 10, "a scan after the restart")
    assert _blob_numbers(host, "take_bytes")["pending"] == 0, "a poisoned blob is not tried again"


@pytest.mark.slow
def test_a_blob_whose_call_was_cut_off_runs_again(start_host: StartHost, settings: Settings) -> None:
    host = start_host()
    _upload(settings, "TEXTS", {"f/slow.txt": b"wait:30"})
    wait_until(lambda: host.notes("take_bytes"), 20, "the call")
    host.kill()
    host.start()
    wait_until(lambda: len(host.notes("take_bytes")) == 2, 20, "the second call")


@pytest.mark.slow
def test_a_deleted_blob_is_forgotten(start_host: StartHost, settings: Settings) -> None:
    # Two slow blobs fill both places of the app's host.json; the third waits, and is deleted meanwhile.
    _upload(settings, "TEXTS", {"f/1.txt": b"wait:2", "f/2.txt": b"wait:2.1"})
    host = start_host()
    wait_until(lambda: len(host.notes("take_bytes")) == 2, 20, "both calls")
    _upload(settings, "TEXTS", {"f/3.txt": b"never read"})
    wait_until(lambda: _blob_numbers(host, "take_bytes")["pending"] == 3, 10, "the third blob to be found")
    with BlobServiceClient.from_connection_string(settings["Blobs"]) as service:
        service.get_blob_client(settings["TEXTS"], "f/3.txt").delete_blob()
    wait_until(lambda: _blob_numbers(host, "take_bytes")["pending"] == 0, 20, "nothing to be left")
    assert len(host.notes("take_bytes")) == 2
    assert host.status()["functions"]["take_bytes"]["failures"] == 0


def test_a_look_for_names_finds_what_is_new_or_gone_and_a_whole_one_what_was_overwritten(settings: Settings) -> None:
    _upload(settings, "TEXTS", {"f/a.txt": b"1", "f/b.txt": b"1", "f/c.md": b"1"})
    listing = BlobListing(settings["Blobs"], parse_blob_path(f"{settings['TEXTS']}/f/{{name}}.txt"))
    first = listing.look({})
    assert first.keys() == {"f/a.txt", "f/b.txt"}
    _upload(settings, "TEXTS", {"f/a.txt": b"2", "f/d.txt": b"1"})
    with BlobServiceClient.from_connection_string(settings["Blobs"]) as service:
        service.get_blob_client(settings["TEXTS"], "f/b.txt").delete_blob()
        new = service.get_blob_client(settings["TEXTS"], "f/d.txt").get_blob_properties()
    found = listing.look(first)
    assert found.keys() == {"f/a.txt", "f/d.txt"}
    assert found["f/d.txt"].etag == new.etag
    wait_until(lambda: listing.look(found)["f/a.txt"].etag != first["f/a.txt"].etag, 20, "the new content")


def test_a_container_that_is_not_there_is_empty(settings: Settings) -> None:
    listing = BlobListing(settings["Blobs"], parse_blob_path(f"{settings['AVROS']}/{{name}}"))
    assert listing.look({}) == {}
    assert listing.look({}) == {}


# --- timers -----------------------------------------------------------------------------------------------------------


def test_a_timer_runs_by_its_schedule(start_host: StartHost) -> None:
    host = start_host(SCHEDULE="* * * * * *")
    notes = wait_until(lambda: host.notes("tick")[:3] if len(host.notes("tick")) >= 3 else [], 20, "three runs")
    seconds = [int(note["at"]) for note in notes]
    assert seconds == [seconds[0], seconds[0] + 1, seconds[0] + 2]
    assert not any(note["past_due"] for note in notes)
    timer = host.status()["functions"]["tick"]["timer"]
    assert datetime.fromisoformat(timer["last_run"]) < datetime.fromisoformat(timer["next_run"])


@pytest.mark.slow
def test_a_missed_run_is_made_up_for_once_at_start(start_host: StartHost, settings: Settings) -> None:
    path = f"timers/{settings['AzureFunctionsWebHost__hostid']}/Host.Functions.tick/status"
    with BlobServiceClient.from_connection_string(settings["AzureWebJobsStorage"]) as service:
        host = start_host()
        blob = service.get_blob_client("azure-webjobs-hosts", path)
        status = json.loads(blob.download_blob().readall())
        assert host.notes("tick") == [], "a timer that is new has missed nothing"
        host.stop()
        blob.upload_blob(json.dumps(status | {"Last": "2020-01-01T00:00:00+00:00"}), overwrite=True)
        host.start()
        wait_until(lambda: len(host.notes("tick")) == 1, 20, "the run that was missed")
        assert host.notes("tick")[0]["past_due"] is True
        wait_until(lambda: json.loads(blob.download_blob().readall())["Last"] > "2026", 10, "the status to be written")
        host.stop()
        host.start()
        assert len(host.notes("tick")) == 1

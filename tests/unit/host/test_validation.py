"""What the host says about an app before it runs it."""

from datetime import timedelta
from typing import Any

import pytest

from infra.local.host.model import Function
from infra.local.host.retry import RetryPolicy, RetryStrategy
from infra.local.host.validation import Finding, Level, check_app
from tests.unit.host.bindings import BLOB, EVENTS, HTTP, HTTP_OUT, OUT, TIMER, binding, function

SETTINGS = {"Hub": "Endpoint=sb://localhost", "Blobs": "BlobEndpoint=x", "AzureWebJobsStorage": "BlobEndpoint=x"}
HOST_JSON = {"version": "2.0", "extensionBundle": {"id": "x", "version": "[4.*, 5.0.0)"}}
FOR_EVER = RetryPolicy(RetryStrategy.EXPONENTIAL_BACKOFF, -1, timedelta(seconds=1), timedelta(seconds=30))
GOOD = function(binding(EVENTS), binding(OUT), retry=FOR_EVER)


def _check(
    *functions: Function, host_json: dict[str, Any] | None = None, settings: dict[str, str] | None = None
) -> list[Finding]:
    return check_app(
        functions, HOST_JSON if host_json is None else host_json, SETTINGS if settings is None else settings
    )


def _texts(findings: list[Finding], level: Level) -> list[str]:
    return [finding.text for finding in findings if finding.level is level]


def test_a_sound_app_has_no_findings() -> None:
    http = function(binding(HTTP), binding(HTTP_OUT), name="hello")
    blob = function(binding(BLOB), name="refine")
    assert _check(GOOD, http, blob, function(binding(TIMER), name="tick")) == []


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (function(binding(EVENTS), name="9lives"), "no valid function name"),
        (function(binding(OUT)), "exactly one trigger; this one has 0"),
        (function(binding(EVENTS), binding(TIMER)), "exactly one trigger; this one has 2"),
        (function(binding(EVENTS, name="a__b")), "binding name 'a__b' is not allowed"),
        (function(binding(EVENTS), binding(OUT, name="Events")), "two bindings have the name"),
        (function(binding(EVENTS, eventHubName="%ABSENT%")), "%ABSENT% is no app setting"),
        (function(binding(EVENTS, eventHubName="")), "event_hub_name is empty"),
        (function(binding(EVENTS, connection="")), "connection is empty"),
        (function(binding(EVENTS, connection="Endpoint=sb://x")), "the NAME of a setting"),
        (function(binding(EVENTS, connection="Other")), "the setting Other is missing"),
        (function(binding(EVENTS), binding(OUT, connection="Other")), "the setting Other is missing"),
        (function(binding(BLOB, source="EventGrid")), "there is no Event Grid on a laptop"),
        (function(binding(BLOB, path="{container}/{name}")), "must begin with the name of one container"),
        (function(binding(BLOB), binding(OUT, eventHubName="x-{name}")), "uses an {expression}"),
        (function(binding(TIMER, schedule="* * *")), "has 3 fields"),
        (function(binding(HTTP, route="/a")), "must not begin with a slash"),
        (function(binding(HTTP, route="admin/x")), "the host's own"),
        (function(binding(HTTP, authLevel="USER")), "'user' is not a valid AuthLevel"),
        (function(binding(TIMER), binding(OUT, type="cosmosDB")), "of type 'cosmosDB' (out), which the local host"),
        (function(binding(TIMER), binding(OUT, type="blob", direction="IN")), "of type 'blob' (in)"),
        (function(binding(TIMER, type="queueTrigger")), "of type 'queueTrigger' (in)"),
    ],
)
def test_a_fault_stops_the_start_and_says_what_is_wrong(wrong: Function, complaint: str) -> None:
    assert any(complaint in text for text in _texts(_check(wrong), Level.ERROR))


def test_two_functions_whose_names_differ_in_case_are_a_fault() -> None:
    assert any("case makes no difference" in text for text in _texts(_check(GOOD, GOOD), Level.ERROR))


def test_an_identity_instead_of_a_connection_string_is_explained() -> None:
    settings = SETTINGS | {"Hub": "", "Hub__fullyQualifiedNamespace": "x.servicebus.windows.net"}
    assert any("is for identities on Azure" in text for text in _texts(_check(GOOD, settings=settings), Level.ERROR))


def test_triggers_need_the_hosts_own_storage_and_http_does_not() -> None:
    settings = {"Hub": SETTINGS["Hub"]}
    assert [finding.where for finding in _check(GOOD, settings=settings)] == ["AzureWebJobsStorage"]
    assert _check(function(binding(HTTP), binding(HTTP_OUT)), settings={}) == []


@pytest.mark.parametrize(
    ("risky", "complaint"),
    [
        (function(binding(EVENTS, cardinality="one"), retry=FOR_EVER), "cardinality is not MANY"),
        (function(binding(EVENTS, dataType=None), retry=FOR_EVER), "no data_type"),
        (function(binding(EVENTS, dataType="STRING"), retry=FOR_EVER), "data_type STRING"),
        (function(binding(EVENTS, consumerGroup=None), retry=FOR_EVER), "no consumer_group"),
        (function(binding(EVENTS)), "no retry policy"),
        (function(binding(BLOB), retry=FOR_EVER), "Azure knows no retry policy for a blobTrigger"),
        (function(binding(BLOB, properties=None)), "the blob is copied whole into memory"),
        (function(binding(TIMER, runOnStartup=True)), "at every restart"),
    ],
)
def test_a_trap_is_a_warning_and_does_not_stop_the_start(risky: Function, complaint: str) -> None:
    findings = _check(risky)
    assert _texts(findings, Level.ERROR) == []
    assert any(complaint in text for text in _texts(findings, Level.WARNING))


@pytest.mark.parametrize(
    ("document", "level", "complaint"),
    [
        ({"extensionBundle": {}}, Level.ERROR, "version is None"),
        ({"version": "2.0"}, Level.ERROR, "extensionBundle is missing"),
        (HOST_JSON | {"extension": {}}, Level.WARNING, "extension is no setting"),
        (HOST_JSON | {"extensions": {"eventHubs": {"maxBatchSize": 1}}}, Level.WARNING, "eventHubs.maxBatchSize"),
        (HOST_JSON | {"extensions": {"blobs": {"maxDegree": 1}}}, Level.WARNING, "blobs.maxDegree"),
        (HOST_JSON | {"extensions": {"eventHubs": {"prefetchCount": 50}}}, Level.WARNING, "full batches will be rare"),
        (HOST_JSON | {"extensions": {"eventHubs": {"minEventBatchSize": 9}}}, Level.WARNING, "is not followed"),
        (HOST_JSON | {"retry": {}}, Level.WARNING, "use @app.retry"),
    ],
)
def test_host_json_is_looked_through(document: dict[str, Any], level: Level, complaint: str) -> None:
    assert any(complaint in text for text in _texts(_check(GOOD, host_json=document), level))

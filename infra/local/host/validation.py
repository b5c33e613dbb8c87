"""What the host checks before it runs an app: faults that Azure refuses, and traps that bite there later.

An error stops the start, a warning is logged. `reference/azure-functions.md` of the project has the evidence.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from infra.local.host.blob_path import parse_blob_path
from infra.local.host.connections import HOST_STORAGE, find_connection
from infra.local.host.http_server import auth_level, http_routes
from infra.local.host.model import Binding, DataType, Function
from infra.local.host.outputs import OUTPUT_TYPES
from infra.local.host.retry import RetryStrategy
from infra.local.host.schedule import Schedule
from infra.local.host.settings import names_in, section, texts_in

_BINDING_NAME = re.compile(r"(?!.*__)([a-zA-Z_][a-zA-Z0-9_]{0,127}|\$return)")
_FUNCTION_NAME = re.compile(r"(?!host$)[a-z][a-z0-9_\-]{0,127}", re.IGNORECASE)
_EXPRESSION = re.compile(r"\{.*?\}")
_RETRYABLE = frozenset({"eventhubtrigger", "timertrigger"})
_TRIGGERS = frozenset({"eventhubtrigger", "blobtrigger", "timertrigger", "httptrigger"})
_RESERVED_ROUTES = ("admin/", "runtime/")

_EVENT_HUB_KEYS = {
    "maxEventBatchSize",
    "minEventBatchSize",
    "maxWaitTime",
    "batchCheckpointFrequency",
    "enableCheckpointing",
    "prefetchCount",
    "prefetchSizeInBytes",
    "transportType",
    "webProxy",
    "customEndpointAddress",
    "clientRetryOptions",
    "initialOffsetOptions",
    "trackLastEnqueuedEventProperties",
    "partitionOwnershipExpirationInterval",
    "loadBalancingUpdateInterval",
    "targetUnprocessedEventThreshold",
}
_BLOB_KEYS = {"maxDegreeOfParallelism", "poisonBlobThreshold"}
_HOST_KEYS = {
    "version",
    "aggregator",
    "concurrency",
    "customHandler",
    "extensionBundle",
    "extensions",
    "functions",
    "functionTimeout",
    "healthMonitor",
    "http",
    "logging",
    "managedDependency",
    "retry",
    "sendCanceledInvocationsToWorker",
    "singleton",
    "telemetryMode",
    "watchDirectories",
    "watchFiles",
}


class Level(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault, or a trap, and where it lies: a function's name, or host.json."""

    level: Level
    where: str
    text: str


def check_app(
    functions: Iterable[Function], host_json: Mapping[str, Any], environment: Mapping[str, str]
) -> list[Finding]:
    """Everything that is wrong with an app; an app without an ERROR among it can be run."""
    functions = list(functions)
    findings = [*_check_host_json(host_json, functions), *_check_names(functions)]
    for function in functions:
        faults, traps = list(_faults(function, environment)), list(_traps(function))
        findings += [Finding(Level.ERROR, function.name, text) for text in faults]
        findings += [Finding(Level.WARNING, function.name, text) for text in traps]
    if _needs_storage(functions) and find_connection(HOST_STORAGE, environment) is None:
        findings.append(Finding(Level.ERROR, HOST_STORAGE, "it is not set; triggers keep their state there"))
    return findings


def _needs_storage(functions: Iterable[Function]) -> bool:
    return any(binding.is_trigger and binding.type != "httptrigger" for f in functions for binding in f.bindings)


def _check_names(functions: Iterable[Function]) -> Iterator[Finding]:
    seen: set[str] = set()
    for function in functions:
        name = function.name.lower()
        if name in seen:
            yield Finding(Level.ERROR, function.name, "another function has this name; case makes no difference")
        seen.add(name)


def _faults(function: Function, environment: Mapping[str, str]) -> Iterator[str]:
    """What stops the function on Azure, or cannot be run by this host."""
    if not _FUNCTION_NAME.fullmatch(function.name):
        yield f"{function.name!r} is no valid function name"
    triggers = [binding for binding in function.bindings if binding.is_trigger]
    if len(triggers) != 1:
        yield f"a function needs exactly one trigger; this one has {len(triggers)}"
        return
    names: set[str] = set()
    for binding in function.bindings:
        yield from _binding_faults(binding, environment)
        if binding.name.lower() in names:
            yield f"two bindings have the name {binding.name!r}"
        names.add(binding.name.lower())
    if triggers[0].is_deferred:
        yield from _deferred_faults(function)


def _binding_faults(binding: Binding, environment: Mapping[str, str]) -> Iterator[str]:
    if not _BINDING_NAME.fullmatch(binding.name):
        yield f"binding name {binding.name!r} is not allowed"
    for value in binding.raw.values():
        for text in texts_in(value):
            yield from (f"binding {binding.name!r}: %{name}% is no app setting" for name in names_in(text))
    known = binding.type in _TRIGGERS if binding.is_trigger else _is_known_output(binding)
    if not known:
        yield (
            f"binding {binding.name!r} is of type {binding.get('type')!r} ({binding.direction}), which the local host "
            f"lacks; it has {', '.join(sorted(_TRIGGERS))}, and as outputs {', '.join(sorted(OUTPUT_TYPES))}"
        )
        return
    match binding.type:
        case "eventhubtrigger" | "eventhub":
            yield from _event_hub_faults(binding, environment)
        case "blobtrigger":
            yield from _blob_faults(binding, environment)
        case "timertrigger":
            yield from _raised_by(lambda: Schedule(str(binding.get("schedule", ""))))
        case "httptrigger":
            yield from _http_faults(binding)


def _is_known_output(binding: Binding) -> bool:
    return binding.direction == "out" and binding.type in OUTPUT_TYPES


def _event_hub_faults(binding: Binding, environment: Mapping[str, str]) -> Iterator[str]:
    if not binding.get("eventHubName"):
        yield f"binding {binding.name!r}: event_hub_name is empty"
    yield from _connection_faults(binding, str(binding.get("connection", "")), environment)


def _connection_faults(binding: Binding, name: str, environment: Mapping[str, str]) -> Iterator[str]:
    if not name:
        yield f"binding {binding.name!r}: connection is empty; it names the setting with the connection string"
    elif "=" in name:
        yield f"binding {binding.name!r}: connection must be the NAME of a setting, not a connection string"
    elif find_connection(name, environment) is None:
        identity = any(key.startswith(f"{name}__") for key in environment)
        yield f"binding {binding.name!r}: the setting {name} is missing" + (
            f" (the local host needs a connection string; {name}__… is for identities on Azure)" if identity else ""
        )


def _blob_faults(binding: Binding, environment: Mapping[str, str]) -> Iterator[str]:
    if str(binding.get("source", "LogsAndContainerScan")).lower() == "eventgrid":
        yield (
            f"binding {binding.name!r}: there is no Event Grid on a laptop; make the source a setting and set it to "
            "LogsAndContainerScan in local.settings.json (here that is CAPTURE_TRIGGER_SOURCE)"
        )
    yield from _connection_faults(binding, str(binding.get("connection", HOST_STORAGE)), environment)
    yield from _raised_by(lambda: parse_blob_path(str(binding.get("path", ""))))


def _http_faults(binding: Binding) -> Iterator[str]:
    function = Function("route", "", (binding,))
    yield from _raised_by(lambda: http_routes([function]))
    yield from _raised_by(lambda: auth_level(function))
    route = str(binding.get("route", "")).lower()
    if route.startswith(_RESERVED_ROUTES):
        yield f"route {route!r}: routes under admin/ and runtime/ are the host's own"


def _deferred_faults(function: Function) -> Iterator[str]:
    for binding in function.bindings:
        texts = [text for value in binding.raw.values() for text in texts_in(value)]
        if not binding.is_trigger and any(_EXPRESSION.search(text) for text in texts):
            yield (
                f"binding {binding.name!r} uses an {{expression}}: the host then gives the trigger as a plain value, "
                "and the function, which takes an SDK type, fails at every call"
            )


def _raised_by(attempt: Callable[[], object]) -> Iterator[str]:
    try:
        attempt()
    except ValueError as error:
        yield str(error)


def _traps(function: Function) -> Iterator[str]:
    """What runs, but not as one thinks."""
    trigger = next((binding for binding in function.bindings if binding.is_trigger), None)
    if trigger is None:
        return
    if trigger.type == "eventhubtrigger":
        yield from _event_hub_traps(function, trigger)
    elif function.retry is not None and trigger.type not in _RETRYABLE:
        yield f"Azure knows no retry policy for a {trigger.get('type')}; it is ignored"
    if function.retry and function.retry.strategy is RetryStrategy.FIXED_DELAY and not function.retry.minimum:
        yield "the retry policy has no delay between its tries"
    if trigger.type == "blobtrigger" and not trigger.is_deferred:
        yield "the blob is copied whole into memory, several times on Azure; take a BlobClient for large blobs"
    if trigger.type == "timertrigger" and trigger.get("runOnStartup"):
        yield "run_on_startup runs the function at every restart and scale-out"


def _event_hub_traps(function: Function, trigger: Binding) -> Iterator[str]:
    if not trigger.is_many:
        yield "cardinality is not MANY: one call for each event"
    elif trigger.data_type is DataType.UNDEFINED:
        yield "no data_type: the host parses each event as JSON, and one that is none loses the whole batch; use BINARY"
    elif trigger.data_type is DataType.STRING:
        yield "data_type STRING: an empty event fails the whole batch, other bytes than UTF-8 are lost; use BINARY"
    if not trigger.get("consumerGroup"):
        yield "no consumer_group: $Default is shared with everything that reads this hub"
    if function.retry is None:
        yield "no retry policy: a batch whose call fails is checkpointed all the same, and so lost"


def _check_host_json(document: Mapping[str, Any], functions: Iterable[Function]) -> Iterator[Finding]:
    def finding(level: Level, text: str) -> Finding:
        return Finding(level, "host.json", text)

    if document.get("version") != "2.0":
        yield finding(Level.ERROR, f'version is {document.get("version")!r}; it must be "2.0"')
    if _needs_bundle(functions) and not document.get("extensionBundle"):
        yield finding(Level.ERROR, "extensionBundle is missing; bindings other than HTTP and timers come from it")
    for text in _host_json_traps(document):
        yield finding(Level.WARNING, text)


def _needs_bundle(functions: Iterable[Function]) -> bool:
    own = {"httptrigger", "http", "timertrigger"}
    return any(binding.type not in own for function in functions for binding in function.bindings)


def _host_json_traps(document: Mapping[str, Any]) -> Iterator[str]:
    extensions = section(document, "extensions")
    event_hubs = section(extensions, "eventHubs")
    yield from _unknown_keys("", document, _HOST_KEYS)
    yield from _unknown_keys("extensions.eventHubs.", event_hubs, _EVENT_HUB_KEYS)
    yield from _unknown_keys("extensions.blobs.", section(extensions, "blobs"), _BLOB_KEYS)
    options = {key.lower(): value for key, value in event_hubs.items()}
    batch, prefetch = options.get("maxeventbatchsize", 100), options.get("prefetchcount", 300)
    if prefetch < batch:
        yield f"prefetchCount {prefetch} is less than maxEventBatchSize {batch}: full batches will be rare"
    if options.get("mineventbatchsize", 1) > 1:
        yield "minEventBatchSize is not followed by the local host: it calls the function with what is there"
    if "retry" in document:
        yield "retry is documented for functions only; use @app.retry"


def _unknown_keys(path: str, given: Mapping[str, Any], known: set[str]) -> Iterator[str]:
    lower = {key.lower() for key in known} | {"$schema"}
    for key in given:
        if key.lower() not in lower:
            yield f"{path}{key} is no setting that the host knows; Azure ignores it without a word"

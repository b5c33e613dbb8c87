"""Microsoft's own Python engine (`azure-functions-runtime`), called in this process.

On Azure the engine stands behind a gRPC shell; its entry points take plain request objects, so they are called
directly, with `protos` in place of the generated messages. Indexing, conversion and invocation are therefore the code
that Azure runs for Python 3.13. The engine keeps registries in module globals: one app a process.

Its coroutines run on an event loop of their own in a thread: on Azure the worker is a process apart, so an app that
blocks its loop (or the decoding of a large batch) must not stop the host's heartbeats. Synchronous functions run in the
engine's thread pool (`PYTHON_THREADPOOL_THREAD_COUNT`).
"""

import asyncio
import json
import os
import sys
import threading
from collections.abc import Callable, Coroutine, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from infra.local.host import protos
from infra.local.host.errors import AppRefused, InputFailed
from infra.local.host.model import Binding, Function
from infra.local.host.protos import ParameterBinding, TypedData
from infra.local.host.retry import RetryContext, RetryPolicy, RetryStrategy
from infra.local.host.settings import resolve

type EngineMessage = Any
"""A message of `protos`, built by the engine."""

HOST_VERSION = "4.1052.100"
"""The Functions host whose behaviour this one follows; apps see it in nothing but the handshake."""

running_function: ContextVar[str | None] = ContextVar("running_function", default=None)
"""The function whose code runs now, for log lines of `async` functions."""


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a function is called with: its inputs by binding name, and the trigger's metadata."""

    inputs: tuple[tuple[str, TypedData], ...]
    metadata: Mapping[str, TypedData] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a call: its outputs by binding name (`$return` for the return value), or its error."""

    outputs: Mapping[str, TypedData] = field(default_factory=dict)
    error: str = ""
    traceback: str = ""

    @property
    def succeeded(self) -> bool:
        return not self.error


class Engine:
    """The engine with one app. `start` once, then `call` from any event loop."""

    def __init__(self, app_directory: Path) -> None:
        self._app_directory = app_directory
        self._loop = asyncio.new_event_loop()
        self._names: dict[str, str] = {}
        self._runtime: Any = None

    def start(self) -> list[Function]:
        """Import and index the app.

        Raises AppRefused, with the engine's own message and traceback, for whatever stops indexing on Azure.
        """
        self._prepare_process()
        import azure_functions_runtime  # imported late: it reads the environment

        self._runtime = azure_functions_runtime
        threading.Thread(target=self._loop.run_forever, name="functions-engine", daemon=True).start()
        self._runtime.start_threadpool_executor()
        response = self._ask("worker_init_request", self._init_request())
        _require_success(response)
        if "HttpUri" in response.capabilities:
            raise AppRefused(
                "the app uses azurefunctions-extensions-http-fastapi; this host serves azure.functions.HttpRequest only"
            )
        answer = self._ask("functions_metadata_request", SimpleNamespace(function_app_directory=self._directory))
        _require_success(answer)
        if not answer.function_metadata_results:
            raise AppRefused(f"no functions were found: is there a function_app.py in {self._directory}?")
        return [_function(metadata) for metadata in answer.function_metadata_results]

    async def call(self, function: Function, invocation_id: str, arguments: Arguments, retry: RetryContext) -> Result:
        """Call a function once. Its failure is a Result with an error, not an exception."""
        self._names[invocation_id] = function.name
        try:
            future = asyncio.run_coroutine_threadsafe(
                self._invoke(function, _invocation_request(function, invocation_id, arguments, retry)), self._loop
            )
            return _result(await asyncio.wrap_future(future))
        finally:
            del self._names[invocation_id]

    def function_of_this_thread(self) -> str | None:
        """The function that runs in this thread or task, if one does."""
        if self._runtime is None:
            return None
        invocation_id = self._runtime.invocation_id_cv.get()
        return self._names.get(invocation_id) if invocation_id else running_function.get()

    def stop(self) -> None:
        """End the thread pool and the loop; only when no call is running, for threads cannot be interrupted."""
        if self._runtime is not None:
            self._runtime.stop_threadpool_executor()
        self._loop.call_soon_threadsafe(self._loop.stop)

    @property
    def _directory(self) -> str:
        return str(self._app_directory)

    def _prepare_process(self) -> None:
        """What the real worker finds in its environment and on its path."""
        os.environ.setdefault("FUNCTIONS_WORKER_RUNTIME", "python")
        os.environ.setdefault("AZURE_FUNCTIONS_ENVIRONMENT", "Development")
        os.environ["AzureWebJobsScriptRoot"] = self._directory  # noqa: SIM112 (Azure's own spelling)
        sys.path.insert(0, self._directory)

    def _init_request(self) -> SimpleNamespace:
        return SimpleNamespace(
            host_version=HOST_VERSION, capabilities={"MultiStream": "10"}, function_app_directory=self._directory
        )

    def _ask(self, name: str, body: SimpleNamespace) -> EngineMessage:
        return asyncio.run_coroutine_threadsafe(self._request(name, body), self._loop).result()

    def _request(self, name: str, body: SimpleNamespace) -> Coroutine[Any, Any, EngineMessage]:
        handler: Callable[[SimpleNamespace], Coroutine[Any, Any, EngineMessage]] = getattr(self._runtime, name)
        return handler(
            SimpleNamespace(
                name=name,
                properties={"protos": protos.module(), "host": "127.0.0.1"},
                request=SimpleNamespace(**{name: body}),
            )
        )

    async def _invoke(self, function: Function, body: SimpleNamespace) -> EngineMessage:
        running_function.set(function.name)
        try:
            return await self._request("invocation_request", body)
        except SystemExit as error:
            # Uncaught it would end the engine's loop; on Azure it ends the worker and so fails the invocation.
            raise InputFailed(f"the function called sys.exit({error.code})") from error


def _require_success(response: EngineMessage) -> None:
    if response.result.status != protos.StatusResult.Success:
        raise AppRefused(response.result.exception.message, response.result.exception.stack_trace)


def _function(metadata: EngineMessage) -> Function:
    bindings = (json.loads(raw) for raw in metadata.raw_bindings)
    return Function(
        name=metadata.name,
        function_id=metadata.function_id,
        bindings=tuple(
            Binding({key: resolve(value, os.environ) for key, value in binding.items()}) for binding in bindings
        ),
        retry=_retry_policy(metadata.retry_options),
    )


def _retry_policy(options: EngineMessage) -> RetryPolicy | None:
    if options is None:
        return None
    strategy = RetryStrategy(options.retry_strategy)
    fixed = strategy is RetryStrategy.FIXED_DELAY
    minimum: timedelta = options.delay_interval if fixed else options.minimum_interval
    return RetryPolicy(strategy, options.max_retry_count, minimum, minimum if fixed else options.maximum_interval)


def _invocation_request(
    function: Function, invocation_id: str, arguments: Arguments, retry: RetryContext
) -> SimpleNamespace:
    trace_id = invocation_id.replace("-", "")
    return SimpleNamespace(
        invocation_id=invocation_id,
        function_id=function.function_id,
        input_data=[ParameterBinding(name=name, data=value) for name, value in arguments.inputs],
        trigger_metadata=arguments.metadata,
        trace_context=SimpleNamespace(trace_parent=f"00-{trace_id}-{trace_id[:16]}-00", trace_state="", attributes={}),
        retry_context=SimpleNamespace(
            retry_count=retry.retry_count,
            max_retry_count=retry.max_retry_count,
            exception=protos.RpcException(message=retry.error, stack_trace="", source=""),
        ),
    )


def _result(response: EngineMessage) -> Result:
    if response.result.status != protos.StatusResult.Success:
        exception = response.result.exception
        return Result(error=exception.message, traceback=exception.stack_trace)
    outputs = {binding.name: binding.data or TypedData() for binding in response.output_data or ()}
    if response.return_value is not None:
        outputs["$return"] = response.return_value
    return Result(outputs)

"""The HTTP side: functions under the route prefix, and the admin API.

`GET /admin/host/status`, `GET /admin/functions` and `POST /admin/functions/{name}` are Azure's and ask for the master
key. The last one runs a function by hand: it answers 202 at once, or with our own `?wait=true` the outcome in the end.
`GET /admin/footfall/status` is ours alone and open to this machine: what every trigger has done and has still to do.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from aiohttp import web

from infra.local.host.background import Calls
from infra.local.host.engine import HOST_VERSION
from infra.local.host.http_conversion import http_arguments, request_arguments, response_of
from infra.local.host.invoker import Invoker, Outcome
from infra.local.host.keys import AuthLevel, HostKeys
from infra.local.host.model import Function
from infra.local.host.routes import Route, Router, RouteTemplate
from infra.local.host.status import HostStatus

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 100 * 1024 * 1024
"""Azure's default (FUNCTIONS_REQUEST_BODY_SIZE_LIMIT); a larger request gets 413."""

_LOOPBACK = {"127.0.0.1", "::1"}
_SHUTDOWN_S = 1.0


class ByHand(Protocol):
    """A function that the admin API can run by hand."""

    async def invoke_now(self, text: str) -> Outcome:
        """Call it once with what the caller gave; raises ValueError when that is nothing it can be called with."""


class HttpFunction:
    """An HTTP function, called by hand: the text is the body of a POST."""

    def __init__(self, function: Function, invoker: Invoker) -> None:
        self._function = function
        self._invoker = invoker

    async def invoke_now(self, text: str) -> Outcome:
        url = f"http://localhost/admin/functions/{self._function.name}"
        headers = {"content-type": "application/json"}
        arguments = http_arguments(self._function, "POST", url, headers, {}, text.encode(), {})
        return await self._invoker.invoke(self._function, arguments, "called by hand")


def http_routes(functions: Iterable[Function]) -> list[Route[Function]]:
    """The routes of the HTTP functions among `functions`; raises ValueError for a route that is none."""
    return [
        Route(
            RouteTemplate.parse(str(function.trigger.get("route", function.name))),
            frozenset(str(getattr(item, "value", item)).upper() for item in function.trigger.get("methods") or ()),
            function,
        )
        for function in functions
        if function.trigger.type == "httptrigger"
    ]


def auth_level(function: Function) -> AuthLevel:
    """The level that the app gave the function; `function` when it gave none."""
    return AuthLevel(str(function.trigger.get("authLevel", AuthLevel.FUNCTION)).lower())


class HttpServer:
    """Serves the app's HTTP functions and the admin API on a socket that is bound already."""

    def __init__(
        self,
        functions: Iterable[Function],
        by_hand: Mapping[str, ByHand],
        prefix: str,
        invoker: Invoker,
        keys: HostKeys,
        status: HostStatus,
    ) -> None:
        self._functions = list(functions)
        self._by_hand = {name.lower(): target for name, target in by_hand.items()}
        self._prefix = prefix
        self._router = Router(prefix, http_routes(self._functions))
        self._invoker = invoker
        self._keys = keys
        self._status = status
        self._calls = Calls()
        self._began = time.monotonic()
        self._runner: web.AppRunner | None = None

    async def start(self, listener: socket.socket) -> None:
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_get("/admin/footfall/status", self._footfall_status)
        app.router.add_get("/admin/host/status", self._host_status)
        app.router.add_get("/admin/functions", self._list_functions)
        app.router.add_post("/admin/functions/{name}", self._run_by_hand)
        app.router.add_route("*", "/{path:.*}", self._call_function)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_S)
        await self._runner.setup()
        await web.SockSite(self._runner, listener).start()

    async def stop(self) -> None:
        """Take no more requests; those under way get their answer as long as the process lives."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def finished(self) -> None:
        await self._calls.finished()

    async def _call_function(self, request: web.Request) -> web.Response:
        found = self._router.find(request.method, request.rel_url.raw_path)
        if found is None:
            return web.Response(status=404)
        function, route = found
        if not self._keys.admit(auth_level(function), request.headers, request.query):
            return web.Response(status=401)
        body = await request.read()
        arguments = request_arguments(function, request, body, route)
        outcome = await self._calls.run(
            self._invoker.invoke(function, arguments, f"{request.method} {request.rel_url.path}")
        )
        # Azure says nothing more than the number; the reason is in the log.
        return response_of(function, outcome.values) if outcome.succeeded else web.Response(status=500)

    async def _footfall_status(self, request: web.Request) -> web.Response:
        if request.remote not in _LOOPBACK and not self._is_master(request):
            return web.Response(status=401)
        return web.json_response(self._status.as_json())

    async def _host_status(self, request: web.Request) -> web.Response:
        if not self._is_master(request):
            return web.Response(status=401)
        return web.json_response(
            {
                "id": self._status.host_id,
                "state": self._status.state.capitalize(),
                "version": HOST_VERSION,
                "processUptime": round((time.monotonic() - self._began) * 1000),
            }
        )

    async def _list_functions(self, request: web.Request) -> web.Response:
        if not self._is_master(request):
            return web.Response(status=401)
        return web.json_response([self._describe(function, request) for function in self._functions])

    def _describe(self, function: Function, request: web.Request) -> dict[str, Any]:
        document: dict[str, Any] = {
            "name": function.name,
            "language": "python",
            "isDisabled": False,
            "config": {"bindings": [dict(binding.raw) for binding in function.bindings]},
        }
        if function.trigger.type == "httptrigger":
            path = "/".join(filter(None, (self._prefix, str(function.trigger.get("route", function.name)))))
            document["invoke_url_template"] = f"{request.url.origin()}/{path}"
        return document

    async def _run_by_hand(self, request: web.Request) -> web.Response:
        if not self._is_master(request):
            return web.Response(status=401)
        target = self._by_hand.get(request.match_info["name"].lower())
        if target is None:
            return web.Response(status=404)
        try:
            text = await _input_of(request)
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)
        run = self._calls.start(self._run(target, text))
        if request.query.get("wait", "").lower() == "true":
            return await asyncio.shield(run)
        return web.Response(status=202)

    async def _run(self, target: ByHand, text: str) -> web.Response:
        try:
            outcome = await target.invoke_now(text)
        except ValueError as error:
            log.warning("not run by hand: %s", error)
            return web.json_response({"error": str(error)}, status=400)
        document = {
            "succeeded": outcome.succeeded,
            "invocation_id": outcome.invocation_id,
            "duration_ms": round(outcome.duration_ms, 1),
            "error": outcome.error or None,
        }
        return web.json_response(document, status=200 if outcome.succeeded else 500)

    def _is_master(self, request: web.Request) -> bool:
        return self._keys.admit(AuthLevel.ADMIN, request.headers, request.query)


async def _input_of(request: web.Request) -> str:
    """The `input` of an admin call, `{}` and no body mean an empty one; raises ValueError for anything else."""
    if not await request.read():
        return ""
    try:
        document = await request.json()
    except ValueError as error:
        raise ValueError(f'the body is no JSON ({error}); send {{"input": "…"}}') from error
    if not isinstance(document, dict) or not isinstance(document.get("input", ""), str):
        raise ValueError('the body must be {"input": "…"}')
    return str(document.get("input", ""))

"""Between HTTP and the engine: a request becomes a function's argument, its output a response.

Sources: ScriptInvocationContextExtensions and GrpcMessageConversionExtensions of the host.
"""

import json
from collections.abc import Iterable, Mapping
from email.utils import format_datetime

from aiohttp import web
from multidict import CIMultiDict

from infra.local.host.engine import Arguments
from infra.local.host.model import Function
from infra.local.host.protos import FieldValue, RpcHttp, RpcHttpCookie, TypedData

_SET_BY_THE_SERVER = {"content-length", "transfer-encoding", "connection"}
_SAME_SITE = {1: "Lax", 2: "Strict", 3: "None"}


def request_arguments(function: Function, request: web.BaseRequest, body: bytes, route: Mapping[str, str]) -> Arguments:
    """The argument and metadata of an HTTP function."""
    headers = _joined((name.lower(), value) for name, value in request.headers.items())
    query = _joined(request.query.items())
    return http_arguments(function, request.method, str(request.url), headers, query, body, route)


def http_arguments(
    function: Function,
    method: str,
    url: str,
    headers: Mapping[str, str],
    query: Mapping[str, str],
    body: bytes,
    route: Mapping[str, str],
) -> Arguments:
    """As `request_arguments`, from plain values; header names are in lower case."""
    http = RpcHttp(
        method=method,
        url=url,
        headers=headers,
        query=query,
        params=route,
        body=TypedData(bytes=body) if body else TypedData(),
    )
    metadata = {
        "Query": TypedData(json=json.dumps(query)),
        "Headers": TypedData(json=json.dumps(headers)),
        **{name: TypedData(string=value) for name, value in route.items()},
    }
    return Arguments(((function.trigger.name, TypedData(http=http)),), metadata)


def _joined(items: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Repeated names joined by commas, those without a value left out, as the host passes on .NET's StringValues."""
    joined: dict[str, str] = {}
    for name, value in items:
        if value:
            joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined


def response_of(function: Function, outputs: Mapping[str, TypedData]) -> web.Response:
    """The response that a function's `http` output describes; 204 when it gave none."""
    names = [binding.name for binding in function.outputs if binding.type == "http"]
    value = next((outputs[name] for name in names if name in outputs), TypedData())
    match value.kind:
        case None:
            return web.Response(status=204)
        case "http":
            return _http_response(value.value)
        case "bytes":
            return web.Response(body=value.value, content_type="application/octet-stream")
        case "json":
            return web.Response(text=value.value, content_type="application/json")
    return web.Response(text=str(value.value))


def _http_response(http: RpcHttp) -> web.Response:
    headers: CIMultiDict[str] = CIMultiDict(
        (name, value) for name, value in http.headers.items() if name.lower() not in _SET_BY_THE_SERVER
    )
    for cookie in http.cookies or ():
        headers.add("Set-Cookie", _set_cookie(cookie))
    body = http.body.value if http.body is not None else b""
    return web.Response(status=int(http.status_code), headers=headers, body=body)


def _set_cookie(cookie: RpcHttpCookie) -> str:
    parts = [f"{cookie.name}={cookie.value}"]
    parts += [f"{label}={_value(cookie, name)}" for label, name in _COOKIE_TEXTS if _value(cookie, name)]
    if cookie.expires is not None:
        parts.append(f"Expires={format_datetime(cookie.expires.value.to_datetime(), usegmt=True)}")
    if cookie.max_age is not None:
        parts.append(f"Max-Age={int(cookie.max_age.value)}")
    parts += [label for label, name in _COOKIE_FLAGS if _value(cookie, name)]
    if cookie.same_site in _SAME_SITE:
        parts.append(f"SameSite={_SAME_SITE[cookie.same_site]}")
    return "; ".join(parts)


_COOKIE_TEXTS = (("Domain", "domain"), ("Path", "path"))
_COOKIE_FLAGS = (("Secure", "secure"), ("HttpOnly", "http_only"))


def _value(cookie: RpcHttpCookie, name: str) -> FieldValue:
    nullable = getattr(cookie, name)
    return None if nullable is None else nullable.value

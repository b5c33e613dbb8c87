"""HTTP requests and responses, through azure-functions' own converters."""

import azure.functions as func
import pytest
from azure.functions.http import HttpRequestConverter, HttpResponseConverter
from azure_functions_runtime.bindings.datumdef import Datum, datum_as_proto

from infra.local.host import protos
from infra.local.host.http_conversion import http_arguments, response_of
from infra.local.host.protos import TypedData
from tests.unit.host.bindings import HTTP, HTTP_OUT, binding, function

WORK = function(binding(HTTP), binding(HTTP_OUT))


def _request(body: bytes = b"", **query: str) -> func.HttpRequest:
    arguments = http_arguments(WORK, "POST", "http://h/api/hello/bob", {"x-a": "1"}, query, body, {"name": "bob"})
    ((_, value),) = arguments.inputs
    request = HttpRequestConverter.decode(Datum.from_typed_data(value), trigger_metadata={})
    assert isinstance(request, func.HttpRequest)
    return request


def test_an_app_gets_the_request_as_it_was_made() -> None:
    request = _request(b'{"a": 1}', q="x")
    assert (request.method, request.url) == ("POST", "http://h/api/hello/bob")
    assert request.headers["x-a"] == "1"
    assert dict(request.params) == {"q": "x"}
    assert dict(request.route_params) == {"name": "bob"}
    assert request.get_json() == {"a": 1}


def test_no_body_is_an_empty_one() -> None:
    assert _request().get_body() == b""


def test_bytes_arrive_unchanged() -> None:
    assert _request(bytes(range(256))).get_body() == bytes(range(256))


def _respond(value: object) -> tuple[int, str | None, object, list[str]]:
    output = datum_as_proto(HttpResponseConverter.encode(value, expected_type=None), protos.module())
    response = response_of(WORK, {"$return": output})
    return response.status, response.headers.get("content-type"), response.body, response.headers.getall("x-a", [])


def test_a_response_keeps_status_type_body_and_headers() -> None:
    answer = func.HttpResponse("ü", status_code=418, mimetype="text/plain", headers={"x-a": "1"})
    assert _respond(answer) == (418, "text/plain; charset=utf-8", "ü".encode(), ["1"])


def test_a_text_is_a_response_of_200() -> None:
    status, _, body, _ = _respond("hello")
    assert (status, body) == (200, b"hello")


def test_a_function_that_gives_nothing_answers_204() -> None:
    assert response_of(WORK, {}).status == 204
    assert response_of(WORK, {"$return": TypedData()}).status == 204


def test_a_header_that_is_no_text_fails_as_on_azure() -> None:
    datum = HttpResponseConverter.encode(func.HttpResponse("x", headers={"x-a": "1"}), expected_type=None)
    datum.value["headers"]["x-b"] = Datum(1, "int")
    with pytest.raises(TypeError, match="x-b"):
        datum_as_proto(datum, protos.module())


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("a=1", "a=1"),
        ("a=1; Path=/; Secure; HttpOnly", "a=1; Path=/; Secure; HttpOnly"),
        ("a=1; Max-Age=60; SameSite=Strict", "a=1; Max-Age=60; SameSite=Strict"),
        ("a=1; Domain=x.org; SameSite=None", "a=1; Domain=x.org; SameSite=None"),
        ("a=1; expires=Wed, 21 Oct 2026 07:28:00 GMT", "a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT"),
    ],
)
def test_cookies_come_out_as_they_were_set(given: str, written: str) -> None:
    answer = func.HttpResponse("x")
    answer.headers.add("Set-Cookie", given)
    output = datum_as_proto(HttpResponseConverter.encode(answer, expected_type=None), protos.module())
    assert response_of(WORK, {"$return": output}).headers.getall("Set-Cookie") == [written]

"""The stand-in for protobuf messages is as strict as protobuf where an app can feel it."""

import pytest

from infra.local.host.protos import InvocationResponse, ParameterBinding, RpcHttp, RpcHttpCookie, TypedData


def test_a_value_has_the_kind_of_the_field_that_is_set() -> None:
    data = TypedData(json="{}")
    assert data.WhichOneof("data") == "json"
    assert (data.kind, data.value) == ("json", "{}")
    assert (TypedData().kind, TypedData().value) == (None, None)


@pytest.mark.parametrize(
    ("field", "value"), [("string", b"x"), ("bytes", "x"), ("json", {}), ("double", True), ("int", "1")]
)
def test_a_value_of_the_wrong_type_raises_as_in_protobuf(field: str, value: object) -> None:
    with pytest.raises(TypeError, match=field):
        TypedData(**{field: value})


def test_an_integer_must_fit_64_bits() -> None:
    assert TypedData(int=2**63 - 1).value == 2**63 - 1
    with pytest.raises(ValueError, match="out of range"):
        TypedData(int=2**63)


def test_two_fields_of_a_oneof_cannot_be_set() -> None:
    with pytest.raises(ValueError, match="only one of"):
        TypedData(string="a", bytes=b"b")


def test_a_field_that_the_message_has_not_is_refused() -> None:
    with pytest.raises(ValueError, match="no 'colour' field"):
        InvocationResponse(colour="red")
    with pytest.raises(AttributeError, match="colour"):
        _ = InvocationResponse().colour


def test_header_values_must_be_texts() -> None:
    with pytest.raises(TypeError, match="x-count"):
        RpcHttp(headers={"x-count": 1})


def test_a_named_value_knows_whether_it_has_one() -> None:
    assert ParameterBinding(name="a", data=TypedData(string="x")).WhichOneof("rpc_data") == "data"
    assert ParameterBinding(name="a", data=None).WhichOneof("rpc_data") is None


def test_same_site_has_the_protocols_numbers() -> None:
    assert (RpcHttpCookie.SameSite.Lax, RpcHttpCookie.SameSite.ExplicitNone) == (1, 3)

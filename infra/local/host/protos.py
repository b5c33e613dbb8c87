"""A stand-in for the protobuf messages that Microsoft's engine exchanges with the Functions host.

The engine (`azure-functions-runtime`) takes the generated protobuf module as an argument and only builds messages from
it and reads their fields, so plain Python objects serve. They are as strict as protobuf where an app can feel it: an
unknown field or a value of the wrong type raises in the place where it raises on Azure (a header that is no string, for
example, fails the invocation). The fields are those of `FunctionRpc.proto` in azure-functions-language-worker-protobuf.
"""

import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar, Self

type FieldValue = Any
"""What a field may hold is checked when it is set."""

type Check = Callable[[str, FieldValue], None]


def _of(*types: type) -> Check:
    def check(name: str, value: FieldValue) -> None:
        # bool is an int to Python, not to protobuf.
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise TypeError(f"{name}: bad argument type for built-in operation: {type(value).__name__}")

    return check


def _sint64(name: str, value: FieldValue) -> None:
    if not isinstance(value, int):
        raise TypeError(f"{name}: {type(value).__name__} is not an int")
    if not -(1 << 63) <= value < (1 << 63):
        raise ValueError(f"{name}: value out of range: {value}")


def _string_map(name: str, value: FieldValue) -> None:
    for key, item in dict(value).items():
        if not isinstance(key, str) or not isinstance(item, str):
            raise TypeError(f"{name}[{key!r}]: {type(item).__name__} is not a str")


def _any(name: str, value: FieldValue) -> None:
    """A field whose value the engine itself builds: nothing an app could get wrong."""


_string = _of(str)


class Message:
    """A message: declared fields only, each None until it is set; a value of the wrong type raises as protobuf does."""

    fields: ClassVar[Mapping[str, Check]] = {}

    def __init__(self, **values: FieldValue) -> None:
        for name in self.fields:
            setattr(self, name, None)
        for name, value in values.items():
            check = self.fields.get(name)
            if check is None:
                raise ValueError(f"Protocol message {type(self).__name__} has no {name!r} field.")
            if value is not None:
                check(name, value)
            setattr(self, name, value)

    def __getattr__(self, name: str) -> FieldValue:
        # Only reached for a name that is no field: mypy cannot know the declared ones.
        raise AttributeError(f"Protocol message {type(self).__name__} has no {name!r} field.")


class _Oneof(Message):
    """A message of one group of which at most one field is set."""

    group: ClassVar[str] = ""

    def __init__(self, **values: FieldValue) -> None:
        given = [name for name, value in values.items() if value is not None and name in self.group_fields()]
        if len(given) > 1:
            raise ValueError(f"{type(self).__name__}: only one of {given} may be set")
        super().__init__(**values)
        self._which = given[0] if given else None

    @classmethod
    def group_fields(cls) -> Mapping[str, Check]:
        return cls.fields

    def WhichOneof(self, group: str) -> str | None:
        if group != self.group:
            raise ValueError(group)
        return self._which


class TypedData(_Oneof):
    """A value between host and engine: at most one of the fields is set, and `kind` says which."""

    group = "data"
    fields: ClassVar[Mapping[str, Check]] = {
        "string": _string,
        "json": _string,
        "bytes": _of(bytes),
        "stream": _of(bytes),
        "http": _any,
        "int": _sint64,
        "double": _of(float, int),
        "collection_bytes": _any,
        "collection_string": _any,
        "collection_double": _any,
        "collection_sint64": _any,
        "model_binding_data": _any,
        "collection_model_binding_data": _any,
    }

    @property
    def kind(self) -> str | None:
        return self._which

    @property
    def value(self) -> FieldValue:
        return getattr(self, self._which) if self._which else None

    @classmethod
    def collection(cls, item: str, values: list[Any]) -> Self:
        """A collection of `bytes`, `string` or `sint64` values."""
        return cls(**{f"collection_{item}": SimpleNamespace(**{item: values})})


class ParameterBinding(_Oneof):
    """A named value: an argument of a function, or one of its outputs."""

    group = "rpc_data"
    fields: ClassVar[Mapping[str, Check]] = {"data": _of(TypedData), "rpc_shared_memory": _any, "name": _string}

    @classmethod
    def group_fields(cls) -> Mapping[str, Check]:
        return {"data": _any, "rpc_shared_memory": _any}


class RpcException(Message):
    fields: ClassVar[Mapping[str, Check]] = {
        "source": _string,
        "stack_trace": _string,
        "message": _string,
        "is_user_exception": _any,
        "type": _string,
    }


class StatusResult(Message):
    Failure, Success, Cancelled = range(3)
    fields: ClassVar[Mapping[str, Check]] = {"status": _any, "result": _string, "exception": _any, "logs": _any}


class WorkerMetadata(Message):
    fields: ClassVar[Mapping[str, Check]] = {
        "runtime_name": _string,
        "runtime_version": _string,
        "worker_version": _string,
        "worker_bitness": _string,
        "custom_properties": _string_map,
    }


class WorkerInitResponse(Message):
    fields: ClassVar[Mapping[str, Check]] = {
        "worker_version": _string,
        "capabilities": _string_map,
        "result": _any,
        "worker_metadata": _any,
    }


class FunctionMetadataResponse(Message):
    fields: ClassVar[Mapping[str, Check]] = {
        "function_metadata_results": _any,
        "result": _any,
        "use_default_metadata_indexing": _any,
    }


class FunctionLoadResponse(Message):
    fields: ClassVar[Mapping[str, Check]] = {
        "function_id": _string,
        "result": _any,
        "is_dependency_downloaded": _any,
    }


class InvocationResponse(Message):
    fields: ClassVar[Mapping[str, Check]] = {
        "invocation_id": _string,
        "output_data": _any,
        "return_value": _of(TypedData),
        "result": _any,
    }


class RpcFunctionMetadata(Message):
    fields: ClassVar[Mapping[str, Check]] = {
        "name": _string,
        "directory": _string,
        "script_file": _string,
        "entry_point": _string,
        "bindings": _any,
        "is_proxy": _any,
        "status": _any,
        "language": _string,
        "raw_bindings": _any,
        "function_id": _string,
        "managed_dependency_enabled": _any,
        "retry_options": _any,
        "properties": _string_map,
    }


class BindingInfo(Message):
    # `in` is a keyword in Python, so the members are set below.
    undefined, string, binary, stream = range(4)
    fields: ClassVar[Mapping[str, Check]] = {
        "type": _string,
        "direction": _any,
        "data_type": _any,
        "properties": _string_map,
    }


for _number, _direction in enumerate(("in", "out", "inout")):
    setattr(BindingInfo, _direction, _number)


class RpcRetryOptions(Message):
    fields: ClassVar[Mapping[str, Check]] = {
        "max_retry_count": _sint64,
        "delay_interval": _any,
        "minimum_interval": _any,
        "maximum_interval": _any,
        "retry_strategy": _any,
    }


class RpcHttp(Message):
    fields: ClassVar[Mapping[str, Check]] = {
        "method": _string,
        "url": _string,
        "headers": _string_map,
        "body": _of(TypedData),
        "params": _string_map,
        "status_code": _string,
        "query": _string_map,
        "enable_content_negotiation": _any,
        "cookies": _any,
    }


class RpcHttpCookie(Message):
    SameSite = SimpleNamespace(**{"None": 0}, Lax=1, Strict=2, ExplicitNone=3)
    fields: ClassVar[Mapping[str, Check]] = {
        "name": _string,
        "value": _string,
        "domain": _any,
        "path": _any,
        "expires": _any,
        "secure": _any,
        "http_only": _any,
        "same_site": _any,
        "max_age": _any,
    }


class _Nullable(Message):
    fields: ClassVar[Mapping[str, Check]] = {"value": _any}


class NullableString(_Nullable):
    fields: ClassVar[Mapping[str, Check]] = {"value": _string}


class NullableBool(_Nullable):
    pass


class NullableDouble(_Nullable):
    pass


class NullableTimestamp(_Nullable):
    pass


class Timestamp(Message):
    """`google.protobuf.Timestamp`, as far as a cookie's expiry needs it."""

    fields: ClassVar[Mapping[str, Check]] = {"seconds": _sint64, "nanos": _sint64}

    def to_datetime(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)


def module() -> ModuleType:
    """This module, in the shape in which the engine takes it."""
    return sys.modules[__name__]

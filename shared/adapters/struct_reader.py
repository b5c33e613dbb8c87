"""JSON becomes msgspec Structs, with every fault by its path: msgspec alone would stop at the first one."""

import types
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Protocol, Union, get_args, get_origin

import msgspec
from msgspec import Struct

from shared.adapters.json_text import plain_words, shown


class Check(Protocol):
    """What no single field can say."""

    def __call__(self, struct: type[Struct], values: dict[str, Any], path: str, *, is_whole: bool) -> Iterable[str]:
        """The faults between the fields of an object; unless it is whole, fields with faults are absent."""
        ...


class StructReader:
    """Reads one document; `faults` has what was wrong in it, in the document's order as far as it goes."""

    def __init__(self, check: Check) -> None:
        self.faults: list[str] = []
        self._check = check

    def read[T: Struct](self, struct: type[T], document: object) -> T | None:
        """The document as that Struct, None when there is a fault."""
        if not isinstance(document, dict):
            self.faults.append(f"$: expected an object with {names_of(struct)}")
            return None
        return self._read_object(struct, document, "$")

    def _read_object[T: Struct](self, struct: type[T], value: dict[str, Any], path: str) -> T | None:
        before = len(self.faults)
        fields = msgspec.structs.fields(struct)
        known = {one.encode_name for one in fields}
        allowed = names_of(struct)
        self.faults += [f"{path}: unknown field {key!r}; allowed are {allowed}" for key in value if key not in known]
        missing = [one.encode_name for one in fields if one.required and one.encode_name not in value]
        self.faults += [f"{path}: the field {name} is missing" for name in missing]
        values: dict[str, Any] = {}
        for one in fields:
            if one.encode_name not in value:
                continue
            faults_so_far = len(self.faults)
            found = self._read(one.type, value[one.encode_name], f"{path}.{one.encode_name}")
            if len(self.faults) == faults_so_far:
                values[one.name] = found
        self.faults += self._check(struct, values, path, is_whole=len(self.faults) == before)
        return struct(**values) if len(self.faults) == before else None

    def _read(self, expected: Any, value: Any, path: str) -> Any:  # noqa: ANN401 - any JSON value
        options = _options(expected)
        struct = next((one for one in options if _is_struct(one)), None)
        if struct is not None and isinstance(value, dict):
            return self._read_object(struct, value, path)
        item = next((get_args(one)[0] for one in options if get_origin(one) is list), None)
        if item is not None and isinstance(value, list) and value:  # of an empty one msgspec knows whether it may be
            return [self._read(item, element, f"{path}[{number}]") for number, element in enumerate(value)]
        try:
            return msgspec.convert(value, expected)
        except msgspec.ValidationError as error:
            self.faults.append(f"{path}: {shown(value)} is refused: {_what_is_valid(options, str(error))}")
        return None


def names_of(struct: type[Struct]) -> str:
    """The names of a Struct's fields, as the document has them."""
    return ", ".join(one.encode_name for one in msgspec.structs.fields(struct))


def _options(expected: Any) -> list[Any]:  # noqa: ANN401 - a type expression
    """The types that *expected* allows, without what is said about them."""
    if get_origin(expected) is Annotated:
        return _options(get_args(expected)[0])
    if get_origin(expected) in (Union, types.UnionType):
        return [option for member in get_args(expected) for option in _options(member)]
    return [expected]


def _is_struct(option: object) -> bool:
    return isinstance(option, type) and issubclass(option, Struct)


def _what_is_valid(options: Sequence[Any], message: str) -> str:
    """What msgspec says of a value that it refuses; where that would not help, what there is to choose from."""
    literals = [f'"{name}"' for one in options if get_origin(one) is Literal for name in get_args(one)]
    objects = [f"an object with {names_of(one)}" for one in options if _is_struct(one)]
    if literals or objects:
        choices = [", ".join(literals), *objects, "null" if type(None) in options else ""]
        return "valid are " + " or ".join(choice for choice in choices if choice)
    if "matching regex" in message:
        return "expected a time of the day, such as 09:00" + (", or 24:00" if "24:00" in message else "")
    if options[0] is datetime:
        return "expected a date, a time and its offset, such as 2026-06-01T09:00:00+01:00"
    return plain_words(message)

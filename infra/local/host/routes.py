"""Routes of HTTP triggers, in ASP.NET Core's template language as far as the Functions host uses it.

`items/{id}`, `items/{id:int}`, `items/{id?}`, `items/{id=1}`, `files/{*path}`. Of several that match, the more specific
one wins, segment by segment from the left: text, then a constrained parameter, then a free one, then a catch-all.
Source: RouteTemplate and RoutePrecedence of ASP.NET Core.
"""

import re
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self
from urllib.parse import unquote

_PARAMETER = re.compile(r"\{(\*{0,2})(\w+)((?::[^}?=:]+)*)(?:(\?)|=([^}]*))?\}")


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def _matches(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern, re.IGNORECASE)
    return lambda text: compiled.fullmatch(text) is not None


def _is_int(bits: int) -> Callable[[str], bool]:
    whole = _matches(r"[+-]?\d+")
    return lambda text: whole(text) and -(1 << (bits - 1)) <= int(text) < 1 << (bits - 1)


_CONSTRAINTS: dict[str, Callable[[str], bool]] = {
    "int": _is_int(32),
    "long": _is_int(64),
    "bool": _matches("true|false"),
    "alpha": _matches("[a-z]*"),
    "guid": _is_uuid,
    "decimal": _matches(r"[+-]?\d+(\.\d+)?"),
    "double": _matches(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?"),
    "float": _matches(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?"),
}


@dataclass(frozen=True, slots=True)
class _Segment:
    """One part of a template between two slashes: a text, or a parameter."""

    text: str = ""
    parameter: str = ""
    constraints: tuple[str, ...] = ()
    is_optional: bool = False
    default: str | None = None
    is_catch_all: bool = False

    @property
    def precedence(self) -> int:
        if not self.parameter:
            return 1
        if self.is_catch_all:
            return 5
        return 3 if self.constraints else 4

    @property
    def may_be_absent(self) -> bool:
        return self.is_optional or self.default is not None or self.is_catch_all

    def accepts(self, text: str) -> bool:
        if not self.parameter:
            return text.lower() == self.text.lower()
        return bool(text) and all(_CONSTRAINTS[name](text) for name in self.constraints)


@dataclass(frozen=True, slots=True)
class RouteTemplate:
    """A parsed template."""

    text: str
    segments: tuple[_Segment, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError that names the fault and the template."""
        if text.startswith("/"):
            raise ValueError(f"route {text!r} must not begin with a slash")
        segments = tuple(_segment(part, text) for part in text.split("/") if part)
        for segment, following in pairwise(segments):
            if segment.is_catch_all or (segment.may_be_absent and not following.may_be_absent):
                raise ValueError(f"route {text!r}: {{{segment.parameter}}} may be absent, so it must come last")
        names = [segment.parameter for segment in segments if segment.parameter]
        if len(set(names)) < len(names):
            raise ValueError(f"route {text!r} uses a parameter twice")
        return cls(text, segments)

    @property
    def precedence(self) -> tuple[int, ...]:
        """Smaller is more specific."""
        return tuple(segment.precedence for segment in self.segments)

    def match(self, path: Sequence[str]) -> dict[str, str] | None:
        """The parameters for a path given as its decoded segments; None when it does not match."""
        values: dict[str, str] = {}
        for place, segment in enumerate(self.segments):
            if segment.is_catch_all:
                values[segment.parameter] = "/".join(path[place:])
                return values
            if place >= len(path):
                if not segment.may_be_absent:
                    return None
                if segment.default is not None:
                    values[segment.parameter] = segment.default
            elif not segment.accepts(path[place]):
                return None
            elif segment.parameter:
                values[segment.parameter] = path[place]
        return values if len(path) <= len(self.segments) else None


def _segment(part: str, template: str) -> _Segment:
    if "{" not in part and "}" not in part:
        return _Segment(text=part)
    match = _PARAMETER.fullmatch(part)
    if match is None:
        raise ValueError(f"route {template!r}: {part!r} is neither text nor one {{parameter}}")
    stars, name, constraints, optional, default = match.groups()
    names = tuple(constraint.lower() for constraint in constraints.split(":") if constraint)
    unknown = [constraint for constraint in names if constraint not in _CONSTRAINTS]
    if unknown:
        raise ValueError(f"route {template!r}: constraint {unknown[0]!r} is not one of {', '.join(_CONSTRAINTS)}")
    return _Segment("", name, names, bool(optional), default, bool(stars))


@dataclass(frozen=True, slots=True)
class Route[T]:
    """Where a target is reached: by which methods (none given means all), under which template."""

    template: RouteTemplate
    methods: frozenset[str]
    target: T


class Router[T]:
    """Finds the target for a request."""

    def __init__(self, prefix: str, routes: Iterable[Route[T]]) -> None:
        self._prefix = tuple(part for part in prefix.lower().split("/") if part)
        self._routes = sorted(routes, key=lambda route: route.template.precedence)

    def find(self, method: str, raw_path: str) -> tuple[T, dict[str, str]] | None:
        """The most specific target for the request, and its route parameters; None is a 404, also for the method."""
        path = [unquote(part) for part in raw_path.split("/") if part]
        if tuple(part.lower() for part in path[: len(self._prefix)]) != self._prefix:
            return None
        rest = path[len(self._prefix) :]
        for route in self._routes:
            if route.methods and method.upper() not in route.methods:
                continue
            values = route.template.match(rest)
            if values is not None:
                return route.target, values
        return None

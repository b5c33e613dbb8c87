"""promotions.json: its bytes become promotions, contact policy and presence parameters, or a list of all that is wrong.

The Structs below are the format: they decode it strictly, and promotions.schema.json is generated from them
(`python -m shared.adapters.promotions_file` prints it).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
from msgspec import Meta, Struct

from shared.domain.promotions import ContactPolicy, PresenceParameters, Promotion, StoreSelector
from shared.domain.stores import StoreTable
from shared.settings import STATE_TTL

_TTL_S = int(STATE_TTL.total_seconds())
_WEEK_S = 7 * 86_400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Text = Annotated[str, Meta(min_length=1, max_length=128)]
Names = Annotated[list[Text], Meta(min_length=1)]
Instant = Annotated[datetime, Meta(tz=True, description="RFC 3339 with an offset, such as 2026-06-01T09:00:00+01:00.")]


class StoresSelected(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Which stores run the promotion: those that satisfy every condition given (at least one)."""

    store_ids: Names | None = None
    merchants: Names | None = None
    service_types: Names | None = None


class PromotionEntry(Struct, forbid_unknown_fields=True):
    """One promotion. It runs from `starts_at` until just before `ends_at`; without them, always."""

    promotion_id: Text
    discount_percent: Annotated[float, Meta(gt=0, le=100)]
    message: Annotated[str, Meta(min_length=1, max_length=500)]
    stores: Literal["all"] | StoresSelected
    starts_at: Instant | None = None
    ends_at: Instant | None = None


class ContactPolicyEntry(Struct, forbid_unknown_fields=True):
    """How often a device may hear from a store."""

    cooldown_s: Annotated[
        int, Meta(ge=0, le=_TTL_S, description="Least time between two offers to the same device at the same store.")
    ] = ContactPolicy().cooldown_s
    max_ping_age_s: Annotated[
        int, Meta(ge=0, le=_WEEK_S, description="A ping older than this when it was enqueued leads to no offer.")
    ] = ContactPolicy().max_ping_age_s


class PresenceEntry(Struct, forbid_unknown_fields=True):
    """What it takes to be inside a geofence, and outside again."""

    exit_margin_m: Annotated[
        float, Meta(ge=0, le=1_000, description="A device has left only when it is farther out than radius and margin.")
    ] = PresenceParameters().exit_margin_m
    max_accuracy_m: Annotated[
        float, Meta(gt=0, le=10_000, description="A ping less accurate than this makes no ENTER.")
    ] = PresenceParameters().max_accuracy_m


class PromotionsFile(Struct, forbid_unknown_fields=True):
    """The promotions of all stores, the contact policy and the presence parameters."""

    promotions: list[PromotionEntry]
    contact_policy: ContactPolicyEntry = msgspec.field(default_factory=ContactPolicyEntry)
    presence: PresenceEntry = msgspec.field(default_factory=PresenceEntry)
    schema: Annotated[str, Meta(description="Where an editor finds this schema.")] | None = msgspec.field(
        default=None, name="$schema"
    )


@dataclass(frozen=True, slots=True)
class Campaigns:
    """What promotions.json says, in the domain's types."""

    promotions: tuple[Promotion, ...]
    contact_policy: ContactPolicy
    presence: PresenceParameters


def json_schema() -> dict[str, Any]:
    """The JSON Schema of promotions.json, generated from the types that decode it."""
    schema = msgspec.json.schema(PromotionsFile)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Footfall promotions.json"} | schema


def read_promotions(
    data: bytes, stores: StoreTable | None, columns: Mapping[str, Sequence[str]]
) -> tuple[Campaigns | None, list[str]]:
    """Read promotions.json; None and every fault when there is one. Never raises for any bytes.

    Each name in a selector must be in the raw *columns* of stores.csv (faulty rows there add no fault here); all its
    conditions together must select a row of *stores*, where that table is without fault.
    """
    try:
        raw = _parse(data)
    except ValueError as error:
        return None, [f"promotions.json {error}"]
    faults: list[str] = []
    values = _read_object(PromotionsFile, raw, "$", faults) if isinstance(raw, dict) else {}
    if not isinstance(raw, dict):
        faults.append(f"$: expected an object with {_names_of(PromotionsFile)}")
    entries: list[PromotionEntry | None] = values.get("promotions") or []
    _check_entries(entries, stores, columns, faults)
    if faults:
        return None, [f"promotions.json {fault}" for fault in faults]
    return _campaigns(PromotionsFile(**values)), []


def _parse(data: bytes) -> object:
    """JSON, and no key twice in an object, no NaN, no half characters. ValueError says what is wrong where."""
    try:
        document = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_object, parse_constant=_no_number)
        json.dumps(document, ensure_ascii=False).encode()  # fails for what no offer could carry
        return document
    except UnicodeEncodeError as error:
        raise ValueError(f"$: {error.object[error.start]!a} is half a surrogate pair, which is no character") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start}: is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno} column {error.colno}: is no JSON: {error.msg}") from error
    except RecursionError as error:
        raise ValueError("$: is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"$: {error}") from error


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key!r} is given twice in one object")
        found[key] = value
    return found


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number in JSON")


def _read(expected: Any, value: Any, path: str, faults: list[str]) -> Any:  # noqa: ANN401 - any JSON value
    """*value* as the type *expected*; a fault for each thing wrong in it (msgspec alone would stop at the first)."""
    struct = _struct_in(expected)
    if struct is not None and isinstance(value, dict):
        before = len(faults)
        values = _read_object(struct, value, path, faults)
        return struct(**values) if len(faults) == before else None
    if get_origin(expected) is list and isinstance(value, list):
        (item,) = get_args(expected)
        return [_read(item, element, f"{path}[{number}]", faults) for number, element in enumerate(value)]
    try:
        return msgspec.convert(value, expected)
    except msgspec.ValidationError as error:
        message, _, inner = str(error).partition(" - at `$")
        if struct is not None:
            message = ("" if expected is struct else 'Expected "all" or ') + f"an object with {_names_of(struct)}"
        faults.append(f"{path}{inner.rstrip('`')}: {_shown(value)} is refused: {message}")
    return None


def _read_object(struct: type[Struct], value: dict[str, Any], path: str, faults: list[str]) -> dict[str, Any]:
    """The fields of *struct* that are in *value*, by attribute; a field with a fault is None."""
    fields = msgspec.structs.fields(struct)
    known = {field.encode_name for field in fields}
    faults += [f"{path}: unknown field {key!r}; allowed are {_names_of(struct)}" for key in value if key not in known]
    missing = [field.encode_name for field in fields if field.required and field.encode_name not in value]
    faults += [f"{path}: the field {name} is missing" for name in missing]
    return {
        field.name: _read(field.type, value[field.encode_name], f"{path}.{field.encode_name}", faults)
        for field in fields
        if field.encode_name in value
    }


def _struct_in(expected: Any) -> type[Struct] | None:  # noqa: ANN401 - a type expression
    """The Struct that *expected* is, or that its union holds."""
    for candidate in (expected, *get_args(expected)) if get_origin(expected) is not list else ():
        if isinstance(candidate, type) and issubclass(candidate, Struct):
            return candidate
    return None


def _names_of(struct: type[Struct]) -> str:
    return ", ".join(field.encode_name for field in msgspec.structs.fields(struct))


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _check_entries(
    entries: Sequence[PromotionEntry | None],
    stores: StoreTable | None,
    columns: Mapping[str, Sequence[str]],
    faults: list[str],
) -> None:
    """What no single field can say: ids are unique, a promotion ends after its start, selectors select something."""
    known = {name: set(columns[name]) for name in ("store_id", "merchant", "service_type") if name in columns}
    first: dict[str, int] = {}
    for number, entry in enumerate(entries):
        if entry is None:
            continue
        path = f"$.promotions[{number}]"
        if first.setdefault(entry.promotion_id, number) != number:
            faults.append(
                f"{path}.promotion_id: {entry.promotion_id!r} is also that of $.promotions[{first[entry.promotion_id]}]"
            )
        if entry.starts_at and entry.ends_at and entry.starts_at >= entry.ends_at:
            faults.append(f"{path}.ends_at: {entry.ends_at.isoformat()} is not after starts_at")
        if isinstance(entry.stores, StoresSelected):
            faults += _selection_faults(f"{path}.stores", entry.stores, stores, known)


def _selection_faults(
    path: str, selected: StoresSelected, stores: StoreTable | None, known: Mapping[str, set[str]]
) -> Iterator[str]:
    conditions = (
        ("store_ids", selected.store_ids, "store_id"),
        ("merchants", selected.merchants, "merchant"),
        ("service_types", selected.service_types, "service_type"),
    )
    if all(names is None for _, names, _ in conditions):
        yield f'{path}: has no condition; give {_names_of(StoresSelected)}, or write "all" instead'
    all_known = True
    for key, names, column in conditions:
        for number, name in enumerate(names or ()):
            if column in known and name not in known[column]:
                all_known = False
                yield f"{path}.{key}[{number}]: no store has the {column} {name!r}"
    if all_known and stores is not None and not _selector(selected).selected(stores).any():
        yield f"{path}: no store satisfies all its conditions"


def _campaigns(document: PromotionsFile) -> Campaigns:
    return Campaigns(
        promotions=tuple(
            Promotion(
                promotion_id=entry.promotion_id,
                discount_percent=entry.discount_percent,
                message=entry.message,
                stores=_selector(entry.stores),
                starts_at_us=_us(entry.starts_at),
                ends_at_us=_us(entry.ends_at),
            )
            for entry in document.promotions
        ),
        contact_policy=ContactPolicy(
            cooldown_s=document.contact_policy.cooldown_s, max_ping_age_s=document.contact_policy.max_ping_age_s
        ),
        presence=PresenceParameters(
            exit_margin_m=document.presence.exit_margin_m, max_accuracy_m=document.presence.max_accuracy_m
        ),
    )


def _selector(stores: str | StoresSelected) -> StoreSelector:
    if isinstance(stores, str):
        return StoreSelector()
    return StoreSelector(_set(stores.store_ids), _set(stores.merchants), _set(stores.service_types))


def _set(names: list[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)


def _us(instant: datetime | None) -> int | None:
    return None if instant is None else (instant - _EPOCH) // timedelta(microseconds=1)


if __name__ == "__main__":
    import sys

    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")

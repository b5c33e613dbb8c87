"""promotions.json: its bytes become promotions, contact policy and presence parameters, or a list of its faults."""

import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import UNSET, Struct

from shared.adapters.json_text import parse_json, plain_words, shown
from shared.adapters.promotions_format import (
    ContactPolicyEntry,
    Day,
    HoursEntry,
    PromotionEntry,
    PromotionPolicyEntry,
    PromotionsFile,
    QuietHoursEntry,
    StoresSelected,
)
from shared.domain.local_time import ALL_DAYS, DayWindow, WeeklyHours, Window
from shared.domain.promotions import ContactPolicy, PresenceParameters, Promotion, StoreSelector, Transition
from shared.domain.stores import StoreTable

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAYS = get_args(Day)
"""In the order of Python's weekdays."""


@dataclass(frozen=True, slots=True)
class Campaigns:
    """What promotions.json says, in the domain's types."""

    promotions: tuple[Promotion, ...]
    contact_policy: ContactPolicy
    presence: PresenceParameters
    require_consent: bool


def read_promotions(
    data: bytes, stores: StoreTable | None, columns: Mapping[str, Sequence[str]]
) -> tuple[Campaigns | None, list[str]]:
    """Read promotions.json; None and every fault when there is one. Never raises for any bytes.

    Each name in a selector must be in the raw *columns* of stores.csv (faulty rows there add no fault here); all its
    conditions together must select a row of *stores*, where that table is without fault.
    """
    try:
        raw = parse_json(data)
    except ValueError as error:
        return None, [f"promotions.json {error}"]
    faults: list[str] = []
    values = _read_object(PromotionsFile, raw, "$", faults) if isinstance(raw, dict) else {}
    if not isinstance(raw, dict):
        faults.append(f"$: expected an object with {_names_of(PromotionsFile)}")
    entries: list[PromotionEntry | None] = values.get("promotions") or []
    _check_entries(entries, stores, columns, faults)
    policy: ContactPolicyEntry | None = values.get("contact_policy")
    if policy is not None and policy.quiet_hours is not None:
        faults += _window_faults("$.contact_policy.quiet_hours", policy.quiet_hours)
    if faults:
        return None, [f"promotions.json {fault}" for fault in faults]
    return _campaigns(PromotionsFile(**values)), []


def _read(expected: Any, value: Any, path: str, faults: list[str]) -> Any:  # noqa: ANN401 - any JSON value
    """*value* as the type *expected*; a fault for each thing wrong in it (msgspec alone would stop at the first)."""
    options = _options(expected)
    struct = next((one for one in options if isinstance(one, type) and issubclass(one, Struct)), None)
    if struct is not None and isinstance(value, dict):
        before = len(faults)
        values = _read_object(struct, value, path, faults)
        return struct(**values) if len(faults) == before else None
    item = next((get_args(one)[0] for one in options if get_origin(one) is list), None)
    if item is not None and isinstance(value, list) and value:  # of an empty one msgspec knows whether it may be
        return [_read(item, element, f"{path}[{number}]", faults) for number, element in enumerate(value)]
    try:
        return msgspec.convert(value, expected)
    except msgspec.ValidationError as error:
        faults.append(f"{path}: {shown(value)} is refused: {_what_is_valid(options, str(error))}")
    return None


def _read_object(struct: type[Struct], value: dict[str, Any], path: str, faults: list[str]) -> dict[str, Any]:
    """The fields of *struct* that are in *value*, by attribute; a field with a fault is None."""
    fields = msgspec.structs.fields(struct)
    known = {one.encode_name for one in fields}
    faults += [f"{path}: unknown field {key!r}; allowed are {_names_of(struct)}" for key in value if key not in known]
    missing = [one.encode_name for one in fields if one.required and one.encode_name not in value]
    faults += [f"{path}: the field {name} is missing" for name in missing]
    return {
        one.name: _read(one.type, value[one.encode_name], f"{path}.{one.encode_name}", faults)
        for one in fields
        if one.encode_name in value
    }


def _options(expected: Any) -> list[Any]:  # noqa: ANN401 - a type expression
    """The types that *expected* allows, without what is said about them."""
    if get_origin(expected) is Annotated:
        return _options(get_args(expected)[0])
    if get_origin(expected) in (Union, types.UnionType):
        return [option for member in get_args(expected) for option in _options(member)]
    return [expected]


def _what_is_valid(options: Sequence[Any], message: str) -> str:
    """What msgspec says of a value that it refuses; where that would not help, what there is to choose from."""
    literals = [f'"{name}"' for one in options if get_origin(one) is Literal for name in get_args(one)]
    objects = [
        f"an object with {_names_of(one)}" for one in options if isinstance(one, type) and issubclass(one, Struct)
    ]
    if literals or objects:
        choices = [", ".join(literals), *objects, "null" if type(None) in options else ""]
        return "valid are " + " or ".join(choice for choice in choices if choice)
    if "matching regex" in message:
        return "expected a time of the day, such as 09:00" + (", or 24:00" if "24:00" in message else "")
    if options[0] is datetime:
        return "expected a date, a time and its offset, such as 2026-06-01T09:00:00+01:00"
    return plain_words(message)


def _names_of(struct: type[Struct]) -> str:
    return ", ".join(one.encode_name for one in msgspec.structs.fields(struct))


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
        faults += _hours_faults(f"{path}.hours", entry.hours or ())
        policy = entry.contact_policy
        if policy is not None and isinstance(policy.quiet_hours, QuietHoursEntry):
            faults += _window_faults(f"{path}.contact_policy.quiet_hours", policy.quiet_hours)
        if isinstance(entry.stores, StoresSelected):
            faults += _selection_faults(f"{path}.stores", entry.stores, stores, known)


def _hours_faults(path: str, hours: Sequence[HoursEntry]) -> Iterator[str]:
    for number, entry in enumerate(hours):
        yield from _window_faults(f"{path}[{number}]", entry)
        days = entry.days or []
        for at, day in enumerate(days):
            if day in days[:at]:
                yield f'{path}[{number}].days[{at}]: "{day}" is given twice'


def _window_faults(path: str, entry: HoursEntry | QuietHoursEntry) -> Iterator[str]:
    if entry.from_ == entry.to:
        yield f"{path}: ends at {entry.to}, when it begins; a whole day is from 00:00 to 24:00"


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
    policy, presence = document.contact_policy, document.presence
    contact_policy = ContactPolicy(
        cooldown_s=policy.cooldown_s,
        daily_cap=policy.daily_cap,
        min_gap_s=policy.min_gap_s,
        quiet_hours=None if policy.quiet_hours is None else _window(policy.quiet_hours),
        max_ping_age_s=policy.max_ping_age_s,
    )
    return Campaigns(
        promotions=tuple(_promotion(entry, contact_policy) for entry in document.promotions),
        contact_policy=contact_policy,
        presence=PresenceParameters(
            exit_margin_m=presence.exit_margin_m,
            exit_delay_s=presence.exit_delay_s,
            visit_timeout_s=presence.visit_timeout_s,
            max_accuracy_m=presence.max_accuracy_m,
        ),
        require_consent=policy.require_consent,
    )


def _promotion(entry: PromotionEntry, contact_policy: ContactPolicy) -> Promotion:
    return Promotion(
        promotion_id=entry.promotion_id,
        discount_percent=entry.discount_percent,
        message=entry.message,
        stores=_selector(entry.stores),
        starts_at_us=_us(entry.starts_at),
        ends_at_us=_us(entry.ends_at),
        hours=None if entry.hours is None else WeeklyHours(tuple(map(_day_window, entry.hours))),
        trigger=Transition(entry.trigger),
        priority=entry.priority,
        holdout_percent=entry.holdout_percent,
        max_offers=entry.max_offers,
        policy=None if entry.contact_policy is None else _own_policy(entry.contact_policy, contact_policy),
    )


def _own_policy(entry: PromotionPolicyEntry, contact_policy: ContactPolicy) -> ContactPolicy:
    """The contact policy of all, with what the promotion says otherwise."""
    said = {name: value for name, value in msgspec.structs.asdict(entry).items() if value is not UNSET}
    if isinstance(entry.quiet_hours, QuietHoursEntry):
        said["quiet_hours"] = _window(entry.quiet_hours)
    return replace(contact_policy, **said)


def _day_window(entry: HoursEntry) -> DayWindow:
    days = ALL_DAYS if entry.days is None else frozenset(map(_DAYS.index, entry.days))
    return DayWindow(days, _window(entry))


def _window(entry: HoursEntry | QuietHoursEntry) -> Window:
    return Window(_minute(entry.from_), _minute(entry.to))


def _minute(time: str) -> int:
    hour, minute = time.split(":")
    return int(hour) * 60 + int(minute)


def _selector(stores: str | StoresSelected) -> StoreSelector:
    if isinstance(stores, str):
        return StoreSelector()
    return StoreSelector(_set(stores.store_ids), _set(stores.merchants), _set(stores.service_types))


def _set(names: list[str] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)


def _us(instant: datetime | None) -> int | None:
    return None if instant is None else (instant - _EPOCH) // timedelta(microseconds=1)

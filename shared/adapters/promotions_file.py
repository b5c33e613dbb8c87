"""promotions.json: its bytes become promotions, contact policy and presence parameters, or a list of its faults."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import msgspec
from msgspec import UNSET, Struct

from shared.adapters.json_text import parse_json
from shared.adapters.promotions_format import (
    Day,
    HoursEntry,
    PromotionEntry,
    PromotionPolicyEntry,
    PromotionsFile,
    QuietHoursEntry,
    StoresSelected,
)
from shared.adapters.struct_reader import StructReader, names_of
from shared.domain.local_time import ALL_DAYS, DayWindow, WeeklyHours, Window
from shared.domain.promotions import ContactPolicy, PresenceParameters, Promotion, StoreSelector, Transition
from shared.domain.stores import StoreTable

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CONDITIONS = {"store_ids": "store_id", "merchants": "merchant", "service_types": "service_type"}
"""The column in which the names of each condition must be."""
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
        document = parse_json(data)
    except ValueError as error:
        return None, [f"promotions.json {error}"]
    reader = StructReader(_Checks(stores, columns))
    found = reader.read(PromotionsFile, document)
    if found is None:
        return None, [f"promotions.json {fault}" for fault in reader.faults]
    return _campaigns(found), []


class _Checks:
    """What no single field can say: ids are unique, ends come after starts, selectors select something."""

    def __init__(self, stores: StoreTable | None, columns: Mapping[str, Sequence[str]]) -> None:
        self._stores = stores
        self._known = {name: set(columns[name]) for name in CONDITIONS.values() if columns.get(name)}
        self._first: dict[str, str] = {}
        """Where each promotion id came first."""

    def __call__(self, struct: type[Struct], values: dict[str, Any], path: str, *, is_whole: bool) -> Iterator[str]:
        """The faults between the fields of an object."""
        if struct is PromotionEntry:
            yield from self._promotion_faults(values, path)
        elif struct is StoresSelected:
            unknown = list(self._unknown_names(values, path))
            yield from unknown
            if is_whole and not unknown:
                yield from self._selection_faults(StoresSelected(**values), path)
        elif struct in (HoursEntry, QuietHoursEntry):
            yield from _window_faults(values, path)

    def _promotion_faults(self, values: dict[str, Any], path: str) -> Iterator[str]:
        promotion_id = values.get("promotion_id")
        if promotion_id is not None and self._first.setdefault(promotion_id, path) != path:
            yield f"{path}.promotion_id: {promotion_id!r} is also that of {self._first[promotion_id]}"
        starts_at, ends_at = values.get("starts_at"), values.get("ends_at")
        if starts_at is not None and ends_at is not None and starts_at >= ends_at:
            yield f"{path}.ends_at: {ends_at.isoformat()} is not after starts_at"

    def _selection_faults(self, selected: StoresSelected, path: str) -> Iterator[str]:
        names = [getattr(selected, condition) or () for condition in CONDITIONS]
        if not any(names):
            yield f'{path}: has no condition; give {names_of(StoresSelected)}, or write "all" instead'
        elif self._stores is not None and not _selector(selected).selected(self._stores).any():
            yield f"{path}: no store satisfies all its conditions"

    def _unknown_names(self, values: dict[str, Any], path: str) -> Iterator[str]:
        for condition, column in CONDITIONS.items():
            for number, name in enumerate(values.get(condition) or ()):
                if column in self._known and name not in self._known[column]:
                    yield f"{path}.{condition}[{number}]: no store has the {column} {name!r}"


def _window_faults(values: dict[str, Any], path: str) -> Iterator[str]:
    if "to" in values and values["to"] == values.get("from_"):
        yield f"{path}: ends at {values['to']}, when it begins; a whole day is from 00:00 to 24:00"
    days = values.get("days") or []
    for number, day in enumerate(days):
        if day in days[:number]:
            yield f'{path}.days[{number}]: "{day}" is given twice'


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

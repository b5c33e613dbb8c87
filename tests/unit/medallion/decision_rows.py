"""Rows of silver tables about decisions, by hand: what is not said is usual."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import polars as pl

from shared.medallion.decisions import DECISIONS
from shared.medallion.tables import Table

NOON = datetime(2026, 3, 29, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)

_numbers = count(1)


def rows(table: Table, *values: Mapping[str, Any]) -> pl.LazyFrame:
    """Rows of a table; what is not given is null."""
    return pl.DataFrame([dict.fromkeys(table.schema) | dict(value) for value in values], schema=table.schema).lazy()


def decision(device: str, outcome: str = "sent", reason: str | None = None, **values: Any) -> dict[str, Any]:
    """A decision at an ENTER of store s about promotion p, at noon; the event date is UTC's."""
    at = values.get("decided_at", NOON)
    usual = {
        "decision_id": f"d{next(_numbers)}",
        "device_key": device,
        "decided_at": at,
        "entered_at": at,
        "event_date": at.date(),
        "store_id": "s",
        "promotion_id": "p",
        "transition": "ENTER",
        "outcome": outcome,
        "reason": reason,
    }
    return usual | values


def held_out(device: str, **values: Any) -> dict[str, Any]:
    """A device that is held out of what it would have been sent."""
    return decision(device, "not_sent", "held_out", **values)


def dwell(device: str, **values: Any) -> dict[str, Any]:
    """A DWELL, for which promotion p was not meant."""
    return decision(device, "not_sent", "wrong_trigger", transition="DWELL", **values)


def decisions(*values: Mapping[str, Any]) -> pl.LazyFrame:
    return rows(DECISIONS, *values)

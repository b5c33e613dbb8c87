"""silver.stores and silver.promotions: what was published, each version once for every time that it came in force."""

import json
from collections.abc import Iterable

import numpy as np
import polars as pl
import shapely

from shared.domain.events import instant
from shared.domain.local_time import ALL_DAYS, DayWindow, Window
from shared.domain.promotions import ContactPolicy, Promotion, StoreSelector
from shared.domain.reference import CatalogueEntry, ReferenceData
from shared.medallion.tables import INSTANT, Layer, Table

VERSION: dict[str, pl.DataType] = {
    "reference_version": pl.String(),
    "active_from": INSTANT,
    "published_at": INSTANT,
}

STORE_VERSIONS = Table(
    Layer.SILVER,
    "stores",
    pl.Schema(
        {
            **VERSION,
            "store_id": pl.String(),
            "name": pl.String(),
            "merchant": pl.String(),
            "service_type": pl.String(),
            "location": pl.String(),
            "latitude": pl.Float64(),
            "longitude": pl.Float64(),
            "radius_m": pl.Float64(),
            "loitering_delay_s": pl.Float64(),
            "time_zone": pl.String(),
            "polygon": pl.String(),
        }
    ),
    partition_by=None,
)
"""`time_zone` is empty where none is known. `polygon` is the geofence that is no circle, as WKT in degrees (longitude,
latitude); `radius_m` then reaches to its farthest edge."""

PROMOTION_VERSIONS = Table(
    Layer.SILVER,
    "promotions",
    pl.Schema(
        {
            **VERSION,
            "promotion_id": pl.String(),
            "position": pl.Int64(),
            "discount_percent": pl.Float64(),
            "message": pl.String(),
            "trigger": pl.String(),
            "priority": pl.Int64(),
            "starts_at": INSTANT,
            "ends_at": INSTANT,
            "holdout_percent": pl.Float64(),
            "max_offers": pl.Int64(),
            "stores": pl.String(),
            "definition": pl.String(),
        }
    ),
    partition_by=None,
)
"""`position` counts from 0, in the order of the file. `stores` and `definition` are JSON as promotions.json has it: the
selector, and the whole promotion with its contact policy in full."""

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def store_versions(reference: ReferenceData, entry: CatalogueEntry, published_at_us: int) -> pl.DataFrame:
    """The stores of the entry's version, in the order of the file."""
    stores = reference.stores
    columns = {
        name: pl.Series(getattr(stores, name), dtype=dtype)
        for name, dtype in STORE_VERSIONS.schema.items()
        if name not in VERSION and name != "polygon"
    }
    return _of_version(
        STORE_VERSIONS, pl.DataFrame({**columns, "polygon": _polygons(reference)}), entry, published_at_us
    )


def promotion_versions(reference: ReferenceData, entry: CatalogueEntry, published_at_us: int) -> pl.DataFrame:
    """The promotions of the entry's version, in the order of the file."""
    rows = [
        {
            "promotion_id": item.promotion_id,
            "position": position,
            "discount_percent": float(item.discount_percent),
            "message": item.message,
            "trigger": str(item.trigger),
            "priority": item.priority,
            "starts_at": item.starts_at_us,
            "ends_at": item.ends_at_us,
            "holdout_percent": float(item.holdout_percent),
            "max_offers": item.max_offers,
            "stores": _json(_selector(item.stores)),
            "definition": _json(definition(item)),
        }
        for position, item in enumerate(reference.promotions)
    ]
    schema = pl.Schema({name: dtype for name, dtype in PROMOTION_VERSIONS.schema.items() if name not in VERSION})
    numbers = {name: pl.Int64() if dtype == INSTANT else dtype for name, dtype in schema.items()}
    return _of_version(PROMOTION_VERSIONS, pl.DataFrame(rows, schema=numbers).cast(schema), entry, published_at_us)


def definition(promotion: Promotion) -> dict[str, object]:
    """The promotion as promotions.json would say it: what is not given there is not given here."""
    said = {
        "promotion_id": promotion.promotion_id,
        "discount_percent": promotion.discount_percent,
        "message": promotion.message,
        "stores": _selector(promotion.stores),
        "starts_at": _instant(promotion.starts_at_us),
        "ends_at": _instant(promotion.ends_at_us),
        "hours": promotion.hours and [_hours(window) for window in promotion.hours.windows],
        "trigger": str(promotion.trigger),
        "priority": promotion.priority,
        "holdout_percent": promotion.holdout_percent,
        "max_offers": promotion.max_offers,
        "contact_policy": promotion.policy and _policy(promotion.policy),
    }
    return {name: value for name, value in said.items() if value is not None}


def _of_version(table: Table, rows: pl.DataFrame, entry: CatalogueEntry, published_at_us: int) -> pl.DataFrame:
    return table.conform(
        rows.with_columns(
            reference_version=pl.lit(entry.version),
            active_from=pl.lit(instant(entry.active_from_us), INSTANT),
            published_at=pl.lit(instant(published_at_us), INSTANT),
        )
    )


def _polygons(reference: ReferenceData) -> pl.Series:
    polygons = reference.stores.polygons
    texts = shapely.to_wkt(np.array(list(polygons.values()), dtype=object), rounding_precision=-1)
    column = np.full(len(reference.stores), None, dtype=object)
    column[list(polygons)] = texts
    return pl.Series(column.tolist(), dtype=pl.String)


def _selector(selector: StoreSelector) -> str | dict[str, list[str]]:
    conditions = {
        "store_ids": selector.store_ids,
        "merchants": selector.merchants,
        "service_types": selector.service_types,
    }
    given = {name: sorted(names) for name, names in conditions.items() if names is not None}
    return given or "all"


def _policy(policy: ContactPolicy) -> dict[str, object]:
    return {
        "cooldown_s": policy.cooldown_s,
        "daily_cap": policy.daily_cap,
        "min_gap_s": policy.min_gap_s,
        "quiet_hours": policy.quiet_hours and _window(policy.quiet_hours),
        "max_ping_age_s": policy.max_ping_age_s,
    }


def _hours(window: DayWindow) -> dict[str, object]:
    days = {} if window.days == ALL_DAYS else {"days": _days(window.days)}
    return {**_window(window.window), **days}


def _days(days: Iterable[int]) -> list[str]:
    return [DAYS[day] for day in sorted(days)]


def _window(window: Window) -> dict[str, str]:
    return {"from": _clock(window.from_minute), "to": _clock(window.to_minute)}


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def _instant(at_us: int | None) -> str | None:
    return None if at_us is None else instant(at_us).isoformat()


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)

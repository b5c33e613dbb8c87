"""gold.stores: the stores as they are now, with their names and positions."""

from datetime import datetime

import polars as pl

from shared.medallion.gold import BuildContext, Due, GoldTable, Source
from shared.medallion.reference_tables import STORE_VERSIONS
from shared.medallion.tables import INSTANT, gold_table

ENTRY = ("active_from", "published_at")
"""Which publication a row is of: a version may be published again. Of two from one instant on, the later counts."""


def current_stores(context: BuildContext, versions: pl.LazyFrame) -> pl.LazyFrame:
    """The stores of the version in force for the newest event, by the rule of the decision; before it, of the first."""
    entries = sorted(versions.select(ENTRY).unique().collect(engine="streaming").rows())
    if not entries:
        return STORES.table.empty().lazy()
    number = max((number for number, entry in enumerate(entries) if entry[0] <= context.newest), default=0)
    in_force = pl.all_horizontal(pl.col(name) == value for name, value in zip(ENTRY, entries[number], strict=True))
    return versions.filter(in_force).with_columns(valid_until=pl.lit(_valid_until(entries, number), INSTANT))


def _valid_until(entries: list[tuple[datetime, datetime]], number: int) -> datetime | None:
    return entries[number + 1][0] if number + 1 < len(entries) else None


def _is_replaced(context: BuildContext) -> pl.Expr:
    return pl.col("valid_until") <= context.newest


_OF_THE_VERSION = (
    "store_id",
    "name",
    "merchant",
    "service_type",
    "location",
    "latitude",
    "longitude",
    "radius_m",
    "time_zone",
    "reference_version",
)

STORES = GoldTable(
    gold_table(
        "stores",
        {
            **{name: STORE_VERSIONS.schema[name] for name in _OF_THE_VERSION},
            "valid_until": INSTANT,
        },
        partition_by=None,
    ),
    None,
    (Source(STORE_VERSIONS, "active_from"),),
    current_stores,
    due=Due("valid_until IS NOT NULL", _is_replaced),
)
"""`valid_until` is when the version that was published next comes into force, null while there is none."""

"""How the rows of a closed day lie: sorted by what analysts ask for, so that a reader leaves out what it need not open.

A file's and a row group's bounds say which stores and devices it may hold; sorted, they say of nearly all of them that
they hold none of the wanted. While a day grows, its rows lie as they came.
"""

from shared.medallion.tables import Table

SORT_KEYS: dict[str, tuple[str, ...]] = {
    "silver.pings": ("device_key", "tracked_at"),
    "silver.gps_enriched": ("store_id", "device_key", "tracked_at"),
    "silver.offers": ("store_id", "promotion_id", "device_key"),
    "silver.decisions": ("store_id", "promotion_id", "device_key", "decided_at"),
    "silver.receipts": ("store_id", "promotion_id", "device_key"),
    "silver.visits": ("store_id", "device_key", "entered_at"),
    "silver.assignments": ("promotion_id", "device_key"),
    "quarantine.bodies": ("hub", "reason"),
}
"""One key a table, by its name. A table without one (gold: few rows a day) is merged as it is."""


def sort_key(table: Table) -> tuple[str, ...]:
    """The columns by which the table's closed days are sorted; none where the order does not matter."""
    return SORT_KEYS.get(str(table), ())

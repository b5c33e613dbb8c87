"""Event dates: which day it is at the store when something happens there."""

from typing import Final

import polars as pl

NO_ZONE: Final = ""
"""Of a store that has no time zone, or of no store: its days are UTC's."""


def event_dates(instants: pl.Series, zones: pl.Series) -> pl.Series:
    """The date of each instant in its row's time zone (an IANA name, or NO_ZONE); null where the instant is null."""
    rows = pl.DataFrame({"instant": instants, "zone": zones}).with_row_index("row")
    parts = [
        part.select("row", date=pl.col("instant").dt.convert_time_zone(str(zone) or "UTC").dt.date())
        for (zone,), part in rows.partition_by("zone", as_dict=True).items()
    ]
    if not parts:
        return pl.Series("date", dtype=pl.Date)
    return (parts[0] if len(parts) == 1 else pl.concat(parts).sort("row"))["date"]

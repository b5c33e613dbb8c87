"""Event dates: which day it is at the store when something happens there."""

from typing import Final

import polars as pl

from shared.medallion.tables import INSTANT

NO_ZONE: Final = ""
"""Of a store that has no time zone, or of no store: its days are UTC's."""
MINUTE_US = 60_000_000


def event_dates(instants: pl.Series, zones: pl.Series) -> pl.Series:
    """The date of each instant in its row's time zone (an IANA name, or NO_ZONE); null where the instant is null.

    Asked once a zone and minute, of which a file has few: since 1972 no zone is off by less than whole minutes.
    """
    minutes = instants.to_physical() // MINUTE_US
    if zones.n_unique() == 1:
        asked = minutes.unique()
        return minutes.replace_strict(asked, _dates(asked, zones[0]), return_dtype=pl.Date)
    rows = pl.DataFrame({"minute": minutes, "zone": zones})
    parts = [
        part.with_columns(date=_dates(part["minute"], str(zone)))
        for (zone,), part in rows.unique().partition_by("zone", as_dict=True).items()
    ]
    dates = pl.concat([pl.DataFrame(schema={**rows.schema, "date": pl.Date()}), *parts])
    return rows.join(dates, on=["minute", "zone"], how="left", maintain_order="left")["date"]


def _dates(minutes: pl.Series, zone: str) -> pl.Series:
    return (minutes * MINUTE_US).cast(INSTANT).dt.convert_time_zone(zone or "UTC").dt.date()

"""silver.gps_enriched (the ancestor's name): a ping within a store's geofence, the store, and what ran there then."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shared.domain.local_time import WeeklyHours, local_time
from shared.domain.promotions import Promotion
from shared.domain.reference import ReferenceData
from shared.medallion.event_dates import event_dates
from shared.medallion.tables import INSTANT, PROVENANCE, silver_table

GPS_ENRICHED = silver_table(
    "gps_enriched",
    {
        "device_key": pl.String(),
        "latitude": pl.Float64(),
        "longitude": pl.Float64(),
        "tracked_at": INSTANT,
        "store_id": pl.String(),
        "merchant": pl.String(),
        "location": pl.String(),
        "distance_m": pl.Float64(),
        "promotion_id": pl.String(),
        "discount_percent": pl.Float64(),
        "reference_version": pl.String(),
        "event_date": pl.Date(),
    },
)
"""`distance_m` is WGS-84 geodesic. Promotion and discount are null where none ran: the row stays. `event_date` is the
date of tracked_at in the store's zone."""

NO_PROMOTION = -1
MINUTE_US = 60_000_000


def enrich(pings: pl.DataFrame, reference: ReferenceData) -> pl.DataFrame:
    """One row for each ping of silver.pings and each geofence that it lies in, by one version of the reference data."""
    pairs = reference.index.match(pings["latitude"].to_numpy(), pings["longitude"].to_numpy())
    ping, store, distance_m = pairs.ping[pairs.inside], pairs.store[pairs.inside], pairs.distance_m[pairs.inside]
    if not ping.size:
        return GPS_ENRICHED.empty()
    near = pings.select("device_key", "latitude", "longitude", "tracked_at", *PROVENANCE)[ping]
    running = best_promotion(store, near["tracked_at"].to_physical().to_numpy(), reference)
    stores = _store_columns(reference)[store]
    return GPS_ENRICHED.conform(
        pl.concat(
            [near, stores, _promotion_columns(reference)[running + 1], pl.DataFrame({"distance_m": distance_m})],
            how="horizontal",
        ).with_columns(
            reference_version=pl.lit(reference.version),
            event_date=event_dates(near["tracked_at"], stores["time_zone"]),
        )
    )


def best_promotion(
    stores: NDArray[np.int64], instants_us: NDArray[np.int64], reference: ReferenceData
) -> NDArray[np.int64]:
    """The row of the best promotion that ran in each store at each instant, else NO_PROMOTION.

    The best is the decision's: the highest priority, the highest discount, then the first promotion id.
    """
    best = np.full(stores.size, NO_PROMOTION, dtype=np.int64)
    undecided = np.arange(stores.size)
    for row in _by_preference(reference):
        promotion, at_us = reference.promotions[row], instants_us[undecided]
        chosen = reference.selection[row, stores[undecided]] & _runs(promotion, at_us)
        if promotion.hours is not None:
            rows = np.flatnonzero(chosen)
            chosen[rows] = _in_hours(promotion.hours, stores[undecided[rows]], at_us[rows], reference)
        best[undecided[chosen]] = row
        undecided = undecided[~chosen]
        if not undecided.size:
            break
    return best


def _by_preference(reference: ReferenceData) -> list[int]:
    promotions = reference.promotions
    return sorted(
        range(len(promotions)),
        key=lambda row: (-promotions[row].priority, -promotions[row].discount_percent, promotions[row].promotion_id),
    )


def _runs(promotion: Promotion, instants_us: NDArray[np.int64]) -> NDArray[np.bool_]:
    """`Promotion.runs_at`, a column at a time."""
    runs = np.ones(instants_us.size, dtype=np.bool_)
    if promotion.starts_at_us is not None:
        runs &= instants_us >= promotion.starts_at_us
    if promotion.ends_at_us is not None:
        runs &= instants_us < promotion.ends_at_us
    return runs


def _in_hours(
    hours: WeeklyHours, stores: NDArray[np.int64], instants_us: NDArray[np.int64], reference: ReferenceData
) -> NDArray[np.bool_]:
    """Whether each instant lies in the hours of its store; asked once a zone and minute, of which a file has few."""
    zones, minutes = _zones(reference).code[stores], instants_us // MINUTE_US
    asked, answer_of = np.unique(np.stack([zones, minutes]), axis=1, return_inverse=True)
    names = _zones(reference).names
    answers = [
        names[zone] != "" and hours.contains(local_time(minute * MINUTE_US, names[zone]))
        for zone, minute in asked.T.tolist()
    ]
    return np.array(answers, dtype=np.bool_)[answer_of.ravel()]


class _Zones(NamedTuple):
    """The zones of a version's stores: a code a store, and the name of each code."""

    code: NDArray[np.int64]
    names: list[str]


# The columns are made once a version: a capture file is many frames, and a version may hold 400,000 stores.
@lru_cache(maxsize=4)
def _zones(reference: ReferenceData) -> _Zones:
    codes: dict[str, int] = {}
    code = np.array([codes.setdefault(name, len(codes)) for name in reference.stores.time_zone], np.int64)
    return _Zones(code, list(codes))


@lru_cache(maxsize=4)
def _store_columns(reference: ReferenceData) -> pl.DataFrame:
    stores = reference.stores
    return pl.DataFrame(
        {
            "store_id": stores.store_id,
            "merchant": stores.merchant,
            "location": stores.location,
            "time_zone": stores.time_zone,
        },
        schema={"store_id": pl.String, "merchant": pl.String, "location": pl.String, "time_zone": pl.String},
    )


@lru_cache(maxsize=4)
def _promotion_columns(reference: ReferenceData) -> pl.DataFrame:
    """Row 0 says that no promotion ran; row i + 1 is promotion i."""
    promotions = reference.promotions
    return pl.DataFrame(
        {
            "promotion_id": [None, *(item.promotion_id for item in promotions)],
            "discount_percent": [None, *(float(item.discount_percent) for item in promotions)],
        },
        schema={"promotion_id": pl.String, "discount_percent": pl.Float64},
    )

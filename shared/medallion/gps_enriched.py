"""silver.gps_enriched (the ancestor's name): a ping within a store's geofence, the store, and what ran there then."""

from functools import lru_cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

from shared.domain.promotions import Promotion
from shared.domain.reference import ReferenceData
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
    },
)
"""`distance_m` is WGS-84 geodesic. Promotion and discount are null where none ran: the row stays."""

NO_PROMOTION = -1


def enrich(pings: pl.DataFrame, reference: ReferenceData) -> pl.DataFrame:
    """One row for each ping of silver.pings and each geofence that it lies in, by one version of the reference data."""
    pairs = reference.index.match(pings["latitude"].to_numpy(), pings["longitude"].to_numpy())
    ping, store, distance_m = pairs.ping[pairs.inside], pairs.store[pairs.inside], pairs.distance_m[pairs.inside]
    if not ping.size:
        return GPS_ENRICHED.empty()
    near = pings.select("device_key", "latitude", "longitude", "tracked_at", *PROVENANCE)[ping]
    running = best_promotion(store, near["tracked_at"].to_physical().to_numpy(), reference)
    return GPS_ENRICHED.conform(
        pl.concat(
            [
                near,
                _store_columns(reference)[store],
                _promotion_columns(reference)[running + 1],
                pl.DataFrame({"distance_m": distance_m}),
            ],
            how="horizontal",
        ).with_columns(reference_version=pl.lit(reference.version))
    )


def best_promotion(
    stores: NDArray[np.int64], instants_us: NDArray[np.int64], reference: ReferenceData
) -> NDArray[np.int64]:
    """The row of the promotion with the highest discount that ran in each store at each instant, else NO_PROMOTION.

    Of equal discounts the first promotion id wins, as in the decision's rank.
    """
    best = np.full(stores.size, NO_PROMOTION, dtype=np.int64)
    undecided = np.arange(stores.size)
    for row in _by_preference(reference):
        chosen = reference.selection[row, stores[undecided]] & _runs(reference.promotions[row], instants_us[undecided])
        best[undecided[chosen]] = row
        undecided = undecided[~chosen]
        if not undecided.size:
            break
    return best


def _by_preference(reference: ReferenceData) -> list[int]:
    promotions = reference.promotions
    return sorted(
        range(len(promotions)), key=lambda row: (-promotions[row].discount_percent, promotions[row].promotion_id)
    )


def _runs(promotion: Promotion, instants_us: NDArray[np.int64]) -> NDArray[np.bool_]:
    """`Promotion.runs_at`, a column at a time."""
    runs = np.ones(instants_us.size, dtype=np.bool_)
    if promotion.starts_at_us is not None:
        runs &= instants_us >= promotion.starts_at_us
    if promotion.ends_at_us is not None:
        runs &= instants_us < promotion.ends_at_us
    return runs


# The columns are made once a version: a capture file is many frames, and a version may hold 400,000 stores.
@lru_cache(maxsize=4)
def _store_columns(reference: ReferenceData) -> pl.DataFrame:
    stores = reference.stores
    return pl.DataFrame(
        {"store_id": stores.store_id, "merchant": stores.merchant, "location": stores.location},
        schema={"store_id": pl.String, "merchant": pl.String, "location": pl.String},
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

"""Every table of the lake; only our code creates them, and it creates no other."""

from shared.medallion.aggregated_trips import AGGREGATED_TRIPS
from shared.medallion.assignments import ASSIGNMENTS
from shared.medallion.captures import CAPTURES
from shared.medallion.data_quality_hourly import DATA_QUALITY_HOURLY
from shared.medallion.decisions import DECISIONS
from shared.medallion.gold import Derived
from shared.medallion.gold_stores import STORES
from shared.medallion.gps_enriched import GPS_ENRICHED
from shared.medallion.offers import OFFERS
from shared.medallion.offers_hourly import OFFERS_HOURLY
from shared.medallion.pings import PINGS
from shared.medallion.promotion_daily import PROMOTION_DAILY
from shared.medallion.quarantine import BODIES
from shared.medallion.receipts import RECEIPTS
from shared.medallion.reference_tables import PROMOTION_VERSIONS, STORE_VERSIONS
from shared.medallion.store_daily import STORE_DAILY
from shared.medallion.store_hourly import STORE_HOURLY
from shared.medallion.tables import Layer
from shared.medallion.trips_daily import TRIPS_DAILY
from shared.medallion.visits import VISITS

DERIVED_TABLES: tuple[Derived, ...] = (
    VISITS,
    STORES,
    TRIPS_DAILY,
    AGGREGATED_TRIPS,
    STORE_HOURLY,
    STORE_DAILY,
    OFFERS_HOURLY,
    ASSIGNMENTS,
    PROMOTION_DAILY,
    DATA_QUALITY_HOURLY,
)
"""What is computed from other tables, in the order of building: a table after those that it is computed from."""

GOLD_TABLES = tuple(derived.table for derived in DERIVED_TABLES if derived.table.layer is Layer.GOLD)

CAPTURED_TABLES = (PINGS, GPS_ENRICHED, OFFERS, DECISIONS, RECEIPTS, BODIES)
"""What capture files are refined into; the ledger says which file is in all of its tables."""

LAKE_TABLES = (
    *CAPTURED_TABLES,
    CAPTURES,
    STORE_VERSIONS,
    PROMOTION_VERSIONS,
    *(derived.table for derived in DERIVED_TABLES),
)

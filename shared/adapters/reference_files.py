"""Reference data as files: the bytes of stores.csv and promotions.json become ReferenceData, or are refused."""

import hashlib

from shared.adapters.promotions_file import read_promotions
from shared.adapters.stores_file import read_stores
from shared.domain.reference import ReferenceData
from shared.errors import ReferenceRefused

VERSION_LENGTH = 12


def parse_reference(stores_csv: bytes, promotions_json: bytes) -> ReferenceData:
    """Validate both files and everything between them. Raises ReferenceRefused with every fault, by file and line."""
    stores = read_stores(stores_csv)
    campaigns, faults = read_promotions(promotions_json, stores.table, stores.columns)
    if stores.table is None or campaigns is None:
        raise ReferenceRefused(stores.faults + faults)
    return ReferenceData(
        version=version_of(stores_csv, promotions_json),
        stores=stores.table,
        promotions=campaigns.promotions,
        contact_policy=campaigns.contact_policy,
        presence=campaigns.presence,
    )


def version_of(stores_csv: bytes, promotions_json: bytes) -> str:
    """The version of these files: the first hex digits of SHA-256 over both, each with its length before it."""
    digest = hashlib.sha256()
    for data in (stores_csv, promotions_json):
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()[:VERSION_LENGTH]

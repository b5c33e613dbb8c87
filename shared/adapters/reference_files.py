"""Reference data as files: bytes of stores, promotions and suppressed devices become ReferenceData, or are refused."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from shared.adapters.promotions_file import read_promotions
from shared.adapters.stores_file import read_stores
from shared.adapters.stores_geojson import read_geojson_stores
from shared.adapters.suppressed_file import read_suppressed
from shared.domain.reference import ReferenceData
from shared.errors import ReferenceRefused
from shared.workflows.reference import ReferenceFiles, StoresFormat

VERSION_LENGTH = 12
_READERS = {StoresFormat.CSV: read_stores, StoresFormat.GEOJSON: read_geojson_stores}
_FORMATS = {".csv": StoresFormat.CSV, ".geojson": StoresFormat.GEOJSON, ".json": StoresFormat.GEOJSON}


def parse_reference(files: ReferenceFiles) -> ReferenceData:
    """Validate each file and everything between them. Raises ReferenceRefused with every fault, by file and line."""
    stores = _READERS[files.stores_format](files.stores)
    campaigns, faults = read_promotions(files.promotions, stores.table, stores.columns)
    suppressed, suppressed_faults = read_suppressed(files.suppressed)
    all_faults = [*stores.faults, *faults, *suppressed_faults]
    if stores.table is None or campaigns is None or all_faults:
        raise ReferenceRefused(all_faults)
    return ReferenceData(
        version=version_of(files.by_name),
        stores=stores.table,
        promotions=campaigns.promotions,
        contact_policy=campaigns.contact_policy,
        presence=campaigns.presence,
        require_consent=campaigns.require_consent,
        suppressed=suppressed,
    )


def version_of(files: Mapping[str, bytes]) -> str:
    """The version of files: the first hex digits of SHA-256 over names and bytes, each with its length before it."""
    digest = hashlib.sha256()
    for name, data in files.items():
        for part in (name.encode(), data):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    return digest.hexdigest()[:VERSION_LENGTH]


def read_reference_files(stores: Path, promotions: Path, suppressed: Path | None = None) -> ReferenceFiles:
    """Read the files from a disk; the ending of *stores* tells its format.

    Raises ReferenceRefused when the ending is none of .csv, .geojson and .json, OSError when a file cannot be read.
    """
    stores_format = stores_format_of(stores)
    suppressed_bytes = None if suppressed is None else suppressed.read_bytes()
    return ReferenceFiles(stores.read_bytes(), promotions.read_bytes(), suppressed_bytes, stores_format)


def stores_format_of(stores: Path) -> StoresFormat:
    """The format of a file of stores, by the ending of its name. Raises ReferenceRefused when it has none of ours."""
    found = _FORMATS.get(stores.suffix.lower())
    if found is None:
        endings = ", ".join(_FORMATS)
        raise ReferenceRefused([f"{stores.name}: its name does not say what it is; valid endings are {endings}"])
    return found

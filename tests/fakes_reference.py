"""Reference data without storage: a store in memory that passes the tests of the real one, and small files."""

import json
from collections.abc import Sequence

from shared.errors import ReferenceUnavailable
from shared.workflows.reference import Catalogue, PublishedVersion, ReferenceFiles


class MemoryReferenceStore:
    """The port `ReferenceStore` in memory. `is_away` takes it away; `reads` counts what was fetched."""

    def __init__(self) -> None:
        self.is_away = False
        self.reads: list[str] = []
        self._catalogue = Catalogue()
        self._files: dict[str, ReferenceFiles] = {}
        self._writes = 0

    def read_catalogue(self, known: Catalogue | None = None) -> Catalogue:
        self._answer()
        self.reads.append("catalogue")
        return known if known is not None and known.etag == self._catalogue.etag else self._catalogue

    def replace_catalogue(self, known: Catalogue, entries: Sequence[PublishedVersion]) -> bool:
        self._answer()
        if known.etag != self._catalogue.etag:
            return False
        self._writes += 1
        self._catalogue = Catalogue(tuple(entries), str(self._writes))
        return True

    def load_files(self, version: str) -> ReferenceFiles:
        self._answer()
        self.reads.append(version)
        if version not in self._files:
            raise ReferenceUnavailable(f"{version} is in the catalogue and not in the store")
        return self._files[version]

    def save_files(self, version: str, files: ReferenceFiles) -> None:
        self._answer()
        self._files.setdefault(version, files)

    def _answer(self) -> None:
        if self.is_away:
            raise ReferenceUnavailable("the store is away")


def reference_files(discount_percent: float = 20, *, stores: Sequence[tuple[str, float, float]] = ()) -> ReferenceFiles:
    """Files without fault: a promotion of that discount at stores (id, latitude, longitude) of radius 50 m."""
    rows = stores or [("1", 51.5, -0.1)]
    header = "store_id,name,merchant,service_type,location,latitude,longitude,radius_m\n"
    lines = [f"{store_id},Shop {store_id},Tesco,Retail,Camden,{lat},{lon},50\n" for store_id, lat, lon in rows]
    promotion = {"promotion_id": "p", "discount_percent": discount_percent, "message": "off", "stores": "all"}
    return ReferenceFiles((header + "".join(lines)).encode(), json.dumps({"promotions": [promotion]}).encode())

"""437,379 stores from bytes to a checked table with its index, as CSV and as GeoJSON, each in a process of its own.

    python -m tests.bench.bench_reference

The stores are those of the UK's food premises beside the repository, else as many invented ones. The baseline is what
one would write first, with no check and no index: csv.DictReader, json.loads.
"""

import csv
import gzip
import io
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from shared.adapters.reference_files import parse_reference
from shared.workflows.reference import ReferenceFiles, StoresFormat
from tests.bench.report import record

STORES = 437_379
RADIUS_M = 100
REAL = Path(__file__).parents[3] / "shared" / "data" / "fhrs_uk" / "fhrs_uk_2015.csv.gz"
COLUMNS = ("store_id", "name", "merchant", "service_type", "location", "latitude", "longitude", "radius_m")
PROMOTIONS = b'{"promotions": []}'

type Store = tuple[str, str, str, str, str, float, float, int]


def stores() -> Iterator[Store]:
    """Real ones where they are, else invented ones."""
    if REAL.exists():
        with gzip.open(REAL, "rt", encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                name, place = row["businessname"], (float(row["latitude"]), float(row["longitude"]))
                yield row["row_id"], name, name, "Food", row["authority_file"], *place, RADIUS_M
        return
    random = np.random.default_rng(4)
    latitude, longitude = random.uniform(50, 58, STORES), random.uniform(-5, 1, STORES)
    for number, place in enumerate(zip(latitude.round(6).tolist(), longitude.round(6).tolist(), strict=True)):
        yield str(number), f"Shop {number}", f"Chain {number % 5_000}", "Food", str(number % 400), *place, RADIUS_M


def csv_bytes() -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows(stores())
    return text.getvalue().encode()


def geojson_bytes() -> bytes:
    features = []
    for *texts, latitude, longitude, radius_m in stores():
        properties = dict(zip(COLUMNS, texts, strict=False)) | {"subType": "Circle", "radius": radius_m}
        point = {"type": "Point", "coordinates": [longitude, latitude]}
        features.append(json.dumps({"type": "Feature", "geometry": point, "properties": properties}))
    return ('{"type": "FeatureCollection", "features": [\n' + ",\n".join(features) + "\n]}\n").encode()


def ours(path: str, stores_format: StoresFormat) -> tuple[float, float]:
    """Seconds of CPU, and the peak of the process's memory in MiB, the bytes of the file included."""
    data = Path(path).read_bytes()
    began = time.process_time()
    reference = parse_reference(ReferenceFiles(data, PROMOTIONS, stores_format=stores_format))
    assert len(reference.stores) == STORES
    here = reference.index.match(reference.stores.latitude[:1], reference.stores.longitude[:1])
    seconds = time.process_time() - began
    assert 0 in here.store
    return seconds, _peak_mib()


def first_thought(path: str, stores_format: StoresFormat) -> tuple[float, float]:
    """The same bytes as dictionaries."""
    data = Path(path).read_bytes()
    began = time.process_time()
    if stores_format is StoresFormat.CSV:
        found = len([row | {"at": float(row["latitude"])} for row in csv.DictReader(io.StringIO(data.decode()))])
    else:
        found = len(json.loads(data)["features"])
    seconds = time.process_time() - began
    assert found == STORES
    return seconds, _peak_mib()


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_a_process[T](work: Callable[[str, StoresFormat], T], path: Path, stores_format: StoresFormat) -> T:
    """Fresh: what an earlier run left in memory would count as the peak of this one."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, str(path), stores_format).result()


def main() -> None:
    """Measure, print and record."""
    with tempfile.TemporaryDirectory() as folder:
        for stores_format, make in ((StoresFormat.CSV, csv_bytes), (StoresFormat.GEOJSON, geojson_bytes)):
            path = Path(folder) / stores_format
            path.write_bytes(make())
            seconds, mib = in_a_process(ours, path, stores_format)
            naive_s, naive_mib = in_a_process(first_thought, path, stores_format)
            file_mib = path.stat().st_size / 2**20
            sys.stdout.write(
                f"{stores_format:<15}{STORES:,} stores, {file_mib:.0f} MiB: {seconds:.1f} s CPU, peak {mib:.0f} MiB; "
                f"unchecked dictionaries {naive_s:.1f} s, peak {naive_mib:.0f} MiB\n"
            )
            name = f"reference_{stores_format.name.lower()}_437379"
            record(
                name,
                seconds,
                "s",
                naive_s,
                f"CPU, bytes to table and index; peak {mib:.0f} MiB; the baseline only parses, and checks nothing",
            )


if __name__ == "__main__":
    main()

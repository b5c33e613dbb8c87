"""A capture file of a million pings to silver, on one thread, against how such a file is usually read: fastavro,
json.loads and a DataFrame of the bodies, which then has no device key, no store and no Delta table yet.

Each candidate runs in a process of its own, in turns, and says its CPU time and how much its memory grew.
"""

import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import fastavro
import numpy as np
import polars as pl

from infra.local.eventhubs.avro_container import CaptureFileWriter
from shared.adapters.capture_files import read_frames
from shared.adapters.delta_tables import DeltaTables
from shared.adapters.lake_storage import LakeStorage
from shared.adapters.parquet_parts import PartWriter
from shared.domain.reference import ReferenceData
from shared.medallion.bronze import Captured
from shared.medallion.captured_pings import decode_captured
from shared.medallion.captures import CaptureProperties
from shared.medallion.device_keys import DeviceKeys
from shared.medallion.pings import Repeats
from shared.workflows import refine
from tests.bench.report import record
from tests.bench.steps import Steps
from tests.fakes_lake import REMEMBERED, FakeReferences, at, reference, refiner, us_culture

PINGS, STORES, DEVICES, ROUNDS = 1_000_000, 23_000, 50_000, 3
START = datetime(2026, 11, 20, 11, tzinfo=UTC)
SILVER = "capture_to_silver: pings and gps_enriched"
PIECE_BYTES = 4 * 1024 * 1024


def write_capture_file(file: Path, pings: int = PINGS) -> None:
    """Bodies of 130 bytes, of devices as random as it gets, as the local Capture writes them: one block."""
    random = np.random.default_rng(3)
    devices = [str(uuid.UUID(bytes=random.bytes(16))) for _ in range(DEVICES)]
    chosen = random.integers(0, DEVICES, pings).tolist()
    latitude, longitude = random.uniform(51.3, 51.7, pings).tolist(), random.uniform(-0.4, 0.2, pings).tolist()

    def records() -> Iterator[object]:
        for row in range(pings):
            enqueued_at = START + timedelta(milliseconds=row * 0.9)
            device_id, tracked_at = devices[chosen[row]], f"{enqueued_at:%Y-%m-%dT%H:%M:%S}Z"
            body = (
                f'{{"device_id":"{device_id}","latitude":{latitude[row]:.6f},'
                f'"longitude":{longitude[row]:.6f},"tracked_at":"{tracked_at}"}}'
            )
            yield {
                "SequenceNumber": row,
                "Offset": str(row * 264),
                "EnqueuedTimeUtc": us_culture(enqueued_at),
                "SystemProperties": {
                    "x-opt-partition-key": device_id,
                    "x-opt-enqueued-time": round(enqueued_at.timestamp() * 1000),
                },
                "Properties": {},
                "Body": body.encode(),
            }

    with CaptureFileWriter(b"sixteen bytes ok") as writer:
        writer.add(records())  # type: ignore[arg-type]
        content, _ = writer.finish()
        with file.open("wb") as out:
            while piece := content.read(PIECE_BYTES):
                out.write(piece)


def pieces(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while piece := stream.read(PIECE_BYTES):
            yield piece


def stores() -> ReferenceData:
    """As many as central London has, in its area, each of 100 m."""
    random = np.random.default_rng(1)
    positions = zip(random.uniform(51.3, 51.7, STORES), random.uniform(-0.4, 0.2, STORES), strict=True)
    data = reference(
        "v1", [{"store_id": str(row), "latitude": lat, "longitude": lon} for row, (lat, lon) in enumerate(positions)]
    )
    _ = data.index, data.selection  # a worker has them before its first file
    return data


# The candidates: each prepares, and returns what is measured.


def naive(file: Path) -> Callable[[], int]:
    def run() -> int:
        with file.open("rb") as stream:
            return pl.DataFrame([json.loads(record["Body"]) for record in fastavro.reader(stream)]).height

    return run


def read(file: Path) -> Callable[[], int]:
    return lambda: sum(len(captured) for captured in read_frames(file.name, pieces(file)))


def read_and_decode(file: Path) -> Callable[[], int]:
    def run() -> int:
        count = 0
        for captured in read_frames(file.name, pieces(file)):
            count += decode_captured(captured).row.size
        return count

    return run


class OneFile:
    """The port `CaptureFiles` for a file on the disk."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def frames(self, path: str) -> Iterator[Captured]:
        yield from read_frames(path, pieces(self.file))

    def properties(self, path: str) -> CaptureProperties:
        return CaptureProperties(self.file.stat().st_size, START + timedelta(minutes=5))


def capture_to_silver(file: OneFile) -> Callable[[], int]:
    references = FakeReferences.always(stores())

    def run() -> int:
        with tempfile.TemporaryDirectory(prefix="footfall-bench-") as folder:
            tables = DeltaTables(LakeStorage.in_folder(Path(folder)), remembered=REMEMBERED)
            worker = refiner(tables, file, references, now=START + timedelta(hours=1))
            return worker.refine(at(START)).rows["silver.pings"]

    return run


CANDIDATES = {
    "fastavro, json.loads, DataFrame of the bodies": naive,
    "  read_frames alone": read,
    "  read_frames and decode_captured": read_and_decode,
    SILVER: lambda file: capture_to_silver(OneFile(file)),
}


STEPS: dict[str, tuple[object, str]] = {
    "decode bodies": (refine, "decode_captured"),
    "device keys": (DeviceKeys, "key"),
    "repeats": (Repeats, "flag"),
    "pings as columns": (refine, "refine_pings"),
    "near stores": (refine, "enrich"),
    "write Parquet": (PartWriter, "_write_part"),
    "commit to Delta": (DeltaTables, "commit_file"),
}
"""What is timed of `capture_to_silver`, beside the reading."""


def watched(file: Path, steps: Steps) -> Callable[[], int]:
    """capture_to_silver, timed by step in this process from now on."""
    for step, (owner, name) in STEPS.items():
        setattr(owner, name, steps.timed(step, getattr(owner, name)))

    class WatchedFile(OneFile):
        def frames(self, path: str) -> Iterator[Captured]:
            following = super().frames(path)
            read_frame = steps.timed("read records", lambda: next(following, None))
            while (frame := read_frame()) is not None:
                yield frame

    return capture_to_silver(WatchedFile(file))


def measure_steps(file: Path) -> dict[str, float]:
    """CPU seconds by step."""
    bind_to_one_core()
    steps = Steps()
    run = watched(file, steps)
    steps.seconds.update(dict.fromkeys(steps.seconds, 0.0))
    start = time.process_time()
    assert run() == PINGS
    return steps.seconds | {"the rest": time.process_time() - start - sum(steps.seconds.values())}


def bind_to_one_core() -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def measure(name: str, file: Path) -> tuple[float, float]:
    """CPU seconds, and MiB by which the memory grew at most."""
    bind_to_one_core()
    run = CANDIDATES[name](file)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = resident_mib("VmRSS")
    start = time.process_time()
    assert run() == PINGS
    return time.process_time() - start, resident_mib("VmHWM") - before


def resident_mib(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) / 1024


def main() -> None:
    os.environ["POLARS_MAX_THREADS"] = "1"
    seconds: dict[str, list[float]] = {name: [] for name in CANDIDATES}
    grown: dict[str, float] = dict.fromkeys(CANDIDATES, 0.0)
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="footfall-bench-") as folder:
        file = Path(folder) / "capture.avro"
        write_capture_file(file)
        sys.stdout.write(f"{PINGS:,} pings, {file.stat().st_size / 1e6:.0f} MB, {STORES:,} stores, one thread\n")
        steps: list[dict[str, float]] = []
        for _ in range(ROUNDS):
            with ProcessPoolExecutor(1, mp_context=spawn) as pool:
                steps.append(pool.submit(measure_steps, file).result())
            for name in CANDIDATES:
                with ProcessPoolExecutor(1, mp_context=spawn) as pool:
                    taken, memory = pool.submit(measure, name, file).result()
                seconds[name].append(taken)
                grown[name] = max(grown[name], memory)
    baseline = statistics.median(seconds[next(iter(CANDIDATES))])
    for name, taken_s in seconds.items():
        median = statistics.median(taken_s)
        sys.stdout.write(
            f"  {name:<46} {median / PINGS * 1e6:6.2f} us each  {PINGS / median:10,.0f} a second"
            f"  {baseline / median:5.1f} x  +{grown[name]:.0f} MiB\n"
        )
    sys.stdout.write("  its steps, us a ping:\n")
    for step in steps[0]:
        median = statistics.median(taken[step] for taken in steps)
        sys.stdout.write(f"    {step:<44} {median / PINGS * 1e6:6.2f}\n")
    silver = PINGS / statistics.median(seconds[SILVER])
    note = (
        f"to pings and gps_enriched, +{grown[SILVER]:.0f} MiB; baseline: fastavro, json.loads, DataFrame of the bodies"
    )
    record("capture_to_silver", silver, "pings/s a core", PINGS / baseline, note)


if __name__ == "__main__":
    main()

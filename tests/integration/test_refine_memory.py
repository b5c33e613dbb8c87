"""A capture file of 300 MB becomes silver in bounded memory."""

import multiprocessing
import tempfile
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from shared.adapters.delta_tables import DeltaTables
from shared.adapters.lake_storage import LakeStorage
from tests.bench.bench_refine import PINGS, START, OneFile, resident_mib, stores, write_capture_file
from tests.fakes_lake import REMEMBERED, FakeReferences, at, refiner

pytestmark = [pytest.mark.integration, pytest.mark.slow]

MOST_MIB = 400
FILE_BYTES = 300_000_000


def grown_mib(file: Path) -> float:
    """By how much this process's memory grew at most while it refined the file."""
    references = FakeReferences.always(stores())
    with tempfile.TemporaryDirectory(prefix="footfall-") as folder:
        tables = DeltaTables(LakeStorage.in_folder(Path(folder)), remembered=REMEMBERED)
        worker = refiner(tables, OneFile(file), references, now=START + timedelta(hours=1))
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
        before = resident_mib("VmRSS")
        assert worker.refine(at(START)).rows["silver.pings"] > PINGS
        return resident_mib("VmHWM") - before


def test_a_file_of_300_mb_grows_the_memory_by_less_than_400_mib(tmp_path):
    file = tmp_path / "capture.avro"
    write_capture_file(file, pings=FILE_BYTES // 257 + 1)
    assert file.stat().st_size >= FILE_BYTES
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(grown_mib, file).result() < MOST_MIB

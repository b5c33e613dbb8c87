"""The back-test of a million captured pings, one in ten near one of 23,000 stores, from files to the Delta table.

The figure is CPU time, of all threads, so it is the time that one core takes; reference data is loaded before.
"""

import cProfile
import pstats
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from infra.local.eventhubs.avro_container import CaptureFileWriter, CaptureRecord
from infra.local.eventhubs.capture_records import us_culture_time
from infra.local.host.event_hub_conversion import ReceivedEvent
from shared.adapters.capture_files import read_frames
from shared.adapters.replay_folder import ReplayFolder
from shared.domain.reference import ReferenceData
from shared.medallion.bronze import CapturePath
from shared.medallion.device_keys import DeviceKeys
from shared.medallion.replayed import Side
from shared.settings import DeviceKey
from shared.workflows.replay import OneVersion, Replayer
from tests.bench.decision_world import BATCH, Crowd, reference
from tests.bench.report import record

PINGS, PARTITIONS, SHOPPERS = 1_000_000, 4, 0.2
HUB, WINDOW_S = "dev-readfrom", 300
PIECE_BYTES = 4 * 1024 * 1024
KEYS = DeviceKeys([DeviceKey("k1", b"a secret of 16 bytes or more")])


class CaptureFolder:
    """The port `Captures` on a folder of the disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def sizes(self, hub: str) -> Mapping[CapturePath, int]:
        files = self._folder.rglob("*.avro")
        return {CapturePath.parse(str(file.relative_to(self._folder))): file.stat().st_size for file in files}

    def frames(self, path: str) -> Iterator[pl.DataFrame]:
        with (self._folder / path).open("rb") as stream:
            yield from read_frames(path, iter(lambda: stream.read(PIECE_BYTES), b""))


def write_captures(folder: Path, data: ReferenceData) -> int:
    """Capture files of five minutes; how many pings they hold."""
    batches = Crowd(data, shoppers=SHOPPERS).batches(PINGS // BATCH + 1)
    windows: dict[tuple[int, int], list[ReceivedEvent]] = {}
    for event in (event for events in batches for event in events):
        partition = zlib.crc32((event.partition_key or "").encode()) % PARTITIONS
        windows.setdefault((partition, event.enqueued_ms // (WINDOW_S * 1000)), []).append(event)
    following = [0] * PARTITIONS
    for (partition, window), events in sorted(windows.items()):
        start = datetime.fromtimestamp(window * WINDOW_S, UTC)
        file = folder / f"ns/{HUB}/{partition}/{start:%Y/%m/%d/%H/%M/%S}.avro"
        file.parent.mkdir(parents=True, exist_ok=True)
        with CaptureFileWriter(b"sixteen bytes ok") as writer, file.open("wb") as out:
            writer.add(_record(event, following[partition] + row) for row, event in enumerate(events))
            following[partition] += len(events)
            content, _ = writer.finish()
            out.write(content.read())
    return sum(following)


def _record(event: ReceivedEvent, number: int) -> CaptureRecord:
    system = {"x-opt-partition-key": event.partition_key or "", "x-opt-enqueued-time": event.enqueued_ms}
    return CaptureRecord(
        SequenceNumber=number,
        Offset=str(number * 264),
        EnqueuedTimeUtc=us_culture_time(event.enqueued_ms // 1000),
        SystemProperties=system,
        Properties={},
        Body=event.body,
    )


def main() -> None:
    data = reference()
    _ = data.index, data.selection
    with tempfile.TemporaryDirectory() as scratch:
        captures, out = Path(scratch) / "captures", Path(scratch) / "out"
        pings = write_captures(captures, data)
        folder = ReplayFolder.begin(out, {})
        replayer = Replayer(
            CaptureFolder(captures), folder, KEYS, HUB, PARTITIONS, {Side.IN_FORCE: OneVersion(data)}
        )  # fmt: skip
        profile = cProfile.Profile() if "--profile" in sys.argv else None
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        if profile is None:
            report = replayer.run(lambda size: lambda done: None)
        else:
            report = profile.runcall(replayer.run, lambda size: lambda done: None)
        wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
        decisions = folder.scan().select(pl.len()).collect().item()
    assert report.counts.events == pings
    if profile is not None:
        pstats.Stats(profile).sort_stats("tottime").print_stats(40)
        return
    note = f"{pings:,} pings, {decisions:,} decisions, {report.files} files, wall {wall_s:.1f} s"
    sys.stdout.write(f"  replay: {cpu_s:.1f} s CPU, {cpu_s / pings * 1e6:.2f} us a ping; {note}\n")
    record("replay_million_pings", cpu_s * 1e6 / pings, "s", note=note)


if __name__ == "__main__":
    main()

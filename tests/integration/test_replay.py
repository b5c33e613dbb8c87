"""A replay's folder: decisions and state move together wherever it dies, and what is not a replay's is refused."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import pytest
from azure.storage.blob import BlobServiceClient
from deltalake import DeltaTable

from shared.adapters.capture_files import CaptureContainer
from shared.adapters.replay_folder import DESCRIPTION, STATE, ReplayFolder
from shared.errors import CaptureFileUnreadable, ReplayRefused
from shared.medallion.bronze import CapturePath
from shared.medallion.replayed import REPLAYED, Side
from shared.workflows.replay import Journal, OneVersion, Replayer, SavedPartition, Step
from tests.azurite import AzuriteServer
from tests.fakes_lake import unique
from tests.unit.replay.history import (
    A_DAY_AT_THE_CAFE,
    HUB,
    KEYS,
    PARTITIONS,
    SECOND,
    MemoryCaptures,
    captured,
    in_force,
    nothing,
    path_at,
    replay,
)

pytestmark = pytest.mark.integration

STEP = Step(events=8, decisions=100, files=100)


def replay_into(folder: Path, journal: Journal | None = None) -> ReplayFolder:
    """Replay with a save every eight events, compared with other reference data."""
    found = ReplayFolder.begin(folder, {"hub": HUB})
    sides = {Side.IN_FORCE: in_force(), Side.CHANGED: OneVersion(SECOND)}
    captures = captured(A_DAY_AT_THE_CAFE)
    Replayer(captures, journal or found, KEYS, HUB, PARTITIONS, sides, step=STEP, with_events=True).run(nothing)
    return found


def in_order(folder: ReplayFolder) -> pl.DataFrame:
    return folder.scan().collect().sort("side", "ping_sequence_number", "decision_id")


@dataclass
class CopyingJournal:
    """Keeps a copy of the folder before each save and after it."""

    folder: ReplayFolder
    copies: Path
    pairs: list[tuple[Path, Path]] = field(default_factory=list)

    def load(self, namespace: str, partition_id: str) -> SavedPartition | None:
        return self.folder.load(namespace, partition_id)

    def save(self, saved: SavedPartition, rows: pl.DataFrame) -> None:
        before, after = self.copies / f"{len(self.pairs)}-before", self.copies / f"{len(self.pairs)}-after"
        shutil.copytree(self.folder.folder, before)
        self.folder.save(saved, rows)
        shutil.copytree(self.folder.folder, after)
        self.pairs.append((before, after))


def states(folder: Path) -> list[Path]:
    return sorted(path.relative_to(folder) for path in (folder / STATE).rglob("*.msgpack"))


@pytest.fixture(name="pairs")
def _pairs(tmp_path: Path) -> list[tuple[Path, Path]]:
    folder = ReplayFolder.begin(tmp_path / "out", {"hub": HUB})
    journal = CopyingJournal(folder, tmp_path / "copies")
    replay_into(folder.folder, journal)
    return journal.pairs


def test_the_table_has_the_decisions_of_both_sides(tmp_path: Path) -> None:
    folder = replay_into(tmp_path / "out")
    in_memory = replay(captured(A_DAY_AT_THE_CAFE), in_force(), changed=SECOND)
    for side in Side:
        texts = folder.scan().filter(pl.col("side") == side).sort("ping_sequence_number").collect()["event"]
        assert sorted(texts) == sorted(in_memory.texts(side))
    table = DeltaTable(str(tmp_path / "out"))
    assert [field.name for field in table.schema().fields] == REPLAYED.names()


def test_a_replay_that_dies_before_within_and_after_each_save_ends_with_the_same_table(
    pairs: list[tuple[Path, Path]], tmp_path: Path
) -> None:
    assert len(pairs) > 3
    expected = in_order(ReplayFolder.of_earlier(pairs[-1][1]))
    for number, (before, after) in enumerate(pairs):
        state_only, nothing_deleted = tmp_path / f"{number}-state", tmp_path / f"{number}-kept"
        shutil.copytree(before, state_only)
        (written,) = states(after)
        (state_only / written).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(after / written, state_only / written)
        shutil.copytree(after, nothing_deleted)
        for earlier in states(before):
            shutil.copy(before / earlier, nothing_deleted / earlier)
        for died in (before, state_only, nothing_deleted, after):
            assert in_order(replay_into(died)).equals(expected), died
            assert len(states(died)) == 1 or number == len(pairs) - 1


def test_a_finished_replay_is_left_as_it_is(tmp_path: Path) -> None:
    replay_into(tmp_path / "out")
    version = DeltaTable(str(tmp_path / "out")).version()
    replay_into(tmp_path / "out")
    assert DeltaTable(str(tmp_path / "out")).version() == version


def test_the_tables_vacuum_leaves_the_state_alone(tmp_path: Path) -> None:
    folder = replay_into(tmp_path / "out")
    table = DeltaTable(str(tmp_path / "out"))
    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    assert folder.load("ns", "2") is not None


def test_texts_are_kept_only_when_asked_for(tmp_path: Path) -> None:
    folder = ReplayFolder.begin(tmp_path / "out", {})
    Replayer(captured(A_DAY_AT_THE_CAFE), folder, KEYS, HUB, PARTITIONS, {Side.IN_FORCE: in_force()}).run(nothing)
    rows = folder.scan().collect()
    assert rows["event"].is_null().all()
    assert rows["device_key"].str.starts_with("k1:").all()
    for file in (tmp_path / "out").glob("*.parquet"):
        assert b"ann" not in file.read_bytes(), "a device id lies in the table"


def test_a_later_replay_goes_on_from_the_state_that_this_one_left(tmp_path: Path) -> None:
    captures = captured(A_DAY_AT_THE_CAFE)
    early = MemoryCaptures(dict(list(captures.files.items())[:2]))
    sides = {Side.IN_FORCE: in_force()}
    first = ReplayFolder.begin(tmp_path / "first", {})
    Replayer(early, first, KEYS, HUB, PARTITIONS, sides, with_events=True).run(nothing)
    second = ReplayFolder.begin(tmp_path / "second", {})
    start = ReplayFolder.of_earlier(tmp_path / "first")
    Replayer(captures, second, KEYS, HUB, PARTITIONS, sides, start=start, with_events=True).run(nothing)
    texts = [*first.scan().collect()["event"], *second.scan().collect()["event"]]
    assert sorted(texts) == sorted(replay(captures, in_force()).texts())


def test_the_folder_of_another_replay_is_refused_and_what_differs_is_named(tmp_path: Path) -> None:
    replay_into(tmp_path / "out")
    with pytest.raises(ReplayRefused, match=f"there, hub is {HUB}, and here another"):
        ReplayFolder.begin(tmp_path / "out", {"hub": "another"})
    with pytest.raises(ReplayRefused, match="there, --to is not given, and here 2026"):
        ReplayFolder.begin(tmp_path / "out", {"hub": HUB, "--to": "2026"})


def test_a_replay_that_was_refused_before_it_decided_anything_leaves_its_folder_to_the_next(tmp_path: Path) -> None:
    ReplayFolder.begin(tmp_path / "out", {"--to": "2025"})
    ReplayFolder.begin(tmp_path / "out", {"--to": "2026"})
    assert "2026" in (tmp_path / "out" / STATE / DESCRIPTION).read_text()


def test_a_folder_with_something_else_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("Dear Sir")
    with pytest.raises(ReplayRefused, match="is no replay and not empty"):
        ReplayFolder.begin(tmp_path, {})
    with pytest.raises(ReplayRefused, match="has no state of a replay"):
        ReplayFolder.of_earlier(tmp_path)


@pytest.fixture(name="state_file")
def _state_file(tmp_path: Path) -> Path:
    replay_into(tmp_path / "out")
    (relative,) = states(tmp_path / "out")
    return tmp_path / "out" / relative


def test_state_of_another_format_is_refused(state_file: Path) -> None:
    header, _, body = state_file.read_bytes().partition(b"\n")
    state_file.write_bytes(header[:-4] + b"0000\n" + body)
    with pytest.raises(ReplayRefused, match=r"written by another version of Footfall \(format \w+0000, this one"):
        replay_into(state_file.parents[3])


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"Dear Sir\n", "is no state of a replay"), (None, "is missing"), ("cut", "cannot be read")],
)
def test_state_that_is_damaged_is_refused(state_file: Path, content: bytes | str | None, why: str) -> None:
    whole = state_file.read_bytes()
    if content is None:
        state_file.unlink()
    else:
        state_file.write_bytes(whole[:-10] if isinstance(content, str) else content)
    with pytest.raises(ReplayRefused, match=why):
        replay_into(state_file.parents[3])


def test_the_description_says_in_words_what_was_replayed(tmp_path: Path) -> None:
    ReplayFolder.begin(tmp_path / "out", {"hub": HUB})
    assert (tmp_path / "out" / STATE / DESCRIPTION).read_text() == f'{{\n  "hub": "{HUB}"\n}}'


@pytest.fixture(name="container")
def _container(azurite: AzuriteServer) -> Iterator[tuple[BlobServiceClient, str]]:
    with BlobServiceClient.from_connection_string(azurite.connection_string) as blobs:
        yield blobs, unique("replayed-")


def test_the_capture_files_of_a_hub_are_listed_with_their_sizes(container: tuple[BlobServiceClient, str]) -> None:
    blobs, name = container
    captures = CaptureContainer(blobs, name)
    assert captures.sizes(HUB) == {}
    blobs.create_container(name)
    client = blobs.get_container_client(name)
    client.upload_blob(path_at(0), b"12345")
    client.upload_blob(path_at(0).replace(HUB, "dev-writeto"), b"another hub's")
    client.upload_blob(f"ns/{HUB}/2/2026", b"")
    assert captures.sizes(HUB) == {CapturePath.parse(path_at(0)): 5}
    client.upload_blob(f"ns/{HUB}/2/late.avro", b"")
    with pytest.raises(CaptureFileUnreadable, match=r"late\.avro"):
        captures.sizes(HUB)


def test_a_file_that_cannot_be_read_stops_the_replay_and_is_named(
    container: tuple[BlobServiceClient, str], tmp_path: Path
) -> None:
    blobs, name = container
    blobs.create_container(name)
    blobs.get_container_client(name).upload_blob(path_at(0), b"no Avro at all")
    folder = ReplayFolder.begin(tmp_path / "out", {})
    captures = CaptureContainer(blobs, name)
    with pytest.raises(CaptureFileUnreadable, match=path_at(0)):
        Replayer(captures, folder, KEYS, HUB, PARTITIONS, {Side.IN_FORCE: in_force()}).run(nothing)
    assert folder.scan().collect().height == 0

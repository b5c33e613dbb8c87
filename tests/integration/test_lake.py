"""The lake in Delta, on disk and on Azurite: each file once, gold as silver says, nobody else's table features."""

import json
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from azure.storage.blob import BlobServiceClient
from deltalake import CommitProperties, TableFeatures, Transaction, write_deltalake

from infra.local.ports import free_ports
from shared.adapters.azure_clients import blob_service
from shared.adapters.capture_files import CaptureContainer
from shared.adapters.delta_tables import DeltaTables
from shared.adapters.lake_storage import LakeStorage
from shared.adapters.parquet_parts import Part
from shared.errors import CaptureFileUnreadable, LakeUnavailable
from shared.medallion.captures import CAPTURES
from shared.medallion.gps_enriched import GPS_ENRICHED
from shared.medallion.lake import LAKE_TABLES
from shared.medallion.periods import Grain
from shared.medallion.pings import PINGS
from shared.medallion.quarantine import BODIES
from shared.medallion.reference_tables import PROMOTION_VERSIONS, STORE_VERSIONS
from shared.medallion.tables import Layer, Table
from shared.settings import Connection
from shared.workflows.build_gold import GoldBuilder
from shared.workflows.refine import RefineReport, Status
from tests.azurite import AzuriteServer
from tests.derived_tables import BY_HOUR, assert_tables_are_what_silver_says, builder, some
from tests.fakes_lake import (
    NOON,
    REMEMBERED,
    FakeCaptures,
    FakeReferences,
    at,
    capture_file,
    record,
    reference,
    refiner,
    unique,
)
from tests.integration.lakes import Lake

pytestmark = pytest.mark.integration

STORE = {"store_id": "s", "latitude": 51.5, "longitude": -0.1}
HERE = FakeReferences.always(reference("v1", [STORE]))
TABLES = (BODIES, GPS_ENRICHED, PINGS)


def ping(number: int, latitude: float = 51.5, tracked_at: datetime = NOON) -> bytes:
    body = {"device_id": f"d{number % 7}", "latitude": latitude, "longitude": -0.1 + number * 1e-5}
    return json.dumps(body | {"tracked_at": tracked_at.isoformat()}).encode()


def file_of(*bodies: bytes | None) -> bytes:
    return capture_file([record(row, body) for row, body in enumerate(bodies)])


MIXED = file_of(*(ping(row, 51.5 if row % 2 else 10.0) if row % 5 else b"hostile" for row in range(50)))
FILES = FakeCaptures({at(NOON + timedelta(minutes=row)): MIXED for row in range(6)})


def sequence_numbers(tables: DeltaTables, *wanted: Table) -> list[tuple[str, int]]:
    frames = [tables.scan(table).select("source_file", "sequence_number").collect() for table in wanted]
    return sorted(pl.concat(frames).rows())


EVERY_EVENT = sorted((path, row) for path in FILES.files for row in range(50))


# Once


def test_a_file_is_in_every_table_of_its_hub_once_however_often_it_is_delivered(lake: Lake):
    tables = lake.tables()
    for _ in range(2):
        for path in FILES.files:
            refiner(tables, FILES, HERE).refine(path)
    assert sequence_numbers(tables, PINGS, BODIES) == EVERY_EVENT
    assert tables.scan(GPS_ENRICHED).collect().height == 20 * len(FILES.files)


def test_another_worker_knows_what_is_done(lake: Lake):
    path = at(NOON)
    assert refiner(lake.tables(), FILES, HERE).refine(path).status is Status.REFINED
    assert refiner(lake.tables(), FILES, HERE).refine(path).status is Status.ALREADY_DONE


@pytest.mark.parametrize("workers", ["of one process", "of three processes"])
def test_workers_with_the_same_files_at_once_commit_each_file_once(lake: Lake, workers: str):
    shared = lake.tables()
    start = threading.Barrier(3)

    def work(_: int) -> list[RefineReport]:
        mine = shared if workers == "of one process" else lake.tables()
        start.wait()
        return [refine_stubbornly(mine, path) for path in FILES.files]

    with ThreadPoolExecutor(3) as pool:
        reports = [report for reports in pool.map(work, range(3)) for report in reports]
    assert sequence_numbers(lake.tables(), PINGS, BODIES) == EVERY_EVENT
    commits = [(report.file, table) for report in reports for table in report.rows]
    assert sorted(commits) == sorted((path, str(table)) for path in FILES.files for table in TABLES)
    assert sorted(lake.tables().scan(CAPTURES).collect()["source_file"]) == sorted(FILES.files)


def refine_stubbornly(tables: DeltaTables, path: str) -> RefineReport:
    """As the trigger does: a transient fault is tried again."""
    for _ in range(5):
        with suppress(LakeUnavailable):
            return refiner(tables, FILES, HERE).refine(path)
    return refiner(tables, FILES, HERE).refine(path)


class Dying(DeltaTables):
    """A worker that dies before its commit number `commits`, or right after it, before it hears of it."""

    def __init__(self, lake: Lake, commits: int, *, after: bool) -> None:
        super().__init__(lake.storage, remembered=REMEMBERED)
        self.left, self.after = commits, after

    def commit_file(self, table: Table, file: str, parts: Sequence[Part]) -> bool:
        if self.left == 0 and not self.after:
            raise LakeUnavailable("dies before the commit")
        done = super().commit_file(table, file, parts)
        if self.left == 0:
            raise LakeUnavailable("dies after the commit")
        self.left -= 1
        return done


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("commits", [0, 1, 2, 3])
def test_a_death_around_any_commit_is_made_good_by_the_redelivery(lake: Lake, commits: int, after: bool):
    path = at(NOON)
    with pytest.raises(LakeUnavailable):
        refiner(Dying(lake, commits, after=after), FILES, HERE).refine(path)
    assert lake.tables().has_file(CAPTURES, path) == (after and commits == 3)
    refiner(lake.tables(), FILES, HERE).refine(path)
    assert sequence_numbers(lake.tables(), PINGS, BODIES) == [event for event in EVERY_EVENT if event[0] == path]
    assert lake.tables().scan(GPS_ENRICHED).collect().height == 20
    assert lake.tables().scan(CAPTURES).collect()["events"].to_list() == [50]


def test_a_silver_table_remembers_a_file_as_long_as_it_says_and_no_longer(disk: Lake):
    tables = disk.tables()
    refiner(tables, FILES, HERE).refine(at(NOON))
    day_ms, now_ms = 86_400_000, round(datetime.now(UTC).timestamp() * 1000)
    delta = disk.delta(PINGS)
    for days in (20, REMEMBERED.days - 1, REMEMBERED.days + 1):
        transaction = Transaction(f"{days} days ago", 1, now_ms - days * day_ms)
        write_deltalake(
            delta, PINGS.empty(), mode="append", commit_properties=CommitProperties(app_transactions=[transaction])
        )
    known = [tables.has_file(PINGS, f"{days} days ago") for days in (20, REMEMBERED.days - 1, REMEMBERED.days + 1)]
    assert known == [True, True, False]


def test_what_silver_has_may_be_forgotten_and_what_gold_has_seen_may_not(disk: Lake):
    refiner(disk.tables(), FILES, HERE).refine(at(NOON))
    builder(disk.tables()).build()
    assert [action["appId"] for action in transactions(disk, PINGS) if action["lastUpdated"]] == [at(NOON)]
    assert {action["lastUpdated"] for action in transactions(disk, BY_HOUR.table)} == {None}


def transactions(lake: Lake, table: Table) -> list[dict[str, object]]:
    """The application transactions of the table's first commit of rows."""
    lines = Path(lake.storage.location(table), "_delta_log", f"{1:020d}.json").read_text().splitlines()
    found = [json.loads(line).get("txn") for line in lines]
    return [{"lastUpdated": None} | action for action in found if action]


def test_a_longer_memory_is_set_on_tables_that_exist(disk: Lake):
    refiner(disk.tables(), FILES, HERE).refine(at(NOON))
    longer = DeltaTables(disk.storage, remembered=timedelta(days=97))
    assert longer.has_file(PINGS, at(NOON))
    assert disk.delta(PINGS).metadata().configuration["delta.setTransactionRetentionDuration"] == "interval 97 days"


def test_rows_that_do_not_fit_in_memory_are_committed_as_one(disk: Lake):
    many = FakeCaptures({at(NOON): file_of(*(ping(row) for row in range(500)))}, frame_rows=50)
    frugal = DeltaTables(disk.storage, remembered=REMEMBERED, most_bytes_in_memory=1000)
    refiner(frugal, many, HERE).refine(at(NOON))
    pings = disk.tables().scan(PINGS).collect()
    assert pings["sequence_number"].sort().to_list() == list(range(500))
    assert (disk.delta(PINGS).version(), len(disk.delta(PINGS).file_uris())) == (1, 10)


# Bronze


def test_a_capture_file_is_streamed_from_its_container(azurite: AzuriteServer, disk: Lake):
    service, container = blob_service(Connection("LakeStorage", azurite.connection_string)), unique("bronze")
    service.create_container(container)
    service.get_blob_client(container, at(NOON)).upload_blob(MIXED)
    captures = CaptureContainer(service, container)
    assert refiner(disk.tables(), captures, HERE).refine(at(NOON)).events == 50
    (entry,) = disk.tables().scan(CAPTURES).collect().rows(named=True)
    blob = service.get_blob_client(container, at(NOON)).get_blob_properties()
    assert (entry["bytes"], entry["captured_at"]) == (len(MIXED), blob.last_modified)
    for read in (lambda path: list(captures.frames(path)), captures.properties):
        with pytest.raises(CaptureFileUnreadable, match="is not there"):
            read(at(NOON + timedelta(hours=1)))


def test_bronze_that_does_not_answer_is_a_transient_fault():
    (port,) = free_ports(1)
    connection = f"AccountName=a;AccountKey=aaaa;BlobEndpoint=http://127.0.0.1:{port}/a;"
    captures = CaptureContainer(blob_service(Connection("LakeStorage", connection)), "bronze")
    for read in (lambda path: list(captures.frames(path)), captures.properties):
        with pytest.raises(LakeUnavailable, match=at(NOON)):
            read(at(NOON))


# Our tables, and nobody else's features


def test_every_table_is_created_with_our_protocol_properties_and_schema(lake: Lake):
    tables = lake.tables()
    for path in FILES.files:
        refiner(tables, FILES, HERE).refine(path)
    for table in (STORE_VERSIONS, PROMOTION_VERSIONS):
        tables.append_once(table, "reference:v1:0", table.empty())
    GoldBuilder(tables).build()
    remembered = {"delta.setTransactionRetentionDuration": "interval 37 days"}
    for table in LAKE_TABLES:
        delta = lake.delta(table)
        assert (delta.protocol().min_reader_version, delta.protocol().min_writer_version) == (1, 2)
        assert delta.protocol().reader_features is None
        assert delta.metadata().name == str(table)
        assert delta.metadata().configuration == ({} if table.layer is Layer.GOLD else remembered)
        assert delta.metadata().partition_columns == ([table.partition_by] if table.partition_by else [])
        types = {field.name: str(field.type.type) for field in delta.schema().fields}
        assert list(types) == table.schema.names()
        assert set(types.values()) <= {"string", "long", "double", "boolean", "binary", "date", "timestamp"}
        assert tables.scan(table).collect().schema == table.schema
    assert tables.problems() == []


def test_a_feature_that_somebody_else_turned_on_is_named(disk: Lake):
    tables = disk.tables()
    refiner(tables, FILES, HERE).refine(at(NOON))
    delta = disk.delta(PINGS)
    delta.alter.add_feature(TableFeatures.DeletionVectors, allow_protocol_versions_increase=True)
    (problem,) = tables.problems()
    assert problem.startswith("silver.pings asks for reader version 3 and writer version 7 (deletionVectors)")


def test_a_table_of_fewer_columns_gets_the_new_ones_and_its_old_rows_stay(disk: Lake):
    older = Table(Layer.GOLD, "older", pl.Schema({"event_date": pl.Date, "a": pl.String}), "event_date")
    newer = Table(older.layer, "older", pl.Schema({**older.schema, "b": pl.Int64}), "event_date")
    first = pl.DataFrame({"event_date": [date(2026, 3, 29)], "a": ["old"]})
    second = first.with_columns(a=pl.lit("new"), b=pl.lit(1, pl.Int64))
    for table, rows in ((older, first), (newer, second), (older, first)):
        with disk.tables().append_file(table, unique("file")) as file:
            file.add(rows)
            file.commit()
    assert disk.tables().scan(newer).collect().sort("a", "b").select("a", "b").rows() == [
        ("new", 1),
        ("old", None),
        ("old", None),
    ]
    assert [field.name for field in disk.delta(newer).schema().fields] == ["event_date", "a", "b"]


def test_a_column_of_a_type_that_a_lake_table_may_not_hold_is_refused(disk: Lake):
    table = Table(Layer.GOLD, "odd", pl.Schema({"a": pl.Duration("us")}), None)
    with pytest.raises(TypeError, match=r"gold.odd.a is Duration.* a lake table may hold String, Int64"):
        disk.tables().has_file(table, "f")


def test_the_log_gets_a_checkpoint_now_and_then(disk: Lake):
    tables = disk.tables()
    for number in range(101):
        with tables.append_file(GPS_ENRICHED, f"file {number}") as rows:
            assert rows.commit()
    assert Path(disk.storage.location(GPS_ENRICHED), "_delta_log", "_last_checkpoint").exists()
    assert disk.tables().has_file(GPS_ENRICHED, "file 3")


def test_storage_that_does_not_answer_is_a_transient_fault(azurite: AzuriteServer):
    (port,) = free_ports(1)
    connection = azurite.connection_string.replace(f":{azurite.blob_port}/", f":{port}/")
    storage = LakeStorage.in_containers(dict.fromkeys(Layer, "nowhere"), Connection("LakeStorage", connection))
    away = DeltaTables(storage, remembered=REMEMBERED)
    gold = builder(away)
    for use in (lambda: away.has_file(PINGS, "f"), gold.build, away.summaries, lambda: away.scan(PINGS)):
        with pytest.raises(LakeUnavailable, match="Connection refused"):
            use()


@pytest.fixture(name="server")
def _server(tmp_path: Path) -> Iterator[AzuriteServer]:
    """An Azurite that the test may kill."""
    server = AzuriteServer(tmp_path)
    server.start()
    yield server
    server.kill()


def test_storage_that_goes_away_in_the_middle_is_a_transient_fault_and_all_goes_on_when_it_is_back(
    server: AzuriteServer,
):
    containers = {layer: f"lake-{layer}" for layer in Layer}
    with BlobServiceClient.from_connection_string(server.connection_string) as blobs:
        for name in containers.values():
            blobs.create_container(name)
    connection = Connection("LakeStorage", server.connection_string)
    tables = Lake(LakeStorage.in_containers(containers, connection)).tables()

    def commit() -> None:
        with tables.append_file(PINGS, "file") as rows:
            rows.add(some(PINGS, [4]).with_columns(capture_date=pl.lit(NOON.date())))
            server.kill()
            rows.commit()

    def replace() -> None:
        with tables.derived(BY_HOUR.table) as writer:
            server.kill()
            writer.replace(BY_HOUR.table.empty(), {})

    def look_at_changes() -> None:
        with tables.snapshot(PINGS) as snapshot:
            server.kill()
            snapshot.changed("tracked_at", Grain.HOUR, 0)

    append(tables, "first", [1, 2])
    builder(tables).build()
    for work in (commit, replace, look_at_changes):
        with pytest.raises(LakeUnavailable):
            work()
        server.start()
    append(tables, "second", [3])
    builder(tables).build()
    assert_tables_are_what_silver_says(tables)


def append(tables: DeltaTables, file: str, hours: list[int]) -> None:
    with tables.append_file(PINGS, file) as rows:
        rows.add(some(PINGS, hours).with_columns(capture_date=pl.lit(NOON.date())))
        assert rows.commit()


def test_a_container_that_is_missing_is_a_transient_fault_that_names_it(azurite: AzuriteServer):
    connection = Connection("LakeStorage", azurite.connection_string)
    storage = LakeStorage.in_containers(dict.fromkeys(Layer, "missing"), connection)
    with pytest.raises(LakeUnavailable, match="ContainerNotFound"):
        DeltaTables(storage, remembered=REMEMBERED).has_file(PINGS, "f")


def test_summaries_are_of_every_table_whether_it_exists_or_not(lake: Lake):
    tables = lake.tables()
    began = datetime.now(UTC) - timedelta(seconds=5)
    refiner(tables, FILES, HERE).refine(at(NOON))
    summaries = {summary.name: summary for summary in tables.summaries()}
    assert list(summaries) == [str(table) for table in LAKE_TABLES]
    pings, decisions = summaries["silver.pings"], summaries["silver.decisions"]
    assert (pings.rows, pings.files, pings.version) == (40, 1, 1)
    assert pings.changed_at is not None
    assert began < pings.changed_at < datetime.now(UTC) + timedelta(seconds=5)
    assert (decisions.rows, decisions.files, decisions.version, decisions.changed_at) == (0, 0, None, None)

"""The container of reference data on Azurite, and the fake that stands for it: the same tests for both."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from azure.storage.blob import ContainerClient

from shared.adapters.azure_clients import blob_service
from shared.adapters.reference_catalogue import ReferenceContainer
from shared.adapters.reference_files import parse_reference
from shared.errors import ConfigurationError, ReferenceUnavailable
from shared.settings import Connection
from shared.workflows.reference import (
    Catalogue,
    PublishedVersion,
    ReferenceCatalogue,
    ReferenceFiles,
    ReferenceStore,
    StoresFormat,
    publish,
)
from tests.azurite import AzuriteServer
from tests.fakes_reference import MemoryReferenceStore, reference_files

pytestmark = pytest.mark.integration

NOON = 1_800_000_000_000_000
FIRST = PublishedVersion("a" * 12, 0, NOON)
SECOND = PublishedVersion("b" * 12, NOON + 60_000_000, NOON + 1)
FILES = ReferenceFiles(b"stores", b"promotions")
ALL_FILES = ReferenceFiles(b"stores", b"promotions", b"suppressed", StoresFormat.GEOJSON)


@pytest.fixture(name="container")
def _container(azurite: AzuriteServer) -> Iterator[ContainerClient]:
    connection = Connection("LakeStorage", connection_string=azurite.connection_string)
    with blob_service(connection) as service:
        yield service.get_container_client(f"reference-{uuid4().hex}")


@pytest.fixture(name="store", params=["memory", "container"])
def _store(request: pytest.FixtureRequest) -> ReferenceStore:
    if request.param == "memory":
        return MemoryReferenceStore()
    return ReferenceContainer(request.getfixturevalue("container"))


def test_where_nothing_was_published_the_catalogue_is_empty(store: ReferenceStore) -> None:
    assert store.read_catalogue() == Catalogue()


def test_what_was_written_is_read_back(store: ReferenceStore) -> None:
    store.save_files(FIRST.version, FILES)
    assert store.replace_catalogue(store.read_catalogue(), (FIRST,))
    assert store.replace_catalogue(store.read_catalogue(), (FIRST, SECOND))
    assert store.read_catalogue().entries == (FIRST, SECOND)
    assert store.load_files(FIRST.version) == FILES


def test_stores_may_be_geojson_and_devices_suppressed(store: ReferenceStore) -> None:
    store.save_files(SECOND.version, ALL_FILES)
    assert store.load_files(SECOND.version) == ALL_FILES


def test_a_version_whose_name_begins_with_that_of_another_is_another(store: ReferenceStore) -> None:
    store.save_files("abc", FILES)
    store.save_files("abcd", ALL_FILES)
    assert store.load_files("abc") == FILES


def test_an_unchanged_catalogue_is_not_read_twice(store: ReferenceStore) -> None:
    store.save_files(FIRST.version, FILES)
    store.replace_catalogue(Catalogue(), (FIRST,))
    known = store.read_catalogue()
    assert store.read_catalogue(known) is known
    store.replace_catalogue(known, (FIRST, SECOND))
    assert store.read_catalogue(known).entries == (FIRST, SECOND)


def test_of_two_first_writers_one_wins(store: ReferenceStore) -> None:
    store.save_files(FIRST.version, FILES)
    empty = store.read_catalogue()
    assert store.replace_catalogue(empty, (FIRST,))
    assert not store.replace_catalogue(empty, (SECOND,))
    assert store.read_catalogue().entries == (FIRST,)


def test_of_two_later_writers_one_wins(store: ReferenceStore) -> None:
    store.save_files(FIRST.version, FILES)
    store.replace_catalogue(Catalogue(), (FIRST,))
    known = store.read_catalogue()
    assert store.replace_catalogue(known, (FIRST, SECOND))
    assert not store.replace_catalogue(known, (SECOND,))
    assert store.read_catalogue().entries == (FIRST, SECOND)


def test_files_of_a_version_are_never_written_again(store: ReferenceStore) -> None:
    store.save_files(FIRST.version, FILES)
    store.save_files(FIRST.version, ReferenceFiles(b"others", b"others"))
    assert store.load_files(FIRST.version) == FILES


def test_files_that_are_not_there_make_the_version_unavailable(store: ReferenceStore) -> None:
    store.save_files(FIRST.version, FILES)
    with pytest.raises(ReferenceUnavailable, match="in the catalogue and not in"):
        store.load_files(SECOND.version)


def test_publishers_at_the_same_time_all_get_in(store: ReferenceStore) -> None:
    """Each of four is in the catalogue once, in the order in which they are in force."""

    def publish_one(discount: int) -> PublishedVersion:
        files = reference_files(discount)
        return publish(
            files,
            store=store,
            parse=parse_reference,
            clock=lambda: NOON + discount,
            activation_delay_s=60,
            partition_count=4,
        ).entry

    with ThreadPoolExecutor(4) as pool:
        published = list(pool.map(publish_one, range(1, 5)))
    entries = store.read_catalogue().entries
    assert sorted(entry.version for entry in entries) == sorted(entry.version for entry in published)
    assert [entry.active_from_us for entry in entries] == sorted(entry.active_from_us for entry in entries)


def test_a_worker_decides_with_what_was_published(store: ReferenceStore) -> None:
    files = reference_files(10)
    entry = publish(
        files, store=store, parse=parse_reference, clock=lambda: NOON, activation_delay_s=60, partition_count=4
    ).entry
    worker = ReferenceCatalogue(store, parse_reference, lambda: NOON)
    worker.refresh(NOON)
    assert worker.version_for(NOON).version == entry.version


def test_a_worker_decides_with_the_polygons_and_the_opted_out_devices_that_were_published(
    store: ReferenceStore,
) -> None:
    ring = [[-0.1, 51.5], [-0.099, 51.5], [-0.099, 51.501], [-0.1, 51.5]]
    properties = {"name": "n", "merchant": "m", "service_type": "s", "location": "l"}
    mall = {"type": "Feature", "id": "mall", "properties": properties}
    mall["geometry"] = {"type": "Polygon", "coordinates": [ring]}
    stores = json.dumps({"type": "FeatureCollection", "features": [mall]}).encode()
    files = ReferenceFiles(stores, reference_files(10).promotions, b"device_id\nann\n", StoresFormat.GEOJSON)
    publish(files, store=store, parse=parse_reference, clock=lambda: NOON, activation_delay_s=60, partition_count=4)
    reference = ReferenceCatalogue(store, parse_reference, lambda: NOON).version_for(NOON)
    assert reference.suppressed == {"ann"}
    assert [list(polygon.exterior.coords) for polygon in reference.stores.polygons.values()] == [
        [tuple(position) for position in ring]
    ]


def test_the_container_shows_people_what_is_in_force_when(container: ContainerClient) -> None:
    store = ReferenceContainer(container)
    publish(
        reference_files(10),
        store=store,
        parse=parse_reference,
        clock=lambda: NOON,
        activation_delay_s=60,
        partition_count=4,
    )
    (line,) = json.loads(container.download_blob("catalogue.json").readall())
    assert line["active_from"] == "1970-01-01T00:00:00Z"
    assert line["published_at"] == "2027-01-15T08:00:00Z"
    folder = f"versions/{line['version']}"
    names = sorted(blob.name for blob in container.list_blobs())
    assert names == ["catalogue.json", f"{folder}/promotions.json", f"{folder}/stores.csv"]


def test_a_version_without_suppressed_devices_has_no_such_file_and_one_with_them_names_it(
    container: ContainerClient,
) -> None:
    store = ReferenceContainer(container)
    store.save_files(FIRST.version, FILES)
    store.save_files(SECOND.version, ALL_FILES)
    names = [blob.name.removeprefix("versions/") for blob in container.list_blobs()]
    assert names == [
        f"{FIRST.version}/promotions.json",
        f"{FIRST.version}/stores.csv",
        f"{SECOND.version}/promotions.json",
        f"{SECOND.version}/stores.geojson",
        f"{SECOND.version}/suppressed.csv",
    ]


def test_a_version_of_which_a_file_is_missing_is_unavailable_and_the_file_named(container: ContainerClient) -> None:
    store = ReferenceContainer(container)
    store.save_files(FIRST.version, FILES)
    container.delete_blob(f"versions/{FIRST.version}/promotions.json")
    with pytest.raises(ReferenceUnavailable, match=rf"versions/{FIRST.version}/promotions\.json is in the catalogue"):
        store.load_files(FIRST.version)


def test_a_catalogue_that_somebody_wrote_by_hand_is_unavailable_with_the_reason(container: ContainerClient) -> None:
    container.create_container()
    container.upload_blob("catalogue.json", b'[{"version": 1}]')
    with pytest.raises(ReferenceUnavailable, match=r"Expected `str`, got `int` - at `\$\[0\]\.version`"):
        ReferenceContainer(container).read_catalogue()


def signed(endpoint: str) -> Connection:
    """A connection with a signature that no account gave."""
    signature = "sv=2021-10-04&sig=none"
    return Connection("LakeStorage", connection_string=f"BlobEndpoint={endpoint};SharedAccessSignature={signature}")


def test_storage_that_does_not_answer_makes_the_reference_data_unavailable() -> None:
    store = ReferenceContainer.of(blob_service(signed("http://127.0.0.1:9/devstoreaccount1")), "reference")
    with pytest.raises(ReferenceUnavailable, match=r"no answer from the storage .* catalogue\.json"):
        store.read_catalogue()


def test_storage_that_refuses_the_identity_names_the_role_that_is_missing(azurite: AzuriteServer) -> None:
    endpoint = f"http://127.0.0.1:{azurite.blob_port}/devstoreaccount1"
    with blob_service(signed(endpoint)) as service, pytest.raises(ConfigurationError, match="Storage Blob Data Reader"):
        ReferenceContainer.of(service, "reference").read_catalogue()

"""Both files together: one version, or every fault of both."""

import csv
import gzip
import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.adapters.reference_files import parse_reference, read_reference_files, version_of
from shared.errors import ReferenceRefused
from shared.workflows.reference import ReferenceFiles, StoresFormat

STORES = b"store_id,name,merchant,service_type,location,latitude,longitude,radius_m\n1,n,Tesco,s,l,51.5,-0.1,80\n"
PROMOTIONS = json.dumps(
    {"promotions": [{"promotion_id": "p", "discount_percent": 5, "message": "m", "stores": {"merchants": ["Tesco"]}}]}
).encode()


FILES = ReferenceFiles(STORES, PROMOTIONS)


def test_files_without_fault_are_one_version_of_reference_data() -> None:
    reference = parse_reference(FILES)
    assert reference.version == version_of(FILES.by_name)
    assert reference.stores.store_id == ("1",)
    assert [promotion.promotion_id for promotion in reference.promotions] == ["p"]
    assert (reference.suppressed, reference.require_consent) == (frozenset(), False)


def test_the_devices_that_opted_out_and_whether_consent_is_needed_are_in_the_version() -> None:
    promotions = PROMOTIONS.replace(b"{", b'{"contact_policy": {"require_consent": true}, ', 1)
    reference = parse_reference(ReferenceFiles(STORES, promotions, b"device_id\nann\n"))
    assert (reference.suppressed, reference.require_consent) == ({"ann"}, True)


def test_stores_may_come_as_geojson() -> None:
    properties = {"store_id": "1", "name": "n", "merchant": "Tesco", "service_type": "s", "location": "l", "radius": 80}
    point = {"type": "Point", "coordinates": [-0.1, 51.5]}
    feature = {"type": "Feature", "geometry": point, "properties": properties}
    stores = json.dumps({"type": "FeatureCollection", "features": [feature]}).encode()
    found = parse_reference(ReferenceFiles(stores, PROMOTIONS, stores_format=StoresFormat.GEOJSON)).stores
    same = parse_reference(FILES).stores
    assert (found.store_id, found.merchant, found.time_zone) == (same.store_id, same.merchant, same.time_zone)
    assert (found.latitude[0], found.longitude[0], found.radius_m[0]) == (51.5, -0.1, 80)


def test_the_faults_of_all_files_are_listed_at_once() -> None:
    files = ReferenceFiles(STORES.replace(b"80", b"8"), PROMOTIONS.replace(b"Tesco", b"Tesko"), b"id\n")
    with pytest.raises(ReferenceRefused) as refused:
        parse_reference(files)
    assert refused.value.faults == (
        "stores.csv line 2, radius_m: 8 is out of range 10..10000",
        "promotions.json $.promotions[0].stores.merchants[0]: no store has the merchant 'Tesko'",
        "suppressed.csv line 1: the header is 'id'; it must be 'device_id'",
    )


@pytest.mark.parametrize(
    ("stores", "stores_format"),
    [
        (b"\xff", StoresFormat.CSV),
        (STORES.splitlines()[0], StoresFormat.CSV),
        (b"\xff", StoresFormat.GEOJSON),
        (b"[]", StoresFormat.GEOJSON),
        (b'{"type": "FeatureCollection", "features": []}', StoresFormat.GEOJSON),
    ],
)
def test_promotions_are_not_blamed_for_stores_of_which_none_could_be_read(
    stores: bytes, stores_format: StoresFormat
) -> None:
    with pytest.raises(ReferenceRefused) as refused:
        parse_reference(ReferenceFiles(stores, PROMOTIONS, stores_format=stores_format))
    (fault,) = refused.value.faults
    assert fault.startswith(stores_format)


def test_faults_of_the_suppressed_devices_alone_refuse_the_version() -> None:
    with pytest.raises(ReferenceRefused, match=r"suppressed\.csv line 1"):
        parse_reference(ReferenceFiles(STORES, PROMOTIONS, b"id\n"))


def test_the_version_is_twelve_hex_digits_that_never_change_for_the_same_files() -> None:
    assert version_of(ReferenceFiles(b"stores", b"promotions").by_name) == "d41cceccd891"
    assert version_of(ReferenceFiles(b"stores", b"promotions", b"suppressed").by_name) == "2a866b881bf9"


SOME_FILES = st.builds(
    ReferenceFiles,
    st.binary(max_size=3),
    st.binary(max_size=3),
    st.none() | st.binary(max_size=3),
    st.sampled_from(StoresFormat),
)


@given(SOME_FILES, SOME_FILES)
@settings(max_examples=200, deadline=None)
def test_other_files_are_another_version_also_when_bytes_move_from_one_to_the_other(
    files: ReferenceFiles, others: ReferenceFiles
) -> None:
    assert (version_of(files.by_name) == version_of(others.by_name)) == (files == others)


@given(SOME_FILES)
@settings(max_examples=50, deadline=None)
def test_files_by_name_say_all_that_the_files_are(files: ReferenceFiles) -> None:
    assert ReferenceFiles.from_names(files.by_name) == files


@pytest.mark.parametrize(("name", "stores_format"), [("a.csv", "CSV"), ("a.GeoJSON", "GEOJSON"), ("a.json", "GEOJSON")])
def test_the_ending_of_a_name_tells_the_format_of_the_stores(name: str, stores_format: str, tmp_path: Path) -> None:
    for file, data in ((name, b"s"), ("p.json", b"p"), ("o.csv", b"o")):
        (tmp_path / file).write_bytes(data)
    files = read_reference_files(tmp_path / name, tmp_path / "p.json", tmp_path / "o.csv")
    assert files == ReferenceFiles(b"s", b"p", b"o", StoresFormat[stores_format])
    assert read_reference_files(tmp_path / name, tmp_path / "p.json").suppressed is None


def test_a_name_with_another_ending_is_refused_with_those_that_are_valid(tmp_path: Path) -> None:
    with pytest.raises(ReferenceRefused, match=r"a\.xlsx: .* valid endings are \.csv, \.geojson, \.json"):
        read_reference_files(tmp_path / "a.xlsx", tmp_path / "p.json")


@pytest.mark.realdata
@pytest.mark.slow
def test_all_food_premises_of_the_united_kingdom_are_one_version(real_data: Path) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("store_id", "name", "merchant", "service_type", "location", "latitude", "longitude", "radius_m"))
    with gzip.open(real_data / "fhrs_uk" / "fhrs_uk_2015.csv.gz", "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            place = row["authority_file"], row["latitude"], row["longitude"]
            writer.writerow((row["row_id"], row["businessname"], "Tesco", "Food", *place, 100))
    reference = parse_reference(ReferenceFiles(text.getvalue().encode(), PROMOTIONS))
    assert len(reference.stores) == 437_379
    assert reference.index.match(reference.stores.latitude[:1], reference.stores.longitude[:1]).inside.any()

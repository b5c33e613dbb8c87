"""Both files together: one version, or every fault of both."""

import csv
import gzip
import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.adapters.reference_files import parse_reference, version_of
from shared.errors import ReferenceRefused

STORES = b"store_id,name,merchant,service_type,location,latitude,longitude,radius_m\n1,n,Tesco,s,l,51.5,-0.1,80\n"
PROMOTIONS = json.dumps(
    {"promotions": [{"promotion_id": "p", "discount_percent": 5, "message": "m", "stores": {"merchants": ["Tesco"]}}]}
).encode()


def test_two_files_without_fault_are_one_version_of_reference_data() -> None:
    reference = parse_reference(STORES, PROMOTIONS)
    assert reference.version == version_of(STORES, PROMOTIONS)
    assert reference.stores.store_id == ("1",)
    assert [promotion.promotion_id for promotion in reference.promotions] == ["p"]


def test_the_faults_of_both_files_are_listed_at_once() -> None:
    with pytest.raises(ReferenceRefused) as refused:
        parse_reference(STORES.replace(b"80", b"8"), PROMOTIONS.replace(b"Tesco", b"Tesko"))
    assert refused.value.faults == (
        "stores.csv line 2, radius_m: 8 is out of range 10..10000",
        "promotions.json $.promotions[0].stores.merchants[0]: no store has the merchant 'Tesko'",
    )


def test_the_version_is_twelve_hex_digits_that_never_change_for_the_same_bytes() -> None:
    assert version_of(b"stores", b"promotions") == "a52cdd7a7647"


@given(st.binary(max_size=4), st.binary(max_size=4), st.binary(max_size=4), st.binary(max_size=4))
@settings(max_examples=200, deadline=None)
def test_other_files_are_another_version_also_when_bytes_move_from_one_to_the_other(
    stores: bytes, promotions: bytes, other_stores: bytes, other_promotions: bytes
) -> None:
    same = (stores, promotions) == (other_stores, other_promotions)
    assert (version_of(stores, promotions) == version_of(other_stores, other_promotions)) == same


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
    reference = parse_reference(text.getvalue().encode(), PROMOTIONS)
    assert len(reference.stores) == 437_379
    assert reference.index.match(reference.stores.latitude[:1], reference.stores.longitude[:1]).inside.any()

"""What docs/promotions.md and docs/stores.md show and say is what the code does."""

import json
import re
from pathlib import Path

import msgspec
import pytest

from shared.adapters.promotions_format import ContactPolicyEntry, PresenceEntry, PromotionEntry, PromotionsFile
from shared.adapters.reference_files import parse_reference
from shared.adapters.stores_file import COLUMNS
from shared.adapters.suppressed_file import read_suppressed
from shared.domain.decision import DecisionReason
from shared.domain.reference_warnings import warnings_of
from shared.workflows.reference import ReferenceFiles, StoresFormat

DOCS = Path(__file__).parents[3] / "docs"
PROMOTIONS = (DOCS / "promotions.md").read_text(encoding="utf-8")
STORES = (DOCS / "stores.md").read_text(encoding="utf-8")
JUNE_2026_US = 1_780_300_000_000_000


def blocks(page: str, language: str) -> list[str]:
    """The examples of a page in that language."""
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def section(page: str, title: str) -> str:
    """What stands below a heading, to the next one of whatever depth."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", page, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


def rows(text: str) -> list[tuple[str, str]]:
    """The names in the first cells of a table, and the cells beside them."""
    return re.findall(r"^\| `(\w+)` \| ([^|]+) \|", text, re.MULTILINE)


(STORES_CSV,) = blocks(STORES, "csv")
(STORES_GEOJSON,) = blocks(STORES, "json")


@pytest.mark.parametrize("example", blocks(PROMOTIONS, "json"))
def test_every_promotion_in_the_docs_is_valid_for_the_stores_there_and_as_it_is_meant(example: str) -> None:
    document = json.loads(example)
    whole = document if "promotions" in document else {"promotions": [document]}
    reference = parse_reference(ReferenceFiles(STORES_CSV.encode(), json.dumps(whole).encode()))
    assert reference.selection.any(axis=1).all()
    assert list(warnings_of(reference, partition_count=32, now_us=JUNE_2026_US)) == []


def test_the_map_in_the_docs_is_valid_and_has_a_circle_and_a_polygon_with_a_hole() -> None:
    files = ReferenceFiles(STORES_GEOJSON.encode(), b'{"promotions": []}', stores_format=StoresFormat.GEOJSON)
    stores = parse_reference(files).stores
    assert stores.store_id == ("costa-1", "mall-3")
    assert len(stores.polygons[1].interiors) == 1
    assert 200 < stores.radius_m[1] < 300


def test_a_store_that_is_in_the_table_and_on_the_map_of_the_docs_is_the_same() -> None:
    promotions = b'{"promotions": []}'
    table = parse_reference(ReferenceFiles(STORES_CSV.encode(), promotions)).stores
    chart = parse_reference(
        ReferenceFiles(STORES_GEOJSON.encode(), promotions, stores_format=StoresFormat.GEOJSON)
    ).stores
    for column in ("store_id", "name", "merchant", "service_type", "location", "latitude", "longitude", "radius_m"):
        assert getattr(table, column)[0] == getattr(chart, column)[0]


def test_the_devices_that_opted_out_in_the_docs_are_read() -> None:
    (example,) = blocks(PROMOTIONS, "csv")
    assert read_suppressed(example.encode()) == ({"phone-1", "phone-2"}, [])


def test_the_docs_list_every_column_of_the_table_in_order() -> None:
    named = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| (yes|no) \|", section(STORES, "As a table"), re.MULTILINE)
    columns = {column: needed for cell, needed in named for column in re.findall(r"\w+", cell)}
    assert tuple(columns) == COLUMNS
    assert [column for column, needed in columns.items() if needed == "no"] == ["loitering_delay_s", "time_zone"]


def test_the_docs_list_every_field_of_a_promotion_and_whether_it_is_needed() -> None:
    fields = msgspec.structs.fields(PromotionEntry)
    listed = rows(section(PROMOTIONS, "A promotion"))
    assert listed == [(one.encode_name, "yes" if one.required else "no") for one in fields]


@pytest.mark.parametrize(("title", "struct"), [("The contact policy", ContactPolicyEntry), ("Presence", PresenceEntry)])
def test_the_docs_list_every_parameter_with_its_default(title: str, struct: type[msgspec.Struct]) -> None:
    listed = {name: cell.partition(" (")[0].strip("`") for name, cell in rows(section(PROMOTIONS, title))}
    defaults = {one.encode_name: one.default for one in msgspec.structs.fields(struct)}
    assert {name: json.loads(cell) for name, cell in listed.items()} == defaults
    assert list(listed) == list(defaults)


def test_the_docs_list_every_reason_in_the_order_of_the_checks() -> None:
    listed = [name for name, _ in rows(section(PROMOTIONS, "Which offer, and why not"))]
    assert listed == [reason.value for reason in DecisionReason]


def test_the_parts_of_the_file_are_those_that_the_docs_explain() -> None:
    assert [one.encode_name for one in msgspec.structs.fields(PromotionsFile)] == [
        "promotions",
        "contact_policy",
        "presence",
        "$schema",
    ]

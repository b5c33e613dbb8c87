"""promotions.json: what is read from it, and every fault by path."""

import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.adapters.promotions_file import json_schema, read_promotions
from shared.domain.promotions import ContactPolicy, PresenceParameters, StoreSelector
from shared.domain.stores import StoreTable

STORES = StoreTable(
    store_id=("1", "2", "3"),
    name=("a", "b", "c"),
    merchant=("Tesco", "Costa", "Costa"),
    service_type=("Retail", "Coffee", "Coffee"),
    location=("Camden", "Camden", "Lambeth"),
    latitude=np.array([51.5, 51.51, 51.52]),
    longitude=np.array([-0.1, -0.11, -0.12]),
    radius_m=np.array([80.0, 80.0, 80.0]),
    loitering_delay_s=np.array([180.0, 180.0, 180.0]),
    time_zone=("Europe/London",) * 3,
)
COLUMNS = {"store_id": STORES.store_id, "merchant": STORES.merchant, "service_type": STORES.service_type}


def promotion(**changes: object) -> dict[str, object]:
    """A promotion without fault, but for the changes; a change to None takes the field away."""
    entry = {"promotion_id": "p", "discount_percent": 20, "message": "20 % off", "stores": "all"} | changes
    return {name: value for name, value in entry.items() if value is not None}


def faults(document: object, columns: Mapping[str, Any] = COLUMNS, stores: StoreTable | None = STORES) -> list[str]:
    """The faults of that document, without the file's name."""
    found = read_promotions(json.dumps(document).encode(), stores, columns)[1]
    return [fault.removeprefix("promotions.json ") for fault in found]


def faults_in(**changes: object) -> list[str]:
    """The faults of a file with one promotion, which has these changes."""
    return faults({"promotions": [promotion(**changes)]})


def test_a_promotion_becomes_the_domains() -> None:
    document = {
        "promotions": [
            promotion(
                stores={"merchants": ["Costa"], "service_types": ["Coffee"]},
                starts_at="2026-06-01T01:00:00+01:00",
                ends_at="2026-06-01T00:00:01.5Z",
            )
        ],
        "contact_policy": {"cooldown_s": 60, "max_ping_age_s": 30},
        "presence": {"exit_margin_m": 5, "max_accuracy_m": 50},
    }
    campaigns, found = read_promotions(json.dumps(document).encode(), STORES, COLUMNS)
    assert found == []
    assert campaigns is not None
    (read,) = campaigns.promotions
    assert (read.promotion_id, read.discount_percent, read.message) == ("p", 20.0, "20 % off")
    assert read.stores == StoreSelector(merchants=frozenset({"Costa"}), service_types=frozenset({"Coffee"}))
    assert (read.starts_at_us, read.ends_at_us) == (1_780_272_000_000_000, 1_780_272_001_500_000)
    assert campaigns.contact_policy == ContactPolicy(cooldown_s=60, max_ping_age_s=30)
    assert campaigns.presence == PresenceParameters(exit_margin_m=5, max_accuracy_m=50)


def test_what_is_not_said_is_the_default_and_all_stores_means_no_condition() -> None:
    campaigns, _ = read_promotions(json.dumps({"promotions": [promotion()]}).encode(), STORES, COLUMNS)
    assert campaigns is not None
    assert campaigns.promotions[0].stores == StoreSelector()
    assert (campaigns.contact_policy, campaigns.presence) == (ContactPolicy(), PresenceParameters())


def test_no_promotion_at_all_is_a_choice_that_one_may_make() -> None:
    assert faults({"promotions": []}) == []


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"discount_percent": 0}, ".discount_percent: 0 is refused: Expected `float` > 0.0"),
        ({"discount_percent": 101}, ".discount_percent: 101 is refused: Expected `float` <= 100.0"),
        ({"discount_percent": "20"}, ".discount_percent: '20' is refused: Expected `float`, got `str`"),
        ({"discount_percent": True}, ".discount_percent: True is refused: Expected `float`, got `bool`"),
        ({"promotion_id": ""}, ".promotion_id: '' is refused: Expected `str` of length >= 1"),
        ({"message": None}, ": the field message is missing"),
        (
            {"hue": 1},
            ": unknown field 'hue'; allowed are promotion_id, discount_percent, message, stores, starts_at, ends_at",
        ),
        (
            {"starts_at": "2026-06-01T09:00:00"},
            ".starts_at: '2026-06-01T09:00:00' is refused: Expected `datetime` with a timezone component",
        ),
        ({"ends_at": "tomorrow"}, ".ends_at: 'tomorrow' is refused: Invalid RFC3339 encoded datetime"),
        (
            {"stores": "some"},
            """.stores: 'some' is refused: Expected "all" or an object with store_ids, merchants, service_types""",
        ),
        (
            {"stores": {}},
            """.stores: has no condition; give store_ids, merchants, service_types, or write "all" instead""",
        ),
        ({"stores": {"merchants": []}}, ".stores.merchants: [] is refused: Expected `array` of length >= 1"),
        ({"stores": {"merchants": ["Tesko"]}}, ".stores.merchants[0]: no store has the merchant 'Tesko'"),
        ({"stores": {"store_ids": ["1", "9"]}}, ".stores.store_ids[1]: no store has the store_id '9'"),
        ({"stores": {"service_types": ["Bank"]}}, ".stores.service_types[0]: no store has the service_type 'Bank'"),
        (
            {"stores": {"merchants": ["Tesco"], "service_types": ["Coffee"]}},
            ".stores: no store satisfies all its conditions",
        ),
        (
            {"starts_at": "2026-06-01T09:00:00Z", "ends_at": "2026-06-01T10:00:00+01:00"},
            ".ends_at: 2026-06-01T10:00:00+01:00 is not after starts_at",
        ),
    ],
)
def test_a_fault_names_its_path_its_value_and_what_is_valid(changes: dict[str, object], fault: str) -> None:
    assert faults_in(**changes) == [f"$.promotions[0]{fault}"]


def test_all_faults_of_a_file_are_listed() -> None:
    document = {
        "promotions": [promotion(discount_percent=0, message=7), 5, promotion(), promotion(stores={"store_ids": [""]})],
        "contact_policy": {"cooldown_s": -1, "quiet": True},
        "presence": [],
        "budget": 5,
    }
    assert [fault.partition(":")[0] for fault in faults(document)] == [
        "$",
        "$.promotions[0].discount_percent",
        "$.promotions[0].message",
        "$.promotions[1]",
        "$.promotions[3].stores.store_ids[0]",
        "$.contact_policy",
        "$.contact_policy.cooldown_s",
        "$.presence",
    ]


def test_faults_between_promotions_are_listed_beside_those_within_them() -> None:
    document = {"promotions": [promotion(), promotion(discount_percent=-1), promotion()]}
    assert faults(document) == [
        "$.promotions[1].discount_percent: -1 is refused: Expected `float` > 0.0",
        "$.promotions[2].promotion_id: 'p' is also that of $.promotions[0]",
    ]


def test_a_selector_is_not_blamed_for_a_faulty_stores_file() -> None:
    document = {"promotions": [promotion(stores={"merchants": ["Tesco"], "service_types": ["Coffee"]})]}
    assert faults(document, stores=None) == []
    assert faults(document, columns={}, stores=None) == []


def test_no_cooldown_outlives_the_state_of_a_device() -> None:
    assert faults({"promotions": [], "contact_policy": {"cooldown_s": 8 * 86_400}}) == []
    assert faults({"promotions": [], "contact_policy": {"cooldown_s": 8 * 86_400 + 1}}) != []


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "line 1 column 1: is no JSON: Expecting value"),
        (b'{"promotions": [\n{]}', "line 2 column 2: is no JSON: Expecting property name enclosed in double quotes"),
        (b'{"promotions": [], "promotions": []}', "$: the key 'promotions' is given twice in one object"),
        (b'{"presence": {"exit_margin_m": NaN}}', "$: NaN is no number in JSON"),
        (b"[]", "$: expected an object with promotions, contact_policy, presence, $schema"),
        (b'{"promotions": "\xff"}', "byte 16: is not UTF-8"),
        (b'{"a": "x\\ud800"}', "$: '\\ud800' is half a surrogate pair, which is no character"),
        (b"[" * 200_000, "$: is nested too deeply"),
    ],
)
def test_what_is_no_json_object_is_refused_with_its_place(data: bytes, fault: str) -> None:
    assert read_promotions(data, STORES, COLUMNS) == (None, [f"promotions.json {fault}"])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("promotion_id", "discount_percent", "message", "stores", "starts_at", "ends_at", "store_ids", "merchants")
NEARLY = st.dictionaries(st.sampled_from(FIELDS), JSON)


@given(st.binary() | st.builds(lambda entries: json.dumps({"promotions": entries}).encode(), st.lists(NEARLY) | JSON))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_promotions_or_faults_and_never_an_exception(data: bytes) -> None:
    campaigns, found = read_promotions(data, STORES, COLUMNS)
    assert (campaigns is None) == bool(found)


def test_the_json_schema_in_the_repository_is_the_one_that_the_types_generate() -> None:
    kept = resources.files("shared.adapters").joinpath("promotions.schema.json").read_text(encoding="utf-8")
    assert json.loads(kept) == json_schema()

"""promotions.json: what is read from it, and every fault by path."""

import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.adapters.promotions_file import Campaigns, read_promotions
from shared.adapters.promotions_format import json_schema
from shared.domain.local_time import ALL_DAYS, DayWindow, WeeklyHours, Window
from shared.domain.promotions import ContactPolicy, PresenceParameters, StoreSelector, Transition
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
PROMOTION_FIELDS = (
    *("promotion_id", "discount_percent", "message", "stores", "starts_at", "ends_at", "hours", "trigger", "priority"),
    *("holdout_percent", "max_offers", "contact_policy"),
)
OWN_POLICY_FIELDS = ("cooldown_s", "daily_cap", "min_gap_s", "quiet_hours", "max_ping_age_s")
AN_INSTANT = "expected a date, a time and its offset, such as 2026-06-01T09:00:00+01:00"
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
    }
    campaigns, found = read_promotions(json.dumps(document).encode(), STORES, COLUMNS)
    assert found == []
    assert campaigns is not None
    (read,) = campaigns.promotions
    assert (read.promotion_id, read.discount_percent, read.message) == ("p", 20.0, "20 % off")
    assert read.stores == StoreSelector(merchants=frozenset({"Costa"}), service_types=frozenset({"Coffee"}))
    assert (read.starts_at_us, read.ends_at_us) == (1_780_272_000_000_000, 1_780_272_001_500_000)


def read(document: object) -> Campaigns:
    """What is read from a document without fault."""
    campaigns, found = read_promotions(json.dumps(document).encode(), STORES, COLUMNS)
    assert found == []
    assert campaigns is not None
    return campaigns


def test_how_a_promotion_is_given_becomes_the_domains() -> None:
    (given,) = read(
        {"promotions": [promotion(trigger="DWELL", priority=-7, holdout_percent=12.5, max_offers=1000)]}
    ).promotions
    assert given.trigger is Transition.DWELL
    assert (given.priority, given.holdout_percent, given.max_offers) == (-7, 12.5, 1000)


def test_hours_become_windows_of_the_week_and_without_days_they_are_those_of_every_day() -> None:
    hours = [{"days": ["mon", "sun"], "from": "22:30", "to": "02:00"}, {"from": "00:00", "to": "24:00"}]
    (given,) = read({"promotions": [promotion(hours=hours)]}).promotions
    assert given.hours == WeeklyHours(
        (DayWindow(frozenset({0, 6}), Window(1350, 120)), DayWindow(ALL_DAYS, Window(0, 1440)))
    )


def test_the_contact_policy_and_the_presence_parameters_become_the_domains() -> None:
    policy = {"cooldown_s": 60, "daily_cap": None, "min_gap_s": 0, "max_ping_age_s": 30, "require_consent": True}
    policy["quiet_hours"] = {"from": "22:00", "to": "08:00"}
    presence = {"exit_margin_m": 5, "exit_delay_s": 0, "visit_timeout_s": 600, "max_accuracy_m": 50}
    campaigns = read({"promotions": [], "contact_policy": policy, "presence": presence})
    assert campaigns.contact_policy == ContactPolicy(60, None, 0, Window(1320, 480), 30)
    assert campaigns.presence == PresenceParameters(5, 0, 600, 50)
    assert campaigns.require_consent


def test_a_promotion_differs_from_the_contact_policy_in_what_it_says_and_in_nothing_else() -> None:
    policy = {"cooldown_s": 60, "daily_cap": 3, "quiet_hours": {"from": "22:00", "to": "08:00"}}
    own = [
        {"cooldown_s": 0},
        {"daily_cap": None, "quiet_hours": None},
        {"quiet_hours": {"from": "00:00", "to": "06:00"}},
    ]
    entries = [promotion(promotion_id=str(number), contact_policy=one) for number, one in enumerate(own)]
    first, second, third = read({"promotions": entries, "contact_policy": policy}).promotions
    night = Window(1320, 480)
    assert first.policy == ContactPolicy(cooldown_s=0, daily_cap=3, quiet_hours=night)
    assert second.policy == ContactPolicy(cooldown_s=60, daily_cap=None, quiet_hours=None)
    assert third.policy == ContactPolicy(cooldown_s=60, daily_cap=3, quiet_hours=Window(0, 360))


def test_a_promotion_without_a_policy_of_its_own_has_none() -> None:
    (given,) = read({"promotions": [promotion()], "contact_policy": {"cooldown_s": 60}}).promotions
    assert given.policy is None


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
        ({"discount_percent": 0}, ".discount_percent: 0 is refused: expected a number > 0.0"),
        ({"discount_percent": 101}, ".discount_percent: 101 is refused: expected a number <= 100.0"),
        ({"discount_percent": "20"}, '.discount_percent: "20" is refused: expected a number, got a text'),
        ({"discount_percent": True}, ".discount_percent: true is refused: expected a number, got true or false"),
        ({"promotion_id": ""}, '.promotion_id: "" is refused: expected a text of length >= 1'),
        ({"message": None}, ": the field message is missing"),
        (
            {"hue": 1},
            f": unknown field 'hue'; allowed are {', '.join(PROMOTION_FIELDS)}",
        ),
        (
            {"starts_at": "2026-06-01T09:00:00"},
            f'.starts_at: "2026-06-01T09:00:00" is refused: {AN_INSTANT}',
        ),
        (
            {"ends_at": "tomorrow"},
            f'.ends_at: "tomorrow" is refused: {AN_INSTANT}',
        ),
        (
            {"stores": "some"},
            '.stores: "some" is refused: valid are "all" or an object with store_ids, merchants, service_types',
        ),
        (
            {"stores": {}},
            """.stores: has no condition; give store_ids, merchants, service_types, or write "all" instead""",
        ),
        ({"stores": {"merchants": []}}, ".stores.merchants: [] is refused: expected a list of length >= 1"),
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
        ({"trigger": "EXIT"}, '.trigger: "EXIT" is refused: valid are "ENTER", "DWELL"'),
        ({"priority": 1.5}, ".priority: 1.5 is refused: expected a whole number, got a number"),
        ({"priority": 1001}, ".priority: 1001 is refused: expected a whole number <= 1000"),
        ({"holdout_percent": 101}, ".holdout_percent: 101 is refused: expected a number <= 100.0"),
        ({"max_offers": 0}, ".max_offers: 0 is refused: expected a whole number >= 1"),
        ({"hours": []}, ".hours: [] is refused: expected a list of length >= 1"),
        ({"hours": {"from": "09:00"}}, '.hours: {"from": "09:00"} is refused: expected a list or null, got an object'),
        ({"hours": [{"from": "09:00"}]}, ".hours[0]: the field to is missing"),
        (
            {"hours": [{"from": "9:00", "to": "17:00"}]},
            '.hours[0].from: "9:00" is refused: expected a time of the day, such as 09:00',
        ),
        (
            {"hours": [{"from": "24:00", "to": "08:00"}]},
            '.hours[0].from: "24:00" is refused: expected a time of the day, such as 09:00',
        ),
        (
            {"hours": [{"from": "09:00", "to": "24:01"}]},
            '.hours[0].to: "24:01" is refused: expected a time of the day, such as 09:00, or 24:00',
        ),
        (
            {"hours": [{"from": "09:00", "to": "09:00"}]},
            ".hours[0]: ends at 09:00, when it begins; a whole day is from 00:00 to 24:00",
        ),
        (
            {"hours": [{"days": ["mon", "Tue"], "from": "09:00", "to": "17:00"}]},
            '.hours[0].days[1]: "Tue" is refused: valid are "mon", "tue", "wed", "thu", "fri", "sat", "sun"',
        ),
        (
            {"hours": [{"days": ["mon", "sat", "mon"], "from": "09:00", "to": "17:00"}]},
            '.hours[0].days[2]: "mon" is given twice',
        ),
        (
            {"hours": [{"days": [], "from": "09:00", "to": "17:00"}]},
            ".hours[0].days: [] is refused: expected a list of length >= 1",
        ),
        (
            {"contact_policy": {"daily_cap": 101}},
            ".contact_policy.daily_cap: 101 is refused: expected a whole number <= 100",
        ),
        (
            {"contact_policy": {"cooldown_s": None}},
            ".contact_policy.cooldown_s: null is refused: expected a whole number, got null",
        ),
        (
            {"contact_policy": {"require_consent": True}},
            f".contact_policy: unknown field 'require_consent'; allowed are {', '.join(OWN_POLICY_FIELDS)}",
        ),
        (
            {"contact_policy": {"quiet_hours": "night"}},
            '.contact_policy.quiet_hours: "night" is refused: valid are an object with from, to or null',
        ),
        (
            {"contact_policy": {"quiet_hours": {"from": "22:00", "to": "22:00"}}},
            ".contact_policy.quiet_hours: ends at 22:00, when it begins; a whole day is from 00:00 to 24:00",
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
        "$.promotions[2].promotion_id",
        "$.promotions[3].stores.store_ids[0]",
        "$.promotions[3].promotion_id",
        "$.contact_policy",
        "$.contact_policy.cooldown_s",
        "$.presence",
    ]


def test_faults_between_fields_are_listed_beside_those_within_them() -> None:
    second = promotion(
        discount_percent=-1,
        stores={"merchants": ["Tesko"], "service_types": 5},
        starts_at="2026-06-01T00:00:00Z",
        ends_at="2026-06-01T00:00:00Z",
        hours=[{"from": "09:00", "to": "09:00", "days": ["mon", "mon"], "at": "noon"}],
    )
    assert faults({"promotions": [promotion(), second, promotion()]}) == [
        "$.promotions[1].discount_percent: -1 is refused: expected a number > 0.0",
        "$.promotions[1].stores.service_types: 5 is refused: expected a list or null, got a whole number",
        "$.promotions[1].stores.merchants[0]: no store has the merchant 'Tesko'",
        "$.promotions[1].hours[0]: unknown field 'at'; allowed are from, to, days",
        "$.promotions[1].hours[0]: ends at 09:00, when it begins; a whole day is from 00:00 to 24:00",
        '$.promotions[1].hours[0].days[1]: "mon" is given twice',
        "$.promotions[1].promotion_id: 'p' is also that of $.promotions[0]",
        "$.promotions[1].ends_at: 2026-06-01T00:00:00+00:00 is not after starts_at",
        "$.promotions[2].promotion_id: 'p' is also that of $.promotions[0]",
    ]


def test_a_selector_is_not_blamed_for_a_faulty_stores_file() -> None:
    document = {"promotions": [promotion(stores={"merchants": ["Tesco"], "service_types": ["Coffee"]})]}
    assert faults(document, stores=None) == []
    assert faults(document, columns={}, stores=None) == []


@pytest.mark.parametrize("window", ["cooldown_s", "min_gap_s"])
def test_no_window_of_the_policy_outlives_the_state_of_a_device(window: str) -> None:
    state_ttl_s = 8 * 86_400
    assert faults({"promotions": [], "contact_policy": {window: state_ttl_s}}) == []
    assert faults({"promotions": [], "contact_policy": {window: state_ttl_s + 1}}) != []
    assert faults_in(contact_policy={window: state_ttl_s}) == []
    assert faults_in(contact_policy={window: state_ttl_s + 1}) != []


def test_the_quiet_hours_of_all_are_a_window_too() -> None:
    policy = {"quiet_hours": {"from": "08:00", "to": "08:00"}}
    assert faults({"promotions": [], "contact_policy": policy}) == [
        "$.contact_policy.quiet_hours: ends at 08:00, when it begins; a whole day is from 00:00 to 24:00"
    ]


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
FIELDS = (
    *promotion(),
    "starts_at",
    "ends_at",
    "hours",
    "trigger",
    "contact_policy",
    "quiet_hours",
    "store_ids",
    "from",
)
NEARLY = st.dictionaries(st.sampled_from(FIELDS), JSON)


@given(st.binary() | st.builds(lambda entries: json.dumps({"promotions": entries}).encode(), st.lists(NEARLY) | JSON))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_promotions_or_faults_and_never_an_exception(data: bytes) -> None:
    campaigns, found = read_promotions(data, STORES, COLUMNS)
    assert (campaigns is None) == bool(found)


def test_the_json_schema_in_the_repository_is_the_one_that_the_types_generate() -> None:
    kept = resources.files("shared.adapters").joinpath("promotions.schema.json").read_text(encoding="utf-8")
    assert json.loads(kept) == json_schema()


def test_the_schema_says_of_every_field_what_it_is_for() -> None:
    fields = {
        f"{name}.{field}": schema
        for name, definition in json_schema()["$defs"].items()
        for field, schema in definition["properties"].items()
    }
    assert len(fields) > 30
    assert [name for name, schema in fields.items() if not schema.get("description")] == []

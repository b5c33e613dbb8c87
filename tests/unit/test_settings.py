"""The settings: read once, refused in words, and every key in the sample and in the docs."""

import json
import re
from pathlib import Path

import pytest

from shared.errors import ConfigurationError
from shared.settings import Connection, Settings, parse_device_keys

ROOT = Path(__file__).parents[2]
SAMPLE = json.loads((ROOT / "local.settings.sample.json").read_text())["Values"]
OF_THE_HOST = {"FUNCTIONS_WORKER_RUNTIME", "AzureWebJobsStorage"}
CONNECTIONS = {"EventHub", "LakeStorage", "StateStorage"}


def keys() -> set[str]:
    own = {name.upper() for name in Settings.__dataclass_fields__}
    return (own - {"EVENT_HUB", "LAKE_STORAGE", "STATE_STORAGE"}) | CONNECTIONS


def test_the_sample_has_every_key_and_no_other():
    assert set(SAMPLE) - OF_THE_HOST == keys()


def test_the_docs_have_a_line_for_every_key_and_no_other():
    settings, _, _ = (ROOT / "docs" / "settings.md").read_text().partition("## host.json")
    table = re.findall(r"^\| `(\w+)` \|", settings, re.MULTILINE)
    assert sorted(table) == sorted(keys() | OF_THE_HOST)


def test_the_sample_has_no_problems():
    assert Settings.from_env(SAMPLE).problems() == []


def test_bindings_name_only_keys_that_exist():
    sources = "".join(path.read_text() for path in (ROOT / "functions").glob("*.py"))
    assert set(re.findall(r"%(\w+)%", sources)) <= keys()
    assert set(re.findall(r'connection="(\w+)"', sources)) <= CONNECTIONS


def test_nothing_set_is_said_in_words():
    problems = Settings.from_env({}).problems()
    assert "EventHub is not set: give a connection string, or EventHub__fullyQualifiedNamespace" in problems
    assert any(text.startswith("DEVICE_KEYS is not set") for text in problems)


def test_an_identity_based_connection_is_set():
    env = {"LakeStorage__blobServiceUri": "https://lake.blob.core.windows.net", "LakeStorage__clientId": "c0ffee"}
    found = Settings.from_env(env).lake_storage
    assert (found.endpoint, found.client_id, found.is_set) == ("https://lake.blob.core.windows.net", "c0ffee", True)


def test_a_connection_string_never_shows_in_a_log():
    assert "secret" not in repr(Connection("EventHub", "SharedAccessKey=secret"))


@pytest.mark.parametrize(
    ("key", "value", "valid"),
    [("PARTITION_COUNT", "four", "whole number"), ("SIMULATOR_ENABLED", "yes please", "true and false")],
)
def test_a_value_of_the_wrong_form_names_what_would_be_valid(key, value, valid):
    with pytest.raises(ConfigurationError, match=f"{key} is '{value}'.*{valid}"):
        Settings.from_env({key: value})


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"CAPTURE_TRIGGER_SOURCE": "Polling"}, "CAPTURE_TRIGGER_SOURCE is 'Polling'; valid are EventGrid"),
        ({"PARTITION_COUNT": "0"}, "PARTITION_COUNT is 0"),
        ({"REFERENCE_ACTIVATION_DELAY_S": "10"}, "REFERENCE_ACTIVATION_DELAY_S is 10; it must be at least 31"),
        ({"OFFERS_HUB": "dev-readfrom"}, "three different hubs"),
    ],
)
def test_a_contradiction_is_a_problem(changes, named):
    (problem,) = Settings.from_env(SAMPLE | changes).problems()
    assert named in problem


def test_device_keys_follow_each_other():
    first, second = parse_device_keys("k1:0123456789abcdef, k2:fedcba9876543210@2026-01-01T00:00:00Z")
    assert (first.key_id, first.from_us) == ("k1", 0)
    assert (second.key_id, second.secret, second.from_us) == ("k2", b"fedcba9876543210", 1_767_225_600_000_000)


@pytest.mark.parametrize(
    "text",
    ["k1", "k1:short", "k 1:0123456789abcdef", "k1:0123456789abcdef@yesterday", "k1:0123456789abcdef@2026-01-01",
     "k1:0123456789abcdef,k2:0123456789abcdef"],
)  # fmt: skip
def test_a_malformed_device_key_is_refused_without_showing_it(text):
    with pytest.raises(ConfigurationError) as refused:
        parse_device_keys(text)
    assert "0123456789abcdef" not in str(refused.value)

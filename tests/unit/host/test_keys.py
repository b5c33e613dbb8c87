"""Function keys: made once, kept, and asked for by the auth level."""

import json
from pathlib import Path

import pytest

from infra.local.host.keys import KEYS_FILE, AuthLevel, HostKeys
from shared.errors import ConfigurationError


def test_keys_are_made_once_and_found_again(tmp_path: Path) -> None:
    keys = HostKeys.load(tmp_path / "new")
    assert HostKeys.load(tmp_path / "new") == keys
    assert keys.master != keys.default
    assert len(keys.default) >= 40


def test_the_keys_file_is_its_owners_alone(tmp_path: Path) -> None:
    HostKeys.load(tmp_path)
    assert (tmp_path / KEYS_FILE).stat().st_mode & 0o077 == 0
    assert json.loads((tmp_path / KEYS_FILE).read_text()).keys() == {"master", "default"}


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"master": "m"}'])
def test_a_damaged_keys_file_is_refused_in_words(tmp_path: Path, content: str) -> None:
    (tmp_path / KEYS_FILE).write_text(content)
    with pytest.raises(ConfigurationError, match="delete it and new keys are made"):
        HostKeys.load(tmp_path)


@pytest.mark.parametrize(
    ("level", "key", "admitted"),
    [
        (AuthLevel.ANONYMOUS, "", True),
        (AuthLevel.FUNCTION, "", False),
        (AuthLevel.FUNCTION, "wrong", False),
        (AuthLevel.FUNCTION, "ünicode", False),
        (AuthLevel.FUNCTION, "D", True),
        (AuthLevel.FUNCTION, "M", True),
        (AuthLevel.ADMIN, "D", False),
        (AuthLevel.ADMIN, "M", True),
    ],
)
def test_who_may_call_what(level: AuthLevel, key: str, *, admitted: bool) -> None:
    keys = HostKeys(master="M", default="D")
    assert keys.admit(level, {"x-functions-key": key}, {}) is admitted
    assert keys.admit(level, {}, {"code": key}) is admitted

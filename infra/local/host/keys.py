"""Function keys: who may call what, as on Azure.

A function of auth level `anonymous` is open, `function` asks for the default key or the master key, `admin` and the
admin API for the master key, in the header `x-functions-key` or as `?code=`. The keys are made at the first start.
"""

import hmac
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Self

from shared.errors import ConfigurationError

KEYS_FILE = "host-keys.json"


class AuthLevel(StrEnum):
    """What a caller must show."""

    ANONYMOUS = "anonymous"
    FUNCTION = "function"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class HostKeys:
    """The host's two keys."""

    master: str
    default: str

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read the keys of a data directory, or make them. Raises ConfigurationError when the file is damaged."""
        path = directory / KEYS_FILE
        if not path.exists():
            keys = cls(secrets.token_urlsafe(40), secrets.token_urlsafe(40))
            directory.mkdir(parents=True, exist_ok=True)
            # Whole or not at all, and readable by the owner alone.
            draft = path.with_suffix(".new")
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                json.dump({"master": keys.master, "default": keys.default}, file)
            draft.replace(path)
            return keys
        try:
            document = json.loads(path.read_text())
            return cls(document["master"], document["default"])
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(
                f'{path} must hold {{"master": KEY, "default": KEY}}; delete it and new keys are made'
            ) from error

    def admit(self, level: AuthLevel, headers: Mapping[str, str], query: Mapping[str, str]) -> bool:
        """True when a request may call a function of this level."""
        if level is AuthLevel.ANONYMOUS:
            return True
        given = (headers.get("x-functions-key") or query.get("code") or "").encode()
        accepted = [self.master] if level is AuthLevel.ADMIN else [self.default, self.master]
        return any(hmac.compare_digest(given, key.encode()) for key in accepted)

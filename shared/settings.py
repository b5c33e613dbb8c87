"""The settings of the app: one frozen object, read once from the environment; nobody else reads it.

Names in bindings (`%PINGS_HUB%`) are resolved by the Functions host from the same keys.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta

from shared.errors import ConfigurationError

CAPTURE_TRIGGER_SOURCES = ("EventGrid", "LogsAndContainerScan")
STATE_TTL = timedelta(days=8)
"""How long a device's row counts after its last change. Fixed: live runs and replays must agree on it."""


MOST_ATTRIBUTION_DAYS = 30
"""So many days of decisions are read again for the promotions that are not final yet."""


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach an Azure service: a connection string (laptop), or an endpoint with the app's identity (Azure)."""

    name: str
    connection_string: str = field(default="", repr=False)
    endpoint: str = ""
    client_id: str = ""

    @classmethod
    def from_env(cls, name: str, endpoint_key: str, env: Mapping[str, str]) -> "Connection":
        """Read `name`, else `name__<endpoint_key>` and `name__clientId`, as the Functions host does."""
        return cls(
            name,
            connection_string=env.get(name, ""),
            endpoint=env.get(f"{name}__{endpoint_key}", ""),
            client_id=env.get(f"{name}__clientId", ""),
        )

    @property
    def is_set(self) -> bool:
        return bool(self.connection_string or self.endpoint)


@dataclass(frozen=True, slots=True)
class DeviceKey:
    """A secret that turns device ids into `device_key`s, from an instant on (microseconds since 1970 UTC)."""

    key_id: str
    secret: bytes = field(repr=False)
    from_us: int = 0


@dataclass(frozen=True, slots=True)
class Settings:
    """Every setting that the app reads; docs/settings.md has a sentence for each."""

    event_hub: Connection
    lake_storage: Connection
    state_storage: Connection
    pings_hub: str = "dev-readfrom"
    offers_hub: str = "dev-writeto"
    decisions_hub: str = "dev-decisions"
    consumer_group: str = "footfall"
    partition_count: int = 4
    bronze_container: str = "bronze"
    silver_container: str = "silver"
    gold_container: str = "gold"
    quarantine_container: str = "quarantine"
    reference_container: str = "reference"
    state_table: str = "devicestate"
    capture_trigger_source: str = "EventGrid"
    build_gold_schedule: str = "0 * * * * *"
    maintain_schedule: str = "0 17 * * * *"
    reference_activation_delay_s: int = 60
    delivery_window_s: int = 300
    bronze_lifetime_days: int = 30
    device_keys: tuple[DeviceKey, ...] = ()
    simulator_enabled: bool = False
    gold_min_devices: int = 5
    attribution_days: int = 7
    sql_max_rows: int = 50_000
    sql_timeout_s: int = 20
    sql_memory_mb: int = 512

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> "Settings":
        """Read the settings; a missing key has its default. Raises ConfigurationError for a value of the wrong form."""
        values: dict[str, object] = {
            "event_hub": Connection.from_env("EventHub", "fullyQualifiedNamespace", env),
            "lake_storage": Connection.from_env("LakeStorage", "blobServiceUri", env),
            "state_storage": Connection.from_env("StateStorage", "tableServiceUri", env),
        }
        for item in fields(cls):
            key = item.name.upper()
            if item.name in values or key not in env:
                continue
            values[item.name] = _parse(key, env[key], item.default)
        return cls(**values)  # type: ignore[arg-type]

    def problems(self) -> list[str]:
        """Every contradiction, in words that name the setting and what would be valid; empty when all is well."""
        found = [
            f"{connection.name} is not set: give a connection string, or {connection.name}__{key}"
            for connection, key in (
                (self.event_hub, "fullyQualifiedNamespace"),
                (self.lake_storage, "blobServiceUri"),
                (self.state_storage, "tableServiceUri"),
            )
            if not connection.is_set
        ]
        if self.capture_trigger_source not in CAPTURE_TRIGGER_SOURCES:
            found.append(
                f"CAPTURE_TRIGGER_SOURCE is {self.capture_trigger_source!r}; valid are "
                + " (Azure), ".join(CAPTURE_TRIGGER_SOURCES)
                + " (Core Tools and the laptop)"
            )
        if not 1 <= self.partition_count <= 2048:
            found.append(f"PARTITION_COUNT is {self.partition_count}; valid are 1 to 2048, equal to the hub's")
        found += [
            f"{name} is {value}; it must be at least {least}"
            for name, value, least in (
                # Workers look at the catalogue again after 30 s: with less, two of them might decide differently.
                ("REFERENCE_ACTIVATION_DELAY_S", self.reference_activation_delay_s, 31),
                ("DELIVERY_WINDOW_S", self.delivery_window_s, 1),
                ("BRONZE_LIFETIME_DAYS", self.bronze_lifetime_days, 1),
                ("GOLD_MIN_DEVICES", self.gold_min_devices, 1),
                ("SQL_MAX_ROWS", self.sql_max_rows, 1),
                ("SQL_TIMEOUT_S", self.sql_timeout_s, 1),
                ("SQL_MEMORY_MB", self.sql_memory_mb, 64),
            )
            if value < least
        ]
        if not 1 <= self.attribution_days <= MOST_ATTRIBUTION_DAYS:
            found.append(f"ATTRIBUTION_DAYS is {self.attribution_days}; valid are 1 to {MOST_ATTRIBUTION_DAYS}")
        if len({self.pings_hub, self.offers_hub, self.decisions_hub}) < 3:
            found.append("PINGS_HUB, OFFERS_HUB and DECISIONS_HUB must be three different hubs")
        if not self.device_keys:
            found.append("DEVICE_KEYS is not set: silver needs at least one key to hide device ids, as id:secret")
        return found


def _parse(key: str, text: str, default: object) -> object:
    if isinstance(default, bool):
        if text.strip().lower() not in ("true", "false", "1", "0"):
            raise ConfigurationError(f"{key} is {text!r}; valid are true and false")
        return text.strip().lower() in ("true", "1")
    if isinstance(default, int):
        try:
            return int(text)
        except ValueError as error:
            raise ConfigurationError(f"{key} is {text!r}; it must be a whole number") from error
    if key == "DEVICE_KEYS":
        return parse_device_keys(text)
    return text


def parse_device_keys(text: str) -> tuple[DeviceKey, ...]:
    """Parse `id:secret[@from]`, several separated by commas; `from` is an RFC 3339 instant, absent for the first key.

    Raises ConfigurationError when a key is malformed (the message holds no secret).
    """
    from datetime import datetime

    keys: list[DeviceKey] = []
    for number, item in enumerate((part.strip() for part in text.split(",") if part.strip()), start=1):
        body, _, since = item.partition("@")
        key_id, colon, secret = body.partition(":")
        if not (key_id.isalnum() and colon and len(secret) >= 16):
            raise ConfigurationError(
                f"DEVICE_KEYS: key {number} must read id:secret[@instant], the id letters and digits, "
                "the secret at least 16 characters without , and @"
            )
        from_us = 0
        if since:
            try:
                instant = datetime.fromisoformat(since)
            except ValueError as error:
                raise ConfigurationError(f"DEVICE_KEYS: {since!r} is no RFC 3339 instant") from error
            if instant.tzinfo is None:
                raise ConfigurationError(
                    f"DEVICE_KEYS: {since!r} has no offset; write for example 2026-01-01T00:00:00Z"
                )
            from_us = round(instant.timestamp() * 1_000_000)
        keys.append(DeviceKey(key_id, secret.encode(), from_us))
    if [key.from_us for key in keys] != sorted({key.from_us for key in keys}):
        raise ConfigurationError("DEVICE_KEYS: each key must start later than the one before it")
    return tuple(keys)

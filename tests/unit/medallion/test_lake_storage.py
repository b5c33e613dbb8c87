"""Reaching the lake: which options a connection leads to, and what the log says about a part of a table."""

import json
import os
import time
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.adapters.lake_storage import LakeStorage, access, with_token
from shared.adapters.parquet_parts import PartWriter, statistics
from shared.errors import ConfigurationError, LakeUnavailable
from shared.medallion.pings import PINGS
from shared.medallion.tables import INSTANT, Layer, Table
from shared.settings import Connection

EMULATOR_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
NOON = datetime(2026, 3, 29, 12, tzinfo=UTC)


def options(connection_string: str) -> dict[str, str]:
    return dict(access(Connection("LakeStorage", connection_string))().options)


@pytest.mark.parametrize("host", ["127.0.0.1:21000", "localhost:1", "[::1]:10000"])
def test_a_connection_string_to_this_machine_means_azurite_on_its_port(host):
    endpoint = f"http://{host}/devstoreaccount1"
    found = options(f"AccountName=devstoreaccount1;AccountKey={EMULATOR_KEY};BlobEndpoint={endpoint};")
    assert found["azure_storage_use_emulator"] == "true"
    assert found["azure_storage_endpoint"] == endpoint
    assert os.environ["AZURITE_BLOB_STORAGE_URL"] == f"http://{host}"


def test_development_storage_means_azurite_on_its_usual_port():
    assert options("UseDevelopmentStorage=true")["azure_storage_endpoint"] == "http://127.0.0.1:10000/devstoreaccount1"


def test_a_connection_string_to_azure_means_the_account_and_its_key():
    assert options(
        "DefaultEndpointsProtocol=https;AccountName=shop;AccountKey=c2VjcmV0;EndpointSuffix=core.windows.net"
    ) == {
        "azure_storage_account_name": "shop",
        "azure_storage_account_key": "c2VjcmV0",
        "azure_storage_endpoint": "https://shop.blob.core.windows.net",
    }


@pytest.mark.parametrize(
    ("connection_string", "words"),
    [
        ("", "LakeStorage is not set: give a connection string, or LakeStorage__blobServiceUri"),
        ("nonsense", "LakeStorage is no valid connection string"),
        ("AccountName=shop", "LakeStorage has no AccountKey; with an identity, give LakeStorage__blobServiceUri"),
    ],
)
def test_a_connection_that_leads_nowhere_is_refused_in_words(connection_string, words):
    with pytest.raises(ConfigurationError, match=words):
        options(connection_string)


class Identity:
    """A credential whose tokens are good for `seconds`."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.tokens = 0

    def get_token(self, *scopes: str, **_: object) -> AccessToken:
        assert scopes == ("https://storage.azure.com/.default",)
        self.tokens += 1
        return AccessToken(f"token {self.tokens}", int(time.time() + self.seconds))


def test_with_an_identity_each_handle_is_opened_with_a_token_that_lives_on():
    identity = Identity(seconds=3600)
    first, second = (with_token("https://shop.blob.core.windows.net/", identity) for _ in range(2))
    assert first.options == {
        "azure_storage_account_name": "shop",
        "azure_storage_endpoint": "https://shop.blob.core.windows.net",
        "azure_storage_token": "token 1",
    }
    assert second.options["azure_storage_token"] == "token 2"
    assert first.is_valid_for(3500)
    assert not first.is_valid_for(3700)


def test_no_token_is_a_transient_fault():
    class Refusing:
        def get_token(self, *scopes: str, **_: object) -> AccessToken:
            raise ClientAuthenticationError("the identity endpoint does not answer")

    with pytest.raises(LakeUnavailable, match="the app's identity got no token for https://shop"):
        with_token("https://shop.blob.core.windows.net", Refusing())


def test_no_secret_is_shown_when_an_access_is_logged():
    assert "token" not in repr(with_token("https://shop.blob.core.windows.net", Identity(60)))


def test_a_folder_needs_nothing(tmp_path: Path):
    storage = LakeStorage.in_folder(tmp_path)
    assert storage.access().for_delta() == {}
    assert storage.access().for_polars() is None
    assert storage.location(PINGS) == f"{tmp_path}/silver/pings"


# What the log says about a file


def test_the_bounds_of_an_instant_are_whole_milliseconds_around_it():
    rows = pl.DataFrame({"at": [NOON + timedelta(microseconds=1), NOON + timedelta(microseconds=1_001)]}).cast(INSTANT)
    found = json.loads(statistics(rows))
    assert found["minValues"] == {"at": "2026-03-29T12:00:00.000Z"}
    assert found["maxValues"] == {"at": "2026-03-29T12:00:00.002Z"}


def test_nulls_are_counted_and_bounds_of_nothing_or_of_long_texts_are_left_out():
    rows = pl.DataFrame({"text": ["b", None, "a"], "long": ["x" * 65, "y", "z"], "none": [None] * 3, "n": [3, 1, 2]})
    found = json.loads(statistics(rows.cast({"none": pl.String})))
    assert found == {
        "numRecords": 3,
        "minValues": {"text": "a", "n": 1},
        "maxValues": {"text": "b", "n": 3},
        "nullCount": {"text": 1, "long": 0, "none": 3, "n": 0},
    }


instants = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - zone beside


@given(st.lists(st.tuples(instants, st.integers(-(2**63), 2**63 - 1), st.text(max_size=70)), min_size=1, max_size=20))
@settings(deadline=None, max_examples=60)
def test_every_row_lies_within_the_bounds(values):
    rows = pl.DataFrame(values, schema={"at": INSTANT, "n": pl.Int64, "s": pl.String}, orient="row")
    found = json.loads(statistics(rows))
    least, greatest = found["minValues"], found["maxValues"]
    for at, number, text in values:
        assert datetime.fromisoformat(least["at"]) <= at <= datetime.fromisoformat(greatest["at"])
        assert least["n"] <= number <= greatest["n"]
        if "s" in least:
            assert least["s"].encode() <= text.encode() <= greatest["s"].encode()


TABLE = Table(Layer.SILVER, "t", pl.Schema({"n": pl.Int64, "capture_date": pl.Date}), "capture_date")


def frame(*numbers: int, day: int = 29) -> pl.DataFrame:
    return pl.DataFrame({"n": numbers, "capture_date": [date(2026, 3, day)] * len(numbers)}, schema=TABLE.schema)


def test_rows_become_parts_as_memory_fills_and_a_part_lies_in_one_partition():
    writer = PartWriter(TABLE, most_bytes_in_memory=100)
    for number in range(20):
        writer.add(frame(number, day=29 + number // 10))
    parts = writer.finish()
    assert sum(json.loads(part.statistics)["numRecords"] for part in parts) == 20
    assert {part.partition_values["capture_date"] for part in parts} == {"2026-03-29", "2026-03-30"}
    assert all(part.path.startswith(f"capture_date={part.partition_values['capture_date']}/part-") for part in parts)
    read = pl.concat([pl.read_parquet(part.file, hive_partitioning=False) for part in parts])
    assert read["n"].to_list() == list(range(20))
    writer.close()
    assert not any(part.file.exists() for part in parts)


def test_no_row_is_no_part():
    assert PartWriter(TABLE).finish() == ()


def test_rows_of_another_table_are_refused():
    with pytest.raises(pl.exceptions.SchemaError):
        PartWriter(TABLE).add(frame(1).cast({"n": pl.String}))


def test_bounds_of_device_keys_are_written_for_sorted_files_alone():
    devices = Table(Layer.SILVER, "d", pl.Schema({"device_key": pl.String, "n": pl.Int64}), None)
    rows = pl.DataFrame({"device_key": ["k:1", "k:2"], "n": [1, 2]})
    found = []
    for is_sorted in (False, True):
        with closing(PartWriter(devices, is_sorted=is_sorted)) as writer:
            writer.add(rows)
            (part,) = writer.finish()
        found.append(json.loads(part.statistics)["minValues"])
    assert found == [{"n": 1}, {"device_key": "k:1", "n": 1}]

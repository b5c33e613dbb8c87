"""Files of recorded pings, for `footfall send`."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from infra.local.ping_file import PingFileRefused, device_of, read_ping_file, shifted_to
from shared.domain.pings import decode_pings

NOON = datetime(2026, 1, 26, 12, tzinfo=UTC)
NOON_US = int(NOON.timestamp()) * 1_000_000

BUS = """id,vehicle_id,timestamp,latitude,longitude,bearing
1,4716,2026-01-26 11:57:02,53.44451,-2.925173,
2,4716,2026-01-26 11:57:24,53.445026,-2.923543,53
"""


def _csv(folder: Path, text: str, **columns: str) -> list[dict[str, Any]]:
    path = folder / "pings.csv"
    path.write_text(text)
    return [json.loads(body) for body in read_ping_file(path, columns).bodies]


def test_a_csv_becomes_pings_by_the_names_of_its_columns_and_by_map(tmp_path: Path) -> None:
    assert _csv(tmp_path, BUS, vehicle_id="device_id")[0] == {
        "device_id": "4716",
        "tracked_at": "2026-01-26T11:57:02+00:00",
        "latitude": 53.44451,
        "longitude": -2.925173,
    }


def test_columns_that_are_no_field_are_named(tmp_path: Path) -> None:
    path = tmp_path / "bus.csv"
    path.write_text(BUS)
    assert read_ping_file(path, {"vehicle_id": "device_id"}).ignored_columns == ("id", "bearing")


def test_the_app_accepts_what_a_csv_becomes(tmp_path: Path) -> None:
    path = tmp_path / "bus.csv"
    path.write_text(BUS)
    bodies = read_ping_file(path, {"vehicle_id": "device_id"}).bodies
    batch = decode_pings(bodies, np.full(2, NOON_US))
    assert batch.device_id == ["4716", "4716"]
    assert NOON_US - batch.tracked_at_us[0] == (2 * 60 + 58) * 1_000_000


def test_a_time_may_be_a_number_since_1970_and_an_offset_is_kept(tmp_path: Path) -> None:
    rows = _csv(tmp_path, "appid,lat,lon,tst\na,1,2,1641565058\nb,1,2,2026-01-26T12:00:00+01:00\n")
    assert [row["tracked_at"] for row in rows] == [1641565058, "2026-01-26T12:00:00+01:00"]


def test_an_empty_cell_is_an_absent_field_and_a_wrong_one_is_left_to_the_app(tmp_path: Path) -> None:
    rows = _csv(tmp_path, "device_id,latitude,longitude,accuracy_m,consent\na,north,2,,true\n")
    assert rows == [{"device_id": "a", "latitude": "north", "longitude": 2, "consent": True}]


def test_a_mapped_column_wins_over_one_that_has_the_name(tmp_path: Path) -> None:
    rows = _csv(tmp_path, "device_id,phone,lat,lon\nx,y,1,2\n", phone="device_id")
    assert rows == [{"device_id": "y", "latitude": 1, "longitude": 2}]


@pytest.mark.parametrize(
    ("text", "columns", "words"),
    [
        ("a,latitude,longitude\n", {}, ["no column for device_id", "--map COLUMN=device_id"]),
        ("device,tid,lat,lon\n", {}, ["device and tid for device_id"]),
        ("device,lat,lon\n", {"phone": "device_id"}, ["no column 'phone'", "device, lat, lon"]),
        ("device,lat,lon\n", {"device": "who"}, ["'who' is no field", "device_id, latitude"]),
        ("device,lat,lon\na,1\n", {}, ["line 2", "cells"]),
        ("device,lat,lon\na,1,2,3\n", {}, ["line 2", "cells"]),
    ],
)
def test_a_csv_that_is_unclear_is_refused_in_words(
    tmp_path: Path, text: str, columns: dict[str, str], words: list[str]
) -> None:
    with pytest.raises(PingFileRefused) as refused:
        _csv(tmp_path, text, **columns)
    for word in words:
        assert word in str(refused.value)


def test_another_file_has_a_body_a_line_whatever_it_is(tmp_path: Path) -> None:
    path = tmp_path / "pings.jsonl"
    path.write_bytes(b'{"device_id": "a"}\n\nlatitude:51.1, longitude:0.1,appid:b\r\n\xff\xfe\n')
    bodies = read_ping_file(path, {}).bodies
    assert bodies == [b'{"device_id": "a"}', b"latitude:51.1, longitude:0.1,appid:b", b"\xff\xfe"]


def test_map_is_refused_for_a_file_of_bodies(tmp_path: Path) -> None:
    path = tmp_path / "pings.jsonl"
    path.touch()
    with pytest.raises(PingFileRefused, match="--map"):
        read_ping_file(path, {"a": "device_id"})


def test_a_shift_moves_every_time_alike_so_that_the_newest_is_now() -> None:
    bodies = [
        b'{"device_id": "a", "lat": 1, "lon": 2, "tst": 1641565058, "batt": 40}',
        b'{"device_id": "a", "latitude": 1, "longitude": 2, "tracked_at": "2022-01-07T15:17:38+01:00"}',
    ]
    batch = decode_pings(shifted_to(NOON_US, bodies), np.full(2, NOON_US))
    assert batch.rejected == []
    assert batch.tracked_at_us.tolist() == [NOON_US, NOON_US]


def test_a_shift_leaves_bodies_without_a_time_and_bodies_that_are_no_pings() -> None:
    bodies = [b"latitude:51.1, longitude:0.1,appid:b", b"\xff", b'{"device_id": 7}']
    assert shifted_to(NOON_US, bodies) == bodies
    timed = b'{"device_id": "a", "latitude": 1, "longitude": 2, "tracked_at": 1641565058}'
    assert shifted_to(NOON_US, [*bodies, timed])[:3] == bodies


def test_the_partition_key_is_the_device_of_the_body_in_every_form() -> None:
    assert device_of(b"latitude:51.1, longitude:0.1,appid:b") == "b"
    assert device_of(b'{"tid": "c", "lat": 1, "lon": 2, "tst": 1}') == "c"
    assert device_of(b"\xff") == ""

"""`footfall reference check`: what somebody reads who checks files on a desk."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from infra.commands.reference import reference
from shared.errors import ReferenceRefused
from tests.fakes_reference import reference_files

FILES = reference_files(10, stores=[("1", 51.5, -0.1), ("2", 51.6, -0.1)])


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    for name, data in FILES.by_name.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "opted-out.csv").write_text("device_id\nann\n")
    return tmp_path


def check(folder: Path, *options: str, stores: str = "stores.csv") -> Result:
    return CliRunner().invoke(reference, ["check", str(folder / stores), str(folder / "promotions.json"), *options])


def test_files_without_fault_are_said_to_be_so_with_what_they_hold(folder: Path) -> None:
    said = check(folder, "--suppressed", str(folder / "opted-out.csv"))
    assert said.exit_code == 0
    assert said.stderr == ""
    assert said.stdout.startswith("no faults; version ")
    assert said.stdout.rstrip().endswith(": 2 stores, 1 promotion, 1 suppressed device")


def test_polygons_are_counted(folder: Path) -> None:
    ring = [[-0.1, 51.5], [-0.099, 51.5], [-0.099, 51.501], [-0.1, 51.5]]
    properties = {"name": "n", "merchant": "m", "service_type": "s", "location": "l"}
    mall = {"type": "Feature", "id": "1", "properties": properties}
    mall["geometry"] = {"type": "Polygon", "coordinates": [ring]}
    (folder / "shops.json").write_text(json.dumps({"type": "FeatureCollection", "features": [mall]}))
    assert ": 1 store (1 of them a polygon), 1 promotion" in check(folder, stores="shops.json").stdout


def test_every_fault_is_in_the_error_that_the_command_line_prints(folder: Path) -> None:
    (folder / "stores.csv").write_bytes(FILES.stores.replace(b",50\n", b",5\n"))
    refused = check(folder).exception
    assert isinstance(refused, ReferenceRefused)
    assert str(refused).splitlines()[1:] == [
        "stores.csv line 2, radius_m: 5 is out of range 10..10000",
        "stores.csv line 3, radius_m: 5 is out of range 10..10000",
    ]


def test_what_is_probably_not_meant_is_a_warning_beside_the_result(folder: Path) -> None:
    document = json.loads(FILES.promotions)
    document["promotions"][0]["max_offers"] = 100
    (folder / "promotions.json").write_text(json.dumps(document))
    assert check(folder).stderr == ""
    said = check(folder, "--partitions", "32")
    assert said.exit_code == 0
    assert said.stderr.startswith("warning: promotion 'p': max_offers 100 is split over 32 partitions")
    assert said.stdout.startswith("no faults")


def test_a_file_of_unknown_ending_is_refused_with_what_would_be_valid(folder: Path) -> None:
    (folder / "stores.xlsx").write_bytes(b"")
    refused = check(folder, stores="stores.xlsx").exception
    assert isinstance(refused, ReferenceRefused)
    assert "valid endings are .csv, .geojson, .json" in str(refused)

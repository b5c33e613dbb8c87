"""The sample in infra/local/sample is valid and holds what its README claims."""

import csv
import gzip
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from geopy.distance import geodesic

from shared.adapters.reference_files import parse_reference, read_reference_files
from shared.domain.promotions import Transition
from shared.domain.reference import ReferenceData
from shared.domain.reference_warnings import warnings_of

SAMPLE = Path(__file__).parents[3] / "infra" / "local" / "sample"
NOW_US = 1_790_000_000_000_000


def load(folder: Path) -> ReferenceData:
    return parse_reference(read_reference_files(folder / "stores.csv", folder / "promotions.json"))


def route() -> list[tuple[float, float]]:
    with (SAMPLE / "route.csv").open(newline="") as file:
        return [(float(row["latitude"]), float(row["longitude"])) for row in csv.DictReader(file)]


def test_the_stores_are_a_few_hundred_of_twelve_chains_in_central_london() -> None:
    stores = load(SAMPLE).stores
    assert len(stores) == 312
    assert len(set(stores.merchant)) == 12
    assert (stores.latitude > 51.5).all()
    assert (stores.latitude < 51.53).all()
    assert (stores.longitude > -0.14).all()
    assert (stores.longitude < -0.07).all()
    assert set(stores.radius_m) == {40.0, 60.0, 70.0, 100.0}


def test_one_promotion_has_ended_one_has_not_begun_and_every_store_runs_one_now() -> None:
    reference = load(SAMPLE)
    runs = [promotion.runs_at(NOW_US) for promotion in reference.promotions]
    assert (len(runs), runs.count(False)) == (11, 2)
    assert reference.selection[runs].any(axis=0).all()


def test_the_promotions_show_what_there_is_to_say() -> None:
    reference = load(SAMPLE)
    promotions = reference.promotions
    assert {promotion.trigger for promotion in promotions} == {Transition.ENTER, Transition.DWELL}
    assert any(promotion.hours for promotion in promotions)
    assert any(promotion.holdout_percent for promotion in promotions)
    assert any(promotion.max_offers for promotion in promotions)
    assert any(promotion.priority for promotion in promotions)
    assert any(promotion.policy for promotion in promotions)
    assert len(list(warnings_of(reference, partition_count=4, now_us=NOW_US))) == 1


def test_the_demo_makes_offers_at_any_hour_of_the_week_and_within_its_seconds() -> None:
    reference = load(SAMPLE)
    always = [promotion.hours is None and promotion.runs_at(NOW_US) for promotion in reference.promotions]
    assert reference.selection[always].any(axis=0).all()
    assert (reference.contact_policy.quiet_hours, reference.contact_policy.min_gap_s) == (None, 5)
    dwelling = [promotion.trigger is Transition.DWELL for promotion in reference.promotions]
    assert set(reference.stores.loitering_delay_s[reference.selection[dwelling].any(axis=0)]) == {10}


def test_the_route_is_a_walk_of_two_hundred_positions() -> None:
    positions = route()
    assert len(positions) == 200
    steps_m = [geodesic(here, there).m for here, there in pairwise(positions)]
    assert max(steps_m) < 20


def test_the_route_passes_many_stores_of_the_sample() -> None:
    latitude, longitude = np.array(route()).T
    pairs = load(SAMPLE).index.match(latitude, longitude)
    assert len(set(pairs.store[pairs.inside].tolist())) >= 40


def test_the_classic_stores_stand_where_the_ancestor_had_them() -> None:
    reference = load(SAMPLE / "classic")
    assert reference.stores.location == (
        "London",
        "Piccadilly",
        "Amersham",
        "Borough",
        "Greenwich",
        "Paddington",
        "Rochester",
        "Rainham",
    )
    assert reference.stores.latitude.tolist() == [53.5] * 8
    assert reference.stores.longitude.tolist() == [0.82] * 4 + [0.820000000000001] * 4
    assert [promotion.discount_percent for promotion in reference.promotions] == [30, 20, 40, 20, 50, 50, 60, 25]
    assert reference.selection.sum(axis=0).tolist() == [1] * 8


def test_the_attribution_says_what_the_licence_asks_for() -> None:
    readme = " ".join((SAMPLE / "README.md").read_text(encoding="utf-8").split())
    assert "public sector information licensed under the [Open Government Licence v3.0]" in readme
    assert "Source: Food Standards Agency" in readme


def test_the_promotions_name_their_schema_so_that_an_editor_finds_it() -> None:
    for folder in (SAMPLE, SAMPLE / "classic"):
        named = json.loads((folder / "promotions.json").read_text(encoding="utf-8"))["$schema"]
        assert (folder / named).resolve().name == "promotions.schema.json"
        assert (folder / named).is_file()


@pytest.mark.realdata
def test_every_store_is_an_establishment_of_the_fhrs_data_at_its_position(real_data: Path) -> None:
    with gzip.open(real_data / "fhrs_london" / "fhrs_london_2021.csv.gz", "rt", encoding="utf-8") as file:
        establishments = {row["FHRSID"]: row for row in csv.DictReader(file)}
    stores = load(SAMPLE).stores
    for row, store_id in enumerate(stores.store_id):
        real = establishments[store_id]
        assert stores.service_type[row] == real["BusinessType"]
        assert stores.latitude[row] == round(float(real["latitude"]), 6)
        assert stores.longitude[row] == round(float(real["longitude"]), 6)

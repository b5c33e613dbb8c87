"""Latitude and longitude in each other's place, although both are in range."""

import numpy as np
import pytest

from shared.adapters.stores_file import read_stores

HEADER = "store_id,name,merchant,service_type,location,latitude,longitude,radius_m,time_zone"
LONDON, NAIROBI, KUWAIT, DALLAS = (51.5, -0.1), (-1.3, 36.8), (29.4, 48.0), (32.8, -96.8)
MOMBASA, MADRID = (-4.05, 39.67), (40.4, -3.7)
"""Mombasa lies near Madrid the other way round."""
NORTH_SEA = (56.0, 3.0)


def faults(*places: tuple[float, float], zones: tuple[str, ...] = ()) -> list[str]:
    named = [*zones, *[""] * (len(places) - len(zones))]
    rows = [
        f"{number},n,m,s,l,{latitude},{longitude},80,{zone}"
        for number, ((latitude, longitude), zone) in enumerate(zip(places, named, strict=True))
    ]
    return read_stores("\n".join([HEADER, *rows]).encode()).faults


def test_one_store_the_other_way_round_among_those_of_a_country_is_suspected() -> None:
    (fault,) = faults(LONDON, (53.4, -2.9), LONDON[::-1], (55.9, -3.2))
    assert fault == (
        "stores.csv line 4, latitude: latitude and longitude swapped? -0.1, 51.5 is far from most stores, and "
        "51.5, -0.1 is near them; if it is right, set its time_zone to Etc/GMT-3"
    )


def test_who_names_the_time_zone_of_a_far_away_store_means_that_place() -> None:
    madrid = [MADRID] * 3
    assert len(faults(MOMBASA, *madrid)) == 1
    assert len(faults(MOMBASA, *madrid, zones=("Europe/Madrid",))) == 1
    assert faults(MOMBASA, *madrid, zones=("Africa/Nairobi",)) == []


@pytest.mark.parametrize(
    "places",
    [
        [LONDON, LONDON, NAIROBI],
        [LONDON, NAIROBI, KUWAIT, DALLAS],
        [MADRID, MOMBASA, DALLAS],
        [LONDON, LONDON[::-1]],
        [DALLAS, DALLAS, (25.8, -80.2)],
        [(-17.5, 179.9), (-17.5, -179.9), (-17.6, 179.8)],
    ],
    ids=[
        "far",
        "all over the world",
        "no region with most of them",
        "one there and one here",
        "longitudes beyond 90",
        "around the antimeridian",
    ],
)
def test_far_away_alone_is_not_suspected(places: list[tuple[float, float]]) -> None:
    assert faults(*places) == []


def test_a_whole_file_the_other_way_round_lies_at_sea_and_is_one_fault() -> None:
    places = [LONDON[::-1], (-2.9, 53.4), (-3.2, 55.9)]
    (fault,) = faults(*places)
    assert fault == (
        "stores.csv: latitude and longitude swapped? Most stores lie at sea, and the other way round on land; "
        "if they are right, give each its time_zone"
    )
    assert faults(*places, zones=("Etc/GMT-3", "Etc/GMT-4", "Etc/GMT-4")) == []


def test_stores_at_sea_are_fine_where_the_other_way_round_is_no_land() -> None:
    assert faults(NORTH_SEA) == []


def test_of_many_stores_a_sample_tells() -> None:
    rng = np.random.default_rng(1)
    places = list(zip(rng.uniform(-2, 1, 5_000).tolist(), rng.uniform(51, 53, 5_000).tolist(), strict=True))
    assert len(faults(*places)) == 1
    assert faults(*((east, north) for north, east in places)) == []

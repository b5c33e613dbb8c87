"""The distance formula against Karney's geodesic test set and against geopy."""

from pathlib import Path

import numpy as np
import pytest
from geographiclib.geodesic import Geodesic
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.geodesic import (
    ERROR_BOUND_M,
    ERROR_BOUND_REACH_M,
    arc_m,
    earth_point,
    earth_points,
    error_bound_m,
    geodesic_m,
    one_arc_m,
    squared_chord,
)

LATITUDES = st.floats(-90, 90) | st.sampled_from([-90.0, -89.9999999, 0.0, 1e-12, 89.9999999, 90.0])
LONGITUDES = st.floats(-180, 180) | st.sampled_from([-180.0, -179.9999999, 0.0, 179.9999999, 180.0])


def distances_m(latitude_1, longitude_1, latitude_2, longitude_2):
    one, other = earth_points(latitude_1, longitude_1), earth_points(latitude_2, longitude_2)
    rows = np.arange(len(latitude_1))
    return arc_m(squared_chord(one, rows, other, rows), one, rows, other, rows)


def one_distance_m(*position: float) -> float:
    return float(distances_m(*(np.array([degrees]) for degrees in position))[0])


@settings(deadline=None, max_examples=300)
@given(LATITUDES, LONGITUDES, st.floats(-180, 180), st.floats(0, ERROR_BOUND_REACH_M))
def test_up_to_100_km_the_formula_is_within_its_bound_of_geopy(latitude, longitude, azimuth, length_m):
    end = Geodesic.WGS84.Direct(latitude, longitude, azimuth, length_m)
    position = latitude, longitude, end["lat2"], end["lon2"]
    assert abs(one_distance_m(*position) - geodesic_m(*position)) <= ERROR_BOUND_M


@settings(deadline=None, max_examples=300)
@given(LATITUDES, LONGITUDES, LATITUDES, LONGITUDES)
def test_at_any_distance_the_formula_is_within_half_a_percent_of_geopy(latitude, longitude, other_lat, other_lon):
    position = latitude, longitude, other_lat, other_lon
    assert one_distance_m(*position) == pytest.approx(geodesic_m(*position), rel=0.005, abs=ERROR_BOUND_M)


@settings(deadline=None, max_examples=300)
@given(
    LATITUDES, LONGITUDES, st.floats(-180, 180), st.floats(0, 2e5) | st.floats(0, 2e6) | st.sampled_from([99e3, 99e4])
)
def test_a_distance_of_any_length_is_within_its_own_bound_of_geopy(latitude, longitude, azimuth, length_m):
    end = Geodesic.WGS84.Direct(latitude, longitude, azimuth, length_m)
    position = latitude, longitude, end["lat2"], end["lon2"]
    found = one_distance_m(*position)
    assert abs(found - geodesic_m(*position)) <= error_bound_m(found)


@settings(deadline=None, max_examples=300)
@given(LATITUDES, LONGITUDES, LATITUDES, LONGITUDES)
def test_one_pair_has_the_distance_that_it_has_in_a_column(latitude, longitude, other_lat, other_lon):
    one = one_arc_m(earth_point(latitude, longitude), earth_point(other_lat, other_lon))
    # Next to the antipode the arcsine is steep: there a rounding of 1e-16 is 0.1 m.
    column = one_distance_m(latitude, longitude, other_lat, other_lon)
    assert one == pytest.approx(column, rel=1e-12, abs=1e-7 if column < 1.9e7 else 1.0)


@pytest.mark.parametrize(
    "position",
    [(0.0, 0.0, 0.0, 180.0), (90.0, 0.0, -90.0, 0.0), (51.5, -0.1, -51.5, 179.9), (30.0, 0.0, -30.0, 179.8)],
)
def test_antipodes_are_within_half_a_percent(position):
    assert one_distance_m(*position) == pytest.approx(geodesic_m(*position), rel=0.005)


def test_a_point_is_at_distance_zero_of_itself():
    assert one_distance_m(51.5, -0.1, 51.5, -0.1) == 0


def test_all_longitudes_of_a_pole_are_one_point():
    assert one_distance_m(90.0, 12.0, 90.0, -150.0) < ERROR_BOUND_M


@pytest.mark.realdata
def test_all_10_000_geodesics_of_karneys_test_set_are_within_the_stated_bounds(real_data: Path):
    table = np.loadtxt(real_data / "geodtest" / "GeodTest-short.dat.gz")
    length_m = table[:, 6]
    error_m = np.abs(distances_m(table[:, 0], table[:, 1], table[:, 3], table[:, 4]) - length_m)
    assert len(table) == 10_000
    short, regional, continental = length_m <= ERROR_BOUND_REACH_M, length_m <= 1e6, length_m <= 5e6
    assert np.count_nonzero(short) == 1_008
    assert np.all(error_m[short] <= ERROR_BOUND_M)
    assert np.all(error_m[regional] <= 0.05)
    assert np.all(error_m[continental] <= 2e-5 * np.maximum(length_m[continental], 1))
    assert np.all(error_m <= np.maximum(0.005 * length_m, ERROR_BOUND_M))

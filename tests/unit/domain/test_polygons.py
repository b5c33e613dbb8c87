"""Polygons: inside is shapely's word, and distances are what a search of every edge finds, anywhere on Earth."""

import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from shapely import MultiPolygon, Polygon

from shared.domain.geodesic import geodesic_m
from shared.domain.polygons import LARGEST_BULGE_M, PolygonTable, position_of, reach_m, reaches_m
from tests.unit.domain.shapes import (
    AZIMUTHS,
    SHAPES,
    box,
    covers,
    distance_m,
    edge_distance_m,
    edges_of,
    moved,
    nearest_of,
    point_of,
    star,
    stars,
)

ERROR_M = 2 * LARGEST_BULGE_M

CRESCENT = Polygon([(0, 0), (1, 0), (0.1, 0.1), (0, 1)])
FRAME = box(0, 0, 1, 1).difference(box(0.1, 0.1, 0.9, 0.9))
CUT = MultiPolygon([box(179.9, 10, 180, 10.1), box(-180, 10, -179.9, 10.1)])


def table(*shapes: Polygon | MultiPolygon) -> PolygonTable:
    latitude, longitude = np.array([position_of(shape) for shape in shapes]).T
    return PolygonTable(np.array(shapes, dtype=np.object_), latitude, longitude)


def asked(rows: list[int], positions: list[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    latitude, longitude = np.array(positions, dtype=float).reshape(-1, 2).T
    return np.array(rows, dtype=np.int64), latitude, longitude


def covered(shape: Polygon | MultiPolygon, *positions: tuple[float, float]) -> list[bool]:
    return table(shape).covers(*asked([0] * len(positions), positions)).tolist()


def measured_m(shape: Polygon | MultiPolygon, *positions: tuple[float, float], limit_m: float = 100.0) -> list[float]:
    return table(shape).distance_m(*asked([0] * len(positions), positions), limit_m=limit_m).tolist()


@st.composite
def beside(draw, shape: Polygon | MultiPolygon, *, within_m: float = 100.0) -> tuple[float, float]:
    """A position on an edge, at a vertex or next to them, on any side."""
    edge = draw(st.sampled_from(edges_of(shape)))
    on_edge = point_of(edge, draw(st.sampled_from([0.0, 0.5]) | st.floats(0, 1)))
    if draw(st.booleans()):
        return on_edge
    return moved(*on_edge, draw(AZIMUTHS), draw(st.sampled_from([1e-6, 1e-3]) | st.floats(0, within_m)))


@settings(deadline=None, max_examples=150)
@given(st.data(), st.lists(SHAPES, min_size=1, max_size=3))
def test_a_position_is_covered_by_a_polygon_where_shapely_says_so(data, shapes):
    rows, positions = [], []
    for row, shape in enumerate(shapes):
        for position in data.draw(st.lists(beside(shape), min_size=1, max_size=4)):
            assume(abs(position[0]) < 90 and abs(position[1]) < 180)  # there shapely sees edges where there are none
            rows.append(row)
            positions.append(position)
    found = table(*shapes).covers(*asked(rows, positions))
    assert found.tolist() == [covers(shapes[row], *here) for row, here in zip(rows, positions, strict=True)]


def test_edges_and_vertices_are_covered_and_holes_are_not():
    holed = box(0, 0, 4, 4).difference(box(1, 1, 3, 3))
    assert covered(holed, (0.5, 0.5), (0.0, 0.0), (2.0, 0.0), (2.0, 1.0), (2.0, 2.0), (2.0, 4.1)) == [
        *(True, True, True, True),
        *(False, False),
    ]


@pytest.mark.parametrize("longitude", [180.0, -180.0])
def test_the_antimeridian_is_no_edge_of_a_polygon_that_was_cut_there(longitude):
    assert covered(CUT, (10.05, longitude)) == [True]
    assert covered(CUT, (10.11, longitude)) == [False]
    for half in CUT.geoms:  # one that ends there has it as an edge, from both sides
        assert covered(half, (10.05, longitude)) == [True]


@pytest.mark.parametrize("pole", [90.0, -90.0])
def test_the_pole_is_covered_at_every_longitude_if_the_polygon_reaches_it(pole):
    poles = [(pole, longitude) for longitude in (-180.0, -50.0, 0.0, 11.0, 130.0, 180.0)]
    south, north = min(pole, 0.99 * pole), max(pole, 0.99 * pole)
    assert all(covered(box(10, south, 12, north), *poles))
    assert not any(covered(box(10, south + 0.01, 12, north - 0.01), *poles))
    assert not any(covered(box(10, -north, 12, -south), *poles))


@settings(deadline=None, max_examples=150)
@given(st.data(), SHAPES)
def test_a_distance_is_that_of_the_nearest_point_of_all_edges(data, shape):
    positions = data.draw(st.lists(beside(shape), min_size=1, max_size=3))
    found = measured_m(shape, *positions, limit_m=101.0)
    assert found == pytest.approx([distance_m(shape, *here) for here in positions], rel=0, abs=ERROR_M)


@settings(deadline=None, max_examples=50)
@given(st.data(), stars())
def test_a_far_distance_is_right_as_well(data, shape):
    here = data.draw(beside(shape, within_m=10_000.0))
    assert measured_m(shape, here, limit_m=10_001.0) == pytest.approx([distance_m(shape, *here)], rel=0, abs=ERROR_M)


def test_of_edges_10_km_long_the_distance_is_measured_to_the_line_that_is_straight_in_degrees():
    """At latitude 85 such an edge lies up to 20 m from the geodesic between its ends."""
    shape = Polygon([(0, 85), (1, 85), (1, 85.05), (0, 85.05)])
    middle = 84.9995, 0.5
    to_parallel = geodesic_m(*middle, 85.0, 0.5)
    ends = Polygon([(0, 85), (0.5, 85), (1, 85), (1, 85.05), (0, 85.05)])
    assert measured_m(shape, middle) == pytest.approx([to_parallel], rel=0, abs=ERROR_M)
    assert measured_m(ends, middle) == pytest.approx([to_parallel], rel=0, abs=ERROR_M)


def test_an_edge_that_bulges_away_hides_no_nearer_one():
    """The chord of the long edge passes 2 m below the position, the edge itself 21 m beside it; another is at 15 m."""
    here = moved(85.0, 0.5, 0.0, 21.0)
    tip = moved(*here, 0.0, 15.0)
    long_edge, other = box(0, 84.9, 1, 85), Polygon([(tip[1], tip[0]), (0.51, 85.01), (0.49, 85.01)])
    assert measured_m(long_edge, here) == pytest.approx([21.0], rel=0, abs=ERROR_M)
    assert measured_m(MultiPolygon([long_edge, other]), here) == pytest.approx([15.0], rel=0, abs=ERROR_M)


def test_the_distance_over_the_antimeridian_is_the_short_way():
    assert measured_m(box(179.9, 10, 180, 10.1), (10.05, -179.9999)) == pytest.approx([10.96], abs=0.01)
    assert measured_m(box(-180, 10, -179.9, 10.1), (10.05, 179.9999)) == pytest.approx([10.96], abs=0.01)


def test_the_distance_over_a_pole_is_the_short_way():
    far_side = box(-10, 89.9, 10, 89.9999)
    expected = [geodesic_m(89.9999, 180.0, 89.9999, 10.0), geodesic_m(90.0, 0.0, 89.9999, 0.0)]
    assert measured_m(far_side, (89.9999, 180.0), (90.0, 55.0)) == pytest.approx(expected, rel=0, abs=ERROR_M)
    assert expected == pytest.approx([22.25, 11.17], abs=0.01)


def test_a_distance_above_the_limit_is_only_known_to_be_above():
    shape = box(0, 0, 0.001, 0.001)
    (distance,) = measured_m(shape, (0.0, 0.002), limit_m=111.0)
    assert distance > 111.0
    assert measured_m(shape, (0.0, 0.002), limit_m=112.0) == pytest.approx([111.32], abs=0.01)


def test_10_000_vertices_are_measured_like_few():
    random = np.random.default_rng(1)
    shape = star(51.5, -0.1, (5_000 * random.uniform(0.99, 1, 10_000)).tolist())
    edges = edges_of(shape)
    positions = [moved(*point_of(edge, 0.3), 45.0, 15.0) for edge in edges[::1_000]]
    expected = []
    for latitude, longitude in positions:
        near = [edge for edge in edges if np.abs(edge[0] - (longitude, latitude)).max() < 0.003]  # edges are short here
        expected.append(nearest_of(near, latitude, longitude))
    assert covered(shape, *positions) == [covers(shape, *here) for here in positions]
    assert measured_m(shape, *positions) == pytest.approx(expected, rel=0, abs=ERROR_M)


def test_pairs_of_many_polygons_are_each_answered_for_their_own():
    shapes = [star(51.5, longitude / 100, [100.0] * corners) for longitude, corners in enumerate(range(3, 70))]
    rows = list(range(len(shapes))) * 2
    positions = [moved(*position_of(shapes[row]), 20.0 * row, 120.0) for row in rows]
    found = table(*shapes).distance_m(*asked(rows, positions), limit_m=150.0)
    expected = [distance_m(shapes[row], *here) for row, here in zip(rows, positions, strict=True)]
    assert found == pytest.approx(expected, rel=0, abs=ERROR_M)


def test_no_positions_have_no_answers():
    nothing = asked([], [])
    assert len(table(CUT).covers(*nothing)) == len(table(CUT).distance_m(*nothing, limit_m=20.0)) == 0


def test_threads_may_build_and_ask_tables_of_the_same_shapes_at_once():
    """Without the table's care GEOS aborts the process here: it indexes a shape when it is asked."""
    random = np.random.default_rng(2)
    arms = (1_000 * random.uniform(0.5, 1, 50_000)).tolist()
    centre = np.array([51.5]), np.array([-0.1])
    question = np.zeros(100, np.int64), random.normal(51.5, 0.005, 100), random.normal(-0.1, 0.008, 100)
    for _ in range(5):
        shapes = np.array([star(51.5, -0.1, arms)], dtype=np.object_)
        with ThreadPoolExecutor(4) as threads:
            tables = list(threads.map(lambda _, mine: PolygonTable(mine, *centre), range(4), [shapes] * 4))
            fresh = PolygonTable(np.array([star(51.5, -0.1, arms)], dtype=np.object_), *centre)
            answers = list(threads.map(lambda one: one.covers(*question).tolist(), [*tables, *[fresh] * 4]))
        assert answers == [answers[0]] * 8
    assert 0 < sum(answers[0]) < 100


@settings(deadline=None, max_examples=150)
@given(SHAPES)
@example(CRESCENT)
@example(FRAME)
@example(CUT)
def test_the_position_of_a_polygon_is_one_of_its_points(shape):
    assert covers(shape, *position_of(shape))


def test_the_position_of_a_convex_polygon_is_its_centroid():
    assert position_of(box(0, 50, 2, 51)) == (50.5, 1.0)


@settings(deadline=None, max_examples=100)
@given(SHAPES, st.sampled_from([(0.0, 0.0), (1_000.0, 77.0)]))
def test_a_polygon_lies_within_its_reach_with_all_its_edges(shape, aside):
    here = moved(*position_of(shape), aside[1], aside[0])
    farthest_m = max(edge_distance_m(edge, *here, pick=np.argmax) for edge in edges_of(shape))
    reach = reach_m(shape, *here)
    assert reach >= farthest_m - 1e-6
    assert table(shape).reach_m == pytest.approx([reach_m(shape, *position_of(shape))], rel=1e-12)


def test_the_reach_of_a_small_polygon_is_hardly_more_than_its_farthest_point():
    shape = box(0, 0, 0.001, 0.001)
    assert reach_m(shape, 0.0005, 0.0005) == pytest.approx(geodesic_m(0.0005, 0.0005, 0.001, 0.001), abs=1e-3)


def test_reaches_of_columns_are_those_one_by_one():
    shapes = np.array([CUT, CRESCENT, FRAME, box(0, 0, 0.001, 0.001)], dtype=np.object_)
    latitude, longitude = np.array([position_of(shape) for shape in shapes]).T
    expected = [reach_m(shape, *position_of(shape)) for shape in shapes]
    assert reaches_m(shapes, latitude, longitude) == pytest.approx(expected, rel=1e-12)
    assert len(reaches_m(shapes[:0], latitude[:0], longitude[:0])) == 0


def test_a_million_vertices_take_little_memory_beside_their_shapes():
    arms = [1_000.0] * 10_000
    shapes = [star(51.5, longitude / 10, arms) for longitude in range(100)]
    tracemalloc.start()
    table(*shapes)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 25e6
    assert peak < 150e6

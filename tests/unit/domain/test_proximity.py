"""Proximity: every decision of the index is geopy's or shapely's, anywhere on Earth, and on the real data sets."""

import tracemalloc
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from shapely import MultiPolygon, Polygon

from shared.domain.geodesic import LEAST_RADIUS_OF_CURVATURE_M
from shared.domain.polygons import position_of, reach_m
from shared.domain.proximity import LEAST_CELL_DEG, PADDING_M, GeofenceIndex, Pairs, geodesic_m
from tests.unit.domain.shapes import ANCHORS, AZIMUTHS, SHAPES, box, covers, edges_of, moved, point_of, star
from tests.unit.domain.shapes import distance_m as shape_distance_m

RADIUS_M = 100.0
MARGIN_M = 20.0


@dataclass(frozen=True)
class World:
    """Stores and pings as columns; small enough to ask geopy about every pair."""

    latitude: np.ndarray
    longitude: np.ndarray
    radius_m: np.ndarray
    ping_latitude: np.ndarray
    ping_longitude: np.ndarray
    margin_m: float
    polygons: dict[int, Polygon | MultiPolygon] = field(default_factory=dict)

    def index(self) -> GeofenceIndex:
        return GeofenceIndex(self.latitude, self.longitude, self.radius_m, self.polygons, margin_m=self.margin_m)

    def match(self) -> Pairs:
        return self.index().match(self.ping_latitude, self.ping_longitude)

    def pings(self) -> list[tuple[float, float]]:
        return list(zip(self.ping_latitude.tolist(), self.ping_longitude.tolist(), strict=True))

    def brute_force(self) -> list[tuple[int, int, float, bool]]:
        """Every pair that is near by geopy, shapely and a search of all edges: ping, store, distance, inside."""
        pairs = []
        for ping, here in enumerate(self.pings()):
            for store, there in enumerate(zip(self.latitude, self.longitude, strict=True)):
                distance_m = geodesic_m(*here, *there)
                if store in self.polygons:
                    outside_m = outside_of_m(self.polygons[store], here)
                    near, inside = outside_m <= self.margin_m, outside_m == 0
                else:
                    near = distance_m <= self.radius_m[store] + self.margin_m
                    inside = bool(distance_m <= self.radius_m[store])
                if near:
                    pairs.append((ping, store, distance_m, inside))
        return pairs


def outside_of_m(shape: Polygon | MultiPolygon, here: tuple[float, float]) -> float:
    """The distance to a polygon by a search of all edges, 0 inside; no test asks where its error could decide."""
    if any(covers(shape, *same) for same in aliases(*here)):
        return 0.0
    outside_m = shape_distance_m(shape, *here)
    assume(all(abs(outside_m - limit_m) > 0.002 for limit_m in (MARGIN_M, 0.0)))
    return outside_m


def aliases(latitude: float, longitude: float) -> list[tuple[float, float]]:
    """The positions in degrees that are the same place."""
    if abs(latitude) == 90:
        return [(latitude, float(meridian)) for meridian in range(-180, 181)]
    return [(latitude, longitude), (latitude, -longitude)] if abs(longitude) == 180 else [(latitude, longitude)]


def world(stores, pings, margin_m=0.0) -> World:
    """A world of stores (latitude, longitude, radius_m) and pings (latitude, longitude)."""
    store_columns = np.array(stores, dtype=float).reshape(-1, 3).T
    ping_columns = np.array(pings, dtype=float).reshape(-1, 2).T
    return World(*store_columns, *ping_columns, margin_m)


SHIFTS_M = st.sampled_from([0.0, 1e-10, -1e-10, 1e-9, -1e-9, 1e-7, -1e-7, 1e-6, -1e-6, 1e-3]) | st.floats(-50, 50)


@st.composite
def worlds(draw):
    """A cluster of stores about an awkward place, and pings next to the edges of their geofences."""
    anchor = draw(st.sampled_from(ANCHORS) | st.tuples(st.floats(-90, 90), st.floats(-180, 180)))
    spread_m, largest_m = draw(st.sampled_from([(50, 50), (500, 500), (3_000, 2_000), (20_000, 10_000)]))
    margin_m = draw(st.sampled_from([0.0, 20.0]))
    stores, pings = [], []
    for _ in range(draw(st.integers(1, 7))):
        place = moved(*anchor, draw(AZIMUTHS), draw(st.floats(0, spread_m) | st.just(0.0)))
        radius_m = draw(st.floats(10, largest_m) | st.just(10.0))
        edge_m = radius_m + draw(st.sampled_from([0.0, margin_m])) + draw(SHIFTS_M)
        ping = moved(*place, draw(AZIMUTHS), max(edge_m, 0.0))
        if draw(st.booleans()):  # the ping exactly on the edge, or one rounding inside or outside
            radius_m = max(geodesic_m(*ping, *place), 1.0)
            radius_m = draw(st.sampled_from([radius_m, np.nextafter(radius_m, 0), np.nextafter(radius_m, 1e9)]))
        stores.append((*place, radius_m))
        pings.append(ping)
    return world(stores, pings, margin_m)


@st.composite
def worlds_of_every_shape(draw):
    """Polygons and circles next to each other, and pings next to and on their edges and their margins' edges."""
    shapes = draw(st.lists(SHAPES, min_size=1, max_size=3))
    stores, polygons, pings = [], {}, []
    for shape in shapes:
        edge = draw(st.sampled_from(edges_of(shape)))
        on_edge = point_of(edge, draw(st.floats(0, 1)))
        here = moved(*on_edge, draw(AZIMUTHS), draw(st.sampled_from([0.0, 19.9, 20.1]) | st.floats(0, 200)))
        pings += [on_edge, here]
        if draw(st.booleans()):
            stores.append((*moved(*here, draw(AZIMUTHS), 120 + draw(SHIFTS_M)), 100.0))
        position = position_of(shape)
        polygons[len(stores)] = shape
        stores.append((*position, reach_m(shape, *position)))
    return replace(world(stores, pings, draw(st.sampled_from([0.0, MARGIN_M]))), polygons=polygons)


def assert_is_brute_force(pairs: Pairs, expected: list[tuple[int, int, float, bool]]) -> None:
    assert list(zip(pairs.ping, pairs.store, pairs.inside, strict=True)) == [(p, s, i) for p, s, _, i in expected]
    assert pairs.distance_m == pytest.approx([distance_m for _, _, distance_m, _ in expected], rel=0, abs=1e-6)


@settings(deadline=None, max_examples=250)
@given(worlds())
def test_every_decision_is_geopys_in_any_world(some_world):
    assert_is_brute_force(some_world.match(), some_world.brute_force())


@settings(deadline=None, max_examples=80)
@given(worlds_of_every_shape())
def test_every_decision_about_polygons_is_that_of_a_search_of_all_edges(some_world):
    assert_is_brute_force(some_world.match(), some_world.brute_force())


@settings(deadline=None, max_examples=50)
@given(worlds_of_every_shape())
def test_circles_and_polygons_in_one_table_have_the_pairs_that_each_kind_has_alone(some_world):
    together = some_world.match()
    pairs = list(zip(*(column.tolist() for column in columns_of(together)), strict=True))
    circles = [store for store in range(len(some_world.latitude)) if store not in some_world.polygons]
    found = []
    for kind in (circles, sorted(some_world.polygons)):
        columns = (some_world.latitude[kind], some_world.longitude[kind], some_world.radius_m[kind])
        polygons = {row: some_world.polygons[store] for row, store in enumerate(kind) if store in some_world.polygons}
        alone = GeofenceIndex(*columns, polygons, margin_m=some_world.margin_m)
        ping, row, *rest = columns_of(alone.match(some_world.ping_latitude, some_world.ping_longitude))
        found += list(zip(*(column.tolist() for column in (ping, np.take(kind, row), *rest)), strict=True))
    assert sorted(found) == pairs


def columns_of(pairs: Pairs) -> tuple[np.ndarray, ...]:
    return pairs.ping, pairs.store, pairs.distance_m, pairs.inside


@settings(deadline=None, max_examples=150)
@given(worlds() | worlds_of_every_shape())
def test_one_position_is_decided_as_it_is_among_many(some_world):
    index, pairs = some_world.index(), some_world.match()
    near = dict(zip(zip(pairs.ping.tolist(), pairs.store.tolist(), strict=True), pairs.inside.tolist(), strict=True))
    for ping, here in enumerate(some_world.pings()):
        for store in range(len(some_world.latitude)):
            assert index.is_inside(store, *here) == near.get((ping, store), False)
            assert index.is_beyond(store, *here, by_m=0.0) == ((ping, store) not in near)


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(ANCHORS) | st.tuples(st.floats(-90, 90), st.floats(-180, 180)),
    AZIMUTHS,
    st.floats(0, 200) | st.floats(0, 2e5) | st.floats(0, 2e7) | st.sampled_from([99_000.0, 990_000.0, 20_003_931.4]),
    st.sampled_from([0.0, 1e-9, -1e-9, 1e-7, -1e-7, 1e-6, -1e-6, 1.0, -1.0]) | st.floats(-1e5, 1e5),
)
def test_to_be_beyond_a_circle_is_geopys_decision_at_any_distance(place, azimuth, length_m, shift_m):
    here = moved(*place, azimuth, length_m)
    distance = geodesic_m(*here, *place)
    by_m = max(distance - (RADIUS_M + MARGIN_M) + shift_m, 0.0)
    index = world([(*place, RADIUS_M)], [], MARGIN_M).index()
    for by in (by_m, float(np.nextafter(by_m, 0)), float(np.nextafter(by_m, 1e9))):
        assert index.is_beyond(0, *here, by_m=by) == (distance - by > RADIUS_M + MARGIN_M)


@settings(deadline=None, max_examples=50)
@given(worlds_of_every_shape(), st.floats(0, 300) | st.floats(0, 20_000))
def test_to_be_beyond_a_polygon_is_to_be_farther_from_all_its_edges(some_world, by_m):
    index = some_world.index()
    for store, shape in some_world.polygons.items():
        for here in some_world.pings():
            outside_m = outside_of_m(shape, here)
            if abs(outside_m - by_m - some_world.margin_m) > 0.01:
                assert index.is_beyond(store, *here, by_m=by_m) == (outside_m - by_m > some_world.margin_m)


def test_nothing_is_beyond_by_more_than_the_earth():
    polygon = box(0, 0, 0.001, 0.001)
    radius_m = reach_m(polygon, 0.0, 0.0)
    some_world = replace(world([(0.0, 0.0, radius_m), (0.0, 0.0, 50.0)], []), polygons={0: polygon})
    for store in (0, 1):
        assert some_world.index().is_beyond(store, 0.0, 180.0, by_m=1e7)
        assert not some_world.index().is_beyond(store, 0.0, 180.0, by_m=1e300)
        assert not some_world.index().is_beyond(store, 0.0, 180.0, by_m=np.inf)


@settings(deadline=None, max_examples=50)
@given(worlds())
def test_a_ping_has_the_same_pairs_alone_and_in_a_batch(some_world):
    index, batch = some_world.index(), some_world.match()
    for ping in range(len(some_world.ping_latitude)):
        rows = slice(ping, ping + 1)
        alone = index.match(some_world.ping_latitude[rows], some_world.ping_longitude[rows])
        mine = batch.ping == ping
        assert alone.store.tolist() == batch.store[mine].tolist()
        assert alone.distance_m.tolist() == batch.distance_m[mine].tolist()
        assert alone.inside.tolist() == batch.inside[mine].tolist()


@settings(deadline=None, max_examples=100)
@given(st.integers(-90_000, 90_000), st.integers(-180_000, 180_000), AZIMUTHS, st.floats(0, 11) | st.floats(9.9, 10.1))
def test_a_ping_on_the_corner_of_a_cell_finds_the_stores_around_it(row, column, azimuth, length_m):
    corner = row * LEAST_CELL_DEG, column * LEAST_CELL_DEG
    some_world = world([(*moved(*corner, azimuth, length_m), 10.0)], [corner])
    assert_is_brute_force(some_world.match(), some_world.brute_force())


def test_stores_on_both_sides_of_the_antimeridian_are_near():
    some_world = world([(0.0, 179.9999, 50.0), (0.0, -179.9999, 50.0)], [(0.0, 180.0), (0.0, -180.0)])
    assert list(zip(some_world.match().ping, some_world.match().store, strict=True)) == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_a_store_at_the_pole_is_near_at_every_longitude():
    pings = [(89.9999, longitude) for longitude in range(-180, 181, 15)]  # 11 m from the pole
    assert world([(90.0, 0.0, 20.0)], pings).match().inside.all()


def from_pole(pole: float, length_m: float) -> float:
    """The latitude `length_m` metres away from a pole."""
    return moved(pole, 0.0, 180.0 if pole > 0 else 0.0, length_m)[0]


@pytest.mark.parametrize("pole", [90.0, -90.0])
def test_geofences_that_nearly_reach_a_pole_are_found_where_they_are_widest(pole):
    """Seen from the pole it covers up to half of all longitudes, and most of them nearer than its centre."""
    stores, pings = [], []
    for longitude, away_m in ((-170.0, 10.5), (0.0, 30.0), (60.0, 200.0), (179.0, 3_000.0)):
        for share in (0.9, 0.99, 0.9999, 0.9999999):
            stores.append((from_pole(pole, away_m), longitude, away_m * share))
            touch = from_pole(pole, away_m * np.sqrt(1 - share**2))
            aside = 0.999 * np.degrees(np.arcsin(share))
            pings += [(touch, (longitude + turn + 180) % 360 - 180) for turn in (-aside, aside)]
    some_world = world(stores, pings)
    assert_is_brute_force(some_world.match(), some_world.brute_force())


def test_a_geofence_whose_disc_in_the_raster_ends_exactly_at_the_pole_is_found_where_it_is_widest():
    latitudes = 89.9 + np.arange(1_000) * 1e-5
    to_pole = np.radians(90 - latitudes)
    radii_m = to_pole * LEAST_RADIUS_OF_CURVATURE_M - PADDING_M
    exact = np.flatnonzero((radii_m + PADDING_M) / LEAST_RADIUS_OF_CURVATURE_M == to_pole)
    assert len(exact) > 100
    for row in exact[::25]:
        pings = [(90 - 0.15 * (90 - latitudes[row]), turn) for turn in range(-80, 81, 20)]
        some_world = world([(latitudes[row], 0.0, radii_m[row])], pings)
        assert_is_brute_force(some_world.match(), some_world.brute_force())


def test_a_ping_within_the_margin_is_near_and_not_inside():
    store = (51.5, -0.1)
    pings = [moved(*store, 30, length_m) for length_m in (99.9, 100.1, 119.9, 120.1)]
    pairs = world([(*store, 100.0)], pings, margin_m=20.0).match()
    assert pairs.ping.tolist() == [0, 1, 2]
    assert pairs.inside.tolist() == [True, False, False]


def test_a_ping_in_the_hole_of_a_polygon_is_outside_and_near_its_edge_within_the_margin():
    holed = star(51.5, -0.1, [1_000.0] * 60, hole=0.5)
    position = position_of(holed)
    pings = [moved(51.5, -0.1, 30, length_m) for length_m in (100.0, 475.0, 490.0, 600.0, 990.0, 1_010.0, 1_030.0)]
    some_world = world([(*position, reach_m(holed, *position))], pings, margin_m=20.0)
    pairs = replace(some_world, polygons={0: holed}).match()
    assert pairs.ping.tolist() == [2, 3, 4, 5]
    assert pairs.inside.tolist() == [False, True, True, False]


def test_pairs_are_ordered_by_ping_and_then_by_store_row():
    pings = [(51.5, -0.1), (10.0, 10.0), (51.5001, -0.1)]
    pairs = world([(51.5002, -0.1, 100.0), (51.5, -0.1, 100.0), (51.4999, -0.1, 100.0)], pings).match()
    assert list(zip(pairs.ping, pairs.store, strict=True)) == [(0, 0), (0, 1), (0, 2), (2, 0), (2, 1), (2, 2)]


def test_a_crowded_place_is_worked_through_whole():
    stores, pings = 3_000, 200  # 600,000 pairs: more than one block of candidates
    here = np.full(stores, 51.5), np.full(stores, -0.1)
    index = GeofenceIndex(*here, np.full(stores, 50.0), margin_m=0.0)
    pairs = index.match(np.full(pings, 51.5), np.full(pings, -0.1))
    assert np.array_equal(pairs.ping, np.repeat(np.arange(pings), stores))
    assert np.array_equal(pairs.store, np.tile(np.arange(stores), pings))
    assert pairs.inside.all()


def test_no_stores_and_no_pings_have_no_pairs():
    nobody, nowhere = world([], [(51.5, -0.1)]), world([(51.5, -0.1, 100.0)], [])
    for pairs in (nobody.match(), nowhere.match(), world([], []).match()):
        assert (len(pairs.ping), len(pairs.store), len(pairs.distance_m), len(pairs.inside)) == (0, 0, 0, 0)


def test_radii_from_10_m_to_10_km_in_one_city_do_not_explode_the_index():
    random = np.random.default_rng(1)
    stores = 20_000
    latitude, longitude = random.normal(51.5, 0.1, stores), random.normal(-0.1, 0.15, stores)
    radius_m = np.where(np.arange(stores) % 100, 10.0, 10_000.0)
    tracemalloc.start()
    GeofenceIndex(latitude, longitude, radius_m, margin_m=20.0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 32 * 2**20


@pytest.mark.parametrize(
    ("store", "margin_m", "message"),
    [
        ((91.0, 0.0, 50.0), 0.0, "store row 0: latitude is 91.0; valid are -90 to 90"),
        ((0.0, 180.5, 50.0), 0.0, "store row 0: longitude is 180.5; valid are -180 to 180"),
        ((np.nan, 0.0, 50.0), 0.0, "store row 0: latitude is nan"),
        ((0.0, 0.0, 0.0), 0.0, "store row 0: radius_m is 0.0; valid are more than 0 to 100000"),
        ((0.0, 0.0, 99_990.0), 20.0, "store row 0: radius_m is 99990.0; valid are more than 0 to 99980"),
        ((0.0, 0.0, np.inf), 20.0, "store row 0: radius_m is inf"),
        ((0.0, 0.0, 50.0), -1.0, "margin_m is -1.0; valid are 0 to 100000"),
    ],
)
def test_a_geofence_that_cannot_be_decided_exactly_is_refused(store, margin_m, message):
    with pytest.raises(ValueError, match=message):
        world([store], [], margin_m).index()


def test_columns_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="2 latitudes, 1 longitudes, 1 radii"):
        GeofenceIndex(np.zeros(2), np.zeros(1), np.ones(1), margin_m=0.0)


@pytest.mark.parametrize(
    ("row", "polygon", "message"),
    [
        (1, box(0, 0, 0.01, 0.01), "a polygon is of store row 1; valid are 0 to 0"),
        (-1, box(0, 0, 0.01, 0.01), "a polygon is of store row -1; valid are 0 to 0"),
        (0, Polygon(), r"store row 0: the polygon's bounds are \[nan, .*valid are some points"),
        (0, box(179, 0, 180.1, 0.01), r"store row 0: the polygon's bounds are \[179.0, 0.0, 180.1, 0.01\]"),
        (0, box(0, 89, 1, 90.1), "latitude -90 to 90"),
        (0, box(0, 0, 0.01, 0.01), r"store row 0: radius_m is 1500.0; its polygon reaches 1569.0\d\d m"),
    ],
)
def test_a_polygon_that_cannot_be_decided_exactly_is_refused(row, polygon, message):
    with pytest.raises(ValueError, match=message):
        replace(world([(0.0, 0.0, 1_500.0)], []), polygons={row: polygon}).index()


def positions(path: Path) -> tuple[np.ndarray, np.ndarray]:
    table = pl.read_csv(path, columns=["latitude", "longitude"], schema_overrides={"latitude": pl.Float64})
    return table["latitude"].to_numpy(), table["longitude"].to_numpy()


@pytest.fixture(scope="module", name="premises")
def _premises(real_data: Path) -> tuple[np.ndarray, np.ndarray]:
    return positions(real_data / "fhrs_uk" / "fhrs_uk_2015.csv.gz")


@pytest.fixture(scope="module", name="premises_index")
def _premises_index(premises) -> GeofenceIndex:
    return GeofenceIndex(*premises, np.full(len(premises[0]), RADIUS_M), margin_m=20.0)


@pytest.mark.realdata
def test_buses_across_the_country_have_68_487_pairs_with_food_premises(real_data, premises_index):
    pairs = premises_index.match(*positions(real_data / "uk_bus" / "uk_bus_positions_20220108.csv"))
    assert np.count_nonzero(pairs.inside) == 68_487
    assert len(np.unique(pairs.ping[pairs.inside])) == 9_478


@pytest.mark.realdata
def test_a_bus_on_route_14_has_7_523_pairs_with_food_premises(real_data, premises_index):
    pairs = premises_index.match(*positions(real_data / "uk_bus" / "route14_outbound.csv"))
    assert np.count_nonzero(pairs.inside) == 7_523
    assert len(np.unique(pairs.ping[pairs.inside])) == 1_000


@pytest.mark.realdata
def test_437_379_stores_take_less_than_200_mb_also_while_the_index_is_built(premises):
    radius_m = np.full(437_379, RADIUS_M)
    tracemalloc.start()
    GeofenceIndex(*premises, radius_m, margin_m=20.0)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200e6


@pytest.mark.realdata
def test_1_088_real_pairs_at_99_to_101_m_are_decided_as_two_libraries_decided(real_data):
    table = pl.read_csv(real_data / "geodtest" / "DERIVED_uk_bus_x_fhrs_99-101m.csv.gz").to_dict(as_series=False)
    columns = {name: np.array(values) for name, values in table.items()}
    rows = np.arange(len(columns["store_lat"]))
    index = GeofenceIndex(columns["store_lat"], columns["store_lon"], np.full(len(rows), RADIUS_M), margin_m=2.0)
    pairs = index.match(columns["bus_lat"], columns["bus_lon"])
    inside = columns["geographiclib_m"] <= RADIUS_M
    assert len(rows) == 1_088
    assert np.array_equal(inside, columns["proj_geodesic_m"] <= RADIUS_M)
    own = pairs.ping == pairs.store
    assert np.array_equal(pairs.ping[own], rows)
    assert pairs.distance_m[own] == pytest.approx(columns["geographiclib_m"], rel=0, abs=1e-6)
    assert np.array_equal(pairs.inside[own], inside)
    assert np.count_nonzero(inside != (columns["haversine_6371008.8_m"] <= RADIUS_M)) == 106  # a sphere is not enough


@pytest.mark.realdata
def test_karneys_short_geodesics_are_inside_a_radius_just_above_and_outside_one_just_below(real_data):
    table = np.loadtxt(real_data / "geodtest" / "GeodTest-short.dat.gz")
    table = table[(table[:, 6] >= 1e-3) & (table[:, 6] <= 99_000)]
    here, there, length_m = table[:, 0:2].T, table[:, 3:5].T, table[:, 6]
    for nudge_m, inside in ((1e-6, True), (-1e-6, False)):
        pairs = GeofenceIndex(*there, length_m + nudge_m, margin_m=0.0).match(*here)
        own = set(pairs.ping[pairs.ping == pairs.store].tolist())
        assert own == (set(range(len(table))) if inside else set())

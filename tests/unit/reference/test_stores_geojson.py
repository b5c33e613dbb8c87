"""stores.geojson: what is read from it, and every fault by line and feature."""

import json
import re

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.adapters.geojson_shapes import MAX_VERTICES
from shared.adapters.store_rows import DEFAULT_LOITERING_DELAY_S, StoresFile
from shared.adapters.stores_geojson import read_geojson_stores
from shared.domain.stores import StoreTable

POINT = {"type": "Point", "coordinates": [-0.1, 51.5]}
SQUARE = [[-0.1, 51.5], [-0.099, 51.5], [-0.099, 51.501], [-0.1, 51.501], [-0.1, 51.5]]
HOLE = [[-0.0997, 51.5003], [-0.0993, 51.5003], [-0.0993, 51.5006], [-0.0997, 51.5003]]


def shape(kind: str, coordinates: object) -> dict[str, object]:
    return {"type": kind, "coordinates": coordinates}


def feature(geometry: object = POINT, **changes: object) -> dict[str, object]:
    """A store without fault, but for the changes; a change to None takes the property away."""
    properties = {"store_id": "1", "name": "n", "merchant": "Tesco", "service_type": "s", "location": "l"}
    properties |= {"subType": "Circle", "radius": 80} | changes
    return {
        "type": "Feature",
        "geometry": geometry,
        "properties": {name: value for name, value in properties.items() if value is not None},
    }


def read(*features: object) -> StoresFile:
    """A file with a feature on each line from the second on."""
    lines = ",\n".join(json.dumps(one) for one in features)
    return read_geojson_stores(f'{{"type": "FeatureCollection", "features": [\n{lines}]}}'.encode())


def table(*features: object) -> StoreTable:
    found = read(*features)
    assert found.faults == []
    assert found.table is not None
    return found.table


def faults_of(*features: object) -> list[str]:
    return read(*features).faults


def test_a_point_with_a_radius_is_a_circle_as_azure_maps_writes_it() -> None:
    stores = table(feature(loitering_delay_s=60, time_zone="Europe/Paris"))
    assert (stores.store_id, stores.name, stores.merchant) == (("1",), ("n",), ("Tesco",))
    assert (stores.service_type, stores.location) == (("s",), ("l",))
    assert (stores.latitude[0], stores.longitude[0], stores.radius_m[0]) == (51.5, -0.1, 80)
    assert (stores.loitering_delay_s[0], stores.time_zone, stores.polygons) == (60, ("Europe/Paris",), {})


def test_what_is_not_said_is_the_default_and_the_zone_that_of_the_position() -> None:
    stores = table(feature(subType=None))
    assert stores.loitering_delay_s[0] == DEFAULT_LOITERING_DELAY_S
    assert stores.time_zone == ("Europe/London",)


def test_a_polygon_is_its_own_geofence_around_a_position_in_it() -> None:
    stores = table(feature(store_id="circle"), feature(shape("Polygon", [SQUARE, HOLE]), store_id="mall", radius=None))
    (row, polygon), *others = stores.polygons.items()
    assert (row, others) == (1, [])
    assert polygon.equals(shapely.Polygon(SQUARE, [HOLE]))
    assert polygon.covers(shapely.Point(stores.longitude[1], stores.latitude[1]))
    assert 60 < stores.radius_m[1] < 140
    assert stores.time_zone == ("Europe/London",) * 2


def test_a_multi_polygon_has_parts_also_on_both_sides_of_the_antimeridian() -> None:
    parts = [[[x, -17.0], [x, -17.001], [x - side * 0.001, -17.001], [x, -17.0]] for x, side in ((180, 1), (-180, -1))]
    stores = table(feature(shape("MultiPolygon", [[part] for part in parts])))
    assert isinstance(stores.polygons[0], shapely.MultiPolygon)
    assert stores.radius_m[0] < 300


@pytest.mark.parametrize("store_id", ["7", 7])
def test_the_id_of_the_feature_is_the_stores_unless_a_property_says_it(store_id: object) -> None:
    assert table(feature(store_id=None) | {"id": store_id}).store_id == ("7",)
    assert table(feature(store_id="own") | {"id": store_id}).store_id == ("own",)


def test_clockwise_rings_altitudes_and_members_that_nobody_knows_are_accepted() -> None:
    ring = [[*position, 12.5] for position in reversed(SQUARE)]
    strange = feature(shape("Polygon", [ring]), hue="red") | {"bbox": [0, 0, 1, 1]}
    assert len(table(strange).polygons) == 1


def test_spaces_around_a_text_do_not_count() -> None:
    stores = table(feature(store_id=" 1 ", merchant="Tesco "))
    assert (stores.store_id, stores.merchant) == (("1",), ("Tesco",))


def test_a_byte_order_mark_is_no_part_of_the_document() -> None:
    document = json.dumps({"type": "FeatureCollection", "features": [feature()]})
    assert read_geojson_stores(b"\xef\xbb\xbf" + document.encode()).faults == []


RANGE = "a position is [longitude, latitude], -180..180 and -90..90"
CUT = (
    "cut a polygon that crosses the antimeridian into a MultiPolygon with a part on each side (RFC 7946, section 3.1.9)"
)
KINDS = "valid are Point (a circle), Polygon and MultiPolygon"


@pytest.mark.parametrize(
    ("geometry", "fault"),
    [
        (None, f"geometry: is missing; {KINDS}"),
        (shape("LineString", SQUARE), f"geometry: its type is 'LineString'; {KINDS}"),
        (shape("Point", None), "geometry.coordinates: expected a list, got null"),
        (shape("Point", [1]), "geometry.coordinates: expected a list of length >= 2"),
        (shape("Point", ["a", 1]), "geometry.coordinates[0]: expected a number, got a text"),
        (shape("Point", [-0.1, 200]), f"geometry.coordinates: [-0.1, 200.0] is out of range; {RANGE}"),
        (shape("Point", [200, 51.5]), f"geometry.coordinates: [200.0, 51.5] is out of range; {RANGE}"),
        (shape("Polygon", []), "geometry.coordinates: has no ring"),
        (shape("Polygon", SQUARE), "geometry.coordinates[0][0]: expected a list, got a number"),
        (
            shape("Polygon", [SQUARE[:2] + SQUARE[:1]]),
            "geometry.coordinates[0]: has 3 positions; a ring has at least 4, the first again as the last",
        ),
        (
            shape("Polygon", [SQUARE[:-1]]),
            "geometry.coordinates[0]: is not closed: it begins at [-0.1, 51.5] and ends at [-0.1, 51.501]",
        ),
        (
            shape("Polygon", [SQUARE, [*HOLE[:-1], [500, 51.5]]]),
            f"geometry.coordinates[1][3]: [500.0, 51.5] is out of range; {RANGE}",
        ),
        (
            shape("Polygon", [[SQUARE[0], SQUARE[2], SQUARE[1], SQUARE[3], SQUARE[0]]]),
            "geometry: crosses or touches itself at [-0.0995, 51.5005]",
        ),
        (
            shape("Polygon", [HOLE, SQUARE]),
            "geometry: is no valid polygon: hole lies outside shell at [-0.1, 51.5]",
        ),
        (
            shape("Polygon", [SQUARE[:1] * 4]),
            "geometry: is no valid polygon: too few points in geometry component at [-0.1, 51.5]",
        ),
        (shape("MultiPolygon", []), "geometry.coordinates: has no polygon"),
        (
            shape("MultiPolygon", [[SQUARE], [SQUARE[1:]]]),
            "geometry.coordinates[1][0]: is not closed: it begins at [-0.099, 51.5] and ends at [-0.1, 51.5]",
        ),
        (
            shape("Polygon", [[[179.9, 1], [-179.9, 1], [-179.9, 1.1], [179.9, 1]]]),
            f"geometry.coordinates[0][1]: goes from longitude 179.9 to -179.9: {CUT}",
        ),
    ],
)
def test_a_geometry_that_is_no_geofence_names_its_place_and_what_is_wrong(geometry: object, fault: str) -> None:
    assert faults_of(feature(geometry, store_id="x")) == [f"stores.geojson line 2, feature 1 (x), {fault}"]


def test_a_point_at_latitude_0_and_longitude_0_was_never_set() -> None:
    (fault,) = faults_of(feature(shape("Point", [0, 0])))
    assert fault.endswith("feature 1 (1), geometry: latitude 0 and longitude 0 is a position that was never set")


def test_parts_of_a_multi_polygon_may_not_overlap() -> None:
    (fault,) = faults_of(feature(shape("MultiPolygon", [[SQUARE], [SQUARE]])))
    assert "geometry: crosses or touches itself at" in fault


@pytest.mark.parametrize("size", [0.000_05, 0.5])
def test_a_polygon_that_is_smaller_than_any_fix_or_larger_than_any_retail_park_is_refused(size: float) -> None:
    ring = [[0.1, 51], [0.1 + size, 51], [0.1 + size, 51 + size / 5], [0.1, 51]]
    (fault,) = faults_of(feature(shape("Polygon", [ring])))
    assert re.search(r"geometry: reaches [\d,.]+ m from its middle; valid are 10 to 20,000 m$", fault)


def test_a_latitude_that_could_only_be_a_longitude_was_probably_swapped() -> None:
    (fault,) = faults_of(feature(shape("Point", [51.5, 151.2])))
    assert fault.endswith("(latitude and longitude swapped?)")


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"name": None}, "name: is missing"),
        ({"name": 5}, "name: 5 is no text"),
        ({"merchant": ["Tesco"]}, 'merchant: ["Tesco"] is no text'),
        ({"radius": None}, "radius: is missing: a Point needs its radius in metres"),
        (
            {"radius": None, "radius_m": 80},
            "radius: is missing: a Point needs its radius in metres; radius_m is its name in stores.csv only",
        ),
        ({"radius": "80"}, 'radius: "80" is no number'),
        ({"radius": True}, "radius: true is no number"),
        ({"radius": 9.99}, "radius: 9.99 is out of range 10..10000"),
        ({"radius": 10_001}, "radius: 10001 is out of range 10..10000"),
        ({"subType": "Rectangle"}, "subType: 'Rectangle' is refused: a Point is a 'Circle'"),
        ({"loitering_delay_s": -1}, "loitering_delay_s: -1 is out of range 0..86400"),
        ({"time_zone": "Europe"}, "time_zone: 'Europe' is no IANA time zone, such as Europe/London"),
    ],
)
def test_a_property_with_a_fault_names_its_value_and_what_is_valid(changes: dict[str, object], fault: str) -> None:
    assert faults_of(feature(**changes)) == [f"stores.geojson line 2, feature 1 (1), {fault}"]


@pytest.mark.parametrize(
    ("store_id", "fault"),
    [
        (None, "store_id: is missing; give it as a property, or as the id of the feature"),
        (1.5, "store_id: 1.5 is no text"),
        ("", "store_id: has 0 characters; valid are 1 to 128"),
    ],
)
def test_a_store_without_an_id_is_named_by_its_place(store_id: object, fault: str) -> None:
    assert faults_of(feature(store_id=store_id)) == [f"stores.geojson line 2, feature 1, {fault}"]


def test_an_id_that_comes_twice_names_the_feature_where_it_came_first() -> None:
    assert faults_of(feature(), feature(store_id="2"), feature() | {"id": 9}) == [
        "stores.geojson line 4, feature 3 (1), store_id: '1' is also in feature 1"
    ]


def test_all_faults_of_a_file_are_listed_by_feature_and_field() -> None:
    listed = faults_of(
        feature(None, radius=1, name=None), 5, {"type": "feature"}, {"type": "Feature", "properties": []}
    )
    assert listed == [
        f"stores.geojson line 2, feature 1 (1), geometry: is missing; {KINDS}",
        "stores.geojson line 2, feature 1 (1), name: is missing",
        "stores.geojson line 3, feature 2: expected an object, got a whole number",
        "stores.geojson line 4, feature 3: its type is 'feature'; it must be 'Feature'",
        f"stores.geojson line 4, feature 3, geometry: is missing; {KINDS}",
        "stores.geojson line 4, feature 3, store_id: is missing; give it as a property, or as the id of the feature",
        "stores.geojson line 4, feature 3, name: is missing",
        "stores.geojson line 4, feature 3, merchant: is missing",
        "stores.geojson line 4, feature 3, service_type: is missing",
        "stores.geojson line 4, feature 3, location: is missing",
        "stores.geojson line 5, feature 4: properties: expected an object or null, got a list",
    ]


def star(vertices: int) -> list[list[float]]:
    angle = np.linspace(0, 2 * np.pi, vertices, endpoint=False)
    reach = np.where(np.arange(vertices) % 2, 0.002, 0.0021)
    ring = np.column_stack([reach * np.cos(angle), 51.5 + reach * np.sin(angle)]).tolist()
    return [*ring, ring[0]]


def test_a_polygon_has_at_most_ten_thousand_vertices() -> None:
    assert len(table(feature(shape("Polygon", [star(MAX_VERTICES)]))).polygons) == 1
    (fault,) = faults_of(feature(shape("Polygon", [star(MAX_VERTICES), SQUARE])))
    assert fault.endswith("geometry: has 10,004 vertices; valid are at most 10,000: simplify it")


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", ": line 1 column 1: is no JSON: Expecting value"),
        (b'{"features": [1,\n2', ": line 2 column 2: is no JSON: Expecting ',' delimiter"),
        (b"[]", ": expected an object, got a list"),
        (b'{"type": "FeatureCollection", "features": 3}', ": features: expected a list or null, got a whole number"),
        (b'{"type": "FeatureCollection", "features": []}', ": there is no store in the file: it has no features"),
        (b'{"a": NaN}', ": $: NaN is no number in JSON"),
        (b'{\n"a": "\xff"}', ": line 2: byte 8 is not UTF-8"),
    ],
)
def test_what_is_no_collection_of_features_is_refused_with_its_place(data: bytes, fault: str) -> None:
    assert read_geojson_stores(data).faults == [f"stores.geojson{fault}"]


def test_a_single_feature_is_no_collection() -> None:
    assert read_geojson_stores(json.dumps(feature()).encode()).faults == [
        "stores.geojson: its type is 'Feature'; it must be 'FeatureCollection'",
        "stores.geojson: there is no store in the file: it has no features",
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NUMBERS = st.floats(-200, 200, allow_nan=False) | JSON
NEARLY_SHAPES = st.builds(
    shape,
    st.sampled_from(["Point", "Polygon", "MultiPolygon"]),
    st.lists(NUMBERS, max_size=3) | st.lists(st.lists(st.lists(NUMBERS, max_size=3), max_size=6), max_size=2) | JSON,
)
NEARLY_FEATURES = st.builds(
    lambda geometry, changes: feature(geometry, **changes),
    NEARLY_SHAPES,
    st.dictionaries(st.sampled_from(["store_id", "radius", "time_zone", "subType", "loitering_delay_s", "id"]), JSON),
)


@given(
    st.binary()
    | st.builds(
        lambda features: json.dumps({"type": "FeatureCollection", "features": features}).encode(),
        st.lists(NEARLY_FEATURES | JSON) | JSON,
    )
)
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_stores_or_faults_and_never_an_exception(data: bytes) -> None:
    found = read_geojson_stores(data)
    assert (found.table is None) == bool(found.faults)

"""What a simulation plans to send."""

import json
from collections import defaultdict
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
import pytest
from geopy.distance import geodesic
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.proximity import GeofenceIndex
from shared.domain.simulation import (
    CLASSIC_POINTS,
    MAX_PINGS,
    Plan,
    PlannedPing,
    Position,
    Scenario,
    SimulationRequest,
    classic_ping,
    plan,
)
from shared.domain.stores import StoreTable

START_US = 1_800_000_000_000_000


def stores_at(*places: tuple[float, float], radius_m: float = 50.0) -> StoreTable:
    """Stores of that radius at these places."""
    ids = tuple(str(number) for number in range(len(places)))
    latitude, longitude = np.array(places, dtype=np.float64).reshape(-1, 2).T
    return StoreTable(
        ids, ids, ids, ids, ids, latitude, longitude, np.full(len(ids), radius_m), np.full(len(ids), 180.0), ids
    )


LONDON = stores_at(*((51.5 + 0.002 * row, -0.12 + 0.003 * column) for row in range(6) for column in range(6)))
ROUTE = [Position(51.5 + 0.0001 * number, -0.1) for number in range(20)]


def planned(stores: StoreTable = LONDON, seed: int = 7, **request: Any) -> Plan:
    """The plan of that request."""
    return plan(SimulationRequest(**request), seed=seed, start_us=START_US, stores=stores, route=ROUTE)


def bodies(pings: list[PlannedPing]) -> list[dict[str, Any]]:
    return [json.loads(ping.body) for ping in pings]


REQUESTS = st.builds(
    SimulationRequest,
    scenario=st.sampled_from([Scenario.WALK, Scenario.ROUTE]),
    devices=st.none() | st.integers(1, 40),
    seconds=st.floats(1, 40),
    rate=st.floats(1, 40),
    duplicates_percent=st.floats(0, 50),
    disorder_percent=st.floats(0, 50),
    jumps_percent=st.floats(0, 50),
    hostile_percent=st.floats(0, 50),
)
REQUESTS_OF_ALL_SCENARIOS = REQUESTS | st.builds(
    SimulationRequest, scenario=st.just(Scenario.CLASSIC), seconds=st.floats(1, 40), rate=st.floats(1, 40)
)


@given(REQUESTS_OF_ALL_SCENARIOS, st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_the_same_request_seed_and_start_plan_the_same_bytes(request: SimulationRequest, seed: int) -> None:
    first, second = (plan(request, seed=seed, start_us=START_US, stores=LONDON, route=ROUTE) for _ in range(2))
    assert list(first.write()) == list(second.write())
    assert first.simulation_id == second.simulation_id


def test_another_seed_plans_other_devices_and_another_walk() -> None:
    one, other = (bodies(list(planned(seed=seed, devices=5, seconds=5).write())) for seed in (1, 2))
    assert not {ping["device_id"] for ping in one} & {ping["device_id"] for ping in other}
    assert [ping["latitude"] for ping in one] != [ping["latitude"] for ping in other]


@given(REQUESTS_OF_ALL_SCENARIOS)
@settings(max_examples=60, deadline=None)
def test_a_plan_counts_what_it_sends(request: SimulationRequest) -> None:
    its = plan(request, seed=3, start_us=START_US, stores=LONDON, route=ROUTE)
    pings = list(its.write())
    assert len(pings) == its.pings == round(request.rate * request.seconds)
    assert len({ping.device_id for ping in pings}) == its.devices
    if request.scenario is Scenario.CLASSIC:
        return
    good = [json.loads(ping.body) for ping in pings if its.simulation_id.encode() in ping.body]
    assert len(good) == its.pings - its.hostile
    assert len(good) - len({ping["ping_id"] for ping in good}) == its.duplicates
    assert its.hostile == round(its.pings * request.hostile_percent / 100)


@given(REQUESTS)
@settings(max_examples=60, deadline=None)
def test_disordered_pings_and_only_those_are_older_than_the_ones_before_them(request: SimulationRequest) -> None:
    its = plan(request, seed=3, start_us=START_US, stores=LONDON, route=ROUTE)
    newest: dict[str, str] = {}
    seen: set[str] = set()
    older = 0
    for ping in its.write():
        if its.simulation_id.encode() not in ping.body:
            continue
        body = json.loads(ping.body)
        if body["ping_id"] not in seen:
            older += body["tracked_at"] < newest.get(ping.device_id, "")
        seen.add(body["ping_id"])
        newest[ping.device_id] = max(newest.get(ping.device_id, ""), body["tracked_at"])
    assert older == its.disordered


@given(REQUESTS_OF_ALL_SCENARIOS)
@settings(max_examples=40, deadline=None)
def test_pings_are_sent_in_time_order_within_the_seconds_asked_for(request: SimulationRequest) -> None:
    offsets = [ping.offset_s for ping in plan(request, seed=3, start_us=START_US, stores=LONDON, route=ROUTE).write()]
    assert offsets == sorted(offsets)
    assert offsets[0] >= 0
    assert offsets[-1] < request.seconds + 0.5 / request.rate


def test_a_ping_says_the_time_at_which_it_is_sent() -> None:
    for ping in planned(devices=3, seconds=4, rate=25).write():
        tracked_at = datetime.fromisoformat(json.loads(ping.body)["tracked_at"])
        assert tracked_at.timestamp() == pytest.approx(START_US / 1e6 + ping.offset_s, abs=0.001)


def test_devices_take_turns() -> None:
    devices = [ping.device_id for ping in planned(devices=3, seconds=3, rate=2).write()]
    assert devices == ["walk-7-0", "walk-7-1", "walk-7-2"] * 2


def test_the_partition_key_of_a_ping_is_its_device_id() -> None:
    for ping in planned(devices=5, seconds=5).write():
        assert json.loads(ping.body)["device_id"] == ping.device_id


def test_walkers_walk_at_walking_speed() -> None:
    """Over a minute, so that the noise of the positions counts little."""
    by_device = defaultdict(list)
    for ping in bodies(list(planned(devices=30, seconds=61, rate=30).write())):
        by_device[ping["device_id"]].append((ping["latitude"], ping["longitude"]))
    for track in by_device.values():
        assert geodesic(track[0], track[60]).m < 2.0 * 60 + 6 * 5.0


def test_most_walkers_enter_a_geofence_while_the_simulation_lasts() -> None:
    alone = stores_at((51.5, -0.12), (51.6, -0.12), (51.5, -0.32))
    index = GeofenceIndex(alone.latitude, alone.longitude, alone.radius_m, margin_m=0.0)
    pings = bodies(list(planned(alone, devices=100, seconds=20, rate=500).write()))
    pairs = index.match(*(np.array([ping[name] for ping in pings]) for name in ("latitude", "longitude")))
    turn_of_first: dict[int, int] = {}
    for ping in pairs.ping[pairs.inside].tolist():
        turn_of_first.setdefault(ping % 100, ping // 100)
    entered_later = sum(turn > 0 for turn in turn_of_first.values())
    assert entered_later > 80


def test_a_jump_is_half_a_kilometre_or_more_from_where_the_device_was() -> None:
    request = {"scenario": Scenario.ROUTE, "seconds": 20, "rate": 10}
    steady, jumping = (bodies(list(planned(**request, jumps_percent=jumps).write())) for jumps in (0, 10))
    far_m = [
        geodesic((a["latitude"], a["longitude"]), (b["latitude"], b["longitude"])).m
        for a, b in zip(steady, jumping, strict=True)
    ]
    jumped = [distance for distance in far_m if distance > 0]
    assert len(jumped) == planned(**request, jumps_percent=10).jumps == 20
    assert min(jumped) > 490
    assert max(jumped) < 5_050


@given(st.lists(st.tuples(st.floats(-90, 90), st.floats(-180, 180)), min_size=1, max_size=12), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_walks_stay_on_earth_wherever_the_stores_are(places: list[tuple[float, float]], seed: int) -> None:
    for ping in bodies(
        list(planned(stores_at(*places), seed, devices=4, seconds=600, rate=0.5, jumps_percent=20).write())
    ):
        assert -90 <= ping["latitude"] <= 90
        assert -180 <= ping["longitude"] <= 180


def test_a_walk_across_the_antimeridian_goes_the_short_way() -> None:
    fiji = stores_at((-17.0, 179.9995), (-17.0, -179.9995))
    for ping in bodies(list(planned(fiji, devices=5, seconds=600, rate=5).write())):
        assert abs(ping["longitude"]) > 179.9


def test_a_walk_needs_stores() -> None:
    with pytest.raises(ValueError, match="no stores"):
        planned(stores_at())


def test_devices_on_a_route_go_through_its_positions_in_a_loop_spread_along_it() -> None:
    latitudes = [
        ping["latitude"]
        for ping in bodies(list(planned(scenario=Scenario.ROUTE, devices=2, seconds=21, rate=2).write()))
    ]
    of_route = [round(position.latitude, 6) for position in ROUTE]
    assert latitudes[0::2] == of_route + of_route[:1]
    assert latitudes[1::2] == of_route[10:] + of_route[:11]


def test_positions_in_the_request_are_the_route() -> None:
    request = {"scenario": Scenario.ROUTE, "positions": [Position(1.5, 2.5)], "seconds": 1}
    assert {(ping["latitude"], ping["longitude"]) for ping in bodies(list(planned(**request).write()))} == {(1.5, 2.5)}


def test_the_classic_bodies_are_the_ancestors_to_the_byte() -> None:
    assert classic_ping(0)[1] == b"latitude:51.1, longitude:0.1,appid:abcde-j12345-e12345-f12345"
    assert classic_ping(9)[1] == b"latitude:52, longitude:0.37,appid:abcde-j12345-e12345-g12345"
    assert classic_ping(24)[1] == b"latitude:53.5, longitude:0.82,appid:abcde-j12345-e12345-n12345"
    assert classic_ping(30)[1] == b"latitude:54.1, longitude:1,appid:abcde-j12345-e12345-l12345"
    assert classic_ping(37)[1] == b"latitude:54.8, longitude:1.21,appid:abcde-j12345-e12345-k12345"


def test_the_classic_letters_run_from_f_to_n_and_then_from_g_to_n_again_and_again() -> None:
    letters = "".join(classic_ping(point)[0][20] for point in range(CLASSIC_POINTS))
    assert letters == "fghijklmn" + "ghijklmn" * 3 + "ghijk"


def test_the_classic_bodies_come_in_a_loop_under_their_device() -> None:
    pings = list(planned(scenario=Scenario.CLASSIC, seconds=4).write())
    assert [ping.body for ping in pings[:38]] == [classic_ping(point)[1] for point in range(38)]
    assert pings[38].body == pings[0].body
    assert all(ping.body.endswith(ping.device_id.encode()) for ping in pings)
    assert pings[1].offset_s == 0.1


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b'{"devices": 10001}', "<= 10000 - at `$.devices`"),
        (b'{"devices": 0}', ">= 1 - at `$.devices`"),
        (b'{"seconds": 601}', "<= 600.0 - at `$.seconds`"),
        (b'{"rate": 5001}', "<= 5000.0 - at `$.rate`"),
        (b'{"rate": 0}', "> 0.0 - at `$.rate`"),
        (b'{"rate": "10"}', "Expected `float`, got `str` - at `$.rate`"),
        (b'{"hostile_percent": 51}', "<= 50.0 - at `$.hostile_percent`"),
        (b'{"seed": -1}', ">= 0 - at `$.seed`"),
        (b'{"scenario": "fly"}', "Invalid enum value 'fly' - at `$.scenario`"),
        (b'{"speed": 2}', "unknown field `speed`"),
        (b'{"rate": 5000, "seconds": 600}', f"3,000,000 pings; valid are 1 to {MAX_PINGS:,}"),
        (b'{"rate": 0.1, "seconds": 1}', "0 pings; valid are 1 to"),
        (b'{"positions": [{"latitude": 1, "longitude": 1}]}', "positions belong to scenario route, not to walk"),
        (b'{"scenario": "route", "positions": []}', "length >= 1 - at `$.positions`"),
        (b'{"scenario": "route", "positions": [{"latitude": 0, "longitude": 0}]}', "never set - at `$.positions[0]`"),
        (b'{"scenario": "route", "positions": [{"latitude": 91, "longitude": 0}]}', "<= 90.0 - at `$.positions[0]"),
        (b'{"scenario": "classic", "devices": 3}', "it takes no devices"),
        (b'{"scenario": "classic", "hostile_percent": 3}', "it takes no hostile_percent"),
    ],
)
def test_a_request_beyond_a_limit_names_the_limit(body: bytes, problem: str) -> None:
    with pytest.raises(msgspec.ValidationError) as refused:
        msgspec.json.decode(body, type=SimulationRequest)
    assert problem in str(refused.value)

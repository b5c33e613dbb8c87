"""The baseline of the decision: what a straightforward app does, one event at a time, with good habits.

Stores sorted by latitude and found by bisection, a bounding box before the geodesic, presence in a dict. It has no
hysteresis, no policy, no state that outlives it, and nothing that tells a redelivery.
"""

import bisect
import json
import typing
import uuid
from datetime import UTC, datetime

import azure.functions as func
from geopy.distance import geodesic

from tests.bench import decision_world

app = func.FunctionApp()

_TABLE = decision_world.store_table()
STORES = sorted(
    zip(_TABLE.latitude.tolist(), _TABLE.longitude.tolist(), _TABLE.store_id, _TABLE.radius_m.tolist(), strict=True)
)
LATITUDES = [store[0] for store in STORES]
REACH_LATITUDE, REACH_LONGITUDE = 0.001, 0.002
"""More than 100 m, as far north as Scotland."""
inside: dict[str, set[str]] = {}


def stores_at(latitude: float, longitude: float) -> dict[str, float]:
    """The distances of the stores that the position is inside of, by id."""
    found = {}
    first = bisect.bisect_left(LATITUDES, latitude - REACH_LATITUDE)
    for row in range(first, len(STORES)):
        store_latitude, store_longitude, store_id, radius_m = STORES[row]
        if store_latitude > latitude + REACH_LATITUDE:
            break
        if abs(store_longitude - longitude) > REACH_LONGITUDE:
            continue
        distance_m = geodesic((latitude, longitude), (store_latitude, store_longitude)).meters
        if distance_m <= radius_m:
            found[store_id] = distance_m
    return found


def evaluate(event: func.EventHubEvent) -> list[str]:
    """The offers of one event: one for each store that the device was not inside of before."""
    ping = json.loads(event.get_body().decode())
    device_id, latitude, longitude = ping["device_id"], ping["latitude"], ping["longitude"]
    tracked_at = datetime.fromisoformat(ping["tracked_at"])
    if (datetime.now(UTC) - tracked_at).total_seconds() < 0:
        return []
    found = stores_at(latitude, longitude)
    entered = found.keys() - inside.get(device_id, set())
    inside[device_id] = set(found)
    return [
        json.dumps(
            {
                "id": str(uuid.uuid4()),
                "device_id": device_id,
                "store_id": store_id,
                "discount_percent": 5,
                "distance_m": found[store_id],
                "time": ping["tracked_at"],
            }
        )
        for store_id in entered
    ]


@app.function_name("evaluate_proximity")
@app.event_hub_message_trigger(
    arg_name="events",
    event_hub_name="%PINGS_HUB%",
    connection="EventHub",
    consumer_group="%CONSUMER_GROUP%",
    cardinality=func.Cardinality.MANY,
    data_type=func.DataType.BINARY,
)
@app.event_hub_output(arg_name="offers", event_hub_name="%OFFERS_HUB%", connection="EventHub")
def evaluate_proximity(events: typing.List[func.EventHubEvent], offers: func.Out[str]) -> None:  # noqa: UP006
    """Offer something to the devices that walked up to a store."""
    made = [offer for event in events for offer in evaluate(event)]
    offers.set(made)  # type: ignore[arg-type]

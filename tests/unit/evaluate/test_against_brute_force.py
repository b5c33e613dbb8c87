"""The decision and an oracle that shares no code with it, on the same files and the same pings: the same verdicts."""

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.hub_reader import HubEvent
from shared.adapters.reference_files import parse_reference, read_reference_files
from shared.domain.decision import DecisionReason
from shared.workflows.evaluate import Evaluator
from shared.workflows.partition_state import HubPartition
from tests.e2e.brute_force import Expected, Verdict, World, expect
from tests.fakes import FakeHub, FakeReferences, FakeStates
from tests.unit.evaluate.world import CAFE, NOON_US, Position, batch, beside

R = DecisionReason
EVENTS = 1_000
SEEDS = 3
STORES = [
    # id, merchant, position, radius, loitering delay, zone
    ("cafe", "Costa", CAFE, 60, 60, "Europe/London"),
    ("bakery", "Greggs", beside(CAFE, north_m=50), 40, 180, "Europe/London"),
    ("twin", "Greggs", beside(CAFE, north_m=50), 40, "", ""),
    ("kiosk", "Costa", beside(CAFE, east_m=150), 15, 0, "America/New_York"),
    ("park", "Park", beside(CAFE, north_m=300), 250, 600, "Australia/Lord_Howe"),
    ("ship", "Costa", (0.0, -30.0), 500, 180, ""),  # where the zones are nautical
]
RICH = {
    "promotions": [
        {"promotion_id": "coffee", "discount_percent": 20, "message": "m", "stores": {"merchants": ["Costa"]}},
        {
            "promotion_id": "bread",
            "discount_percent": 30,
            "message": "m",
            "stores": {"merchants": ["Greggs"]},
            "holdout_percent": 30,
            "hours": [
                {"from": "22:00", "to": "14:30", "days": ["sun", "mon", "wed"]},
                {"from": "16:00", "to": "20:00"},
            ],
        },
        {
            "promotion_id": "stay",
            "discount_percent": 5,
            "message": "m",
            "stores": "all",
            "trigger": "DWELL",
            "priority": 2,
            "contact_policy": {"cooldown_s": 1200, "quiet_hours": {"from": "02:00", "to": "05:30"}},
        },
        {"promotion_id": "few", "discount_percent": 50, "message": "m", "stores": "all", "max_offers": 30},
        {
            "promotion_id": "later",
            "discount_percent": 60,
            "message": "m",
            "stores": {"store_ids": ["cafe", "park"]},
            "starts_at": "2026-06-01T16:00:00+01:00",
            "ends_at": "2026-06-02T09:00:00+01:00",
        },
    ],
    "contact_policy": {"cooldown_s": 3600, "daily_cap": 4, "min_gap_s": 120},
}
STRICT = RICH | {
    "contact_policy": {"cooldown_s": 0, "daily_cap": None, "min_gap_s": 0, "require_consent": True},
    "presence": {"exit_margin_m": 0, "exit_delay_s": 0, "visit_timeout_s": 600, "max_accuracy_m": 30},
}


def write_files(folder: Path, promotions: dict) -> tuple[Path, Path]:
    """stores.csv and promotions.json."""
    header = "store_id,name,merchant,service_type,location,latitude,longitude,radius_m,loitering_delay_s,time_zone"
    rows = [
        f"{store_id},{store_id},{merchant},Shop,Here,{latitude},{longitude},{radius},{loitering},{zone}"
        for store_id, merchant, (latitude, longitude), radius, loitering, zone in STORES
    ]
    (folder / "stores.csv").write_text("\n".join([header, *rows]) + "\n")
    (folder / "promotions.json").write_text(json.dumps(promotions))
    return folder / "stores.csv", folder / "promotions.json"


def place(rng: random.Random) -> Position:
    """Mostly around a store's edge; now and then far away."""
    *_, position, radius, _, _ = rng.choice(STORES)
    reach = rng.choice([0.2, 0.8, 1.0, 1.2, 1.6, 1.6, 30.0]) * radius
    return beside(position, north_m=rng.uniform(-reach, reach), east_m=rng.uniform(-reach, reach))


def pings(rng: random.Random) -> Iterator[HubEvent]:
    """Devices that stay, go on, rest for hours, say how accurate they are, and are late."""
    places = [place(rng) for _ in range(12)]
    now_s, numbers = NOON_US // 1_000_000, Counter()
    for _ in range(EVENTS):
        now_s += rng.choice([0, 1, 1, 2, 5]) if rng.random() < 0.99 else rng.choice([600, 2000, 8000, 15_000])
        device = rng.randrange(len(places))
        if rng.random() < 0.3:
            places[device] = place(rng)
        late_s = rng.choice([0, 0, 0, 1, 30, 130]) if rng.random() < 0.3 else 0
        body = {
            "device_id": f"d{device}",
            "latitude": places[device][0],
            "longitude": places[device][1],
            "tracked_at": now_s - late_s,
            "accuracy_m": rng.choice([None, None, 5, 20, 50, 101, 400]),
            "consent": rng.choice([None, True, True, True]) if device else False,
        }
        partition = device % 2
        numbers[partition] += 1
        text = json.dumps({name: value for name, value in body.items() if value is not None})
        yield HubEvent(str(partition), numbers[partition], now_s * 1000 + 250, text.encode())


def decided(events: list[HubEvent], files: tuple[Path, Path]) -> Counter[Verdict]:
    """What the product says, in batches of various sizes."""
    references = FakeReferences([(0, parse_reference(read_reference_files(*files)))])
    evaluator = Evaluator(references, FakeStates(), FakeHub(), partition_count=4, delivery_window_s=300)
    found: Counter[Verdict] = Counter()
    for partition in "01":
        mine = [event for event in events if event.partition_id == partition]
        for first in range(0, len(mine), 97):
            rows = [
                (one.sequence_number, one.enqueued_ms // 1000 * 1_000_000, json.loads(one.body)["device_id"], one.body)
                for one in mine[first : first + 97]
            ]
            hub = HubPartition("footfall", "local", "dev-readfrom", partition)
            for text in evaluator.evaluate(batch(*rows, partition=hub)).decisions:
                found[Verdict.of(json.loads(text)["data"])] += 1
    return found


def compared(tmp_path: Path, promotions: dict, seed: int) -> Expected:
    """Both on the events of a seed: what was expected, which is what was decided."""
    files = write_files(tmp_path, promotions)
    events = sorted(pings(random.Random(seed)), key=lambda event: (event.partition_id, event.sequence_number))
    expected = expect(events, World.read(*files))
    assert decided(events, files) == Counter(expected.verdicts)
    return expected


@pytest.mark.parametrize("promotions", [RICH, STRICT], ids=["rich", "strict"])
def test_every_decision_is_what_brute_force_says(tmp_path, promotions):
    """And every reason is among them, but those that one version of good circles with known zones does not know."""
    reasons = {one.reason for seed in range(SEEDS) for one in compared(tmp_path, promotions, seed).verdicts}
    no_limits = {R.DAILY_CAP, R.TOO_SOON} if promotions is STRICT else set()
    assert reasons == {None, *R} - {R.GEOFENCE_CHANGED, R.UNKNOWN, R.INTERNAL_ERROR} - no_limits

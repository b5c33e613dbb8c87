"""Real buses past real food premises, through the whole stack: all pairs and decisions are those of brute force."""

import csv
import gzip
import json
from collections import Counter
from datetime import datetime
from pathlib import Path

import pytest

from shared.medallion.gps_enriched import GPS_ENRICHED
from shared.medallion.offers import OFFERS
from shared.medallion.pings import PINGS
from tests.cloud import Cloud
from tests.e2e.brute_force import Sent, World, expect
from tests.e2e.checks import (
    assert_each_event_once,
    distinct_offers,
    footfall,
    hub_events,
    rows,
    sent_decisions,
    verdicts,
)

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.realdata]

COLUMNS = ("store_id", "name", "merchant", "service_type", "location", "latitude", "longitude", "radius_m")
PROMOTIONS = {
    "promotions": [
        {
            "promotion_id": "everywhere",
            "discount_percent": 5,
            "message": "5 % for passing by",
            "stores": "all",
            "holdout_percent": 10,
        },
        {
            "promotion_id": "costa",
            "discount_percent": 20,
            "message": "Coffee?",
            "stores": {"merchants": ["Costa Coffee"]},
            "max_offers": 100,
        },
        {"promotion_id": "stay", "discount_percent": 50, "message": "Stay", "stores": "all", "trigger": "DWELL"},
        {
            "promotion_id": "over",
            "discount_percent": 90,
            "message": "Too late",
            "stores": "all",
            "ends_at": "2020-01-01T00:00:00Z",
        },
    ],
    # Recorded data: the newest ping is now, and the others are as much older as they were.
    "contact_policy": {"max_ping_age_s": 86400, "cooldown_s": 3600, "min_gap_s": 60, "daily_cap": 50},
}


@pytest.fixture(scope="module", name="files")
def _files(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """stores.csv of all UK food premises with a radius of 100 m, and promotions.json."""
    folder = tmp_path_factory.mktemp("reference")
    with (
        gzip.open(real_data / "fhrs_uk" / "fhrs_uk_2015.csv.gz", "rt", encoding="utf-8", newline="") as source,
        (folder / "stores.csv").open("w", newline="", encoding="utf-8") as target,
    ):
        writer = csv.writer(target)
        writer.writerow(COLUMNS)
        for row in csv.DictReader(source):
            name = row["businessname"]
            writer.writerow(
                (row["row_id"], name, name, "Food", row["authority_file"], row["latitude"], row["longitude"], 100)
            )
    (folder / "promotions.json").write_text(json.dumps(PROMOTIONS))
    return folder / "stores.csv", folder / "promotions.json"


def play(cloud: Cloud, files: tuple[Path, Path], recorded: Path, *mapping: str) -> None:
    """Publish the files, send the recording shifted to now, and wait until the lake has it."""
    footfall(cloud, "reference", "load", *map(str, files))
    maps = [word for pair in mapping for word in ("--map", pair)]
    footfall(cloud, "send", str(recorded), "--shift-to-now", *maps)
    footfall(cloud, "flush", "--timeout", "240")


def assert_decisions_are_those_of_brute_force(cloud: Cloud, files: tuple[Path, Path], pairs: int, pings: int) -> None:
    world = World.read(*files)
    events = hub_events(cloud, "dev-readfrom")
    expected = expect(events, world)
    assert (expected.pairs, expected.pings) == (pairs, pings), "brute force itself sees the known truth"

    enriched = rows(cloud, GPS_ENRICHED)
    assert enriched.height == pairs
    assert enriched.select("partition_id", "sequence_number").n_unique() == pings
    assert_each_event_once(events, rows(cloud, PINGS))

    emitted = distinct_offers(hub_events(cloud, "dev-writeto"))
    decisions = hub_events(cloud, "dev-decisions")
    decided = sent_decisions(decisions)
    assert set(emitted) == set(decided) == set(rows(cloud, OFFERS)["offer_id"])
    sent = {
        Sent(data["device_id"], data["store_id"], data["promotion_id"], datetime.fromisoformat(data["tracked_at"]))
        for data in decided.values()
    }
    assert sent == expected.offers
    assert len(sent) == len(emitted) > 0
    assert verdicts(decisions) == Counter(expected.verdicts)


def test_one_bus_for_an_afternoon(cloud: Cloud, files: tuple[Path, Path], real_data: Path) -> None:
    recorded = real_data / "uk_bus" / "route14_outbound.csv"
    play(cloud, files, recorded, "vehicle_id=device_id", "timestamp=tracked_at")
    assert_decisions_are_those_of_brute_force(cloud, files, pairs=7_523, pings=1_000)


def test_all_buses_of_the_country_at_one_moment(cloud: Cloud, files: tuple[Path, Path], real_data: Path) -> None:
    recorded = real_data / "uk_bus" / "uk_bus_positions_20220108.csv"
    play(cloud, files, recorded, "entity_id=device_id", "unix_time=tracked_at")
    assert_decisions_are_those_of_brute_force(cloud, files, pairs=68_487, pings=9_478)

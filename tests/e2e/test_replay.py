"""The back-test on a live capture: what was decided live, and what other promotions would have changed."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from infra.local.home import REPO
from shared.adapters.replay_folder import ReplayFolder
from tests.cloud import Cloud
from tests.e2e.checks import distinct_offers, footfall, hub_events
from tests.polling import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SAMPLE = REPO / "infra" / "local" / "sample"
ACTIVATION_DELAY_S = 31
"""The least that is allowed; the burst must last longer."""
BURST = {
    "devices": 200,
    "seconds": 50,
    "rate": 150,
    "seed": 7,
    "duplicates_percent": 1,
    "disorder_percent": 1,
    "jumps_percent": 1,
    "hostile_percent": 1,
}
ONE_PROMOTION = {
    "promotions": [{"promotion_id": "other", "discount_percent": 10, "message": "10 % off", "stores": "all"}],
}


@pytest.fixture(name="cloud")
def _cloud(tmp_path: Path) -> Iterator[Cloud]:
    """A laptop cloud where a published version is in force soon."""
    cloud = Cloud(tmp_path / "home")
    cloud.home.path.mkdir()
    delay = {"REFERENCE_ACTIVATION_DELAY_S": str(ACTIVATION_DELAY_S)}
    cloud.home.settings.write_text(json.dumps({"IsEncrypted": False, "Values": delay}))
    footfall(cloud, "up", "--detach")
    yield cloud
    cloud.end()


def larger_stores(folder: Path) -> Path:
    """The sample's stores with geofences of half as much again."""
    rows = list(csv.DictReader(io.StringIO((SAMPLE / "stores.csv").read_text())))
    larger = folder / "stores.csv"
    with larger.open("w", newline="") as out:
        writer = csv.DictWriter(out, rows[0])
        writer.writeheader()
        writer.writerows(row | {"radius_m": str(float(row["radius_m"]) * 1.5)} for row in rows)
    return larger


def sent(cloud: Cloud) -> int:
    """How many pings lie on the hub."""
    return sum(partition["next"] for partition in cloud.stack.broker.stats()["dev-readfrom"].values())


def decided(texts: list[str]) -> list[str]:
    """The decisions that did not fail: an error of its moment does not come again."""
    return [text for text in texts if json.loads(text)["data"]["outcome"] != "failed"]


def test_a_replay_makes_the_live_decisions_byte_for_byte_with_a_version_published_in_the_middle(
    cloud: Cloud, tmp_path: Path
) -> None:
    promotions = str(SAMPLE / "promotions.json")
    footfall(cloud, "reference", "load", str(SAMPLE / "stores.csv"), promotions)
    pings = cloud.stack.host.call("simulate", json.dumps(BURST))["pings"]
    footfall(cloud, "reference", "load", str(larger_stores(tmp_path)), promotions)
    wait_until(lambda: sent(cloud) == pings, 120, "the end of the burst")
    footfall(cloud, "flush", "--timeout", "180")

    live = {event.body.decode() for event in hub_events(cloud, "dev-decisions")}
    versions = {json.loads(text)["data"]["reference_version"] for text in live}
    assert len(versions) == 2, "the version that was published in the middle decided, too"

    out = tmp_path / "replayed"
    said = footfall(cloud, "replay", "--out", str(out), "--with-events")
    texts = ReplayFolder.of_earlier(out).scan().collect()["event"].to_list()
    assert len(texts) == len(set(texts)) > 100
    assert set(decided(texts)) == set(decided(list(live)))
    assert f"replayed {pings:,} events of 4 partitions" in said
    assert "in no capture file" not in said

    (tmp_path / "other.json").write_text(json.dumps(ONE_PROMOTION))
    compare = ("replay", "--promotions", str(tmp_path / "other.json"), "--out", str(tmp_path / "compared"))
    compared = json.loads(footfall(cloud, *compare, "--json"))
    *by_promotion, in_all = compared["promotions"]
    emitted = distinct_offers(hub_events(cloud, "dev-writeto"))
    assert in_all["offers_in_force"] == len(emitted)
    assert in_all["devices_in_force"] == len({offer["device_id"] for offer in emitted.values()})
    (other,) = [row for row in by_promotion if row["offers_changed"]]
    assert other["promotion_id"] == "other"
    assert other["offers_changed"] == in_all["offers_changed"] > 0
    assert "offers before" in footfall(cloud, *compare), "the same command again says it again"
    kept = ReplayFolder.of_earlier(tmp_path / "compared").scan()
    assert kept.select(pl.col("event").is_null().all()).collect().item(), "no device id was asked for"


def test_before_anything_was_captured_there_is_nothing_to_replay(cloud: Cloud, tmp_path: Path) -> None:
    footfall(cloud, "reference", "load", str(SAMPLE / "stores.csv"), str(SAMPLE / "promotions.json"))
    refused = cloud.footfall("replay", "--out", str(tmp_path / "replayed"))
    assert refused.returncode == 1
    assert "no capture files of dev-readfrom" in refused.stderr

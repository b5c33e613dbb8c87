"""What `footfall` offers to play with, on the whole stack: reference, send, offers, tables, flush, sql."""

import json
from datetime import UTC, datetime
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.cloud import Cloud

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

STORES = """store_id,name,merchant,service_type,location,latitude,longitude,radius_m
s1,Corner,Corner Coffee,Cafe,Camden,51.5,-0.1,100
"""
PROMOTIONS = {
    "promotions": [{"promotion_id": "p1", "discount_percent": 10, "message": "10 % off", "stores": "all"}],
}


def _write_reference(folder: Path) -> tuple[str, str]:
    stores, promotions = folder / "stores.csv", folder / "promotions.json"
    stores.write_text(STORES)
    promotions.write_text(json.dumps(PROMOTIONS))
    return str(stores), str(promotions)


def test_pings_sent_from_a_file_become_offers_and_rows_and_nothing_is_missing_after_a_flush(
    cloud: Cloud, tmp_path: Path
) -> None:
    stores, promotions = _write_reference(tmp_path)
    loaded = cloud.footfall("reference", "load", stores, promotions, "--json")
    assert loaded.returncode == 0, loaded.stderr
    assert json.loads(loaded.stdout)["stores"] == 1

    recorded = tmp_path / "recorded.csv"
    recorded.write_text("phone,time,lat,lon\nfar,2026-01-26 11:59:59,52,-0.1\nnear,2026-01-26 12:00:00,51.5003,-0.1\n")
    before = datetime.now(UTC)
    sent = cloud.footfall("send", str(recorded), "--map", "phone=device_id", "--shift-to-now")
    assert sent.returncode == 0, sent.stderr
    assert "sent 2 pings, 2 acknowledged" in sent.stdout

    flushed = cloud.footfall("flush", "--timeout", "60")
    assert flushed.returncode == 0, flushed.stderr

    offered = cloud.footfall("offers", "--json")
    (offer,) = [json.loads(line) for line in offered.stdout.splitlines()]
    assert offer["subject"] == "near"
    assert offer["data"]["store_id"] == "s1"
    assert datetime.fromisoformat(offer["time"]) >= before.replace(microsecond=0)
    assert "Corner Coffee, Camden" in cloud.footfall("offers").stdout

    rows = {table["name"]: table["rows"] for table in json.loads(cloud.footfall("tables", "--json").stdout)}
    assert rows["silver.pings"] == 2
    assert rows["silver.offers"] == rows["silver.gps_enriched"] == 1
    assert rows["gold.aggregated_trips"] == 1
    assert "silver.pings" in cloud.footfall("tables").stdout

    trips = cloud.footfall("sql", "SELECT * FROM gold.aggregated_trips", "--format", "csv")
    assert trips.stdout.splitlines() == ["location,merchant,count", "Camden,Corner Coffee,1"]
    with urlopen(f"{cloud.api}/gold/aggregated_trips?code={cloud.stack.host.key('default')}") as answer:  # noqa: S310
        assert json.load(answer)["rows"] == [{"location": "Camden", "merchant": "Corner Coffee", "count": 1}]

    cloud.stack.host.run_now("maintain_lake", 60)
    looked_after = json.loads(cloud.footfall("tables", "--json").stdout)
    assert {table["name"]: table["rows"] for table in looked_after} == rows


def test_a_flush_that_cannot_catch_up_says_what_is_missing(cloud: Cloud, tmp_path: Path) -> None:
    # Nothing was ever published, so no ping can be decided: evaluate_proximity waits for it.
    pings = tmp_path / "pings.jsonl"
    pings.write_text('{"device_id": "a", "latitude": 51.5, "longitude": -0.1}\n')
    assert cloud.footfall("send", str(pings)).returncode == 0
    flushed = cloud.footfall("flush", "--timeout", "3")
    assert flushed.returncode == 1
    assert "evaluate_proximity is behind on dev-readfrom" in flushed.stderr


def test_a_command_that_needs_the_stack_says_how_to_start_it(tmp_path: Path) -> None:
    refused = Cloud(tmp_path).footfall("offers")
    assert refused.returncode == 1
    assert "footfall up" in refused.stderr

"""`footfall why` on what the real chain leaves behind: decisions and pings in Delta, the device's row in a Table."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
import typer
from azure.storage.blob import BlobServiceClient
from typer.testing import CliRunner

from infra.cli import app
from infra.commands import why
from infra.local.eventhubs.partition_key import partition_for_key
from infra.local.lake import lake_tables
from shared.adapters.azure_clients import blob_service, table_service
from shared.adapters.event_hubs import HubInfo
from shared.adapters.reference_catalogue import ReferenceContainer
from shared.adapters.reference_files import parse_reference
from shared.adapters.state_table import StateTable
from shared.domain.events import instant
from shared.medallion.device_keys import DeviceKeys
from shared.settings import Connection, DeviceKey, Settings
from shared.workflows.evaluate import Evaluator
from shared.workflows.explain import Story
from shared.workflows.reference import ReferenceCatalogue, ReferenceFiles, publish
from shared.workflows.refine import Refiner
from tests.azurite import AzuriteServer
from tests.fakes import FakeHub
from tests.fakes_lake import HUBS, REMEMBERED, FakeCaptures, at, capture_file, record, unique
from tests.unit.evaluate.world import HubBatch, batch, body

pytestmark = pytest.mark.integration

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
DEVICE = "walker-1"
STORES = b"""store_id,name,merchant,service_type,location,latitude,longitude,radius_m,time_zone
cafe,Costa High Street,Costa,Coffee,Lambeth,51.5,-0.12,50,Europe/London
bakery,Greggs,Greggs,Bakery,Lambeth,51.51,-0.12,50,Europe/London
"""
PROMOTIONS = json.dumps(
    {
        "promotions": [
            {
                "promotion_id": "coffee",
                "discount_percent": 20,
                "message": "20 % off any hot drink",
                "stores": {"merchants": ["Costa"]},
            },
            {
                "promotion_id": "bakes",
                "discount_percent": 50,
                "message": "Two for one",
                "stores": {"merchants": ["Greggs"]},
                "starts_at": "2026-06-02T09:00:00+01:00",
            },
        ]
    }
).encode()
CAFE, BAKERY, STREET = (51.5, -0.12), (51.51, -0.12), (51.5060, -0.12)
KEYS = (
    DeviceKey("k1", b"the first secret of the lake"),
    DeviceKey("k2", b"the second secret of the lake", round((NOON + timedelta(minutes=5)).timestamp() * 1e6)),
)
"""The key changes in the middle of the walk."""


def us(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)


@dataclass
class Chain:
    """The chain from a batch of pings to silver, on one Azurite; only hub and Capture are not there."""

    settings: Settings
    batches: int = 0

    def publish(self) -> None:
        with blob_service(self.settings.lake_storage) as blobs:
            publish(
                ReferenceFiles(STORES, PROMOTIONS),
                store=ReferenceContainer.of(blobs, self.settings.reference_container),
                parse=parse_reference,
                clock=lambda: us(NOON),
                activation_delay_s=60,
                partition_count=4,
            )

    def run(self, *pings: tuple[timedelta, str, tuple[float, float]], device_id: str = DEVICE) -> None:
        """Evaluate and capture what a device sends: (time after noon, device in the body, position)."""
        partition_id = partition_for_key(device_id, self.settings.partition_count)
        first = 100 * self.batches
        events = [
            (first + row, us(NOON + after), device_id, body(sender, position, us(NOON + after)))
            for row, (after, sender, position) in enumerate(pings)
        ]
        self.batches += 1
        hub = HubInfo(self.settings.event_hub, self.settings.pings_hub, self.settings.consumer_group)
        taken = batch(*events, partition=hub.partition(str(partition_id)))
        decisions = self._decisions(taken)
        self._capture(HUBS.pings, partition_id, taken.bodies, taken)
        self._capture(HUBS.decisions, 0, [text.encode() for text in decisions], taken)

    def _decisions(self, taken: HubBatch) -> Sequence[str]:
        with blob_service(self.settings.lake_storage) as blobs, table_service(self.settings.state_storage) as tables:
            evaluator = Evaluator(
                self._references(blobs),
                StateTable.of(tables, self.settings.state_table),
                FakeHub(self.settings.partition_count),
                partition_count=self.settings.partition_count,
                delivery_window_s=300,
            )
            return evaluator.evaluate(taken).decisions

    def _capture(self, hub: str, partition_id: int, bodies: Sequence[bytes], taken: HubBatch) -> None:
        """Every decision is published twice: publishing is at least once."""
        times = [instant(int(taken.enqueued_at_us[-1]))] * len(bodies)
        if hub == HUBS.pings:
            times = [instant(enqueued_us) for enqueued_us in taken.enqueued_at_us.tolist()]
        else:
            bodies, times = [*bodies, *bodies], times * 2
        first = int(taken.sequence_numbers[0])
        path = at(times[0] if times else NOON, hub, partition_id)
        file = capture_file(
            [record(first + row, one, when) for row, (one, when) in enumerate(zip(bodies, times, strict=True))]
        )
        with blob_service(self.settings.lake_storage) as blobs:
            Refiner(
                FakeCaptures({path: file}),
                lake_tables(self.settings),
                self._references(blobs),
                DeviceKeys(self.settings.device_keys),
                HUBS,
                REMEMBERED,
                lambda: us(NOON + timedelta(hours=1)),
            ).refine(path)

    def _references(self, blobs: BlobServiceClient) -> ReferenceCatalogue:
        container = ReferenceContainer.of(blobs, self.settings.reference_container)
        return ReferenceCatalogue(container, parse_reference, lambda: us(NOON))

    def tell(self, device_id: str = DEVICE, now: datetime = NOON + timedelta(hours=1), **more: int) -> Story:
        return why.tell(self.settings, device_id, now_us=us(now), **more)


@pytest.fixture(name="chain")
def _chain(azurite: AzuriteServer) -> Chain:
    names = {name: unique(f"why-{name}-") for name in ("silver", "gold", "quarantine", "reference")}
    with BlobServiceClient.from_connection_string(azurite.connection_string) as blobs:
        for name in names.values():
            blobs.create_container(name)
    hub = "Endpoint=sb://localhost:1;SharedAccessKeyName=n;SharedAccessKey=k;UseDevelopmentEmulator=true;"
    return Chain(
        Settings(
            event_hub=Connection("EventHub", hub),
            lake_storage=Connection("LakeStorage", azurite.connection_string),
            state_storage=Connection("StateStorage", azurite.connection_string),
            state_table=unique("why"),
            device_keys=KEYS,
            **{f"{name}_container": container for name, container in names.items()},
        )
    )


@pytest.fixture(name="walk")
def _walk(chain: Chain) -> Chain:
    """Into the café, along the street, into the bakery, whose promotion starts tomorrow."""
    chain.publish()
    steps = [(0, STREET), (60, CAFE), (150, CAFE), (290, STREET), (400, STREET), (600, BAKERY)]
    chain.run(*((timedelta(seconds=after), DEVICE, place) for after, place in steps[:4]))
    chain.run(*((timedelta(seconds=after), DEVICE, place) for after, place in steps[4:]))
    return chain


def test_a_walk_is_told_from_the_lake_across_a_change_of_keys(walk):
    told = list(why.lines(walk.tell()))
    partition_id = partition_for_key(DEVICE, 4)
    assert told == [
        (
            f"device {DEVICE}, partition {partition_id}, 2026-05-31 13:00:00 to 2026-06-01 13:00:01 UTC: "
            "3 decisions, 6 pings (3 inside a geofence)"
        ),
        "  2026-06-01",
        "  12:01:00  walked into Costa High Street (cafe), 0 m from it",
        "            sent: coffee: 20 % off, “20 % off any hot drink”",
        "  12:06:40  left Costa High Street (cafe) after 3 min 50 s, at 12:04:50",
        "  12:10:00  walked into Greggs (bakery), 0 m from it",
        "            not sent: bakes: it starts on 2026-06-02 09:00 (Europe/London), that is tomorrow",
        "now: in Greggs (bakery) since 12:10:00, last shown inside at 2026-06-01 12:10:00 UTC",
        "silver has pings up to 2026-06-01 12:10:00 UTC, 50 min ago",
    ]


def test_an_instant_shows_the_hours_around_it_and_marks_what_is_nearest(walk):
    story = walk.tell(now=NOON + timedelta(days=3), at_us=us(NOON + timedelta(minutes=9)))
    assert [line[:10] for line in why.lines(story) if line.startswith(">")] == ["> 12:10:00"]
    assert len(story.moments) == 3
    later = walk.tell(now=NOON + timedelta(days=3), at_us=us(NOON + timedelta(hours=2)))
    assert later.moments == ()
    assert later.notes[0].startswith(
        "no ping of this device is in silver for this time; it was decided about at 12:10:00 before"
    )


def test_a_device_that_passed_no_store_is_told_the_nearest(walk):
    walk.run((timedelta(minutes=20), "passer-by", STREET), device_id="passer-by")
    story = walk.tell("passer-by")
    assert story.moments == ()
    assert story.notes[0] == (
        "1 ping arrived, and no ping was near a store; the nearest to the last one was Greggs (bakery), 445 m away"
    )


def test_a_device_that_nobody_knows_is_told_as_such(walk):
    story = walk.tell("stranger")
    assert story.notes[0].startswith(
        "no ping of this device is in silver for this time, and the state does not know it"
    )
    assert (story.moments, story.nearness.pings) == ((), 0)


def test_a_rejected_body_is_shown_to_the_device_whose_id_it_holds_and_to_no_other(walk):
    walk.run((timedelta(minutes=20), "lost", (95.0, 0.0)), device_id="lost")
    (said,) = [note for note in walk.tell("lost").notes if note.startswith("rejected")]
    assert said.startswith("rejected at 2026-06-01 12:20:00: out_of_range: latitude")
    assert not any(note.startswith("rejected") for note in walk.tell("los").notes)


def test_an_id_of_any_characters_finds_its_own(walk):
    odd = 'a"b\\c 🚶\n[x'
    walk.run((timedelta(minutes=20), odd, CAFE), (timedelta(minutes=21), odd, (95.0, 0.0)), device_id=odd)
    story = walk.tell(odd)
    assert [moment.store_id for moment in story.moments] == ["cafe"]
    assert any(note.startswith("rejected") for note in story.notes)


def test_what_was_sent_under_another_key_is_found_where_the_records_say(walk):
    other = next(name for name in map(str, range(100)) if partition_for_key(name, 4) != partition_for_key(DEVICE, 4))
    walk.run((timedelta(minutes=20), "stray", CAFE), device_id=other)
    strayed = walk.tell("stray")
    assert strayed.partition_id == str(partition_for_key(other, 4))
    assert any(note.startswith("now: in Costa High Street (cafe)") for note in strayed.notes)


def test_before_anything_was_captured_the_story_says_what_is_missing(chain):
    story = chain.tell()
    assert story.notes == (
        (
            "no ping of this device is in silver for this time, and the state does not know it: "
            "it sent nothing, or was in no geofence for 8 days"
        ),
        "silver has no pings yet: a capture window closes every minute (`footfall flush` closes it now)",
    )
    assert lake_tables(chain.settings).summaries()[0].version is None, "who only looks creates no table"


def test_a_version_that_is_gone_leaves_a_story_without_its_numbers(walk):
    lost = replace(walk, settings=replace(walk.settings, reference_container=unique("why-nothing-")))
    story = lost.tell()
    assert [moment.store for moment in story.moments] == [None, None, None]
    assert story.moments[2].verdicts[0].sentence == "it was not running then"
    assert any("cannot be read any more" in note for note in story.notes)


@pytest.mark.parametrize("text", ["yesterday", "12:04", "2026-06-01T12:04:10", "", "1780315200"])
def test_an_instant_that_is_none_is_refused_with_what_would_be_valid(text):
    with pytest.raises(typer.BadParameter, match="RFC 3339 with an offset, such as 2026-06-01T12:04:10Z"):
        why.parse_instant(text)


@pytest.mark.parametrize("device", ["", "x" * 129, "\udc80"])
def test_a_device_that_no_ping_can_have_is_refused_with_what_would_be_valid(device):
    refused = CliRunner().invoke(app, ["why", device])
    assert refused.exit_code == 2
    assert "valid text of 1 to 128 characters" in re.sub(r"[\s│]+", " ", refused.output)

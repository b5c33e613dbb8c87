"""Captured pings in memory, a journal that may be killed, and the same events evaluated live."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec
import polars as pl

from shared.domain.promotions import ContactPolicy, Promotion, StoreSelector, Transition
from shared.domain.reference import ReferenceData
from shared.errors import LakeUnavailable
from shared.medallion.bronze import CAPTURED, Bodies, Captured, CapturePath
from shared.medallion.device_keys import DeviceKeys
from shared.medallion.replayed import REPLAYED, Side
from shared.settings import DeviceKey
from shared.workflows.evaluate import Evaluator
from shared.workflows.partition_state import HubPartition
from shared.workflows.replay import Advance, OneVersion, Replayer, SavedPartition, Span, Step
from shared.workflows.sightings import HubBatch, ReferenceSource
from tests.fakes import FakeHub, FakeReferences, FakeStates
from tests.unit.evaluate.world import BAKERY, CAFE, FAR_AWAY, NOON_US, SECOND_US, batch, body, reference

HUB = "dev-readfrom"
PARTITIONS = 4
KEYS = DeviceKeys([DeviceKey("k1", b"a secret of 16 bytes or more")])

type Event = tuple[int, int, str, bytes]
"""Sequence number, enqueued time in µs, partition key, body."""

POLICY = ContactPolicy(cooldown_s=300, daily_cap=3, min_gap_s=30)
BY_THE_DOOR = Promotion("coffee", 20.0, "Coffee?", StoreSelector(merchants=frozenset({"Costa"})), max_offers=9)
FOR_THOSE_WHO_STAY = Promotion("stay", 10.0, "Still here?", trigger=Transition.DWELL, holdout_percent=40, priority=1)
FIRST = reference(version="v1", promotions=(BY_THE_DOOR, FOR_THOSE_WHO_STAY), policy=POLICY)
SECOND = reference(version="v2", promotions=(FOR_THOSE_WHO_STAY,), policy=POLICY)

DEVICES = ("ann", "bob", "cat", "dan")


def path_at(second: float, partition_id: str = "2") -> str:
    """The path of the capture file whose window began that long after noon."""
    window = datetime.fromtimestamp(NOON_US / 1e6 + second, UTC)
    return f"ns/{HUB}/{partition_id}/{window:%Y/%m/%d/%H/%M/%S}.avro"


@dataclass
class MemoryCaptures:
    """The port `Captures`: the events of each file by its path."""

    files: dict[str, Sequence[Event]] = field(default_factory=dict)
    frame_rows: int = 7
    reads: list[str] = field(default_factory=list)

    def sizes(self, hub: str) -> Mapping[CapturePath, int]:
        paths = reversed(self.files)  # no order is promised
        return {CapturePath.parse(path): 1 + len(self.files[path]) for path in paths if f"/{hub}/" in path}

    def frames(self, path: str) -> Iterator[Captured]:
        self.reads.append(path)
        events = self.files[path]
        numbers, enqueued, _, bodies = zip(*events, strict=True) if events else ((), (), (), ())
        columns = {"sequence_number": numbers, "enqueued_at": enqueued}
        yield from Captured(pl.DataFrame(columns, schema=CAPTURED), Bodies.of(bodies)).slices(self.frame_rows)


@dataclass
class MemoryJournal:
    """The port `Journal`; after `saves_left` saves the process is killed."""

    rows: pl.DataFrame = field(default_factory=REPLAYED.to_frame)
    saved: dict[tuple[str, str], bytes] = field(default_factory=dict)
    saves_left: int | None = None

    def load(self, namespace: str, partition_id: str) -> SavedPartition | None:
        content = self.saved.get((namespace, partition_id))
        return None if content is None else msgspec.msgpack.decode(content, type=SavedPartition)

    def save(self, saved: SavedPartition, rows: pl.DataFrame) -> None:
        if self.saves_left is not None:
            if not self.saves_left:
                raise LakeUnavailable("the process is killed here")
            self.saves_left -= 1
        self.rows = pl.concat([self.rows, rows])
        self.saved[saved.namespace, saved.partition_id] = msgspec.msgpack.encode(saved)

    def texts(self, side: Side = Side.IN_FORCE) -> list[str]:
        """The decisions of one side."""
        return self.rows.filter(side=str(side))["event"].to_list()


def replayer(
    captures: MemoryCaptures,
    journal: MemoryJournal,
    references: ReferenceSource,
    *,
    changed: ReferenceData | None = None,
    span: Span | None = None,
    start: MemoryJournal | None = None,
    step: Step | None = None,
    partition_count: int = PARTITIONS,
) -> Replayer:
    sides: dict[Side, ReferenceSource] = {Side.IN_FORCE: references}
    if changed is not None:
        sides[Side.CHANGED] = OneVersion(changed)
    return Replayer(
        captures,
        journal,
        KEYS,
        HUB,
        partition_count,
        sides,
        span or Span(),
        start,
        with_events=True,
        step=step or Step(),
    )


def replay(captures: MemoryCaptures, references: ReferenceSource, **options: object) -> MemoryJournal:
    """Replay all of it; what it left."""
    journal = MemoryJournal()
    replayer(captures, journal, references, **options).run(nothing)  # type: ignore[arg-type]
    return journal


def live(batches: Sequence[Sequence[Event]], references: FakeReferences, partition_id: str = "2") -> list[str]:
    """The decisions that were made when the batches were delivered, in order."""
    partition = HubPartition("footfall", "ns", HUB, partition_id)
    evaluator = Evaluator(
        references, FakeStates(), FakeHub(PARTITIONS), partition_count=PARTITIONS, delivery_window_s=300
    )
    return [text for events in batches for text in evaluator.evaluate(_batch(events, partition)).decisions]


def _batch(events: Sequence[Event], partition: HubPartition) -> HubBatch:
    return batch(*events, partition=partition)


def in_force(*later: tuple[float, ReferenceData]) -> FakeReferences:
    """FIRST, and other versions from so many seconds after noon on."""
    return FakeReferences([(0, FIRST), *((NOON_US + round(second * SECOND_US), data) for second, data in later)])


def nothing(size: int) -> Advance:
    """Nobody watches the progress."""
    return lambda done: None


def events_of(steps: Sequence[tuple[str, tuple[float, float], int, int, bool]]) -> list[Event]:
    """Each step: device, place, seconds since the event before, seconds that the ping is late, whether it is one."""
    events: list[Event] = []
    at_us = NOON_US
    for number, (device_id, place, pause_s, late_s, is_ping) in enumerate(steps):
        at_us += pause_s * SECOND_US
        text = body(device_id, place, at_us - late_s * SECOND_US) if is_ping else b"no ping"
        events.append((number, at_us, device_id, text))
    return events


def cut(events: Sequence[Event], lengths: Sequence[int]) -> list[Sequence[Event]]:
    """The events in pieces of these lengths, which begin again when they are used up."""
    pieces, at, turn = [], 0, 0
    while at < len(events):
        length = lengths[turn % len(lengths)]
        pieces.append(events[at : at + length])
        at, turn = at + length, turn + 1
    return pieces


def captured(events: Sequence[Event], lengths: Sequence[int] = (10,), frame_rows: int = 7) -> MemoryCaptures:
    """Capture files of so many events each, one a minute."""
    pieces = cut(events, lengths)
    return MemoryCaptures({path_at(60 * number): piece for number, piece in enumerate(pieces)}, frame_rows)


A_DAY_AT_THE_CAFE = events_of(
    [
        (device_id, place, 20, 0, True)
        for place in (CAFE, BAKERY, CAFE, CAFE, FAR_AWAY, FAR_AWAY, FAR_AWAY, FAR_AWAY, CAFE)
        for device_id in DEVICES
    ]
)
"""Everybody comes, stays, goes and comes again: 36 events, 20 seconds apart."""

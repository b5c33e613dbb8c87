"""The back-test: captured pings, decided again by the very code that decides live.

Each hub partition is played from its first capture file (or from the state that an earlier replay left) in the order of
its sequence numbers, so a replay under the versions in force makes the decisions that were made live, byte for byte,
but for those that failed then. What lies before the time asked for is played to know the state, and not written.

With changed reference data, both worlds are played over the same events. They part where writing begins: until then,
what happened has happened.
"""

import heapq
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from shared.domain.budget import Budget
from shared.domain.decision import NOTHING
from shared.domain.device_state import DeviceState
from shared.domain.pings import decode_pings
from shared.domain.reference import ReferenceData
from shared.errors import ConfigurationError, ReplayRefused
from shared.medallion.bronze import Captured, CapturePath
from shared.medallion.device_keys import DeviceKeys
from shared.medallion.replayed import REPLAYED, Side, replayed_rows
from shared.workflows.evaluate import STATE_TTL_US, budgets_spent, decide_one, is_of_new_hub
from shared.workflows.messages import encode_decision
from shared.workflows.partition_state import HubPartition
from shared.workflows.sightings import HubBatch, ReferenceSource, SeenBatch, see

log = logging.getLogger(__name__)

LOOK_AHEAD = 1
"""How many files are opened before their turn, to find the one with the earlier events."""

type Advance = Callable[[int], None]
"""Told how many bytes of capture files have been replayed since the last call."""


class Captures(Protocol):
    """Capture files. Raises CaptureFileUnreadable, and LakeUnavailable when the storage does not answer."""

    def sizes(self, hub: str) -> Mapping[CapturePath, int]:
        """The capture files of a hub with their sizes in bytes."""
        ...

    def frames(self, path: str) -> Iterator[Captured]:
        """The events of a file in order, a bounded number at a time."""
        ...


class SavedWorld(msgspec.Struct, frozen=True):
    """What the decisions of one side have led to: the devices' states, and the budgets spent by promotion id."""

    states: dict[str, DeviceState] = {}
    spent: dict[str, int] = {}


class Counts(msgspec.Struct, frozen=True):
    """What was replayed."""

    events: int = 0
    rejected: int = 0
    """Events whose bodies were no pings."""
    skipped: int = 0
    """Sequence numbers that no capture file has."""
    new_hubs: int = 0
    """How often the numbers began again: the hub was made anew."""

    def plus(self, other: "Counts") -> "Counts":
        """The sums."""
        return Counts(*(ours + theirs for ours, theirs in zip(_values(self), _values(other), strict=True)))


class SavedPartition(msgspec.Struct, frozen=True, kw_only=True):
    """How far a hub partition has been replayed, and all that later decisions depend on."""

    namespace: str
    partition_id: str
    partition_count: int
    first_number: int | None = None
    """The first sequence number that was replayed, None before."""
    sequence_number: int = -1
    """Of the last event that was applied, and when that was enqueued."""
    enqueued_at_us: int = 0
    resume_at: datetime | None = None
    """The start of the earliest capture window that may hold events still to come."""
    is_writing: bool = False
    """Whether the time asked for has begun, and the worlds have parted."""
    is_done: bool = False
    """Whether it has ended."""
    missing: list[tuple[int, int]] = []
    """The skipped sequence numbers, from and to (exclusive), of the hub that there is."""
    counts: Counts = Counts()
    worlds: dict[Side, SavedWorld] = {}


class Journal(Protocol):
    """Where a replay leaves its decisions and how far it came, always both together."""

    def load(self, namespace: str, partition_id: str) -> SavedPartition | None:
        """How far the partition came, None when it was never saved. Raises ReplayRefused for what cannot be read."""
        ...

    def save(self, saved: SavedPartition, rows: pl.DataFrame) -> None:
        """Keep the decisions made since the last save (shared.medallion.replayed.REPLAYED) and how far that was."""
        ...


class SavedStates(Protocol):
    """The state that an earlier replay left."""

    def load(self, namespace: str, partition_id: str) -> SavedPartition | None:
        """How far the partition came, None when it was never saved. Raises ReplayRefused for what cannot be read."""
        ...


@dataclass(frozen=True, slots=True)
class OneVersion:
    """The port `ReferenceSource` for files that decide every event."""

    reference: ReferenceData

    def refresh(self, newest_enqueued_us: int) -> None:
        """There is nothing newer."""

    def version_for(self, enqueued_at_us: int) -> ReferenceData:
        """These, whenever the event was enqueued."""
        return self.reference


@dataclass(frozen=True, slots=True)
class Span:
    """What is written: the events from the first one enqueued at `from_us` or later to the first at `to_us` or later.

    Microseconds since 1970 UTC; None: no bound. Spans that meet have every event once, in sequence order.
    """

    from_us: int | None = None
    to_us: int | None = None

    def __post_init__(self) -> None:
        if self.from_us is not None and self.to_us is not None and self.from_us >= self.to_us:
            raise ReplayRefused("the time to replay ends before it begins: --from must be earlier than --to")


@dataclass(frozen=True, slots=True)
class Step:
    """How much is replayed between two saves: what comes first of these ends it."""

    events: int = 1_000_000
    decisions: int = 200_000
    files: int = 1_000


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What was replayed, over all runs of this replay."""

    counts: Counts
    files: int
    partitions: int
    begun_late: tuple[str, ...]
    """The partitions whose captures begin after their hub's first event: what was before is not known."""


@dataclass(frozen=True, slots=True)
class Replayer:
    """Replays the captures of the pings hub."""

    captures: Captures
    journal: Journal
    keys: DeviceKeys
    hub: str
    partition_count: int
    references: Mapping[Side, ReferenceSource]
    """Of Side.IN_FORCE always, of Side.CHANGED where there is something to compare with."""
    span: Span = Span()
    start: SavedStates | None = None
    """None: from the first capture file on."""
    with_events: bool = False
    step: Step = Step()

    def run(self, begin: Callable[[int], Advance]) -> ReplayReport:
        """Replay what is not yet in the journal; *begin* is told how many bytes of capture files there are.

        Raises ReplayRefused when there is nothing to replay or it cannot be done right, CaptureFileUnreadable with the
        name of the file, TransientError when the storage does not answer.
        """
        partitions = self._partitions()
        advance = begin(sum(size for files in partitions.values() for size in files.values()))
        saved = [_without_states(self._replay(*name, files, advance)) for name, files in partitions.items()]
        counts = Counts()
        for one in saved:
            counts = counts.plus(one.counts)
        late = tuple(one.partition_id for one in saved if one.first_number)
        return ReplayReport(counts, sum(map(len, partitions.values())), len(partitions), late)

    def _partitions(self) -> dict[tuple[str, str], dict[CapturePath, int]]:
        """The files of each partition of each namespace, in the order of their windows."""
        sizes = self.captures.sizes(self.hub)
        found: dict[tuple[str, str], dict[CapturePath, int]] = {}
        for file in sorted(sizes, key=lambda file: (file.namespace, int(file.partition_id), file.window_start)):
            if file.hub == self.hub:
                found.setdefault((file.namespace, file.partition_id), {})[file] = sizes[file]
        if not found:
            raise ReplayRefused(
                f"there are no capture files of {self.hub}: nothing was captured yet, or all is deleted"
            )
        for _, partition_id in found:
            if int(partition_id) >= self.partition_count:
                raise ConfigurationError(
                    f"PARTITION_COUNT is {self.partition_count}, but there are capture files of partition "
                    f"{partition_id}; partitions are numbered from 0, and budgets are shared by their number"
                )
        return found

    def _replay(
        self, namespace: str, partition_id: str, files: Mapping[CapturePath, int], advance: Advance
    ) -> SavedPartition:
        saved = self.journal.load(namespace, partition_id) or self._first(namespace, partition_id)
        left = {} if saved.is_done else {file: size for file, size in files.items() if not _is_before(file, saved)}
        advance(sum(files.values()) - sum(left.values()))
        playing = _Playing(self, saved, left)
        for file, frames in in_sequence(left, self.captures.frames):
            for captured in frames:
                playing.apply(file, captured)
                if playing.is_step_full():
                    playing.save()
                if playing.saved.is_done:
                    break
            if playing.saved.is_done:
                break
            playing.files += 1
            advance(left.pop(file))
        advance(sum(left.values()))
        return playing.save()

    def _first(self, namespace: str, partition_id: str) -> SavedPartition:
        """Where the partition begins."""
        saved = self.start.load(namespace, partition_id) if self.start is not None else None
        if saved is None:
            return SavedPartition(
                namespace=namespace,
                partition_id=partition_id,
                partition_count=self.partition_count,
                worlds={Side.IN_FORCE: SavedWorld()},
            )
        if saved.partition_count != self.partition_count:
            raise ReplayRefused(
                f"PARTITION_COUNT is {self.partition_count}, but the state of partition {partition_id} was made with "
                f"{saved.partition_count}: budgets would be shared otherwise"
            )
        if self.span.from_us is not None and saved.enqueued_at_us >= self.span.from_us:
            raise ReplayRefused(
                f"the state of partition {partition_id} has events up to {_utc(saved.enqueued_at_us)}: "
                "--from must be later, or the replay start from an earlier state"
            )
        return msgspec.structs.replace(
            saved,
            is_writing=False,
            is_done=False,
            counts=Counts(),
            worlds={Side.IN_FORCE: saved.worlds[Side.IN_FORCE]},
        )


type Frames = Iterator[Captured]


def in_sequence(files: Iterable[CapturePath], frames: Callable[[str], Frames]) -> Iterator[tuple[CapturePath, Frames]]:
    """The files with their frames, the one with the earlier events first; those without events whenever.

    The names of capture files say when their windows began, and windows may be written in another order than that of
    their events: of neighbours, the one whose first event is earlier comes first.
    """
    opened: list[tuple[int, int, int, CapturePath, Frames]] = []
    for number, file in enumerate(tuple(files)):
        of_file = iter(frames(file.path))
        first = next(of_file, None)
        if not first:
            yield file, iter(())  # Capture writes files without events as well
            continue
        at_us, sequence_number = int(first.enqueued_at_us[0]), int(first.events["sequence_number"][0])
        heapq.heappush(opened, (at_us, sequence_number, number, file, _chained(first, of_file)))
        if len(opened) > LOOK_AHEAD:
            yield heapq.heappop(opened)[-2:]
    while opened:
        yield heapq.heappop(opened)[-2:]


def _chained(first: Captured, rest: Frames) -> Frames:
    yield first
    yield from rest


@dataclass(slots=True)
class _World:
    """The devices' states under one source of reference data."""

    references: ReferenceSource
    states: dict[str, DeviceState]
    spent: dict[str, int]

    def apply(self, seen: SeenBatch, partition_count: int, *, is_written: bool) -> list[str]:
        """Decide each event; the decisions' texts, as they go to the hub, unless they are not to be written."""
        budget, states = Budget(partition_count, self.spent), self.states
        texts: list[str] = []
        for part in seen.parts:
            for sighting in part.of(states):
                device_id = sighting.ping.device_id
                before = states.get(device_id)
                after, outputs = decide_one(before, sighting, budget)
                if after is not None:
                    states[device_id] = after
                elif before is not None:
                    del states[device_id]
                if outputs is not NOTHING:
                    for promotion_id in budgets_spent(outputs):
                        self.spent[promotion_id] = self.spent.get(promotion_id, 0) + 1
                    if is_written:
                        texts += map(encode_decision, outputs.decisions)
        return texts

    def saved(self, now_us: int) -> SavedWorld:
        """What is remembered, without the states that no event enqueued from now on can need."""
        kept = {name: state for name, state in self.states.items() if now_us - state.changed_us <= STATE_TTL_US}
        self.states = kept
        return SavedWorld(kept, dict(self.spent))


@dataclass(slots=True)
class _Playing:
    """One partition while it is replayed."""

    replayer: Replayer
    saved: SavedPartition
    left: Mapping[CapturePath, int]
    """The files that have not been replayed to their end."""
    files: int = 0
    worlds: dict[Side, _World] = field(init=False)
    rows: list[pl.DataFrame] = field(default_factory=list)
    events: int = 0
    """Since the last save, as the files and rows."""
    _in_journal: SavedPartition = field(init=False)
    """As it was when it was saved last."""
    _newest_window: datetime | None = None

    def __post_init__(self) -> None:
        self._in_journal = self.saved
        references = self.replayer.references
        self.worlds = {
            side: _World(references[side], dict(world.states), dict(world.spent))
            for side, world in self.saved.worlds.items()
        }

    def apply(self, file: CapturePath, captured: Captured) -> None:
        """Decide the captured events that were not decided before, up to the end of the time asked for."""
        self._newest_window = max(file.window_start, self._newest_window or file.window_start)
        batch = self._batch(file, captured)
        numbers, enqueued_us = batch.sequence_numbers, batch.enqueued_at_us
        if (np.diff(numbers) <= 0).any():
            raise ReplayRefused(f"{file.path}: its events are not in the order of their sequence numbers")
        saved = self.saved
        if saved.first_number is not None and is_of_new_hub(batch, saved.sequence_number, saved.enqueued_at_us):
            self._begin_new_hub(file)
        first = int(np.searchsorted(numbers, self.saved.sequence_number, side="right"))
        self._require_known(file, numbers[:first])
        begin, end = self._bounds(enqueued_us, first)
        self._play(file, _part(batch, first, begin), is_written=False)
        if begin < len(batch) and not self.saved.is_writing:
            self._begin_writing()
        self._play(file, _part(batch, begin, end), is_written=True)
        if end < len(batch):
            self._change(is_done=True)

    def is_step_full(self) -> bool:
        """Whether it is time to save."""
        step = self.replayer.step
        decisions = sum(rows.height for rows in self.rows)
        return self.events >= step.events or decisions >= step.decisions or self.files >= step.files

    def save(self) -> SavedPartition:
        """Leave the decisions made since the last save, and how far that was."""
        if self.saved is not self._in_journal:
            self._change(
                resume_at=min((file.window_start for file in self.left), default=self._newest_window),
                worlds={side: world.saved(self.saved.enqueued_at_us) for side, world in self.worlds.items()},
            )
            self.replayer.journal.save(self.saved, pl.concat([REPLAYED.to_frame(), *self.rows]))
            self.rows, self.events, self.files, self._in_journal = [], 0, 0, self.saved
        return self.saved

    def _batch(self, file: CapturePath, captured: Captured) -> HubBatch:
        partition = HubPartition.named("", file.namespace, file.hub, file.partition_id)
        return HubBatch(
            partition,
            [body or b"" for body in captured.bodies],
            captured.events["sequence_number"].to_numpy(),
            captured.enqueued_at_us,
            [None] * len(captured),  # captures keep them, and no decision asks for them
        )

    def _bounds(self, enqueued_us: NDArray[np.int64], first: int) -> tuple[int, int]:
        """Between which rows the captured events are written, of those from *first* on."""
        span = self.replayer.span
        end = len(enqueued_us) if span.to_us is None else _first_from(enqueued_us, span.to_us, first)
        if self.saved.is_writing or span.from_us is None:
            return first, end
        return min(_first_from(enqueued_us, span.from_us, first), end), end

    def _begin_new_hub(self, file: CapturePath) -> None:
        """A new hub's devices start afresh, as they do live; budgets are about promotions, and go on."""
        log.warning("%s begins a new hub: its numbers start again, and so does the state of its devices", file.path)
        for world in self.worlds.values():
            world.states = {}
        self._change(sequence_number=-1, missing=[], counts=self.saved.counts.plus(Counts(new_hubs=1)))

    def _begin_writing(self) -> None:
        """The worlds part: both know what happened so far."""
        past = self.worlds[Side.IN_FORCE]
        for side, references in self.replayer.references.items():
            if side is not Side.IN_FORCE:
                self.worlds[side] = _World(references, dict(past.states), dict(past.spent))
        self._change(is_writing=True)

    def _require_known(self, file: CapturePath, repeated: NDArray[np.int64]) -> None:
        """An event at or before the position was replayed already, or there is one that came too late to be."""
        for start, stop in self.saved.missing:
            late = repeated[(repeated >= start) & (repeated < stop)]
            if late.size:
                raise ReplayRefused(
                    f"{file.path} holds event {late[0]} of partition {file.partition_id}, which comes before events "
                    "that other files have and that are replayed already: the files' names contradict their order"
                )

    def _play(self, file: CapturePath, batch: HubBatch, *, is_written: bool) -> None:
        if not len(batch):
            return
        self._follow(batch)
        sources = [world.references for world in self.worlds.values()]
        for source in sources:
            source.refresh(int(batch.enqueued_at_us[-1]))
        pings = decode_pings(batch.bodies, batch.enqueued_at_us)
        for side, world in self.worlds.items():
            seen = see(batch, world.references, pings)
            texts = world.apply(seen, self.saved.partition_count, is_written=is_written)
            if texts:
                keys, with_events = self.replayer.keys, self.replayer.with_events
                self.rows.append(replayed_rows(side, texts, file, keys, with_events=with_events))
        self._change(counts=self.saved.counts.plus(Counts(len(batch), len(pings.rejected))))

    def _follow(self, batch: HubBatch) -> None:
        """Move the position behind the batch, and note the numbers that are missing before and in it."""
        numbers, saved = batch.sequence_numbers, self.saved
        before = saved.sequence_number if saved.sequence_number >= 0 else int(numbers[0]) - 1
        known = np.concatenate((np.array([before]), numbers))
        gaps = np.flatnonzero(np.diff(known) > 1).tolist()
        missing = [(int(known[row]) + 1, int(known[row + 1])) for row in gaps]
        self._change(
            first_number=int(numbers[0]) if saved.first_number is None else saved.first_number,
            sequence_number=int(numbers[-1]),
            enqueued_at_us=max(saved.enqueued_at_us, int(batch.enqueued_at_us[-1])),
            missing=[*saved.missing, *missing],
            counts=saved.counts.plus(Counts(skipped=sum(stop - start for start, stop in missing))),
        )
        self.events += len(batch)

    def _change(self, **changes: object) -> None:
        self.saved = msgspec.structs.replace(self.saved, **changes)


def _values(counts: Counts) -> Sequence[int]:
    return msgspec.structs.astuple(counts)


def _without_states(saved: SavedPartition) -> SavedPartition:
    """The states of all partitions need not be in memory at once."""
    return msgspec.structs.replace(saved, worlds={})


def _is_before(file: CapturePath, saved: SavedPartition) -> bool:
    return saved.resume_at is not None and file.window_start < saved.resume_at


def _first_from(enqueued_us: NDArray[np.int64], instant_us: int, first: int) -> int:
    """The first row from *first* on that was enqueued then or later."""
    later = np.flatnonzero(enqueued_us[first:] >= instant_us)
    return first + int(later[0]) if later.size else len(enqueued_us)


def _part(batch: HubBatch, start: int, stop: int) -> HubBatch:
    rows = slice(start, stop)
    return HubBatch(
        batch.partition,
        batch.bodies[rows],
        batch.sequence_numbers[rows],
        batch.enqueued_at_us[rows],
        batch.partition_keys[rows],
    )


def _utc(at_us: int) -> str:
    return f"{np.datetime64(at_us, 'us').astype('datetime64[s]')}Z"

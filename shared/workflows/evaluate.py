"""Pings in, offers and decisions out, each decided once: load, decide, save with what was said, hand the outputs over.

The platform delivers at least once and publishes the outputs after the function has returned. So the row of a device
keeps what was said, and an event that was applied before is never decided again: what was said is said again, and
nothing else. `tests/unit/evaluate/test_protocol.py` plays this through random histories of crashes and takeovers.
"""

import logging
import threading
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import islice
from typing import Protocol

import msgspec

from shared.domain.budget import Budget
from shared.domain.deciding import decide, fail
from shared.domain.decision import NOTHING, DecisionReason, Outcome, Outputs, SeenPing
from shared.domain.device_state import DeviceState
from shared.domain.promotions import Transition
from shared.errors import ConfigurationError, FootfallError, StateUnavailable
from shared.settings import STATE_TTL
from shared.telemetry import Stopwatch
from shared.workflows.messages import encode_decision, encode_offer
from shared.workflows.partition_state import (
    DeviceRow,
    HubPartition,
    Position,
    Snapshot,
    StateConflict,
    StateStore,
    Stored,
    Write,
)
from shared.workflows.sightings import HubBatch, ReferenceSource, SeenBatch, Sighting, see

log = logging.getLogger(__name__)

STATE_TTL_US = round(STATE_TTL.total_seconds() * 1_000_000)
LOAD_ATTEMPTS = 5
ROWS_A_TRANSACTION = 99
"""Beside the position row: an entity-group transaction holds 100."""
BYTES_A_TRANSACTION = 3 * 1024 * 1024
"""An entity-group transaction holds 4 MiB of request."""
DELETION_BYTES = 4 * 1024
PRUNED_A_BATCH = 20
ROW_BYTES = 400 * 1024
"""A row of more than that fails the event that made it so.

An entity holds 1 MiB. What is left above is for the failures of a whole batch of 1,024 events of that device, the most
that host.json lets the host deliver.
"""


class PartitionCounter(Protocol):
    """Knows how many partitions the hub has. Raises HubUnavailable when it does not answer."""

    def partition_count(self) -> int: ...


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """Counts of one batch, for the log line and for health. Neither device ids nor positions."""

    partition_id: str
    events: int
    rejected: int
    """Bodies that were no pings."""
    rejected_as: Mapping[str, int]
    """The same, by reason."""
    near: int
    """Pings with a geofence near."""
    transitions: Mapping[str, int]
    """Visits that began, became a stay or ended: what was decided now, by transition."""
    sent: int
    """Offers that were decided now."""
    not_sent: Mapping[str, int]
    """Offers that were not sent, by reason."""
    failed: int
    offers: int
    """Offers handed over, now or again."""
    decisions: int
    """Decisions handed over, now or again."""
    repeated: int
    """Events that had been applied before."""
    skipped: int
    """Sequence numbers that were never seen."""
    foreign_keys: int
    """Pings whose partition key is not their device id."""
    oldest_enqueued_us: int
    """When the first event was enqueued, in microseconds since 1970 UTC."""
    ms: Mapping[str, float]
    """Milliseconds by step: decode, match, load, decide, save."""

    def fields(self, now_us: int) -> dict[str, object]:
        """The fields of the canonical log line; `oldest_age_s` is how far behind the hub this app is."""
        found = {item.name: getattr(self, item.name) for item in fields(self)}
        found["oldest_age_s"] = max(0, now_us - found.pop("oldest_enqueued_us")) // 1_000_000
        return found


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over the batches of one process."""

    events: int = 0
    rejected: int = 0
    offers: int = 0
    decisions: int = 0
    failed: int = 0
    foreign_keys: int = 0

    def with_batch(self, report: EvaluationReport) -> "Totals":
        """The sums with one more batch."""
        return Totals(*(getattr(self, item.name) + getattr(report, item.name) for item in fields(self)))


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What to publish, in order, and the counts."""

    offers: list[str]
    decisions: list[str]
    report: EvaluationReport


class _Words(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What one event led to, as it is published, and the promotions whose budget it spent an offer of."""

    offers: list[str]
    decisions: list[str]
    spent: list[str] = []


SILENCE = _Words([], [])


@dataclass(slots=True)
class _Decided:
    """What a batch leads to: rows to write, and what to say."""

    changed: dict[str, DeviceRow] = field(default_factory=dict)
    offers: list[str] = field(default_factory=list)
    decisions: list[str] = field(default_factory=list)
    transitions: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    """What was decided now (not said again), by reason, and by outcome where there is none."""
    spent: dict[str, int] = field(default_factory=dict)
    """Offers sent of each promotion that has a budget, up to here."""

    def say(self, words: _Words) -> None:
        """Add what is to be published."""
        self.offers += words.offers
        self.decisions += words.decisions

    def count(self, outputs: Outputs) -> None:
        """Count what was decided: each visit's beginning, stay and end once, and each promotion that was considered."""
        moves = {(item.transition, item.store_id) for item in outputs.decisions if item.transition is not None}
        self.transitions.update(str(transition) for transition, _ in moves)
        self.outcomes.update(
            str(item.reason or item.outcome) for item in outputs.decisions if item.transition is not Transition.EXIT
        )

    def spend(self, promotion_ids: list[str]) -> None:
        """Count an offer of each."""
        for promotion_id in promotion_ids:
            self.spent[promotion_id] = self.spent.get(promotion_id, 0) + 1


class Evaluator:
    """Evaluates batches; one for the whole process, safe to be called from several threads."""

    def __init__(
        self,
        references: ReferenceSource,
        states: StateStore,
        hub: PartitionCounter,
        *,
        partition_count: int,
        delivery_window_s: int,
        rows_a_transaction: int = ROWS_A_TRANSACTION,
    ) -> None:
        self._references = references
        self._states = states
        self._hub = hub
        self._partition_count = partition_count
        self._delivery_window_s = delivery_window_s
        self._rows_a_transaction = rows_a_transaction
        self._copies: dict[HubPartition, Snapshot] = {}
        self._is_hub_checked = False
        self._totals = Totals()
        self._totals_lock = threading.Lock()

    @property
    def totals(self) -> "Totals":
        """What this process has evaluated since it started."""
        return self._totals

    def evaluate(self, batch: HubBatch) -> Evaluation:
        """Decide the batch and save what was decided; the outputs are the caller's to publish.

        Raises TransientError when the world is away (the batch must be delivered again), and ConfigurationError when
        the hub's partitions are not those of the settings.
        """
        self._check_hub()
        self._references.refresh(int(batch.enqueued_at_us[-1]))
        stopwatch = Stopwatch()
        seen = see(batch, self._references, stopwatch=stopwatch)
        for _ in range(LOAD_ATTEMPTS):
            try:
                snapshot, decided = self._apply_batch(batch, seen, stopwatch)
            except StateConflict as conflict:
                log.warning("partition %s: its state moved, loading again: %s", batch.partition.partition_id, conflict)
                continue
            return self._report(batch, seen, decided, snapshot.position, stopwatch)
        raise StateUnavailable(f"partition {batch.partition.partition_id} moved {LOAD_ATTEMPTS} times while deciding")

    def _apply_batch(self, batch: HubBatch, seen: SeenBatch, stopwatch: Stopwatch) -> tuple[Snapshot, _Decided]:
        """Decide the batch and save it; the state that it was decided from, and what was decided."""
        with stopwatch.step("load"):
            # Who takes the copy owns it, and puts it back only when all went well: any doubt throws it away.
            snapshot = self._copies.pop(batch.partition, None) or self._load(batch.partition)
            while self._is_of_new_hub(snapshot, batch):
                self._close(snapshot, batch)
                snapshot = self._load(batch.partition)
        with stopwatch.step("decide"):
            decided = self._decide(snapshot, batch, seen)
        with stopwatch.step("save"):
            self._copies[batch.partition] = self._save(snapshot, batch, decided)
        return snapshot, decided

    def _report(
        self,
        batch: HubBatch,
        seen: SeenBatch,
        decided: _Decided,
        position: Stored[Position] | None,
        stopwatch: Stopwatch,
    ) -> Evaluation:
        applied_to = -1 if position is None else position.value.sequence_number
        not_sent = dict(decided.outcomes)
        report = EvaluationReport(
            partition_id=batch.partition.partition_id,
            events=len(batch),
            rejected=sum(seen.rejected.values()),
            rejected_as=seen.rejected,
            near=seen.near,
            transitions=decided.transitions,
            sent=not_sent.pop(Outcome.SENT, 0),
            failed=not_sent.pop(DecisionReason.INTERNAL_ERROR, 0),
            not_sent=not_sent,
            offers=len(decided.offers),
            decisions=len(decided.decisions),
            repeated=int((batch.sequence_numbers <= applied_to).sum()),
            skipped=_skipped(batch, position),
            foreign_keys=seen.foreign_keys,
            oldest_enqueued_us=int(batch.enqueued_at_us[0]),
            ms={step: round(ms, 1) for step, ms in stopwatch.ms.items()},
        )
        with self._totals_lock:
            self._totals = self._totals.with_batch(report)
        return Evaluation(decided.offers, decided.decisions, report)

    def _check_hub(self) -> None:
        if self._is_hub_checked:
            return
        self._check_count("the hub has", self._hub.partition_count())
        self._is_hub_checked = True

    def _check_count(self, where: str, found: int) -> None:
        if found != self._partition_count:
            raise ConfigurationError(
                f"PARTITION_COUNT is {self._partition_count}, but {where} {found} partitions: "
                "see docs/runbook.md, 'The number of partitions changed'"
            )

    def _load(self, partition: HubPartition) -> Snapshot:
        """The state of the partition's newest generation; one that was closed is followed by the next.

        Whoever closed it may have died: what comes after is done by everyone who finds it closed, to the same end.
        """
        snapshot = self._states.load(partition)
        while snapshot.position is not None and snapshot.position.value.is_closed:
            self._states.begin_generation(partition, snapshot.position.value.of_next_generation())
            snapshot = self._states.load(partition)
        return snapshot

    def _is_of_new_hub(self, snapshot: Snapshot, batch: HubBatch) -> bool:
        if snapshot.position is None:
            return False
        position = snapshot.position.value
        self._check_count("its state was written for", position.partition_count)
        return is_of_new_hub(batch, position.sequence_number, position.enqueued_at_us)

    def _close(self, snapshot: Snapshot, batch: HubBatch) -> None:
        """End the generation of a hub that is no more: by one guarded write, so that what it had spent is final."""
        stored = snapshot.position
        assert stored is not None, "only a position tells of another hub"
        log.error(
            "%s: event %d was enqueued after the position %d, so this is a new hub: its state starts afresh",
            batch.partition,
            int(batch.sequence_numbers[0]),
            stored.value.sequence_number,
        )
        closing = Write(None, replace(stored.value, is_closed=True), stored.etag)
        self._states.commit(batch.partition, snapshot.generation, [closing])

    def _decide(self, snapshot: Snapshot, batch: HubBatch, seen: SeenBatch) -> _Decided:
        applied_to = -1 if snapshot.position is None else snapshot.position.value.sequence_number
        horizon = int(batch.sequence_numbers[0])
        decided = _Decided(spent=dict(snapshot.position.value.spent) if snapshot.position else {})
        budget = Budget(self._partition_count, decided.spent)
        for part in seen.parts:
            for sighting in part.of(snapshot.rows, decided.changed):
                device_id = sighting.ping.device_id
                row = decided.changed.get(device_id)
                if row is None and (stored := snapshot.rows.get(device_id)) is not None:
                    row = stored.value
                self._apply(row, sighting, decided, budget, applied_to=applied_to, horizon=horizon)
        return decided

    def _apply(
        self,
        row: DeviceRow | None,
        sighting: Sighting,
        decided: _Decided,
        budget: Budget,
        *,
        applied_to: int,
        horizon: int,
    ) -> None:
        """Decide one event, or say again what was said when it was applied before."""
        ping = sighting.ping
        if ping.sequence_number <= max(applied_to, -1 if row is None else row.last):
            if row is not None and ping.sequence_number in row.said:
                words = _recall(row.said[ping.sequence_number], ping.device_id)
                decided.say(words)
                if ping.sequence_number > applied_to:  # saved with its device, and the position was not
                    decided.spend(words.spent)
            return
        before = None if row is None else row.state
        # That this batch is delivered from `horizon` on means that all before it was published: it can be forgotten.
        said = {at: words for at, words in row.said.items() if at >= horizon} if row is not None and row.said else {}
        after, outputs = before, NOTHING
        changed = DeviceRow(before, ping.sequence_number, said)
        if not (said and changed.size > ROW_BYTES):
            after, outputs = decide_one(before, sighting, budget)
            if outputs is NOTHING and not said:  # as for most: spares them what follows
                if after != before:
                    decided.changed[ping.device_id] = DeviceRow(after, ping.sequence_number)
                return
            if outputs is NOTHING and after == before:
                return
            words = SILENCE if outputs is NOTHING else self._words(outputs)
            changed = _row(after, ping, said, words)
        if changed.size > ROW_BYTES:
            log.error("event %d: a row of %d bytes is too large, so it fails", ping.sequence_number, changed.size)
            outputs = fail(ping, sighting.reference.version)
            words = self._words(outputs)
            changed = _row(before, ping, said, words)
        decided.say(words)
        decided.spend(words.spent)
        decided.count(outputs)
        decided.changed[ping.device_id] = changed

    def _words(self, outputs: Outputs) -> _Words:
        return _Words(
            [encode_offer(offer, delivery_window_s=self._delivery_window_s) for offer in outputs.offers],
            [encode_decision(decision) for decision in outputs.decisions],
            budgets_spent(outputs),
        )

    def _save(self, snapshot: Snapshot, batch: HubBatch, decided: _Decided) -> Snapshot:
        """Write what changed; each transaction carries the position row, and only the last one moves it."""
        before = snapshot.position
        after = replace(self._moved(snapshot, batch), spent=decided.spent)
        fence = before.value if before is not None else replace(after, sequence_number=-1, enqueued_at_us=0, spent={})
        writes = [
            Write(device_id, row, stored.etag if (stored := snapshot.rows.get(device_id)) else None)
            for device_id, row in decided.changed.items()
        ]
        writes += _prunable(snapshot, batch, decided)
        groups = list(_transactions(writes, self._rows_a_transaction))
        etag = None if before is None else before.etag
        for number, group in enumerate(groups, start=1):
            position = after if number == len(groups) else fence
            tags = self._states.commit(batch.partition, snapshot.generation, [*group, Write(None, position, etag)])
            etag = tags[-1]
            for write, tag in zip(group, tags[:-1], strict=True):
                _put(snapshot.rows, write, tag)
        return Snapshot(snapshot.generation, Stored(after, etag or ""), snapshot.rows)

    def _moved(self, snapshot: Snapshot, batch: HubBatch) -> Position:
        position = snapshot.position.value if snapshot.position else None
        newest, newest_us = int(batch.sequence_numbers[-1]), int(batch.enqueued_at_us[-1])
        if position is None:
            return Position(self._partition_count, newest, newest_us, 0, snapshot.generation)
        return replace(
            position,
            sequence_number=max(position.sequence_number, newest),
            enqueued_at_us=max(position.enqueued_at_us, newest_us),
            skipped=position.skipped + _skipped(batch, snapshot.position),
        )


def decide_one(before: DeviceState | None, sighting: Sighting, budget: Budget) -> tuple[DeviceState | None, Outputs]:
    """Decide one event, live and in a replay; the event whose decision raises becomes a decision 'failed'."""
    if sighting.is_broken:
        return before, fail(sighting.ping, sighting.reference.version)
    try:
        return decide(before, sighting.ping, sighting.reference, budget, state_ttl_us=STATE_TTL_US)
    except FootfallError:
        raise
    except Exception:  # whatever it is: this event becomes a decision 'failed', its device stays where it was
        log.exception("event %d cannot be decided", sighting.ping.sequence_number)
        return before, fail(sighting.ping, sighting.reference.version)


def budgets_spent(outputs: Outputs) -> list[str]:
    """The promotions whose budget the outputs take an offer of, by id."""
    return [offer.promotion.promotion_id for offer in outputs.offers if offer.promotion.max_offers is not None]


def is_of_new_hub(batch: HubBatch, sequence_number: int, enqueued_at_us: int) -> bool:
    """Whether the batch comes from another hub of the same name than the position with that number and time.

    A hub numbers its events in the order in which it enqueues them, so an event that was enqueued later than the
    position and is numbered at or before it comes from another hub.
    """
    return bool(((batch.sequence_numbers <= sequence_number) & (batch.enqueued_at_us > enqueued_at_us)).any())


def _row(state: DeviceState | None, ping: SeenPing, said: Mapping[int, bytes], words: _Words) -> DeviceRow:
    """The device's row after the ping, which led to *words*."""
    number = ping.sequence_number
    return DeviceRow(state, number, said if words is SILENCE else {**said, number: _remember(words, ping.device_id)})


def _remember(words: _Words, device_id: str) -> bytes:
    # Every text names its device twice; known beforehand, the id takes no space.
    packer = zlib.compressobj(level=3, zdict=msgspec.json.encode(device_id))
    return packer.compress(msgspec.msgpack.encode(words)) + packer.flush()


def _recall(words: bytes, device_id: str) -> _Words:
    unpacker = zlib.decompressobj(zdict=msgspec.json.encode(device_id))
    return msgspec.msgpack.decode(unpacker.decompress(words) + unpacker.flush(), type=_Words)


def _skipped(batch: HubBatch, position: Stored[Position] | None) -> int:
    """How many sequence numbers are missing between the position and the end of the batch."""
    if position is None:
        return 0
    applied_to = position.value.sequence_number
    fresh = batch.sequence_numbers[batch.sequence_numbers > applied_to]
    return 0 if not len(fresh) else int(fresh[-1]) - applied_to - len(fresh)


def _prunable(snapshot: Snapshot, batch: HubBatch, decided: _Decided) -> Iterable[Write]:
    """A few rows that no event can need again. Housekeeping without meaning: an expired row counts as absent anyway."""
    horizon, enqueued_us = int(batch.sequence_numbers[0]), int(batch.enqueued_at_us[0])
    applied_to = -1 if snapshot.position is None else snapshot.position.value.sequence_number
    for device_id, stored in islice(snapshot.rows.items(), PRUNED_A_BATCH):  # the longest unchanged come first
        row = stored.value
        if row.state is not None and enqueued_us - row.state.changed_us <= STATE_TTL_US:
            return
        if device_id not in decided.changed and row.last <= applied_to and all(at < horizon for at in row.said):
            yield Write(device_id, None, stored.etag)


def _transactions(writes: list[Write], most_rows: int) -> Iterator[list[Write]]:
    """Cut the writes into groups that one entity-group transaction holds; at least one, for the position must move."""
    group: list[Write] = []
    size = 0
    for write in writes:
        weight = DELETION_BYTES if write.value is None else write.value.size
        if group and (len(group) == most_rows or size + weight > BYTES_A_TRANSACTION):
            yield group
            group, size = [], 0
        group.append(write)
        size += weight
    yield group


def _put(rows: dict[str, Stored[DeviceRow]], write: Write, tag: str) -> None:
    """Follow a write that was done; the row goes to the end, so that the longest unchanged stay in front."""
    device_id = write.device_id or ""
    rows.pop(device_id, None)
    if isinstance(write.value, DeviceRow):
        rows[device_id] = Stored(write.value, tag)

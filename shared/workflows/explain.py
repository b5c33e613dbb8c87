"""The story of one device: what was decided for it and why, or why nothing was.

Pure: from what is on record and the reference versions that decided. Its sentences are for people; its fields, with
the instants as datetimes, for programs.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from shared.domain.decision import DecisionReason, Outcome
from shared.domain.events import instant
from shared.domain.promotions import Transition
from shared.domain.reference import ReferenceData
from shared.settings import STATE_TTL
from shared.workflows.device_history import DecisionRecord, DeviceHistory, VersionAt, in_order
from shared.workflows.nearness import Nearness, look
from shared.workflows.reasons import Case, because
from shared.workflows.wording import clock, duration, instant_in_words, metres, plural, span_in_words


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one promotion (None: the store has none)."""

    promotion_id: str | None
    outcome: str
    reason: str | None
    offer_id: str | None
    sentence: str


@dataclass(frozen=True, slots=True)
class Moment:
    """What one ping led to at one store."""

    at: datetime
    """When the phone was there."""
    enqueued_at: datetime
    partition_id: str
    sequence_number: int
    reference_version: str
    store_id: str | None
    store: str | None
    """Its name, None where the version is gone."""
    transition: str | None
    distance_m: float | None
    sentence: str
    verdicts: tuple[Verdict, ...]
    is_nearest: bool = False
    """Of all moments the nearest to the instant that was asked for."""


@dataclass(frozen=True, slots=True)
class Story:
    """What is to be told of a device between two instants, in order of time."""

    device_id: str
    partition_id: str
    start: datetime
    end: datetime
    summary: str
    moments: tuple[Moment, ...]
    notes: tuple[str, ...]
    nearness: Nearness


def explain(history: DeviceHistory, version_at: VersionAt, *, partition_count: int, at_us: int | None = None) -> Story:
    """Tell the story of *history*; `at_us` is the instant that was asked for, if one was."""
    moments = tuple(_Teller.of(history, version_at, partition_count).moments(at_us))
    nearness = look(history.pings, version_at)
    return Story(
        device_id=history.device_id,
        partition_id=history.partition_id,
        start=instant(history.start_us),
        end=instant(history.end_us),
        summary=_summary(history, nearness),
        moments=moments,
        notes=tuple(_notes(history, nearness, version_at)),
        nearness=nearness,
    )


def _summary(history: DeviceHistory, nearness: Nearness) -> str:
    inside = f" ({nearness.inside:,} inside a geofence)" if nearness.inside else ""
    counts = f"{plural(len(in_order(history.decisions)), 'decision')}, {plural(nearness.pings, 'ping')}{inside}"
    when = span_in_words(history.start_us, history.end_us)
    return f"device {history.device_id}, partition {history.partition_id}, {when}: {counts}"


@dataclass(frozen=True, slots=True)
class _Teller:
    """Tells moments: it knows what came before each decision, and what else was decided at the same ping."""

    history: DeviceHistory
    version_at: VersionAt
    partition_count: int
    contacts: tuple[DecisionRecord, ...]
    """All of them, in order."""
    accuracy_m: Mapping[tuple[int, str, int], float | None]
    """Of each ping."""

    @classmethod
    def of(cls, history: DeviceHistory, version_at: VersionAt, partition_count: int) -> "_Teller":
        """A teller of that history."""
        everything = in_order((*history.earlier, *history.decisions))
        contacts = tuple(item for item in everything if item.is_contact)
        return cls(
            history, version_at, partition_count, contacts, {item.ping: item.accuracy_m for item in history.pings}
        )

    def moments(self, at_us: int | None) -> Iterator[Moment]:
        """What each ping led to at each store, in order of time."""
        decisions = sorted(in_order(self.history.decisions), key=_place_in_story)
        runs = [list(run) for _, run in groupby(decisions, key=_place_in_story)]
        nearest = None
        if at_us is not None and runs:
            nearest = min(range(len(runs)), key=lambda row: abs(runs[row][0].tracked_us - at_us))
        for row, run in enumerate(runs):
            yield self._moment(run, is_nearest=row == nearest)

    def _moment(self, run: Sequence[DecisionRecord], *, is_nearest: bool) -> Moment:
        first = run[0]
        reference = version_of(first, self.version_at)
        store = _store_name(reference, first.store_id)
        told = sorted((record for record in run if not _goes_without_saying(record)), key=_place_in_moment)
        return Moment(
            at=instant(first.tracked_us),
            enqueued_at=instant(first.enqueued_us),
            partition_id=first.partition_id,
            sequence_number=first.sequence_number,
            reference_version=first.reference_version,
            store_id=first.store_id,
            store=store,
            transition=first.transition,
            distance_m=first.distance_m,
            sentence=_what_happened(first, _called(first.store_id, store)),
            verdicts=tuple(self._verdict(record, reference) for record in told),
            is_nearest=is_nearest,
        )

    def _verdict(self, record: DecisionRecord, reference: ReferenceData | None) -> Verdict:
        case = Case(
            device_id=self.history.device_id,
            record=record,
            reference=reference,
            accuracy_m=self.accuracy_m.get(record.ping),
            rival=next((item for item in self.contacts if item.ping == record.ping), None),
            contacts=tuple(item for item in self.contacts if item.ping < record.ping),
            state=self.history.state,
            partition_count=self.partition_count,
        )
        sentence = _what_was_sent(case) if record.outcome == Outcome.SENT else because(case)
        return Verdict(record.promotion_id, record.outcome, record.reason, record.offer_id, sentence)


_ORDER = (Transition.EXIT, None, Transition.ENTER, Transition.DWELL)
"""In which the transitions of one ping are told."""


def _place_in_story(record: DecisionRecord) -> tuple[object, ...]:
    order = _ORDER.index(record.transition) if record.transition in _ORDER else len(_ORDER)
    return (*record.ping, order, record.distance_m or 0.0, record.store_id or "", record.transition or "")


def _place_in_moment(record: DecisionRecord) -> tuple[bool, str]:
    """What was sent comes first."""
    return record.outcome != Outcome.SENT, record.promotion_id or ""


def version_of(record: DecisionRecord, version_at: VersionAt) -> ReferenceData | None:
    """The version that decided; None where it cannot be read, or another one lies in its place."""
    found = version_at(record.enqueued_us)
    return found if found is not None and found.version == record.reference_version else None


def _goes_without_saying(record: DecisionRecord) -> bool:
    """An EXIT is about no promotion."""
    return record.transition == Transition.EXIT and record.promotion_id is None


def _what_happened(record: DecisionRecord, store: str) -> str:
    where = "" if record.distance_m is None else f", {metres(record.distance_m)} from it"
    match record.transition:
        case Transition.ENTER:
            return f"walked into {store}{where}"
        case Transition.DWELL:
            since = "" if record.entered_us is None else f" for {duration(record.tracked_us - record.entered_us)}"
            return f"stayed in {store}{since}"
        case Transition.EXIT:
            return f"left {store}{_stay(record)}"
    if record.reason == DecisionReason.LOW_ACCURACY:
        return f"perhaps walked into {store}{where}"
    if record.entered_us is not None:
        return f"was in {store} already, when its geofence came there{where}"
    return "sent a ping" if record.store_id is None else f"was near {store}{where}"


def _stay(record: DecisionRecord) -> str:
    if record.entered_us is None or record.left_us is None:
        return ""
    stay = f" after {duration(record.left_us - record.entered_us)}"
    return stay if record.left_us == record.tracked_us else f"{stay}, at {clock(record.left_us, record.tracked_us)}"


def _what_was_sent(case: Case) -> str:
    promotion = case.promotion
    return "" if promotion is None else f"{promotion.discount_percent:g} % off, “{promotion.message}”"


def _store_name(reference: ReferenceData | None, store_id: str | None) -> str | None:
    row = None if reference is None or store_id is None else reference.store_rows.get(store_id)
    return None if reference is None or row is None else reference.stores.name[row]


def _called(store_id: str | None, name: str | None) -> str:
    return f"store {store_id}" if name is None else f"{name} ({store_id})"


def _notes(history: DeviceHistory, nearness: Nearness, version_at: VersionAt) -> Iterator[str]:
    """What there is to say beside the moments, or in place of them."""
    if not history.decisions:
        yield _silence(history, nearness)
    elif nearness.stale or nearness.blurred:
        yield f"of the pings inside a geofence, {_unfit(nearness)}: such a ping leads to no offer"
    yield from _rejected(history)
    yield from _gone_versions(history, version_at)
    yield from _remembered(history, version_at)
    yield _freshness(history)


def _silence(history: DeviceHistory, nearness: Nearness) -> str:
    """Why nothing was decided."""
    if not nearness.pings:
        return _no_pings(history)
    arrived = f"{plural(nearness.pings, 'ping')} arrived"
    if nearness.untold:
        return f"{arrived}; the stores that were in force cannot be read, so nobody can tell how near they came"
    if not nearness.near:
        return f"{arrived}, and no ping was near a store{_nearest(nearness)}"
    if not nearness.inside:
        return f"{arrived}, {nearness.near:,} in the margin of a geofence and none inside{_nearest(nearness)}"
    fit = nearness.inside - nearness.stale - nearness.blurred
    went_on = f"{fit:,} in a visit that had been decided when it began" if fit else ""
    why = ", ".join(words for words in (_unfit(nearness), went_on) if words)
    return f"{arrived}, {nearness.inside:,} inside a geofence, which led to nothing new: {why}"


def _unfit(nearness: Nearness) -> str:
    """The pings inside that could not lead to an offer, whatever runs there."""
    counts = ((nearness.stale, "too old on arrival"), (nearness.blurred, "not accurate enough"))
    return ", ".join(f"{count:,} {words}" for count, words in counts if count)


def _no_pings(history: DeviceHistory) -> str:
    said = "no ping of this device is in silver for this time"
    if history.earlier:
        said += f"; it was decided about at {clock(history.earlier[-1].tracked_us, history.start_us)} before"
    if history.state is not None:
        return f"{said}; the newest ping that the state knows of is of {instant_in_words(history.state.newest_us)}"
    return f"{said}, and the state does not know it: it sent nothing, or was in no geofence for {STATE_TTL.days} days"


def _nearest(nearness: Nearness) -> str:
    if nearness.nearest is None:
        return ""
    store = nearness.nearest
    return f"; the nearest to the last one was {store.name} ({store.store_id}), {metres(store.distance_m)} away"


MOST_REJECTED = 5


def _rejected(history: DeviceHistory) -> Iterator[str]:
    """Bodies that name the device and were no pings."""
    for body in history.rejected[:MOST_REJECTED]:
        yield f"rejected at {clock(body.enqueued_us, history.start_us)}: {body.reason}: {body.detail}"
    if len(history.rejected) > MOST_REJECTED:
        yield f"rejected as well: {len(history.rejected) - MOST_REJECTED:,} more, in the table quarantine.bodies"


def _gone_versions(history: DeviceHistory, version_at: VersionAt) -> Iterator[str]:
    gone = {item.reference_version for item in history.decisions if version_of(item, version_at) is None}
    for version in sorted(gone):
        yield f"the stores and promotions of version {version} cannot be read any more: names and numbers are missing"


def _remembered(history: DeviceHistory, version_at: VersionAt) -> Iterator[str]:
    """Where the device is now, as far as the state table knows."""
    state = history.state
    if state is None:
        return
    reference = version_at(state.changed_us)
    for store_id, visit in sorted(state.visits.items(), key=lambda item: item[1].entered_us):
        store = _called(store_id, _store_name(reference, store_id))
        yield (
            f"now: in {store} since {clock(visit.entered_us, state.newest_us)}, "
            f"last shown inside at {instant_in_words(visit.inside_us)}"
        )
    if not state.visits:
        yield f"now: in no geofence; its newest ping is of {instant_in_words(state.newest_us)}"


def _freshness(history: DeviceHistory) -> str:
    """How far silver has come, which is always a minute or two behind."""
    refined_us, state = history.refined_to_us, history.state
    if refined_us is None:
        return "silver has no pings yet: a capture window closes every minute (`footfall flush` closes it now)"
    said = f"silver has pings up to {instant_in_words(refined_us)}, {duration(history.now_us - refined_us)} ago"
    if state is None or state.changed_us <= refined_us:
        return said
    return f"{said}; this device sent one at {clock(state.changed_us, refined_us)}, which will be there soon"

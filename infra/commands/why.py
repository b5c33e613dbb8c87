"""`footfall why`: what was decided for one device and why, from silver and the state.

It shows a person's whereabouts to whoever may read the lake and the state anyway; nothing of it is logged or kept.
"""

import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Annotated

import typer

from infra.commands.common import HomeOption, JsonOption, console, print_json, running_stack
from infra.local.app_settings import read_settings
from infra.local.eventhubs.partition_key import partition_for_key
from infra.local.home import DEFAULT_HOME
from infra.local.lake import lake_tables
from shared.adapters.azure_clients import blob_service, table_service
from shared.adapters.device_records import DeviceRecords
from shared.adapters.event_hubs import HubInfo
from shared.adapters.reference_catalogue import ReferenceContainer
from shared.adapters.reference_files import parse_reference
from shared.adapters.state_table import StateTable
from shared.domain.device_state import DeviceState
from shared.domain.events import instant
from shared.domain.pings import MAX_ID_CHARACTERS
from shared.domain.reference import ReferenceData
from shared.errors import ReferenceUnavailable
from shared.settings import Settings
from shared.workflows.device_history import DecisionRecord, DeviceHistory, PingRecord, VersionAt
from shared.workflows.explain import Moment, Story, Verdict, explain
from shared.workflows.reference import ReferenceCatalogue

HOUR_US = 3600 * 1_000_000
AROUND_US = HOUR_US
"""With --at: so much before and after."""
LATELY_US = 24 * HOUR_US
"""Without: so much before now."""
EARLIER_US = 26 * HOUR_US
"""Decisions so long before are read too: no day of a store's calendar, which caps count by, is longer."""
_MICROSECOND = timedelta(microseconds=1)


def why(
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="The device's id, as its pings say it.")],
    at: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Tell the hour before and after this instant (2026-06-01T12:04:10Z)."),
    ] = None,
    as_json: JsonOption = False,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Tell what was decided for a device and why, or why nothing was."""
    _require_device_id(device)
    at_us = None if at is None else parse_instant(at)
    settings = read_settings(running_stack(home).home)
    story = tell(settings, device, now_us=time.time_ns() // 1_000, at_us=at_us)
    if as_json:
        print_json(story)
        return
    for line in lines(story):
        console.print(line, markup=False)


def tell(settings: Settings, device_id: str, *, now_us: int, at_us: int | None = None) -> Story:
    """The story of a device around an instant, or of the last day. Raises TransientError, ConfigurationError."""
    history = _history(settings, device_id, now_us, at_us)
    with blob_service(settings.lake_storage) as blobs:
        container = ReferenceContainer.of(blobs, settings.reference_container)
        versions = _versions(ReferenceCatalogue(container, parse_reference, lambda: now_us))
        return explain(history, versions, partition_count=settings.partition_count, at_us=at_us)


def parse_instant(text: str) -> int:
    """RFC 3339 as microseconds since 1970 UTC. Raises BadParameter for anything else, with what would be valid."""
    valid = "valid is RFC 3339 with an offset, such as 2026-06-01T12:04:10Z or 2026-06-01T13:04:10+01:00"
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"--at {text!r} is no instant; {valid}") from error
    if found.tzinfo is None:
        raise typer.BadParameter(f"--at {text!r} has no offset; {valid}")
    return (found - instant(0)) // _MICROSECOND


def _require_device_id(device_id: str) -> None:
    is_text = not any("\ud800" <= character <= "\udfff" for character in device_id)
    if not (is_text and 1 <= len(device_id) <= MAX_ID_CHARACTERS):
        raise typer.BadParameter(
            f"DEVICE has {len(device_id)} characters ({device_id[:20]!a}); "
            f"a device id is valid text of 1 to {MAX_ID_CHARACTERS} characters"
        )


def _history(settings: Settings, device_id: str, now_us: int, at_us: int | None) -> DeviceHistory:
    if at_us is None:
        start_us, end_us = now_us - LATELY_US, now_us + 1_000_000
    else:
        start_us, end_us = at_us - AROUND_US, at_us + AROUND_US
    records = DeviceRecords.of(lake_tables(settings), device_id, settings.device_keys, settings.pings_hub)
    decisions = records.decisions(start_us - EARLIER_US, end_us)
    pings = records.pings(start_us, end_us)
    partition_id, state = _state(settings, device_id, [*decisions, *pings])
    return DeviceHistory(
        device_id=device_id,
        partition_id=partition_id,
        start_us=start_us,
        end_us=end_us,
        now_us=now_us,
        earlier=tuple(item for item in decisions if item.enqueued_us < start_us),
        decisions=tuple(item for item in decisions if item.enqueued_us >= start_us),
        pings=pings,
        rejected=records.rejected(start_us, end_us),
        state=state,
        refined_to_us=records.refined_to_us(),
    )


def _state(
    settings: Settings, device_id: str, records: Sequence[DecisionRecord | PingRecord]
) -> tuple[str, DeviceState | None]:
    """The partition that the device's pings go to, and what its state remembers.

    The hash of the key says which one it is; what was sent under another key lies where the records say.
    """
    hub = HubInfo(settings.event_hub, settings.pings_hub, settings.consumer_group)
    by_key = str(partition_for_key(device_id, settings.partition_count))
    with table_service(settings.state_storage) as service:
        states = StateTable.of(service, settings.state_table)
        for partition_id in dict.fromkeys([by_key, *(record.partition_id for record in records)]):
            row = states.row(hub.partition(partition_id), device_id)
            if row is not None and row.state is not None:
                return partition_id, row.state
    return by_key if not records else records[-1].partition_id, None


def _versions(catalogue: ReferenceCatalogue) -> VersionAt:
    @cache
    def version_at(enqueued_us: int) -> ReferenceData | None:
        try:
            return catalogue.version_for(enqueued_us)
        except ReferenceUnavailable:  # the story says which versions it does without
            return None

    return version_at


def lines(story: Story) -> Iterator[str]:
    """The story as it is read: a line for each moment, its verdicts below it, the notes at the end."""
    yield _printable(story.summary)
    shown = story.start.date() if story.start.date() == story.end.date() else None
    for moment in story.moments:
        if moment.at.date() != shown:
            shown = moment.at.date()
            yield f"  {shown}"
        yield from map(_printable, _moment_lines(moment))
    yield from map(_printable, story.notes)


def _moment_lines(moment: Moment) -> Iterator[str]:
    mark = ">" if moment.is_nearest else " "
    yield f"{mark} {moment.at:%H:%M:%S}  {moment.sentence}"
    for verdict in moment.verdicts:
        yield f"{'':12}{_verdict_words(verdict)}"


def _verdict_words(verdict: Verdict) -> str:
    words = [verdict.outcome.replace("_", " "), verdict.promotion_id, verdict.sentence]
    return ": ".join(word for word in words if word)


def _printable(line: str) -> str:
    """Ids and rejected bodies come from phones: none of their characters may steer the terminal."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in line)

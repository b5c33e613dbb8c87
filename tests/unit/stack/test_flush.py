"""When everything that was sent has caught up."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infra.local.flush import behind, unrefined
from infra.local.stack import StackError

NOW = datetime(2026, 1, 26, 12, tzinfo=UTC)


def _evaluation(**checkpoints: int | None) -> dict[str, Any]:
    partitions = {name.removeprefix("p"): {"owned": True, "checkpoint": at} for name, at in checkpoints.items()}
    return {"functions": {"evaluate_proximity": {"event_hub": {"hub": "pings", "partitions": partitions}}}}


def _refinement(pending: int = 0, poisoned: int = 0, last_scan: datetime | None = NOW) -> dict[str, Any]:
    text = None if last_scan is None else last_scan.isoformat()
    blobs = {"pending": pending, "poisoned": poisoned, "last_scan": text}
    return {"functions": {"refine_capture": {"blobs": blobs}}}


def _stats(**following: int) -> dict[str, dict[str, dict[str, Any]]]:
    return {"pings": {name.removeprefix("p"): {"first": 0, "next": number} for name, number in following.items()}}


def test_all_is_evaluated_when_every_partition_is_checkpointed_at_its_newest_event() -> None:
    assert behind(_evaluation(p0=4, p1=None), _stats(p0=5, p1=0)) is None


def test_a_partition_behind_is_named_with_both_numbers() -> None:
    assert "partition 1 at 3 of 9" in str(behind(_evaluation(p0=4, p1=3), _stats(p0=5, p1=10)))


def test_a_partition_that_the_host_never_had_is_behind() -> None:
    assert "partition 1 at None of 0" in str(behind(_evaluation(p0=4), _stats(p0=5, p1=1)))


def test_a_partition_whose_events_were_dropped_by_retention_is_not_waited_for() -> None:
    stats = {"pings": {"0": {"first": 70, "next": 70}}}
    assert behind(_evaluation(p0=None), stats) is None


def test_all_is_refined_when_nothing_is_pending_after_a_look_at_the_newest_files() -> None:
    assert unrefined(_refinement(), captured=NOW) is None


@pytest.mark.parametrize("last_scan", [None, NOW - timedelta(milliseconds=1)])
def test_a_look_that_began_before_the_last_file_was_captured_proves_nothing(last_scan: datetime | None) -> None:
    assert unrefined(_refinement(last_scan=last_scan), captured=NOW) is not None


def test_pending_files_are_counted_and_given_up_ones_are_never_waited_for_in_silence() -> None:
    assert unrefined(_refinement(pending=3), captured=NOW) == "3 capture files are not refined"
    assert "gave up 1" in str(unrefined(_refinement(poisoned=1), captured=NOW))


def test_a_host_that_runs_another_app_is_named() -> None:
    with pytest.raises(StackError, match="no evaluate_proximity"):
        behind({"functions": {"health": {}}}, _stats(p0=0))

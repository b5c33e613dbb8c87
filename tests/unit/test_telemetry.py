"""The canonical log line can be read by a person and taken apart by a query."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.telemetry import Stopwatch, line


def test_a_batch_is_one_line_of_fields():
    assert line("evaluated", {"partition_id": "2", "events": 3}) == "evaluated partition_id=2 events=3"


def test_counts_by_reason_are_a_field_each():
    assert line("did", {"sent": 1, "not_sent": {"cooldown": 2, "too_soon": 3}}) == (
        "did sent=1 not_sent_cooldown=2 not_sent_too_soon=3"
    )


def test_a_step_that_is_taken_again_goes_on_and_one_that_raises_counts():
    stopwatch = Stopwatch()
    with stopwatch.step("load"):
        pass
    once = stopwatch.ms["load"]
    with pytest.raises(LookupError), stopwatch.step("load"):
        raise LookupError
    assert stopwatch.ms.keys() == {"load"}
    assert stopwatch.ms["load"] > once


FIELD = re.compile(r' ([\w.]+)=("(?:[^"\\]|\\.)*"|\S*)')


@given(st.dictionaries(st.sampled_from(["file", "status", "silver.pings"]), st.text("ab \"'=\\", max_size=8)))
def test_what_was_put_in_can_be_taken_out_again(fields):
    found = FIELD.findall(line("did", fields))
    assert {key: json.loads(value) if value.startswith('"') else value for key, value in found} == fields

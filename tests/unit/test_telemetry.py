"""The canonical log line can be read by a person and taken apart by a query."""

import json
import re

from hypothesis import given
from hypothesis import strategies as st

from shared.telemetry import line


def test_a_batch_is_one_line_of_fields():
    assert line("evaluated", {"partition_id": "2", "events": 3}) == "evaluated partition_id=2 events=3"


FIELD = re.compile(r' ([\w.]+)=("(?:[^"\\]|\\.)*"|\S*)')


@given(st.dictionaries(st.sampled_from(["file", "status", "silver.pings"]), st.text("ab \"'=\\", max_size=8)))
def test_what_was_put_in_can_be_taken_out_again(fields):
    found = FIELD.findall(line("did", fields))
    assert {key: json.loads(value) if value.startswith('"') else value for key, value in found} == fields

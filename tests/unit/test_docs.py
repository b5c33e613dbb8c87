"""What the docs say of pings is what the code does."""

import re
from pathlib import Path

import numpy as np

from shared.domain.pings import NAMES, Reason, decode_pings

DOCS = Path(__file__).parents[2] / "docs"
PINGS = (DOCS / "pings.md").read_text()
NOON_US = 1_780_302_600_000_000


def test_every_body_in_the_docs_is_accepted_and_says_the_same_position():
    (block,) = re.findall(r"```json\n(.*?)```", PINGS, re.DOTALL)
    bodies = [line.encode() for line in block.splitlines()]
    batch = decode_pings(bodies, np.full(len(bodies), NOON_US))
    assert batch.rejected == []
    assert len(batch) == len(bodies)
    assert set(batch.latitude) == {51.5142}
    assert set(batch.longitude) == {-0.0931}
    assert set(batch.tracked_at_us) == {NOON_US}


def test_the_docs_list_every_name_of_every_field():
    listed = {}
    for field, _, names in re.findall(r"^\| `(\w+)` \| (yes|no) \| ([^|]+) \|", PINGS, re.MULTILINE):
        listed[field] = tuple(re.findall(r"`(\w+)`", names))
    assert listed == dict(NAMES)


def test_the_docs_list_every_reason_in_the_order_of_the_checks():
    _, _, rejected = PINGS.partition("## Rejected")
    assert re.findall(r"^\| `(\w+)` \|", rejected, re.MULTILINE) == [reason.value for reason in Reason]


def test_every_link_between_the_docs_leads_somewhere():
    for page in DOCS.rglob("*.md"):
        for target in re.findall(r"\]\(((?!http|#)[^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"

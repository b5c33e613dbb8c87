"""Ids of offers and decisions: UUIDs version 5 of what caused them, as the standard library makes them."""

import json
from uuid import UUID, uuid5

from hypothesis import given
from hypothesis import strategies as st

from shared.domain.decision import DECISION_NAMESPACE, OFFER_NAMESPACE, Decision, Outcome, SeenPing
from shared.domain.promotions import Transition

NAMES = st.text(st.characters(), min_size=1, max_size=20)
"""With control characters, quotes and lone surrogates."""


def decided(device_id: str, store_id: str | None, promotion_id: str | None, number: int, at_us: int) -> Decision:
    ping = SeenPing(device_id, 51.5, -0.12, at_us - 1, at_us, None, "2", number, ())
    return Decision(ping, "v1", Outcome.SENT, None, store_id, Transition.ENTER, promotion_id, 3.0, at_us - 9)


@given(NAMES, st.none() | NAMES, st.none() | NAMES, st.integers(0, 2**63 - 1), st.integers(0, 2**53))
def test_an_id_is_the_uuid_of_the_json_array_of_its_cause(device_id, store_id, promotion_id, number, at_us):
    decision = decided(device_id, store_id, promotion_id, number, at_us)
    cause = json.dumps(["2", number, at_us, device_id, store_id, "ENTER", promotion_id])
    assert decision.decision_id == str(uuid5(DECISION_NAMESPACE, cause))
    visit = json.dumps([device_id, store_id, promotion_id, at_us - 9])
    assert decision.offer_id == str(uuid5(OFFER_NAMESPACE, visit))


def test_an_id_stays_what_it_was():
    decision = decided("d1", "cafe", "coffee", 7, 1_780_302_600_000_000)
    assert UUID(decision.decision_id).version == 5
    assert decision.decision_id == "1a017100-b51e-5a00-bbaa-518413783dde"
    assert decision.offer_id == "9d64f9f1-1fb0-5727-9575-60736c2814ce"

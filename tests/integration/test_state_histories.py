"""The histories that the fake passes, on the real table: the fake says what the table says."""

import logging
from dataclasses import replace
from uuid import uuid4

import pytest
from azure.data.tables import TableServiceClient

from shared.adapters.state_table import StateTable
from tests.unit.evaluate.histories import Play, check
from tests.unit.evaluate.world import PARTITION

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_on_the_real_table_too_each_event_is_decided_once(azurite, caplog):
    caplog.set_level(logging.CRITICAL, logger="shared.workflows")  # a kept record of an error keeps its frames
    with TableServiceClient.from_connection_string(azurite.connection_string) as service:
        table = StateTable.of(service, f"state{uuid4().hex[:12]}")
        for seed in range(25):
            check(Play(seed, table, replace(PARTITION, consumer_group=f"history-{seed}")))

"""Addresses of links, in the form of each SDK."""

import pytest

from infra.local.eventhubs.addresses import HubAddress, Node, parse_address
from infra.local.eventhubs.errors import AmqpError, Condition


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("amqps://localhost/pings", HubAddress("pings")),
        ("amqps://localhost:5673/pings/Partitions/3", HubAddress("pings", partition_id="3")),
        ("pings/Partitions/0", HubAddress("pings", partition_id="0")),
        (
            "amqps://localhost/pings/ConsumerGroups/$Default/Partitions/0",
            HubAddress("pings", "$Default", "0"),
        ),
        ("/pings/consumergroups/%24default/partitions/12", HubAddress("pings", "$default", "12")),
        ("$cbs", Node.CBS),
        ("amqps://localhost/$management", Node.MANAGEMENT),
        ("pings/$management", Node.MANAGEMENT),
    ],
)
def test_the_forms_of_the_sdks_are_understood(text: str, address: object) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text", [None, "", "/", "amqps://localhost", "pings/Publishers/x", "pings/ConsumerGroups/g", "a/b/c/d/e/f"]
)
def test_another_address_is_refused_politely(text: str | None) -> None:
    with pytest.raises(AmqpError, match="Valid are HUB") as caught:
        parse_address(text)

    assert caught.value.condition == Condition.NOT_FOUND

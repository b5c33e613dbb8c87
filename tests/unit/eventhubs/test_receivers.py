"""Who may read a partition in a consumer group."""

import pytest

from infra.local.eventhubs.errors import AmqpError, Condition
from infra.local.eventhubs.receivers import Claim, admit, displaced


def claims(*epochs: int | None) -> list[Claim]:
    return [Claim(epoch, f"old-{number}") for number, epoch in enumerate(epochs)]


@pytest.mark.parametrize(
    ("epoch", "present", "others_go"),
    [
        (None, [], False),
        (None, [None] * 4, False),
        (0, [], True),
        (0, [None, None], True),
        (5, [4], True),
        (5, [5], True),
    ],
)
def test_a_newcomer_is_admitted(epoch: int | None, present: list[int | None], others_go: bool) -> None:
    assert admit(Claim(epoch, "new"), claims(*present)) is others_go


@pytest.mark.parametrize(
    ("epoch", "present", "condition", "words"),
    [
        (4, [5], Condition.LINK_STOLEN, "Receiver 'old-0' with a higher epoch '5' already exists"),
        (-1, [0], Condition.LINK_STOLEN, "with a higher epoch '0' already exists"),
        (None, [0], Condition.LINK_STOLEN, "created with epoch of '0', and so non-epoch receiver is not allowed"),
        (None, [None] * 5, Condition.RESOURCE_LIMIT_EXCEEDED, "per partition in a consumer group which is 5"),
    ],
)
def test_a_newcomer_is_refused_with_the_words_of_the_service(
    epoch: int | None, present: list[int | None], condition: Condition, words: str
) -> None:
    with pytest.raises(AmqpError, match=words) as caught:
        admit(Claim(epoch, "new"), claims(*present))

    assert caught.value.condition == condition


def test_who_has_to_go_is_told_by_whom() -> None:
    told = displaced(Claim(3, "new"), Claim(None, "old"))

    assert told.condition == Condition.LINK_STOLEN
    assert "New receiver 'new' with higher epoch of '3' is created hence current receiver 'old' with epoch '0'" in str(
        told
    )

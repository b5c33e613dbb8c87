"""The partition of a key: what the Event Hubs SDKs compute, except where Python's disagrees with the others."""

from azure.eventhub._buffered_producer._partition_resolver import PartitionResolver, generate_hash_code
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.local.eventhubs.partition_key import key_hash, partition_for_key

ASCII = st.text(st.characters(max_codepoint=127), max_size=100)
"""Python's SDK hashes code points where the others hash UTF-8: beyond ASCII it is no judge."""


@given(ASCII)
@settings(deadline=None, max_examples=500)
def test_the_hash_is_that_of_the_sdk(key: str) -> None:
    assert key_hash(key) == generate_hash_code(key)


def test_every_length_around_the_block_size_has_the_hash_of_the_sdk() -> None:
    for length in range(40):
        key = "abcdefghijklmnopqrstuvwxyz0123456789abcdef"[:length]
        assert key_hash(key) == generate_hash_code(key)


@given(ASCII, st.integers(1, 32))
@settings(deadline=None, max_examples=300)
def test_a_key_with_a_positive_hash_has_the_partition_that_pythons_buffered_producer_chooses(key: str, n: int) -> None:
    chosen = partition_for_key(key, n)

    assert 0 <= chosen < n
    if key_hash(key) >= 0:
        resolver = PartitionResolver([str(number) for number in range(n)])
        assert str(chosen) == resolver.get_partition_id_by_partition_key(key)


def test_a_negative_hash_has_the_truncated_remainder_not_pythons() -> None:
    key = next(key for key in map("device-{}".format, range(100)) if key_hash(key) < 0 and key_hash(key) % 4 == 1)

    assert partition_for_key(key, 4) == 3


def test_keys_spread_evenly() -> None:
    counts = [0] * 8
    for number in range(8000):
        counts[partition_for_key(f"device-{number}", 8)] += 1

    assert min(counts) > 850
    assert max(counts) < 1150

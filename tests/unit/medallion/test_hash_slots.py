"""A hash has one slot for ever, and nobody else has it; collisions of places and of hashes change no answer."""

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.medallion.device_keys import DeviceKeys
from shared.medallion.hash_slots import HashSlots
from shared.settings import DeviceKey

hashes = st.sampled_from([0, 1, 2, 16, 32, 48, 31, 2**63, 2**64 - 1])


@given(st.lists(st.lists(hashes, max_size=8), max_size=5))
@settings(deadline=None, max_examples=150)
def test_each_hash_keeps_its_slot_and_is_new_once(frames):
    table, slot_of = HashSlots(16), {}
    for frame in frames:
        slots, is_new = table.place(np.array(frame, np.uint64))
        known = dict(slot_of)
        for found, slot, new in zip((found or 1 for found in frame), slots.tolist(), is_new.tolist(), strict=True):
            assert slot_of.setdefault(found, slot) == slot
            assert new == (found not in known)
    assert len(set(slot_of.values())) == len(slot_of)


def test_more_devices_than_are_remembered_all_get_their_own_key():
    keys = DeviceKeys([DeviceKey("k1", b"a secret of 16 bytes or more")])
    ids = [f"device {number}" for number in range(210_000)]
    instants = np.zeros(len(ids), np.int64)
    made = keys.key(ids, instants)
    assert made.n_unique() == len(ids)
    assert made[[5, 205_000]].to_list() == keys.key([ids[5], ids[205_000]], instants[:2]).to_list()


def test_two_devices_of_the_same_hash_have_keys_of_their_own():
    class SameHash(HashSlots):
        def place(self, hashes):
            return super().place(np.full_like(hashes, 7))

    keys = DeviceKeys([DeviceKey("k1", b"a secret of 16 bytes or more")])
    expected = keys.key(["a", "b", "a", "c"], np.zeros(4, np.int64)).to_list()
    keys._made[0]._slots = SameHash(1 << 19)
    keys._made[0]._ids = keys._made[0]._keys = pl.Series(dtype=pl.String)
    assert keys.key(["a", "b", "a", "c"], np.zeros(4, np.int64)).to_list() == expected
    assert keys.key(["c", "b"], np.zeros(2, np.int64)).to_list() == [expected[3], expected[1]]

"""Keys are numbered as a dict would number them."""

import random

import pytest

from detectors import first_seen
from detectors.first_seen import FirstSeen


@pytest.mark.parametrize("hashes", [1, 7, 2**64])
@pytest.mark.parametrize("room", [0, 100_000])
def test_it_tells_what_a_dict_tells(hashes, room, monkeypatch):
    whole = first_seen.xxh3_64_intdigest
    monkeypatch.setattr(first_seen, "xxh3_64_intdigest", lambda key: whole(key) % hashes)  # few: many keys share one
    r = random.Random(hashes)
    seen, numbers, n = FirstSeen(room), {}, 0
    for size in (0, 1, 300, 3, 1_000, 20, 700):
        keys = [b"%d" % r.randrange(900) for _ in range(size)]
        assert seen.add(keys).tolist() == [numbers.setdefault(key, n + i) for i, key in enumerate(keys)]
        n += size
    assert len(seen) == n


def test_past_the_last_slot_comes_the_first(monkeypatch):
    monkeypatch.setattr(first_seen, "xxh3_64_intdigest", lambda key: int(key) % 5 << 32 | 2**32 - 1)  # all begin at the last slot
    keys = [b"%d" % i for i in (3, 0, 8, 4, 9, 3, 1, 2, 0, 4)]
    seen, numbers = FirstSeen(4), {}
    assert seen.add(keys[:5]).tolist() + seen.add(keys[5:]).tolist() == [numbers.setdefault(key, i) for i, key in enumerate(keys)]

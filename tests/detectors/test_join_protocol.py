"""Once, although delivery is at least once: any order, crash, zombie, batch and repeat comes to the same sums."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.joins import Broken, run

from schemas.scored import Status


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_any_schedule_comes_to_the_same_sums(seed):
    got, want, records = run(seed)
    assert got == want
    counted = sum(n for key, n in got.items() if key[0] == "count" and key[2] != Status.SUPERSEDED)
    assert counted == records


@pytest.mark.parametrize("broken", [broken for broken in Broken if broken is not Broken.NOTHING])
def test_each_part_of_the_protocol_is_needed(broken):
    wrong = sum(got != want for got, want, _ in (run(seed, broken=broken) for seed in range(12)))
    assert wrong >= 4, f"without {broken.name} only {wrong} of 12 schedules went wrong: the test above could not fail"

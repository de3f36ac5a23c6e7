"""Places among edges: those of a binary search, whatever the edges."""

import numpy as np
import pytest

from detectors.guide import Guide

_RNG = np.random.default_rng(2)
EDGES = {
    "even": np.linspace(0, 1, 1001),
    "crowded at 0": np.sort(_RNG.beta(0.05, 5, 1000)),
    "crowded at 1": 1 - np.linspace(0, 1e-6, 1000)[::-1],
    "with ties": np.repeat([0.0, 0.25, 0.5], 3),
    "one": np.array([0.5]),
    "zero alone": np.array([0.0]),
    "none": np.zeros(0),
}


@pytest.mark.parametrize("name", EDGES)
@pytest.mark.parametrize("n", [0, 5, 5000])
def test_places_are_those_of_a_search(name: str, n: int) -> None:
    edges = EDGES[name]
    near = np.concatenate([edges, np.nextafter(edges, 2), np.maximum(np.nextafter(edges, -1), 0.0), [0.0, 5e-324, 1.0, 7.0]])
    values = np.concatenate([_RNG.random(n), near])[: max(n, 1)] if n < 100 else np.concatenate([_RNG.random(n), near])
    assert Guide(edges).places(values).tolist() == np.searchsorted(edges, values).tolist()

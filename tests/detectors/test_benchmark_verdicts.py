"""What the rows of the detection benchmarks are judged by, with a bank that alarms as often as it is told to."""

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.detection import bank_rows


class Clockwork:
    """A bank that alarms at every pane whose number is a multiple of one given."""

    every = 1
    panes = 0

    def __init__(self, *, policy):
        self.panels = {1: [SimpleNamespace(monitors=SimpleNamespace(phi=np.ones(1)))]}

    def step(self, reading, context):
        Clockwork.panes += 1
        return ["alarm"] if Clockwork.panes % self.every == 0 else []


@pytest.fixture
def clockwork(monkeypatch):
    monkeypatch.setattr(bank_rows, "Bank", Clockwork)
    monkeypatch.setattr(bank_rows, "Alarm", str)
    monkeypatch.setattr(Clockwork, "panes", 0)
    return lambda every: monkeypatch.setattr(Clockwork, "every", every)


@pytest.mark.parametrize(("every", "verdict"), [(1_200, "**missed**; independent; daily cycle"), (100_000, "reached.")])
def test_dependent_streams_are_judged_by_the_monitors_own_part_of_the_budget(clockwork, monkeypatch, every, verdict):
    """0.7 alarms a month are surely below the one of the whole budget, and surely above the part of 0.4."""
    monkeypatch.setattr(bank_rows, "_rates", lambda *given, **named: None)
    clockwork(every)
    assert verdict in bank_rows.dependence(0.6).notes[0]


@pytest.mark.parametrize(("before", "verdict"), [(0.1, "shown."), (1e-9, "**not shown**.")])
def test_that_the_order_of_arrival_exceeds_the_budget_is_said_only_where_it_was_seen(clockwork, monkeypatch, before, verdict):
    """Seen with the true law; where the labels of both classes take as long, the order of arrival does no harm."""
    clockwork(10**9)
    if before < 0.1:
        real = bank_rows.generator

        class Alike:
            def __init__(self):
                self.rng = real("label_delay")

            def binomial(self, n, p):
                return self.rng.binomial(n, p)

            def exponential(self, mean, count):
                return self.rng.exponential(3.0, count)

        monkeypatch.setattr(bank_rows, "generator", lambda name: Alike())
    assert f"where traffic changes: {verdict}" in bank_rows.label_delay(0).notes[0]


def test_labels_at_a_fixed_age_are_judged_by_the_part_of_the_budget_that_their_monitors_have(clockwork):
    clockwork(10)  # so often that any change is found in time
    assert "within 11 days: **missed**" in bank_rows.label_delay(0).notes[0]

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


@pytest.mark.parametrize(("every", "verdict"), [(300, "**not shown**."), (10, "shown.")])
def test_that_the_order_of_arrival_exceeds_the_budget_is_said_only_where_it_was_seen(clockwork, every, verdict):
    clockwork(every)
    assert f"Order of arrival beyond 1 a month, whatever traffic does: {verdict}" in bank_rows.label_delay(0).notes[0]

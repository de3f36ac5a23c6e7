"""Statistics of predictions and labels: exact sums behind River's interface, one class a file."""

import importlib
import inspect
import pkgutil
from functools import cache
from typing import Any

from river import metrics, stats


@cache
def statistics() -> dict[str, type[Any]]:
    """Return every statistic of this package by name: a new file with a class is found by itself.

    >>> sorted(statistics())[:3]
    ['Auc', 'Bias', 'Brier']
    """
    found: dict[str, type[Any]] = {}
    for module in pkgutil.iter_modules(__path__):
        members = importlib.import_module(f"{__name__}.{module.name}")
        for name, member in inspect.getmembers(members, inspect.isclass):
            faced = issubclass(member, metrics.base.Metric | stats.base.Statistic)
            if faced and member.__module__ == members.__name__ and "shared" not in vars(member):
                found[name] = member
    return found

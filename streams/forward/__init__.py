"""Alert targets: what is told of incidents, one target a file; a new file with a ``Target`` is found by itself."""

import importlib
import inspect
import pkgutil
from functools import cache

from streams.forward.target import Target


@cache
def targets() -> dict[str, type[Target]]:
    """Return every target of this package by name.

    >>> sorted(targets())
    ['alertmanager', 'webhook']
    """
    found: dict[str, type[Target]] = {}
    for module in pkgutil.iter_modules(__path__):
        members = importlib.import_module(f"{__name__}.{module.name}")
        for _, member in inspect.getmembers(members, inspect.isclass):
            if issubclass(member, Target) and member is not Target and member.__module__ == members.__name__:
                found[member.name] = member
    return found

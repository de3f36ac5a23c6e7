"""Holding an audit trail against its own hashes: what was removed, changed or put in shows."""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from detectors.segments import OTHER
from schemas.audit import FIRST, AuditLine, sha256

_MOST = 10  # faults told of a chain


class Link(NamedTuple):
    """A line as it stands, and what it says."""

    raw: bytes
    line: AuditLine


class Chain(NamedTuple):
    """The lines of one model, each once, in order, and what is wrong with them."""

    model_id: str
    links: list[Link]
    faults: list[str]

    @property
    def head(self) -> str:
        """The hash of the last line: kept elsewhere, it shows that none was removed at the end, and the whole not written anew."""
        return sha256(self.links[-1].raw) if self.links else FIRST


def chains(lines: Iterable[bytes]) -> dict[str, Chain]:
    r"""Sort lines into their chains, and check each; a line that stands there twice, byte for byte, counts once.

    Parameters
    ----------
    lines
        In any order.

    Raises
    ------
    ValueError
        If one is no line of an audit trail.

    Examples
    --------
    >>> from detectors.ledger import Ledger
    >>> from schemas.control import Control
    >>> ledger = Ledger()
    >>> for number in range(2):
    ...     ledger.decision("fraud", Control(type="ack", by="ada", at=number, incident_id="i-1"))
    >>> lines = [line.value for line in ledger.take()]
    >>> chains(lines)["fraud"].faults, chains([lines[0], lines[2]])["fraud"].faults
    ([], ['line 1 is missing: line 2 was written after another than line 0'])

    """
    by_model: dict[str, dict[bytes, AuditLine]] = {}
    for place, raw in enumerate(lines):
        try:
            line = msgspec.json.decode(raw, type=AuditLine)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"expected a line of an audit trail, got something else as line {place + 1}: {error}") from None
        by_model.setdefault(line.model_id, {})[raw] = line
    return {model_id: _chain(model_id, by_model[model_id]) for model_id in sorted(by_model)}


def _chain(model_id: str, found: dict[bytes, AuditLine]) -> Chain:
    links = sorted((Link(raw, line) for raw, line in found.items()), key=lambda link: (link.line.number, link.raw))
    if model_id == OTHER:  # what is beyond the caps: a chain per scored partition, under one name
        hashes = {FIRST, *(sha256(link.raw) for link in links)}
        faults = [f"what line {link.line.number} was written after is missing" for link in links if link.line.previous not in hashes]
        return Chain(model_id, links, faults[:_MOST])
    faults, expected, previous = [], 0, FIRST
    for raw, line in links:
        if line.number == expected - 1:
            faults.append(f"there are two lines {line.number}: one was put in, or the state was made anew by another version")
        elif line.number > expected:
            gap = f"line {expected} is" if line.number == expected + 1 else f"lines {expected} to {line.number - 1} are"
            faults.append(f"{gap} missing: line {line.number} was written after another than line {expected - 1}")
        elif line.previous != previous:
            faults.append(f"line {line.number - 1} was changed, or line {line.number}: the second does not hold the hash of the first")
        expected, previous = line.number + 1, sha256(raw)
    return Chain(model_id, links, faults[:_MOST])

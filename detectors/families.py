"""The families: every watched quantity by name, each declared beside its bet."""

import difflib

from detectors.bets import Bet, Family, discover


def families() -> dict[str, tuple[Family, Bet]]:
    """Return every family by name with the bet that watches it.

    >>> [name for name, (family, _) in families().items() if family.opt_in and family.kind != "claim"]
    ['abstention']
    """
    return {family.name: (family, bet) for bet in discover().values() for family in bet.families}


def family(name: str) -> Family:
    """Return one family.

    Raises
    ------
    KeyError
        If there is none of that name; the message names the nearest.

    Examples
    --------
    >>> family("fnr").noun
    'false-negative rate'

    """
    known = families()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(sorted(known))}"
        raise KeyError(f"no family {name!r}{hint}")
    return known[name][0]

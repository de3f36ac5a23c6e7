"""The families: every watched quantity by name, each declared beside its bet."""

import difflib
from dataclasses import replace

from detectors.bets import DOWN, UP, Bet, Family, discover

CHECK, PROBE, CHALLENGER, BRIER = "check", "probe", "challenger", "brier"
NUMBER, CATEGORY, MISSING = "feature", "category", "missing"
_CHALLENGER = Family(
    name="{}",
    kind=CHALLENGER,
    noun="share of the mistakes that only one version made, against version {}",
    look="Look at requests that the two versions answer differently.",
    directions=(UP, DOWN),
    groups=False,
    opt_in=True,
    mature_only=True,
)
_COVARIATE = Family(
    name="{}",
    kind="covariate",
    noun="{}",
    look="Look at what feeds the model: the source of these inputs, a unit, a default, or the cases that come.",
    needs_labels=False,
    groups=False,
    opt_in=True,
)
NAMED = {  # families of which there is one for every name that arrives: "check:citation"
    CHECK: Family(
        name="{}",
        kind=CHECK,
        noun="pass rate of {}",
        look="Look at documents that fail the check and at what changed in retrieval, prompt or model.",
    ),
    PROBE: Family(
        name="{}",
        kind=PROBE,
        noun="detection rate of the probe {}",
        look="Look at probes that pass unseen: real ones of their kind do as well.",
    ),
    CHALLENGER: _CHALLENGER,
    BRIER: replace(_CHALLENGER, noun="Brier score against version {}", watch=CHALLENGER, tolerance=0.05),
    NUMBER: replace(_COVARIATE, tolerance=0.05),
    CATEGORY: replace(_COVARIATE, tolerance=0.02),
    MISSING: replace(_COVARIATE, tolerance=0.02, noun="share of predictions without {}", directions=(UP, DOWN)),
}


def families() -> dict[str, tuple[Family, Bet]]:
    """Return every family by name with the bet that watches it.

    >>> [name for name, (family, _) in families().items() if family.opt_in and family.kind != "claim"]
    ['regression', 'gap_error', 'gap_fpr', 'gap_fnr', 'abstention']
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
    >>> family("fnr").noun, family("check:citation").noun
    ('false-negative rate', 'pass rate of citation')

    """
    prefix, _, named = name.partition(":")
    if named and prefix in NAMED:
        return replace(NAMED[prefix], name=name, noun=NAMED[prefix].noun.format(named))
    known = families()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(sorted(known))}"
        raise KeyError(f"no family {name!r}{hint}")
    return known[name][0]

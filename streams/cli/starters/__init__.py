"""Policies to start from, one per domain: commented TOML that ``gnomon policy init`` prints."""

from pathlib import Path

DOMAINS = ("health", "fraud", "credit", "legal")


def starter(domain: str) -> str:
    """Return the policy of a domain.

    Raises
    ------
    KeyError
        If there is none.

    Examples
    --------
    >>> starter("fraud").splitlines()[0]
    '# A policy to start from: card fraud. Change what is marked with <-.'

    """
    if domain not in DOMAINS:
        raise KeyError(domain)
    return (Path(__file__).parent / f"{domain}.toml").read_text(encoding="utf-8")

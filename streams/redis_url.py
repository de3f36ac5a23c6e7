"""The URL of a Redis: one server's, or a cluster's with any number of its nodes to begin with."""

from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

SCHEMES = ("redis", "rediss", "redis+cluster", "rediss+cluster", "unix", "memory")
PORT = 6379
_CLUSTER = "+cluster"


class Place(NamedTuple):
    """Where a Redis is."""

    url: str  # as redis-py reads it; of a cluster without its hosts
    nodes: tuple[tuple[str, int], ...] = ()  # hosts and ports of a cluster to begin with; none: one server


def read(url: str) -> Place:
    """Return where a URL leads.

    Raises
    ------
    ValueError
        If it leads nowhere. What is said holds nothing of the URL but its scheme, since the rest may be a password.

    Examples
    --------
    >>> read("rediss+cluster://user:word@a:6380,[::1],b/0?ssl_ca_certs=ca.pem").nodes
    (('a', 6380), ('::1', 6379), ('b', 6379))
    >>> read("redis://a:6380/1")
    Place(url='redis://a:6380/1', nodes=())
    >>> read("redis+cluster://a/1")
    Traceback (most recent call last):
    ValueError: expected database 0, the only one that a Redis Cluster has

    """
    scheme, colon, rest = url.partition("://")
    if scheme not in SCHEMES or not colon:
        raise ValueError(f"expected a URL that begins with {'://, '.join(SCHEMES[:-1])}:// or {SCHEMES[-1]}://")
    try:
        place = min((found for mark in "/?#" if (found := rest.find(mark)) >= 0), default=len(rest))
        split = urlsplit(f"{scheme}://{rest[place:]}")  # newer ones of urllib take no [::1] that stands among other hosts
        user, at, hosts = rest[:place].rpartition("@")
        # a password with a "/", "?" or "#" of its own would be read as a host, and told in errors
        if scheme != "unix" and ("@" in split.path + split.query + split.fragment or (scheme.endswith(_CLUSTER) and "@" in user)):
            raise ValueError("@")  # noqa: TRY301  told below as all that is wrong here
        nodes = tuple(_node(host) for host in hosts.split(",")) if scheme not in {"unix", "memory"} else ()
    except ValueError:
        what = "expected host:port after the scheme; what is special in a user's name or password is written as %40 and the like"
        raise ValueError(what) from None  # what urllib says may hold a part of the password
    if not scheme.endswith(_CLUSTER):
        if len(nodes) > 1:
            raise ValueError(f"expected one host, got {len(nodes)}: those of a cluster stand after {scheme}{_CLUSTER}://")
        return Place(url)
    if split.path.strip("/") not in {"", "0"} or any(number != "0" for number in parse_qs(split.query).get("db", [])):
        raise ValueError("expected database 0, the only one that a Redis Cluster has")
    if not all(host for host, _ in nodes):
        raise ValueError("expected the host:port of a node of the cluster, or of several with commas between")
    query = f"?{split.query}" if split.query else ""
    return Place(f"{scheme.removesuffix(_CLUSTER)}://{user}{at}{query}", nodes)


def _node(host: str) -> tuple[str, int]:
    split = urlsplit(f"//{host}")
    return split.hostname or "", split.port or PORT

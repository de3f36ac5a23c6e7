"""Ports for the servers of the tests: none is given twice, and none is one that the system hands to outgoing connections."""

import random
import socket

# Below the ports that Linux (from 32768) and macOS (from 49152) give to outgoing connections: such a one could be taken by any client
# between the choice and the start, or while a killed server is away. A Redis Cluster's bus listens 10,000 above, and still below them.
FIRST, LAST = 12_000, 22_000

_given: set[int] = set()
_random = random.SystemRandom()  # test runs side by side must not agree


def free_port() -> int:
    """Return a loopback port that nothing listens on now and that was not given before in this process."""
    while len(_given) < LAST - FIRST:
        port = _random.randrange(FIRST, LAST)
        if port in _given:
            continue
        _given.add(port)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise RuntimeError(f"every port from {FIRST} to {LAST} was given out or is taken")

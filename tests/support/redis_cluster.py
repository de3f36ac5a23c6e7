"""A real Redis Cluster for the tests: several servers on loopback that share the hash slots. Slots can be moved, nodes killed."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import redis
from support.ports import free_port
from support.redis_server import RedisServer

SLOTS = 16_384
NODE_TIMEOUT_MS = "1000"  # a node that is silent for longer counts as dead
WAIT_S = 30.0


class RedisCluster:
    """A cluster of primaries that has all slots. ``options`` go to every server; with a certificate all speak TLS, to each other too."""

    def __init__(self, primaries: int = 3, *, certificate: Path | None = None, **options: str) -> None:
        self._options = {"cluster-enabled": "yes", "cluster-node-timeout": NODE_TIMEOUT_MS} | options
        if certificate is not None:
            self._options |= {"tls-cert-file": str(certificate), "tls-key-file": str(certificate), "tls-ca-cert-file": str(certificate)}
            self._options |= {"tls-cluster": "yes", "tls-auth-clients": "no"}
        self._tls = certificate is not None
        self.servers, self._ports = list[RedisServer](), dict[int, int]()  # the port that nodes know each other by, by the plain one
        for _ in range(primaries):
            self._new()

    @property
    def url(self) -> str:
        """What GNOMON_REDIS is."""
        nodes = ",".join(f"127.0.0.1:{self._ports[server.port]}" for server in self.servers)
        return f"redis{'s' * self._tls}+cluster://{nodes}"

    def start(self) -> "RedisCluster":
        """Start the servers, let them meet, and share out the slots; each node has one end of the range."""
        for server in self.servers:
            server.start()
        bounds = [SLOTS * i // len(self.servers) for i in range(len(self.servers) + 1)]
        for server, first, stop in zip(self.servers, bounds, bounds[1:], strict=False):
            self.ask(server, "CLUSTER", "SET-CONFIG-EPOCH", self.servers.index(server) + 1)
            self.ask(server, "CLUSTER", "ADDSLOTSRANGE", first, stop - 1)
            self.ask(server, "CLUSTER", "MEET", "127.0.0.1", self._ports[self.servers[0].port])
        self.wait()
        return self

    def add(self) -> RedisServer:
        """Add a primary without slots."""
        server = self._new().start()
        self.ask(server, "CLUSTER", "MEET", "127.0.0.1", self._ports[self.servers[0].port])
        self.wait()
        return server

    def add_replica(self, primary: RedisServer) -> RedisServer:
        """Add a replica of a primary."""
        server = self.add()
        self.ask(server, "CLUSTER", "REPLICATE", self.ask(primary, "CLUSTER", "MYID").decode())
        self.wait_for_replica(primary, server)
        return server

    def wait_for_replica(self, primary: RedisServer, replica: RedisServer) -> None:
        """Wait until a replica has what its primary has now."""
        deadline, written = time.monotonic() + WAIT_S, self.ask(primary, "INFO")["master_repl_offset"]
        while self.ask(replica, "INFO").get("slave_repl_offset", -1) < written or self.ask(replica, "INFO")["master_link_status"] != "up":
            if time.monotonic() > deadline:
                raise TimeoutError("the replica does not follow")
            time.sleep(0.05)

    def wait(self) -> None:
        """Wait until every node knows every other, and finds the cluster well."""
        deadline = time.monotonic() + WAIT_S
        while not all(self._well(server) for server in self.servers):
            if time.monotonic() > deadline:
                raise TimeoutError(f"the cluster is not well: {[self.ask(server, 'CLUSTER INFO') for server in self.servers]}")
            time.sleep(0.05)

    def ask(self, server: RedisServer, *command: Any) -> Any:
        """Run a command on a node, wherever its keys are."""
        with closing(redis.Redis(port=server.port)) as client:
            return client.execute_command(*command)

    def owner(self, slot: int) -> RedisServer:
        """Return the node that has a slot, as the first says."""
        for first, last, (_, port, *_), *_ in self.ask(self.servers[0], "CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(server for server in self.servers if server.port == port)
        raise LookupError(f"nobody has slot {slot}")

    def moving(self, slot: int, target: RedisServer, keys_at_once: int = 1) -> Iterator[int]:
        """Move a slot with its keys: yields before each step, the number of keys moved so far."""
        source = self.owner(slot)
        ids = {server.port: self.ask(server, "CLUSTER", "MYID").decode() for server in (source, target)}
        self.ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source.port])
        self.ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target.port])
        moved = 0
        while True:
            yield moved
            keys = self.ask(source, "CLUSTER", "GETKEYSINSLOT", slot, keys_at_once)
            if not keys:
                break
            self.ask(source, "MIGRATE", "127.0.0.1", target.port, "", 0, 5_000, "KEYS", *keys)
            moved += len(keys)
        for server in (target, source, *self.servers):  # the new owner first: it must not be told by others that the slot is not its own
            self.ask(server, "CLUSTER", "SETSLOT", slot, "NODE", ids[target.port])

    def close(self) -> None:
        """Kill all, and remove what they wrote."""
        for server in self.servers:
            server.close()

    def _new(self) -> RedisServer:
        tls = free_port() if self._tls else None
        server = RedisServer(**self._options, **({"tls-port": str(tls)} if tls else {}))
        self._ports[server.port] = tls or server.port
        self.servers.append(server)
        return server

    def _well(self, server: RedisServer) -> bool:
        info = self.ask(server, "CLUSTER INFO")
        return int(info["cluster_known_nodes"]) == len(self.servers) and bool(info["cluster_state"] == "ok")

"""The whole path with a Redis Cluster: what comes out is what comes out with one server, whatever moves or dies meanwhile."""

from pathlib import Path

import pytest
from support.kafka_broker import Broker
from support.logs import gnomon
from support.redis_cluster import RedisCluster
from support.stories import DAY_MS, START_MS
from support.whole import Deployment, Message, closing, figures, produce, records, spread
from support.workers import Process, processes, wait_for

from schemas.findings import EventType
from streams.pending import RedisTable
from streams.redis_client import connect

pytestmark = pytest.mark.integration

END_MS = START_MS + 200 * DAY_MS
ENV = {"GNOMON_IDLE_TIMEOUT_MS": "never", "GNOMON_BATCH_RECORDS": "200"}


def test_a_cluster_gives_what_one_server_gives(
    *, kafka: Broker, redis_url: str, own_cluster: RedisCluster, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, reports, findings = records(), [], []
    for name, url in (("one", redis_url), ("many", own_cluster.url)):
        with processes() as started:
            deployment = Deployment(kafka, url, f"{prefix}{name}.", tmp_path, started)
            messages = spread(made, deployment.settings, 1) + closing(deployment.settings, END_MS)
            if url == redis_url:
                begin(deployment)
                produce(deployment.settings, messages)
            else:
                under_way(deployment, messages, own_cluster)
            reports.append(deployment.settle(END_MS - DAY_MS))
            findings.append(deployment.findings())
            if url == own_cluster.url:
                for variable, value in {"KAFKA": kafka.bootstrap, "REDIS": url, "PREFIX": deployment.settings.prefix}.items():
                    monkeypatch.setenv(f"GNOMON_{variable}", value)
                assert f"127.0.0.1:{own_cluster.servers[2].port}: evicts nothing" in gnomon("doctor").stdout
                assert gnomon("explain", "nobody").exit_code == 2  # asked for, and not there
    assert {EventType.DRIFT_OPENED, EventType.DRIFT_CLEARED} <= {dict(headers)["ce_type"].decode() for headers, _ in findings[0].values()}
    assert findings[1] == findings[0]
    assert figures(reports[1]) == figures(reports[0])


def begin(deployment: Deployment) -> tuple[Process, Process]:
    """Start both workers, the same members each time: nobody waits for the sessions of the dead."""
    return deployment.join(**ENV, GNOMON_INSTANCE_ID="j"), deployment.watch(**ENV, GNOMON_INSTANCE_ID="w")


def under_way(deployment: Deployment, messages: list[Message], cluster: RedisCluster) -> None:
    """Send in three parts: after the first the workers are killed, under the second slots move, before the third a node dies."""
    prefix = deployment.settings.prefix
    third = len(messages) // 3
    first, second, last = messages[:third], messages[third : 2 * third], messages[2 * third :]
    workers = begin(deployment)
    produce(deployment.settings, first)
    wait_for(lambda: sum(deployment.ends("scored")) > 0, "rows come")
    for worker in workers:
        worker.kill()
    join, _ = begin(deployment)
    produce(deployment.settings, second)
    table = RedisTable(connect(cluster.url), prefix)
    keys = [*(table.key(bytes([tag]) * 16) for tag in (0, 5, 10, 15)), *(f"{prefix}watch:{partition}" for partition in range(3))]
    for slot in {int(cluster.ask(cluster.servers[0], "CLUSTER", "KEYSLOT", key)) for key in keys}:
        target = cluster.servers[(cluster.servers.index(cluster.owner(slot)) + 1) % 3]
        for _ in cluster.moving(slot, target, keys_at_once=20):
            pass
    cluster.servers[1].kill()
    produce(deployment.settings, last)
    wait_for(lambda: "trying on" in join.text(), "the join waits")
    cluster.servers[1].start()

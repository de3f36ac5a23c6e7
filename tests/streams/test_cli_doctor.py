"""``gnomon doctor``: each fault is found, told with what to do, and counts for the exit status."""

import json
import time
from dataclasses import replace

import pytest
import redis
from support.flow import join_worker, provision, send
from support.kafka_broker import Broker
from support.logs import gnomon
from support.redis_server import RedisServer
from support.workers import processes, wait_for

from streams import doctor
from streams.doctor import Level, own_findings, redis_findings
from streams.guard import admin
from streams.settings import Settings

KEYED = Settings(secret_key="k")  # noqa: S106  # no secret


class FakeRedis:
    """Answers as a server would."""

    def __init__(self, *, apart_s: float = 0.0, fsync: str = "always", **info: object) -> None:
        self.apart_s, self.fsync = apart_s, fsync
        self.facts = {"redis_version": "7.0.15", "maxmemory_policy": "noeviction", "aof_enabled": 1, "used_memory": 2**20} | info

    async def info(self):
        return self.facts

    async def config_get(self, name):
        return {"appendfsync": self.fsync}

    async def time(self):
        now = time.time() + self.apart_s
        return int(now), int(now % 1 * 1e6)

    async def hgetall(self, key):
        return {}


@pytest.mark.parametrize(
    ("server", "level", "says", "fix"),
    [
        (FakeRedis(maxmemory_policy="allkeys-lru"), "error", "evicted logs are lost joins", "noeviction"),
        (FakeRedis(fsync="everysec"), "warning", "a power loss may lose the last second's joins", "appendfsync always"),
        (FakeRedis(aof_enabled=0), "warning", "loses every pending prediction", "appendonly yes"),
        (FakeRedis(redis_version="6.2.1"), "error", "Redis 7.0 or later", "run Redis 7.0"),
        (FakeRedis(apart_s=-4), "warning", "4.0 s behind", "chronyc"),
        (FakeRedis(apart_s=90), "warning", "90.0 s ahead", "chronyc"),
        (FakeRedis(used_memory=95, maxmemory=100), "warning", "95%", "raise maxmemory"),
        (FakeRedis(used_memory=101, maxmemory=100), "error", "101%", "raise maxmemory"),
        (FakeRedis(aof_last_write_status="err"), "error", "may not last", "disk"),
    ],
)
async def test_a_fault_of_redis(server, level, says, fix):
    found, _ = await redis_findings(server, Settings())
    bad = [finding for finding in found if finding.level != Level.OK]
    assert [finding.level for finding in bad] == [level]
    assert says in bad[0].text
    assert fix in bad[0].fix


async def test_replicas_that_are_waited_for_and_not_there():
    found, _ = await redis_findings(FakeRedis(connected_slaves=1), Settings(redis_wait_replicas=2))
    assert [finding.level for finding in found].count(Level.ERROR) == 1


async def test_a_redis_as_we_ship_it_is_fine():
    found, _ = await redis_findings(FakeRedis(), Settings())
    assert {finding.level for finding in found} == {Level.OK}
    assert "noeviction" in " ".join(finding.text for finding in found)


def test_another_faust_than_the_one_that_is_tested(monkeypatch):
    assert [finding.level for finding in own_findings(KEYED)] == [Level.OK]
    real = doctor.importlib.metadata.version
    monkeypatch.setattr(doctor.importlib.metadata, "version", lambda name: "0.15.2" if name == "faust-streaming" else real(name))
    bad = [finding for finding in own_findings(KEYED) if finding.level == Level.ERROR]
    assert len(bad) == 1
    assert "pip install 'faust-streaming==" in bad[0].fix


def test_no_secret_key_is_a_warning():
    assert [finding.about for finding in own_findings(Settings()) if finding.level == Level.WARNING] == ["settings"]


def test_nothing_runs(monkeypatch):
    monkeypatch.setattr(doctor, "TIMEOUT_S", 1.0)
    monkeypatch.setenv("GNOMON_KAFKA", "127.0.0.1:1")
    monkeypatch.setenv("GNOMON_REDIS", "redis://127.0.0.1:1/0")
    result = gnomon("doctor", "--json")
    assert result.exit_code == 1
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert {finding["about"] for finding in found if finding["level"] == "error"} == {"redis", "brokers"}
    assert all(finding["fix"] for finding in found if finding["level"] != "ok")


def levels(output: str) -> set[tuple[str, str]]:
    found = [json.loads(line) for line in output.splitlines()]
    return {(finding["about"], finding["level"]) for finding in found}


@pytest.mark.integration
def test_on_a_broker_and_a_redis(kafka: Broker, own_redis: RedisServer, prefix: str, tmp_path, monkeypatch):
    for name, value in {"KAFKA": kafka.bootstrap, "REDIS": own_redis.url, "PREFIX": prefix, "SECRET_KEY": "tests"}.items():
        monkeypatch.setenv(f"GNOMON_{name}", value)
    monkeypatch.setenv("GNOMON_SOURCE_PARTITIONS", "3")
    monkeypatch.setenv("GNOMON_SCORED_PARTITIONS", "2")
    result = gnomon("doctor")
    assert result.exit_code == 1
    assert f"{prefix}predictions is missing" in result.stdout
    assert "-> gnomon provision" in result.stdout
    settings = replace(provision(kafka, prefix), redis=own_redis.url)
    result = gnomon("doctor", "--json")
    assert result.exit_code == 0, result.stdout
    assert ("join workers", "warning") in levels(result.stdout)
    send(settings, [("predictions", b"{}")] * 9)
    with processes() as started:
        started.append(join_worker(tmp_path, settings, own_redis.url))
        wait_for(lambda: "1 members, 0 records to read" in gnomon("doctor").stdout, "the join has read all")
        assert started[0].stop()[0] == 0
    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    result = gnomon("doctor", "--json")
    assert result.exit_code == 1
    assert ("redis", "error") in levels(result.stdout)
    assert ("clocks", "ok") in levels(result.stdout)
    # a source made anew
    old = doctor.look(admin(settings), settings, ["outcomes"])["outcomes"]
    kafka.delete_topics(settings.topic("outcomes"))
    provision(kafka, prefix)
    assert doctor.look(admin(settings), settings, ["outcomes"]) != {"outcomes": old}
    assert "gnomon provision --accept outcomes" in gnomon("doctor").stdout

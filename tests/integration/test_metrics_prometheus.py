"""Live workers, scraped by a real Prometheus and probed: with all well, with Redis away, while they drain."""

import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import missing
from support.flow import join_worker, send, traffic
from support.kafka_broker import Broker
from support.ports import free_port
from support.prometheus_server import NoPrometheusError, Prometheus, fetch
from support.redis_server import RedisServer
from support.whole import Deployment
from support.workers import processes, wait_for

from streams.engine import REFUSED

pytestmark = pytest.mark.integration
Scrape = Callable[[dict[str, int]], Prometheus]


@pytest.fixture
def scrape(tmp_path: Path) -> Iterator[Scrape]:
    """Start a Prometheus that scrapes ports by job."""
    started: list[Prometheus] = []

    def start(jobs: dict[str, int]) -> Prometheus:
        try:
            started.append(Prometheus(tmp_path / "prometheus", free_port(), jobs))
        except NoPrometheusError as error:
            missing(str(error))
            raise
        return started[-1].start()

    yield start
    for server in started:
        server.close()


def reasons(port: int, path: str) -> tuple[int, list[str]]:
    status, body = fetch(port, path)
    return status, json.loads(body)["reasons"] if body else []


def test_prometheus_sees_what_the_workers_did(kafka: Broker, redis_url: str, prefix: str, tmp_path: Path, scrape: Scrape) -> None:
    made = traffic(11, 1500)
    with processes() as started:
        deployment = Deployment(kafka, redis_url, prefix, tmp_path, started)
        ports = {"join": free_port(), "watch": free_port()}
        deployment.join(GNOMON_JOIN_HTTP_PORT=str(ports["join"]), GNOMON_IDLE_TIMEOUT_MS="1000")
        deployment.watch(GNOMON_WATCH_HTTP_PORT=str(ports["watch"]))
        server = scrape(ports)
        send(deployment.settings, made.records)
        deployment.settle()

        def joined() -> bool:
            return server.one("sum(gnomon_records_total)") == len(made.records)

        wait_for(joined, "Prometheus has seen every record")
        topics = Counter(topic for topic, _ in made.records)
        assert server.query("sum by (topic) (gnomon_records_total)") == {(("topic", topic),): n for topic, n in topics.items()}
        assert server.one("sum(gnomon_dlq_total)") == made.bad
        assert server.one("gnomon_predictions_total") == made.predictions.total()
        assert server.one("gnomon_labels_total") == server.one("gnomon_label_delay_seconds_count") == made.labels.total()
        assert server.one('gnomon_produced_total{topic="dead-letters"}') == made.bad
        # In the watch the same records, of whatever worker's doing.
        wait_for(lambda: server.one("sum(gnomon_model_records)") == len(made.records), "the watch's records")
        models = server.query('sum by (model) (gnomon_model_records{result="prediction"})')
        assert models == {(("model", model),): n for model, n in made.predictions.items()} | {(("model", "__none__"),): 0}
        wait_for(lambda: set(server.query('gnomon_consumer_lag_records{topic!="scored"}').values()) == {0.0}, "no lag")
        # The watch commits what it has checkpointed, once a second, while ticks go on coming.
        wait_for(lambda: max(server.query('gnomon_consumer_lag_seconds{topic="scored"}').values()) < 10, "no lag to speak of")
        assert server.query("gnomon_assigned_partitions") == _by_job(ports, join=7, watch=3)
        assert set(server.query("up").values()) == {1.0}
        assert set(server.query("gnomon_dep_up").values()) == {1.0}
        assert len(server.query("gnomon_dep_up")) == 4
        assert max(server.query("gnomon_commit_age_seconds").values()) < 30

        def times() -> list[float]:
            return list(server.query('gnomon_watermark_timestamp_seconds{topic="scored"}').values())

        wait_for(lambda: len(times()) == 3 and all(abs(time.time() - at) < 600 for at in times()), "idle partitions follow the clock")
        assert all(value > 0 for value in server.query("gnomon_state_bytes").values())
        wait_for(lambda: len(server.query("gnomon_redis_memory_bytes > 100e3")) == 2, "both have asked Redis")
        targets = server.get("targets", state="active")["activeTargets"]
        assert [target["lastError"] for target in targets] == ["", ""]
        known = set(re.findall(r"^\| `(gnomon_\w+)`", Path("docs/metrics.md").read_text(), re.M))
        names = {name for name in server.get("label/__name__/values") if name.startswith("gnomon_")}
        assert {re.sub("_(bucket|sum|count)$", "", name) for name in names} <= known
        for port in ports.values():
            assert [reasons(port, path) for path in ("/livez", "/readyz", "/startupz")] == [(200, [])] * 3


def _by_job(ports: dict[str, int], **values: int) -> dict[tuple[tuple[str, str], ...], float]:
    return {(("instance", f"127.0.0.1:{ports[job]}"), ("job", job)): value for job, value in values.items()}


def test_with_redis_away_workers_are_unready_and_live_and_then_well_again(
    kafka: Broker, own_redis: RedisServer, prefix: str, tmp_path: Path, scrape: Scrape
) -> None:
    with processes() as started:
        deployment = Deployment(kafka, own_redis.url, prefix, tmp_path, started)
        port = free_port()
        env = {"GNOMON_JOIN_HTTP_PORT": str(port), "GNOMON_STALL_TIMEOUT_MS": "8000", "GNOMON_GUARD_INTERVAL_MS": "500"}
        process = deployment.join(**env)
        server = scrape({"join": port})
        wait_for(lambda: reasons(port, "/readyz") == (200, []), "the worker is ready")
        own_redis.kill()
        send(deployment.settings, traffic(3, 200).records)
        wait_for(lambda: reasons(port, "/readyz") == (503, ["redis is away"]), "the worker is unready")
        wait_for(lambda: server.one('gnomon_dep_up{dep="redis"}') == 0, "Prometheus sees that Redis is away")
        wait_for(lambda: (server.one("max(gnomon_commit_age_seconds)") or 0) > 9, "longer than a stall may last")
        assert reasons(port, "/livez") == (200, [])
        assert (server.one('gnomon_retries_total{dep="redis"}') or 0) > 0
        assert (server.one("sum(gnomon_consumer_lag_records)") or 0) > 0
        own_redis.start()
        wait_for(lambda: reasons(port, "/readyz") == (200, []), "the worker is ready again")
        wait_for(lambda: deployment.read("join", "predictions", "outcomes"), "all is joined")
        assert reasons(port, "/livez") == (200, [])
        assert process.process.poll() is None


def test_a_worker_that_stands_still_though_all_is_well_is_not_live(kafka: Broker, redis_url: str, prefix: str, tmp_path: Path) -> None:
    # Its handler never returns; the event loop, Kafka and Redis are well.
    code = "import asyncio; from streams.engine import run; from streams.join import app, worker\n"
    code += "async def step(batches, turn): await asyncio.sleep(3600)\n"
    code += "worker.agent._handle = step; run(app, loglevel='WARNING')"
    with processes() as started:
        deployment = Deployment(kafka, redis_url, prefix, tmp_path, started)
        port = free_port()
        env = {"GNOMON_JOIN_HTTP_PORT": str(port), "GNOMON_STALL_TIMEOUT_MS": "4000", "GNOMON_DRAIN_TIMEOUT_MS": "3000"}
        process = join_worker(tmp_path, deployment.settings, redis_url, "still", [sys.executable, "-c", code], **env)
        started.append(process)
        wait_for(lambda: reasons(port, "/readyz") == (200, []), "the worker is ready")
        time.sleep(5)
        assert reasons(port, "/livez") == (200, [])  # nothing to do is no stall
        send(deployment.settings, traffic(3, 50).records)
        wait_for(lambda: reasons(port, "/livez")[0] == 503, "the worker is not live")
        assert "nothing committed for more than 4 s" in reasons(port, "/livez")[1][0]
        # It cannot drain either: told to stop, it says so until its time is up.
        process.process.terminate()
        wait_for(lambda: reasons(port, "/readyz") == (503, ["told to stop: draining"]), "the worker drains")
        assert process.wait() != 0


def test_a_port_that_is_taken_is_said_at_start(kafka: Broker, redis_url: str, prefix: str, tmp_path: Path) -> None:
    with processes() as started:
        deployment = Deployment(kafka, redis_url, prefix, tmp_path, started)
        process = deployment.join(GNOMON_JOIN_HTTP_PORT=str(kafka.port))
        assert process.wait() == REFUSED
        assert f"cannot listen on 127.0.0.1:{kafka.port}" in process.text()

"""The Docker files: what must hold of them can be read, without a Docker engine."""

import json
import re
import subprocess
import sys
import tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
import yaml
from support.logs import gnomon

from streams.settings import Settings, describe

ROOT = Path(__file__).parents[1]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
OURS = ["provision", "join", "watch"]
LONG = ["kafka", "redis", "join", "watch"]


def test_all_services_are_there():
    assert set(SERVICES) == {"kafka", "redis", *OURS}


@pytest.mark.parametrize("name", OURS)
def test_ours_have_no_rights_that_they_do_not_need(name):
    service = SERVICES[name]
    assert service["user"].split(":")[0] not in {"0", "root"}
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert "ports" not in service


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_memory_is_limited(name):
    number, unit = re.fullmatch(r"(\d+)([mg])", SERVICES[name]["mem_limit"]).groups()
    assert 0 < int(number) * {"m": 1, "g": 1024}[unit] <= 4096


@pytest.mark.parametrize("name", LONG)
def test_what_runs_on_is_watched_restarted_and_given_time_to_stop(name):
    service = SERVICES[name]
    assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
    assert service["restart"] == "unless-stopped"
    assert service["stop_grace_period"] == "60s"


def test_the_grace_period_is_longer_than_a_worker_takes_to_stop():
    from streams.processes import GRACE_S

    assert Settings().drain_timeout_ms / 1000 < GRACE_S < 60


def test_workers_start_when_the_topics_are_made():
    assert SERVICES["provision"]["depends_on"] == {"kafka": {"condition": "service_healthy"}}
    assert SERVICES["provision"]["restart"] == "on-failure"  # once, but for a Kafka that was not ready
    for name in ("join", "watch"):
        assert SERVICES[name]["depends_on"]["provision"] == {"condition": "service_completed_successfully"}
        assert SERVICES[name]["depends_on"]["redis"] == {"condition": "service_healthy"}


def test_redis_loses_nothing():
    command = SERVICES["redis"]["command"]
    assert dict(zip(command[1::2], command[2::2], strict=True)) == {
        "--appendonly": "yes",
        "--appendfsync": "always",
        "--maxmemory": "1gb",
        "--maxmemory-policy": "noeviction",
    }


def test_data_lie_in_named_volumes():
    named = {name: [volume.split(":") for volume in service.get("volumes", ())] for name, service in SERVICES.items()}
    assert named["kafka"] == [["kafka", SERVICES["kafka"]["environment"]["KAFKA_LOG_DIRS"]]]
    assert named["redis"] == [["redis", "/data"]]
    assert set(COMPOSE["volumes"]) == {source for volumes in named.values() for source, _ in volumes}


def test_only_this_machine_reaches_kafka():
    assert [port for service in SERVICES.values() for port in service.get("ports", ())] == ["127.0.0.1:9092:9092"]


def test_kafka_is_reached_by_the_names_it_tells():
    kafka = SERVICES["kafka"]["environment"]
    told = dict(part.split("://") for part in kafka["KAFKA_ADVERTISED_LISTENERS"].split(","))
    heard = dict(part.split("://:") for part in kafka["KAFKA_LISTENERS"].split(","))
    assert told["INSIDE"] == SERVICES["join"]["environment"]["GNOMON_KAFKA"] == f"kafka:{heard['INSIDE']}"
    assert told["HOST"] == f"localhost:{heard['HOST']}"
    assert set(heard) == {part.split(":")[0] for part in kafka["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(",")}
    assert kafka["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"


@pytest.mark.parametrize("name", OURS)
def test_commands_and_settings_are_ours(name):
    service = SERVICES[name]
    shown = gnomon(service["command"][0], "--help").output
    assert "Usage" in shown
    assert all(option in shown for option in service["command"][1:])
    assert set(service["environment"]) <= {row.env for row in describe()}
    Settings.from_env({**service["environment"], "GNOMON_SECRETS_DIR": "/nonexistent"}).check()


def test_secrets_come_as_files_named_as_their_setting():
    secret = {row.name for row in describe() if row.secret}
    for name in OURS:
        assert set(SERVICES[name]["secrets"]) <= set(COMPOSE["secrets"])
        assert SERVICES[name]["environment"]["GNOMON_SECRETS_DIR"] == "/run/secrets"
        assert not {row.env for row in describe() if row.secret and row.name != "redis"} & set(SERVICES[name]["environment"])
    assert set(COMPOSE["secrets"]) <= secret
    # Compose refuses to put any other kind of secret into a container with a read-only root
    assert [set(each) for each in COMPOSE["secrets"].values()] == [{"file"}]
    assert {each["file"] for each in COMPOSE["secrets"].values()} == {f"./secrets/{name}" for name in COMPOSE["secrets"]}
    assert "/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def compose() -> list[str]:
    command = ["docker", "compose"]
    try:
        found = subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        found = False
    if not found:
        pytest.skip(
            "there is no Docker Compose here; with it its own parser is asked: apt-get install docker-compose-plugin, or Docker Desktop"
        )
    return command


def test_compose_itself_finds_nothing_wrong(tmp_path):
    command = [*compose(), "--file", str(ROOT / "docker-compose.yml"), "config", "--format", "json"]
    shown = subprocess.run(command, capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    assert set(json.loads(shown.stdout)["services"]) == set(SERVICES)
    broken = tmp_path / "docker-compose.yml"
    broken.write_text((ROOT / "docker-compose.yml").read_text().replace("mem_limit:", "memory_limit:"))
    assert subprocess.run([*compose(), "--file", str(broken), "config"], capture_output=True, check=False).returncode != 0


@pytest.mark.parametrize("name", ["join", "watch"])
def test_the_health_check_asks_the_worker_and_hears_its_answer(name):
    program, *arguments = SERVICES[name]["healthcheck"]["test"][1:]
    assert program == "python"
    port = SERVICES[name]["environment"][f"GNOMON_{name.upper()}_HTTP_PORT"]
    assert f"127.0.0.1:{port}/livez" in arguments[-1]
    answers = {"/livez": 200}

    class Worker(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(answers.get(self.path, 404))
            self.end_headers()

        def log_message(self, *_):
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Worker) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        asked = [argument.replace(f":{port}/", f":{server.server_port}/") for argument in arguments]
        alive = subprocess.run([sys.executable, *asked], capture_output=True, check=False).returncode
        answers["/livez"] = 503
        stalled = subprocess.run([sys.executable, *asked], capture_output=True, check=False).returncode
        server.shutdown()
    gone = subprocess.run([sys.executable, *asked], capture_output=True, check=False).returncode
    assert (alive, stalled, gone) == (0, 1, 1)


@pytest.mark.parametrize("name", ["kafka", "redis"])
def test_images_are_pinned(name):
    assert re.fullmatch(r"[\w/-]+:\d+\.\d+[\w.-]*", SERVICES[name]["image"])


def test_kafka_is_the_one_that_is_tested():
    tested = yaml.safe_load((ROOT / "tests/support/kafka/compose.yaml").read_text())
    assert SERVICES["kafka"]["image"] == tested["services"]["kafka"]["image"]


def test_the_image_runs_gnomon_as_nobody_special():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    last = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines if re.match(r"[A-Z]+ ", line)}
    assert last["USER"] == SERVICES["join"]["user"].split(":")[0]
    assert last["ENTRYPOINT"] == '["gnomon"]'
    assert last["STOPSIGNAL"] == "SIGTERM"
    base = re.findall(r"^FROM python:([\d.]+)", "\n".join(lines), re.MULTILINE)
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert base
    assert all(f">={version}" == needed for version in base)


def test_what_the_image_copies_is_not_ignored():
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source
        for line in (ROOT / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    }
    assert copied <= kept
    assert all((ROOT / source).exists() for source in copied)

"""Settings: typed, masked, with secrets from files, and the same connection for both of Kafka's clients."""
# ruff: noqa: S105  made-up secrets

import re
import traceback
from pathlib import Path

import pytest

from streams.engine import _credentials
from streams.setting_text import SettingsError
from streams.settings import Settings, describe, unknown

SASL = {"GNOMON_KAFKA_PROTOCOL": "SASL_SSL", "GNOMON_KAFKA_USERNAME": "ada", "GNOMON_KAFKA_PASSWORD": "pass-w0rd"}


def test_defaults_need_no_environment() -> None:
    assert Settings.from_env({}) == Settings()


@pytest.mark.parametrize(
    ("env", "value", "expected"),
    [
        ("GNOMON_SCORED_PARTITIONS", "0", "1 or more"),
        ("GNOMON_SCORED_PARTITIONS", "1.5", "a whole number"),
        ("GNOMON_DEAD_LETTER_PAYLOAD", "perhaps", "true or false"),
        ("GNOMON_KAFKA_PROTOCOL", "TLS", "one of PLAINTEXT, SSL"),
        ("GNOMON_KAFKA_PROTOCOL", "SASL_SSL", "GNOMON_KAFKA_USERNAME and GNOMON_KAFKA_PASSWORD"),
        ("GNOMON_IDLE_TIMEOUT_MS", "soon", "a whole number or `never`"),
        ("GNOMON_REDIS", "localhost:6379", "redis://"),
        ("GNOMON_REDIS", "redis+cluster://a:6379/1", "database 0"),
        ("GNOMON_REDIS", "redis+cluster://a:6379?db=1", "database 0"),
        ("GNOMON_REDIS", "redis+cluster://a:6379,", "a node of the cluster"),
        ("GNOMON_REDIS", "redis://a:6379,b:6379/0", "redis+cluster://"),
        ("GNOMON_KAFKA_PASSWORD_FILE", "/nowhere/at/all", "cannot read its file"),
    ],
)
def test_what_cannot_be_used_names_its_variable(env: str, value: str, expected: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(expected)) as caught:
        Settings.from_env({env: value})
    assert env.removesuffix("_FILE") in str(caught.value)


def test_a_secret_comes_from_its_file_or_from_the_folder_of_secrets(tmp_path: Path) -> None:
    (tmp_path / "secret_key").write_text("from-folder\n")
    (tmp_path / "elsewhere").write_text("from-file\n")
    assert Settings.from_env({"GNOMON_SECRETS_DIR": str(tmp_path)}).secret_key == "from-folder"
    assert Settings.from_env({"GNOMON_SECRET_KEY_FILE": str(tmp_path / "elsewhere")}).secret_key == "from-file"
    assert Settings.from_env({"GNOMON_SECRETS_DIR": str(tmp_path), "GNOMON_SECRET_KEY": "given"}).secret_key == "given"
    with pytest.raises(SettingsError, match=r"^GNOMON_\w+: cannot read its file .*File name too long"):
        Settings.from_env({"GNOMON_SECRETS_DIR": str(tmp_path / ("x" * 300))})
    with pytest.raises(SettingsError, match="both set"):
        Settings.from_env({"GNOMON_SECRET_KEY": "a", "GNOMON_SECRET_KEY_FILE": str(tmp_path / "elsewhere")})


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:hid/den@host:6379",
        "rediss+cluster://user:hid#den@host:6379",
        "redis+cluster://:hidden@host:port",
        "redis+cluster://:hidden@host/7",
        "redis+cluster://:hidden@",
        "redis://:hidden@a,b",
        "redis://user:12/hidden@host:6379",
        "redis://user:12?hidden@host:6379",
        "redis+cluster://user:12#hidden@host:6379",
        "redis+cluster://a:hid@host,b:den@other:6379",
        "hidden:6379",
    ],
)
def test_what_is_said_of_a_redis_url_holds_nothing_of_its_secrets(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({"GNOMON_REDIS": url})
    assert not re.search("hid|den", "".join(traceback.format_exception(caught.value)))


def test_a_cluster_has_no_replicas_to_wait_for() -> None:
    with pytest.raises(SettingsError, match="GNOMON_REDIS_WAIT_REPLICAS is for one server"):
        Settings.from_env({"GNOMON_REDIS": "redis+cluster://a:6379", "GNOMON_REDIS_WAIT_REPLICAS": "1"})


def test_no_secret_shows(tmp_path: Path) -> None:
    secrets = {row.env: f"hidden-{i}" for i, row in enumerate(describe()) if row.secret} | {"GNOMON_REDIS": "redis://:hidden-r@host/0"}
    settings = Settings.from_env(secrets)
    assert "hidden" not in repr(settings)
    assert "hidden" not in str(settings.shown())
    assert settings.shown()["secret_key"] == "***"


def test_every_field_is_described_and_every_name_is_its_own() -> None:
    rows = describe()
    assert len({row.env for row in rows}) == len({row.name for row in rows}) == len(rows)
    assert all(row.doc and row.doc[-1] != "." for row in rows)
    assert all(row.env in {f"GNOMON_{row.name.upper()}", row.name.upper()} for row in rows)


def test_misspelt_names_are_found() -> None:
    assert unknown({"GNOMON_REDDIS": "", "GNOMON_KAFKA_PASSWORD_FILE": "", "GNOMON_DATA": ""}, known=("GNOMON_DATA",)) == {
        "GNOMON_REDDIS": "GNOMON_REDIS"
    }


def test_both_clients_of_kafka_get_the_same_connection() -> None:
    settings = Settings.from_env(SASL)
    config, credentials = settings.librdkafka(), _credentials(settings)
    assert config["security.protocol"] == credentials.protocol.value == "SASL_SSL"
    assert config["sasl.mechanism"] == credentials.mechanism.value == "SCRAM-SHA-512"
    assert (config["sasl.username"], config["sasl.password"]) == (credentials.username, credentials.password) == ("ada", "pass-w0rd")
    assert credentials.ssl_context is not None


def test_without_security_nothing_is_set() -> None:
    assert Settings().librdkafka() == {"bootstrap.servers": "localhost:9092", "security.protocol": "PLAINTEXT"}
    assert _credentials(Settings()) is None


def test_tls_checks_the_brokers_name_and_certificate() -> None:
    context = Settings(kafka_protocol="SSL").ssl_context()
    assert context is not None
    assert context.check_hostname
    assert context.verify_mode.name == "CERT_REQUIRED"

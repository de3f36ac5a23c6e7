"""``gnomon policy``: policies to start from, putting one into force, showing the one that is."""

import json

import pytest
from support.logs import gnomon

from detectors.families import families
from schemas.control import Control
from schemas.policy import decode_policy, parse_policy
from streams import control_log, policy_follow
from streams.cli import policy as command
from streams.cli.policies import try_policy
from streams.cli.starters import DOMAINS, starter
from streams.policy_follow import InForce


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_policy_to_start_from_is_one_and_is_explained(tmp_path, domain):
    file = tmp_path / "policy.toml"
    printed = gnomon("policy", "init", "--domain", domain)
    assert printed.exit_code == 0
    file.write_text(printed.stdout)
    parsed, faults = try_policy(file)
    assert faults == []
    assert len(parsed.models) == 1
    explained = gnomon("check", file)
    assert explained.exit_code == 0
    assert next(iter(parsed.models)) in explained.stdout
    assert printed.stdout.count("<-") >= 3


@pytest.mark.parametrize("domain", DOMAINS)
def test_what_it_names_is_watched(domain):
    model = next(iter(parse_policy(starter(domain)).models.values()))
    assert {name for name, watch in model.watch.items() if watch.enabled} <= set(families())
    assert model.cost is not None
    assert model.ages_ms


def test_the_domains_of_the_help_are_those_there_are():
    assert command.DOMAINS == DOMAINS


def test_an_unknown_domain_is_told_what_to_type():
    result = gnomon("policy", "init", "--domain", "helth")
    assert result.exit_code == 2
    assert "gnomon policy init --domain fraud" in result.stderr


@pytest.fixture
def sent(monkeypatch):
    records: list[bytes] = []

    def publish(settings, record):
        records.append(record)
        return 41 + len(records)

    monkeypatch.setattr(control_log, "publish", publish)
    monkeypatch.setenv("GNOMON_REDIS", "redis://127.0.0.1:1/0")
    return records


@pytest.fixture
def noted(monkeypatch):
    """What Redis holds."""
    held: list[InForce | None] = [None]

    async def read(self):
        return held[0]

    monkeypatch.setattr(policy_follow.RedisPolicies, "read", read)
    return held


def test_a_policy_is_sent_with_who_and_waited_for(tmp_path, sent, noted):
    (tmp_path / "p.toml").write_text("[defaults]\nthreshold = 0.8\n")
    noted[0] = InForce("c", 42 << 16, "", "ada", 5)
    result = gnomon("policy", "apply", tmp_path / "p.toml", "--by", "ada", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["by"], told["offset"], told["followed"]) == ("ada", 42, True)
    import msgspec

    control = msgspec.json.decode(sent[0], type=Control)
    assert control.by == "ada"
    assert decode_policy(control).defaults.threshold == 0.8


def test_a_policy_with_faults_is_refused_whole_and_all_are_told(tmp_path, sent):
    (tmp_path / "p.toml").write_text("[defaults]\nthreshold = 8\nhorizn = '1d'\n[models.m.watch.error]\ndetector = 'adwin'\ndelta = 7\n")
    result = gnomon("policy", "apply", tmp_path / "p.toml")
    assert result.exit_code == 2
    assert "threshold" in result.stderr
    assert "did you mean 'horizon'" in result.stderr
    assert sent == []


def test_nobody_reads_it(tmp_path, sent, noted):
    (tmp_path / "p.toml").write_text("")
    noted[0] = InForce("c", 41 << 16 | 9, "", "ada", 5)  # an older one
    result = gnomon("policy", "apply", tmp_path / "p.toml", "--wait", "0.3")
    assert result.exit_code == 1
    assert "gnomon worker" in result.stderr
    assert len(sent) == 1


def test_the_policy_in_force_is_shown_as_one_that_can_be_applied_again(noted):
    noted[0] = InForce("c", 7 << 16, "[defaults]\nthreshold = 0.8\n", "ada", 0)
    shown = gnomon("policy", "show").stdout
    assert "ada, 1970-01-01T00:00:00.000Z, control offset 7" in shown
    assert parse_policy(shown).defaults.threshold == 0.8
    assert json.loads(gnomon("policy", "show", "--json").stdout)["offset"] == 7
    noted[0] = None
    assert "gnomon policy init" in gnomon("policy", "show").stdout
    assert gnomon("policy", "show", "--json").stdout == "null\n"


def test_without_redis_it_is_told(monkeypatch):
    monkeypatch.setenv("GNOMON_REDIS", "redis://127.0.0.1:1/0")
    result = gnomon("policy", "show")
    assert result.exit_code == 1
    assert "GNOMON_REDIS" in result.stderr
    monkeypatch.setenv("GNOMON_REDIS", "memory://")
    assert gnomon("policy", "show").exit_code == 2

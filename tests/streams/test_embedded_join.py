"""The join worker with nothing installed: the mock broker and the table in memory. No record is lost on the way."""

from pathlib import Path

from support.flow import check, done, join_worker, read_scored, send, traffic
from support.workers import processes, wait_for

from streams.embedded import MockBroker
from streams.settings import Settings


def test_the_join_runs_on_the_mock_broker(tmp_path: Path) -> None:
    with MockBroker() as broker, processes() as started:
        env = broker.environment("look.")
        settings, sent = Settings.from_env(env), traffic(7, 1500)
        send(settings, sent.records)
        started.append(join_worker(tmp_path, settings, env.pop("GNOMON_REDIS"), GNOMON_IDLE_TIMEOUT_MS="1000", **env))
        wait_for(lambda: done(settings, len(sent.records)), "all is joined")
        wait_for(lambda: all(len(highs) == 8 for highs in read_scored(settings).ticks.values()), "every partition has its tick")
        assert started[0].stop()[0] == 0, started[0].text()
        assert check(settings, sent).dropped == 0

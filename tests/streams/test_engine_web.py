"""Nothing of Faust listens on a port, however the worker is started."""

from pathlib import Path

from streams.engine import new_app
from streams.settings import Settings


def test_the_web_server_stays_away_even_when_the_command_line_turns_it_on(tmp_path: Path) -> None:
    app = new_app("join", Settings(data_dir=tmp_path))
    app.conf.web_enabled = True  # as `faust worker` does unless told --without-web
    assert list(app.boot_strategy.web_server()) == []

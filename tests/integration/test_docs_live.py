"""The live half of the documentation, on a real Kafka and a real Redis: topics, worker, a few lines of Python, and what comes of it."""

from pathlib import Path

import pytest
from support.kafka_broker import Broker
from support.pages import PAGES, follow, has_live
from support.ports import free_port

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("page", [page for page in PAGES if has_live(page)])
def test_a_page_does_what_it_says_with_services(kafka: Broker, redis_url: str, prefix: str, tmp_path: Path, page: str) -> None:
    short = prefix.rsplit("-", maxsplit=1)[-1]  # as long as the default: what is printed is cut where it is too long for the screen
    services = {
        "GNOMON_KAFKA": kafka.bootstrap,
        "GNOMON_REDIS": redis_url,
        "GNOMON_PREFIX": short,
        "GNOMON_IDLE_TIMEOUT_MS": "3000",  # 30 s by default: what a reader waits, once
    }
    ports = {port: str(free_port()) for port in ("8081", "8082", "6390")}
    swaps = {"localhost:9092": kafka.bootstrap, "gnomon.predictions": f"{short}predictions", "gnomon.control": f"{short}control", **ports}
    follow(page, tmp_path, services=services, swaps=swaps)

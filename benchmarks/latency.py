"""How long after the watermark has passed a rung's due time its drift event can be read.

Run: ``python -m benchmarks.latency [--models N] [--seconds N]``. Event time runs a day a second, so that a baseline of four weeks takes
half a minute; every model begins to err at a moment of its own. A watermark passes a moment when every partition's events have, which
is when the producer sends the first event after it.
"""

import argparse
import json
import random
import statistics
import threading
import time

import orjson
from confluent_kafka import Consumer, Producer

from benchmarks.stage import Stage, heading, stage
from streams.settings import Settings

DAY_MS = 86_400_000
PARTITIONS = 2
LATENESS_MS = 5_000
POLICY = '[defaults]\nages = ["1d"]\nbaseline = { days = 28, labels = 200, failures = 20 }\n'


def feed(settings: Settings, models: int, seconds: float, per_day: int, clock: list[tuple[float, int]]) -> None:
    """Send predictions and their outcomes, half a day of event time later, at an even pace; note the event time of each moment."""
    r = random.Random(1)
    producer = Producer({"bootstrap.servers": settings.kafka, "linger.ms": 2})
    start_ms = int(time.time() * 1000) - 300 * DAY_MS
    begun, step, i = time.time(), 0, 0
    while time.time() - begun < seconds:
        at = start_ms + step * DAY_MS // 20
        day = step / 20
        for partition in range(PARTITIONS):
            for model in range(models):
                for _ in range(max(1, per_day // 20 // PARTITIONS)):
                    i += 1
                    changed = day > 32 + model * 0.7
                    made = {"request_id": f"r{i}", "model_id": f"m{model}", "model_version": "1", "timestamp": at, "score": 0.2}
                    producer.produce(settings.topic("predictions"), orjson.dumps(made), partition=partition)
                    label = int(r.random() < (0.5 if changed else 0.1))
                    known = {"request_id": f"r{i}", "timestamp": at + DAY_MS // 20, "true_label": label}
                    producer.produce(settings.topic("outcomes"), orjson.dumps(known), partition=partition)
        producer.flush()
        clock.append((time.time(), at))
        step += 1
        time.sleep(max(0.0, begun + step / 20 - time.time()))


def listen(settings: Settings, found: list[tuple[float, dict]], stop: threading.Event) -> None:  # type: ignore[type-arg]
    """Read drift events as they come."""
    consumer = Consumer(
        {"bootstrap.servers": settings.kafka, "group.id": "listen", "auto.offset.reset": "earliest", "fetch.wait.max.ms": 5}
    )
    consumer.subscribe([settings.topic("drift")])
    while not stop.is_set():
        message = consumer.poll(0.2)
        if message is not None and message.error() is None:
            headers = dict(message.headers() or [])
            found.append((time.time(), {"time": headers["ce_time"].decode(), "type": headers["ce_type"].decode()}))
    consumer.close()


def measure(place: Stage, started: list, options: argparse.Namespace) -> list[float]:  # type: ignore[type-arg]
    """Return the seconds from each event's due time to its being read."""
    policy = place.folder / "policy.toml"
    policy.write_text(POLICY)
    settings = place.provision("latency.", source_partitions=PARTITIONS, scored_partitions=2)
    started += [place.worker(app, settings, GNOMON_POLICY=str(policy)) for app in ("join", "watch")]
    clock: list[tuple[float, int]] = []
    found: list[tuple[float, dict]] = []  # type: ignore[type-arg]
    stop = threading.Event()
    reader = threading.Thread(target=listen, args=(settings, found, stop))
    reader.start()
    time.sleep(6)  # workers are up
    feed(settings, options.models, options.seconds, options.per_day, clock)
    time.sleep(3)
    stop.set()
    reader.join()
    delays = []
    for read_at, event in found:
        due = _epoch_ms(event["time"]) + LATENESS_MS
        passed = next((wall for wall, at in clock if at >= due), None)  # the second topic's outcomes of that moment carry later times
        if passed is not None and event["type"] == "gnomon.drift.opened":
            delays.append(read_at - passed)
    return delays


def _epoch_ms(text: str) -> int:
    from datetime import datetime  # noqa: PLC0415

    return int(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


def main() -> None:
    """Print quantiles."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=75)
    parser.add_argument("--per-day", type=int, default=40)
    options = parser.parse_args()
    with stage() as (place, started):
        delays = sorted(measure(place, started, options))
    print(heading(f"python -m benchmarks.latency --models {options.models} --seconds {options.seconds:g} --per-day {options.per_day}"))
    if not delays:
        raise SystemExit("no drift event was read: nothing to measure")
    p99 = delays[min(len(delays) - 1, int(len(delays) * 0.99))]
    print(json.dumps({"events": len(delays), "median_s": round(statistics.median(delays), 3), "p99_s": round(p99, 3)}))


if __name__ == "__main__":
    main()

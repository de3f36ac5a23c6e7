"""A steady stream through both workers: how fresh the statistics are, and how the workers' memory grows.

Run: ``python -m benchmarks.steady [--minutes N] [--rate N] [--pending N] [--models N] [--groups N]``. First ``--pending`` predictions
whose labels never come; then ``--rate`` predictions a second, each with its outcome a second later by event time. An outcome is in the
statistics when the aggregate of its model counts it, in an event that could be read. Memory is resident memory, every ten seconds.
"""

import argparse
import json
import statistics
import threading
import time
from collections import defaultdict
from pathlib import Path

import orjson
from confluent_kafka import Consumer, Producer

from benchmarks.stage import Process, Stage, consumed, heading, stage, wait
from streams.settings import Settings

PARTITIONS = 4
EVERY_S = 0.05  # between two handfuls of records
SAMPLE_S = 10.0

Sent = dict[str, list[float]]  # by model: when each outcome was sent, in order
Read = dict[str, list[tuple[float, int]]]  # by model: when a count of labels could be read


class Traffic:
    """Predictions and outcomes of models with a dimension of many groups."""

    def __init__(self, settings: Settings, models: int, groups: int) -> None:
        self.settings, self.models, self.groups = settings, models, groups
        self.producer = Producer({"bootstrap.servers": settings.kafka, "linger.ms": 2, "queue.buffering.max.messages": 2_000_000})
        self.made = 0
        self.sent: Sent = defaultdict(list)

    def predict(self, at_ms: int) -> int:
        """Send the next prediction; return its number."""
        i = self.made
        self.made += 1
        made = {
            "request_id": f"r{i:010d}",
            "model_id": f"m{i % self.models}",
            "model_version": "1",
            "timestamp": at_ms,
            "score": i * 7919 % 1000 / 1000,
            "amount": 12.5,
            "subgroups": {"group": f"g{i // self.models % self.groups}"},
        }
        self.producer.produce(self.settings.topic("predictions"), orjson.dumps(made), partition=i % PARTITIONS)
        return i

    def tell(self, i: int, at_ms: int) -> None:
        """Send a prediction's outcome."""
        known = {"request_id": f"r{i:010d}", "timestamp": at_ms, "true_label": i * 104_729 % 1000 < i * 7919 % 1000}
        self.producer.produce(self.settings.topic("outcomes"), orjson.dumps(known), partition=i % PARTITIONS)
        self.sent[f"m{i % self.models}"].append(time.time())


def fill(traffic: Traffic, pending: int) -> None:
    """Send predictions that stay without a label."""
    for i in range(pending):
        traffic.predict(int(time.time() * 1000))
        if i % 10_000 == 0:
            traffic.producer.poll(0)
    traffic.producer.flush(300)


def feed(traffic: Traffic, rate: int, seconds: float) -> float:
    """Send pairs at an even pace; return how many a second there were."""
    begun, due, first = time.time(), 0.0, traffic.made
    waiting: list[tuple[float, int]] = []
    while (now := time.time()) - begun < seconds:
        due += rate * EVERY_S
        while traffic.made - first < due:
            waiting.append((now, traffic.predict(int(now * 1000))))
        ready = [i for at, i in waiting if now - at >= 1]
        waiting = waiting[len(ready) :]
        for i in ready:
            traffic.tell(i, int(now * 1000))
        traffic.producer.poll(0)
        time.sleep(max(0.0, begun + due / rate - time.time()))
    done = (traffic.made - first) / (time.time() - begun)
    traffic.producer.flush(60)
    return done


def listen(settings: Settings, read: Read, stop: threading.Event) -> None:
    """Read statistics as they come."""
    consumer = Consumer(
        {"bootstrap.servers": settings.kafka, "group.id": "listen", "auto.offset.reset": "earliest", "fetch.wait.max.ms": 5}
    )
    consumer.subscribe([settings.topic("statistics")])
    while not stop.is_set():
        for message in consumer.consume(500, 0.2):
            if message.error() is None:
                data = orjson.loads(message.value())
                if not data["segment"]:
                    read[data["model_id"]].append((time.time(), data["n_labelled"]))
    consumer.close()


def ages(sent: Sent, read: Read) -> list[float]:
    """Return, of each outcome, the seconds from sending it to the first event that could be read and counts as many."""
    found = []
    for model, times in sent.items():
        events = iter(read[model])
        at, count = next(events, (0.0, -1))
        for number, sent_at in enumerate(times, 1):
            while 0 <= count < number:
                at, count = next(events, (0.0, -1))
            if count < 0:
                break  # the end of the run: nobody waits for the next event
            found.append(at - sent_at)
    return found


def watch_memory(processes: dict[str, Process], samples: dict[str, list[float]], stop: threading.Event) -> None:
    """Note the resident memory of processes, MiB."""
    while not stop.wait(SAMPLE_S):
        for name, process in processes.items():
            status = Path(f"/proc/{process.process.pid}/status").read_text()
            samples[name].append(int(status.split("VmRSS:")[1].split()[0]) / 1024)


def measure(place: Stage, started: list[Process], options: argparse.Namespace) -> dict[str, object]:
    """Return the figures of one run."""
    settings = place.provision("steady.", source_partitions=PARTITIONS, scored_partitions=2)
    workers = {app: place.worker(app, settings) for app in ("join", "watch")}
    started += workers.values()
    traffic = Traffic(settings, options.models, options.groups)
    fill(traffic, options.pending)
    wait(lambda: consumed(settings, "join", {"predictions": PARTITIONS}) >= options.pending, workers["join"], 1800)
    read: Read = defaultdict(list)
    samples: dict[str, list[float]] = defaultdict(list)
    stop = threading.Event()
    threads = [
        threading.Thread(target=listen, args=(settings, read, stop)),
        threading.Thread(target=watch_memory, args=(workers, samples, stop)),
    ]
    for thread in threads:
        thread.start()
    time.sleep(3)
    rate = feed(traffic, options.rate, options.minutes * 60)
    time.sleep(3)
    stop.set()
    for thread in threads:
        thread.join()
    found = sorted(ages(traffic.sent, read))
    if not found:
        raise SystemExit("no statistics were read: nothing to measure")
    figures: dict[str, object] = {
        "pairs a second": round(rate),
        "outcomes": len(found),
        "fresh, median s": round(statistics.median(found), 3),
        "fresh, p99 s": round(found[int(len(found) * 0.99)], 3),
    }
    for name, each in samples.items():
        tenth = max(1, len(each) // 10)
        figures[f"{name}, MiB"] = {
            "after a tenth of the time": round(statistics.median(each[:tenth][-3:]), 1),
            "at the end": round(statistics.median(each[-3:]), 1),
            "most": round(max(each), 1),
        }
    return figures


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--rate", type=int, default=2_000, help="pairs a second")
    parser.add_argument("--pending", type=int, default=0)
    parser.add_argument("--models", type=int, default=4)
    parser.add_argument("--groups", type=int, default=12)
    options = parser.parse_args()
    with stage() as (place, started):
        figures = measure(place, started, options)
    given = " ".join(f"--{name} {getattr(options, name):g}" for name in ("minutes", "rate", "pending", "models", "groups"))
    print(heading(f"python -m benchmarks.steady {given}"))
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()

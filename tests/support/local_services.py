"""A Kafka at localhost:9092 and a Redis at localhost:6379 to try Gnomon on, until Ctrl-C; what they hold goes with them.

Run it from the root of the repository, as `make broker` does: `python tests/support/local_services.py`.
"""

import signal
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.kafka_broker import NoBrokerError, new_broker
from support.redis_server import NoRedisError, RedisServer

KAFKA_PORT, REDIS_PORT = 9092, 6379


def main() -> int:
    """Start both, say so, and wait to be told to stop."""
    for name, port in (("Kafka", KAFKA_PORT), ("Redis", REDIS_PORT)):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                print(f"something listens on port {port} already: use it as your {name}, or stop it first", file=sys.stderr)
                return 1
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print("Starting Kafka and Redis. The first time Maven fetches Kafka's jars, which takes a minute or two.", flush=True)
    try:
        broker, redis = new_broker(port=KAFKA_PORT), RedisServer(port=REDIS_PORT)
        try:
            broker.start()
            redis.start()
            print(f"Kafka is at {broker.bootstrap}, Redis at {redis.url}. Ctrl-C ends both, and what they hold is gone.", flush=True)
            signal.pause()
        finally:
            redis.close()
            broker.close()
    except (NoBrokerError, NoRedisError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""Questions about consumer groups, to brokers that may just have started."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException
from confluent_kafka.admin import AdminClient

from streams.guard import TIMEOUT_S

T = TypeVar("T")
SETTLING = ("NOT_COORDINATOR", "COORDINATOR_NOT_AVAILABLE", "COORDINATOR_LOAD_IN_PROGRESS")
ASK_S = 0.3


def members(client: AdminClient, group: str) -> int:
    """Return how many members a group has. Blocks.

    Raises
    ------
    confluent_kafka.KafkaException
        If Kafka cannot be asked.

    """
    described: Any = settled(lambda: client.describe_consumer_groups([group], request_timeout=TIMEOUT_S)[group].result(TIMEOUT_S))
    return len(described.members)


def committed(client: AdminClient, group: str) -> dict[tuple[str, int], int]:
    """Return a group's committed offsets by (topic in Kafka, partition). Blocks; raises as ``members`` does."""
    request = [ConsumerGroupTopicPartitions(group)]
    answer: Any = settled(lambda: client.list_consumer_group_offsets(request, request_timeout=TIMEOUT_S)[group].result(TIMEOUT_S))
    return {(tp.topic, tp.partition): tp.offset for tp in answer.topic_partitions if tp.offset >= 0}


def settled(call: Callable[[], T], *, timeout_s: float = TIMEOUT_S) -> T:
    """Return what a call gives once the groups' coordinator has settled; any other error is raised."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return call()
        except KafkaException as error:
            if error.args[0].name() not in SETTLING or time.monotonic() > deadline:
                raise
        time.sleep(ASK_S)

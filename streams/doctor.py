"""Looking at a deployment from the outside: what is wrong, what that means, and what to do about it. Nothing is changed."""

import importlib.metadata
import time
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, OffsetSpec

from streams.coordinators import committed, members
from streams.errors import StoreUnavailable
from streams.guard import REDIS_ERRORS, TIMEOUT_S, Facts, RedisMemory, _offsets, admin, look, problems
from streams.pending import _translated
from streams.policy_follow import RedisPolicies
from streams.provision import Action, plan
from streams.readers import Reader, ReadError
from streams.redis_check import Server, check_replica, check_server, clock_ahead_s, cluster_state, replicas, servers
from streams.settings import Settings
from streams.topics import SCORED, SOURCES, topics

SKEW_MS = 1_000  # clocks further apart than this are worth a word
PINNED = ("faust-streaming", "aiokafka", "mode-streaming")  # others may move within their bounds
OTHERS = ("gnomon", "confluent-kafka", "redis", "river", "numpy")
GROUPS = {"join": SOURCES, "watch": (SCORED,)}
_NEARLY_FULL = 0.9
_LOOK_AGAIN_S = 2.5  # offsets are committed once a second


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


class Finding(NamedTuple):
    """One thing that was looked at. ``fix`` is what to do about it; empty where nothing is to be done."""

    level: Level
    about: str
    text: str
    fix: str = ""


def kafka_findings(settings: Settings, remembered: Mapping[str, str], *, look_again_s: float = _LOOK_AGAIN_S) -> list[Finding]:
    """Return what is to be said of brokers, topics, clocks and lag. Blocks.

    Parameters
    ----------
    settings
        Where Kafka is.
    remembered
        The topics' facts as workers noted them, by logical name: see ``streams.guard.Memory``.
    look_again_s
        A group that has records to read is looked at once more after this time: does it move?

    """
    client = admin(settings)
    try:
        brokers = len(client.list_topics(timeout=TIMEOUT_S).brokers)
        found = look(client, settings, topics(settings))
        return [
            Finding(Level.OK, "brokers", f"{brokers} at {settings.kafka}"),
            *_topics(client, settings, found, remembered, brokers),
            *_append_clock(settings, found),
            *(finding for group in GROUPS for finding in _group(client, settings, group, found, look_again_s)),
        ]
    except KafkaException as error:
        text = f"Kafka at {settings.kafka} cannot be asked: {error.args[0]}"
        return [
            Finding(Level.ERROR, "brokers", text, "see that the broker runs, and that GNOMON_KAFKA and GNOMON_KAFKA_PROTOCOL are right")
        ]


def _topics(
    client: AdminClient, settings: Settings, found: Mapping[str, Facts], remembered: Mapping[str, str], brokers: int
) -> Iterator[Finding]:
    expected = topics(settings)
    wrong = [text for text in problems(expected, found, remembered) if "is missing" not in text]
    yield from (Finding(Level.ERROR, "topics", text, "see docs/cli.md, gnomon provision --accept") for text in wrong)
    steps = plan(client, settings)
    for step in steps:
        if step.action is Action.CREATE:
            yield Finding(Level.ERROR, "topics", f"{step.topic} is missing", "gnomon provision")
        elif step.action is Action.REFUSE:
            text, fix = step.detail.split(": ", 1)
            yield Finding(Level.ERROR, "topics", f"{step.topic} {text}", fix)
        elif step.action is not Action.KEEP:
            yield Finding(Level.WARNING, "topics", f"{step.topic} is not as the settings say: {step.detail}", "gnomon provision")
    if found:
        counts = ", ".join(f"{name} {facts.partitions} ({facts.topic_id[:8]})" for name, facts in found.items())
        yield Finding(Level.OK, "topics", f"partitions (id) of those there are: {counts}")
        yield from _replicas(client, settings, found, brokers)


def _replicas(client: AdminClient, settings: Settings, found: Mapping[str, Facts], brokers: int) -> Iterator[Finding]:
    metadata = client.list_topics(timeout=TIMEOUT_S).topics
    single, behind = [], []
    for name in found:
        partitions = metadata[settings.topic(name)].partitions.values()
        if min(len(each.replicas) for each in partitions) == 1:
            single.append(name)
        behind += [f"{name}[{each.id}]" for each in partitions if len(each.isrs) < len(each.replicas)]
    if behind:
        yield Finding(Level.WARNING, "topics", f"replicas are behind or away: {', '.join(behind)}", "see the brokers' logs")
    if single:
        text = f"one copy only of {', '.join(single)}: the loss of a broker's disk loses records"
        many = "set GNOMON_REPLICATION=3 before gnomon provision makes the topics; for those there are: kafka-reassign-partitions"
        yield Finding(
            Level.WARNING,
            "topics",
            text,
            many if brokers >= 3 else "three brokers, then GNOMON_REPLICATION=3; fine for a try on one machine",
        )


def _append_clock(settings: Settings, found: Mapping[str, Facts]) -> Iterator[Finding]:
    """Compare the newest timestamp that a broker has put on a record with our clock: it cannot lie in the future."""
    newest = 0
    for name in SOURCES:
        if name in found:
            try:
                with Reader(settings, name) as reader:
                    newest = max([newest, *(record.at_ms for record in reader.read(beginning=False, follow=False, last=1))])
            except ReadError as error:
                yield Finding(Level.WARNING, "clocks", f"the newest record of {name} cannot be read: {error}", "try again")
    if not newest:
        yield Finding(Level.OK, "clocks", "no record yet that shows the brokers' clock")
        return
    ahead = newest - int(time.time() * 1000)
    if ahead > SKEW_MS:
        text = f"a broker's clock is at least {ahead / 1000:.1f} s ahead of this machine's: event times are held against it"
        yield Finding(Level.WARNING, "clocks", text, "synchronise the clocks: chronyc tracking, on both")
    else:
        yield Finding(Level.OK, "clocks", f"the brokers' newest record is {-ahead / 1000:.1f} s old; none lies in the future")


def _group(client: AdminClient, settings: Settings, group: str, found: Mapping[str, Facts], look_again_s: float) -> Iterator[Finding]:
    name, about = settings.topic(group), f"{group} workers"
    running = members(client, name)
    if not running:
        yield Finding(Level.WARNING, about, "none runs", f"gnomon worker --{group}")
    places = [(topic, partition) for topic in GROUPS[group] if topic in found for partition in range(found[topic].partitions)]
    if not places:
        return
    before = _committed(client, settings, name)
    ends = _offsets(client, settings, places, OffsetSpec.latest())
    starts = _offsets(client, settings, places, OffsetSpec.earliest())
    for place, at in before.items():
        where = f"{place[0]}[{place[1]}]"
        if at > ends.get(place, at):
            text = f"{where} ends at {ends[place]}, but was read to {at}: records that were read are gone"
            yield Finding(Level.ERROR, about, text, f"restore the topic, or gnomon provision --accept {place[0]}")
        elif at < starts.get(place, 0):
            text = f"{where} begins at {starts[place]}, but was read to {at} only: {starts[place] - at} records were deleted unread"
            yield Finding(
                Level.ERROR, about, text, "raise GNOMON_SOURCE_RETENTION_DAYS, and keep workers running; what is gone is not counted"
            )
    lag = {place: ends[place] - max(before.get(place, 0), starts[place]) for place in places}
    total = sum(max(0, each) for each in lag.values())
    if total and running:
        time.sleep(look_again_s)
        after = _committed(client, settings, name)
        stuck = [f"{t}[{p}]" for (t, p), behind in lag.items() if behind > 0 and after.get((t, p), 0) <= before.get((t, p), 0)]
        if stuck:
            text = f"{total:,} records to read, and none was read for {look_again_s:g} s in {', '.join(stuck)}"
            yield Finding(
                Level.WARNING, about, text, "see the workers' logs; a step that takes long, Redis that is away, or a worker that hangs"
            )
            return
    level = Level.WARNING if total and not running else Level.OK
    worst = max(lag, key=lambda place: lag[place])
    most = f", most in {worst[0]}[{worst[1]}]: {lag[worst]:,}" if total else ""
    yield Finding(
        level, about, f"{running} members, {total:,} records to read{most}", f"gnomon worker --{group}" if level is Level.WARNING else ""
    )


def _committed(client: AdminClient, settings: Settings, group: str) -> dict[tuple[str, int], int]:
    strip = len(settings.prefix)
    return {(topic[strip:], partition): offset for (topic, partition), offset in committed(client, group).items()}


async def redis_findings(client: Any, settings: Settings) -> tuple[list[Finding], dict[str, str]]:
    """Return what is to be said of Redis, and the topics' facts that workers have noted there.

    Raises
    ------
    StoreError
        If it is away (``StoreUnavailable``), or refuses.

    """
    out = []
    for server in await servers(client):
        try:
            found = await _server(client, server, settings)
        except StoreUnavailable as error:
            if not server.name:
                raise
            found = [Finding(Level.ERROR, "redis", f"cannot be asked: {error}", "see that this node runs")]
        out += [finding._replace(text=f"{server.name}: {finding.text}") if server.name else finding for finding in found]
    for server in replicas(client):
        out += [Finding(Level.WARNING, "redis", f"{server.name}: {text}", fix) for text, fix in await _replica(client, server)]
    try:
        policy = await RedisPolicies(client, settings.prefix).read()
        remembered = await RedisMemory(client, settings.prefix).recall()
    except StoreUnavailable as error:
        return [*out, Finding(Level.ERROR, "redis", f"what workers noted cannot be read: {error}", "see the other findings")], {}
    text = f"of {policy.by}, control offset {policy.offset}" if policy else "the built-in one, or that of each worker's file"
    out.append(Finding(Level.OK, "policy", text))
    return out, remembered


async def _server(client: Any, server: Server, settings: Settings) -> list[Finding]:
    """Return what is to be said of one server; raises as ``redis_findings`` does."""
    out = [_of_redis(finding.fatal, finding.text) for finding in await check_server(client, server)]
    if not out:
        out.append(
            Finding(Level.OK, "redis", "evicts nothing (noeviction), and writes to disk before it answers (appendonly, appendfsync always)")
        )
    wrong = await cluster_state(client, server)
    if wrong is not None:
        out.append(Finding(Level.ERROR, "redis", wrong, f"redis-cli --cluster check {server.name}; start the node, or --cluster fix"))
    try:
        info = await client.info(**server.where)
    except REDIS_ERRORS as error:
        raise _translated(error) from error
    out += _store(info, settings)
    ahead_s = await clock_ahead_s(client, server)
    if abs(ahead_s) * 1000 > SKEW_MS:
        text = f"Redis's clock is {abs(ahead_s):.1f} s {'ahead of' if ahead_s > 0 else 'behind'} this machine's: logs expire by it"
        out.append(Finding(Level.WARNING, "clocks", text, "synchronise the clocks: chronyc tracking, on both"))
    else:
        out.append(Finding(Level.OK, "clocks", f"Redis's is within {max(abs(ahead_s), 0.001):.3f} s of this machine's"))
    return out


async def _replica(client: Any, server: Server) -> list[tuple[str, str]]:
    """Return what is to be said of a cluster's replica, and what to do about it."""
    try:
        found = await check_replica(client, server)
    except StoreUnavailable as error:
        return [(f"a replica that cannot be asked: {error}", "see that this node runs")]
    by_hand = "redis-cli config set cluster-replica-no-failover yes there, and in redis.conf; CLUSTER FAILOVER hands over all"
    return [(text, by_hand if "no-failover" in text else "see its log, and that of its primary") for text in found]


def _of_redis(fatal: bool, text: str) -> Finding:
    fixes = {
        "maxmemory-policy": "redis-cli config set maxmemory-policy noeviction, and in redis.conf",
        "appendfsync": "redis-cli config set appendfsync always, and in redis.conf",
        "appendonly": "redis-cli config set appendonly yes, and in redis.conf",
        "Redis 7": "run Redis 7.0 or later",
    }
    fix = next((fix for word, fix in fixes.items() if word in text), "see docs/settings.md")
    return Finding(Level.ERROR if fatal else Level.WARNING, "redis", text, fix)


def _store(info: Mapping[str, Any], settings: Settings) -> Iterator[Finding]:
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    if limit and used > _NEARLY_FULL * limit:
        text = f"{used / limit:.0%} of maxmemory is used: when it is full, writes are refused and the join waits"
        yield Finding(
            Level.ERROR if used >= limit else Level.WARNING, "redis", text, "raise maxmemory, or lower GNOMON_PENDING_MAX_AGE_DAYS"
        )
    for name in ("aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status"):
        if info.get(name, "ok") != "ok":
            yield Finding(Level.ERROR, "redis", f"{name} is {info[name]}: what is written may not last", "see its log; is the disk full?")
    following = int(info.get("connected_slaves", 0))
    if following < settings.redis_wait_replicas:
        text = f"{following} replicas are connected, {settings.redis_wait_replicas} must have each write: every write waits"
        yield Finding(Level.ERROR, "redis", text, "start the replicas, or lower GNOMON_REDIS_WAIT_REPLICAS")
    memory = f"{used / 2**20:.0f} MiB used{f' of {limit / 2**20:.0f}' if limit else ', no limit set'}"
    yield Finding(Level.OK, "redis", f"version {info.get('redis_version')}, {memory}, replicas: {following}")


def own_findings(settings: Settings) -> list[Finding]:
    """Return what is to be said of this installation and its settings."""
    out = []
    wanted = {text.split("==")[0]: text.split("==")[1] for text in importlib.metadata.requires("gnomon") or [] if "==" in text}
    for name in PINNED:
        there = importlib.metadata.version(name)
        if name in wanted and there != wanted[name].split(";")[0].strip():
            text = f"{name} {there} is installed; Gnomon is tested with {wanted[name]}, and others have lost records"
            out.append(Finding(Level.ERROR, "versions", text, f"pip install '{name}=={wanted[name]}'"))
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in (*OTHERS, *PINNED))
    out.append(Finding(Level.OK, "versions", versions))
    if not settings.secret_key:
        text = "GNOMON_SECRET_KEY is not set: who can read Redis can find out whether a request id that they guess was there"
        out.append(
            Finding(Level.WARNING, "settings", text, "set it before the first record is joined; changed later, nothing waits for its label")
        )
    return out

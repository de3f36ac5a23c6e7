"""The generated page of metrics and health."""
# ruff: noqa: PLC0415  each page imports what it is about

INTRODUCTION = """\
Each worker serves HTTP on `GNOMON_HTTP_HOST` and its own port, `GNOMON_JOIN_HTTP_PORT` or `GNOMON_WATCH_HTTP_PORT` (0, the default: none).
So does `gnomon forward` on `GNOMON_FORWARD_HTTP_PORT`; it is ready when its target took what it was sent last. There is no password and no
TLS, and model ids can be read there: beyond the loopback address put it where only Prometheus and probes reach it.

| path | 200 when | probe |
| --- | --- | --- |
| `/metrics` | always | |
| `/livez` | a restart would not help. 503: Kafka and Redis answer, yet for `GNOMON_STALL_TIMEOUT_MS` nothing was committed | liveness |
| `/readyz` | state loaded, no rebalance, topics as they should be, each Redis answers and evicts nothing, not told to stop | readiness |
| `/startupz` | settings, policy and the version of the state are good, and the state is loaded | startup |

Probes answer with JSON; `reasons` says what is wrong, and of a Redis Cluster which nodes are away. A broker or a
Redis that is away makes a worker unready, never unlive: it waits, and goes on. A worker without partitions (there are more workers than
partitions) is ready, with `"role": "standby"`.

Counters count what a worker has done since it started; sum them over workers. Labels are bounded: model ids are those that a worker has
seen, 200 at most, the rest is `__other__`; request ids and values of subgroups are never labels."""
RULES = """\
The usual `process_*` metrics are there too.

Rules to begin with:

```yaml
groups:
- name: gnomon
  rules:
  - alert: GnomonNotCommitting
    expr: gnomon_commit_age_seconds > 60
    for: 2m
  - alert: GnomonFallingBehind
    expr: deriv(gnomon_consumer_lag_records[15m]) > 0 and gnomon_consumer_lag_records > 10000
    for: 15m
  - alert: GnomonDeadLetters
    expr: sum(rate(gnomon_dlq_total[15m])) > 0.001 * sum(rate(gnomon_records_total[15m]))
    for: 15m
  - alert: GnomonDependencyAway
    expr: gnomon_dep_up == 0
    for: 5m
```"""


def groups() -> dict[str, list[tuple[str, ...]]]:
    """Return the rows of each table of metrics, by its title."""
    from streams.forward.service import DECLARED
    from streams.join_metrics import JoinMetrics
    from streams.settings import Settings
    from streams.watch_metrics import WatchMetrics

    join, watch = JoinMetrics(Settings()).declared, WatchMetrics(Settings()).declared
    declared = {
        "Both workers": [one for one in join if one in watch],
        "Join worker": [one for one in join if one not in watch],
        "Watch worker": [one for one in watch if one not in join],
    }
    declared["Forwarder"] = list(DECLARED)
    return {
        title: [(f"`{one.name}`", one.kind, ", ".join(f"`{label}`" for label in one.labels), one.doc) for one in some]
        for title, some in declared.items()
    }

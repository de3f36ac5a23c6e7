"""How large a deployment must be, on paper: from measured costs, checked by a simulation of queues.

Run: ``python -m benchmarks.sizing [--rate N] ...``. Costs are µs of CPU a pair and bytes, as docs/benchmarks.md has them; give your own.
Each stage is a row of servers, each with its own share of the partitions, as Kafka gives them out. Traffic is Poisson in steps of 10 ms,
swings by half over a day (simulated at its peak) and is split by hash, so some servers get more; a server takes what has come since its
last step, as workers do, and a step costs something whatever it holds. The least number of servers is taken for which the wait at the
99th percentile is at most half a second.
"""

import argparse
import math

import numpy as np

from streams.pending import TAGS

STEP_S = 0.01
SECONDS = 60.0
PEAK = 1.5  # of the mean
P99_S = 0.5
FULL = 0.85  # no server is planned fuller than this


def p99_wait_s(servers: int, rate: float, cost_us: float, step_us: float, partitions: int) -> float:
    """Return the 99th percentile of the time that a record waits for its server, seconds.

    Parameters
    ----------
    servers
        How many share the partitions out, each as many as any other or one more.
    rate
        Records a second at the peak.
    cost_us, step_us
        CPU of a record, and of a step.
    partitions
        Hash partitions, of sizes as hashing gives them for a million keys.

    """
    rng = np.random.default_rng(1)
    share = rng.multinomial(1_000_000, np.full(partitions, 1 / partitions)) / 1e6
    mine = np.bincount(np.arange(partitions) % servers, weights=share, minlength=servers)
    free_at, waits, weights = np.zeros(servers), [], []
    for step in range(int(SECONDS / STEP_S)):
        now = step * STEP_S
        came = rng.poisson(rate * STEP_S * mine)
        begin = np.maximum(free_at, now)
        took = (came * cost_us + step_us) * 1e-6
        waits.append(begin + took - now)
        weights.append(came)
        free_at = np.where(came > 0, begin + took, free_at)
    wait, weight = np.concatenate(waits), np.concatenate(weights)
    order = np.argsort(wait)
    return float(wait[order][np.searchsorted(np.cumsum(weight[order]), 0.99 * weight.sum())])


def servers(rate: float, cost_us: float, step_us: float, partitions: int) -> tuple[int, float]:
    """Return the least number of servers that keeps up with the peak, and the wait at the 99th percentile with so many.

    No server has less than a partition: infinity is the wait where even that is too much.
    """
    count = max(1, math.ceil(rate * cost_us * 1e-6 / FULL))
    while count <= partitions and (wait := p99_wait_s(count, rate, cost_us, step_us, partitions)) > P99_S:
        count += max(1, count // 20)
    return (count, wait) if count <= partitions else (partitions, math.inf)


def main() -> None:
    """Print what is needed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, nargs="+", default=[1e3, 1e4, 1e5, 1e6], help="predictions a second, mean")
    parser.add_argument("--join-us", type=float, default=4.8, help="CPU of the join worker a pair")
    parser.add_argument("--watch-us", type=float, default=3.3, help="CPU of the watch worker a pair")
    parser.add_argument("--redis-us", type=float, default=6.5, help="CPU of Redis a pair")
    parser.add_argument("--step-us", type=float, default=2_000, help="CPU of a worker's step, whatever it holds")
    parser.add_argument("--pair-bytes", type=float, default=251, help="Redis memory of a joined pair until it expires")
    parser.add_argument("--wire-bytes", type=float, nargs=3, default=[243, 92, 45], help="a prediction, an outcome, a pair's scored rows")
    parser.add_argument("--models", type=int, default=200, help="models, of equal traffic; each has one watch partition")
    parser.add_argument("--days", type=float, nargs="+", default=[1, 60], help="how long ids are kept: horizon, lateness, longest outage")
    parser.add_argument("--redis-gib", type=float, default=64, help="memory of one Redis; half of it is left for its log being rewritten")
    given = parser.parse_args()
    print(f"p99 of the wait at most {P99_S:g} s at {PEAK:g} times the mean; {given.models} models; one core a worker")
    one = FULL / PEAK / given.watch_us * 1e6
    print(f"one model: at most {one:,.0f}/s, since one watch worker folds all of it")
    by_cpu = FULL / PEAK / given.redis_us * 1e6
    ids = given.redis_gib / 2 * 2**30 / given.pair_bytes
    kept = ", ".join(f"{ids / days / 86_400:,.0f}/s with ids kept for {days:g} d" for days in given.days)
    print(f"one Redis of {given.redis_gib:g} GiB: at most {by_cpu:,.0f}/s by CPU; by memory {ids / 1e6:,.0f} million ids, which is {kept}")
    for rate in given.rate:
        peak = rate * PEAK
        join, join_wait = servers(peak, given.join_us, given.step_us, 1_024)
        watch, watch_wait = servers(peak, given.watch_us, given.step_us, given.models)
        shards, redis_wait = servers(peak, given.redis_us, 100, TAGS)
        made, known, rows = given.wire_bytes
        network = peak * (2 * made + 2 * known + 2 * rows) * 8 / 1e9  # in and out of the broker
        print(
            f"{rate:11,.0f}/s: {join} join workers (wait {join_wait:.2f} s), {watch} watch workers ({watch_wait:.2f} s), "
            f"{shards} Redis by CPU ({redis_wait * 1e3:.0f} ms), {network:.2f} Gbit/s through Kafka without replicas"
        )
        for days in given.days:
            gib = rate * days * 86_400 * given.pair_bytes / 2**30
            by_memory = max(1, math.ceil(gib / (given.redis_gib / 2)))
            beyond = f": more than the {TAGS} that share one prefix's ids" if by_memory > TAGS else ""
            print(f"{'':15} ids kept for {days:g} d: {gib:,.1f} GiB, {by_memory:,} Redis of {given.redis_gib:g} GiB by memory{beyond}")


if __name__ == "__main__":
    main()

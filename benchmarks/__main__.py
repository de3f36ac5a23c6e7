"""All benchmarks but those of detection, one after another, with their defaults: ``python -m benchmarks``."""

from benchmarks import latency, startup, throughput

for benchmark in (startup, latency, throughput):
    benchmark.main()

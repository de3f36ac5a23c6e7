"""What metrics say, as a scrape would read them."""

from collections import Counter

from prometheus_client.parser import text_string_to_metric_families

from streams.metrics import Metrics


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every line of the metrics, by name and labels."""
    families = text_string_to_metric_families(metrics.text().decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return samples(metrics)[f"gnomon_{name}", tuple(sorted(labels.items()))]


def by(metrics: Metrics, name: str, label: str) -> Counter[str]:
    """The sums of a metric by one of its labels."""
    sums: Counter[str] = Counter()
    for (found, labels), number in samples(metrics).items():
        if found == f"gnomon_{name}":
            sums[dict(labels)[label]] += int(number)
    return sums

"""Quix Streams with its own state (RocksDB and changelogs), both topics concatenated, River's metrics per event.

Usage: quix_app.py BOOTSTRAP PREFIX PAIRS FOLDER
"""

import sys
from typing import Any

from quixstreams import Application, State

from benchmarks.peers.segments import Meter, Segments

BOOTSTRAP, PREFIX, PAIRS, FOLDER = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
segments, meter = Segments(), Meter(PAIRS)
app = Application(
    broker_address=BOOTSTRAP,
    consumer_group=f"{PREFIX}quix",
    auto_offset_reset="earliest",
    state_dir=FOLDER,
    loglevel="WARNING",
    commit_every=0,
    commit_interval=1.0,
)


def join(record: dict[str, Any], state: State) -> None:
    """Keep the first of a pair under the message's key; watch when the second comes."""
    meter.begin()
    other = state.get("first")
    if other is None:
        state.set("first", record)
        return
    state.delete("first")
    made, known = (record, other) if "score" in record else (other, record)
    segments.add(made, known)
    meter.joined()


predictions = app.dataframe(app.topic(f"{PREFIX}predictions", value_deserializer="json", key_deserializer="str"))
outcomes = app.dataframe(app.topic(f"{PREFIX}outcomes", value_deserializer="json", key_deserializer="str"))
predictions.concat(outcomes).update(join, stateful=True)

if __name__ == "__main__":
    app.run()

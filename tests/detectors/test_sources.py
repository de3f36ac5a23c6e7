"""Which rows are new: few or many, the marks are the same; what is delivered again is dropped, with marks that do not grow."""

from collections import Counter

import msgspec
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from support.stories import OUTCOMES, PREDICTIONS

from detectors import sources as sources_module
from detectors.sources import Mark, SourceRecreatedError, Sources
from schemas.scored import COLUMNS, Origin, Rows, Tick

ORIGINS = [OUTCOMES, PREDICTIONS, Origin("predictions", PREDICTIONS.topic_id, 1)]


def test_a_walk_through_few_rows_finds_what_columns_find(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    walked, by_columns = Sources(), Sources()
    for step in range(300):
        n = int(rng.integers(1, 10))
        origins = [ORIGINS[i] for i in rng.permutation(3)[: rng.integers(1, 4)]]
        columns = {
            "origin": rng.integers(0, len(origins), n),
            "offset": step // 4 + rng.integers(0, 3, n),  # some come again, some in another order than theirs
            "index": rng.integers(0, 3, n),
        }
        packed = {name: column.astype(COLUMNS[name][0]).tobytes() for name, column in columns.items()}
        rows = Rows(f"m{rng.integers(2)}", origins, n, packed)
        found = walked.fresh(rows)
        with monkeypatch.context() as patch:
            patch.setattr(sources_module, "_FEW", 0)
            assert by_columns.fresh(rows).tolist() == found.tolist()
        assert walked.to_state() == by_columns.to_state()


def scored(model_id: str, origin: Origin, places: list[Mark]) -> Rows:
    """Return a row for each place, offset and index, of a source partition."""
    columns = {"offset": [offset for offset, _ in places], "index": [index for _, index in places]}
    return Rows(model_id, [origin], len(places), {name: np.array(c, COLUMNS[name][0]).tobytes() for name, c in columns.items()})


class Delivered(RuleBasedStateMachine):
    """Workers that read a source, are cut off anywhere, begin again where they had committed, and tick; each row counts once.

    Whoever folds with ticks that tell what is done, a checkpoint now and then, finds the rows that one finds whom they tell nothing.
    """

    @initialize(source=st.lists(st.lists(st.integers(0, 5), max_size=3), min_size=1, max_size=30))
    def begin(self, source: list[list[int]]) -> None:
        self.source = source  # of each record, the models that have a row of it; one may have several
        self.committed = dict.fromkeys(ORIGINS, 0)
        self.told, self.untold = Sources(), Sources()
        self.seen = Counter[tuple[str, Origin, Mark]]()

    @rule(origin=st.sampled_from(ORIGINS), n=st.integers(1, 8), sent=st.integers(0, 8), late=st.booleans(), says=st.booleans())
    def step(self, origin: Origin, n: int, sent: int, late: bool, says: bool) -> None:
        """One worker's: so many records, of whose messages so many come; if all do, perhaps a tick; and all of it once more, late."""
        begin = self.committed[origin]
        rows: dict[str, list[Mark]] = {}
        for offset in range(begin, min(begin + n, len(self.source))):
            for index, model in enumerate(self.source[offset]):
                rows.setdefault(f"m{model}", []).append((offset, index))
        messages = [scored(model_id, origin, places) for model_id, places in rows.items()]
        for message in messages[:sent]:
            self.apply(message)
        if sent < len(messages):
            return
        end = min(begin + n, len(self.source))
        if says and end > begin:
            self.told.tick(Tick({}, [], 0, [(origin, end - 1)]))
            assert all(mark > (end, -1) for mark in self.told.marks.get(origin, {}).values())  # an earlier worker's, who came further
        for message in messages if late else ():
            self.apply(message)
        self.committed[origin] = end

    @rule(origin=st.sampled_from(ORIGINS), back=st.integers(0, 30))
    def another_begins_earlier(self, origin: Origin, back: int) -> None:
        self.committed[origin] = max(0, self.committed[origin] - back)

    @rule()
    def checkpoint(self) -> None:
        state = msgspec.msgpack.encode(self.told.to_state())
        self.told = Sources()
        self.told.load(msgspec.msgpack.decode(state))
        assert msgspec.msgpack.encode(self.told.to_state()) == state

    def apply(self, message: Rows) -> None:
        found = self.told.fresh(message).tolist()
        assert found == self.untold.fresh(message).tolist()
        places = zip(message.column("offset").tolist(), message.column("index").tolist(), strict=True)
        self.seen.update((message.model_id, message.origins[0], place) for i, place in enumerate(places) if i in found)

    @invariant()
    def each_row_counts_once(self) -> None:
        if hasattr(self, "seen"):
            wanted = {
                (f"m{model}", origin, (offset, index))
                for origin, committed in self.committed.items()
                for offset in range(committed)
                for index, model in enumerate(self.source[offset])
            }
            assert wanted <= set(self.seen)
            assert set(self.seen.values()) <= {1}


TestDelivered = Delivered.TestCase
TestDelivered.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def test_made_up_models_leave_no_marks_once_a_tick_says_that_all_have_come() -> None:
    """Those of other partitions stay, and what is above the floor."""
    sources = Sources()
    for offset in range(5_000):
        sources.fresh(scored(f"made up {offset}", PREDICTIONS, [(offset, 0)]))
    sources.fresh(scored("m", OUTCOMES, [(3, 0)]))
    sources.tick(Tick({}, [], 0, [(PREDICTIONS, 4_997)]))
    assert sources.marks == {PREDICTIONS: {"made up 4998": (4_998, 0), "made up 4999": (4_999, 0)}, OUTCOMES: {"m": (3, 0)}}
    sources.tick(Tick({}, [], 0, [(PREDICTIONS, 4_999)]))
    sources.tick(Tick({}, [], 0, [(PREDICTIONS, 10)]))  # late, of a worker that was cut off
    assert (sources.marks, sources.floors) == ({OUTCOMES: {"m": (3, 0)}}, {PREDICTIONS: (4_999, 2**31 - 1)})
    assert [len(sources.fresh(scored("any", PREDICTIONS, [place]))) for place in ((4_999, 7), (5_000, 0))] == [0, 1]
    with pytest.raises(SourceRecreatedError):
        sources.tick(Tick({}, [], 0, [(Origin("predictions", "another", 0), 5)]))

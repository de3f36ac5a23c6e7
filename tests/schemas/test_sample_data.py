"""The real event sets hold no record that is refused."""

import gzip
import os
from pathlib import Path

import pytest

from schemas.codec import Fault, decode_records, encode
from schemas.fields import epoch_ms
from schemas.outcome import Outcome
from schemas.prediction import Prediction

DATA = Path(os.environ.get("GNOMON_DATA", "../shared/data"))
LINES = 5_000  # of each set: enough to meet every field
pytestmark = [pytest.mark.data, pytest.mark.skipif(not DATA.is_dir(), reason="set GNOMON_DATA to the folder of the event sets")]


@pytest.mark.parametrize("name", ["compas", "fte_governors", "nab", "nannyml_car_loan"])
@pytest.mark.parametrize(("kind", "file"), [(Prediction, "predictions"), (Outcome, "outcomes")])
def test_every_record_is_read_and_written_again(name, kind, file):
    n = 0
    with gzip.open(DATA / name / f"{file}.jsonl.gz") as lines:
        for n, line in enumerate(lines, start=1):
            [(_, record, raw)] = decode_records(line, kind)
            assert not isinstance(record, Fault), record
            assert raw == line.rstrip()
            [(_, again, _)] = decode_records(encode(record), kind)
            assert again == record
            assert epoch_ms(record.timestamp) > 0
            if n == LINES:
                break
    assert n == LINES

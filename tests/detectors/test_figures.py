"""Rows to sums to figures: signs, parts, abstentions, costs, and figures against the real sets."""

import gzip
import json
import math
import os
from pathlib import Path

import msgspec
import numpy as np
import pytest
from support.stories import START_MS, fold

from detectors.cells import BIN, CONFUSION, GRID, KNOWN, MADE, grid_cell
from detectors.figures import Distribution, many_figures, segment_figures
from detectors.fixed import carry
from detectors.sums import bin_sums, known_sums, made_sums
from detectors.watch_report import report
from schemas.cost import CostMatrix
from schemas.figures import SegmentFigures
from schemas.policy import parse_policy
from schemas.scored import COLUMNS, Kind, Rows

DATA = Path(os.environ.get("GNOMON_DATA", Path(__file__).parents[2] / "../shared/data"))
COST = CostMatrix(tp=(1.0, 0.0), fp=(5.0, 0.0), fn=(2.0, 0.5))


def rows(n, texts=("",), **columns):
    packed = {name: np.asarray(values, dtype=COLUMNS[name][0]).tobytes() for name, values in columns.items()}
    return Rows("m", [], n, packed, texts=list(texts))


def events(n=400, seed=11):
    rng = np.random.default_rng(seed)
    score = np.where(rng.random(n) < 0.5, rng.integers(0, 11, n) * 0.1, rng.random(n)).clip(0, 1)
    return {
        "score": score,
        "predicted": score >= 0.5,
        "label": rng.random(n) < score,
        "abstained": rng.random(n) < 0.1,
        "amount": rng.integers(0, 5_000_000, n),
        "predicted_at": np.full(n, 1_000_000),
        "known_at": 1_000_000 + rng.integers(0, 10_000_000, n),
        "costed": rng.random(n) < 0.2,
        "alerted": rng.random(n) < 0.3,
        "features": rng.integers(0, 10, n),
        "missing": rng.integers(0, 2, n),
    }


def sums_of(columns, sign=1, part=slice(None)):
    columns = {name: values[part] for name, values in columns.items()}
    n = len(columns["score"])
    made = rows(n, kind=np.full(n, Kind.PREDICTION), sign=np.full(n, sign), **columns)
    known = rows(n, kind=np.full(n, Kind.LABEL), sign=np.full(n, sign), **columns)
    grid = BIN.zeros(GRID)
    np.add.at(grid, grid_cell(np.nan_to_num(columns["score"])), bin_sums(known).full(BIN))
    return (
        carry(made_sums(made).full(MADE).sum(axis=0), MADE.first_high),
        carry(known_sums(known).full(KNOWN).sum(axis=0), KNOWN.first_high),
        carry(grid, BIN.first_high),
    )


def test_sums_are_what_their_names_say():
    e = events()
    made, known, grid = sums_of(e)
    kept = ~e["abstained"]
    score, true, predicted, amount = e["score"], e["label"], e["predicted"], e["amount"] / 1e4
    assert MADE.count(made, "n") == 400
    assert MADE.count(made, "abstained") == e["abstained"].sum()
    assert MADE.count(made, "alerted") == e["alerted"].sum()
    assert MADE.total(made, "score_positive") == pytest.approx(score[kept & predicted].sum(), abs=1e-9)
    assert MADE.total(made, "stake_negative") == pytest.approx((score * amount)[kept & ~predicted].sum(), abs=0.5e-4 * 400)
    assert MADE.total(made, "loss_negative") == pytest.approx(-np.log(1 - np.minimum(score[kept], 1 - 1e-15)).sum(), abs=1e-7)
    cells = {"tp": predicted & true, "fp": predicted & ~true, "tn": ~predicted & ~true, "fn": ~predicted & true}
    for cell, mask in cells.items():
        assert KNOWN.count(known, cell) == (mask & kept).sum()
        assert KNOWN.count(known, f"matrix_{cell}") == (mask & kept & ~e["costed"]).sum()
        assert KNOWN.total(known, f"amount_{cell}") == pytest.approx(amount[mask & kept].sum(), abs=1e-9)
        assert KNOWN.total(known, f"matrix_amount_{cell}") == pytest.approx(amount[mask & kept & ~e["costed"]].sum(), abs=1e-9)
    assert KNOWN.total(known, "brier") == pytest.approx(np.square(score - true)[kept].sum(), abs=1e-9)
    assert KNOWN.total(known, "score_squared") == pytest.approx(np.square(score)[kept].sum(), abs=1e-9)
    assert KNOWN.count(known, "delay_s") == ((e["known_at"] - e["predicted_at"]) // 1000)[kept].sum()
    assert KNOWN.count(known, "abstained") == (~kept).sum()
    assert KNOWN.count(known, "abstained_wrong") == (~kept & (predicted != true)).sum()
    assert BIN.count(grid, "n").sum() == kept.sum()
    assert BIN.count(grid, "positive").sum() == (kept & true).sum()


def test_a_correction_leaves_no_trace():
    e = events()
    wrong = e | {"label": ~e["label"]}
    for clean, first, back in zip(sums_of(e), sums_of(wrong), sums_of(wrong, sign=-1), strict=True):
        layout = {MADE.width: MADE, KNOWN.width: KNOWN, BIN.width: BIN}[clean.shape[-1]]
        assert (carry(clean + first + back, layout.first_high) == clean).all()


def test_a_timed_out_negative_adds_the_twin_of_a_label():
    e = events() | {"label": np.zeros(400, bool), "abstained": np.zeros(400, bool)}
    made, known, _ = sums_of(e)
    for twin, name in (("score_squared", "brier"), ("loss_negative", "loss"), ("score", "score")):
        at, to = MADE.at[twin], KNOWN.at[name]
        assert (made[at : at + 2] == known[to : to + 2]).all()


def test_dispositions_and_costs():
    texts = ["", "acted", "Overridden", "DISMISSED", "ignored", " "]
    n = 7
    part = rows(
        n,
        texts,
        kind=[Kind.DISPOSITION] * 6 + [Kind.COST],
        sign=[1, 1, 1, 1, 1, 1, -1],
        action=[0, 1, 2, 3, 4, 5, 0],
        review_ms=[-1, 1500, -1, 0, -1, -1, 99],
        money=[10, 20, 0, 0, 0, 0, 70_000],
        costed=[1, 1, 1, 0, 0, 0, 0],
    )
    known = carry(known_sums(part).full(KNOWN).sum(axis=0), KNOWN.first_high)
    assert [int(KNOWN.count(known, name)) for name in ("disposed", "acted", "reviewed", "review_ms", "realised")] == [4, 1, 2, 1500, -1]
    assert float(KNOWN.total(known, "value")) == pytest.approx(0.003)
    assert float(KNOWN.total(known, "realised_cost")) == pytest.approx(-7)
    figures = segment_figures(MADE.zeros(1)[0], known)
    assert (figures["override_rate"], figures["mean_review_s"], figures["value_total"]) == (0.75, 0.75, pytest.approx(0.003))
    known[KNOWN.at["value"] : KNOWN.at["value"] + 2] = 0
    assert segment_figures(MADE.zeros(1)[0], known)["value_total"] == 0  # what two were worth comes to nothing
    known[KNOWN.at["valued"]] = 0
    assert segment_figures(MADE.zeros(1)[0], known)["value_total"] is None  # people decided, and said nothing of its worth
    assert made_sums(part).full(MADE).any() == False  # noqa: E712 - the array's own truth


def test_rows_without_a_score_count_but_score_nothing():
    e = events() | {"score": np.full(400, np.nan), "abstained": np.zeros(400, bool)}
    made, known, grid = sums_of(e)
    figures = segment_figures(made, known, known_bins=grid, cost=COST)
    assert figures["n_labelled"] == 400
    assert figures["accuracy"] is not None
    for name in ("mean_score", "bias", "brier", "log_loss", "ece_10", "ece_em", "debiased_rms_ce", "calibration_slope", "expected_cost"):
        assert figures[name] is None, name


def test_where_picks_rows():
    e = events(50)
    part = rows(50, kind=np.full(50, Kind.PREDICTION), **e)
    assert (made_sums(part, np.array([3, 5])).full(MADE) == made_sums(part).full(MADE)[[3, 5]]).all()
    assert known_sums(part).full(KNOWN).any() == False  # noqa: E712 - the array's own truth


def test_costs_and_the_rest_against_plain_python():
    e = events()
    made, known, grid = sums_of(e)
    n = 400
    costs = rows(n, kind=np.where(e["costed"], Kind.COST, Kind.COUNT), money=np.arange(n) * 10_000)
    known = carry(known + known_sums(costs).full(KNOWN).sum(axis=0), KNOWN.first_high)
    figures = segment_figures(made, known, known_bins=grid, cost=COST, threshold=0.2)
    total, counted, expected, decided, confident = 0.0, 0, 0.0, 0, 0
    for i in range(n):
        y, z, p, a = e["label"][i], e["predicted"][i], e["score"][i], e["amount"][i] / 1e4
        if e["costed"][i]:
            total, counted = total + i, counted + 1
        if e["abstained"][i]:
            continue
        decided += 1
        confident += (p > 0.9 and not y) or (p <= 0.1 and y)
        expected += p * 1 + (1 - p) * 5 if z else p * (2 + 0.5 * a)
        if not e["costed"][i]:
            counted += 1
            total += {(1, 1): 1, (0, 1): 5, (0, 0): 0, (1, 0): 2 + 0.5 * a}[(int(y), int(z))]
    made_binary = made.copy()
    assert figures["cost_total"] == pytest.approx(total, abs=1e-6)
    assert figures["cost_per_event"] == pytest.approx(total / counted, abs=1e-9)
    assert figures["expected_cost"] == pytest.approx(expected / decided, abs=1e-4)
    assert figures["realised_cost"] == pytest.approx(np.arange(n)[e["costed"]].sum())
    assert figures["confidently_wrong_rate"] == pytest.approx(confident / decided)
    assert figures["abstention_rate"] == e["abstained"].mean()
    assert figures["label_coverage"] == 1.0
    assert figures["net_benefit"] == pytest.approx((figures["tp"] - figures["fp"] * 0.25) / decided)
    made_binary[MADE.at["binary"]] = 0
    top = segment_figures(made_binary, known, known_bins=grid)
    assert top["confidently_wrong_rate"] < figures["confidently_wrong_rate"]  # low confidence that proves right is no error


def test_what_the_scores_lead_to_expect_is_of_all_decisions_whether_labelled_or_not():
    e = events()
    made, known, _ = sums_of(e)
    figures, unlabelled = segment_figures(made, known), segment_figures(made, KNOWN.zeros(1)[0])
    cells = dict.fromkeys(CONFUSION, 0.0)
    for p, z, abstained in zip(e["score"], e["predicted"], e["abstained"], strict=True):
        if not abstained:
            cells["tp" if z else "fn"] += p
            cells["fp" if z else "tn"] += 1 - p
    want = cells | {"accuracy": (cells["tp"] + cells["tn"]) / (~e["abstained"]).sum()}
    want["f1"] = 2 * cells["tp"] / (2 * cells["tp"] + cells["fp"] + cells["fn"])
    for name, value in want.items():
        assert figures[f"expected_{name}"] == pytest.approx(value, abs=1e-9)
        assert unlabelled[f"expected_{name}"] == figures[f"expected_{name}"]
    assert figures["expected_accuracy"] == pytest.approx(figures["accuracy"], abs=0.06)  # these labels are drawn from the scores
    scores = np.where(np.arange(400) == np.flatnonzero(~e["abstained"])[0], np.nan, e["score"])
    assert segment_figures(sums_of(e | {"score": scores})[0], known)["expected_f1"] is None


def test_regret_is_of_the_worse_action_only():
    e = events() | {"costed": np.zeros(400, bool), "abstained": np.zeros(400, bool)}
    made, known, _ = sums_of(e)
    fp, fn = (int(KNOWN.count(known, cell)) for cell in ("fp", "fn"))
    missed = float(KNOWN.total(known, "amount_fn"))
    want = (5.0 * fp + (2.0 * fn + 0.5 * missed - 1.0 * fn)) / 400
    assert segment_figures(made, known, cost=COST)["regret"] == pytest.approx(want)


def test_the_names_are_the_reports_and_undefined_is_none():
    empty = many_figures(
        MADE.zeros(2), KNOWN.zeros(2), known_bins=BIN.zeros(120).reshape(2, GRID, BIN.width), distributions=[None, None], cost=COST
    )
    for figures in empty:
        assert msgspec.to_builtins(SegmentFigures(**figures))["n_predictions"] == 0
        assert {name for name, value in figures.items() if value not in (0, None)} == {"reliability"}
    known = {field.name for field in msgspec.structs.fields(SegmentFigures)}
    assert known - set(empty[0]) == {"segment", "checks", "regression", "shrunk"}  # of others


def test_many_segments_are_each_as_alone():
    parts = [sums_of(events(), part=slice(i * 100, (i + 1) * 100)) for i in range(4)]
    made, known, grid = (np.stack(column) for column in zip(*parts, strict=True))
    many = many_figures(made, known, known_bins=grid, cost=COST)
    for one, part in zip(many, parts, strict=True):
        assert one == segment_figures(part[0], part[1], known_bins=part[2], cost=COST)


def test_reliability_bars_hold_every_scored_label():
    made, known, grid = sums_of(events())
    bars = segment_figures(made, known, known_bins=grid)["reliability"]
    assert len(bars) == 10
    assert sum(bar.n for bar in bars) == KNOWN.count(known, "scored")
    assert all(bar.lo - 1e-9 <= bar.mean_score <= bar.hi + 1e-9 for bar in bars if bar.n)


SETS = sorted(path.parent.name for path in DATA.glob("*/acceptance.json"))


@pytest.mark.data
@pytest.mark.skipif(not SETS, reason="needs the real event sets in GNOMON_DATA")
@pytest.mark.parametrize("name", ["compas", "nab", "fte_governors", "nannyml_car_loan"])
def test_figures_of_the_real_sets(name):
    def read(file):
        with gzip.open(DATA / name / file) as lines:
            return [json.loads(line) for line in lines]

    predictions, labels = read("predictions.jsonl.gz"), {o["request_id"]: o["true_label"] for o in read("outcomes.jsonl.gz")}
    acceptance = json.loads((DATA / name / "acceptance.json").read_text())
    compared = 0
    for model in acceptance["models"]:
        ours = [p for p in predictions if (p["model_id"], p["model_version"]) == (model["model_id"], model["model_version"])]
        for segment in model["segments"]:
            chosen = [p for p in ours if all(p["subgroups"].get(key) == value for key, value in segment["segment"].items())]
            columns = {
                "score": np.array([p["score"] for p in chosen]),
                "predicted": np.array([p["predicted_label"] for p in chosen], dtype=bool),
                "alerted": np.array([p["predicted_label"] for p in chosen], dtype=bool),
                "label": np.array([labels[p["request_id"]] for p in chosen], dtype=bool),
            }
            made, known, grid = sums_of(columns)
            scores, at = np.unique(columns["score"], return_inverse=True)
            n1 = np.bincount(at, columns["label"], len(scores)).astype(np.int64)
            counts = Distribution(scores, np.bincount(at, minlength=len(scores)) - n1, n1)
            figures = segment_figures(made, known, known_bins=grid, distribution=counts)
            for key, value in segment.items():
                if key == "segment":
                    continue
                compared += 1
                assert figures[key] == (value if value is None else pytest.approx(value, abs=1e-9)), (segment["segment"], key)
    assert compared > 100


def test_every_cell_of_the_matrix_is_reported():
    made, known, _ = sums_of(events())
    figures = segment_figures(made, known)
    assert sum(figures[cell] for cell in CONFUSION) == figures["n_labelled"]
    assert math.isclose(figures["base_rate"], (figures["tp"] + figures["fn"]) / figures["n_labelled"])


def test_the_net_value_of_a_decision_is_what_adding_up_each_record_gives():
    """Through join and fold: value, less costs by the matrix or realised, computing, and people's time; corrected once."""
    rng = np.random.default_rng(12)
    policy = parse_policy('[models.m]\ncost = { fp = 5.0, fn = "amount", tp = -2.0 }\nreview_cost_per_hour = 90\n')
    matrix = {(1, 0): lambda stake: 5.0, (0, 1): lambda stake: stake, (1, 1): lambda stake: -2.0, (0, 0): lambda stake: 0.0}
    records, expected = [], 0.0
    for i in range(300):
        at, guess, label = START_MS + i * 60_000, int(rng.random() < 0.4), int(rng.random() < 0.3)
        made = {"request_id": f"r{i}", "model_id": "m", "model_version": "1", "timestamp": at, "score": 0.9 if guess else 0.1}
        made |= {"amount": float(rng.integers(1, 500))}
        if i % 3:
            made["compute_cost"] = 0.25
            expected -= 0.25
        records.append((at, "predictions", made))
        if i % 4:  # the others have no label
            told = {"request_id": f"r{i}", "timestamp": at + 1_000, "true_label": label}
            cost = matrix[guess, label](made["amount"])
            if i % 5 == 0:
                cost = told["cost"] = 7.5
            records.append((at + 1_000, "outcomes", told))
            expected -= cost
        if i % 7 == 0:  # a person had a look, and then thought again
            for seconds, value in ((600, 99.0), (40, 30.0)):
                seen = {"request_id": f"r{i}", "timestamp": at + 100_000 - seconds, "action_taken": "acted"}
                records.append((seen["timestamp"], "outcomes", seen | {"review_seconds": seconds, "value": value}))
            expected += 30.0 - 40 / 3600 * 90
    watch, _ = fold(sorted(records, key=lambda record: record[0]), policy=policy)
    whole = report([watch]).models[0].segments[0]
    assert whole.net_value == pytest.approx(expected / 300)
    assert whole.compute_cost == pytest.approx(0.25 * 200)


def test_where_neither_value_nor_cost_is_known_there_is_no_net_value():
    made = {"model_id": "m", "model_version": "1", "score": 0.9, "compute_cost": 1.0}
    times = range(START_MS, START_MS + 5)
    watch, _ = fold([(at, "predictions", made | {"request_id": f"r{at}", "timestamp": at}) for at in times])
    whole = report([watch]).models[0].segments[0]
    assert (whole.net_value, whole.compute_cost) == (None, 5.0)

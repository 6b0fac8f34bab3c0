"""What a batch comes to: shares, bits, the spread of the losses, the samples with the highest."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import jsonschema
import mpmath
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import cecli
from cecli.answer.answer import Shown, find_answer
from cecli.answer.summary import Summary
from cecli.cli.main import main
from cecli.core.totals import BARS
from cecli.problem.objective import Objective
from cecli.problem.problem import Problem
from support.paths import DIGITS

SAMPLES = 50


def summary_of(problem: Problem, *, worst: int = 0, exact: bool = False) -> Summary:
    summary = find_answer("loss", problem, None, exact=exact, shown=Shown(worst=worst)).summary
    assert summary is not None
    return summary


SCHEMA = json.loads(files("cecli").joinpath("cecli.schema.json").read_text(encoding="utf-8"))


def printed(*arguments: str) -> dict[str, Any]:
    outcome = CliRunner().invoke(main, [*arguments, "--json"])
    assert outcome.exit_code == 0, outcome.stderr
    document = json.loads(outcome.stdout)
    jsonschema.validate(document, SCHEMA)
    assert isinstance(document, dict)
    return document


@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 9, 10, 30]), st.booleans(), st.booleans())
def test_summary_against_plain_python(seed: int, classes: int, tied: bool, ignored: bool) -> None:
    random = np.random.default_rng(seed)
    logits = random.normal(size=(SAMPLES, classes))
    if tied:
        logits = np.round(logits)
    target = random.integers(0, classes, SAMPLES)
    problem = Problem.of(logits, target, Objective(ignore_index=1 if ignored else None))
    result = cecli.cross_entropy(logits, target, ignore_index=1 if ignored else None)
    summary = summary_of(problem, worst=7)
    kept = [row for row in range(SAMPLES) if not (ignored and target[row] == 1)]
    best = [
        sorted(range(classes), key=lambda i, z=row: (-z[i], i))  # type: ignore[misc]
        for row in logits.tolist()
    ]
    assert summary.accuracy == np.mean([best[row][0] == target[row] for row in kept])
    if classes < 10:
        assert summary.top5_accuracy is None
    else:
        assert summary.top5_accuracy == np.mean([target[row] in best[row][:5] for row in kept])
    assert summary.bits == pytest.approx(float(np.log2(summary.perplexity or 0)), abs=1e-12)
    losses = result.losses.tolist()
    assert summary.worst_samples is not None
    expected = sorted(kept, key=lambda row: (-losses[row], row))[:7]
    assert [sample.sample for sample in summary.worst_samples] == [(row,) for row in expected]
    softmax = cecli.softmax(logits)
    for sample in summary.worst_samples:
        row = sample.sample[0]
        assert sample.loss == losses[row]
        assert (sample.target, sample.predicted) == (target[row], best[row][0])
        assert sample.target_probability == softmax[row, target[row]]
        assert sample.predicted_probability == softmax[row].max()
    assert (summary.histogram is None) == (len(kept) < 20)
    if summary.histogram is None:
        return
    edges, counts = summary.histogram.edges, summary.histogram.counts
    own = [losses[row] for row in kept]
    assert len(edges) == len(counts) + 1 <= BARS + 1
    assert edges[-2] <= max(own) < edges[-1]
    assert edges[0] <= min(own) < edges[1]
    width = edges[1] - edges[0]
    assert np.frexp(width)[0] == 0.5
    assert max(own) >= width * BARS / 2
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        assert high - low == width
        assert count == sum(low <= loss < high for loss in own)


def test_exact_bits_are_correctly_rounded() -> None:
    logits = np.random.default_rng(2).normal(size=(6, 4))
    problem = Problem.of(logits, np.arange(6) % 4, Objective())
    found = summary_of(problem, exact=True).bits
    with mpmath.workdps(50):
        losses = [
            mpmath.log(mpmath.fsum(map(mpmath.exp, row))) - row[i % 4]
            for i, row in enumerate(logits.tolist())
        ]
        assert found == float(mpmath.fsum(losses) / 6 / mpmath.log(2))


def test_equal_logits_are_whole_bits() -> None:
    document = printed("loss", "[[0, 0, 0, 0], [1, 1, 1, 1]]", "-t", "0,3", "--exact")
    assert document["bits"] == 2.0
    assert printed("loss", "[[5], [7]]", "-t", "0,0", "--exact")["bits"] == 0.0


def test_digits() -> None:
    document = printed(
        "loss", f"{DIGITS}:logits", "-t", f"{DIGITS}:target", "--worst", "3", "--no-arrays"
    )
    with np.load(DIGITS, allow_pickle=False) as data:
        logits, target = data["logits"], data["target"]
    best = np.argsort(-logits, axis=1)[:, :5]
    assert document["top5_accuracy"] == (best == target[:, None]).any(axis=1).mean()
    assert [sample["sample"] for sample in document["worst_samples"]] == [1660, 1611, 1727]
    assert [sample["target"] for sample in document["worst_samples"]] == target[
        [1660, 1611, 1727]
    ].tolist()
    assert sum(document["histogram"]["counts"]) == 1797


def test_more_dimensions_and_soft_targets() -> None:
    logits = "[[[1, 2], [3, 4]], [[5, 5], [9, 0]]]"
    document = printed("grad", logits, "-t", "[[0, 1], [0, 1]]", "--worst", "2")
    assert [sample["sample"] for sample in document["worst_samples"]] == [[1, 1], [0, 0]]
    assert "histogram" not in document
    document = printed("loss", "[[1, 2], [3, 4]]", "-q", "[[1, 0], [0, 1]]", "--worst", "9")
    assert [sample["sample"] for sample in document["worst_samples"]] == [0, 1]
    assert "target" not in document["worst_samples"][0]


def test_infinite_losses_stand_beside_the_histogram() -> None:
    logits = np.zeros((25, 2))
    logits[3] = [-np.inf, 0]
    logits[4] = [1, 0]
    problem = Problem.of(logits, np.zeros(25, dtype=int), Objective())
    summary = summary_of(problem, worst=1)
    assert summary.histogram is not None
    assert sum(summary.histogram.counts) == 24
    assert summary.worst_samples is not None
    assert summary.worst_samples[0].sample == (3,)
    assert (summary.bits, summary.perplexity) == (np.inf, np.inf)


def test_all_ignored() -> None:
    document = printed(
        "loss", "[[1, 2]]", "-t", "0", "--ignore-index", "0", "--reduction", "sum", "--worst", "1"
    )
    assert not {"bits", "perplexity", "worst_samples", "histogram", "accuracy"} & document.keys()


@pytest.mark.parametrize("form", [[], ["--markdown"]])
def test_tables(form: list[str]) -> None:
    arguments = ["loss", f"{DIGITS}:logits", "-t", f"{DIGITS}:target", "--worst", "2", *form]
    labels = "zero,one,two,three,four,five,six,seven,eight,nine"
    outcome = CliRunner().invoke(main, [*arguments, "--labels", labels])
    assert outcome.exit_code == 0, outcome.stderr
    for text in ("top 5 99.61%", "bits", "loss from", "1,568", "1660", "four", "nine", "█"):
        assert text in outcome.stdout


def test_the_bars_of_losses_next_to_overflow_end_with_the_largest_double() -> None:
    logits = np.linspace(0.1, 1.0, 20)[:, None] * np.array([0.0, 1.7e308])
    problem = Problem.of(logits, np.zeros(20, int), Objective())
    histogram = summary_of(problem).histogram
    assert histogram is not None
    assert histogram.edges[-1] == np.finfo(np.float64).max
    assert sum(histogram.counts) == 20

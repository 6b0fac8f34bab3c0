"""Weights of samples, and a divisor of one's own, held against sums that are written out."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cecli
from cecli import CecliError
from cecli.core import rare
from support.in_process import complaint, printed, run, shown
from support.oracle import evaluate, worst_ulps

RANDOM = np.random.default_rng(8)
Z = RANDOM.normal(size=(7, 4)) * 3
T = RANDOM.integers(0, 4, 7)
W = np.array([0.5, 1.25, 0.0, 2.0, 0.1, 1.0, 3.0])
CLASS_WEIGHT = np.array([1.0, 0.5, 2.0, 3.0])
Q = RANDOM.dirichlet(np.ones(4), 7)
OBJECTIVES: list[dict[str, Any]] = [
    {},
    {"weight": CLASS_WEIGHT},
    {"label_smoothing": 0.1, "z_loss": 0.01},
    {"weight": CLASS_WEIGHT, "z_loss": 0.01, "temperature": 2.0, "softcap": 5.0},
    {"weight": CLASS_WEIGHT, "label_smoothing": 0.1, "reduction": "sum"},
    {"reduction": "none"},
]
by_objective = pytest.mark.parametrize(
    "objective", OBJECTIVES, ids=lambda o: "-".join(o) or "plain"
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    np.save("z.npy", Z)
    np.save("t.npy", T)
    np.save("w.npy", W)
    return tmp_path


def garbage(target: Any) -> tuple[Any, Any]:
    """Logits and target where the sample of weight 0 holds whatever it likes."""
    logits, target = Z.copy(), np.array(target)
    logits[2] = np.nan
    target[2] = -100 if target.ndim == 1 else 0
    return logits, target


def divisor_of(target: Any, objective: dict[str, Any]) -> float | None:
    if objective.get("reduction", "mean") != "mean":
        return {"sum": 1.0, "none": None}[objective["reduction"]]
    weights = W
    if np.ndim(target) == 1 and "weight" in objective:
        weights = W * CLASS_WEIGHT[target]
    return float(sum(map(Fraction, weights.tolist())))


@by_objective
@pytest.mark.parametrize("target", [T, Q], ids=["index", "soft"])
@pytest.mark.parametrize("exact", [False, True])
def test_each_sample_is_multiplied(objective: dict[str, Any], target: Any, exact: bool) -> None:
    alone = cecli.cross_entropy(Z, target, **{**objective, "reduction": "none"}, exact=True)
    found = cecli.cross_entropy(*garbage(target), sample_weight=W, **objective, exact=exact)
    np.testing.assert_allclose(found.losses, alone.losses * W, rtol=1e-14)
    divisor = divisor_of(target, objective)
    if divisor is None:
        assert found.divisor is None
        return
    assert found.divisor == pytest.approx(divisor, rel=1e-15)
    z_loss = np.zeros(7)
    if "z_loss" in objective:
        without = cecli.cross_entropy(Z, target, **{**objective, "reduction": "none", "z_loss": 0})
        z_loss = alone.losses - without.losses
    averaged = objective.get("reduction", "mean") == "mean"
    assert found.loss == pytest.approx(
        ((alone.losses - z_loss) * W).sum() / divisor
        + (z_loss * W).sum() / (W.sum() if averaged else 1.0),
        rel=1e-13,
    )
    assert not found.grad[2].any()
    assert np.isnan(found.softmax[2]).all()
    assert cecli.check_gradient(*garbage(target), found.grad, sample_weight=W, **objective).passed


@by_objective
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_as_the_exact_arithmetic_has_it(objective: dict[str, Any], dtype: Any) -> None:
    logits = Z.astype(dtype)
    found = cecli.cross_entropy(logits, T, sample_weight=W, **objective)
    exact = cecli.cross_entropy(logits, T, sample_weight=W, **objective, exact=True)
    np.testing.assert_allclose(found.loss, exact.loss, rtol=1e-15)
    np.testing.assert_allclose(found.grad, exact.grad, rtol=3 * np.finfo(dtype).eps)
    compared = cecli.compare(
        logits, T, grad=found.grad, loss=found.loss, sample_weight=W, **objective
    )
    assert compared.passed


def test_a_weight_that_is_left_out_is_found() -> None:
    wrong = cecli.cross_entropy(Z, T, reduction="sum").grad / 7
    assert not cecli.compare(Z, T, grad=wrong, sample_weight=W).passed


def test_pytorch_agrees() -> None:
    torch = pytest.importorskip("torch")
    logits = torch.tensor(Z, requires_grad=True)
    losses = torch.nn.functional.cross_entropy(logits, torch.tensor(T), reduction="none")
    loss = (losses * torch.tensor(W)).sum() / W.sum()
    loss.backward()
    found = cecli.cross_entropy(Z, T, sample_weight=W)
    assert found.loss == pytest.approx(loss.item(), rel=1e-14)
    np.testing.assert_allclose(found.grad, logits.grad.numpy(), rtol=1e-12, atol=1e-17)


def test_a_batch_of_more_dimensions() -> None:
    logits, target = RANDOM.normal(size=(3, 4, 5)), RANDOM.integers(0, 4, (3, 5))
    weights = RANDOM.uniform(0, 2, (3, 5))
    found = cecli.cross_entropy(logits, target, sample_weight=weights, axis=1)
    losses = cecli.cross_entropy(logits, target, reduction="none", axis=1).losses
    assert found.loss == pytest.approx((losses * weights).sum() / weights.sum(), rel=1e-14)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ([1.0, 2.0], "sample_weight has shape (2,): samples of shape (7,) need a weight each"),
        ([1.0] * 6 + [-1.0], "sample_weight of sample 6 is -1: weights are 0 or more and finite"),
        ([np.inf] * 7, "sample_weight of sample 0 is inf"),
        ([np.nan] * 7, "sample_weight of sample 0 is nan"),
        ([0.0] * 7, "the mean is undefined: no sample has a weight and a target"),
        (["x"] * 7, "sample_weight must be an array of real numbers; it holds texts"),
    ],
)
def test_weights_that_are_none(weights: Any, words: str) -> None:
    with pytest.raises(CecliError) as caught:
        cecli.cross_entropy(Z, T, sample_weight=weights)
    assert str(caught.value) == words or words in str(caught.value)


# --- A divisor of one's own -----------------------------------------------------------------------


@pytest.mark.parametrize("exact", [False, True])
def test_a_divisor_of_ones_own(exact: bool) -> None:
    total = cecli.cross_entropy(Z, T, weight=CLASS_WEIGHT, z_loss=0.1, reduction="sum", exact=True)
    found = cecli.cross_entropy(
        Z, T, weight=CLASS_WEIGHT, z_loss=0.1, divisor=1000, sample_weight=np.ones(7), exact=exact
    )
    assert (found.divisor, found.z_loss_divisor) == (1000.0, 1000.0)
    assert found.loss == pytest.approx(total.loss / 1000, rel=1e-15)
    np.testing.assert_allclose(found.grad, total.grad / 1000, rtol=1e-14)
    assert cecli.check_gradient(
        Z, T, total.grad / 1000, weight=CLASS_WEIGHT, z_loss=0.1, divisor=1000
    ).passed


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"divisor": 0}, "divisor is 0: it must be greater than 0"),
        ({"divisor": "x"}, "divisor is 'x': it must be a number"),
        ({"divisor": 3, "reduction": "sum"}, "divisor is for the mean: reduction sum has none"),
    ],
)
def test_divisors_that_are_none(options: dict[str, Any], words: str) -> None:
    with pytest.raises(CecliError) as caught:
        cecli.cross_entropy(Z, T, **options)
    assert words in str(caught.value)


# --- On the command line --------------------------------------------------------------------------


def test_options_and_documents() -> None:
    document = printed("grad", "z.npy", "-t", "t.npy", "--sample-weight", "w.npy", "--divisor", "9")
    assert document["sample_weight"] == W.tolist()
    assert document["objective"] == {"divisor": 9.0}
    assert document["divisor"] == 9.0
    again = printed("grad", "-", stdin=json.dumps(document))
    assert again == document
    text = shown("loss", "z.npy", "-t", "t.npy", "--sample-weight", "w.npy")
    assert "the mean over 6 samples: Σ loss / Σ weight = 7.85" in text
    assert "1 of 7 samples ignored" in text
    assert "with sample weights" in text
    text = shown("loss", "z.npy", "-t", "t.npy", "--divisor", "9")
    assert "the mean over 7 samples: Σ loss / 9, as --divisor says" in text
    text = shown("loss", "1", "2", "-t", "0", "--sample-weight", "3")
    assert "Σ loss / Σ weight = 3, which divides the weight out again" in text
    assert printed("loss", "1", "2", "-t", "0", "--sample-weight", "3")["sample_weight"] == 3.0


def test_a_column_of_the_table_of_logits() -> None:
    rows = "\n".join(f"{a},{b},{w},{t}" for (a, b), w, t in zip(Z[:, :2], W, T % 2, strict=True))
    Path("x.csv").write_text(f"cat,dog,w,label\n{rows}\n")
    document = printed("loss", "x.csv", "--sample-weight", "x.csv:w")
    assert document["labels"] == ["cat", "dog"]
    assert document["sample_weight"] == W.tolist()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("loss z.npy -t t.npy --sample-weight 1,2", "sample_weight has shape (2,)"),
        ("loss z.npy -t t.npy --sample-weight bad.npy", "'bad.npy': sample_weight of sample 1 is"),
        ("loss z.npy -t t.npy --divisor -1", "--divisor is -1: it must be greater than 0"),
        ("loss z.npy -t t.npy --divisor 3 --reduction none", "--divisor is for the mean"),
        ("loss z.npy -t t.npy --divisor 3 --jsonl", "--divisor does not go with it"),
        ("explain z.npy -t t.npy --divisor 3", "No such option '--divisor'"),
    ],
)
def test_what_is_wrong_with_them(arguments: str, words: str) -> None:
    np.save("bad.npy", -np.arange(7.0))
    assert words in complaint(*arguments.split())


def test_lines_of_weighted_samples() -> None:
    lines = shown(
        "loss", "z.npy", "-t", "t.npy", "--sample-weight", "w.npy", "--jsonl"
    ).splitlines()
    losses = cecli.cross_entropy(Z, T, reduction="none").losses * W
    assert [json.loads(line)["loss"] for line in lines] == pytest.approx(losses.tolist())
    line = json.dumps({"logits": Z[0].tolist(), "target": 1, "sample_weight": 2.0})
    answers = shown("loss", "--jsonl", stdin=f"{line}\n{line}\n").splitlines()
    own = cecli.cross_entropy(Z[0], 1).loss
    assert [json.loads(answer)["loss"] for answer in answers] == pytest.approx([2 * own] * 2)
    assert run("explain", "--json", stdin=line).status == 2


@pytest.mark.parametrize(("weight", "total"), [(1e200, "inf"), (1e-200, "0")])
def test_weights_that_leave_the_doubles(weight: float, total: str) -> None:
    with pytest.raises(CecliError, match=f"the weights sum to {total}$"):
        _ = cecli.cross_entropy(
            [[1.0, 2.0]], [0], weight=[weight, 1.0], sample_weight=[weight]
        ).loss


# --- Weights that make something of next to nothing -----------------------------------------------

NEXT_TO_NOTHING: list[tuple[list[list[float]], Any, dict[str, Any]]] = [
    ([[0.0, -740.0]], [0], {"sample_weight": [1e20], "reduction": "sum"}),
    ([[0.0, -900.0], [1.0, 2.0]], [0, 1], {"sample_weight": [1e300, 1.0], "reduction": "none"}),
    ([[0.0, -740.0, -800.0]], [0], {"sample_weight": [1e20], "weight": [1e-10, 3.0, 1.0]}),
    ([[0.0, -740.0]], [[1.0, 0.0]], {"sample_weight": [1e200], "reduction": "sum"}),
    ([[0.0, 1.0], [0.0, 2.0]], [0, 1], {"sample_weight": [1e-320, 1e-321], "reduction": "mean"}),
    ([[3.695, 1.0]], [0], {"sample_weight": [1000.0], "softcap": 0.01, "reduction": "sum"}),
    ([[3.8, 1.0]], [1], {"sample_weight": [1e30], "softcap": 0.01, "reduction": "sum"}),
]


@pytest.mark.parametrize(("logits", "target", "options"), NEXT_TO_NOTHING)
def test_a_number_is_weighted_before_it_is_rounded_to_a_subnormal_one(
    logits: list[list[float]], target: Any, options: dict[str, Any]
) -> None:
    wanted = evaluate(np.array(logits), np.array(target), **options)
    result = cecli.cross_entropy(logits, target, **options)
    assert worst_ulps(result.losses, wanted.losses) <= 4.0
    assert worst_ulps(result.grad, wanted.grad, scale=wanted.largest_term) <= 4.0
    assert cecli.check_gradient(logits, target, result.grad, **options).passed


def test_a_z_loss_is_weighted_before_it_is_rounded_to_a_subnormal_number() -> None:
    result = cecli.cross_entropy([[1e-170]], [0], sample_weight=[1e300], z_loss=0.25)
    assert result.losses[0] == pytest.approx(2.5e-41, rel=1e-15)  # λ·lse²
    result = cecli.cross_entropy(
        [[1e-170]], [0], sample_weight=[1e300], z_loss=2.0**-900, reduction="sum"
    )
    assert result.grad[0, 0] == pytest.approx(2.0**-899 * 1e130, rel=1e-15)  # 2 λ·lse


def test_what_is_masked_takes_no_other_way_for_its_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = np.array([[1.0, 2.0, -np.inf], [0.5, -1e9, 1.0], [-np.inf, 3.0, -1e9]])
    soft = np.array([[0.5, 0.5, 0.0], [0.25, 0.0, 0.75], [0.0, 1.0, 0.0]])
    monkeypatch.setattr(rare, "work_out", None)
    for target in (np.array([0, 2, 1]), soft):
        result = cecli.cross_entropy(logits, target, sample_weight=[2.0, 1e6, 3.0])
        assert np.isfinite(result.loss)

"""The core against PyTorch, over every pair of options."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cecli import cross_entropy, softmax
from support.oracle import evaluate
from support.pairs import covering

pytestmark = [
    pytest.mark.xdist_group("torch"),  # whose import takes seconds
    pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is missing"),
]
Array = NDArray[Any]
CHOICES: dict[str, list[Any]] = {
    "shape": [(5,), (6, 5), (2, 5, 3)],
    "kind": ["index", "ignored", "soft"],
    "weighted": [False, True],
    "smoothing": [0.0, 0.1],
    "reduction": ["mean", "sum", "none"],
    "temperature": [1.0, 2.5],
    "softcap": [None, 5.0],
    "z_loss": [0.0, 1e-2],
}


@pytest.mark.parametrize(tuple(CHOICES), covering(*CHOICES.values(), strength=3), ids=str)
def test_agrees_with_pytorch(
    shape: tuple[int, ...],
    kind: str,
    weighted: bool,
    smoothing: float,
    reduction: str,
    temperature: float,
    softcap: float | None,
    z_loss: float,
) -> None:
    torch: Any = importlib.import_module("torch")
    axis = 0 if len(shape) == 1 else 1
    batch = shape[:axis] + shape[axis + 1 :]
    random = np.random.default_rng(3)
    logits = random.normal(0, 3, shape)
    target: Array = random.integers(0, 5, batch)
    if kind == "ignored" and batch:
        target[(-1,) * len(batch)] = -100
    elif kind == "soft":
        target = softmax(random.normal(0, 1, shape), axis=axis)
    weight = np.array([0.3, 1.0, 2.5, 0.7, 1.9]) if weighted else None

    z = torch.tensor(logits, requires_grad=True)
    u = (z if softcap is None else softcap * torch.tanh(z / softcap)) / temperature
    loss = torch.nn.functional.cross_entropy(
        u,
        torch.tensor(target),
        weight=None if weight is None else torch.tensor(weight),
        reduction=reduction,
        label_smoothing=smoothing,
    )
    kept = torch.tensor(np.ones(batch, dtype=bool) if kind == "soft" else target != -100)
    squares = z_loss * torch.where(kept, torch.logsumexp(u, axis) ** 2, 0.0)
    if reduction == "none":
        loss = loss + squares
    else:
        loss = loss + squares.sum() / (kept.sum() if reduction == "mean" else 1)
    loss.sum().backward()

    options: dict[str, Any] = {
        "weight": weight,
        "ignore_index": -100 if kind == "ignored" else None,
        "label_smoothing": smoothing,
        "reduction": reduction,
        "temperature": temperature,
        "softcap": softcap,
        "z_loss": z_loss,
        "axis": axis,
    }
    actual = cross_entropy(logits, target, **options)
    np.testing.assert_allclose(actual.loss, loss.detach().numpy(), rtol=1e-13, atol=0)
    difference = np.abs(actual.grad - z.grad.numpy())
    scale: Array = np.abs(actual.grad)
    if (difference > 1e-13 * scale).any():
        scale = evaluate(logits, target, **options).largest_term.astype(np.float64)
    assert (difference <= 1e-13 * scale).all()

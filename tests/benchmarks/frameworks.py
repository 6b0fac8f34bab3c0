"""The cases of `cecli verify` over the usual implementations: the table in cecli-verify(1).

Run as `python tests/benchmarks/frameworks.py`; those that are not installed are left out. The
functions can also be verified alone, as in `cecli verify tests/benchmarks/frameworks.py:of_scipy`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

# Where a kernel is interpreted, number by number, a case of many takes minutes.
NOT_MANY = [f"--skip={family}/????*" for family in ("classes", "rows")]
HERE = "tests/benchmarks/frameworks.py"
IMPLEMENTATIONS = {
    "torch": ["--torch", "torch.nn.functional:cross_entropy"],
    "optax": ["--jax", "optax.losses:softmax_cross_entropy_with_integer_labels"],
    "jax": ["--jax", f"{HERE}:of_jax"],
    "keras": ["--jax", "keras.losses:categorical_crossentropy"],
    "tensorflow-cpu": [f"{HERE}:of_tensorflow"],
    "scipy": [f"{HERE}:of_scipy"],
    "scikit-learn": [f"{HERE}:of_scikit_learn"],
    "mlx": [f"{HERE}:of_mlx"],
    "tinygrad": [f"{HERE}:of_tinygrad", *NOT_MANY],
    "liger-kernel": ["--torch", f"{HERE}:of_liger", *NOT_MANY],
}
# Keras computes with JAX; kernels in Triton and tinygrad are interpreted, and need no compiler.
ENVIRONMENT = {"KERAS_BACKEND": "jax", "TRITON_INTERPRET": "1", "DEV": "PYTHON"}


def of_jax(logits: Any, target: Any) -> Any:
    """Losses of the rows, as one writes them with JAX."""
    import jax

    return -jax.numpy.take_along_axis(jax.nn.log_softmax(logits), target[:, None], 1)[:, 0]


def of_tensorflow(logits: Any, labels: Any) -> Any:
    """Losses of the rows and the gradient of their sum; labels are one-hot."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        z = tf.Variable(logits)
        losses = tf.nn.softmax_cross_entropy_with_logits(labels, z)
    return losses, tf.convert_to_tensor(tape.gradient(losses, z))


def of_mlx(logits: Any, target: Any, label_smoothing: float = 0.0) -> Any:
    """Losses of the rows; MLX has doubles only on some devices, and makes float32 of them."""
    import mlx.core as mx
    import mlx.nn as nn

    def rows(z: Any) -> Any:
        return nn.losses.cross_entropy(z, mx.array(target), label_smoothing=label_smoothing)

    z = mx.array(logits.copy())  # it takes no negative strides
    return rows(z), mx.grad(lambda z: rows(z).sum())(z)


def of_tinygrad(
    logits: Any, target: Any, reduction: str = "mean", label_smoothing: float = 0.0
) -> Any:
    """The loss of a Tensor, and its gradient."""
    from tinygrad import Tensor

    z = Tensor(logits)
    loss = z.cross_entropy(Tensor(target), reduction, label_smoothing)
    return loss.numpy(), loss.sum().gradient(z)[0].numpy()


def of_liger(
    input: Any,  # noqa: A002 - as it is called there
    target: Any,
    ignore_index: int = -100,
    lse_square_scale: float = 0.0,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Any:
    """Liger's kernel without weights and soft cap, which Triton's interpreter cannot run."""
    from liger_kernel.ops.cross_entropy import LigerCrossEntropyFunction

    arguments = (None, ignore_index, lse_square_scale, label_smoothing, reduction)
    return LigerCrossEntropyFunction.apply(input, target, *arguments)[0]


def of_scipy(logits: Any, target: Any) -> Any:
    """Losses of the rows and the gradient of their sum, as one writes it with SciPy."""
    from scipy.special import log_softmax, softmax

    rows = np.arange(len(logits))
    losses = -log_softmax(logits, axis=1)[rows, target]
    grad = softmax(logits, axis=1)
    grad[rows, target] -= 1.0
    return losses, grad


def of_scikit_learn(logits: Any, target: Any) -> Any:
    """The same by the loss of scikit-learn's multinomial models."""
    from sklearn._loss import HalfMultinomialLoss

    if logits.shape[1] == 1:
        raise NotImplementedError("it is for two classes and more")
    loss = HalfMultinomialLoss(n_classes=logits.shape[1])
    return loss.loss_gradient(target.astype(logits.dtype), logits)


def main() -> None:
    """Print families as rows and implementations as columns, each as passed/supported."""
    wanted = sys.argv[1:] or list(IMPLEMENTATIONS)
    names = {name: installed for name in wanted if (installed := version_of(name))}
    found = {name: verified(IMPLEMENTATIONS[name]) for name in names}
    print(f"| family | {' | '.join(f'{name} {number}' for name, number in names.items())} |")
    print("| :-- |" + " --: |" * len(found))
    every = dict.fromkeys(row["family"] for d in found.values() for row in d["families"])
    tables = [{row["family"]: row for row in d["families"]} for d in found.values()]
    for family in every:
        rows = [table.get(family, {"ran": 0}) for table in tables]
        if any(row["ran"] for row in rows):
            print(f"| {family} | {' | '.join(map(cell, rows))} |")
    totals = [document["totals"] for document in found.values()]
    print(f"| **all** | {' | '.join(map(cell, totals))} |")
    better = [total["counts"]["exact"] + total["counts"]["accurate"] for total in totals]
    shares = [f"{count}/{total['ran']}" for count, total in zip(better, totals, strict=True)]
    print(f"| exact or accurate | {' | '.join(shares)} |")
    for name, document in found.items():
        failed = [case for case in document["cases"] if not case["passed"]]
        print(f"\n{name}: {'; '.join(document.get('notes', []))}")
        for case in failed:
            ids = sorted({mistake["id"] for mistake in case["diagnosis"]})
            print(f"  {case['name']}: {case['outcome']} {case.get('fault', '')} {' '.join(ids)}")


def version_of(name: str) -> str | None:
    """Without what stands for a build."""
    try:
        return version(name).partition("+")[0]
    except PackageNotFoundError:
        return None


def verified(arguments: list[str]) -> Any:
    """The document of an implementation."""
    command = [sys.executable, "-m", "cecli", "verify", "--json", *arguments]
    environment = {**ENVIRONMENT, **os.environ}
    run = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=False)
    return json.loads(run.stdout)


def cell(totals: dict[str, Any]) -> str:
    """How many of those that ran passed, in bold where some did not."""
    if not totals["ran"]:
        return ""
    text = f"{totals['passed']}/{totals['ran']}"
    return text if totals["passed"] == totals["ran"] else f"**{text}**"


if __name__ == "__main__":
    main()

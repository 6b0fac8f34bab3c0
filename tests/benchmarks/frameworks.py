"""The cases of `cecli verify` over the usual implementations: the table in the README.

Run as `python tests/benchmarks/frameworks.py` where torch, jax, optax, scipy and scikit-learn are
installed. The two functions can also be verified alone, as in
`cecli verify tests/benchmarks/frameworks.py:of_scipy`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from typing import Any

import numpy as np

IMPLEMENTATIONS = {
    "torch": ["--torch", "torch.nn.functional:cross_entropy"],
    "optax": ["--jax", "optax.losses:softmax_cross_entropy_with_integer_labels"],
    "scipy": ["tests/benchmarks/frameworks.py:of_scipy"],
    "scikit-learn": ["tests/benchmarks/frameworks.py:of_scikit_learn"],
}


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
    found = {name: verified(arguments) for name, arguments in IMPLEMENTATIONS.items()}
    versions = [f"{name} {version(name).partition('+')[0]}" for name in found]
    print(f"| family | {' | '.join(versions)} |")
    print("| :-- |" + " --: |" * len(found))
    for rows in zip(*(document["families"] for document in found.values()), strict=True):
        if any(row["ran"] for row in rows):
            print(f"| {rows[0]['family']} | {' | '.join(map(cell, rows))} |")
    totals = [document["totals"] for document in found.values()]
    print(f"| **all** | {' | '.join(map(cell, totals))} |")
    better = [total["counts"]["exact"] + total["counts"]["accurate"] for total in totals]
    shares = [f"{count}/{total['ran']}" for count, total in zip(better, totals, strict=True)]
    print(f"| exact or accurate | {' | '.join(shares)} |")


def verified(arguments: list[str]) -> Any:
    """The document of an implementation."""
    command = [sys.executable, "-m", "cecli", "verify", "--json", *arguments]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout)


def cell(totals: dict[str, Any]) -> str:
    """How many of those that ran passed, in bold where some did not."""
    if not totals["ran"]:
        return ""
    text = f"{totals['passed']}/{totals['ran']}"
    return text if totals["passed"] == totals["ran"] else f"**{text}**"


if __name__ == "__main__":
    main()

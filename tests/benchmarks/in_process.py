"""How long loss and gradient of a batch take, beside other libraries and beside copying the array.

    python tests/benchmarks/in_process.py [--runs N] [--compiled]

Whatever of PyTorch, JAX with optax and scikit-learn is installed takes part; --compiled adds
torch.compile. All take turns in each round, so that a slower minute of the machine slows all of
them, and the ratios are of the medians: above 1 cecli is faster.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

import cecli

SHAPES = [(200_000, 10), (20_000, 1_000), (2_000, 50_257), (1_000, 128_256)]
Array = np.ndarray[Any, Any]
Run = Callable[[], object]


def cecli_run(logits: Array, target: Array) -> Run:
    return lambda: cecli.cross_entropy(logits, target).grad


def copy_run(logits: Array, target: Array) -> Run:
    return logits.copy


def torch_run(logits: Array, target: Array, compiled: bool = False) -> Run:
    import torch

    tensor = torch.from_numpy(logits).requires_grad_()
    index = torch.from_numpy(target)
    loss_of = torch.nn.functional.cross_entropy
    if compiled:
        loss_of = torch.compile(loss_of)

    def run() -> object:
        tensor.grad = None
        loss_of(tensor, index).backward()
        return tensor.grad

    return run


def torch_compiled_run(logits: Array, target: Array) -> Run:
    return torch_run(logits, target, compiled=True)


def jax_run(logits: Array, target: Array) -> Run:
    jax: Any = importlib.import_module("jax")
    optax: Any = importlib.import_module("optax")
    jax.config.update("jax_enable_x64", True)

    def mean_loss(z: Any, t: Any) -> Any:
        return optax.softmax_cross_entropy_with_integer_labels(z, t).mean()

    both = jax.jit(jax.value_and_grad(mean_loss))
    z, t = jax.numpy.asarray(logits), jax.numpy.asarray(target)
    return lambda: jax.block_until_ready(both(z, t))


def sklearn_run(logits: Array, target: Array) -> Run:
    from sklearn._loss.loss import HalfMultinomialLoss

    loss = HalfMultinomialLoss(n_classes=logits.shape[1])
    wanted = target.astype(logits.dtype)
    return lambda: loss.loss_gradient(y_true=wanted, raw_prediction=logits, n_threads=2)


def contestants(compiled: bool) -> dict[str, Callable[[Array, Array], Run]]:
    """Those whose modules are installed."""
    known: dict[str, tuple[tuple[str, ...], Callable[[Array, Array], Run]]] = {
        "PyTorch": (("torch",), torch_run),
        "JAX": (("jax", "optax"), jax_run),
        "scikit-learn": (("sklearn",), sklearn_run),
    }
    if compiled:
        known["torch.compile"] = (("torch",), torch_compiled_run)
    found = {
        name: run
        for name, (modules, run) in known.items()
        if all(importlib.util.find_spec(module) for module in modules)
    }
    return {**found, "copying": copy_run}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--compiled", action="store_true")
    arguments = parser.parse_args()
    others = contestants(arguments.compiled)
    print("time of each over that of cecli (ns an element in brackets); above 1 cecli is faster")
    print(f"{'shape':>16} {'type':>8} {'cecli':>8}", *(f"{name:>16}" for name in others))
    random = np.random.default_rng(0)
    for shape in SHAPES:
        for dtype in (np.float32, np.float64):
            logits = (random.standard_normal(shape, dtype=np.float32) * 3).astype(dtype)
            target = random.integers(0, shape[1], shape[0])
            runs = [cecli_run(logits, target)]
            runs += [make(logits, target) for make in others.values()]
            times: list[list[float]] = [[] for _ in runs]
            for number in range(arguments.runs + 1):
                for run, seconds in zip(runs, times, strict=True):
                    start = time.perf_counter()
                    run()
                    if number:  # the first round warms up
                        seconds.append(time.perf_counter() - start)
            own, *rest = (median(seconds) / logits.size * 1e9 for seconds in times)
            cells = (f"{other / own:8.2f} [{other:5.1f}]" for other in rest)
            name = f"{shape[0]:,}x{shape[1]:,}"
            print(f"{name:>16} {np.dtype(dtype).name:>8} [{own:6.2f}]", *cells, flush=True)


if __name__ == "__main__":
    main()

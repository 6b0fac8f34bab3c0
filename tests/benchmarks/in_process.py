"""How long loss and gradient of a batch take, beside other libraries and beside copying the array.

    python tests/benchmarks/in_process.py [--runs N] [--only NAME …]

Whatever of PyTorch (eager and compiled), JAX with optax (compiled) and scikit-learn is installed
takes part, each with its own choice of threads, and gives a loss and a gradient, no more: cecli is
asked not to keep the logits. "keeping them" is how it is called otherwise, its softmax to be had
whatever becomes of the logits; "loss alone" is without the gradient. All take turns in each round
and the fastest run of each counts, the one that was least disturbed by whatever else the machine
does; a row takes minutes where compiling does.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import cecli
from cecli.core.evaluate import losses_of
from cecli.problem.problem import Problem

PAUSE = 0.05  # until another library's threads have stopped waiting for more work
SHAPES = [(200_000, 10), (20_000, 1_000), (2_000, 50_257), (1_000, 128_256)]
Array = np.ndarray[Any, Any]
Run = Callable[[], object]


def cecli_run(logits: Array, target: Array) -> Run:
    return lambda: cecli.cross_entropy(logits, target, keep_logits=False).grad


def keeping_run(logits: Array, target: Array) -> Run:
    return lambda: cecli.cross_entropy(logits, target).grad


def loss_run(logits: Array, target: Array) -> Run:
    return lambda: losses_of(Problem.of(logits, target))


def copy_run(logits: Array, target: Array) -> Run:
    return logits.copy


def torch_run(logits: Array, target: Array, compiled: bool = False) -> Run:
    import torch

    tensor = torch.from_numpy(logits).requires_grad_()
    index = torch.from_numpy(target)
    loss_of = torch.nn.functional.cross_entropy
    if compiled:
        torch._dynamo.reset()  # or a second shape is compiled for any shape
        loss_of = torch.compile(loss_of, dynamic=False)

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
    wanted, threads = target.astype(logits.dtype), os.cpu_count()
    return lambda: loss.loss_gradient(y_true=wanted, raw_prediction=logits, n_threads=threads)


CONTESTANTS: dict[str, tuple[tuple[str, ...], Callable[[Array, Array], Run]]] = {
    "PyTorch": (("torch",), torch_run),
    "torch.compile": (("torch",), torch_compiled_run),
    "JAX": (("jax", "optax"), jax_run),
    "scikit-learn": (("sklearn",), sklearn_run),
    "keeping them": ((), keeping_run),
    "loss alone": ((), loss_run),
    "copying": ((), copy_run),
}


def contestants(only: list[str] | None) -> dict[str, Callable[[Array, Array], Run]]:
    """Those that are wanted and whose modules are installed."""
    return {
        name: run
        for name, (modules, run) in CONTESTANTS.items()
        if all(importlib.util.find_spec(module) for module in modules) and name in (only or [name])
    }


def best_times(runs: list[Run], rounds: int) -> list[float]:
    """The seconds of the fastest run of each; the first round warms up."""
    best = [float("inf")] * len(runs)
    for number in range(rounds + 1):
        for i, run in enumerate(runs):
            time.sleep(PAUSE)
            start = time.perf_counter()
            run()
            if number:
                best[i] = min(best[i], time.perf_counter() - start)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--only", action="append", choices=CONTESTANTS)
    arguments = parser.parse_args()
    others = contestants(arguments.only)
    print("time of each over that of cecli (ns an element in brackets); above 1 cecli is faster")
    print(f"{'shape':>16} {'type':>8} {'cecli':>8}", *(f"{name:>16}" for name in others))
    random = np.random.default_rng(0)
    for shape in SHAPES:
        for dtype in (np.float32, np.float64):
            logits = 3 * random.standard_normal(shape, dtype=dtype)
            target = random.integers(0, shape[1], shape[0])
            runs = [make(logits, target) for make in (cecli_run, *others.values())]
            best = best_times(runs, arguments.runs)
            own, *rest = (seconds / logits.size * 1e9 for seconds in best)
            cells = (f"{other / own:8.2f} [{other:5.1f}]" for other in rest)
            name = f"{shape[0]:,}x{shape[1]:,}"
            print(f"{name:>16} {np.dtype(dtype).name:>8} [{own:6.2f}]", *cells, flush=True)


if __name__ == "__main__":
    main()

"""How often a command does its work: run as a script, it prints a table of commands.

sweeps: passes over the blocks of rows. exact: rows whose results were correctly rounded. problems:
those that were checked; others are made of these without another check.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np

from cecli import cross_entropy
from cecli.exact.solve import Solver
from cecli.machine.blocks import each_block
from cecli.machine.compiled import kernel
from cecli.problem.problem import Block, Problem
from support.in_process import run

# z.npy: 4 samples of 3 classes; big.npy: 500 of 40, with a right and a wrong gradient.
COMMANDS = """\
softmax 1 2 3
loss 1 2 3 -t 0
loss 1 2 3 -t 0 --json
grad 1 2 3 -t 0
grad 1 2 3 -t 0 --json
grad 1 2 3 -t 0 --check
grad 1 2 3 -t 0 --exact
grad 1 2 3 -t 0 --exact --json --check
softmax z.npy
loss z.npy -t t.npy
loss z.npy -t t.npy --worst 2
grad z.npy -t t.npy
grad z.npy -t t.npy --json
grad z.npy -t t.npy -o g.npy
grad z.npy -t t.npy --check
grad z.npy -t t.npy --exact
grad z.npy -t t.npy --exact --json --check
grad z.npy -t t.npy --exact -o g.npy --dtype float16
grad z.npy -t t.npy --exact --weight 1,2,3
loss z.npy -t t.npy --worst 4 --exact
grad big.npy -t bigt.npy --json --no-arrays
loss big.npy -t bigt.npy --worst 5
compare 1 2 3 -t 0 --grad -1,0,0
compare z.npy -t t.npy --grad [[1,2,3],[1,2,3],[1,2,3],[1,2,3]] --exact
compare big.npy -t bigt.npy --grad right.npy
compare big.npy -t bigt.npy --grad wrong.npy
explain 1 2 3 -t 0
explain z.npy -t t.npy --sample 1 --weight 1,2,3
grad z.npy -t t.npy -o g.jsonl
grad z.npy -t t.npy --jsonl --exact""".splitlines()


@dataclass
class Counts:
    """How often each was done."""

    sweeps: int = 0
    exact: int = 0
    problems: int = 0


@contextlib.contextmanager
def counted() -> Iterator[Counts]:
    """Count what is done meanwhile."""
    counts = Counts()

    def counting(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*inputs: Any, **options: Any) -> Any:
            setattr(counts, name, getattr(counts, name) + 1)
            return work(*inputs, **options)

        return wrapped

    def solve(solver: Solver, block: Block) -> Any:
        counts.exact += len(block.kept)
        return own_solve(solver, block)

    own_solve = Solver.solve
    looks: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
    if kernel() is not None:  # all rows are looked at before decimal arithmetic, which takes long
        looks = mock.patch("cecli.machine.blocks.each_block", counting("sweeps", each_block))
    with (
        mock.patch("cecli.core.evaluate.each_block", counting("sweeps", each_block)),
        mock.patch("cecli.comparison.survey.each_block", counting("sweeps", each_block)),
        looks,
        mock.patch.object(Solver, "solve", solve),
        mock.patch.object(Problem, "of", counting("problems", Problem.of)),
    ):
        yield counts


def write_files() -> None:
    """The files of the commands, in the working directory."""
    random = np.random.default_rng(3)
    np.save("z.npy", random.normal(size=(4, 3)).astype(np.float32))
    np.save("t.npy", np.array([0, 2, 1, 1]))
    logits, target = random.normal(size=(500, 40)), random.integers(0, 40, 500)
    grad = cross_entropy(logits, target).grad
    for name, array in {"big": logits, "bigt": target, "right": grad, "wrong": -grad}.items():
        np.save(f"{name}.npy", array)


def counts_of(command: str) -> Counts:
    """What a command does, in this process."""
    with counted() as counts:
        run(*command.split())
    return counts


def table(commands: Sequence[str] = tuple(COMMANDS)) -> str:
    """A line for each command."""
    lines = [f"{'':66} sweeps  exact  problems"]
    for command in commands:
        counts = counts_of(command)
        lines.append(f"{command:66} {counts.sweeps:6} {counts.exact:6} {counts.problems:9}")
    return "\n".join(lines)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        write_files()
        print(table())  # noqa: T201 - a script whose output is printed

"""Rows in pairs of doubles, by the compiled kernel: results that are rounded rightly, or left open.

How it does that, and why what it settles is right, stands in `plan`. Without a kernel, and where
its bounds do not hold, all rows are open.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cecli.exact.plan import (
    DIGITS,
    NO_MASS,
    NUMBERS,
    ONE_HOT,
    SMOOTHED,
    SOFT,
    SUMS,
    PairWork,
    work_of,
)
from cecli.machine.compiled import Kernel, kernel
from cecli.problem.dtypes import Floats
from cecli.problem.problem import Block, Problem
from cecli.problem.wanted import RowArray


class PairRows(NamedTuple):
    """What a block's rows come to beside their arrays; NaN is open.

    numbers: (n,) each of NUMBERS. sums: (n, 3, 3), of each of SUMS h, l and their bound, all BIAS
    times as large. open (n,): the rows in which something is open; whole: those all of which is.
    """

    numbers: dict[str, Floats]
    sums: Floats
    open: NDArray[np.bool_]
    whole: NDArray[np.bool_]


class Pairs:
    """The kernel for the rows of one problem."""

    def __init__(self, kernel: Kernel, problem: Problem, work: PairWork) -> None:
        self._kernel, self._problem, self._work = kernel, problem, work

    def rows(self, block: Block, arrays: Mapping[RowArray, NDArray[Any]]) -> PairRows:
        """The results of a block's rows, those of the arrays in their places."""
        count = len(block.kept)
        numbers, sums = np.empty((count, len(NUMBERS))), np.empty((count, len(SUMS), 3))
        still_open, states = np.zeros(count, dtype=bool), np.empty(count, dtype=np.int64)
        inputs = {
            "logits": np.ascontiguousarray(block.logits),
            "kept": None if block.all_kept else np.ascontiguousarray(block.kept),
            "column": None if block.index is None else np.ascontiguousarray(block.index),
            "soft": None if block.soft is None else np.ascontiguousarray(block.soft, np.float64),
            "weight": self._problem.weight,
            "weights": None if block.weights is None else np.ascontiguousarray(block.weights),
            "numbers": numbers,
            "sums": sums,
            "open": states,
            "scratch": np.empty(self._kernel.exact_scratch_size(self._problem.classes)),
        }
        work = PairWork.from_buffer_copy(self._work)
        work.rows, work.logits_stride = block.logits.shape
        work.single = block.logits.dtype == np.float32
        for name, array in inputs.items():
            setattr(work, name, None if array is None else array.ctypes.data)
        for together in _passes(arrays):
            self._run(PairWork.from_buffer_copy(work), together)
            still_open |= states != 0
        return PairRows(
            {name: numbers[:, k] for k, name in enumerate(NUMBERS)},
            sums,
            still_open | np.isnan(sums).any(axis=(1, 2)),
            states < 0,
        )

    def _run(self, work: PairWork, arrays: Mapping[RowArray, NDArray[Any]]) -> None:
        # The kernel knows halves only as floats, of which a half is made without an error.
        halves = {a: np.empty(rows.shape, np.float32) for a, rows in arrays.items() if _is_half(a)}
        for array, rows in {**arrays, **halves}.items():
            setattr(work, array.name, rows.ctypes.data)
            setattr(work, f"{array.name}_digits", DIGITS[array.dtype.itemsize])
        self._kernel.run_exact(work)
        for array, rows in halves.items():
            with np.errstate(over="ignore"):  # what is too large for it is infinite
                arrays[array][...] = rows


def entropies(soft: Floats) -> Floats | None:
    """(n, 3) Σ −q log q of rows of probabilities, as the sums of `PairRows`; None: no kernel."""
    own = kernel()
    if own is None:
        return None
    soft, found = np.ascontiguousarray(soft, np.float64), np.empty((len(soft), 3))
    rows, classes = soft.shape
    scratch = np.empty(own.exact_scratch_size(classes))
    own.run_entropies(soft.ctypes.data, rows, classes, scratch.ctypes.data, found.ctypes.data)
    return found


def nothing(block: Block, arrays: Mapping[RowArray, NDArray[Any]]) -> PairRows:
    """Rows that are open as they are, but for ignored ones."""
    for array, rows in arrays.items():
        rows[...] = math.nan
        if array.name == "grad":
            rows[~block.kept] = 0.0
    count = len(block.kept)
    numbers = {name: np.full(count, math.nan) for name in NUMBERS}
    numbers["losses"][~block.kept] = 0.0
    return PairRows(numbers, np.full((count, 3, 3), math.nan), block.kept, block.kept)


def _is_half(array: RowArray) -> bool:
    return array.dtype.itemsize == 2


def _passes(arrays: Mapping[RowArray, NDArray[Any]]) -> list[dict[RowArray, NDArray[Any]]]:
    """The arrays, in as few groups as have each name once; at least one group, perhaps of none."""
    passes: list[dict[RowArray, NDArray[Any]]] = [{}]
    for array, place in arrays.items():
        for together in passes:
            if all(array.name != other.name for other in together):
                together[array] = place
                break
        else:
            passes.append({array: place})
    return passes


def pairs_for(problem: Problem, divisors: tuple[Fraction, Fraction]) -> Pairs | None:
    """The kernel for the rows of a problem; None where there is none, or its bounds do not hold."""
    own, objective = kernel(), problem.objective
    if own is None:
        return None
    given = [weights for weights in (problem.weight, problem.sample_weight) if weights is not None]
    extremes = [float(end) for weights in given for end in _extremes(weights)]
    work = work_of(
        classes=problem.classes,
        mass=_mass_of(problem),
        temperature=float(objective.temperature),
        softcap=None if objective.softcap is None else float(objective.softcap),
        z_loss=float(objective.z_loss),
        smoothing=float(objective.label_smoothing),
        divisors=divisors,
        weights=extremes if given else None,
    )
    if work is None:
        return None
    work.digits = DIGITS[problem.dtype.itemsize]
    return Pairs(own, problem, work)


def _extremes(weights: Floats) -> tuple[Any, Any]:
    """The smallest weight above 0, and the largest."""
    return weights.min(where=weights > 0.0, initial=1.0), weights.max(initial=0.0)


def _mass_of(problem: Problem) -> int:
    if not problem.has_target:
        return NO_MASS
    if not problem.indexed:
        return SOFT
    return SMOOTHED if problem.objective.label_smoothing else ONE_HOT

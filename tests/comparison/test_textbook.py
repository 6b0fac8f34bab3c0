"""The formulas on rows: reductions over few classes are those over many."""

from __future__ import annotations

import numpy as np
import pytest

from cecli.comparison.textbook import FEW_CLASSES, Textbook, over_classes, over_rows
from cecli.problem.objective import Objective
from cecli.problem.problem import Problem

RANDOM = np.random.default_rng(3)


@pytest.mark.parametrize("classes", [1, 2, 3, 7, FEW_CLASSES, FEW_CLASSES + 1])
def test_reductions_over_few_classes_are_numpys(classes: int) -> None:
    for shape in ((5, classes), (2, 4, classes), (0, classes)):
        numbers = RANDOM.normal(size=shape)
        numbers[numbers > 1.5] = np.nan
        for reduce in (np.maximum, np.minimum, np.add):
            wanted = reduce.reduce(numbers, axis=-1, keepdims=True)
            np.testing.assert_allclose(over_classes(reduce, numbers), wanted, 1e-12, 1e-14)
    some = RANDOM.random((6, classes)) < 0.5
    for logical in (np.logical_or, np.logical_and):
        assert np.array_equal(over_classes(logical, some)[:, 0], logical.reduce(some, axis=1))
        assert np.array_equal(over_rows(logical, some), logical.reduce(some, axis=0))
        assert np.array_equal(over_rows(logical, some[:0]), logical.reduce(some[:0], axis=0))


@pytest.mark.parametrize("shape", [(6,), (2, 3), (1, 4), (4, 1)])
def test_neighbours_are_those_of_the_targets(shape: tuple[int, ...]) -> None:
    target = RANDOM.integers(0, 9, shape)
    problem = Problem.of(RANDOM.normal(size=(*shape, 9)), target, Objective())
    batch = Textbook(problem).rows(np.arange(target.size)[1:])
    flat = target.reshape(-1)
    for name, wanted in (
        ("index", flat),
        ("before", np.roll(flat, 1)),
        ("after", np.roll(flat, -1)),
        ("previous", np.roll(target, 1, axis=-1).reshape(-1)),
        ("following", np.roll(target, -1, axis=-1).reshape(-1)),
        ("position", np.indices(shape)[-1].reshape(-1)),
    ):
        assert np.array_equal(getattr(batch, name), wanted[1:]), name

"""Numerical gradients as they are usually taken: differences of the loss in double precision."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np

from cecli.api import softmax_of
from cecli.core.evaluate import losses_of
from cecli.gradcheck.bounds import Tolerances, tolerances_of
from cecli.gradcheck.differences import Cost, Differences
from cecli.machine.rational import RationalRow
from cecli.problem.dtypes import Floats, Integers
from cecli.problem.objective import Objective
from cecli.problem.problem import Problem

LARGEST_BLOCK = 2**21


class FloatDifferences(Differences):
    """Central or forward differences in double precision, as they are usually taken."""

    def __init__(self, problem: Problem, step: float, order: int, dtype: np.dtype[Any]) -> None:
        super().__init__(problem, step, order, dtype)
        # Measured: two losses of a row take about 60 ns a class.
        self.cost = Cost(row=1e-3, component=2e-6 + 60e-9 * problem.classes)

    def numeric_row(self, number: int, columns: Integers) -> tuple[list[Decimal], Tolerances]:
        """As `Differences.numeric_row`."""
        problem, row = self.problem, self.rational_row(number)
        block = max(1, LARGEST_BLOCK // problem.classes)
        numeric, losses = [], []
        for start in range(0, len(columns), block):
            part = columns[start : start + block]
            above = self._moved_losses(row, number, part, self.step)
            below = self._moved_losses(row, number, part, -self.step if self.order == 2 else 0.0)
            numeric += ((above - below) / (self.order * self.step)).tolist()
            losses += np.maximum(np.abs(above), np.abs(below)).tolist()
            self._worked(len(part) * self.cost.component)
        logits, top = problem.rows[number], problem.rows[number].argmax()
        own = Objective(temperature=float(row.temperature), softcap=row.softcap)
        probabilities = softmax_of(Problem.of(logits, None, own))
        beside = 1.0 - probabilities
        beside[top] = np.delete(probabilities, top).sum()
        p, q = (list(map(Decimal, all_[columns].tolist())) for all_ in (probabilities, beside))
        tolerances = tolerances_of(
            row, p, q, self.step, self.order, self.dtype, columns, np.array(losses)
        )
        return [Decimal(value) for value in numeric], tolerances

    def _moved_losses(
        self, row: RationalRow, number: int, columns: Integers, step: float
    ) -> Floats:
        """(components,) what the row adds to the reduced loss where one logit each is moved."""
        moved = np.tile(self.problem.rows[number], (len(columns), 1))
        moved[np.arange(len(columns)), columns] += step
        target = self.problem.target_rows[number : number + 1]
        objective = replace(
            self.problem.objective,
            reduction="none",
            ignore_index=None,
            sample_weight=None,
            divisor=None,
            axis=-1,
        )
        losses, z_losses = losses_of(
            Problem.of(moved, np.repeat(target, len(columns), axis=0), objective)
        )
        own = float(row.weight)
        return own * losses / float(row.divisor) + own * z_losses / float(row.z_divisor)

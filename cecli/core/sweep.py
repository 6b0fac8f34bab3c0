"""A problem worked through once, block by block: arrays, losses and what is counted of the rows.

What a block comes to is handed on when the blocks before it were, and is forgotten: a batch may be
larger than memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cecli.core.grouped_sum import GroupedSum
from cecli.core.rows import grad_rows, log_softmax_rows, loss_rows, softmax_rows, z_loss_rows
from cecli.core.shifted import Shifted, shift
from cecli.core.tally import Tally, empty_tally, tally_of
from cecli.core.target import Mass, mass_of
from cecli.machine.blocks import each_block
from cecli.problem.dtypes import Floats
from cecli.problem.objective import Objective
from cecli.problem.problem import Block, Problem

ArrayName = Literal["softmax", "log_softmax", "grad"]


@dataclass(frozen=True, eq=False)
class Wanted:
    """What is asked of each row.

    array: its row of which array, in the problem's dtype. into: the whole array (N, C) that the
    rows are stored in; without one each block has its own. losses: whether it has a target. worst:
    how many of the highest losses are told; None counts nothing.
    """

    array: ArrayName | None = None
    into: NDArray[Any] | None = None
    losses: bool = True
    worst: int | None = None


@dataclass(frozen=True, eq=False)
class Part:
    """What a block's rows come to; None for what was not asked for.

    start, stop: the first of them and the one behind the last. losses (N,): their cross-entropy,
    divided by nothing. z_losses (N,): likewise, where there is a z-loss. plain (N,): the
    cross-entropy without weights and smoothing, where there are any. array (N, C). tally: of the N
    rows.
    """

    start: int
    stop: int
    losses: Floats | None = None
    z_losses: Floats | None = None
    plain: Floats | None = None
    array: NDArray[Any] | None = None
    tally: Tally | None = None

    @property
    def total(self) -> Floats:
        """(N,) cross-entropy and z-loss together."""
        if self.losses is None:
            raise ValueError("no losses were asked for")
        return self.losses if self.z_losses is None else self.losses + self.z_losses


def sweep(problem: Problem, wanted: Wanted, jobs: int | None = None) -> Iterator[Part]:
    """The parts of a problem, one for each block, in the order of the rows."""
    unweighted = problem.unweighted()
    if wanted.losses:
        _ = problem.divisor  # what is wrong with it is said before anything is computed

    def work(block: Block) -> Part:
        with np.errstate(all="ignore"):
            return _part_of(block, wanted, unweighted)

    return each_block(problem, work, jobs)


def _part_of(block: Block, wanted: Wanted, unweighted: Problem) -> Part:
    shifted, z_loss = shift(block), block.problem.objective.z_loss
    part = Part(block.start, block.start + len(block.kept))
    mass = mass_of(block) if wanted.losses else None
    if wanted.array is not None:
        place = _place_for(block, wanted.into)
        _store_rows(wanted.array, shifted, mass, block.problem, place)
        part = replace(part, array=place)
    if mass is not None:
        losses = loss_rows(shifted, mass)
        z_losses = z_loss_rows(shifted, z_loss) if z_loss else None
        part = replace(part, losses=losses, z_losses=z_losses)
    if wanted.worst is None or mass is None:
        return part
    plain = None
    if _changes_losses(block.problem.objective):
        plain = loss_rows(shifted, mass_of(replace(block, problem=unweighted)))
    return replace(part, plain=plain, tally=tally_of(block, part.total, wanted.worst))


def _changes_losses(objective: Objective) -> bool:
    return objective.weight is not None or bool(objective.label_smoothing)


def _place_for(block: Block, into: NDArray[Any] | None) -> NDArray[Any]:
    """Where the rows of a block are stored."""
    if into is None:
        return np.empty(block.logits.shape, dtype=block.problem.dtype)
    return into[block.start : block.start + len(block.kept)]


def _store_rows(
    name: ArrayName, shifted: Shifted, mass: Mass | None, problem: Problem, place: NDArray[Any]
) -> None:
    """Store an array's rows in place."""
    if name == "softmax":
        softmax_rows(shifted, place)
    elif name == "log_softmax":
        log_softmax_rows(shifted, place)
    elif mass is None:
        raise ValueError("a gradient needs a target, as the losses do")
    else:
        grad_rows(shifted, mass, problem, place)


class Totals:
    """What the parts of a problem come to together.

    losses, z_losses, plain: Σ over the rows; plain without weights and smoothing. tally: of all
    rows, with as many of the highest losses as worst says.
    """

    def __init__(self, worst: int) -> None:
        self.losses, self.z_losses, self._plain = GroupedSum(), GroupedSum(), GroupedSum()
        self.tally, self.worst = empty_tally(), worst
        self.plain = self.losses

    def add(self, part: Part) -> None:
        """Take the part of the rows that follow."""
        if part.losses is not None:
            self.losses.add(part.losses)
        if part.z_losses is not None:
            self.z_losses.add(part.z_losses)
        if part.plain is not None:
            self.plain = self._plain
            self.plain.add(part.plain)
        if part.tally is not None:
            self.tally = self.tally.merged(part.tally, self.worst)

    def extend(self, later: Totals, start: int) -> None:
        """Take the totals of the rows that follow, from start on, which they count from 0.

        The rows up to start make whole groups of those that are summed first.
        """
        self.losses.extend(later.losses)
        self.z_losses.extend(later.z_losses)
        if later.plain is not later.losses:
            self.plain = self._plain
            self.plain.extend(later.plain)
        self.tally = self.tally.merged(later.tally.shifted(start), self.worst)


def totals_of(problem: Problem, worst: int = 0) -> Totals:
    """The totals of all rows."""
    totals = Totals(worst)
    for part in sweep(problem, Wanted(worst=worst)):
        totals.add(part)
    return totals

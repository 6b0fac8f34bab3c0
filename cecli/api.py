"""Softmax, log-softmax, cross-entropy and its gradient: arrays in, arrays out.

The functions of the library, which choose between the two arithmetics: in doubles (`core`), and
correctly rounded (`exact`). The rules for what may be asked stand in `problem`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cecli.core.evaluate import part_of, sweep
from cecli.core.probabilities import From, logits_from
from cecli.core.totals import Part, Tally, Totals, tally_of
from cecli.errors import CecliError
from cecli.machine.blocks import check_rows, each_block
from cecli.machine.float_mode import in_standard_mode
from cecli.problem.dtypes import Floats, result_dtype
from cecli.problem.objective import Objective, Reduction
from cecli.problem.problem import Block, Problem
from cecli.problem.wanted import RowArray, RowsName, Wanted

if TYPE_CHECKING:
    from cecli.exact.solve import Solver
    from cecli.exact.sums import ExactSums, RowSums

SMALLEST_DIVISOR, LARGEST_DIVISOR = 2.0**-900, 2.0**900


@in_standard_mode
def softmax(
    logits: ArrayLike,
    *,
    temperature: float = 1.0,
    softcap: float | None = None,
    from_: From = "logits",
    axis: int = -1,
    exact: bool = False,
) -> NDArray[Any]:
    """The softmax, ŷ_i = e^{z_i} / Σ_j e^{z_j}, every component within 4 ulps of the exact value.

    Args:
        logits: real numbers of shape (…, C, …), the classes on ``axis``; −inf masks a class.
        temperature: the logits are divided by it.
        softcap: before that z becomes softcap·tanh(z/softcap); None leaves it.
        from_: what the numbers are: "logits", "probabilities" or "log-probabilities", of which
            log ŷ are the logits.
        axis: the dimension of the classes.
        exact: whether every component is correctly rounded.

    Returns:
        An array of the logits' shape; float32 for half and single precision input, else float64.
        Its bits are the same on every machine.

    Raises:
        CecliError: for NaN, +inf, a sample of nothing but −inf, or no classes.

    Examples:
        >>> import cecli
        >>> cecli.softmax([2.0, 1.0, 0.1])
        array([0.65900114, 0.24243297, 0.09856589])
        >>> cecli.softmax([[800.0, 0.0], [1.0, 1.0]], temperature=100)
        array([[9.9966465e-01, 3.3535013e-04],
               [5.0000000e-01, 5.0000000e-01]])
    """
    objective = Objective(temperature=temperature, softcap=softcap, axis=axis)
    problem = Problem.of(logits_from(logits, from_, axis), None, objective)
    return softmax_of(problem, exact=exact)


@in_standard_mode
def log_softmax(
    logits: ArrayLike,
    *,
    temperature: float = 1.0,
    softcap: float | None = None,
    from_: From = "logits",
    axis: int = -1,
    exact: bool = False,
) -> NDArray[Any]:
    """The logarithm of the softmax, without ever taking the logarithm of ŷ.

    log ŷ_i = (z_i − m) − log Σ_j e^{z_j − m}, with m the largest logit.

    Args:
        logits, temperature, softcap, from_, axis, exact: as for `softmax`.

    Returns:
        An array as `softmax` returns it; a masked class has −inf.

    Raises:
        CecliError: as `softmax` does.

    Examples:
        >>> import cecli
        >>> cecli.log_softmax([40.0, 0.0])
        array([-4.24835426e-18, -4.00000000e+01])
    """
    objective = Objective(temperature=temperature, softcap=softcap, axis=axis)
    problem = Problem.of(logits_from(logits, from_, axis), None, objective)
    return log_softmax_of(problem, exact=exact)


@in_standard_mode
def cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    temperature: float = 1.0,
    softcap: float | None = None,
    z_loss: float = 0.0,
    sample_weight: ArrayLike | None = None,
    divisor: float | None = None,
    from_: From = "logits",
    axis: int = -1,
    exact: bool = False,
    keep_logits: bool = True,
) -> CrossEntropy:
    """Softmax cross-entropy: the loss L = −Σ_i y_i log ŷ_i and its gradient ∂L/∂z.

    For class indices the loss is within 3 ulps and every component of softmax and gradient within
    4 ulps of the exact result; for soft targets and smoothing a component of the gradient is within
    4 ulps of the larger of Yŷ_i and y_i, with Y = Σ_i y_i.

    Args:
        logits: real numbers of shape (…, C, …), the classes on ``axis``; −inf masks a class.
        target: class indices (integers of the batch's shape) or class probabilities (floats of
            the logits' shape), told apart by their type as in PyTorch.
        weight: a weight for each class, (C,), as in PyTorch.
        ignore_index: samples with this target do not count: their loss and gradient are 0 and
            their softmax NaN, whatever their logits hold.
        label_smoothing: the share of the target, 0 to 1, that is spread over all classes.
        reduction: "mean", whose divisor is PyTorch's; "sum"; or "none", whose gradient is that of
            the sum.
        temperature, softcap, from_: as for `softmax`.
        z_loss: adds z_loss·logsumexp² for each sample.
        sample_weight: of the batch's shape, multiplies all that a sample adds. One of 0 does not
            count, whatever the sample holds, and the mean divides by the sum of all.
        divisor: what the mean divides by instead, as a global count of tokens.
        axis: the dimension of the classes.
        exact: whether every number is correctly rounded.
        keep_logits: whether the result has a copy of the logits, to give softmax and log_softmax
            when they are asked for. Without it asking is an error, and a large batch takes about
            half the memory and two thirds of the time.

    Returns:
        CrossEntropy: with ``.loss``, ``.grad``, ``.softmax``, ``.log_softmax``, ``.losses``,
        ``.log_sum_exp`` and ``.divisor``.

    Raises:
        CecliError: for whatever cannot be computed: NaN and +inf, a target out of range, shapes
            that do not agree, a mean over no samples.

    See Also:
        explain: how the gradient follows from the logits.
        check_gradient: finite differences of the loss.
        compare: what is wrong with somebody's gradient or loss.

    Examples:
        >>> import cecli
        >>> result = cecli.cross_entropy([2.0, 1.0, 0.1], 0)
        >>> result.loss
        0.4170300162778335
        >>> result.grad
        array([-0.34099886,  0.24243297,  0.09856589])

        A batch, whose gradient is divided by the number of samples:

        >>> result = cecli.cross_entropy([[2.0, 1.0, 0.1], [0.5, -1.0, 3.0]], [0, 2])
        >>> result.losses
        array([0.41703002, 0.09567433])
        >>> result.loss, result.divisor
        (0.2563521728461079, 2.0)

        A soft target, smoothed:

        >>> cecli.cross_entropy([2.0, 1.0, 0.1], [0.7, 0.2, 0.1], label_smoothing=0.1).loss
        0.8646966829445002
    """
    if target is None:
        raise CecliError("a target is needed: class indices or class probabilities", about="target")
    objective = Objective(
        weight=weight,
        ignore_index=ignore_index,
        label_smoothing=label_smoothing,
        reduction=reduction,
        temperature=temperature,
        softcap=softcap,
        z_loss=z_loss,
        sample_weight=sample_weight,
        divisor=divisor,
        axis=axis,
    )
    problem = Problem.of(logits_from(logits, from_, axis), target, objective)
    return solve(problem, exact=exact, keep_logits=keep_logits)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class CrossEntropy:
    """What `cross_entropy` returns: numbers of its own, whatever becomes of the arrays given.

    softmax, log_softmax, grad: arrays of the logits' shape; float32 for half and single precision
    input, else float64. losses, log_sum_exp: float64, one for each sample, in the batch's shape;
    the latter is log Σ_j e^{v_j} of the logits after softcap and temperature, within 2 ulps of the
    larger of its parts max_j v_j and log Σ_j e^{v_j − max}, and NaN for an ignored sample. loss:
    the reduced loss, a double, or losses again for reduction none. divisor: what the mean divided
    by (None for reduction none); z_loss_divisor: the same for the z-loss term.
    """

    losses: Floats
    loss: float | Floats
    grad: NDArray[Any]
    log_sum_exp: Floats
    divisor: float | None
    z_loss_divisor: float | None
    # Both arrays, or the logits to make them of: who wants neither does not wait. Or nothing.
    _arrays: Mapping[RowsName, NDArray[Any]] | Problem | None
    _axis: int

    @cached_property
    def softmax(self) -> NDArray[Any]:
        """ŷ, of the logits' shape."""
        return self._array("softmax")

    @cached_property
    def log_softmax(self) -> NDArray[Any]:
        """log ŷ, of the logits' shape."""
        return self._array("log_softmax")

    def _array(self, name: RowsName) -> NDArray[Any]:
        if self._arrays is None:
            raise CecliError(f"{name} was not kept: cross_entropy with keep_logits=True has it")
        if not isinstance(self._arrays, Problem):
            return self._arrays[name]
        array = _array_of(self._arrays, name, exact=False)
        array[np.isnan(self.log_sum_exp)] = np.nan
        return np.ascontiguousarray(np.moveaxis(array, -1, self._axis))

    def __repr__(self) -> str:
        """The loss and what it was divided by, and what arrays there are."""
        batch, logits = (f"{array.dtype} {array.shape}" for array in (self.losses, self.grad))
        z_divisor = "" if self.z_loss_divisor is None else f", the z-loss's {self.z_loss_divisor!r}"
        reduced = f"loss {self.loss!r}, divisor {self.divisor!r}{z_divisor}"
        if self.divisor is None:
            reduced = "loss of each sample, not reduced"
        names = "grad" if self._arrays is None else "softmax, log_softmax, grad"
        return f"CrossEntropy: {reduced}\n  losses, log_sum_exp: {batch}\n  {names}: {logits}"

    def _repr_html_(self) -> str:
        """The same with the first rows, for a notebook."""
        from cecli.text.notebook import part_of_batch, part_of_sample

        if not self.losses.ndim:
            softmax = None if self._arrays is None else self.softmax
            return part_of_sample(repr(self), softmax, self.grad)
        rows = np.moveaxis(self.grad, self._axis, -1)
        rows = rows.reshape(-1, rows.shape[-1])
        return part_of_batch(repr(self), self.losses, self.log_sum_exp, rows)


def solve(problem: Problem, *, exact: bool = False, keep_logits: bool = True) -> CrossEntropy:
    """`cross_entropy` of a problem that is checked already."""
    return solve_and_count(problem, None, exact=exact, keep_logits=keep_logits)[0]


def solve_and_count(
    problem: Problem, worst: int | None, *, exact: bool = False, keep_logits: bool = True
) -> tuple[CrossEntropy, Pass]:
    """The same with what is counted of the rows: worst as in `Wanted`."""
    shape = problem.samples, problem.classes
    exact = exact or needs_exact_sums(problem)
    names: list[RowsName] = ["grad"]
    logits = None
    if keep_logits and exact:
        names += ["softmax", "log_softmax"]
    elif keep_logits:
        logits = np.empty(shape, result_dtype(problem.given.dtype))
    rows = {name: np.empty(shape, problem.dtype) for name in names}
    each, log_sum_exp = np.empty(problem.samples), np.empty(problem.samples)
    wanted = Wanted(
        {RowArray(name, problem.dtype): array for name, array in rows.items()},
        log_sum_exp=True,
        logits=logits,
        worst=worst,
    )
    run = Pass(problem, wanted, exact=exact)
    for part in run:
        each[part.start : part.stop] = part.total
        log_sum_exp[part.start : part.stop] = part.log_sum_exp
    losses, loss = each.reshape(problem.batch_shape), run.loss
    arrays = {name: problem.restore(array) for name, array in rows.items()}
    objective = problem.objective
    later: Mapping[RowsName, NDArray[Any]] | Problem | None = arrays if keep_logits else None
    if logits is not None:
        plain = Objective(temperature=objective.temperature, softcap=objective.softcap)
        own = logits.reshape(*problem.batch_shape, problem.classes)
        later = Problem(own, None, plain, None, problem.dtype)
    result = CrossEntropy(
        losses=losses,
        loss=losses if loss is None else loss,
        grad=arrays["grad"],
        log_sum_exp=log_sum_exp.reshape(problem.batch_shape),
        divisor=problem.divisor,
        z_loss_divisor=problem.z_loss_divisor if objective.z_loss else None,
        _arrays=later,
        _axis=objective.axis,
    )
    return result, run


def softmax_of(problem: Problem, *, exact: bool = False) -> NDArray[Any]:
    """`softmax` of a problem that is checked already."""
    return _array_of(problem, "softmax", exact=exact)


def log_softmax_of(problem: Problem, *, exact: bool = False) -> NDArray[Any]:
    """`log_softmax` of a problem that is checked already."""
    return _array_of(problem, "log_softmax", exact=exact)


def _array_of(problem: Problem, name: RowsName, *, exact: bool) -> NDArray[Any]:
    array = np.empty((problem.samples, problem.classes), dtype=problem.dtype)
    wanted = Wanted({RowArray(name, problem.dtype): array}, losses=False)
    deque(Pass(problem, wanted, exact=exact), maxlen=0)
    return problem.restore(array)


def needs_exact_sums(problem: Problem) -> bool:
    """Whether losses times their weights leave the doubles, though what they come to does not.

    That of a mean over weights next to overflow, or so small that nothing is left of a loss.
    """
    divisor = problem.divisor if problem.has_target else None
    return divisor is not None and not SMALLEST_DIVISOR <= divisor <= LARGEST_DIVISOR


class Pass:
    """One pass over the rows of a problem in either arithmetic, and what they come to together.

    Iterated over, once, it gives the parts of the problem block by block; the rest is there then.
    jobs: threads, default one a core. totals, sums: of the rows, where these were taken elsewhere;
    sums: unrounded, of a pass that is exact, or those that its rows are added to.
    """

    def __init__(
        self,
        problem: Problem,
        wanted: Wanted,
        *,
        exact: bool = False,
        jobs: int | None = None,
        totals: Totals | None = None,
        sums: ExactSums | None = None,
    ) -> None:
        self.problem, self.wanted = problem, wanted
        self.exact = exact or sums is not None or (wanted.losses and needs_exact_sums(problem))
        self.totals = totals or Totals(wanted.worst or 0)
        self._jobs, self._sums = jobs, sums
        if self.exact and sums is None:
            from cecli.exact.sums import ExactSums

            self._sums = ExactSums(problem)

    def __iter__(self) -> Iterator[Part]:
        if self._sums is not None:
            yield from self._exact_parts()
            return
        for part in sweep(self.problem, self.wanted, self._jobs):
            self.totals.add(part)
            yield part

    def _exact_parts(self) -> Iterator[Part]:
        if self.wanted.losses:
            _ = self.problem.divisors
        solver = self._solver
        if self.takes_long:
            check_rows(self.problem, self._jobs)  # before work on those above a bad one
        blocks = each_block(
            self.problem, self.solve_block, solver.jobs(self._jobs), most_bytes=solver.most_bytes()
        )
        for solved in blocks:
            yield self.take(solved)

    @cached_property
    def _solver(self) -> Solver:
        from cecli.exact.solve import Solver

        if self._sums is None:
            raise ValueError("the pass is one in doubles")
        return Solver(self.problem, self.wanted, self._sums.divisors)

    @property
    def takes_long(self) -> bool:
        """Whether it is one in decimal arithmetic, row by row."""
        return self._sums is not None and self._solver.takes_long

    @cached_property
    def _in_doubles(self) -> Callable[[Block], Part]:
        return part_of(self.problem, self.wanted)

    def solve_block(self, block: Block) -> tuple[Part, RowSums | None]:
        """A checked block, which whoever goes over them hands to `take`.

        Threads may do this at the same time.
        """
        if self._sums is None:
            return self._in_doubles(block), None
        rows, sums = self._solver.solve(block)
        worst = self.wanted.worst
        part = Part(
            block.start,
            block.start + len(rows.losses),
            losses=rows.losses,
            log_sum_exp=rows.log_sum_exp,
            arrays=rows.arrays,
            tally=None if worst is None else tally_of(block, rows.losses, worst),
            predictions=rows.predictions,
            first_rows=rows.first_rows,
        )
        return part, sums

    def take(self, solved: tuple[Part, RowSums | None]) -> Part:
        """Add what a block came to, in the order of the blocks."""
        part, sums = solved
        if self._sums is not None and sums is not None:
            self._sums.add(sums)
        self.totals.add(part)
        return part

    @property
    def tally(self) -> Tally:
        """What was counted of the rows."""
        return self.totals.tally

    @property
    def loss(self) -> float | None:
        """The reduced loss; None for reduction none."""
        if self.problem.divisor is None:
            return None
        if self._sums is not None:
            return self._sums.loss()
        return self.totals.loss(self.problem.divisors)

    @property
    def kl(self) -> float | None:
        """The mean KL(q‖ŷ), without weights and smoothing, of soft targets that are counted."""
        problem = self.problem
        is_soft = problem.has_target and not problem.indexed and self.wanted.losses
        if not is_soft or not problem.kept_count or self.wanted.worst is None:
            return None
        return self.totals.kl(problem.kept_count) if self._sums is None else self._sums.kl()

    @property
    def perplexity_and_bits(self) -> tuple[float, float]:
        """e to the mean cross-entropy without weights and smoothing, and that mean in bits."""
        if self._sums is not None:
            return self._sums.perplexity_and_bits()
        return self.totals.perplexity_and_bits(self.problem.kept_count)

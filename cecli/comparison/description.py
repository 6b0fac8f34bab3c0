"""Errors that no known mistake explains: where they are, and what they are proportional to.

Each statement is true of the numbers whatever caused them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cecli.comparison.evidence import Evidence
from cecli.problem.dtypes import Floats, Integers

MOST_NAMED = 8
SMALLEST_BLOCK = 4
PROPORTIONAL = 1e-2


def describe(evidence: Evidence) -> tuple[str, ...]:
    """Lines on the rows, the classes and the proportions of what is off."""
    candidate, exact = evidence.candidate.values, evidence.exact
    with np.errstate(all="ignore"):
        error = candidate - exact
        off = ~((np.abs(error) <= evidence.allowance.total) | (candidate == exact))
        lines = []
        if not np.isfinite(candidate).all():
            broken = np.flatnonzero(~np.isfinite(candidate).all(axis=1))
            lines.append(f"not finite in rows {_listed(broken)}" if len(off) > 1 else "not finite")
        lines.append(_where(evidence, off))
        if np.isfinite(error).all():
            lines += _proportions(evidence, error)
            lines += _sums(evidence)
    return tuple(lines)


def rows_text(rows: Integers, kept: NDArray[np.bool_]) -> str:
    """Which rows: the ignored ones, the last ones, or by their numbers."""
    samples = len(kept)
    if not kept[rows].any():
        return "the ignored ones" if len(rows) == (~kept).sum() else "some of the ignored ones"
    start = int(rows[0])
    if len(rows) == samples - start and start:
        block = start & -start
        text = (
            f"the last {len(rows):,}, from row {start:,} on"
            if len(rows) > 1
            else (f"the last one, row {start:,}")
        )
        if block == start and block >= SMALLEST_BLOCK:
            text += ", a power of two"
        elif block >= SMALLEST_BLOCK:
            text += f", a multiple of {block}, as a kernel's last block begins"
        return text
    return f"{len(rows):,} of {samples:,}, namely {_listed(rows)}"


def _listed(numbers: Integers) -> str:
    if len(numbers) > 2 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"{numbers[0]:,} to {numbers[-1]:,}"
    named = ", ".join(f"{number:,}" for number in numbers[:MOST_NAMED].tolist())
    return named + (", …" if len(numbers) > MOST_NAMED else "")


def _where(evidence: Evidence, off: NDArray[np.bool_]) -> str:
    """In which classes: the targets' only, all but these, or by their numbers."""
    batch = evidence.batch
    if off.all():
        return "every component is off"
    if batch.index is not None:
        at_target = batch.one_hot(batch.index) == 1.0
        if not off[~at_target].any():
            return "off only at the target's class"
        if not off[at_target].any():
            return "right at the target's class, off at others"
    classes = np.flatnonzero(off.any(axis=0))
    if len(classes) < batch.classes:
        return f"off only in {'classes' if len(classes) > 1 else 'class'} {_listed(classes)}"
    return f"off in {int(off.sum()):,} of {off.size:,} components, in every class"


def _proportions(evidence: Evidence, error: Floats) -> list[str]:
    """What the error is proportional to, and whether each row has a factor of its own."""
    batch, exact = evidence.batch, evidence.exact
    lines = []
    patterns = {
        "the softmax": batch.softmax,
        "the target": batch.target,
        "the exact gradient": exact,
        "p(1 − p)": batch.softmax * (1.0 - batch.softmax),
        "p²": batch.softmax**2,
        "the logits": batch.logits,
        "1: the same is added everywhere": np.ones_like(exact),
    }
    for name, pattern in patterns.items():
        factor = _factor(error, np.where(batch.kept, pattern, 0.0))
        if factor is not None and error.size > 2:
            lines.append(f"the error is about {factor:.4g} times {name}")
            break
    factors = (evidence.candidate.values * exact).sum(axis=1) / (exact * exact).sum(axis=1)
    if len(exact) > 1 and exact.shape[1] > 2 and np.isfinite(factors).all():
        left = evidence.candidate.values - factors[:, None] * exact
        if np.abs(left).max() <= PROPORTIONAL * np.abs(error).max():
            low, high = factors.min(), factors.max()
            lines.append(f"each row is right but for a factor of its own, {low:.4g} to {high:.4g}")
    return lines


def _sums(evidence: Evidence) -> list[str]:
    """Whether the rows sum to 0 as they should, where neither z-loss nor softcap is in the way."""
    batch = evidence.batch
    if batch.z_loss or batch.softcap is not None or batch.classes < 2:
        return []
    off = np.abs(evidence.candidate.values.sum(axis=1)) - evidence.allowance.total.sum(axis=1)
    rows = np.flatnonzero(off > 0.0)
    if not len(rows):
        return ["every row sums to 0, as it should"]
    largest = float(np.abs(evidence.candidate.values[rows].sum(axis=1)).max())
    count = "the components do" if len(off) == 1 else f"{len(rows):,} of {len(off):,} rows do"
    return [f"{count} not sum to 0 as they should: up to {largest:.2g}"]


def _factor(error: Floats, pattern: Floats) -> float | None:
    """The factor of a pattern that leaves next to nothing of the error."""
    square = float((pattern * pattern).sum())
    if not square or not np.isfinite(square):
        return None
    factor = float((error * pattern).sum()) / square
    left = np.abs(error - factor * pattern).max()
    return factor if left <= PROPORTIONAL * np.abs(error).max() else None

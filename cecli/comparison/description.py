"""Errors that no known mistake explains: where they are, and what they are proportional to.

Each statement is true of the numbers whatever caused them: where they are of all of them, what they
are like of those that were looked at, which are said to be some where they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cecli.comparison.evidence import Evidence
from cecli.problem.dtypes import Floats, Integers

if TYPE_CHECKING:
    from cecli.comparison.structure import Facts

MOST_NAMED = 8
SMALLEST_BLOCK = 4
PROPORTIONAL = 1e-2


def describe(evidence: Evidence, facts: Facts) -> tuple[str, ...]:
    """Lines on the rows, the classes and the proportions of what is off."""
    lines = []
    if facts.broken_rows.any():
        broken = np.flatnonzero(facts.broken_rows)
        many = len(facts.off_rows) > 1
        lines.append(f"not finite in rows {_listed(broken)}" if many else "not finite")
    off = np.flatnonzero(facts.off_rows)
    some = 0 < len(off) < len(facts.kept)
    if some and (len(off) < np.count_nonzero(facts.kept) or not facts.kept[off].all()):
        lines.append(f"only some rows are off: {rows_text(off, facts.kept)}")
    lines.append(_where(evidence, facts))
    error = evidence.values - evidence.right
    if np.isfinite(error).all():
        of = "" if len(evidence.right) == len(facts.off_rows) else "of the rows looked at, "
        lines += [of + line for line in (*_proportions(evidence, error), *_sums(evidence))]
    return tuple(lines)


def rows_text(rows: Integers, kept: NDArray[np.bool_]) -> str:
    """Which rows: the ignored ones, the last ones, or by their numbers."""
    samples = len(kept)
    if not kept[rows].any():
        return "the ignored ones" if len(rows) == (~kept).sum() else "some of the ignored ones"
    start = int(rows[0])
    if len(rows) == samples - start and start:
        last = (
            f"the last {len(rows):,}, from row {start:,} on"
            if len(rows) > 1
            else f"the last one, row {start:,}"
        )
        return last + _block_text(start)
    return f"{len(rows):,} of {samples:,}, namely {_listed(rows)}"


def classes_text(classes: NDArray[np.bool_], off: NDArray[np.bool_], what: str) -> str:
    """Which classes are what, (C,), and the size of a block that would leave them out.

    off: where that makes a difference.
    """
    count, wrong = len(classes), np.flatnonzero(classes & off)
    first, last = int(wrong[0]), int(wrong[-1])
    if not classes[first : last + 1].all():
        return f"Classes {_listed(wrong)} are {what}"
    if not classes[first:].all() or not first:
        subject = f"Class {first:,} is" if first == last else f"Classes {first:,} to {last:,} are"
        return f"{subject} {what}"
    subject = f"The last {count - first:,} classes, from {first:,} on, are"
    if first == count - 1:
        subject = f"The last class, {first:,}, is"
    size = 1 << (count - first).bit_length()
    if first % size == 0:
        return f"{subject} {what}, the tail of blocks of {size:,}"
    if first >= SMALLEST_BLOCK and first & (first - 1) == 0:
        return f"{subject} {what}, all behind a first block of {first:,}"
    return f"{subject} {what}"


def _block_text(start: int) -> str:
    block = start & -start
    if block < SMALLEST_BLOCK:
        return ""
    if block == start:
        return ", a power of two"
    return f", a multiple of {block}, as a kernel's last block begins"


def _listed(numbers: Integers) -> str:
    if len(numbers) > 2 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"{numbers[0]:,} to {numbers[-1]:,}"
    named = ", ".join(f"{number:,}" for number in numbers[:MOST_NAMED].tolist())
    return named + (", …" if len(numbers) > MOST_NAMED else "")


def _where(evidence: Evidence, facts: Facts) -> str:
    """In which classes: the targets' only, all but these, or by their numbers."""
    total = len(facts.off_rows) * len(facts.off_classes)
    if facts.off == total:
        return "every component is off"
    if evidence.batch.index is not None:
        if facts.off == facts.off_at_target:
            return "off only at the target's class"
        if not facts.off_at_target:
            return "right at the target's class, off at others"
    classes = np.flatnonzero(facts.off_classes)
    if len(classes) < len(facts.off_classes):
        return f"off only in {'classes' if len(classes) > 1 else 'class'} {_listed(classes)}"
    return f"off in {facts.off:,} of {total:,} components, in every class"


def _proportions(evidence: Evidence, error: Floats) -> list[str]:
    """What the error is proportional to, and whether each row has a factor of its own."""
    batch, right = evidence.batch, evidence.right
    lines = []
    patterns = {
        "the softmax": batch.softmax,
        "the target": batch.target,
        "the exact gradient": right,
        "p(1 − p)": batch.softmax * (1.0 - batch.softmax),
        "p²": batch.softmax**2,
        "the logits": batch.logits,
        "1: the same is added everywhere": np.ones_like(right),
    }
    for name, pattern in patterns.items():
        factor = _factor(error, np.where(batch.kept, pattern, 0.0))
        if factor is not None and error.size > 2:
            lines.append(f"the error is about {factor:.4g} times {name}")
            break
    factors = (evidence.values * right).sum(axis=1) / (right * right).sum(axis=1)
    if len(right) > 1 and right.shape[1] > 2 and np.isfinite(factors).all():
        left = evidence.values - factors[:, None] * right
        if np.abs(left).max() <= PROPORTIONAL * np.abs(error).max():
            low, high = factors.min(), factors.max()
            lines.append(f"each row is right but for a factor of its own, {low:.4g} to {high:.4g}")
    return lines


def _sums(evidence: Evidence) -> list[str]:
    """Whether the rows sum to 0 as they should, where neither z-loss nor softcap is in the way."""
    batch = evidence.batch
    if batch.z_loss or batch.softcap is not None or batch.classes < 2:
        return []
    allowed = evidence.allowance.total + evidence.allowance.rate * np.abs(evidence.values)
    off = np.abs(evidence.values.sum(axis=1)) - allowed.sum(axis=1)
    rows = np.flatnonzero(off > 0.0)
    if not len(rows):
        return ["every row sums to 0, as it should"]
    largest = float(np.abs(evidence.values[rows].sum(axis=1)).max())
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

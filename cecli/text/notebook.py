"""Results as a notebook shows them: a table of the first rows, with bars."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cecli.text.html import PageColumn, bar, listed, notebook, numbers, paragraph, signed_bar

MOST_ROWS = 10


def part_of_sample(
    text: str, softmax: NDArray[np.floating] | None, grad: NDArray[np.floating]
) -> str:
    """A sample's classes, those with the largest slope where there are many; both arrays (C,).

    text: a headline, and lines on the arrays.
    """
    classes = np.sort(np.argsort(-np.abs(grad), kind="stable")[:MOST_ROWS])
    slopes = grad[classes].tolist()
    largest = max(map(abs, slopes)) or 1.0
    columns = [PageColumn("class", "text", list(map(str, classes.tolist())))]
    if softmax is not None:
        shares = softmax[classes].tolist()
        columns += [numbers("ŷ", shares), PageColumn("", "bar", list(map(bar, shares)))]
    columns += [
        numbers("∂L/∂z", slopes),
        PageColumn("", "bar", [signed_bar(slope / largest) for slope in slopes]),
    ]
    return _part(text, columns, grad.size - len(classes), "classes")


def part_of_batch(
    text: str,
    losses: NDArray[np.float64],
    log_sum_exp: NDArray[np.float64],
    rows: NDArray[np.floating],
) -> str:
    """A batch's first samples.

    losses, log_sum_exp: in the batch's shape. rows: of the gradient, (N, C).
    """
    each = losses.reshape(-1)[:MOST_ROWS]
    largest = max((loss for loss in each.tolist() if np.isfinite(loss)), default=0.0) or 1.0
    places = np.stack(np.unravel_index(np.arange(len(each)), losses.shape), axis=1).tolist()
    columns = [
        PageColumn("sample", "text", [", ".join(map(str, place)) for place in places]),
        numbers("loss", each.tolist()),
        PageColumn("", "bar", [bar(loss / largest) for loss in each.tolist()]),
        numbers("log Σ e^z", log_sum_exp.reshape(-1)[:MOST_ROWS].tolist()),
        numbers("largest |∂L/∂z|", np.abs(rows[:MOST_ROWS]).max(axis=1).tolist()),
    ]
    return _part(text, columns, losses.size - len(each), "samples")


def _part(text: str, columns: list[PageColumn], more: int, what: str) -> str:
    head, *lines = text.split("\n")
    rest = [paragraph(f"… and {more:,} more {what}", "dim")] if more else []
    rest += [paragraph(line, "dim") for line in lines]
    return notebook(paragraph(head), listed(columns) if columns[0].cells else "", *rest)

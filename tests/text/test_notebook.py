"""Results show themselves: in a prompt by a few lines, in a notebook by a table."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

import cecli
from cecli.text.html import bar, signed_bar

LOGITS = [2.0, 1.0, 0.1]
RANDOM = np.random.default_rng(0)
BATCH, TARGET = RANDOM.normal(size=(30, 5)), RANDOM.integers(0, 5, 30)


def nothing(logits: Any, target: Any) -> tuple[float, Any]:
    return 0.0, np.zeros(np.shape(logits))


MAKERS: dict[str, Callable[[], Any]] = {
    "sample": lambda: cecli.cross_entropy(LOGITS, 0),
    "exact": lambda: cecli.cross_entropy(LOGITS, 0, exact=True),
    "batch": lambda: cecli.cross_entropy(BATCH, TARGET),
    "axis": lambda: cecli.cross_entropy(BATCH.T, TARGET, axis=0),
    "losses": lambda: cecli.cross_entropy(BATCH, TARGET, reduction="none"),
    "ignored": lambda: cecli.cross_entropy(BATCH, TARGET, ignore_index=3),
    "infinite": lambda: cecli.cross_entropy([[0.0, -np.inf], [1.0, 2.0]], [1, 0]),
    "empty": lambda: cecli.cross_entropy(np.zeros((0, 3)), np.zeros(0, int), reduction="sum"),
    "many": lambda: cecli.cross_entropy(RANDOM.normal(size=1000), 3),
    "check": lambda: cecli.check_gradient(LOGITS, 0, cecli.cross_entropy(LOGITS, 0).grad),
    "failed check": lambda: cecli.check_gradient(LOGITS, 0, [0.1, np.nan, 0.3]),
    "comparison": lambda: cecli.compare(LOGITS, 0, grad=cecli.cross_entropy(LOGITS, 0).grad),
    "wrong": lambda: cecli.compare(BATCH, TARGET, grad=cecli.softmax(BATCH)),
    "wrong loss": lambda: cecli.compare(LOGITS, 0, loss=3.0),
    "report": lambda: cecli.verify(cecli.cross_entropy, only=["saturation"]),
    "failures": lambda: cecli.verify(nothing, only=["saturation"]),
    "derivation": lambda: cecli.explain(LOGITS, 0),
}


@cache
def result_of(name: str) -> Any:
    return MAKERS[name]()


class Cells(HTMLParser):
    """The rows of the first table, as text, and whether all is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("wbr", "rect"):
            self.open.append("hidden" if ("class", "name") in attrs else tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() in (tag, "hidden")

    def handle_data(self, data: str) -> None:
        if "hidden" not in self.open and ("td" in self.open or "th" in self.open):
            self.rows[-1][-1] += data


def table(result: Any) -> list[list[str]]:
    cells = Cells()
    cells.feed(result._repr_html_())
    cells.close()
    assert cells.open == []
    return cells.rows


@pytest.mark.parametrize("name", MAKERS)
def test_every_result_shows_itself_in_few_lines_and_well_formed(name: str) -> None:
    result = result_of(name)
    table(result)
    assert 1 <= len(repr(result).splitlines()) <= 12
    html = result._repr_html_()
    assert len(html) < 70_000
    assert not re.search(r"<script|url\(|@import|https?:", html)


def test_a_sample_is_a_row_for_each_class() -> None:
    expected = [
        ["class", "ŷ", "", "∂L/∂z", ""],
        ["0", "0.659001", "", "-0.340999", ""],
        ["1", "0.242433", "", "0.242433", ""],
        ["2", "0.098566", "", "0.098566", ""],
    ]
    for name in ("sample", "exact"):
        assert table(result_of(name)) == expected


def test_of_many_classes_the_steepest_are_shown() -> None:
    grad = result_of("many").grad
    shown = [int(row[0]) for row in table(result_of("many"))[1:]]
    assert shown == sorted(np.argsort(-np.abs(grad), kind="stable")[:10].tolist())
    assert "… and 990 more classes" in result_of("many")._repr_html_()


def test_a_batch_is_a_row_for_each_of_its_first_samples() -> None:
    rows = table(result_of("batch"))
    assert len(rows) == 11
    losses = result_of("batch").losses
    assert [float(row[1]) for row in rows[1:]] == pytest.approx(losses[:10].tolist(), abs=1e-6)
    steepest = np.abs(result_of("batch").grad).max(axis=1)
    assert [float(row[4]) for row in rows[1:]] == pytest.approx(steepest[:10].tolist(), abs=1e-6)
    assert table(result_of("axis")) == rows


def test_a_verdict_has_its_colour() -> None:
    for name in ("check", "comparison", "report"):
        assert '<p class="passed">' in result_of(name)._repr_html_()
    for name in ("failed check", "wrong", "wrong loss", "failures"):
        assert '<p class="failed">' in result_of(name)._repr_html_()


def test_what_is_not_a_number_comes_first_in_a_check() -> None:
    assert table(result_of("failed check"))[1][:2] == ["1", "NaN"]


@pytest.mark.parametrize("share", [0.0, 1e-9, 0.5, 1.0, 2.0, float("nan"), float("inf")])
def test_bars_stay_in_their_frame(share: float) -> None:
    for svg in (bar(share), signed_bar(share), signed_bar(-share)):
        assert "inf" not in svg.split("aria-label")[1].split(">", 1)[1]
        for x, width in re.findall(
            r'<rect (?:x="([\d.]+)" )?width="([\d.]+)" height="10" fill="var\(--(?:bar|up|down)',
            svg,
        ):
            assert 0 <= float(x or 0) <= float(x or 0) + float(width) <= 100.5

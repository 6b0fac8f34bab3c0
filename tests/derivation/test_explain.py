"""The derivation is right in every number, and every equation holds as it is printed."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction
from importlib.resources import files
from pathlib import Path
from typing import Any

import click.testing
import jsonschema
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mpmath import mp

import cecli
from cecli.api import solve
from cecli.cli.main import main
from cecli.derivation.derive import derive, own_problem
from cecli.derivation.markup import derivation_to_latex, derivation_to_markdown
from cecli.derivation.model import Derivation, Step
from cecli.derivation.notation import latex, over, plain, tag
from cecli.derivation.numbers import Pencil, Quantity
from cecli.errors import CecliError
from cecli.gradcheck.check import check
from cecli.problem.objective import Objective
from cecli.problem.problem import Problem
from support import in_process, oracle

Target = int | list[int] | list[float]


def explained(
    logits: Any,
    target: Any,
    *,
    sample: int | None = None,
    digits: int = 6,
    top: int = 8,
    **options: Any,
) -> Derivation:
    problem = Problem.of(logits, target, Objective(**options))
    alone = own_problem(problem, sample).undivided()
    result = solve(alone, exact=True)
    found = check(alone, result.grad) if np.isfinite(result.loss) else None
    return derive(problem, sample, alone, found, digits=digits, top=top)


def steps_by_id(derivation: Derivation) -> dict[str, Step]:
    return {step.id: step for step in derivation.steps}


# --- Every equation, computed again from what is printed -----------------------------------------

NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]\d+)?|inf")
FUNCTIONS = {"exp": mp.exp, "log": mp.log, "tanh": mp.tanh, "mpf": mp.mpf}


def value_of(text: str) -> Any:
    """What a printed expression comes to; None where there are symbols in it."""
    code = text.replace("−", "-").replace("×", "*").replace("²", "**2")
    code = NUMBER.sub(lambda number: f"mpf('{number[0]}')", code)
    code = re.sub(r"log (mpf\('[^']*'\))", r"log(\1)", code.replace("e^(", "exp("))
    names = set(re.findall(r"[^\W\d_]\w*", re.sub(r"'[^']*'", "", code)))
    if names - set(FUNCTIONS) or re.search(r"[^\x00-\x7f]", code):
        return None
    return eval(code, {"__builtins__": {}}, FUNCTIONS)


def shown_like(value: Any, text: str, digits: int) -> bool:
    """Whether a value is this text when it is rounded to as many digits."""
    if mp.isinf(value):
        return text == ("inf" if value > 0 else "−inf")
    printed = Decimal(text.replace("−", "-"))
    with localcontext() as context:
        context.prec = 2000
        exact = Decimal(mp.nstr(value, 400)) if value else Decimal(0)
        if text == "0":
            return abs(exact) < Decimal("0.5").scaleb(-digits)
        place = Decimal(1).scaleb(int(printed.as_tuple().exponent))
        return exact.quantize(place, ROUND_HALF_EVEN) == printed


def equations(derivation: Derivation) -> list[tuple[str, str]]:
    """Each expression in numbers alone, with the result that is printed for it."""
    found = []
    for step in derivation.steps:
        for line in map(plain, step.substitution):
            *parts, result = line.split(" = ")
            found += [(part, result) for part in parts if value_of(part) is not None]
    return found


def assert_equations_hold(derivation: Derivation, digits: int = 6) -> None:
    # The logits below are up to 2,000 apart, over the temperature, and e to that has 869 digits.
    with mp.workdps(1000):
        for expression, result in equations(derivation):
            assert shown_like(value_of(expression), result, digits), f"{expression} = {result}"


CASES: list[tuple[Any, Any, dict[str, Any]]] = [
    ([2.0, 1.0, 0.1], 0, {}),
    ([2.0, 1.0, 0.1], 2, {"digits": 2}),
    ([2.0, 1.0, 0.1], 1, {"digits": 17}),
    ([100.0, 0.0], 0, {}),
    ([100.0, 0.0], 1, {}),
    ([40.0, 0.0, 0.0], 0, {"digits": 3}),
    ([745.0, 0.0], 0, {}),
    ([9.5, 0.0, 0.1], 0, {}),
    ([0.0, 0.0, 0.0], 1, {}),
    ([1e15, 999999999999999.0], 0, {}),
    ([-5.5], 0, {}),
    ([-math.inf, 0.0, -20.0], 1, {}),
    ([2.0, 1.0, 0.1], [0.7, 0.2, 0.1], {}),
    ([2.0, 1.0, 0.1], [0.7, 0.2, 0.101], {"digits": 4}),
    ([2.0, -math.inf, 0.0], [0.5, 0.0, 0.5], {}),
    ([0.0, 1.0, 2.0], [0.09003057317038046, 0.24472847105479764, 0.6652409557748219], {}),
    ([2.0, 1.0, 0.1], 0, {"label_smoothing": 0.1}),
    ([2.0, 1.0, 0.1], 0, {"temperature": 2.0}),
    ([2.0, 1.0, 0.1], 0, {"softcap": 30.0}),
    ([2.0, 1.0, 0.1], 0, {"softcap": 1.0, "temperature": 0.5}),
    ([2.0, 1.0, 0.1], 0, {"weight": [0.5, 1.0, 2.0]}),
    ([100.0, 0.0], 0, {"weight": [2.0, 1.0]}),
    ([745.0, 0.0], 0, {"weight": [2.0, 1.0]}),
    ([100.0, 0.0], 0, {"label_smoothing": 0.1}),
    ([800.0, 0.0], 1, {}),
    ([2.0, 1.0, 0.1], 0, {"z_loss": 0.001}),
    ([2.0, 1.0, 0.1], 0, {"weight": [0.5, 1.0, 2.0], "z_loss": 0.1, "label_smoothing": 0.2}),
    (np.linspace(-3.0, 4.0, 30).tolist(), 3, {}),
    (np.linspace(-3.0, 4.0, 30).tolist(), 3, {"label_smoothing": 0.1}),
    ([[2.0, 1.0, 0.1], [0.0, 3.0, 1.0]], [0, 2], {"sample": 1}),
    ([[2.0, 1.0, 0.1], [0.0, 3.0, 1.0]], [0, 2], {"sample": 1, "reduction": "sum"}),
    ([[2.0, 1.0], [0.0, 3.0]], [0, 1], {"sample": 1, "weight": [0.5, 2.0], "z_loss": 0.1}),
]


@pytest.mark.parametrize(("logits", "target", "options"), CASES)
def test_every_equation_holds_as_it_is_printed(
    logits: Any, target: Any, options: dict[str, Any]
) -> None:
    derivation = explained(logits, target, **options)
    assert len(equations(derivation)) >= 10
    assert_equations_hold(derivation, options.get("digits", 6))


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[float], Any, dict[str, Any]]:
    classes = draw(st.integers(1, 6))
    size = draw(st.sampled_from([1.0, 10.0, 100.0]))
    logit = st.floats(-size, size, allow_subnormal=False)
    logits = draw(st.lists(logit, min_size=classes, max_size=classes))
    target: Any = draw(st.integers(0, classes - 1))
    if draw(st.booleans()):
        parts = draw(st.lists(st.integers(0, 9), min_size=classes, max_size=classes))
        parts[target] += 1
        target = [part / sum(parts) for part in parts]
    options: dict[str, Any] = {"digits": draw(st.integers(1, 12))}
    choices = {
        "label_smoothing": st.floats(0.0, 1.0),
        "temperature": st.floats(0.1, 10.0),
        "softcap": st.floats(1.0, 50.0),
        "z_loss": st.floats(1e-6, 0.1),
        "weight": st.lists(st.floats(0.1, 5.0), min_size=classes, max_size=classes),
    }
    for name in draw(st.sets(st.sampled_from(sorted(choices)))):
        options[name] = draw(choices[name])
    return logits, target, options


@given(problems())
@example(([80.0, -35.0], 0, {"digits": 2, "temperature": 0.1}))
@example(([69.0, 69.5], 0, {"digits": 2, "softcap": 1.0}))
@example(([-85.0, -90.0], 1, {"digits": 1, "softcap": 1.0, "temperature": 0.1}))
@example(([99.5, 100.0, -100.0], 0, {"digits": 12, "softcap": 1.0}))
def test_equations_of_any_sample_hold_as_they_are_printed(
    problem: tuple[list[float], Any, dict[str, Any]],
) -> None:
    logits, target, options = problem
    assert_equations_hold(explained(logits, target, **options), options["digits"])


def test_operands_get_further_digits_where_the_result_needs_them() -> None:
    slope, inner = Decimal("1.5174480603940774"), Decimal("0.15976360379791496")
    operands = [Quantity("s", slope), Quantity("j", inner)]
    product = Quantity("g", slope * inner)
    text = plain(Pencil(6).equate("{0} × {1}", operands, product, _times))
    assert text == "1.5174481 × 0.1597636 = 0.242433"
    # With six digits each they would have given 0.242434.
    assert round(round(slope, 6) * round(inner, 6), 6) == Decimal("0.242434")


def _times(a: Decimal, b: Decimal) -> Decimal:
    return a * b


# --- Every value, against mpmath and the gradient -------------------------------------------------


def assert_close(found: Any, exact: Any) -> None:
    """The double nearest to each exact number."""
    flat = np.asarray(exact, dtype=object).reshape(-1)
    expected = [oracle.round_to(value) for value in flat]
    assert np.asarray(found, dtype=float).reshape(-1).tolist() == expected


@pytest.mark.parametrize(("logits", "target", "options"), CASES)
def test_every_step_agrees_with_mpmath(logits: Any, target: Any, options: dict[str, Any]) -> None:
    sample, given_ = options.get("sample", 0), np.asarray(target)
    objective = {
        name: value
        for name, value in options.items()
        if name not in ("digits", "sample", "top", "reduction")
    }
    batch = np.ndim(logits) == 2
    own_logits = logits[sample] if batch else logits
    own_target = given_[sample] if batch else given_
    steps = steps_by_id(explained(logits, target, **options))
    exact = oracle.evaluate(own_logits, own_target, **objective, reduction="sum")
    scaled_only = {name: objective.get(name) for name in ("temperature", "softcap")}
    plain_objective = {name: value for name, value in objective.items() if name != "z_loss"}
    without = oracle.evaluate(own_logits, own_target, **plain_objective, reduction="sum")
    assert_close(steps["softmax"].values["softmax"], exact.softmax)
    assert_close(steps["cross_entropy"].values["loss"], without.loss)
    if not any(scaled_only.values()):
        assert_close(steps["chain_rule"].values["grad"], without.grad)
        assert_close(steps["formula"].values["grad"], without.grad)
    final = steps.get("logits") or steps.get("z_loss") or steps["chain_rule"]
    assert_close(final.values["grad"], exact.grad)
    assert steps["sum"].values["sum"] == 0.0
    assert steps["finite_differences"].values["passed"]
    if batch:
        whole = oracle.evaluate(
            logits, given_, **objective, reduction=options.get("reduction", "mean")
        )
        assert_close(steps["batch"].values["grad"], whole.grad[sample])
    if "z_loss" in steps:
        assert_close(steps["z_loss"].values["loss"], exact.loss)


def test_inner_steps_agree_with_mpmath() -> None:
    z, t = [2.0, 1.0, 0.1], 0
    steps = steps_by_id(explained(z, t))
    with mp.workdps(60):
        powers = [mp.exp(mp.mpf(x) - 2) for x in z]
        total = mp.fsum(powers)
        y = [a / total for a in powers]
        assert steps["exponentials"].values["exponentials"] == [float(a) for a in powers]
        assert steps["exponentials"].values["sum"] == float(total)
        assert steps["loss_by_probability"].values["slope"] == float(-1 / y[t])
        slopes = [float(y[t] * ((i == t) - y[i])) for i in range(3)]
        assert steps["quotient_rule"].values["slopes"] == slopes
        soft = steps_by_id(explained(z, [0.7, 0.2, 0.1]))
        jacobian = [[float(y[k] * ((k == i) - y[i])) for i in range(3)] for k in range(3)]
        assert soft["jacobian"].values["jacobian"] == jacobian
        assert len(soft["jacobian"].matrix) == 3
        q = [mp.mpf(x) for x in (0.7, 0.2, 0.1)]
        slopes = [float(-a / b) for a, b in zip(q, y, strict=True)]
        assert soft["loss_by_probability"].values["slopes"] == slopes


@pytest.mark.parametrize("logits", [[2.0, 1.0, 0.1], [100.0, 0.0], [0.0, 300.0], [745.0, 0.0]])
def test_the_loss_falls_as_far_as_it_says(logits: list[float]) -> None:
    meaning = steps_by_id(explained(logits, 0))["meaning"].values
    with mp.workdps(1000):
        z = [mp.mpf(x) for x in logits]
        mass = [Fraction(int(i == 0)) for i in range(len(z))]
        before = oracle.definition(z, mass, oracle.Objective())
        total = mp.fsum(mp.exp(x) for x in z)
        grad = [mp.exp(x) / total - (i == 0) for i, x in enumerate(z)]
        moved = [x - mp.mpf("0.1") * g for x, g in zip(z, grad, strict=True)]
        after = oracle.definition(moved, mass, oracle.Objective())
        assert meaning["logits"] == [float(x) for x in moved]
        assert meaning["fall"] == float(before - after)
        assert meaning["loss"] == float(after)
        assert after < before


def test_a_step_that_would_overshoot_is_made_smaller() -> None:
    meaning = steps_by_id(explained([1.0, 2.0, 3.0], 1, temperature=1e-3))["meaning"].values
    assert 0.0 < meaning["step"] < 0.1
    assert meaning["fall"] > 0.0


# --- What is said ---------------------------------------------------------------------------------


def run(*arguments: str, stdin: str | None = None) -> click.testing.Result:
    return click.testing.CliRunner().invoke(main, ["explain", *arguments], input=stdin)


def test_a_saturated_sample_says_why_nothing_is_subtracted() -> None:
    text = " ".join(run("100", "0", "-t", "0").stdout.split())
    assert "1 − ŷ₀ must not be computed by subtracting" in text
    assert "the loss is 3.72008e−44, and not 0" in text
    assert "1 − ŷ₀ = ŷ₁ = 3.72008e−44" in text
    assert "must not be computed" not in run("2", "1", "-t", "0").stdout


def test_the_steps_come_in_their_order() -> None:
    ids = [step.id for step in explained([2.0, 1.0], 0).steps]
    assert " ".join(ids) == (
        "shift exponentials softmax cross_entropy loss_by_probability quotient_rule chain_rule sum "
        "formula finite_differences meaning"
    )
    everything = explained(
        [[2.0, 1.0]], [0], softcap=9.0, temperature=2.0, label_smoothing=0.1, z_loss=0.1
    )
    assert " ".join(step.id for step in everything.steps) == (
        "softcap temperature shift exponentials softmax target cross_entropy loss_by_probability "
        "jacobian chain_rule sum formula z_loss logits finite_differences meaning batch"
    )


def test_an_infinite_loss_ends_with_the_formula() -> None:
    derivation = explained([-math.inf, 0.0, -20.0], 0)
    steps = steps_by_id(derivation)
    assert list(steps) == ["shift", "exponentials", "softmax", "cross_entropy", "formula"]
    assert steps["formula"].values["grad"][0] == -1.0
    assert_equations_hold(derivation)
    assert "the loss is infinite" in run("-inf", "0", "-20", "-t", "0").stdout


@pytest.mark.parametrize(
    ("logits", "target", "loss", "grad"),
    [
        ([0.0, 1e19], 0, 1e19, [-1.0, 1.0]),
        ([3.0, -3.4e38], 1, 3.4e38, [1.0, -1.0]),
        ([0.0, 3e19], [0.5, 0.5], 1.5e19, [-0.5, 0.5]),
        ([0.0, 1e19], 1, 0.0, [0.0, -0.0]),
    ],
)
def test_a_probability_that_no_number_can_be_is_explained_all_the_same(
    logits: list[float], target: Any, loss: float, grad: list[float]
) -> None:
    derivation = explained(logits, target)
    steps = steps_by_id(derivation)
    assert steps["cross_entropy"].values["loss"] == loss
    assert steps["formula"].values["grad"] == grad
    assert ("chain_rule" in steps) == (loss == 0.0)
    assert "smaller than any number that can" in " ".join(steps["cross_entropy"].remark)


def test_the_components_sum_to_zero_whatever_their_size() -> None:
    derivation = explained([5e-324, 0.0, 1.0], 1, weight=[1e308, 1e308, 1.0])
    assert steps_by_id(derivation)["sum"].values["sum"] == 0.0


def test_many_classes_are_worked_out_for_the_target_and_the_largest() -> None:
    derivation = explained(np.arange(50) / 10, 3, top=4)
    lines = [plain(line) for line in steps_by_id(derivation)["quotient_rule"].substitution]
    assert [line.split("/")[1].split(" ")[0] for line in lines] == ["∂z₃", "∂z₄₇", "∂z₄₈", "∂z₄₉"]
    assert not steps_by_id(explained(np.arange(9.0), np.full(9, 1 / 9)))["jacobian"].matrix
    assert len(steps_by_id(explained(np.arange(8.0), np.full(8, 1 / 8)))["jacobian"].matrix) == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["2", "1", "-t", "0", "--sample", "1"],
            "sample 1 is out of range: there is one sample, 0",
        ),
        (["[[2,1],[1,2]]", "-t", "0,1", "--sample", "2"], "the samples are 0 to 1"),
        (["[[2,1],[1,2]]", "-t", "0,1", "--ignore-index", "0"], "sample 0 is ignored"),
        (["2", "1", "-t", "0", "--latex", "--json"], "--json and --latex exclude each other"),
        (
            ["2", "1", "-t", "0", "-o", "x.pdf"],
            "the suffix must be .npy, .npz, .csv, .json, .svg, .md, .tex or .html",
        ),
        (["[[2,1],[1,2]]", "-t", "0,1", "--weight", "0,1"], "has the weight 0"),
        (["2", "1"], "a target is needed"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_a_sample_that_is_not_there_is_a_cecli_error() -> None:
    with pytest.raises(CecliError, match="out of range"):
        own_problem(Problem.of([[1.0, 2.0]], [0]), 1)


# --- The four forms -------------------------------------------------------------------------------

FORMS = [
    ["2.0", "1.0", "0.1", "-t", "0"],
    ["100", "0", "-t", "0"],
    ["-inf", "0", "-20", "-t", "0"],
    ["2", "1", "0.1", "-q", "0.7,0.2,0.1", "--label-smoothing", "0.1", "--temperature", "2"],
    ["2", "1", "0.1", "-t", "0", "--softcap", "30", "--z-loss", "0.01", "--weight", "1,2,3"],
    ["[[2,1,0.1],[0,3,1]]", "-t", "0,2", "--sample", "1", "--weight", "1,2,3", "--z-loss", "1"],
    [*map(str, range(12)), "-t", "10", "--labels", "a_b,c&d,$e,é,日本,{f},%,^,#,~,\\,<k>"],
    [*map(str, range(8)), "-q", "0.1,0.1,0.1,0.1,0.1,0.1,0.1,0.3", "--digits", "10"],
]


def terminal(arguments: list[str], encoding: str = "utf-8") -> str:
    outcome = in_process.run("explain", *arguments, encoding=encoding)
    assert (outcome.status, outcome.stderr) == (0, "")
    return outcome.stdout


@pytest.mark.parametrize("width", [60, pytest.param(80, marks=pytest.mark.slow), 120])
@pytest.mark.parametrize("arguments", FORMS[:7])
def test_no_line_is_wider_than_the_terminal(
    arguments: list[str], width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    shown = terminal(arguments)
    assert max(map(len, shown.splitlines())) <= width
    assert "⟦" not in shown
    assert "⟨" not in shown


@pytest.mark.parametrize("arguments", [FORMS[0], FORMS[3], FORMS[4]])
def test_ascii_has_a_stand_in_for_every_character(arguments: list[str]) -> None:
    shown = terminal(arguments, "ascii")
    assert "?" not in shown
    assert "i != t" in shown or "k != i" in shown


def test_a_number_has_the_colour_of_its_symbol(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    shown = terminal(FORMS[0])
    colour_of: dict[str, set[str]] = {}
    for colour, text in re.findall("\x1b\\[([0-9;]+)m([^\x1b]*)\x1b\\[0m", shown):
        colour_of.setdefault(text.strip(), set()).add(colour.removeprefix("1;"))
    assert colour_of["0.659001"] == colour_of["ŷ₀"]
    assert colour_of["0.417030"] == colour_of["L"]
    assert colour_of["1.517448"] == colour_of["S"]
    assert colour_of["∂L/∂z₀"] <= colour_of["−0.340999"]
    kinds = ["ŷ₀", "L", "S", "∂L/∂z₀", "∂ŷ₀/∂z₀", "∂L/∂ŷ₀", "a₁", "d₁", "y₀"]
    assert len({min(colour_of[kind]) for kind in kinds}) == len(kinds)


@pytest.mark.parametrize("arguments", FORMS)
def test_json_is_what_the_schema_says(arguments: list[str]) -> None:
    schema = json.loads(files("cecli").joinpath("cecli.schema.json").read_text())
    document = json.loads(run(*arguments, "--json").stdout)
    jsonschema.Draft202012Validator(schema).validate(document)
    assert [step["id"] for step in document["steps"]][-1] in ("meaning", "formula", "batch")
    again = json.loads(run("--json", stdin=json.dumps(document)).stdout)
    assert again["grad"] == document["grad"]
    assert [step["id"] for step in again["steps"] if step["id"] != "batch"] == [
        step["id"] for step in document["steps"] if step["id"] != "batch"
    ]


def test_lists_are_left_out_with_the_arrays() -> None:
    document = json.loads(run("2", "1", "-t", "0", "--json", "--no-arrays").stdout)
    assert "logits" in document["omitted"]
    values = [value for step in document["steps"] for value in step["values"].values()]
    assert values
    assert not any(isinstance(value, list) for value in values)


@pytest.mark.parametrize("arguments", FORMS)
def test_markdown_leaves_the_mathematics_alone(arguments: list[str]) -> None:
    """What Markdown would take for its own inside a formula is not there."""
    text = run(*arguments, "--markdown").stdout
    blocks = re.findall(r"^\$\$\n(.*)\n\$\$$", text, re.MULTILINE)
    inline = re.findall(r"(?<![\\$])\$([^$\n]+)\$(?!\$)", re.sub(r"\\\$", "", text))
    assert blocks
    assert inline
    for formula in blocks + inline:
        assert not re.search(r"\\[^A-Za-z]", formula), formula
        assert not re.search(r"[^A-Za-z0-9]_|[*<>&|]", formula), formula
        assert formula.isascii(), formula
        assert formula.count("{") == formula.count("}")
        assert formula == formula.strip()
    # GitHub sees a formula only where its dollar signs are at the edges of a word.
    prose = re.sub(r"(?<!\\)\$([^$\n]+)\$", "⟪⟫", re.sub(r"\$\$\n.*\n\$\$", "", text))
    assert not re.search(r"[(\w]⟪|⟫\w", prose)


PDFLATEX = shutil.which("pdflatex")


@pytest.mark.skipif(not PDFLATEX, reason="TeX is not installed")
def test_latex_compiles(tmp_path: Path) -> None:
    for arguments in FORMS:
        assert_latex_compiles(arguments, tmp_path)


def assert_latex_compiles(arguments: list[str], tmp_path: Path) -> None:
    assert PDFLATEX
    document = run(*arguments, "--latex", "-o", str(tmp_path / "derivation.tex")).stdout
    assert (tmp_path / "derivation.tex").read_text(encoding="utf-8") == document
    compiled = subprocess.run(
        [PDFLATEX, "-interaction=nonstopmode", "-halt-on-error", "derivation.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=300,
    )
    assert compiled.returncode == 0, compiled.stdout[-2000:]
    assert (tmp_path / "derivation.pdf").stat().st_size > 10_000
    log = (tmp_path / "derivation.log").read_text(errors="replace")
    too_wide = [float(points) for points in re.findall(r"Overfull \\hbox \(([\d.]+)pt", log)]
    assert max(too_wide, default=0.0) < 40.0


def test_forms_are_made_of_the_same_steps() -> None:
    derivation = explained([2.0, 1.0, 0.1], 0)
    for line in (line for step in derivation.steps for line in step.formula):
        assert latex(line) in derivation_to_markdown(derivation)
        assert latex(line) in derivation_to_latex(derivation)


@pytest.mark.parametrize(
    ("formula", "unicode", "tex"),
    [
        ("ŷ_i = " + over("a_i", "S"), "ŷᵢ = aᵢ / S", r"\hat y_i = \frac{a_i}{S}"),
        ("∂L/∂ŷ_12", "∂L/∂ŷ₁₂", r"\frac{\partial L}{\partial \hat y_{12}}"),
        ("a_1 = e^(−1)", "a₁ = e^(−1)", "a_1 = e^{-1}"),
        (tag("p", "3.7e-04"), "3.7e−04", r"3.7 \times 10^{-4}"),
        ("1 · " + over("x + 1", "y"), "1 · ((x + 1) / y)", r"1 \cdot \frac{x + 1}{y}"),
        (tag("z", "-inf"), "−inf", r"-\infty"),
    ],
)
def test_notation(formula: str, unicode: str, tex: str) -> None:
    assert plain(formula) == unicode
    assert latex(formula) == tex


def test_the_target_is_shown_where_another_class_has_more_of_the_mass() -> None:
    logits, weight = np.zeros(30), np.zeros(30)
    weight[3], weight[29] = 1.0, 1e200
    found = cecli.explain(logits, 3, weight=weight, label_smoothing=0.1, top=4)
    assert found.results[found.true_class or 0].name == "3"

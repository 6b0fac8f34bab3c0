"""Functions as implementations: found by name, asked what they support, reduced."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import cecli
from cecli.cli.main import main
from cecli.conformance.model import Failure, Inputs, NotSupported
from cecli.conformance.runners.binding import Binding
from cecli.conformance.runners.functions import PythonFunction
from cecli.conformance.runners.load import load
from cecli.errors import CecliError
from support.cases import FEW

LOGITS = np.array([[2.0, 1.0, 0.1], [0.5, -1.0, 3.0], [0.0, 0.25, -0.5]])
TARGET = np.array([0, 2, 1])
EASY = ("ordinary", "masks", "reduction", "weight", "ignored/some", "upstream")


@pytest.fixture(autouse=True)
def _same_path() -> Iterator[None]:
    """What is imported in a test is not found in the next one."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith("their"):
            del sys.modules[name]


def inputs(options: dict[str, Any] | None = None, **more: Any) -> Inputs:
    return Inputs(LOGITS.copy(), TARGET.copy(), options or {}, **more)


def right(logits: Any, target: Any, **options: Any) -> tuple[Any, Any]:
    result = cecli.cross_entropy(logits, target, **options)
    return result.loss, result.grad


# --- Found by name ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("theirs:loss", 1),
        ("theirs:Class.method", 2),
        ("their_package.inner:loss", 3),
        ("./theirs.py:loss", 1),
        ("their_package/inner.py:loss", 3),
        ("elsewhere/their_file.py:loss", 4),
    ],
)
def test_a_function_is_found_in_the_current_directory(
    name: str, value: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for directory in ("their_package", "elsewhere"):
        (tmp_path / directory).mkdir()
    (tmp_path / "theirs.py").write_text(
        "def loss(): return 1\nclass Class:\n    def method(): return 2\n"
    )
    (tmp_path / "their_package" / "__init__.py").touch()
    (tmp_path / "their_package" / "inner.py").write_text("def loss(): return 3\n")
    (tmp_path / "elsewhere" / "their_file.py").write_text(
        "from dataclasses import dataclass\nfrom their_neighbour import loss\n"
        "@dataclass\nclass Unused:\n    number: 'int'\n"
    )
    (tmp_path / "elsewhere" / "their_neighbour.py").write_text("def loss(): return 4\n")
    monkeypatch.chdir(tmp_path)
    assert load(name)() == value


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("loss", "'loss' names no function: write package.module:function"),
        (":loss", "':loss' names no function"),
        ("theirs:", "'theirs:' names no function"),
        ("./theirs.py", "a program stands behind --, as in: cecli verify -- ./theirs.py"),
        ("nowhere:loss", "there is no module 'nowhere', neither here nor installed"),
        ("theirs.inner:loss", "there is no module 'theirs.inner'"),
        ("./nowhere.py:loss", "there is no file './nowhere.py'"),
        ("theirs:lost", "there is no 'lost'; did you mean 'loss'?"),
        ("theirs:loss.of", "there is no 'of'"),
        ("theirs:number", "'theirs:number' is no function but of type int"),
        ("their_error:loss", "cannot import 'their_error': ZeroDivisionError: division by zero"),
        ("their_exit:loss", "cannot import 'their_exit': SystemExit: 3"),
        ("their_typo:loss", "cannot import 'their_typo': SyntaxError"),
        ("their_import:loss", "cannot import 'their_import': ModuleNotFoundError: No module"),
        ("..:loss", "cannot import '..'"),
        ("their\n:loss", r"'their\n'"),
    ],
)
def test_what_cannot_be_found_is_told_in_a_line(
    name: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file, text in {
        "theirs": "def loss(): 1\nnumber = 1",
        "their_error": "1 / 0",
        "their_exit": "raise SystemExit(3)",
        "their_typo": "def loss(",
        "their_import": "import nothing_of_that_name",
    }.items():
        (tmp_path / f"{file}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CecliError) as error:
        load(name)
    assert reason in str(error.value)
    assert str(error.value).isprintable()


# --- Asked ------------------------------------------------------------------------------------


def test_a_function_is_handed_the_arrays_themselves_and_only_the_options_of_the_case() -> None:
    seen: list[Any] = []

    def function(logits: Any, target: Any, *, label_smoothing: float = 0.0, weight: Any = 1) -> Any:
        seen.extend([logits, target, label_smoothing, weight])
        return 0.0, logits

    case = inputs({"label_smoothing": 0.25})
    PythonFunction(function, "f").run(case)
    assert seen[0] is case.logits
    assert seen[1] is case.target
    assert seen[2:] == [0.25, 1]


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        ({"weight": np.ones(3)}, "there is no parameter weight"),
        ({"label_smoothing": 0.1, "reduction": "sum"}, "there is no parameter label_smoothing"),
        ({"reduction": "sum"}, "there is no parameter reduction, and the loss is one number"),
        ({"reduction": "none"}, "there is no parameter reduction, and the loss is one number"),
    ],
)
def test_an_option_without_a_parameter_is_not_supported(
    options: dict[str, Any], missing: str
) -> None:
    function = PythonFunction(lambda logits, target: (0.0, logits), "f")
    with pytest.raises(NotSupported, match=missing):
        function.run(inputs(options))


def test_an_upstream_gradient_needs_a_parameter() -> None:
    seen: list[Any] = []

    def function(logits: Any, target: Any, upstream: Any = 1.0) -> Any:
        seen.append(upstream)
        return 0.0, logits

    PythonFunction(function, "f").run(inputs(upstream=-2.0))
    PythonFunction(function, "f").run(inputs())
    assert seen == [-2.0, 1.0]
    with pytest.raises(NotSupported, match="upstream"):
        PythonFunction(lambda logits, target: (0.0, logits), "f").run(inputs(upstream=-2.0))


def test_what_is_declared_is_asked_for_whatever_the_parameters() -> None:
    def function(logits: Any, target: Any) -> Any:
        return 0.0, logits

    declared = PythonFunction(function, "f", frozenset({"weight"}))
    with pytest.raises(NotSupported, match="unexpected keyword argument 'weight'"):
        declared.run(inputs({"weight": np.ones(3)}))


@pytest.mark.parametrize(
    ("error", "outcome", "reason"),
    [
        (ValueError("two\nlines"), Failure, "ValueError: two lines"),
        (MemoryError(), Failure, "MemoryError"),
        (SystemExit(1), Failure, "SystemExit: 1"),
        (type("PanicException", (BaseException,), {})("oh"), Failure, "PanicException: oh"),
        (TypeError("no float16"), Failure, "TypeError: no float16"),
        (ValueError("\x1b[31mred " + "x" * 999), Failure, f"ValueError: ·[31mred {'x' * 291}…"),
        (type("Mute", (Exception,), {"__str__": lambda self: 1 / 0})(), Failure, "Mute"),
        (NotImplementedError("masks"), NotSupported, "masks"),
        (NotImplementedError(), NotSupported, "it says so"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_a_function_raises_is_that_cases_outcome(
    error: BaseException, outcome: type[Exception], reason: str
) -> None:
    def function(logits: Any, target: Any) -> Any:
        raise error

    with pytest.raises(outcome) as caught:
        PythonFunction(function, "f").run(inputs())
    assert str(caught.value) == reason


def test_an_interrupt_passes_through_a_function() -> None:
    def function(logits: Any, target: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        PythonFunction(function, "f").run(inputs())


@pytest.mark.parametrize(
    "case",
    [
        Inputs(LOGITS, np.full((3, 3), 1 / 3)),
        Inputs(LOGITS.astype(np.float16), TARGET, dtype="float16"),
    ],
    ids=["soft targets", "float16"],
)
def test_an_exception_tells_that_an_input_is_not_supported_unless_it_was_declared(
    case: Inputs,
) -> None:
    def function(logits: Any, target: Any) -> Any:
        raise IndexError("arrays used as indices must be of integer type")

    with pytest.raises(NotSupported):
        PythonFunction(function, "f").run(case)
    with pytest.raises(Failure):
        PythonFunction(function, "f", frozenset({"soft-target", "float16"})).run(case)


@pytest.mark.parametrize(
    ("returned", "reason"),
    [
        (None, "it returned NoneType, not a pair of loss and gradient"),
        ((1.0, LOGITS, 2), "it returned tuple, not a pair"),
        (("one", LOGITS), "the loss is of type str, which holds no numbers"),
        ((1.0, "none"), "the gradient is of type str, which holds no numbers"),
        ((1.0, [[1], [1, 2]]), "ValueError: setting an array element"),
    ],
)
def test_what_is_no_pair_of_numbers_is_told(returned: Any, reason: str) -> None:
    with pytest.raises(Failure) as caught:
        PythonFunction(lambda logits, target: returned, "f").run(inputs())
    assert reason in str(caught.value)


def test_parameters_are_seen_through_wrappers() -> None:
    def function(logits: Any, target: Any, weight: Any = None) -> None: ...

    @functools.wraps(function)
    def wrapped(*arguments: Any, **options: Any) -> None: ...

    assert set(Binding.of(function, None).taken or ()) == {"weight"}
    assert set(Binding.of(wrapped, None).taken or ()) == {"weight"}
    assert set(Binding.of(functools.partial(function, weight=1), None).taken or ()) == {"weight"}
    assert Binding.of(lambda *arguments, **options: None, None).taken is None
    assert Binding.of(dict.update, None).taken is None


# --- Reduced ----------------------------------------------------------------------------------


def for_each_row(logits: Any, target: Any, weight: Any = None, ignore_index: Any = -9) -> Any:
    """Losses of the rows, and the gradient of their sum: for who knows no reduction."""
    return right(logits, target, weight=weight, ignore_index=ignore_index, reduction="none")


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(
    "options",
    [{}, {"weight": np.array([1.0, 2.5, 0.5])}, {"ignore_index": 2}],
    ids=["plain", "weight", "ignored"],
)
def test_losses_of_rows_are_reduced_for_a_function_that_knows_no_reduction(
    reduction: str, options: dict[str, Any]
) -> None:
    options = {**options, "reduction": reduction}
    reply = PythonFunction(for_each_row, "f").run(inputs(options))
    loss, grad = right(LOGITS, TARGET, **options)
    np.testing.assert_allclose(reply.loss, loss, rtol=1e-15)
    np.testing.assert_allclose(reply.grad, grad, rtol=1e-15)


def test_a_mean_over_no_rows_is_no_number() -> None:
    nothing = Inputs(LOGITS, TARGET, {"ignore_index": 5, "weight": np.zeros(3)})
    reply = PythonFunction(for_each_row, "f").run(nothing)
    assert np.isnan(reply.loss)


def test_a_sum_of_losses_that_overflows_or_holds_infinities_is_still_one() -> None:
    for losses in ([1e308, 1e308, 1e308], [np.inf, 1.0, 2.0]):
        function = PythonFunction(lambda z, t, losses=losses: (np.array(losses), z), "f")
        assert function.run(inputs({"reduction": "sum"})).loss == np.inf


# --- The whole suite --------------------------------------------------------------------------


def test_the_library_verifies_a_function() -> None:
    def function(logits: Any, target: Any, upstream: Any = 1.0, **options: Any) -> Any:
        loss, grad = right(logits, target, **options)
        return loss, grad * np.reshape(upstream, (-1, 1))

    report = cecli.verify(function, only=EASY, strict="accurate")
    assert report.passed, report
    assert report.totals.ran == len(report.verdicts) > 20
    assert report.implementation.endswith("function")


@pytest.mark.parametrize(
    ("only", "most"),
    [
        pytest.param(["ordinary", *(case.name for case in FEW[::3])], 60, id="small"),
        pytest.param([], 220, id="all", marks=pytest.mark.slow),
    ],
)
def test_the_library_passes_its_own_suite(only: list[str], most: int) -> None:
    report = cecli.verify(cecli.cross_entropy, only=only)
    assert report.passed, report
    missing = {v.case.family for v in report.verdicts if v.outcome == "not supported"}
    assert missing <= {"upstream", "bfloat16"}
    assert report.totals.ran > most


def test_the_library_refuses_what_there_is_not() -> None:
    with pytest.raises(CecliError, match="no case matches 'nothing'; the families are ordinary"):
        cecli.verify(right, only=["nothing"])
    with pytest.raises(CecliError, match="there is no feature 'weights': it can be sum, none"):
        cecli.verify(right, features=["weights"])
    with pytest.raises(CecliError, match="a device is for PyTorch or JAX"):
        cecli.verify(right, device="cuda")


def test_the_command_leaves_the_path_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "their_own.py").write_text("from cecli import cross_entropy as loss\n")
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    done = CliRunner().invoke(main, ["verify", "their_own:loss", "-k", "ordinary/textbook"])
    assert done.exit_code == 0, done.output
    assert sys.path == path

"""Right results where subnormal numbers are switched off, or rounding is not to nearest."""

from __future__ import annotations

import ctypes
import ctypes.util
import platform
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import cecli
from cecli.errors import CecliError
from cecli.machine import compiled, float_mode
from cecli.machine.float_mode import is_standard, standard_mode

MODES = ("flushed", "upward", "toward zero")
ROUNDING = {"upward": 0x4000, "toward zero": 0x6000}
FLUSHED = 0x8040  # FTZ and DAZ
SMALL = [[745.0, 0.0], [40.0, 0.0], [709.0, 0.0]]

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64" or ctypes.util.find_library("m") is None,
    reason="sets the mode of x86-64 by glibc",
)


def under(mode: str, function: Callable[[], Any]) -> Any:
    """What a function returns in a thread of its own under another floating-point mode."""
    found: list[Any] = []

    def work() -> None:
        set_mode(mode)
        found.append(function())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return found[0]


def set_mode(mode: str) -> None:
    """Change the mode of this thread."""
    library = ctypes.CDLL(ctypes.util.find_library("m"))
    environment = (ctypes.c_uint32 * 8)()
    assert library.fegetenv(environment) == 0
    environment[7] |= ROUNDING.get(mode, FLUSHED)  # MXCSR stands last in glibc's fenv_t
    assert library.fesetenv(environment) == 0


def everything() -> list[Any]:
    """Results of the public calls, most of them subnormal numbers."""
    result = cecli.cross_entropy(SMALL, [0, 0, 0], reduction="none")
    exact = cecli.cross_entropy(SMALL, [0, 0, 0], reduction="none", exact=True)
    comparison = cecli.compare(SMALL, [0, 0, 0], grad=np.zeros((3, 2)), reduction="none")
    check = cecli.check_gradient(SMALL, [0, 0, 0], exact.grad, reduction="none")
    return [
        *(each.tolist() for each in (result.losses, result.grad, exact.losses, exact.grad)),
        cecli.softmax(SMALL).tolist(),
        cecli.log_softmax(SMALL).tolist(),
        comparison.passed,
        check.passed,
    ]


@pytest.mark.parametrize("kernel", [True, False])
@pytest.mark.parametrize("mode", MODES)
def test_every_call_is_right(mode: str, kernel: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not kernel:
        monkeypatch.setattr("cecli.core.evaluate.kernel", lambda: None)
    elif compiled.kernel() is None:
        pytest.skip("there is no kernel")
    expected = everything()
    assert expected[0][0] == 5e-324
    assert under(mode, everything) == expected
    assert is_standard()


@pytest.mark.parametrize("mode", MODES)
def test_the_mode_is_as_it_was_afterwards(mode: str) -> None:
    def modes() -> list[bool]:
        before = is_standard()
        with standard_mode():
            within = is_standard()
        return [before, within, is_standard()]

    assert under(mode, modes) == [False, True, False]


def test_many_threads_under_a_mode() -> None:
    logits = np.zeros((400_000, 3))
    logits[:, 0] = 745.0
    target = np.zeros(len(logits), dtype=np.int64)

    def losses() -> Any:
        return cecli.cross_entropy(logits, target, reduction="none").losses

    assert (under("flushed", losses) == 5e-324).all()


def test_where_it_cannot_be_changed_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(float_mode, "_math_library", lambda: None)

    def refused() -> str:
        with pytest.raises(CecliError) as caught:
            cecli.softmax([1.0, 2.0])
        return str(caught.value)

    assert "flushed to zero" in under("flushed", refused)


@pytest.mark.parametrize("mode", MODES)
def test_an_implementation_runs_in_its_own_mode_and_is_judged_in_the_standard_one(
    mode: str,
) -> None:
    seen = set()

    def function(logits: Any, target: Any) -> Any:
        seen.add(is_standard())
        result = cecli.cross_entropy(logits, target)
        # what a library would compute in this mode
        return np.float64(result.loss) * np.float64(1.0), result.grad * 1.0

    report = under(mode, lambda: cecli.verify(function, features=(), only=["subnormal/*"]))
    assert seen == {False}
    assert report.passed == (mode != "flushed")

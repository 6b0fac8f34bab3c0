"""JAX's functions as implementations, and what is there without it."""

from __future__ import annotations

import importlib.util
import sys
import types
from typing import Any

import numpy as np
import pytest

import cecli
from cecli.conformance.runners.load import load
from cecli.errors import CecliError


def right(logits: Any, target: Any) -> tuple[Any, Any]:
    result = cecli.cross_entropy(logits, target)
    return result.loss, result.grad


def test_a_framework_that_is_not_installed_is_bad_input(monkeypatch: pytest.MonkeyPatch) -> None:
    for framework, kind in (("torch", "torch"), ("jax", "jax")):
        monkeypatch.setitem(sys.modules, framework, None)
        with pytest.raises(CecliError, match=f"pip install {framework}"):
            cecli.verify(right, kind=kind, only=["ordinary"])  # type: ignore[arg-type]


class StandInConfig:
    """jax.config, as far as it is used."""

    jax_enable_x64 = False

    def update(self, name: str, value: bool) -> None:
        setattr(self, name, value)


class StandInJax(types.ModuleType):
    """As much of JAX as a run takes: its arrays are NumPy's, its derivative is cecli's."""

    def __init__(self) -> None:
        super().__init__("jax")
        self.config, self.numpy = StandInConfig(), np

    def devices(self, platform: str | None) -> list[str]:
        if platform is not None:
            raise RuntimeError(f"no {platform}")
        return ["cpu"]

    def device_put(self, array: Any, device: str) -> Any:
        assert self.config.jax_enable_x64, "without it there are no doubles"
        return array

    def jit(self, function: Any) -> Any:
        return function

    def vjp(self, loss_of: Any, logits: Any) -> Any:
        loss, grad = loss_of(logits)
        return np.asarray(loss), lambda upstream: (upstream * grad,)


@pytest.mark.parametrize("before", [False, True])
def test_jax_is_left_as_it_was(before: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    jax = StandInJax()
    monkeypatch.setitem(sys.modules, "jax", jax)
    jax.config.jax_enable_x64 = before

    def pair(logits: Any, target: Any) -> Any:
        return (right(logits, target),)

    assert cecli.verify(pair, kind="jax", only=["ordinary/textbook"]).passed
    assert jax.config.jax_enable_x64 is before
    with pytest.raises(CecliError, match="gpu"):
        cecli.verify(pair, kind="jax", device="gpu")
    assert jax.config.jax_enable_x64 is before


# --- JAX itself -------------------------------------------------------------------------------


needs_optax = pytest.mark.skipif(
    importlib.util.find_spec("optax") is None, reason="optax and JAX are missing"
)


@needs_optax
@pytest.mark.filterwarnings("ignore")
def test_optax_needs_no_adapter() -> None:
    function = load("optax.losses:softmax_cross_entropy_with_integer_labels")
    only = ("ordinary/textbook", "masks/one", "reduction/sum", "weight/*", "shift/one-apart*")
    report = cecli.verify(function, kind="jax", only=only)
    outcomes = {verdict.case.name: verdict.outcome for verdict in report.verdicts}
    assert {outcome for name, outcome in outcomes.items() if name.startswith("weight")} == {
        "not supported"
    }
    assert report.totals.ran >= 3
    assert [v.case.family for v in report.failures] == ["shift"]


@needs_optax
@pytest.mark.filterwarnings("ignore")
def test_a_function_that_jax_cannot_compile_whole_is_run_step_by_step() -> None:
    import jax

    def loss(logits: Any, target: Any) -> Any:
        if logits.max() > 1e300:  # asks for a value, which a function being compiled has not
            return 0.0
        found = jax.nn.log_softmax(logits)[jax.numpy.arange(len(target)), target]
        return -found.mean(), "and more"

    report = cecli.verify(loss, kind="jax", only=["ordinary/textbook"])
    assert report.passed, report

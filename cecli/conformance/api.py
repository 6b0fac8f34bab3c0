"""Verifying an implementation from end to end: found by name or handed over, run, and reported."""

from __future__ import annotations

import platform
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from cecli import __version__
from cecli.conformance.model import Case, Implementation
from cecli.conformance.report import Report
from cecli.conformance.run import verify as verdicts_on
from cecli.conformance.suite.cases import all_cases, select
from cecli.errors import CecliError
from cecli.text.messages import quote

FunctionKind = Literal["python", "torch", "jax"]
Strict = Literal["accurate", "acceptable"]
# What a case may need, in the order in which people meet it.
FEATURES = (
    "sum",
    "none",
    "weight",
    "ignore-index",
    "label-smoothing",
    "soft-target",
    "temperature",
    "softcap",
    "z-loss",
    "upstream",
    "float32",
    "float16",
    "bfloat16",
    "arrays",
)


def verify(
    function: Callable[..., Any],
    *,
    kind: FunctionKind = "python",
    features: Collection[str] | None = None,
    dtype: str | None = None,
    device: str | None = None,
    only: Collection[str] = (),
    strict: Strict = "acceptable",
) -> Report:
    """Run the hard cases over a function, and grade what it returns.

    function: (logits (N, C), target (N,), **options) → (loss, gradient), or an object with the
    attributes loss and grad; of kind torch a loss function or a module's class, of kind jax a loss
    function, which are differentiated. features:
    what it supports; None asks it. dtype: float64, float32, float16 or bfloat16 for all logits;
    None is each case's own. device: where a framework computes. only: shell patterns of names of
    cases or families. strict: what a case must be, or better, to pass.
    Raises CecliError for names that there are not.
    """
    name = getattr(function, "__qualname__", None) or type(function).__name__
    cases, wanted = chosen(only), features_of(features)
    implementation = function_of(kind, function, name, wanted, dtype, device)
    try:
        return Report(name, strict, tuple(verdicts_on(implementation, cases)))
    finally:
        implementation.close()


def function_of(
    kind: FunctionKind,
    function: Callable[..., Any],
    name: str,
    features: frozenset[str] | None,
    dtype: str | None,
    device: str | None,
) -> Implementation:
    """The implementation that a function is."""
    if kind == "torch":
        from cecli.conformance.runners.frameworks import TorchFunction

        return TorchFunction(function, name, features, dtype, device)
    if kind == "jax":
        from cecli.conformance.runners.frameworks import JaxFunction

        return JaxFunction(function, name, features, dtype, device)
    if device is not None:
        raise CecliError("a device is for PyTorch or JAX: choose one of them with --torch or --jax")
    from cecli.conformance.runners.functions import PythonFunction

    return PythonFunction(function, name, features, dtype)


def features_of(features: Collection[str] | None) -> frozenset[str] | None:
    """The features, all of them for the word "all". Raises CecliError for one that is none."""
    if features is None:
        return None
    if list(features) == ["all"]:
        return frozenset(FEATURES)
    unknown = [feature for feature in features if feature not in FEATURES]
    if unknown:
        raise CecliError(
            f"there is no feature {quote(unknown[0])}: it can be {', '.join(FEATURES)}, or all"
        )
    return frozenset(features)


def chosen(globs: Collection[str], *, large: bool = False) -> Sequence[Case]:
    """The cases whose name or family matches. Raises CecliError where a pattern matches none."""
    cases = all_cases(large=large)
    for glob in globs:
        if not select(cases, [glob]):
            known = ", ".join(dict.fromkeys(case.family for case in cases))
            raise CecliError(f"no case matches {quote(glob)}; the families are {known}")
    return select(cases, globs)


@dataclass(frozen=True)
class Subject:
    """What a report is about.

    kind: program, torch, jax or python. function: its name, MODULE:FUNCTION; None for a program.
    dtype, device: those that were asked for.
    """

    kind: Literal[FunctionKind, "program"]
    function: str | None
    dtype: str | None = None
    device: str | None = None

    @property
    def versions(self) -> dict[str, str]:
        """cecli's; for a function also of what runs it, and of its package where it has one."""
        versions = {"cecli": __version__}
        if self.function is None:
            return versions
        versions["python"] = platform.python_version()
        package = self.function.partition(":")[0].partition(".")[0]
        framework = (self.kind,) if self.kind != "python" else ()
        for name in dict.fromkeys(("numpy", *framework, package)):
            with suppress(PackageNotFoundError, ValueError):  # a module of one's own
                versions[name] = version(name)
        return versions

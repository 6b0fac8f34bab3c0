"""Verifying an implementation from end to end: found by name or handed over, run, and reported."""

from __future__ import annotations

import platform
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Literal
from unittest import SkipTest

from cecli import __version__
from cecli.conformance.baseline import Baseline
from cecli.conformance.model import Case, Implementation, Remote, Verdict
from cecli.conformance.report import Report
from cecli.conformance.run import verify as verdicts_on
from cecli.conformance.suite.cases import all_cases, select
from cecli.conformance.telling import in_full
from cecli.errors import CecliError
from cecli.text.messages import quote

if TYPE_CHECKING:
    from cecli.conformance.runners.functions import Function

FunctionKind = Literal["python", "torch", "jax"]
Strict = Literal["accurate", "acceptable"]
# What a case may need, in the order in which people meet it.
FEATURES = (
    "sum",
    "none",
    "weight",
    "sample-weight",
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
    one_hot: bool | None = None,
    only: Collection[str] = (),
    skip: Collection[str] = (),
    large: bool = False,
    baseline: str | None = None,
    strict: Strict = "acceptable",
) -> Report:
    """Run the hard cases over a function, and grade what it returns.

    Args:
        function: takes logits (N, C), targets (N,) and options by name, and returns a loss and a
            gradient, as a pair or an object with the attributes ``loss`` and ``grad``, or one of
            both alone; or it has the methods ``forward`` and ``backward``. Logits and targets are
            known by the names of their parameters.
        kind: "python"; "torch" for a loss function or module of PyTorch, or "jax" for a loss
            function of JAX, which are differentiated.
        features: what it supports, as "weight"; None asks it.
        dtype: "float64", "float32", "float16" or "bfloat16" for all logits; None is each case's
            own.
        device: where a framework computes.
        one_hot: whether classes are handed over as rows of 0 and 1; None tries.
        only, skip: shell patterns of names of cases or families, to take and to leave out.
        large: whether cases that need address space for 2³¹ numbers run too.
        baseline: the path of a file of cases that may fail.
        strict: what a case must be, or better, to pass: "acceptable" or "accurate".

    Returns:
        Report: with ``.passed``, ``.verdicts``, ``.failures`` and ``.families``.

    Raises:
        CecliError: for names that there are not, and a function that cannot be called.

    Examples:
        >>> import cecli
        >>> import numpy as np
        >>> def textbook(logits, target):
        ...     power = np.exp(logits - logits.max(axis=1, keepdims=True))
        ...     p = power / power.sum(axis=1, keepdims=True)
        ...     one_hot = np.eye(logits.shape[1])[target]
        ...     return -np.log((p * one_hot).sum(axis=1)).mean(), (p - one_hot) / len(logits)
        >>> report = cecli.verify(textbook, only=["ordinary", "ties"])
        >>> report
        textbook: 18 of 18 cases passed
        >>> report.passed
        True
    """
    name = getattr(function, "__qualname__", None) or type(function).__name__
    cases, wanted = chosen(only, skip, large=large), features_of(features)
    may_fail = None if baseline is None else Baseline.read(baseline)
    implementation = function_of(kind, function, name, wanted, dtype, device, one_hot)
    try:
        verdicts = tuple(verdicts_on(implementation, cases))
    finally:
        implementation.close()
    return Report(name, strict, verdicts, may_fail, notes_on(implementation, verdicts))


def cases(
    only: Collection[str] = (), *, skip: Collection[str] = (), large: bool = False
) -> list[Case]:
    """The hard cases, as parameters of a test: each has ``check(function)``.

    Args:
        only, skip: shell patterns of names of cases or families, to take and to leave out.
        large: whether those are among them that need address space for 2³¹ numbers.

    Returns:
        The cases, in the order of the suite. In a test of pytest,
        ``@pytest.mark.parametrize("case", cecli.cases(), ids=str)`` makes a test of each.

    Raises:
        CecliError: for names that there are not.

    Examples:
        >>> import cecli
        >>> case = cecli.cases(["saturation"])[0]
        >>> case.name
        'saturation/10-ahead'
        >>> case.check(cecli.cross_entropy).outcome
        'accurate'
    """
    return list(chosen(only, skip, large=large))


def check_case(case: Case, function: Callable[..., Any], **settings: Any) -> Verdict:
    """What `Case.check` does."""
    report = verify(function, only=[case.name], large=True, **settings)
    (verdict,) = report.verdicts
    if verdict.outcome == "not supported":
        raise SkipTest(f"{case.name} is not supported: {verdict.reason}")
    if not report.passed:
        told = "\n  ".join(in_full(verdict, report.strict))
        raise AssertionError(f"{case.name}: {case.reason}\n  {told}")
    return verdict


def notes_on(
    implementation: Implementation | Remote, verdicts: Sequence[Verdict]
) -> tuple[str, ...]:
    """What to know of how an implementation was called and judged."""
    graded = [v for v in verdicts if v.loss is not None or v.grad is not None]
    notes = list(getattr(implementation, "notes", ()))
    if graded and all(verdict.grad is None for verdict in graded):
        notes.append("it returns no gradient: its loss alone is judged")
    if graded and all(verdict.loss is None for verdict in graded):
        notes.append("it returns no loss: its gradient alone is judged")
    return tuple(notes)


def function_of(
    kind: FunctionKind,
    function: Callable[..., Any],
    name: str,
    features: frozenset[str] | None,
    dtype: str | None,
    device: str | None,
    one_hot: bool | None = None,
) -> Implementation:
    """The implementation that a function is, once it was tried how it is to be called."""
    from cecli.conformance.runners.probe import probe

    made = untried(kind, function, name, features, dtype, device)
    try:
        probe(made, one_hot)
    except BaseException:
        made.close()
        raise
    return made


def untried(
    kind: FunctionKind,
    function: Callable[..., Any],
    name: str,
    features: frozenset[str] | None,
    dtype: str | None,
    device: str | None,
) -> Function:
    """The implementation that a function is by the names of its parameters alone."""
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


def chosen(
    only: Collection[str], skip: Collection[str] = (), *, large: bool = False
) -> Sequence[Case]:
    """The cases whose name or family matches, but for those to skip.

    Raises CecliError where a pattern matches none, or nothing is left.
    """
    cases = all_cases(large=large)
    for glob in (*only, *skip):
        if not select(cases, [glob]):
            known = ", ".join(dict.fromkeys(case.family for case in cases))
            raise CecliError(f"no case matches {quote(glob)}; the families are {known}")
    left = select(cases, only, skip)
    if not left:
        raise CecliError("no case is left: all that are chosen are skipped too")
    return left


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

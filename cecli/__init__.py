"""Softmax cross-entropy and its gradient, right to the last digit.

The names below are the whole library; each is imported when it is first used, so that
``import cecli`` costs nothing and the command line starts without NumPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cecli.comparison import Comparison, compare
    from cecli.conformance_report import Report
    from cecli.core import CrossEntropy, cross_entropy, log_softmax, softmax
    from cecli.diagnosis import Diagnosis
    from cecli.errors import CecliError
    from cecli.finite_difference import GradientCheck, check_gradient
    from cecli.verifying import verify

__version__ = "0.1.0"

__all__ = [
    "CecliError",
    "Comparison",
    "CrossEntropy",
    "Diagnosis",
    "GradientCheck",
    "Report",
    "check_gradient",
    "compare",
    "cross_entropy",
    "log_softmax",
    "softmax",
    "verify",
]

_HOMES = {
    "CecliError": "errors",
    "Comparison": "comparison",
    "CrossEntropy": "core",
    "Diagnosis": "diagnosis",
    "GradientCheck": "finite_difference",
    "Report": "conformance_report",
    "check_gradient": "finite_difference",
    "compare": "comparison",
    "cross_entropy": "core",
    "log_softmax": "core",
    "softmax": "core",
    "verify": "verifying",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

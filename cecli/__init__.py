"""Softmax cross-entropy and its gradient, right to the last digit.

The names below are the whole library; each is imported when it is first used, so that
``import cecli`` costs nothing and the command line starts without NumPy.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as in typing, which takes a while to import
if TYPE_CHECKING:
    from cecli.api import CrossEntropy, cross_entropy, log_softmax, softmax
    from cecli.comparison.compare import Comparison, compare
    from cecli.comparison.mistake import Diagnosis
    from cecli.conformance.api import cases, verify
    from cecli.conformance.model import Case
    from cecli.conformance.report import Report
    from cecli.derivation.explain import explain
    from cecli.derivation.model import Derivation
    from cecli.errors import CecliError
    from cecli.gradcheck.check import GradientCheck, check_gradient
    from cecli.machine.compiled import arithmetic

__version__ = "0.1.0"

__all__ = [
    "Case",
    "CecliError",
    "Comparison",
    "CrossEntropy",
    "Derivation",
    "Diagnosis",
    "GradientCheck",
    "Report",
    "arithmetic",
    "cases",
    "check_gradient",
    "compare",
    "cross_entropy",
    "explain",
    "log_softmax",
    "softmax",
    "verify",
]

_HOMES = {
    "Case": "conformance.model",
    "CecliError": "errors",
    "Comparison": "comparison.compare",
    "CrossEntropy": "api",
    "Derivation": "derivation.model",
    "Diagnosis": "comparison.mistake",
    "GradientCheck": "gradcheck.check",
    "Report": "conformance.report",
    "arithmetic": "machine.compiled",
    "cases": "conformance.api",
    "check_gradient": "gradcheck.check",
    "compare": "comparison.compare",
    "cross_entropy": "api",
    "explain": "derivation.explain",
    "log_softmax": "api",
    "softmax": "api",
    "verify": "conformance.api",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

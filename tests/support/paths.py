"""Where the project's own files are."""

from __future__ import annotations

from pathlib import Path

import cecli

TESTS = Path(__file__).parents[1]
TOP = TESTS.parent
DIGITS = TESTS / "data" / "digits.npz"
CASES = TESTS / "cases"
BENCHMARKS = TESTS / "benchmarks"
MANUAL = TOP / "man"
# Where the package under test is imported from, for processes of its own.
PACKAGE = Path(cecli.__file__).parent.parent

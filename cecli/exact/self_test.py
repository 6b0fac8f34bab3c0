"""Whether a kernel in pairs of doubles settles fixed rows rightly: its results as a checksum.

The rows are those of the other kernel's self-test, or some of each, and the checksum is that of
decimal arithmetic, which the tests find with the same numbers. Nothing but the standard library is
needed, so that the package's build can ask before it packs a kernel.
"""

from __future__ import annotations

import ctypes
import zlib
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from cecli.exact.plan import DIGITS, NUMBERS, ONE_HOT, SMOOTHED, SOFT, SUMS, PairWork, work_of
from cecli.machine.compiled import Kernel
from cecli.machine.self_test import ROWS, FixedRows, cases

CHECKSUM = 0xE5BC395B
MOST_NUMBERS = 2000  # of a case, so that decimal arithmetic needs some seconds for all
ARRAYS = ("softmax", "log_softmax", "grad")
MASSES = {"one-hot": ONE_HOT, "smoothed": SMOOTHED, "soft": SOFT}


def some_cases() -> Iterator[tuple[FixedRows, int]]:
    """Each case, and of how many of its rows."""
    for case in cases():
        yield case, max(1, min(ROWS, MOST_NUMBERS // case.plan.classes))


def checksum(kernel: Kernel) -> int:
    """The checksum of what a kernel makes of the cases; a row that it leaves open is all NaN."""
    found = 0
    for case, rows in some_cases():
        arrays = _results(kernel, case, rows)
        for name in (*ARRAYS, "numbers"):
            found = zlib.crc32(bytes(arrays[name]), found)
    return found


def passes(kernel: Kernel) -> bool:
    """Whether a kernel's results are right."""
    return checksum(kernel) == CHECKSUM


def described(case: FixedRows, rows: int) -> tuple[PairWork, dict[str, Any]]:
    """What is asked of a kernel, and the arrays for it by their names, all but scratch."""
    plan, size = case.plan, rows * case.plan.classes
    work = work_of(
        classes=plan.classes,
        mass=MASSES[plan.mass],
        temperature=plan.temperature,
        softcap=plan.softcap,
        z_loss=plan.z_loss,
        smoothing=plan.smoothing,
        divisors=(Fraction(plan.divisor), Fraction(plan.divisor)),
    )
    if work is None:
        raise ValueError("the bounds hold for all cases")
    number = ctypes.c_float if case.single else ctypes.c_double
    arrays: dict[str, Any] = {
        "logits": (number * size)(*case.logits[:size]),
        **{name: (number * size)() for name in ARRAYS},
        "numbers": (ctypes.c_double * (rows * len(NUMBERS)))(),
        "sums": (ctypes.c_double * (rows * len(SUMS) * 3))(),
        "open": (ctypes.c_int64 * rows)(),
    }
    if plan.mass == "soft":
        arrays["soft"] = (ctypes.c_double * size)(*case.soft[:size])
    else:
        arrays["column"] = (ctypes.c_int64 * rows)(*case.column[:rows])
    work.rows, work.logits_stride, work.single = rows, plan.classes, case.single
    work.digits = DIGITS[ctypes.sizeof(number)]
    for name in ARRAYS:
        setattr(work, f"{name}_digits", work.digits)
    return work, arrays


def _results(kernel: Kernel, case: FixedRows, rows: int) -> dict[str, Any]:
    work, arrays = described(case, rows)
    scratch = (ctypes.c_double * kernel.exact_scratch_size(case.plan.classes))()
    for name, array in {**arrays, "scratch": scratch}.items():
        setattr(work, name, ctypes.addressof(array))
    kernel.run_exact(work)
    return arrays

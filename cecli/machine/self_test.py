"""Whether a kernel has the bits that every kernel has: its results for fixed rows, as a checksum.

The rows are made by integer arithmetic and the checksum is that of the definition in NumPy, which
the tests compare with the same number. Nothing but the standard library is needed, so that the
package's build can ask before it packs a kernel.
"""

from __future__ import annotations

import ctypes
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from cecli.machine.compiled import Kernel, Work, work_of
from cecli.machine.plan import MassName, Plan

if TYPE_CHECKING:
    from cecli.problem.wanted import RowsName

CHECKSUM = 0xA53F83CA
RESULTS = ("losses", "z_losses", "plain", "log_sum_exp")
OUTPUTS = ("out", *RESULTS, "flags")
MASSES: tuple[MassName, ...] = ("one-hot", "smoothed", "soft")
ARRAYS: tuple[RowsName, ...] = ("grad", "softmax", "grad", "log_softmax")
SPREADS = (1, 4, 7, 11, 12)  # of the logits, as powers of two
CLASSES = (1, 2, 3, 5, 10, 33, 64, 65, 200, 1500)
ROWS = 37


class FixedRows(NamedTuple):
    """Rows and what is asked of them, as numbers of the standard library.

    logits, soft: ROWS·classes numbers; column: ROWS. single: whether logits and array are in single
    precision.
    """

    plan: Plan
    logits: list[float]
    column: list[int]
    soft: list[float]
    single: bool


def cases() -> Iterator[FixedRows]:
    """All of them, in their order."""
    number = _integers()
    for i, classes in enumerate(CLASSES * 8):
        mass = MASSES[i // 2 % len(MASSES)]
        plan = Plan(
            classes=classes,
            array=ARRAYS[i % len(ARRAYS)],
            mass=mass,
            temperature=(1.0, 0.75, 1.0, 3.0)[i // 3 % 4],
            softcap=(None, None, 30.0)[i // 5 % 3],
            z_loss=(0.0, 2.0**-10)[i // 7 % 2],
            smoothing=0.125 if mass == "smoothed" else 0.0,
            divisor=float(ROWS),
        )
        # of 24 bits at the most, and so floats
        reach = 1 << (12 + SPREADS[i % len(SPREADS)])
        logits = [(next(number) % reach - reach // 2) / 2**12 for _ in range(ROWS * classes)]
        if i % 3 == 2:
            logits = [-1e9 if next(number) % 4 == 0 else z for z in logits]
        parts = [1 + next(number) % 1000 for _ in range(ROWS * classes)]
        sums = [sum(parts[r * classes : (r + 1) * classes]) for r in range(ROWS)]
        soft = [part / sums[k // classes] for k, part in enumerate(parts)]
        column = [next(number) % classes for _ in range(ROWS)]
        yield FixedRows(plan, logits, column, soft, bool(i % 4 > 1))


def checksum(kernel: Kernel) -> int:
    """The checksum of what a kernel makes of the cases."""
    found = 0
    for case in cases():
        found = zlib.crc32(_results(kernel, case), found)
    return found


def passes(kernel: Kernel) -> bool:
    """Whether a kernel has the bits of the definition."""
    return checksum(kernel) == CHECKSUM


def _integers() -> Iterator[int]:
    """Knuth's linear congruential generator, its upper bits."""
    state = 1
    while True:
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        yield state >> 33


def described(case: FixedRows) -> tuple[Work, dict[str, Any]]:
    """What is asked of a kernel, and the arrays for it by their names, all but scratch."""
    plan, size = case.plan, ROWS * case.plan.classes
    number = ctypes.c_float if case.single else ctypes.c_double
    arrays: dict[str, Any] = {
        "logits": (number * size)(*case.logits),
        "out": (number * size)(),
        "flags": (ctypes.c_uint8 * ROWS)(),
        **{name: (ctypes.c_double * ROWS)() for name in RESULTS},
    }
    if plan.mass == "soft":
        arrays["soft"] = (ctypes.c_double * size)(*case.soft)
    else:
        arrays["column"] = (ctypes.c_int64 * ROWS)(*case.column)
    work = work_of(plan, ROWS)
    work.logits_stride = work.soft_stride = work.out_stride = plan.classes
    work.single = work.out_single = case.single
    return work, arrays


def _results(kernel: Kernel, case: FixedRows) -> bytes:
    """The array, the losses and the flags, byte by byte."""
    work, arrays = described(case)
    scratch = (ctypes.c_double * kernel.scratch_size(case.plan.classes))()
    for name, array in {**arrays, "scratch": scratch}.items():
        setattr(work, name, ctypes.addressof(array))
    kernel.run(work)
    return b"".join(bytes(arrays[name]) for name in OUTPUTS)

"""The compiled form of the arithmetic: found, checked against the definition's bits, and called.

The package's build leaves `kernel.so` beside this file where there was a C compiler. It is
loaded by ctypes, which lets other threads run while it computes. CECLI_KERNEL=numpy does without.
"""

from __future__ import annotations

import ctypes
import os
import platform
import threading
import zlib
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from cecli.machine.plan import Factor, LogitRows, Plan, Results
    from cecli.problem.dtypes import Floats

VARIABLE = "CECLI_KERNEL"
FILE = "kernel.so"
# As text: pathlib takes longer to import than all that is done here.
FOLDER = __file__.rpartition(os.sep)[0]
# What cecli_level answers, and the kernels that can run then.
LEVELS = (("plain",), ("v2",), ("v2", "v3"), ("v2", "v3", "v4"))
MASSES = ("none", "one-hot", "smoothed", "soft")
SINGLE = 4  # bytes of a number in single precision
ARRAYS = (None, "softmax", "log_softmax", "grad")

_Number, _Integer, _Flag, _Address = (
    ctypes.c_double,
    ctypes.c_int64,
    ctypes.c_int32,
    ctypes.c_void_p,
)


class _Factor(ctypes.Structure):
    _fields_ = [(name, _Number) for name in ("value", "low", "head", "tail")]


class Work(ctypes.Structure):
    """`Work` of kernel.c, field by field."""

    _fields_ = [
        *[(name, _Integer) for name in ("rows", "classes")],
        ("logits", _Address),
        ("logits_stride", _Integer),
        *[(name, _Address) for name in ("kept", "column", "soft")],
        ("soft_stride", _Integer),
        *[(name, _Address) for name in ("weight", "base", "out")],
        ("out_stride", _Integer),
        *[(name, _Address) for name in ("losses", "z_losses", "plain", "log_sum_exp")],
        *[(name, _Address) for name in ("flags", "scratch")],
        *[(name, _Number) for name in ("keep", "base_each", "base_high", "base_low")],
        *[
            (name, _Number)
            for name in ("temperature", "z_loss", "rate", "rate_low", "z_rate", "cap_limit")
        ],
        *[(name, _Factor) for name in ("inverse", "cap", "cap_inverse")],
        *[(name, _Flag) for name in ("single", "soft_single", "out_single", "mass", "array")],
        *[(name, _Flag) for name in ("tempered", "capped", "smoothed")],
    ]


class Kernel:
    """The kernels for one instruction set: in doubles, and with the results of `exact` in pairs."""

    def __init__(self, library: ctypes.CDLL, level: str) -> None:
        self.level = level
        self.name = f"x86-64-{level}" if level.startswith("v") else platform.machine()
        self._rows = library[f"cecli_rows_{level}"]
        self._rows.argtypes, self._rows.restype = [_Address], None
        self._scratch = library[f"cecli_scratch_{level}"]
        self._scratch.argtypes, self._scratch.restype = [_Integer], _Integer
        self._folds = library[f"cecli_folds_{level}"]
        self._folds.argtypes = [_Address, _Integer, _Integer, _Address, _Address, _Address]
        self._folds.restype = None
        self._exact_rows = library[f"cecli_exact_rows_{level}"]
        self._exact_rows.argtypes, self._exact_rows.restype = [_Address], None
        self._entropies = library[f"cecli_exact_entropies_{level}"]
        self._entropies.argtypes = [_Address, _Integer, _Integer, _Address, _Address]
        self._entropies.restype = None
        self._exact_scratch = library[f"cecli_exact_scratch_{level}"]
        self._exact_scratch.argtypes, self._exact_scratch.restype = [_Integer], _Integer

    def scratch_size(self, classes: int) -> int:
        """How many doubles of scratch rows of so many classes need."""
        return int(self._scratch(classes))

    def run(self, work: Work) -> None:
        """Do what is described, the arrays being there and large enough."""
        self._rows(ctypes.byref(work))

    def fold(self, rows: Floats) -> tuple[Floats, Floats]:
        """`elementary.fold` of rows (N, C), C a multiple of 64 and more than that."""
        import numpy as np

        count, columns = rows.shape
        if columns % 64 or columns == 64:
            raise ValueError("the kernel folds rows of a multiple of 64 columns, more than that")
        sums, lows = np.empty(count), np.empty(count)
        scratch = np.empty(self.scratch_size(columns))
        places = _address(scratch), _address(sums), _address(lows)
        self._folds(_address(rows), count, columns, *places)
        return sums, lows

    def exact_scratch_size(self, classes: int) -> int:
        """How many doubles of scratch rows of so many classes need in pairs."""
        return int(self._exact_scratch(classes))

    def run_exact(self, work: ctypes.Structure) -> None:
        """Do in pairs what is described, as `exact.plan` has it."""
        self._exact_rows(ctypes.byref(work))

    def run_entropies(
        self, soft: int, rows: int, classes: int, scratch: int, entropies: int
    ) -> None:
        """Those of rows of probabilities, (rows, classes) doubles, in pairs; all at addresses."""
        self._entropies(soft, rows, classes, scratch, entropies)

    def work_out(self, plan: Plan, rows: LogitRows, results: Results) -> None:
        """Fill the results of the rows, as `core.rows.work_out` does."""
        import numpy as np

        from cecli.machine.plan import OPTIONAL

        work = Work.from_buffer_copy(_template(plan))
        work.rows = len(rows)
        work.single = rows.logits.dtype.itemsize == SINGLE
        work.logits, work.logits_stride = _matrix(rows.logits)
        work.kept, work.column = _address(rows.kept), _address(rows.column)
        if rows.soft is not None:
            work.soft, work.soft_stride = _matrix(rows.soft)
            work.soft_single = rows.soft.dtype.itemsize == SINGLE
        work.weight = _address(plan.weight)
        work.base = _address(plan.base) if plan.mass == "smoothed" else None
        array = results.array
        if array is not None:
            # other types are rounded once, from doubles, as the definition does
            out = array if array.dtype in (np.float32, np.float64) else np.empty(array.shape)
            work.out, work.out_stride = _matrix(out)
            work.out_single = out.dtype.itemsize == SINGLE
        for name in ("losses", *OPTIONAL, "flags"):
            setattr(work, name, _address(getattr(results, name)))
        scratch = np.empty(self.scratch_size(plan.classes) + 8)
        # vectors are loaded fastest from where a line of the cache begins
        work.scratch = scratch.ctypes.data + -scratch.ctypes.data % 64
        self.run(work)
        if array is not None and out is not array:
            array[...] = out
            array[...] += 0.0  # a zero is never −0


@lru_cache(maxsize=8)
def _template(plan: Plan) -> Work:
    return work_of(plan, 0)


def work_of(plan: Plan, rows: int) -> Work:
    """What is asked of so many rows, but for where they are."""
    base_high, base_low = plan.base_total if plan.mass == "smoothed" else (0.0, 0.0)
    return Work(
        rows=rows,
        classes=plan.classes,
        keep=plan.keep,
        base_each=plan.base_each,
        base_high=base_high,
        base_low=base_low,
        temperature=plan.temperature,
        z_loss=plan.z_loss,
        rate=plan.rate,
        rate_low=plan.rate_low,
        z_rate=plan.z_rate,
        cap_limit=plan.cap_limit,
        inverse=_factor(plan.inverse),
        cap=_factor(plan.cap),
        cap_inverse=_factor(plan.cap_inverse),
        mass=MASSES.index(plan.mass),
        array=ARRAYS.index(plan.array),
        tempered=plan.tempered,
        capped=plan.softcap is not None,
        smoothed=bool(plan.smoothing),
    )


def _factor(factor: Factor) -> _Factor:
    return _Factor(*factor)


def _address(array: NDArray[Any] | None) -> int | None:
    if array is None:
        return None
    if not array.flags.c_contiguous:
        raise ValueError("the kernel needs contiguous arrays")
    return array.ctypes.data


def _matrix(array: NDArray[Any]) -> tuple[int, int]:
    """Where a matrix begins and how many elements there are from row to row."""
    stride, itemsize = array.strides[0], array.itemsize
    if array.dtype.char not in "fd" or not array.dtype.isnative:
        raise ValueError(f"the kernel knows float32 and float64, not {array.dtype}")
    if (array.strides[1] != itemsize and array.shape[1] > 1) or stride % itemsize:
        raise ValueError("the kernel needs rows that are contiguous")
    return array.ctypes.data, array.strides[0] // array.itemsize


@cache
def kernel() -> Kernel | None:
    """The kernel for the best instruction set that the CPU has; None where NumPy does the work."""
    if os.environ.get(VARIABLE, "").lower() == "numpy":
        return None
    found = kernels(f"{FOLDER}{os.sep}{FILE}")
    return found[-1] if found else None


def kernels(path: str | Path) -> list[Kernel]:
    """The kernels of a library that the CPU can run, the best last; none if it cannot be loaded."""
    try:
        library = ctypes.CDLL(str(path))
        library.cecli_source.restype = ctypes.c_uint32
        if library.cecli_source() != source_checksum():
            return []  # the source has changed since
        return [Kernel(library, level) for level in LEVELS[library.cecli_level()]]
    except (OSError, AttributeError, IndexError):
        return []  # none, or one of another platform, or of another version of this package


def source_checksum() -> int:
    """That of the sources in C, which a kernel says it was compiled from."""
    checksum = 0
    for name in sorted(os.listdir(FOLDER)):  # noqa: PTH208
        if name.endswith((".c", ".h")):
            with open(f"{FOLDER}{os.sep}{name}", "rb") as source:  # noqa: PTH123
                checksum = zlib.crc32(source.read(), checksum)
    return checksum


class ExactNumbers:
    """How many numbers this process has rounded correctly, and how many by decimal arithmetic."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.total = self.decimal = 0

    def add(self, *, total: int = 0, decimal: int = 0) -> None:
        """Count some more; threads may do this at the same time."""
        with self._lock:
            self.total += total
            self.decimal += decimal

    def __str__(self) -> str:
        """Both in a line."""
        return f"exact numbers: {self.total:,}, of which {self.decimal:,} by decimal arithmetic"


exact_numbers = ExactNumbers()


def arithmetic() -> str:
    """Which arithmetic is at work: a line that begins with "compiled" or "NumPy".

    The numbers are the same with either, to the last bit.

    Returns:
        The line; a second one counts the numbers that were rounded correctly in this process, if
        any were.

    Examples:
        >>> import cecli
        >>> cecli.arithmetic().split()[1]
        'arithmetic'
    """
    own = kernel()
    if own is not None:
        line = f"compiled arithmetic ({own.name})"
    elif os.environ.get(VARIABLE, "").lower() == "numpy":
        line = f"NumPy arithmetic ({VARIABLE}=numpy)"
    else:
        line = "NumPy arithmetic (no compiled kernel in this installation)"
    return f"{line}\n{exact_numbers}" if exact_numbers.total else line

"""The processor's floating-point mode: subnormal numbers are numbers, and ties go to even.

A library linked with -ffast-math, XLA's threads or torch.set_flush_denormal switch subnormal
numbers off in a thread, and in those that it starts: 5e-324 · 1 is 0 then. The rounding mode
stands beside that. Both belong to the thread, and are as they were when a call returns.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from cecli.errors import CecliError

if TYPE_CHECKING:
    import ctypes

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

ENVIRONMENT_BYTES = 256  # fenv_t is 32 on x86-64 and 8 on AArch64
DEFAULT_ENVIRONMENT = -1  # FE_DFL_ENV of glibc, musl and Apple's library on x86-64


def is_standard() -> bool:
    """Whether this thread's arithmetic is that of IEEE 754, rounding to nearest."""
    smallest_normal, smallest, half = 2.0**-1022, 2.0**-1074, 2.0**-53
    return (
        smallest_normal * 0.5 != 0.0
        and smallest * 1.0 != 0.0
        and 1.0 + half == 1.0
        and 1.0 + 3.0 * half == 1.0 + 4.0 * half
        and -1.0 - half == -1.0
    )


@contextmanager
def standard_mode() -> Iterator[None]:
    """The arithmetic of IEEE 754 in this thread, and what it was before at the end.

    Raises CecliError where it cannot be had.
    """
    if is_standard():
        yield
        return
    import ctypes

    environment = (ctypes.c_char * ENVIRONMENT_BYTES)()
    library = _math_library()
    if library is None or library.fegetenv(environment):
        raise _refusal()
    library.fesetenv(ctypes.c_void_p(DEFAULT_ENVIRONMENT))
    try:
        if not is_standard():
            raise _refusal()
        yield
    finally:
        library.fesetenv(environment)


def in_standard_mode(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """The function under `standard_mode`."""

    @functools.wraps(function)
    def inner(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        with standard_mode():
            return function(*args, **kwargs)

    return inner


@functools.cache
def _math_library() -> ctypes.CDLL | None:
    import ctypes
    import ctypes.util

    for name in (ctypes.util.find_library("m"), None):
        try:
            library = ctypes.CDLL(name)
            library.fegetenv, library.fesetenv  # noqa: B018
        except (OSError, AttributeError, TypeError):
            continue
        return library
    return None


def _refusal() -> CecliError:
    return CecliError(
        "this thread's floating-point mode loses digits (subnormal numbers are flushed to zero, or "
        "rounding is not to nearest), and it cannot be changed on this platform"
    )

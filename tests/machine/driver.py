"""The kernel in a program of its own: compiled for another processor, or with sanitizers."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cecli.machine.build_kernel import FLAGS
from cecli.machine.compiled import Work

HERE = Path(__file__).parent
KERNEL = HERE.parent.parent / "cecli" / "machine" / "kernel.c"
FIELDS = (
    *("logits", "kept", "column", "soft", "weight", "base"),
    *("out", "losses", "z_losses", "plain", "log_sum_exp", "flags"),
)
SANITIZERS = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def compile_driver(folder: Path, compiler: str, *flags: str) -> Path:
    """The driver's program."""
    program = folder / "driver"
    names = [f'-DKERNEL="{KERNEL}"', "-DLEVEL=plain"]
    subprocess.run(
        [compiler, *FLAGS, *flags, *names, str(HERE / "driver.c"), "-o", str(program)], check=True
    )
    return program


def run_driver(command: list[str], cases: Iterable[tuple[Work, dict[str, Any]]]) -> bytes:
    """What the driver makes of the cases: their results, one after another."""
    given = bytearray()
    for work, arrays in cases:
        given += bytes(work)
        for name in FIELDS:
            array = None if name not in arrays else bytes(arrays[name])
            given += struct.pack("<q", -1 if array is None else len(array)) + (array or b"")
    return subprocess.run(command, input=given, capture_output=True, check=True).stdout


def found(*programs: str) -> bool:
    """Whether all of these are installed."""
    return all(map(shutil.which, programs))

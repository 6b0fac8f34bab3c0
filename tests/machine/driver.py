"""A kernel in a program of its own: compiled for another processor, or with sanitizers."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Iterable
from ctypes import Structure
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cecli.machine.build_kernel import FLAGS

HERE = Path(__file__).parent
SOURCES = HERE.parent.parent / "cecli" / "machine"
SANITIZERS = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@dataclass(frozen=True)
class Source:
    """A kernel's source: how its functions begin, and its addresses of what is given and found."""

    name: str
    prefix: str
    given: tuple[str, ...]
    found: tuple[str, ...]

    @property
    def fields(self) -> tuple[str, ...]:
        """The addresses, in the driver's order."""
        return *self.given, *self.found


DOUBLES = Source(
    "kernel.c",
    "cecli",
    ("logits", "kept", "column", "soft", "weight", "base"),
    ("out", "losses", "z_losses", "plain", "log_sum_exp", "flags"),
)
PAIRS = Source(
    "exact.c",
    "cecli_exact",
    ("logits", "kept", "column", "soft", "weight"),
    ("softmax", "log_softmax", "grad", "numbers", "sums", "open"),
)


def compile_driver(folder: Path, source: Source, compiler: str, *flags: str) -> Path:
    """The driver's program."""
    program = folder / f"driver-{source.prefix}"
    names = [
        f'-DKERNEL="{SOURCES / source.name}"',
        "-DLEVEL=plain",
        f"-DROWS={source.prefix}_rows_plain",
        f"-DSCRATCH={source.prefix}_scratch_plain",
        f"-DFIELDS={','.join(f'(const void **)&work.{name}' for name in source.fields)}",
        f"-DFIRST_RESULT={len(source.given)}",
    ]
    subprocess.run(
        [compiler, *FLAGS, *flags, *names, str(HERE / "driver.c"), "-o", str(program)], check=True
    )
    return program


def run_driver(
    command: list[str], source: Source, cases: Iterable[tuple[Structure, dict[str, Any]]]
) -> bytes:
    """What the driver makes of the cases: their results, one after another."""
    given = bytearray()
    for work, arrays in cases:
        given += bytes(work)
        for name in source.fields:
            array = None if name not in arrays else bytes(arrays[name])
            given += struct.pack("<q", -1 if array is None else len(array)) + (array or b"")
    return subprocess.run(command, input=given, capture_output=True, check=True).stdout


def found(*programs: str) -> bool:
    """Whether all of these are installed."""
    return all(map(shutil.which, programs))

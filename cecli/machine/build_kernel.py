"""Hatchling's build hook: compiles the kernels with the C compiler at hand, if there is one.

The build succeeds all the same without one, or with one that fails, or where the kernel does not
have the definition's bits; NumPy then does the work. CECLI_KERNEL=numpy builds without a kernel.
A wheel with one is for its platform and any Python 3.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # the package runs without hatchling, and its tests import this module
    BuildHookInterface = object

FOLDER = "cecli/machine"
PRODUCT = f"{FOLDER}/kernel.so"
# After whatever flags the environment has: nothing may be fused, reordered or left out.
FLAGS = (
    "-std=c11",
    "-O3",
    "-fPIC",
    "-fvisibility=hidden",
    "-fno-fast-math",
    "-ffp-contract=off",
    "-fno-math-errno",
    "-fno-trapping-math",
)
LEVELS = {"v2": (), "v3": (), "v4": ("-mprefer-vector-width=512",)}


class KernelHook(BuildHookInterface):  # type: ignore[misc]
    """Compiles the kernel before a wheel is packed, also for an editable install."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and name the platform if that went well."""
        if self.target_name != "wheel":
            return
        reason = build(Path(self.root))
        if reason is not None:
            self.app.display_warning(f"cecli: no compiled kernel, NumPy does its work: {reason}")
            return
        build_data["pure_python"] = False
        build_data["artifacts"].append(PRODUCT)
        build_data["tag"] = f"py3-none-{wheel_platform()}"


def build(root: Path) -> str | None:
    """Compile the kernel in the tree at root; None if it is there then, else why it is not."""
    reason = _build(root)
    if reason is not None:
        (root / PRODUCT).unlink(missing_ok=True)
    return reason


def _build(root: Path) -> str | None:
    if os.environ.get("CECLI_KERNEL", "").lower() == "numpy":
        return "CECLI_KERNEL=numpy"
    compiler = find_compiler()
    if compiler is None:
        return "there is no C compiler"
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "kernel.so"
        try:
            compile_kernel(compiler, root / FOLDER, made)
        except (OSError, subprocess.SubprocessError) as error:
            return f"{compiler[0]} failed: {error}"
        if not has_the_bits(root, made):
            return "its bits are not those of the definition"
        # at once, for whoever has the old one loaded
        beside = root / f"{PRODUCT}.new"
        shutil.copy(made, beside)
        beside.replace(root / PRODUCT)
    return None


def find_compiler() -> list[str] | None:
    """The C compiler's command: CC, or the first of the usual names."""
    for command in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        words = shlex.split(command)
        if words and shutil.which(words[0]):
            return words
    return None


def compile_kernel(compiler: list[str], folder: Path, product: Path) -> None:
    """Compile a folder's sources for every instruction set of the platform into one library."""
    flags = [*shlex.split(os.environ.get("CFLAGS", "")), *FLAGS, *_architecture()]
    levels: dict[str, list[str]] = {"plain": []}
    if platform.machine().lower() in ("x86_64", "amd64"):
        levels = {level: [f"-march=x86-64-{level}", *more] for level, more in LEVELS.items()}
    checksum = zlib.crc32(b"".join(path.read_bytes() for path in sorted(folder.glob("*.[ch]"))))
    once = ["-DBASELINE", f"-DSOURCE={checksum}u"]
    objects = []
    for i, (level, more) in enumerate(levels.items()):
        names = [f"-DLEVEL={level}", *(once if i == 0 else [])]
        for source in sorted(folder.glob("*.c")):
            objects.append(str(product.with_name(f"{source.stem}-{level}.o")))
            command = [*compiler, *flags, *more, *names]
            _run([*command, "-c", str(source), "-o", objects[-1]])
    _run([*compiler, "-shared", *_architecture(), *objects, "-o", str(product)])


def has_the_bits(root: Path, product: Path) -> bool:
    """Whether the kernels that this CPU can run pass the self-test; in a process of its own."""
    program = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]);"
        "from cecli.machine.compiled import kernels; from cecli.machine.self_test import passes;"
        "from cecli.exact.self_test import passes as exact_passes;"
        "found = kernels(Path(sys.argv[2]));"
        "sys.exit(not found or not all(passes(one) and exact_passes(one) for one in found))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, str(root), str(product)], capture_output=True
    )
    return run.returncode == 0


def wheel_platform() -> str:
    """The platform of a wheel with a kernel, as packaging calls it."""
    from packaging.tags import platform_tags

    return next(iter(platform_tags()))


def _architecture() -> list[str]:
    """Where Python is for two architectures, the kernel is for the one that builds it."""
    return ["-arch", platform.machine()] if sys.platform == "darwin" else []


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        line = (error.stderr.strip().splitlines() or ["it said nothing"])[0]
        raise subprocess.SubprocessError(line) from None

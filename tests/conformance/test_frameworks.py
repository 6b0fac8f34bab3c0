"""The files of a few lines that the manual has for frameworks, each tried where it is installed."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.paths import BENCHMARKS, MANUAL
from support.process import ENVIRONMENT, LIMIT

PAGE = (MANUAL / "cecli-verify.1").read_text().partition(".Ss Frameworks")[2]
FILE = re.compile(r"^\.Pa (with_\w+\.py) :\n\.Bd -literal.*\n((?:.+\n)+?)\.Ed", re.MULTILINE)
FILES = {name: text.replace("\\-", "-").replace("\\(aq", "'") for name, text in FILE.findall(PAGE)}
# Kernels without a GPU or a compiler.
INTERPRETED = {"TRITON_INTERPRET": "1", "DEV": "PYTHON", "KERAS_BACKEND": "jax"}


def test_there_is_one_for_each() -> None:
    names = {name.removeprefix("with_").removesuffix(".py") for name in FILES}
    assert names == {"mlx", "tinygrad", "tensorflow", "liger"}
    for text in FILES.values():
        compile(text, "with.py", "exec")
        assert text.count("\n") <= 5


def test_what_is_measured_takes_what_the_file_in_the_manual_takes() -> None:
    measured = (BENCHMARKS / "frameworks.py").read_text()
    for name in ("mlx", "tinygrad", "tensorflow", "liger"):
        own, other = (
            [argument.arg for argument in function.args.args]
            for text in (FILES[f"with_{name}.py"], measured)
            for function in ast.walk(ast.parse(text))
            if isinstance(function, ast.FunctionDef)
            and function.name in ("cross_entropy", f"of_{name}")
        )
        assert own == other


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_it_passes_everyday_cases(name: str, tmp_path: Path) -> None:
    package = str(re.search(r"(?:import|from) (\w+)", FILES[name])[1])  # type: ignore[index]
    (tmp_path / name).write_text(FILES[name])
    kind = ["--torch"] if package == "liger_kernel" else []
    passes(package, *kind, f"./{name}:cross_entropy", folder=tmp_path)


@pytest.mark.slow
def test_keras_needs_no_file(tmp_path: Path) -> None:
    command = re.search(r"^\$ KERAS_BACKEND=jax cecli verify (.+)$", PAGE, re.MULTILINE)
    assert command is not None
    passes("keras", *command[1].replace("\\-", "-").split(), folder=tmp_path)


def passes(package: str, *arguments: str, folder: Path) -> None:
    """Everyday cases pass; skipped where the package is not installed."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    few = ("-k", "ordinary", "-k", "ties", "-k", "reduction")
    run = subprocess.run(
        [sys.executable, "-m", "cecli", "verify", *arguments, *few],
        cwd=folder,
        env={**ENVIRONMENT, **INTERPRETED, "PYTHONWARNINGS": "default"},
        capture_output=True,
        encoding="utf-8",
        timeout=LIMIT,
    )
    assert run.returncode == 0, run.stdout + run.stderr

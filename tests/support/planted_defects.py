"""Small defects, planted one at a time in a copy of the package: which of them do the tests find?

    python tests/support/planted_defects.py [--only WORD] [--jobs N]

Each is a file of the package, a piece of its text and another one in its place. The quick tests run
with -x: those of the defect's own room first, then all the others.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).parents[2]


@dataclass(frozen=True)
class Planted:
    """What is wrong, where (below cecli/), the text that is right and stands there once, the other.

    room: whose tests are run first, where it is not the one that the file stands in.
    """

    what: str
    file: str
    right: str
    wrong: str
    room: str = ""

    @property
    def rooms(self) -> Sequence[str]:
        """The folders of tests that are most likely to find it."""
        return (self.room or self.file.partition("/")[0]).split()


PLANTED: list[Planted] = []


def plant(defect: Planted, package: Path) -> None:
    """Put the defect into a copy of the package."""
    path = package / defect.file
    text = path.read_text(encoding="utf-8")
    count = text.count(defect.right)
    if count != 1:
        raise SystemExit(
            f"planted_defects: {defect.what}: {defect.file} has {count} times {defect.right!r}"
        )
    path.write_text(text.replace(defect.right, defect.wrong), encoding="utf-8")


def found(copy: Path, tests: Sequence[str], jobs: int) -> str | None:
    """The first test that fails, None if all pass."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--tb=no"]
        + ([] if jobs == 1 else ["-n", str(jobs)])
        + [*tests],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    if run.returncode == 0:
        return None
    for line in run.stdout.splitlines():
        if line.startswith(("FAILED ", "ERROR ")):
            return line.partition(" ")[2].partition(" - ")[0]
    raise SystemExit(f"planted_defects: pytest ended with status {run.returncode}: {run.stdout}")


def rounds_of(copy: Path, defect: Planted) -> list[list[str]]:
    """The tests of the likely rooms, and then the others."""
    first = [f"tests/{room}" for room in defect.rooms if (copy / "tests" / room).is_dir()]
    others = [f"--ignore={room}" for room in first]
    return [first, ["tests", *others]] if first else [["tests"]]


def seek(defect: Planted, jobs: int) -> str | None:
    """The test that finds a defect, None if there is none."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory)
        for name in ("cecli", "man", "tests"):
            shutil.copytree(TOP / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "README.md"):
            shutil.copy(TOP / name, copy / name)
        plant(defect, copy / "cecli")
        for chosen in rounds_of(copy, defect):
            test = found(copy, chosen, jobs)
            if test is not None:
                return test
    return None


def main() -> None:
    """Print a line for each defect, and how many were found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="")
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    chosen = [d for d in PLANTED if given.only in f"{d.what} {d.file}"]
    caught = 0
    for defect in chosen:
        start = time.monotonic()
        test = seek(defect, given.jobs)
        caught += test is not None
        seconds = f"{time.monotonic() - start:.0f} s"
        print(f"{defect.what} ({defect.file}): {test or 'NOT FOUND'}, {seconds}", flush=True)
    print(f"{caught} of {len(chosen)} found")
    raise SystemExit(caught < len(chosen))


if __name__ == "__main__":
    main()

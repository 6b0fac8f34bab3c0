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
# Without the compiled kernel where the definition in NumPy is to be run.
DEFINITION = ("core/", "machine/")


@dataclass(frozen=True)
class Planted:
    """What is wrong, where (below cecli/), the text that is right and stands there once, the other.

    room: which tests are run first, where it is not those of the room that the file stands in.
    """

    what: str
    file: str
    right: str
    wrong: str
    room: str = ""

    @property
    def rooms(self) -> Sequence[str]:
        """The folders or files of tests that are most likely to find it."""
        return (self.room or self.file.partition("/")[0]).split()


PLANTED = [
    Planted(
        "a sign: the z-loss raises what the target's gradient is lowered by",
        "core/rows.py",
        "        own = own - target * (z_term * UNSCALE)",
        "        own = own + target * (z_term * UNSCALE)",
        room="core/test_pytorch.py core",
    ),
    Planted(
        "a dropped remainder in the exponentials",
        "core/rows.py",
        "    scaled = exp_scaled(x, remainder, x)",
        "    scaled = exp_scaled(x, None, x)",
        room="core/test_core.py",
    ),
    Planted(
        "the divisor of the z-loss is the mean's",
        "core/evaluate.py",
        "z_divisor=(problem.z_loss_divisor or 1.0) if",
        "z_divisor=(problem.divisor or 1.0) if",
        room="core/test_pytorch.py core",
    ),
    Planted(
        "a factor 2 of the z-loss is lost",
        "core/rows.py",
        "(((plan.z_loss * 2.0) * log_sum_exp) * plan.z_rate)",
        "((plan.z_loss * log_sum_exp) * plan.z_rate)",
        room="core/test_pytorch.py core",
    ),
    Planted(
        "the probabilities of ignored rows are numbers",
        "core/rows.py",
        '            results.array[~rows.kept] = 0.0 if plan.array == "grad" else np.nan',
        "            results.array[~rows.kept] = 0.0",
        room="core/test_core.py",
    ),
    Planted(
        "the first of equal maxima is the last",
        "core/rows.py",
        "        np.copyto(place, column, where=logits[:, column] > best)",
        "        np.copyto(place, column, where=logits[:, column] >= best)",
        room="core/test_core.py machine",
    ),
    Planted(
        "top-5 counts six",
        "core/totals.py",
        "int((ranks < BEST).sum())",
        "int((ranks <= BEST).sum())",
        room="answer core",
    ),
    Planted(
        "tied logits: the last one counts as predicted",
        "core/totals.py",
        "    before = np.arange(logits.shape[1]) < index[tied, None]",
        "    before = np.arange(logits.shape[1]) > index[tied, None]",
        room="answer core",
    ),
    Planted(
        "the last group's rows are lost in a sum",
        "core/totals.py",
        "        last[0, : len(rest)] = rest\n",
        "        last[0, : len(rest) - 1] = rest[:-1]\n",
        room="machine/test_blocks.py core",
    ),
    Planted(
        "of equal losses the later are the highest",
        "core/totals.py",
        '    order = among[np.argsort(-losses[among], kind="stable")[:count]]',
        '    order = among[::-1][np.argsort(-losses[among[::-1]], kind="stable")[:count]]',
        room="answer machine/test_blocks.py core",
    ),
    Planted(
        "exact: the derivative of the cap is forgotten",
        "exact/row.py",
        "        return [slope / self.temperature for slope in slopes]",
        "        return [1 / self.temperature for slope in slopes]",
        room="exact",
    ),
    Planted(
        "exact: an enclosure that is not tight enough is taken",
        "exact/rounding.py",
        "    if low != high:\n        raise UnsettledError\n",
        "",
        room="exact",
    ),
    Planted(
        "exact: rows that are alike but for the target",
        "exact/solve.py",
        "own for own in (block.logits, target, block.weights)",
        "own for own in (block.logits, block.weights)",
        room="exact",
    ),
    Planted(
        "exact: the z-loss is divided by the other divisor",
        "exact/sums.py",
        "*sums.z_loss.over(z_divisor)]",
        "*sums.z_loss.over(divisor)]",
    ),
    Planted(
        "the smoothing's share goes to all but one class",
        "machine/plan.py",
        "        return self.smoothing / self.classes",
        "        return self.smoothing / max(1, self.classes - 1)",
        room="core/test_pytorch.py core",
    ),
    Planted(
        "a polynomial with another last digit",
        "machine/elementary.py",
        '    "0x1.5555555553d4fp-5",',
        '    "0x1.5555555555555p-5",',
        room="machine",
    ),
    Planted(
        "the kernel fuses nothing, but forgets what rounding left out",
        "machine/kernel.c",
        "        (sum_low) += lows_; ",
        "        (void)lows_; ",
        room="machine/test_kernel.py",
    ),
    Planted(
        "a row missing at the end of each block",
        "machine/blocks.py",
        "    return ((start, min(start + size, samples)) for start in range(0, samples, size))",
        "    return ((start, min(start + size, samples - 1)) for start in range(0, samples, size))",
        room="machine",
    ),
    Planted(
        "a short number is rounded by way of a double",
        "machine/decimals.py",
        "            nearest = math.nextafter(nearest, 0.0)",
        "            pass",
        room="machine",
    ),
    Planted(
        "the check allows 400 ulps",
        "gradcheck/bounds.py",
        "ULPS = 4\n",
        "ULPS = 400\n",
    ),
    Planted(
        "the truncation of forward differences is that of central ones",
        "gradcheck/bounds.py",
        "            truncation = h / 2 * derivatives.second * growth",
        "            truncation = h * h / 2 * derivatives.second * growth",
    ),
    Planted(
        "a central difference over one step",
        "gradcheck/differences.py",
        "                    difference = (above - below) / (2 * h)",
        "                    difference = (above - below) / h",
    ),
    Planted(
        "check: a sample of components without the target",
        "gradcheck/differences.py",
        "    first = np.array([target, logits.argmax(), smallest])",
        "    first = np.array([smallest, logits.argmax(), smallest])",
    ),
    Planted(
        "a target that is one too large is accepted",
        "problem/targets.py",
        "(columns >= self.classes)",
        "(columns > self.classes)",
    ),
    Planted(
        "an ignored row counts in the weights",
        "problem/targets.py",
        "            columns = self.columns(start, stop)[self.kept(start, stop)]",
        "            columns = self.columns(start, stop)",
    ),
    Planted(
        "soft targets that sum to 1.02 are accepted",
        "problem/targets.py",
        "SOFT_TARGET_SLACK = 0.01 + 2.0**-40",
        "SOFT_TARGET_SLACK = 0.03 + 2.0**-40",
    ),
    Planted(
        "the mean of the z-losses counts ignored rows",
        "problem/problem.py",
        "            return Divisors(float(count), float(count))",
        "            return Divisors(float(count), float(self.samples))",
    ),
    Planted(
        "a temperature of 0 is accepted",
        "problem/objective.py",
        "(number > 0 if above_zero else",
        "(number >= 0 if above_zero else",
        room="problem",
    ),
    Planted(
        "a swapped axis when an array takes the logits' shape",
        "problem/problem.py",
        "        position.insert(self.objective.axis % len(self.shape), columns)",
        "        position.insert(len(self.shape) - 1, columns)",
        room="gradcheck/test_check.py",
    ),
    Planted(
        "bits in natural units",
        "core/totals.py",
        "mean / math.log(2)",
        "mean",
        room="answer output",
    ),
    Planted(
        "accuracy over all rows, the ignored ones too",
        "answer/summary.py",
        "        tally.hits / kept if problem.indexed else None,",
        "        tally.hits / problem.samples if problem.indexed else None,",
        room="answer output",
    ),
    Planted(
        "an edge of the histogram is missing",
        "answer/summary.py",
        "np.arange(first, last + 2, dtype=np.float64)",
        "np.arange(first, last + 1, dtype=np.float64)",
        room="answer output",
    ),
    Planted(
        "a failed comparison passes",
        "answer/answer.py",
        "return all(found is None or found.passed for found in (self.check, self.comparison))",
        "return all(found is None or found.passed for found in (self.check,))",
        room="comparison/test_compare.py cli/test_main.py",
    ),
    Planted(
        "a progress of twice what is done",
        "answer/answer.py",
        "            progress(part.stop / problem.samples)",
        "            progress(2 * part.stop / problem.samples)",
        room="answer cli process/test_terminals.py process/test_large_files.py",
    ),
    Planted(
        "minus infinity looks like infinity in JSON",
        "text/strict_json.py",
        '"Infinity" if value > 0 else "-Infinity"',
        '"Infinity"',
        room="output/test_json.py output",
    ),
    Planted(
        "a number just below the exponent's border",
        "text/numbers.py",
        "if 10.0 ** (kept - 1 - digits) <= size",
        "if 10.0 ** (kept - digits) <= size",
        room="text/test_numbers.py",
    ),
    Planted(
        "a quoted text keeps its control characters",
        "text/messages.py",
        "    return repr(text if",
        "    return str(text if",
        room="input/test_arguments.py cli/test_bad_input.py",
    ),
    Planted(
        "a stand-in is missing",
        "text/ascii.py",
        '        "▸": ">",\n',
        "",
        room="cli/test_streams.py",
    ),
    Planted(
        "a wrong key in JSON",
        "output/json_document.py",
        '        found["losses"] = held["losses"]',
        '        found["loses"] = held["losses"]',
        room="output/test_json.py",
    ),
    Planted(
        "the divisor is not told where the mean is over rows",
        "output/json_document.py",
        '            found["z_loss_divisor"] = answer.z_loss_divisor',
        "            pass",
        room="output/test_json.py",
    ),
    Planted(
        "arrays of 100,001 numbers are printed",
        "output/json_document.py",
        "sum(_array_sizes(command, problem).values()) <= MOST_NUMBERS",
        "sum(_array_sizes(command, problem).values()) <= MOST_NUMBERS + 1",
        room="output cli/test_options.py",
    ),
    Planted(
        "rows are written one row too far",
        "output/files/positional.py",
        "        self._row += len(rows)\n",
        "        self._row += len(rows) + 1\n",
        room="cli/test_large_files.py cli/test_output.py",
    ),
    Planted(
        "a file with its classes in the first dimension is written by rows",
        "output/files/positional.py",
        "slabs = rows[:count].reshape(-1, slab, columns).transpose(0, 2, 1)",
        "slabs = rows[:count].reshape(-1, slab, columns)",
        room="cli/test_large_files.py cli/test_output.py",
    ),
    Planted(
        "the last number of each line of a file is lost",
        "input/numbers.py",
        "                words = words[::2]",
        "                words = words[:-1:2]",
        room="input/test_numbers.py input/test_arguments.py input",
    ),
    Planted(
        "the stars of two patterns need not agree",
        "input/multifile.py",
        "if both_found and file.stars != own.stars:",
        "if both_found and file.stars == ():",
        room="input/test_multifile.py",
    ),
    Planted(
        "a label that is another class's number goes unnoticed",
        "input/numbers.py",
        "    return {number: index for number, index in numbers.items() if number != index}",
        "    return {}",
        room="input/test_arguments.py cli/test_options.py",
    ),
    Planted(
        "explain: a sign in the quotient rule",
        "derivation/backward.py",
        '"j", worked.probability[t] * (worked.beside[t] if i == t else -worked.probability[i])',
        '"j", worked.probability[t] * (worked.beside[t] if i == t else worked.probability[i])',
    ),
    Planted(
        "compare: accurate is ten times as far off",
        "comparison/grade.py",
        "ACCURATE_ULPS = 4.0",
        "ACCURATE_ULPS = 40.0",
        room="comparison/test_grade.py",
    ),
    Planted(
        "compare: a mistake has another name",
        "comparison/catalogue.py",
        '"sign-flipped"',
        '"sign-flip"',
        room="comparison/test_catalogue.py",
    ),
    Planted(
        "compare: the half unit of a typed digit",
        "comparison/grade.py",
        "        unit / 2.0 + ulp / 2.0,",
        "        unit + ulp / 2.0,",
        room="comparison/test_grade.py",
    ),
    Planted(
        "verify: nothing that ran has passed",
        "conformance/report.py",
        "self.totals.ran > 0 and not self.unexpected",
        "not self.unexpected",
        room="conformance/test_report.py",
    ),
    Planted(
        "verify: a second call may give another answer",
        "conformance/judge.py",
        "        if one.tobytes() != other.tobytes():",
        "        if one.shape != other.shape:",
        room="conformance/test_defects.py",
    ),
    Planted(
        "verify: the upstream gradient is not undone",
        "conformance/judge.py",
        "        return np.where(upstream == 0.0, multiplied, grad / upstream)",
        "        return np.where(upstream == 0.0, multiplied, grad)",
        room="conformance/test_judge.py",
    ),
    Planted(
        "a failed check ends with status 0",
        "cli/present.py",
        "        raise click.exceptions.Exit(1)",
        "        raise click.exceptions.Exit(0)",
        room="cli/test_main.py",
    ),
    Planted(
        "a line is answered when the next has come",
        "cli/jsonl.py",
        "        sys.stdout.write(text)\n        sys.stdout.flush()\n",
        "        sys.stdout.write(text)\n",
        room="process/test_jsonl.py",
    ),
    Planted(
        "errors count lines from the next one",
        "cli/jsonl.py",
        "        numbered = [(number + i, line)",
        "        numbered = [(number + i + 1, line)",
        room="cli/test_jsonl.py",
    ),
    Planted(
        "a bar that begins at once",
        "cli/progress.py",
        "time.monotonic() - self._start > SECONDS_BEFORE_A_BAR",
        "time.monotonic() - self._start > 0",
        room="process/test_terminals.py",
    ),
    Planted(
        "bad usage ends with status 1",
        "__main__.py",
        "SIGINT, BAD_USAGE = 2, 2",
        "SIGINT, BAD_USAGE = 2, 1",
        room="cli/test_bad_input.py",
    ),
    Planted(
        "what is printed is not flushed",
        "__main__.py",
        "            sys.stdout.flush()",
        "            pass",
        room="process/test_streams.py",
    ),
    Planted(
        "a signal ends the program as another",
        "__main__.py",
        "    os.kill(os.getpid(), number)",
        "    os.kill(os.getpid(), 9)",
        room="process/test_signals.py",
    ),
    Planted(
        "cluster: a task's rows are written at the block's place",
        "cluster/task.py",
        "            output.write(task.start + part.start, numbers",
        "            output.write(part.start, numbers",
        room="cluster",
    ),
    Planted(
        "cluster: a shorter file is as good",
        "cluster/task.py",
        "            if Path(path).stat().st_size < size:",
        "            if Path(path).stat().st_size < 0:",
        room="cluster",
    ),
]


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
        + ["--ignore=tests/support"]  # which holds the package's text against this list
        + ([] if jobs == 1 else ["-n", str(jobs)])
        + [*tests],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy)},
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
    first = [f"tests/{room}" for room in defect.rooms if (copy / "tests" / room).exists()]
    others = [f"--ignore={room}" for room in first]
    return [first, ["tests", *others]] if first else [["tests"]]


def seek(defect: Planted, jobs: int) -> str | None:
    """The test that finds a defect, None if there is none."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory)
        kernel = ["*.so"] if defect.file.startswith(DEFINITION) else []
        left_behind = shutil.ignore_patterns("__pycache__", *kernel)
        for name in ("cecli", "man", "tests"):
            shutil.copytree(TOP / name, copy / name, ignore=left_behind)
        for name in ("pyproject.toml", "README.md"):
            shutil.copy(TOP / name, copy / name)
        whole = (copy / "cecli" / defect.file).read_text(encoding="utf-8")
        plant(defect, copy / "cecli")
        for chosen in rounds_of(copy, defect):
            test = found(copy, chosen, jobs)
            if test is not None:
                (copy / "cecli" / defect.file).write_text(whole, encoding="utf-8")
                if found(copy, [test], 1) is not None:
                    raise SystemExit(f"planted_defects: {test} fails without any defect")
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

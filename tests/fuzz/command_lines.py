"""Whole command lines, most of them with sense and some without.

By hand, for as long as one likes: PYTHONPATH=.:tests python tests/fuzz/command_lines.py SECONDS
[SEED]. It prints each kind of failure once, with the smallest command line that was found, and how
many went through.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
import tempfile
import time
import traceback
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from fuzz.oracle import CommandLine, judge

EXTREMES = [
    *(
        0.0,
        1.0,
        -1.0,
        2.0,
        0.5,
        5e-324,
        -5e-324,
        1e-310,
        1e-300,
        1e-160,
        1e-17,
        36.0,
        700.0,
        -745.0,
    ),
    *(1e16, 1e19, -3.4e38, 1e160, -1e160, 1e308, -1e308, 1.7e308, -1.7e308, -math.inf),
]
NUMBERS = st.one_of(st.sampled_from(EXTREMES), st.floats(-50, 50), st.floats(allow_nan=False))
POSITIVE = st.one_of(
    st.sampled_from([1.0, 2.0, 0.5, 1e-3, 30.0, 5e-324, 1e-300, 1e-170, 1e170, 1e300, 1e308]),
    st.floats(1e-3, 1e3),
)
WEIGHTS = st.one_of(st.sampled_from([0.0, 1.0, 5e-324, 1e-310, 1e200, 1e308]), st.floats(0, 10))
JUNK = st.one_of(
    st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=8),
    st.sampled_from(
        ["nan", "inf", "-1", "1e999", "[", "]", "{}", "0x1", "1_0", "١", "−1", "", "-"]
    ),
)
FORMS = [("--json",), ("--json",), (), ("--markdown",), ("--jsonl",), ("--json", "--exact")]
CHECKS = [(), (), ("--check-method", "central"), ("--check-method", "forward", "--seed", "3")]
SUFFIXES = ["npy", "npz", "csv", "tsv", "json", "jsonl", "txt", "npy.gz", "csv.gz"]
OUTPUTS = ["npy", "npz", "csv", "json", "jsonl", "svg", "md", "tex", "", "x"]


@st.composite
def command_lines(draw: st.DrawFn) -> CommandLine:
    """A command with logits, a target, options of the objective and a form."""
    command = draw(st.sampled_from(["softmax", "loss", "grad", "explain", "compare"]))
    classes = draw(st.sampled_from([1, 2, 3, 3, 5, 70]))
    batch = draw(st.sampled_from([(), (), (1,), (3,), (2, 2), (0,)]))
    count = classes * math.prod(batch)
    values = draw(st.lists(NUMBERS, min_size=min(count, 12), max_size=min(count, 12)))
    logits = np.resize(values, (*batch, classes)) if count else np.empty((*batch, classes))
    arguments, stdin = draw(given_logits(logits))
    if command != "softmax":
        arguments += draw(targets(batch, classes))
        arguments += draw(losses(batch, classes))
    if draw(st.integers(0, 3)) == 0:
        arguments += ["--temperature", repr(draw(POSITIVE))]
    if draw(st.integers(0, 3)) == 0:
        arguments += ["--softcap", repr(draw(POSITIVE))]
    if command == "compare":
        judged = draw(st.lists(NUMBERS, min_size=1, max_size=classes))
        arguments += [draw(st.sampled_from(["--grad", "--loss"])), ",".join(map(repr, judged))]
    if command == "grad" and draw(st.integers(0, 3)) == 0:
        arguments += ["--check", *draw(st.sampled_from(CHECKS))]
    form = draw(st.sampled_from(FORMS))
    arguments += form if command in ("softmax", "loss", "grad") else form[:1]
    arguments += draw(others(command))
    if draw(st.integers(0, 7)) == 0:
        place = draw(st.integers(0, len(arguments)))
        arguments[place : place + draw(st.integers(0, 1))] = [draw(JUNK)]
    return CommandLine((command, *(text.replace("\x00", "") for text in arguments)), stdin)


@st.composite
def given_logits(draw: st.DrawFn, logits: Any) -> tuple[list[str], bytes]:
    """Numbers typed, piped in, or in a file."""
    way = draw(st.sampled_from(["typed", "quoted", "stdin", "lines", "file"]))
    nested = json.dumps(logits.tolist()).replace("-Infinity", '"-Infinity"')
    if way == "typed" and logits.ndim == 1:
        return list(map(repr, logits.tolist())), b""
    if way == "quoted":
        return [nested], b""
    if way == "lines" and logits.ndim == 2:
        return [], "\n".join(" ".join(map(repr, row)) for row in logits.tolist()).encode()
    if way == "file":
        return [written(draw(st.sampled_from(SUFFIXES)), logits, nested)], b""
    return [], nested.encode()


def written(suffix: str, logits: Any, nested: str) -> str:
    """The name of a file with the logits in it."""
    import gzip
    import io

    name, buffer = f"z.{suffix}", io.BytesIO()
    plain = suffix.removesuffix(".gz")
    if plain == "npy":
        np.save(buffer, logits)
    elif plain == "npz":
        np.savez(buffer, logits)
    else:
        rows = logits.reshape(-1, logits.shape[-1]).tolist()
        between = {"csv": ",", "tsv": "\t"}.get(plain, " ")
        lines = [between.join(map(repr, row)) for row in rows]
        lines = (
            [json.dumps(row).replace("-I", '"-I').replace("ty", 'ty"') for row in rows]
            if (plain == "jsonl")
            else lines
        )
        buffer.write((nested if plain == "json" else "\n".join(lines)).encode())
    data = buffer.getvalue()
    with open(name, "wb") as file:  # noqa: PTH123
        file.write(gzip.compress(data) if suffix.endswith(".gz") else data)
    return name


@st.composite
def targets(draw: st.DrawFn, batch: tuple[int, ...], classes: int) -> list[str]:
    """Class indices or probabilities."""
    samples = math.prod(batch)
    if draw(st.integers(0, 3)):
        index = draw(st.lists(st.integers(0, classes - 1), min_size=samples, max_size=samples))
        return ["-t", ",".join(map(str, index)) or "[]"]
    raw = draw(st.lists(st.floats(1e-3, 1), min_size=classes, max_size=classes))
    soft = np.broadcast_to(np.array(raw) / sum(raw), (*batch, classes))
    return ["-q", json.dumps(soft.tolist())]


@st.composite
def losses(draw: st.DrawFn, batch: tuple[int, ...], classes: int) -> list[str]:
    """Options of the objective."""
    found: list[str] = []
    if draw(st.integers(0, 3)) == 0:
        weights = draw(st.lists(WEIGHTS, min_size=classes, max_size=classes))
        found += ["--weight", ",".join(map(repr, weights))]
    if draw(st.integers(0, 3)) == 0:
        found += ["--label-smoothing", repr(draw(st.sampled_from([0.1, 1.0, 5e-324, 1e-300, 0.0])))]
    if draw(st.integers(0, 3)) == 0:
        found += ["--z-loss", repr(draw(st.sampled_from([1e-4, 1.0, 5e-324, 1e-300, 1e308, 0.0])))]
    if draw(st.integers(0, 3)) == 0:
        found += ["--reduction", draw(st.sampled_from(["mean", "sum", "none"]))]
    if draw(st.integers(0, 7)) == 0:
        found += ["--ignore-index", str(draw(st.integers(-100, classes)))]
    if draw(st.integers(0, 7)) == 0:
        samples = max(1, math.prod(batch))
        weights = draw(st.lists(WEIGHTS, min_size=samples, max_size=samples))
        found += ["--sample-weight", ",".join(map(repr, weights))]
    return found


@st.composite
def others(draw: st.DrawFn, command: str) -> list[str]:
    """What has nothing to do with the numbers."""
    choices = [
        ["--digits", str(draw(st.integers(0, 20)))],
        ["--top", str(draw(st.integers(0, 5)))],
        ["--axis", str(draw(st.integers(-2, 2)))],
        [
            "--labels",
            draw(st.sampled_from(["a,b", "a,b,c", "x", "target,y,z", '["=1", "\\u001b"]'])),
        ],
        ["-o", f"out.{draw(st.sampled_from(OUTPUTS))}"],
        ["--from", draw(st.sampled_from(["probabilities", "log-probabilities"]))],
        ["--arrays"],
        ["--no-arrays"],
        ["--quiet"],
        ["--theme", draw(st.sampled_from(["light", "dark", "both"]))],
        ["--divisor", repr(draw(POSITIVE))],
        ["--worst", str(draw(st.integers(0, 4)))],
        ["--dtype", draw(st.sampled_from(["float16", "float32", "float64"])), "-o", "out.npy"],
        ["--columns", draw(st.sampled_from(["1", "2:", "1,2", "a", "*"]))],
        [draw(st.sampled_from(["--header", "--no-header"]))],
        ["--sample", str(draw(st.integers(0, 3)))],
        ["--latex"],
        ["--rtol", repr(draw(POSITIVE))],
        ["--exact"],
        ["--jobs", str(draw(st.integers(1, 3)))],
    ]
    picked = draw(st.lists(st.sampled_from(range(len(choices))), max_size=2, unique=True))
    return [word for number in picked for word in choices[number]]


# --- By hand --------------------------------------------------------------------------------------


def main(seconds: float, number: int) -> None:
    """Try command lines for so many seconds, from a seed on."""
    end, count, seen = time.monotonic() + seconds, 0, set()
    while time.monotonic() < end:
        number += 1

        @seed(number)
        @settings(
            max_examples=200,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(command_lines())
        def tries(line: CommandLine) -> None:
            nonlocal count
            count += 1
            try:
                judge(line)
            except AssertionError as error:
                kind = (
                    re.sub("[0-9]+", "0", str(error))[:60],
                    traceback.extract_tb(error.__traceback__)[-1].lineno,
                )
                if kind not in seen:
                    seen.add(kind)
                    sys.stdout.write(f"{error}\n    {line}\n")
                    sys.stdout.flush()

        tries()
        sys.stdout.write(f"{count:,} command lines, {len(seen)} kinds of failure\n")
        sys.stdout.flush()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        main(float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)

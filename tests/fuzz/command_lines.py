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


Files = tuple[tuple[str, bytes], ...]


@st.composite
def command_lines(draw: st.DrawFn) -> CommandLine:
    """A command with logits, a target, options of the objective and a form."""
    command = draw(st.sampled_from(["softmax", "loss", "grad", "explain", "compare"]))
    classes = draw(st.sampled_from([1, 2, 3, 3, 5, 70]))
    batch = draw(st.sampled_from([(), (), (1,), (3,), (2, 2), (0,), (25,)]))
    logits = np.zeros((*batch, classes))
    if logits.size:
        few = min(logits.size, 12)
        logits = np.resize(draw(st.lists(NUMBERS, min_size=few, max_size=few)), logits.shape)
    axis = draw(st.sampled_from([-1, -1, -1, *range(logits.ndim)]))
    moved = np.moveaxis(logits, -1, axis)
    several = len(batch) == 1 and batch[0] > 1 and axis == -1 and draw(st.integers(0, 3)) == 0
    if several:
        arguments, stdin, files = draw(in_several("z", logits)), b"", several_files("z", logits)
    else:
        arguments, stdin, files = draw(given_logits(moved))
    arguments += [] if axis == -1 else ["--axis", str(axis)]
    if command != "softmax":
        own, more = draw(targets(batch, classes, axis, several))
        arguments, files = arguments + own + draw(losses(batch, classes)), files + more
    if draw(st.integers(0, 3)) == 0:
        arguments += ["--temperature", repr(draw(POSITIVE))]
    if draw(st.integers(0, 3)) == 0:
        arguments += ["--softcap", repr(draw(POSITIVE))]
    if command == "compare":
        own, more = draw(judged(moved, several))
        arguments, files = arguments + own, files + more
    if command == "grad" and draw(st.integers(0, 3)) == 0:
        arguments += ["--check", *draw(st.sampled_from(CHECKS))]
    form = draw(st.sampled_from(FORMS))
    arguments += form if command in ("softmax", "loss", "grad") else form[:1]
    arguments += draw(others(command))
    if draw(st.integers(0, 7)) == 0:
        place = draw(st.integers(0, len(arguments)))
        arguments[place : place + draw(st.integers(0, 1))] = [draw(JUNK)]
    return CommandLine((command, *(text.replace("\x00", "") for text in arguments)), stdin, files)


@st.composite
def given_logits(draw: st.DrawFn, logits: Any) -> tuple[list[str], bytes, Files]:
    """Numbers typed, piped in, or in a file."""
    way = draw(st.sampled_from(["typed", "quoted", "stdin", "lines", "file", "file"]))
    nested = json.dumps(logits.tolist()).replace("-Infinity", '"-Infinity"')
    if way == "typed" and logits.ndim == 1:
        return list(map(repr, logits.tolist())), b"", ()
    if way == "quoted":
        return [nested], b"", ()
    if way == "lines" and logits.ndim == 2:
        return [], "\n".join(" ".join(map(repr, row)) for row in logits.tolist()).encode(), ()
    if way == "file":
        suffix = draw(st.sampled_from(SUFFIXES))
        laid_out = np.asfortranarray(logits) if draw(st.booleans()) else logits
        return [f"z.{suffix}"], b"", ((f"z.{suffix}", content_of(suffix, laid_out, nested)),)
    return [], nested.encode(), ()


def content_of(suffix: str, logits: Any, nested: str) -> bytes:
    """What a file with the logits has in it."""
    import gzip
    import io

    buffer = io.BytesIO()
    plain = suffix.removesuffix(".gz")
    if plain == "npy":
        np.save(buffer, logits)
    elif plain == "npz":
        np.savez(buffer, logits)
    else:
        rows = logits.reshape(-1, logits.shape[-1]).tolist() if logits.size else []
        between = {"csv": ",", "tsv": "\t"}.get(plain, " ")
        lines = [between.join(map(repr, row)) for row in rows]
        lines = (
            [json.dumps(row).replace("-I", '"-I').replace("ty", 'ty"') for row in rows]
            if (plain == "jsonl")
            else lines
        )
        buffer.write((nested if plain == "json" else "\n".join(lines)).encode())
    data = buffer.getvalue()
    return gzip.compress(data, mtime=0) if suffix.endswith(".gz") else data


def several_files(name: str, array: Any) -> Files:
    """Two files that have the samples of an array."""
    parts = array[:1], array[1:]
    return tuple(
        (f"{name}-{number}.npy", content_of("npy", part, "")) for number, part in enumerate(parts)
    )


@st.composite
def in_several(draw: st.DrawFn, name: str, array: Any) -> list[str]:
    """Several files as a pattern, as the shell makes names of it, or as a list."""
    names = [own for own, _ in several_files(name, array)]
    return draw(st.sampled_from([[f"{name}-*.npy"], names, [f"{name}-[01].npy"]]))


@st.composite
def targets(
    draw: st.DrawFn, batch: tuple[int, ...], classes: int, axis: int, several: bool
) -> tuple[list[str], Files]:
    """Class indices or probabilities."""
    samples = math.prod(batch)
    if draw(st.integers(0, 3)):
        index = draw(st.lists(st.integers(0, classes - 1), min_size=samples, max_size=samples))
        if several:
            words = draw(in_several("t", np.array(index)))
            joined = [",".join(words)] if draw(st.integers(0, 5)) else words
            return ["-t", *joined], several_files("t", np.array(index))
        return ["-t", ",".join(map(str, index)) or "[]"], ()
    raw = draw(st.lists(st.floats(1e-3, 1), min_size=classes, max_size=classes))
    soft = np.moveaxis(np.broadcast_to(np.array(raw) / sum(raw), (*batch, classes)), -1, axis)
    if several:
        return ["-q", "q-*.npy"], several_files("q", np.ascontiguousarray(soft))
    return ["-q", json.dumps(soft.tolist())], ()


@st.composite
def judged(draw: st.DrawFn, logits: Any, several: bool) -> tuple[list[str], Files]:
    """A loss or a gradient, right in nothing but its shape, and not always in that."""
    if draw(st.integers(0, 3)) == 0:
        return ["--loss", repr(draw(NUMBERS))], ()
    few = draw(st.lists(NUMBERS | st.floats(-1, 1), min_size=1, max_size=12))
    kinds = [
        lambda: np.resize(few, logits.shape),
        lambda: logits,
        lambda: np.exp(np.clip(logits, -700, 700)) * few[0],
        lambda: np.array(few),
    ]
    kind, dtype = draw(st.sampled_from(kinds)), draw(st.sampled_from(["f8", "f8", "f4", "f2"]))
    with np.errstate(all="ignore"):
        grad = np.asarray(kind()).astype(dtype)
    if several and len(grad) == len(logits):
        words = draw(in_several("g", grad))
        joined = [",".join(words)] if draw(st.integers(0, 5)) else words
        return ["--grad", *joined], several_files("g", grad)
    if draw(st.booleans()):
        return ["--grad", "g.npy"], (("g.npy", content_of("npy", grad, "")),)
    return ["--grad", json.dumps(grad.tolist())], ()


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
        ["--axis", str(draw(st.integers(-3, 3)))],
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

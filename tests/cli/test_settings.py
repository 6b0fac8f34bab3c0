"""The options as settings: each is taken by one, and what excludes each other is refused."""

from __future__ import annotations

from typing import Any, get_args

import click
import pytest

from cecli.answer.answer import Command
from cecli.cli.main import main
from cecli.cli.settings import Check, Settings, settings_of
from cecli.cli.verification import Verification
from cecli.errors import CecliError
from cecli.output.files.destination import Destination, destination_of
from support.each import each
from support.in_process import COMMANDS, complaint

NPY_ONLY = (
    "with --cluster an array goes into .npy files, whose rows have their places from the beginning"
)


def options_of(name: str, *arguments: str) -> dict[str, Any]:
    """What Click makes of the arguments of a command."""
    return (
        COMMANDS[name]
        .make_context(name, list(arguments), click.Context(main, **main.context_settings))
        .params
    )


def settings(name: Command, *arguments: str) -> Settings:
    return settings_of(name, options_of(name, *arguments))


@pytest.mark.parametrize("name", get_args(Command))
def test_every_option_is_taken(name: Command) -> None:
    # Raises TypeError for an option that nothing takes.
    made = settings(name, "2", "1")
    assert made.typed.logits == ("2", "1")
    assert (made.check, made.destination, made.view.form) == (None, None, "table")


def test_an_option_that_nothing_takes_is_no_silent_one() -> None:
    with pytest.raises(TypeError, match="nothing takes the options lables"):
        settings_of("loss", {**options_of("loss", "1"), "lables": "a,b"})
    with pytest.raises(TypeError, match="lables"):
        Verification(**{**options_of("verify", "m:f"), "lables": "a,b"})


def test_settings_hold_what_was_typed() -> None:
    made = settings(
        "grad",
        *("z.npy", "-t", "t.npy", "--labels", "a,b", "--weight", "1,2", "--axis", "0"),
        *("--temperature", "2", "--step", "1e-3", "--jobs", "3", "--worst", "5"),
        *("--digits", "4", "--top", "7", "--no-arrays", "-o", "G.NPY", "--dtype", "float16"),
        "--json",
    )
    assert (made.typed.target, made.typed.soft_target, made.typed.labels) == ("t.npy", None, "a,b")
    assert (made.overrides.weight, made.overrides.axis, made.overrides.softcap) == ("1,2", 0, None)
    assert (made.compute.exact, made.compute.jobs, made.compute.worst) == (False, 3, 5)
    assert made.check == Check("decimal", 1e-3, 0)
    assert (made.view.form, made.view.digits, made.view.top, made.view.arrays) == (
        "json",
        4,
        7,
        False,
    )
    assert made.destination is not None
    assert made.destination == Destination("G.NPY", ".npy", "array", "float16")


@pytest.mark.parametrize(
    ("path", "suffix", "kind"),
    [
        ("/dev/fd/3", "", "array"),
        ("a.b/out", "", "array"),
        (".npz", "", "array"),
        ("out.NPZ", ".npz", "array"),
        ("out.csv", ".csv", "array"),
        ("out.npy.json", ".json", "document"),
        ("out.jsonl", ".jsonl", "lines"),
        ("out.SVG", ".svg", "picture"),
    ],
)
def test_a_suffix_says_what_a_file_is(path: str, suffix: str, kind: str) -> None:
    made = settings("grad", "1", "-o", path).destination
    assert made is not None
    assert (made.path, made.suffix, made.kind) == (path, suffix, kind)


@each(
    ("arguments", "error"),
    [
        (
            "softmax 1 -o a.txt",
            "cannot write a.txt: the suffix must be .npy, .npz, .csv, .json, .jsonl or .svg",
        ),
        (
            "grad 1 -o a.tex",
            "cannot write a.tex: the suffix must be .npy, .npz, .csv, .json, .jsonl or .svg",
        ),
        (
            "explain 1 -o a.jsonl",
            (
                "cannot write a.jsonl: the suffix must be .npy, .npz, .csv, .json, .svg, .md, .tex "
                "or .html"
            ),
        ),
        (
            "compare 1 -o a.jsonl",
            "cannot write a.jsonl: the suffix must be .npy, .npz, .csv, .json or .svg",
        ),
        (
            "grad 1 --dtype float16",
            "--dtype is the type of an array that -o writes: .npy, .npz or .csv",
        ),
        (
            "grad 1 --dtype float16 -o a.json",
            "--dtype is the type of an array that -o writes: .npy, .npz or .csv",
        ),
        ("grad 1 --json --markdown", "--json and --markdown exclude each other"),
        (
            "grad 1 --json --jsonl --markdown",
            "--json and --jsonl and --markdown exclude each other",
        ),
        ("explain 1 --markdown --latex", "--markdown and --latex exclude each other"),
        ("loss 1 -t 0 -q 1", "give --target or --soft-target, not both"),
        ("compare - --grad -", "--grad and the logits cannot both be standard input"),
        ("compare 1 --grad - --loss -", "--loss and --grad cannot both be standard input"),
        (
            "loss z.npy -t 0 --cluster local -o l.npz",
            f"cannot write l.npz: {NPY_ONLY}",
        ),
        (
            "loss z.npy -t 0 --cluster local -o l.jsonl",
            f"cannot write l.jsonl: {NPY_ONLY}",
        ),
        (
            "grad 1 --jsonl --seed 0",
            "--jsonl takes each sample by itself: --seed does not go with it",
        ),
        (
            "grad 1 --jsonl --worst 2",
            "--jsonl takes each sample by itself: --worst does not go with it",
        ),
        (
            "loss z.jsonl --jsonl -t 0",
            "--target does not go with JSON Lines that are answered one by one",
        ),
        (
            "softmax - --jsonl --key a",
            "--key does not go with JSON Lines that are answered one by one",
        ),
        (
            "verify",
            "nothing to verify: give MODULE:FUNCTION, or -- and a program with its arguments",
        ),
        ("verify m:f --list", "MODULE:FUNCTION and --list exclude each other"),
        ("verify m:f -- program", "MODULE:FUNCTION and a program exclude each other"),
        ("verify m:f --torch --jax", "--torch and --jax exclude each other"),
        ("verify --json --export -", "--json and --export exclude each other"),
        ("verify m:f --timeout 0", "--timeout is 0: it must be greater than 0"),
        ("verify --jax -- program", "--jax is for a function, which stands before --, not behind"),
    ],
)
def test_what_excludes_each_other(arguments: str, error: str) -> None:
    command, *rest = arguments.split()
    assert complaint(command, *rest) == f"cecli {command}: {error}"


def test_a_path_may_be_of_some_kinds_only() -> None:
    assert destination_of("a.npy", ["array"]).kind == "array"
    with pytest.raises(CecliError, match=r"the suffix must be .npy, .npz or .csv$"):
        destination_of("a.json", ["array"])

"""The commands as they are typed: input in all its forms, options, files, documents, errors.

The program runs inside the test's process, from its arguments to its exit status.
"""

from __future__ import annotations

import io
import itertools
import json
import math
import pickle
import shlex
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import click
import numpy as np
import pytest
from numpy.typing import NDArray

import cecli
from cecli.__main__ import main
from cecli.cli.main import main as group
from cecli.core import evaluate, rows
from cecli.input.arguments import read_document
from support.in_process import COMMANDS, complaint, printed, run, shown

pytestmark = pytest.mark.usefixtures("folder")
INF = float("inf")


# --- Input forms --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "logits"),
    [
        (["2.0", "1.0", "0.1"], [2.0, 1.0, 0.1]),
        (["2.0 1.0 0.1"], [2.0, 1.0, 0.1]),
        (["2.0, 1.0, 0.1"], [2.0, 1.0, 0.1]),
        (["[2, 1, .1]"], [2.0, 1.0, 0.1]),
        (["[2,", "1,", ".1]"], [2.0, 1.0, 0.1]),
        (["[[2, 1], [3, 4]]"], [[2.0, 1.0], [3.0, 4.0]]),
        (["[[[2, 1], [3, 4]]]"], [[[2.0, 1.0], [3.0, 4.0]]]),
        (["tensor([[2.0, 1.0]])"], [[2.0, 1.0]]),
        (["tensor([2., 1.], device='cuda:0', dtype=torch.float16)"], [2.0, 1.0]),
        (["array([2., 1.], dtype=float32)"], [2.0, 1.0]),
        (["[[2. 1.]\n [3. 4.]]"], [[2.0, 1.0], [3.0, 4.0]]),
        (["7"], [7.0]),
        (["-1.5", "2"], [-1.5, 2.0]),
        (["2", "-1e-3", "-.5", "-1E+2"], [2.0, -1e-3, -0.5, -100.0]),
        (["-inf", "1", "-Infinity", "-INF"], ["-Infinity", 1.0, "-Infinity", "-Infinity"]),
        (["-1,-2,3"], [-1.0, -2.0, 3.0]),
        (["-inf,1"], ["-Infinity", 1.0]),
        (["-1e-5", "1"], [-1e-5, 1.0]),
        (["−1.5", "2"], [-1.5, 2.0]),
        (["--", "-1", "2"], [-1.0, 2.0]),
        (["1", "--", "-2"], [1.0, -2.0]),
        (["-0.0", "0"], [-0.0, 0.0]),
    ],
)
def test_numbers(arguments: list[str], logits: object) -> None:
    # Behind -- everything is a number.
    document = json.loads(shown("softmax", "--json", *arguments))
    assert document["logits"] == logits
    assert str(document["logits"]) == str(logits)  # −0.0 too


ORDERS = list(itertools.permutations(["-1.5", "-inf", "3", "--target=2"]))


@pytest.mark.parametrize("arguments", ORDERS)
def test_options_stand_anywhere(arguments: tuple[str, ...]) -> None:
    document = printed("loss", *arguments)
    assert document["target"] == 2
    numbers = [float(text) for text in arguments if not text.startswith("--")]
    assert list(map(float, document["logits"])) == numbers


@pytest.mark.parametrize(
    "arguments",
    [
        ["-t", "0", "-1", "2"],
        ["-1", "2", "-t0"],
        ["-1", "-t", "0", "2"],
        ["-1", "--target=0", "2"],
        ["-1", "--target", "0", "2"],
        ["-1", "2", "--target", "9", "-t", "0"],
        ["-t", "0", "--", "-1", "2"],
        ["--ignore-index", "-100", "-1", "2", "-t", "0"],
        ["--ignore-index=-100", "-1", "2", "-t", "0"],
        ["-t", "a", "--labels", "a,b", "-1", "2"],
        ["-ta", "--labels=a,b", "-1", "2"],
        ["-1", "2", "-t", "a", "--labels", '["a", "b"]'],
    ],
)
def test_options_take_their_value(arguments: list[str]) -> None:
    # In front of the numbers, since behind -- nothing is an option.
    document = json.loads(shown("loss", "--json", *arguments))
    assert document["logits"] == [-1.0, 2.0]
    assert document["target"] == 0


def test_negative_values_of_options() -> None:
    document = printed(
        "loss", "[[1, -2], [3, 4]]", "-t", "-1,0", "--ignore-index", "-1", "--axis", "-2"
    )
    assert document["target"] == [-1, 0]
    assert document["objective"] == {"ignore_index": -1, "axis": -2}


@pytest.mark.parametrize(
    ("arguments", "typed", "suggested"),
    [
        (["grad", "2", "1", "-t", "0", "--jsn"], "--jsn", "--json"),
        (["grad", "2", "1", "--targt", "0"], "--targt", "--target"),
        (["loss", "--weigth=1,2", "2", "1", "-t", "0"], "--weigth", "--weight"),
        (["softmax", "2", "--temprature", "3"], "--temprature", "--temperature"),
        (["softmax", "2", "1", "--Json"], "--Json", "--json"),
        (["sofmax", "2", "1"], "sofmax", "softmax"),
    ],
)
def test_mistyped_names_get_a_suggestion(arguments: list[str], typed: str, suggested: str) -> None:
    line = complaint(*arguments)
    assert typed in line
    assert f"'{suggested}'" in line


@pytest.mark.parametrize(
    "argument",
    ["-x", "-json", "-infx", "-inf-1", "-nano", "-e5", "-.", "-a1", "--1", "--inf", "-["],
)
def test_what_looks_like_an_option_is_no_logit(argument: str) -> None:
    assert "No such option" in complaint("softmax", "1", argument, "2")


@pytest.mark.parametrize("argument", ["-1x", "-0x10", "-1_000", "-1e", "-.5.5", "-1-2", "-5t"])
def test_what_starts_as_a_number_is_told_with_its_place(argument: str) -> None:
    line = complaint("softmax", "1", argument, "2")
    assert f"argument 2: '{argument}' is not a number" in line


@pytest.mark.parametrize("option", ["-t", "--target", "-o", "--weight", "--temperature"])
def test_a_missing_value_is_said_so(option: str) -> None:
    line = complaint("loss", "2", "1", option)
    assert f"'{option}'" in line
    assert "requires an argument" in line


@pytest.mark.parametrize(
    ("stdin", "logits"),
    [
        ("1 2 3\n", [1.0, 2.0, 3.0]),
        ("1, -2, -inf\r\n", [1.0, -2.0, "-Infinity"]),
        ("1 2\n3 4\n", [[1.0, 2.0], [3.0, 4.0]]),
        ("# two samples\n1,2\n\n3,4", [[1.0, 2.0], [3.0, 4.0]]),
        ("[1, 2]", [1.0, 2.0]),
        ('[[1, "-Infinity"], [3, 4]]', [[1.0, "-Infinity"], [3.0, 4.0]]),
        ("[1, 2]\n[3, 4]\n", [[1.0, 2.0], [3.0, 4.0]]),
        ('{"logits": [1, 2]}\n{"logits": [3, 4]}\n', [[1.0, 2.0], [3.0, 4.0]]),
        ("tensor([[1., 2.],\n        [3., 4.]])\n", [[1.0, 2.0], [3.0, 4.0]]),
        ("\ufeff1 2", [1.0, 2.0]),
    ],
)
@pytest.mark.parametrize("arguments", [[], ["-"]])
def test_standard_input(arguments: list[str], stdin: str, logits: object) -> None:
    assert printed("softmax", *arguments, stdin=stdin)["logits"] == logits


def test_standard_input_is_left_alone_where_there_are_numbers() -> None:
    assert printed("softmax", "1", "2", stdin="not read")["logits"] == [1.0, 2.0]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint64", ">f4"])
def test_npy_file(folder: Path, dtype: str) -> None:
    np.save("logits.npy", np.array([[1, 2], [4, 3]]).astype(dtype))
    document = printed("loss", "logits.npy", "-t", "1,0")
    assert document["logits"] == [[1, 2], [4, 3]]
    assert document["accuracy"] == 1.0


def test_json_file_is_a_whole_document() -> None:
    Path("given.json").write_text('{"logits": [1, 2], "target": 0, "labels": ["a", "b"]}')
    document = printed("loss", "given.json")
    assert (document["target"], document["labels"]) == (0, ["a", "b"])


# --- Documents from one command to another ------------------------------------------------------

OBJECTIVES = [
    ["--temperature", "2"],
    ["--softcap", "3"],
    ["--label-smoothing", "0.1"],
    ["--z-loss", "0.25"],
    ["--reduction", "sum"],
    ["--reduction", "none"],
    ["--weight", "1,2,0.1"],
    ["--ignore-index", "2"],
    ["--axis", "0"],
    ["--temperature", "0.1", "--softcap", "30", "--z-loss", "1e-4", "--label-smoothing", "1"],
    ["--weight", "0,1e-300,3", "--ignore-index", "-100", "--reduction", "sum"],
]
SQUARE = "[[2, 1, 0.1], [-1, 0.3, 5], [0, -inf, 1e-300]]"


def test_a_softmax_is_piped_into_a_gradient() -> None:
    softmax = shown("softmax", "2", "1", "0.1", "--temperature", "2", "--json")
    piped = shown("grad", "-t", "0", "--json", stdin=softmax)
    assert piped == shown("grad", "2", "1", "0.1", "-t", "0", "--temperature", "2", "--json")


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_objective_travels(objective: list[str]) -> None:
    loss = shown("loss", SQUARE, "-t", "0,1,2", *objective, "--json")
    direct = shown("grad", SQUARE, "-t", "0,1,2", *objective, "--json")
    assert shown("grad", "--json", stdin=loss) == direct
    assert shown("grad", "--json", stdin=direct) == direct


def test_labels_and_soft_targets_travel() -> None:
    loss = shown("loss", "2", "1", "-q", ".75,.25", "--labels", "cat,dog", "--json")
    document = printed("grad", stdin=loss)
    assert document["labels"] == ["cat", "dog"]
    assert document["soft_target"] == [0.75, 0.25]


@pytest.mark.parametrize(
    ("given", "option", "without"),
    [
        (["--temperature", "2"], ["--temperature", "3"], []),
        (["--temperature", "2"], ["--temperature", "1"], []),
        (["--softcap", "2"], ["--softcap", "5"], []),
        (["--label-smoothing", "0.5"], ["--label-smoothing", "0"], []),
        (["--z-loss", "2"], ["--z-loss", "0"], []),
        (["--weight", "1,2,3"], ["--weight", "3,2,1"], []),
        (["--reduction", "sum"], ["--reduction", "mean"], []),
        (["--axis", "0"], ["--axis", "1"], []),
        (["--axis", "0"], ["--axis", "-1"], []),
        (["--ignore-index", "2"], ["--ignore-index", "1"], []),
        ([], ["-t", "2,2,1"], ["-t", "0,1,2"]),
        ([], ["-q", "[[1,0,0],[0,1,0],[1,0,0]]"], ["-t", "0,1,2"]),
        ([], ["-t", "0,1,2"], ["-q", "[[1,0,0],[0,1,0],[1,0,0]]"]),
        (["--labels", "a,b,c"], ["--labels", "x,y,z"], []),
    ],
)
def test_the_command_line_wins(given: list[str], option: list[str], without: list[str]) -> None:
    target = [] if without else ["-t", "0,1,2"]
    loss = shown("loss", SQUARE, *without, *target, *given, "--json")
    direct = shown("grad", SQUARE, *target, *option, "--json")
    assert shown("grad", *option, "--json", stdin=loss) == direct


def test_a_label_of_the_document_names_the_target() -> None:
    softmax = shown("softmax", "2", "1", "--labels", "cat,dog", "--json")
    assert printed("loss", "-t", "dog", stdin=softmax)["target"] == 1
    assert printed("loss", "-t", "b", "--labels", "a,b", stdin=softmax)["target"] == 1


def test_a_target_of_the_document_may_be_a_label() -> None:
    given = json.dumps({"logits": [[1, 2], [3, 4]], "target": ["b", "a"], "labels": ["a", "b"]})
    assert printed("loss", stdin=given)["target"] == [1, 0]


def test_a_target_of_the_document_may_be_a_label_of_the_command_line() -> None:
    given = json.dumps({"logits": [[1, 2, 3], [3, 4, 5]], "target": ["b", "a"]})
    assert printed("loss", "--labels", "a,b,c", stdin=given)["target"] == [1, 0]
    lines = '{"logits": [1, 2], "target": "b"}\n{"logits": [3, 4], "target": "a"}\n'
    assert printed("loss", "--labels", "a,b", stdin=lines)["target"] == [1, 0]
    answers = shown("loss", "--labels", "a,b", "--jsonl", stdin=lines).splitlines()
    assert [json.loads(answer)["target"] for answer in answers] == [1, 0]
    Path("z.csv").write_text("target,x,z\nb,1,2\nx,4,5\n")
    assert "'b': not a class index nor one of the labels" in complaint("loss", "z.csv")
    Path("z.csv").write_text("target,x,z\nb,1,2\na,4,5\n")
    assert printed("loss", "z.csv", "--labels", "a,b")["target"] == [1, 0]
    # The document's own names stand where the command line has none such.
    Path("z.csv").write_text("target,x,z\nz,1,2\nx,4,5\n")
    assert printed("loss", "z.csv", "--labels", "a,b")["target"] == [1, 0]


# --- Options ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "keywords"),
    [
        ([], {}),
        (["--weight", "1,2,0.1"], {"weight": [1, 2, 0.1]}),
        (["--ignore-index", "1"], {"ignore_index": 1}),
        (["--label-smoothing", "0.1"], {"label_smoothing": 0.1}),
        (["--reduction", "sum"], {"reduction": "sum"}),
        (["--reduction", "none"], {"reduction": "none"}),
        (["--temperature", "0.5"], {"temperature": 0.5}),
        (["--softcap", "2"], {"softcap": 2.0}),
        (["--z-loss", "0.3"], {"z_loss": 0.3}),
        (["--axis", "0"], {"axis": 0}),
        (["--exact"], {"exact": True}),
    ],
)
def test_options_reach_the_library(options: list[str], keywords: dict[str, Any]) -> None:
    for soft in (False, True):
        if not soft or "ignore_index" not in keywords:
            assert_options_reach_the_library(options, keywords, soft)


def assert_options_reach_the_library(
    options: list[str], keywords: dict[str, Any], soft: bool
) -> None:
    logits = [[2.0, 1.0, 0.1], [-1.0, 0.3, 5.0], [0.5, 2.0, 1e-3]]
    index, probabilities = [0, 1, 2], [[0.5, 0.25, 0.25], [0.5, 0.5, 0.0], [0.0, 0.25, 0.75]]
    target = ["-q", json.dumps(probabilities)] if soft else ["-t", "0,1,2"]
    document = printed("grad", json.dumps(logits), *target, *options)
    wanted = cecli.cross_entropy(logits, probabilities if soft else index, **keywords)
    assert document["loss"] == np.asarray(wanted.loss).tolist()
    for name in ("softmax", "log_softmax", "losses", "grad"):
        array = [number for row in document[name] for number in np.ravel(row).tolist()]
        assert list(map(float, array)) == pytest.approx(
            np.ravel(getattr(wanted, name)).tolist(), rel=0, abs=0, nan_ok=True
        )
    assert document["divisor"] == wanted.divisor
    assert document.get("exact", False) == ("exact" in keywords)


def save(path: str, values: object) -> str:
    """Write values as .npy or .json, by the suffix."""
    if path.endswith(".npy"):
        np.save(path, np.array(values))
    else:
        Path(path).write_text(json.dumps(values))
    return path


@pytest.mark.parametrize("suffix", ["npy", "json"])
def test_targets_and_weights_from_files(suffix: str) -> None:
    logits = "[[2, 1], [3, 4]]"
    direct = shown("grad", logits, "-t", "1,0", "--weight", "2,3", "--json")
    target, weight = save(f"target.{suffix}", [1, 0]), save(f"weight.{suffix}", [2.0, 3.0])
    assert shown("grad", logits, "-t", target, "--weight", weight, "--json") == direct
    direct = shown("grad", logits, "-q", "[[1, 0], [0.5, 0.5]]", "--json")
    soft = save(f"soft.{suffix}", [[1.0, 0.0], [0.5, 0.5]])
    assert shown("grad", logits, "-q", soft, "--json") == direct


def test_a_soft_target_may_be_integers() -> None:
    save("soft.npy", [0, 1])
    assert printed("loss", "1", "2", "-q", "soft.npy")["soft_target"] == [0.0, 1.0]
    assert printed("loss", "1", "2", "-q", "0,1")["soft_target"] == [0.0, 1.0]


@pytest.mark.parametrize(
    ("name", "content"), [("names.txt", "cat\nblue dog\n"), ("names.json", '["cat", "blue dog"]')]
)
def test_labels_from_files(name: str, content: str) -> None:
    Path(name).write_text(content)
    document = printed("loss", "1", "2", "-t", "blue dog", "--labels", name)
    assert document["labels"] == ["cat", "blue dog"]
    assert document["target"] == 1


def test_labels_in_tables() -> None:
    table = shown("loss", "2", "1", "-t", "dog", "--labels", "cat,dog")
    assert "  cat" in table
    assert "▸ dog" in table


def test_an_index_that_is_the_label_of_another_class() -> None:
    text = complaint("loss", "1", "2", "-t", "1", "--labels", "1,0")
    assert "target '1' is the index 1 or the label of class 0" in text
    assert printed("loss", "1", "2", "-t", "1", "--labels", "0,1")["target"] == 1


@pytest.mark.parametrize("count", [1, 3])
def test_a_flat_target_fits_any_batch(count: int) -> None:
    logits = json.dumps([[[1, 2], [3, 4]]] * count)
    target = ",".join(["0", "1"] * count)
    assert printed("loss", logits, "-t", target)["target"] == [[0, 1]] * count


def test_digits() -> None:
    number = 0.41703001627783354  # of 2.0 1.0 0.1 and the target 0
    for digits in range(2, 18):
        table = shown("loss", "2", "1", "0.1", "-t", "0", "--digits", str(digits))
        assert f"= {number:.{digits}f}\n" in table
    assert "= 0.417030\n" in shown("loss", "2", "1", "0.1", "-t", "0")


def test_digits_leave_json_alone() -> None:
    assert printed("loss", "2", "1", "-t", "0", "--digits", "1") == printed(
        "loss", "2", "1", "-t", "0"
    )


def test_top() -> None:
    numbers = [str(i) for i in range(30)]
    lines = shown("loss", *numbers, "-t", "3").splitlines()
    assert sum("▸ 3 " in line for line in lines) == 1
    assert sum(line[2:4].strip().isdigit() for line in lines) == 20
    lines = shown("loss", *numbers, "-t", "3", "--top", "4").splitlines()
    assert [line[2:4].strip() for line in lines[2:6]] == ["29", "28", "27", "3"]
    assert "26 more classes" in lines[6]


def test_top_bounds_the_samples_of_a_batch() -> None:
    logits = json.dumps([[0, sample] for sample in range(30)])
    target = ",".join(["0"] * 30)
    table = shown("loss", logits, "-t", target)
    assert "10 more samples" in table
    assert "more" not in shown("loss", logits, "-t", target, "--top", "30")


@pytest.mark.parametrize("command", ["softmax", "loss", "grad"])
def test_many_numbers_are_left_out_and_said_so(command: str) -> None:
    target = [] if command == "softmax" else ["-t", "7"]
    arrays = 3 + (command == "grad")
    np.save("few.npy", np.zeros(100_000 // arrays))
    np.save("many.npy", np.zeros(100_000 // arrays + 1))
    assert "omitted" not in printed(command, "few.npy", *target)
    outcome = run(command, "many.npy", *target, "--json")
    assert outcome.status == 0
    assert outcome.stderr.count("\n") == 1
    for word in (f"cecli {command}:", "100,000", "--arrays", "-o FILE.npy"):
        assert word in outcome.stderr
    document = json.loads(outcome.stdout)
    names = ["logits", "softmax", "log_softmax", "grad"][:arrays]
    assert document["omitted"] == names
    assert not set(names) & set(document)
    assert printed(command, "many.npy", *target, "--arrays")["logits"] == [0.0] * (
        100_000 // arrays + 1
    )
    document = printed(command, "few.npy", *target, "--no-arrays")
    assert document["omitted"] == names


def test_a_document_without_arrays_cannot_be_read() -> None:
    document = shown("softmax", "1", "2", "--json", "--no-arrays")
    line = complaint("loss", "-t", "0", stdin=document)
    assert "--arrays" in line


# --- Files --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "name"), [("softmax", "softmax"), ("loss", "losses"), ("grad", "grad")]
)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32"])
def test_output_npy(command: str, name: str, dtype: str) -> None:
    np.save("logits.npy", np.array([[2, 1, 0], [-1, 3, 1]], dtype=dtype))
    target = [] if command == "softmax" else ["-t", "0,1"]
    document = printed(command, "logits.npy", *target, "-o", "out.npy")
    written: NDArray[Any] = np.load("out.npy", allow_pickle=False)
    assert written.dtype == (np.float64 if dtype == "int32" else np.dtype(dtype))
    np.testing.assert_array_equal(written, np.array(document[name]).astype(written.dtype))


@pytest.mark.parametrize("exact", [[], ["--exact"]])
@pytest.mark.parametrize("given", ["float16", "float32", "float64"])
def test_output_dtype_rounds_the_double_once(given: str, exact: list[str]) -> None:
    logits = np.random.default_rng(7).normal(size=(20 if exact else 200, 5)).astype(given)
    np.save("logits.npy", logits)
    np.save("doubles.npy", logits.astype(np.float64))
    np.save("target.npy", logits.argmin(axis=1))
    for command in ("softmax", "loss", "grad"):
        options = [*([] if command == "softmax" else ["-t", "target.npy"]), *exact]
        shown(command, "logits.npy", *options, "-o", "double.npy", "--dtype", "float64")
        shown(command, "doubles.npy", *options, "-o", "of-doubles.npy")
        doubles = np.load("double.npy")
        assert doubles.dtype == np.float64
        for dtype in ("float16", "float32"):
            shown(command, "logits.npy", *options, "-o", "out.npy", "--dtype", dtype)
            written = np.load("out.npy")
            assert written.dtype == dtype
            np.testing.assert_array_equal(written, doubles.astype(dtype))
        # Differences of short numbers are doubles, those of doubles are not: the last digit may
        # come out another way, but for --exact.
        np.testing.assert_array_max_ulp(doubles, np.load("of-doubles.npy"), 0 if exact else 4)


def test_output_dtype_needs_an_array() -> None:
    for output in ([], ["-o", "out.json"], ["-o", "out.svg"]):
        assert "--dtype" in complaint("softmax", "1", "2", "--dtype", "float32", *output)


@pytest.mark.parametrize(
    ("command", "name"), [("softmax", "softmax"), ("loss", "losses"), ("grad", "grad")]
)
def test_output_npz(command: str, name: str) -> None:
    target = [] if command == "softmax" else ["-t", "0"]
    document = printed(command, "2", "1", *target, "-o", "out.npz")
    with np.load("out.npz", allow_pickle=False) as archive:
        assert list(archive) == [name]
        assert archive[name].tolist() == document.get(name, document.get("loss"))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_output_csv_reads_back(dtype: str) -> None:
    np.save("z.npy", np.random.default_rng(3).normal(size=(3000, 3)).astype(dtype))
    for labels in ([], ["--labels", '["a", "b, c", "d\\"e"]']):
        shown("softmax", "z.npy", *labels, "-o", "out.csv")
        shown("softmax", "z.npy", *labels, "-o", "out.npy")
        written = read_document(["out.csv"], None)
        np.testing.assert_array_equal(written.logits.astype(dtype), np.load("out.npy"))
        assert written.labels == (("a", "b, c", 'd"e') if labels else None)


def test_output_csv_of_losses() -> None:
    document = printed("loss", "1 2", "3 -inf", "-t", "0,1", "-o", "out.csv", "--exact")
    assert Path("out.csv").read_text() == f"loss\n{document['losses'][0]}\ninf\n"
    shown("grad", "[[[1, 2]], [[3, 4]]]", "-t", "[[0], [0]]", "-o", "out.csv")
    assert len(Path("out.csv").read_text().splitlines()) == 2


def test_output_of_one_sample() -> None:
    shown("loss", "2", "1", "-t", "0", "-o", "loss.npy")
    written = np.load("loss.npy", allow_pickle=False)
    assert written.shape == ()
    assert float(written) == printed("loss", "2", "1", "-t", "0")["loss"]


def test_output_keeps_shape_and_axis() -> None:
    logits = np.arange(24.0).reshape(2, 3, 4)
    np.save("logits.npy", logits)
    shown("grad", "logits.npy", "-t", ",".join(["0"] * 8), "--axis", "1", "-o", "grad.npy")
    assert np.load("grad.npy", allow_pickle=False).shape == (2, 3, 4)


def test_output_json_is_what_is_printed() -> None:
    text = shown("grad", "2", "1", "-t", "0", "--check", "--json", "-o", "out.json")
    assert Path("out.json").read_text(encoding="utf-8") == text
    table = shown("grad", "2", "1", "-t", "0", "--check", "-o", "out.json")
    assert Path("out.json").read_text(encoding="utf-8") == text
    assert table.startswith("  class")


def test_output_json_holds_all_arrays() -> None:
    np.save("many.npy", np.zeros(40_000))
    assert run("softmax", "many.npy", "--json", "-o", "out.json").status == 0
    assert "omitted" not in json.loads(Path("out.json").read_text())
    shown("softmax", "1", "2", "--no-arrays", "-o", "out.json")
    assert "omitted" in json.loads(Path("out.json").read_text())


def test_output_svg() -> None:
    shown("grad", "2", "1", "-t", "0", "--check", "-o", "OUT.SVG")
    text = "".join(ET.parse("OUT.SVG").getroot().itertext()).replace("\xa0", " ")
    for word in ("softmax", "0.731059", "check passed", "cecli grad"):
        assert word in text


def test_output_without_suffix_is_an_array() -> None:
    shown("softmax", "1", "1", "-o", "out")
    assert np.load("out", allow_pickle=False).tolist() == [0.5, 0.5]


def test_output_replaces_a_file_and_leaves_no_other(folder: Path) -> None:
    Path("out.json").write_text("older")
    shown("softmax", "1", "1", "-o", "out.json")
    assert json.loads(Path("out.json").read_text())["softmax"] == [0.5, 0.5]
    assert [path.name for path in folder.iterdir()] == ["out.json"]


def test_output_through_a_link() -> None:
    Path("real.json").write_text("older")
    Path("link.json").symlink_to("real.json")
    shown("softmax", "1", "1", "-o", "link.json")
    assert Path("link.json").is_symlink()
    assert json.loads(Path("real.json").read_text())["softmax"] == [0.5, 0.5]


def test_output_to_a_device() -> None:
    shown("softmax", "1", "1", "-o", "/dev/null")
    assert Path("/dev/null").is_char_device()


def test_an_input_may_be_the_output() -> None:
    np.save("z.npy", np.array([1.0, 1.0]))
    shown("softmax", "z.npy", "-o", "z.npy")
    assert np.load("z.npy", allow_pickle=False).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("name", ["out.tsv", "out.pt", "out.txt", "out.npy.gz", "out.jpg"])
def test_unknown_suffix_of_an_output(folder: Path, name: str) -> None:
    line = complaint("softmax", "1", "2", "-o", name)
    assert name in line
    assert ".npy, .npz, .csv, .json, .jsonl or .svg" in line
    assert not list(folder.iterdir())


@pytest.mark.parametrize("name", ["missing/out.npy", "", ".", "out.npy/", "a" * 300 + ".npy"])
def test_output_that_cannot_be_written(folder: Path, name: str) -> None:
    line = complaint("softmax", "1", "2", "-o", name)
    assert "cannot write" in line
    assert not list(folder.iterdir())


def test_nothing_is_written_where_the_input_is_bad(folder: Path) -> None:
    complaint("softmax", "nan", "-o", "out.npy")
    assert not list(folder.iterdir())


# --- Exit statuses, help ------------------------------------------------------------------------


@pytest.fixture
def wrong_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A core whose gradient is off by 1e-9 in the second class."""

    def wrong(shifted: Any, mass: Any, problem: Any, place: NDArray[Any]) -> None:
        rows.grad_rows(shifted, mass, problem, place)
        place[..., 1] += 1e-9

    monkeypatch.setattr(evaluate, "grad_rows", wrong)


@pytest.mark.parametrize("view", [[], ["--json"], ["--markdown"]])
@pytest.mark.parametrize("check", [["--check"], ["--check-method", "decimal"], ["--step", "1e-25"]])
@pytest.mark.usefixtures("wrong_gradient")
def test_a_failed_check_is_status_1(view: list[str], check: list[str]) -> None:
    outcome = run("grad", "2", "1", "0.1", "-t", "0", *check, *view)
    assert outcome.status == 1
    assert outcome.stderr == ""
    if view == ["--json"]:
        found = json.loads(outcome.stdout)["check"]
        assert found["passed"] is False
        assert found["worst"] == [1]
        assert found["max_abs_error"] == pytest.approx(1e-9, rel=1e-3)
    elif not view:
        assert "CHECK FAILED: 2 of 3 components agree" in outcome.stdout
        stressed = [line for line in outcome.stdout.splitlines() if line.startswith("▸")]
        assert [line.split()[1] for line in stressed] == ["0", "1"]  # the target, then the culprit
    else:
        assert "CHECK FAILED" in outcome.stdout


@pytest.mark.usefixtures("wrong_gradient")
def test_a_failed_check_writes_its_file() -> None:
    assert run("grad", "2", "1", "-t", "0", "--check", "-o", "out.json").status == 1
    assert json.loads(Path("out.json").read_text())["check"]["passed"] is False


@pytest.mark.parametrize("method", ["decimal", "central", "forward"])
def test_a_passed_check(method: str) -> None:
    found = printed("grad", "2", "1", "0.1", "-t", "0", "--check-method", method)["check"]
    assert (found["passed"], found["method"]) == (True, method)
    assert (found["checked"], found["total"]) == (3, 3)
    assert "seed" not in found
    assert "check passed" in shown("grad", "2", "1", "0.1", "-t", "0", "--check-method", method)


def test_no_check_unless_asked() -> None:
    assert "check" not in printed("grad", "2", "1", "-t", "0")
    assert "check" in printed("grad", "2", "1", "-t", "0", "--step", "1e-21")


def test_a_step_is_stated() -> None:
    assert (
        printed("grad", "2", "1", "-t", "0", "--check", "--step", "1e-3")["check"]["step"] == 1e-3
    )
    assert "h = 0.001" in shown("grad", "2", "1", "-t", "0", "--check", "--step", "1e-3")


def test_a_large_check_is_sampled_and_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cecli.gradcheck.differences.SECONDS", 0.02)
    np.save("logits.npy", np.random.default_rng(5).normal(size=(40, 100)))
    arguments = ["grad", "logits.npy", "-t", ",".join(["0"] * 40), "--check"]
    found = printed(*arguments)["check"]
    assert found["passed"] is True
    assert 0 < found["checked"] < found["total"] == 4000
    assert found["seed"] == 0
    other = printed(*arguments, "--seed", "7")["check"]
    assert other["seed"] == 7
    assert other["checked"] == found["checked"]
    assert "a sample drawn with seed 7" in shown(*arguments, "--seed", "7")


def test_bare_program_shows_its_help() -> None:
    text = shown()
    assert text == shown("--help") == shown("-h")
    for name in COMMANDS:
        assert f"\n  {name} " in text


def test_version() -> None:
    assert shown("--version") == f"cecli {cecli.__version__}\n"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_of_a_command(name: str) -> None:
    text = shown(name, "-h")
    assert text == shown(name, "1", "2", "--help")
    assert "Examples:\n" in text
    context = click.Context(group, **group.context_settings)
    for parameter in COMMANDS[name].get_params(context):
        if isinstance(parameter, click.Option):
            assert all(option in text for option in parameter.opts)
    assert max(map(len, text.splitlines())) <= 80


# Those of verify need somebody's code: they are in test_verify.py.
@pytest.mark.parametrize("name", sorted({*COMMANDS} - {"verify"}))
def test_examples_of_the_help_work(name: str) -> None:
    np.save("logits.npy", np.array([[2.0, 1.0], [0.5, 3.0]]))
    np.save("labels.npy", np.array([0, 1]))
    np.save("mine.npy", cecli.cross_entropy([[2.0, 1.0], [0.5, 3.0]], [0, 1]).grad)
    examples = shown(name, "-h").partition("Examples:\n")[2].splitlines()
    assert len(examples) >= 3
    for example in examples:
        output = ""
        for part in example.split(" | "):
            program, *arguments = shlex.split(part)
            if program == "echo":
                output = " ".join(arguments)
            else:
                assert program == "cecli"
                output = shown(*arguments, stdin=output)
        assert output


# --- What the program is run in -----------------------------------------------------------------


def test_standard_output_may_be_text_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    # Of no encoding, so that every character can be printed.
    arguments = ["cecli", "grad", "2", "1", "-t", "0", "--labels", "日本,b"]
    for view, sign in ([], "▸"), (["--json"], "日本"):
        printed_here = io.StringIO()
        monkeypatch.setattr(sys, "argv", [*arguments, *view])
        monkeypatch.setattr(sys, "stdout", printed_here)
        monkeypatch.setattr("signal.signal", lambda *_: None)
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 0
        assert sign in printed_here.getvalue()


@pytest.mark.parametrize(
    "error", [KeyError("x"), RecursionError("deep\n\nrooted"), AssertionError()]
)
def test_what_nobody_thought_of_is_one_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr("cecli.input.problem_from.read_document", fails)
    line = complaint("softmax", "1", "2")
    assert line.startswith(f"cecli: {type(error).__name__} at test_cli.py:")
    assert line.endswith("this is a defect of cecli; please report it with the command")


# --- Bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        # logits
        ("softmax 1 nan 2", ["logit 1", "NaN"]),
        ("softmax 1 -nan", ["logit 1", "NaN"]),
        ("softmax 1 2 inf", ["logit 2", "+inf"]),
        ("softmax [[1,2],[3,inf]]", ["logit 1", "sample 1", "+inf"]),
        ("softmax [[[1,2],[3,NaN]]]", ["logit 1", "sample (0, 1)", "NaN"]),
        ("softmax -inf -inf", ["every logit", "-inf"]),
        ("softmax [[1,2],[-inf,-inf]]", ["sample 1", "-inf"]),
        ("softmax []", ["empty"]),
        ("softmax [[],[]]", ["empty"]),
        ("softmax [[1,2],[3]]", ["logits[1]", "length 1", "2"]),
        ("softmax [[1,2],3]", ["logits[1]", "3"]),
        ("softmax 1e999", ["1e999", "too large"]),
        ("softmax 1 cat", ["argument 2", "'cat'"]),
        ("softmax 1 ]", ["argument 2", "']'"]),
        ("softmax [1,2", ["bracket"]),
        ("softmax 1,,2", ["comma"]),
        ("softmax 3 -", ["'-'"]),
        ("softmax [1,null]", ["logits[1]", "null"]),
        ("softmax [1,true]", ["logits[1]", "true"]),
        ('softmax [1,"2"]', ["logits[1]", "'2'"]),
        ("softmax {}", ["logits"]),
        ('softmax {"logits":5}', ["logits", "5"]),
        ('softmax {"logits":[1],"objective":{"temp":1}}', ["'temp'", "temperature"]),
        ('softmax {"logits":[1],"objective":{"temperature":"x"}}', ["temperature", "'x'"]),
        ('softmax {"logits":[1],"objective":[]}', ["objective"]),
        # target
        ("loss 1 2", ["target", "-t", "-q"]),
        ("loss 1 2 -t 2", ["target 2", "0 to 1"]),
        ("loss 1 2 -t -1", ["target -1", "0 to 1"]),
        ("loss [[1,2],[3,4]] -t 0,7", ["target 7", "sample 1", "0 to 1"]),
        ("loss 1 2 -t -100", ["target -100", "--ignore-index"]),
        ("loss 1 2 -t 0.5", ["0.5", "whole number"]),
        ("loss 1 2 -t 1e-1", ["1e-1", "whole number"]),
        ("loss 1 2 -t 99999999999999999999", ["99999999999999999999"]),
        ("loss 1 2 -t cat", ["'cat'", "labels"]),
        ("loss 1 2 -t cat --labels dog,bird", ["'cat'", "labels"]),
        ("loss 1 2 -t 0,1", ["2 targets", "1 sample"]),
        ("loss [[1,2],[3,4]] -t 0,1,0", ["3 targets", "2 samples"]),
        ("loss [[1,2],[3,4]] -t 0", ["1 target", "2 samples"]),
        ("loss 1 2 -t []", ["target"]),
        ("loss 1 2 -t", ["'-t'"]),
        ("loss 1 2 -t 0 -q 1,0", ["--target", "--soft-target"]),
        ("loss 1 2 -q -0.5,1.5", ["-0.5", "class 0"]),
        ("loss 1 2 -q .5,.6", ["1.1", "sum"]),
        ("loss 1 2 -q nan,1", ["nan", "class 0"]),
        ("loss [[1,2],[3,4]] -q [[1,0],[.1,.1]]", ["sample 1", "0.2"]),
        ("loss 1 2 -q 1", ["(1,)", "(2,)"]),
        ("loss 1 2 -q cat", ["--soft-target", "'cat'"]),
        ("loss 1 2 -q 1,0 --ignore-index 0", ["ignore"]),
        # a mean over nothing
        ("loss 1 2 -t 5 --ignore-index 5", ["mean", "5"]),
        ("loss [[1,2],[3,4]] -t 1,1 --ignore-index 1", ["mean", "1"]),
        ("loss 1 2 -t 0 --weight 0,1", ["mean", "weights", "0"]),
        # weights and labels
        ("loss 1 2 -t 0 --weight 1", ["weight", "2"]),
        ("loss 1 2 -t 0 --weight 1,2,3", ["weight", "(3,)", "2"]),
        ("loss 1 2 -t 0 --weight 1,-1", ["weight 1", "-1"]),
        ("loss 1 2 -t 0 --weight nan,1", ["weight 0", "nan"]),
        ("loss 1 2 -t 0 --weight inf,1", ["weight 0", "inf"]),
        ("loss 1 2 -t 0 --weight 1,x", ["--weight", "'x'"]),
        ("softmax 1 2 --labels a", ["1 label", "2 classes"]),
        ("softmax 1 2 --labels a,b,c", ["3 labels", "2 classes"]),
        ("softmax 1 2 --labels a,a", ["'a'", "labels[0]", "labels[1]"]),
        ("softmax 1 2 --labels a,", ["labels[1]"]),
        ('softmax 1 2 --labels ["a",2]', ["labels[1]", "2"]),
        # numbers of the objective
        ("softmax 1 2 --temperature 0", ["temperature", "0"]),
        ("softmax 1 2 --temperature -2", ["temperature", "-2"]),
        ("softmax 1 2 --temperature nan", ["temperature", "nan"]),
        ("softmax 1 2 --temperature inf", ["temperature", "inf"]),
        ("softmax 1 2 --temperature hot", ["--temperature", "'hot'"]),
        ("softmax 1 2 --softcap 0", ["softcap", "0"]),
        ("softmax 1 2 --softcap -inf", ["softcap", "-inf"]),
        ("loss 1 2 -t 0 --label-smoothing 1.5", ["smoothing", "1.5"]),
        ("loss 1 2 -t 0 --label-smoothing -0.1", ["smoothing", "-0.1"]),
        ("loss 1 2 -t 0 --z-loss -1", ["z_loss", "-1"]),
        ("loss 1 2 -t 0 --reduction avg", ["--reduction", "'avg'", "mean"]),
        ("loss 1 2 -t 0 --ignore-index x", ["--ignore-index", "'x'"]),
        ("loss 1 2 -t 0 --ignore-index 99999999999999999999", ["9999"]),
        ("softmax 1 2 --axis 1", ["axis 1", "(2,)"]),
        ("softmax 1 2 --axis 99999999999999999999", ["axis"]),
        ("loss [[1,2],[3,4]] -t 0,1 --axis 5", ["axis 5", "(2, 2)"]),
        ("grad [[1,2],[3,4]] -t 0,1 --axis -3", ["axis -3", "(2, 2)"]),
        # the other options
        ("softmax 1 2 --digits 0", ["--digits", "0"]),
        ("softmax 1 2 --digits 18", ["--digits", "18"]),
        ("softmax 1 2 --digits x", ["--digits", "'x'"]),
        ("softmax 1 2 --top 0", ["--top", "0"]),
        ("softmax 1 2 --json --markdown", ["--json", "--markdown"]),
        ("softmax 1 2 --json=yes", ["--json"]),
        ("softmax 1 2 -t 0", ["'-t'"]),
        ("loss 1 2 -t 0 --check", ["'--check'"]),
        ("grad 1 2 -t 0 --check-method analytic", ["'analytic'", "decimal"]),
        ("grad 1 2 -t 0 --step 0", ["step", "0"]),
        ("grad 1 2 -t 0 --step 2", ["step", "2"]),
        ("grad 1 2 -t 0 --step nan", ["step", "nan"]),
        ("grad 1 2 -t 0 --step 1e-400", ["step", "0"]),
        ("grad 1 2 -t 0 --check --seed -1", ["--seed", "-1"]),
        ("grad 1 -inf -t 1 --check", ["infinite"]),
        ("grad 1 2 -t 0 --softcap 5e-324 --check", ["softcap", "4.94066e-324", "step"]),
        ("derive 1 2", ["'derive'"]),
        ("--jsn softmax 1 2", ["--jsn"]),
        # files
        ("softmax missing.npy", ["missing.npy", "no such file"]),
        ("softmax logits.pt", ["logits.pt", "no such file"]),
        ("softmax logits.pkl", ["logits.pkl", "pickles are never opened", "numpy.save"]),
        ("softmax folder.npy", ["folder.npy"]),
        ("softmax empty.npy", ["empty.npy", "empty"]),
        ("softmax text.npy", ["text.npy"]),
        ("softmax truncated.npy", ["truncated.npy", "more"]),
        ("softmax lying.npy", ["lying.npy", "more"]),
        ("softmax pickled.npy", ["pickled.npy", "pickle"]),
        ("softmax complex.npy", ["complex.npy", "complex numbers"]),
        ("softmax number.npy", ["number.npy"]),
        ("softmax no_classes.npy", ["(3, 0)"]),
        ("loss no_samples.npy -t no_targets.npy", ["mean", "no samples"]),
        ("softmax broken.json", ["broken.json", "line 2"]),
        ("softmax deep.json", ["deep.json", "deep"]),
        ("softmax latin.json", ["latin.json", "UTF-8"]),
        ("softmax good.npy 1", ["good.npy"]),
        ("loss good.npy -t missing.npy", ["missing.npy"]),
        ("loss good.npy -t halves.npy", ["halves.npy", "0.5"]),
        ("loss good.npy -t 0,1 --weight missing.json", ["--weight", "missing.json"]),
        ("softmax good.npy --labels missing.txt", ["missing.txt"]),
        ("softmax good.npy --labels good.npy", ["good.npy"]),
    ],
)
def test_bad_input(bad_files: None, arguments: str, words: list[str]) -> None:
    line = complaint(*arguments.split())
    for word in words:
        assert word in line


@pytest.mark.parametrize("target", ["cat.dog", "cat.npy", "a,b.npy"])
def test_a_label_that_looks_like_a_file_is_not_named_as_one(target: str) -> None:
    labels = json.dumps([target, "b", "c"])
    line = complaint("loss", "[[1,2,3],[3,2,1]]", "--labels", labels, "-t", target)
    assert line.startswith("cecli loss: 1 target for 2 samples: ")


@pytest.mark.parametrize(
    ("arguments", "start"),
    [
        ("wrong.npy -t 0,0", "'wrong.npy': logit 1 of sample 1 is NaN"),
        ("good.npy -t bad.npy", "'bad.npy': target -1 of sample 0 is out of range"),
        ("good.npy -t 0,5", "target 5 of sample 1 is out of range"),
        ("good.npy -q wrong.npy", "'wrong.npy': soft target of sample 1 has nan for class 1"),
        ("good.npy -t 0,0 --weight bad.npy", "'bad.npy': weight 0 is -1"),
        ("good.npy -t 0,0 --weight 1,-1", "weight 1 is -1"),
        ("good.npy -q bad.npy", "'bad.npy': a target of type float64 and shape (2,)"),
        ("document.json", "'document.json': target 2 of sample 0 is out of range"),
        ("document.json -t 0,0", "'document.json': weight 0 is -1"),
        ("document.json -t 0,0 --weight 1,-2", "weight 1 is -2"),
        ("good-*.npy -t 0,0,0,5", "target 5 of sample 3 is out of range"),
        ("good-*.npy -t bad.npy,bad.npy", "'bad.npy': target -1 of sample 0 is out of range"),
    ],
)
def test_an_error_names_the_file_of_its_number(arguments: str, start: str) -> None:
    for name in ("good.npy", "good-1.npy", "good-2.npy"):
        np.save(name, np.array([[1.0, 2.0], [3.0, 4.0]]))
    np.save("wrong.npy", np.array([[1.0, 2.0], [3.0, np.nan]]))
    np.save("bad.npy", np.array([-1, 5]))
    weighted = {"logits": [[1, 2]] * 2, "target": [2, 0], "objective": {"weight": [-1, 1]}}
    Path("document.json").write_text(json.dumps(weighted))
    assert complaint("loss", *arguments.split()).startswith(f"cecli loss: {start}")


@pytest.fixture
def bad_files(folder: Path) -> None:
    """Files of which few can be read."""
    np.save("good.npy", np.array([[1.0, 2.0], [3.0, 4.0]]))
    good = Path("good.npy").read_bytes()
    Path("empty.npy").write_bytes(b"")
    Path("text.npy").write_text("1 2 3\n")
    Path("truncated.npy").write_bytes(good[:-1])
    Path("lying.npy").write_bytes(good.replace(b"(2, 2), }  ", b"(2, 2000)}"[:11].ljust(11)))
    Path("pickled.npy").write_bytes(pickle.dumps([1.0]))
    np.save("pickled.npy", np.array([None]), allow_pickle=True)
    np.save("complex.npy", np.array([1j]))
    np.save("number.npy", np.array(1.0))
    np.save("no_classes.npy", np.zeros((3, 0)))
    np.save("no_samples.npy", np.zeros((0, 3)))
    np.save("no_targets.npy", np.zeros(0, dtype=np.int64))
    np.save("halves.npy", np.array([0.5, 1.0]))
    Path("folder.npy").mkdir()
    Path("broken.json").write_text('{"logits":\n [1, }')
    Path("deep.json").write_text("[" * 100_000)
    Path("latin.json").write_bytes('{"logits": [1], "labels": ["é"]}'.encode("latin-1"))


@pytest.mark.parametrize(
    ("stdin", "words"),
    [
        ("", ["no logits", "2.0 1.0 0.1"]),
        ("   \n", ["no logits"]),
        ("1 2\n3\n", ["line 2", "1", "2"]),
        ("1 2\n3 x\n", ["line 2", "column 3", "'x'"]),
        ("[1, 2]\n[3]\n", ["line 2"]),
        ('{"logits": [1, 2]}\n{"logits": [3, "x"]}\n', ["line 2", "logits[1]", "'x'"]),
        ('{"logits": [1, 2]', ["column"]),
        (b"\xff", ["byte 0", "UTF-8"]),
        (b"1 2\n\x00", ["line 2"]),
        ('{"schema": 1, "omitted": ["logits"]}', ["--arrays"]),
        ("[" * 200_000 + "]" * 200_000, ["deep"]),
        ("[" * 40 + "1" + "]" * 40, ["deep"]),
        ('{"logits": ' * 50_000 + "}" * 50_000, ["deep"]),
        ("1" * 5000, ["too large"]),
        ("[" + "1" * 5000 + "]", ["too large"]),
        (r'["\u001b[31m"]', ["logits[0]", r"\x1b"]),
        ("a\x1b]0;title\x07\n", ["not a number"]),
    ],
)
def test_bad_standard_input(stdin: str | bytes, words: list[str]) -> None:
    line = complaint("softmax", stdin=stdin)
    assert "standard input" in line
    for word in words:
        assert word in line


def test_nan_is_allowed_where_nothing_counts() -> None:
    table = run("grad", "[[1, 2], [NaN, Infinity]]", "-t", "0,-1", "--ignore-index", "-1")
    assert (table.status, table.stderr) == (0, "")
    assert "1 of 2 samples ignored" in table.stdout
    document = printed("grad", "[[1, 2], [NaN, Infinity]]", "-t", "0,-1", "--ignore-index", "-1")
    assert document["softmax"][1] == ["NaN", "NaN"]
    assert document["grad"][1] == [0.0, 0.0]


@pytest.mark.parametrize("softcap", [[], ["--softcap", "2"]])
def test_a_masked_class_that_carries_mass(softcap: list[str]) -> None:
    document = printed("grad", "1", "-inf", "-t", "1", *softcap)
    slope = 1 - math.tanh(0.5) ** 2 if softcap else 1.0  # of the cap, at the first logit
    assert document["loss"] == "Infinity"
    assert document["softmax"] == [1.0, 0.0]
    assert document["grad"] == [pytest.approx(slope, rel=1e-15), -1.0]
    assert "infinite" in shown("grad", "1", "-inf", "-t", "1", *softcap)
    smoothed = printed("loss", "1", "-inf", "-t", "0", "--label-smoothing", "0.1", *softcap)
    assert smoothed["loss"] == "Infinity"


@pytest.mark.parametrize("command", ["softmax", "loss", "grad"])
def test_every_view_of_one_class(command: str) -> None:
    target = [] if command == "softmax" else ["-t", "0"]
    for view in ([], ["--json"], ["--markdown"]):
        assert shown(command, "5", *target, *view)

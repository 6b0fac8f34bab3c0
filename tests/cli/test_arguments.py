"""Numbers and options as they are typed, and standard input."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from support.each import each
from support.in_process import complaint, printed, shown

pytestmark = pytest.mark.usefixtures("folder")
INF = float("inf")


@each(
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


@each("arguments", ORDERS)
def test_options_stand_anywhere(arguments: tuple[str, ...]) -> None:
    document = printed("loss", *arguments)
    assert document["target"] == 2
    numbers = [float(text) for text in arguments if not text.startswith("--")]
    assert list(map(float, document["logits"])) == numbers


@each(
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


@each(
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
@each("arguments", [[], ["-"]])
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


@pytest.mark.parametrize(
    ("arguments", "option", "pattern"),
    [
        (["z.npy", "-t", "t.npy", "--grad", "g-0.npy", "g-1.npy"], "--grad", "g-*.npy"),
        (["--grad", "g-0.npy", "g-1.npy", "z.npy", "-t", "t.npy"], "--grad", "g-*.npy"),
        (["--loss", "d/1.npy", "d/2.npy", "d/3.npy", "-t", "t.npy", "z.npy"], "--loss", "d/*.npy"),
        (["z.npy", "-t", "a9.txt", "a10.txt", "--grad", "g-0.npy"], "-t", "a*.txt"),
        (["--grad", "g-0.npy", "g-1.npy", "-t", "0,1"], "--grad", "g-*.npy"),  # logits piped in
    ],
)
def test_a_pattern_without_quotes(arguments: list[str], option: str, pattern: str) -> None:
    # The first name is the option's, and the shell has made logits of the others.
    np.save("z.npy", np.zeros((2, 3)))
    np.save("t.npy", np.zeros(2, np.int64))
    for number in range(2):
        np.save(f"g-{number}.npy", np.zeros((1, 3)))
    assert f"a pattern is quoted, {option} '{pattern}', or the shell" in complaint(
        "compare", *arguments
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ["--grad", "g.npy", "z.npy", "-t", "t.npy"],
        ["--grad", "d/g.npy", "d/z.npy", "-t", "t.npy"],
        ["--grad", "logits-grad.npy", "logits.npy", "-t", "t.npy"],
        ["-t", "0.5", "0.7", "2", "--grad", "1"],
        ["z.npy", "--grad", "g-*.npy", "-t", "t.npy"],
        ["z.npy", "--grad", "g-0.npy"],
    ],
)
def test_no_pattern_without_quotes(arguments: list[str]) -> None:
    assert "a pattern is quoted" not in complaint("compare", *arguments)

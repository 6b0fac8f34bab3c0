"""Text, JSON and files as they are typed, pasted and piped, and all that can be wrong with them."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.lib import format as npy
from numpy.typing import NDArray

from cecli.errors import CecliError
from cecli.input.arguments import Document, read_document, read_labels, read_target, read_values

INF = float("inf")
NAN = float("nan")


def piped(content: str | bytes) -> Document:
    data = content.encode() if isinstance(content, str) else content
    return read_document((), io.BytesIO(data))


def error_of(read: Callable[..., object], *arguments: object) -> str:
    """The text of the one error that a reader raises: one line that any terminal can print."""
    with pytest.raises(CecliError) as caught:
        read(*arguments)
    text = str(caught.value)
    assert text.isprintable()
    assert text.strip()
    return text


def argument_error(*arguments: str) -> str:
    return error_of(read_document, arguments, None)


def assert_same(array: NDArray[Any] | None, expected: object) -> None:
    assert array is not None
    np.testing.assert_array_equal(array, np.array(expected), strict=False)
    assert array.shape == np.array(expected).shape


# --- Numbers as arguments -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["2.0", "1.0", "0.1"], [2, 1, 0.1]),
        (["2.0, 1.0, 0.1"], [2, 1, 0.1]),
        (["2.0,", "1.0,", "0.1"], [2, 1, 0.1]),
        (["2.0", ",1.0"], [2, 1]),
        (["2,1,", "0.1"], [2, 1, 0.1]),
        (["7"], [7]),
        (["2 1", "3 4"], [[2, 1], [3, 4]]),
        (["2,1", "3, 4", "5 6"], [[2, 1], [3, 4], [5, 6]]),
        (["2 1\n3 4"], [[2, 1], [3, 4]]),
        (["1, 2,\n3, 4,\n"], [[1, 2], [3, 4]]),
        (["[2, 1, .1]"], [2, 1, 0.1]),
        (["[2,", "1]"], [2, 1]),
        (["[2, 1]", "[3, 4]"], [[2, 1], [3, 4]]),
        (["[[2, 1],", "[3, 4]]"], [[2, 1], [3, 4]]),
        (["[[2 1] [3 4]]"], [[2, 1], [3, 4]]),
        (["[1\n,2 ,\n]"], [1, 2]),
        (["(2, 1)"], [2, 1]),
        (["((2, 1), (3, 4))"], [[2, 1], [3, 4]]),
        (["((2,), (3,))"], [[2], [3]]),
        (["([2, 1])"], [2, 1]),
        (["[[[1, 2]], [[3, 4]]]"], [[[1, 2]], [[3, 4]]]),
        (["[" * 32 + "1" + "]" * 32], np.ones((1,) * 32)),
        (['["-Infinity", 1, "NaN", "Infinity"]'], [-INF, 1, NAN, INF]),
        (["# a comment\n1 2\n\n  # another\n3 4"], [[1, 2], [3, 4]]),
        (['{"logits": [1, 2]}'], [1, 2]),
    ],
)
def test_numbers(arguments: list[str], expected: object) -> None:
    document = read_document(arguments, None)
    assert_same(document.logits, expected)
    assert document.logits.dtype == np.float64
    assert document.target is None
    assert document.soft_target is None
    assert document.labels is None
    assert document.objective == {}


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1.0),
        ("+1.", 1.0),
        ("-.5", -0.5),
        ("-1e-3", -1e-3),
        ("2.e5", 2e5),
        ("1E+05", 1e5),
        ("007", 7.0),
        ("\N{MINUS SIGN}2.5e\N{MINUS SIGN}3", -2.5e-3),
        ("0.1000000000000000055511151231257827021181583404541015625", 0.1),
        ("179769313486231570" + "0" * 291, sys.float_info.max),
        ("5e-324", 5e-324),
        ("1e-400", 0.0),
        ("9007199254740993", 9007199254740992.0),
        ("inf", INF),
        ("-INF", -INF),
        ("+Infinity", INF),
        ("-infinity", -INF),
        ("NaN", NAN),
        ("-nan", NAN),
    ],
)
def test_number(text: str, number: float) -> None:
    for arguments in ([text], [text, "1"], [f"[[{text}]]"], [f"np.float64({text})"]):
        assert_same(read_document(arguments, None).logits.reshape(-1)[:1], [number])


@pytest.mark.parametrize(
    "word",
    [
        "1_0",
        "0x10",
        "１",
        "1e",
        "e5",
        "1..",
        "--1",
        "1.2.3",
        "1d5",
        "infin",
        "1+2j",
        "1;",
        "'1'",
        "$",
    ],
)
def test_what_is_not_a_number(word: str) -> None:
    assert argument_error(word) == f"column 1: {word!r} is not a number"
    assert argument_error("3", word) == f"argument 2: {word!r} is not a number"
    assert argument_error(f"[1,\n  {word}]") == f"line 2, column 3: {word!r} is not a number"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["1e400"], "column 1: '1e400' is too large: the largest double is 1.8e308"),
        (["0", "-1e400"], "argument 2: '-1e400' is too large: the largest double is 1.8e308"),
        (["[1, 1e999]"], "logits[1] is too large: the largest double is 1.8e308"),
        (["[1, -" + "9" * 5000 + "]"], "logits[1] is too large: the largest double is 1.8e308"),
        (["1,,2"], "column 3: there is no number before the comma"),
        ([",1"], "column 1: there is no number before the comma"),
        (["1\n,2"], "line 2, column 1: there is no number before the comma"),
        (["[,1]"], "column 2: there is no number before the comma"),
        (["[1 2"], "column 1: the bracket is not closed"),
        (["1", "[2", "3"], "argument 2: the bracket is not closed"),
        (["1]"], "column 2: nothing to close with ']'"),
        (["[1 2)"], "column 5: nothing to close with ')'"),
        (["(1, 2]"], "column 6: nothing to close with ']'"),
        (["log(2)"], "column 1: 'log' is not a number"),
        (["-array([2])"], "column 1: '-array' is not a number"),
        (["[1, x=2]"], "column 5: 'x=2' is not a number"),
        (["1 2", "3 4 5"], "argument 2: a row of 3, where the first has 2"),
        (["1 2\n\n3"], "line 3, column 1: a row of 1, where the first has 2"),
        (["[1 2]\n[3]"], "line 2, column 1: a row of 1, where the first has 2"),
        (["[[1, 2], [3]]"], "logits[1] has length 1, where logits[0] has 2"),
        (["[[[1], [2]], [[3], [4, 5]]]"], "logits[1][1] has length 2, where logits[0][0] has 1"),
        (["[[1, 2], 3]"], "logits[1] is 3, where logits[0] is a list"),
        (["1 [2, 3]"], "logits[1] is a list, where logits[0] is 1.0"),
        (["[]"], "logits is empty"),
        (["()"], "logits is empty"),
        (["[[1], []]"], "logits[1] is empty"),
        (["[[[]]]"], "logits[0][0] is empty"),
        (["# only a comment"], "logits is empty"),
        (["[" * 33 + "1" + "]" * 33], "nested too deeply: an array has at most 32 dimensions"),
        (["[" * 200_000], "nested too deeply: an array has at most 32 dimensions"),
        (["(" + "[" * 200_000 + "1" + "]" * 200_000 + ")"], "nested too deeply"),
        (["[1, true]"], "logits[1] is true, not a number"),
        (["[0, null]"], "logits[1] is null, not a number"),
        (['[[1], ["cat\\n"]]'], "logits[1][0] is 'cat\\n', not a number"),
        (['[1, "1e5"]'], "logits[1] is '1e5', not a number"),
        (["[1, {}]"], "logits[1] is an object, not a number"),
        (["1\x00"], "column 1: '1\\x00' is not a number"),
        (["1 \ud800"], "column 3: '\\ud800' is not a number"),
        (["-", "1"], "argument 1: '-' is not a number"),
        (["x" * 10_000], f"column 1: '{'x' * 56}...{'x' * 56}' is not a number"),
        ([""], "no logits: give numbers (2.0 1.0 0.1) or a file, or pipe them in"),
        (["", " "], "no logits: give numbers (2.0 1.0 0.1) or a file, or pipe them"),
    ],
)
def test_errors_in_arguments(arguments: list[str], error: str) -> None:
    assert argument_error(*arguments).startswith(error)


# --- What NumPy, PyTorch and JAX print ----------------------------------------------------------

PYTORCH = """tensor([[ 2.0000e+00, -1.0000e+00,  5.0000e-01],
        [ 1.0000e-03,  1.0000e+05,        -inf]]{})"""


@pytest.mark.parametrize(
    "keywords",
    [
        "",
        ", requires_grad=True",
        ", dtype=torch.float64",
        ", device='cuda:0', grad_fn=<AddmmBackward0>",
        ",\n       device='cuda:0', dtype=torch.float16,\n       grad_fn=<SelectBackward0 at 0x7f>",
    ],
)
@pytest.mark.parametrize("before", ["", "Parameter containing:\n", "torch."])
def test_pytorch(before: str, keywords: str) -> None:
    text = before + PYTORCH.format(keywords)
    expected = [[2, -1, 0.5], [1e-3, 1e5, -INF]]
    assert_same(read_document([text], None).logits, expected)
    assert_same(read_document(text.split(" "), None).logits, expected)
    assert_same(piped(text + "\n").logits, expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("array([2., 1.], dtype=float32)", [2, 1]),
        ("np.array([[2.5, nan],\n          [1., -inf]])", [[2.5, NAN], [1, -INF]]),
        ("[[ 2.  1.]\n [ 3.  4.]]", [[2, 1], [3, 4]]),
        ("[2. 1.]\n[3. 4.]\n", [[2, 1], [3, 4]]),
        ("matrix([[1, 2],\n        [3, 4]])", [[1, 2], [3, 4]]),
        ("[np.float64(2.0), np.float32(-inf)]", [2, -INF]),
        ("np.float64(2.0)", [2]),
        ("[array([2., 1.]), array([3., 4.], dtype=float32)]", [[2, 1], [3, 4]]),
        ("Array([2., 1.], dtype=float32)", [2, 1]),
        ("Array([[2, 1]], dtype=bfloat16, weak_type=True)", [[2, 1]]),
        ("jax.numpy.array([2., 1.])", [2, 1]),
        ("tensor(2.5000)", [2.5]),
        ("[tensor(1.), tensor(2.)]", [1, 2]),
        ("tensor([1., 2.])\ntensor([3., 4.])\n", [[1, 2], [3, 4]]),
        ("tf.Tensor([2. 1.], shape=(2,), dtype=float32)", [2, 1]),
        ("[2.0, -inf, nan]", [2, -INF, NAN]),
    ],
)
def test_printed_arrays(text: str, expected: object) -> None:
    assert_same(read_document([text], None).logits, expected)
    assert_same(piped(text).logits, expected)


@pytest.mark.parametrize(
    "text",
    [
        "tensor([ 0.2043, -0.4888,  ..., -0.3521, -1.1093])",
        "array([0, 1, 2, ..., 1999], shape=(2000,))",
        "[0 1 ... 8 9]",
        "[[1.0, 2.0],\n ...,\n [3.0, 4.0]]",
        "1 2 \N{HORIZONTAL ELLIPSIS} 3",
    ],
)
def test_abbreviated_print(text: str) -> None:
    error = argument_error(text)
    assert "numbers are left out at '...'" in error
    assert "np.set_printoptions(threshold=sys.maxsize)" in error
    assert 'torch.set_printoptions(profile="full")' in error


@pytest.mark.parametrize(
    "text", ["tensor([], size=(0, 3))", "array([], shape=(0, 3), dtype=int64)"]
)
def test_empty_print(text: str) -> None:
    assert argument_error(text) == "logits is empty"


# --- Standard input -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("2.0 1.0 0.1\n", [2, 1, 0.1]),
        ("2.0,1.0,0.1", [2, 1, 0.1]),
        ("2\t1\n3\t4\n", [[2, 1], [3, 4]]),
        ("2 1\r\n3 4\r\n", [[2, 1], [3, 4]]),
        ("2 1\r3 4", [[2, 1], [3, 4]]),
        ("\n# header\n2 1\n\n3 4\n# footer", [[2, 1], [3, 4]]),
        ("1\n2\n", [[1], [2]]),
        ("\ufeff2 1", [2, 1]),
        ("\ufeff[2, 1]", [2, 1]),
        ("[2, 1]", [2, 1]),
        ("[[2, 1],\n [3, 4]]", [[2, 1], [3, 4]]),
        ("  [NaN, Infinity, -Infinity]", [NAN, INF, -INF]),
        ("[nan, inf, -inf]", [NAN, INF, -INF]),
        ("[2.0, 1.0]\n[nan, -inf]\n", [[2, 1], [NAN, -INF]]),
        ("[2, 1]\n[3, 4]\n", [[2, 1], [3, 4]]),
        ("[2, 1]\n\n[3, 4]\n\n", [[2, 1], [3, 4]]),
        ("[[2, 1]]\n[[3, 4]]", [[[2, 1]], [[3, 4]]]),
        ('{"logits": [2, 1]}', [2, 1]),
        ('{\n  "logits": [[2, 1], [3, 4]]\n}\n', [[2, 1], [3, 4]]),
        ('{"logits": [2, 1]}\n{"logits": [3, 4]}\n', [[2, 1], [3, 4]]),
        ('[2, 1]\n{"logits": [3, 4]}\n', [[2, 1], [3, 4]]),
        ("[100000000000000000000000, 1]", [1e23, 1]),
    ],
)
def test_standard_input(content: str, expected: object) -> None:
    assert_same(piped(content).logits, expected)
    assert_same(read_document(["-"], io.BytesIO(content.encode())).logits, expected)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("", "no logits: give numbers"),
        (" \n\t\n", "no logits: give numbers"),
        ("2 1\n3 x\n", "line 2, column 3: 'x' is not a number"),
        ("2 1\n\n# c\n3 4 5\n", "line 4, column 1: a row of 3, where the first has 2"),
        (b"1 2 \xff", "byte 4 is not valid UTF-8"),
        (b"\xef\xbb\xbf1 \xff", "byte 5 is not valid UTF-8"),
        (b"\x93NUMPY\x01\x00", "not an .npy file, or a damaged one"),
        ("1 2".encode("utf-16"), "the text is UTF-16; it must be UTF-8"),
        ("1 2".encode("utf-16-be"), "column 1: '\\x001\\x00' is not a number"),
        (b"\xfe\xff\x00\x31", "the text is UTF-16; it must be UTF-8"),
        ('{"logits": [2, 1]', "column 18: not valid JSON: Expecting ',' delimiter"),
        ('{"logits": [2, 1]\n', "line 2, column 1: not valid JSON: Expecting ',' delimiter"),
        ('{"logits": [2,, 1]}', "column 15: not valid JSON: Expecting value"),
        ('{"a": "\n"}', "line 1, column 8: not valid JSON: Invalid control character"),
        ("{" + '"logits": {' * 200_000, "nested too deeply"),
        ('{"logits": [1]} [2]', "column 17: not valid JSON: Extra data"),
        ('{"logits": [1]} {"logits": [2, 3]}', "object 2: logits has shape (2,), where the first"),
        ("[2, 1]\n[3]\n", "line 2: logits has shape (1,), where the first line has (2,)"),
        ("[2, 1]\n[[3, 4]]\n", "line 2: logits has shape (1, 2), where the first line has (2,)"),
        ("[2, 1]\n\n[3, x]\n", "line 3, column 5: 'x' is not a number"),
        ('{"logits": [2, 1]}\n\n[3, x]\n', "line 3: column 5: not valid JSON: Expecting value"),
        ("[2, 1]\n3\n", "line 2: the logits are 3, not a list of numbers"),
        ("[2, 1]\n[3, []]\n", "line 2: logits[1] is a list, where logits[0] is 3"),
        ("[[1], [2]]\n[" + "[" * 200_000, "nested too deeply"),
        ('{"logits": [1]}\n[' + "[" * 200_000, "line 2: nested too deeply"),
    ],
)
def test_errors_in_standard_input(content: str | bytes, error: str) -> None:
    assert error_of(piped, content).startswith(f"standard input: {error}")


def test_no_standard_input() -> None:
    closed = io.BytesIO(b"1 2")
    closed.close()
    for stdin in (None, closed):
        for arguments in ((), ("-",)):
            assert error_of(read_document, arguments, stdin).startswith("no logits: give numbers")


def test_standard_input_that_cannot_be_read(folder: Path) -> None:
    class Directory(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise IsADirectoryError(21, "Is a directory")

    class Endless(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise MemoryError

    assert error_of(read_document, (), Directory()) == "standard input: is a directory"
    assert error_of(read_document, (), Endless()) == "standard input: does not fit into memory"


# --- JSON documents -----------------------------------------------------------------------------

WHOLE = {
    "schema": 1,
    "command": "grad",
    "logits": [[2, 1.5, "-Infinity"], [0, -1, 4]],
    "labels": ["cat", "dog", "1"],
    "target": ["dog", 0],
    "softmax": "not read",
    "loss": "Infinity",
    "objective": {
        "weight": [1, 2, 0.5],
        "ignore_index": -100,
        "label_smoothing": 0.1,
        "reduction": "sum",
        "temperature": 2,
        "softcap": None,
        "z_loss": 1e-4,
        "axis": 1,
    },
}


def test_whole_document() -> None:
    document = piped(json.dumps(WHOLE))
    assert_same(document.logits, [[2, 1.5, -INF], [0, -1, 4]])
    assert_same(document.target, [1, 0])
    assert document.target is not None
    assert document.target.dtype == np.int64
    assert document.soft_target is None
    assert document.labels == ("cat", "dog", "1")
    objective = dict(document.objective)
    weight = objective.pop("weight")
    assert isinstance(weight, np.ndarray)
    assert_same(weight, [1, 2, 0.5])
    assert objective == {
        "ignore_index": -100,
        "label_smoothing": 0.1,
        "reduction": "sum",
        "temperature": 2.0,
        "z_loss": 1e-4,
        "axis": 1,
    }


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (1, 1),
        ("cat", 0),
        ([2, "cat"], [2, 0]),
        ([[0, 1]], [[0, 1]]),
        (2.0, 2),
        (-100, -100),
    ],
)
def test_target_of_a_document(target: object, expected: object) -> None:
    document = piped(json.dumps({"logits": [1], "labels": ["cat", "dog", "1"], "target": target}))
    assert_same(document.target, expected)


def test_soft_target_of_a_document() -> None:
    document = piped('{"logits": [[1, 2]], "soft_target": [[0.25, 75e-2]], "target": null}')
    assert_same(document.soft_target, [[0.25, 0.75]])
    assert document.target is None


@pytest.mark.parametrize(
    ("parts", "error"),
    [
        ({"logits": 3}, "the logits are 3, not a list of numbers"),
        ({"logits": None}, "the logits are null, not a list of numbers"),
        ({"logits": True}, "the logits are true, not a list of numbers"),
        ({"logits": {"a": 1}}, "the logits are an object, not a list of numbers"),
        ({"logits": []}, "logits is empty"),
        ({"target": 1.5}, "target is 1.5: a class index is a whole number"),
        ({"target": True}, "target is true: a class index is a whole number"),
        ({"target": [0, None]}, "target[1] is null: a class index is a whole number"),
        ({"target": {}}, "target is an object: a class index is a whole number"),
        ({"target": 2**63}, "target is 9223372036854775808: a class index is a whole number"),
        ({"target": [[0], [1, 2]]}, "target[1] has length 2, where target[0] has 1"),
        ({"target": "cow"}, "target is 'cow': not a class index, and no labels are given"),
        (
            {"target": [0, "cow"], "labels": ["cat"]},
            "target[1] is 'cow': not a class index nor one of the labels",
        ),
        ({"soft_target": [1, "x"]}, "soft_target[1] is 'x', not a number"),
        ({"labels": "cat"}, "the labels are 'cat': they must be a list of names"),
        ({"labels": []}, "the labels are empty: they must be a list of names"),
        ({"labels": ["cat", 1]}, "labels[1] is 1, not a name"),
        ({"labels": ["cat", " "]}, "labels[1] is ' ', not a name"),
        ({"labels": ["\ud800"]}, "labels[0] is '\\ud800', not valid Unicode"),
        (
            {"labels": ["a", "b", "a"]},
            "labels[0] and labels[2] are 'a': each class needs a name of its own",
        ),
        ({"objective": 1}, "the objective is 1, not an object"),
        (
            {"objective": {"wieght": [1]}},
            "the objective holds 'wieght': its keys are weight, ignore_index, label_smoothing,",
        ),
        ({"objective": {"weight": [1, "x"]}}, "objective.weight[1] is 'x', not a number"),
        ({"objective": {"axis": 1.0}}, "objective.axis is 1.0, not an integer of 64 bits"),
        ({"objective": {"axis": False}}, "objective.axis is false, not an integer of 64 bits"),
        ({"objective": {"ignore_index": "0"}}, "objective.ignore_index is '0', not an integer"),
        (
            {"objective": {"ignore_index": 10**30}},
            "objective.ignore_index is 1e+30, not an integer of 64 bits",
        ),
        ({"objective": {"temperature": "hot"}}, "objective.temperature is 'hot', not a number"),
        ({"objective": {"temperature": [1]}}, "objective.temperature is a list, not a number"),
        ({"objective": {"softcap": True}}, "objective.softcap is true, not a number"),
        ({"objective": {"reduction": 1}}, "objective.reduction is 1, not text"),
    ],
)
def test_errors_in_documents(parts: dict[str, object], error: str) -> None:
    text = json.dumps({"logits": [1, 2], **parts})
    assert error_of(piped, text).startswith(f"standard input: {error}")
    lines = f'{{"logits": [1, 2]}}\n{text}\n'
    assert error_of(piped, lines).startswith(f"standard input: line 2: {error}")


def test_document_without_logits() -> None:
    assert error_of(piped, '{"loss": 1}') == 'standard input: the object has no "logits"'
    omitted = error_of(piped, '{"loss": 1, "omitted": ["logits", "softmax"]}')
    assert omitted.endswith("the document leaves out its arrays; print it with --arrays")


@pytest.mark.parametrize(
    "text",
    [
        '{"logits": [1, 2], "target": 0, "target": 1}',
        '{"target": 0, "logits": [1, 2], "target": 0}',
        '{"logits": [1, 2], "target": 0}\n{"logits": [1, 2], "target": 0, "target": 1}',
        '{"logits": [1, 2], "objective": {"target": 0, "target": 1}}',
    ],
)
def test_a_key_that_a_document_has_twice(text: str, folder: Path) -> None:
    line = "line 2: " if "\n" in text else ""
    error = f"{line}an object has the key 'target' twice: which is meant?"
    assert error_of(piped, text) == f"standard input: {error}"
    (folder / "z.jsonl").write_text(text)
    assert argument_error("z.jsonl").endswith(error)
    (folder / "y.json").write_text(text.rpartition("\n")[2])
    assert error_of(read_target, "y.json", None).endswith("key 'target' twice: which is meant?")


def test_json_lines_of_documents() -> None:
    objective = '"objective": {"temperature": 2, "weight": [1, 2]}, "labels": ["cat", "dog"]'
    line = '{"logits": [%d, 1], "target": "%s", "soft_target": [0, 1], ' + objective + "}\n"
    document = piped(line % (2, "dog") + "\n" + line % (3, "cat"))
    assert_same(document.logits, [[2, 1], [3, 1]])
    assert_same(document.target, [1, 0])
    assert_same(document.soft_target, [[0, 1], [0, 1]])
    assert document.labels == ("cat", "dog")
    assert document.objective["temperature"] == 2.0


@pytest.mark.parametrize(
    ("first", "second", "error"),
    [
        ('"target": 0', "", "target must be in every line or in none"),
        ("", '"target": 0', "target must be in every line or in none"),
        ('"target": 0', '"soft_target": [0, 1]', "target must be in every line or in none"),
        ('"target": 0', '"target": [0]', "target has shape (1,), where the first line has ()"),
        ('"labels": ["a", "b"]', "", "the labels differ from those of the first line"),
        (
            '"labels": ["a", "b"]',
            '"labels": ["b", "a"]',
            "the labels differ from those of the first line",
        ),
        (
            '"objective": {"axis": 0}',
            '"objective": {"softcap": 1}',
            "the objective differs from that of the first line",
        ),
        (
            '"objective": {"weight": [1, 2]}',
            '"objective": {"weight": [1, 3]}',
            "the objective differs from that of the first line",
        ),
    ],
)
def test_json_lines_that_disagree(first: str, second: str, error: str) -> None:
    lines = [f'{{"logits": [1, 2]{", " if rest else ""}{rest}}}' for rest in (first, second)]
    assert error_of(piped, "\n".join(lines)) == f"standard input: line 2: {error}"


# --- Files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["logits.npy", "LOGITS.NPY", "my logits.Npy"])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", ">f8", "i1", ">i2", "i8", "u1", "u8"])
def test_npy(folder: Path, name: str, dtype: str) -> None:
    array = np.arange(6).reshape(2, 3).astype(dtype)
    with (folder / name).open("wb") as file:
        np.save(file, array)
    logits = read_document([name], None).logits
    assert logits.dtype == array.dtype
    assert_same(logits, array)


def test_npy_of_booleans_is_read_as_integers(folder: Path) -> None:
    np.save(folder / "mask.npy", np.array([True, False]))
    logits = read_document(["mask.npy"], None).logits
    assert logits.dtype == np.uint8
    assert_same(logits, [1, 0])


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_versions_and_orders(folder: Path, version: tuple[int, int], order: Any) -> None:
    array = np.array(np.arange(24.0).reshape(2, 3, 4), order=order)
    path = folder / "logits.npy"
    with path.open("wb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        npy.write_array(file, array, version=version)
    assert_same(read_document([path.name], None).logits, array)


def test_npy_without_samples(folder: Path) -> None:
    np.save(folder / "none.npy", np.zeros((0, 3), dtype=np.float32))
    assert read_document(["none.npy"], None).logits.shape == (0, 3)


def header_of(descr: str, shape: object, fortran_order: object = False) -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': {fortran_order}, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


WHOLE_NPY = header_of("'<f8'", "(2,)") + np.array([1.0, 2.0]).tobytes()
SUFFIXES = (
    ".npy, .npz, .safetensors, .pt, .pth, .csv, .tsv, .parquet, .arrow, .feather, .json, .jsonl or "
    ".txt, or .gz behind it"
)
DAMAGED = "not an .npy file, or a damaged one"
DTYPES = "not integers, float8, bfloat16, float16, float32 or float64"


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", "the file is empty"),
        (b"1 2 3", DAMAGED),
        (b"PK\x03\x04", DAMAGED),
        (WHOLE_NPY[:5], DAMAGED),
        (WHOLE_NPY[:9], DAMAGED),
        (WHOLE_NPY[:30], DAMAGED),
        (b"\x93NUMPY\x09\x00" + WHOLE_NPY[8:], DAMAGED),
        (WHOLE_NPY[:-1], "its header promises more data than the 15 bytes it has"),
        (WHOLE_NPY + b"\0", "its header promises less data than the 17 bytes it has"),
        (
            header_of("'<f8'", "(1000000000000, 1000)") + b"\0" * 8,
            "its header promises more data than the 8 bytes it has",
        ),
        (header_of("'<f8'", f"({10**40},)"), "its header promises more data than the 0 bytes"),
        (header_of("'<f8'", f"({'9' * 4000}, {'9' * 4000})"), "its header promises more data"),
        (header_of("'<f8'", "(-1,)") + b"\0" * 8, "its header promises less data"),
        (header_of("'<f8'", "(-1, -1)") + b"\0" * 8, DAMAGED),
        (header_of("'<f8'", "(-1, 0)"), DAMAGED),
        (header_of("'<f8'", f"(0, {10**40})"), DAMAGED),
        (header_of("'<f8'", "(1.5,)") + b"\0" * 8, DAMAGED),
        (header_of("'<f8'", "'(1,)'") + b"\0" * 8, DAMAGED),
        (header_of("'<f8'", (1,) * 40) + b"\0" * 8, "40 dimensions: at most 32 can be read"),
        (header_of("'<f8'", "(1L,)") + b"\0" * 8, None),
        (header_of("'nonsense'", "(1,)"), DAMAGED),
        (header_of("[]", "(1,)"), f"holds void, {DTYPES}"),
        (header_of("'|O'", "(1,)"), f"holds pickled objects, {DTYPES}"),
        (header_of("'<c16'", "(1,)"), f"holds complex numbers, {DTYPES}"),
        (header_of("'<U3'", "(1,)"), f"holds texts, {DTYPES}"),
        (header_of("'|S3'", "(1,)"), f"holds texts, {DTYPES}"),
        (header_of("'|V3'", "(1,)"), f"holds void24, {DTYPES}"),
        (header_of("[('a', 'u1'), ('b', 'u1')]", "(1,)"), f"holds void16, {DTYPES}"),
        (header_of("'<M8[s]'", "(1,)"), f"holds dates, {DTYPES}"),
        (header_of("[('a\\n', '<f8')]", "(1,)"), f"holds void64, {DTYPES}"),
        (header_of("'<f8'", "(" * 5000), DAMAGED),
        (header_of("'<f8'", "(1,)" + " " * 20_000), DAMAGED),
        (header_of("__import__('os').getcwd()", "(1,)"), DAMAGED),
    ],
)
def test_forged_npy(folder: Path, data: bytes, error: str | None) -> None:
    path = folder / "forged.npy"
    path.write_bytes(data)
    if error is None:
        assert_same(read_document([path.name], None).logits, [0.0])
    else:
        text = argument_error(path.name)
        assert text.partition(".npy")[2].strip("'.: ").startswith(error.strip("'.: "))


def test_npy_of_long_doubles(folder: Path) -> None:
    if np.dtype(np.longdouble).itemsize == 8:
        pytest.skip("long double is double here")
    np.save(folder / "long.npy", np.ones(2, dtype=np.longdouble))
    assert argument_error("long.npy").endswith(DTYPES)


def test_npy_of_a_single_number(folder: Path) -> None:
    np.save(folder / "one.npy", np.float64(2))
    assert "a single number, where logits have a dimension" in argument_error("one.npy")


unpickled: list[str] = []


class Trap:
    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return unpickled.append, ("unpickled",)


def test_pickles_stay_closed(folder: Path) -> None:
    holder = np.empty(1, dtype=object)
    holder[0] = Trap()
    np.save(folder / "trap.npy", holder, allow_pickle=True)
    (folder / "bare.npy").write_bytes(pickle.dumps(Trap()))
    for name in ("trap.npy", "bare.npy"):
        for read in (lambda p: read_document([p], None), lambda p: read_target(p, None)):
            error_of(read, name)
        error_of(read_values, name, "--weight")
    assert not unpickled


@pytest.mark.parametrize("name", ["logits.json", "LOGITS.JSON"])
def test_json_file(folder: Path, name: str) -> None:
    (folder / name).write_text('\ufeff{"logits": [2, 1],\r\n "target": 1}', encoding="utf-8")
    document = read_document([name], None)
    assert_same(document.logits, [2, 1])
    assert_same(document.target, 1)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "column 1: not valid JSON: Expecting value"),
        (b"2 1", "column 3: not valid JSON: Extra data"),
        (b"2", "the logits are 2, not a list of numbers"),
        (b'"text"', "the logits are 'text', not a list of numbers"),
        (b"[1, \xff]", "byte 4 is not valid UTF-8"),
        (b'{"logits": [1, 2],\n "target": x}', "line 2, column 12: not valid JSON"),
    ],
)
def test_errors_in_json_files(folder: Path, content: bytes, error: str) -> None:
    path = folder / "bad.json"
    path.write_bytes(content)
    assert f"bad.json': {error}" in argument_error(path.name).replace('"', "'")


@pytest.mark.parametrize("suffix", [".npy", ".json"])
def test_files_that_cannot_be_opened(folder: Path, suffix: str) -> None:
    path = folder / f"file{suffix}"
    assert argument_error(path.name).endswith("': no such file or directory")
    path.mkdir()
    assert argument_error(path.name).endswith("': is a directory")
    for name in (f"a\0b{suffix}", f"\ud800{suffix}"):
        assert argument_error(name).endswith(": not a file name")
    assert argument_error("x" * 10_000 + suffix).endswith(": file name too long")
    assert argument_error(f"{path}/child{suffix}").endswith("': no such file or directory")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_without_permission(folder: Path) -> None:
    path = folder / "secret.npy"
    path.write_bytes(WHOLE_NPY)
    path.chmod(0)
    assert argument_error(path.name).endswith("': permission denied")


def test_npy_that_is_no_regular_file(folder: Path) -> None:
    (folder / "null.npy").symlink_to(os.devnull)
    assert argument_error("null.npy").endswith("': not a regular file")


@pytest.mark.parametrize(
    "name", ["logits.npyz", "data/logits", "./logits", "my logits.doc", "a.npz.gz"]
)
def test_unknown_suffix(name: str) -> None:
    assert argument_error(name) == f"{name!r}: the suffix of a file must be {SUFFIXES}"
    assert "the suffix of a file" in argument_error("1", name)


def test_existing_file_without_suffix(folder: Path) -> None:
    (folder / "logits").write_text("1 2")
    (folder / "2.0").write_text("1 2")
    assert argument_error("logits") == f"'logits': the suffix of a file must be {SUFFIXES}"
    assert_same(read_document(["2.0", "1.0"], None).logits, [2, 1])


@pytest.mark.parametrize("arguments", [["a.npy", "1"], ["1", "a.npy"], ["a.npy", "1", "b.npy"]])
def test_files_or_numbers(arguments: list[str]) -> None:
    assert argument_error(*arguments) == "'a.npy' is a file: give files or numbers, not both"


# --- The numbers of an option -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.7,0.2,0.1", [0.7, 0.2, 0.1]),
        ("1 2", [1, 2]),
        ("3", [3]),
        ("[[0.5, 0.5], [0, 1]]", [[0.5, 0.5], [0, 1]]),
        ("0.5 0.5\n0 1", [[0.5, 0.5], [0, 1]]),
        ("tensor([0.5000, 0.5000])", [0.5, 0.5]),
        ('["Infinity", 1]', [INF, 1]),
    ],
)
def test_values(text: str, expected: object) -> None:
    assert_same(read_values(text, "--weight"), expected)


def test_values_of_files(folder: Path) -> None:
    (folder / "w.json").write_text("[1, 2.5]")
    np.save(folder / "w.npy", np.array([1, 2], dtype=">i2"))
    # A signalling NaN, which a conversion would warn about.
    np.save(folder / "nan.npy", np.array([0x7FA00000], dtype=np.uint32).view(np.float32))
    assert_same(read_values("w.json", "--weight"), [1, 2.5])
    for name, expected in (("w.npy", [1, 2]), ("nan.npy", [NAN])):
        values = read_values(name, "--weight")
        assert values.dtype.kind == "f"
        assert values.dtype.isnative
        assert_same(values, expected)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "value is empty"),
        ("1,x", "column 3: 'x' is not a number"),
        ("[1, true]", "value[1] is true, not a number"),
        ("[[1], [2, 3]]", "value[1] has length 2, where value[0] has 1"),
        ("w.doc", f"'w.doc': the suffix of a file must be {SUFFIXES}"),
        ("missing.npy", "'missing.npy': no such file or directory"),
        ("missing.json", "'missing.json': no such file or directory"),
    ],
)
def test_errors_in_values(text: str, error: str) -> None:
    assert error_of(read_values, text, "--weight") == f"--weight: {error}"


# --- Targets ------------------------------------------------------------------------------------

ANIMALS = ("cat", "dog", "great white shark", "3", "n/a", "v1.npy", "New York, NY")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("-100", -100),
        (" 2 ", 2),
        ("cat", 0),
        ("1", 1),
        ("great white shark", 2),
        ("n/a", 4),
        ("v1.npy", 5),
        ("New York, NY", 6),
        ("0,2,1", [0, 2, 1]),
        ("0 2\n1", [0, 2, 1]),
        ("cat, dog,3", [0, 1, 3]),
        ("n/a,v1.npy", [4, 5]),
        ("[0, 2]", [0, 2]),
        ('["dog", 0]', [1, 0]),
        ("[[0], [2]]", [[0], [2]]),
        ("[0 2]", [0, 2]),
        ("(0, 2)", [0, 2]),
        ("tensor([0, 2])", [0, 2]),
        ("array([0., 2.])", [0, 2]),
    ],
)
def test_target(text: str, expected: object) -> None:
    target = read_target(text, ANIMALS)
    assert target.dtype == np.int64
    assert_same(target, expected)


def test_target_without_labels() -> None:
    assert_same(read_target("0,2", None), [0, 2])
    assert error_of(read_target, "cat", None) == (
        "target is 'cat': not a class index, and no labels are given"
    )


@pytest.mark.parametrize("dtype", ["i1", "u1", "u8", ">i4", "f2", "f4", ">f8"])
def test_target_of_npy_file(folder: Path, dtype: str) -> None:
    np.save(folder / "t.npy", np.array([[0], [2]], dtype=dtype))
    target = read_target("t.npy", None)
    assert target.dtype.kind in "iu"
    assert_same(target, [[0], [2]])


def test_target_of_json_file(folder: Path) -> None:
    (folder / "t.json").write_text('[0, "dog", 2.0]')
    assert_same(read_target("t.json", ANIMALS), [0, 1, 2])


@pytest.mark.parametrize(
    ("array", "error"),
    [
        (np.array([0, 1.5]), "target[1] is 1.5: a class index is a whole number"),
        (np.array([[0, NAN]]), "target[0][1] is nan: a class index is a whole number"),
        (np.array([INF], dtype="f2"), "target[0] is inf: a class index is a whole number"),
        (np.array([1e300]), "target[0] is 1e+300: a class index is a whole number"),
        (np.array(["cat"]), "target[0] is 'cat': not a class index, and no labels are given"),
    ],
)
def test_errors_in_target_files(folder: Path, array: NDArray[Any], error: str) -> None:
    np.save(folder / "t.npy", array)
    assert error_of(read_target, "t.npy", None).endswith(f"t.npy': {error}")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "target is empty"),
        ("1.5", "target is '1.5': a class index is a whole number"),
        ("0,1.5", "target[1] is '1.5': a class index is a whole number"),
        ("0,cow", "target[1] is 'cow': not a class index nor one of the labels"),
        ("0,,1", "target[1] is '': not a class index nor one of the labels"),
        ("cat dog", "target is 'cat dog': not a class index nor one of the labels; did you mean"),
        ("9" * 30, f"target is '{'9' * 30}': a class index is a whole number"),
        ("[0, 1.5]", "target: target[1] is 1.5: a class index is a whole number"),
        ("[0, true]", "target: target[1] is true: a class index is a whole number"),
        ("[0 x]", "target: column 4: 'x' is not a number"),
        ("t.doc", f"target: 't.doc': the suffix of a file must be {SUFFIXES}"),
        ("t.csv", "target: 't.csv': no such file or directory"),
        ("\ud800,\n", "target[0] is '\\ud800': not a class index nor one of the labels"),
    ],
)
def test_errors_in_target(text: str, error: str) -> None:
    assert error_of(read_target, text, ANIMALS).startswith(error)


# --- Labels -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cat,dog", ("cat", "dog")),
        (" cat , great white shark ", ("cat", "great white shark")),
        ("cat", ("cat",)),
        ('["New York, NY", "b\\u00e9"]', ("New York, NY", "b\u00e9")),
        ("a.txt,b.json", ("a.txt", "b.json")),
        ("n/a,0", ("n/a", "0")),
    ],
)
def test_labels(text: str, expected: tuple[str, ...]) -> None:
    assert read_labels(text) == expected


def test_labels_of_files(folder: Path) -> None:
    (folder / "l.json").write_text('["cat", "dog, or wolf"]')
    (folder / "l.TXT").write_bytes(b"\xef\xbb\xbfcat\r\n dog, or wolf\r\n\r\n")
    for name in ("l.json", "l.TXT"):
        assert read_labels(name) == ("cat", "dog, or wolf")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "labels[0] is '', not a name"),
        ("cat,,dog", "labels[1] is '', not a name"),
        ("cat,dog,cat", "labels[0] and labels[2] are 'cat': each class needs a name of its own"),
        ("cat,\udcff", "labels[1] is '\\udcff', not valid Unicode"),
        ("[]", "the labels are empty: they must be a list of names"),
        ('["cat", 1]', "labels[1] is 1, not a name"),
        ("[cat, dog]", "column 2: not valid JSON: Expecting value"),
        ("names.csv", "'names.csv': the suffix of a file must be .json or .txt"),
        ("names.txt", "'names.txt': no such file or directory"),
        ("[" * 200_000, "nested too deeply: an array has at most 32 dimensions"),
    ],
)
def test_errors_in_labels(text: str, error: str) -> None:
    assert error_of(read_labels, text) == f"labels: {error}"


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("l.txt", b"cat\n\ndog\n", "labels[1] is '', not a name"),
        ("l.txt", b"", "labels[0] is '', not a name"),
        ("l.txt", b"caf\xe9", "byte 3 is not valid UTF-8"),
        ("l.json", b'{"0": "cat"}', "the labels are an object: they must be a list of names"),
        ("l.json", b'["a",]', "column "),
    ],
)
def test_errors_in_label_files(folder: Path, name: str, content: bytes, error: str) -> None:
    (folder / name).write_bytes(content)
    assert f"{name}': {error}" in error_of(read_labels, name)


# --- What is written reads back -----------------------------------------------------------------

FLOATS = arrays.arrays(
    np.float64,
    arrays.array_shapes(min_dims=1, max_dims=4, max_side=6),
    elements=st.floats(allow_nan=True, allow_infinity=True),
)


@given(FLOATS)
def test_what_numpy_prints_reads_back(array: NDArray[np.float64]) -> None:
    with np.printoptions(threshold=sys.maxsize, floatmode="unique"):
        for text in (repr(array), str(array)):
            # One sample in brackets and a batch of one are told apart, so the shape returns too.
            assert_same(read_document([text], None).logits, array)
            assert_same(piped(text).logits, array)
            assert_same(read_document(text.split(), None).logits, array)


@given(FLOATS)
def test_lists_read_back(array: NDArray[np.float64]) -> None:
    nested = array.tolist()
    assert_same(read_document([str(nested)], None).logits, array)
    assert_same(piped(json.dumps(nested)).logits, array)
    assert_same(piped(json.dumps({"logits": nested}, indent=1)).logits, array)
    if array.ndim > 1:
        # One line alone is one sample.
        expected = array if len(array) > 1 else array[0]
        assert_same(piped("\n".join(map(json.dumps, nested))).logits, expected)


@given(FLOATS.filter(lambda array: array.ndim == 2 and len(array) > 1), st.sampled_from(" ,\t;"))
def test_lines_of_numbers_read_back(array: NDArray[np.float64], separator: str) -> None:
    between = ", " if separator == ";" else separator
    lines = [between.join(map(repr, row)) for row in array.tolist()]
    assert_same(piped("\n".join(lines)).logits, array)
    if array.shape[1] > 1:
        assert_same(read_document(lines, None).logits, array)


@given(FLOATS)
def test_npy_files_read_back(tmp_path_factory: pytest.TempPathFactory, array: NDArray[Any]) -> None:
    path = tmp_path_factory.getbasetemp() / "round.npy"
    np.save(path, array)
    assert read_document([str(path)], None).logits.tobytes() == array.tobytes()


# --- Anything at all ----------------------------------------------------------------------------

FRAGMENTS = st.lists(
    st.sampled_from("[](){},:;#\"'-+.0123456789eE \n\r\t")
    | st.sampled_from(["inf", "NaN", "tensor(", "array(", "np.float64(", "...", "1e400", "9" * 400])
    | st.sampled_from(["dtype=float32", ", device='", ", grad_fn=<", ", size=(", "[[", "]]", "1,"])
    | st.sampled_from(["true", "null", '{"logits":', '"target":', '"labels":', '"objective":'])
    | st.sampled_from(
        ["\ud800", "\x00", "\u2028", "\N{MINUS SIGN}", "\uff19", "Parameter containing:"]
    )
).map("".join)
ANY_TEXT = st.text() | FRAGMENTS
ANY_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["logits", "target", "soft_target", "labels", "objective", "axis"])
            | st.sampled_from(["weight", "reduction", "omitted", "ignore_index", "softcap"])
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def assert_reads_or_explains(read: Callable[..., object], *arguments: object) -> None:
    try:
        read(*arguments)
        explanation = "none needed"
    except CecliError as error:
        explanation = str(error)
    assert explanation.isprintable(), explanation
    assert explanation.strip()


@given(st.lists(ANY_TEXT, min_size=1, max_size=4))
def test_any_arguments(arguments: list[str]) -> None:
    assert_reads_or_explains(read_document, arguments, None)


@given(ANY_TEXT, st.none() | st.lists(st.text(), max_size=3))
def test_any_text_for_an_option(text: str, labels: list[str] | None) -> None:
    assert_reads_or_explains(read_values, text, "--weight")
    assert_reads_or_explains(read_target, text, labels)
    assert_reads_or_explains(read_labels, text)


@given(st.binary() | FRAGMENTS.map(lambda text: text.encode(errors="surrogatepass")))
def test_any_bytes_on_standard_input(data: bytes) -> None:
    assert_reads_or_explains(piped, data)


@given(ANY_JSON, ANY_JSON)
def test_any_json(value: Any, other: Any) -> None:
    assert_reads_or_explains(piped, json.dumps(value))
    assert_reads_or_explains(piped, json.dumps({"logits": [1, 2], "target": value}))
    assert_reads_or_explains(
        piped, json.dumps({"logits": [1], "labels": ["a"], "objective": value})
    )
    assert_reads_or_explains(piped, f"{json.dumps(value)}\n{json.dumps(other)}")
    assert_reads_or_explains(read_labels, json.dumps([value]))


@given(
    st.binary()
    | st.binary().map(lambda data: b"\x93NUMPY" + data)
    | st.tuples(st.integers(0, len(WHOLE_NPY) - 1), st.binary(max_size=4)).map(
        lambda change: WHOLE_NPY[: change[0]] + change[1] + WHOLE_NPY[change[0] + len(change[1]) :]
    )
)
def test_any_bytes_in_a_file(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    for suffix in (".npy", ".json", ".txt"):
        path = tmp_path_factory.getbasetemp() / f"fuzz{suffix}"
        path.write_bytes(data)
        assert_reads_or_explains(read_document, [str(path)], None)
        assert_reads_or_explains(read_values, str(path), "--weight")
        assert_reads_or_explains(read_target, str(path), None)
        assert_reads_or_explains(read_labels, str(path))


# --- The cost of what is not used ---------------------------------------------------------------


def test_import_is_cheap() -> None:
    code = (
        "import sys, numpy; before = set(sys.modules); import cecli.input.arguments; "
        "print(*sorted({'click', 'rich', 'json', 'pathlib'} & (set(sys.modules) - before)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "\n"


@pytest.mark.parametrize(
    "text",
    [
        "a." * 50_000,
        "a" * 100_000,
        "tensor(" * 20_000,
        ", dtype=a" * 20_000,
        ", dtype=<" * 20_000,
        ", size=(" * 20_000,
        " " * 100_000 + "#",
        "," + " " * 100_000,
        "[1\n" * 20_000,
        "1" * 100_000,
        "/" * 50_000 + "(",
        "1." * 50_000 + "(",
    ],
)
def test_hostile_text_takes_no_time(text: str) -> None:
    # A pattern that tries again from every character would take minutes here.
    assert_reads_or_explains(read_document, [text], None)
    assert_reads_or_explains(piped, text)


# --- As people type it ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["2,5", "1,5"], ["decimal", "2.5 1.5"]),
        (["2,5 1,5 0,8"], ["decimal", "2.5 1.5"]),
        (["1 2", "3"], ["'3' stands alone beside quoted rows", "-t 1,1"]),
        (["3", "1 2", "4 5"], ["'3' stands alone"]),
        (["1 2", "3 4 5"], ["a row of 3, where the first has 2"]),
        (["2.O", "1"], ["'2.O' is not a number"]),
        (["1/3", "2/3"], ["'1/3' is not a number; write it as a decimal number"]),
    ],
)
def test_typed_numbers_that_are_refused(arguments: list[str], words: list[str]) -> None:
    for word in words:
        assert word in argument_error(*arguments)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["2,5"], [2, 5]),
        (["2.0,5 1,5"], [2, 5, 1, 5]),
        (["2,5,1 1,5,2"], [2, 5, 1, 1, 5, 2]),
        (["2,5\n1,5"], [[2, 5], [1, 5]]),
        (["2,5", "1.0,5"], [[2, 5], [1, 5]]),
        (["2 5", "1 5"], [[2, 5], [1, 5]]),
    ],
)
def test_typed_numbers_that_are_certain(arguments: list[str], expected: object) -> None:
    assert_same(read_document(arguments, None).logits, expected)


@pytest.mark.parametrize("labels", [("1", "2", "3"), ("0", "2", "1"), ("+1", "x", "y")])
def test_a_label_that_reads_as_another_index(labels: tuple[str, ...]) -> None:
    assert "is the index 1 or the label of class" in error_of(read_target, "1", labels)
    text = json.dumps({"logits": [1, 2, 3], "labels": labels, "target": "1"})
    assert "is the index 1 or the label of class" in error_of(piped, text)
    assert_same(piped(text.replace('"1"}', "1}")).target, 1)  # JSON tells numbers from texts


# --- JSON as it comes -----------------------------------------------------------------------------


def test_an_objective_at_the_top() -> None:
    text = '{"logits": [1, 2], "temperature": 2, "weight": [1, 2], "divisor": 3, "softcap": null}'
    document = piped(text)
    weight = document.objective["weight"]
    assert isinstance(weight, np.ndarray)
    assert_same(weight, [1, 2])
    assert document.objective.keys() == {"temperature", "weight"}
    same = piped('{"logits": [1], "temperature": 2, "objective": {"temperature": 2.0}}')
    assert same.objective == {"temperature": 2.0}
    text = '{"logits": [1], "temperature": 2, "objective": {"temperature": 3}}'
    assert "temperature and objective.temperature differ" in error_of(piped, text)
    assert "temperature is 'hot', not a number" in error_of(
        piped, '{"logits": [1], "temperature": "hot"}'
    )


def test_labels_that_are_integers() -> None:
    assert_same(piped('{"logits": [[1, 2], [3, 4]], "labels": [1, 0]}').target, [1, 0])
    assert_same(piped('{"logits": [1, 2], "labels": 1}').target, 1)
    assert_same(
        piped('{"logits": [1, 2], "labels": 1}\n{"logits": [1, 2], "labels": 0}').target, [1, 0]
    )
    both = '{"logits": [1, 2], "labels": [0, 1], "target": 1}'
    assert "which are the targets?" in error_of(piped, both)


def test_documents_one_after_another() -> None:
    for between in ("", " ", "\n", "\n\n  "):
        text = between.join(['{"logits": [1, 2], "target": 0}', '{"logits": [3, 4], "target": 1}'])
        document = piped(text)
        assert_same(document.logits, [[1, 2], [3, 4]])
        assert_same(document.target, [0, 1])
    lines = '{"logits": [1, 2]} {"logits": [3, 4]}\n{"logits": [5, 6]}'
    assert_same(piped(lines).logits, [[1, 2], [3, 4], [5, 6]])


@pytest.mark.parametrize("name", ["logprobs", "log_probs", "log_softmax"])
def test_logarithms_of_probabilities_are_named(name: str) -> None:
    error = error_of(piped, json.dumps({name: [[-1, -2]]}))
    assert f"no \"logits\" but '{name}'" in error
    assert "--from log-probabilities" in error


def test_names_of_classes_in_npy(folder: Path) -> None:
    for dtype in ("U", "S"):
        np.save("t.npy", np.array(["dog", "cat", "dog"]).astype(dtype))
        assert_same(read_target("t.npy", ("cat", "dog")), [1, 0, 1])
    np.savez("t.npz", names=np.array(["dog"]))
    assert_same(read_target("t.npz:names", ("cat", "dog")), [1])
    assert "did you mean 'cat'?" in error_of(read_target, "cta", ("cat", "dog"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("logits.h5", "h5py"),
        ("logits.xlsx", "save the sheet as CSV"),
        ("logits.pkl", "pickles are never opened"),
        ("logits.mat", "scipy.io.loadmat"),
        ("logits.zst", "compress it as .gz"),
        ("folder", "a directory; name its files: 'folder/*.npy'"),
        ("logit.npy", "no such file or directory; did you mean 'logits.npy'?"),
        ("folder/x.npy", "no such file or directory"),
    ],
)
def test_what_cannot_be_read_and_what_would_be_right(folder: Path, name: str, words: str) -> None:
    (folder / "folder").mkdir()
    np.save("logits.npy", np.ones(2))
    assert words in argument_error(name)

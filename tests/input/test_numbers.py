"""Numbers as they are typed, pasted and piped."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from cecli.input.arguments import read_document
from support.each import each
from support.reading import argument_error, assert_same, error_of, piped, read_target

INF = float("inf")
NAN = float("nan")


# --- Numbers as arguments ------------------------------------------------------------------------


@each(
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


@each(
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


# --- As people type it ---------------------------------------------------------------------------


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


# --- What NumPy, PyTorch and JAX print -----------------------------------------------------------


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


# --- Standard input ------------------------------------------------------------------------------


@each(
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


@each(
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

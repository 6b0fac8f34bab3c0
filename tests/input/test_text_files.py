"""Rows of text: comma, tab or space between the numbers, targets one a line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from cecli.input.arguments import read_document, read_values
from cecli.input.array_files import decode
from cecli.input.columns import Choice
from support.reading import error_of, read_target

LOGITS = np.array([[2.0, 1.0, 0.1], [-1.5, 0.25, 3.0]])
BFLOAT16 = np.array([[1.0, -2.5, 3.140625], [0.0, -np.inf, 1e-38]], dtype=np.float32)


@pytest.mark.parametrize(("name", "comma"), [("z.csv", ","), ("z.TSV", "\t")])
def test_table(folder: Path, name: str, comma: str) -> None:
    rows = [["cat", " dog", "target", "bird"], ["2", "1e0", "cat", "-inf"], ["1", "2.5", "1", "3"]]
    Path(name).write_text("\ufeff" + "\r\n".join(map(comma.join, rows)) + "\r\n\r\n")
    document = read_document([name], None)
    assert document.labels == ("cat", "dog", "bird")
    assert document.logits.tolist() == [[2, 1, -np.inf], [1, 2.5, 3]]
    assert document.target is not None
    assert document.target.tolist() == [0, 1]
    assert read_target(name, document.labels).tolist() == [0, 1]


def test_a_byte_order_mark_is_one_at_the_start_only() -> None:
    assert decode("\ufeffa".encode()) == "a"
    assert decode("\ufeff\ufeffa".encode()) == "\ufeffa"
    assert decode("\ufeffa".encode(), offset=8) == "\ufeffa"


@pytest.mark.parametrize(
    ("content", "logits"),
    [
        ("1,2\n3,4\n", [[1, 2], [3, 4]]),
        ("1,2", [1, 2]),
        ('"1","2"\n', [1, 2]),
        ("\u22121,2\n", [-1, 2]),
        ("a,b\n1,2\n", [1, 2]),
        ("0,1,target\n5,6,1\n7,8,0\n", [[5, 6], [7, 8]]),
    ],
)
def test_csv(folder: Path, content: str, logits: object) -> None:
    Path("z.csv").write_text(content, encoding="utf-8")
    assert read_document(["z.csv"], None).logits.tolist() == logits


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("", "the file holds no rows"),
        ("\n\n", "the file holds no rows"),
        ("a,b\n", "the file holds no numbers below its header"),
        ("target\n1\n", "no column is a class: --columns NAMES says which columns are"),
        ("1,2\n3\n", "line 2 has 1 cells, where the first row has 2"),
        ("1,2\n3,x\n", "line 2, column 2: 'x' is not a number"),
        ("1,2\n3,\n", "line 2, column 2: '' is not a number"),
        (
            "1,x\n3,4\n",
            "line 1, column 2: 'x' is not a number; if the row is a header, --header says so",
        ),
        ("1,2\n3,1_0\n", "line 2, column 2: '1_0' is not a number"),
        ("1,2\n3,\u0663\n", "line 2, column 2: '\u0663' is not a number"),
        ("1,2\n3,1e999\n", "line 2, column 2: '1e999' is too large"),
        ("target,a,b\n1,2,x\n", "line 2, column 3: 'x' is not a number"),
        ("a,b,target\n1,2,c\n", "target[0] is 'c': not a class index nor one of the labels"),
        ("a,a\n1,2\n", "labels[0] and labels[1] are 'a'"),
        ('"1,2\n', "line 1: unexpected end of data"),
    ],
)
def test_errors_in_csv(folder: Path, content: str, error: str) -> None:
    Path("bad.csv").write_text(content, encoding="utf-8")
    assert error_of(read_document, ["bad.csv"], None).startswith(f"'bad.csv': {error}")


@pytest.mark.parametrize("name", ["t.csv", "t.txt", "t.tsv"])
@pytest.mark.parametrize("content", ["0\ndog\n2\n", "\n0\n\ndog\n 2 \n"])
def test_targets_of_text(folder: Path, name: str, content: str) -> None:
    Path(name).write_text(content)
    assert read_target(name, ("cat", "dog", "bird")).tolist() == [0, 1, 2]


def test_other_text_files(folder: Path) -> None:
    Path("t.txt").write_text("0 1 2\n")
    Path("t.csv").write_text("0,1\n1,0\n")
    Path("t.jsonl").write_text("0\n\n2\n")
    Path("w.txt").write_text("1\n2\n0.5\n")
    Path("w.csv").write_text("a,b,c\n1,2,0.5\n")
    Path("z.txt").write_text("2 1 0.1\n0, 1, -inf\n")
    Path("z.jsonl").write_text('{"logits": [2, 1], "target": 1}\n{"logits": [0, 1], "target": 0}\n')
    assert read_target("t.txt", None).tolist() == [0, 1, 2]
    assert read_target("t.csv", None).tolist() == [[0, 1], [1, 0]]
    assert read_target("t.jsonl", None).tolist() == [0, 2]
    assert read_values("w.txt", "--weight").tolist() == [1, 2, 0.5]
    assert read_values("w.csv", "--weight").tolist() == [1, 2, 0.5]
    assert read_document(["z.txt"], None).logits.tolist() == [[2, 1, 0.1], [0, 1, -np.inf]]
    document = read_document(["z.jsonl"], None)
    assert document.logits.tolist() == [[2, 1], [0, 1]]
    assert document.target is not None
    assert document.target.tolist() == [1, 0]


@given(
    arrays.arrays(
        np.float64,
        arrays.array_shapes(min_dims=2, max_dims=2),
        elements=st.floats(allow_nan=False, allow_infinity=True).map(lambda x: min(x, 1e308)),
    ),
    st.sampled_from([("csv", ","), ("tsv", "\t"), ("txt", " "), ("txt", ", ")]),
)
def test_tables_read_back(
    tmp_path_factory: pytest.TempPathFactory, array: NDArray[np.float64], form: tuple[str, str]
) -> None:
    path = tmp_path_factory.getbasetemp() / f"table.{form[0]}"
    path.write_text("".join(form[1].join(map(repr, row)) + "\n" for row in array.tolist()))
    expected = array[0] if len(array) == 1 else array
    # Integers beside fractions may be no class.
    whole = np.isfinite(array).all(axis=0) & (np.rint(array) == array).all(axis=0)
    choice = Choice(":") if whole.any() and form[1] != " " else Choice()
    read = read_document([str(path)], None, choice=choice)
    np.testing.assert_array_equal(read.logits, expected)

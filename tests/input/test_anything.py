"""What was written reads back, and anything at all is read or refused in a line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from cecli.errors import CecliError
from cecli.input.arguments import read_document, read_labels, read_values
from support.reading import WHOLE_NPY, assert_same, piped, read_target

# --- What is written reads back ------------------------------------------------------------------


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


# --- Anything at all -----------------------------------------------------------------------------


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


# --- The cost of what is not used ----------------------------------------------------------------


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

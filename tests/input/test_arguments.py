"""Files, targets, labels and the numbers of options, and all that can be wrong with them."""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib import format as npy
from numpy.typing import NDArray

from cecli.input.arguments import read_document, read_labels, read_values
from support.each import each
from support.reading import WHOLE_NPY, argument_error, assert_same, error_of, header_of, read_target

INF = float("inf")
NAN = float("nan")


# --- Files ---------------------------------------------------------------------------------------


@each("name", ["logits.npy", "LOGITS.NPY", "my logits.Npy"])
@each("dtype", ["f2", "f4", "f8", ">f4", ">f8", "i1", ">i2", "i8", "u1", "u8"])
def test_npy(folder: Path, name: str, dtype: str) -> None:
    array = np.arange(6).reshape(2, 3).astype(dtype)
    with (folder / name).open("wb") as file:
        np.save(file, array)
    logits = read_document([name], None).logits
    assert logits.dtype == array.dtype.newbyteorder("=")
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


SUFFIXES = (
    ".npy, .npz, .safetensors, .pt, .pth, .csv, .tsv, .parquet, .arrow, .feather, .json, .jsonl or "
    ".txt, or .gz behind it"
)
DAMAGED = "not an .npy file, or a damaged one"
DTYPES = "not integers, float8, bfloat16, float16, float32 or float64"


@each(
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
        (header_of("'<f8'", "(-1,)") + b"\0" * 8, DAMAGED),
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


# --- The numbers of an option --------------------------------------------------------------------


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
    for name, kind, expected in (("w.npy", "i", [1, 2]), ("nan.npy", "f", [NAN])):
        values = read_values(name, "--weight")
        assert values.dtype.kind == kind
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


# --- Targets -------------------------------------------------------------------------------------


ANIMALS = ("cat", "dog", "great white shark", "3", "n/a", "v1.npy", "New York, NY")


@each(
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


# --- Labels --------------------------------------------------------------------------------------


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

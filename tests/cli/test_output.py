"""Files of results: formats, types, and what becomes of an older file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cecli.input.arguments import read_document
from support.in_process import complaint, printed, run, shown

pytestmark = pytest.mark.usefixtures("folder")


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
    logits = np.random.default_rng(7).normal(size=(6 if exact else 200, 5)).astype(given)
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


# --- Read back ------------------------------------------------------------------------------------

ODD_LABELS = [
    "target",
    "=1+1",
    "+a",
    "-b",
    "@c",
    "5",
    "1e3",
    "'x",
    "#",
    "sample_id",
    "",
    "y",
    "a;b",
    "\N{BYTE ORDER MARK}",
    "\N{BYTE ORDER MARK}a",
]


def assert_reads_back(labels: tuple[str, ...]) -> None:
    given = ["--labels", json.dumps(labels), *[str(1.5 * i) for i in range(len(labels))]]
    outcome = run("softmax", *given, "-o", "labelled.csv", "--json")
    if outcome.status:
        assert outcome.status == 2
        return
    numbers = json.loads(outcome.stdout)["softmax"]
    document = read_document(["labelled.csv"], None)
    assert document.labels == labels
    assert document.logits.tolist() == numbers
    assert document.notes == ()


@pytest.mark.parametrize("label", ODD_LABELS)
def test_labels_read_back_from_a_table(label: str) -> None:
    assert_reads_back((label, "other"))
    assert_reads_back(("other", label, "last"))


def test_no_header_is_a_formula() -> None:
    for label in ("=1+1", "+a", "-b", "@c"):
        shown("softmax", "1", "2", "--labels", json.dumps([label, "b"]), "-o", "labelled.csv")
        assert Path("labelled.csv").read_text().startswith(f"'{label},b\n")


def test_labels_that_are_numbered_read_back_from_a_table() -> None:
    assert_reads_back(("z0", "z1"))
    assert_reads_back(("1", "0"))
    assert_reads_back(("7",))


@given(st.lists(st.text(max_size=4), min_size=1, max_size=3, unique=True).map(tuple))
def test_any_labels_read_back_from_a_table(labels: tuple[str, ...]) -> None:
    stripped = tuple(dict.fromkeys(label.strip() for label in labels))
    assert_reads_back(stripped)


def test_a_carriage_return_is_in_no_header() -> None:
    text = complaint("softmax", "1", "2", "--labels", '["a\\rb", "c"]', "-o", "x.csv")
    assert "a label holds a carriage return" in text
    assert not Path("x.csv").exists()


@pytest.mark.parametrize("shape", [(0, 3), (2, 0, 3)])
def test_a_batch_without_samples_reads_back(shape: tuple[int, ...]) -> None:
    np.save("empty.npy", np.empty(shape))
    text = shown("softmax", "empty.npy", "--json")
    assert json.loads(text)["shape"] == list(shape)
    assert shown("softmax", "--json", stdin=text) == text
    np.save("t.npy", np.empty(shape[:-1], np.int64))
    text = shown("grad", "empty.npy", "-t", "t.npy", "--reduction", "sum", "--json")
    assert shown("grad", "--json", stdin=text) == text
    for wrong in ("[1, 2]", "[-1, 0]", "[0, 3.5]", "3", "[]", "[0]"):
        document = f'{{"logits": [], "shape": {wrong}}}'
        assert "shape" in complaint("softmax", stdin=document) or wrong == "[0]"

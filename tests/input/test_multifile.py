"""Several files of logits, named one by one or by a pattern, are one batch."""

from __future__ import annotations

import json
import os
import resource
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cecli.errors import CecliError
from cecli.input.array_files import find_array
from cecli.problem import rows as problem_rows
from cecli.problem.rows import Joined, rows_of, segment_of
from support.in_process import complaint, printed, shown

CUTS = [0, 1000, 1001, 3500, 3500, 5000]
COUNT = len(CUTS) - 1


def pieces_of(array: NDArray[Any]) -> list[NDArray[Any]]:
    return [array[start:stop] for start, stop in pairwise(CUTS)]


def save_each(name: str, array: NDArray[Any]) -> None:
    """A file for each piece: one with a single row, and one with none, is among them."""
    for number, piece in enumerate(pieces_of(array)):
        np.save(name.replace("*", str(number)), piece)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """z.npy and t.npy, and the same in pieces."""
    random = np.random.default_rng(7)
    monkeypatch.chdir(tmp_path)
    logits = (random.normal(size=(5000, 7)) * 4).astype(np.float32)
    target = random.integers(0, 7, 5000)
    np.save("z.npy", logits)
    np.save("t.npy", target)
    save_each("z-*.npy", logits)
    save_each("t-*.npy", target)
    return tmp_path


NAMED = [f"z-{number}.npy" for number in range(COUNT)]
TARGETS = ",".join(f"t-{number}.npy" for number in range(COUNT))


@pytest.mark.parametrize(
    "several",
    [
        ["z-*.npy", "-t", "t-*.npy"],
        ["z-?.npy", "-t", "t-[0-4].npy"],
        [*NAMED, "-t", TARGETS],
        [*NAMED, "-t", "t-*.npy"],
        ["z-[012].npy", "z-[!012].npy", "-t", "t-[012].npy, t-3.npy, t-4.npy"],
        ["./z-*.npy", "-t", "t.npy"],
    ],
    ids=" ".join,
)
@pytest.mark.usefixtures("folder")
def test_files_are_one_batch(several: list[str]) -> None:
    view = ["--worst", "5", "--ignore-index", "3", "--z-loss", "0.1", "-o", "out.npy"]
    whole, array = shown("grad", "z.npy", "-t", "t.npy", *view), Path("out.npy").read_bytes()
    assert shown("grad", *several, *view) == whole
    assert Path("out.npy").read_bytes() == array


@pytest.mark.usefixtures("folder")
def test_a_document_of_files_is_that_of_one() -> None:
    view = ["--json", "--arrays"]
    whole = shown("grad", "z.npy", "-t", "t.npy", *view)
    assert shown("grad", "z-*.npy", "-t", "t-*.npy", *view) == whole


@pytest.mark.parametrize("command", ["softmax", "loss", "grad"])
@pytest.mark.usefixtures("folder")
def test_every_view_of_several_files(command: str) -> None:
    target = [] if command == "softmax" else ["-t", "t-*.npy"]
    whole = [] if command == "softmax" else ["-t", "t.npy"]
    for view in ([], ["--markdown"], ["--jsonl"]):
        assert shown(command, "z-*.npy", *target, *view) == shown(command, "z.npy", *whole, *view)


@pytest.mark.usefixtures("folder")
def test_soft_targets_of_several_files() -> None:
    random = np.random.default_rng(7)
    soft = random.dirichlet(np.ones(7), size=5000)
    np.save("q.npy", soft)
    save_each("q-*.npy", soft)
    view = ["--json", "--arrays"]
    whole = shown("grad", "z.npy", "-q", "q.npy", *view)
    for several in ("q-*.npy", ",".join(f"q-{number}.npy" for number in range(COUNT)), "q.npy"):
        assert shown("grad", "z-*.npy", "-q", several, *view) == whole


@pytest.mark.parametrize("dtype", ["float16", "int8", ">f8", "V2"])
@pytest.mark.usefixtures("folder")
def test_every_type(dtype: str) -> None:
    logits = np.load("z.npy")
    values = (
        (logits.view(np.uint32) >> 16).astype(np.uint16).view("V2")
        if dtype == "V2"
        else logits.astype(dtype)
    )
    np.save("z.npy", values)
    save_each("z-*.npy", values)
    for command in (["grad", "-o", "out.npy"], ["loss", "-o", "out.npy"]):
        shown(*command, "z.npy", "-t", "t.npy")
        whole = Path("out.npy").read_bytes()
        shown(*command, "z-*.npy", "-t", "t-*.npy")
        assert Path("out.npy").read_bytes() == whole


@pytest.mark.parametrize("axis", [1, 2, 3])
@pytest.mark.usefixtures("folder")
def test_more_dimensions(axis: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(7)
    monkeypatch.setattr("cecli.machine.blocks.BLOCK_BYTES", 512)
    logits = random.normal(size=(5, 3, 4, 6))
    shape = np.delete(logits.shape, axis)
    target = random.integers(0, 3, shape)
    np.save("a.npy", logits)
    np.save("b.npy", target)
    for number, rows in enumerate((slice(0, 2), slice(2, 5))):
        np.save(f"a-{number}.npy", np.asfortranarray(logits[rows]) if number else logits[rows])
        np.save(f"b-{number}.npy", target[rows])
    view = ["--arrays", "--axis", str(axis)]
    whole = printed("grad", "a.npy", "-t", "b.npy", *view, "-o", "whole.npy")
    assert printed("grad", "a-*.npy", "-t", "b-*.npy", *view, "-o", "g-*.npy") == whole
    parts = [np.load("g-0.npy"), np.load("g-1.npy")]
    np.testing.assert_array_equal(np.concatenate(parts), np.load("whole.npy"))


@pytest.mark.usefixtures("folder")
def test_files_with_keys_and_of_text() -> None:
    logits, target = np.load("z.npy")[:6].astype(np.float64), np.load("t.npy")[:6]
    np.savez("a-0.npz", logits=logits[:2], target=target[:2])
    np.savez_compressed("a-1.npz", logits=logits[2:], target=target[2:])
    for number, rows in enumerate((slice(0, 1), slice(1, 6))):
        table = [
            [*row, index]
            for row, index in zip(logits[rows].tolist(), target[rows].tolist(), strict=True)
        ]
        lines = [",".join(map(repr, row)) for row in table]
        Path(f"c-{number}.csv").write_text("\n".join(["a,b,c,d,e,f,g,target", *lines]))
        document = {"logits": logits[rows].tolist(), "target": target[rows].tolist()}
        Path(f"j-{number}.json").write_text(json.dumps(document))
    np.save("a.npy", logits)
    np.save("b.npy", target)
    whole = printed("grad", "a.npy", "-t", "b.npy")
    assert printed("grad", "a-*.npz:logits", "-t", "a-*.npz:target") == whole
    assert printed("grad", "a-*.npz", "--key", "logits", "-t", "a-0.npz:target,a-1.npz:target")
    assert printed("grad", "j-*.json") == whole
    assert printed("grad", "c-*.csv") == whole | {"labels": list("abcdefg")}


@pytest.mark.usefixtures("folder")
def test_a_file_that_is_called_like_a_pattern() -> None:
    np.save("z[01]*.npy", np.array([[1.0, 2.0]]))
    assert printed("softmax", "z[01]*.npy")["logits"] == [[1.0, 2.0]]


@pytest.mark.usefixtures("folder")
def test_a_pattern_that_one_file_fits() -> None:
    whole = printed("loss", "z-0.npy", "-t", "t-0.npy", "-o", "one.npy")
    assert printed("loss", "z-0*.npy", "-t", "t-0*.npy", "-o", "one*.npy") == whole


# --- Outputs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["softmax", "loss", "grad"])
@pytest.mark.parametrize("exact", [False, True])
def test_an_output_for_each_input(folder: Path, command: str, exact: bool) -> None:
    if exact:
        for path in folder.iterdir():
            np.save(path, np.load(path)[:3])
        np.save("z.npy", np.concatenate([np.load(name) for name in NAMED]))
        np.save("t.npy", np.concatenate([np.load(name) for name in TARGETS.split(",")]))
    options = ["--dtype", "float64", *(["--exact"] if exact else [])]
    several, whole = [["-t", name] if command != "softmax" else [] for name in ("t-*.npy", "t.npy")]
    shown(command, "z-*.npy", *several, "-o", "out_*.npy", *options)
    shown(command, "z.npy", *whole, "-o", "whole.npy", *options)
    found = [np.load(f"out_{number}.npy") for number in range(COUNT)]
    np.testing.assert_array_equal(np.concatenate(found), np.load("whole.npy"))


@pytest.mark.parametrize("suffix", ["npz", "csv", "json", "jsonl", "svg"])
def test_no_star_in_the_name_of_other_files(folder: Path, suffix: str) -> None:
    before = sorted(folder.iterdir())
    line = complaint("loss", "z-*.npy", "-t", "t-*.npy", "-o", f"g-*.{suffix}")
    assert f"cannot write g-*.{suffix}: a file for each input is an .npy file" in line
    assert sorted(folder.iterdir()) == before


@pytest.mark.usefixtures("folder")
def test_a_star_stands_for_the_name_of_a_file_given_by_itself() -> None:
    shown("loss", "z-0.npy", "./z-1.npy", "-t", "t-0.npy,t-1.npy", "-o", "loss of *.npy")
    assert len(np.load("loss of z-0.npy")) == 1000
    assert len(np.load("loss of z-1.npy")) == 1


def test_outputs_appear_together_or_not_at_all(folder: Path) -> None:
    logits = np.load("z-4.npy")
    logits[-1, 2] = np.nan
    np.save("z-4.npy", logits)
    Path("out-0.npy").write_text("older")
    before = sorted(path.name for path in folder.iterdir())
    for output in ("out-*.npy", "out-0.npy"):
        text = complaint("grad", "z-*.npy", "-t", "t-*.npy", "-o", output)
        assert "'z-4.npy': logit 2 of sample 1499 is NaN" in text
        assert sorted(path.name for path in folder.iterdir()) == before
        assert Path("out-0.npy").read_text() == "older"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("loss y-*.npy -t t.npy", ["'y-*.npy': no file has such a name"]),
        ("loss z-*.npy -t y-*.npy", ["'y-*.npy': no file has such a name"]),
        ("loss z-*.npy -t t-0.npy,t-1.npy", ["names 2 files of targets for 5 of logits"]),
        ("loss z.npy -t t-*.npy", ["names 5 files of targets for one of logits"]),
        ("loss z-0.npy z-1.npy -t t-1.npy,t-0.npy", ["'t-1.npy' holds", "'z-0.npy' needs (1000,)"]),
        ("loss z-0*.npy -t t-1*.npy", ["'t-1.npy' holds targets of shape (1,)"]),
        ("loss z-*.npy -t u-*.npy", ["'u-1.npy' does not belong to 'z-0.npy'"]),
        ("loss z-0.npy wide.npy -t 0", ["'wide.npy' holds an array of shape (2, 8)", "'z-0.npy'"]),
        ("loss z-0.npy double.npy -t 0", ["'double.npy' holds float64", "'z-0.npy' float32"]),
        ("loss z-0.npy missing.npy -t 0", ["'missing.npy': no such file"]),
        ("loss z-0.npy t-0.npy -t 0", ["'t-0.npy': holds integers, one a sample"]),
        ("loss z-0.npy 1 -t 0", ["'z-0.npy' is a file: give files or numbers, not both"]),
        ("loss z-*.npy -t t.npy --axis 0", ["cannot be that of the classes"]),
        ("loss z-*.npy -t t-*.npy --axis 5", ["axis 5 is out of range"]),
        ("loss z-*.npy -t bad-?.npy", ["'bad-2.npy': target 9 of sample 7 is out of range"]),
        ("loss z-*.npy -t bad.npy", ["'bad.npy': target 9 of sample 1008 is out of range"]),
        ("loss z-*.npy -q bad-soft.npy", ["soft target of sample 3499 sums to"]),
        ("loss z-*.npy -t t.npy -o *-*.npy", ["*-*.npy", "2 *", "'z-0.npy' fills 1"]),
        ("loss z-0.npy z-0.npy -t t-0.npy,t-0.npy -o x*.npy", ["both", "xz-0.npy"]),
        ("loss z-*.npy -t t.npy -o no/*.npy", ["cannot write no/0.npy: No such file"]),
    ],
)
@pytest.mark.usefixtures("folder")
def test_what_is_wrong_names_the_file(arguments: str, words: list[str]) -> None:
    np.save("wide.npy", np.zeros((2, 8), dtype=np.float32))
    np.save("double.npy", np.zeros((2, 7)))
    target = np.load("t.npy")
    for number, piece in enumerate(pieces_of(target), 1):
        np.save(f"u-{number}.npy", piece)
    target[1008] = 9
    np.save("bad.npy", target)
    save_each("bad-*.npy", target)
    soft = np.full((5000, 7), 1 / 7)
    soft[3499] = 0.5
    np.save("bad-soft.npy", soft)
    text = complaint(*arguments.split(" "))
    for word in words:
        assert word in text


def test_more_files_than_a_process_may_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(7)
    monkeypatch.chdir(tmp_path)
    logits, target = random.normal(size=(300, 3)), random.integers(0, 3, 300)
    np.save("z.npy", logits)
    np.save("t.npy", target)
    for row in range(300):
        np.save(f"z-{row:03}.npy", logits[row : row + 1])
        np.save(f"t-{row:03}.npy", target[row : row + 1])
    whole = printed("grad", "z.npy", "-t", "t.npy", "--worst", "3")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (150, limits[1]))
    try:
        found = printed("grad", "z-*.npy", "-t", "t-*.npy", "--worst", "3", "-o", "g-*.npy")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert found == whole
    np.testing.assert_array_equal(np.load("g-299.npy"), [whole["grad"][299]])


# --- The rows themselves ------------------------------------------------------------------------


@given(st.data())
def test_joined_rows_are_those_of_one_array(data: st.DataObject) -> None:
    counts = data.draw(st.lists(st.integers(0, 4), min_size=1, max_size=4))
    inner = tuple(data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=3)))
    whole = np.arange(sum(counts) * int(np.prod(inner))).reshape(-1, *inner)
    ends = np.cumsum(counts)[:-1]
    joined = Joined([segment_of("x", part) for part in np.split(whole, ends)])
    axis = data.draw(st.sampled_from([None, *range(1, whole.ndim)]))
    expected = whole.reshape(-1) if axis is None else np.moveaxis(whole, axis, -1)
    if axis is not None:
        expected = expected.reshape(-1, whole.shape[axis])
    layout = data.draw(st.sampled_from([np.ascontiguousarray, np.asfortranarray]))
    rows = rows_of(data.draw(st.sampled_from([joined, layout(whole)])), axis)
    np.testing.assert_array_equal(np.asarray(joined), whole)
    np.testing.assert_array_equal(np.asarray(rows), expected)
    assert (rows.shape, rows.dtype, rows.nbytes) == (expected.shape, whole.dtype, whole.nbytes)
    start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(rows) + 1)] * 2)))
    np.testing.assert_array_equal(rows[start:stop], expected[start:stop])
    np.testing.assert_array_equal(
        np.asarray(rows.between(start, min(stop, len(rows)))), expected[start:stop]
    )
    if len(rows):
        some = data.draw(st.lists(st.integers(0, len(rows) - 1)))
        np.testing.assert_array_equal(rows[np.array(some, dtype=int)], expected[some])
        np.testing.assert_array_equal(rows[len(rows) - 1], expected[-1])


@given(st.data())
def test_rows_of_a_file_are_those_of_its_array(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    dtype = data.draw(st.sampled_from(["<f4", ">f8", "<i2", ">u4"]))
    layout = data.draw(st.sampled_from([np.ascontiguousarray, np.asfortranarray]))
    whole = layout(np.arange(np.prod(shape)).reshape(shape).astype(dtype))
    path = tmp_path_factory.mktemp("rows") / "z.npy"
    np.save(path, whole)
    found = find_array(str(path))
    assert isinstance(found, Joined)
    np.testing.assert_array_equal(np.asarray(found), whole)
    np.testing.assert_array_equal(np.asarray(found.reshape((1, *shape))), whole[None])
    axis = data.draw(st.sampled_from([None, *range(-len(shape), len(shape))]))
    rows = rows_of(found, axis)
    expected = whole.reshape(-1)
    if axis is not None:
        expected = np.moveaxis(whole, axis, -1).reshape(-1, shape[axis])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            problem_rows, "WINDOW_BYTES", data.draw(st.sampled_from([1, 40, 100, 10_000]))
        )
        for _ in range(3):
            start, stop = sorted(data.draw(st.tuples(*[st.integers(0, len(rows))] * 2)))
            np.testing.assert_array_equal(rows[start:stop], expected[start:stop])
            assert rows[start:stop].dtype.isnative
    some = data.draw(st.lists(st.integers(0, len(rows) - 1)))
    np.testing.assert_array_equal(rows[np.array(some, dtype=int)], expected[some])


@pytest.mark.usefixtures("folder")
def test_a_file_that_is_replaced() -> None:
    for value in (1.0, 2.0):
        np.save("new.npy", np.full((1000, 7), value, dtype=np.float32))
        Path("new.npy").replace("z-0.npy")
        first = printed("softmax", "z-0*.npy", "--arrays")["logits"][0]
        assert first == [value] * 7


def test_a_file_that_shrinks_meanwhile(folder: Path) -> None:
    found = find_array("z.npy")
    assert isinstance(found, Joined)
    os.truncate("z.npy", 1000)
    with pytest.raises(CecliError, match=r"'.*z\.npy' has changed since .* it is shorter now"):
        np.asarray(found)

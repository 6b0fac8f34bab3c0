"""Files of every format, and all that can be wrong with them: truncated, lying, bombs, pickles."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from cecli.cli.main import main
from cecli.errors import CecliError
from cecli.input.arguments import read_document, read_target, read_values
from cecli.input.array_files import read_array
from support.in_process import complaint, printed, shown

LOGITS = np.array([[2.0, 1.0, 0.1], [-1.5, 0.25, 3.0]])
BFLOAT16 = np.array([[1.0, -2.5, 3.140625], [0.0, -np.inf, 1e-38]], dtype=np.float32)


def error_of(read: Callable[..., object], *arguments: object) -> str:
    with pytest.raises(CecliError) as caught:
        read(*arguments)
    text = str(caught.value)
    assert text.isprintable()
    return text


def bfloat16_of(array: NDArray[np.float32]) -> NDArray[np.uint16]:
    return (array.view(np.uint32) >> 16).astype(np.uint16)


# --- .npy ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_is_mapped(folder: Path, order: Any) -> None:
    np.save("z.npy", np.array(LOGITS, order=order))
    array = read_array("z.npy")
    base: Any = array
    while isinstance(base, np.ndarray) and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)
    assert not array.flags.writeable
    np.testing.assert_array_equal(array, LOGITS)


def test_npy_of_bfloat16(folder: Path) -> None:
    np.save("z.npy", bfloat16_of(BFLOAT16).view("V2"))
    array = read_array("z.npy")
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, (BFLOAT16.view(np.uint32) >> 16 << 16).view(np.float32))


def test_npy_has_no_keys(folder: Path) -> None:
    np.save("z.npy", LOGITS)
    assert "--key z: only .npz, .safetensors and .pt" in complaint("softmax", "z.npy", "--key", "z")
    assert "--key z: only .npz, .safetensors and .pt" in complaint(
        "softmax", "1", "2", "--key", "z"
    )
    Path("z.csv").write_text("1,2\n")
    assert "--key z: only .npz, .safetensors and .pt" in complaint("softmax", "z.csv", "--key", "z")


# --- .npz ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("dtype", ["f2", "f4", ">f8", "i4", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npz(folder: Path, save: Any, dtype: str, order: Any) -> None:
    array = np.array(LOGITS.astype(dtype), order=order)
    save("data.npz", logits=array, target=np.array([0, 2]))
    np.testing.assert_array_equal(read_array("data.npz", "logits"), array)
    assert read_target("data.npz:target", None).tolist() == [0, 2]
    assert read_values("data.npz:target", "--weight").tolist() == [0.0, 2.0]
    np.testing.assert_array_equal(read_document(["data.npz:logits"], None).logits, array)
    np.testing.assert_array_equal(read_document(["data.npz"], None, "logits").logits, array)


def test_array_alone_needs_no_key(folder: Path) -> None:
    np.savez("one.npz", some=LOGITS)
    np.testing.assert_array_equal(read_document(["one.npz"], None).logits, LOGITS)


def test_keys_are_listed(folder: Path) -> None:
    np.savez("data.npz", logits=LOGITS, target=np.array([0, 2]))
    for arguments in (["data.npz"], ["data.npz", "--key", "logit"]):
        line = complaint("softmax", *arguments)
        assert "data.npz" in line
        assert "'logits', 'target'" in line
    assert "there is no array 'logit'" in line
    assert "once" in complaint("softmax", "data.npz:logits", "--key", "logits")
    np.savez("none.npz")
    assert error_of(read_array, "none.npz", None) == "holds no arrays"
    many: dict[str, Any] = {f"a{i}": LOGITS for i in range(30)}
    np.savez("many.npz", **many)
    assert error_of(read_array, "many.npz", None).endswith("and 10 more")


def archive(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, data in members:
            file.writestr(name, data)
    return buffer.getvalue()


def npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def declare(data: bytes, size: int) -> bytes:
    """The archive with another size declared for its one member, in both of its headers."""
    changed = bytearray(data)
    struct.pack_into("<I", changed, 22, size)
    struct.pack_into("<I", changed, data.rindex(b"PK\x01\x02") + 24, size)
    return bytes(changed)


GOOD = archive(("a.npy", npy(np.arange(1000.0))))
PICKLED = io.BytesIO()
np.save(PICKLED, np.array([None]), allow_pickle=True)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", "the file is empty"),
        (b"PK\x03\x04", "not an .npz file, or a damaged one"),
        (GOOD[:-30], "not an .npz file, or a damaged one"),
        (GOOD[:100] + b"\xff" * 50 + GOOD[150:], "array 'a': not an .npy file, or a damaged one"),
        (npy(LOGITS), "not an .npz file, or a damaged one"),
        (archive(("a.npy", b"")), "array 'a': the file is empty"),
        (archive(("a.npy", b"text")), "array 'a': not an .npy file, or a damaged one"),
        (archive(("a.npy", npy(LOGITS)[:-8])), "array 'a': its header promises more data"),
        (archive(("a.npy", npy(LOGITS) + b"\0")), "array 'a': its header promises less data"),
        (archive(("a.npy", PICKLED.getvalue())), "array 'a': holds pickled objects"),
        (archive(("a.npy", npy(LOGITS)), method=zipfile.ZIP_LZMA), "array 'a': compressed"),
        (declare(GOOD, 2_000_000_000), "array 'a': would inflate"),
        (declare(GOOD, 50_000), "array 'a': its header promises less data"),
        (declare(GOOD, 4_000), "array 'a': not an .npy file, or a damaged one"),
    ],
)
def test_forged_npz(folder: Path, data: bytes, error: str) -> None:
    Path("bad.npz").write_bytes(data)
    assert error_of(read_array, "bad.npz", None).startswith(error)


def test_zip_bomb_is_not_inflated(folder: Path) -> None:
    header = npy(np.zeros(0)).replace(b"(0,), }            ", b"(%d,), }" % (10**8 // 8))
    with (
        zipfile.ZipFile("bomb.npz", "w", zipfile.ZIP_DEFLATED) as file,
        file.open("a.npy", "w") as member,
    ):
        member.write(header)
        for _ in range(100):
            member.write(bytes(10**6))
    line = complaint("softmax", "bomb.npz")
    assert "bomb.npz" in line
    assert "would inflate 1,0" in line


def test_flipped_bits_are_noticed(folder: Path) -> None:
    array = np.arange(1e5)
    data = bytearray(archive(("a.npy", npy(array)), method=zipfile.ZIP_STORED))
    data[data.index(array[-9:].tobytes()) + 6] ^= 1
    Path("bad.npz").write_bytes(data)
    assert error_of(read_array, "bad.npz", None) == "not an .npz file, or a damaged one"


@given(st.data())
def test_any_damage_to_npz_is_one_line(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    changed = bytearray(archive(("a.npy", npy(LOGITS))))
    for place in data.draw(st.lists(st.integers(0, len(changed) - 1), min_size=1, max_size=4)):
        changed[place] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    path.write_bytes(changed)
    try:
        read_document([str(path)], None)
    except CecliError as caught:
        text = str(caught)
    else:
        text = "some bytes mean nothing"
    assert text.isprintable()


# --- .safetensors -------------------------------------------------------------------------------


def safetensors(dtype: str, shape: list[int], data: bytes, size: int | None = None) -> bytes:
    end = len(data) if size is None else size
    entry = {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}
    header = json.dumps({"a": entry}).encode()
    return struct.pack("<Q", len(header)) + header + data


@pytest.mark.parametrize(
    ("kind", "dtype"), [("F16", "<f2"), ("F32", "<f4"), ("F64", "<f8"), ("I64", "<i8")]
)
def test_safetensors(folder: Path, kind: str, dtype: str) -> None:
    pytest.importorskip("safetensors")
    array = LOGITS.astype(dtype)
    Path("z.safetensors").write_bytes(safetensors(kind, [2, 3], array.tobytes()))
    found = read_document(["z.safetensors"], None).logits
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, array)
    assert "there is no array 'b': it holds 'a'" in complaint("softmax", "z.safetensors:b")


def test_safetensors_of_bfloat16(folder: Path) -> None:
    pytest.importorskip("safetensors")
    data = bfloat16_of(BFLOAT16).tobytes()
    Path("z.safetensors").write_bytes(safetensors("BF16", [2, 3], data))
    array = read_array("z.safetensors")
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, (BFLOAT16.view(np.uint32) >> 16 << 16).view(np.float32))


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", "the file is empty"),
        (b"\xff" * 8, "not a .safetensors file"),
        (safetensors("F32", [2], b"\0" * 8)[:-1], "not a .safetensors file"),
        (safetensors("F32", [200], b"\0" * 8), "not a .safetensors file"),
        (safetensors("F32", [200], b"\0" * 8, 800), "not a .safetensors file"),
        (safetensors("C64", [1], b"\0" * 8), "array 'a': holds C64"),
    ],
)
def test_forged_safetensors(folder: Path, data: bytes, error: str) -> None:
    pytest.importorskip("safetensors")
    Path("bad.safetensors").write_bytes(data)
    assert error_of(read_array, "bad.safetensors").startswith(error)


# --- Text ---------------------------------------------------------------------------------------


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
    np.testing.assert_array_equal(read_document([str(path)], None).logits, expected)


# --- Where a number stands ----------------------------------------------------------------------


def test_nan_far_down_is_found_with_its_file(folder: Path) -> None:
    logits = np.zeros((13_000, 4), dtype=np.float32)
    logits[12_345, 2] = np.nan
    np.save("logits.npy", logits)
    np.save("labels.npy", np.zeros(13_000, dtype=np.int64))
    line = complaint("grad", "logits.npy", "-t", "labels.npy", "-o", "grad.npy")
    assert "'logits.npy': logit 2 of sample 12345 is NaN" in line
    assert not Path("grad.npy").exists()


def test_bad_target_is_found_with_its_file(folder: Path) -> None:
    np.savez("data.npz", logits=LOGITS, target=np.array([0, 3]), weight=np.array([1.0, -1.0, 1.0]))
    np.save("labels.npy", np.array([0, 3]))
    line = complaint("loss", "data.npz:logits", "-t", "labels.npy")
    assert "'labels.npy': target 3 of sample 1 is out of range" in line
    line = complaint("loss", "data.npz:logits", "-t", "data.npz:target")
    assert "'data.npz:target': target 3 of sample 1 is out of range" in line
    line = complaint("loss", "data.npz:logits", "-t", "0,1", "--weight", "data.npz:weight")
    assert "'data.npz:weight': weight 1 is -1" in line
    assert ": target 7 of sample 0" in complaint("loss", "data.npz:logits", "-t", "7,1")
    np.save("few.npy", np.array([0]))
    line = complaint("loss", "data.npz:logits", "-t", "few.npy")
    assert "'few.npy': 1 target for 2 samples" in line


def test_what_is_bad_in_a_document_is_told_with_its_file(folder: Path) -> None:
    Path("z.csv").write_text("a,b,target\n1,2,0\n3,4,5\n")
    assert "'z.csv': target 5 of sample 1 is out of range" in complaint("loss", "z.csv")
    Path("z.json").write_text('{"logits": [1, 2], "soft_target": [0.5, 0.6]}')
    assert "'z.json': soft target sums to 1.1" in complaint("loss", "z.json")
    np.save("q.npy", np.array([[0.5, 0.5]]))
    line = complaint("loss", "z.json", "-q", "q.npy")
    assert "'q.npy': a target of type float64 and shape (1, 2) does not fit" in line
    line = complaint("loss", "z.json", "--weight", "1,2,3")
    assert ": weight has shape (3,)" in line


def test_a_comma_in_the_name_of_a_file(folder: Path) -> None:
    Path("lr=0.1,wd=0.01").mkdir()
    np.save("lr=0.1,wd=0.01/t.npy", np.array([1, 0]))
    np.save("a.npy,b.npy", np.array([1, 1]))
    Path("l,1.txt").write_text("cat\ndog\n")
    arguments = ["loss", "[[1, 2], [3, 4]]", "--labels", "l,1.txt"]
    found = printed(*arguments, "-t", "lr=0.1,wd=0.01/t.npy")
    assert (found["target"], found["labels"]) == ([1, 0], ["cat", "dog"])
    assert printed(*arguments, "-t", "a.npy,b.npy")["target"] == [1, 1]


def test_the_target_of_another_document(folder: Path) -> None:
    Path("t.json").write_text('{"logits": [[1, 2], [3, 4]], "target": [1, "cat"]}')
    Path("t.jsonl").write_text('{"logits": [1], "target": 1}\n{"target": "cat"}\n0\n')
    assert read_target("t.json", ("cat", "dog")).tolist() == [1, 0]
    assert read_target("t.jsonl", ("cat", "dog")).tolist() == [1, 0, 0]
    Path("t.json").write_text('{"logits": [[1, 2], [3, 4]]}')
    assert """'t.json': the object has no "target\"""" in error_of(read_target, "t.json", None)


def test_two_columns_of_targets(folder: Path) -> None:
    Path("z.csv").write_text("a,target,b,target\n1,0,2,7\n")
    for arguments in (["z.csv"], ["1", "2", "-t", "z.csv"]):
        line = complaint("loss", *arguments)
        assert "'z.csv': columns 2 and 4, 'target' and 'target', could both hold the" in line


@pytest.mark.parametrize("removed", [(0, 60), (100, 140)])
def test_an_archive_that_lost_bytes(folder: Path, removed: tuple[int, int]) -> None:
    np.savez("z.npz", logits=np.ones((20, 3)))
    content = Path("z.npz").read_bytes()
    Path("z.npz").write_bytes(content[: removed[0]] + content[removed[1] :])
    error = error_of(read_document, ["z.npz:logits"], None)
    assert "not an .npz file, or a damaged one" in error


def test_a_sum_of_probabilities_at_the_limit(folder: Path) -> None:
    for soft in ("0.5,0.5,0.01", "0.5,0.49,0"):
        assert printed("loss", "1", "2", "3", "-q", soft)["soft_target"][0] == 0.5
    assert "sums to 1.0101" in complaint("loss", "1", "2", "3", "-q", "0.5,0.5,0.0101")


@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_a_mapped_input_may_be_the_output_through_a_link(folder: Path, link: str) -> None:
    logits = np.random.default_rng(1).normal(size=(50_000, 10))
    np.save("z.npy", logits)
    getattr(Path("link.npy"), link)("z.npy")
    outcome = CliRunner().invoke(main, ["softmax", "z.npy", "-o", "link.npy", "--top", "1"])
    assert outcome.exit_code == 0, outcome.stderr
    np.testing.assert_allclose(np.load("link.npy").sum(axis=1), 1.0)
    other = np.load("z.npy")
    # A hard link is another name, which is given to the new file; the old one keeps its content.
    expected = logits.sum(axis=1) if link == "hardlink_to" else np.ones(50_000)
    np.testing.assert_allclose(other.sum(axis=1), expected, rtol=1e-9, atol=1e-9)


# The names of files that are written.

GRAD = ["grad", "2.0", "1.0", "0.1", "-t", "0"]


def test_links_that_go_round(folder: Path) -> None:
    for one, other in (("a.npy", "b.npy"), ("b.npy", "a.npy")):
        (folder / one).symlink_to(other)
    line = complaint(*GRAD, "-o", "a.npy")
    for word in ("cannot write", "a.npy", "symbolic links"):
        assert word in line


@pytest.mark.parametrize("suffix", ["npy", "json"])
def test_the_longest_name(folder: Path, suffix: str) -> None:
    for letter in ("a", "\N{GREEK SMALL LETTER OMEGA}"):
        path = folder / (letter * (250 // len(letter.encode())) + "." + suffix)
        shown(*GRAD, "-o", str(path))
        assert list(folder.iterdir()) == [path]
        path.unlink()


def test_an_empty_name() -> None:
    assert "cannot write '': -o takes the name of a file" in complaint(*GRAD, "-o", "")

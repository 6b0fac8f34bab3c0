"""Arrays in files, and all that can be wrong with these: truncated, lying, bombs, pickles."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cecli.errors import CecliError
from cecli.input.arguments import read_document, read_values
from cecli.input.array_files import find_array, read_array
from cecli.problem.rows import Joined
from support.each import each
from support.in_process import complaint
from support.reading import error_of, header_of, read_target

LOGITS = np.array([[2.0, 1.0, 0.1], [-1.5, 0.25, 3.0]])
BFLOAT16 = np.array([[1.0, -2.5, 3.140625], [0.0, -np.inf, 1e-38]], dtype=np.float32)


def bfloat16_of(array: NDArray[np.float32]) -> NDArray[np.uint16]:
    return (array.view(np.uint32) >> 16).astype(np.uint16)


# --- .npy ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_stays_in_its_file(folder: Path, order: Any) -> None:
    np.save("z.npy", np.array(LOGITS, order=order))
    found = find_array("z.npy")
    assert isinstance(found, Joined)
    assert found.only_segment.held is None
    np.testing.assert_array_equal(np.asarray(found), LOGITS)


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


@each("save", [np.savez, np.savez_compressed])
@each("dtype", ["f2", "f4", ">f8", "i4", "?"])
@each("order", ["C", "F"])
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
    array = LOGITS.astype(dtype)
    Path("z.safetensors").write_bytes(safetensors(kind, [2, 3], array.tobytes()))
    found = read_document(["z.safetensors"], None).logits
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, array)
    assert "there is no array 'b': it holds 'a'" in complaint("softmax", "z.safetensors:b")


def test_safetensors_of_bfloat16(folder: Path) -> None:
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
    Path("bad.safetensors").write_bytes(data)
    assert error_of(read_array, "bad.safetensors").startswith(error)


F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
HEADERS: list[object] = [
    {"a": F32},
    {"a": F32, "__metadata__": {"format": "pt"}},
    {"b": {**F32, "data_offsets": [8, 16]}, "a": F32},
    {"a": F32, "b": {**F32, "shape": [0], "data_offsets": [8, 8]}},
    {"a": {**F32, "shape": []}},
    {"a": {**F32, "shape": [1]}},
    {"a": {**F32, "shape": [-1, -2]}},
    {"a": {**F32, "shape": [2.0]}},
    {"a": {**F32, "shape": 2}},
    {"a": {**F32, "data_offsets": [8, 0]}},
    {"a": {**F32, "data_offsets": [0, 8, 8]}},
    {"a": {**F32, "data_offsets": ["0", "8"]}},
    {"a": {**F32, "data_offsets": [4, 12]}},
    {"a": {**F32, "dtype": 32}},
    {"a": {"dtype": "F32", "shape": [2]}},
    {"a": F32, "b": F32},
    {"a": F32, "b": {**F32, "data_offsets": [12, 20]}},
    {"a": F32, "b": {**F32, "data_offsets": [4, 12]}},
    {"a": []},
    [F32],
    "a",
    None,
]


@each("header", HEADERS)
@each("extra", [0, 8, -1])
def test_a_header_of_safetensors(folder: Path, header: object, extra: int) -> None:
    # The library says what is sound.
    load = pytest.importorskip("safetensors.numpy").load
    text = json.dumps(header).encode()
    data = struct.pack("<Q", len(text)) + text + bytes(range(8 + extra))
    Path("z.safetensors").write_bytes(data)
    try:
        expected = load(data)["a"]
    except Exception:  # noqa: BLE001 - it raises one of its own, or what NumPy does
        assert "not a .safetensors file, or a damaged one: " in complaint(
            "softmax", "z.safetensors:a"
        )
        return
    np.testing.assert_array_equal(read_array("z.safetensors", "a"), expected)


@pytest.mark.parametrize("text", [b"[" * 100_000, b"\xff", b'{"a": ', b"", b"9" * 5000])
def test_a_header_of_safetensors_that_is_no_json(folder: Path, text: bytes) -> None:
    Path("z.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
    line = complaint("softmax", "z.safetensors")
    assert "not a .safetensors file, or a damaged one: its header is" in line


@pytest.mark.parametrize("shape", [(2, -3), (-2, -3), (-6,)])
@pytest.mark.parametrize("name", ["z.npy", "z.npy.gz"])
def test_a_shape_of_less_than_nothing(folder: Path, name: str, shape: tuple[int, ...]) -> None:
    data = header_of("'<f8'", shape) + bytes(48)
    Path(name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert complaint("softmax", name).endswith("not an .npy file, or a damaged one")


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_more_dimensions_than_can_be_read_back(folder: Path, suffix: str) -> None:
    name, many = f"many.{suffix}", np.zeros((1,) * 39 + (2,), np.float32)
    if suffix == "pt":
        torch = pytest.importorskip("torch")
        torch.save(torch.from_numpy(many), name)
    else:
        pytest.importorskip("safetensors.numpy").save_file({"z": many}, name)
    assert complaint("softmax", name).endswith("40 dimensions: at most 32 can be read")


# --- Which array is meant -----------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:Duplicate name")  # the module that writes it says so
def test_a_name_that_a_file_has_twice(folder: Path) -> None:
    np.save("z.npy", [1.0, 2.0])
    for names in (["z.npy", "z.npy"], ["z", "z.npy"]):
        with zipfile.ZipFile("z.npz", "w") as archive:
            for name in names:
                archive.write("z.npy", name)
        text = complaint("softmax", "z.npz")
        assert text.endswith("'z.npz': the archive has the key 'z' twice: which is meant?")
    entry = b'"z": {"dtype": "F64", "shape": [%d, %d], "data_offsets": [0, 64]}'
    header = b"{" + entry % (2, 4) + b", " + entry % (4, 2) + b"}"
    content = len(header).to_bytes(8, "little") + header + bytes(64)
    Path("z.safetensors").write_bytes(content)
    text = complaint("softmax", "z.safetensors")
    assert "its header has the key 'z' twice: which is meant?" in text

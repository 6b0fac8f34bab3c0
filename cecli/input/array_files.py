"""Files: their bytes, their text, and the arrays of .npy, .npz, .safetensors and .pt files.

Nothing is ever unpickled. What a header promises is compared with what the file holds before
memory is taken for it.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import struct
import warnings
from collections.abc import Sequence
from functools import partial
from math import prod
from typing import IO, TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cecli.errors import CecliError
from cecli.input.formats import COMPRESSED, near_names, suffix_of
from cecli.input.numbers import MAXIMUM_DIMENSIONS, distinct_keys
from cecli.problem.dtypes import widened
from cecli.problem.foreign import BFLOAT16, float8, type_name
from cecli.problem.rows import Joined
from cecli.problem.stored import StoredArray
from cecli.text.messages import plain_line, quote

if TYPE_CHECKING:
    from zipfile import ZipFile, ZipInfo

_NOT_NPY = "not an .npy file, or a damaged one"
_NOT_NPZ = "not an .npz file, or a damaged one"
_NOT_GZIP = "not a .gz file, or a damaged one"
_CHUNK = 1 << 20
# Logits hardly compress: what inflates to more than this, and that many times, is taken for a bomb.
_MOST_INFLATED, _MOST_INFLATION = 1 << 26, 100
_MOST_KEYS_LISTED = 20
_MOST_HEADER = 100_000_000  # bytes, as the format has it
_REAL_NUMBERS = "integers, float8, bfloat16, float16, float32 or float64"
# NumPy saves the types of ml_dtypes by their sizes: one byte of no type is PyTorch's usual float8,
# and what it calls a float of one byte, which it cannot read back, the other one.
_USUAL_FLOAT8, _OTHER_FLOAT8 = "float8_e4m3fn", "float8_e5m2"
_FLOAT8_OF_SAFETENSORS = {"F8_E4M3": _USUAL_FLOAT8, "F8_E5M2": _OTHER_FLOAT8}
# What a file begins with.
NPY, GZIP = b"\x93NUMPY", b"\x1f\x8b"
NO_KEYS = "only .npz, .safetensors and .pt files have keys"
_SAFETENSORS_TYPES = {
    "BOOL": "?",
    **{f"{kind}{8 * size}": f"<{kind.lower()}{size}" for kind in "UI" for size in (1, 2, 4, 8)},
    **{f"F{8 * size}": f"<f{size}" for size in (2, 4, 8)},
}


def open_file(path: str, flags: int = 0) -> BinaryIO:
    """Open a file for its bytes; one that cannot be opened raises the system's OSError.

    flags: of the system, beside those for reading.
    """
    try:
        return open(path, "rb", opener=lambda name, own: os.open(name, own | flags))
    except ValueError:  # a NUL, or text that no file system can encode
        raise CecliError("not a file name") from None
    except FileNotFoundError as error:
        raise CecliError(f"{str(error.strerror).lower()}{near_names(path)}") from None


def open_regular(path: str) -> BinaryIO:
    """The same of a regular file alone: a pipe, which nobody may write to, is not waited for."""
    file = open_file(path, os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise CecliError("not a regular file")
    return file


def open_unpacked(path: str) -> BinaryIO:
    """The same, and what a compressed file holds."""
    file = open_file(path)
    return unpacked(file) if path.lower().endswith(COMPRESSED) else file


def unpacked(file: Any) -> BinaryIO:
    """What a stream of gzip holds; its reading raises CecliError where it is damaged, or a bomb."""
    return io.BufferedReader(_Gzip(file))


class Resumed(io.RawIOBase):
    """A stream of which the beginning has been read, from its beginning."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head, self._rest, self._position = head, rest, 0

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer with what follows, as far as it is there."""
        data = self._head[: len(buffer)] or self._rest.read(len(buffer)) or b""
        self._head = self._head[len(buffer) :]
        self._position += len(data)
        buffer[: len(data)] = data
        return len(data)

    def tell(self) -> int:
        """How many bytes were read."""
        return self._position


class _Gzip(io.RawIOBase):
    def __init__(self, file: Any) -> None:
        import gzip

        self._file, self._gzip = file, gzip.GzipFile(fileobj=file)

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer with what follows, as far as that is no more than it is likely to be."""
        import gzip
        import zlib

        try:
            data = self._gzip.read(len(buffer))
        except (gzip.BadGzipFile, EOFError, zlib.error):
            raise CecliError(_NOT_GZIP) from None
        inflated = self._gzip.tell()
        if inflated > _MOST_INFLATED and inflated > _MOST_INFLATION * max(1, self._file.tell()):
            raise CecliError(
                f"inflates more than {_MOST_INFLATION} times; if that is meant, unpack it"
            )
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """The file beneath, too."""
        self._file.close()
        super().close()


def read_text(path: str) -> str:
    """All of a file as text; what `decode` says about it."""
    with open_unpacked(path) as file:
        return decode(file.read())


def decode(data: bytes, offset: int = 0) -> str:
    """Text from UTF-8, with or without a byte order mark; every line ends with a newline.

    offset: of the bytes among all, for the message.
    """
    if not offset and data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise CecliError("the text is UTF-16; it must be UTF-8")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise CecliError(f"byte {offset + error.start} is not valid UTF-8") from None
    if not offset:
        text = text.removeprefix("\N{BYTE ORDER MARK}")
    return text.replace("\r\n", "\n").replace("\r", "\n")


# --- Arrays -------------------------------------------------------------------------------------


def read_array(path: str, key: str | None = None, *, names: bool = False) -> NDArray[Any]:
    """`find_array` in memory, in the machine's byte order, and the short types as float32."""
    array = widened(np.asarray(find_array(path, key, names=names)))
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def find_array(path: str, key: str | None = None, *, names: bool = False) -> NDArray[Any] | Joined:
    """The array of a file, by its suffix: integers, float8 to float64, or `BFLOAT16`.

    key: which array of a file of several; one alone needs none. names: whether it may hold texts,
    the names of classes. Its bytes stay in the file until they are looked at, which is then a
    `Joined` of one; but what is compressed is read into memory. Raises CecliError, or the system's
    OSError, for whatever cannot be read.
    """
    suffix = suffix_of(path)
    if suffix == ".npz":
        return _find_npz(path, key, names)
    if suffix == ".safetensors":
        return _find_safetensors(path, key)
    if suffix in (".pt", ".pth"):
        from cecli.input.tensors import read_tensor

        return read_tensor(path, key)
    if key is not None:
        raise CecliError(f"--key {key}: {NO_KEYS}")
    if path.lower().endswith(COMPRESSED):
        with open_unpacked(path) as stream:
            return read_npy(stream, names)
    with open_regular(path) as file:
        size = _size_of(file)
        shape, in_fortran_order, dtype = _read_header(file, size, names)
        _compare(prod(shape) * dtype.itemsize, size - file.tell())
        return _stored(file, file.tell(), shape, dtype, in_fortran_order)


def read_npy(stream: Any, names: bool = False) -> NDArray[Any]:
    """The array of an .npy file that is read from beginning to end, into memory."""
    shape, in_fortran_order, dtype = _read_header(stream, 1, names)
    promised = prod(shape) * dtype.itemsize
    data = stream.read(promised + 1)
    _compare(promised, len(data))
    numbers = np.uint8 if dtype.kind == "b" else dtype
    order: Any = "F" if in_fortran_order else "C"
    return np.frombuffer(data, numbers).reshape(shape, order=order)


def _stored(
    file: BinaryIO,
    offset: int,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    in_fortran_order: bool = False,
) -> NDArray[Any] | Joined:
    numbers = np.dtype(np.uint8) if dtype.kind == "b" else dtype
    try:
        np.empty((0, *shape[1:]), numbers)
        if not prod(shape):
            return np.empty(shape, numbers)
    except (ValueError, TypeError, OverflowError):  # a shape that no array can have
        raise CecliError(_NOT_NPY) from None
    order = "F" if in_fortran_order else "C"
    return Joined.of(StoredArray.of(file, numbers, offset, shape, order))


def _size_of(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _read_header(
    file: IO[bytes], size: int, names: bool
) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether in Fortran's order, and type that an .npy header tells, checked."""
    from numpy.lib import format as npy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy warns about the headers of Python 2
        try:
            # Version 3 differs from 2 only in names of fields, and an array with fields is refused.
            first = npy.read_magic(file) == (1, 0)
            length = file.read(2 if first else 4)
            text = file.read(int.from_bytes(length, "little"))
            read_header = npy.read_array_header_1_0 if first else npy.read_array_header_2_0
            known = io.BytesIO(length + text.replace(b"'<f1'", b"'|V1'"))
            shape, in_fortran_order, dtype = read_header(known)
        except Exception:  # noqa: BLE001 - whatever a forged header makes the parser raise
            raise CecliError(_NOT_NPY if size else "the file is empty") from None
    if dtype == np.dtype("V1"):
        dtype = float8(_OTHER_FLOAT8 if b"'<f1'" in text else _USUAL_FLOAT8)
    _check_type(dtype, names)
    if min(shape, default=0) < 0:
        raise CecliError(_NOT_NPY)
    require_few_dimensions(shape)
    return shape, in_fortran_order, dtype


def require_few_dimensions(shape: Sequence[int]) -> None:
    """Refuse an array of more dimensions than what is printed of it could be read back."""
    if len(shape) > MAXIMUM_DIMENSIONS:
        raise CecliError(f"{len(shape)} dimensions: at most {MAXIMUM_DIMENSIONS} can be read")


def _check_type(dtype: np.dtype[Any], names: bool) -> None:
    if names and dtype.kind in "US":
        return
    short = dtype == BFLOAT16 or dtype.name in (_USUAL_FLOAT8, _OTHER_FLOAT8)
    if (dtype.kind not in "biuf" or dtype.itemsize > 8) and not short:
        found = "pickled objects" if dtype.hasobject else type_name(dtype)
        raise CecliError(f"holds {found}, not {_REAL_NUMBERS}")


def _compare(promised: int, held: int) -> None:
    if promised != held:
        relation = "more" if promised > held else "less"
        raise CecliError(f"its header promises {relation} data than the {held} bytes it has")


# --- Files of several arrays --------------------------------------------------------------------


def chosen_key(keys: Sequence[str], key: str | None) -> str:
    """The key that was asked for, or the only one there is."""
    if key is None and len(keys) == 1:
        return keys[0]
    if not keys:
        raise CecliError("holds no arrays")
    if key is not None and key in keys:
        return key
    names = ", ".join(quote(name) for name in keys[:_MOST_KEYS_LISTED])
    if len(keys) > _MOST_KEYS_LISTED:
        names += f" and {len(keys) - _MOST_KEYS_LISTED:,} more"
    if key is not None:
        raise CecliError(f"there is no array {quote(key)}: it holds {names}")
    raise CecliError(f"say which array: --key NAME, or FILE:NAME for a target; it holds {names}")


def _find_npz(path: str, key: str | None, names: bool) -> NDArray[Any] | Joined:
    import zlib
    from zipfile import BadZipFile, ZipFile

    with open_regular(path) as file:
        size = _size_of(file)
        try:
            with ZipFile(file) as archive:
                pairs = [(m.filename.removesuffix(".npy"), m) for m in archive.infolist()]
                members = distinct_keys("the archive", pairs)
                name = chosen_key(list(members), key)
                return _find_member(file, archive, name, members[name], names)
        # What forged archives make the module raise.
        except CecliError:
            raise
        except (OSError, BadZipFile, zlib.error, EOFError, RuntimeError, ValueError) as error:
            # The system's own word counts, but for a place before the file's beginning.
            if isinstance(error, OSError) and error.errno != errno.EINVAL:
                raise
            raise CecliError(_NOT_NPZ if size else "the file is empty") from None


def _find_member(
    file: BinaryIO, archive: ZipFile, name: str, member: ZipInfo, names: bool
) -> NDArray[Any] | Joined:
    """One array of an archive: never more of it than the archive declares."""
    from zipfile import ZIP_DEFLATED, ZIP_STORED

    try:
        if member.compress_type not in (ZIP_STORED, ZIP_DEFLATED) or member.flag_bits & 1:
            raise CecliError("compressed or encrypted in a way that NumPy does not write")
        inflation = member.file_size / max(1, member.compress_size)
        if member.file_size > _MOST_INFLATED and inflation > _MOST_INFLATION:
            raise CecliError(
                f"would inflate {inflation:,.0f} times, to {member.file_size:,} bytes; "
                "if that is meant, unpack it to an .npy file"
            )
        stored = member.compress_type == ZIP_STORED
        with archive.open(member) as stream:
            shape, in_fortran_order, dtype = _read_header(stream, member.file_size, names)
            begin = stream.tell()
            held = member.file_size - begin
            _compare(prod(shape) * dtype.itemsize, held)
            data = np.empty(0 if stored else held, dtype=np.uint8)
            # What is stored is read too, so that its checksum is compared at the end.
            for start in range(0, held, _CHUNK):
                piece = stream.read(min(_CHUNK, held - start))
                _compare(min(_CHUNK, held - start), len(piece))
                if not stored:
                    data[start : start + len(piece)] = np.frombuffer(piece, np.uint8)
            stream.read(1)
        if stored:
            offset = _begin_of(file, member) + begin
            return _stored(file, offset, shape, dtype, in_fortran_order)
        order: Any = "F" if in_fortran_order else "C"
        numbers = np.uint8 if dtype.kind == "b" else dtype
        return data.view(numbers).reshape(shape, order=order)
    except CecliError as error:
        raise CecliError(f"array {quote(name)}: {error}") from None


def _begin_of(file: BinaryIO, member: ZipInfo) -> int:
    """Where in the archive the bytes of a member begin: behind a header of its own."""
    file.seek(member.header_offset + 26)
    name, extra = struct.unpack("<HH", file.read(4))
    return member.header_offset + 30 + int(name) + int(extra)


# --- .safetensors ---------------------------------------------------------------------------------


def _find_safetensors(path: str, key: str | None) -> NDArray[Any] | Joined:
    with open_regular(path) as file:
        size = _size_of(file)
        if not size:
            raise CecliError("the file is empty")
        try:
            tensors, begin = _tensors_of(file, size)
        except (ValueError, RecursionError) as error:
            reason = str(error) if isinstance(error, CecliError) else "its header is not JSON"
            raise CecliError(f"not a .safetensors file, or a damaged one: {reason}") from None
        name = chosen_key(sorted(tensors), key)
        tensor = tensors[name]
        if tensor.kind == "BF16":
            dtype = BFLOAT16
        elif tensor.kind in _FLOAT8_OF_SAFETENSORS:
            dtype = float8(_FLOAT8_OF_SAFETENSORS[tensor.kind])
        elif tensor.kind in _SAFETENSORS_TYPES:
            dtype = np.dtype(_SAFETENSORS_TYPES[tensor.kind])
        else:
            raise CecliError(
                f"array {quote(name)}: holds {plain_line(tensor.kind)}, not {_REAL_NUMBERS}"
            )
        if prod(tensor.shape) * dtype.itemsize != tensor.end - tensor.begin:
            raise CecliError(
                f"not a .safetensors file, or a damaged one: array {quote(name)} of shape "
                f"{tensor.shape} has {tensor.end - tensor.begin} bytes"
            )
        require_few_dimensions(tensor.shape)
        return _stored(file, begin + tensor.begin, tensor.shape, dtype)


class _Tensor(NamedTuple):
    """What a header says of an array: its bytes lie from begin to end, behind the header."""

    kind: str
    shape: tuple[int, ...]
    begin: int
    end: int


def _tensors_of(file: BinaryIO, size: int) -> tuple[dict[str, _Tensor], int]:
    """The arrays of a file, and where their bytes begin; ValueError where it is not sound.

    The length of the header, which is JSON, and then the arrays one behind another, without a gap:
    https://github.com/huggingface/safetensors
    """
    import json

    length = int.from_bytes(file.read(8), "little")
    if length > min(size - 8, _MOST_HEADER):
        raise CecliError(f"its header is said to have {length} bytes")
    header = json.loads(file.read(length), object_pairs_hook=partial(distinct_keys, "its header"))
    if not isinstance(header, dict):
        raise CecliError("its header is no object")
    header.pop("__metadata__", None)
    tensors = {name: _tensor_of(name, entry) for name, entry in header.items()}
    end = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1][2:]):
        if tensor.begin != end or tensor.end < end:
            raise CecliError(f"array {quote(name)} is not where the one before it ends")
        end = tensor.end
    if end != size - 8 - length:
        raise CecliError(f"its header promises {end} bytes, of {size - 8 - length} that it has")
    return tensors, 8 + length


def _tensor_of(name: str, entry: Any) -> _Tensor:
    wanted = {"dtype": str, "shape": list, "data_offsets": list}
    if isinstance(entry, dict) and all(
        isinstance(entry.get(key), kind) for key, kind in wanted.items()
    ):
        shape, offsets = entry["shape"], entry["data_offsets"]
        numbers = [*shape, *offsets]
        if len(offsets) == 2 and all(type(own) is int and own >= 0 for own in numbers):
            return _Tensor(entry["dtype"], tuple(shape), *offsets)
    raise CecliError(f"its header tells no type, shape and place of array {quote(name)}")

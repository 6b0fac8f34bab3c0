"""Arrays of numbers from .npy, .npz and .safetensors files; nothing is ever unpickled.

What a header promises is compared with what the file holds before memory is taken for it.
"""

from __future__ import annotations

import os
import re
import stat
import warnings
from collections.abc import Sequence
from math import prod
from typing import IO, TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cecli.errors import CecliError
from cecli.files import open_file
from cecli.parsing import MAXIMUM_DIMENSIONS, quote

if TYPE_CHECKING:
    from zipfile import ZipFile, ZipInfo

ARRAY_SUFFIXES = (".npy", ".npz", ".safetensors")
SUFFIXES_WITH_KEYS = (".npz", ".safetensors")

_NOT_NPY = "not an .npy file, or a damaged one"
_NOT_NPZ = "not an .npz file, or a damaged one"
# NumPy has no name for bfloat16: it saves such an array as two bytes of anything.
_BFLOAT16 = np.dtype("V2")
_CHUNK = 1 << 20
# Logits hardly compress: what inflates to more than this, and that many times, is taken for a bomb.
_MOST_INFLATED, _MOST_INFLATION = 1 << 26, 100
_MOST_KEYS_LISTED = 20
_REAL_NUMBERS = "integers, bfloat16, float16, float32 or float64"
_SAFETENSORS_TYPES = re.compile("BOOL|[UI](8|16|32|64)|BF16|F16|F32|F64")


def read_array(path: str, key: str | None = None) -> NDArray[Any]:
    """Read the array of a file, by its suffix: integers, float16, float32 or float64.

    key: which array of a file of several; one alone needs none. bfloat16 becomes float32. The
    array of an .npy file is mapped, not read, where it is in the machine's byte order. Raises
    CecliError, or the system's OSError, for whatever cannot be read.
    """
    if path.lower().endswith(".npz"):
        return _read_npz(path, key)
    if path.lower().endswith(".safetensors"):
        return _read_safetensors(path, key)
    if key is not None:
        raise CecliError(f"--key {key}: only .npz and .safetensors files have keys")
    return _read_npy(path)


def _read_npy(path: str) -> NDArray[Any]:
    with open_file(path) as file:
        size = _size_of(file)
        shape, in_fortran_order, dtype = _read_header(file, size)
        offset = file.tell()
        _compare(prod(shape) * dtype.itemsize, size - offset)
        try:
            if not prod(shape):  # nothing cannot be mapped
                return _plain(np.empty(shape, dtype))
            order: Any = "F" if in_fortran_order else "C"
            mapped = np.memmap(file, dtype, "r", offset, shape, order)
        except (ValueError, TypeError, OverflowError):  # a shape that no array can have
            raise CecliError(_NOT_NPY) from None
        return _plain(np.asarray(mapped))


def _size_of(file: BinaryIO) -> int:
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        raise CecliError("not a regular file")
    return status.st_size


def _read_header(file: IO[bytes], size: int) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether in Fortran's order, and type that an .npy header tells, checked."""
    from numpy.lib import format as npy

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy warns about the headers of Python 2
        try:
            # Version 3 differs from 2 only in names of fields, and an array with fields is refused.
            first = npy.read_magic(file) == (1, 0)
            read_header = npy.read_array_header_1_0 if first else npy.read_array_header_2_0
            shape, in_fortran_order, dtype = read_header(file)
        except Exception:  # noqa: BLE001 - whatever a forged header makes the parser raise
            raise CecliError(_NOT_NPY if size else "the file is empty") from None
    _check_type(dtype)
    if len(shape) > MAXIMUM_DIMENSIONS:
        raise CecliError(f"{len(shape)} dimensions: at most {MAXIMUM_DIMENSIONS} can be read")
    return shape, in_fortran_order, dtype


def _check_type(dtype: np.dtype[Any]) -> None:
    if (dtype.kind not in "biuf" or dtype.itemsize > 8) and dtype != _BFLOAT16:
        found = "pickled objects" if dtype.hasobject else dtype.name
        raise CecliError(f"holds {found}, not {_REAL_NUMBERS}")


def _compare(promised: int, held: int) -> None:
    if promised != held:
        relation = "more" if promised > held else "less"
        raise CecliError(f"its header promises {relation} data than the {held} bytes it has")


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    """Numbers in the machine's byte order: Booleans as integers, bfloat16 as float32."""
    if array.dtype == _BFLOAT16:
        # bfloat16 is the upper half of float32.
        return (array.view("<u2").astype(np.uint32) << 16).view(np.float32)
    number = np.uint8 if array.dtype.kind == "b" else array.dtype.newbyteorder("=")
    return array.astype(number, copy=False)


# --- Files of several arrays --------------------------------------------------------------------


def _chosen(keys: Sequence[str], key: str | None) -> str:
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


def _read_npz(path: str, key: str | None) -> NDArray[Any]:
    import zlib
    from zipfile import BadZipFile, ZipFile

    with open_file(path) as file:
        size = _size_of(file)
        try:
            with ZipFile(file) as archive:
                members = {m.filename.removesuffix(".npy"): m for m in archive.infolist()}
                name = _chosen(list(members), key)
                return _read_member(archive, name, members[name])
        # What forged archives make the module raise.
        except CecliError:
            raise
        except (BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError):
            raise CecliError(_NOT_NPZ if size else "the file is empty") from None


def _read_member(archive: ZipFile, name: str, member: ZipInfo) -> NDArray[Any]:
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
        with archive.open(member) as stream:
            shape, in_fortran_order, dtype = _read_header(stream, member.file_size)
            held = member.file_size - stream.tell()
            _compare(prod(shape) * dtype.itemsize, held)
            data = np.empty(held, dtype=np.uint8)
            for start in range(0, held, _CHUNK):
                piece = stream.read(min(_CHUNK, held - start))
                data[start : start + len(piece)] = np.frombuffer(piece, np.uint8)
                _compare(min(_CHUNK, held - start), len(piece))
            stream.read(1)  # at the end the checksum is compared
        order: Any = "F" if in_fortran_order else "C"
        return _plain(data.view(dtype).reshape(shape, order=order))
    except CecliError as error:
        raise CecliError(f"array {quote(name)}: {error}") from None


def _read_safetensors(path: str, key: str | None) -> NDArray[Any]:
    with open_file(path) as file:
        if not _size_of(file):
            raise CecliError("the file is empty")
    try:
        import ml_dtypes  # noqa: F401 - teaches NumPy bfloat16, which safetensors counts on
        from safetensors import SafetensorError, safe_open
    except ImportError:
        raise CecliError(
            "reading it needs the packages safetensors and ml_dtypes: "
            "pip install 'cecli[safetensors]'"
        ) from None
    try:
        with safe_open(path, framework="numpy") as tensors:
            name = _chosen(sorted(tensors.keys()), key)
            kind = tensors.get_slice(name).get_dtype()
            if not _SAFETENSORS_TYPES.fullmatch(kind):
                raise CecliError(f"array {quote(name)}: holds {kind}, not {_REAL_NUMBERS}")
            array: NDArray[Any] = tensors.get_tensor(name)
    except SafetensorError as error:
        reason = " ".join(str(error).split())
        raise CecliError(f"not a .safetensors file, or a damaged one: {reason}") from None
    return _plain(array.view(_BFLOAT16) if kind == "BF16" else array)

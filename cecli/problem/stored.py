"""An array in a file, read by position: what is asked for, when it is asked for, and no more.

Nothing is mapped into memory: where a file that is mapped gets shorter, the process that looks at
it is killed without a word. A read says that it found less.
"""

from __future__ import annotations

import os
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from math import prod
from threading import Lock
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cecli.errors import CecliError
from cecli.text.messages import quote

FILES_OPEN = 32
# By its number there, a file that this process has open can be opened once more.
OPEN_FILES = "/dev/fd"
# So many bytes are quicker to read than to read around, and so many are read at once.
LITTLE_BYTES = 2**13
AT_ONCE_BYTES = 2**22
# Rows that lie scattered over a file are read together, and so many of these windows are kept.
WINDOW_BYTES = 2**24
WINDOWS = 3


class _OpenFile:
    """A file's descriptor, closed when nobody reads from it any more."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        weakref.finalize(self, os.close, descriptor).atexit = False


class _OpenFiles:
    """The files that were read last, which are kept open for the next look at them."""

    def __init__(self) -> None:
        self._files: OrderedDict[str, _OpenFile] = OrderedDict()
        self._lock = Lock()

    def keep(self, path: str, file: _OpenFile) -> _OpenFile:
        """From now on this is the file of that name."""
        with self._lock:
            self._files[path] = file
            self._files.move_to_end(path)
            if len(self._files) > FILES_OPEN:
                self._files.popitem(last=False)
        return file

    def get(self, path: str) -> _OpenFile:
        """The file, which is opened if need be."""
        with self._lock:
            file = self._files.get(path)
        if file is None:
            file = self.keep(path, _OpenFile(os.open(path, os.O_RDONLY | os.O_CLOEXEC)))
        return file

    def forget(self) -> None:
        """Let go of all."""
        with self._lock:
            self._files.clear()


_open_files = _OpenFiles()


class _Windows:
    """Parts of arrays that were read last, for the next look at them."""

    def __init__(self) -> None:
        self._parts: OrderedDict[tuple[Hashable, ...], NDArray[Any]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: tuple[Hashable, ...], read: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """The part of that key, which is read if need be: once, while other threads wait for it."""
        with self._lock:
            part = self._parts.get(key)
            if part is None:
                while len(self._parts) >= WINDOWS:
                    self._parts.popitem(last=False)
                part = self._parts[key] = read()
            self._parts.move_to_end(key)
            return part

    def forget(self) -> None:
        """Let go of all."""
        with self._lock:
            self._parts.clear()


windows = _Windows()


def forget_files() -> None:
    """Let go of all that is kept of files."""
    _open_files.forget()
    windows.forget()


class StoredArray(NamedTuple):
    """Where in a file an array lies: all that is needed to read it."""

    path: str
    dtype: np.dtype[Any]
    offset: int
    shape: tuple[int, ...]
    order: str = "C"

    @classmethod
    def of(
        cls, file: BinaryIO, dtype: np.dtype[Any], offset: int, shape: tuple[int, ...], order: str
    ) -> StoredArray:
        """That of an open file, which stays the one that is read, whatever its name comes to be."""
        path = os.path.abspath(file.name)  # noqa: PTH100 - pathlib is not worth its import
        windows.forget()  # the file may be another one by now
        _open_files.keep(path, _OpenFile(os.dup(file.fileno())))
        return cls(path, dtype, offset, shape, order if len(shape) > 1 else "C")

    @property
    def end(self) -> int:
        """How many bytes the file has at least."""
        return self.offset + self.dtype.itemsize * prod(self.shape)

    def read(self, ranges: Sequence[tuple[int, int]]) -> NDArray[Any]:
        """The part within a first and a last index of each dimension, in the machine's byte order.

        Raises CecliError where the file has not all of it any more, and the system's OSError.
        """
        if self.order == "F":
            turned = self._replace(shape=self.shape[::-1], order="C")
            return turned.read(ranges[::-1]).T
        lengths = [stop - start for start, stop in ranges]
        found = np.empty(lengths, self.dtype)
        if found.size:
            self._fill(found, ranges)
        return found if self.dtype.isnative else found.byteswap(True).view(_native(self.dtype))

    def _fill(self, found: NDArray[Any], ranges: Sequence[tuple[int, int]]) -> None:
        """Indices of one dimension lie side by side, each with all that is in the later ones.

        Where all of that is asked for, it is read to where it belongs. Where it is little, it is
        read as well, and what is asked for picked out.
        """
        strides = [prod(self.shape[place + 1 :]) for place in range(len(self.shape))]
        level = 0
        while not (whole := self._is_all(ranges, level + 1)):
            if strides[level] * self.dtype.itemsize <= LITTLE_BYTES:
                break
            level += 1
        file, places = _open_files.get(self.path), np.zeros((), np.int64)
        for (start, _), stride in zip(ranges[: level + 1], strides, strict=False):
            places += start * stride
        for length, stride in zip(found.shape[:level], strides, strict=False):
            places = np.asarray(np.add.outer(places, np.arange(length) * stride))
        offsets = (self.offset + places.reshape(-1) * self.dtype.itemsize).tolist()
        parts = found.reshape((len(offsets), *found.shape[level:]))
        if not whole:
            for part, offset in zip(parts, offsets, strict=True):
                self._pick(part, file, offset, ranges[level + 1 :])
            return
        buffer = parts.reshape(-1).view(np.uint8).data
        size = len(buffer) // len(offsets)
        for number, offset in enumerate(offsets):
            self._read_into(buffer[number * size : (number + 1) * size], file, offset)

    def _is_all(self, ranges: Sequence[tuple[int, int]], first: int) -> bool:
        """Whether all of the dimensions from the first on is asked for."""
        asked = zip(ranges[first:], self.shape[first:], strict=True)
        return all(own == (0, length) for own, length in asked)

    def _pick(
        self,
        found: NDArray[Any],
        file: _OpenFile,
        offset: int,
        inner: Sequence[tuple[int, int]],
    ) -> None:
        """Consecutive indices of a dimension; inner: what is asked for of those after it."""
        shape = self.shape[len(self.shape) - len(inner) :]
        size = self.dtype.itemsize * prod(shape)
        most = max(1, AT_ONCE_BYTES // size)
        chosen = (slice(None), *(slice(*own) for own in inner))
        for start in range(0, len(found), most):
            stop = min(start + most, len(found))
            slab = np.empty((stop - start, *shape), self.dtype)
            self._read_into(slab.reshape(-1).view(np.uint8).data, file, offset + start * size)
            found[start:stop] = slab[chosen]

    def _read_into(self, buffer: memoryview, file: _OpenFile, offset: int) -> None:
        while buffer:
            try:
                count = os.preadv(file.descriptor, [buffer], offset)
            except OSError as error:
                raise OSError(error.errno, error.strerror, self.path) from None
            if not count:
                raise CecliError(
                    f"{quote(self.path)} has changed since it was first read: it is shorter now"
                )
            buffer, offset = buffer[count:], offset + count


def _native(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype.newbyteorder("=")

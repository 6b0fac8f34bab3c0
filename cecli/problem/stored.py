"""An array in a file, read by position: what is asked for, when it is asked for, and no more.

Nothing is mapped into memory: where a file that is mapped gets shorter, the process that looks at
it is killed without a word. A read says that it found less.
"""

from __future__ import annotations

import os
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from math import prod
from threading import Lock
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cecli.errors import CecliError
from cecli.text.messages import quote

FILES_OPEN = 32
# So many bytes are quicker to read over than to read around, and are read at a time then.
GAP_BYTES = 2**15
SPAN_BYTES = 2**22


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
forget_files = _open_files.forget


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
        """Dimensions that are read whole, the last ones, lie side by side with the one before."""
        split = len(ranges) - 1
        while split > 0 and ranges[split] == (0, self.shape[split]):
            split -= 1
        split = max(split, 0)
        strides = [prod(self.shape[place + 1 :]) for place in range(len(self.shape))]
        flat = found.reshape(-1).view(np.uint8).data
        run = self.dtype.itemsize * prod(found.shape[split:])
        file = _open_files.get(self.path)
        first = sum(start * stride for (start, _), stride in zip(ranges, strides, strict=True))
        step = strides[split - 1] * self.dtype.itemsize if split else run
        # Runs that are near one another are read together, with what lies between them.
        together = found.shape[split - 1] if split and step - run < GAP_BYTES else 1
        outer = found.shape[: split - 1] if together > 1 else found.shape[:split]
        size = together * run
        for number, own in enumerate(np.ndindex(outer)):
            place = first + sum(i * stride for i, stride in zip(own, strides, strict=False))
            part = flat[number * size : (number + 1) * size]
            offset = self.offset + place * self.dtype.itemsize
            if together == 1:
                self._read_into(part, file, offset)
            else:
                self._read_over_gaps(part, file, offset, run, step)

    def _read_over_gaps(
        self, buffer: memoryview, file: _OpenFile, offset: int, run: int, step: int
    ) -> None:
        """Runs of so many bytes, each a step behind the one before."""
        runs = np.frombuffer(buffer, np.uint8).reshape(-1, run)
        most = min(max(1, SPAN_BYTES // step), len(runs))
        span = np.empty(most * step, np.uint8)
        for start in range(0, len(runs), most):
            count = min(most, len(runs) - start)
            needed = (count - 1) * step + run
            self._read_into(span[:needed].data, file, offset + start * step)
            runs[start : start + count] = span[: count * step].reshape(count, step)[:, :run]

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

"""Reading what is typed, piped and kept in files, and the errors of it."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cecli.errors import CecliError
from cecli.input.arguments import AS_IT_IS, Document, find_target, read_document
from cecli.input.columns import Choice


def piped(content: str | bytes) -> Document:
    data = content.encode() if isinstance(content, str) else content
    return read_document((), io.BytesIO(data))


def read_target(
    text: str, labels: tuple[str, ...] | None, choice: Choice = AS_IT_IS
) -> NDArray[np.integer[Any]]:
    return np.asarray(find_target(text, labels, choice))


def error_of(read: Callable[..., object], *arguments: object) -> str:
    """The text of the one error that a reader raises: one line that any terminal can print."""
    with pytest.raises(CecliError) as caught:
        read(*arguments)
    text = str(caught.value)
    assert text.isprintable()
    assert text.strip()
    return text


def argument_error(*arguments: str) -> str:
    return error_of(read_document, arguments, None)


def assert_same(array: NDArray[Any] | None, expected: object) -> None:
    assert array is not None
    np.testing.assert_array_equal(array, np.array(expected), strict=False)
    assert array.shape == np.array(expected).shape


def header_of(descr: str, shape: object, fortran_order: object = False) -> bytes:
    """How an .npy file begins, whatever it is to say."""
    text = f"{{'descr': {descr}, 'fortran_order': {fortran_order}, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


WHOLE_NPY = header_of("'<f8'", "(2,)") + np.array([1.0, 2.0]).tobytes()

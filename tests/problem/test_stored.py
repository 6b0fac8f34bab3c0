"""Parts of arrays in files: what is read is what NumPy has there, whatever is read over."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cecli.problem import stored
from cecli.problem.stored import StoredArray


@pytest.mark.usefixtures("folder")
@given(st.data())
def test_any_part_of_any_array(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 6), max_size=4)))
    order = data.draw(st.sampled_from("CF"))
    dtype = np.dtype(data.draw(st.sampled_from(["<f8", ">f4", "<i2"])))
    whole = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    ranges = []
    for length in shape:
        start = data.draw(st.integers(0, length - 1))
        ranges.append((start, data.draw(st.integers(start, length))))
    Path("z").write_bytes(b"header" + whole.tobytes(order))  # type: ignore[arg-type]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stored, "LITTLE_BYTES", data.draw(st.sampled_from([0, 8, 10_000])))
        patch.setattr(stored, "AT_ONCE_BYTES", data.draw(st.sampled_from([1, 20, 10_000])))
        stored.forget_files()
        with open("z", "rb") as file:  # noqa: PTH123
            array = StoredArray.of(file, dtype, 6, shape, order)
        found = array.read(ranges)
    part = whole[tuple(slice(*each) for each in ranges)]
    assert found.shape == part.shape
    assert (found == part).all()

"""Arithmetic that keeps what rounding leaves out, against exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cecli.core.error_free import LARGEST_ON_GRID, small_buffer, subtract_on_grid, sum_rows

near = st.floats(-LARGEST_ON_GRID, LARGEST_ON_GRID)


@given(near, st.one_of(near, st.floats(-30.0, 30.0)))
def test_a_difference_on_the_grid_is_exact_and_so_is_what_is_left(
    left: float, right: float
) -> None:
    difference, remainder = subtract_on_grid(np.array([left]), np.array([right]))
    exact = Fraction(left) - Fraction(right)
    assert Fraction(float(difference[0])) % Fraction(1, 2**32) == 0
    assert abs(remainder[0]) <= 2.0**-32
    parts = Fraction(float(difference[0])) + Fraction(float(remainder[0]))
    assert abs(parts - exact) <= Fraction(1, 2**84)


@given(st.floats(-1.7e308, -(2.0**19)), near)
def test_what_is_too_far_below_for_the_grid_stays_far_below(left: float, right: float) -> None:
    with np.errstate(over="ignore"):
        difference, remainder = subtract_on_grid(np.array([left]), np.array([right]))
    # so far that its exponential is 0, which a finite remainder does not change
    assert difference[0] < -1000.0
    assert np.isfinite(remainder[0])


@given(
    st.lists(
        st.one_of(st.floats(0.0, 1e300), st.floats(0.0, 1.0), st.sampled_from([5e-324, 1.0])),
        min_size=1,
        max_size=300,
    )
)
def test_sums_are_as_good_as_correctly_rounded(terms: list[float]) -> None:
    exact = sum(map(Fraction, terms), Fraction(0))
    assert sum_rows(np.array([terms]))[0] == pytest.approx(float(exact), rel=2.3e-16, abs=0.0)


@pytest.mark.parametrize("shape", [(3, 4), (500, 3), (3, 5000), (0, 3)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_the_buffer_is_what_it_was_before(shape: tuple[int, int], order: str) -> None:
    before = np.getbufsize()
    rows = np.array(np.ones(shape), order="C" if order == "C" else "F")
    with pytest.raises(KeyError), small_buffer(rows):
        raise KeyError
    assert np.getbufsize() == before

"""Numbers as text: whole, with their digits, and their points in one column."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cecli.text.numbers import align, format_divisor, format_number, format_typed
from support.columns import NUMBER, points

INF, NAN = float("inf"), float("nan")

# Any number, and those of a size at which the form of the text changes.
FINITE = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.builds(lambda digits, size: digits * 10.0**size, st.floats(-10, 10), st.integers(-19, 19)),
)
DIGITS = st.integers(1, 17)


def unit(text: str) -> Decimal:
    """One unit in the last place of a number as it is shown."""
    exponent = Decimal(text).as_tuple().exponent
    assert isinstance(exponent, int)
    return Decimal(10) ** exponent


@given(FINITE, DIGITS)
@example(0.0999999, 1)
@example(9.9999999, 1)
@example(0.00999, 2)
@example(9999999999999998.0, 6)
@example(1e16, 6)
@example(5e-324, 17)
@example(1.7976931348623157e308, 1)
@example(-0.0, 6)
def test_a_number_reads_back_within_half_a_unit(number: float, digits: int) -> None:
    text = format_number(number, digits)
    assert re.fullmatch(NUMBER, text)
    assert abs(Decimal(text) - Decimal(number)) <= unit(text) / 2
    assert (Decimal(text) == 0) == (number == 0)
    assert text.startswith("-") == (number < 0)
    assert (text == "0") == (number == 0)


@given(FINITE, DIGITS)
def test_a_number_keeps_half_of_its_digits(number: float, digits: int) -> None:
    text = format_number(number, digits)
    significant = len(Decimal(text).as_tuple().digits)
    if number:
        assert significant >= min(digits, max(2, (digits + 1) // 2)) or digits == 1


@given(FINITE, DIGITS)
@example(1e16, 6)
@example(-0.0, 6)
@example(1e-7, 1)
def test_a_number_that_was_typed_is_shown_so(number: float, digits: int) -> None:
    text = format_typed(number, digits)
    assert re.fullmatch(NUMBER, text)
    assert abs(Decimal(text) - Decimal(number)) <= max(
        unit(text) / 2, abs(Decimal(number)) / Decimal(2) ** 53
    )
    assert (Decimal(text) == 0) == (number == 0)
    if len(repr(abs(number))) <= digits + 4:
        assert text == repr(number) or number <= 0 or "e-" in text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (1.0, "1.000000"),
        (-1.0, "-1.000000"),
        (0.417030016, "0.417030"),
        (4.248354255291589e-18, "4.24835e-18"),
        (-1e-300, "-1.00000e-300"),
        (0.001, "0.001000"),
        (0.0000123, "1.23000e-05"),
        (123456.789, "123456.789000"),
        (1e16, "1.00000e+16"),
        (INF, "inf"),
        (-INF, "-inf"),
        (NAN, "NaN"),
    ],
)
def test_numbers_with_six_digits(number: float, text: str) -> None:
    assert format_number(number, 6) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (2.0, "2.0"),
        (-0.1, "-0.1"),
        (0.0, "0.0"),
        (1e-9, "1e-09"),
        (-1e300, "-1e+300"),
        (-2.5e-17, "-2.5e-17"),
        (0.30000000000000004, "0.300000"),
        (-INF, "-inf"),
        (NAN, "NaN"),
    ],
)
def test_numbers_that_were_typed(number: float, text: str) -> None:
    assert format_typed(number, 6) == text


@given(st.lists(st.one_of(FINITE, st.sampled_from([INF, -INF, NAN, 0.0])), max_size=8), DIGITS)
def test_align(numbers: list[float], digits: int) -> None:
    texts = [format_number(number, digits) for number in numbers]
    cells = align(texts)
    assert [cell.strip() for cell in cells] == texts
    assert len(set(map(len, cells))) <= 1
    assert len({place for cell in cells for place in points(cell)}) <= 1


def test_a_divisor_is_as_short_as_it_may_be() -> None:
    texts = [format_divisor(number, 6) for number in (2.0, 12_345_678.0, 2.5, 1e308, 3e-5)]
    assert texts == ["2", "12,345,678", "2.5", "1e+308", "3e-05"]

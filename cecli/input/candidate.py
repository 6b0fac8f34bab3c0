"""Numbers as somebody typed or printed them, with what their digits leave open.

A number typed without digits after a point is exact; any other is known to within one unit of its
last digit. Text with eight digits or more somewhere comes from a program that leaves zeros at the
end out: the shortest text of floats is judged as these floats, and what is rounded to a number of
places is known to as many everywhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from cecli.errors import CecliError
from cecli.input.numbers import array_of_lists, load_json, nested_lists
from cecli.problem.dtypes import AnyArray, Floats, as_any_array, as_doubles
from cecli.problem.foreign import BFLOAT16
from cecli.problem.precision import round_to_type
from cecli.problem.rows import Joined, Rows, rows_of
from cecli.text.messages import NotJSONError, describe

# What is judged.
CandidateName = Literal["grad", "loss"]

PRINTED_DIGITS, DOUBLE_DIGITS = 8, 16
NARROW_TYPES = ("float16", "bfloat16", "float32")
TOO_FEW_DIGITS = 3
AT_ONCE = 2**18
_NUMBER = re.compile(r"(?<![\w.])[+-]?([0-9]*)(?:(\.)([0-9]*))?(?:[eE]([+-]?[0-9]+))?(?![\w.])")


@dataclass(frozen=True, eq=False)
class Candidate:
    """Numbers to judge and the precision that they were given in.

    given: an array of real numbers, perhaps of several files. type: float64, float32, float16 or
    bfloat16. unit: of typed numbers that of the last digit, 0 for one that is exact; None for an
    array.
    """

    given: AnyArray
    type: str
    unit: Floats | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the array."""
        return self.given.shape

    @cached_property
    def values(self) -> Floats:
        """All numbers as doubles."""
        given = np.asarray(self.given)
        return given if given.dtype == np.float64 else as_doubles(given)

    @property
    def precision(self) -> str:
        """What the numbers are judged as: their type, or typed."""
        return self.type if self.unit is None else "typed"

    def with_values(self, values: AnyArray, unit: Floats | None = None) -> Candidate:
        """Other numbers of the same precision."""
        return Candidate(values, self.type, unit)


def candidate_of_array(values: ArrayLike | Joined, name: CandidateName) -> Candidate:
    """An array, judged as the narrowest type that holds all its values.

    Whole numbers, zeros among them, and those of few binary digits, as 1/2 or 3/4, come from every
    type and tell nothing: where there are no others, they keep their own.
    """
    array = as_any_array(name, values)
    own = "bfloat16" if array.dtype == BFLOAT16 else array.dtype.name
    own = own if own in NARROW_TYPES else "float64"
    return Candidate(array, _narrowest(rows_of(array, None), own))


def _narrowest(numbers: Rows, own: str) -> str:
    """The narrowest type that holds all numbers; their own where they tell nothing."""
    narrower = list(NARROW_TYPES[: NARROW_TYPES.index(own)] if own != "float64" else NARROW_TYPES)
    if own == "bfloat16":
        return own
    telling = False
    with np.errstate(all="ignore"):
        for start in range(0, len(numbers), AT_ONCE):
            some = as_doubles(numbers[start : start + AT_ONCE])
            some = some[np.isfinite(some)]
            first_digits = np.ldexp(np.frexp(some)[0], TOO_FEW_DIGITS)
            whole = (np.rint(some) == some) | (np.rint(first_digits) == first_digits)
            telling = telling or not whole.all()
            narrower = [name for name in narrower if (round_to_type(some, name) == some).all()]
            if not narrower:
                return own
    return narrower[0] if telling else own


def candidate_of_text(text: str, key: CandidateName) -> Candidate:
    """Numbers in any form that logits may have, or the key of a JSON object, as cecli prints it."""
    values = _numbers(text, key)
    # infinities and NaN stand in all three, and are exact
    unit = np.where(np.isfinite(values), np.abs(_numbers(_NUMBER.sub(_unit, text), key)), 0.0)
    counts = _numbers(_NUMBER.sub(_digits, text), key)
    digits = int(counts[np.isfinite(counts)].max(initial=0.0))
    if digits >= PRINTED_DIGITS and _is_shortest_float32(values):
        return candidate_of_array(values.astype(np.float32), key)
    if digits >= DOUBLE_DIGITS:
        return candidate_of_array(values, key)
    if digits >= PRINTED_DIGITS and unit.any():
        with np.errstate(divide="ignore"):
            last = 10.0 ** (np.floor(np.log10(np.abs(values))) - digits + 1)
        finest = unit[unit > 0.0].min()
        unit = np.minimum(unit, np.maximum(finest, np.where(values == 0.0, 0.0, last)))
    return Candidate(values, "float64", unit)


def _numbers(text: str, key: str) -> Floats:
    start = text.lstrip()
    if not start:
        raise CecliError("there are no numbers")
    if not start.startswith("{"):
        return array_of_lists(nested_lists(text), "value")
    try:
        return array_of_lists(_value_of(load_json(text), key), key)
    except NotJSONError:
        lines = [line for line in text.split("\n") if line.strip()]
        if len(lines) < 2:
            raise
        return array_of_lists([_value_of(load_json(line), key) for line in lines], key)


def _value_of(document: object, key: str) -> object:
    if not isinstance(document, dict):
        raise CecliError(f"a line is {describe(document)}, not an object")
    if key not in document:
        if key in document.get("omitted", ()):
            raise CecliError("the document leaves out its arrays; print it with --arrays")
        raise CecliError(f'the object has no "{key}"')
    return document[key]


def _unit(match: re.Match[str]) -> str:
    """A number's unit of the last digit, in its place; 0 where it is exact."""
    whole, _, places, exponent = match.groups()
    if not (whole or places):
        return match[0]
    return f"1e{int(exponent or 0) - len(places)}" if places else "0"


def _digits(match: re.Match[str]) -> str:
    """How many digits a number has, in its place."""
    whole, _, places, _ = match.groups()
    if not (whole or places):
        return match[0]
    return str(len((whole + (places or "")).lstrip("0")))


def _is_shortest_float32(values: Floats) -> bool:
    with np.errstate(over="ignore", under="ignore"):
        narrow = values[np.isfinite(values)].astype(np.float32)
    shortest = [float(str(number)) for number in narrow]
    return shortest == list(values[np.isfinite(values)].tolist())

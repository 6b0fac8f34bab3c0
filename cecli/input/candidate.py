"""Numbers as somebody typed or printed them, with what their digits leave open.

A number typed without digits after a point is exact; any other is known to within one unit of its
last digit. Text with eight digits or more somewhere comes from a program that leaves zeros at the
end out: the shortest text of floats is judged as these floats, and what is rounded to a number of
places is known to as many everywhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from cecli.errors import CecliError
from cecli.input.numbers import array_of, load_json, nested_lists
from cecli.problem.dtypes import Floats, as_doubles, as_real_array
from cecli.problem.foreign import BFLOAT16
from cecli.problem.precision import round_to_type
from cecli.text.messages import NotJSONError, describe

# What is judged.
Judged = Literal["grad", "loss"]

PRINTED_DIGITS, DOUBLE_DIGITS = 8, 16
NARROW_TYPES = ("float16", "bfloat16", "float32")
TOO_FEW_DIGITS = 3
_NUMBER = re.compile(r"(?<![\w.])[+-]?([0-9]*)(?:(\.)([0-9]*))?(?:[eE]([+-]?[0-9]+))?(?![\w.])")


@dataclass(frozen=True, eq=False)
class Candidate:
    """Numbers to judge and the precision that they were given in.

    values: float64. type: float64, float32, float16 or bfloat16. unit: of typed numbers that of the
    last digit, 0 for one that is exact; None for an array. shape as values.
    """

    values: Floats
    type: str
    unit: Floats | None = None

    @property
    def precision(self) -> str:
        """What the numbers are judged as: their type, or typed."""
        return self.type if self.unit is None else "typed"

    def with_values(self, values: Floats, unit: Floats | None) -> Candidate:
        """Other numbers of the same precision."""
        return Candidate(values, self.type, unit)


def candidate_of_array(values: ArrayLike, name: Judged) -> Candidate:
    """An array, judged as the narrowest type that holds all its values.

    Whole numbers, zeros among them, and those of few binary digits, as 1/2 or 3/4, come from every
    type and tell nothing: where there are no others, they keep their own.
    """
    array = as_real_array(name, values)
    own = "bfloat16" if array.dtype == BFLOAT16 else array.dtype.name
    own = own if own in NARROW_TYPES else "float64"
    with np.errstate(invalid="ignore"):
        numbers = as_doubles(array)
        finite = numbers[np.isfinite(numbers)]
        first_digits = np.ldexp(np.frexp(finite)[0], TOO_FEW_DIGITS)
        if not ((np.rint(finite) == finite) | (np.rint(first_digits) == first_digits)).all():
            for narrow in NARROW_TYPES:
                if (round_to_type(finite, narrow) == finite).all():
                    return Candidate(numbers, narrow)
    return Candidate(numbers, own)


def candidate_of_text(text: str, key: Judged) -> Candidate:
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
        return array_of(nested_lists(text), "value")
    try:
        return array_of(_value_of(load_json(text), key), key)
    except NotJSONError:
        lines = [line for line in text.split("\n") if line.strip()]
        if len(lines) < 2:
            raise
        return array_of([_value_of(load_json(line), key) for line in lines], key)


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

"""Numbers as somebody typed or printed them, with what their digits leave open.

A number typed without digits after a point is exact; any other is known to within one unit of its
last digit. Text with eight digits or more somewhere comes from a program that leaves zeros at the
end out: the shortest text of floats is judged as these floats, and what is rounded to a number of
places is known to as many everywhere.
"""

from __future__ import annotations

import re

import numpy as np

from cecli.comparison.grade import Given, given_array
from cecli.errors import CecliError
from cecli.input.numbers import NotJSONError, array_of, describe, load_json, nested_lists
from cecli.problem.dtypes import Floats

PRINTED_DIGITS, DOUBLE_DIGITS = 8, 16
_NUMBER = re.compile(r"(?<![\w.])[+-]?([0-9]*)(?:(\.)([0-9]*))?(?:[eE]([+-]?[0-9]+))?(?![\w.])")


def given_of_text(text: str, key: str) -> Given:
    """Numbers in any form that logits may have, or the key of a JSON object, as cecli prints it."""
    values = _numbers(text, key)
    # infinities and NaN stand in all three, and are exact
    unit = np.where(np.isfinite(values), np.abs(_numbers(_NUMBER.sub(_unit, text), key)), 0.0)
    counts = _numbers(_NUMBER.sub(_digits, text), key)
    digits = int(counts[np.isfinite(counts)].max(initial=0.0))
    if digits >= PRINTED_DIGITS and _is_shortest_float32(values):
        return given_array(values.astype(np.float32), key)
    if digits >= DOUBLE_DIGITS:
        return given_array(values, key)
    if digits >= PRINTED_DIGITS and unit.any():
        with np.errstate(divide="ignore"):
            last = 10.0 ** (np.floor(np.log10(np.abs(values))) - digits + 1)
        finest = unit[unit > 0.0].min()
        unit = np.minimum(unit, np.maximum(finest, np.where(values == 0.0, 0.0, last)))
    return Given(values, "float64", unit)


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

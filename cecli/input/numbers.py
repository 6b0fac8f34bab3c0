"""Numbers as people and programs write them, into nested lists and from these into arrays.

Each error is a CecliError of one line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from itertools import chain
from math import inf, isfinite, isinf
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from cecli.errors import CecliError
from cecli.text.messages import NotJSONError, describe, line_and_column, quote, reading

if TYPE_CHECKING:
    import json

MAXIMUM_DIMENSIONS = 32
_TOO_DEEP = f"nested too deeply: an array has at most {MAXIMUM_DIMENSIONS} dimensions"
_TOO_LARGE = "too large: the largest double is 1.8e308"

# float() and int() alone would also take underscores and the digits of other scripts.
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_NOT_FINITE = re.compile(r"[+-]?(?:inf|infinity|nan)", re.IGNORECASE)
# Of the first line of a text: what could be decimal commas, or pairs.
_PAIRS = re.compile(r"[^\S\n]*[+-]?[0-9]+,[0-9]+(?:[^\S\n]+[+-]?[0-9]+,[0-9]+)+[^\S\n]*(?=\n|\Z)")
_DECIMAL_COMMA = r"[+-]?[0-9]*,[0-9]+(?:[eE][+-]?[0-9]+)?"
_FRACTION = r"[+-]?[0-9.]+/[0-9.]+"
BRACKET = re.compile(r"[\[\]()]")
_TOKEN = re.compile(
    r"""
      (?P<skip>      ^[^\S\n]*\#[^\n]*              # a line that is a comment
                   | [^\S\n]+
                   | Parameter\ containing:
                   | (?:\w+\.)*(?:[aA]rray|[tT]ensor|matrix|b?float[0-9]+|u?int[0-9]+)(?=\()
                   | ,\s*(?:dtype|shape|size|weak_type|device|requires_grad|grad_fn)=
                     (?: <[^<>]*> | \([^()]*\) | '[^']*' | [^\s,()\[\]]* ) )
    | (?P<newline>   \n )
    | (?P<comma>     , )
    | (?P<open>      [\[(] )
    | (?P<close>     [\])] )
    | (?P<word>      [^\s,()\[\]]+ )
    """,
    re.VERBOSE | re.MULTILINE,
)

Locate = Callable[[int], str]
Value = TypeVar("Value")


def _item(name: str, position: int, shape: Sequence[int], first: int = 0) -> str:
    """Name the item at a flat position of an array, such as logits[1][0].

    first: the index of the first item along the first dimension.
    """
    indices = [int(index) for index in np.unravel_index(position, tuple(shape))] if shape else []
    if indices:
        indices[0] += first
    return name + "".join(f"[{index}]" for index in indices)


# --- Text into nested lists -------------------------------------------------------------------


@cache
def _decoder() -> json.JSONDecoder:
    import json

    def integer(digits: str) -> int | float:
        # int() refuses thousands of digits, and nothing here needs more than 64 bits
        return int(digits) if len(digits) <= 20 else float(digits)

    return json.JSONDecoder(
        parse_int=integer, parse_constant=str, object_pairs_hook=partial(distinct_keys, "an object")
    )


def distinct_keys(holder: str, pairs: list[tuple[str, Value]]) -> dict[str, Value]:
    """A dictionary of pairs; CecliError, with what holds them, where two have the same key."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for place, key in enumerate(keys) if key in keys[:place])
        raise CecliError(f"{holder} has the key {quote(twice)} twice: which is meant?")
    return found


def load_json(text: str) -> Any:
    """What a JSON text holds; NaN and infinities are words, also where Python wrote them bare."""
    import json

    try:
        return _decoder().decode(text)
    except RecursionError:
        raise CecliError(_TOO_DEEP) from None
    except json.JSONDecodeError as error:
        place = line_and_column(text, error.pos)
        raise NotJSONError(f"{place}: not valid JSON: {error.msg.removesuffix(' at')}") from None


def json_objects(text: str) -> list[Any] | None:
    """What several JSON objects one after another hold; None for whatever else a text is."""
    import json

    values, start = [], 0
    while start < len(text):
        if text[start].isspace():
            start += 1
        elif text[start] != "{":
            return None
        else:
            try:
                value, start = _decoder().raw_decode(text, start)
            except json.JSONDecodeError:
                return None
            values.append(value)
    return values if len(values) > 1 else None


def values_of_line(line: str) -> list[Any]:
    """What a line of JSON Lines holds: one value, or objects one after another."""
    try:
        return [load_json(line)]
    except NotJSONError:
        values = json_objects(line)
        if values is None:
            raise
        return values


def json_lines(text: str) -> list[Any]:
    """What the lines of JSON Lines hold; blank ones are passed over."""
    values = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            with reading(f"line {number}"):
                values += values_of_line(line)
    return values


def nested_lists(text: str) -> object:
    """Nested lists from JSON or numbers."""
    if text.lstrip().startswith("["):
        try:
            return load_json(text)
        except NotJSONError:
            pass  # NumPy prints lists without commas
    return parse_text(text, partial(line_and_column, text))


def parse_text(text: str, place: Locate) -> list[Any]:
    """Nested lists from numbers in lines, in brackets, or as NumPy, PyTorch and JAX print them.

    Outside brackets a line is a row. One value in parentheses is that value, as in Python, so
    that names before them ("tensor") and keywords in them ("dtype=...") can be skipped.
    Infinities and NaN stay words, as they are in JSON.
    """
    text = text.replace("\N{MINUS SIGN}", "-")
    _refuse_pairs(text)
    plain = _plain_rows(text)
    if plain is not None:
        return plain
    items: list[Any] = []
    rows = [(0, items)]
    enclosing: list[tuple[int, list[Any]]] = []  # where each open bracket is, and what it is in
    previous: str | None = None
    for match in _TOKEN.finditer(text):
        kind, token, start = match.lastgroup, match[0], match.start()
        if kind == "skip" or (kind == "newline" and enclosing):
            continue
        if kind == "word":
            try:
                items.append(parse_number(token))
            except CecliError as error:
                raise CecliError(f"{place(start)}: {error}") from None
        elif kind == "open":
            enclosing.append((start, items))
            items = []
        elif kind == "close":
            if not enclosing or text[enclosing[-1][0]] + token not in ("[]", "()"):
                raise CecliError(f"{place(start)}: nothing to close with {quote(token)}")
            alone = token == ")" and len(items) == 1 and previous != "comma"
            value = items[0] if alone else items
            items = enclosing.pop()[1]
            items.append(value)
        elif kind == "comma" and previous not in ("word", "close"):
            raise CecliError(f"{place(start)}: there is no number before the comma")
        elif kind == "newline":
            items = []
            rows.append((match.end(), items))
        previous = kind
    if enclosing:
        raise CecliError(f"{place(enclosing[-1][0])}: the bracket is not closed")
    return _join_rows([(start, row) for start, row in rows if row], place)


def _refuse_pairs(text: str) -> None:
    """Refuse numbers that could be decimal commas: 2,5 1,5."""
    pairs = None if "." in text else _PAIRS.match(text)
    if pairs is not None:
        raise CecliError(
            f"{quote(pairs[0].strip())} is numbers with decimal commas, or twice as many: write "
            "decimal points (2.5 1.5), or the same between all numbers (2,5,1,5 or 2 5 1 5)"
        )


def _join_rows(rows: Sequence[tuple[int, list[Any]]], place: Locate) -> list[Any]:
    """One row as it is, several as a list of rows; a bracket alone in its line is the row."""
    lists = [row[0] if len(row) == 1 and isinstance(row[0], list) else row for _, row in rows]
    for (start, _), row in zip(rows, lists, strict=True):
        if len(row) != len(lists[0]):
            expected = len(lists[0])
            raise CecliError(f"{place(start)}: a row of {len(row)}, where the first has {expected}")
    return lists[0] if len(lists) == 1 else lists


def _plain_rows(text: str) -> list[Any] | None:
    """Rows of equally many finite numbers, which is quick to read; None for everything else."""
    if "_" in text or not text.isascii():  # float() would take more than numbers are here
        return None
    lines = text.replace(",", " , ").split("\n") if "," in text else text.split("\n")
    rows: list[list[float]] = []
    try:
        for line in lines:
            words = line.split()
            if "," in words:
                if len(words) % 2 == 0 or {*words[1::2]} != {","}:
                    return None
                words = words[::2]
            if words:
                rows.append(list(map(float, words)))
    except ValueError:
        return None
    if len({*map(len, rows)}) != 1 or not all(map(isfinite, chain.from_iterable(rows))):
        return None
    return rows[0] if len(rows) == 1 else rows


def is_number(word: str) -> bool:
    """Whether a word is a number, infinite or NaN perhaps."""
    word = word.replace("\N{MINUS SIGN}", "-")
    return bool(NUMBER.fullmatch(word) or _NOT_FINITE.fullmatch(word))


def parse_number(word: str) -> float | str:
    """The number that a word is; infinities and NaN stay words, as they are in JSON."""
    word = word.replace("\N{MINUS SIGN}", "-")
    if NUMBER.fullmatch(word):
        number = float(word)
        if isinf(number):
            raise CecliError(f"{quote(word)} is {_TOO_LARGE}")
        return number
    if _NOT_FINITE.fullmatch(word):
        return word
    if word in ("...", "\N{HORIZONTAL ELLIPSIS}"):
        raise CecliError(
            "numbers are left out at '...'; print all of them with "
            'np.set_printoptions(threshold=sys.maxsize) or torch.set_printoptions(profile="full")'
        )
    hint = "; write it as a decimal number" if re.fullmatch(_FRACTION, word) else ""
    if re.fullmatch(_DECIMAL_COMMA, word):
        hint = f"; with a decimal point it is: {word.replace(',', '.')}"
    raise CecliError(f"{quote(word)} is not a number{hint}")


# --- Nested lists into arrays -----------------------------------------------------------------


def _flatten(nested: object, name: str) -> tuple[list[int], list[Any]]:
    """The shape of nested lists, and their items in order."""
    shape: list[int] = []
    items: list[Any] = [nested]
    while list in (kinds := set(map(type, items))):
        if len(shape) == MAXIMUM_DIMENSIONS:
            raise CecliError(_TOO_DEEP)
        first = _item(name, 0, shape)
        if len(kinds) > 1:
            odd = next(i for i, item in enumerate(items) if type(item) is not type(items[0]))
            raise CecliError(
                f"{_item(name, odd, shape)} is {describe(items[odd])}, "
                f"where {first} is {describe(items[0])}"
            )
        lengths = list(map(len, items))
        if 0 in lengths:
            raise CecliError(f"{_item(name, lengths.index(0), shape)} is empty")
        if len(set(lengths)) > 1:
            odd = next(i for i, length in enumerate(lengths) if length != lengths[0])
            raise CecliError(
                f"{_item(name, odd, shape)} has length {lengths[odd]}, "
                f"where {first} has {lengths[0]}"
            )
        shape.append(lengths[0])
        items = list(chain.from_iterable(items))
    return shape, items


def array_of_lists(nested: object, name: str) -> NDArray[np.float64]:
    """Nested lists of numbers, in which infinities and NaN are words, as an array."""
    shape, items = _flatten(nested, name)
    # What is infinite already was written in digits that do not fit.
    if not set(map(type, items)) <= {int, float} or inf in items or -inf in items:
        for position, item in enumerate(items):
            if type(item) is str and _NOT_FINITE.fullmatch(item):
                items[position] = float(item)
            elif type(item) not in (int, float):
                place = _item(name, position, shape)
                raise CecliError(f"{place} is {describe(item)}, not a number")
            elif isinf(item):
                raise CecliError(f"{_item(name, position, shape)} is {_TOO_LARGE}")
    return np.array(items, dtype=np.float64).reshape(shape)


def as_float64(array: NDArray[Any]) -> NDArray[np.float64]:
    """An array as doubles, without a warning for a signalling NaN."""
    with np.errstate(invalid="ignore"):
        return array.astype(np.float64)


def target_of(nested: object, labels: Sequence[str] | None, first: int = 0) -> NDArray[np.int64]:
    """Nested lists of class indices and labels as an array of indices.

    first: how the first of them is counted in messages, where others came before.
    """
    shape, items = _flatten(nested, "target")
    index_of_label = {label: index for index, label in enumerate(labels or ())}
    meant_twice = _numbers_among(labels or ())
    if not meant_twice and all(type(item) is str and item.isdecimal() for item in items):
        indices: list[int | None] = list(map(_index_of_digits, items))
    else:
        indices = [_class_index(item, index_of_label) for item in items]
        for position, item in enumerate(items):
            if type(item) is str and indices[position] in meant_twice and INTEGER.fullmatch(item):
                raise _ambiguous(item, meant_twice[int(item)])
    if None in indices:
        position = indices.index(None)
        place = _item("target", position, shape, first)
        raise CecliError(
            f"{place} is {describe(items[position])}: {_wanted(items[position], labels)}"
        )
    return np.array(indices, dtype=np.int64).reshape(shape)


def _numbers_among(labels: Sequence[str]) -> dict[int, int]:
    """Labels that read as integers, but not as their own indices: the integers, and the indices."""
    numbers = {int(label): i for i, label in enumerate(labels) if INTEGER.fullmatch(label)}
    return {number: index for number, index in numbers.items() if number != index}


def _ambiguous(text: str, index: int) -> CecliError:
    return CecliError(
        f"target {quote(text)} is the index {int(text)} or the label of class {index}: give "
        "indices without labels, or labels that are no numbers"
    )


def _wanted(item: object, labels: Sequence[str] | None) -> str:
    """What would be right in place of an item that is no class."""
    if not isinstance(item, str) or NUMBER.fullmatch(item):
        return "a class index is a whole number"
    if not labels:
        return "not a class index, and no labels are given"
    from difflib import get_close_matches

    near = get_close_matches(item, labels, 1)
    hint = f"; did you mean {quote(near[0])}?" if near else ""
    return f"not a class index nor one of the labels{hint}"


def _index_of_digits(text: str) -> int | None:
    return int(text) if text.isascii() and len(text) < 19 else None


def _class_index(item: object, index_of_label: Mapping[str, int]) -> int | None:
    """An index, or the index of a label; text that reads as an integer is an index first."""
    index = None
    if type(item) is str:
        index = int(item) if INTEGER.fullmatch(item) else index_of_label.get(item)
        if index is None and NUMBER.fullmatch(item) and float(item).is_integer():
            index = int(float(item))  # pandas writes 1.0 where a column once lacked a number
    elif type(item) is int or (type(item) is float and item.is_integer()):
        index = int(item)
    return index if index is not None and -(2**63) <= index < 2**63 else None


def whole_numbers(array: NDArray[Any]) -> NDArray[np.integer[Any]]:
    """An array of class indices: integers as they are, other numbers as int64."""
    if array.dtype.kind == "f":
        array = as_float64(array)
        wrong = ~((np.trunc(array) == array) & (np.abs(array) < 2.0**63))
        if wrong.any():
            position = int(wrong.argmax())
            place = _item("target", position, array.shape)
            found = array.flat[position]
            hint = "; -q takes probabilities" if array.ndim > 1 and 0.0 < found < 1.0 else ""
            raise CecliError(f"{place} is {found}: a class index is a whole number{hint}")
        return array.astype(np.int64)
    return array

"""What the columns of a table are: classes, targets, or neither.

What is certain is used; what is doubtful is refused with the option that settles it. A table has no
classes that nobody named as such beside columns that are something else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import NamedTuple

from cecli.errors import CecliError
from cecli.input.numbers import INTEGER, is_number
from cecli.text.messages import quote

TARGETS = frozenset({"target", "label", "labels", "y", "y_true", "class"})
NEITHER = frozenset(
    {
        *("", "id", "index", "idx", "row", "sample", "sample_id", "unnamed: 0", "split", "fold"),
        *("pred", "y_pred", "prediction", "predicted", "proba"),
    }
)
# What a column is called that is most likely no class: refused, as are the names above spelled
# otherwise, Y-True or sampleId. Without marks and blanks.
DOUBTFUL = frozenset(
    {
        *(
            "truelabel",
            "trueclass",
            "labeltrue",
            "ytest",
            "truth",
            "groundtruth",
            "gt",
            "goldlabel",
        ),
        *("targets", "targetclass", "classlabel", "classname", "labelname", "labelidx"),
        *("prob", "probs", "probability", "score", "confidence", "conf", "weight", "sampleweight"),
        *("classidx", "loss", "epoch", "step", "timestamp", "filename", "filepath", "uuid", "guid"),
    }
)
SETTLED_BY_COLUMNS = "--columns NAMES says which columns are the classes"
SETTLED_BY_HEADER = "--header or --no-header says which"
_CAMEL_ID = r"[a-z]I[dD]|Unnamed: \d+"
_NUMBERED = r"(.*?)(0|[1-9][0-9]*)"


class Choice(NamedTuple):
    """What the user says about a table, or what else is known about it.

    columns: those of the classes, in words of the command line. header: whether the first row is
    one. others: columns that hold something else. samples: how many there must be, where that is
    known; it is asked only where it decides something.
    """

    columns: str | None = None
    header: bool | None = None
    others: tuple[str, ...] = ()
    samples: Callable[[], int | None] = lambda: None


@dataclass(frozen=True, eq=False, repr=False)
class Layout:
    """Which columns are the classes, in their order, and which one holds the targets, if any.

    labels: what the classes are called; None where they are only numbered. left_out: the names of
    columns that are neither. guessed: whether the classes are simply the columns that are left.
    """

    classes: tuple[int, ...]
    target: int | None
    labels: tuple[str, ...] | None
    left_out: tuple[str, ...]
    guessed: bool


def layout_of(names: Sequence[str] | None, width: int, choice: Choice) -> Layout:
    """The layout of a table of that width, whose columns have names or none."""
    if names is None:
        return _layout_without_names(width, choice)
    others = {place for text in choice.others for place in column_places(text, names, width)}
    targets = [
        place for place, name in enumerate(names) if name.lower() in TARGETS and place not in others
    ]
    classes: Sequence[int]
    if choice.columns is not None:
        classes = column_places(choice.columns, names, width)
        targets = [place for place in targets if place not in classes]
    if len(targets) > 1:
        raise both_targets(names, targets)
    target = targets[0] if targets else None
    if choice.columns is not None:
        return Layout(tuple(classes), target, _labels(names, classes), (), False)
    rest = [place for place in range(width) if place != target and place not in others]
    family = _numbered(names, rest)
    classes = family or [place for place in rest if not is_neither(names[place])]
    if not classes:
        raise CecliError(f"no column is a class: {SETTLED_BY_COLUMNS}")
    if not family and len(classes) > 1:
        _refuse_doubtful(names, classes)
    left_out = tuple(names[place] for place in rest if place not in classes)
    labels = None if family else _labels(names, classes)
    return Layout(tuple(classes), target, labels, left_out, not family)


def _refuse_doubtful(names: Sequence[str], classes: Sequence[int]) -> None:
    """Raise CecliError where the name of one of several classes says that it is none."""
    for place in classes:
        if is_doubtful(names[place]):
            raise CecliError(
                f"column {quote(names[place])} may be no class: {SETTLED_BY_COLUMNS}, and "
                "-t FILE:COLUMN which one holds the targets"
            )


def both_targets(names: Sequence[str], places: Sequence[int]) -> CecliError:
    """That two columns are headed as that of the targets."""
    first, second = places[:2]
    return CecliError(
        f"columns {first + 1} and {second + 1}, {quote(names[first])} and {quote(names[second])}, "
        "could both hold the targets: -t FILE:COLUMN and --columns NAMES say what is what"
    )


def target_place(names: Sequence[str] | None, width: int, column: str | None) -> int | None:
    """Which column holds the targets: the one that is named, or headed so, or alone; None: all."""
    if column is not None:
        places = column_places(column, names, width)
        if len(places) > 1:
            raise CecliError(f"{quote(column)} names {len(places)} columns: the targets have one")
        return places[0]
    headed = [place for place, name in enumerate(names or ()) if name.lower() in TARGETS]
    if names is not None and len(headed) > 1:
        raise both_targets(names, headed)
    if headed:
        return headed[0]
    rest = [place for place in range(width) if names is None or not is_neither(names[place])]
    return rest[0] if len(rest) == 1 else None


def _layout_without_names(width: int, choice: Choice) -> Layout:
    others = {place for text in choice.others for place in column_places(text, None, width)}
    if choice.columns is not None:
        classes = tuple(column_places(choice.columns, None, width))
        return Layout(classes, None, None, (), False)
    return Layout(
        tuple(place for place in range(width) if place not in others), None, None, (), True
    )


def is_neither(name: str) -> bool:
    """Whether a column of that name is neither a class nor the targets."""
    return name.lower() in NEITHER or (name.lower().endswith("_id") and name[:1] != "'")


def is_doubtful(name: str) -> bool:
    """Whether a column of that name is hardly a class, if it is not known what else it is."""
    if name.startswith("'"):
        return False
    bare = _without_marks(name.lower()) if name.isascii() else ""
    return bare in DOUBTFUL or bare in _otherwise_spelled() or bool(re.search(_CAMEL_ID, name))


def _without_marks(name: str) -> str:
    return re.sub("[^a-z0-9]", "", name)


@cache
def _otherwise_spelled() -> frozenset[str]:
    return frozenset(map(_without_marks, TARGETS | NEITHER)) - {""}


def _labels(names: Sequence[str], classes: Sequence[int]) -> tuple[str, ...] | None:
    """The names of the classes, unless they are only their numbers."""
    labels = tuple(names[place] for place in classes)
    return None if labels == tuple(map(str, range(len(labels)))) else tuple(map(unmarked, labels))


def marked(labels: Sequence[str]) -> list[str]:
    """Names of classes as the heads of columns, with a mark where one would be taken for more.

    What begins like a formula is one to a spreadsheet, which shows nothing of an apostrophe before
    it; a number is no header, a byte order mark at the start of a file is none of its text, and
    some names have another meaning here.
    """
    numbered = bool(_numbered(labels, range(len(labels))))
    return [f"'{label}" if numbered or _means_more(label) else label for label in labels]


def unmarked(name: str) -> str:
    """The class's name that heads a column."""
    return name.removeprefix("'")


def _means_more(name: str) -> bool:
    name = name.strip()
    return name[:1] in tuple("=+-@'#\t\N{BYTE ORDER MARK}") or (
        is_number(name) or name.lower() in TARGETS or is_neither(name) or is_doubtful(name)
    )


def _numbered(names: Sequence[str], places: Sequence[int]) -> list[int]:
    """Of the columns at these places those with one prefix and the numbers from 0 up, in order."""
    unmarked_ = [place for place in places if not names[place].startswith("'")]
    matches = [(place, re.fullmatch(_NUMBERED, names[place])) for place in unmarked_]
    found = sorted((match[1], int(match[2]), place) for place, match in matches if match)
    families = []
    for prefix, members in groupby(found, key=lambda item: item[0]):
        numbers, own = zip(*((number, place) for _, number, place in members), strict=True)
        if len(own) > 1 and numbers == tuple(range(len(own))):
            families.append((prefix, own))
    if len(families) > 1:
        first, second = (quote(f"{prefix}0") for prefix, _ in families[:2])
        raise CecliError(
            f"columns from {first} on and from {second} on could both be the classes: "
            f"{SETTLED_BY_COLUMNS}"
        )
    return list(families[0][1]) if families else []


# --- The user's words for columns -----------------------------------------------------------------


def column_places(text: str, names: Sequence[str] | None, width: int) -> list[int]:
    """Where the columns are that a text names: A,B,C, numbers from 1, A:C, or a pattern."""
    import csv

    places: list[int] = []
    for word in next(csv.reader([text], skipinitialspace=True), []):
        found = _places_of_word(word.strip(), names, width)
        places += [place for place in found if place not in places]
    if not places:
        raise CecliError(f"{quote(text)} names no column")
    return places


def _places_of_word(word: str, names: Sequence[str] | None, width: int) -> Sequence[int]:
    from fnmatch import fnmatchcase

    place = _place_of(word, names, width)
    if place is not None:
        return [place]
    first, colon, last = word.partition(":")
    if colon:
        begin = _place_of(first, names, width) if first else 0
        end = _place_of(last, names, width) if last else width - 1
        if begin is not None and end is not None and begin <= end:
            return range(begin, end + 1)
    matching = [place for place, name in enumerate(names or ()) if fnmatchcase(name, word)]
    if matching and any(character in word for character in "*?["):
        return matching
    found = f"columns {', '.join(map(quote, list(names)[:20]))}" if names else f"{width} columns"
    raise CecliError(f"there is no column {quote(word)}: the file has {found}")


def _place_of(word: str, names: Sequence[str] | None, width: int) -> int | None:
    """A name, or else a number from 1."""
    if names is not None and word in names:
        if list(names).count(word) > 1:
            raise CecliError(f"several columns are headed {quote(word)}")
        return list(names).index(word)
    if INTEGER.fullmatch(word) and 1 <= int(word) <= width:
        return int(word) - 1
    return None


# --- Headers --------------------------------------------------------------------------------------


def is_counting(cells: Sequence[str]) -> bool:
    """Whether cells are exactly 0, 1, …, as pandas heads columns that have no names."""
    return list(cells) == list(map(str, range(len(cells))))


def counts_from_one(cells: Sequence[str]) -> bool:
    """Whether cells are exactly 1, 2, …, as other programs head them; a sample may be that, too."""
    return len(cells) > 1 and list(cells) == list(map(str, range(1, len(cells) + 1)))


def is_header(cells: Sequence[str], line: int) -> bool | None:
    """Whether the first row holds names; None where the rows below must tell.

    Raises CecliError for a row of numbers and other words, which may be a slip of the pen: it must
    not vanish from the samples.
    """
    numbers = [cell for cell in cells if is_number(cell)]
    if not numbers:
        return True
    if len(numbers) == len(cells):
        return None if is_counting(cells) or counts_from_one(cells) else False
    words = [cell for cell in cells if not is_number(cell)]
    named = any(cell and (is_neither(cell) or cell.lower() in TARGETS) for cell in words)
    if named or (is_counting(numbers) and not any(words)):
        return True
    place = next(i for i, cell in enumerate(cells) if not is_number(cell))
    raise CecliError(
        f"line {line}, column {place + 1}: {quote(cells[place])} is not a number; "
        "if the row is a header, --header says so"
    )

"""Documents: logits as text or JSON, with the target, labels and objective that JSON may add."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cecli.errors import CecliError
from cecli.input.columns import TARGETS
from cecli.input.numbers import (
    MAXIMUM_DIMENSIONS,
    Locate,
    array_of_lists,
    json_objects,
    load_json,
    parse_text,
    target_of,
    values_of_line,
)
from cecli.problem.rows import Joined
from cecli.text.messages import NotJSONError, describe, quote, reading

Labels = tuple[str, ...] | None

NO_LOGITS = "no logits: give numbers (2.0 1.0 0.1) or a file, or pipe them in"


@dataclass(frozen=True, eq=False, repr=False)
class Document:
    """What was read: the logits and, from a document or a table, all that goes with them.

    given: the logits, in memory or as they lie in their file.
    notes: what whoever reads the result should know, such as columns that were left out.
    target_column: of a table, the name of the column that holds the target.
    """

    given: NDArray[Any] | Joined
    target: NDArray[Any] | None = None
    soft_target: NDArray[Any] | None = None
    labels: tuple[str, ...] | None = None
    objective: Mapping[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    target_column: str | None = None

    @property
    def logits(self) -> NDArray[Any]:
        """The logits in memory."""
        return np.asarray(self.given)


def document_of_text(text: str, place: Locate, labels: Labels = None) -> Document:
    """The document that a text is: JSON, JSON Lines or numbers.

    labels: names of the classes beside the document's own, here and below.
    """
    start = text.lstrip()
    if not start:
        raise CecliError(NO_LOGITS)
    if start[0] in "[{":
        try:
            value = load_json(text)
        except NotJSONError:
            if _holds_json_lines(start):
                return document_of_json_lines(text, labels)
            if start[0] == "{":
                return document_of_json_text(text, labels)
        else:
            return document_of_json(value, labels)
    return Document(array_of_lists(parse_text(text, place), "logits"))


def document_of_json_text(text: str, labels: Labels = None) -> Document:
    """The document that a JSON text is; objects one after another are a batch."""
    try:
        value = load_json(text)
    except NotJSONError:
        values = json_objects(text)
        if values is None:
            raise
        return _document_of_objects(values, labels)
    return document_of_json(value, labels)


def _document_of_objects(values: Sequence[Any], labels: Labels) -> Document:
    """Objects one after another, or in a list, as one batch."""
    documents: list[Document] = []
    for number, value in enumerate(values, 1):
        with reading(f"object {number}"):
            documents.append(document_of_json(value, labels))
            _check_alike(documents[-1], documents[0], "the first object")
    return _batch(documents)


def _holds_json_lines(text: str) -> bool:
    """Whether the lines are JSON, each by itself."""
    lines = [line for line in text.split("\n") if line.strip()]
    if text.startswith("{"):
        lines = lines[:1]  # enough for objects; what is wrong further on is told with its line
    try:
        for line in lines:
            load_json(line)
    except NotJSONError:
        return False
    return True


def document_of_json(value: Any, labels: Labels = None) -> Document:
    """The document that a JSON value is: an object with "logits", or the logits themselves."""
    if isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
        return _document_of_objects(value, labels)
    if not isinstance(value, dict):
        value = {"logits": value}
    if "logits" not in value:
        raise CecliError(_missing_logits(value))
    if not isinstance(value["logits"], list):
        raise CecliError(f"the logits are {describe(value['logits'])}, not a list of numbers")
    target, own = target_and_labels(value)
    soft_target = value.get("soft_target")
    names = None if own is None else labels_of(own)
    if "shape" in value:
        return _document_without_samples(value, names)
    return Document(
        given=array_of_lists(value["logits"], "logits"),
        target=None if target is None else named_target_of(target, names, labels),
        soft_target=None if soft_target is None else array_of_lists(soft_target, "soft_target"),
        labels=names,
        objective=objective_in(value),
    )


def _document_without_samples(value: Mapping[str, object], names: Labels) -> Document:
    """That of a batch whose shape says that it holds nothing."""
    shape, objective = value["shape"], objective_in(value)
    if not isinstance(shape, list) or not all(type(n) is int and 0 <= n < 2**31 for n in shape):
        raise CecliError(f"shape is {describe(shape)}, not a list of counts")
    axis = objective.get("axis", -1)
    if not isinstance(axis, int) or not -len(shape) <= axis < len(shape) <= MAXIMUM_DIMENSIONS:
        raise CecliError("shape has not the dimension of the classes")
    if prod(shape):
        raise CecliError("shape is of a batch without samples, where lists cannot tell it")
    batch = [length for place, length in enumerate(shape) if place != axis % len(shape)]
    target = None if value.get("target") is None else np.empty(batch, np.int64)
    soft = None if value.get("soft_target") is None else np.empty(shape)
    return Document(np.empty(shape), target, soft, names, objective)


def _missing_logits(document: Mapping[str, object]) -> str:
    if "omitted" in document:
        return "the document leaves out its arrays; print it with --arrays"
    for name in document:
        option = _FROM.get(_bare(name))
        if option is not None:
            return (
                f'the object has no "logits" but {quote(name)}: call them "logits" and give '
                f"--from {option}"
            )
    return 'the object has no "logits"'


def _bare(name: str) -> str:
    """A name as it is whatever the habits of who writes it: labelSmoothing, label-smoothing."""
    return re.sub("[ _-]", "", name).lower()


def target_in(value: object) -> object:
    """A target as JSON, or that of a document."""
    if not isinstance(value, dict):
        return value
    target, _ = target_and_labels(value)
    if target is None:
        raise CecliError('the object has no "target"')
    return target


def target_and_labels(document: Mapping[str, object]) -> tuple[object, object]:
    """A document's target, and the names of its classes.

    As the column of a table so headed, whatever integers are called label, y, … are targets.
    """
    labels = document.get("labels")
    names = None if _are_integers(labels) else labels
    found = [
        name
        for name, value in document.items()
        if value is not None
        and (name == "target" or (name.lower() in TARGETS and _are_integers(value)))
    ]
    if len(found) > 1:
        first, second = (f'"{name}"' for name in sorted(found, key="target".__ne__)[:2])
        raise CecliError(f"{first} and {second} both hold class indices: which are the targets?")
    return (document[found[0]] if found else None), names


def _are_integers(value: object) -> bool:
    """Whether a value is an integer, or nested lists of nothing else, as other programs' labels."""
    if isinstance(value, list):
        return bool(value) and all(map(_are_integers, value))
    return type(value) is int


def named_target_of(
    target: object, own: Labels, beside: Labels, first: int = 0
) -> NDArray[np.int64]:
    """A target whose labels are a document's own, or those that stand beside it.

    first: as in `target_of`.
    """
    if own is None or beside is None:
        return target_of(target, own if beside is None else beside, first)
    try:
        return target_of(target, beside, first)
    except CecliError:
        return target_of(target, own, first)


def document_of_json_lines(text: str, labels: Labels = None) -> Document:
    """JSON Lines as one batch: each line a sample, or a batch of the same shape."""
    documents: list[Document] = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            with reading(f"line {number}"):
                for value in values_of_line(line):
                    documents.append(document_of_json(value, labels))
                    _check_alike(documents[-1], documents[0], "the first line")
    if not documents:
        raise CecliError(NO_LOGITS)
    return _batch(documents)


def _batch(documents: Sequence[Document]) -> Document:
    """Documents that are alike, as one."""
    first = documents[0]

    def stack(name: str) -> NDArray[Any] | None:
        arrays = [getattr(document, name) for document in documents]
        return None if arrays[0] is None else np.stack(arrays)

    logits = np.stack([document.logits for document in documents])
    return Document(logits, stack("target"), stack("soft_target"), first.labels, first.objective)


def _check_alike(document: Document, first: Document, where: str) -> None:
    """The documents of one batch agree in their shapes, their labels and their objective."""
    for name in ("logits", "target", "soft_target"):
        array, model = getattr(document, name), getattr(first, name)
        if (array is None) != (model is None):
            raise CecliError(f"{name} must be in every line or in none")
        if np.shape(array) != np.shape(model):
            expected = np.shape(model)
            raise CecliError(f"{name} has shape {array.shape}, where {where} has {expected}")
    check_settings(document, first, where)


def check_settings(document: Document, first: Document, where: str) -> None:
    """The documents of one batch agree in their labels and their objective; where: of the first."""
    if document.labels != first.labels:
        raise CecliError(f"the labels differ from those of {where}")
    settings, expected_settings = document.objective, first.objective
    if settings.keys() != expected_settings.keys() or not all(
        np.array_equal(np.asarray(settings[key]), np.asarray(expected_settings[key]))
        for key in settings
    ):
        raise CecliError(f"the objective differs from that of {where}")


def labels_of(value: object) -> tuple[str, ...]:
    """The names of the classes, checked."""
    if not isinstance(value, list) or not value:
        found = "empty" if value == [] else describe(value)
        raise CecliError(f"the labels are {found}: they must be a list of names")
    index_of_label: dict[str, int] = {}
    for index, label in enumerate(value):
        if not isinstance(label, str) or not label.strip():
            raise CecliError(f"labels[{index}] is {describe(label)}, not a name")
        if re.search("[\ud800-\udfff]", label):
            raise CecliError(f"labels[{index}] is {quote(label)}, not valid Unicode")
        if label in index_of_label:
            both = f"labels[{index_of_label[label]}] and labels[{index}]"
            raise CecliError(f"{both} are {quote(label)}: each class needs a name of its own")
        index_of_label[label] = index
    return tuple(value)


def objective_in(document: Mapping[str, Any]) -> dict[str, object]:
    """The objective of a document, whose names may also stand at the document's top.

    Raises CecliError for a name there that is nearly one, which must not be passed over.
    """
    objective = objective_of(document.get("objective", {}))
    for key in document:
        meant = _meant_by(key)
        if meant not in (None, key):
            raise CecliError(f"the object holds {quote(key)}: did you mean {quote(meant)}?")
    for name in OBJECTIVE:
        if document.get(name) is None:
            continue
        setting = _READ_SETTING[name](document[name], name)
        if name in objective and not np.array_equal(
            np.asarray(objective[name]), np.asarray(setting)
        ):
            raise CecliError(f"{name} and objective.{name} differ: which is meant?")
        objective[name] = setting
    return objective


@cache
def _meant_by(key: str) -> str | None:
    """The name of an objective's that a key is, or is nearly."""
    from difflib import get_close_matches

    bare = {_bare(name): name for name in OBJECTIVE}
    found = get_close_matches(_bare(key), bare, 1, NEARLY)
    return _OTHER_NAMES.get(_bare(key), bare[found[0]] if found else None)


def objective_of(value: object) -> dict[str, object]:
    """The names and types of an objective, checked; null stands for the default."""
    if not isinstance(value, dict):
        raise CecliError(f"the objective is {describe(value)}, not an object")
    objective: dict[str, object] = {}
    for key, setting in value.items():
        if key not in _READ_SETTING:
            known = ", ".join(_READ_SETTING)
            raise CecliError(f"the objective holds {quote(key)}: its keys are {known}")
        if setting is not None:
            objective[key] = _READ_SETTING[key](setting, f"objective.{key}")
    return objective


def _number_of(value: object, name: str) -> float:
    if isinstance(value, list):
        raise CecliError(f"{name} is a list, not a number")
    return float(array_of_lists(value, name))


def _integer_of(value: object, name: str) -> int:
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise CecliError(f"{name} is {describe(value)}, not an integer of 64 bits")
    return value


def _text_of(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise CecliError(f"{name} is {describe(value)}, not text")
    return value


_READ_SETTING: Mapping[str, Callable[[object, str], object]] = {
    "weight": array_of_lists,
    "ignore_index": _integer_of,
    "label_smoothing": _number_of,
    "reduction": _text_of,
    "temperature": _number_of,
    "softcap": _number_of,
    "z_loss": _number_of,
    "sample_weight": array_of_lists,
    "divisor": _number_of,
    "axis": _integer_of,
}
# At the top of a document the divisor is a result.
OBJECTIVE = tuple(name for name in _READ_SETTING if name != "divisor")
# "weights" and "temprature" are as near as that; "loss" is not as near to "z_loss".
NEARLY = 0.9
_OTHER_NAMES = {
    "smoothing": "label_smoothing",
    "classweight": "weight",
    "classweights": "weight",
    "temp": "temperature",
    "logitsoftcap": "softcap",
}
_LOGARITHMS = ("logprobs", "logprobabilities", "logprobability", "logsoftmax")
_PROBABILITIES = ("probs", "probabilities", "probability", "softmax")
_FROM = {
    **dict.fromkeys(_LOGARITHMS, "log-probabilities"),
    **dict.fromkeys(_PROBABILITIES, "probabilities"),
}

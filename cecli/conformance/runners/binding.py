"""Which parameters of somebody's function are the logits, the target and the options.

Names are those that PyTorch, Keras, TensorFlow, MLX, optax, flash-attention, Liger and
scikit-learn have for them. What no name tells is positional: the logits first.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import Parameter
from typing import Any

from cecli.conformance.model import NotSupported, Options

LOGITS = frozenset(
    {"logits", "logit", "z", "x", "scores", "input", "inputs", "output", "outputs", "y_pred"}
    | {"pred", "preds", "prediction", "predictions", "raw_prediction", "y_hat", "yhat"}
)
TARGET = frozenset(
    {"target", "targets", "label", "labels", "y", "y_true", "t", "true", "truth", "gt"}
    | {"one_hot", "onehot", "ground_truth"}
)
# Other names of the options, the usual one first.
NAMES: Mapping[str, tuple[str, ...]] = {
    "reduction": ("reduction",),
    "weight": ("weight", "class_weight", "class_weights", "ce_weight"),
    "sample_weight": ("sample_weight", "sample_weights", "token_weights"),
    "ignore_index": ("ignore_index", "ignored_index", "ignore_label", "ignore_class"),
    "label_smoothing": ("label_smoothing", "smoothing"),
    "temperature": ("temperature", "temp", "tau"),
    "softcap": ("softcap", "logit_softcap", "logit_softcapping", "softcapping", "logit_soft_cap"),
    "z_loss": ("z_loss", "lse_square_scale", "z_loss_weight", "z_loss_coefficient", "z_loss_coef"),
    "upstream": ("upstream", "grad_output", "dloss", "dout"),
}
# What multiplies the logits, where others divide them by a temperature.
SCALES = ("logit_scale", "inverse_temperature")
# Without it a function takes probabilities.
FROM_LOGITS = "from_logits"
POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
NAMED = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)


@dataclass(frozen=True)
class Binding:
    """How a function is called.

    taken: what it takes by keyword, None where that may be anything. defaults: of these. swapped:
    the target comes first. keywords: the names of logits and target, where they go by no place.
    """

    taken: frozenset[str] | None = None
    defaults: Options = field(default_factory=dict)
    swapped: bool = False
    keywords: tuple[str, str] | None = None
    names: tuple[str, str] = ("", "")

    @classmethod
    def of(cls, function: Callable[..., Any], options_from: Callable[..., Any] | None) -> Binding:
        """options_from: what takes the options, where that is not the function but its maker."""
        arrays, swapped, keywords = _parameters(function), False, None
        options = arrays if options_from is None else _parameters(options_from)
        places = [p.name for p in arrays or () if p.kind in POSITIONAL]
        names = (places[0], places[1]) if len(places) > 1 else ("", "")
        if names[1]:
            first, second = (name.lower() for name in names)
            swapped = (first in TARGET and second not in TARGET) or (
                second in LOGITS and first not in LOGITS
            )
        elif not places:
            only = [p.name for p in arrays or () if p.kind is Parameter.KEYWORD_ONLY]
            of_logits, of_target = (
                [name for name in only if name.lower() in known] for known in (LOGITS, TARGET)
            )
            keywords = (of_logits[0], of_target[0]) if of_logits and of_target else None
        open_ended = options is None or any(p.kind is Parameter.VAR_KEYWORD for p in options)
        named = [p for p in options or () if p.kind in NAMED]
        if options_from is None:
            named = [p for p in named if p.name not in (*names, *(keywords or ()))]
        return cls(
            None if open_ended else frozenset(p.name for p in named),
            {p.name: p.default for p in named},
            swapped,
            keywords,
            names,
        )

    def arguments(self, logits: Any, target: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Both arrays, by their places or by their names."""
        if self.keywords is not None:
            return (), dict(zip(self.keywords, (logits, target), strict=True))
        return ((target, logits) if self.swapped else (logits, target)), {}

    def name_of(self, option: str) -> str | None:
        """What the function calls an option."""
        names = NAMES[option] + (SCALES if option == "temperature" else ())
        for name in names:
            if name in self.defaults:
                return name
        return option if self.taken is None else None

    def options(self, wanted: Options, *, declared: bool = False) -> Options:
        """The options under the function's names, and what it needs to be told always.

        declared: it is said to have them, whatever its parameters. Raises NotSupported for an
        option that it has not.
        """
        passed: dict[str, Any] = {FROM_LOGITS: True} if FROM_LOGITS in self.defaults else {}
        for option, value in wanted.items():
            name = self.name_of(option)
            if name is None and not declared:
                raise NotSupported(f"there is no parameter {option}")
            passed[name or option] = 1.0 / value if name in SCALES else value
        if "reduction" not in wanted and self.defaults.get("reduction") in ("none", "sum"):
            passed["reduction"] = "mean"
        return passed

    @property
    def notes(self) -> tuple[str, ...]:
        """What was found out by names, and which names nobody knows."""
        notes = []
        if self.swapped:
            notes.append(f"the target is its first parameter, by the names {', '.join(self.names)}")
        if FROM_LOGITS in self.defaults:
            notes.append("from_logits=True is passed")
        known = {*SCALES, FROM_LOGITS, *(name for names in NAMES.values() for name in names)}
        others = [name for name in self.defaults if name not in known]
        if others:
            notes.append(f"parameters that are not known here, and left alone: {', '.join(others)}")
        return tuple(notes)


def _parameters(function: Callable[..., Any]) -> list[Parameter] | None:
    try:
        found = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None
    open_ended = {Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD}
    # (*args, **kwargs) tells nothing.
    return None if {p.kind for p in found} == open_ended else found

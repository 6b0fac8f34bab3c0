"""How functions are called: by the names of their parameters, and by what trying shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import cecli
from cecli.conformance.api import function_of
from cecli.conformance.model import Inputs, NotSupported
from cecli.conformance.runners.binding import Binding
from cecli.conformance.runners.functions import PythonFunction
from support.cases import named

EASY = ["ordinary", "ties/all-3", "layout/fortran"]


def right(logits: Any, target: Any, **options: Any) -> tuple[Any, Any]:
    result = cecli.cross_entropy(logits, target, **options)
    return result.loss, result.grad


# --- By names ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "swapped"),
    [
        ("logits, target", False),
        ("labels, logits", True),
        ("y_true, y_pred", True),
        ("y_pred, y_true", False),
        ("input, target", False),
        ("x, y", False),
        ("y, t", False),
        ("y, a", True),
        ("a, b", False),
        ("Y_true, a", True),
    ],
)
def test_the_order_is_told_by_names(parameters: str, swapped: bool) -> None:
    function = eval(f"lambda {parameters}, weight=None: None")
    binding = Binding.of(function, None)
    assert binding.swapped is swapped
    assert binding.arguments("z", "t")[0] == (("t", "z") if swapped else ("z", "t"))


def test_parameters_that_have_no_place_go_by_name() -> None:
    def function(*, labels: Any, logits: Any, scale: float = 1.0) -> None: ...

    binding = Binding.of(function, None)
    assert binding.arguments("z", "t") == ((), {"logits": "z", "labels": "t"})
    assert binding.taken == frozenset({"scale"})


@pytest.mark.parametrize(
    ("option", "value", "parameter", "passed"),
    [
        ("weight", 1, "class_weight", 1),
        ("sample_weight", 1, "token_weights", 1),
        ("z_loss", 0.1, "lse_square_scale", 0.1),
        ("temperature", 2.0, "logit_scale", 0.5),
        ("softcap", 3.0, "logit_softcapping", 3.0),
        ("ignore_index", -1, "ignored_index", -1),
        ("label_smoothing", 0.1, "smoothing", 0.1),
    ],
)
def test_options_have_other_names(option: str, value: Any, parameter: str, passed: Any) -> None:
    function = eval(f"lambda logits, target, {parameter}=None: None")
    assert Binding.of(function, None).options({option: value}) == {parameter: passed}


@pytest.mark.parametrize("parameter", ["weights", "pos_weight", "where"])
def test_a_name_that_may_mean_something_else_is_told(parameter: str) -> None:
    binding = Binding.of(eval(f"lambda logits, target, {parameter}=None: None"), None)
    assert binding.notes == (f"parameters that are not known here, and left alone: {parameter}",)
    with pytest.raises(NotSupported, match="there is no parameter weight"):
        binding.options({"weight": 1})


def test_what_takes_probabilities_is_told_that_these_are_logits() -> None:
    binding = Binding.of(lambda y_true, y_pred, from_logits=False: None, None)
    assert binding.options({}) == {"from_logits": True}
    assert binding.notes == (
        "the target is its first parameter, by the names y_true, y_pred",
        "from_logits=True is passed",
    )


@pytest.mark.parametrize(("default", "passed"), [("none", {"reduction": "mean"}), ("mean", {})])
def test_a_mean_that_is_not_the_default_is_asked_for(default: str, passed: Any) -> None:
    binding = Binding.of(lambda logits, target, reduction=default: None, None)
    assert binding.options({}) == passed
    assert binding.options({"reduction": "sum"}) == {"reduction": "sum"}


def test_a_function_with_other_names_passes() -> None:
    def function(
        y_true: Any, y_pred: Any, class_weight: Any = None, reduction: str = "none"
    ) -> Any:
        return right(y_pred, y_true, weight=class_weight, reduction=reduction)

    report = cecli.verify(function, only=[*EASY, "weight/[!w]*", "reduction"])
    assert report.passed, report
    assert report.totals.ran == len(report.verdicts)


def test_a_function_without_a_reduction_has_its_weighted_rows_reduced() -> None:
    def function(logits: Any, target: Any, weight: Any = None, sample_weight: Any = None) -> Any:
        options = {"weight": weight, "sample_weight": sample_weight, "reduction": "none"}
        found = cecli.cross_entropy(logits, target, **options)
        return found.losses, found.grad

    report = cecli.verify(function, only=["sample-weight", "weight"], skip=["*ignored"])
    assert report.passed, report
    assert report.totals.ran == len(report.verdicts)


# --- What is returned -------------------------------------------------------------------------


def test_a_gradient_alone_or_a_loss_alone_is_judged() -> None:
    only = cecli.verify(lambda logits, target: right(logits, target)[1], only=EASY)
    assert only.passed, only
    assert {verdict.loss for verdict in only.verdicts} == {None}
    assert only.notes == ("it returns no loss: its gradient alone is judged",)
    only = cecli.verify(lambda logits, target: right(logits, target)[0], only=EASY)
    assert only.passed, only
    assert {verdict.grad for verdict in only.verdicts} == {None}
    assert only.notes == ("it returns no gradient: its loss alone is judged",)


def test_a_gradient_alone_can_be_wrong() -> None:
    only = cecli.verify(lambda logits, target: -right(logits, target)[1], only=EASY)
    assert not only.passed
    assert "sign-flipped" in {found.id for v in only.failures for found in v.diagnosis}


def test_the_gradient_may_come_first() -> None:
    assert cecli.verify(lambda logits, target: right(logits, target)[::-1], only=EASY).passed


class Keeps:
    """A loss as an object, which remembers what its backward needs."""

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = reduction

    def forward(self, logits: Any, target: Any) -> Any:
        loss, self.grad = right(logits, target, reduction=self.reduction)
        return loss

    def backward(self) -> Any:
        return self.grad


class Again:
    """One whose methods take both arrays, the target first."""

    def __call__(self, y_true: Any, y_pred: Any) -> Any:
        return right(y_pred, y_true)[0]

    def gradient(self, y_true: Any, y_pred: Any) -> Any:
        return right(y_pred, y_true)[1]


@pytest.mark.parametrize("theirs", [Keeps, Keeps(), Again, Again()], ids=lambda t: str(type(t)))
def test_a_class_with_forward_and_backward_is_a_function(theirs: Any) -> None:
    report = cecli.verify(theirs, only=EASY)
    assert report.passed, report


def test_options_go_to_the_maker_of_a_class() -> None:
    report = cecli.verify(Keeps, only=["reduction", "weight"])
    assert report.passed, report
    assert {v.case.family for v in report.verdicts if v.outcome == "not supported"} == {"weight"}


# --- One-hot labels ---------------------------------------------------------------------------


def of_one_hot(logits: Any, labels: Any) -> Any:
    """Broadcasts without a word where it is handed indices, and as many as there are classes."""
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    total = e.sum(axis=1, keepdims=True)
    surprise = np.log(total) - (logits - logits.max(axis=1, keepdims=True))
    loss = np.where(labels == 0.0, 0.0, labels * surprise).sum(axis=1).mean()
    return loss, (e / total - labels) / len(logits)


def test_one_hot_labels_are_found_by_trying() -> None:
    report = cecli.verify(of_one_hot, only=[*EASY, "masks", "far-losers"])
    assert report.passed, report
    assert "one-hot" in report.notes[0]
    assert not cecli.verify(of_one_hot, only=["ordinary/square"], one_hot=False).passed
    assert cecli.verify(of_one_hot, only=["ordinary/square"], one_hot=True).passed


def test_what_is_wrong_with_a_loss_of_one_hot_labels_is_found() -> None:
    def summed(logits: Any, labels: Any) -> Any:
        loss, grad = of_one_hot(logits, labels)
        return loss, grad * len(logits)

    def flipped(logits: Any, labels: Any) -> Any:
        assert labels.shape == logits.shape
        loss, grad = of_one_hot(logits, labels)
        return loss * len(logits), -grad

    for function, name in ((summed, "not-averaged"), (flipped, "sign-flipped")):
        report = cecli.verify(function, only=["ordinary/small-batch", "ordinary/ten-classes"])
        assert "one-hot" in report.notes[0]
        assert [verdict.outcome for verdict in report.verdicts] == ["wrong"] * 2
        found = {one.id for verdict in report.verdicts for one in verdict.diagnosis}
        assert name in found


def test_who_is_wrong_either_way_is_handed_indices() -> None:
    def both(logits: Any, target: Any) -> Any:
        if target.ndim == 1:
            target = np.eye(logits.shape[1])[target]
        loss, grad = of_one_hot(logits, target)
        return loss, -grad

    (verdict,) = cecli.verify(both, only=["ordinary/square"]).verdicts
    assert [one.id for one in verdict.diagnosis] == ["sign-flipped"]
    assert cecli.verify(both, only=["ordinary/square"]).notes == ()


def test_who_takes_indices_is_not_handed_one_hot_labels() -> None:
    def both(logits: Any, target: Any) -> Any:
        assert target.ndim == 1
        return right(logits, target)

    assert cecli.verify(both, only=EASY).passed


def test_ignored_rows_have_no_one_hot_label() -> None:
    function = PythonFunction(lambda logits, labels, ignore_index=-1: 0.0, "f", one_hot=True)
    with pytest.raises(NotSupported, match="an ignored row has no one-hot label"):
        function.run(named("ignored/some").make())


def test_one_hot_labels_are_of_the_type_of_the_logits() -> None:
    seen: list[Any] = []

    def function(logits: Any, labels: Any) -> Any:
        seen.append(labels)
        return 0.0

    inputs = Inputs(np.zeros((2, 3), np.float32), np.array([2, 0]), dtype="float32")
    PythonFunction(function, "f", one_hot=True).run(inputs)
    assert seen[0].dtype == np.float32
    assert seen[0].tolist() == [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]


# --- The precision it works in ----------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_who_makes_a_narrower_type_of_its_input_is_judged_as_that(dtype: str) -> None:
    def function(logits: Any, target: Any) -> Any:
        return right(logits.astype(dtype), target)

    report = cecli.verify(function, only=["shift", "ordinary", "float32/offset"])
    assert report.passed, report
    told = f"it makes {dtype} of its input: judged as with --dtype {dtype}"
    assert report.notes == (told,)
    graded = [v.grad.precision for v in report.verdicts if v.grad is not None]
    assert set(graded) == {dtype}


def test_who_computes_in_doubles_is_judged_as_that() -> None:
    for function in (right, lambda logits, target: (0.5, np.zeros(logits.shape))):
        made = function_of("python", function, "f", None, None, None)
        assert made.dtype is None


def test_what_raises_while_it_is_tried_is_no_error_of_cecli() -> None:
    def function(logits: Any, target: Any) -> Any:
        raise SystemExit(3)

    assert function_of("python", function, "f", None, None, None).dtype is None

"""PyTorch's functions and modules as implementations."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import pytest

import cecli
from cecli.conformance.runners.load import load
from cecli.errors import CecliError

pytestmark = [
    pytest.mark.xdist_group("torch"),  # whose import takes seconds
    pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is missing"),
]
EASY = ("ordinary", "masks", "reduction", "weight", "ignored/some", "upstream")


def torch_verdicts(function: Any, *only: str, **settings: Any) -> dict[str, Any]:
    report = cecli.verify(function, kind="torch", only=only or EASY, **settings)
    return {verdict.case.name: verdict for verdict in report.verdicts}


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("torch.nn.functional:cross_entropy", ("smoothing", "bfloat16", "layout")),
        ("torch.nn:CrossEntropyLoss", ("smoothing",)),
    ],
)
def test_pytorch_needs_no_adapter(name: str, more: tuple[str, ...]) -> None:
    verdicts = torch_verdicts(load(name), *EASY, *more)
    failed = {name for name, verdict in verdicts.items() if not verdict.passed()}
    # The latter is a matter of the CPU: of which instructions PyTorch finds there.
    assert {"smoothing/thousand"} <= failed <= {"smoothing/thousand", "layout/fortran-wide"}
    missing = {name for name, verdict in verdicts.items() if verdict.outcome == "not supported"}
    assert len(missing) <= 2


def test_an_instance_of_a_module_is_asked_by_its_forward() -> None:
    import torch

    verdicts = torch_verdicts(torch.nn.CrossEntropyLoss(), "ordinary", "weight")
    outcomes = {verdict.case.family: verdict.outcome for verdict in verdicts.values()}
    assert outcomes["weight"] == "not supported"
    assert verdicts["ordinary/textbook"].passed()


def test_losses_of_rows_in_pytorch_are_reduced() -> None:
    import torch

    def losses(logits: Any, target: Any) -> Any:
        return torch.nn.functional.cross_entropy(logits, target, reduction="none")

    verdicts = torch_verdicts(losses, "ordinary", "reduction", "upstream")
    assert all(verdict.passed() for verdict in verdicts.values())
    assert verdicts["reduction/none"].outcome in ("exact", "accurate", "acceptable")


def test_a_backward_that_forgets_the_upstream_gradient_and_writes_into_its_input_is_found() -> None:
    import torch

    class Loss(torch.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(context: Any, logits: Any, target: Any) -> Any:
            softmax = torch.softmax(logits, 1)
            loss = torch.nn.functional.nll_loss(torch.log_softmax(logits, 1), target)
            softmax[torch.arange(len(target)), target] -= 1
            logits.data.copy_(softmax / len(target))
            context.save_for_backward(logits.detach().clone())
            return loss

        @staticmethod
        def backward(context: Any, upstream: Any) -> Any:
            return context.saved_tensors[0], None

    verdicts = torch_verdicts(Loss.apply, "ordinary", "upstream/2", "unmodified/float64")
    bad = {v.case.family for v in verdicts.values() if not v.passed()}
    assert bad == {"upstream", "unmodified"}
    assert verdicts["unmodified/float64"].reason == "the logits were changed in place"


@pytest.mark.parametrize(
    ("returned", "reason"),
    [
        (lambda logits, target: 1.0, "it returned float, not a tensor"),
        (lambda logits, target: logits.detach().sum(), "RuntimeError: element 0 of tensors does"),
        (lambda logits, target: logits.no_such_thing, "AttributeError: 'Tensor' object has no"),
    ],
)
def test_what_goes_wrong_in_pytorch_is_told(returned: Callable[..., Any], reason: str) -> None:
    verdict = torch_verdicts(returned, "ordinary/textbook")["ordinary/textbook"]
    assert verdict.outcome == "failed"
    assert reason in verdict.reason


def test_a_loss_of_another_shape_than_its_upstream_gradient_has_failed() -> None:
    def loss(logits: Any, target: Any, reduction: str = "mean") -> Any:
        return logits.sum()

    verdict = torch_verdicts(loss, "upstream/uneven")["upstream/uneven"]
    assert (verdict.outcome, verdict.reason) == ("failed", "the loss has shape ()")


def test_a_device_that_there_is_not_is_bad_input() -> None:
    with pytest.raises(CecliError, match="--device gpu: RuntimeError"):
        torch_verdicts(cecli.cross_entropy, device="gpu")

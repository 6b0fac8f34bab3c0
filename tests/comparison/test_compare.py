"""The command: what it reads, shows and returns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import cecli
from cecli.cli.main import main
from cecli.machine.compiled import kernel
from support.documents import strict

SAMPLE = ["2.0", "1.0", "0.1", "-t", "0"]
SOFTMAX = ["--grad", "0.659,0.2424,0.0986"]
LOGITS = np.random.default_rng(0).normal(0, 2, (6, 4))
TARGET = np.array([0, 3, 1, 2, 2, 1])


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    np.save("logits.npy", LOGITS)
    np.save("target.npy", TARGET)
    np.save("grad.npy", cecli.cross_entropy(LOGITS, TARGET).grad)
    return tmp_path


def run(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
    result = CliRunner().invoke(main, ["compare", *arguments], input=stdin)
    return result.exit_code, result.stdout, result.stderr


def document(*arguments: str, stdin: str = "") -> dict[str, Any]:
    _, printed, errors = run(*arguments, "--json", stdin=stdin)
    assert errors == ""
    return strict(printed)


def complaint(*arguments: str, stdin: str = "") -> str:
    status, printed, _ = run(*arguments, stdin=stdin)
    assert (status, printed) == (2, "")
    result = (
        CliRunner()
        .invoke(main, ["compare", *arguments], input=stdin, standalone_mode=False)
        .exception
    )
    assert result is not None
    return str(result)


# Three answers: right, wrong, and not to be answered.


def test_a_right_gradient_is_status_0() -> None:
    status, printed, _ = run(*SAMPLE, "--grad", "-0.341,0.2424,0.0986")
    assert status == 0
    assert "gradient exact: 0 of 3 components off, judged by the digits typed" in printed


def test_the_softmax_itself_is_named_and_status_1() -> None:
    status, printed, errors = run(*SAMPLE, *SOFTMAX)
    assert (status, errors) == (1, "")
    assert "gradient WRONG: 1 of 3 components off" in printed
    assert "missing-one-hot: The gradient is the softmax itself" in printed


def test_how_closely_a_loss_fits_is_told_in_relation_to_it() -> None:
    printed = run(*SAMPLE, "--loss", "-0.4170")[1]
    assert "sign-flipped (loss)" in printed
    assert "fits to 7.2e-05 of the largest loss" in printed


def test_zeros_are_typed_exactly() -> None:
    status, printed, _ = run(*SAMPLE, "--grad", "0,0,0")
    assert status == 1
    assert "all-zero" in printed


def test_negative_first_components_need_no_equals_sign() -> None:
    assert run(*SAMPLE, "--grad", "-0.341,0.2424,0.0986", "--loss", "0.417")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([*SAMPLE], "nothing to compare"),
        ([*SAMPLE, "--grad", "0.5,0.5"], "the gradient has shape (2,)"),
        ([*SAMPLE, "--grad", "0.5,what"], "--grad: column 5: 'what' is not a number"),
        ([*SAMPLE, "--grad", "missing.npy"], "--grad: 'missing.npy': no such file"),
        ([*SAMPLE, "--grad", ""], "--grad: there are no numbers"),
        ([*SAMPLE, *SOFTMAX, "--rtol", "-1"], "rtol is -1"),
        ([*SAMPLE, *SOFTMAX, "--loss", "1,2"], "the loss has shape (2,)"),
        (["-", "-t", "0", "--grad", "-"], "cannot both be standard input"),
        (["-t", "0", "--grad", "-"], "cannot both be standard input"),
        ([*SAMPLE, "--grad", "-", "--loss", "-"], "cannot both be standard input"),
        ([*SAMPLE, "--grad", "-"], "--grad: there are no numbers"),
        ([*SAMPLE, *SOFTMAX, "--json", "--markdown"], "exclude each other"),
    ],
)
def test_bad_input_is_one_line_and_status_2(arguments: list[str], words: str) -> None:
    message = complaint(*arguments)
    assert words in message
    assert "\n" not in message


@pytest.mark.parametrize(("option", "what"), [("--grad", "gradient"), ("--loss", "loss")])
def test_a_file_of_another_shape_is_named(option: str, what: str) -> None:
    Path("mine.csv").write_text("1,2\n")
    assert f"'mine.csv': the {what} has shape (1, 2)" in complaint(*SAMPLE, option, "mine.csv")


# Where the numbers come from.


@pytest.mark.parametrize("suffix", ["npy", "json"])
def test_files(suffix: str) -> None:
    Path("grad.json").write_text(json.dumps(np.load("grad.npy").tolist()))
    found = document("logits.npy", "-t", "target.npy", "--grad", f"grad.{suffix}")
    assert (found["passed"], found["precision"]) == (True, "float64")


@pytest.fixture
def several() -> list[np.ndarray[Any, Any]]:
    """Three files of logits and targets, two of one size; the gradient of each."""
    ends = [2, 3]
    for name, array in ("z", LOGITS), ("t", TARGET):
        for i, part in enumerate(np.split(array, ends)):
            np.save(f"{name}-{i}.npy", part)
    return np.split(cecli.cross_entropy(LOGITS, TARGET).grad, ends)


SEVERAL = ["z-*.npy", "-t", "t-*.npy", "--grad"]


@pytest.mark.parametrize("grad", ["g-*.npy", "g-0.npy,g-1.npy,g-2.npy", "grad.npy"])
def test_several_files_are_one_gradient(grad: str, several: list[Any]) -> None:
    for i, part in enumerate(several):
        np.save(f"g-{i}.npy", part)
    assert run(*SEVERAL, grad)[0] == 0
    assert run("logits.npy", "-t", "target.npy", "--grad", grad)[0] == 0
    np.save("g-2.npy", -several[2])
    assert document(*SEVERAL, grad)["passed"] is (grad == "grad.npy")


def test_several_files_of_text(several: list[Any]) -> None:
    for i, part in enumerate(several):
        np.savetxt(f"g-{i}.txt", part, fmt="%.4f")
    for grad in ("g-*.txt", "g-0.txt,g-1.txt,g-2.txt"):
        judged = document(*SEVERAL, grad)["judged"]["grad"]
        assert (judged["grade"], judged["precision"]) == ("exact", "typed")
    np.save("g-1.npy", several[1])
    assert run(*SEVERAL, "g-0.txt,g-1.npy,g-2.txt")[0] == 0


def test_losses_in_several_files(several: list[Any]) -> None:
    losses = cecli.cross_entropy(LOGITS, TARGET, reduction="none").losses
    for i, part in enumerate(np.split(losses, [2, 3])):
        np.save(f"l-{i}.npy", part)
    arguments = "z-*.npy", "-t", "t-*.npy", "--reduction", "none", "--loss"
    assert run(*arguments, "l-*.npy")[0] == 0
    assert run(*arguments, "l-2.npy,l-1.npy,l-0.npy")[0] == 1


@pytest.mark.parametrize(
    ("logits", "grad", "words"),
    [
        ("z-*.npy", "g-1.npy,g-0.npy,g-2.npy", "'g-1.npy' belongs to 'z-1.npy', 'g-0.npy' belongs"),
        ("z-*.npy", "swapped.npy", "stands for 'z-0.npy' belongs to 'z-2.npy', what stands for"),
        ("logits.npy", "g-2.npy,g-1.npy,g-0.npy", "'g-2.npy' belongs to the place of 'g-0.npy'"),
    ],
)
def test_swapped_files_are_named(logits: str, grad: str, words: str) -> None:
    right = cecli.cross_entropy(LOGITS, TARGET).grad
    for name, array in ("z", LOGITS), ("g", right):
        for i, part in enumerate(np.split(array, [2, 4])):
            np.save(f"{name}-{i}.npy", part)
    np.save("swapped.npy", right[[4, 5, 2, 3, 0, 1]])
    found = document(logits, "-t", ",".join(map(str, TARGET)), "--grad", grad)["diagnosis"]
    assert [one["id"] for one in found] == ["swapped-files"]
    assert words in found[0]["explanation"]


@pytest.mark.parametrize(
    ("grad", "words"),
    [
        ("q-*.npy", "--grad: 'q-*.npy': no file has such a name"),
        ("g-*.npy", "'g-3.npy' does not belong to 'z-2.npy'"),
        ("g-0.npy,g-1.npy", "the gradient has shape (3, 4), where the logits have (6, 4)"),
        ("g-0.npy,target.npy", "'target.npy' holds an array of shape (1, 6)"),
    ],
)
def test_files_that_do_not_fit(grad: str, words: str, several: list[Any]) -> None:
    for i, part in zip([0, 1, 3], several, strict=True):
        np.save(f"g-{i}.npy", part)
    assert words in complaint(*SEVERAL, grad)


def test_standard_input() -> None:
    text = "\n".join(" ".join(f"{g:.4f}" for g in row) for row in np.load("grad.npy"))
    found = document("logits.npy", "-t", "target.npy", "--grad", "-", stdin=text)
    assert (found["passed"], found["precision"]) == (True, "typed")


def test_what_grad_prints_is_read() -> None:
    printed = CliRunner().invoke(main, ["grad", *SAMPLE, "--json"]).stdout
    found = document(*SAMPLE, "--grad", "-", "--loss", "0.4170300162778335", stdin=printed)
    assert found["passed"]
    assert found["judged"]["loss"]["precision"] == "float64"


def test_the_objective_counts() -> None:
    grad = cecli.cross_entropy(LOGITS, TARGET, temperature=2.0, label_smoothing=0.1).grad
    np.save("other.npy", grad)
    options = ["--temperature", "2", "--label-smoothing", "0.1"]
    assert run("logits.npy", "-t", "target.npy", "--grad", "other.npy", *options)[0] == 0
    assert run("logits.npy", "-t", "target.npy", "--grad", "other.npy")[0] == 1


# What is shown.


def test_the_document_holds_the_verdict() -> None:
    found = document(*SAMPLE, *SOFTMAX)
    assert {key: found[key] for key in ("command", "passed", "grade", "worst", "off", "total")} == {
        "command": "compare",
        "passed": False,
        "grade": "wrong",
        "worst": [0],
        "off": 1,
        "total": 3,
    }
    assert found["max_abs_error"] == pytest.approx(1.0, abs=1e-3)
    assert found["grad"][1] == pytest.approx(0.242433, abs=1e-6)
    first = found["diagnosis"][0]
    assert (first["id"], first["of"]) == ("missing-one-hot", "grad")
    assert first["fit"] < 1e-3
    assert "only one sample" in first["reason"]
    assert [mistake["id"] for mistake in found["diagnosis"]] == [
        "missing-one-hot",
        "maximum-differentiated",
    ]


@pytest.mark.parametrize("loss", [[], ["--loss", "0.6"], ["--loss", "nan"]])
@pytest.mark.parametrize(
    "grad", [[], ["--grad", "0.1,-0.3,0.8"], ["--grad", "nan,inf,0"], ["--grad", "0,0,0"]]
)
def test_documents_follow_the_schema(grad: list[str], loss: list[str]) -> None:
    if grad or loss:
        found = document(*SAMPLE, *grad, *loss, "--rtol", "0.01")
        assert not found["passed"]
        assert found["rtol"] == 0.01


def test_what_nothing_explains_is_described() -> None:
    found = document(*SAMPLE, "--grad", "0.1,-0.3,0.8")
    assert found["diagnosis"] == []
    assert found["description"]
    assert "no known mistake explains the gradient" in run(*SAMPLE, "--grad", "0.1,-0.3,0.8")[1]


def test_the_worst_are_shown_and_counted() -> None:
    np.save("wrong.npy", 2 * np.load("grad.npy"))
    arguments = ["logits.npy", "-t", "target.npy", "--grad", "wrong.npy", "--top", "3"]
    lines = run(*arguments)[1].splitlines()
    assert sum(line.startswith("✗") for line in lines) == 3
    assert "above: the 3 worst of 24" in lines
    assert any(
        line.startswith("constant-factor: It is the right gradient times 2.") for line in lines
    )


def test_markdown_has_tables_and_paragraphs() -> None:
    status, printed, _ = run(*SAMPLE, *SOFTMAX, "--loss", "0.417", "--markdown")
    assert status == 1
    assert printed.startswith("| class | yours | exact | difference | allowed |\n")
    assert "**gradient WRONG: 1 of 3 components off, judged by the digits typed**" in printed
    assert "missing-one-hot: " in printed


def test_output_is_written_whatever_the_verdict() -> None:
    assert run(*SAMPLE, *SOFTMAX, "-o", "exact.npy")[0] == 1
    assert (
        np.load("exact.npy").tolist()
        == cecli.cross_entropy([2, 1, 0.1], 0, exact=True).grad.tolist()
    )
    assert run(*SAMPLE, "--grad", "0,0,0", "-o", "verdict.svg")[0] == 1
    picture = Path("verdict.svg").read_text().replace("&#160;", " ")
    assert "all-zero" in picture
    assert "worst at class 1" in picture


@pytest.mark.skipif(kernel() is None, reason="decimal arithmetic takes minutes")
def test_a_large_file_is_quick_and_explained() -> None:
    random = np.random.default_rng(1)
    logits = random.normal(0, 2, (2048, 500)).astype(np.float32)
    target = random.integers(0, 500, 2048)
    grad = cecli.cross_entropy(logits, target).grad
    grad[1920:] = 0
    comparison = cecli.compare(logits, target, grad=grad)
    assert [diagnosis.id for diagnosis in comparison.diagnosis] == ["rows-left-out"]
    assert "a multiple of 128" in comparison.diagnosis[0].explanation


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_gradient_of_nothing_but_nan_is_wrong_without_a_warning(value: float) -> None:
    random = np.random.default_rng(5)
    logits, target = random.normal(size=(64, 10)), random.integers(0, 10, 64)
    found = cecli.compare(logits, target, grad=np.full((64, 10), value))
    assert (found.passed, found.grade) == (False, "wrong")


def test_an_option_is_not_told_by_a_loss_of_few_digits_beside_another_gradient() -> None:
    logits, target = np.array([[3.0, -2.5, 1.75], [0.5, 4.0, -1.0]]), [1, 0]
    capped = cecli.cross_entropy(logits, target, softcap=20.0)
    right = cecli.cross_entropy(logits, target)
    strange = np.array([[0.31, -0.17, 0.05], [0.23, 0.11, -0.4]])

    def found(loss: object, grad: object) -> list[str]:
        compared = cecli.compare(logits, target, loss=loss, grad=grad)  # type: ignore[arg-type]
        assert not compared.passed
        return [one.id for one in compared.diagnosis if one.of == "loss"]

    single = np.float32(capped.loss)
    assert found(single, strange) == []
    assert found(single, capped.grad) == ["unasked-softcap"]
    assert found(single, right.grad) == ["unasked-softcap"]
    assert found(single, None) == ["unasked-softcap"]
    assert found(capped.loss, strange) == ["unasked-softcap"]

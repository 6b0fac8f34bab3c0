"""What options mean, in documents that travel from one command to another too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cecli
from support.in_process import complaint, printed, run, shown

pytestmark = pytest.mark.usefixtures("folder")


# --- Documents from one command to another --------------------------------------------------------


OBJECTIVES = [
    ["--temperature", "2"],
    ["--softcap", "3"],
    ["--label-smoothing", "0.1"],
    ["--z-loss", "0.25"],
    ["--reduction", "sum"],
    ["--reduction", "none"],
    ["--weight", "1,2,0.1"],
    ["--ignore-index", "2"],
    ["--axis", "0"],
    ["--temperature", "0.1", "--softcap", "30", "--z-loss", "1e-4", "--label-smoothing", "1"],
    ["--weight", "0,1e-300,3", "--ignore-index", "-100", "--reduction", "sum"],
]
SQUARE = "[[2, 1, 0.1], [-1, 0.3, 5], [0, -inf, 1e-300]]"


def test_a_softmax_is_piped_into_a_gradient() -> None:
    softmax = shown("softmax", "2", "1", "0.1", "--temperature", "2", "--json")
    piped = shown("grad", "-t", "0", "--json", stdin=softmax)
    assert piped == shown("grad", "2", "1", "0.1", "-t", "0", "--temperature", "2", "--json")


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_objective_travels(objective: list[str]) -> None:
    loss = shown("loss", SQUARE, "-t", "0,1,2", *objective, "--json")
    direct = shown("grad", SQUARE, "-t", "0,1,2", *objective, "--json")
    assert shown("grad", "--json", stdin=loss) == direct
    assert shown("grad", "--json", stdin=direct) == direct


def test_labels_and_soft_targets_travel() -> None:
    loss = shown("loss", "2", "1", "-q", ".75,.25", "--labels", "cat,dog", "--json")
    document = printed("grad", stdin=loss)
    assert document["labels"] == ["cat", "dog"]
    assert document["soft_target"] == [0.75, 0.25]


@pytest.mark.parametrize(
    ("given", "option", "without"),
    [
        (["--temperature", "2"], ["--temperature", "3"], []),
        (["--temperature", "2"], ["--temperature", "1"], []),
        (["--softcap", "2"], ["--softcap", "5"], []),
        (["--label-smoothing", "0.5"], ["--label-smoothing", "0"], []),
        (["--z-loss", "2"], ["--z-loss", "0"], []),
        (["--weight", "1,2,3"], ["--weight", "3,2,1"], []),
        (["--reduction", "sum"], ["--reduction", "mean"], []),
        (["--axis", "0"], ["--axis", "1"], []),
        (["--axis", "0"], ["--axis", "-1"], []),
        (["--ignore-index", "2"], ["--ignore-index", "1"], []),
        ([], ["-t", "2,2,1"], ["-t", "0,1,2"]),
        ([], ["-q", "[[1,0,0],[0,1,0],[1,0,0]]"], ["-t", "0,1,2"]),
        ([], ["-t", "0,1,2"], ["-q", "[[1,0,0],[0,1,0],[1,0,0]]"]),
        (["--labels", "a,b,c"], ["--labels", "x,y,z"], []),
    ],
)
def test_the_command_line_wins(given: list[str], option: list[str], without: list[str]) -> None:
    target = [] if without else ["-t", "0,1,2"]
    loss = shown("loss", SQUARE, *without, *target, *given, "--json")
    direct = shown("grad", SQUARE, *target, *option, "--json")
    assert shown("grad", *option, "--json", stdin=loss) == direct


def test_a_label_of_the_document_names_the_target() -> None:
    softmax = shown("softmax", "2", "1", "--labels", "cat,dog", "--json")
    assert printed("loss", "-t", "dog", stdin=softmax)["target"] == 1
    assert printed("loss", "-t", "b", "--labels", "a,b", stdin=softmax)["target"] == 1


def test_a_target_of_the_document_may_be_a_label() -> None:
    given = json.dumps({"logits": [[1, 2], [3, 4]], "target": ["b", "a"], "labels": ["a", "b"]})
    assert printed("loss", stdin=given)["target"] == [1, 0]


def test_a_target_of_the_document_may_be_a_label_of_the_command_line() -> None:
    given = json.dumps({"logits": [[1, 2, 3], [3, 4, 5]], "target": ["b", "a"]})
    assert printed("loss", "--labels", "a,b,c", stdin=given)["target"] == [1, 0]
    lines = '{"logits": [1, 2], "target": "b"}\n{"logits": [3, 4], "target": "a"}\n'
    assert printed("loss", "--labels", "a,b", stdin=lines)["target"] == [1, 0]
    answers = shown("loss", "--labels", "a,b", "--jsonl", stdin=lines).splitlines()
    assert [json.loads(answer)["target"] for answer in answers] == [1, 0]
    Path("z.csv").write_text("target,x,z\nb,1,2\nx,4,5\n")
    assert "'b': not a class index nor one of the labels" in complaint("loss", "z.csv")
    Path("z.csv").write_text("target,x,z\nb,1,2\na,4,5\n")
    assert printed("loss", "z.csv", "--labels", "a,b")["target"] == [1, 0]
    # The document's own names stand where the command line has none such.
    Path("z.csv").write_text("target,x,z\nz,1,2\nx,4,5\n")
    assert printed("loss", "z.csv", "--labels", "a,b")["target"] == [1, 0]


# --- Options --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "keywords"),
    [
        ([], {}),
        (["--weight", "1,2,0.1"], {"weight": [1, 2, 0.1]}),
        (["--ignore-index", "1"], {"ignore_index": 1}),
        (["--label-smoothing", "0.1"], {"label_smoothing": 0.1}),
        (["--reduction", "sum"], {"reduction": "sum"}),
        (["--reduction", "none"], {"reduction": "none"}),
        (["--temperature", "0.5"], {"temperature": 0.5}),
        (["--softcap", "2"], {"softcap": 2.0}),
        (["--z-loss", "0.3"], {"z_loss": 0.3}),
        (["--axis", "0"], {"axis": 0}),
        (["--exact"], {"exact": True}),
    ],
)
def test_options_reach_the_library(options: list[str], keywords: dict[str, Any]) -> None:
    for soft in (False, True):
        if not soft or "ignore_index" not in keywords:
            assert_options_reach_the_library(options, keywords, soft)


def assert_options_reach_the_library(
    options: list[str], keywords: dict[str, Any], soft: bool
) -> None:
    logits = [[2.0, 1.0, 0.1], [-1.0, 0.3, 5.0], [0.5, 2.0, 1e-3]]
    index, probabilities = [0, 1, 2], [[0.5, 0.25, 0.25], [0.5, 0.5, 0.0], [0.0, 0.25, 0.75]]
    target = ["-q", json.dumps(probabilities)] if soft else ["-t", "0,1,2"]
    document = printed("grad", json.dumps(logits), *target, *options)
    wanted = cecli.cross_entropy(logits, probabilities if soft else index, **keywords)
    assert document["loss"] == np.asarray(wanted.loss).tolist()
    for name in ("softmax", "log_softmax", "losses", "grad"):
        array = [number for row in document[name] for number in np.ravel(row).tolist()]
        assert list(map(float, array)) == pytest.approx(
            np.ravel(getattr(wanted, name)).tolist(), rel=0, abs=0, nan_ok=True
        )
    assert document["divisor"] == wanted.divisor
    assert document.get("exact", False) == ("exact" in keywords)


def save(path: str, values: object) -> str:
    """Write values as .npy or .json, by the suffix."""
    if path.endswith(".npy"):
        np.save(path, np.array(values))
    else:
        Path(path).write_text(json.dumps(values))
    return path


@pytest.mark.parametrize("suffix", ["npy", "json"])
def test_targets_and_weights_from_files(suffix: str) -> None:
    logits = "[[2, 1], [3, 4]]"
    direct = shown("grad", logits, "-t", "1,0", "--weight", "2,3", "--json")
    target, weight = save(f"target.{suffix}", [1, 0]), save(f"weight.{suffix}", [2.0, 3.0])
    assert shown("grad", logits, "-t", target, "--weight", weight, "--json") == direct
    direct = shown("grad", logits, "-q", "[[1, 0], [0.5, 0.5]]", "--json")
    soft = save(f"soft.{suffix}", [[1.0, 0.0], [0.5, 0.5]])
    assert shown("grad", logits, "-q", soft, "--json") == direct


def test_a_soft_target_may_be_integers() -> None:
    save("soft.npy", [0, 1])
    assert printed("loss", "1", "2", "-q", "soft.npy")["soft_target"] == [0.0, 1.0]
    assert printed("loss", "1", "2", "-q", "0,1")["soft_target"] == [0.0, 1.0]


@pytest.mark.parametrize(
    ("name", "content"), [("names.txt", "cat\nblue dog\n"), ("names.json", '["cat", "blue dog"]')]
)
def test_labels_from_files(name: str, content: str) -> None:
    Path(name).write_text(content)
    document = printed("loss", "1", "2", "-t", "blue dog", "--labels", name)
    assert document["labels"] == ["cat", "blue dog"]
    assert document["target"] == 1


def test_labels_in_tables() -> None:
    table = shown("loss", "2", "1", "-t", "dog", "--labels", "cat,dog")
    assert "  cat" in table
    assert "▸ dog" in table


def test_an_index_that_is_the_label_of_another_class() -> None:
    text = complaint("loss", "1", "2", "-t", "1", "--labels", "1,0")
    assert "target '1' is the index 1 or the label of class 0" in text
    assert printed("loss", "1", "2", "-t", "1", "--labels", "0,1")["target"] == 1


@pytest.mark.parametrize("count", [1, 3])
def test_a_flat_target_fits_any_batch(count: int) -> None:
    logits = json.dumps([[[1, 2], [3, 4]]] * count)
    target = ",".join(["0", "1"] * count)
    assert printed("loss", logits, "-t", target)["target"] == [[0, 1]] * count


def test_digits() -> None:
    number = 0.4170300162778335  # of 2.0 1.0 0.1 and the target 0
    for digits in range(2, 18):
        table = shown("loss", "2", "1", "0.1", "-t", "0", "--digits", str(digits))
        assert f"= {number:.{digits}f}\n" in table
    assert "= 0.417030\n" in shown("loss", "2", "1", "0.1", "-t", "0")


def test_digits_leave_json_alone() -> None:
    assert printed("loss", "2", "1", "-t", "0", "--digits", "1") == printed(
        "loss", "2", "1", "-t", "0"
    )


def test_top() -> None:
    numbers = [str(i) for i in range(30)]
    lines = shown("loss", *numbers, "-t", "3").splitlines()
    assert sum("▸ 3 " in line for line in lines) == 1
    assert sum(line[2:4].strip().isdigit() for line in lines) == 20
    lines = shown("loss", *numbers, "-t", "3", "--top", "4").splitlines()
    assert [line[2:4].strip() for line in lines[2:6]] == ["29", "28", "27", "3"]
    assert "26 more classes" in lines[6]


def test_top_bounds_the_samples_of_a_batch() -> None:
    logits = json.dumps([[0, sample] for sample in range(30)])
    target = ",".join(["0"] * 30)
    table = shown("loss", logits, "-t", target)
    assert "10 more samples" in table
    assert "more" not in shown("loss", logits, "-t", target, "--top", "30")


@pytest.mark.parametrize("command", ["softmax", "loss", "grad"])
def test_many_numbers_are_left_out_and_said_so(command: str) -> None:
    target = [] if command == "softmax" else ["-t", "7"]
    arrays = 3 + (command == "grad")
    np.save("few.npy", np.zeros(100_000 // arrays))
    np.save("many.npy", np.zeros(100_000 // arrays + 1))
    assert "omitted" not in printed(command, "few.npy", *target)
    outcome = run(command, "many.npy", *target, "--json")
    assert outcome.status == 0
    assert outcome.stderr.count("\n") == 1
    for word in (f"cecli {command}:", "100,000", "--arrays", "-o FILE.npy"):
        assert word in outcome.stderr
    document = json.loads(outcome.stdout)
    names = ["logits", "softmax", "log_softmax", "grad"][:arrays]
    assert document["omitted"] == names
    assert not set(names) & set(document)
    assert printed(command, "many.npy", *target, "--arrays")["logits"] == [0.0] * (
        100_000 // arrays + 1
    )
    document = printed(command, "few.npy", *target, "--no-arrays")
    assert document["omitted"] == names


# (samples, classes): logits, softmax and log-softmax, and a log-sum-exp for each sample.
@pytest.mark.parametrize(("shape", "shows"), [((10, 3333), True), ((11, 3030), False)])
def test_arrays_are_left_out_from_the_first_number_on(shape: tuple[int, int], shows: bool) -> None:
    assert shape[0] * (3 * shape[1] + 1) - 100_000 == (0 if shows else 1)
    np.save("z.npy", np.zeros(shape))
    document = json.loads(run("softmax", "z.npy", "--json").stdout)
    assert ("omitted" in document) != shows


def test_a_document_without_arrays_cannot_be_read() -> None:
    document = shown("softmax", "1", "2", "--json", "--no-arrays")
    line = complaint("loss", "-t", "0", stdin=document)
    assert "--arrays" in line

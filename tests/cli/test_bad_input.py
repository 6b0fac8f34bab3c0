"""What cannot be done is one line that says what, where and what would be right."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path

import numpy as np
import pytest

from support.each import each
from support.in_process import complaint, printed, run, shown

pytestmark = pytest.mark.usefixtures("folder")


@each(
    ("arguments", "words"),
    [
        # logits
        ("softmax 1 nan 2", ["logit 1", "NaN"]),
        ("softmax 1 -nan", ["logit 1", "NaN"]),
        ("softmax 1 2 inf", ["logit 2", "+inf"]),
        ("softmax [[1,2],[3,inf]]", ["logit 1", "sample 1", "+inf"]),
        ("softmax [[[1,2],[3,NaN]]]", ["logit 1", "sample (0, 1)", "NaN"]),
        ("softmax -inf -inf", ["every logit", "-inf"]),
        ("softmax [[1,2],[-inf,-inf]]", ["sample 1", "-inf"]),
        ("softmax []", ["empty"]),
        ("softmax [[],[]]", ["empty"]),
        ("softmax [[1,2],[3]]", ["logits[1]", "length 1", "2"]),
        ("softmax [[1,2],3]", ["logits[1]", "3"]),
        ("softmax 1e999", ["1e999", "too large"]),
        ("softmax 1 cat", ["argument 2", "'cat'"]),
        ("softmax 1 ]", ["argument 2", "']'"]),
        ("softmax [1,2", ["bracket"]),
        ("softmax 1,,2", ["comma"]),
        ("softmax 3 -", ["'-'"]),
        ("softmax [1,null]", ["logits[1]", "null"]),
        ("softmax [1,true]", ["logits[1]", "true"]),
        ('softmax [1,"2"]', ["logits[1]", "'2'"]),
        ("softmax {}", ["logits"]),
        ('softmax {"logits":5}', ["logits", "5"]),
        ('softmax {"logits":[1],"objective":{"temp":1}}', ["'temp'", "temperature"]),
        ('softmax {"logits":[1],"objective":{"temperature":"x"}}', ["temperature", "'x'"]),
        ('softmax {"logits":[1],"objective":[]}', ["objective"]),
        # target
        ("loss 1 2", ["target", "-t", "-q"]),
        ("loss 1 2 -t 2", ["target 2", "0 to 1"]),
        ("loss 1 2 -t -1", ["target -1", "0 to 1"]),
        ("loss [[1,2],[3,4]] -t 0,7", ["target 7", "sample 1", "0 to 1"]),
        ("loss 1 2 -t -100", ["target -100", "--ignore-index"]),
        ("loss 1 2 -t 0.5", ["0.5", "whole number"]),
        ("loss 1 2 -t 1e-1", ["1e-1", "whole number"]),
        ("loss 1 2 -t 99999999999999999999", ["99999999999999999999"]),
        ("loss 1 2 -t cat", ["'cat'", "labels"]),
        ("loss 1 2 -t cat --labels dog,bird", ["'cat'", "labels"]),
        ("loss 1 2 -t 0,1", ["2 targets", "one sample"]),
        ("loss [[1,2],[3,4]] -t 0,1,0", ["3 targets", "2 samples"]),
        ("loss [[1,2],[3,4]] -t 0", ["1 target", "2 samples"]),
        ("loss 1 2 -t []", ["target"]),
        ("loss 1 2 -t", ["'-t'"]),
        ("loss 1 2 -t 0 -q 1,0", ["--target", "--soft-target"]),
        ("loss 1 2 -q -0.5,1.5", ["-0.5", "class 0"]),
        ("loss 1 2 -q .5,.6", ["1.1", "sum"]),
        ("loss 1 2 -q nan,1", ["nan", "class 0"]),
        ("loss [[1,2],[3,4]] -q [[1,0],[.1,.1]]", ["sample 1", "0.2"]),
        ("loss 1 2 -q 1", ["(1,)", "(2,)"]),
        ("loss 1 2 -q cat", ["--soft-target", "'cat'"]),
        ("loss 1 2 -q 1,0 --ignore-index 0", ["ignore"]),
        # a mean over nothing
        ("loss 1 2 -t 5 --ignore-index 5", ["mean", "5"]),
        ("loss [[1,2],[3,4]] -t 1,1 --ignore-index 1", ["mean", "1"]),
        ("loss 1 2 -t 0 --weight 0,1", ["mean", "weights", "0"]),
        # weights and labels
        ("loss 1 2 -t 0 --weight 1", ["weight", "2"]),
        ("loss 1 2 -t 0 --weight 1,2,3", ["weight", "(3,)", "2"]),
        ("loss 1 2 -t 0 --weight 1,-1", ["weight 1", "-1"]),
        ("loss 1 2 -t 0 --weight nan,1", ["weight 0", "nan"]),
        ("loss 1 2 -t 0 --weight inf,1", ["weight 0", "inf"]),
        ("loss 1 2 -t 0 --weight 1,x", ["--weight", "'x'"]),
        ("softmax 1 2 --labels a", ["1 label", "2 classes"]),
        ("softmax 1 2 --labels a,b,c", ["3 labels", "2 classes"]),
        ("softmax 1 2 --labels a,a", ["'a'", "labels[0]", "labels[1]"]),
        ("softmax 1 2 --labels a,", ["labels[1]"]),
        ('softmax 1 2 --labels ["a",2]', ["labels[1]", "2"]),
        # numbers of the objective
        ("softmax 1 2 --temperature 0", ["temperature", "0"]),
        ("softmax 1 2 --temperature -2", ["temperature", "-2"]),
        ("softmax 1 2 --temperature nan", ["temperature", "nan"]),
        ("softmax 1 2 --temperature inf", ["temperature", "inf"]),
        ("softmax 1 2 --temperature hot", ["--temperature", "'hot'"]),
        ("softmax 1 2 --softcap 0", ["softcap", "0"]),
        ("softmax 1 2 --softcap -inf", ["softcap", "-inf"]),
        ("loss 1 2 -t 0 --label-smoothing 1.5", ["smoothing", "1.5"]),
        ("loss 1 2 -t 0 --label-smoothing -0.1", ["smoothing", "-0.1"]),
        ("loss 1 2 -t 0 --z-loss -1", ["--z-loss", "-1"]),
        ("loss 1 2 -t 0 --reduction avg", ["--reduction", "'avg'", "mean"]),
        ("loss 1 2 -t 0 --ignore-index x", ["--ignore-index", "'x'"]),
        ("loss 1 2 -t 0 --ignore-index 99999999999999999999", ["9999"]),
        ("softmax 1 2 --axis 1", ["axis 1", "(2,)"]),
        ("softmax 1 2 --axis 99999999999999999999", ["axis"]),
        ("loss [[1,2],[3,4]] -t 0,1 --axis 5", ["axis 5", "(2, 2)"]),
        ("grad [[1,2],[3,4]] -t 0,1 --axis -3", ["axis -3", "(2, 2)"]),
        # the other options
        ("softmax 1 2 --digits 0", ["--digits", "0"]),
        ("softmax 1 2 --digits 18", ["--digits", "18"]),
        ("softmax 1 2 --digits x", ["--digits", "'x'"]),
        ("softmax 1 2 --top -1", ["--top", "-1"]),
        ("softmax 1 2 --json --markdown", ["--json", "--markdown"]),
        ("softmax 1 2 --json=yes", ["--json"]),
        ("softmax 1 2 -t 0", ["'-t'"]),
        ("loss 1 2 -t 0 --check", ["'--check'"]),
        ("grad 1 2 -t 0 --check-method analytic", ["'analytic'", "decimal"]),
        ("grad 1 2 -t 0 --step 0", ["step", "0"]),
        ("grad 1 2 -t 0 --step 2", ["step", "2"]),
        ("grad 1 2 -t 0 --step nan", ["step", "nan"]),
        ("grad 1 2 -t 0 --step 1e-400", ["step", "0"]),
        ("grad 1 2 -t 0 --check --seed -1", ["--seed", "-1"]),
        ("grad 1 -inf -t 1 --check", ["infinite"]),
        ("grad 1 2 -t 0 --softcap 5e-324 --check", ["softcap", "4.94066e-324", "step"]),
        ("derive 1 2", ["'derive'"]),
        ("--jsn softmax 1 2", ["--jsn"]),
        # files
        ("softmax missing.npy", ["missing.npy", "no such file"]),
        ("softmax logits.pt", ["logits.pt", "no such file"]),
        ("softmax logits.pkl", ["logits.pkl", "pickles are never opened", "numpy.save"]),
        ("softmax folder.npy", ["folder.npy"]),
        ("softmax empty.npy", ["empty.npy", "empty"]),
        ("softmax text.npy", ["text.npy"]),
        ("softmax truncated.npy", ["truncated.npy", "more"]),
        ("softmax lying.npy", ["lying.npy", "more"]),
        ("softmax pickled.npy", ["pickled.npy", "pickle"]),
        ("softmax complex.npy", ["complex.npy", "complex numbers"]),
        ("softmax number.npy", ["number.npy"]),
        ("softmax no_classes.npy", ["(3, 0)"]),
        ("loss no_samples.npy -t no_targets.npy", ["mean", "no samples"]),
        ("softmax broken.json", ["broken.json", "line 2"]),
        ("softmax deep.json", ["deep.json", "deep"]),
        ("softmax latin.json", ["latin.json", "UTF-8"]),
        ("softmax good.npy 1", ["good.npy"]),
        ("loss good.npy -t missing.npy", ["missing.npy"]),
        ("loss good.npy -t halves.npy", ["halves.npy", "0.5"]),
        ("loss good.npy -t 0,1 --weight missing.json", ["--weight", "missing.json"]),
        ("softmax good.npy --labels missing.txt", ["missing.txt"]),
        ("softmax good.npy --labels good.npy", ["good.npy"]),
    ],
)
def test_bad_input(bad_files: None, arguments: str, words: list[str]) -> None:
    line = complaint(*arguments.split())
    for word in words:
        assert word in line


@pytest.mark.parametrize("target", ["cat.dog", "cat.npy", "a,b.npy"])
def test_a_label_that_looks_like_a_file_is_not_named_as_one(target: str) -> None:
    labels = json.dumps([target, "b", "c"])
    line = complaint("loss", "[[1,2,3],[3,2,1]]", "--labels", labels, "-t", target)
    assert line.startswith("cecli loss: 1 target for 2 samples: ")


@each(
    ("arguments", "start"),
    [
        ("wrong.npy -t 0,0", "'wrong.npy': logit 1 of sample 1 is NaN"),
        ("good.npy -t bad.npy", "'bad.npy': target -1 of sample 0 is out of range"),
        ("good.npy -t 0,5", "target 5 of sample 1 is out of range"),
        ("good.npy -q wrong.npy", "'wrong.npy': soft target of sample 1 has nan for class 1"),
        ("good.npy -t 0,0 --weight bad.npy", "'bad.npy': weight 0 is -1"),
        ("good.npy -t 0,0 --weight 1,-1", "weight 1 is -1"),
        (
            "good.npy -q bad.npy",
            "'bad.npy': class probabilities of shape (2,) do not fit logits of shape (2, 2)",
        ),
        ("document.json", "'document.json': target 2 of sample 0 is out of range"),
        ("document.json -t 0,0", "'document.json': weight 0 is -1"),
        ("document.json -t 0,0 --weight 1,-2", "weight 1 is -2"),
        ("good-*.npy -t 0,0,0,5", "target 5 of sample 3 is out of range"),
        ("good-*.npy -t bad.npy,bad.npy", "'bad.npy': target -1 of sample 0 is out of range"),
    ],
)
def test_an_error_names_the_file_of_its_number(arguments: str, start: str) -> None:
    for name in ("good.npy", "good-1.npy", "good-2.npy"):
        np.save(name, np.array([[1.0, 2.0], [3.0, 4.0]]))
    np.save("wrong.npy", np.array([[1.0, 2.0], [3.0, np.nan]]))
    np.save("bad.npy", np.array([-1, 5]))
    weighted = {"logits": [[1, 2]] * 2, "target": [2, 0], "objective": {"weight": [-1, 1]}}
    Path("document.json").write_text(json.dumps(weighted))
    assert complaint("loss", *arguments.split()).startswith(f"cecli loss: {start}")


@pytest.fixture
def bad_files(folder: Path) -> None:
    """Files of which few can be read."""
    np.save("good.npy", np.array([[1.0, 2.0], [3.0, 4.0]]))
    good = Path("good.npy").read_bytes()
    Path("empty.npy").write_bytes(b"")
    Path("text.npy").write_text("1 2 3\n")
    Path("truncated.npy").write_bytes(good[:-1])
    Path("lying.npy").write_bytes(good.replace(b"(2, 2), }  ", b"(2, 2000)}"[:11].ljust(11)))
    Path("pickled.npy").write_bytes(pickle.dumps([1.0]))
    np.save("pickled.npy", np.array([None]), allow_pickle=True)
    np.save("complex.npy", np.array([1j]))
    np.save("number.npy", np.array(1.0))
    np.save("no_classes.npy", np.zeros((3, 0)))
    np.save("no_samples.npy", np.zeros((0, 3)))
    np.save("no_targets.npy", np.zeros(0, dtype=np.int64))
    np.save("halves.npy", np.array([0.5, 1.0]))
    Path("folder.npy").mkdir()
    Path("broken.json").write_text('{"logits":\n [1, }')
    Path("deep.json").write_text("[" * 100_000)
    Path("latin.json").write_bytes('{"logits": [1], "labels": ["é"]}'.encode("latin-1"))


@each(
    ("stdin", "words"),
    [
        ("", ["no logits", "2.0 1.0 0.1"]),
        ("   \n", ["no logits"]),
        ("1 2\n3\n", ["line 2", "1", "2"]),
        ("1 2\n3 x\n", ["line 2", "column 3", "'x'"]),
        ("[1, 2]\n[3]\n", ["line 2"]),
        ('{"logits": [1, 2]}\n{"logits": [3, "x"]}\n', ["line 2", "logits[1]", "'x'"]),
        ('{"logits": [1, 2]', ["column"]),
        (b"\xff", ["byte 0", "UTF-8"]),
        (b"1 2\n\x00", ["line 2"]),
        ('{"schema": 1, "omitted": ["logits"]}', ["--arrays"]),
        ("[" * 200_000 + "]" * 200_000, ["deep"]),
        ("[" * 40 + "1" + "]" * 40, ["deep"]),
        ('{"logits": ' * 50_000 + "}" * 50_000, ["deep"]),
        ("1" * 5000, ["too large"]),
        ("[" + "1" * 5000 + "]", ["too large"]),
        (r'["\u001b[31m"]', ["logits[0]", r"\x1b"]),
        ("a\x1b]0;title\x07\n", ["not a number"]),
    ],
)
def test_bad_standard_input(stdin: str | bytes, words: list[str]) -> None:
    line = complaint("softmax", stdin=stdin)
    assert "standard input" in line
    for word in words:
        assert word in line


def test_nan_is_allowed_where_nothing_counts() -> None:
    table = run("grad", "[[1, 2], [NaN, Infinity]]", "-t", "0,-1", "--ignore-index", "-1")
    assert (table.status, table.stderr) == (0, "")
    assert "1 of 2 samples ignored" in table.stdout
    document = printed("grad", "[[1, 2], [NaN, Infinity]]", "-t", "0,-1", "--ignore-index", "-1")
    assert document["softmax"][1] == ["NaN", "NaN"]
    assert document["grad"][1] == [0.0, 0.0]


@pytest.mark.parametrize("softcap", [[], ["--softcap", "2"]])
def test_a_masked_class_that_carries_mass(softcap: list[str]) -> None:
    document = printed("grad", "1", "-inf", "-t", "1", *softcap)
    slope = 1 - math.tanh(0.5) ** 2 if softcap else 1.0  # of the cap, at the first logit
    assert document["loss"] == "Infinity"
    assert document["softmax"] == [1.0, 0.0]
    assert document["grad"] == [pytest.approx(slope, rel=1e-15), -1.0]
    assert "infinite" in shown("grad", "1", "-inf", "-t", "1", *softcap)
    smoothed = printed("loss", "1", "-inf", "-t", "0", "--label-smoothing", "0.1", *softcap)
    assert smoothed["loss"] == "Infinity"


@pytest.mark.parametrize("command", ["softmax", "loss", "grad"])
def test_every_view_of_one_class(command: str) -> None:
    target = [] if command == "softmax" else ["-t", "0"]
    for view in ([], ["--json"], ["--markdown"]):
        assert shown(command, "5", *target, *view)

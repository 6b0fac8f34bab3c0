"""JSON documents and lines."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from support.each import each
from support.reading import argument_error, assert_same, error_of, piped, read_target

INF = float("inf")


# --- JSON documents ------------------------------------------------------------------------------


WHOLE = {
    "schema": 1,
    "command": "grad",
    "logits": [[2, 1.5, "-Infinity"], [0, -1, 4]],
    "labels": ["cat", "dog", "1"],
    "target": ["dog", 0],
    "softmax": "not read",
    "loss": "Infinity",
    "objective": {
        "weight": [1, 2, 0.5],
        "ignore_index": -100,
        "label_smoothing": 0.1,
        "reduction": "sum",
        "temperature": 2,
        "softcap": None,
        "z_loss": 1e-4,
        "axis": 1,
    },
}


def test_whole_document() -> None:
    document = piped(json.dumps(WHOLE))
    assert_same(document.logits, [[2, 1.5, -INF], [0, -1, 4]])
    assert_same(document.target, [1, 0])
    assert document.target is not None
    assert document.target.dtype == np.int64
    assert document.soft_target is None
    assert document.labels == ("cat", "dog", "1")
    objective = dict(document.objective)
    weight = objective.pop("weight")
    assert isinstance(weight, np.ndarray)
    assert_same(weight, [1, 2, 0.5])
    assert objective == {
        "ignore_index": -100,
        "label_smoothing": 0.1,
        "reduction": "sum",
        "temperature": 2.0,
        "z_loss": 1e-4,
        "axis": 1,
    }


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (1, 1),
        ("cat", 0),
        ([2, "cat"], [2, 0]),
        ([[0, 1]], [[0, 1]]),
        (2.0, 2),
        (-100, -100),
    ],
)
def test_target_of_a_document(target: object, expected: object) -> None:
    document = piped(json.dumps({"logits": [1], "labels": ["cat", "dog", "1"], "target": target}))
    assert_same(document.target, expected)


def test_soft_target_of_a_document() -> None:
    document = piped('{"logits": [[1, 2]], "soft_target": [[0.25, 75e-2]], "target": null}')
    assert_same(document.soft_target, [[0.25, 0.75]])
    assert document.target is None


@each(
    ("parts", "error"),
    [
        ({"logits": 3}, "the logits are 3, not a list of numbers"),
        ({"logits": None}, "the logits are null, not a list of numbers"),
        ({"logits": True}, "the logits are true, not a list of numbers"),
        ({"logits": {"a": 1}}, "the logits are an object, not a list of numbers"),
        ({"logits": []}, "logits is empty"),
        ({"target": 1.5}, "target is 1.5: a class index is a whole number"),
        ({"target": True}, "target is true: a class index is a whole number"),
        ({"target": [0, None]}, "target[1] is null: a class index is a whole number"),
        ({"target": {}}, "target is an object: a class index is a whole number"),
        ({"target": 2**63}, "target is 9223372036854775808: a class index is a whole number"),
        ({"target": [[0], [1, 2]]}, "target[1] has length 2, where target[0] has 1"),
        ({"target": "cow"}, "target is 'cow': not a class index, and no labels are given"),
        (
            {"target": [0, "cow"], "labels": ["cat"]},
            "target[1] is 'cow': not a class index nor one of the labels",
        ),
        ({"soft_target": [1, "x"]}, "soft_target[1] is 'x', not a number"),
        ({"labels": "cat"}, "the labels are 'cat': they must be a list of names"),
        ({"labels": []}, "the labels are empty: they must be a list of names"),
        ({"labels": ["cat", 1]}, "labels[1] is 1, not a name"),
        ({"labels": ["cat", " "]}, "labels[1] is ' ', not a name"),
        ({"labels": ["\ud800"]}, "labels[0] is '\\ud800', not valid Unicode"),
        (
            {"labels": ["a", "b", "a"]},
            "labels[0] and labels[2] are 'a': each class needs a name of its own",
        ),
        ({"objective": 1}, "the objective is 1, not an object"),
        (
            {"objective": {"wieght": [1]}},
            "the objective holds 'wieght': its keys are weight, ignore_index, label_smoothing,",
        ),
        ({"objective": {"weight": [1, "x"]}}, "objective.weight[1] is 'x', not a number"),
        ({"objective": {"axis": 1.0}}, "objective.axis is 1.0, not an integer of 64 bits"),
        ({"objective": {"axis": False}}, "objective.axis is false, not an integer of 64 bits"),
        ({"objective": {"ignore_index": "0"}}, "objective.ignore_index is '0', not an integer"),
        (
            {"objective": {"ignore_index": 10**30}},
            "objective.ignore_index is 1e+30, not an integer of 64 bits",
        ),
        ({"objective": {"temperature": "hot"}}, "objective.temperature is 'hot', not a number"),
        ({"objective": {"temperature": [1]}}, "objective.temperature is a list, not a number"),
        ({"objective": {"softcap": True}}, "objective.softcap is true, not a number"),
        ({"objective": {"reduction": 1}}, "objective.reduction is 1, not text"),
    ],
)
def test_errors_in_documents(parts: dict[str, object], error: str) -> None:
    text = json.dumps({"logits": [1, 2], **parts})
    assert error_of(piped, text).startswith(f"standard input: {error}")
    lines = f'{{"logits": [1, 2]}}\n{text}\n'
    assert error_of(piped, lines).startswith(f"standard input: line 2: {error}")


def test_document_without_logits() -> None:
    assert error_of(piped, '{"loss": 1}') == 'standard input: the object has no "logits"'
    omitted = error_of(piped, '{"loss": 1, "omitted": ["logits", "softmax"]}')
    assert omitted.endswith("the document leaves out its arrays; print it with --arrays")


@pytest.mark.parametrize(
    "text",
    [
        '{"logits": [1, 2], "target": 0, "target": 1}',
        '{"target": 0, "logits": [1, 2], "target": 0}',
        '{"logits": [1, 2], "target": 0}\n{"logits": [1, 2], "target": 0, "target": 1}',
        '{"logits": [1, 2], "objective": {"target": 0, "target": 1}}',
    ],
)
def test_a_key_that_a_document_has_twice(text: str, folder: Path) -> None:
    line = "line 2: " if "\n" in text else ""
    error = f"{line}an object has the key 'target' twice: which is meant?"
    assert error_of(piped, text) == f"standard input: {error}"
    (folder / "z.jsonl").write_text(text)
    assert argument_error("z.jsonl").endswith(error)
    (folder / "y.json").write_text(text.rpartition("\n")[2])
    assert error_of(read_target, "y.json", None).endswith("key 'target' twice: which is meant?")


def test_json_lines_of_documents() -> None:
    objective = '"objective": {"temperature": 2, "weight": [1, 2]}, "labels": ["cat", "dog"]'
    line = '{"logits": [%d, 1], "target": "%s", "soft_target": [0, 1], ' + objective + "}\n"
    document = piped(line % (2, "dog") + "\n" + line % (3, "cat"))
    assert_same(document.logits, [[2, 1], [3, 1]])
    assert_same(document.target, [1, 0])
    assert_same(document.soft_target, [[0, 1], [0, 1]])
    assert document.labels == ("cat", "dog")
    assert document.objective["temperature"] == 2.0


@pytest.mark.parametrize(
    ("first", "second", "error"),
    [
        ('"target": 0', "", "target must be in every line or in none"),
        ("", '"target": 0', "target must be in every line or in none"),
        ('"target": 0', '"soft_target": [0, 1]', "target must be in every line or in none"),
        ('"target": 0', '"target": [0]', "target has shape (1,), where the first line has ()"),
        ('"labels": ["a", "b"]', "", "the labels differ from those of the first line"),
        (
            '"labels": ["a", "b"]',
            '"labels": ["b", "a"]',
            "the labels differ from those of the first line",
        ),
        (
            '"objective": {"axis": 0}',
            '"objective": {"softcap": 1}',
            "the objective differs from that of the first line",
        ),
        (
            '"objective": {"weight": [1, 2]}',
            '"objective": {"weight": [1, 3]}',
            "the objective differs from that of the first line",
        ),
    ],
)
def test_json_lines_that_disagree(first: str, second: str, error: str) -> None:
    lines = [f'{{"logits": [1, 2]{", " if rest else ""}{rest}}}' for rest in (first, second)]
    assert error_of(piped, "\n".join(lines)) == f"standard input: line 2: {error}"


# --- JSON as it comes ----------------------------------------------------------------------------


def test_an_objective_at_the_top() -> None:
    text = '{"logits": [1, 2], "temperature": 2, "weight": [1, 2], "divisor": 3, "softcap": null}'
    document = piped(text)
    weight = document.objective["weight"]
    assert isinstance(weight, np.ndarray)
    assert_same(weight, [1, 2])
    assert document.objective.keys() == {"temperature", "weight"}
    same = piped('{"logits": [1], "temperature": 2, "objective": {"temperature": 2.0}}')
    assert same.objective == {"temperature": 2.0}
    text = '{"logits": [1], "temperature": 2, "objective": {"temperature": 3}}'
    assert "temperature and objective.temperature differ" in error_of(piped, text)
    assert "temperature is 'hot', not a number" in error_of(
        piped, '{"logits": [1], "temperature": "hot"}'
    )


def test_labels_that_are_integers() -> None:
    assert_same(piped('{"logits": [[1, 2], [3, 4]], "labels": [1, 0]}').target, [1, 0])
    assert_same(piped('{"logits": [1, 2], "labels": 1}').target, 1)
    assert_same(
        piped('{"logits": [1, 2], "labels": 1}\n{"logits": [1, 2], "labels": 0}').target, [1, 0]
    )
    both = '{"logits": [1, 2], "labels": [0, 1], "target": 1}'
    assert "which are the targets?" in error_of(piped, both)


def test_documents_one_after_another() -> None:
    for between in ("", " ", "\n", "\n\n  "):
        text = between.join(['{"logits": [1, 2], "target": 0}', '{"logits": [3, 4], "target": 1}'])
        document = piped(text)
        assert_same(document.logits, [[1, 2], [3, 4]])
        assert_same(document.target, [0, 1])
    lines = '{"logits": [1, 2]} {"logits": [3, 4]}\n{"logits": [5, 6]}'
    assert_same(piped(lines).logits, [[1, 2], [3, 4], [5, 6]])


@pytest.mark.parametrize("name", ["label", "y", "y_true", "class", "Label"])
def test_targets_have_the_names_that_columns_have(name: str) -> None:
    assert piped(json.dumps({"logits": [1, 2, 3], name: 1})).target == 1
    assert_same(piped(json.dumps({"logits": [[1, 2], [3, 4]], name: [1, 0]})).target, [1, 0])
    assert piped(json.dumps({"logits": [1, 2, 3], name: "a photograph"})).target is None
    both = json.dumps({"logits": [1, 2, 3], name: 1, "target": 2})
    assert f'"target" and "{name}" both hold class indices' in error_of(piped, both)


@pytest.mark.parametrize("name", ["logprobs", "log_probs", "log_softmax"])
def test_logarithms_of_probabilities_are_named(name: str) -> None:
    error = error_of(piped, json.dumps({name: [[-1, -2]]}))
    assert f"no \"logits\" but '{name}'" in error
    assert "--from log-probabilities" in error


@pytest.mark.parametrize("name", ["probs", "probabilities", "Softmax"])
def test_probabilities_are_named(name: str) -> None:
    error = error_of(piped, json.dumps({name: [[0.5, 0.5]]}))
    assert f"no \"logits\" but '{name}': call them" in error
    assert error.endswith("--from probabilities")


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("temprature", "temperature"),
        ("labelSmoothing", "label_smoothing"),
        ("label-smoothing", "label_smoothing"),
        ("Temperature", "temperature"),
        ("weights", "weight"),
        ("class_weight", "weight"),
        ("sample_weights", "sample_weight"),
        ("zLoss", "z_loss"),
        ("ignoreIndex", "ignore_index"),
    ],
)
def test_nearly_a_name_of_the_objective_is_not_passed_over(key: str, meant: str) -> None:
    error = error_of(piped, json.dumps({"logits": [1, 2], "target": 0, key: 2}))
    assert error.endswith(f"the object holds '{key}': did you mean '{meant}'?")


def test_other_names_are_nobodys_business() -> None:
    other = {"id": 7, "loss": 0.3, "model": "m", "text": "a", "sample": 3, "weather": 1, "cap": 2}
    assert piped(json.dumps({"logits": [1, 2], **other})).objective == {}


def test_names_of_classes_in_npy(folder: Path) -> None:
    for dtype in ("U", "S"):
        np.save("t.npy", np.array(["dog", "cat", "dog"]).astype(dtype))
        assert_same(read_target("t.npy", ("cat", "dog")), [1, 0, 1])
    np.savez("t.npz", names=np.array(["dog"]))
    assert_same(read_target("t.npz:names", ("cat", "dog")), [1])
    assert "did you mean 'cat'?" in error_of(read_target, "cta", ("cat", "dog"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("logits.h5", "h5py"),
        ("logits.xlsx", "save the sheet as CSV"),
        ("logits.pkl", "pickles are never opened"),
        ("logits.mat", "scipy.io.loadmat"),
        ("logits.zst", "compress it as .gz"),
        ("folder", "a directory; name its files: 'folder/*.npy'"),
        ("logit.npy", "no such file or directory; did you mean 'logits.npy'?"),
        ("folder/x.npy", "no such file or directory"),
    ],
)
def test_what_cannot_be_read_and_what_would_be_right(folder: Path, name: str, words: str) -> None:
    (folder / "folder").mkdir()
    np.save("logits.npy", np.ones(2))
    assert words in argument_error(name)


def test_objects_in_a_list_are_a_batch() -> None:
    samples = [{"logits": [2, 1], "target": 1}, {"logits": [0.5, 3], "label": 0}]
    for text in (json.dumps(samples), json.dumps(samples, indent=1)):
        document = piped(text)
        assert document.logits.tolist() == [[2, 1], [0.5, 3]]
        assert document.target is not None
        assert document.target.tolist() == [1, 0]
    assert "object 2: the object has no" in error_of(piped, '[{"logits": [2, 1]}, {"z": 1}]')
    assert "object 2: logits has shape (3,)" in error_of(
        piped, '[{"logits": [2, 1]}, {"logits": [2, 1, 0]}]'
    )
    assert "object 2: target must be" in error_of(
        piped, '[{"logits": [2, 1], "target": 0}, {"logits": [2, 1]}]'
    )

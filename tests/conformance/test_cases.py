"""The cases of the suite: what they say of themselves, and that they stay what they are."""

from __future__ import annotations

import hashlib
import json
import re

import numpy as np
import pytest

from cecli.conformance.judge import problem_of
from cecli.conformance.model import ARRAY_OPTIONS, Case, Inputs
from cecli.conformance.run import verify
from cecli.conformance.suite.cases import all_cases, select
from support.cases import CASES, named
from support.implementations import Textbook
from support.paths import CASES as STORED
from support.paths import MANUAL

HASHES = STORED / "conformance.json"
# Of the names and the hashes of the cases that each suite has added.
SUITES = {1: "04e4079ac2d77b23", 2: "dd17aab6cc34b20d", 3: "bdba6e6e76a90ae2"}
FAMILIES = [
    *("ordinary", "single", "shift", "saturation", "far-losers", "ties", "magnitude", "masks"),
    *("subnormal", "classes", "rows", "reduction", "ignored", "weight", "sample-weight"),
    *("smoothing", "soft-target", "temperature", "softcap", "z-loss", "layout", "upstream"),
    *("unmodified", "deterministic", "float32", "float16", "bfloat16"),
]
FEATURES = {
    *("sum", "none", "weight", "sample-weight", "ignore-index", "label-smoothing"),
    *("soft-target", "temperature"),
    *("softcap", "z-loss", "upstream", "float32", "float16", "bfloat16", "arrays"),
}


def fingerprint(inputs: Inputs) -> str:
    digest = hashlib.sha256(repr((inputs.logits.shape, inputs.logits.strides)).encode())
    weight = inputs.options.get("weight", np.zeros(0))
    arrays = [inputs.logits, inputs.target, np.asarray(inputs.upstream), weight]
    arrays += [inputs.options[key] for key in ("sample_weight",) if key in inputs.options]
    for array in arrays:
        digest.update(array.dtype.str.encode() + array.tobytes())
    others = {key: value for key, value in inputs.options.items() if key not in ARRAY_OPTIONS}
    digest.update(repr((inputs.dtype, sorted(others.items()))).encode())
    return digest.hexdigest()[:16]


def test_the_families_are_complete_and_in_order() -> None:
    assert list(dict.fromkeys(case.family for case in CASES)) == FAMILIES
    assert {case.family for case in all_cases(large=True)} == {*FAMILIES, "large"}


def test_the_manual_tells_of_every_family() -> None:
    page = (MANUAL / "cecli-verify.1").read_text()
    entries = re.findall(r"^\.It Cm (.*)$", page, re.MULTILINE)
    told = {name for entry in entries for name in entry.replace("\\-", "-").split(" , ")}
    assert {*FAMILIES, "large"} <= told


def test_names_are_unique() -> None:
    names = [case.name for case in all_cases(large=True)]
    assert len(set(names)) == len(names)
    assert all(name.isascii() and name.count("/") == 1 and " " not in name for name in names)


def test_every_case_says_what_it_is_about() -> None:
    for case in CASES:
        assert 10 < len(case.reason) < 100, case.name
        assert "\n" not in case.reason, case.name
        assert not case.reason.endswith("."), case.name
        assert case.source is None or case.source.startswith("https://github.com/"), case.name
        assert case.features <= FEATURES, case.name


def test_features_are_those_of_the_inputs() -> None:
    for case in CASES:
        inputs = case.make()
        options = {key.replace("_", "-") for key in inputs.options} - {"reduction"}
        assert options == case.features & {option.replace("_", "-") for option in options}
        reduction = inputs.options.get("reduction", "mean")
        assert case.features & {"sum", "none"} == {reduction} - {"mean"}, case.name
        soft = inputs.target.dtype.kind == "f"
        assert ("soft-target" in case.features) == soft, case.name
        multiplied = bool(np.any(np.not_equal(inputs.upstream, 1.0)))
        assert ("upstream" in case.features) == multiplied, case.name
        narrow = case.features & {"float32", "float16", "bfloat16"}
        assert narrow == {inputs.dtype} - {"float64"}, case.name
        plain = inputs.logits.flags.c_contiguous
        special = not plain or case.tests in ("unmodified", "kept")
        assert ("arrays" in case.features) == special, case.name


def test_inputs_are_of_their_type_and_make_sense() -> None:
    for case in CASES:
        inputs = case.make()
        held = "float32" if inputs.dtype == "bfloat16" else inputs.dtype
        assert inputs.logits.dtype == held, case.name
        assert inputs.logits.ndim == 2, case.name
        if inputs.dtype == "bfloat16":
            assert not (inputs.logits.view(np.uint32) & 0xFFFF).any(), case.name
        if inputs.target.dtype.kind == "f":
            assert inputs.target.shape == inputs.logits.shape, case.name
        else:
            assert inputs.target.dtype == np.int64, case.name
            assert inputs.target.shape == inputs.logits.shape[:1], case.name
        factors = np.abs(np.asarray(inputs.upstream))
        assert np.all((factors == 0.0) | (np.frexp(factors)[0] == 0.5)), case.name
        problem_of(inputs).divisor  # noqa: B018 - raises where it is undefined


def test_inputs_are_the_same_every_time_and_everywhere() -> None:
    """Where cases are added, count up SUITE and store the hashes again, from tests/:

    python -c 'from conformance import test_cases; test_cases.store_hashes()'
    """
    stored = json.loads(HASHES.read_text())
    assert {case.name: fingerprint(case.make()) for case in CASES} == stored["inputs"]


def test_a_case_never_changes() -> None:
    """What a baseline or an exported case of a suite meant, it means for all time."""
    inputs = json.loads(HASHES.read_text())["inputs"]
    for suite, digest in SUITES.items():
        names = sorted(case.name for case in CASES if case.since == suite)
        text = json.dumps([[name, inputs[name]] for name in names])
        assert hashlib.sha256(text.encode()).hexdigest()[:16] == digest, suite


def store_hashes() -> None:
    found = {case.name: fingerprint(case.make()) for case in CASES}
    HASHES.write_text(json.dumps({"inputs": found}, indent=0) + "\n")


def test_inputs_are_new_every_time() -> None:
    for case in CASES:
        one, other = case.make(), case.make()
        assert not np.shares_memory(one.logits, other.logits), case.name
        assert not np.shares_memory(one.target, other.target), case.name
        for name in {*ARRAY_OPTIONS} & set(one.options):
            assert not np.shares_memory(one.options[name], other.options[name]), case.name


def test_layouts_are_what_they_say() -> None:
    def strides(name: str) -> tuple[int, ...]:
        logits = named(f"layout/{name}").make().logits
        return tuple(step // logits.itemsize for step in logits.strides)

    assert strides("fortran") == (1, 5)
    assert strides("every-other-class") == (14, 2)
    assert strides("every-other-row") == (14, 1)
    assert strides("padded-classes") == (10, 1)
    assert strides("inner-part") == (11, 1)
    assert strides("expanded") == (0, 1)


LARGE = [case for case in all_cases(large=True) if "-stride" in case.name]


def test_every_number_of_classes_around_a_power_of_two_is_there() -> None:
    names = {
        case.name.rpartition("/")[2].removeprefix("classes-") for case in all_cases(large=True)
    }
    around = {2**power + more for power in range(2, 18) for more in (-1, 0, 1)}
    assert set(map(str, around)) <= names


@pytest.mark.parametrize("case", LARGE, ids=lambda case: case.name)
def test_large_cases_touch_little_memory(case: Case) -> None:
    inputs = case.make()
    assert max(inputs.logits.strides) >= 2**30 / 2
    last = sum(
        (size - 1) * step // inputs.logits.itemsize
        for size, step in zip(inputs.logits.shape, inputs.logits.strides, strict=True)
    )
    assert last >= 2**31
    (verdict,) = verify(Textbook(), [case])
    assert verdict.passed()


def test_selecting() -> None:
    assert {case.family for case in select(CASES, ["ties"])} == {"ties"}
    assert [case.name for case in select(CASES, ["*/textbook"])] == ["ordinary/textbook"]
    both = select(CASES, ["*float*/offset", "single/one-of-one"])
    assert [case.name for case in both] == [
        "single/one-of-one",
        "float32/offset",
        "float16/offset",
        "bfloat16/offset",
    ]
    assert select(CASES, []) == list(CASES)
    assert select(CASES, ["nothing"]) == []

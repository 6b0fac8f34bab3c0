"""The cases of the suite, their exact answers, and how a reply is judged."""

from __future__ import annotations

import hashlib
import json
import math
import pickle
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cecli import cross_entropy
from cecli.api import solve
from cecli.conformance.export import exported
from cecli.conformance.judge import judge, problem_of
from cecli.conformance.model import OUTCOMES, Case, Failure, Inputs, NotSupported, Reply, Verdict
from cecli.conformance.report import Report
from cecli.conformance.run import cast, verify
from cecli.conformance.suite.cases import all_cases, select
from cecli.output.json_document import to_json
from cecli.problem.result import CrossEntropy
from cecli.text.strict_json import plain_value
from support.implementations import Textbook
from support.oracle import evaluate, round_to, rounded
from support.paths import CASES as STORED
from support.paths import MANUAL

CASES = all_cases()
LARGE = [case for case in all_cases(large=True) if case.family == "large"]
HASHES = STORED / "conformance.json"
FAMILIES = [
    *("ordinary", "single", "shift", "saturation", "far-losers", "ties", "magnitude", "masks"),
    *("subnormal", "classes", "rows", "reduction", "ignored", "weight", "smoothing"),
    *("soft-target", "temperature", "softcap", "z-loss", "layout", "upstream", "unmodified"),
    *("deterministic", "float32", "float16", "bfloat16"),
]
FEATURES = {
    *("sum", "none", "weight", "ignore-index", "label-smoothing", "soft-target", "temperature"),
    *("softcap", "z-loss", "upstream", "float32", "float16", "bfloat16", "arrays"),
}
MOST_FOR_THE_ORACLE = 3000


def named(name: str) -> Case:
    (case,) = [case for case in CASES if case.name == name]
    return case


def fingerprint(inputs: Inputs) -> str:
    digest = hashlib.sha256(repr((inputs.logits.shape, inputs.logits.strides)).encode())
    weight = inputs.options.get("weight", np.zeros(0))
    for array in (inputs.logits, inputs.target, np.asarray(inputs.upstream), weight):
        digest.update(array.dtype.str.encode() + array.tobytes())
    others = {key: value for key, value in inputs.options.items() if key != "weight"}
    digest.update(repr((inputs.dtype, sorted(others.items()))).encode())
    return digest.hexdigest()[:16]


@cache
def solved(name: str) -> CrossEntropy:
    return solve(problem_of(named(name).make()), exact=True)


class Fixed:
    """An implementation that replies what it is told to."""

    name = "fixed"
    features: frozenset[str] | None = None
    dtype: str | None = None

    def __init__(self, *replies: Reply | Exception) -> None:
        self.replies = list(replies)
        self.asked: list[Inputs] = []

    def run(self, inputs: Inputs) -> Reply:
        self.asked.append(inputs)
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def close(self) -> None:
        pass


# The cases.


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


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_says_what_it_is_about(case: Case) -> None:
    assert 10 < len(case.reason) < 100
    assert "\n" not in case.reason
    assert not case.reason.endswith(".")
    assert case.source is None or case.source.startswith("https://github.com/")
    assert case.features <= FEATURES


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_features_are_those_of_the_inputs(case: Case) -> None:
    inputs = case.make()
    options = {key.replace("_", "-") for key in inputs.options} - {"reduction"}
    assert options == case.features & {option.replace("_", "-") for option in options}
    reduction = inputs.options.get("reduction", "mean")
    assert case.features & {"sum", "none"} == {reduction} - {"mean"}
    assert ("soft-target" in case.features) == (inputs.target.dtype.kind == "f")
    assert ("upstream" in case.features) == bool(np.any(np.not_equal(inputs.upstream, 1.0)))
    assert case.features & {"float32", "float16", "bfloat16"} == {inputs.dtype} - {"float64"}
    plain = inputs.logits.flags.c_contiguous
    assert ("arrays" in case.features) == (not plain or case.tests == "unmodified")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_inputs_are_of_their_type_and_make_sense(case: Case) -> None:
    inputs = case.make()
    held = "float32" if inputs.dtype == "bfloat16" else inputs.dtype
    assert inputs.logits.dtype == held
    assert inputs.logits.ndim == 2
    if inputs.dtype == "bfloat16":
        assert not (inputs.logits.view(np.uint32) & 0xFFFF).any()
    if inputs.target.dtype.kind == "f":
        assert inputs.target.shape == inputs.logits.shape
    else:
        assert inputs.target.dtype == np.int64
        assert inputs.target.shape == inputs.logits.shape[:1]
    factors = np.abs(np.asarray(inputs.upstream))
    assert np.all((factors == 0.0) | (np.frexp(factors)[0] == 0.5))
    problem_of(inputs).divisor  # noqa: B018 - raises where it is undefined


def test_inputs_are_the_same_every_time_and_everywhere() -> None:
    """If this fails on purpose, count up conformance.SUITE and store the hashes again:

    python -c 'import test_conformance as t; t.store_hashes()'
    """
    stored = json.loads(HASHES.read_text())
    assert {case.name: fingerprint(case.make()) for case in CASES} == stored["inputs"]


def store_hashes() -> None:
    found = {case.name: fingerprint(case.make()) for case in CASES}
    HASHES.write_text(json.dumps({"inputs": found}, indent=0) + "\n")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_inputs_are_new_every_time(case: Case) -> None:
    one, other = case.make(), case.make()
    assert not np.shares_memory(one.logits, other.logits)
    assert not np.shares_memory(one.target, other.target)
    assert fingerprint(one) == fingerprint(other)
    if "weight" in one.options:
        assert not np.shares_memory(one.options["weight"], other.options["weight"])


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


# The exact answers.


SMALL = [case for case in CASES if case.make().logits.size <= MOST_FOR_THE_ORACLE]


@pytest.mark.parametrize("case", SMALL, ids=lambda case: case.name)
def test_answers_are_the_oracles(case: Case) -> None:
    inputs = case.make()
    options = dict(inputs.options)
    logits = inputs.logits.astype(np.float64)
    expected = evaluate(logits, inputs.target, **options)
    result = solved(case.name)
    np.testing.assert_array_equal(result.grad, rounded(expected.grad))
    np.testing.assert_array_equal(result.losses, rounded(expected.losses))
    if options.get("reduction") != "none":
        assert result.loss == round_to(expected.loss)


@pytest.mark.parametrize("name", ["classes/8193", "classes/65537", "saturation/vocabulary"])
def test_answers_of_many_classes_are_the_oracles(name: str) -> None:
    inputs = named(name).make()
    expected = evaluate(inputs.logits[:1], inputs.target[:1])
    result = cross_entropy(inputs.logits[:1], inputs.target[:1], exact=True)
    np.testing.assert_array_equal(result.grad, rounded(expected.grad))
    assert result.loss == round_to(expected.loss)


def test_answers_of_many_rows_are_those_of_each_row() -> None:
    inputs = named("rows/1025").make()
    whole = solve(problem_of(inputs), exact=True)
    for row in (0, 500, 1023, 1024):
        one = evaluate(inputs.logits[row : row + 1], inputs.target[row : row + 1])
        exact = [round_to(g / len(inputs.logits)) for g in one.grad[0]]
        assert whole.grad[row].tolist() == exact


class Core(Textbook):
    """The float core of the package itself."""

    def run(self, inputs: Inputs) -> Reply:
        result = cross_entropy(inputs.logits, inputs.target, **inputs.options)
        return Reply(result.loss, result.grad * np.reshape(inputs.upstream, (-1, 1)))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_core_passes(case: Case) -> None:
    (verdict,) = verify(Core(), [case])
    # a soft target cancels by nature, and with the z-loss nearly anything may
    cancels = {"soft-target", "label-smoothing", "z-loss", "softcap"}
    wanted = 2 if verdict.case.features & cancels else 1
    assert OUTCOMES.index(verdict.outcome) <= wanted, verdict


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


# How a reply is judged.


def right(case: Case) -> Reply:
    result = solved(case.name)
    upstream = np.reshape(case.make().upstream, (-1, 1))
    return Reply(np.copy(result.loss), result.grad * upstream)


def judged(name: str, loss: Any = None, grad: Any = None, **more: Any) -> Verdict:
    case = named(name)
    reply = right(case)
    loss = reply.loss if loss is None else loss
    return judge(case, case.make(), Reply(loss, reply.grad if grad is None else grad, **more))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_right_answer_is_exact(case: Case) -> None:
    verdict = judge(case, case.make(), right(case))
    assert verdict.outcome == "exact"
    assert verdict.reason is None
    assert verdict.diagnosis == ()


@pytest.mark.parametrize(
    ("name", "shape", "told"),
    [
        ("ordinary/small-batch", (5, 7), "(5, 7), where the logits have (7, 5)"),
        ("ordinary/small-batch", (7,), "(7,)"),
        ("ordinary/small-batch", (7, 5, 1), "(7, 5, 1)"),
    ],
)
def test_a_gradient_of_another_shape_has_failed(
    name: str, shape: tuple[int, ...], told: str
) -> None:
    verdict = judged(name, grad=np.zeros(shape))
    assert verdict.outcome == "failed"
    assert told in str(verdict.reason)


@pytest.mark.parametrize(
    ("name", "loss"),
    [
        ("ordinary/small-batch", np.zeros(7)),
        ("reduction/none", 1.0),
        ("reduction/none", np.zeros((7, 1))),
    ],
)
def test_a_loss_of_another_shape_has_failed(name: str, loss: NDArray[Any] | float) -> None:
    verdict = judged(name, loss=loss)
    assert verdict.outcome == "failed"
    assert "the loss has shape" in str(verdict.reason)


@pytest.mark.parametrize("nonsense", ["0.5", 1j, True, Exception(), [[1.0], [2.0, 3.0]]], ids=repr)
def test_what_is_not_numbers_has_failed(nonsense: Any) -> None:
    told = "the loss is not made of real numbers"
    assert judged("single/one-of-one", loss=nonsense).reason == told
    assert judged("single/one-of-one", grad=nonsense).outcome == "failed"


def test_one_number_may_be_an_array() -> None:
    loss = np.reshape(right(named("ordinary/small-batch")).loss, (1,))
    assert judged("ordinary/small-batch", loss=loss).outcome == "exact"


def test_nan_has_failed() -> None:
    grad = right(named("ordinary/small-batch")).grad
    grad[3, 1] = grad[4, 4] = math.nan
    verdict = judged("ordinary/small-batch", grad=grad)
    assert verdict.outcome == "failed"
    assert verdict.reason == "the gradient has NaN at row 3, class 1, and in 1 more places"
    assert judged("ordinary/small-batch", loss=math.nan).reason == "the loss is NaN"


def test_an_infinite_loss_is_asked_for() -> None:
    assert judged("masks/target", loss=math.inf).outcome == "exact"
    for loss in (1e300, 0.0, -math.inf):
        assert judged("masks/target", loss=loss).outcome == "wrong"


def test_digits_left() -> None:
    reply = right(named("ordinary/small-batch"))
    verdict = judged("ordinary/small-batch", grad=reply.grad * (1.0 + 1e-6))
    assert verdict.outcome == "inaccurate"
    assert verdict.digits == pytest.approx(6.0, abs=0.01)
    assert judged("ordinary/small-batch", loss=reply.loss * 2.0).digits is None


def test_what_is_wrong_is_diagnosed_and_what_is_rounded_is_not() -> None:
    grad = right(named("ordinary/small-batch")).grad
    assert [d.id for d in judged("ordinary/small-batch", grad=-grad).diagnosis] == ["sign-flipped"]
    rounded_off = judged("ordinary/small-batch", grad=grad * (1.0 + 1e-12))
    assert rounded_off.outcome == "inaccurate"
    assert rounded_off.diagnosis == ()


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_result_is_judged_as_its_input(dtype: str) -> None:
    """Also where it comes in doubles: more digits than the type has are not asked for."""
    case = named(f"{dtype}/small-batch")
    exact = solved(case.name)
    unit = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}[dtype]
    assert judged(case.name, grad=exact.grad * (1.0 + unit / 64)).passed("accurate")
    assert not judged(case.name, grad=exact.grad * (1.0 + 64 * unit)).passed()


def test_a_result_is_judged_as_what_it_was_computed_in() -> None:
    grad = right(named("ordinary/small-batch")).grad.astype(np.float32)
    assert not judged("ordinary/small-batch", grad=grad).passed()
    assert judged("ordinary/small-batch", grad=grad, precision="float32").outcome == "exact"


@pytest.mark.parametrize(
    ("name", "factor", "told"),
    [
        ("upstream/2", 1.0, "not multiplied"),
        ("upstream/uneven", 1.0, "not multiplied"),
        ("upstream/uneven", 0.5, "the first row's"),
        ("upstream/some-0", 1.0, "not multiplied"),
    ],
)
def test_upstream_mistakes_are_named(name: str, factor: float, told: str) -> None:
    grad = solved(name).grad * factor
    verdict = judged(name, grad=grad)
    assert verdict.outcome in ("wrong", "inaccurate")
    assert told in verdict.diagnosis[0].explanation


def test_nothing_comes_from_an_upstream_gradient_of_0() -> None:
    grad = right(named("upstream/some-0")).grad
    grad[1, 0] = 1e-300
    assert judged("upstream/some-0", grad=grad).outcome == "wrong"


# Running the cases.


def test_what_is_not_declared_is_not_asked_for() -> None:
    implementation = Fixed()
    implementation.features = frozenset({"weight"})
    (verdict,) = verify(implementation, [named("smoothing/weight-sum")])
    assert verdict.outcome == "not supported"
    assert verdict.reason == "label-smoothing, sum"
    assert verdict.passed()
    assert implementation.asked == []


def test_what_is_missing_is_found_by_asking() -> None:
    (verdict,) = verify(Fixed(NotSupported("weights")), [named("weight/mean")])
    assert (verdict.outcome, verdict.reason) == ("not supported", "weights")


def test_a_failure_fails_its_case_alone() -> None:
    case = named("ordinary/textbook")
    implementation = Fixed(Failure("ValueError: no"), right(case))
    verdicts = list(verify(implementation, [case, case]))
    assert [verdict.outcome for verdict in verdicts] == ["failed", "exact"]
    assert verdicts[0].reason == "ValueError: no"


def test_after_a_fatal_failure_nothing_is_run() -> None:
    implementation = Fixed(Failure("no answer in 10 seconds", fatal=True))
    verdicts = list(verify(implementation, CASES[:3]))
    assert [v.reason for v in verdicts] == ["no answer in 10 seconds"] * 3
    assert len(implementation.asked) == 1


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


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_all_cases_can_be_had_in_one_type(dtype: str) -> None:
    class Cast(Textbook):
        def run(self, inputs: Inputs) -> Reply:
            assert inputs.dtype == dtype
            return super().run(inputs)

    implementation = Cast()
    implementation.dtype = dtype
    cases = [case for case in CASES if case.family not in ("classes", "rows")]
    verdicts = list(verify(implementation, cases))
    assert [v for v in verdicts if not v.passed()] == []
    ran = sum(verdict.outcome != "not supported" for verdict in verdicts)
    assert ran > 150


def test_a_cast_keeps_the_layout() -> None:
    inputs = cast(named("layout/every-other-row").make(), "float32")
    assert inputs.logits.dtype == np.float32
    assert inputs.logits.strides == (14 * 4, 4)


def test_a_cast_refuses_what_is_beyond_the_type() -> None:
    with pytest.raises(NotSupported, match="beyond float32"):
        cast(named("magnitude/1e300").make(), "float32")
    masked = cast(named("masks/one").make(), "float16")
    assert masked.logits[0, 0] == -math.inf


# The report.


def verdicts(*outcomes: str) -> Iterator[Verdict]:
    for case, outcome in zip(CASES, outcomes, strict=False):
        yield Verdict(case, outcome, max_ulp_error=2.0)  # type: ignore[arg-type]


def test_totals() -> None:
    report = Report("mine", "acceptable", tuple(verdicts("exact", "acceptable", "not supported")))
    assert report.passed
    (ordinary,) = report.families
    assert (ordinary.passed, ordinary.ran, ordinary.worst) == (2, 2, "acceptable")
    assert ordinary.counts["not supported"] == 1
    assert not Report("mine", "accurate", report.verdicts).passed


def test_nothing_run_is_nothing_passed() -> None:
    assert not Report("mine", "acceptable", tuple(verdicts("not supported"))).passed
    assert not Report("mine", "acceptable", ()).passed


def test_a_report_as_text_names_what_failed() -> None:
    report = Report("mine", "acceptable", tuple(verdicts("wrong", "exact")))
    assert str(report).splitlines() == ["mine: 1 of 2 cases passed", "ordinary/textbook: wrong"]


def test_a_report_is_a_value() -> None:
    report = Report("mine", "acceptable", tuple(verdicts("wrong", "exact")))
    copy = pickle.loads(pickle.dumps(report))
    assert repr(copy) == repr(report) == str(report)
    assert [(v.case.name, v.outcome) for v in copy.verdicts] == [
        (v.case.name, v.outcome) for v in report.verdicts
    ]
    long = Report("mine", "acceptable", tuple(verdicts(*["wrong"] * 20)))
    assert len(repr(long).splitlines()) == 10
    assert repr(long).endswith("and 12 more that did not pass")


# Exported cases.


def array(data: dict[str, Any]) -> NDArray[np.float64]:
    """An exported array, read as a reader in another language would."""
    numbers = [float.fromhex(text) for text in data["hex"]]
    decimals = [float(number) for number in data["decimal"]]
    np.testing.assert_array_equal(numbers, decimals)
    numbers = [numbers[i] for i in data["index"]] if "index" in data else numbers
    return np.array(numbers).reshape(data["shape"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_exported_case_is_all_there(case: Case) -> None:
    (document,) = exported([case])
    read = json.loads(to_json(plain_value(document)), parse_constant=pytest.fail)
    inputs, reply = case.make(), right(case)
    np.testing.assert_array_equal(array(read["logits"]), inputs.logits.astype(np.float64))
    target = read["target"] if isinstance(read["target"], list) else array(read["target"])
    np.testing.assert_array_equal(target, inputs.target)
    np.testing.assert_array_equal(array(read["upstream"]), inputs.upstream)
    np.testing.assert_array_equal(array(read["loss"]), reply.loss)
    np.testing.assert_array_equal(array(read["grad"]), reply.grad)
    assert array(read["allowed"]["grad"]).shape == inputs.logits.shape
    assert read["name"] == case.name
    assert read["features"] == sorted(case.features)
    assert set(read["options"]) == set(inputs.options)


@pytest.mark.parametrize("case", CASES[:40], ids=lambda case: case.name)
def test_what_an_exported_case_allows_is_acceptable(case: Case) -> None:
    (document,) = exported([case])
    if not math.isfinite(array(document["loss"])):
        return
    loss, grad = array(document["loss"]), array(document["grad"])
    allowed = array(document["allowed"]["grad"])
    verdict = judge(case, case.make(), Reply(loss, grad + 0.8 * allowed))
    assert verdict.passed()
    verdict = judge(case, case.make(), Reply(loss, grad + 1.5 * allowed + 1e-320))
    assert not verdict.passed()

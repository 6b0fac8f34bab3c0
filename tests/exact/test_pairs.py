"""The exact arithmetic in pairs of doubles has the bits of the decimal arithmetic, only sooner."""

from __future__ import annotations

import platform
import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mpmath import mp
from numpy.typing import NDArray

from cecli import arithmetic, cross_entropy, softmax
from cecli.api import Pass
from cecli.errors import CecliError
from cecli.exact import pairs, sums
from cecli.exact.plan import BIAS, NUMBERS
from cecli.exact.row import INFINITE, ExactRow
from cecli.exact.self_test import CHECKSUM, checksum, described, some_cases
from cecli.machine import compiled
from cecli.machine.compiled import Kernel
from cecli.machine.rational import exact_divisors
from cecli.problem.divisors import Divisors
from cecli.problem.objective import Objective
from cecli.problem.problem import Problem
from cecli.problem.wanted import RowArray, RowsName, Wanted
from machine.driver import PAIRS, SANITIZERS, compile_driver, found, run_driver
from support.boundaries import FORMATS, Result, row_near_boundary
from support.oracle import golden_cases, hard_cases

Array = NDArray[Any]
DOUBLE = np.dtype(np.float64)
NAMES: tuple[RowsName, ...] = ("softmax", "log_softmax", "grad")
FAMILIES = 14
LARGEST = float(np.finfo(np.float64).max)


def solved(
    problem: Problem, kernel: Kernel | None, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Array]:
    """Everything that a problem comes to, with a kernel or by decimal arithmetic alone."""
    monkeypatch.setattr(pairs, "kernel", lambda: kernel)
    names = NAMES if problem.has_target else NAMES[:2]
    arrays = {RowArray(name, problem.dtype): None for name in names}
    run = Pass(problem, Wanted(arrays, losses=problem.has_target, log_sum_exp=True), exact=True)
    parts = list(run)
    results: dict[str, Array] = {
        array.name: np.concatenate([part.arrays[array] for part in parts]) for array in arrays
    }
    for name in ("losses", "log_sum_exp"):
        results[name] = np.concatenate([getattr(part, name) for part in parts])
    for name in ("probability", "predicted_probability", "target_probability"):
        if name[0] == "t" and not problem.indexed:
            continue
        results[name] = np.concatenate([getattr(part.predictions, name) for part in parts])
    if problem.has_target and problem.kept_count:
        results["loss"] = np.array(run.loss, dtype=float)
        results["perplexity"] = np.array(run.perplexity_and_bits)
    return results


def assert_same_bits(
    problem: Problem, kernels: list[Kernel], monkeypatch: pytest.MonkeyPatch
) -> int:
    """With every kernel what it is without; how many numbers that are."""
    right = solved(problem, None, monkeypatch)
    for kernel in kernels:
        found = solved(problem, kernel, monkeypatch)
        assert found.keys() == right.keys()
        for name, array in right.items():
            assert found[name].dtype == array.dtype
            assert found[name].tobytes() == array.tobytes(), (name, kernel.level)
    return sum(array.size for array in right.values())


# --- Logits that make it hard ---------------------------------------------------------------------


def hostile_logits(random: np.random.Generator, rows: int, classes: int) -> Array:
    """Rows of one family: wide, confident, far off, masked, equal in parts, short, …"""
    z = random.normal(size=(rows, classes))
    confident = z * 2
    confident[:, 0] += random.uniform(20, 760, rows)
    masked = np.where(random.random(z.shape) < 0.3, -np.inf, z)
    masked[:, 0] = 1.0
    far = z.copy()
    far[:, -1], far[:, 0] = -LARGEST, -1e30
    far[:, 1:2] = 0.5
    families = [
        z,
        z + 1e8,
        z.round(1),
        z * 1e-5,
        z.astype(np.float32),
        (z * 5).astype(np.float16),
        masked,
        far,
        random.integers(-3, 4, z.shape).astype(float),
    ]
    if rows * classes < 100:  # decimal arithmetic needs up to a thousand digits
        families += [z * 100, z * 300, confident, (z * 700).astype(np.float32)]
        families += [z * 10.0 ** random.integers(-300, 300)]
    return np.asarray(families[random.integers(len(families))])


def hostile_problem(random: np.random.Generator) -> Problem | None:
    """A problem of any objective and type of output; None if it cannot be computed."""
    classes = int(random.choice([1, 2, 3, 5, 10, 33, 100]))
    rows = int(random.integers(1, max(2, 300 // classes)))
    logits = hostile_logits(random, rows, classes)
    options: dict[str, Any] = {"reduction": str(random.choice(["mean", "sum"]))}
    choices: dict[str, list[Any]] = {
        "temperature": [2.0, 0.7, 3.0, 0.01, 100.0],
        "softcap": [30.0, 1.5, 50.0, 400.0],
        "z_loss": [1e-4, 0.5],
        "label_smoothing": [0.1, 0.125, 1.0],
        "weight": [random.choice([0.0, 0.3, 1.0, 2.5, 1e-3], classes)],
        "sample_weight": [random.choice([0.0, 0.5, 0.1, 7.0], rows)],
    }
    for name, values in choices.items():
        if random.random() < 0.3:
            options[name] = values[random.integers(len(values))]
    target: Array = random.integers(0, classes, rows)
    kind = random.random()
    if kind < 0.3:
        target = random.dirichlet(np.full(classes, random.choice([0.05, 1.0])), rows)
    elif kind < 0.4:  # p ≈ q, to within a float
        target = softmax(logits.astype(float)).astype(np.float32).astype(float)
    elif kind < 0.5:
        options["ignore_index"] = int(target[0])
    finite = np.abs(logits[np.isfinite(logits)], dtype=float)
    if finite.max() > 40.0 * options.get("softcap", np.inf):
        del options["softcap"]  # decimal arithmetic would need a thousand digits
    dtype = np.dtype(str(random.choice(["float64", "float64", "float32", "float16"])))
    try:
        problem = Problem.of(logits, target, Objective(**options), dtype=dtype)
        _ = problem.divisors, problem.block(0, rows)
    except CecliError:
        return None
    return problem


@pytest.mark.parametrize("seed", range(40))
def test_bits(kernels: list[Kernel], seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(seed)
    problem = hostile_problem(random)
    if problem is not None:
        assert_same_bits(problem, kernels, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_bits_of_a_hundred_thousand_components(
    kernels: list[Kernel], seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    random, count = np.random.default_rng(1000 + seed), 0
    while count < 10_000:
        problem = hostile_problem(random)
        if problem is not None:
            count += assert_same_bits(problem, kernels, monkeypatch)


def test_bits_of_the_known_cases(kernels: list[Kernel], monkeypatch: pytest.MonkeyPatch) -> None:
    cases: list[Any] = [*golden_cases(), *hard_cases()]
    for case in cases:
        options = getattr(case, "options", {"reduction": "sum"})
        problem = Problem.of(case.logits[None], np.asarray(case.target)[None], Objective(**options))
        found = solved(problem, kernels[-1], monkeypatch)
        assert found["grad"].tobytes() == case.grad.tobytes(), case.name
        assert found["loss"] == case.loss, case.name


# Those on whose sides the pairs settle all, some and none.
SOME_EXPONENTS = [
    *(30, 90, 98, 130),
    *(pytest.param(each, marks=pytest.mark.slow) for each in (60, 80, 95, 102, 110)),
]


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("result", ["softmax", "log_softmax"])
@pytest.mark.parametrize("exponent", SOME_EXPONENTS)
def test_bits_next_to_a_boundary(
    kernels: list[Kernel],
    dtype: str,
    result: Result,
    exponent: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    random = np.random.default_rng(exponent)
    found = [row_near_boundary(random, dtype, result, i % 2, exponent) for i in range(12)]
    rows = [row + [-np.inf] * (6 - len(row)) for row in found if row is not None]
    assert len(rows) > 2
    problem = Problem.of(np.array(rows), np.zeros(len(rows), int), dtype=np.dtype(dtype))
    assert_same_bits(problem, kernels, monkeypatch)


# --- What is left to the decimal arithmetic -------------------------------------------------------


def open_rows(problem: Problem) -> Array:
    """Whether something stays open in each row, with all arrays asked for."""
    own = pairs.pairs_for(problem, exact_divisors(problem))
    if own is None:
        pytest.skip("there is no kernel")
    shape = problem.samples, problem.classes
    arrays = {RowArray(name, problem.dtype): np.empty(shape, problem.dtype) for name in NAMES}
    return own.rows(problem.block(0, problem.samples), arrays).open


@pytest.mark.parametrize("scale", [1.0, 10.0, 1000.0])
@pytest.mark.parametrize(
    "options", [{}, {"label_smoothing": 0.1}, {"z_loss": 1e-3}, {"temperature": 2.0}], ids=str
)
def test_random_logits_are_settled_in_pairs(scale: float, options: dict[str, Any]) -> None:
    random = np.random.default_rng(1)
    logits = random.normal(size=(300, 50)) * scale
    problem = Problem.of(logits, random.integers(0, 50, 300), Objective(**options))
    assert not open_rows(problem).any()


def test_what_is_rational_and_what_cancels_stays_open() -> None:
    logits = np.array([[1.0, 1.0, -np.inf], [0.0, 1.0, 2.0], [0.0, 1.0, 2.5]])
    probabilities = softmax(logits, exact=True)
    probabilities[2] = [0.5, 0.25, 0.25]
    assert open_rows(Problem.of(logits, probabilities)).tolist() == [True, True, False]


def test_what_decimal_arithmetic_settles_is_counted(
    kernels: list[Kernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "kernel", lambda: kernels[-1])
    logits = np.array([[1.0, 1.0, -np.inf], [0.0, 1.0, 2.0], [0.0, 1.0, 2.5]])
    for target, counted, decimal in (
        (np.array([0, 0, 0]), 42, 14),  # 3 arrays of 3, and 5 numbers beside them, of equal logits
        (np.array([[1.0, 0.0, 0.0]] * 3), 39, 13),
    ):
        monkeypatch.setattr("cecli.exact.solve.exact_numbers", own := compiled.ExactNumbers())
        assert str(own) == "exact numbers: 0, of which 0 by decimal arithmetic"
        cross_entropy(logits, target, exact=True)
        assert (own.total, own.decimal) == (counted, decimal)


def test_the_count_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "exact_numbers", own := compiled.ExactNumbers())
    assert len(arithmetic().splitlines()) == 1
    own.add(total=12345, decimal=3)
    told = arithmetic().splitlines()[1:]
    assert told == ["exact numbers: 12,345, of which 3 by decimal arithmetic"]


def test_only_what_is_open_is_evaluated_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[set[int]] = []
    settle = ExactRow.at

    def at(row: Any, precision: int, classes: Any = None) -> Any:
        asked.append(set(classes))
        return settle(row, precision, classes)

    monkeypatch.setattr(ExactRow, "at", at)
    logits = np.random.default_rng(2).normal(size=(5, 8))
    soft = softmax(logits, exact=True)
    # of row 3 two components are p ≈ q
    soft[[0, 1, 2, 4]] = 0.125
    soft[3, [0, 1, 2, 3, 4, 6]] = soft[3, [0, 1, 2, 3, 4, 6]].mean()
    if compiled.kernel() is None:
        pytest.skip("there is no kernel")
    cross_entropy(logits, soft, exact=True)
    assert set().union(*asked) == {5, 7}


def test_factors_that_the_bounds_do_not_know_are_for_decimal_arithmetic(
    kernels: list[Kernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    logits, target = np.array([[0.5, -1.0, 2.0]]), np.array([1])
    for options in (
        {"temperature": 1e-40},
        {"softcap": 1e40},
        {"z_loss": 1e-40},
        {"weight": [1.0, 1e-40, 1.0], "reduction": "sum"},
        {"softcap": 30.0, "temperature": 1e-12},
    ):
        problem = Problem.of(logits, target, Objective(**options))
        monkeypatch.setattr(pairs, "kernel", lambda: kernels[-1])
        assert pairs.pairs_for(problem, exact_divisors(problem)) is None
        assert_same_bits(problem, kernels, monkeypatch)


def test_neither_blocks_nor_threads_show(
    kernels: list[Kernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "kernel", lambda: kernels[-1])
    monkeypatch.setattr("cecli.machine.blocks.SMALLEST_BLOCK_BYTES", 1)
    random = np.random.default_rng(5)
    logits = random.normal(size=(97, 11))
    logits[::10] = 0.5  # some rows for decimal arithmetic, which are alike
    problem = Problem.of(logits, random.dirichlet(np.ones(11), 97), Objective(z_loss=0.1))
    array, found = RowArray("grad", DOUBLE), set()
    for jobs, size in ((1, 2**20), (1, 88), (2, 2000), (5, 500)):
        monkeypatch.setattr("cecli.exact.solve.PAIRS_BLOCK_BYTES", size)
        run = Pass(problem, Wanted({array: None}, worst=3), exact=True, jobs=jobs)
        parts = list(run)
        assert len(parts) == -(-97 * 88 // max(size, 88)) or jobs > 1
        grad = np.concatenate([part.arrays[array] for part in parts])
        losses = np.concatenate([part.losses for part in parts if part.losses is not None])
        found.add((grad.tobytes(), losses.tobytes(), run.loss, run.kl, run.perplexity_and_bits))
    assert len(found) == 1


def test_entropies_keep_their_bound(kernels: list[Kernel], monkeypatch: pytest.MonkeyPatch) -> None:
    random, one = np.random.default_rng(3), 1.0
    rows = [random.dirichlet(np.full(9, alpha)) for alpha in [0.001, 0.01, 0.1, 1.0, 100.0] * 20]
    rows += [
        np.array([least, np.nextafter(one, below), *[0.0] * 7])
        for least, below in (
            (0.0, 0),
            (0.0, 1),
            (0.0, 2),
            (5e-324, 0),
            (1e-310, 2),
            (2.0**-1022, 1),
            (0.5, 0),
        )
    ]
    rows += [10.0 ** random.uniform(-320, 0, 9) for _ in range(200)]
    soft = np.array(rows)
    with mp.workdps(60):
        exact = [mp.fsum(-mp.mpf(q) * mp.log(q) for q in row if q) * BIAS for row in soft.tolist()]
        for kernel in kernels:
            monkeypatch.setattr(pairs, "kernel", lambda kernel=kernel: kernel)
            found = pairs.entropies(soft)
            assert found is not None
            for (high, low, bound), value in zip(found.tolist(), exact, strict=True):
                assert abs(mp.mpf(high) + mp.mpf(low) - value) <= bound / 8
                assert bound <= 2.0**-95 * (value + BIAS * 10)


def test_kl_has_the_same_bits(kernels: list[Kernel], monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(4)
    logits = random.normal(size=(6, 5))
    own = softmax(logits)
    for soft in (random.dirichlet(np.ones(5), 6), own, np.eye(5)[[0, 1, 2, 3, 4, 0]]):
        problem, found = Problem.of(logits, soft, Objective(label_smoothing=0.1)), set()
        for kernel in [None, *kernels]:
            monkeypatch.setattr(pairs, "kernel", lambda kernel=kernel: kernel)
            run = Pass(problem, Wanted(worst=0), exact=True)
            list(run)
            found.add(run.kl)
        assert len(found) == 1
        with mp.workdps(60):
            terms = [
                mp.mpf(q) * (mp.log(q) - mp.mpf(z) + mp.log(mp.fsum(map(mp.exp, row))))
                for row, each in zip(logits.tolist(), soft.tolist(), strict=True)
                for z, q in zip(row, each, strict=True)
                if q
            ]
            assert found == {float(mp.fsum(terms) / 6)}


def test_sums_of_pairs_that_no_double_holds() -> None:
    bias = float(BIAS)
    large = np.array([[2.0**400 * bias, 0.0, 0.0]] * 2**5 + [[2.0**523 * bias, 0.0, 1.0]] * 8)
    value, bound = sums.sum_of_pairs(large)
    assert abs(value - (2**405 + 2**526)) <= bound < 1e-30 * 2**526
    infinite = np.array([[np.inf, 0.0, 0.0], [1.0, 0.0, 0.0]])
    assert sums.sum_of_pairs(infinite) == INFINITE


@pytest.mark.parametrize("count", [0, 1, 2, 1000, pytest.param(2**16, marks=pytest.mark.slow)])
@pytest.mark.parametrize("spread", [0, 40, 900])
def test_sums_of_pairs_are_those_of_fractions(count: int, spread: int) -> None:
    random = np.random.default_rng(count + spread)
    found = np.empty((count, 3))
    found[:, 0] = random.random(count) * 2.0 ** random.integers(-spread, spread + 1, count)
    found[:, 1] = found[:, 0] * random.normal(size=count) * 2.0**-54
    found[:, 2] = found[:, 0] * 2.0**-100
    value, bound = sums.sum_of_pairs(found)
    wanted, own = (
        sum(map(Fraction, part.ravel().tolist())) for part in (found[:, :2], found[:, 2])
    )
    scale = Fraction(BIAS)
    assert abs(Fraction(value) * scale - wanted) <= Fraction(bound) * scale - own
    assert Fraction(bound) * scale <= own + wanted / 2**95


# --- The self-test of a build ---------------------------------------------------------------------


def test_every_kernel_has_the_checksum(
    kernels: list[Kernel], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = list(some_cases())
    monkeypatch.setattr("cecli.exact.self_test.some_cases", lambda: made)
    assert [checksum(kernel) for kernel in kernels] == [CHECKSUM] * len(kernels)


@pytest.mark.slow
def test_the_checksum_is_that_of_decimal_arithmetic(monkeypatch: pytest.MonkeyPatch) -> None:
    found_here = 0
    for case, rows in some_cases():
        plan, dtype = case.plan, np.dtype(np.float32 if case.single else np.float64)
        shape = rows, plan.classes
        logits = np.array(case.logits[: rows * plan.classes], dtype).reshape(shape)
        target: Array = np.array(case.column[:rows])
        if plan.mass == "soft":
            target = np.array(case.soft[: rows * plan.classes]).reshape(shape)
        objective = Objective(
            label_smoothing=plan.smoothing,
            temperature=plan.temperature,
            softcap=plan.softcap,
            z_loss=plan.z_loss,
        )
        divisors = Divisors(plan.divisor, plan.divisor)
        problem = Problem.of(logits, target, objective, divisors=divisors)
        found = solved(problem, None, monkeypatch)
        masked = np.where(logits == -np.inf, np.nan, logits)
        alike = np.nanmin(masked, axis=1) == np.nanmax(masked, axis=1)
        numbers = np.full((rows, len(NUMBERS)), np.nan)
        for k, name in enumerate(NUMBERS):
            numbers[:, k] = found.get(name, np.nan)
        for array in (*(found[name] for name in NAMES), numbers):
            array[alike] = np.nan
            found_here = zlib.crc32(array.tobytes(), found_here)
    assert found_here == CHECKSUM


@pytest.mark.slow
def test_memory_and_undefined_behaviour(tmp_path: Path) -> None:
    if not found("gcc"):
        pytest.skip("there is no gcc")
    program = compile_driver(tmp_path, PAIRS, "gcc", *SANITIZERS)
    assert checksum_of_driver([str(program)]) == CHECKSUM


@pytest.mark.slow
def test_the_checksum_on_aarch64(tmp_path: Path) -> None:
    compiler, emulator = "aarch64-linux-gnu-gcc", "qemu-aarch64"
    if not found(compiler, emulator) or platform.machine() == "aarch64":
        pytest.skip("gcc-aarch64-linux-gnu and qemu-user are not installed")
    program = compile_driver(tmp_path, PAIRS, compiler, "-static")
    assert checksum_of_driver([emulator, str(program)]) == CHECKSUM


def checksum_of_driver(command: list[str]) -> int:
    """The checksum of what a program makes of the self-test's cases."""
    described_cases = [described(case, rows) for case, rows in some_cases()]
    results = memoryview(run_driver(command, PAIRS, described_cases))
    found_here = 0
    for _, arrays in described_cases:
        for name in PAIRS.found:
            size = len(bytes(arrays[name]))
            if name in (*NAMES, "numbers"):
                found_here = zlib.crc32(results[:size], found_here)
            results = results[size:]
    return found_here

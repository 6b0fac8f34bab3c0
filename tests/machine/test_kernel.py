"""The kernel has the definition's bits: here, on other processors, and for ever."""

from __future__ import annotations

import math
import platform
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cecli.core import rows as definition
from cecli.machine import compiled
from cecli.machine.elementary import fold
from cecli.machine.plan import FINE, OPTIONAL, LogitRows, Plan, Results
from cecli.machine.self_test import CHECKSUM, OUTPUTS, ROWS, FixedRows, cases, checksum, described
from machine.driver import DOUBLES, SANITIZERS, compile_driver, found, run_driver
from support.each import each

pytestmark = pytest.mark.xdist_group("kernel")  # which takes seconds to compile
CLASSES = (1, 2, 3, 4, 5, 10, 33, 63, 64, 65, 66, 100, 128, 200, 513, 1000, 4097)


@pytest.fixture(scope="module")
def fixed_rows() -> list[FixedRows]:
    """The cases of the self-test, which take as long to make as a kernel takes for them."""
    return list(cases())


def test_the_checksum_is_that_of_the_definition(fixed_rows: list[FixedRows]) -> None:
    found_here = 0
    for case in fixed_rows:
        results = worked_out(case)
        parts = [results.array, results.losses, results.z_losses, results.plain]
        for part in (*parts, results.log_sum_exp, results.flags):
            assert part is not None
            found_here = zlib.crc32(part.tobytes(), found_here)
    assert found_here == CHECKSUM


def test_every_kernel_has_the_checksum(
    kernels: list[compiled.Kernel], fixed_rows: list[FixedRows], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cecli.machine.self_test.cases", lambda: fixed_rows)
    assert [checksum(kernel) for kernel in kernels] == [CHECKSUM] * len(kernels)


def worked_out(case: FixedRows) -> Results:
    """What the definition makes of a case of the self-test."""
    shape, dtype = (ROWS, case.plan.classes), np.float32 if case.single else np.float64
    soft = np.array(case.soft).reshape(shape) if case.plan.mass == "soft" else None
    column = None if soft is not None else np.array(case.column, np.int64)
    logits = np.array(case.logits, dtype).reshape(shape)
    results = Results.room(ROWS, np.empty(shape, dtype), *OPTIONAL)
    definition.work_out(case.plan, LogitRows(logits=logits, column=column, soft=soft), results)
    return results


@pytest.mark.parametrize("first", range(0, 150, 25))
def test_bits(kernels: list[compiled.Kernel], first: int) -> None:
    for seed in range(first, first + 25):
        plan, rows, dtype = hostile_case(np.random.default_rng(seed))
        expected = room(plan, rows, dtype)
        definition.work_out(plan, rows, expected)
        usable = expected.flags == FINE
        for kernel in kernels:
            seen = room(plan, rows, dtype)
            kernel.work_out(plan, rows, seen)
            assert seen.flags.tolist() == expected.flags.tolist(), seed
            for name in ("array", "losses", "z_losses", "plain", "log_sum_exp"):
                ours, theirs = getattr(expected, name), getattr(seen, name)
                assert (
                    ours is theirs is None or ours[usable].tobytes() == theirs[usable].tobytes()
                ), (seed, name)


@pytest.mark.parametrize("columns", [128, 192, 1024, 4160, 65536])
def test_sums_have_the_bits_of_the_definition(kernels: list[compiled.Kernel], columns: int) -> None:
    random = np.random.default_rng(columns)
    rows = np.ldexp(random.random((5, columns)), random.integers(-1074, 900, (5, columns)))
    rows[0] = random.random(columns)
    rows[1, ::3] = 0.0
    rows[2, 7] = np.inf
    with np.errstate(invalid="ignore"):
        expected = fold(rows)
    assert not math.fsum(rows[0]) - float(np.add(*expected)[0])
    for kernel in kernels:
        seen = kernel.fold(rows)
        assert [part.tobytes() for part in seen] == [part.tobytes() for part in expected]


@each("seed", range(20))
def test_a_row_depends_on_itself_alone(kernels: list[compiled.Kernel], seed: int) -> None:
    random = np.random.default_rng(seed)
    plan, rows, dtype = hostile_case(random)
    whole = room(plan, rows, dtype)
    kernels[-1].work_out(plan, rows, whole)
    usable = whole.flags == FINE
    start = int(random.integers(len(rows)))
    part = rows.part(slice(start, None))
    own = room(plan, part, dtype)
    kernels[-1].work_out(plan, part, own)
    assert whole.losses[start:][usable[start:]].tobytes() == own.losses[usable[start:]].tobytes()
    if whole.array is not None and own.array is not None:
        rest = usable[start:]
        assert whole.array[start:][rest].tobytes() == own.array[rest].tobytes()


@pytest.mark.slow
def test_memory_and_undefined_behaviour(tmp_path: Path) -> None:
    if not found("gcc"):
        pytest.skip("there is no gcc")
    program = compile_driver(tmp_path, DOUBLES, "gcc", *SANITIZERS)
    random = [np.random.default_rng(seed) for seed in range(400)]
    run_driver([str(program)], DOUBLES, (as_described(*hostile_case(each)) for each in random))


@pytest.mark.slow
def test_the_checksum_on_aarch64(tmp_path: Path) -> None:
    compiler, emulator = "aarch64-linux-gnu-gcc", "qemu-aarch64"
    if not found(compiler, emulator) or platform.machine() == "aarch64":
        pytest.skip("gcc-aarch64-linux-gnu and qemu-user are not installed")
    program = compile_driver(tmp_path, DOUBLES, compiler, "-static")
    results = run_driver([emulator, str(program)], DOUBLES, map(described, cases()))
    assert zlib.crc32(results) == CHECKSUM
    fused = compile_driver(tmp_path, DOUBLES, compiler, "-static", "-ffp-contract=fast")
    assert (
        zlib.crc32(run_driver([emulator, str(fused)], DOUBLES, map(described, cases()))) != CHECKSUM
    )


def room(plan: Plan, rows: LogitRows, dtype: type[np.floating[Any]]) -> Results:
    """Room for the results of rows."""
    array = None if plan.array is None else np.empty(rows.logits.shape, dtype)
    return Results.room(len(rows), array, *OPTIONAL)


def as_described(
    plan: Plan, rows: LogitRows, dtype: type[np.floating[Any]]
) -> tuple[compiled.Work, dict[str, Any]]:
    """The same for the driver."""
    results = room(plan, rows, dtype)
    arrays = {
        "logits": rows.logits,
        "kept": rows.kept,
        "column": rows.column,
        "soft": rows.soft,
        "weight": plan.weight,
        "base": plan.base if plan.mass == "smoothed" else None,
        "out": results.array,
        **{name: getattr(results, name) for name in OUTPUTS[1:]},
    }
    work = compiled.work_of(plan, len(rows))
    work.logits_stride = work.soft_stride = work.out_stride = plan.classes
    work.single, work.out_single = rows.logits.dtype == np.float32, dtype == np.float32
    work.soft_single = rows.soft is not None and rows.soft.dtype == np.float32
    return work, {name: array.tobytes() for name, array in arrays.items() if array is not None}


def hostile_case(random: np.random.Generator) -> tuple[Plan, LogitRows, type[np.floating[Any]]]:
    """Rows and an objective of any kind, and the type of the results."""
    classes = CLASSES[random.integers(len(CLASSES))]
    samples = min(int(random.integers(1, 150)), 60_000 // classes + 1)
    single, soft_single, short = random.random(3) < 0.5
    logits = hostile_logits(random, (samples, classes), np.float32 if single else np.float64)
    mass = str(random.choice(["none", "one-hot", "smoothed", "soft"]))
    arrays = ["softmax", "log_softmax", None, *(["grad"] * 3 if mass != "none" else [])]
    weight = None
    if mass != "none" and random.random() < 0.3:
        weight = random.random(classes) * 10.0 ** random.integers(-3, 3, classes)
        weight[random.random(classes) < 0.2] = 0.0
        weight *= random.choice([1.0, 1.0, 1e-200])
    options: dict[str, Any] = {
        "temperature": float(random.choice([1.0, 1.0, 2.0, 10.0 ** random.uniform(-3, 3)])),
        "softcap": random.choice([None, None, 30.0, 10.0 ** random.uniform(-2, 2)]),
        "z_loss": float(random.choice([0.0, 0.0, 10.0 ** random.uniform(-6, 0)])),
        "smoothing": 0.0,
    }
    if mass == "smoothed" or (mass == "soft" and random.random() < 0.3):
        options["smoothing"] = float(random.choice([0.1, 1.0, 1e-3]))
    plan = Plan(
        classes=classes,
        array=arrays[random.integers(len(arrays))],  # type: ignore[arg-type]
        mass=mass,  # type: ignore[arg-type]
        weight=weight,
        divisor=float(random.choice([1.0, samples])),
        **options,
    )
    kept = column = soft = None
    if mass in ("one-hot", "smoothed"):
        column = random.integers(0, classes, samples)
        kept = random.random(samples) < 0.8 if random.random() < 0.3 else None
    if mass == "soft":
        soft = random.random(logits.shape) * (random.random(logits.shape) < 0.7)
        soft /= np.maximum(soft.sum(axis=1, keepdims=True), 1e-9)
        soft = soft.astype(np.float32 if soft_single else np.float64)
    rows = LogitRows(logits=logits, kept=kept, column=column, soft=soft)
    return plan, rows, np.float32 if short else np.float64


def hostile_logits(
    random: np.random.Generator, shape: tuple[int, int], dtype: type[np.floating[Any]]
) -> NDArray[Any]:
    """Spreads, offsets, ties, masks, subnormal and huge numbers, NaN."""
    largest, smallest = float(np.finfo(dtype).max), float(np.finfo(dtype).smallest_subnormal)
    logits = random.standard_normal(shape) * 10.0 ** random.uniform(-3, 3.2)
    some = random.random(shape) < 0.5
    column = int(random.integers(shape[1]))
    tail = random.uniform(-760.0, -690.0, shape)
    tail[:, column] = 0.0
    kinds = (
        logits,
        logits + 10.0 ** random.uniform(0, 15),
        np.round(logits),
        np.where(some, -np.inf, logits),
        np.where(some, -1e9, logits),
        np.where(some, float(np.finfo(np.float32).min), logits),
        np.where(some, -largest, logits),
        random.integers(-3, 3, shape) * smallest,
        logits * (largest / 1e5),
        logits + np.where(np.arange(shape[1]) == column, 750.0, 0.0),
        np.where(random.random(shape) < 0.01, np.nan, logits),
        np.full(shape, logits[0, 0]),
        np.where(some, logits, -1e-9 * logits),
        tail,
    )
    with np.errstate(all="ignore"):
        return kinds[random.integers(len(kinds))].astype(dtype)

"""Arrays of other libraries, targets as they come, and what cannot be taken: always one line."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import cecli
from cecli import CecliError
from support.each import each
from support.in_process import complaint, printed

Z = np.array([[0.5, -1.25, 2.0], [1.5, 0.25, -0.75]])
T = np.array([2, 0])
EXPECTED = cecli.cross_entropy(Z, T)


def assert_same_result(found: cecli.CrossEntropy, expected: cecli.CrossEntropy = EXPECTED) -> None:
    assert found.loss == expected.loss
    np.testing.assert_array_equal(found.grad, expected.grad)
    np.testing.assert_array_equal(found.softmax, expected.softmax)


# --- Targets as they come -------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "i1", "u8", ">i4"])
@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_class_indices_of_any_type_and_shape(dtype: str, shape: tuple[int, ...]) -> None:
    assert_same_result(cecli.cross_entropy(Z, T.astype(dtype).reshape(shape)))


@pytest.mark.parametrize("dtype", [bool, "i1", "i8", "u1"])
def test_one_hot_rows(dtype: Any) -> None:
    one_hot = np.eye(3)[T].astype(dtype)
    assert_same_result(cecli.cross_entropy(Z, one_hot))
    # Along another axis, and for one sample alone.
    found = cecli.cross_entropy(Z.T, one_hot.T, axis=0)
    assert found.loss == EXPECTED.loss
    assert cecli.cross_entropy(Z[0], one_hot[0]).loss == cecli.cross_entropy(Z[0], 2).loss


def test_floats_of_the_logits_shape_are_probabilities() -> None:
    assert cecli.cross_entropy(Z, np.eye(3)[T]).loss == pytest.approx(EXPECTED.loss, rel=1e-15)
    one = np.array([[1.0], [2.0]])
    assert cecli.cross_entropy(one, np.ones((2, 1))).loss == 0.0


def test_a_kept_dimension() -> None:
    logits = np.random.default_rng(2).normal(size=(4, 3, 5))
    target = np.random.default_rng(3).integers(0, 3, (4, 5))
    expected = cecli.cross_entropy(logits, target, axis=1)
    assert_same_result(cecli.cross_entropy(logits, target[:, None, :], axis=1), expected)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ([0.5, 1.0], "target 0.5 of sample 0: a class index is a whole number"),
        ([np.nan, 1.0], "target nan of sample 0: a class index is a whole number"),
        ([[1, 1, 0], [0, 1, 0]], "target of sample 0 has 2 ones: one-hot rows have one"),
        ([[1, 0, 0], [0, 0, 0]], "target of sample 1 has 0 ones"),
        ([[2, 0, 0], [0, 1, 0]], "6 targets for 2 samples"),
        (
            [0, 1, 0],
            "need targets of shape (2,); with the classes on axis 0 they fit",
        ),
        ([3, 1], "target 3 of sample 0 is out of range: the 3 classes are 0 to 2; do they count"),
        ([3, 0], "out of range: the 3 classes are 0 to 2"),
        (["cat", "dog"], "target must be an array of real numbers; it holds texts"),
        ([[0.0, 0.0, 0.0], [0.5, 0.5, 0.0]], "sums to 0: probabilities sum to 1; a sample that"),
        (None, "a target is needed"),
    ],
)
def test_targets_that_are_none(target: Any, words: str) -> None:
    with pytest.raises(CecliError) as caught:
        _ = cecli.cross_entropy(Z, target).loss
    assert words in str(caught.value)
    if target == [3, 0]:
        assert "from 1" not in str(caught.value)


# --- Arrays of other libraries --------------------------------------------------------------------


def test_tensors_of_pytorch() -> None:
    torch = pytest.importorskip("torch")
    target = torch.tensor(T)
    assert_same_result(cecli.cross_entropy(torch.tensor(Z, requires_grad=True), target))
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        logits = torch.tensor(Z, dtype=dtype, requires_grad=True)
        found = cecli.cross_entropy(logits, target)
        assert found.grad.dtype == np.float32
        assert found.loss == EXPECTED.loss  # these numbers fit every type
    soft = torch.softmax(torch.tensor(Z), 1)
    assert cecli.cross_entropy(torch.tensor(Z), soft).loss > 0
    weight = torch.tensor([1.0, 2.0, 3.0])
    expected = cecli.cross_entropy(Z, T, weight=[1, 2, 3])
    assert_same_result(cecli.cross_entropy(torch.tensor(Z), target, weight=weight), expected)
    assert cecli.check_gradient(torch.tensor(Z), target, torch.tensor(EXPECTED.grad)).passed
    assert cecli.compare(torch.tensor(Z), target, grad=torch.tensor(EXPECTED.grad)).passed
    one_hot = torch.nn.functional.one_hot(target, 3)
    assert_same_result(cecli.cross_entropy(torch.tensor(Z), one_hot))


def test_arrays_of_jax() -> None:
    jax = pytest.importorskip("jax")
    found = cecli.cross_entropy(jax.numpy.asarray(Z, dtype="bfloat16"), jax.numpy.asarray(T))
    assert found.loss == EXPECTED.loss


class FakeMLX:
    """An array as MLX has it: NumPy takes none of its bfloat16."""

    def __init__(self, values: NDArray[Any], dtype: str) -> None:
        self.values, self.dtype = values, dtype

    def astype(self, dtype: str) -> FakeMLX:
        return FakeMLX(self.values, dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if self.dtype == "bfloat16":
            raise RuntimeError("Item size 2 for PEP 3118 buffer format string B does not match")
        return self.values.astype(self.dtype)


def test_arrays_of_mlx(monkeypatch: pytest.MonkeyPatch) -> None:
    core = types.ModuleType("mlx.core")
    core.__dict__.update(float32="float32", bfloat16="bfloat16")
    monkeypatch.setitem(sys.modules, "mlx", types.ModuleType("mlx"))
    monkeypatch.setitem(sys.modules, "mlx.core", core)
    monkeypatch.setattr(FakeMLX, "__module__", "mlx.core")
    for dtype in ("bfloat16", "float32"):
        found = cecli.cross_entropy(FakeMLX(Z, dtype), FakeMLX(T, "int32"))
        assert found.loss == EXPECTED.loss
        assert found.grad.dtype == np.float32


def test_masked_arrays() -> None:
    masked = np.ma.masked_array(Z, mask=Z == 0.5)
    expected = np.where(Z == 0.5, -np.inf, Z)
    np.testing.assert_array_equal(cecli.softmax(masked), cecli.softmax(expected))
    whole = np.ma.masked_array([[1, 2, 3]], mask=[[False, True, False]])
    np.testing.assert_array_equal(cecli.softmax(whole), cecli.softmax([[1, -np.inf, 3]]))
    assert_same_result(cecli.cross_entropy(np.ma.masked_array(Z), np.ma.masked_array(T)))
    with pytest.raises(CecliError, match="target has masked elements, which only logits may have"):
        cecli.cross_entropy(Z, np.ma.masked_array(T, mask=[True, False]))


class Hostile:
    """Whatever is asked of it, it raises something unheard of."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        raise LookupError("no")


ANYTHING: list[Any] = [
    None, "cat", b"cat", object(), Hostile(), {}, {"a": 1}, set(), 1j, [1j], [[1], [2, 3]],
    ["a", "b"], [None], np.array(["a"]), np.array([object()]), np.datetime64("2020-01-01"),
    np.array([True, False]), range(0), slice(3), lambda: 0, type, np.zeros((2, 0)), [], [[]],
    np.zeros(3, dtype=[("a", "f4")]), ..., float("nan"), np.ma.masked,
]  # fmt: skip


@each("value", ANYTHING)
def test_whatever_cannot_be_taken_is_one_line(value: Any) -> None:
    def refuses(call: Any) -> None:
        with pytest.raises(CecliError) as caught:
            call()
        assert str(caught.value).isprintable()
        assert str(caught.value)

    refuses(lambda: cecli.softmax(value))
    refuses(lambda: cecli.log_softmax(value))
    refuses(lambda: cecli.cross_entropy(value, 0))
    refuses(lambda: cecli.cross_entropy(Z, value))
    refuses(lambda: cecli.cross_entropy(Z, T, temperature=value))
    if value is not None:
        refuses(lambda: cecli.cross_entropy(Z, T, weight=value))
        refuses(lambda: cecli.cross_entropy(Z, T, softcap=value))
        refuses(lambda: cecli.cross_entropy(Z, T, ignore_index=value))
    refuses(lambda: cecli.cross_entropy(Z, T, label_smoothing=value))
    refuses(lambda: cecli.cross_entropy(Z, T, reduction=value))
    refuses(lambda: cecli.softmax(Z, axis=value))
    refuses(lambda: cecli.check_gradient(Z, T, value))


@pytest.mark.parametrize("axis", [None, (0, 1), 1.0, "0", 2, -3, [0]])
def test_one_axis(axis: Any) -> None:
    calls: list[Callable[[], object]] = [
        lambda: cecli.softmax(Z, axis=axis),
        lambda: cecli.log_softmax(Z, axis=axis),
        lambda: cecli.cross_entropy(Z, T, axis=axis),
    ]
    for call in calls:
        with pytest.raises(CecliError, match="axis"):
            call()
    one: Any = np.int64(1)
    np.testing.assert_array_equal(cecli.softmax(Z, axis=one), cecli.softmax(Z))


# --- On the command line --------------------------------------------------------------------------


def test_one_hot_on_the_command_line(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("z.npy", Z)
    np.save("t.npy", np.eye(3, dtype=bool)[T])
    assert printed("loss", "z.npy", "-t", "t.npy")["target"] == [2, 0]
    text = complaint("loss", "2", "1", "0", "-t", "0,1,0")
    assert "3 targets for one sample" in text
    assert "-t 1" in text


def test_what_jax_traces_is_told_as_such() -> None:
    class DynamicJaxprTracer:
        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            raise TypeError("a long message of several lines")

    with pytest.raises(CecliError, match="logits: no numbers while JAX traces it"):
        cecli.softmax(DynamicJaxprTracer())

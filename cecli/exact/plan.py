"""What is asked of the kernel in pairs of doubles, and how far off its results are at the most.

`exact.c` evaluates the definition in pairs h + l of doubles (double-double) and knows how far each
result is off at the most. Where all numbers within that bound round to the same number of the
output's format, that is the correctly rounded one (Ziv); where they do not, the kernel leaves NaN,
and the decimal arithmetic settles it. So the bits are those of the decimal arithmetic with or
without a kernel, and this module can only make them come sooner.

What is computed, R being the sum of the exponentials without that of one largest logit, m:

    d_i = v_i − m                 exactly, but for a softcap or a temperature
    ŷ_i = e^{d_i} · 1/(1 + R)     log ŷ_i = d_i − log1p(R)
    L   = Y log1p(R) + Σ_i y_i (−d_i)  with no term below 0
    g_i = (e^{d_i} · (Y/(D T) + 2 z_loss·lse/(D_z T))/(1 + R) − y_i/(D T)) · du_i/dz_i

and at the maximum, where ŷ may be near 1, ((Y − y) ŷ − y R/(1 + R))/(D T) and the z-loss's part.

**Numbers.** What may be small is kept 2^500 times as large, so that no result that rounds to
anything but 0 is near the subnormal numbers. e^d is 0 for d < −830. What that leaves out and what
underflows comes to less than 2^−1160 (1 + the factors that follow), which every bound contains;
`work_of` refuses factors outside of 2^±100, and the kernel a mass Y below 2^−200.

**Operations**, in units of u² = 2^−106, without underflow: a sum of pairs is off by 3 (|a| + |b|)
where the signs agree, by 5 where they do not; a product by 7 |ab| (Joldes, Muller & Popescu,
algorithms 5 and 10); 1/a by 10: with g the double nearest to 1/a_h, 1 − g·a_h is a double, g·a_l is
rounded (1), their difference too (2), and g (1 + (1 − g a)) is off by (1 − g a)² ≤ 4 and roundings
(2). TwoSum and TwoProd are exact (Knuth; Dekker, or fused).

**Exponential.** n = rint(64 d/ln 2) and r = d − n ln 2/64, with ln 2/64 in 36 + 36 + 53 bits: the
first two products with n < 2^17 and the first difference are exact, and r is off by less than
2^−113. |r| < 2^−7.5, so twelve terms of the series leave 2^−118. Its terms from r⁶ on are doubles
(2^−105.5 with the r⁵ that they stand behind: 1.5), the others pairs whose errors are multiplied by
r² or more; the table of 2^{j/64} is off by 1 and the last sum by 3.1. Together e^d is off by 6.

**Sums.** Adding in halves, ⌈log₂ C⌉ = λ ≤ 31 deep, makes R off by 6 + 3λ, 1/(1 + R) by 19 + 3λ and
ŷ by 32 + 3λ ≤ 125.

**Logarithm.** For R < 1/8 the series of 2 artanh(R/(2 + R)): 31 and the 6 + 3λ of R. Else one step
of Newton's method from a double: t = S e^{−ℓ} − 1 is off by 16, log S ≥ log 9/8, so 139, and the 6
+ 3λ of R. Together 145 + 3λ ≤ 238, and log ŷ 241.

**Entropy of soft targets.** Σ −q log q by the same step of Newton's method, e^ℓ/q − 1 being off by
24 and the difference by 3 of its size: a term is off by 25 q + 11 (−q log q), and their sum by less
than 2^−96 Σ q (1 − log q).

**Loss and gradient.** A mass y is off by 21, Y by 24 + 3λ, the loss by 189 + 6λ ≤ 375, its row's
weight included; lse by 243 of |m| + log1p(R), the z-loss by 513; the gradient by 400 of the sizes
of the two terms that are subtracted, of which each is taken as positive. All are below 1024, which
is the relative bound 2^−96 of the kernel: `error`.

**Temperature and softcap.** d/T is off by 8 |d|, at most 830·8 < 2^13 where it matters, in every
exponential: δ_T = 2^−93. c tanh(z/c) from a = e^{−2|z|/c}, which is off by 6 + 8x with x e^{−x} <
½, is off by 51 c; a difference of two, over T, by 128 c/T: δ_c = 2^−99 c/T. The slope 4a/(1 + a)²
is off by less than 2^−93. An exponential takes δ from its exponent, R, S and log1p(R) no more than
that; no result holds more than four of them (log ŷ_i ≥ log 2 in size but for the maximum, whose d
is 0). So `error` is 2^−96 + 4δ.

**Rounding.** With M = 1.5·2^k so large that the spacing of doubles near M is that of the output's
format near the result, M + h rounds h to the format and leaves a remainder exactly; h + l ± bound
are rounded the same way, with a margin for the two additions that takes. M is 0 for doubles, and
2^−1022 with the sign of h where they are subnormal. Infinite and undefined results fail the test.

Where v − m is exact, log ŷ and the loss may lie as good as half way between two numbers, log1p(R)
deciding on which side; the sum of the parts that matter is then rounded to odd, which keeps the
side (Boldo & Melquiond). Exact ties and zeros can be told only where they are rational: where all
logits that are not masked are equal (see `solve`), and such rows are left open as a whole.

**Measured.** Of 1,000,763 results of random rows of every objective the largest error, against
mpmath, was 0.024 of its bound. Ten million numbers of hostile rows, rounded to every format, had
the bits of decimal arithmetic with the kernel of each instruction set. Of 79 million results of
random logits none was left open.

Sources: Dekker, "A floating-point technique for extending the available precision", Numer. Math.
1971; Knuth, The Art of Computer Programming, vol. 2, 4.2.2; Joldes, Muller & Popescu, "Tight and
rigorous error bounds for basic building blocks of double-word arithmetic", ACM TOMS 2017; Ziv,
"Fast evaluation of elementary mathematical functions with correctly rounded last bit", ACM TOMS
1991; Boldo & Melquiond, "Emulation of a FMA and correctly rounded sums", IEEE Trans. Comp. 2008.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterable
from fractions import Fraction

BIAS = 2**500
LARGEST_FACTOR = 2.0**100
LARGEST_CAP_SIZE = 2.0**30
MOST_CLASSES = 2**31
# The greatest relative error of a result, in relation to the sizes of what is added up for it.
ERROR = 2.0**-96
TEMPERATURE_ERROR = 2.0**-93
CAP_ERROR = 2.0**-99
PARTS = 4
DIGITS = {8: 53, 4: 24, 2: 11}  # of a format, by its bytes
NUMBERS = ("losses", "log_sum_exp", "probability", "predicted_probability", "target_probability")
SUMS = ("cross_entropy", "z_loss", "plain")
NO_MASS, ONE_HOT, SMOOTHED, SOFT = range(4)

_Number, _Integer, _Flag, _Address = (
    ctypes.c_double,
    ctypes.c_int64,
    ctypes.c_int32,
    ctypes.c_void_p,
)


class _Pair(ctypes.Structure):
    _fields_ = [("high", _Number), ("low", _Number)]


class PairWork(ctypes.Structure):
    """`Work` of exact.c, field by field."""

    _fields_ = [
        *[(name, _Integer) for name in ("rows", "classes")],
        ("logits", _Address),
        ("logits_stride", _Integer),
        *[(name, _Address) for name in ("kept", "column", "soft", "weight", "weights")],
        *[(name, _Address) for name in ("softmax", "log_softmax", "grad")],
        *[(name, _Address) for name in ("numbers", "sums", "open", "scratch")],
        *[(name, _Pair) for name in ("keep", "each", "inverse", "cap", "cap_inverse")],
        *[(name, _Pair) for name in ("rate", "z_rate", "z_loss")],
        *[(name, _Number) for name in ("error", "cap_size")],
        *[(name, _Flag) for name in ("single", "mass", "tempered", "capped", "weighted", "exact")],
        *[(f"{name}_digits", _Flag) for name in ("softmax", "log_softmax", "grad")],
        ("digits", _Flag),
    ]


def work_of(
    *,
    classes: int,
    mass: int,
    temperature: float = 1.0,
    softcap: float | None = None,
    z_loss: float = 0.0,
    smoothing: float = 0.0,
    divisors: tuple[Fraction, Fraction] = (Fraction(1), Fraction(1)),
    weights: Iterable[float] | None = None,
) -> PairWork | None:
    """What is asked of rows, but for where they are; None where the bounds do not hold.

    divisors: of the losses and of the z-losses. weights: the smallest and the largest are enough.
    """
    t, cap, lse_factor = Fraction(temperature), Fraction(softcap or 0), Fraction(z_loss)
    divisor, z_divisor = divisors
    factors: list[Fraction | float] = [t, cap, lse_factor, divisor, z_divisor, *(weights or ())]
    if classes >= MOST_CLASSES or not all(map(_is_moderate, factors)) or cap / t > LARGEST_CAP_SIZE:
        return None
    epsilon = Fraction(smoothing)
    cap_size = math.nextafter(float(cap / t), math.inf) if cap else 0.0
    exact = not cap and math.frexp(temperature)[0] == 0.5
    inexact = 0.0 if exact else TEMPERATURE_ERROR + CAP_ERROR * cap_size
    return PairWork(
        classes=classes,
        keep=_pair(1 - epsilon),
        each=_pair(BIAS * epsilon / classes),
        inverse=_pair(1 / t),
        cap=_pair(cap),
        cap_inverse=_pair(-2 / cap if cap else cap),
        rate=_pair(1 / (divisor * t)),
        z_rate=_pair(2 * lse_factor / (z_divisor * t)),
        z_loss=_pair(BIAS * lse_factor),
        error=ERROR + PARTS * inexact,
        cap_size=cap_size,
        mass=mass,
        tempered=t != 1,
        capped=cap != 0,
        exact=exact,
        weighted=bool(epsilon) or weights is not None,
    )


def _is_moderate(factor: Fraction | float) -> bool:
    return not factor or 1 / LARGEST_FACTOR <= factor <= LARGEST_FACTOR


def _pair(number: Fraction) -> _Pair:
    """h + l nearest to a number."""
    high = float(number)
    return _Pair(high, float(number - Fraction(high)))

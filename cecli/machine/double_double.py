"""c·tanh(z/c) as the sum of two doubles, right to about 2⁻⁹⁵, for softcaps of any size.

Numbers are pairs of arrays, of which the second is what the first leaves out. Sources: Dekker,
"A floating-point technique for extending the available precision", Numer. Math. 1971; Joldes,
Muller & Popescu, "Tight and rigorous error bounds for basic building blocks of double-word
arithmetic", ACM TOMS 2017.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from cecli.machine.plan import SPLITTER
from cecli.problem.dtypes import Floats

Pair = tuple[Floats, Floats]

HALVINGS = 6  # of the argument of the exponential, so that a short series is enough
TERMS = 11
FARTHEST = 2000.0  # tanh(z/c) is 1 long before, and its derivative 0
_LN2 = Fraction(
    "0.693147180559945309417232121458176568075500134360255254120680009493393621969694715605863327"
)


def capped_widely(logits: Floats, softcap: float) -> tuple[Floats, Floats, Floats, Floats]:
    """c·tanh(z/c) in two parts, and E = e^{−2|z|/c} as a mantissa and its exponent of two.

    For c from ½ to 1; −∞ stays what it is. tanh(z/c) = (1 − E)/(1 + E).
    """
    size = np.minimum(np.abs(logits), FARTHEST * softcap)
    x = _times(_divided(_exact(-2.0 * size), softcap), 1.0)
    k, rho = _reduce(x)
    # e^ρ − 1, which keeps its digits where x is small
    less_one = _expm1(rho)
    shifted = np.maximum(k, -200.0).astype(np.int64)
    power = np.ldexp(1.0, shifted)
    # E − 1 = 2^k (e^ρ − 1) + (2^k − 1)
    numerator = _plus(_scaled(less_one, power), _sum(power, np.full_like(power, -1.0)))
    denominator = _plus(numerator, _exact(np.full_like(power, 2.0)))
    tanh = _over(_scaled(numerator, -np.sign(logits)), denominator)
    high, low = _times(tanh, softcap)
    mantissa = 1.0 + (less_one[0] + less_one[1])
    return np.where(logits == -np.inf, -np.inf, high), low, mantissa, k


def _reduce(x: Pair) -> tuple[Floats, Pair]:
    """k = rint(x log₂e) and ρ = x − k ln 2."""
    k = np.rint(x[0] / math.log(2.0))
    first = math.ldexp(math.floor(math.ldexp(float(_LN2), 32)), -32)  # k·first is exact
    second = float(_LN2 - Fraction(first))
    third = float(_LN2 - Fraction(first) - Fraction(second))
    rho = _plus(x, _exact(-k * first))
    rho = _plus(rho, _negative(_product(k, np.full_like(k, second))))
    return k, _plus(rho, _exact(-k * third))


def _expm1(x: Pair) -> Pair:
    """Σ x^i/i! of x/2^HALVINGS, doubled so many times: (1 + s)² − 1 = 2s + s²."""
    x = _scaled(x, np.full_like(x[0], 2.0**-HALVINGS))
    total = _constant(Fraction(1, math.factorial(TERMS)), x)
    for i in range(TERMS - 1, 0, -1):
        total = _plus(_by(total, x), _constant(Fraction(1, math.factorial(i)), x))
    total = _by(total, x)
    for _ in range(HALVINGS):
        total = _plus(_scaled(total, np.full_like(total[0], 2.0)), _by(total, total))
    return total


def _constant(number: Fraction, like: Pair) -> Pair:
    high = float(number)
    low = float(number - Fraction(high))
    return np.full_like(like[0], high), np.full_like(like[0], low)


def _exact(number: Floats) -> Pair:
    return number, np.zeros_like(number)


def _negative(x: Pair) -> Pair:
    return -x[0], -x[1]


def _scaled(x: Pair, power: Floats) -> Pair:
    """x times a power of two, 0, 1 or −1."""
    return x[0] * power, x[1] * power


def _sum(a: Floats, b: Floats) -> Pair:
    total = a + b
    virtual = total - a
    return total, (a - (total - virtual)) + (b - virtual)


def _product(a: Floats, b: Floats) -> Pair:
    product = a * b
    a_head = a * SPLITTER - (a * SPLITTER - a)
    b_head = b * SPLITTER - (b * SPLITTER - b)
    a_tail, b_tail = a - a_head, b - b_head
    error = ((a_head * b_head - product) + a_head * b_tail + a_tail * b_head) + a_tail * b_tail
    return product, error


def _plus(a: Pair, b: Pair) -> Pair:
    high, error = _sum(a[0], b[0])
    low, lower = _sum(a[1], b[1])
    high, error = _sum(high, error + low)
    return _sum(high, error + lower)


def _by(a: Pair, b: Pair) -> Pair:
    high, error = _product(a[0], b[0])
    return _sum(high, error + (a[0] * b[1] + a[1] * b[0]))


def _times(a: Pair, b: float) -> Pair:
    return _by(a, _exact(np.full_like(a[0], b)))


def _over(a: Pair, b: Pair) -> Pair:
    quotient = a[0] / b[0]
    remainder = _plus(a, _negative(_by(b, _exact(quotient))))
    return _sum(quotient, (remainder[0] + remainder[1]) / b[0])


def _divided(a: Pair, b: float) -> Pair:
    return _over(a, _exact(np.full_like(a[0], b)))

"""exp, log1p, tanh and sums as fixed sequences of IEEE double operations: the same bits everywhere.

Only +, −, ×, ÷, comparison, selection and shifts of the exponent, one after another as written: no
operation is fused, no sum is reordered. `kernel.c` is the same sequence compiled; each name here
has its namesake there, and the two agree bit for bit.

An exponential is kept 2^BIAS times as large as it is, so that what is next to the subnormal
numbers has all its digits until a result is rounded, once, by the last multiplication.

Sources: Knuth, The Art of Computer Programming 2, 4.2.2 (TwoSum); Dekker, "A floating-point
technique for extending the available precision", Numer. Math. 1971 (exact products); Cody & Waite,
Software Manual for the Elementary Functions, 1980 (k ln 2 in two pieces); Tang, "Table-driven
implementation of the logarithm function", ACM TOMS 1990, and FreeBSD's s_log1p.c (log1p). The
polynomials are Chebyshev's best ones, by mpmath's chebyfit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from cecli.machine.plan import SPLITTER, Factor
from cecli.problem.dtypes import Floats, Integers

BIAS = 500
SCALE, UNSCALE = 2.0**BIAS, 2.0**-BIAS
# Below this e^x is 0: even a million of them, 2^64 times as large, would be.
SMALLEST_EXPONENT = -830.0
LARGEST_EXPONENT = 710.0  # beyond, e^x is infinite
# Adding this rounds to an integer, which with the exponent's bias is then in the lowest bits.
ROUND_TO_INTEGER = 1.5 * 2.0**52 + (1023 + BIAS)
LOG2_E = float.fromhex("0x1.71547652b82fep+0")
LN2_HIGH = float.fromhex("0x1.62e42feep-1")  # ends in 21 zero bits: k·LN2_HIGH is exact
LN2_LOW = float.fromhex("0x1.a39ef35793c76p-33")
SQRT_HALF = math.sqrt(0.5)
SQRT_HALF_BITS = 0x3FE6A09E667F3BCD
ONE_BITS = 0x3FF0000000000000
MANTISSA = 0x000FFFFFFFFFFFFF
INTEGER_BITS = 0x4330000000000000  # of 2⁵², whose last bit is 1
LARGEST_PLAIN = 2.0**960  # differences of such numbers do not overflow
FEW = 64  # so few numbers are folded in halves one by one
AT_ONCE = 2**16  # numbers: few enough to stay in cache with all that is made of them


def _hexadecimal(*numbers: str) -> tuple[float, ...]:
    return tuple(map(float.fromhex, numbers))


# (e^ρ − 1 − ρ)/ρ² on |ρ| ≤ ½ ln 2, to 2⁻⁵⁶ in e^ρ
EXP = _hexadecimal(
    "0x1.0000000000001p-1",
    "0x1.5555555555556p-3",
    "0x1.5555555553d4fp-5",
    "0x1.11111111109adp-7",
    "0x1.6c16c17893833p-10",
    "0x1.a01a01a7c8d47p-13",
    "0x1.a019b8ef67c6cp-16",
    "0x1.71de0d9c145d0p-19",
    "0x1.2891a8c1d838dp-22",
    "0x1.af38d53857513p-26",
)
# (e^ρ − 1 − ρ − ρ²/2)/ρ³, to 2⁻⁶¹ in e^ρ
EXP_CUBIC = _hexadecimal(
    "0x1.5555555555556p-3",
    "0x1.5555555555555p-5",
    "0x1.11111111109adp-7",
    "0x1.6c16c16c167dep-10",
    "0x1.a01a01a7c8d47p-13",
    "0x1.a01a01a47db6fp-16",
    "0x1.71de0d9c145d0p-19",
    "0x1.27e4e1ea0f53ap-22",
    "0x1.af38d53857513p-26",
    "0x1.1f66f85dfa20ap-29",
)
# (log((1 + q)/(1 − q))/q − 2)/q² as a function of q² on q ≤ 3 − 2√2, to 2⁻⁶³ in the logarithm
LOG = _hexadecimal(
    "0x1.5555555555555p-1",
    "0x1.9999999999a38p-2",
    "0x1.2492492476bf2p-2",
    "0x1.c71c7201712d2p-3",
    "0x1.745cf8fa80a6ep-3",
    "0x1.3b1c377d3240fp-3",
    "0x1.0fbe5ca9fd6f9p-3",
    "0x1.0c05f222f1ac5p-3",
)


def chunks(*arrays: Floats) -> Iterator[tuple[Floats, ...]]:
    """Contiguous arrays of one layout, a piece of each at a time."""
    flat = [array.ravel(order="K") for array in arrays]
    for start in range(0, flat[0].size, AT_ONCE):
        yield tuple(array[start : start + AT_ONCE] for array in flat)


def difference(left: Floats, right: Floats) -> tuple[Floats, Floats]:
    """left − right as a double, and exactly what its rounding left out (TwoSum)."""
    rounded = left - right
    virtual = rounded - left
    remainder = rounded - virtual
    np.subtract(left, remainder, out=remainder)
    virtual += right
    remainder -= virtual
    return rounded, remainder


def product(high: Floats, low: Floats | float, factor: Factor) -> tuple[Floats, Floats]:
    """(high + low)·factor as the rounded product high·factor and what that left out (Dekker)."""
    rounded = high * factor.value
    head = high * SPLITTER
    head -= head - high
    tail = high - head
    error = head * factor.head
    error -= rounded
    error += head * factor.tail
    error += tail * factor.head
    error += tail * factor.tail
    error += high * factor.low
    error += low * factor.value
    return rounded, error


def exp_scaled(x: Floats, remainder: Floats | None, out: Floats) -> Floats:
    """2^BIAS·e^{x + remainder} in out, for x ≤ 0; 0 below SMALLEST_EXPONENT.

    With k = rint(x log₂e) and ρ = x + remainder − k ln 2 = high − low, which are as good as exact:
    e^x = 2^k (1 + (high + (ρ² q(ρ) − low)))
    """
    arrays = (x, out) if remainder is None else (x, out, remainder)
    for x_, out_, *rest in chunks(*arrays):
        rho, high, low, power = _reduce(x_, rest[0] if rest else None)
        square = rho * rho
        series = _ten(EXP, rho, square)
        series *= square
        series -= low
        series += high
        series += 1.0
        tiny = x_ < SMALLEST_EXPONENT
        np.multiply(series, power, out=out_)
        if tiny.any():
            out_[tiny] = 0.0
    return out


def exponential(x: float) -> float:
    """e^x of one number, 0 or more."""
    if not x < LARGEST_EXPONENT:
        return x + math.inf
    series, k = exp_parts(np.array([x]), np.zeros(1))
    return float(np.ldexp(series, k)[0])


def exp_parts(x: Floats, remainder: Floats) -> tuple[Floats, Integers]:
    """e^{x + remainder} as a number near 1 and an exponent of two, for |x| up to 2²⁰."""
    out = np.empty_like(x)
    k = np.rint(x * LOG2_E)
    # ρ has a k of its own, 0; what of k ln 2 is not exact goes with the remainder
    high = x - k * LN2_HIGH
    low = k * LN2_LOW - remainder
    rho = high - low
    exp_scaled(rho, (high - rho) - low, out)
    return out * UNSCALE, k.astype(np.int64)


def _reduce(x: Floats, remainder: Floats | None) -> tuple[Floats, Floats, Floats, Floats]:
    """ρ = x + remainder − k ln 2, k = rint(x log₂e), rounded and as high − low; 2^(k + BIAS)."""
    bits = x * LOG2_E
    bits += ROUND_TO_INTEGER
    k = bits - ROUND_TO_INTEGER
    high = k * LN2_HIGH
    np.subtract(x, high, out=high)
    k *= LN2_LOW
    if remainder is not None:
        k -= remainder
    rho = high - k
    exponent = bits.view(np.uint64)
    exponent <<= np.uint64(52)
    return rho, high, k, bits


def _pair(c: tuple[float, ...], x: Floats) -> Floats:
    """c₀ + c₁x. Polynomials are summed by pairs (Estrin): few operations wait for another."""
    pair = x * c[1]
    pair += c[0]
    return pair


def _four(c: tuple[float, ...], x: Floats, square: Floats) -> Floats:
    """(c₀ + c₁x) + (c₂ + c₃x) x²"""
    upper = _pair(c[2:], x)
    upper *= square
    upper += _pair(c, x)
    return upper


def _ten(c: tuple[float, ...], x: Floats, square: Floats) -> Floats:
    """((c₈ + c₉x) x⁴ + (c₄ + …)) x⁴ + (c₀ + …)"""
    fourth = square * square
    total = _pair(c[8:], x)
    total *= fourth
    total += _four(c[4:], x, square)
    total *= fourth
    total += _four(c, x, square)
    return total


def log1p_scaled(rest: Floats, rest_low: Floats) -> tuple[Floats, Floats, Floats]:
    """2^BIAS·log1p(R) for R = 2^−BIAS (rest + rest_low); 1 + R, and which part was rounded off.

    1 + R = 2^k (1 + f) with √½ ≤ 1 + f < √2, f being R itself where k = 0; q = f/(2 + f):
    log(1 + f) = f − (f²/2 − q (f²/2 + q² s(q²)))
    """
    r, r_low = rest * UNSCALE, rest_low * UNSCALE
    sum_ = r + 1.0
    virtual = sum_ - 1.0
    lost = ((1.0 - (sum_ - virtual)) + (r - virtual)) + r_low
    bits = sum_.view(np.uint64) + np.uint64(ONE_BITS - SQRT_HALF_BITS)
    k = ((bits >> np.uint64(52)) | np.uint64(INTEGER_BITS)).view(np.float64) - (2.0**52 + 1023.0)
    f = ((bits & np.uint64(MANTISSA)) + np.uint64(SQRT_HALF_BITS)).view(np.float64) - 1.0
    f = np.where(k == 0.0, r, f)
    reciprocal = 1.0 / ((f + 2.0) * sum_)
    inverse = (f + 2.0) * reciprocal
    correction = np.where(k == 0.0, r_low, lost) * inverse
    log_sum = _log_of_parts(f, f * (sum_ * reciprocal), k, correction)
    return np.where(rest < SCALE * 2.0**-60, rest, log_sum * SCALE), sum_, lost * inverse


def log(x: Floats) -> Floats:
    """log x for finite x ≥ 0, x = 2^k (1 + f) with √½ ≤ 1 + f < √2."""
    fraction, k = np.frexp(x)
    below = fraction < SQRT_HALF
    f = np.where(below, fraction + fraction, fraction) - 1.0
    found = _log_of_parts(f, f / (f + 2.0), k - below.astype(np.float64), np.zeros_like(f))
    return np.where(x == 0.0, -np.inf, found)


def _log_of_parts(f: Floats, q: Floats, k: Floats, correction: Floats) -> Floats:
    """k log 2 + log(1 + f) + correction, with q = f/(2 + f)."""
    half_square, square = (f * 0.5) * f, q * q
    second = square * square
    fourth = second * second
    series = _four(LOG[4:], square, second) * fourth + _four(LOG, square, second)
    total = (series * square + half_square) * q + (k * LN2_LOW + correction)
    return ((total - half_square) + f) + k * LN2_HIGH


def capped(
    logits: Floats, limit: float, cap: Factor, inverse: Factor
) -> tuple[Floats, Floats, Floats]:
    """c·tanh(z/c) in two parts, the first of which differ exactly; and 2^BIAS/cosh²(z/c).

    cap, inverse: 2c and −2/c; above limit the derivative is 0. −∞ stays what it is, with
    derivative 1. With
    E = e^{−2|z|/c} and y = E/(1 + E):

        c·tanh(z/c) = ±2c (½ − y)        1/cosh²(z/c) = 4E/(1 + E)² = 4E (1 − y)²

    y is a multiple of 2⁻²⁷ and a remainder, and the former times the upper half of 2c is exact.
    """
    highs, lows, slopes = (np.empty_like(logits) for _ in range(3))
    for z, *places in chunks(logits, highs, lows, slopes):
        size = np.abs(z)
        outside = size > limit
        np.copyto(size, limit, where=outside)
        high, low, power = _exp_in_two(*product(size, 0.0, inverse))
        scale = power * UNSCALE
        e_high, e_low = high * scale, low * scale
        e = e_high + e_low
        reciprocal = 1.0 / (e + 1.0)
        y = (e * reciprocal + 1.5 * 2.0**25) - 1.5 * 2.0**25
        e_head = (e + 1.5 * 2.0**26) - 1.5 * 2.0**26
        e_tail = (e_high - e_head) + e_low
        y_low = ((e_head - y * (e_head + 1.0)) + e_tail * (1.0 - y)) * reciprocal
        sign = np.where(z < 0.0, -1.0, 1.0)
        half = (0.5 - y) * sign
        masked = z == -np.inf
        places[0][...] = np.where(masked, -np.inf, half * cap.head)
        places[1][...] = half * cap.tail - (y_low * sign) * cap.value
        # 1 − y and E, and what each leaves out
        rest = (1.0 - y) - y_low
        rest_low = ((1.0 - y) - rest) - y_low
        decay = high + low
        decay_low = (high - decay) + low
        slope = decay * rest + (decay_low * rest + (decay * 2.0) * rest_low)
        slope = ((slope * power) * rest) * 4.0
        places[2][...] = np.where(masked, SCALE, np.where(outside, 0.0, slope))
    return highs, lows, slopes


def _exp_in_two(x: Floats, remainder: Floats) -> tuple[Floats, Floats, Floats]:
    """e^ρ in two parts, together right to 2⁻⁶⁰, and 2^(k + BIAS).

    With ρ = ρ₁ + ρ₂, ρ₁ of so few digits that 1 + ρ₁ + ½ρ₁² is exact:
    e^ρ = (1 + ρ₁ + ½ρ₁²) + (ρ₂ + (½ρ₂(ρ + ρ₁) + (ρ³ q₃(ρ) + ρ_low (1 + ρ))))
    """
    rho, high, low, power = _reduce(x, remainder)
    rho_low = (high - rho) - low
    square = rho * rho
    series = _ten(EXP_CUBIC, rho, square) * (square * rho) + rho_low * (rho + 1.0)
    head = (rho + 1.5 * 2.0**27) - 1.5 * 2.0**27
    tail = rho - head
    series = series + (tail * 0.5) * (rho + head)
    return (head + 1.0) + (head * 0.5) * head, series + tail, power


def fold(terms: Floats) -> tuple[Floats, Floats]:
    """(N,) the sums of rows (N, C), and what rounding left out of them.

    A row is folded in halves, s_j ← s_j + s_{j + w}, until one number is left, beside it what each
    addition leaves out. Many are filled up with zeros to 8w columns, w a multiple of 8, and folded
    three times, over and over; FEW or fewer as they are.
    """
    sums, lows = terms, None
    while sums.shape[1] > FEW:
        eighth = 8 * -(-sums.shape[1] // 64)
        for width in (4 * eighth, 2 * eighth, eighth):
            sums, lows = _halve(sums, lows, width)
    while sums.shape[1] > 1:
        sums, lows = _halve(sums, lows, -(-sums.shape[1] // 2))
    if lows is None:
        lows = np.zeros_like(sums)
    return sums[:, 0].copy(), lows[:, 0].copy()


def _halve(sums: Floats, lows: Floats | None, width: int) -> tuple[Floats, Floats]:
    """Columns from width on added to those before: sums and what they leave out (TwoSum)."""
    pairs = sums.shape[1] - width
    left, right = sums[:, :pairs], sums[:, width:]
    folded = np.empty_like(sums[:, :width])
    left_out = np.empty_like(folded)
    total, error = folded[:, :pairs], left_out[:, :pairs]
    np.add(left, right, out=total)
    virtual = total - left
    np.subtract(total, virtual, out=error)
    np.subtract(left, error, out=error)
    np.subtract(right, virtual, out=virtual)
    error += virtual
    if lows is not None:
        error += np.add(lows[:, :pairs], lows[:, width:], out=virtual)
    if pairs < width:
        folded[:, pairs:] = sums[:, pairs:width]
        left_out[:, pairs:] = 0.0 if lows is None else lows[:, pairs:width]
    return folded, left_out

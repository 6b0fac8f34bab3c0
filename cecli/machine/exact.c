/* Rows of logits to correctly rounded results, in pairs of doubles: softmax, log-softmax, loss and
 * gradient, each with a bound on its error, rounded where every number within the bound rounds to
 * the same one. What stays open is NaN here, and the decimal arithmetic's affair: the bits do not
 * depend on this file. The formulas, the bounds and their sources stand in `exact/plan.py`, which
 * declares the same fields.
 *
 * Plain C11 without a library, compiled with -ffp-contract=off and without -ffast-math: a + b must
 * be rounded where it is written. The loops are made for the compiler to turn into vectors.
 */

#include "kernel.h"

enum { NO_MASS, ONE_HOT, SMOOTHED, SOFT }; /* the target's mass y */
enum { OPEN = -1 };                        /* a row whose results all stay open */
enum { COUNTS, IGNORED, EQUAL };           /* a row: equal are its logits, and results rational */
enum { LOSS, LOG_SUM_EXP, PROBABILITY, TOP_PROBABILITY, TARGET_PROBABILITY, NUMBERS };
enum { ENTROPY, Z_LOSS = 3, PLAIN = 6, SUMS = 9 }; /* PLAIN: without weights and smoothing */

typedef struct {
    int64_t rows, classes;
    const void *logits;    /* (rows, classes), so many elements from row to row */
    int64_t logits_stride;
    const uint8_t *kept;   /* (rows,) or none: whether a row counts */
    const int64_t *column; /* (rows,) the target's class, or none */
    const double *soft;    /* (rows, classes) soft targets, or none */
    const double *weight;  /* (classes,) or none */
    const double *weights; /* (rows,) of what all that a row adds is multiplied by, or none */
    void *softmax, *log_softmax, *grad; /* (rows, classes) or none */
    double *numbers; /* (rows, NUMBERS) */
    double *sums;    /* (rows, SUMS) pairs with their bounds, 2^BIAS times, not yet divided */
    int64_t *open;   /* (rows,) how many results stayed open, or OPEN */
    double *scratch; /* as many as cecli_exact_scratch says */
    Pair keep, each;       /* 1 − ε, 2^BIAS·ε/C */
    Pair inverse;          /* 1/T */
    Pair cap, cap_inverse; /* softcap, −2/softcap */
    Pair rate, z_rate;     /* 1/(divisor·T), 2 z_loss/(divisor of the z-losses·T) */
    Pair z_loss;           /* 2^BIAS·z_loss */
    double error;          /* of a result, in relation to the sizes of what is added up for it */
    double cap_size;       /* softcap/T, 0 without: a size that log-sum-exp has beside its own */
    int32_t single, mass, tempered, capped;
    int32_t weighted; /* smoothed or with weights of any kind */
    int32_t exact;    /* v − m are exact pairs: no softcap, and T a power of two */
    int32_t softmax_digits, log_softmax_digits, grad_digits; /* 53: doubles; 24, 11: floats */
    int32_t digits;                                          /* of the probability among numbers */
} Work;

/* ---- numbers ---- */

#define BIAS 500
#define SCALE 0x1p+500
#define UNSCALE 0x1p-500
#define HALF_SCALE 0x1p+250
#define HALF_UNSCALE 0x1p-250
#define LOWEST (-830.0)     /* e^x is 0 below, which is off by 2^−1197 at the most */
#define ABSOLUTE 0x1p-660   /* 2^BIAS·2^−1160: more than all that leaves out, with what underflows */
#define LEAST_MASS 0x1p+300 /* 2^BIAS·2^−200: less may be subnormal where the bias is taken off */
#define INFINITE (__builtin_inf())
#define NOT_A_NUMBER (__builtin_nan(""))
#define ROUND_TO_INTEGER 0x1.8p+52
#define STEPS_PER_ONE 0x1.71547652b82fep+6 /* 64/ln 2 */
#define STEP_HIGH 0x1.62e42fefap-7         /* ln 2/64, 36 bits, 36 bits, and the rest */
#define STEP_MIDDLE 0x1.cf79abc9ep-46
#define STEP_LOW 0x1.d9cc01f97b57ap-85

/* 2^(j/64) */
static const double POWER_HIGH[64] = {
    0x1.0000000000000p+0, 0x1.02c9a3e778061p+0, 0x1.059b0d3158574p+0, 0x1.0874518759bc8p+0,
    0x1.0b5586cf9890fp+0, 0x1.0e3ec32d3d1a2p+0, 0x1.11301d0125b51p+0, 0x1.1429aaea92de0p+0,
    0x1.172b83c7d517bp+0, 0x1.1a35beb6fcb75p+0, 0x1.1d4873168b9aap+0, 0x1.2063b88628cd6p+0,
    0x1.2387a6e756238p+0, 0x1.26b4565e27cddp+0, 0x1.29e9df51fdee1p+0, 0x1.2d285a6e4030bp+0,
    0x1.306fe0a31b715p+0, 0x1.33c08b26416ffp+0, 0x1.371a7373aa9cbp+0, 0x1.3a7db34e59ff7p+0,
    0x1.3dea64c123422p+0, 0x1.4160a21f72e2ap+0, 0x1.44e086061892dp+0, 0x1.486a2b5c13cd0p+0,
    0x1.4bfdad5362a27p+0, 0x1.4f9b2769d2ca7p+0, 0x1.5342b569d4f82p+0, 0x1.56f4736b527dap+0,
    0x1.5ab07dd485429p+0, 0x1.5e76f15ad2148p+0, 0x1.6247eb03a5585p+0, 0x1.6623882552225p+0,
    0x1.6a09e667f3bcdp+0, 0x1.6dfb23c651a2fp+0, 0x1.71f75e8ec5f74p+0, 0x1.75feb564267c9p+0,
    0x1.7a11473eb0187p+0, 0x1.7e2f336cf4e62p+0, 0x1.82589994cce13p+0, 0x1.868d99b4492edp+0,
    0x1.8ace5422aa0dbp+0, 0x1.8f1ae99157736p+0, 0x1.93737b0cdc5e5p+0, 0x1.97d829fde4e50p+0,
    0x1.9c49182a3f090p+0, 0x1.a0c667b5de565p+0, 0x1.a5503b23e255dp+0, 0x1.a9e6b5579fdbfp+0,
    0x1.ae89f995ad3adp+0, 0x1.b33a2b84f15fbp+0, 0x1.b7f76f2fb5e47p+0, 0x1.bcc1e904bc1d2p+0,
    0x1.c199bdd85529cp+0, 0x1.c67f12e57d14bp+0, 0x1.cb720dcef9069p+0, 0x1.d072d4a07897cp+0,
    0x1.d5818dcfba487p+0, 0x1.da9e603db3285p+0, 0x1.dfc97337b9b5fp+0, 0x1.e502ee78b3ff6p+0,
    0x1.ea4afa2a490dap+0, 0x1.efa1bee615a27p+0, 0x1.f50765b6e4540p+0, 0x1.fa7c1819e90d8p+0,
};
static const double POWER_LOW[64] = {
    0x0.0p+0, -0x1.19083535b085dp-56, 0x1.d73e2a475b465p-55, 0x1.186be4bb284ffp-57,
    0x1.8a62e4adc610bp-54, 0x1.03a1727c57b53p-59, -0x1.6c51039449b3ap-54, -0x1.32fbf9af1369ep-54,
    -0x1.19041b9d78a76p-55, 0x1.e5b4c7b4968e4p-55, 0x1.e016e00a2643cp-54, 0x1.dc775814a8495p-55,
    0x1.9b07eb6c70573p-54, 0x1.2bd339940e9d9p-55, 0x1.612e8afad1255p-55, 0x1.0024754db41d5p-54,
    0x1.6f46ad23182e4p-55, 0x1.32721843659a6p-54, -0x1.63aeabf42eae2p-54, -0x1.5e436d661f5e3p-56,
    0x1.ada0911f09ebcp-55, -0x1.ef3691c309278p-58, 0x1.89b7a04ef80d0p-59, 0x1.3c1a3b69062f0p-56,
    0x1.d4397afec42e2p-56, -0x1.4b309d25957e3p-54, -0x1.07abe1db13cadp-55, 0x1.9bb2c011d93adp-54,
    0x1.6324c054647adp-54, 0x1.ba6f93080e65ep-54, -0x1.383c17e40b497p-54, -0x1.bb60987591c34p-54,
    -0x1.bdd3413b26456p-54, -0x1.bbe3a683c88abp-57, -0x1.16e4786887a99p-55, -0x1.0245957316dd3p-54,
    -0x1.41577ee04992fp-55, 0x1.05d02ba15797ep-56, -0x1.d4c1dd41532d8p-54, -0x1.fc6f89bd4f6bap-54,
    0x1.6e9f156864b27p-54, 0x1.5cc13a2e3976cp-55, -0x1.75fc781b57ebcp-57, -0x1.d185b7c1b85d1p-54,
    0x1.c7c46b071f2bep-56, -0x1.359495d1cd533p-54, -0x1.d2f6edb8d41e1p-54, 0x1.0fac90ef7fd31p-54,
    0x1.7a1cd345dcc81p-54, -0x1.2805e3084d708p-57, -0x1.5584f7e54ac3bp-56, 0x1.23dd07a2d9e84p-55,
    0x1.11065895048ddp-55, 0x1.2884dff483cadp-54, 0x1.503cbd1e949dbp-56, -0x1.cbc3743797a9cp-54,
    0x1.2ed02d75b3707p-55, 0x1.c2300696db532p-54, -0x1.1a5cd4f184b5cp-54, 0x1.39e8980a9cc8fp-55,
    -0x1.e9c23179c2893p-54, 0x1.dc7f486a4b6b0p-54, 0x1.9d3e12dd8a18bp-54, 0x1.74853f3a5931ep-55,
};

/* x with the sign of another */
inlined double signed_as(double x, double other) {
    return from_bits(bits_of(x) | (bits_of(other) & 0x8000000000000000u));
}

inlined Pair pair(double high, double low) {
    Pair result = {high, low};
    return result;
}

inlined Pair scaled(Pair a, double power_of_two) {
    return pair(a.high * power_of_two, a.low * power_of_two);
}

/* a + b exactly, for |a| ≥ |b| or a = 0 (Dekker) */
inlined Pair quick_sum(double a, double b) {
    double sum = a + b;
    return pair(sum, b - (sum - a));
}

/* a + b exactly (Knuth) */
inlined Pair exact_sum(double a, double b) {
    double sum = a + b, virtual_ = sum - a;
    return pair(sum, (a - (sum - virtual_)) + (b - virtual_));
}

/* a·b exactly: fused, or cut in halves (Dekker, Veltkamp) */
inlined Pair exact_product(double a, double b) {
    double product = a * b;
#if defined(__FP_FAST_FMA) || defined(__FMA__) || defined(__aarch64__)
    return pair(product, __builtin_fma(a, b, -product));
#else
    double a_scaled = a * 0x1.0000002p+27, b_scaled = b * 0x1.0000002p+27;
    double a_head = a_scaled - (a_scaled - a), a_tail = a - a_head;
    double b_head = b_scaled - (b_scaled - b), b_tail = b - b_head;
    double low = ((a_head * b_head - product) + a_head * b_tail) + a_tail * b_head;
    return pair(product, low + a_tail * b_tail);
#endif
}

/* a + b, off by 5u²(|a| + |b|) at the most, by 3u² of it where the signs agree */
inlined Pair plus(Pair a, Pair b) {
    Pair sum = exact_sum(a.high, b.high);
    return quick_sum(sum.high, sum.low + (a.low + b.low));
}

/* the same where |a| ≥ |b| or a = 0 */
inlined Pair quick_plus(Pair a, Pair b) {
    Pair sum = quick_sum(a.high, b.high);
    return quick_sum(sum.high, sum.low + (a.low + b.low));
}

inlined Pair minus(Pair a, Pair b) { return plus(a, pair(-b.high, -b.low)); }

/* a·b, off by 7u²|ab| at the most */
inlined Pair times(Pair a, Pair b) {
    Pair product = exact_product(a.high, b.high);
    return quick_sum(product.high, product.low + (a.high * b.low + a.low * b.high));
}

/* 1/a, off by 10u²/|a| at the most */
inlined Pair reciprocal(Pair a) {
    double guess = 1.0 / a.high;
    Pair product = exact_product(guess, a.high);
    double left = ((1.0 - product.high) - product.low) - guess * a.low;
    return quick_sum(guess, left * guess);
}

/* An exponent cut into n steps of ln 2/64 and a remainder r. */
typedef struct {
    Pair r;
    uint64_t steps; /* n in the lowest bits; all ones where e^x is 0 */
} Reduced;

inlined Reduced reduce(double high, double low) {
    int inside = high >= LOWEST; /* not where it is NaN, having overflowed */
    high = inside ? high : 0.0, low = inside ? low : 0.0;
    double rounded = high * STEPS_PER_ONE + ROUND_TO_INTEGER, n = rounded - ROUND_TO_INTEGER;
    Pair first = exact_sum(high - n * STEP_HIGH, -(n * STEP_MIDDLE));
    Pair second = exact_sum(first.low, low);
    Pair r = exact_sum(first.high, second.high);
    r = quick_sum(r.high, r.low + (second.low - n * STEP_LOW));
    Reduced reduced = {r, inside ? bits_of(rounded) : ~(uint64_t)0};
    return reduced;
}

/* 2^(j/64)·e^r from e^r − 1 = r + r² (1/2! + r (1/3! + r (1/4! + r (1/5! + …)))) */
inlined Pair expand(Pair r, Pair power) {
    double x = r.high, x2 = x * x;
    double tail = (0x1.6c16c16c16c17p-10 + x * 0x1.a01a01a01a01ap-13)
                  + x2 * ((0x1.a01a01a01a01ap-16 + x * 0x1.71de3a556c734p-19)
                          + x2 * (0x1.27e4fb7789f5cp-22 + x * 0x1.ae64567f544e4p-26));
    Pair series = quick_sum(0x1.1111111111111p-7, x * tail + 0x1.1111111111111p-63);
    series = quick_plus(pair(0x1.5555555555555p-5, 0x1.5555555555555p-59), times(r, series));
    series = quick_plus(pair(0x1.5555555555555p-3, 0x1.5555555555555p-57), times(r, series));
    series = quick_plus(pair(0.5, 0.0), times(r, series));
    series = quick_plus(r, times(times(r, r), series));
    return quick_plus(power, times(power, series));
}

#define CHUNK 128 /* numbers between one loop and the next */

/* 2^BIAS·e^x for x ≤ 0, in place of it */
static void exponentials(double *restrict high, double *restrict low, int64_t n) {
    double power[CHUNK], power_low[CHUNK], scale[CHUNK];
    uint64_t steps[CHUNK];
    for (int64_t start = 0; start < n; start += CHUNK, high += CHUNK, low += CHUNK) {
        int64_t count = n - start < CHUNK ? n - start : CHUNK;
        for (int64_t i = 0; i < count; i++) {
            Reduced reduced = reduce(high[i], low[i]);
            high[i] = reduced.r.high, low[i] = reduced.r.low, steps[i] = reduced.steps;
        }
        /* a loop of its own: what looks up a table is seldom made into vectors */
        for (int64_t i = 0; i < count; i++) {
            uint64_t j = steps[i] & 63;
            power[i] = POWER_HIGH[j], power_low[i] = POWER_LOW[j];
        }
        for (int64_t i = 0; i < count; i++) {
            uint64_t k = (steps[i] & ~(uint64_t)63) << 46, zero = steps[i] == ~(uint64_t)0;
            scale[i] = zero ? 0.0 : from_bits(k + ((uint64_t)(1023 + BIAS) << 52));
            Pair e = expand(pair(high[i], low[i]), pair(power[i], power_low[i]));
            high[i] = e.high * scale[i], low[i] = e.low * scale[i];
        }
    }
}

/* 2^BIAS·e^x of one number */
static Pair exponential(double x) {
    double low = 0.0;
    exponentials(&x, &low, 1);
    return pair(x, low);
}

/* A double near log 2^−bias·x */
inlined double near_logarithm(double x, int bias) {
    uint64_t bits = bits_of(x) + (0x3ff0000000000000u - 0x3fe6a09e667f3bcdu);
    double k = (double)((int64_t)(bits >> 52) - 1023 - bias);
    double f = from_bits((bits & 0x000fffffffffffffu) + 0x3fe6a09e667f3bcdu);
    double q = (f - 1.0) / (f + 1.0), q2 = q * q, series = 0.0;
    for (int i = 19; i > 0; i -= 2) series = series * q2 + 2.0 / i;
    return k * 0x1.62e42fefa39efp-1 + q * series;
}

/* log(1 + t) from a pair 1 + t, |t| < 2^−40 */
inlined Pair log_near_one(Pair one) {
    Pair t = quick_sum(one.high - 1.0, one.low);
    double square = t.high * t.high;
    return quick_sum(t.high, t.low - square * (0.5 - t.high * 0x1.5555555555555p-2));
}

/* log S for S ≥ 9/8, by one step of Newton's method: near + log(1 + t), 1 + t = S e^{−near} */
inlined Pair logarithm(Pair s) {
    double near = near_logarithm(s.high, 0);
    Pair one = times(s, scaled(exponential(-near), UNSCALE));
    return quick_plus(pair(near, 0.0), log_near_one(one));
}

static const double ODD_HIGH[6] = {
    0x1.5555555555555p-2, 0x1.999999999999ap-3, 0x1.2492492492492p-3,
    0x1.c71c71c71c71cp-4, 0x1.745d1745d1746p-4, 0x1.3b13b13b13b14p-4,
};
static const double ODD_LOW[6] = {
    0x1.5555555555555p-56, -0x1.999999999999ap-57, 0x1.2492492492492p-57,
    0x1.c71c71c71c71cp-58, -0x1.745d1745d1746p-59, -0x1.3b13b13b13b14p-58,
};

/* 2^BIAS·log(1 + R), R = 2^−BIAS·rest */
inlined Pair log1p_scaled(Pair rest) {
    Pair r = scaled(rest, UNSCALE);
    if (r.high >= 0.125) return scaled(logarithm(plus(pair(1.0, 0.0), r)), SCALE);
    /* 2 artanh q = 2q (1 + q²/3 + q⁴/5 + …), q = R/(2 + R) */
    Pair inverse = reciprocal(quick_plus(pair(2.0, 0.0), r));
    Pair q = times(r, inverse), q2 = times(q, q);
    double tail = 0.0;
    for (int i = 29; i > 13; i -= 2) tail = tail * q2.high + 1.0 / i;
    Pair series = pair(tail, 0.0);
    for (int i = 5; i >= 0; i--)
        series = quick_plus(pair(ODD_HIGH[i], ODD_LOW[i]), times(q2, series));
    series = quick_plus(pair(1.0, 0.0), times(q2, series));
    return scaled(times(times(rest, inverse), series), 2.0);
}

/* ---- rounding (Ziv) ---- */

typedef struct {
    double value;
    int open;
} Rounded;

/* v ± error to so many binary digits; with a bias of 2^BIAS to the format's subnormal numbers too */
inlined Rounded settle(Pair v, double error, int digits, int biased) {
    Pair sum = quick_sum(v.high, v.low);
    double high = sum.high, low = sum.low, size = magnitude(high), coarse = 0.0;
    if (digits == 53) {
        double least = biased ? 0x1p-522 : 0.0;
        coarse = size < least ? signed_as(least, high) : 0.0;
    } else {
        double unit = from_bits(bits_of(high) & 0x7ff0000000000000u);
        coarse = unit * (digits == 24 ? 0x1.8p+29 : 0x1.8p+42);
        double least = biased ? (digits == 24 ? 0x1.8p+403 : 0x1.8p+528) : 0.0;
        coarse = coarse > least ? coarse : least;
    }
    /* the sum with `coarse` rounds to the wanted digits, and rest is what that leaves out */
    double shifted = coarse + high, rest = high - (shifted - coarse);
    double margin = error * 1.0001 + (magnitude(rest) + magnitude(low)) * 0x1p-51;
    double lower = shifted + (rest + (low - margin)), upper = shifted + (rest + (low + margin));
    int open = !(upper - lower == 0.0); /* infinite ones stay open too */
    double value = (lower - coarse) * (biased ? UNSCALE : 1.0) + 0.0;
    Rounded result = {open ? NOT_A_NUMBER : value, open};
    return result;
}

/* a + b to a double of its two neighbours the odd one, so that rounding once more is right */
inlined double odd_sum(double a, double b) {
    Pair sum = exact_sum(a, b);
    uint64_t bits = bits_of(sum.high);
    int outwards = (sum.low > 0.0) == (sum.high > 0.0);
    if (sum.low == 0.0 || bits & 1) return sum.high;
    return from_bits(outwards ? bits + 1 : bits - 1);
}

/* d − log to so many digits, where d is exact, perhaps half way between two numbers, and the
 * logarithm so small beside it that it only tells on which side. */
static Rounded settle_far(Pair d, Pair log, double error, int digits) {
    Rounded rounded = {NOT_A_NUMBER, 1};
    if (!(magnitude(d.high) > 0x1p-800 && log.high < magnitude(d.high) * 0x1p-60)) return rounded;
    double unit = from_bits(bits_of(d.high) & 0x7ff0000000000000u), least = 0x1p-1000;
    double coarse = digits == 53 ? 0.0 : unit * (digits == 24 ? 0x1.8p+29 : 0x1.8p+42);
    double shifted = coarse + d.high, rest = d.high - (shifted - coarse);
    /* what is below 2^−1000 has no boundary to cross but that at d itself */
    log.low = log.high < least ? 0.0 : log.low, log.high = log.high < least ? least : log.high;
    Pair near = exact_sum(d.low, -log.high);
    double left = near.low - log.low, margin = log.high * error + magnitude(left) * 0x1p-51;
    double lower = shifted + odd_sum(rest, odd_sum(near.high, left - margin));
    double upper = shifted + odd_sum(rest, odd_sum(near.high, left + margin));
    if (!(upper - lower == 0.0)) return rounded;
    rounded.value = lower - coarse, rounded.open = 0;
    return rounded;
}

/* ---- sums ---- */

/* Σ of n pairs, in halves: off by 3u² ⌈log₂ n⌉ at the most, where all have one sign */
static Pair fold(const double *restrict high, const double *restrict low, int64_t n,
                 double *restrict sums, double *restrict lows) {
    if (n == 1) return pair(high[0], low[0]);
    int64_t width = (n + 1) / 2, both = n - width;
    for (int64_t j = 0; j < both; j++) {
        Pair sum = plus(pair(high[j], low[j]), pair(high[j + width], low[j + width]));
        sums[j] = sum.high, lows[j] = sum.low;
    }
    if (both < width) sums[both] = high[both], lows[both] = low[both];
    for (n = width; n > 1; n = width) {
        width = (n + 1) / 2, both = n - width;
        double *restrict above = sums + width, *restrict above_low = lows + width;
        for (int64_t j = 0; j < both; j++) {
            Pair sum = plus(pair(sums[j], lows[j]), pair(above[j], above_low[j]));
            sums[j] = sum.high, lows[j] = sum.low;
        }
    }
    return pair(sums[0], lows[0]);
}

/* ---- rows ---- */

/* Arrays of one row, (classes,) each. */
typedef struct {
    const double *logits;
    double *distance, *distance_low; /* v − m; −inf and 0 where masked */
    double *power, *power_low;       /* 2^BIAS·e^{v − m} */
    double *slope, *slope_low;       /* 2^250·T·dv/dz where capped */
    double *mass, *mass_low;         /* 2^BIAS·y, but for (1 − ε)·weight at an index */
} Arrays;

typedef struct {
    int64_t top;
    Pair maximum; /* v_top·T */
    int is;
} Top;

#define AT_ONCE 1024 /* numbers of small rows that are worked on together */
#define LANES 16

/* The first of the largest logits. */
static Top find_top(const double *restrict z, int64_t n) {
    double largest[LANES], maximum = -INFINITE;
    for (int j = 0; j < LANES; j++) largest[j] = -INFINITE;
    int64_t i = 0, equal = 0, masked = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++) largest[j] = z[i + j] > largest[j] ? z[i + j] : largest[j];
    for (; i < n; i++) maximum = z[i] > maximum ? z[i] : maximum;
    for (int j = 0; j < LANES; j++) maximum = largest[j] > maximum ? largest[j] : maximum;
    for (i = 0; i < n; i++) {
        equal += z[i] == maximum;
        masked += z[i] == -INFINITE;
    }
    Top top = {0, {maximum, 0.0}, equal + masked == n ? EQUAL : COUNTS};
    while (top.is == COUNTS && z[top.top] != maximum) top.top++;
    return top;
}

/* softcap·tanh(z/softcap), and 2^250 times its derivative */
static void cap_logits(const double *restrict z, int64_t n, Pair cap, Pair inverse,
                       double *restrict capped, double *restrict capped_low,
                       double *restrict slope, double *restrict slope_low) {
    for (int64_t i = 0; i < n; i++) {
        Pair x = times(pair(magnitude(z[i]), 0.0), inverse);
        slope[i] = x.high, slope_low[i] = x.low;
    }
    exponentials(slope, slope_low, n);
    for (int64_t i = 0; i < n; i++) {
        /* a = e^{−2|z|/c}: tanh = (1 − a)/(1 + a), 1 − tanh² = 4a/(1 + a)² */
        Pair decay = pair(slope[i], slope_low[i]), a = scaled(decay, UNSCALE);
        Pair share = reciprocal(quick_plus(pair(1.0, 0.0), a));
        Pair u = times(times(quick_plus(pair(1.0, 0.0), scaled(a, -1.0)), share), cap);
        double sign = signed_as(1.0, z[i]);
        capped[i] = u.high * sign, capped_low[i] = u.low * sign;
        Pair s = times(times(scaled(decay, 4.0 * HALF_UNSCALE), share), share);
        int masked = z[i] == -INFINITE;
        slope[i] = masked ? HALF_SCALE : s.high;
        slope_low[i] = masked ? 0.0 : s.low;
    }
}

/* v − m of every class */
static void find_distances(const Work *work, const Arrays *row, Top *top, int64_t n) {
    const double *restrict z = row->logits;
    double *restrict distance = row->distance, *restrict low = row->distance_low;
    double *restrict power = row->power, *restrict power_low = row->power_low;
    double maximum = top->maximum.high;
    if (work->capped) {
        cap_logits(z, n, work->cap, work->cap_inverse, distance, low, row->slope, row->slope_low);
        top->maximum = pair(distance[top->top], low[top->top]);
        Pair below = pair(-top->maximum.high, -top->maximum.low);
        for (int64_t i = 0; i < n; i++) {
            Pair d = plus(pair(distance[i], low[i]), below);
            distance[i] = d.high, low[i] = d.low;
        }
        distance[top->top] = low[top->top] = 0.0;
    } else {
        for (int64_t i = 0; i < n; i++) {
            Pair d = exact_sum(z[i], -maximum);
            distance[i] = d.high, low[i] = d.low;
        }
    }
    if (work->tempered) {
        Pair inverse = work->inverse;
        for (int64_t i = 0; i < n; i++) {
            Pair d = times(pair(distance[i], low[i]), inverse);
            distance[i] = d.high, low[i] = d.low;
        }
    }
    for (int64_t i = 0; i < n; i++) {
        int masked = z[i] == -INFINITE;
        power[i] = distance[i] = masked ? -INFINITE : distance[i];
        power_low[i] = low[i] = masked ? 0.0 : low[i];
    }
}

/* 2^BIAS·weight·((1 − ε) q + ε/C) of every class, q being 0 for none */
static void find_mass(const Work *work, const double *restrict soft, double *restrict mass,
                      double *restrict low) {
    const double *restrict weight = work->weight;
    Pair keep = work->keep, each = work->each;
    for (int64_t i = 0; i < work->classes; i++) {
        Pair y = each;
        if (soft) y = plus(times(pair(soft[i] * SCALE, 0.0), keep), each);
        mass[i] = y.high, low[i] = y.low;
    }
    for (int64_t i = 0; weight && i < work->classes; i++) {
        Pair y = times(pair(weight[i], 0.0), pair(mass[i], low[i]));
        mass[i] = y.high, low[i] = y.low;
    }
}

/* Everything about a row that its classes share. */
typedef struct {
    int64_t top, target;     /* target: −1 where its gradient is like the others' */
    Pair weight;             /* of the row */
    Pair rate, z_rate;       /* those of `Work`, times the weight */
    Pair rest, inverse;      /* 2^BIAS·R, 1/(1 + R) */
    Pair log_scaled;         /* 2^BIAS·log(1 + R) */
    Pair log_sum_exp;        /* 2^BIAS·(v_top + log(1 + R)) */
    double log_sum_exp_size; /* |v_top| + log(1 + R) */
    /* 2^BIAS times: the mass on the target beside that of the arrays, on all but the top, … */
    Pair extra, others, top_mass, total;
    /* ∂L/∂z of a class without mass, over e^{v − m}; of the top and the target, 2^BIAS times;
     * the sizes of what is added up for each, and what is off beside the relative error */
    Pair factor, top_grad, target_grad;
    double factor_size, top_size, target_size, absolute;
} Shared;

/* Σ_i y_i (m − v_i), 2^BIAS times; infinite where a masked class has mass */
static Pair mean_distance(const Arrays *row, const double *restrict mass,
                          const double *restrict mass_low, int64_t n, double *restrict sums,
                          double *restrict lows) {
    const double *restrict d = row->distance, *restrict d_low = row->distance_low;
    int64_t infinite = 0;
    for (int64_t i = 0; i < n; i++) {
        int none = mass[i] == 0.0;
        infinite += !none && d[i] == -INFINITE && d_low[i] == 0.0;
        Pair term = times(pair(mass[i], mass_low[i]), pair(-d[i], -d_low[i]));
        sums[i] = none ? 0.0 : term.high;
        lows[i] = none ? 0.0 : term.low;
    }
    return infinite ? pair(INFINITE, 0.0) : fold(sums, lows, n, sums + n, lows + n);
}

/* a + b, where either may be infinite */
inlined Pair plus_infinite(Pair a, Pair b) {
    if (a.high == INFINITE && a.low == 0.0) return a;
    if (b.high == INFINITE && b.low == 0.0) return b;
    return plus(a, b);
}

/* mass·(m − v_t), 2^BIAS times as the mass is */
static Pair own_distance(const Arrays *row, int64_t target, Pair mass) {
    Pair d = pair(-row->distance[target], -row->distance_low[target]);
    if (mass.high == 0.0 || (d.high == INFINITE && d.low == 0.0)) return mass.high ? d : mass;
    return times(mass, d);
}

/* The row's weight times Σ_i y_i (log(1 + R) − (v_i − m)), 2^BIAS times */
static Pair cross_entropy(const Work *work, const Arrays *row, const Shared *shared,
                          int64_t target, double *restrict sums, double *restrict lows) {
    Pair loss = times(scaled(shared->total, UNSCALE), shared->log_scaled);
    if (work->mass != SOFT)
        loss = plus_infinite(loss, own_distance(row, target, shared->extra));
    if (work->mass != ONE_HOT) {
        Pair spread = mean_distance(row, row->mass, row->mass_low, work->classes, sums, lows);
        loss = plus_infinite(loss, spread);
    }
    if (!work->weights || (loss.high == INFINITE && loss.low == 0.0)) return loss;
    return times(loss, shared->weight);
}

/* Without weights and smoothing; the arrays of the mass may be used now. */
static Pair plain_entropy(const Work *work, const Arrays *row, const Shared *shared,
                          int64_t target, int64_t index, double *restrict sums,
                          double *restrict lows) {
    int64_t n = work->classes;
    if (work->mass != SOFT) {
        Pair d = own_distance(row, target, pair(SCALE, 0.0));
        return plus_infinite(shared->log_scaled, d);
    }
    for (int64_t i = 0; i < n; i++) {
        row->mass[i] = work->soft[index * n + i] * SCALE;
        row->mass_low[i] = 0.0;
    }
    Pair total = fold(row->mass, row->mass_low, n, sums, lows);
    Pair loss = times(scaled(total, UNSCALE), shared->log_scaled);
    return plus_infinite(loss, mean_distance(row, row->mass, row->mass_low, n, sums, lows));
}

/* R without the first of the largest, and what follows from it. */
static void add_up(const Work *work, const Arrays *row, const Top *top, Shared *shared,
                   double *restrict sums, double *restrict lows) {
    double own = row->power[top->top], own_low = row->power_low[top->top];
    row->power[top->top] = row->power_low[top->top] = 0.0;
    Pair rest = fold(row->power, row->power_low, work->classes, sums, lows);
    row->power[top->top] = own, row->power_low[top->top] = own_low;
    shared->top = top->top, shared->target = -1, shared->rest = rest;
    shared->log_scaled = log1p_scaled(rest);
    shared->inverse = reciprocal(plus(pair(1.0, 0.0), scaled(rest, UNSCALE)));
    Pair shift = times(scaled(top->maximum, SCALE), work->inverse);
    shared->log_sum_exp = plus(shift, shared->log_scaled);
    shared->log_sum_exp_size = (magnitude(shift.high) + shared->log_scaled.high) * UNSCALE
                               + work->cap_size;
}

/* The mass of a row; whether it is none, or enough that 2^−500 of it is no subnormal number. */
static int add_mass(const Work *work, const Arrays *row, Shared *shared, int64_t target,
                    double *restrict sums, double *restrict lows) {
    int64_t top = shared->top;
    Pair none = pair(0.0, 0.0);
    shared->extra = shared->others = shared->top_mass = none;
    if (work->mass != SOFT) {
        double weight = work->weight ? work->weight[target] : 1.0;
        shared->extra = times(pair(weight * SCALE, 0.0), work->keep);
    }
    if (work->mass != ONE_HOT) {
        shared->top_mass = pair(row->mass[top], row->mass_low[top]);
        row->mass[top] = row->mass_low[top] = 0.0;
        shared->others = fold(row->mass, row->mass_low, work->classes, sums, lows);
        row->mass[top] = shared->top_mass.high, row->mass_low[top] = shared->top_mass.low;
    }
    if (target == top) shared->top_mass = plus(shared->top_mass, shared->extra);
    else shared->others = plus(shared->others, shared->extra);
    shared->total = plus(shared->others, shared->top_mass);
    return shared->total.high == 0.0 || shared->total.high >= LEAST_MASS;
}

/* A pair with its bound among the sums, which ends at infinity. */
static void put_sum(double *sums, int at, Pair sum, double bound) {
    sums[at] = sum.high, sums[at + 1] = sum.low;
    sums[at + 2] = sum.high == INFINITE && sum.low == 0.0 ? 0.0 : bound;
}

/* The two parts of a row's loss with their bounds, and their sum; whether that stays open. */
static int put_loss(const Work *work, const Arrays *row, int64_t target, double *number,
                    double *sums, const Shared *shared, Pair loss) {
    Pair unbiased = scaled(shared->log_sum_exp, UNSCALE), z_loss = pair(0.0, 0.0);
    double size = shared->log_sum_exp_size, z_bound = 0.0;
    double weight = shared->weight.high, total = shared->total.high * UNSCALE;
    double bound = loss.high * work->error + ABSOLUTE * (1.0 + total * weight);
    double z_factor = work->z_loss.high * weight;
    if (work->z_loss.high != 0.0) {
        z_loss = times(times(times(unbiased, unbiased), work->z_loss), shared->weight);
        z_bound = size * size * z_factor * work->error + ABSOLUTE * (1.0 + weight);
    }
    put_sum(sums, ENTROPY, loss, bound);
    put_sum(sums, Z_LOSS, z_loss, z_bound);
    int infinite = loss.high == INFINITE && loss.low == 0.0 && z_bound < INFINITE;
    Rounded rounded = settle(plus(loss, z_loss), bound + z_bound, 53, 1);
    int plain = work->mass == ONE_HOT && weight == 1.0 && shared->extra.high == SCALE
                && shared->extra.low == 0.0;
    if (rounded.open && work->exact && plain && work->z_loss.high == 0.0 && target != shared->top) {
        Pair d = pair(row->distance[target], row->distance_low[target]);
        rounded = settle_far(d, scaled(shared->log_scaled, UNSCALE), work->error, 53);
        rounded.value = -rounded.value;
    }
    *number = infinite ? INFINITE : rounded.value;
    return rounded.open && !infinite;
}

/* Log-sum-exp and the probabilities of the top and the target; how many stay open. */
static int put_numbers(const Work *work, double *numbers, const Arrays *row, const Shared *shared,
                       int64_t target) {
    double error = work->error, size = shared->log_sum_exp_size * SCALE;
    Rounded log_sum_exp = settle(shared->log_sum_exp, size * error + ABSOLUTE, 53, 1);
    Pair p = scaled(shared->inverse, SCALE);
    Rounded own = settle(p, p.high * error, work->digits, 1);
    Rounded top = settle(p, p.high * error, 53, 1), third = {NOT_A_NUMBER, 0};
    if (target >= 0) {
        Pair power = pair(row->power[target], row->power_low[target]);
        p = times(power, shared->inverse);
        third = settle(p, p.high * error + ABSOLUTE, 53, 1);
    }
    numbers[LOG_SUM_EXP] = log_sum_exp.value;
    numbers[PROBABILITY] = own.value;
    numbers[TOP_PROBABILITY] = top.value;
    numbers[TARGET_PROBABILITY] = third.value;
    return log_sum_exp.open + own.open + top.open + third.open;
}

/* ∂L/∂z_i = (e^{v_i − m} factor − y_i/(divisor·T)) dv_i/du_i, but for the top and the target */
static void find_factors(const Work *work, const Arrays *row, Shared *shared, int64_t target) {
    Pair z_term = times(shared->log_sum_exp, shared->z_rate); /* 2^BIAS times */
    Pair rate = times(scaled(shared->total, UNSCALE), shared->rate);
    if (shared->z_rate.high == 0.0) z_term = pair(0.0, 0.0); /* whatever log-sum-exp may be */
    double z_size = shared->z_rate.high ? shared->log_sum_exp_size * shared->z_rate.high : 0.0;
    shared->factor = times(plus(rate, scaled(z_term, UNSCALE)), shared->inverse);
    shared->factor_size = (rate.high + z_size) * shared->inverse.high;
    shared->absolute = ABSOLUTE * (1.0 + shared->rate.high + shared->z_rate.high + rate.high + z_size);
    /* ((Y − y) ŷ − y (1 − ŷ)) / (divisor·T) and the z-loss's part, at the top */
    Pair up = times(times(shared->others, shared->rate), shared->inverse);
    Pair down = times(scaled(shared->top_mass, UNSCALE), shared->rate);
    down = times(down, times(shared->rest, shared->inverse));
    shared->top_grad = plus(minus(up, down), times(z_term, shared->inverse));
    shared->top_size = up.high + down.high + z_size * shared->inverse.high * SCALE;
    if (work->mass == SOFT || target == shared->top) return;
    Pair mass = shared->extra, power = pair(row->power[target], row->power_low[target]);
    if (work->mass == SMOOTHED)
        mass = plus(mass, pair(row->mass[target], row->mass_low[target]));
    Pair taken = times(mass, shared->rate);
    shared->target = target;
    shared->target_grad = minus(times(power, shared->factor), taken);
    shared->target_size = power.high * shared->factor_size + taken.high;
}

/* What a row comes to: its loss, and what its classes share. How many results stay open, or OPEN. */
static int64_t close_row(const Work *work, const Arrays *row, const Top *top, int64_t index,
                         int64_t target, Shared *shared, double *restrict sums,
                         double *restrict lows) {
    double *numbers = work->numbers + NUMBERS * index, *sum = work->sums + SUMS * index;
    shared->weight = pair(work->weights ? work->weights[index] : 1.0, 0.0);
    shared->rate = times(work->rate, shared->weight);
    shared->z_rate = times(work->z_rate, shared->weight);
    add_up(work, row, top, shared, sums, lows);
    int64_t open = put_numbers(work, numbers, row, shared, target);
    if (work->mass == NO_MASS) {
        numbers[LOSS] = 0.0;
        memset(sum, 0, SUMS * sizeof(double));
        return open;
    }
    if (!add_mass(work, row, shared, target, sums, lows)) return OPEN;
    Pair loss = cross_entropy(work, row, shared, target, sums, lows);
    find_factors(work, row, shared, target);
    return open + put_loss(work, row, target, numbers + LOSS, sum, shared, loss);
}

inlined int put(void *out, int64_t i, Pair v, double error, int digits, int biased) {
    Rounded rounded = settle(v, error, digits, biased);
    if (digits == 53) ((double *)out)[i] = rounded.value;
    else ((float *)out)[i] = (float)rounded.value;
    return rounded.open;
}

inlined int is_nan(const void *out, int64_t i, int digits) {
    double value = digits == 53 ? ((const double *)out)[i] : ((const float *)out)[i];
    return value != value;
}

inlined int64_t put_softmax(const Work *work, const Arrays *row, const Shared *shared, void *out,
                            int digits) {
    const double *restrict power = row->power, *restrict low = row->power_low;
    Pair inverse = shared->inverse;
    double error = work->error;
    int64_t open = 0;
    for (int64_t i = 0; i < work->classes; i++) {
        Pair p = times(pair(power[i], low[i]), inverse);
        open += put(out, i, p, p.high * error + ABSOLUTE, digits, 1);
    }
    return open;
}

inlined int64_t put_log_softmax(const Work *work, const Arrays *row, const Shared *shared,
                                void *out, int digits) {
    const double *restrict distance = row->distance, *restrict low = row->distance_low;
    Pair log_sum = scaled(shared->log_scaled, -UNSCALE);
    double error = work->error;
    int64_t open = 0, top = shared->top;
    for (int64_t i = 0; i < work->classes; i++) {
        Pair d = plus(pair(distance[i], low[i]), log_sum);
        Rounded rounded = settle(d, -d.high * error, digits, 0);
        int masked = distance[i] == -INFINITE && low[i] == 0.0;
        double value = masked ? -INFINITE : rounded.value;
        if (digits == 53) ((double *)out)[i] = value;
        else ((float *)out)[i] = (float)value;
        open += masked ? 0 : rounded.open;
    }
    open -= is_nan(out, top, digits);
    Pair own = scaled(shared->log_scaled, -1.0);
    open += put(out, top, own, -own.high * error + ABSOLUTE, digits, 1);
    for (int64_t i = 0; work->exact && open && i < work->classes; i++) {
        if (i == top || !is_nan(out, i, digits)) continue;
        Rounded rounded = settle_far(pair(distance[i], low[i]), scaled(log_sum, -1.0), error, digits);
        if (digits == 53) ((double *)out)[i] = rounded.value;
        else ((float *)out)[i] = (float)rounded.value;
        open -= !rounded.open;
    }
    return open;
}

/* The gradient of one class: before its slope, and the sizes that it is made of */
inlined int put_own(const Work *work, const Arrays *row, const Shared *shared, void *out,
                    int64_t i, Pair grad, double size, int digits) {
    int before = is_nan(out, i, digits);
    if (work->capped) {
        Pair slope = pair(row->slope[i], row->slope_low[i]);
        grad = times(scaled(grad, HALF_UNSCALE), slope);
        size = (size * HALF_UNSCALE) * slope.high;
    }
    double bound = size * work->error + shared->absolute;
    return put(out, i, grad, bound, digits, 1) - before;
}

inlined int64_t put_grad_as(const Work *work, const Arrays *row, const Shared *shared, void *out,
                            int digits, int spread, int capped) {
    const double *restrict power = row->power, *restrict power_low = row->power_low;
    const double *restrict mass = row->mass, *restrict mass_low = row->mass_low;
    const double *restrict slope = row->slope, *restrict slope_low = row->slope_low;
    Pair factor = shared->factor, rate = shared->rate;
    double factor_size = shared->factor_size, error = work->error, absolute = shared->absolute;
    int64_t open = 0;
    for (int64_t i = 0; i < work->classes; i++) {
        Pair grad = times(pair(power[i], power_low[i]), factor);
        double size = power[i] * factor_size;
        if (spread) {
            Pair taken = times(pair(mass[i], mass_low[i]), rate);
            grad = minus(grad, taken);
            size += taken.high;
        }
        if (capped) {
            grad = times(scaled(grad, HALF_UNSCALE), pair(slope[i], slope_low[i]));
            size = (size * HALF_UNSCALE) * slope[i];
        }
        open += put(out, i, grad, size * error + absolute, digits, 1);
    }
    return open;
}

inlined int64_t put_grad(const Work *work, const Arrays *row, const Shared *shared, void *out,
                         int digits) {
    int64_t open;
    if (work->mass != ONE_HOT) {
        if (work->capped) open = put_grad_as(work, row, shared, out, digits, 1, 1);
        else open = put_grad_as(work, row, shared, out, digits, 1, 0);
    } else if (work->capped) {
        open = put_grad_as(work, row, shared, out, digits, 0, 1);
    } else {
        open = put_grad_as(work, row, shared, out, digits, 0, 0);
    }
    open += put_own(work, row, shared, out, shared->top, shared->top_grad, shared->top_size,
                    digits);
    if (shared->target >= 0)
        open += put_own(work, row, shared, out, shared->target, shared->target_grad,
                        shared->target_size, digits);
    return open;
}

#define IN_ITS_FORMAT(put, out, digits)                                                            \
    ((digits) == 53   ? put(work, row, shared, (double *)(out) + at, 53)                           \
     : (digits) == 24 ? put(work, row, shared, (float *)(out) + at, 24)                            \
                      : put(work, row, shared, (float *)(out) + at, 11))

/* The arrays of one row; how many results stay open. */
static int64_t put_arrays(const Work *work, const Arrays *row, const Shared *shared,
                          int64_t index) {
    int64_t at = index * work->classes, open = 0;
    if (work->softmax) open += IN_ITS_FORMAT(put_softmax, work->softmax, work->softmax_digits);
    if (work->log_softmax)
        open += IN_ITS_FORMAT(put_log_softmax, work->log_softmax, work->log_softmax_digits);
    if (work->grad) open += IN_ITS_FORMAT(put_grad, work->grad, work->grad_digits);
    return open;
}

static void fill(void *array, int64_t at, int64_t n, double value, int digits) {
    for (int64_t i = at; array && i < at + n; i++) {
        if (digits == 53) ((double *)array)[i] = value;
        else ((float *)array)[i] = (float)value;
    }
}

/* An ignored row, or one that stays open as a whole: NaN, but for what an ignored one adds. */
static void put_nothing(const Work *work, int64_t index, int ignored) {
    int64_t n = work->classes, at = index * n;
    double nothing = ignored ? 0.0 : NOT_A_NUMBER;
    fill(work->softmax, at, n, NOT_A_NUMBER, work->softmax_digits);
    fill(work->log_softmax, at, n, NOT_A_NUMBER, work->log_softmax_digits);
    fill(work->grad, at, n, nothing, work->grad_digits);
    fill(work->numbers, NUMBERS * index, NUMBERS, NOT_A_NUMBER, 53);
    fill(work->numbers, NUMBERS * index + LOSS, 1, nothing, 53);
    fill(work->sums, SUMS * index, SUMS, nothing, 53);
    work->open[index] = ignored ? 0 : OPEN;
}

#define ARRAYS 11 /* of classes, among scratch */

inlined int64_t rows_together(int64_t classes) {
    return classes < AT_ONCE ? AT_ONCE / classes : 1;
}

/* Where the arrays of the row are that is number k of those that are worked on together. */
static Arrays arrays_of(const Work *work, int64_t start, int64_t k) {
    int64_t n = work->classes, stride = rows_together(n) * n;
    double *a[ARRAYS];
    for (int j = 0; j < ARRAYS; j++) a[j] = work->scratch + j * stride + k * n;
    Arrays row = {a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8]};
    int64_t at = (start + k) * work->logits_stride;
    if (!work->single) row.logits = (const double *)work->logits + at;
    for (int64_t i = 0; work->single && i < n; i++)
        a[0][i] = (double)((const float *)work->logits)[at + i];
    if (work->mass == SMOOTHED) { /* the same for all rows */
        row.mass = work->scratch + 9 * stride;
        row.mass_low = work->scratch + 10 * stride;
    }
    return row;
}

/* Everything from the sum of the exponentials on. */
static void finish_row(const Work *work, const Arrays *row, const Top *top, int64_t index) {
    int64_t n = work->classes;
    double *sums = work->scratch + ARRAYS * rows_together(n) * n, *lows = sums + 2 * (n + 1);
    int64_t target = work->column ? work->column[index] : -1;
    Shared shared;
    if (top->is != COUNTS) {
        put_nothing(work, index, top->is == IGNORED);
        return;
    }
    if (work->mass == SOFT) find_mass(work, work->soft + index * n, row->mass, row->mass_low);
    int64_t open = close_row(work, row, top, index, target, &shared, sums, lows);
    if (open == OPEN) {
        put_nothing(work, index, 0);
        return;
    }
    work->open[index] = open + put_arrays(work, row, &shared, index);
    double *sum = work->sums + SUMS * index;
    if (work->weighted && work->mass != NO_MASS) {
        Pair plain = plain_entropy(work, row, &shared, target, index, sums, lows);
        put_sum(sum, PLAIN, plain, plain.high * work->error + 2.0 * ABSOLUTE);
    } else {
        memcpy(sum + PLAIN, sum + ENTROPY, 3 * sizeof(double));
    }
}

/* How many doubles of scratch the rows of so many classes need. */
EXPORTED int64_t JOIN(cecli_exact_scratch_, LEVEL)(int64_t classes) {
    return rows_together(classes) * classes * ARRAYS + 4 * (classes + 1);
}

/* Σ −q log q of each row of probabilities, (rows, classes): pairs with bounds, like the sums. */
EXPORTED void JOIN(cecli_exact_entropies_, LEVEL)(const double *soft, int64_t rows, int64_t classes,
                                                  double *scratch, double *entropies) {
    __typeof__(enter()) mode = enter();
    double *restrict near = scratch, *restrict high = near + classes, *restrict low = high + classes;
    double *sums = low + classes, *lows = sums + classes;
    for (int64_t row = 0; row < rows; row++) {
        const double *restrict q = soft + row * classes;
        double size = 0.0;
        for (int64_t i = 0; i < classes; i++) {
            near[i] = high[i] = near_logarithm(q[i] > 0.0 ? q[i] * SCALE : SCALE, BIAS);
            low[i] = 0.0;
        }
        exponentials(high, low, classes);
        for (int64_t i = 0; i < classes; i++) {
            /* −log q = log(1 + t) − near, 1 + t = e^near/q */
            double own = q[i] > 0.0 ? q[i] * SCALE : SCALE;
            Pair one = times(pair(high[i], low[i]), reciprocal(pair(own, 0.0)));
            Pair term = quick_plus(pair(-near[i], 0.0), log_near_one(one));
            term = times(pair(own, 0.0), term);
            high[i] = q[i] > 0.0 ? term.high : 0.0;
            low[i] = q[i] > 0.0 ? term.low : 0.0;
        }
        for (int64_t i = 0; i < classes; i++) size += q[i] * (1.0 - near[i]);
        Pair entropy = fold(high, low, classes, sums, lows);
        entropies[3 * row] = entropy.high, entropies[3 * row + 1] = entropy.low;
        entropies[3 * row + 2] = size * 0x1p-96 * SCALE;
    }
    leave(mode);
}

EXPORTED void JOIN(cecli_exact_rows_, LEVEL)(const Work *work) {
    __typeof__(enter()) mode = enter();
    int64_t n = work->classes, together = rows_together(n);
    Arrays rows[AT_ONCE];
    Top tops[AT_ONCE];
    if (work->mass == SMOOTHED) {
        Arrays first = arrays_of(work, 0, 0);
        find_mass(work, 0, first.mass, first.mass_low);
    }
    for (int64_t start = 0; start < work->rows; start += together) {
        int64_t count = work->rows - start < together ? work->rows - start : together;
        for (int64_t k = 0; k < count; k++) {
            rows[k] = arrays_of(work, start, k);
            tops[k] = find_top(rows[k].logits, n);
            if (work->kept && !work->kept[start + k]) tops[k].is = IGNORED;
            if (tops[k].is == COUNTS) {
                find_distances(work, &rows[k], &tops[k], n);
            } else {
                memset(rows[k].power, 0, (size_t)n * sizeof(double));
                memset(rows[k].power_low, 0, (size_t)n * sizeof(double));
            }
        }
        exponentials(rows[0].power, rows[0].power_low, count * n);
        for (int64_t k = 0; k < count; k++) finish_row(work, &rows[k], &tops[k], start + k);
    }
    leave(mode);
}

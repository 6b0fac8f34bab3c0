/* Rows of logits to softmax, log-softmax, cross-entropy and gradient: the compiled form of the
 * arithmetic that `elementary.py` and `core/rows.py` define, equal to them bit for bit.
 *
 * Plain C11 without a library. Every number is a double and every operation is rounded as IEEE 754
 * says, in the order written: compile with -ffp-contract=off and without -ffast-math. Loops run over
 * classes or over rows, and the compiler may make vectors of them as wide as it likes. Functions
 * and formulas bear the names that they have in the definition, where the sources stand too.
 *
 *   softmax      ŷ_i    = e^{v_i − m} / (1 + R)            R = Σ_{j≠top} e^{v_j − m}
 *   log-softmax         = (v_i − m) − log1p(R)
 *   loss         L      = Y log1p(R) − Σ_i y_i (v_i − m)
 *   gradient     ∂L/∂v_i = Y ŷ_i − y_i
 */

#include "kernel.h"

#define stage static __attribute__((noinline)) void

/* ---- what is asked: `compiled.py` declares the same fields in the same order ---- */

enum { NO_MASS, ONE_HOT, SMOOTHED, SOFT };           /* the target's mass y */
enum { NO_ARRAY, SOFTMAX, LOG_SOFTMAX, GRAD };       /* the array that is stored */
enum { FINE, RARE, UNUSABLE };                       /* a row: done, for NumPy, NaN or ±inf */

/* A number as the double nearest to it, what that leaves out, and the double cut in two. */
typedef struct {
    double value, low, head, tail;
} Factor;

typedef struct {
    int64_t rows, classes;
    const void *logits; /* (rows, classes), so many elements from row to row */
    int64_t logits_stride;
    const uint8_t *kept;   /* (rows,) or none: whether a row counts */
    const int64_t *column; /* (rows,) the target's class */
    const void *soft;      /* (rows, classes) soft targets */
    int64_t soft_stride;
    const double *weight; /* (classes,) or none */
    const double *base;   /* (classes,) the mass that smoothing gives to every class, or none */
    void *out;            /* (rows, classes) */
    int64_t out_stride;
    double *losses, *z_losses, *plain, *log_sum_exp; /* (rows,) or none */
    uint8_t *flags;                                  /* (rows,) */
    double *scratch;                                 /* as many as `scratch_size` says */
    double keep, base_each, base_high, base_low;     /* 1 − ε, ε/C, and the sum of the base */
    double temperature, z_loss, rate, rate_low, z_rate; /* rates: 1/(divisor·temperature) */
    double cap_limit;
    Factor inverse, cap, cap_inverse; /* 1/temperature, 2·softcap, −2/softcap */
    int32_t single, soft_single, out_single, mass, array, tempered, capped, smoothed;
} Work;

/* ---- elementary.py ---- */

#define SCALE 0x1p+500
#define UNSCALE 0x1p-500
#define HALF_UNSCALE 0x1p-250
#define SMALLEST_EXPONENT (-830.0)
#define ROUND_TO_INTEGER (0x1.8p+52 + 1523.0)
#define LOG2_E 0x1.71547652b82fep+0
#define LN2_HIGH 0x1.62e42feep-1
#define LN2_LOW 0x1.a39ef35793c76p-33
#define SQRT_HALF_BITS 0x3fe6a09e667f3bcdu
#define ONE_BITS 0x3ff0000000000000u
#define MANTISSA 0x000fffffffffffffu
#define INTEGER_BITS 0x4330000000000000u
#define SPLITTER 0x1.0000002p+27
#define LARGEST_PLAIN 0x1p+960
#define INFINITE (1.0 / 0.0)
#define NOT_A_NUMBER (__builtin_nan(""))

/* left − right and what its rounding left out */
inlined Pair difference(double left, double right) {
    double rounded = left - right;
    double virtual_ = rounded - left;
    double remainder = left - (rounded - virtual_);
    Pair pair = {rounded, remainder - (virtual_ + right)};
    return pair;
}

/* x·factor for a pair x: the rounded product, and what that left out */
inlined Pair product(Pair x, Factor factor) {
    double rounded = x.high * factor.value;
    double scaled = x.high * SPLITTER;
    double head = scaled - (scaled - x.high), tail = x.high - head;
    double error = head * factor.head - rounded;
    error += head * factor.tail;
    error += tail * factor.head;
    error += tail * factor.tail;
    error += x.high * factor.low;
    error += x.low * factor.value;
    Pair pair = {rounded, error};
    return pair;
}

typedef struct {
    double rho, high, low, scale;
} Reduced;

/* ρ = x + remainder − k ln 2, k = rint(x log₂e), as high − low and rounded; 2^(k + BIAS) */
inlined Reduced reduce(double x, double remainder) {
    double bits = x * LOG2_E + ROUND_TO_INTEGER;
    double k = bits - ROUND_TO_INTEGER;
    double high = x - k * LN2_HIGH;
    double low = k * LN2_LOW - remainder;
    Reduced reduced = {high - low, high, low, from_bits(bits_of(bits) << 52)};
    return reduced;
}

inlined double four(double x, double square, double a, double b, double c, double d) {
    return (a + b * x) + (c + d * x) * square;
}

/* 2^BIAS·e^{x + remainder} = 2^(k + BIAS) (1 + (high + (ρ² q(ρ) − low))) */
inlined double exp_scaled(double x, double remainder) {
    Reduced reduced = reduce(x, remainder);
    double rho = reduced.rho, square = rho * rho, fourth = square * square;
    double series = 0x1.2891a8c1d838dp-22 + 0x1.af38d53857513p-26 * rho;
    series = series * fourth
             + four(rho, square, 0x1.6c16c17893833p-10, 0x1.a01a01a7c8d47p-13,
                    0x1.a019b8ef67c6cp-16, 0x1.71de0d9c145d0p-19);
    series = series * fourth
             + four(rho, square, 0x1.0000000000001p-1, 0x1.5555555555556p-3, 0x1.5555555553d4fp-5,
                    0x1.11111111109adp-7);
    series = series * square - reduced.low;
    series = (series + reduced.high) + 1.0;
    return x < SMALLEST_EXPONENT ? 0.0 : series * reduced.scale;
}

/* 2^BIAS·log1p(R) for R = 2^−BIAS (rest + rest_low); 1 + R, and which part of it was rounded off */
typedef struct {
    double log_scaled, sum, lost;
} LogSum;

inlined LogSum log1p_scaled(double rest, double rest_low) {
    double r = rest * UNSCALE, r_low = rest_low * UNSCALE;
    double sum = r + 1.0;
    double virtual_ = sum - 1.0;
    double lost = ((1.0 - (sum - virtual_)) + (r - virtual_)) + r_low;
    uint64_t bits = bits_of(sum) + (ONE_BITS - SQRT_HALF_BITS);
    double k = from_bits((bits >> 52) | INTEGER_BITS) - (0x1p+52 + 1023.0);
    double f = from_bits((bits & MANTISSA) + SQRT_HALF_BITS) - 1.0;
    f = k == 0.0 ? r : f;
    /* 1/(f + 2) and 1/(1 + R) by one division */
    double reciprocal = 1.0 / ((f + 2.0) * sum), inverse = (f + 2.0) * reciprocal;
    double correction = (k == 0.0 ? r_low : lost) * inverse;
    double half_square = (f * 0.5) * f, q = f * (sum * reciprocal);
    double square = q * q, second = square * square, fourth = second * second;
    double series = four(square, second, 0x1.745cf8fa80a6ep-3, 0x1.3b1c377d3240fp-3,
                         0x1.0fbe5ca9fd6f9p-3, 0x1.0c05f222f1ac5p-3) * fourth
                    + four(square, second, 0x1.5555555555555p-1, 0x1.9999999999a38p-2,
                           0x1.2492492476bf2p-2, 0x1.c71c7201712d2p-3);
    double log = (series * square + half_square) * q + (k * LN2_LOW + correction);
    log = ((log - half_square) + f) + k * LN2_HIGH;
    LogSum result = {rest < 0x1p+440 ? rest : log * SCALE, sum, lost * inverse};
    return result;
}

typedef struct {
    Pair capped;
    double slope;
} Capped;

/* c·tanh(z/c) as a pair whose highs have exact differences; 2^BIAS/cosh²(z/c).
 *
 * With E = e^{−2|z|/c} and y = E/(1 + E): c·tanh = ±2c (½ − y), 1/cosh² = 4E/(1 + E)² = 4E (1 − y)².
 */
inlined Capped cap_logit(double z, double limit, Factor cap, Factor inverse) {
    double size = magnitude(z);
    Pair given = {size > limit ? limit : size, 0.0};
    Pair x = product(given, inverse);
    Reduced reduced = reduce(x.high, x.low);
    double rho = reduced.rho, square = rho * rho, fourth = square * square;
    double series = 0x1.af38d53857513p-26 + 0x1.1f66f85dfa20ap-29 * rho;
    series = series * fourth
             + four(rho, square, 0x1.a01a01a7c8d47p-13, 0x1.a01a01a47db6fp-16,
                    0x1.71de0d9c145d0p-19, 0x1.27e4e1ea0f53ap-22);
    series = series * fourth
             + four(rho, square, 0x1.5555555555556p-3, 0x1.5555555555555p-5,
                    0x1.11111111109adp-7, 0x1.6c16c16c167dep-10);
    double rho_low = (reduced.high - rho) - reduced.low;
    series = series * (square * rho) + rho_low * (rho + 1.0);
    /* e^ρ = (1 + ρ₁ + ½ρ₁²) + (ρ₂ + (½ρ₂(ρ + ρ₁) + …)), the first part exact for ρ₁ of few digits */
    double head = (rho + 0x1.8p+27) - 0x1.8p+27, tail = rho - head;
    series = series + (tail * 0.5) * (rho + head);
    double low = series + tail;
    double high = (head + 1.0) + (head * 0.5) * head;
    double scale = reduced.scale * UNSCALE;
    double e_high = high * scale, e_low = low * scale, e = e_high + e_low;
    double reciprocal = 1.0 / (e + 1.0);
    /* E/(1 + E) = y + y_low, y a multiple of 2^−27 */
    double y = (e * reciprocal + 0x1.8p+25) - 0x1.8p+25;
    double e_head = (e + 0x1.8p+26) - 0x1.8p+26, e_tail = (e_high - e_head) + e_low;
    double y_low = ((e_head - y * (e_head + 1.0)) + e_tail * (1.0 - y)) * reciprocal;
    /* 1/(1 + E) and E, and what each leaves out: E rest² = (E rest + (E_low rest + 2 E rest_low)) rest */
    double rest = (1.0 - y) - y_low, rest_low = ((1.0 - y) - rest) - y_low;
    double decay = high + low, decay_low = (high - decay) + low;
    double slope = (decay * rest + (decay_low * rest + (decay * 2.0) * rest_low)) * reduced.scale;
    double sign = z < 0.0 ? -1.0 : 1.0, half = (0.5 - y) * sign;
    Capped result = {{half * cap.head, half * cap.tail - (y_low * sign) * cap.value},
                     (slope * rest) * 4.0};
    result.capped.high = z == -INFINITE ? -INFINITE : result.capped.high;
    result.slope = size > limit ? 0.0 : result.slope;
    result.slope = z == -INFINITE ? SCALE : result.slope;
    return result;
}

/* ---- one row relative to its maximum ---- */

/* v − m: of one logit, capped before if need be */
inlined Pair shifted(double high, double low, Pair maximum, int capped, int tempered,
                     const Factor *inverse) {
    Pair pair;
    if (capped) {
        pair.high = high - maximum.high;
        pair.low = low - maximum.low;
    } else {
        pair = difference(high, maximum.high);
    }
    return tempered ? product(pair, *inverse) : pair;
}

/* What was left out of a difference; nothing where that is infinite or so large that it is NaN. */
inlined double left_out(Pair difference) {
    return magnitude(difference.high) < LARGEST_PLAIN ? difference.low : 0.0;
}

typedef struct {
    double high, low; /* R·2^BIAS */
} Rest;

/* a + b with what that rounds off beside what was left out of a and b */
#define FOLD_FIRST(a, b, sum, sum_low)                                                             \
    do {                                                                                           \
        double a_ = (a), b_ = (b), sum_ = a_ + b_, virtual_ = sum_ - a_;                           \
        (sum_low) = (a_ - (sum_ - virtual_)) + (b_ - virtual_);                                    \
        (sum) = sum_;                                                                              \
    } while (0)
#define FOLD(a, a_low, b, b_low, sum, sum_low)                                                     \
    do {                                                                                           \
        double lows_ = (a_low) + (b_low);                                                          \
        FOLD_FIRST(a, b, sum, sum_low);                                                            \
        (sum_low) += lows_;                                                                        \
    } while (0)

/* Everything about a row that its classes share. */
typedef struct {
    double maximum;          /* as given */
    Pair top;                /* the maximum, capped */
    double rest, rest_low;   /* R·2^BIAS in two parts, as folded */
    double kept;             /* 1 or 0 */
    double amount;           /* Y */
    double others;           /* Y without the mass on the maximum */
    double top_mass;         /* the mass on the maximum */
    double dot;              /* Σ_i y_i (m − v_i) of a spread mass */
    double target_high, target_low, target_scaled, target_slope; /* v_t − m, 2^BIAS e^{v_t − m} */
    double top_slope;
    /* from here on results */
    double log_scaled, loss, z_loss, plain, log_sum_exp, factor, target_grad, top_grad, flag;
} Row;

/* x·slope for numbers 2^BIAS times as large as they are: rounded once, also to a subnormal one. */
inlined double sloped(double x, double slope) {
    return ((x * HALF_UNSCALE) * (slope * HALF_UNSCALE)) * UNSCALE;
}

/* A number of which a small part was left out. */
inlined double corrected(double x, double part) { return x + x * part; }

inlined double between(double x) {
    x = magnitude(x);
    return x == 0.0 || (x >= 0x1p-400 && x <= 0x1p+64) ? 1.0 : 0.0;
}

/* The formulas of a row, once R and what belongs to the target are known. */
inlined void close_row(Row *row, const Work *work, int mass, int array, int capped) {
    double high = row->rest, low = row->rest_low;
    double rest = high + low, rest_low = (high - rest) + low;
    LogSum log_sum = log1p_scaled(rest, rest_low);
    double amount = row->amount, sum = log_sum.sum;
    Pair target = {row->target_high, row->target_low};
    double near = log_sum.log_scaled * (amount * UNSCALE);
    double one = log_sum.log_scaled * UNSCALE;
    double remainder = left_out(target);
    row->log_scaled = log_sum.log_scaled;
    if (mass == ONE_HOT) {
        double far = target.high * amount; /* what overflows is infinite, whatever it leaves out */
        double loss = far == -INFINITE ? INFINITE : (near - remainder * amount) - far;
        row->loss = amount == 0.0 ? 0.0 : loss;
    } else {
        row->loss = near + row->dot;
    }
    row->plain = (one - remainder) - target.high;
    row->log_sum_exp = (row->top.high + row->top.low) / work->temperature + one;
    double z_term = 0.0;
    row->z_loss = 0.0;
    if (work->z_loss != 0.0) {
        row->z_loss = ((row->log_sum_exp * work->z_loss) * row->log_sum_exp) * row->kept;
        z_term = (((work->z_loss * 2.0) * row->log_sum_exp) * work->z_rate) * row->kept;
    }
    double usable = row->maximum > -INFINITE && row->maximum < INFINITE && rest < INFINITE;
    double plain = row->top.high <= LARGEST_PLAIN;
    plain *= between(amount);
    if (array == GRAD) plain *= between(z_term);
    row->factor = 0.0;
    if (array == SOFTMAX) {
        row->factor = corrected(1.0 / sum, -log_sum.lost) * UNSCALE;
    }
    if (array == GRAD && mass == ONE_HOT) {
        /* Y (1 − ŷ_t) = Y ((1 − e^{v_t − m}) + R) / (1 + R), all 2^BIAS times as large */
        double share = corrected((amount * work->rate) / sum, work->rate_low - log_sum.lost);
        double scaled = row->target_scaled;
        double own = (SCALE - scaled) + rest;
        if (capped) {
            own = (own * row->target_slope) * UNSCALE;
            scaled = (scaled * row->target_slope) * UNSCALE;
        }
        row->target_grad = own * (share * UNSCALE);
        if (work->z_loss != 0.0) {
            z_term = z_term / sum;
            share = share + z_term;
            row->target_grad = row->target_grad - scaled * (z_term * UNSCALE);
        }
        plain *= between(share);
        row->factor = share * UNSCALE;
    }
    if (array == GRAD && mass != ONE_HOT) {
        /* (Y − y) ŷ − y (1 − ŷ) at the maximum */
        double reciprocal = 1.0 / sum, down = rest;
        double share = (amount * work->rate + z_term) / sum;
        share = corrected(share, work->rate_low - log_sum.lost);
        double up = (row->others * work->rate + z_term) * reciprocal;
        double own = (row->top_mass * work->rate) * reciprocal;
        row->top_grad = capped ? sloped(up * SCALE - down * own, row->top_slope)
                               : up - down * (own * UNSCALE);
        plain *= between(share);
        row->factor = share * UNSCALE;
    }
    row->flag = usable == 0.0 ? UNUSABLE : plain == 0.0 ? RARE : FINE;
}

/* ---- the target's mass ---- */

/* y = weight·((1 − ε) q + ε/C) */
inlined double soft_mass(double q, const Work *work, int64_t i) {
    double mass = work->smoothed ? q * work->keep + work->base_each : q;
    return work->weight ? mass * work->weight[i] : mass;
}

inlined double base_of(const Work *work, int64_t i) {
    return work->base ? work->base[i] : work->base_each;
}

inlined double weight_of(const Work *work, int64_t i) {
    return work->weight ? work->weight[i] : 1.0;
}

/* The mass on the target's own class with smoothing, and how much of it smoothing left there. */
inlined double smoothed_target(const Work *work, int64_t i) {
    return (work->keep + work->base_each) * weight_of(work, i);
}

/* y (m − v); nothing where there is no mass, not even infinitely far away */
inlined double mass_term(double mass, Pair difference) {
    double below = -(difference.high + left_out(difference));
    return mass == 0.0 ? 0.0 : mass * below;
}

inlined double load(const void *numbers, int64_t i, int single) {
    return single ? (double)((const float *)numbers)[i] : ((const double *)numbers)[i];
}

inlined void store(void *numbers, int64_t i, double number, int single) {
    if (single) {
        ((float *)numbers)[i] = (float)number + 0.0f; /* a zero is never −0 */
    } else {
        ((double *)numbers)[i] = number + 0.0;
    }
}

/* ---- few classes: tiles of rows, stored class by class, so that vectors run over rows ---- */

#define FEW 64 /* classes */
#define TILE 32 /* rows */
#define EACH_ROW for (int r = 0; r < TILE; r++)

typedef double Line[TILE];

/* The fields of `Row` for all rows of a tile. */
typedef struct {
    Line maximum, top_high, top_low, rest, rest_low, kept, amount, others, top_mass, dot,
        target_high, target_low, target_scaled, target_slope, top_slope, log_scaled, loss, z_loss,
        plain, log_sum_exp, factor, target_grad, top_grad, flag;
    int64_t column[TILE], top[TILE]; /* the target's, and the maximum's */
    int count, all; /* rows; whether all TILE of them are there and count */
} Tile;

/* Fold (n, TILE) in halves into the first line; low holds what is rounded off. */
stage fold_lines(Line *restrict sums, Line *restrict lows, int64_t n) {
    if (n == 1) EACH_ROW lows[0][r] = 0.0;
    for (int first = 1; n > 1; first = 0) {
        int64_t width = (n + 1) / 2;
        for (int64_t j = 0; j < width; j++) {
            if (j + width < n) {
                const double *restrict b = sums[j + width], *restrict b_low = lows[j + width];
                if (first) EACH_ROW FOLD_FIRST(sums[j][r], b[r], sums[j][r], lows[j][r]);
                else EACH_ROW FOLD(sums[j][r], lows[j][r], b[r], b_low[r], sums[j][r], lows[j][r]);
            } else if (first) {
                EACH_ROW lows[j][r] = 0.0;
            }
        }
        n = width;
    }
}

/* Squares of 4 by 4 doubles, transposed in registers. */
typedef double Four __attribute__((vector_size(32)));
typedef float FourFloats __attribute__((vector_size(16)));
#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define SHUFFLE(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#endif
#endif
#ifndef SHUFFLE
typedef int64_t FourIndices __attribute__((vector_size(32)));
#define SHUFFLE(a, b, i, j, k, l) __builtin_shuffle(a, b, (FourIndices){i, j, k, l})
#endif

inlined void transpose(Four *a, Four *b, Four *c, Four *d) {
    Four p = SHUFFLE(*a, *b, 0, 4, 2, 6), q = SHUFFLE(*a, *b, 1, 5, 3, 7);
    Four r = SHUFFLE(*c, *d, 0, 4, 2, 6), s = SHUFFLE(*c, *d, 1, 5, 3, 7);
    *a = SHUFFLE(p, r, 0, 1, 4, 5);
    *b = SHUFFLE(q, s, 0, 1, 4, 5);
    *c = SHUFFLE(p, r, 2, 3, 6, 7);
    *d = SHUFFLE(q, s, 2, 3, 6, 7);
}

inlined Four load_four(const void *from, int64_t i, int single) {
    Four four;
    if (single) {
        float floats[4];
        double doubles[4];
        memcpy(floats, (const float *)from + i, sizeof floats);
        for (int k = 0; k < 4; k++) doubles[k] = floats[k];
        memcpy(&four, doubles, sizeof four);
    } else {
        memcpy(&four, (const double *)from + i, sizeof four);
    }
    return four;
}

inlined void store_four(void *to, int64_t i, Four four, int single) {
    if (single) {
        FourFloats floats = __builtin_convertvector(four, FourFloats) + 0.0f;
        memcpy((float *)to + i, &floats, sizeof floats);
    } else {
        four = four + 0.0;
        memcpy((double *)to + i, &four, sizeof four);
    }
}

/* All rows of a tile, so many elements from row to row, into lines. */
inlined void load_square_(const void *from, int64_t stride, int64_t classes, Line *restrict lines,
                          int single) {
    if (classes < 4) {
        for (int r = 0; r < TILE; r++)
            for (int64_t c = 0; c < classes; c++) lines[c][r] = load(from, r * stride + c, single);
        return;
    }
    for (int64_t c = 0; c < classes; c = c + 4 < classes && c + 8 > classes ? classes - 4 : c + 4) {
        for (int r = 0; r < TILE; r += 4) {
            int64_t place = r * stride + c;
            Four x = load_four(from, place, single), y = load_four(from, place + stride, single);
            Four z = load_four(from, place + 2 * stride, single);
            Four w = load_four(from, place + 3 * stride, single);
            transpose(&x, &y, &z, &w);
            memcpy(&lines[c][r], &x, sizeof x);
            memcpy(&lines[c + 1][r], &y, sizeof y);
            memcpy(&lines[c + 2][r], &z, sizeof z);
            memcpy(&lines[c + 3][r], &w, sizeof w);
        }
    }
}

/* Lines into rows: the inverse. */
inlined void store_square_(void *to, int64_t stride, int64_t classes, const Line *restrict lines,
                           int single) {
    if (classes < 4) {
        for (int r = 0; r < TILE; r++)
            for (int64_t c = 0; c < classes; c++) store(to, r * stride + c, lines[c][r], single);
        return;
    }
    for (int r = 0; r < TILE; r += 4) {
        for (int64_t c = 0; c < classes; c = c + 4 < classes && c + 8 > classes ? classes - 4 : c + 4) {
            int64_t place = r * stride + c;
            Four x, y, z, w;
            memcpy(&x, &lines[c][r], sizeof x);
            memcpy(&y, &lines[c + 1][r], sizeof y);
            memcpy(&z, &lines[c + 2][r], sizeof z);
            memcpy(&w, &lines[c + 3][r], sizeof w);
            transpose(&x, &y, &z, &w);
            store_four(to, place, x, single);
            store_four(to, place + stride, y, single);
            store_four(to, place + 2 * stride, z, single);
            store_four(to, place + 3 * stride, w, single);
        }
    }
}

/* The rows of a tile into lines; zeros where a row does not count or is not there. */
stage load_tile(const Work *work, int64_t start, Tile *tile, Line *restrict lines) {
    int64_t classes = work->classes, stride = work->logits_stride;
    int all = tile->count == TILE;
    if (all && !work->kept) {
        EACH_ROW tile->kept[r] = 1.0;
        if (work->column) memcpy(tile->column, work->column + start, sizeof tile->column);
        else memset(tile->column, 0, sizeof tile->column);
    } else {
        for (int r = 0; r < TILE; r++) {
            int kept = r < tile->count && (!work->kept || work->kept[start + r]);
            tile->kept[r] = kept ? 1.0 : 0.0;
            tile->column[r] = kept && work->column ? work->column[start + r] : 0;
            all &= kept;
        }
    }
    if (all && work->single) {
        load_square_((const float *)work->logits + start * stride, stride, classes, lines, 1);
    } else if (all) {
        load_square_((const double *)work->logits + start * stride, stride, classes, lines, 0);
    } else {
        for (int r = 0; r < TILE; r++)
            for (int64_t c = 0; c < classes; c++)
                lines[c][r] = tile->kept[r] == 0.0
                                  ? 0.0
                                  : load(work->logits, (start + r) * stride + c, work->single);
    }
    tile->all = all;
}

stage maximum_of_tile(const Line *restrict lines, int64_t classes, Tile *tile) {
    Line best;
    int64_t place[TILE] = {0};
    memcpy(best, lines[0], sizeof best);
    for (int64_t c = 1; c < classes; c++) {
        EACH_ROW {
            double z = lines[c][r];
            /* bits, as compilers make a store that is skipped of a choice */
            int64_t greater = -(int64_t)(z > best[r]);
            place[r] = (place[r] & ~greater) | (c & greater);
            best[r] = z > best[r] ? z : best[r];
        }
    }
    memcpy(tile->maximum, best, sizeof best);
    memcpy(tile->top, place, sizeof place);
    memcpy(tile->top_high, best, sizeof best);
    memset(tile->top_low, 0, sizeof best);
}

/* Where the maximum stands: of each row what its line of the maximum holds. */
static void pick_top(const Line *restrict lines, const Tile *tile, double *restrict picked) {
    for (int r = 0; r < TILE; r++) picked[r] = lines[tile->top[r]][r];
}

static void pick_target(const Line *restrict lines, const Tile *tile, double *restrict picked) {
    for (int r = 0; r < TILE; r++) picked[r] = lines[tile->column[r]][r];
}

stage cap_tile(const Work *work, Tile *tile, Line *restrict highs, Line *restrict lows,
                     Line *restrict slopes) {
    Factor cap = work->cap, inverse = work->cap_inverse;
    double limit = work->cap_limit;
    for (int64_t c = 0; c < work->classes; c++) {
        EACH_ROW {
            Capped capped = cap_logit(highs[c][r], limit, cap, inverse);
            highs[c][r] = capped.capped.high;
            lows[c][r] = capped.capped.low;
            slopes[c][r] = capped.slope;
        }
    }
    pick_top(highs, tile, tile->top_high);
    pick_top(lows, tile, tile->top_low);
    pick_top(slopes, tile, tile->top_slope);
}

inlined void exp_tile_(const Work *work, const Tile *tile, const Line *restrict highs,
                       const Line *restrict lows, Line *restrict scaled, Line *restrict sums,
                       int capped, int tempered) {
    Factor inverse = work->inverse;
    for (int64_t c = 0; c < work->classes; c++) {
        EACH_ROW {
            Pair maximum = {tile->top_high[r], tile->top_low[r]};
            Pair x = shifted(highs[c][r], capped ? lows[c][r] : 0.0, maximum, capped, tempered,
                             &inverse);
            double e = exp_scaled(x.high, x.low);
            scaled[c][r] = e;
            sums[c][r] = tile->top[r] == c ? 0.0 : e;
        }
    }
}

#define FOUR_WAYS(call, ...)                                                                       \
    do {                                                                                           \
        if (work->capped && work->tempered) call(__VA_ARGS__, 1, 1);                               \
        else if (work->capped) call(__VA_ARGS__, 1, 0);                                            \
        else if (work->tempered) call(__VA_ARGS__, 0, 1);                                          \
        else call(__VA_ARGS__, 0, 0);                                                              \
    } while (0)

stage exp_tile(const Work *work, const Tile *tile, const Line *restrict highs,
                     const Line *restrict lows, Line *restrict scaled, Line *restrict sums) {
    FOUR_WAYS(exp_tile_, work, tile, highs, lows, scaled, sums);
}

/* The difference of one line from the maximum, in two lines. */
static void shift_line(const Work *work, const Tile *tile, const double *restrict highs,
                       const double *restrict lows, double *restrict high, double *restrict low) {
    Factor inverse = work->inverse;
#define SHIFT_LINE(capped, tempered)                                                               \
    EACH_ROW {                                                                                     \
        Pair maximum = {tile->top_high[r], tile->top_low[r]};                                      \
        Pair x = shifted(highs[r], (capped) ? lows[r] : 0.0, maximum, capped, tempered, &inverse); \
        high[r] = x.high;                                                                          \
        low[r] = x.low;                                                                            \
    }
    if (work->capped && work->tempered) SHIFT_LINE(1, 1)
    else if (work->capped) SHIFT_LINE(1, 0)
    else if (work->tempered) SHIFT_LINE(0, 1)
    else SHIFT_LINE(0, 0)
}

/* The mass of each row on one class. */
static void mass_line(const Work *work, const Tile *tile, int64_t start, int64_t c,
                      double *restrict mass) {
    if (work->mass == SMOOTHED) {
        double base = base_of(work, c), own = smoothed_target(work, c);
        EACH_ROW mass[r] = tile->column[r] == c ? own : base;
    } else {
        Line q = {0};
        for (int r = 0; r < tile->count; r++)
            q[r] = load(work->soft, (start + r) * work->soft_stride + c, work->soft_single);
        EACH_ROW mass[r] = soft_mass(q[r], work, c);
    }
}

stage mass_of_tile(const Work *work, Tile *tile, int64_t start, const Line *restrict highs,
                         const Line *restrict lows, Line *restrict masses, Line *restrict sums,
                         Line *restrict rests) {
    for (int64_t c = 0; c < work->classes; c++) {
        Line high, low;
        shift_line(work, tile, highs[c], work->capped ? lows[c] : NULL, high, low);
        mass_line(work, tile, start, c, masses[c]);
        EACH_ROW {
            Pair x = {high[r], low[r]};
            sums[c][r] = mass_term(masses[c][r], x);
        }
    }
    fold_lines(sums, rests, work->classes);
    EACH_ROW {
        double dot = sums[0][r] + rests[0][r];
        tile->dot[r] = (sums[0][r] == INFINITE ? INFINITE : dot) * tile->kept[r];
    }
    pick_top(masses, tile, tile->top_mass);
    if (work->mass == SMOOTHED) {
        for (int r = 0; r < TILE; r++) {
            int64_t top = tile->top[r], target = tile->column[r];
            double others = (work->base_high - base_of(work, top)) + work->base_low;
            tile->others[r] = others + (top == target ? 0.0 : work->keep * weight_of(work, target));
        }
    } else {
        for (int64_t c = 0; c < work->classes; c++)
            EACH_ROW sums[c][r] = tile->top[r] == c ? 0.0 : masses[c][r];
        fold_lines(sums, rests, work->classes);
        EACH_ROW tile->others[r] = sums[0][r] + rests[0][r];
    }
    EACH_ROW {
        tile->others[r] = tile->others[r] * tile->kept[r];
        tile->top_mass[r] = tile->top_mass[r] * tile->kept[r];
        tile->amount[r] = tile->others[r] + tile->top_mass[r];
    }
}

inlined void close_tile_(const Work *asked, Tile *tile, int mass, int array, int capped) {
    const Work own = *asked, *work = &own; /* which no store of a result can change */
    EACH_ROW {
        Row row = {
            .maximum = tile->maximum[r], .top = {tile->top_high[r], tile->top_low[r]},
            .rest = tile->rest[r], .rest_low = tile->rest_low[r], .kept = tile->kept[r],
            .amount = tile->amount[r], .others = tile->others[r], .top_mass = tile->top_mass[r],
            .dot = tile->dot[r], .target_high = tile->target_high[r],
            .target_low = tile->target_low[r], .target_scaled = tile->target_scaled[r],
            .target_slope = tile->target_slope[r], .top_slope = tile->top_slope[r],
        };
        close_row(&row, work, mass, array, capped);
        tile->log_scaled[r] = row.log_scaled;
        tile->loss[r] = row.loss;
        tile->z_loss[r] = row.z_loss;
        tile->plain[r] = row.plain;
        tile->log_sum_exp[r] = row.log_sum_exp;
        tile->factor[r] = row.factor;
        tile->target_grad[r] = row.target_grad;
        tile->top_grad[r] = row.top_grad;
        tile->flag[r] = row.flag;
    }
}

#define CLOSE_WAYS(call, one)                                                                      \
    do {                                                                                           \
        int one_hot = work->mass == ONE_HOT;                                                       \
        if (work->array == GRAD && one_hot && work->capped) call(work, one, ONE_HOT, GRAD, 1);     \
        else if (work->array == GRAD && one_hot) call(work, one, ONE_HOT, GRAD, 0);                \
        else if (work->array == GRAD && work->capped) call(work, one, SOFT, GRAD, 1);              \
        else if (work->array == GRAD) call(work, one, SOFT, GRAD, 0);                              \
        else if (work->array == SOFTMAX && one_hot) call(work, one, ONE_HOT, SOFTMAX, 0);          \
        else if (work->array == SOFTMAX) call(work, one, SOFT, SOFTMAX, 0);                        \
        else if (one_hot) call(work, one, ONE_HOT, NO_ARRAY, 0);                                   \
        else call(work, one, SOFT, NO_ARRAY, 0);                                                   \
    } while (0)

stage close_tile(const Work *work, Tile *tile) { CLOSE_WAYS(close_tile_, tile); }

/* Lines of results, in place of scaled. */
stage array_of_tile(const Work *work, const Tile *tile, const Line *restrict highs,
                          const Line *restrict lows, const Line *restrict slopes,
                          const Line *restrict masses, Line *restrict scaled) {
    int spread = work->mass == SMOOTHED || work->mass == SOFT;
    for (int64_t c = 0; c < work->classes; c++) {
        double *restrict line = scaled[c];
        if (work->array == LOG_SOFTMAX) {
            Line high, low;
            shift_line(work, tile, highs[c], work->capped ? lows[c] : NULL, high, low);
            EACH_ROW {
                Pair x = {high[r], low[r]};
                line[r] = x.high + (left_out(x) - tile->log_scaled[r] * UNSCALE);
            }
        } else if (work->array == SOFTMAX) {
            EACH_ROW line[r] = line[r] * tile->factor[r];
        } else {
            double rate = work->rate;
            if (spread && work->capped) {
                EACH_ROW {
                    double mass = (masses[c][r] * rate) * SCALE;
                    line[r] = sloped(line[r] * (tile->factor[r] * SCALE) - mass, slopes[c][r]);
                }
            } else if (spread) {
                EACH_ROW line[r] = line[r] * tile->factor[r] - masses[c][r] * rate;
            } else {
                if (work->capped) EACH_ROW line[r] = (line[r] * slopes[c][r]) * UNSCALE;
                EACH_ROW line[r] = line[r] * tile->factor[r];
            }
        }
    }
    if (work->array == GRAD && work->mass == ONE_HOT)
        for (int r = 0; r < TILE; r++) scaled[tile->column[r]][r] = -tile->target_grad[r];
    else if (work->array == GRAD)
        for (int r = 0; r < TILE; r++) scaled[tile->top[r]][r] = tile->top_grad[r];
}

stage store_tile(const Work *work, int64_t start, const Tile *tile,
                       const Line *restrict lines) {
    int64_t classes = work->classes, stride = work->out_stride;
    double ignored = work->array == GRAD ? 0.0 : NOT_A_NUMBER;
    if (tile->all && work->out_single) {
        store_square_((float *)work->out + start * stride, stride, classes, lines, 1);
    } else if (tile->all) {
        store_square_((double *)work->out + start * stride, stride, classes, lines, 0);
    } else {
        for (int r = 0; r < tile->count; r++)
            for (int64_t c = 0; c < classes; c++)
                store(work->out, (start + r) * stride + c,
                      tile->kept[r] == 0.0 ? ignored : lines[c][r], work->out_single);
    }
}

static void store_row_results(const Work *work, int64_t row, double kept, double loss,
                              double z_loss, double plain, double log_sum_exp, double flag) {
    if (work->losses) work->losses[row] = kept != 0.0 ? loss + 0.0 : 0.0;
    if (work->z_losses) work->z_losses[row] = kept != 0.0 ? z_loss : 0.0;
    if (work->plain) work->plain[row] = kept != 0.0 ? plain + 0.0 : 0.0;
    if (work->log_sum_exp) work->log_sum_exp[row] = kept != 0.0 ? log_sum_exp + 0.0 : 0.0;
    work->flags[row] = kept != 0.0 ? (uint8_t)flag : FINE;
}

/* What the rows of a tile come to; where all are there and count, in vectors. */
stage store_results(const Work *work, int64_t start, const Tile *tile) {
    if (!tile->all) {
        for (int r = 0; r < tile->count; r++)
            store_row_results(work, start + r, tile->kept[r], tile->loss[r], tile->z_loss[r],
                              tile->plain[r], tile->log_sum_exp[r], tile->flag[r]);
        return;
    }
    double *restrict losses = work->losses, *restrict z_losses = work->z_losses,
           *restrict plain = work->plain, *restrict log_sum_exp = work->log_sum_exp;
    uint8_t *restrict flags = work->flags + start;
    if (losses) EACH_ROW losses[start + r] = tile->loss[r] + 0.0;
    if (z_losses) EACH_ROW z_losses[start + r] = tile->z_loss[r];
    if (plain) EACH_ROW plain[start + r] = tile->plain[r] + 0.0;
    if (log_sum_exp) EACH_ROW log_sum_exp[start + r] = tile->log_sum_exp[r] + 0.0;
    EACH_ROW flags[r] = (uint8_t)tile->flag[r];
}

static void do_tile(const Work *work, int64_t start, int count) {
    int64_t classes = work->classes;
    Line *highs = (Line *)work->scratch, *scaled = highs + classes, *sums = scaled + classes,
         *rests = sums + classes, *masses = rests + classes, *lows = masses + classes,
         *slopes = lows + classes;
    int spread = work->mass == SMOOTHED || work->mass == SOFT;
    Tile tile;
    tile.count = count;
    load_tile(work, start, &tile, highs);
    maximum_of_tile(highs, classes, &tile);
    if (work->capped) cap_tile(work, &tile, highs, lows, slopes);
    exp_tile(work, &tile, highs, lows, scaled, sums);
    fold_lines(sums, rests, classes);
    memcpy(tile.rest, sums[0], sizeof tile.rest);
    memcpy(tile.rest_low, rests[0], sizeof tile.rest_low);
    if (spread) mass_of_tile(work, &tile, start, highs, lows, masses, sums, rests);
    if (work->column) {
        Line high, low = {0};
        pick_target(highs, &tile, high);
        if (work->capped) {
            pick_target(lows, &tile, low);
            pick_target(slopes, &tile, tile.target_slope);
        }
        shift_line(work, &tile, high, low, tile.target_high, tile.target_low);
        pick_target(scaled, &tile, tile.target_scaled);
    } else {
        memset(tile.target_high, 0, sizeof tile.target_high);
        memset(tile.target_low, 0, sizeof tile.target_low);
    }
    if (!spread) {
        memcpy(tile.amount, tile.kept, sizeof tile.amount);
        if (work->mass == ONE_HOT && work->weight)
            for (int r = 0; r < TILE; r++)
                tile.amount[r] = tile.kept[r] == 0.0 ? 0.0 : work->weight[tile.column[r]];
        memset(tile.dot, 0, sizeof tile.dot);
    }
    close_tile(work, &tile);
    if (work->array != NO_ARRAY) {
        array_of_tile(work, &tile, highs, lows, slopes, masses, scaled);
        store_tile(work, start, &tile, scaled);
    }
    store_results(work, start, &tile);
}

/* ---- many classes: one row after another, vectors run over classes ---- */

#define SPAN 128 /* so many columns of each eighth of a row at a time */

/* Eight parts of a row folded in halves three times: columns j to j + count of each eighth. */
inlined void fold_eighths(const double *restrict from, int64_t stride, const double *restrict low,
                          int64_t count, double *restrict sums,
                          double *restrict lows) {
#define AT(i) from[(i) * stride + j]
#define FOLD_FROM(i, k, sum, sum_low)                                                              \
    do {                                                                                           \
        FOLD_FIRST(AT(i), AT(k), sum, sum_low);                                                    \
        if (low) sum_low += low[(i) * stride + j] + low[(k) * stride + j];                         \
    } while (0)
    for (int64_t j = 0; j < count; j++) {
        double a, b, c, d, al, bl, cl, dl;
        FOLD_FROM(0, 4, a, al);
        FOLD_FROM(1, 5, b, bl);
        FOLD_FROM(2, 6, c, cl);
        FOLD_FROM(3, 7, d, dl);
        FOLD(a, al, c, cl, a, al);
        FOLD(b, bl, d, dl, b, bl);
        FOLD(a, al, b, bl, a, al);
        sums[j] = a;
        lows[j] = al;
    }
}

static int64_t eighth_of(int64_t n) { return 8 * ((n + 63) / 64); }

/* How many doubles folding n sums further takes. */
static int64_t room_to_fold(int64_t n) { return 12 * eighth_of(n) + 1024; }

/* Fold what the first three halvings left. */
static Rest fold_rest(double *restrict sums, double *restrict lows, int64_t n) {
    while (n > FEW) {
        int64_t width = eighth_of(n);
        memset(sums + n, 0, (size_t)(8 * width - n) * sizeof *sums);
        memset(lows + n, 0, (size_t)(8 * width - n) * sizeof *lows);
        fold_eighths(sums, width, lows, width, sums + 8 * width, lows + 8 * width);
        sums += 8 * width;
        lows += 8 * width;
        n = width;
    }
    while (n > 1) {
        int64_t width = (n + 1) / 2;
        for (int64_t j = 0; j + width < n; j++)
            FOLD(sums[j], lows[j], sums[j + width], lows[j + width], sums[j], lows[j]);
        n = width;
    }
    Rest rest = {sums[0], lows[0]};
    return rest;
}

#define DEFINE_MAXIMUM(name, type)                                                                 \
    static double name(const type *restrict z, int64_t n, int64_t *top) {                          \
        enum { LANES = 256 / sizeof(type), STEP = 512, WIDE = 32 };                                \
        type best = (type)-INFINITE;                                                               \
        int64_t where = 0;                                                                         \
        for (int64_t start = 0; start < n; start += STEP) {                                        \
            int64_t stop = start + STEP < n ? start + STEP : n, i = start;                         \
            type lanes[LANES], most = (type)-INFINITE;                                             \
            for (int l = 0; l < LANES; l++) lanes[l] = (type)-INFINITE;                            \
            for (; i + LANES <= stop; i += LANES)                                                  \
                for (int l = 0; l < LANES; l++)                                                    \
                    lanes[l] = z[i + l] > lanes[l] ? z[i + l] : lanes[l];                          \
            for (; i < stop; i++) most = z[i] > most ? z[i] : most;                                \
            for (int half = LANES / 2; half; half /= 2)                                            \
                for (int l = 0; l < half; l++)                                                     \
                    lanes[l] = lanes[l + half] > lanes[l] ? lanes[l + half] : lanes[l];            \
            most = lanes[0] > most ? lanes[0] : most;                                              \
            if (most > best) {                                                                     \
                best = most;                                                                       \
                where = start;                                                                     \
            }                                                                                      \
        }                                                                                          \
        for (int found = 0; where + WIDE <= n; where += WIDE) {                                    \
            for (int l = 0; l < WIDE; l++) found |= z[where + l] == best;                          \
            if (found) break;                                                                      \
        }                                                                                          \
        while (where < n - 1 && z[where] != best) where++;                                         \
        *top = where;                                                                              \
        return best;                                                                               \
    }
DEFINE_MAXIMUM(maximum_of_floats, float)
DEFINE_MAXIMUM(maximum_of_doubles, double)

/* Whether every difference from the maximum that matters is a double, so that nothing is left out.
 *
 * Floats of 2^e or more are multiples of 2^(e − 23). Those of less than 2^(e + 29) differ by less
 * than 2^(e + 30), and by such multiples: by numbers of 53 bits. What is SMALLEST_EXPONENT below the
 * maximum does not matter, and zeros change nothing.
 */
static int subtracts_exactly(const float *restrict z, int64_t n, double maximum, double reach) {
    enum { LANES = 64 };
    uint32_t lanes[LANES], least = 0xffffffffu;
    int64_t i = 0;
    for (int l = 0; l < LANES; l++) lanes[l] = least;
    for (; i + LANES <= n; i += LANES) {
        uint32_t bits[LANES];
        memcpy(bits, z + i, sizeof bits);
        for (int l = 0; l < LANES; l++) {
            uint32_t size = (bits[l] & 0x7fffffffu) - 1; /* a zero becomes the largest */
            lanes[l] = size < lanes[l] ? size : lanes[l];
        }
    }
    for (; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, z + i, sizeof bits);
        bits = (bits & 0x7fffffffu) - 1;
        least = bits < least ? bits : least;
    }
    for (int l = 0; l < LANES; l++) least = lanes[l] < least ? lanes[l] : least;
    least++;
    float smallest;
    memcpy(&smallest, &least, sizeof smallest);
    return magnitude(maximum) + reach <= (double)smallest * 0x1p+28;
}

inlined void exp_span_(const Work *work, const void *highs, const double *restrict lows, Pair top,
                       int64_t from, int64_t count, double *restrict scaled, int single,
                       int capped, int tempered, int exactly) {
    Factor inverse = work->inverse;
    for (int64_t j = from; j < from + count; j++) {
        double high = load(highs, j, single);
        Pair x = shifted(high, capped ? lows[j] : 0.0, top, capped, tempered, &inverse);
        scaled[j] = exactly ? exp_scaled(high - top.high, 0.0) : exp_scaled(x.high, x.low);
    }
}
static void exp_span(const Work *work, const void *highs, const double *restrict lows, Pair top,
                     int64_t from, int64_t count, double *restrict scaled, int exactly) {
#define EXP_SPAN(...) exp_span_(work, highs, lows, top, from, count, scaled, __VA_ARGS__)
    if (work->capped && work->tempered) EXP_SPAN(0, 1, 1, 0);
    else if (work->capped) EXP_SPAN(0, 1, 0, 0);
    else if (work->single && work->tempered) EXP_SPAN(1, 0, 1, 0);
    else if (exactly) EXP_SPAN(1, 0, 0, 1);
    else if (work->single) EXP_SPAN(1, 0, 0, 0);
    else if (work->tempered) EXP_SPAN(0, 0, 1, 0);
    else EXP_SPAN(0, 0, 0, 0);
}

inlined void cap_span_(const Work *work, const void *logits, int64_t from, int64_t count,
                       double *restrict highs, double *restrict lows, double *restrict slopes,
                       int single) {
    Factor cap = work->cap, inverse = work->cap_inverse;
    double limit = work->cap_limit;
    for (int64_t j = from; j < from + count; j++) {
        Capped capped = cap_logit(load(logits, j, single), limit, cap, inverse);
        highs[j] = capped.capped.high;
        lows[j] = capped.capped.low;
        slopes[j] = capped.slope;
    }
}

static void cap_span(const Work *work, const void *logits, int64_t from, int64_t count,
                     double *restrict highs, double *restrict lows, double *restrict slopes) {
    if (work->single) cap_span_(work, logits, from, count, highs, lows, slopes, 1);
    else cap_span_(work, logits, from, count, highs, lows, slopes, 0);
}

/* v − m in two spans */
inlined void shift_span_(const Work *work, const void *highs, const double *restrict lows, Pair top,
                         int64_t from, int64_t count, double *restrict high, double *restrict low,
                         int single, int capped, int tempered) {
    Factor inverse = work->inverse;
    for (int64_t j = 0; j < count; j++) {
        Pair x = shifted(load(highs, from + j, single), capped ? lows[from + j] : 0.0, top, capped,
                         tempered, &inverse);
        high[j] = x.high;
        low[j] = left_out(x);
    }
}

static void shift_span(const Work *work, const void *highs, const double *restrict lows, Pair top,
                       int64_t from, int64_t count, double *restrict high, double *restrict low) {
    if (work->capped && work->tempered)
        shift_span_(work, highs, lows, top, from, count, high, low, 0, 1, 1);
    else if (work->capped) shift_span_(work, highs, lows, top, from, count, high, low, 0, 1, 0);
    else if (work->single && work->tempered)
        shift_span_(work, highs, lows, top, from, count, high, low, 1, 0, 1);
    else if (work->single) shift_span_(work, highs, lows, top, from, count, high, low, 1, 0, 0);
    else if (work->tempered) shift_span_(work, highs, lows, top, from, count, high, low, 0, 0, 1);
    else shift_span_(work, highs, lows, top, from, count, high, low, 0, 0, 0);
}

/* The mass of columns from to from + count. */
static void mass_span(const Work *work, int64_t row, int64_t from, int64_t count,
                      double *restrict mass) {
    if (work->mass == SMOOTHED) {
        if (work->base) memcpy(mass, work->base + from, (size_t)count * sizeof *mass);
        else
            for (int64_t j = 0; j < count; j++) mass[j] = work->base_each;
        int64_t own = work->column[row] - from;
        if (own >= 0 && own < count) mass[own] = smoothed_target(work, own + from);
        return;
    }
    int64_t place = row * work->soft_stride + from;
    if (work->soft_single)
        for (int64_t j = 0; j < count; j++) mass[j] = ((const float *)work->soft)[place + j];
    else memcpy(mass, (const double *)work->soft + place, (size_t)count * sizeof *mass);
    if (work->smoothed)
        for (int64_t j = 0; j < count; j++) mass[j] = mass[j] * work->keep + work->base_each;
    if (work->weight)
        for (int64_t j = 0; j < count; j++) mass[j] = mass[j] * work->weight[from + j];
}

/* Where the numbers of one row stand in `scratch`. */
typedef struct {
    double *scaled, *sums, *lows, *mass_sums, *mass_lows, *dot_sums, *dot_lows, *highs, *high_lows,
        *slopes;
} Places;

static Places places_in(const Work *work) {
    int64_t width = eighth_of(work->classes), room = room_to_fold(width);
    Places places;
    double *next = work->scratch;
    places.scaled = next, next += 8 * width;
    places.sums = next, next += room;
    places.lows = next, next += room;
    places.mass_sums = next, next += room;
    places.mass_lows = next, next += room;
    places.dot_sums = next, next += room;
    places.dot_lows = next, next += room;
    places.highs = next, next += 8 * width;
    places.high_lows = next, next += 8 * width;
    places.slopes = next;
    return places;
}

/* e^{v − m} of a row and the three sums: R, the mass without the maximum's, Σ y (m − v). */
static void sums_of_row(const Work *work, int64_t index, const void *highs, int64_t top, Row *row,
                        int exactly, const Places *at) {
    int64_t classes = work->classes, width = eighth_of(classes);
    int spread = work->mass == SMOOTHED || work->mass == SOFT;
    for (int64_t j = 0; j < width; j += SPAN) {
        int64_t count = j + SPAN < width ? SPAN : width - j;
        double masses[8 * SPAN], terms[8 * SPAN];
        for (int i = 0; i < 8; i++) {
            int64_t from = i * width + j, here = classes - from;
            here = here < 0 ? 0 : here > count ? count : here;
            exp_span(work, highs, at->high_lows, row->top, from, here, at->scaled, exactly);
            for (int64_t l = here; l < count; l++) at->scaled[from + l] = 0.0;
            int64_t own = top - from;
            if (own >= 0 && own < count) at->scaled[top] = 0.0;
            if (!spread) continue;
            double *mass = masses + i * SPAN, *term = terms + i * SPAN, low[SPAN];
            shift_span(work, highs, at->high_lows, row->top, from, here, term, low);
            mass_span(work, index, from, here, mass);
            for (int64_t l = 0; l < here; l++)
                term[l] = mass[l] == 0.0 ? 0.0 : mass[l] * -(term[l] + low[l]);
            for (int64_t l = here; l < count; l++) mass[l] = term[l] = 0.0;
            if (own >= 0 && own < count) {
                row->top_mass = mass[own];
                mass[own] = 0.0;
            }
        }
        fold_eighths(at->scaled + j, width, NULL, count, at->sums + j, at->lows + j);
        if (!spread) continue;
        fold_eighths(terms, SPAN, NULL, count, at->dot_sums + j, at->dot_lows + j);
        if (work->mass == SOFT)
            fold_eighths(masses, SPAN, NULL, count, at->mass_sums + j, at->mass_lows + j);
    }
    Rest rest = fold_rest(at->sums, at->lows, width);
    row->rest = rest.high;
    row->rest_low = rest.low;
    if (!spread) return;
    Rest dot = fold_rest(at->dot_sums, at->dot_lows, width);
    row->dot = dot.high == INFINITE ? INFINITE : dot.high + dot.low;
    if (work->mass == SOFT) {
        Rest others = fold_rest(at->mass_sums, at->mass_lows, width);
        row->others = others.high + others.low;
    } else {
        int64_t target = work->column[index];
        double others = (work->base_high - base_of(work, top)) + work->base_low;
        row->others = others + (top == target ? 0.0 : work->keep * weight_of(work, target));
    }
    row->amount = row->others + row->top_mass;
}

inlined void store_span_(const Work *work, int64_t place, const Row *row, const double *numbers,
                         int64_t n, int out_single) {
    (void)row;
    for (int64_t i = 0; i < n; i++) store(work->out, place + i, numbers[i], out_single);
}

static void store_span(const Work *work, int64_t place, const Row *row, const double *numbers,
                       int64_t n) {
    if (work->out_single) store_span_(work, place, row, numbers, n, 1);
    else store_span_(work, place, row, numbers, n, 0);
}

static void multiply_span(const Work *work, int64_t place, const double *restrict numbers,
                          int64_t n, double factor) {
    if (work->out_single) {
        float *restrict to = (float *)work->out + place;
        for (int64_t i = 0; i < n; i++) to[i] = (float)(numbers[i] * factor) + 0.0f;
    } else {
        double *restrict to = (double *)work->out + place;
        for (int64_t i = 0; i < n; i++) to[i] = numbers[i] * factor + 0.0;
    }
}

static void array_of_row(const Work *work, int64_t index, const void *highs, int64_t top,
                         const Row *row, const Places *at) {
    int64_t classes = work->classes, place = index * work->out_stride;
    int spread = work->mass == SMOOTHED || work->mass == SOFT;
    double factor = row->factor;
    if (work->array == LOG_SOFTMAX) {
        double log_sum = row->log_scaled * UNSCALE;
        for (int64_t j = 0; j < classes; j += SPAN) {
            int64_t count = j + SPAN < classes ? SPAN : classes - j;
            double high[SPAN], low[SPAN];
            shift_span(work, highs, at->high_lows, row->top, j, count, high, low);
            for (int64_t l = 0; l < count; l++) high[l] = high[l] + (low[l] - log_sum);
            store_span(work, place + j, row, high, count);
        }
        return;
    }
    at->scaled[top] = SCALE;
    if (work->array == SOFTMAX || (!spread && !work->capped)) {
        multiply_span(work, place, at->scaled, classes, factor);
    } else {
        for (int64_t j = 0; j < classes; j += SPAN) {
            int64_t count = j + SPAN < classes ? SPAN : classes - j;
            double mass[SPAN], line[SPAN];
            const double *restrict scaled = at->scaled + j, *restrict slope = at->slopes + j;
            double share = factor * SCALE, rate = work->rate;
            if (spread) mass_span(work, index, j, count, mass);
            if (spread && work->capped)
                for (int64_t l = 0; l < count; l++)
                    line[l] = sloped(scaled[l] * share - (mass[l] * rate) * SCALE, slope[l]);
            else if (spread)
                for (int64_t l = 0; l < count; l++)
                    line[l] = scaled[l] * factor - mass[l] * rate;
            else
                for (int64_t l = 0; l < count; l++)
                    line[l] = ((scaled[l] * slope[l]) * UNSCALE) * factor;
            store_span(work, place + j, row, line, count);
        }
    }
    if (work->array == GRAD && work->mass == ONE_HOT)
        store(work->out, place + work->column[index], -row->target_grad, work->out_single);
    else if (work->array == GRAD)
        store(work->out, place + top, row->top_grad, work->out_single);
}

static void close_one(const Work *work, Row *row) {
#define CLOSE_ROW(work, row, mass, array, capped) close_row(row, work, mass, array, capped)
    CLOSE_WAYS(CLOSE_ROW, row);
}

static void do_row(const Work *work, int64_t index) {
    int64_t classes = work->classes, top;
    int exactly = 0;
    if (work->kept && !work->kept[index]) {
        double ignored = work->array == GRAD ? 0.0 : NOT_A_NUMBER;
        for (int64_t c = 0; c < classes && work->array != NO_ARRAY; c++)
            store(work->out, index * work->out_stride + c, ignored, work->out_single);
        store_row_results(work, index, 0.0, 0.0, 0.0, 0.0, 0.0, FINE);
        return;
    }
    int spread = work->mass == SMOOTHED || work->mass == SOFT;
    Places at = places_in(work);
    Row row = {.kept = 1.0, .amount = 1.0};
    const void *logits, *highs;
    if (work->single) {
        const float *from = (const float *)work->logits + index * work->logits_stride;
        row.maximum = maximum_of_floats(from, classes, &top);
        if (!work->capped && !work->tempered)
            exactly = subtracts_exactly(from, classes, row.maximum, -SMALLEST_EXPONENT);
        logits = from;
    } else {
        const double *from = (const double *)work->logits + index * work->logits_stride;
        row.maximum = maximum_of_doubles(from, classes, &top);
        logits = from;
    }
    highs = logits;
    row.top.high = row.maximum;
    if (work->capped) {
        cap_span(work, logits, 0, classes, at.highs, at.high_lows, at.slopes);
        highs = at.highs;
        row.top.high = at.highs[top];
        row.top.low = at.high_lows[top];
        row.top_slope = at.slopes[top];
    }
    sums_of_row(work, index, highs, top, &row, exactly, &at);
    if (work->column) {
        int64_t target = work->column[index];
        shift_span(work, highs, at.high_lows, row.top, target, 1, &row.target_high,
                   &row.target_low);
        row.target_scaled = target == top ? SCALE : at.scaled[target];
        row.target_slope = work->capped ? at.slopes[target] : 0.0;
        if (!spread) row.amount = weight_of(work, target);
    }
    close_one(work, &row);
    if (work->array != NO_ARRAY) array_of_row(work, index, highs, top, &row, &at);
    store_row_results(work, index, 1.0, row.loss, row.z_loss, row.plain, row.log_sum_exp, row.flag);
}

/* How many doubles of scratch the rows of so many classes need. */
EXPORTED int64_t JOIN(cecli_scratch_, LEVEL)(int64_t classes) {
    if (classes <= FEW) return 7 * classes * TILE;
    int64_t width = eighth_of(classes);
    return 4 * 8 * width + 6 * room_to_fold(width);
}

EXPORTED void JOIN(cecli_rows_, LEVEL)(const Work *work) {
    __typeof__(enter()) mode = enter();
    if (work->classes <= FEW) {
        for (int64_t row = 0; row < work->rows; row += TILE)
            do_tile(work, row, work->rows - row < TILE ? (int)(work->rows - row) : TILE);
    } else {
        for (int64_t row = 0; row < work->rows; row++) do_row(work, row);
    }
    leave(mode);
}

/* The sums of rows, and what is left out of each; columns: a multiple of 64, more than FEW. */
EXPORTED void JOIN(cecli_folds_, LEVEL)(const double *rows, int64_t count, int64_t columns,
                                        double *scratch, double *sums, double *lows) {
    __typeof__(enter()) mode = enter();
    int64_t width = eighth_of(columns);
    double *own_lows = scratch + room_to_fold(width);
    for (int64_t row = 0; row < count; row++) {
        fold_eighths(rows + row * columns, width, NULL, width, scratch, own_lows);
        Rest rest = fold_rest(scratch, own_lows, width);
        sums[row] = rest.high;
        lows[row] = rest.low;
    }
    leave(mode);
}

#if defined(BASELINE)
/* The checksum of the source that this was compiled from. */
EXPORTED uint32_t cecli_source(void) { return SOURCE; }

/* Which of x86-64-v2, v3 and v4 the CPU has; 0 where there is only one instruction set. */
EXPORTED int32_t cecli_level(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    int v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2")
             && __builtin_cpu_supports("fma");
    int v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
             && __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq")
             && __builtin_cpu_supports("avx512vl");
    return v4 ? 3 : v3 ? 2 : 1;
#else
    return 0;
#endif
}
#endif

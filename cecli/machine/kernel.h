/* What both kernels stand on: how they are compiled, and the floating-point mode.
 *
 * Each is compiled once for every instruction set, with the set's name as LEVEL.
 */

#include <float.h>
#include <stdint.h>
#include <string.h>

#if !defined(FLT_EVAL_METHOD) || FLT_EVAL_METHOD != 0
#error "doubles must be rounded after every operation"
#endif
#if defined(__FAST_MATH__)
#error "-ffast-math changes the order of operations"
#endif

#ifndef LEVEL
#define LEVEL plain
#endif
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define inlined static inline __attribute__((always_inline))

/* ---- doubles and their bits ---- */

/* high + low, of which high is the double nearest to it */
typedef struct {
    double high, low;
} Pair;

inlined uint64_t bits_of(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

inlined double from_bits(uint64_t bits) {
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

inlined double magnitude(double x) { return from_bits(bits_of(x) & 0x7fffffffffffffffu); }

/* ---- the floating-point mode: subnormal numbers are numbers, and ties go to even ---- */

#if defined(__x86_64__)
#include <xmmintrin.h>
static unsigned enter(void) {
    unsigned mode = _mm_getcsr();
    _mm_setcsr(0x1f80u);
    return mode;
}
static void leave(unsigned mode) { _mm_setcsr(mode); }
#elif defined(__aarch64__)
static unsigned long enter(void) {
    unsigned long mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    __asm__ volatile("msr fpcr, %0" : : "r"(0ul));
    return mode;
}
static void leave(unsigned long mode) { __asm__ volatile("msr fpcr, %0" : : "r"(mode)); }
#else
static int enter(void) { return 0; }
static void leave(int mode) { (void)mode; }
#endif

#if defined(_WIN32)
#define EXPORTED __declspec(dllexport)
#else
#define EXPORTED __attribute__((visibility("default")))
#endif

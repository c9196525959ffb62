/* bnnc_num.h: scalar numbers: f16, exp, log, powers.
 *
 * Only + - * / and square root are used, each correctly rounded, so every machine computes the same bits
 * (compile with -ffp-contract=off).  exp and log are Cephes polynomials, within 2 ulp.
 */
#ifndef BNNC_NUM_H
#define BNNC_NUM_H
#include <stdint.h>

static inline __attribute__((unused)) float bnnc_from_bits(uint32_t u) {
    union {
        uint32_t u;
        float f;
    } x = {u};
    return x.f;
}
static inline __attribute__((unused)) uint32_t bnnc_to_bits(float f) {
    union {
        float f;
        uint32_t u;
    } x = {f};
    return x.u;
}

/* The square-root instruction; -fno-math-errno keeps the compiler from calling a library. */
static inline __attribute__((unused)) float bnnc_sqrtf(float x) { return __builtin_sqrtf(x); }

/* IEEE half to single: exact. */
static inline __attribute__((unused)) float bnnc_f16_to_f32(uint16_t h) {
    /* exponent and fraction in single position, below the sign */
    const uint32_t u = ((uint32_t)(int16_t)h << 13) & 0x8fffffffu;
    if ((h & 0x7c00u) == 0x7c00u) /* infinity, or a quiet NaN */
        return bnnc_from_bits(u | 0x7f800000u | (h & 0x3ffu ? 0x400000u : 0u));
    return bnnc_from_bits(u) * 0x1p112f; /* corrects the exponent and normalises what is subnormal in half */
}

/* Single to IEEE half, round to nearest even; NaN stays a quiet NaN. */
static inline __attribute__((unused)) uint16_t bnnc_f32_to_f16(float f) {
    const uint32_t u = bnnc_to_bits(f), s = (u >> 16) & 0x8000u, a = u & 0x7fffffffu;
    if (__builtin_expect(a - 0x38800000u < 0x47800000u - 0x38800000u, 1)) /* a normal half, or infinity by rounding */
        return (uint16_t)(s | ((a - 0x38000000u + 0xfffu + ((a >> 13) & 1u)) >> 13));
    if (a < 0x38800000u) { /* below the smallest normal half: adding 0.5 leaves the rounded fraction in the low bits */
        const float r = bnnc_from_bits(a) + 0.5f;
        return (uint16_t)(s | (bnnc_to_bits(r) - 0x3f000000u));
    }
    return (uint16_t)(s | (a > 0x7f800000u ? 0x7e00u | ((a >> 13) & 0x3ffu) : 0x7c00u));
}

/* e^x, x clamped to [-87, 88]. */
static inline __attribute__((unused)) float bnnc_exp(float x) {
    x = x > -87.0f ? x : -87.0f;
    x = x < 88.0f ? x : 88.0f;
    const float n = (x * 1.44269504088896341f + 12582912.0f) - 12582912.0f;
    const float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    const float y = (p * (r * r) + r) + 1.0f;
    return y * bnnc_from_bits((uint32_t)((int32_t)n + 127) << 23);
}

/* ln x; x below the smallest normal number is taken as that number. */
static inline __attribute__((unused)) float bnnc_log(float x) {
    x = x > 1.17549435e-38f ? x : 1.17549435e-38f;
    const uint32_t u = bnnc_to_bits(x);
    int32_t e = (int32_t)(u >> 23) - 126;
    float m = bnnc_from_bits((u & 0x007fffffu) | 0x3f000000u); /* in [0.5, 1) */
    if (m < 0.707106781186547524f) {
        e = e - 1;
        m = m + m;
    }
    m = m - 1.0f;
    const float z = m * m;
    float p = 7.0376836292e-2f;
    p = p * m + -1.1514610310e-1f;
    p = p * m + 1.1676998740e-1f;
    p = p * m + -1.2420140846e-1f;
    p = p * m + 1.4249322787e-1f;
    p = p * m + -1.6668057665e-1f;
    p = p * m + 2.0000714765e-1f;
    p = p * m + -2.4999993993e-1f;
    p = p * m + 3.3333331174e-1f;
    const float fe = (float)e;
    float y = (m * z) * p;
    y = y + fe * -2.12194440e-4f;
    y = y - 0.5f * z;
    return (m + y) + fe * 0.693359375f;
}

/* x to a whole power n >= 0, by repeated squaring. */
static inline __attribute__((unused)) float bnnc_powi(float x, float n) {
    float y = 1.0f;
    for (uint32_t k = (uint32_t)n; k; k >>= 1) {
        if (k & 1u) y = y * x;
        x = x * x;
    }
    return y;
}

/* The nearest whole number, ties to even, within 2^22 of 0; NaN becomes -2^22. */
static inline __attribute__((unused)) int32_t bnnc_round(float x) {
    x = x > -4194304.0f ? x : -4194304.0f;
    x = x < 4194304.0f ? x : 4194304.0f;
    return (int32_t)((x + 12582912.0f) - 12582912.0f);
}

/* The least e with |x| < 2^e: -126 for what is below 2^-126, 129 for what is no number. */
static inline __attribute__((unused)) int32_t bnnc_exponent(float x) {
    return (int32_t)(bnnc_to_bits(x) >> 23 & 255u) - 126;
}

/* 2^e, e limited to -126 .. 127. */
static inline __attribute__((unused)) float bnnc_pow2(int32_t e) {
    const int32_t at = e < -126 ? -126 : e > 127 ? 127 : e;
    return bnnc_from_bits((uint32_t)(at + 127) << 23);
}

static inline __attribute__((unused)) int32_t bnnc_popcount32(uint32_t x) {
    x = x - ((x >> 1) & 0x55555555u);
    x = (x & 0x33333333u) + ((x >> 2) & 0x33333333u);
    x = (x + (x >> 4)) & 0x0f0f0f0fu;
    return (int32_t)((x * 0x01010101u) >> 24);
}

/* floor(sqrt(scale a / b)), at most 65536: a probability in units of 2^-16. */
static inline __attribute__((unused)) int32_t bnnc_rate(uint32_t scale, int32_t a, int32_t b) {
    const uint64_t x = (uint64_t)scale * (uint32_t)a / (uint32_t)(b > 1 ? b : 1);
    uint64_t root = 0;
    for (uint64_t bit = 1u << 16; bit; bit >>= 1)
        if ((root | bit) * (root | bit) <= x) root |= bit;
    return root < 65536 ? (int32_t)root : 65536;
}

/* 32 bits from bit `at` on of a row of `words` words; zeros past its end. */
static inline __attribute__((unused)) uint32_t bnnc_bits_at(const uint32_t *row, int at, int words) {
    const int w = at >> 5, s = at & 31;
    return row[w] >> s | (s && w + 1 < words ? row[w + 1] << (32 - s) : 0);
}

#endif

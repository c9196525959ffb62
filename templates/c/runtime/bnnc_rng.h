/* bnnc_rng.h: every random number and the learning-rate curve. bnnc/rng.py computes the same, bit for bit.
 *
 * Counter-based: Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3, SC 2011).
 * key = (seed, stream), counter = (block, 0); element i of a stream is word i%4 of block i/4. Nothing is stored, any
 * element can be drawn in any order, and the same on every machine.
 */
#ifndef BNNC_RNG_H
#define BNNC_RNG_H
#include "bnnc_sys.h"

enum { BNNC_STREAM_ORDER = -1, BNNC_STREAM_HOLDOUT = -2 }; /* as uint32_t: 0xFFFFFFFF and 0xFFFFFFFE */

BNNC_FN void bnnc_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];
    for (int r = 0; r < 10; r++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

/* Elements 4*block .. 4*block+3 of a stream. */
BNNC_FN void bnnc_random4(uint32_t seed, uint32_t stream, uint64_t block, uint32_t out[4]) {
    const uint32_t counter[4] = {(uint32_t)block, (uint32_t)(block >> 32), 0, 0}, key[2] = {seed, stream};
    bnnc_philox(counter, key, out);
}

/* Uniform in [-a, a): 24 signed bits, so that the product is one exact scaling and one rounding. */
BNNC_FN float bnnc_uniform(uint32_t word, float a) {
    int32_t s = (int32_t)(word >> 8); /* the sign, by hand: >> of a negative number is not the same everywhere */
    if (s >= 1 << 23) s -= 1 << 24;
    return a * ((float)s * 0x1p-23f);
}

/* +1 where the top bit is clear. */
BNNC_FN uint32_t bnnc_random_bit(uint32_t word) { return ~word >> 31; }

/* A whole number, about Normal(0, std^2), truncated toward zero: the sum of twelve 16-bit uniform numbers less its
 * mean. Element i takes words 6i .. 6i+5; integers only. */
BNNC_FN int32_t bnnc_normal(uint32_t seed, uint32_t stream, uint64_t i, uint32_t std) {
    uint32_t w[8];
    const uint64_t first = 6 * i;
    int64_t sum = -6 * 65535;
    bnnc_random4(seed, stream, first / 4, w);
    bnnc_random4(seed, stream, first / 4 + 1, w + 4);
    for (uint32_t k = 0; k < 6; k++) { /* first is even: the last word is number 7 at most */
        const uint32_t word = w[first % 4 + k];
        sum += (int64_t)((word & 0xFFFF) + (word >> 16));
    }
    const int32_t size = (int32_t)((uint64_t)(sum < 0 ? -sum : sum) * std >> 16);
    return sum < 0 ? -size : size;
}

/* ---- order of the samples ----
 * A keyed permutation of 0..n-1: an unbalanced Feistel network over the next power of two, walked until the value is
 * below n (fewer than two walks on average). Keys are words 8*epoch .. 8*epoch+7 of the seed's order stream. */
typedef struct {
    uint32_t n, low_bits, low_mask, high_mask, key[8];
} bnnc_perm;

BNNC_FN void bnnc_perm_init(bnnc_perm *p, uint32_t seed, uint32_t stream, uint32_t epoch, uint32_t n) {
    uint32_t bits = 2;
    while (bits < 32 && (n - 1) >> bits) bits++;
    p->n = n;
    p->low_bits = bits / 2;
    p->low_mask = (1u << (bits / 2)) - 1;
    p->high_mask = (1u << (bits - bits / 2)) - 1;
    bnnc_random4(seed, stream, (uint64_t)epoch * 2, p->key);
    bnnc_random4(seed, stream, (uint64_t)epoch * 2 + 1, p->key + 4);
}

BNNC_FN uint32_t bnnc_perm_mix(uint32_t v, uint32_t key) {
    v = (v ^ key) * 0x9E3779B1u;
    v = (v ^ v >> 15) * 0x85EBCA77u;
    return v ^ v >> 13;
}

BNNC_FN uint32_t bnnc_perm_at(const bnnc_perm *p, uint32_t v) {
    if (p->n < 2) return 0;
    do {
        uint32_t low = v & p->low_mask, high = v >> p->low_bits;
        for (int r = 0; r < 8; r += 2) {
            low ^= bnnc_perm_mix(high, p->key[r]) & p->low_mask;
            high ^= bnnc_perm_mix(low, p->key[r + 1]) & p->high_mask;
        }
        v = high << p->low_bits | low;
    } while (v >= p->n);
    return v;
}

/* ---- learning rate ----
 * cos(pi x) for x in [0, 1] = sin(pi (1/2 - x)): Taylor to the 17th power, error below 1e-14; only + and *, so that it
 * is the same everywhere. */
BNNC_FN double bnnc_cospi(double x) {
    double y = 3.141592653589793 * (0.5 - x), q = y * y, s = 1;
    for (int k = 16; k >= 2; k -= 2) s = 1 - q / (double)(k * (k + 1)) * s;
    return y * s;
}

/* Rate of step t = 1..total: half a cosine from lr0 to final * lr0. */
BNNC_FN float bnnc_cosine_lr(float lr0, float final, uint64_t t, uint64_t total) {
    double x = total ? (double)(t - 1) / (double)total : 0;
    double f = final;
    if (x > 1) x = 1;
    return (float)((double)lr0 * (f + (1 - f) * (0.5 + 0.5 * bnnc_cospi(x))));
}

/* 32 independent bits, each set with probability p / 2^16: a function of the seed, the stream, the step and the word's
 * number.  Compares 32 random 16-bit numbers with p bit by bit from the top, and stops when all are decided. */
BNNC_FN uint32_t bnnc_bernoulli(int32_t seed, uint32_t stream, int32_t tick, int32_t p, int word) {
    if (p <= 0) return 0;
    if (p >= 65536) return 0xffffffffu;
    const uint32_t key[2] = {(uint32_t)seed, stream};
    uint32_t less = 0, equal = 0xffffffffu;
    for (uint32_t block = 0; block < 4 && equal; block++) {
        const uint32_t counter[4] = {(uint32_t)word, (uint32_t)tick, block, 1};
        uint32_t slice[4];
        bnnc_philox(counter, key, slice);
        for (int i = 0; i < 4; i++)
            if ((uint32_t)p >> (15 - 4 * (int)block - i) & 1u) {
                less |= equal & ~slice[i];
                equal &= slice[i];
            } else {
                equal &= ~slice[i];
            }
    }
    return less;
}

/* Uniform in 0 .. 2^15 - 1. Rows 16k .. 16k+15 of a column share a block; each has 15 bits of a word, from another byte on. */
BNNC_FN int32_t bnnc_noise(uint32_t seed, uint32_t stream, uint32_t tick, int row, int col) {
    const uint32_t counter[4] = {(uint32_t)col, (uint32_t)row >> 4, tick, 2}, key[2] = {seed, stream};
    uint32_t out[4];
    bnnc_philox(counter, key, out);
    const uint32_t word = out[row >> 2 & 3], from = 8 * ((uint32_t)row & 3);
    return (int32_t)((word >> from | (word << 8 & (0u - (from == 24)))) & 0x7fffu);
}

/* A lattice over a matrix: 0 .. 2^15 - 1, each once over the keys 0 .. 2^15 - 1. */
BNNC_FN int32_t bnnc_dither(int32_t key, int row, int col) {
    return (int32_t)(((uint32_t)row * 0x9E3779B9u + (uint32_t)col * 0xAE620AB1u + ((uint32_t)key << 17)) >> 17);
}

#endif

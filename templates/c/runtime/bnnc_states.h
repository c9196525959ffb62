/* bnnc_states.h: the network's states: first values, bits and halves, the fingerprint of all. */
#ifndef BNNC_STATES_H
#define BNNC_STATES_H
#include "bnnc_crc.h"
#include "bnnc_fmt.h"
#include "bnnc_net.h"
#include "bnnc_rng.h"

/* ---- half precision, rounded to nearest even ---- */
BNNC_FN float bnnc_half_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = h >> 10 & 31, m = h & 1023u, u;
    float f;
    if (e == 31)
        u = sign | 0x7F800000 | m << 13;
    else if (e)
        u = sign | (e + 112) << 23 | m << 13;
    else { /* subnormal or zero: exact in float */
        f = (float)m * 0x1p-24f;
        return sign ? -f : f;
    }
    memcpy(&f, &u, 4);
    return f;
}

BNNC_FN uint16_t bnnc_f32_to_half(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    uint32_t sign = u >> 16 & 0x8000, a = u & 0x7FFFFFFF;
    if (a > 0x7F800000) return (uint16_t)(sign | 0x7E00);
    if (a >= 0x477FF000) return (uint16_t)(sign | 0x7C00); /* rounds to 65536 or more */
    if (a < 0x38800000) {                                  /* below the smallest normal half: units of 2^-24 */
        float x, y = 8388608.0f;                           /* adding 2^23 rounds to an integer, ties to even */
        memcpy(&x, &a, 4);
        x = x * 0x1p24f + y - y;
        return (uint16_t)(sign | (uint32_t)x);
    }
    a += 0xFFF + (a >> 13 & 1);
    return (uint16_t)(sign | (a - 0x38000000) >> 13);
}

/* ---- whole numbers ---- */
typedef struct {
    int32_t least, most;
} bnnc_range;

/* What a state of whole numbers holds. */
BNNC_COLD bnnc_range bnnc_state_range(const bnnc_state *s) {
    if (s->limit) return (bnnc_range){-s->limit, s->limit - 1};
    return s->dtype == BNNC_I8    ? (bnnc_range){INT8_MIN, INT8_MAX}
           : s->dtype == BNNC_I16 ? (bnnc_range){INT16_MIN, INT16_MAX}
           : s->dtype == BNNC_U8  ? (bnnc_range){0, UINT8_MAX}
                                  : (bnnc_range){INT32_MIN, INT32_MAX};
}
BNNC_COLD bool bnnc_state_whole(const bnnc_state *s) {
    return s->dtype == BNNC_I8 || s->dtype == BNNC_I16 || s->dtype == BNNC_I32 || s->dtype == BNNC_U8;
}

/* ---- one value of a state ---- */

/* Whole numbers are limited to their range, and cut off toward zero. A double holds every value of every type. */
BNNC_COLD void bnnc_state_set(const bnnc_state *s, uint32_t row, uint32_t col, double v) {
    const uint64_t i = (uint64_t)row * s->cols + col;
    uint8_t *base = bnnc_arena + s->offset;
    if (s->dtype == BNNC_F32) {
        const float f = (float)v;
        memcpy(base + i * 4, &f, 4);
    } else if (s->dtype == BNNC_F16) {
        uint16_t h = bnnc_f32_to_half((float)v);
        memcpy(base + i * 2, &h, 2);
    } else if (bnnc_state_whole(s)) {
        const bnnc_range r = bnnc_state_range(s);
        const int32_t n = v >= r.most ? r.most : v > r.least ? (int32_t)v : r.least;
        const int16_t n16 = (int16_t)n;
        if (s->dtype == BNNC_I32)
            memcpy(base + i * 4, &n, 4);
        else if (s->dtype == BNNC_I16)
            memcpy(base + i * 2, &n16, 2);
        else
            base[i] = (uint8_t)n;
    } else { /* little-endian words: bit c is bit c%8 of byte c/8 */
        uint8_t *p = base + (uint64_t)row * ((s->cols + 31) / 32 * 4) + col / 8, mask = (uint8_t)(1u << col % 8);
        *p = (uint8_t)(v >= 0 ? *p | mask : *p & ~mask);
    }
}

BNNC_COLD bool bnnc_state_bit(const bnnc_state *s, uint32_t row, uint32_t col) {
    return bnnc_arena[s->offset + (uint64_t)row * ((s->cols + 31) / 32 * 4) + col / 8] >> col % 8 & 1;
}

/* Share of a state's whole numbers that have reached their limit, on either side; 0 where the dtype is another. */
BNNC_COLD double bnnc_state_saturation(const bnnc_state *s) {
    BNNC_STATES_READ();
    const uint64_t count = (uint64_t)s->rows * s->cols;
    const uint8_t *base = bnnc_arena + s->offset;
    const bnnc_range r = bnnc_state_range(s);
    uint64_t reached = 0;
    if (s->dtype != BNNC_I16 && s->dtype != BNNC_I8) return 0;
    for (uint64_t i = 0; i < count; i++) {
        int16_t n = (int16_t)(base[i] < 128 ? base[i] : base[i] - 256);
        if (s->dtype == BNNC_I16) memcpy(&n, base + i * 2, 2);
        reached += n <= r.least || n >= r.most;
    }
    return (double)reached / (double)count;
}

/* The encoder's thresholds are there; they are found out before the other states get their values, and stay. */
static bool bnnc_fitted;
BNNC_COLD bool bnnc_state_kept(const bnnc_state *s) {
    return bnnc_fitted && NET.encoding.rows && s->offset == NET.encoding.at;
}

/* First values of every state, from the seed. */
BNNC_COLD void bnnc_state_init(uint32_t seed) {
    const uint32_t kept = bnnc_fitted ? BNNC_KEPT_BYTES : 0, rest = BNNC_KEPT_AT + kept;
    memset(bnnc_arena + NET.state_begin, 0, BNNC_KEPT_AT);
    memset(bnnc_arena + NET.state_begin + rest, 0, NET.state_bytes - rest);
    for (uint32_t k = 0; k < NET.n_state; k++) {
        const bnnc_state *s = &NET.state[k];
        if (bnnc_state_kept(s)) continue;
        uint64_t i = 0;
        uint32_t w[4] = {0};
        for (uint32_t r = 0; r < s->rows; r++)
            for (uint32_t c = 0; c < s->cols; c++, i++) {
                double v = (double)s->init_value;
                if (s->init == BNNC_INIT_NORMAL)
                    v = bnnc_state_whole(s) ? bnnc_normal(seed, s->stream, i, (uint32_t)s->init_value)
                                            : v * bnnc_normal(seed, s->stream, i, 4096) / 4096;
                else if (s->init != BNNC_INIT_CONST && i % 4 == 0)
                    bnnc_random4(seed, s->stream, i / 4, w);
                if (s->init == BNNC_INIT_UNIFORM) {
                    v = (double)bnnc_uniform(w[i % 4], s->init_value);
                    if (bnnc_state_whole(s) && v < (double)(int32_t)v) v -= 1; /* rounded down */
                }
                if (s->init == BNNC_INIT_SIGN) v = bnnc_random_bit(w[i % 4]) ? 1 : -1;
                bnnc_state_set(s, r, c, v);
            }
    }
}

/* Of numbers, where each NaN counts as one and the same: its sign and payload are those of the operand that a compiler
 * puts first. */
BNNC_COLD uint64_t bnnc_hash_numbers(uint64_t h, uint32_t offset, uint64_t nbytes, int dtype) {
    const uint8_t *p = bnnc_arena + offset;
    const uint64_t size = dtype == BNNC_F32 ? 4 : dtype == BNNC_F16 ? 2 : nbytes;
    for (uint64_t i = 0; i < nbytes; i += size) {
        static const uint8_t nan[] = {0, 0, 0xC0, 0x7F}, half_nan[] = {0, 0x7E};
        if (size == 4 && (p[i + 3] & 0x7F) == 0x7F && p[i + 2] & 0x80 && (p[i + 2] & 0x7F) + p[i + 1] + p[i])
            h = bnnc_fnv64(h, nan, size);
        else if (size == 2 && (p[i + 1] & 0x7C) == 0x7C && (p[i + 1] & 3) + p[i])
            h = bnnc_fnv64(h, half_nan, size);
        else
            h = bnnc_fnv64(h, p + i, size);
    }
    return h;
}

/* Of all states: equal where a run would go on with equal bits.  In the order in which they lie. */
BNNC_COLD uint64_t bnnc_state_hash(void) {
    uint64_t h = 0xCBF29CE484222325u;
    uint32_t at = NET.state_begin;
    BNNC_STATES_READ();
    for (uint32_t done = 0; done < NET.n_state; done++) {
        const bnnc_state *s = NULL;
        for (uint32_t k = 0; k < NET.n_state; k++)
            if (NET.state[k].offset >= at && (!s || NET.state[k].offset < s->offset)) s = &NET.state[k];
        if (!s) break;
        h = bnnc_fnv64(h, bnnc_arena + at, s->offset - at); /* what aligns it */
        h = bnnc_hash_numbers(h, s->offset, s->nbytes, s->dtype);
        at = s->offset + s->nbytes;
    }
    return bnnc_fnv64(h, bnnc_arena + at, NET.state_begin + NET.state_bytes - at);
}

/* Of the states that --export writes: equal where the networks are. */
BNNC_COLD uint64_t bnnc_weights_hash(void) {
    uint64_t h = 0xCBF29CE484222325u;
    BNNC_STATES_READ();
    for (uint32_t k = 0; k < NET.n_state; k++)
        if (NET.state[k].exported)
            h = bnnc_hash_numbers(h, NET.state[k].offset, NET.state[k].nbytes, NET.state[k].dtype);
    return h;
}

/* What lies where, and what a process needs, for `info`. */
BNNC_COLD void bnnc_say_memory(void) {
    static const char *const types[] = {"f32", "f16", "bit", "u8", "i32", "i16", "i8"};
    for (uint32_t k = 0; k < NET.n_state; k++) {
        const bnnc_state *s = &NET.state[k];
        bnnc_say(1, "  %-28s %-4s %6u x %-6u %10u bytes at %9u  always%s\n", s->name, types[s->dtype], s->rows, s->cols,
                 s->nbytes, s->offset, s->exported ? "" : " (not exported)");
    }
    for (uint32_t k = 0; k < NET.n_buffer; k++) {
        const bnnc_buffer *b = &NET.buffer[k];
        bnnc_say(1, "  %-28s %-4s %6u x %-6u %10u bytes at %9u  kernels %u to %u", b->name, types[b->dtype], b->rows,
                 b->cols, b->nbytes, b->offset, b->first, b->last);
        if (b->line) bnnc_say(1, ", line %u", b->line);
        bnnc_say(1, "\n");
    }
    bnnc_say(1, "%s", NET.summary);
}

#endif

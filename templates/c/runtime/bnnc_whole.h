/* bnnc_whole.h: sums of whole numbers of 8 bits by signs, in 16 bits, and noise, on the vectors of bnnc_vec.h. What stands between
 * #ifndef and #endif an instruction set may do better; all texts mean the same.
 */
#ifndef BNNC_WHOLE_H
#define BNNC_WHOLE_H
#include "bnnc_bits.h"
#define vw BNNC_AT_LEVEL(vw)
#define vwsigned BNNC_AT_LEVEL(vwsigned)
#define vwput BNNC_AT_LEVEL(vwput)
#define vwload BNNC_AT_LEVEL(vwload)
#define vwturned BNNC_AT_LEVEL(vwturned)
#define vwback BNNC_AT_LEVEL(vwback)
#define vwentry BNNC_AT_LEVEL(vwentry)
#define vwhalf BNNC_AT_LEVEL(vwhalf)
#define vwflush BNNC_AT_LEVEL(vwflush)
#define vwcarry BNNC_AT_LEVEL(vwcarry)
#define vwexact BNNC_AT_LEVEL(vwexact)
#define vwpick BNNC_AT_LEVEL(vwpick)
#define vtablew BNNC_AT_LEVEL(vtablew)
#define vpickw BNNC_AT_LEVEL(vpickw)
#define vlookupw BNNC_AT_LEVEL(vlookupw)
#define vtablesw BNNC_AT_LEVEL(vtablesw)
#define vselectw BNNC_AT_LEVEL(vselectw)
#define vdither BNNC_AT_LEVEL(vdither)
#define vnoise BNNC_AT_LEVEL(vnoise)

/* Numbers of 16 bits in the room of one vector: the lanes of two, one behind the other.  Without vectors both lie in a word, as
 * low + 65536 high: sums of such words are the sums of both as long as each fits 16 bits. */
#if VL > 1
typedef uint16_t vw __attribute__((vector_size(4 * VL), aligned(2), may_alias));
typedef int16_t vwsigned __attribute__((vector_size(4 * VL), aligned(2), may_alias));
VINLINE void vwput(vw *p, vi low, vi high) {
    vnarrow_i16((int16_t *)p, low);
    vnarrow_i16((int16_t *)p + VL, high);
}
VINLINE vi vwhalf(const vw *p, int h) { return vwiden_i16((const int16_t *)p + h * VL); }
/* 2 VL numbers from p on; 0 where a mask is. */
VINLINE vw vwpick(const int16_t *p, vi low, vi high) {
    vw mask;
    vwput(&mask, low, high);
    return *(const vw *)(const void *)p & mask;
}
#else
typedef vu vw;
VINLINE void vwput(vw *p, vi low, vi high) { *p = (vu)low + ((vu)high << 16); }
VINLINE vi vwhalf(const vw *p, int h) {
    const vi low = (vi){(int16_t)(*p)[0]};
    return h ? (vi)(*p - (vu)low) >> 16 : low;
}
VINLINE vw vwpick(const int16_t *p, vi low, vi high) {
    vw x;
    vwput(&x, p[0] & low, p[1] & high);
    return x;
}
#endif

#if VL > 1
/* 2 VL neighbouring numbers of 8 bits in 16. */
#ifndef vwwide
#define vwwide BNNC_AT_LEVEL(vwwide)
VINLINE void vwwide(int16_t *out, const int8_t *p) {
    for (int i = 0; i < 2 * VL; i++) out[i] = p[i];
}
#endif
/* 2 VL rows of 16 numbers of 8 bits, `stride` apart, become 16 columns, an array of vectors. */
#ifndef vwturn
#define vwturn BNNC_AT_LEVEL(vwturn)
VINLINE void vwturn(int16_t *out, const int8_t *p, int stride) {
    for (int j = 0; j < 16; j++)
        for (int i = 0; i < 2 * VL; i++) out[2 * VL * j + i] = p[i * stride + j];
}
#endif
/* Rows become columns: out[j][i] = in[i][j] of a 2 VL x 2 VL tile. */
#ifndef vwcross
#define vwcross BNNC_AT_LEVEL(vwcross)
VINLINE void vwcross(int16_t *out, const int16_t *in) {
    for (int i = 0; i < 2 * VL; i++)
        for (int j = 0; j < 2 * VL; j++) out[2 * VL * j + i] = in[2 * VL * i + j];
}
#endif
VINLINE void vwload(vw *to, const int8_t *p) { vwwide((int16_t *)to, p); }
VINLINE void vwturned(vw *to, const int8_t *p, int stride) { vwturn((int16_t *)to, p, stride); }
/* A tile turned, and VL columns of it, the first or the second, in one of its rows then. */
VINLINE void vwback(vw *to, const vw *from) { vwcross((int16_t *)to, (const int16_t *)from); }
VINLINE vi vwentry(const vw *turned, int row, int h) { return vwhalf(turned + row, h); }
#else
VINLINE void vwload(vw *to, const int8_t *p) { vwput(to, vbci(p[0]), vbci(p[1])); }
VINLINE void vwturned(vw *to, const int8_t *p, int stride) {
    for (int j = 0; j < 16; j++) vwput(to + j, vbci(p[j]), vbci(p[stride + j]));
}
VINLINE void vwback(vw *to, const vw *from) { to[0] = from[0], to[1] = from[1]; }
VINLINE vi vwentry(const vw *turned, int row, int h) { return vwhalf(turned + h, row); }
#endif

/* Adds sums of 16 bits to those of 32 bits, two vectors each, and begins anew. */
VINLINE void vwflush(vi *sum, vw *part, int n) {
    for (int i = 0; i < n; i++) {
        sum[2 * i] += vwhalf(part + i, 0);
        sum[2 * i + 1] += vwhalf(part + i, 1);
        vwput(part + i, vbci(0), vbci(0));
    }
}

/* Sums of more terms go on in 16 bits, modulo 2^16, beside their multiples of 2^13: `high`, made anew after each 192 terms at most. Then
 * a sum differs from 2^13 high by what 16 bits hold: -192 x 127 to 192 x 127 + 8191. Sums are below 2^28. */
#if VL > 1
VINLINE void vwcarry(vw *high, const vw *part, int n) {
    for (int i = 0; i < n; i++) high[i] += (vw)((vwsigned)(part[i] - (high[i] << 13)) >> 13);
}
VINLINE vi vwexact(const vw *high, const vw *part, int h) {
    const vi base = vwhalf(high, h) << 13;
    return base + ((vwhalf(part, h) - base) & 0x1fff);
}
#else
VINLINE void vwcarry(vw *high, const vw *part, int n) {
    for (int i = 0; i < n; i++) {
        const int32_t low = vwhalf(high + i, 0)[0], up = vwhalf(high + i, 1)[0];
        const int16_t more = (int16_t)(part[i][0] - (uint32_t)low * 8192u);
        const uint32_t rest = part[i][0] - (uint32_t)low * 8192u - (uint32_t)more; /* the other's sum, above 16 bits */
        vwput(high + i, vbci(low + (more >> 13)), vbci(up + ((int16_t)((rest >> 16) - (uint32_t)up * 8192u) >> 13)));
    }
}
VINLINE vi vwexact(const vw *high, const vw *part, int h) {
    const int32_t low = vwhalf(high, 0)[0] * 8192, up = vwhalf(high, 1)[0] * 8192;
    const int32_t first = low + (int32_t)(((*part)[0] - (uint32_t)low) & 0x1fffu);
    const uint32_t rest = ((*part)[0] - (uint32_t)first) >> 16;
    return vbci(h ? up + (int32_t)((rest - (uint32_t)up) & 0x1fffu) : first);
}
#endif

/* Tables of signed sums of such numbers, of at most 127 in size: 64 of these may be added up. */
VINLINE void vtablew(vw *t, vw r0, vw r1, vw r2, vw r3) {
    const vw lo[4] = {-r0 - r1, r0 - r1, r1 - r0, r0 + r1};
    const vw hi[4] = {-r2 - r3, r2 - r3, r3 - r2, r2 + r3};
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) t[i] = lo[i & 3] + hi[i >> 2];
}
/* To n sums what g fields of their words, from bit `from` on, select from g tables; the words are `stride` apart, field i ends at bit
 * end[i], and first[i] is the first entry of its table.  ARM has the masks, and with 64 bits the addresses of tables, in registers:
 * there a lookup is three instructions. */
VINLINE void vpickw(vw *sum, int n, const vw *t, const uint32_t *w, int stride, int from, int g, const int *end,
                    const int *first) {
    const int size = 2 + (VL == 16 ? 4 : VL == 8 ? 3 : VL == 4 ? 2 : 0); /* 2^size bytes a vector */
    const char *table[8];
    uint32_t mask[7];
#pragma GCC unroll 3
    for (int bits = 4; bits < 7; bits++) {
        mask[bits] = ((1u << bits) - 1) << size;
#if defined(__arm__) || defined(__aarch64__)
        __asm__("" : "+r"(mask[bits]));
#endif
    }
#pragma GCC unroll 8
    for (int i = 0; i < g; i++) {
        table[i] = (const char *)(t + first[i]);
#ifdef __aarch64__
        __asm__("" : "+r"(table[i]));
#endif
    }
    for (int k = 0; k < n; k++, w += stride) {
        const uint32_t word = *w >> from;
        vw acc = sum[k];
#pragma GCC unroll 8
        for (int i = 0; i < g; i++) {
            const int begin = i ? end[i - 1] : 0, by = (begin - size) & 31;
            const uint32_t at = (word >> by | word << (-by & 31)) & mask[end[i] - begin];
            acc += *(const vw *)(const void *)(table[i] + at);
        }
        sum[k] = acc;
    }
}

/* g nibbles and tables of four terms. */
VINLINE void vlookupw(vw *sum, int n, const vw *t, const uint32_t *w, int stride, int from, int g) {
    static const int end[8] = {4, 8, 12, 16, 20, 24, 28, 32}, first[8] = {0, 16, 32, 48, 64, 80, 96, 112};
    vpickw(sum, n, t, w, stride, from, g, end, first);
}

/* Entries of the tables of a term: vtablesw. */
#define VENTRIES (VL < 8 ? 8 : 4)
/* For 16 or 32 `terms` all tables, and what is selected from them: three lookups for 16, in tables of five and six terms,
 * where a vector is small; else four, since larger tables would not stay in the first-level cache beside the sums. */
VINLINE void vtablesw(vw *t, const vw *r, int terms) {
    if (VL >= 8) {
        for (int g = 0; g < terms / 4; g++) vtablew(t + 16 * g, r[4 * g], r[4 * g + 1], r[4 * g + 2], r[4 * g + 3]);
        return;
    }
    for (int h = 0; h < terms / 16; h++, t += 128, r += 16)
#pragma GCC unroll 3
        for (int i = 0; i < 3; i++) { /* three terms' signed sums, and two's or three's */
            const vw *const x = r + 5 * i;
            vw low[8], high[8];
            low[0] = -x[0] - x[1], low[1] = x[0] - x[1], low[2] = x[1] - x[0], low[3] = x[0] + x[1];
            high[0] = -x[3] - x[4], high[1] = x[3] - x[4], high[2] = x[4] - x[3], high[3] = x[3] + x[4];
#pragma GCC unroll 4
            for (int j = 0; j < 4; j++) {
                low[j + 4] = low[j] + x[2], low[j] -= x[2];
                if (i == 2) high[j + 4] = high[j] + x[5], high[j] -= x[5];
            }
            for (int j = 0; j < (i == 2 ? 8 : 4); j++)
#pragma GCC unroll 8
                for (int k = 0; k < 8; k++) t[32 * i + 8 * j + k] = low[k] + high[j];
        }
}
VINLINE void vselectw(vw *sum, int n, const vw *t, const uint32_t *w, int stride, int from, int terms) {
    static const int end[6] = {5, 10, 16, 21, 26, 32}, first[6] = {0, 32, 64, 128, 160, 192};
    if (VL >= 8)
        vlookupw(sum, n, t, w, stride, from, terms / 4);
    else
        vpickw(sum, n, t, w, stride, from, 3 * terms / 16, end, first);
}

/* bnnc_dither (bnnc_rng.h) of columns col, col + 1, ... */
VINLINE vi vdither(int32_t key, int row, int col) {
    return (vi)(((vu)vcol(col) * 0xAE620AB1u + ((uint32_t)row * 0x9E3779B9u + ((uint32_t)key << 17))) >> 17);
}

/* bnnc_noise (bnnc_rng.h) of columns col, col + 1, ... and rows 16 group .. + 15, one vector a row.  A function of its own: it is
 * long, and runs once for 16 vectors.  Of a block's counter only the first word differs between lanes, so the first two rounds
 * take one product of vectors each. */
BNNC_UNUSED __attribute__((noinline)) BNNC_KERNEL vnoise(vi *out, uint32_t seed, uint32_t stream, uint32_t tick,
                                                         int col, int group) {
    const uint32_t m0 = 0xD2511F53u, m1 = 0xCD9E8D57u, w0 = 0x9E3779B9u, w1 = 0xBB67AE85u;
    const uint64_t first = (uint64_t)m1 * tick,
                   second = (uint64_t)m0 * ((uint32_t)(first >> 32) ^ (uint32_t)group ^ seed);
    vu h0 = {0}, h1 = {0};
    const vu low = vmulwide((vu)vcol(col), m0, &h0), low1 = vmulwide(h0 ^ (2u ^ stream), m1, &h1);
    vu c0 = h1 ^ ((uint32_t)first ^ (seed + w0)), c1 = low1, c2 = low ^ ((uint32_t)(second >> 32) ^ (stream + w1));
    vu c3 = (vu){0} + (uint32_t)second, k0 = (vu){0} + (seed + 2 * w0), k1 = (vu){0} + (stream + 2 * w1);
#pragma GCC unroll 8
    for (int round = 2; round < 10; round++) {
        const vu l0 = vmulwide(c0, m0, &h0), l1 = vmulwide(c2, m1, &h1);
        c0 = h1 ^ c1 ^ k0, c1 = l1, c2 = h0 ^ c3 ^ k1, c3 = l0;
        k0 += w0, k1 += w1;
    }
    const vu word[4] = {c0, c1, c2, c3};
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        out[4 * i] = (vi)(word[i] & 0x7fffu);
        out[4 * i + 1] = (vi)(word[i] >> 8 & 0x7fffu);
        out[4 * i + 2] = (vi)(word[i] >> 16 & 0x7fffu);
        out[4 * i + 3] = (vi)((word[i] >> 24 | word[i] << 8) & 0x7fffu);
    }
}

#endif

/* bnnc_bits.h: packed bits, popcounts and tables of signed sums, on the vectors of bnnc_vec.h. What stands between #ifndef and
 * #endif an instruction set may do better; all texts mean the same.
 */
#ifndef BNNC_BITS_H
#define BNNC_BITS_H
#include "bnnc_vec.h"
#define vld_bits BNNC_AT_LEVEL(vld_bits)
#define vld_bits0 BNNC_AT_LEVEL(vld_bits0)
#define vor_bits0 BNNC_AT_LEVEL(vor_bits0)
#define vst_bits BNNC_AT_LEVEL(vst_bits)
#define vpopcnt BNNC_AT_LEVEL(vpopcnt)
#define vtally BNNC_AT_LEVEL(vtally)
#define vtable BNNC_AT_LEVEL(vtable)
#define ventry BNNC_AT_LEVEL(ventry)
#define vlookup BNNC_AT_LEVEL(vlookup)
#define vtablei BNNC_AT_LEVEL(vtablei)
#define vlookupi BNNC_AT_LEVEL(vlookupi)
#define vturni BNNC_AT_LEVEL(vturni)
#define vwinner BNNC_AT_LEVEL(vwinner)
#define vbernoulli BNNC_AT_LEVEL(vbernoulli)

/* One bit a lane: lane 0 is bit 0. */
#ifndef vmovemask
#define vmovemask BNNC_AT_LEVEL(vmovemask)
VINLINE uint32_t vmovemask(vi m) {
    uint32_t w = 0;
    for (int i = 0; i < VL; i++) w |= ((uint32_t)m[i] & 1u) << i;
    return w;
}
#endif

/* Bits at, at+1, ... of a word; the places of the bits are the same in each turn of a loop over rows. */
#ifndef vbits
#define vbits BNNC_AT_LEVEL(vbits)
VINLINE vi vbits(uint32_t word, int at) {
    vu bit = {0};
    for (int i = 0; i < VL; i++) bit[i] = 1u << i;
    bit <<= (uint32_t)at;
    return (vi)((word & bit) == bit);
}
#endif

/* Bits c, c+1, ... (c a multiple of VL) of a row of words packed along columns. */
VINLINE vi vld_bits(const uint32_t *row, int c) { return vbits(row[c >> 5], c & 31); }

/* Row r of bits that are packed along rows: `p` points at the words of the columns. */
VINLINE vi vld_bits0(const uint32_t *p, int r) { return (vi)(((vld_u32(p) >> (uint32_t)(r & 31)) & 1u) != 0); }

/* Set row r of such bits, from words that were cleared before, to m (-1 or 0 a column). */
VINLINE void vor_bits0(uint32_t *p, vi m, int r) { vst_u32(p, vld_u32(p) | (vu)(m & 1) << (uint32_t)(r & 31)); }

/* Store n bits at column c (a multiple of VL) of a row `cols` long; bits past the row's end become 0.  The caller owns the
 * 16 columns around c and stores them from left to right. */
VINLINE void vst_bits(uint32_t *row, int c, vi m, int n, int cols) {
    uint8_t *byte = (uint8_t *)row + c / 8;
    const uint32_t w = n == VL ? vmovemask(m) : vmovemask(m) & (0xffffu >> (16 - n));
    const uint32_t later = c + VL >= cols ? 0 : 0xffu << VL << (c & 7); /* an update in place has yet to read these */
    const uint32_t old = VL < 8 ? byte[0] & (((1u << (c & 7)) - 1u) | later) : 0;
    byte[0] = (uint8_t)(old | w << (c & (VL < 8 ? 7 : 0)));
    if (VL == 16) byte[1] = (uint8_t)(w >> 8);
    if (c + VL >= cols)
        for (uint8_t *end = (uint8_t *)(row + (cols + 31) / 32), *q = byte + (VL == 16 ? 2 : 1); q < end; q++) *q = 0;
}

/* Bit at, at+1, ... of a word as 0 or 1. */
#ifndef vbit01
#define vbit01 BNNC_AT_LEVEL(vbit01)
VINLINE vi vbit01(uint32_t word, int at) { return vbits(word, at) & 1; }
#endif

/* Population counts in parts: vpop1 of a word a lane, vpop3 of three words.  Parts of up to 30 words may be added up;
 * vpopsum turns them into numbers.  A part is four bytes of counts, or with AVX-512 the count. */
#ifndef vpop1
#define vpop1 BNNC_AT_LEVEL(vpop1)
VINLINE vu vpop1(vu x) {
    x = x - ((x >> 1) & 0x55555555u);
    x = (x & 0x33333333u) + ((x >> 2) & 0x33333333u);
    return (x + (x >> 4)) & 0x0f0f0f0fu;
}
#endif
#ifndef vpop3
#define vpop3 BNNC_AT_LEVEL(vpop3)
VINLINE vu vpop3(vu a, vu b, vu c) {
    const vu ab = a ^ b, one = ab ^ c, two = (a & b) | (ab & c); /* a full adder: a + b + c = one + 2 two */
    vu x = one - ((one >> 1) & 0x55555555u), y = two - ((two >> 1) & 0x55555555u);
    x = (x & 0x33333333u) + ((x >> 2) & 0x33333333u);
    y = (y & 0x33333333u) + ((y >> 2) & 0x33333333u);
    x += y + y; /* nibbles of at most 12 */
    return (x & 0x0f0f0f0fu) + ((x >> 4) & 0x0f0f0f0fu);
}
#endif
#ifndef vpopsum
#define vpopsum BNNC_AT_LEVEL(vpopsum)
VINLINE vi vpopsum(vu x) {
    x = (x & 0x00ff00ffu) + ((x >> 8) & 0x00ff00ffu);
    return (vi)((x + (x >> 16)) & 0x3ffu);
}
#endif

/* Population count of each 32-bit lane. */
VINLINE vi vpopcnt(vu x) { return vpopsum(vpop1(x)); }

/* For each bit of rows of words, in how many of `terms` rows it is set, as bit planes: bit p of the count of bit j is bit
 * j%32 of plane[p * stride + j/32].  Term t is row t/2 of `rows`, its complement where t is odd.  Returns the number of planes:
 * what `terms` needs, at most 16.  `stride` is a multiple of 16. */
VINLINE int vtally(uint32_t *plane, int stride, const uint32_t *rows, int row_stride, int words, const uint16_t *term,
                   int terms) {
    const int used = terms ? 32 - __builtin_clz((unsigned)terms) : 0;
    for (int k = 0; k < words; k += VL) {
        vu count[16];
        for (int p = 0; p < used; p++) count[p] = (vu){0};
        for (int i = 0; i < terms; i++) {
            vu carry = vld_words(rows + (term[i] >> 1) * row_stride + k, words - k) ^ -(uint32_t)(term[i] & 1);
            for (int p = 0; p < used; p++) {
                const vu both = count[p] & carry;
                count[p] ^= carry;
                carry = both;
            }
        }
        for (int p = 0; p < used; p++) vst_u32(plane + p * stride + k, count[p]);
    }
    return used;
}

/* Table of the 16 signed sums of four rows: entry i adds row j where bit j of i is set and takes it away where it is not,
 * as (r0 + r1) + (r2 + r3). */
VINLINE void vtable(vf *t, vf r0, vf r1, vf r2, vf r3) {
    const vf lo[4] = {vneg(r0) - r1, r0 - r1, r1 - r0, r0 + r1};
    const vf hi[4] = {vneg(r2) - r3, r2 - r3, r3 - r2, r2 + r3};
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) t[i] = lo[i & 3] + hi[i >> 2];
}

/* The vector that nibble i of w selects from table i of 16.  The nibble is turned to where it counts bytes: no address needs more
 * than a rotation and a mask (two instructions on x86 with BMI2, one on ARM). */
VINLINE const void *ventry(const void *t, uint32_t w, int i) {
    const int size = 2 + (VL == 16 ? 4 : VL == 8 ? 3 : VL == 4 ? 2 : 0); /* 2^size bytes a vector */
    const int by = (4 * i - size) & 31;
    const uint32_t at = (w >> by | w << (-by & 31)) & (15u << size);
    return (const char *)t + (i << (4 + size)) + at;
}

/* acc + the signed sums that the first g nibbles of w select from g tables, in that order. */
VINLINE vf vlookup(vf acc, const vf *t, uint32_t w, int g) {
#pragma GCC unroll 8
    for (int i = 0; i < g; i++) acc += *(const vf *)ventry(t, w, i);
    return acc;
}

/* The same of whole numbers. */
VINLINE void vtablei(vi *t, vi r0, vi r1, vi r2, vi r3) {
    const vi lo[4] = {-r0 - r1, r0 - r1, r1 - r0, r0 + r1};
    const vi hi[4] = {-r2 - r3, r2 - r3, r3 - r2, r2 + r3};
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) t[i] = lo[i & 3] + hi[i >> 2];
}
VINLINE vi vlookupi(vi acc, const vi *t, uint32_t w, int g) {
#pragma GCC unroll 8
    for (int i = 0; i < g; i++) acc += *(const vi *)ventry(t, w, i);
    return acc;
}

/* Bit j of plane[p * words + k] is bit p of byte[j], of 32 bytes. */
#ifndef vlay
#define vlay BNNC_AT_LEVEL(vlay)
VINLINE void vlay(uint32_t *plane, int words, int k, const uint8_t *byte) {
    /* four 8 x 8 matrices of bits, each transposed in three exchanges (Warren, Hacker's Delight, 7-3) */
    uint8_t turned[8][4];
    for (int q = 0; q < 4; q++) {
        uint64_t v, t;
        __builtin_memcpy(&v, byte + 8 * q, 8);
        t = (v ^ (v >> 7)) & 0x00aa00aa00aa00aau, v ^= t ^ (t << 7);
        t = (v ^ (v >> 14)) & 0x0000cccc0000ccccu, v ^= t ^ (t << 14);
        t = (v ^ (v >> 28)) & 0x00000000f0f0f0f0u, v ^= t ^ (t << 28);
        for (int p = 0; p < 8; p++) turned[p][q] = (uint8_t)(v >> 8 * p);
    }
    for (int p = 0; p < 8; p++) __builtin_memcpy(plane + p * words + k, turned[p], 4);
}
#endif

/* Lays n bytes out for vweigh, 32 to 8 words, the last ones filled up with 0; returns their sum. Bit j%32 of
 * plane[p * words + j/32] is bit p of x[j]. */
#ifndef bnnc_planes
#define bnnc_planes BNNC_AT_LEVEL(bnnc_planes)
VINLINE int32_t bnnc_planes(uint32_t *plane, int words, const uint8_t *x, int n) {
    int32_t total = 0;
    for (int k = 0; k < words; k++) {
        uint8_t byte[32] = {0};
        if (32 * k + 32 <= n)
            __builtin_memcpy(byte, x + 32 * k, 32);
        else
            for (int j = 0; 32 * k + j < n; j++) byte[j] = x[32 * k + j];
        for (int j = 0; j < 32; j++) total += byte[j];
        vlay(plane, words, k, byte);
    }
    return total;
}
#endif

/* Bytes weighed with bits, exactly: sum[i], of at most 4 rows as bnnc_planes laid them out, is the sum of those bytes whose bit
 * in the lane's column of b is set.  Bit j of a column is bit j%32 of its word in row j/32 of b, which are `stride` words apart. */
#ifndef vweigh
#define vweigh BNNC_AT_LEVEL(vweigh)
VINLINE void vweigh(vi *sum, int rows, const uint32_t *plane, int words, const uint32_t *b, int stride) {
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++) sum[i] = (vi){0};
    for (int p = 7; p >= 0; p--) {
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++) sum[i] += sum[i];
        for (int k = 0; k < words;) { /* parts of 30 words, three at a time */
            const int end = k + 30 < words ? k + 30 : words;
            const uint32_t *x = plane + p * words;
            vu count[4] = {{0}};
            for (; k + 3 <= end; k += 3) {
                const vu w0 = vld_u32(b + k * stride), w1 = vld_u32(b + (k + 1) * stride),
                         w2 = vld_u32(b + (k + 2) * stride);
#pragma GCC unroll 4
                for (int i = 0; i < rows; i++)
                    count[i] +=
                        vpop3(w0 & x[8 * i * words + k], w1 & x[8 * i * words + k + 1], w2 & x[8 * i * words + k + 2]);
            }
            for (; k < end; k++) {
                const vu w = vld_u32(b + k * stride);
#pragma GCC unroll 4
                for (int i = 0; i < rows; i++) count[i] += vpop1(w & x[8 * i * words + k]);
            }
#pragma GCC unroll 4
            for (int i = 0; i < rows; i++) sum[i] += vpopsum(count[i]);
        }
    }
}
#endif

/* Columns become rows: out[j][i] = in[i][j] of a VL x VL tile. */
#ifndef vtranspose
#define vtranspose BNNC_AT_LEVEL(vtranspose)
VINLINE void vtranspose(vf *restrict out, const vf *restrict in) {
    float *o = (float *)out;
    const float *a = (const float *)in;
    for (int i = 0; i < VL; i++)
        for (int j = 0; j < VL; j++) o[VL * j + i] = a[VL * i + j];
}
#endif

/* The same of whole numbers. */
VINLINE void vturni(vi *restrict out, const vi *restrict in) { vtranspose((vf *)out, (const vf *)in); }

/* The products of each lane with k: low halves, and the high ones to *high. */
#ifndef vmulwide
#define vmulwide BNNC_AT_LEVEL(vmulwide)
VINLINE vu vmulwide(vu a, uint32_t k, vu *high) {
    for (int i = 0; i < VL; i++) (*high)[i] = (uint32_t)((uint64_t)a[i] * k >> 32);
    return a * k;
}
#endif

/* Which of n entries is negative and nearest to zero, the first of equals; -1: none is negative. */
VINLINE int vwinner(const int32_t *entry, int n) {
    const uint32_t flip =
        0x80000000u; /* then negative numbers, in their order, are 0 and more, and the others negative */
    int32_t top = -1;
    if (n < VL) {
        int best = -1;
        for (int i = 0; i < n; i++)
            if ((int32_t)((uint32_t)entry[i] ^ flip) > top) top = (int32_t)((uint32_t)entry[i] ^ flip), best = i;
        return best;
    }
    vi most = vbci(-1);
    for (int i = 0; i < n; i += VL) { /* the last vector may overlap the one before */
        const int at = i + VL <= n ? i : n - VL;
        most = vmaxi(most, (vi)(vld_u32((const uint32_t *)entry + at) ^ flip));
    }
    for (int i = 0; i < VL; i++) top = most[i] > top ? most[i] : top;
    if (top < 0) return -1;
    for (int i = 0;; i += VL) {
        const int at = i + VL <= n ? i : n - VL;
        const uint32_t same = vmovemask((vi)((vi)(vld_u32((const uint32_t *)entry + at) ^ flip) == top));
        if (same) return at + __builtin_ctz(same);
    }
}

/* The words first, first + 1, ... of bnnc_bernoulli (bnnc_rng.h), VL at a time; `out` has room for a multiple of 16. */
VINLINE void vbernoulli(uint32_t *out, int words, uint32_t seed, uint32_t stream, uint32_t tick, int32_t p, int first) {
    if (p <= 0 || p >= 65536) {
        for (int w = 0; w < words; w += VL) vst_u32(out + w, (vu){0} - (uint32_t)(p > 0));
        return;
    }
    VARRAY vu key0[10], key1[10];
    for (uint32_t round = 0; round < 10; round++) {
        key0[round] = (vu){0} + (seed + round * 0x9E3779B9u);
        key1[round] = (vu){0} + (stream + round * 0xBB67AE85u);
    }
    for (int w = 0; w < words; w += VL) {
        vu less = {0}, equal = ~less;
        for (uint32_t block = 0; block < 4; block++) {
            vu c0 = (vu)vcol(first + w), c1 = (vu){0} + tick, c2 = (vu){0} + block, c3 = (vu){0} + 1u;
#pragma GCC unroll 10
            for (int round = 0; round < 10; round++) {
                vu h0 = {0}, h1 = {0};
                const vu l0 = vmulwide(c0, 0xD2511F53u, &h0), l1 = vmulwide(c2, 0xCD9E8D57u, &h1);
                c0 = h1 ^ c1 ^ key0[round], c1 = l1, c2 = h0 ^ c3 ^ key1[round], c3 = l0;
            }
            const vu slice[4] = {c0, c1, c2, c3};
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++)
                if ((uint32_t)p >> (15 - 4 * (int)block - i) & 1u) {
                    less |= equal & ~slice[i];
                    equal &= slice[i];
                } else {
                    equal &= ~slice[i];
                }
            if (vmovemask((vi)(equal != 0)) == 0) break;
        }
        vst_u32(out + w, less);
    }
}

#endif

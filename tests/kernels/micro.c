/* Entry points for test_micro.py: the functions of bnnc_num.h and bnnc_vec.h on whole arrays.
 * Included once per instruction set, as the generated kernels are; the last vector of an array is a tail. */
#ifndef MICRO_ONCE
#define MICRO_ONCE
#include <string.h>
#include "bnnc_num.h"
#define API __attribute__((visibility("default")))
#define SCALAR(name, in, out, f) \
    API void name(const in *x, out *y, int n); \
    void name(const in *x, out *y, int n) { \
        for (int i = 0; i < n; i++) y[i] = f(x[i]); \
    }
SCALAR(num_f16_to_f32, uint16_t, float, bnnc_f16_to_f32)
SCALAR(num_f32_to_f16, float, uint16_t, bnnc_f32_to_f16)
SCALAR(num_exp, float, float, bnnc_exp)
SCALAR(num_log, float, float, bnnc_log)
SCALAR(num_sqrt, float, float, bnnc_sqrtf)
API void num_powi(const float *x, const float *k, float *y, int n);
void num_powi(const float *x, const float *k, float *y, int n) {
    for (int i = 0; i < n; i++) y[i] = bnnc_powi(x[i], k[i]);
}
#endif

#include "bnnc_vec.h"
#include "bnnc_bits.h"
#include "bnnc_whole.h"
#include "bnnc_image.h"
#define NAME(name) BNNC_AT_LEVEL(name)
#define EACH for (int c = 0, m = n < VL ? n : VL; c < n; c += VL, m = n - c < VL ? n - c : VL)

API int NAME(lanes)(void);
int NAME(lanes)(void) { return VL; }

#undef MAP
#define MAP(name, expr) \
    API void NAME(name)(const float *a, const float *b, float *y, int n); \
    void NAME(name)(const float *a, const float *b, float *y, int n) { \
        EACH { \
            const vf x __attribute__((unused)) = vld_f32(a + c, m); \
            const vf z __attribute__((unused)) = vld_f32(b + c, m); \
            vst_f32(y + c, expr, m); \
        } \
    }
MAP(map_sqrt, vsqrt(x))
MAP(map_exp, vexp(x))
MAP(map_log, vlog(x))
MAP(map_powi, vpowi(x, z))
MAP(map_f16, vf16(x))
MAP(map_add, x + z)
MAP(map_mul, x *z)
MAP(map_div, x / z)
MAP(map_neg, vneg(x))
MAP(map_abs, vabs(x))
MAP(map_max, vmax(x, z))
MAP(map_min, vmin(x, z))
MAP(map_select, vsel(x >= 0.0f, x, z))
MAP(map_pm1, vpm1(x >= 0.0f))
MAP(map_01, v01(x > z))
MAP(map_col, vtof(vcol(c)))
MAP(map_broadcast, vbc(a[0]))

#undef LOAD
#define LOAD(name, type, f) \
    API void NAME(name)(const type *x, float *y, int n); \
    void NAME(name)(const type *x, float *y, int n) { \
        EACH { \
            const vf v = f(x + c, m); \
            for (int i = m; i < VL; i++) /* absent lanes read as 0 */ \
                if (v[i] != 0.0f) y[0] = -12345.0f; \
            vst_f32(y + c, v, m); \
        } \
    }
LOAD(load_f32, float, vld_f32)
LOAD(load_f16, uint16_t, vld_f16)
#define ld_i32(p, n) vtof(vld_i32(p, n))
LOAD(load_i32, int32_t, ld_i32)
#undef ld_i32
#define ld_i16(p, n) vtof(vld_i16(p, n))
LOAD(load_i16, int16_t, ld_i16)
#undef ld_i16
#define ld_u8(p, n) vtof(vld_u8(p, n))
LOAD(load_u8, uint8_t, ld_u8)
#undef ld_u8
#define ld_i8(p, n) vtof(vld_i8(p, n))
LOAD(load_i8, int8_t, ld_i8)
#undef ld_i8

API void NAME(store_f16)(const float *x, uint16_t *y, int n);
void NAME(store_f16)(const float *x, uint16_t *y, int n) { EACH vst_f16(y + c, vld_f32(x + c, m), m); }

/* Integers pass through vectors of i32. */
API void NAME(store_ints)(const int32_t *x, int32_t *y, int16_t *z, int n);
void NAME(store_ints)(const int32_t *x, int32_t *y, int16_t *z, int n) {
    EACH {
        vi v = {0};
        for (int i = 0; i < m; i++) v[i] = x[c + i];
        vst_i32(y + c, v, m);
        vst_i16(z + c, v, m);
    }
}

/* A count of lanes of 0 or less, as it is beyond the last column: reads 0, stores nothing. */
API void NAME(no_lanes)(float *f, uint16_t *h, int32_t *w, int16_t *s, int n);
void NAME(no_lanes)(float *f, uint16_t *h, int32_t *w, int16_t *s, int n) {
    vst_f32(f, vld_f32(f, n) + 1.0f, n);
    vst_f16(h, vld_f16(h, n) + 1.0f, n);
    vst_i32(w, vld_i32(w, n) + 1, n);
    vst_i16(s, vld_i16(s, n) + 1, n);
}

/* A row of signs, stored as bits and read back as +-1; `row` may hold anything before. */
API void NAME(bits)(const float *x, uint32_t *row, float *back, int n);
void NAME(bits)(const float *x, uint32_t *row, float *back, int n) {
    EACH vst_bits(row, c, vld_f32(x + c, m) >= 0.0f, m, n);
    EACH vst_f32(back + c, vpm1(vld_bits(row, c)), m);
}

/* The same in place: each vector is read from the row that it then replaces, negated. */
API void NAME(bits_in_place)(uint32_t *row, int n);
void NAME(bits_in_place)(uint32_t *row, int n) { EACH vst_bits(row, c, ~vld_bits(row, c), m, n); }

/* Row r of bits packed along rows; n is a multiple of 16. */
API void NAME(bits0)(const uint32_t *words, float *y, int r, int n);
void NAME(bits0)(const uint32_t *words, float *y, int r, int n) {
    for (int c = 0; c < n; c += VL) vst_f32(y + c, v01(vld_bits0(words + c, r)), VL);
}

/* n is a multiple of 16. */
API void NAME(popcount)(const uint32_t *x, int32_t *y, int n);
void NAME(popcount)(const uint32_t *x, int32_t *y, int n) {
    for (int c = 0; c < n; c += VL) vst_i32(y + c, vpopcnt(vld_u32(x + c)), VL);
}

/* Four rows of n <= 1024 bytes against 16 columns of bits. */
API void NAME(weigh)(const uint8_t *x, int n, const uint32_t *b, int32_t *sums, int32_t *y);
void NAME(weigh)(const uint8_t *x, int n, const uint32_t *b, int32_t *sums, int32_t *y) {
    VARRAY uint32_t plane[4 * 8 * 32];
    const int words = (n + 31) / 32;
    memset(plane, 0xEE, sizeof plane);
    for (int i = 0; i < 4; i++) sums[i] = bnnc_planes(plane + i * 8 * words, words, x + i * n, n);
    for (int c = 0; c < 16; c += VL) {
        vi sum[4];
        vweigh(sum, 4, plane, words, b + c, 16);
        for (int i = 0; i < 4; i++) vst_i32(y + 16 * i + c, sum[i], VL);
    }
}

/* A VL x VL tile. */
API void NAME(transpose)(float *y, const float *x);
void NAME(transpose)(float *y, const float *x) {
    VARRAY vf in[VL], out[VL];
    memcpy(in, x, sizeof in);
    vtranspose(out, in);
    memcpy(y, out, sizeof out);
}

/* acc[i] + sum over 32 rows of +-x[row][i], signs from the bits of w, through tables of four. */
API void NAME(lookup)(float *acc, const float *x, uint32_t w, int groups);
void NAME(lookup)(float *acc, const float *x, uint32_t w, int groups) {
    VARRAY vf table[8 * 16];
    for (int g = 0; g < groups; g++) {
        const float *row = x + 4 * g * VL;
        vtable(table + 16 * g, vld_f32(row, VL), vld_f32(row + VL, VL), vld_f32(row + 2 * VL, VL),
               vld_f32(row + 3 * VL, VL));
    }
    vst_f32(acc, vlookup(vld_f32(acc, VL), table, w, groups), VL);
}

/* 2 VL rows of 16 bytes, which are `stride` apart, in columns; then a tile of 2 VL x 2 VL turned; then a row of 2 VL bytes. */
API void NAME(turn_bytes)(const int8_t *x, int stride, int32_t *y);
void NAME(turn_bytes)(const int8_t *x, int stride, int32_t *y) {
    VARRAY vw term[16];
    vwturned(term, x, stride);
    for (int j = 0; j < 16; j++)
        for (int h = 0; h < 2; h++) vst_i32(y + (2 * j + h) * VL, vwhalf(term + j, h), VL);
}
API void NAME(turn_whole)(const int32_t *x, int32_t *y);
void NAME(turn_whole)(const int32_t *x, int32_t *y) {
    VARRAY vw from[2 * VL], to[2 * VL];
    for (int i = 0; i < 2 * VL; i++) vwput(from + i, vld_i32(x + 2 * VL * i, VL), vld_i32(x + 2 * VL * i + VL, VL));
    vwback(to, from);
    for (int i = 0; i < 2 * VL; i++)
        for (int h = 0; h < 2; h++) vst_i32(y + 2 * VL * i + h * VL, vwentry(to, i, h), VL);
}
API void NAME(widen_whole)(const int8_t *x, int32_t *y);
void NAME(widen_whole)(const int8_t *x, int32_t *y) {
    vw wide;
    vwload(&wide, x);
    for (int h = 0; h < 2; h++) vst_i32(y + h * VL, vwhalf(&wide, h), VL);
}

/* Sums of 32 rows of 2 VL numbers of 8 bits through tables of four: signs from the bits of ~w; all with sign - and 1, and
 * signs from the lower 16 bits of w.  Then through all tables that an instruction set has: signs from w, and from its upper half
 * for the last 16. */
API void NAME(lookup_whole)(const int8_t *x, uint32_t w, int32_t *y);
void NAME(lookup_whole)(const int8_t *x, uint32_t w, int32_t *y) {
    VARRAY vw table[8 * 16], wide[32 * VENTRIES], term[32], sum[2];
    for (int j = 0; j < 32; j++) vwload(term + j, x + 2 * VL * j);
    for (int g = 0; g < 8; g++) vtablew(table + 16 * g, term[4 * g], term[4 * g + 1], term[4 * g + 2], term[4 * g + 3]);
    for (int i = 0; i < 2; i++) vwput(sum + i, vbci(i), vbci(i));
    const uint32_t words[4] = {0, 0, ~w, w << 16};
    vlookupw(sum, 2, table, words + 2, -2, 0, 8); /* that of word 0, and of ~w */
    vlookupw(sum + 1, 1, table, words + 3, 1, 16, 4);
    for (int i = 0; i < 2; i++)
        for (int h = 0; h < 2; h++) vst_i32(y + (2 * i + h) * VL, vwhalf(sum + i, h), VL);
    for (int i = 0; i < 2; i++) vwput(sum + i, vbci(0), vbci(0));
    vtablesw(wide, term, 32);
    vselectw(sum, 1, wide, &w, 1, 0, 32);
    vtablesw(wide, term + 16, 16);
    vselectw(sum + 1, 1, wide, &w, 1, 16, 16);
    for (int i = 0; i < 2; i++)
        for (int h = 0; h < 2; h++) vst_i32(y + (4 + 2 * i + h) * VL, vwhalf(sum + i, h), VL);
}

/* Noise of 16 rows and 16 columns; `of`: seed, stream, tick, column, row / 16. */
API void NAME(noise)(const uint32_t *of, int32_t *y);
void NAME(noise)(const uint32_t *of, int32_t *y) {
    for (int c = 0; c < 16; c += VL) {
        VARRAY vi drawn[16];
        vnoise(drawn, of[0], of[1], of[2], (int)of[3] + c, (int)of[4]);
        for (int i = 0; i < 16; i++) vst_i32(y + 16 * i + c, drawn[i], VL);
    }
}

/* Sums of `steps` rows of 2 VL numbers of 16 bits, each 192 terms' at most. */
API void NAME(carry)(const int32_t *x, int steps, int32_t *y);
void NAME(carry)(const int32_t *x, int steps, int32_t *y) {
    VARRAY vw part[1], high[1], more = {0};
    vwput(part, vbci(0), vbci(0));
    vwput(high, vbci(0), vbci(0));
    for (int i = 0; i < steps; i++, x += 2 * VL) {
        vwput(&more, vld_i32(x, VL), vld_i32(x + VL, VL));
        part[0] += more;
        vwcarry(high, part, 1);
    }
    for (int h = 0; h < 2; h++) vst_i32(y + h * VL, vwexact(high, part, h), VL);
}
#undef EACH
#undef NAME

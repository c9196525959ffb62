/* bnnc_vec.h: vectors of VL lanes of f32 or i32: 16 with AVX-512, 8 with AVX2, 4 with SSE2 or NEON, 1 without any.
 *
 * What is here is the meaning, in plain lanes: + - * / and comparisons of `vf` and `vi` are IEEE operations per lane (GCC's vector
 * extension), and no sum runs across lanes, so each instruction set gives the same bits. What stands between #ifndef and #endif
 * an instruction set may do better: its file, which is included first, then defines that name.
 *
 * A load or store of `n` < VL lanes touches n elements only; absent lanes read as 0.
 */
#ifndef BNNC_VEC_H
#define BNNC_VEC_H
#include "bnnc_num.h"
/* gcc's macros follow its pragmas; clang's do not, and there bnnc_.._begin.h says BNNC_FOR_.. */
#if defined(BNNC_FOR_AVX512) || \
    (defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VPOPCNTDQ__))
#include "bnnc_avx512.h"
#elif defined(BNNC_FOR_AVX2) || (defined(__AVX2__) && defined(__F16C__))
#include "bnnc_avx2.h"
#elif defined(__SSE2__)
#include "bnnc_sse2.h"
#elif defined(__aarch64__) && defined(__ARM_NEON) && (defined(BNNC_FOR_DOTPROD) || defined(__ARM_FEATURE_DOTPROD))
#include "bnnc_dotprod.h"
#elif defined(__ARM_NEON) && (defined(__aarch64__) || !defined(__clang__))
#include "bnnc_neon.h" /* not 32 bits and clang: NEON takes subnormal numbers for 0 there, gcc computes floats outside of it */
#else
#include "bnnc_lanes.h"
#endif
#define vpm1 BNNC_AT_LEVEL(vpm1)
#define v01 BNNC_AT_LEVEL(v01)
#define vtof BNNC_AT_LEVEL(vtof)
#define vneg BNNC_AT_LEVEL(vneg)
#define vabs BNNC_AT_LEVEL(vabs)
#define vmax BNNC_AT_LEVEL(vmax)
#define vmin BNNC_AT_LEVEL(vmin)
#define vabsi BNNC_AT_LEVEL(vabsi)
#define vexp BNNC_AT_LEVEL(vexp)
#define vlog BNNC_AT_LEVEL(vlog)
#define vpowi BNNC_AT_LEVEL(vpowi)
#define vround BNNC_AT_LEVEL(vround)
#define vexponent BNNC_AT_LEVEL(vexponent)
#define vpow2 BNNC_AT_LEVEL(vpow2)
#define vf16 BNNC_AT_LEVEL(vf16)
#define vld_f32 BNNC_AT_LEVEL(vld_f32)
#define vld_f16 BNNC_AT_LEVEL(vld_f16)
#define vld_i32 BNNC_AT_LEVEL(vld_i32)
#define vld_i16 BNNC_AT_LEVEL(vld_i16)
#define vld_i8 BNNC_AT_LEVEL(vld_i8)
#define vld_u8 BNNC_AT_LEVEL(vld_u8)
#define vst_f32 BNNC_AT_LEVEL(vst_f32)
#define vst_f16 BNNC_AT_LEVEL(vst_f16)
#define vst_i32 BNNC_AT_LEVEL(vst_i32)
#define vst_i16 BNNC_AT_LEVEL(vst_i16)
#define vst_i8 BNNC_AT_LEVEL(vst_i8)

#ifndef vsel
#define vsel BNNC_AT_LEVEL(vsel)
VINLINE vf vsel(vi m, vf a, vf b) { return (vf)((m & (vi)a) | (~m & (vi)b)); }
#endif

/* The sum of all lanes. */
#ifndef vsum
#define vsum BNNC_AT_LEVEL(vsum)
VINLINE int32_t vsum(vi a) {
    int32_t sum = 0;
    for (int i = 0; i < VL; i++) sum += a[i];
    return sum;
}
#endif

/* The larger and the smaller of whole numbers. */
#ifndef vmaxi
#define vmaxi BNNC_AT_LEVEL(vmaxi)
VINLINE vi vmaxi(vi a, vi b) { return vseli(a > b, a, b); }
#endif
#ifndef vmini
#define vmini BNNC_AT_LEVEL(vmini)
VINLINE vi vmini(vi a, vi b) { return vseli(a < b, a, b); }
#endif
VINLINE vi vabsi(vi a) { return vmaxi(a, -a); }

/* +1 or -1 for a bit, 1 or 0 for a bool. */
VINLINE vf vpm1(vi m) { return vsel(m, vbc(1.0f), vbc(-1.0f)); }
VINLINE vf v01(vi m) { return (vf)(m & (vi)vbc(1.0f)); }

VINLINE vf vtof(vi x) { return __builtin_convertvector(x, vf); }
VINLINE vf vneg(vf x) { return (vf)((vi)x ^ (vi)vbc(-0.0f)); }
VINLINE vf vabs(vf x) { return (vf)((vi)x & 0x7fffffff); }
VINLINE vf vmax(vf a, vf b) { return vsel(a > b, a, b); }
VINLINE vf vmin(vf a, vf b) { return vsel(a < b, a, b); }

/* bnnc_round, bnnc_exponent and bnnc_pow2 (bnnc_num.h), lane by lane. */
VINLINE vi vround(vf x) {
    x = vmin(vmax(x, vbc(-4194304.0f)), vbc(4194304.0f));
    return __builtin_convertvector((x + 12582912.0f) - 12582912.0f, vi);
}
VINLINE vi vexponent(vf x) { return (vi)((vu)x >> 23 & 255u) - 126; }
VINLINE vf vpow2(vi e) { return (vf)((vu)(vmini(vmaxi(e, vbci(-126)), vbci(127)) + 127) << 23); }

/* The correctly rounded square root. */
#ifndef vsqrt
#define vsqrt BNNC_AT_LEVEL(vsqrt)
VINLINE vf vsqrt(vf x) {
    vf y;
    for (int i = 0; i < VL; i++) y[i] = bnnc_sqrtf(x[i]);
    return y;
}
#endif

/* exp and log: the operations of bnnc_exp and bnnc_log (bnnc_num.h), lane by lane. */
VINLINE vf vexp(vf x) {
    vf y;
    for (int i = 0; i < VL; i++) y[i] = bnnc_exp(x[i]);
    return y;
}
VINLINE vf vlog(vf x) {
    vf y;
    for (int i = 0; i < VL; i++) y[i] = bnnc_log(x[i]);
    return y;
}
VINLINE vf vpowi(vf x, vf n) {
    vf y;
    for (int i = 0; i < VL; i++) y[i] = bnnc_powi(x[i], n[i]);
    return y;
}

/* VL neighbouring small integers, widened; f16: exactly. GCC does not find these instructions by itself. */
#ifndef vwiden_u8
#define vwiden_u8 BNNC_AT_LEVEL(vwiden_u8)
VINLINE vi vwiden_u8(const uint8_t *p) { return __builtin_convertvector(*(const vb *)(const void *)p, vi); }
#endif
#ifndef vwiden_i8
#define vwiden_i8 BNNC_AT_LEVEL(vwiden_i8)
VINLINE vi vwiden_i8(const int8_t *p) { return __builtin_convertvector(*(const vc *)(const void *)p, vi); }
#endif
#ifndef vwiden_i16
#define vwiden_i16 BNNC_AT_LEVEL(vwiden_i16)
VINLINE vi vwiden_i16(const int16_t *p) { return __builtin_convertvector(*(const vs *)(const void *)p, vi); }
#endif
#ifndef vwiden_f16
#define vwiden_f16 BNNC_AT_LEVEL(vwiden_f16)
#if VL == 1
VINLINE vf vwiden_f16(const uint16_t *p) { return (vf){bnnc_f16_to_f32(*p)}; } /* one number's case is known */
#else
VINLINE vf vwiden_f16(const uint16_t *p) { /* the operations of bnnc_f16_to_f32 */
    const vu h = __builtin_convertvector(*(const vh *)(const void *)p, vu), m = (h & 0x7fffu) << 13;
    const vu special = (vu)((h & 0x7c00u) == 0x7c00u), nan = special & (vu)((m & 0x7fffffu) != 0);
    const vu finite = (vu)((vf)m * 0x1p112f);
    return (vf)((h & 0x8000u) << 16 | (special & (m | 0x7f800000u)) | (nan & 0x400000u) | (~special & finite));
}
#endif
#endif

/* The same back: i16 and i8 keep their low bits, f16 is rounded to nearest, ties to even. */
#ifndef vnarrow_i16
#define vnarrow_i16 BNNC_AT_LEVEL(vnarrow_i16)
VINLINE void vnarrow_i16(int16_t *p, vi v) { *(vs *)p = __builtin_convertvector(v, vs); }
#endif
#ifndef vnarrow_i8
#define vnarrow_i8 BNNC_AT_LEVEL(vnarrow_i8)
VINLINE void vnarrow_i8(int8_t *p, vi v) { *(vc *)p = __builtin_convertvector(v, vc); }
#endif
#ifndef vnarrow_f16
#define vnarrow_f16 BNNC_AT_LEVEL(vnarrow_f16)
#if VL == 1
VINLINE void vnarrow_f16(uint16_t *p, vf v) { *p = bnnc_f32_to_f16(v[0]); }
#else
VINLINE void vnarrow_f16(uint16_t *p, vf v) { /* the operations of bnnc_f32_to_f16 */
    const vu u = (vu)v, a = u & 0x7fffffffu;
    const vu small = (vu)((vf)a + 0.5f) - 0x3f000000u, normal = (a - 0x38000000u + 0xfffu + ((a >> 13) & 1u)) >> 13;
    const vu is_nan = (vu)((vi)a > 0x7f800000), is_big = (vu)((vi)a >= 0x47800000), is_small = (vu)((vi)a < 0x38800000);
    const vu h = (is_small & small) | (~is_small & ~is_big & normal) | (is_big & ~is_nan & 0x7c00u) |
                 (is_nan & (0x7e00u | ((a >> 13) & 0x3ffu)));
    *(vh *)(void *)p = __builtin_convertvector(h | ((u >> 16) & 0x8000u), vh);
}
#endif
#endif

/* The first n words, or half words; absent lanes read as 0. */
#ifndef vld_words
#define vld_words BNNC_AT_LEVEL(vld_words)
VINLINE vu vld_words(const uint32_t *p, int n) {
    if (n >= VL) return vld_u32(p);
    vu v = {0};
    for (int i = 0; i < n; i++) v[i] = p[i];
    return v;
}
#endif
#ifndef vld_halves
#define vld_halves BNNC_AT_LEVEL(vld_halves)
VINLINE vh vld_halves(const uint16_t *p, int n) {
    vh v = {0};
    for (int i = 0; i < n; i++) v[i] = p[i];
    return v;
}
#endif
/* Stores the first n of them. */
#ifndef vst_words
#define vst_words BNNC_AT_LEVEL(vst_words)
VINLINE void vst_words(uint32_t *p, vu v, int n) {
    for (int i = 0; i < n; i++) p[i] = v[i];
}
#endif
#ifndef vst_halves
#define vst_halves BNNC_AT_LEVEL(vst_halves)
VINLINE void vst_halves(uint16_t *p, vh v, int n) {
    for (int i = 0; i < n; i++) p[i] = v[i];
}
#endif

VINLINE vf vld_f32(const float *p, int n) {
    return n == VL ? *(const vf *)p : (vf)vld_words((const uint32_t *)(const void *)p, n);
}
VINLINE vi vld_i32(const int32_t *p, int n) { return n == VL ? *(const vi *)p : (vi)vld_words((const uint32_t *)p, n); }
VINLINE vi vld_i16(const int16_t *p, int n) {
    if (n == VL) return vwiden_i16(p);
    const vh some = vld_halves((const uint16_t *)p, n);
    return vwiden_i16((const int16_t *)&some);
}
VINLINE vi vld_i8(const int8_t *p, int n) {
    if (n == VL) return vwiden_i8(p);
    vi v = {0};
    for (int i = 0; i < n; i++) v[i] = p[i];
    return v;
}
VINLINE vi vld_u8(const uint8_t *p, int n) {
    if (n == VL) return vwiden_u8(p);
    vi v = {0};
    for (int i = 0; i < n; i++) v[i] = p[i];
    return v;
}

VINLINE vf vld_f16(const uint16_t *p, int n) {
    if (n == VL) return vwiden_f16(p);
    const vh some = vld_halves(p, n);
    return vwiden_f16((const uint16_t *)&some);
}
VINLINE void vst_f16(uint16_t *p, vf v, int n) {
    if (n == VL) {
        vnarrow_f16(p, v);
        return;
    }
    vh all;
    vnarrow_f16((uint16_t *)&all, v);
    vst_halves(p, all, n);
}

/* The f32 nearest to x that an f16 can hold. */
VINLINE vf vf16(vf x) {
    uint16_t h[VL];
    vst_f16(h, x, VL);
    return vld_f16(h, VL);
}

VINLINE void vst_f32(float *p, vf v, int n) {
    if (n == VL) {
        *(vf *)p = v;
        return;
    }
    vst_words((uint32_t *)(void *)p, (vu)v, n);
}
VINLINE void vst_i32(int32_t *p, vi v, int n) {
    if (n == VL) {
        *(vi *)p = v;
        return;
    }
    vst_words((uint32_t *)p, (vu)v, n);
}
VINLINE void vst_i16(int16_t *p, vi v, int n) {
    if (n == VL) {
        vnarrow_i16(p, v);
        return;
    }
    vh all;
    vnarrow_i16((int16_t *)&all, v);
    vst_halves((uint16_t *)p, all, n);
}
VINLINE void vst_i8(int8_t *p, vi v, int n) {
    if (n == VL) {
        vnarrow_i8(p, v);
        return;
    }
    for (int i = 0; i < n; i++) p[i] = (int8_t)v[i];
}

#endif

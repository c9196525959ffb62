/* bnnc_vec.h: vectors of VL lanes of f32 or i32: 16 with AVX-512, 8 with AVX2, 4 with SSE2 or NEON, 1 without any.
 *
 * Included once per instruction set: the generated file sets the compiler's target, defines BNNC_LEVEL (base, avx2, avx512
 * or native) and includes this file and the kernels again.  Every function gets the level as a suffix, so that one program
 * holds all of them.  Arithmetic is GCC's vector extension: + - * / and comparisons of `vf` and `vi` are IEEE operations per
 * lane, and no sum runs across lanes, so each level gives the same bits; the functions marked (*) have a faster text where
 * the level has one.
 *
 * Lanes are neighbouring columns.  A load or store of `n` < VL lanes touches n elements only; absent lanes read as 0.
 * A mask (`vi`) is all ones for true and for the bit +1, all zeros for false and -1.
 */
#define BNNC_CAT2(a, b) a##_##b
#define BNNC_CAT(a, b) BNNC_CAT2(a, b)
#define BNNC_AT_LEVEL(name) BNNC_CAT(name, BNNC_LEVEL)

#ifndef BNNC_VEC_ONCE
#define BNNC_VEC_ONCE
#include <stdint.h>
#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif
#pragma GCC diagnostic ignored "-Wpsabi" /* every function that passes a vector is inlined: there is no ABI */
#define VINLINE static inline __attribute__((always_inline, unused))
/* no_icf: kernels on the same bytes of the arena may be the same code, and gcc 12 then loses one of them (aarch64, -O2: the
 * function that is left counts as one that stores nothing) */
#ifdef BNNC_APART
#define BNNC_TEXT2(x) #x
#define BNNC_TEXT(x) BNNC_TEXT2(x)
#define BNNC_KERNEL static __attribute__((no_icf, section("bnnc_" BNNC_TEXT(BNNC_LEVEL)))) void
#elif defined(__GNUC__) && !defined(__clang__)
#define BNNC_KERNEL static __attribute__((no_icf)) void
#else
#define BNNC_KERNEL static void
#endif
#define BNNC_UNUSED __attribute__((unused))
#define VARRAY _Alignas(64) /* local arrays of vectors: no load crosses a cache line */
#define VTYPE(name, bytes) name __attribute__((vector_size((bytes) * VL), aligned(bytes), may_alias))
#endif

/* What the level has: gcc's own macros follow its pragmas, clang's do not, and there the generated file says BNNC_FOR_.. */
#undef BNNC_AVX512
#undef BNNC_AVX2
#if defined(BNNC_FOR_AVX512) || \
    (defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VPOPCNTDQ__))
#define BNNC_AVX512 1
#endif
#if defined(BNNC_AVX512) || defined(BNNC_FOR_AVX2) || (defined(__AVX2__) && defined(__F16C__))
#define BNNC_AVX2 1
#endif
#undef VL
#ifdef BNNC_AVX512
#define VL 16
#elif defined(BNNC_AVX2)
#define VL 8
#elif defined(__SSE2__) || (defined(__ARM_NEON) && (defined(__aarch64__) || !defined(__clang__)))
#define VL 4 /* 32-bit NEON takes subnormal numbers for 0: gcc computes floats outside of it, clang does not */
#else
#define VL 1
#endif
#undef BNNC_NEON
#undef BNNC_NEON_F16
#undef BNNC_DOT
#undef BNNC_DOT_ARCH
#if VL == 4 && defined(__ARM_NEON)
#define BNNC_NEON 1
#if defined(__ARM_FEATURE_DOTPROD) || (defined(__aarch64__) && defined(BNNC_DOTPROD))
#ifdef __ARM_FEATURE_DOTPROD
#define BNNC_DOT_ARCH ""
#else
#define BNNC_DOT_ARCH ".arch armv8.2-a+dotprod\n\t"
#endif
/* In each lane of acc the products of four bytes of a with the four of one lane of b are added up. */
#define BNNC_DOT(acc, a, b, lane) \
    __asm__(BNNC_DOT_ARCH "udot %0.4s, %1.16b, %2.4b[" #lane "]" : "+w"(acc) : "w"(a), "w"(b))
#endif
#if defined(__aarch64__) || (defined(__ARM_FP16_FORMAT_IEEE) && defined(__ARM_FP) && (__ARM_FP & 2))
#define BNNC_NEON_F16 1
#endif
#endif

#define vf BNNC_AT_LEVEL(vf)
#define vi BNNC_AT_LEVEL(vi)
#define vu BNNC_AT_LEVEL(vu)
#define vb BNNC_AT_LEVEL(vb)
#define vc BNNC_AT_LEVEL(vc)
#define vs BNNC_AT_LEVEL(vs)
#define vh BNNC_AT_LEVEL(vh)
#define vld_f32 BNNC_AT_LEVEL(vld_f32)
#define vld_f16 BNNC_AT_LEVEL(vld_f16)
#define vld_i32 BNNC_AT_LEVEL(vld_i32)
#define vld_i16 BNNC_AT_LEVEL(vld_i16)
#define vld_u8 BNNC_AT_LEVEL(vld_u8)
#define vld_u32 BNNC_AT_LEVEL(vld_u32)
#define vld_words BNNC_AT_LEVEL(vld_words)
#define vld_bits BNNC_AT_LEVEL(vld_bits)
#define vld_bits0 BNNC_AT_LEVEL(vld_bits0)
#define vor_bits0 BNNC_AT_LEVEL(vor_bits0)
#define vst_f32 BNNC_AT_LEVEL(vst_f32)
#define vst_f16 BNNC_AT_LEVEL(vst_f16)
#define vst_i32 BNNC_AT_LEVEL(vst_i32)
#define vst_i16 BNNC_AT_LEVEL(vst_i16)
#define vst_bits BNNC_AT_LEVEL(vst_bits)
#define vst_u32 BNNC_AT_LEVEL(vst_u32)
#define vbc BNNC_AT_LEVEL(vbc)
#define vcol BNNC_AT_LEVEL(vcol)
#define vsel BNNC_AT_LEVEL(vsel)
#define vpm1 BNNC_AT_LEVEL(vpm1)
#define v01 BNNC_AT_LEVEL(v01)
#define vtof BNNC_AT_LEVEL(vtof)
#define vneg BNNC_AT_LEVEL(vneg)
#define vabs BNNC_AT_LEVEL(vabs)
#define vmax BNNC_AT_LEVEL(vmax)
#define vmin BNNC_AT_LEVEL(vmin)
#define vsqrt BNNC_AT_LEVEL(vsqrt)
#define vexp BNNC_AT_LEVEL(vexp)
#define vlog BNNC_AT_LEVEL(vlog)
#define vpowi BNNC_AT_LEVEL(vpowi)
#define vf16 BNNC_AT_LEVEL(vf16)
#define vwiden_u8 BNNC_AT_LEVEL(vwiden_u8)
#define vwiden_i8 BNNC_AT_LEVEL(vwiden_i8)
#define vwiden_i16 BNNC_AT_LEVEL(vwiden_i16)
#define vld_i8 BNNC_AT_LEVEL(vld_i8)
#define vst_i8 BNNC_AT_LEVEL(vst_i8)
#define vbci BNNC_AT_LEVEL(vbci)
#define vseli BNNC_AT_LEVEL(vseli)
#define vabsi BNNC_AT_LEVEL(vabsi)
#define vmaxi BNNC_AT_LEVEL(vmaxi)
#define vmini BNNC_AT_LEVEL(vmini)
#define vbits BNNC_AT_LEVEL(vbits)
#define vsum BNNC_AT_LEVEL(vsum)
#define vbit01 BNNC_AT_LEVEL(vbit01)
#define vpopcnt BNNC_AT_LEVEL(vpopcnt)
#define vpop1 BNNC_AT_LEVEL(vpop1)
#define vpop3 BNNC_AT_LEVEL(vpop3)
#define vpopsum BNNC_AT_LEVEL(vpopsum)
#define vwinner BNNC_AT_LEVEL(vwinner)
#define vtally BNNC_AT_LEVEL(vtally)
#define vweigh BNNC_AT_LEVEL(vweigh)
#define vmulwide BNNC_AT_LEVEL(vmulwide)
#define vbernoulli BNNC_AT_LEVEL(vbernoulli)
#define vmovemask BNNC_AT_LEVEL(vmovemask)
#define vtable BNNC_AT_LEVEL(vtable)
#define vtranspose BNNC_AT_LEVEL(vtranspose)
#define vlookup BNNC_AT_LEVEL(vlookup)
#define bnnc_planes BNNC_AT_LEVEL(bnnc_planes)

typedef float VTYPE(vf, 4);
typedef int32_t VTYPE(vi, 4);
typedef uint32_t VTYPE(vu, 4);
typedef uint8_t VTYPE(vb, 1);
typedef int8_t VTYPE(vc, 1);
typedef int16_t VTYPE(vs, 2);
typedef uint16_t VTYPE(vh, 2);

VINLINE vf vbc(float x) { return x - (vf){0}; }

VINLINE vi vbci(int32_t x) { return x - (vi){0}; }

/* The column numbers c, c+1, ... */
VINLINE vi vcol(int c) {
    vi v = {0};
    for (int i = 0; i < VL; i++) v[i] = c + i;
    return v;
}

VINLINE vf vsel(vi m, vf a, vf b) {
#ifdef BNNC_NEON
    return (vf)vbslq_u32((uint32x4_t)m, (uint32x4_t)a, (uint32x4_t)b);
#endif
    return (vf)((m & (vi)a) | (~m & (vi)b));
}

VINLINE vi vseli(vi m, vi a, vi b) { return (m & a) | (~m & b); }
/* (*) The sum of all lanes. */
VINLINE int32_t vsum(vi a) {
#ifdef BNNC_AVX512
    return _mm512_reduce_add_epi32((__m512i)a);
#elif defined(BNNC_NEON) && defined(__aarch64__)
    return vaddvq_s32((int32x4_t)a);
#else
    int32_t sum = 0;
    for (int i = 0; i < VL; i++) sum += a[i];
    return sum;
#endif
}

/* (*) The larger and the smaller of whole numbers. */
VINLINE vi vmaxi(vi a, vi b) {
#ifdef BNNC_AVX512
    return (vi)_mm512_max_epi32((__m512i)a, (__m512i)b);
#elif defined(BNNC_AVX2)
    return (vi)_mm256_max_epi32((__m256i)a, (__m256i)b);
#elif defined(BNNC_NEON)
    return (vi)vmaxq_s32((int32x4_t)a, (int32x4_t)b);
#else
    return vseli(a > b, a, b);
#endif
}
VINLINE vi vmini(vi a, vi b) {
#ifdef BNNC_AVX512
    return (vi)_mm512_min_epi32((__m512i)a, (__m512i)b);
#elif defined(BNNC_AVX2)
    return (vi)_mm256_min_epi32((__m256i)a, (__m256i)b);
#elif defined(BNNC_NEON)
    return (vi)vminq_s32((int32x4_t)a, (int32x4_t)b);
#else
    return vseli(a < b, a, b);
#endif
}
VINLINE vi vabsi(vi a) { return vmaxi(a, -a); }

/* +1 or -1 for a bit, 1 or 0 for a bool. */
VINLINE vf vpm1(vi m) { return vsel(m, vbc(1.0f), vbc(-1.0f)); }
VINLINE vf v01(vi m) { return (vf)(m & (vi)vbc(1.0f)); }

VINLINE vf vtof(vi x) { return __builtin_convertvector(x, vf); }
VINLINE vf vneg(vf x) { return (vf)((vi)x ^ (vi)vbc(-0.0f)); }
VINLINE vf vabs(vf x) { return (vf)((vi)x & 0x7fffffff); }
VINLINE vf vmax(vf a, vf b) { return vsel(a > b, a, b); }
VINLINE vf vmin(vf a, vf b) { return vsel(a < b, a, b); }

/* (*) The correctly rounded square root. */
VINLINE vf vsqrt(vf x) {
#ifdef BNNC_AVX512
    return (vf)_mm512_sqrt_ps((__m512)x);
#elif defined(BNNC_AVX2)
    return (vf)_mm256_sqrt_ps((__m256)x);
#elif defined(__SSE2__)
    return (vf)_mm_sqrt_ps((__m128)x);
#elif defined(BNNC_NEON) && defined(__aarch64__)
    return (vf)vsqrtq_f32((float32x4_t)x);
#else
    vf y;
    for (int i = 0; i < VL; i++) y[i] = bnnc_sqrtf(x[i]);
    return y;
#endif
}

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

/* (*) VL neighbouring small integers, widened; GCC does not find these instructions by itself. */
VINLINE vi vwiden_u8(const uint8_t *p) {
#ifdef BNNC_AVX512
    return (vi)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
#elif defined(BNNC_AVX2)
    return (vi)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p));
#elif defined(BNNC_NEON)
    uint32_t four;
    __builtin_memcpy(&four, p, 4);
    return (vi)vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(four))));
#else
    return __builtin_convertvector(*(const vb *)(const void *)p, vi);
#endif
}
VINLINE vi vwiden_i8(const int8_t *p) {
#ifdef BNNC_AVX512
    return (vi)_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
#elif defined(BNNC_AVX2)
    return (vi)_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p));
#elif defined(BNNC_NEON)
    uint32_t four;
    __builtin_memcpy(&four, p, 4);
    return (vi)vmovl_s16(vget_low_s16(vmovl_s8(vcreate_s8(four))));
#else
    return __builtin_convertvector(*(const vc *)(const void *)p, vi);
#endif
}
VINLINE vi vwiden_i16(const int16_t *p) {
#ifdef BNNC_AVX512
    return (vi)_mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)p));
#elif defined(BNNC_AVX2)
    return (vi)_mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
#elif defined(BNNC_NEON)
    return (vi)vmovl_s16(vld1_s16(p));
#else
    return __builtin_convertvector(*(const vs *)(const void *)p, vi);
#endif
}

VINLINE vf vld_f32(const float *p, int n) {
    if (n == VL) return *(const vf *)p;
    vf v = vbc(0.0f);
    for (int i = 0; i < n; i++) v[i] = p[i];
    return v;
}
VINLINE vu vld_u32(const uint32_t *p) { return *(const vu *)p; }
/* (*) The first n words; absent lanes read as 0. */
VINLINE vu vld_words(const uint32_t *p, int n) {
#ifdef BNNC_AVX512
    return (vu)_mm512_maskz_loadu_epi32((__mmask16)(n < VL ? (1u << n) - 1u : 0xffffu), p);
#else
    if (n >= VL) return vld_u32(p);
    vu v = {0};
    for (int i = 0; i < n; i++) v[i] = p[i];
    return v;
#endif
}
VINLINE void vst_u32(uint32_t *p, vu v) { *(vu *)p = v; }
VINLINE vi vld_i32(const int32_t *p, int n) {
    if (n == VL) return *(const vi *)p;
    vi v = {0};
    for (int i = 0; i < n; i++) v[i] = p[i];
    return v;
}
VINLINE vi vld_i16(const int16_t *p, int n) {
    if (n == VL) return vwiden_i16(p);
    vi v = {0};
    for (int i = 0; i < n; i++) v[i] = p[i];
    return v;
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

/* (*) f16 storage: exact widening on load, round to nearest even on store. */
VINLINE vf vld_f16(const uint16_t *p, int n) {
#ifdef BNNC_AVX512
    if (n == VL) return (vf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
#elif defined(BNNC_AVX2)
    if (n == VL) return (vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
#elif defined(BNNC_NEON_F16)
    if (n == VL) return (vf)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
#else
    if (n == VL) { /* the operations of bnnc_f16_to_f32 */
        const vu h = __builtin_convertvector(*(const vh *)(const void *)p, vu), m = (h & 0x7fffu) << 13;
        const vu special = (vu)((h & 0x7c00u) == 0x7c00u), nan = special & (vu)((m & 0x7fffffu) != 0);
        const vu finite = (vu)((vf)m * 0x1p112f);
        return (vf)((h & 0x8000u) << 16 | (special & (m | 0x7f800000u)) | (nan & 0x400000u) | (~special & finite));
    }
#endif
    vf v = vbc(0.0f);
    for (int i = 0; i < n; i++) v[i] = bnnc_f16_to_f32(p[i]);
    return v;
}
VINLINE void vst_f16(uint16_t *p, vf v, int n) {
#ifdef BNNC_AVX512
    if (n == VL) {
        _mm256_storeu_si256((__m256i *)(void *)p,
                            _mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
        return;
    }
#elif defined(BNNC_AVX2)
    if (n == VL) {
        _mm_storeu_si128((__m128i *)(void *)p, _mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT));
        return;
    }
#elif defined(BNNC_NEON_F16)
    if (n == VL) {
        vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32((float32x4_t)v)));
        return;
    }
#else
    if (n == VL) { /* the operations of bnnc_f32_to_f16 */
        const vu u = (vu)v, a = u & 0x7fffffffu;
        const vu small = (vu)((vf)a + 0.5f) - 0x3f000000u, normal = (a - 0x38000000u + 0xfffu + ((a >> 13) & 1u)) >> 13;
        const vu is_nan = (vu)((vi)a > 0x7f800000), is_big = (vu)((vi)a >= 0x47800000),
                 is_small = (vu)((vi)a < 0x38800000);
        const vu h = (is_small & small) | (~is_small & ~is_big & normal) | (is_big & ~is_nan & 0x7c00u) |
                     (is_nan & (0x7e00u | ((a >> 13) & 0x3ffu)));
        *(vh *)(void *)p = __builtin_convertvector(h | ((u >> 16) & 0x8000u), vh);
        return;
    }
#endif
    for (int i = 0; i < n; i++) p[i] = bnnc_f32_to_f16(v[i]);
}

/* (*) The f32 nearest to x that an f16 can hold. */
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
    for (int i = 0; i < n; i++) p[i] = v[i];
}
VINLINE void vst_i32(int32_t *p, vi v, int n) {
    if (n == VL) {
        *(vi *)p = v;
        return;
    }
    for (int i = 0; i < n; i++) p[i] = v[i];
}
VINLINE void vst_i16(int16_t *p, vi v, int n) {
    if (n == VL) {
#ifdef BNNC_AVX512
        _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtepi32_epi16((__m512i)v));
#else
        *(vs *)p = __builtin_convertvector(v, vs);
#endif
        return;
    }
    for (int i = 0; i < n; i++) p[i] = (int16_t)v[i];
}

VINLINE void vst_i8(int8_t *p, vi v, int n) {
    if (n == VL) {
#ifdef BNNC_AVX512
        _mm_storeu_si128((__m128i *)(void *)p, _mm512_cvtepi32_epi8((__m512i)v));
#else
        *(vc *)p = __builtin_convertvector(v, vc);
#endif
        return;
    }
    for (int i = 0; i < n; i++) p[i] = (int8_t)v[i];
}

#include "bnnc_bits.h"

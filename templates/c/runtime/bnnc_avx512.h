/* bnnc_avx512.h: what AVX-512 (F, BW, DQ, VPOPCNTDQ) does better than bnnc_vec.h and bnnc_bits.h. */
#define VL 16
#include <immintrin.h>
#include "bnnc_lanes.h"
#include "bnnc_turn.h"
#include "bnnc_bytes.h"

#define vsum BNNC_AT_LEVEL(vsum)
VINLINE int32_t vsum(vi a) { return _mm512_reduce_add_epi32((__m512i)a); }

#define vmaxi BNNC_AT_LEVEL(vmaxi)
VINLINE vi vmaxi(vi a, vi b) { return (vi)_mm512_max_epi32((__m512i)a, (__m512i)b); }

#define vmini BNNC_AT_LEVEL(vmini)
VINLINE vi vmini(vi a, vi b) { return (vi)_mm512_min_epi32((__m512i)a, (__m512i)b); }

#define vsqrt BNNC_AT_LEVEL(vsqrt)
VINLINE vf vsqrt(vf x) { return (vf)_mm512_sqrt_ps((__m512)x); }

#define vwiden_u8 BNNC_AT_LEVEL(vwiden_u8)
VINLINE vi vwiden_u8(const uint8_t *p) {
    return (vi)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
}

#define vwiden_i8 BNNC_AT_LEVEL(vwiden_i8)
VINLINE vi vwiden_i8(const int8_t *p) {
    return (vi)_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
}

#define vwiden_i16 BNNC_AT_LEVEL(vwiden_i16)
VINLINE vi vwiden_i16(const int16_t *p) {
    return (vi)_mm512_cvtepi16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)p));
}

#define vwiden_f16 BNNC_AT_LEVEL(vwiden_f16)
VINLINE vf vwiden_f16(const uint16_t *p) {
    return (vf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}

#define vnarrow_f16 BNNC_AT_LEVEL(vnarrow_f16)
VINLINE void vnarrow_f16(uint16_t *p, vf v) {
    _mm256_storeu_si256((__m256i *)(void *)p,
                        _mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

#define vnarrow_i16 BNNC_AT_LEVEL(vnarrow_i16)
VINLINE void vnarrow_i16(int16_t *p, vi v) {
    _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtepi32_epi16((__m512i)v));
}

#define vnarrow_i8 BNNC_AT_LEVEL(vnarrow_i8)
VINLINE void vnarrow_i8(int8_t *p, vi v) { _mm_storeu_si128((__m128i *)(void *)p, _mm512_cvtepi32_epi8((__m512i)v)); }

/* The first n lanes: none where n is below 0, as it is beyond the last column. */
VINLINE __mmask16 BNNC_AT_LEVEL(vfirst)(int n) { return (__mmask16)(n > 0 ? 0xffffu >> (n < VL ? VL - n : 0) : 0); }

#define vld_words BNNC_AT_LEVEL(vld_words)
VINLINE vu vld_words(const uint32_t *p, int n) { return (vu)_mm512_maskz_loadu_epi32(BNNC_AT_LEVEL(vfirst)(n), p); }

#define vld_halves BNNC_AT_LEVEL(vld_halves)
VINLINE vh vld_halves(const uint16_t *p, int n) { return (vh)_mm256_maskz_loadu_epi16(BNNC_AT_LEVEL(vfirst)(n), p); }

#define vst_words BNNC_AT_LEVEL(vst_words)
VINLINE void vst_words(uint32_t *p, vu v, int n) { _mm512_mask_storeu_epi32(p, BNNC_AT_LEVEL(vfirst)(n), (__m512i)v); }

#define vst_halves BNNC_AT_LEVEL(vst_halves)
VINLINE void vst_halves(uint16_t *p, vh v, int n) { _mm256_mask_storeu_epi16(p, BNNC_AT_LEVEL(vfirst)(n), (__m256i)v); }

#define vmovemask BNNC_AT_LEVEL(vmovemask)
VINLINE uint32_t vmovemask(vi m) { return _mm512_movepi32_mask((__m512i)m); }

#define vbits BNNC_AT_LEVEL(vbits)
VINLINE vi vbits(uint32_t word, int at) { return (vi)_mm512_movm_epi32((__mmask16)(word >> at)); }

#define vbit01 BNNC_AT_LEVEL(vbit01)
VINLINE vi vbit01(uint32_t word, int at) {
    return (vi)_mm512_and_si512(_mm512_srlv_epi32(_mm512_set1_epi32((int)word), (__m512i)vcol(at)),
                                _mm512_set1_epi32(1));
}

#define vpop1 BNNC_AT_LEVEL(vpop1)
VINLINE vu vpop1(vu x) { return (vu)_mm512_popcnt_epi32((__m512i)x); }

#define vpop3 BNNC_AT_LEVEL(vpop3)
VINLINE vu vpop3(vu a, vu b, vu c) { return vpop1(a) + vpop1(b) + vpop1(c); }

#define vpopsum BNNC_AT_LEVEL(vpopsum)
VINLINE vi vpopsum(vu x) { return (vi)x; }

#define vtranspose BNNC_AT_LEVEL(vtranspose)
VINLINE void vtranspose(vf *restrict out, const vf *restrict in) {
    __m512 a[16], b[16];
#pragma GCC unroll 8
    for (int i = 0; i < 16; i += 2) {
        a[i] = _mm512_unpacklo_ps((__m512)in[i], (__m512)in[i + 1]);
        a[i + 1] = _mm512_unpackhi_ps((__m512)in[i], (__m512)in[i + 1]);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 16; i += 4) {
        b[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a[i]), _mm512_castps_pd(a[i + 2])));
        b[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a[i]), _mm512_castps_pd(a[i + 2])));
        b[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(a[i + 1]), _mm512_castps_pd(a[i + 3])));
        b[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(a[i + 1]), _mm512_castps_pd(a[i + 3])));
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        a[i] = _mm512_shuffle_f32x4(b[i], b[i + 4], 0x88);
        a[i + 4] = _mm512_shuffle_f32x4(b[i], b[i + 4], 0xdd);
        a[i + 8] = _mm512_shuffle_f32x4(b[i + 8], b[i + 12], 0x88);
        a[i + 12] = _mm512_shuffle_f32x4(b[i + 8], b[i + 12], 0xdd);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++) {
        out[i] = (vf)_mm512_shuffle_f32x4(a[i], a[i + 8], 0x88);
        out[i + 8] = (vf)_mm512_shuffle_f32x4(a[i], a[i + 8], 0xdd);
    }
}

#define vmulwide BNNC_AT_LEVEL(vmulwide)
VINLINE vu vmulwide(vu a, uint32_t k, vu *high) {
    const __m512i b = _mm512_set1_epi32((int)k), even = _mm512_mul_epu32((__m512i)a, b);
    const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64((__m512i)a, 32), b);
    *high = (vu)_mm512_mask_blend_epi32(0xaaaa, _mm512_srli_epi64(even, 32), odd);
    return a * k;
}

#define vwwide BNNC_AT_LEVEL(vwwide)
VINLINE void vwwide(int16_t *out, const int8_t *p) {
    _mm512_storeu_si512(out, _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(const void *)p)));
}

#define BNNC_ROWS_AVX512(p) \
    _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu2_m128i((const __m128i *)(const void *)((p) + 8 * stride), \
                                                                  (const __m128i *)(const void *)(p))), \
                       _mm256_loadu2_m128i((const __m128i *)(const void *)((p) + 24 * stride), \
                                           (const __m128i *)(const void *)((p) + 16 * stride)), \
                       1)
#define BNNC_WIDE_LOW_AVX512(x) _mm512_srai_epi16(_mm512_unpacklo_epi8(x, x), 8)
#define BNNC_WIDE_HIGH_AVX512(x) _mm512_srai_epi16(_mm512_unpackhi_epi8(x, x), 8)
#define vwturn BNNC_AT_LEVEL(vwturn)
VINLINE void vwturn(int16_t *out, const int8_t *p, int stride) {
    BNNC_TURN_BYTES(__m512i, out, p, stride, BNNC_ROWS_AVX512, _mm512_unpacklo_epi8, _mm512_unpackhi_epi8,
                    BNNC_WIDE_LOW_AVX512, BNNC_WIDE_HIGH_AVX512);
}

#define vwcross BNNC_AT_LEVEL(vwcross)
VINLINE void vwcross(int16_t *out, const int16_t *in) {
    __m512i x[32], *to = (__m512i *)(void *)out;
#pragma GCC unroll 32
    for (int k = 0; k < 32; k++) x[k] = ((const __m512i *)(const void *)in)[k];
#pragma GCC unroll 4
    for (int j = 0; j < 32; j += 8) BNNC_RIFFLES(__m512i, x + j, _mm512_unpacklo_epi16, _mm512_unpackhi_epi16);
#pragma GCC unroll 8
    for (int k = 0; k < 8; k++) {
        const __m512i a = _mm512_shuffle_i64x2(x[k], x[8 + k], 0x88), b = _mm512_shuffle_i64x2(x[k], x[8 + k], 0xdd);
        const __m512i c = _mm512_shuffle_i64x2(x[16 + k], x[24 + k], 0x88),
                      d = _mm512_shuffle_i64x2(x[16 + k], x[24 + k], 0xdd);
        to[k] = _mm512_shuffle_i64x2(a, c, 0x88);
        to[8 + k] = _mm512_shuffle_i64x2(b, d, 0x88);
        to[16 + k] = _mm512_shuffle_i64x2(a, c, 0xdd);
        to[24 + k] = _mm512_shuffle_i64x2(b, d, 0xdd);
    }
}

/* bnnc_avx2.h: what AVX2 and F16C do better than bnnc_vec.h and bnnc_bits.h. */
#define VL 8
#include <immintrin.h>
#include "bnnc_lanes.h"
#include "bnnc_turn.h"
#include "bnnc_bytes.h"

#define vmaxi BNNC_AT_LEVEL(vmaxi)
VINLINE vi vmaxi(vi a, vi b) { return (vi)_mm256_max_epi32((__m256i)a, (__m256i)b); }

#define vmini BNNC_AT_LEVEL(vmini)
VINLINE vi vmini(vi a, vi b) { return (vi)_mm256_min_epi32((__m256i)a, (__m256i)b); }

#define vsqrt BNNC_AT_LEVEL(vsqrt)
VINLINE vf vsqrt(vf x) { return (vf)_mm256_sqrt_ps((__m256)x); }

#define vwiden_u8 BNNC_AT_LEVEL(vwiden_u8)
VINLINE vi vwiden_u8(const uint8_t *p) {
    return (vi)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p));
}

#define vwiden_i8 BNNC_AT_LEVEL(vwiden_i8)
VINLINE vi vwiden_i8(const int8_t *p) {
    return (vi)_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p));
}

#define vwiden_i16 BNNC_AT_LEVEL(vwiden_i16)
VINLINE vi vwiden_i16(const int16_t *p) {
    return (vi)_mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
}

#define vwiden_f16 BNNC_AT_LEVEL(vwiden_f16)
VINLINE vf vwiden_f16(const uint16_t *p) {
    return (vf)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}

#define vnarrow_f16 BNNC_AT_LEVEL(vnarrow_f16)
VINLINE void vnarrow_f16(uint16_t *p, vf v) {
    _mm_storeu_si128((__m128i *)(void *)p, _mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT));
}

#define vnarrow_i16 BNNC_AT_LEVEL(vnarrow_i16)
VINLINE void vnarrow_i16(int16_t *p, vi v) {
    const __m256i low = _mm256_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, -1, -1, -1, -1, -1, -1, -1, -1, 0, 1, 4, 5, 8, 9, 12,
                                         13, -1, -1, -1, -1, -1, -1, -1, -1);
    const __m256i halves = _mm256_permute4x64_epi64(_mm256_shuffle_epi8((__m256i)v, low), 0x08);
    _mm_storeu_si128((__m128i *)(void *)p, _mm256_castsi256_si128(halves));
}

#define vnarrow_i8 BNNC_AT_LEVEL(vnarrow_i8)
VINLINE void vnarrow_i8(int8_t *p, vi v) {
    const __m256i low = _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 4, 8, 12, -1,
                                         -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    const __m256i bytes =
        _mm256_permutevar8x32_epi32(_mm256_shuffle_epi8((__m256i)v, low), _mm256_setr_epi32(0, 4, 0, 4, 0, 4, 0, 4));
    _mm_storel_epi64((__m128i *)(void *)p, _mm256_castsi256_si128(bytes));
}

#define vtranspose BNNC_AT_LEVEL(vtranspose)
VINLINE void vtranspose(vf *restrict out, const vf *restrict in) {
    __m256 a[8], b[8];
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
        a[i] = _mm256_unpacklo_ps((__m256)in[i], (__m256)in[i + 1]);
        a[i + 1] = _mm256_unpackhi_ps((__m256)in[i], (__m256)in[i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) {
        b[i] = _mm256_shuffle_ps(a[i], a[i + 2], 0x44);
        b[i + 1] = _mm256_shuffle_ps(a[i], a[i + 2], 0xee);
        b[i + 2] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0x44);
        b[i + 3] = _mm256_shuffle_ps(a[i + 1], a[i + 3], 0xee);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        out[i] = (vf)_mm256_permute2f128_ps(b[i], b[i + 4], 0x20);
        out[i + 4] = (vf)_mm256_permute2f128_ps(b[i], b[i + 4], 0x31);
    }
}

#define vld_words BNNC_AT_LEVEL(vld_words)
VINLINE vu vld_words(const uint32_t *p, int n) {
    return (vu)_mm256_maskload_epi32((const int *)p, (__m256i)(vcol(0) < n));
}

#define vmovemask BNNC_AT_LEVEL(vmovemask)
VINLINE uint32_t vmovemask(vi m) { return (uint32_t)_mm256_movemask_ps((__m256)m); }

#define vbit01 BNNC_AT_LEVEL(vbit01)
VINLINE vi vbit01(uint32_t word, int at) {
    return (vi)_mm256_and_si256(_mm256_srlv_epi32(_mm256_set1_epi32((int)word), (__m256i)vcol(at)),
                                _mm256_set1_epi32(1));
}

#define vpop1 BNNC_AT_LEVEL(vpop1)
VINLINE vu vpop1(vu x) {
    const __m256i low = _mm256_set1_epi8(15), v = (__m256i)x;
    const __m256i lut = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1, 2,
                                         2, 3, 2, 3, 3, 4);
    return (vu)_mm256_add_epi8(_mm256_shuffle_epi8(lut, _mm256_and_si256(v, low)),
                               _mm256_shuffle_epi8(lut, _mm256_and_si256(_mm256_srli_epi16(v, 4), low)));
}

#define vpop3 BNNC_AT_LEVEL(vpop3)
VINLINE vu vpop3(vu a, vu b, vu c) {
    const vu ab = a ^ b, one = ab ^ c, two = (a & b) | (ab & c); /* a full adder: a + b + c = one + 2 two */
    return (vu)_mm256_add_epi8(_mm256_add_epi8((__m256i)vpop1(one), (__m256i)vpop1(two)), (__m256i)vpop1(two));
}

#define vpopsum BNNC_AT_LEVEL(vpopsum)
VINLINE vi vpopsum(vu x) {
    return (vi)_mm256_madd_epi16(_mm256_maddubs_epi16((__m256i)x, _mm256_set1_epi8(1)), _mm256_set1_epi16(1));
}

/* Byte j%32/8 of plane[8 * (j/32) + j%8] is x[j]: as bits of a lane of weights lie that are 8 apart. */
#define bnnc_planes BNNC_AT_LEVEL(bnnc_planes)
VINLINE int32_t bnnc_planes(uint32_t *plane, int words, const uint8_t *x, int n) {
    int32_t total = 0;
    for (int k = 0; k < words; k++) {
        uint8_t byte[32] = {0};
        if (32 * k + 32 <= n)
            __builtin_memcpy(byte, x + 32 * k, 32);
        else
            for (int j = 0; 32 * k + j < n; j++) byte[j] = x[32 * k + j];
        const __m128i low = _mm_loadu_si128((const __m128i *)(const void *)byte),
                      high = _mm_loadu_si128((const __m128i *)(const void *)(byte + 16)),
                      one = _mm_unpacklo_epi8(low, _mm_srli_si128(low, 8)),
                      two = _mm_unpacklo_epi8(high, _mm_srli_si128(high, 8)), none = _mm_setzero_si128(),
                      sums = _mm_add_epi32(_mm_sad_epu8(low, none), _mm_sad_epu8(high, none));
        _mm_storeu_si128((__m128i *)(void *)(plane + 8 * k), _mm_unpacklo_epi16(one, two));
        _mm_storeu_si128((__m128i *)(void *)(plane + 8 * k + 4), _mm_unpackhi_epi16(one, two));
        total += _mm_cvtsi128_si32(sums) + _mm_extract_epi16(sums, 4);
    }
    return total;
}

#define vweigh BNNC_AT_LEVEL(vweigh)
VINLINE void vweigh(vi *sum, int rows, const uint32_t *plane, int words, const uint32_t *b, int stride) {
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++) sum[i] = (vi){0};
    for (int k = 0; k < words;) { /* parts of 8 words: 16 bits hold -255 times their 128 bytes */
        const int end = k + 8 < words ? k + 8 : words;
        __m256i acc[4];
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++) acc[i] = _mm256_setzero_si256();
        for (; k < end; k++) {
            const __m256i w = (__m256i)vld_u32(b + k * stride);
#pragma GCC unroll 8
            for (int j = 0; j < 8; j++) { /* bits j, j + 8, j + 16, j + 24 of each lane as bytes: -1 or 0 */
                const __m256i bit = _mm256_set1_epi8((char)(1 << j)),
                              set = _mm256_cmpeq_epi8(_mm256_and_si256(w, bit), bit);
#pragma GCC unroll 4
                for (int i = 0; i < rows; i++)
                    acc[i] = _mm256_add_epi16(
                        acc[i], _mm256_maddubs_epi16(_mm256_set1_epi32((int)plane[8 * (i * words + k) + j]), set));
            }
        }
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++) sum[i] -= (vi)_mm256_madd_epi16(acc[i], _mm256_set1_epi16(1));
    }
}

#define vmulwide BNNC_AT_LEVEL(vmulwide)
VINLINE vu vmulwide(vu a, uint32_t k, vu *high) {
    const __m256i b = _mm256_set1_epi32((int)k), even = _mm256_mul_epu32((__m256i)a, b);
    const __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64((__m256i)a, 32), b);
    *high = (vu)_mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
    return a * k;
}

#define vwwide BNNC_AT_LEVEL(vwwide)
VINLINE void vwwide(int16_t *out, const int8_t *p) {
    _mm256_storeu_si256((__m256i *)(void *)out,
                        _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(const void *)p)));
}

#define BNNC_ROWS_AVX2(p) \
    _mm256_loadu2_m128i((const __m128i *)(const void *)((p) + 8 * stride), (const __m128i *)(const void *)(p))
#define BNNC_WIDE_LOW_AVX2(x) _mm256_srai_epi16(_mm256_unpacklo_epi8(x, x), 8)
#define BNNC_WIDE_HIGH_AVX2(x) _mm256_srai_epi16(_mm256_unpackhi_epi8(x, x), 8)
#define vwturn BNNC_AT_LEVEL(vwturn)
VINLINE void vwturn(int16_t *out, const int8_t *p, int stride) {
    BNNC_TURN_BYTES(__m256i, out, p, stride, BNNC_ROWS_AVX2, _mm256_unpacklo_epi8, _mm256_unpackhi_epi8,
                    BNNC_WIDE_LOW_AVX2, BNNC_WIDE_HIGH_AVX2);
}

#define vwcross BNNC_AT_LEVEL(vwcross)
VINLINE void vwcross(int16_t *out, const int16_t *in) {
    __m256i x[16], *to = (__m256i *)(void *)out;
#pragma GCC unroll 16
    for (int k = 0; k < 16; k++) x[k] = ((const __m256i *)(const void *)in)[k];
#pragma GCC unroll 2
    for (int j = 0; j < 16; j += 8) BNNC_RIFFLES(__m256i, x + j, _mm256_unpacklo_epi16, _mm256_unpackhi_epi16);
#pragma GCC unroll 8
    for (int k = 0; k < 8; k++) {
        to[k] = _mm256_permute2x128_si256(x[k], x[8 + k], 0x20);
        to[8 + k] = _mm256_permute2x128_si256(x[k], x[8 + k], 0x31);
    }
}

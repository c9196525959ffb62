/* bnnc_sse2.h: what SSE2, which every x86-64 has, does better than bnnc_vec.h and bnnc_bits.h. */
#define VL 4
#include <emmintrin.h>
#include "bnnc_lanes.h"
#include "bnnc_turn.h"

#define vsqrt BNNC_AT_LEVEL(vsqrt)
VINLINE vf vsqrt(vf x) { return (vf)_mm_sqrt_ps((__m128)x); }

#define vtranspose BNNC_AT_LEVEL(vtranspose)
VINLINE void vtranspose(vf *restrict out, const vf *restrict in) {
    const __m128 a = _mm_unpacklo_ps((__m128)in[0], (__m128)in[1]), b = _mm_unpackhi_ps((__m128)in[0], (__m128)in[1]);
    const __m128 c = _mm_unpacklo_ps((__m128)in[2], (__m128)in[3]), d = _mm_unpackhi_ps((__m128)in[2], (__m128)in[3]);
    out[0] = (vf)_mm_movelh_ps(a, c), out[1] = (vf)_mm_movehl_ps(c, a);
    out[2] = (vf)_mm_movelh_ps(b, d), out[3] = (vf)_mm_movehl_ps(d, b);
}

#define vmovemask BNNC_AT_LEVEL(vmovemask)
VINLINE uint32_t vmovemask(vi m) { return (uint32_t)_mm_movemask_ps((__m128)m); }

#define vmulwide BNNC_AT_LEVEL(vmulwide)
VINLINE vu vmulwide(vu a, uint32_t k, vu *high) {
    const __m128i b = _mm_set1_epi32((int)k), low = _mm_set1_epi64x(0xffffffff);
    const __m128i even = _mm_mul_epu32((__m128i)a, b), odd = _mm_mul_epu32(_mm_srli_epi64((__m128i)a, 32), b);
    *high = (vu)_mm_or_si128(_mm_srli_epi64(even, 32), _mm_andnot_si128(low, odd));
    return (vu)_mm_or_si128(_mm_and_si128(even, low), _mm_slli_epi64(odd, 32));
}

#define vwwide BNNC_AT_LEVEL(vwwide)
VINLINE void vwwide(int16_t *out, const int8_t *p) {
    const __m128i x = _mm_loadl_epi64((const __m128i *)(const void *)p);
    _mm_storeu_si128((__m128i *)(void *)out, _mm_srai_epi16(_mm_unpacklo_epi8(x, x), 8));
}

#define BNNC_ROWS_SSE2(p) _mm_loadu_si128((const __m128i *)(const void *)(p))
#define BNNC_WIDE_LOW_SSE2(x) _mm_srai_epi16(_mm_unpacklo_epi8(x, x), 8)
#define BNNC_WIDE_HIGH_SSE2(x) _mm_srai_epi16(_mm_unpackhi_epi8(x, x), 8)
#define vwturn BNNC_AT_LEVEL(vwturn)
VINLINE void vwturn(int16_t *out, const int8_t *p, int stride) {
    BNNC_TURN_BYTES(__m128i, out, p, stride, BNNC_ROWS_SSE2, _mm_unpacklo_epi8, _mm_unpackhi_epi8, BNNC_WIDE_LOW_SSE2,
                    BNNC_WIDE_HIGH_SSE2);
}

#define vwcross BNNC_AT_LEVEL(vwcross)
VINLINE void vwcross(int16_t *out, const int16_t *in) {
    __m128i x[8], *to = (__m128i *)(void *)out;
#pragma GCC unroll 8
    for (int k = 0; k < 8; k++) x[k] = ((const __m128i *)(const void *)in)[k];
    BNNC_RIFFLES(__m128i, x, _mm_unpacklo_epi16, _mm_unpackhi_epi16);
#pragma GCC unroll 8
    for (int k = 0; k < 8; k++) to[k] = x[k];
}

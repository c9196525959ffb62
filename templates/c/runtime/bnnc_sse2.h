/* bnnc_sse2.h: what SSE2, which every x86-64 has, does better than bnnc_vec.h and bnnc_bits.h. */
#define VL 4
#include <emmintrin.h>
#include "bnnc_lanes.h"

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

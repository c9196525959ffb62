/* bnnc_bytes.h: what AVX-512 does as AVX2 does it: 32 bytes in a register, and one number's half precision. */
#include <immintrin.h>
#include "bnnc_lanes.h"
#include "bnnc_num.h"

#define bnnc_f16_to_f32 BNNC_AT_LEVEL(bnnc_f16_to_f32)
VINLINE float bnnc_f16_to_f32(uint16_t h) { return _cvtsh_ss(h); }

#define bnnc_f32_to_f16 BNNC_AT_LEVEL(bnnc_f32_to_f16)
VINLINE uint16_t bnnc_f32_to_f16(float f) { return _cvtss_sh(f, _MM_FROUND_TO_NEAREST_INT); }

#define vlay BNNC_AT_LEVEL(vlay)
VINLINE void vlay(uint32_t *plane, int words, int k, const uint8_t *byte) {
    __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)byte);
    for (int p = 7; p >= 0; p--) { /* movemask takes the top bit of each byte */
        plane[p * words + k] = (uint32_t)_mm256_movemask_epi8(v);
        v = _mm256_add_epi8(v, v);
    }
}

#define vturn8 BNNC_AT_LEVEL(vturn8)
VINLINE void vturn8(uint32_t *out, int b, const uint8_t *byte) {
    __m256i v = _mm256_load_si256((const __m256i *)(const void *)byte);
#pragma GCC unroll 8
    for (int p = 7; p >= 0; p--) { /* movemask takes the top bit of each byte */
        out[8 * b + p] = (uint32_t)_mm256_movemask_epi8(v);
        v = _mm256_add_epi8(v, v);
    }
}

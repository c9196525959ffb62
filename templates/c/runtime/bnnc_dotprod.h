/* bnnc_dotprod.h: what ARMv8.2's products of bytes do better than bnnc_neon.h: bytes weighed with bits. */
#include "bnnc_neon.h"
#ifdef __ARM_FEATURE_DOTPROD
#define BNNC_DOT_ARCH ""
#else
#define BNNC_DOT_ARCH ".arch armv8.2-a+dotprod\n\t"
#endif
/* In each lane of acc the products of four bytes of a with the four of one lane of b are added up. */
#define BNNC_DOT(acc, a, b, lane) \
    __asm__(BNNC_DOT_ARCH "udot %0.4s, %1.16b, %2.4b[" #lane "]" : "+w"(acc) : "w"(a), "w"(b))

/* Byte j%32/8 of plane[8 * (j/32) + j%8] is x[j]. */
#define bnnc_planes BNNC_AT_LEVEL(bnnc_planes)
VINLINE int32_t bnnc_planes(uint32_t *plane, int words, const uint8_t *x, int n) {
    int32_t total = 0;
    for (int k = 0; k < words; k++) {
        uint8_t byte[32] = {0};
        if (32 * k + 32 <= n)
            __builtin_memcpy(byte, x + 32 * k, 32);
        else
            for (int j = 0; 32 * k + j < n; j++) byte[j] = x[32 * k + j];
        const uint8x8x4_t v = {{vld1_u8(byte), vld1_u8(byte + 8), vld1_u8(byte + 16), vld1_u8(byte + 24)}};
        total += vaddlvq_u8(vcombine_u8(v.val[0], v.val[1])) + vaddlvq_u8(vcombine_u8(v.val[2], v.val[3]));
        vst4_u8((uint8_t *)(plane + 8 * k), v);
    }
    return total;
}

#define vweigh BNNC_AT_LEVEL(vweigh)
VINLINE void vweigh(vi *sum, int rows, const uint32_t *plane, int words, const uint32_t *b, int stride) {
    uint32x4_t acc[4] = {{0}};
    for (int k = 0; k < words; k++) {
        const uint8x16_t w = (uint8x16_t)vld_u32(b + k * stride);
        uint8x16_t set[8]; /* bits j, j + 8, j + 16, j + 24 of each lane as bytes: 255 or 0 */
#pragma GCC unroll 8
        for (int j = 0; j < 8; j++) set[j] = vtstq_u8(w, vdupq_n_u8((uint8_t)(1 << j)));
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++) {
            const uint32x4_t low = vld1q_u32(plane + 8 * (i * words + k)),
                             high = vld1q_u32(plane + 8 * (i * words + k) + 4);
            BNNC_DOT(acc[i], set[0], low, 0);
            BNNC_DOT(acc[i], set[1], low, 1);
            BNNC_DOT(acc[i], set[2], low, 2);
            BNNC_DOT(acc[i], set[3], low, 3);
            BNNC_DOT(acc[i], set[4], high, 0);
            BNNC_DOT(acc[i], set[5], high, 1);
            BNNC_DOT(acc[i], set[6], high, 2);
            BNNC_DOT(acc[i], set[7], high, 3);
        }
    }
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++) sum[i] = (vi)(acc[i] * 0xfefefeffu); /* divided by 255: its inverse modulo 2^32 */
}

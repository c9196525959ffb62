/* bnnc_neon.h: what NEON does better than bnnc_vec.h and bnnc_bits.h; some of it 64-bit ARMs alone. */
#define VL 4
#include <arm_neon.h>
#include "bnnc_lanes.h"
#include "bnnc_turn.h"

#define vsel BNNC_AT_LEVEL(vsel)
VINLINE vf vsel(vi m, vf a, vf b) { return (vf)vbslq_u32((uint32x4_t)m, (uint32x4_t)a, (uint32x4_t)b); }

#define vmaxi BNNC_AT_LEVEL(vmaxi)
VINLINE vi vmaxi(vi a, vi b) { return (vi)vmaxq_s32((int32x4_t)a, (int32x4_t)b); }

#define vmini BNNC_AT_LEVEL(vmini)
VINLINE vi vmini(vi a, vi b) { return (vi)vminq_s32((int32x4_t)a, (int32x4_t)b); }

#define vwiden_u8 BNNC_AT_LEVEL(vwiden_u8)
VINLINE vi vwiden_u8(const uint8_t *p) {
    uint32_t four;
    __builtin_memcpy(&four, p, 4);
    return (vi)vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(four))));
}

#define vwiden_i8 BNNC_AT_LEVEL(vwiden_i8)
VINLINE vi vwiden_i8(const int8_t *p) {
    uint32_t four;
    __builtin_memcpy(&four, p, 4);
    return (vi)vmovl_s16(vget_low_s16(vmovl_s8(vcreate_s8(four))));
}

#define vwiden_i16 BNNC_AT_LEVEL(vwiden_i16)
VINLINE vi vwiden_i16(const int16_t *p) { return (vi)vmovl_s16(vld1_s16(p)); }

#define vnarrow_i16 BNNC_AT_LEVEL(vnarrow_i16)
VINLINE void vnarrow_i16(int16_t *p, vi v) { vst1_s16(p, vmovn_s32((int32x4_t)v)); }

#define vnarrow_i8 BNNC_AT_LEVEL(vnarrow_i8)
VINLINE void vnarrow_i8(int8_t *p, vi v) {
    const int16x4_t half = vmovn_s32((int32x4_t)v);
    const uint32_t four = vget_lane_u32((uint32x2_t)vmovn_s16(vcombine_s16(half, half)), 0);
    __builtin_memcpy(p, &four, 4);
}

#define vmovemask BNNC_AT_LEVEL(vmovemask)
VINLINE uint32_t vmovemask(vi m) {
    const uint32x4_t w = vandq_u32((uint32x4_t)m, (uint32x4_t){1, 2, 4, 8});
#ifdef __aarch64__
    return vaddvq_u32(w);
#else
    const uint32x2_t two = vadd_u32(vget_low_u32(w), vget_high_u32(w));
    return vget_lane_u32(vpadd_u32(two, two), 0);
#endif
}

#define vbits BNNC_AT_LEVEL(vbits)
VINLINE vi vbits(uint32_t word, int at) {
    const uint32x4_t bit = vshlq_u32((uint32x4_t){1, 2, 4, 8}, vdupq_n_s32(at));
    return (vi)vtstq_u32(vdupq_n_u32(word), bit);
}

#define vpop1 BNNC_AT_LEVEL(vpop1)
VINLINE vu vpop1(vu x) { return (vu)vcntq_u8((uint8x16_t)x); }

#define vpop3 BNNC_AT_LEVEL(vpop3)
VINLINE vu vpop3(vu a, vu b, vu c) {
    return (vu)vaddq_u8(vaddq_u8((uint8x16_t)vpop1(a), (uint8x16_t)vpop1(b)), (uint8x16_t)vpop1(c));
}

#define vpopsum BNNC_AT_LEVEL(vpopsum)
VINLINE vi vpopsum(vu x) { return (vi)vpaddlq_u16(vpaddlq_u8((uint8x16_t)x)); }

#define vtranspose BNNC_AT_LEVEL(vtranspose)
VINLINE void vtranspose(vf *restrict out, const vf *restrict in) {
    const uint32x4x2_t a = vtrnq_u32((uint32x4_t)in[0], (uint32x4_t)in[1]),
                       b = vtrnq_u32((uint32x4_t)in[2], (uint32x4_t)in[3]);
    for (int i = 0; i < 2; i++) {
        out[i] = (vf)vcombine_u32(vget_low_u32(a.val[i]), vget_low_u32(b.val[i]));
        out[i + 2] = (vf)vcombine_u32(vget_high_u32(a.val[i]), vget_high_u32(b.val[i]));
    }
}

#define vmulwide BNNC_AT_LEVEL(vmulwide)
VINLINE vu vmulwide(vu a, uint32_t k, vu *high) {
    const uint32x4_t first = (uint32x4_t)vmull_u32(vget_low_u32((uint32x4_t)a), vdup_n_u32(k));
    const uint32x4_t second = (uint32x4_t)vmull_u32(vget_high_u32((uint32x4_t)a), vdup_n_u32(k));
    const uint32x4x2_t parts = vuzpq_u32(first, second);
    *high = (vu)parts.val[1];
    return (vu)parts.val[0];
}

#ifdef __aarch64__
#define vsum BNNC_AT_LEVEL(vsum)
VINLINE int32_t vsum(vi a) { return vaddvq_s32((int32x4_t)a); }

#define vsqrt BNNC_AT_LEVEL(vsqrt)
VINLINE vf vsqrt(vf x) { return (vf)vsqrtq_f32((float32x4_t)x); }
#endif

#if defined(__aarch64__) || (defined(__ARM_FP16_FORMAT_IEEE) && defined(__ARM_FP) && (__ARM_FP & 2))
#define vwiden_f16 BNNC_AT_LEVEL(vwiden_f16)
VINLINE vf vwiden_f16(const uint16_t *p) { return (vf)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }

#define vnarrow_f16 BNNC_AT_LEVEL(vnarrow_f16)
VINLINE void vnarrow_f16(uint16_t *p, vf v) { vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32((float32x4_t)v))); }
#endif

#define vwwide BNNC_AT_LEVEL(vwwide)
VINLINE void vwwide(int16_t *out, const int8_t *p) { vst1q_s16(out, vmovl_s8(vld1_s8(p))); }

#ifdef __aarch64__
#define BNNC_LOW8(a, b) vzip1q_s8(a, b)
#define BNNC_HIGH8(a, b) vzip2q_s8(a, b)
#define BNNC_LOW16(a, b) vzip1q_s16(a, b)
#define BNNC_HIGH16(a, b) vzip2q_s16(a, b)
#else
#define BNNC_LOW8(a, b) vzipq_s8(a, b).val[0]
#define BNNC_HIGH8(a, b) vzipq_s8(a, b).val[1]
#define BNNC_LOW16(a, b) vzipq_s16(a, b).val[0]
#define BNNC_HIGH16(a, b) vzipq_s16(a, b).val[1]
#endif
#define BNNC_WIDE_LOW(x) (int8x16_t) vmovl_s8(vget_low_s8(x))
#define BNNC_WIDE_HIGH(x) (int8x16_t) vmovl_s8(vget_high_s8(x))
#define vwturn BNNC_AT_LEVEL(vwturn)
VINLINE void vwturn(int16_t *out, const int8_t *p, int stride) {
    BNNC_TURN_BYTES(int8x16_t, out, p, stride, vld1q_s8, BNNC_LOW8, BNNC_HIGH8, BNNC_WIDE_LOW, BNNC_WIDE_HIGH);
}

#define vwcross BNNC_AT_LEVEL(vwcross)
VINLINE void vwcross(int16_t *out, const int16_t *in) {
    int16x8_t x[8];
#pragma GCC unroll 8
    for (int k = 0; k < 8; k++) x[k] = vld1q_s16(in + 8 * k);
    BNNC_RIFFLES(int16x8_t, x, BNNC_LOW16, BNNC_HIGH16);
#pragma GCC unroll 8
    for (int k = 0; k < 8; k++) vst1q_s16(out + 8 * k, x[k]);
}

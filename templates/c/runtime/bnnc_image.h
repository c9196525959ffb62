/* bnnc_image.h: pixels and bits of images (bnnc_window.h), on the vectors of bnnc_vec.h. */
#ifndef BNNC_IMAGE_H
#define BNNC_IMAGE_H
#include "bnnc_bits.h"
#include "bnnc_window.h"
#define vpixels BNNC_AT_LEVEL(vpixels)
#define vturn BNNC_AT_LEVEL(vturn)
#define vapart_f32 BNNC_AT_LEVEL(vapart_f32)
#define vapart_f16 BNNC_AT_LEVEL(vapart_f16)
#define vapart_i32 BNNC_AT_LEVEL(vapart_i32)
#define vapart_i16 BNNC_AT_LEVEL(vapart_i16)

/* Of the pixels first, first + 1, ... of images, which lie one after the other: the image, the row and the column. */
VINLINE void vpixels(int first, int height, int width, vi *image, vi *y, vi *x) {
    const vi over = first % width + vcol(0),
             down = (over * ((1 << 24) / width + 1)) >> 24; /* exact: both are below 4096 */
    const vi from = first / width % height + down, next = (from * ((1 << 24) / height + 1)) >> 24;
    *x = over - down * width;
    *y = from - next * height;
    *image = first / (width * height) + next;
}

/* Bit j of out[8 * b + p], p = 0..7, is bit p of byte[j]; `byte` begins at a multiple of 32. */
#ifndef vturn8
#define vturn8 BNNC_AT_LEVEL(vturn8)
VINLINE void vturn8(uint32_t *out, int b, const uint8_t *byte) {
    for (int p = 0; p < 8; p++) {
        uint32_t w = 0;
        for (int j = 0; j < 32; j++) w |= ((uint32_t)byte[j] >> p & 1u) << j;
        out[8 * b + p] = w;
    }
}
#endif

/* 32 rows of 32 bits become 32 columns: bit j of out[i] is bit i of in[j]. */
VINLINE void vturn(uint32_t *out, const uint32_t *in) {
    for (int b = 0; b < 4; b++) {
        VARRAY uint8_t byte[32];
        for (int j = 0; j < 32; j++) byte[j] = (uint8_t)(in[j] >> (8 * b));
        vturn8(out, b, byte);
    }
}

/* The first n of numbers that lie `step` apart; absent lanes are 0. */
VINLINE vf vapart_f32(const float *p, int step, int n) {
    vf v = vbc(0.0f);
    for (int i = 0; i < n; i++) v[i] = p[i * step];
    return v;
}
VINLINE vf vapart_f16(const uint16_t *p, int step, int n) {
    vf v = vbc(0.0f);
    for (int i = 0; i < n; i++) v[i] = bnnc_f16_to_f32(p[i * step]);
    return v;
}
VINLINE vi vapart_i32(const int32_t *p, int step, int n) {
    vi v = {0};
    for (int i = 0; i < n; i++) v[i] = p[i * step];
    return v;
}
VINLINE vi vapart_i16(const int16_t *p, int step, int n) {
    vi v = {0};
    for (int i = 0; i < n; i++) v[i] = p[i * step];
    return v;
}

#endif

/* bnnc_window.h: windows that move over images, and the bits under them. A batch of images is a matrix with a row a pixel, sample by
 * sample.
 */
#ifndef BNNC_WINDOW_H
#define BNNC_WINDOW_H
#include <stddef.h>
#include <stdint.h>

typedef struct {
    int height, width, ky, kx, stride, top, left, out_height, out_width;
} bnnc_window;

/* The row that the window of output row `out` meets at position k; -1: beyond the edge. */
static inline __attribute__((always_inline, unused)) int bnnc_pixel_at(const bnnc_window *g, int out, int k) {
    const int oy = out / g->out_width % g->out_height, ox = out % g->out_width,
              image = out / (g->out_height * g->out_width);
    const int py = oy * g->stride - g->top + k / g->kx, px = ox * g->stride - g->left + k % g->kx;
    return py >= 0 && py < g->height && px >= 0 && px < g->width ? (image * g->height + py) * g->width + px : -1;
}

/* The output row whose window meets row `in` at position k; -1: there is none. */
static inline __attribute__((always_inline, unused)) int bnnc_window_at(const bnnc_window *g, int in, int k) {
    const int py = in / g->width % g->height + g->top - k / g->kx, px = in % g->width + g->left - k % g->kx;
    const int image = in / (g->height * g->width), oy = py / g->stride, ox = px / g->stride;
    if (py < 0 || px < 0 || oy * g->stride != py || ox * g->stride != px || oy >= g->out_height || ox >= g->out_width)
        return -1;
    return (image * g->out_height + oy) * g->out_width + ox;
}

/* Appends n bits (in words, pad bits 0; all ones where `from` is NULL) at bit `at` of words that are 0 from there on. */
static inline __attribute__((always_inline, unused)) void bnnc_append(uint32_t *to, int at, const uint32_t *from,
                                                                      int n) {
    for (int k = 0; 32 * k < n; k++) {
        const int left = n - 32 * k, shift = at & 31;
        const uint32_t w = from ? from[k] : left < 32 ? (1u << left) - 1u : 0xffffffffu;
        to[(at >> 5) + k] |= w << shift;
        if (shift + (left < 32 ? left : 32) > 32) to[(at >> 5) + k + 1] |= w >> (32 - shift);
    }
}

/* Up to 32 bits from bit `at` of rows of `cols` bits that are read as one row of `total` bits. */
static inline __attribute__((unused)) uint32_t bnnc_joined(const uint32_t *rows, int stride, int cols, int total,
                                                           int at) {
    uint32_t w = 0;
    for (int have = 0, take; have < 32 && at + have < total; have += take) {
        const int row = (at + have) / cols, bit = (at + have) % cols;
        const uint32_t rest = rows[row * stride + (bit >> 5)] >> (bit & 31);
        take = 32 - (bit & 31) < cols - bit ? 32 - (bit & 31) : cols - bit;
        take = take < 32 - have ? take : 32 - have;
        w |= (take < 32 ? rest & ((1u << take) - 1u) : rest) << have;
    }
    return w;
}
#endif

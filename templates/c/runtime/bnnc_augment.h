/* bnnc_augment.h: a sample as a step of training sees it, of networks whose spec has `augment`. bnnc/inputs/augment.py is the
 * definition; every bit here is what it says.
 *
 * The generated file says what is done: BNNC_AUGMENT_.. ROWS, COLUMNS, CHANNELS, UP and ACROSS (how far), CLAMP, FLIP, JITTER.
 * A sample is read as it is in the file; an encoder, where there is one (BNNC_LATE), reads it through bnnc_seen.
 */
#ifndef BNNC_AUGMENT_H
#define BNNC_AUGMENT_H
#include "bnnc_rng.h"
#include "bnnc_sample.h"

#define BNNC_STREAM_AUGMENT 0xF0022000u
enum { BNNC_SEEN = BNNC_AUGMENT_ROWS * BNNC_AUGMENT_COLUMNS * BNNC_AUGMENT_CHANNELS };
typedef BNNC_AUGMENT_TYPE __attribute__((may_alias)) bnnc_seen_value;

static _Alignas(8) uint8_t bnnc_read_row[BNNC_SEEN * sizeof(bnnc_seen_value)]; /* the sample, as it was read */
static struct {
    uint32_t key[2], place, epoch;
    int32_t down, right; /* where a value comes from: so many rows and columns on */
    bool flip, on;       /* on: of the sample that is read next */
    uint32_t block, word[4];
} bnnc_drawn;

BNNC_FN void bnnc_draw_block(uint32_t block) {
    const uint32_t counter[4] = {bnnc_drawn.place, bnnc_drawn.epoch, block, 3};
    if (block == bnnc_drawn.block) return;
    bnnc_drawn.block = block;
    bnnc_philox(counter, bnnc_drawn.key, bnnc_drawn.word);
}

BNNC_FN int32_t bnnc_within(uint32_t word, uint32_t most) {
    return (int32_t)((word >> 16) * (2 * most + 1) >> 16) - (int32_t)most;
}

/* The next sample that is read has this place in an epoch of training. */
BNNC_FN void bnnc_draw(uint32_t seed, uint32_t epoch, uint32_t place) {
    bnnc_drawn.key[0] = seed, bnnc_drawn.key[1] = BNNC_STREAM_AUGMENT;
    bnnc_drawn.place = place, bnnc_drawn.epoch = epoch, bnnc_drawn.block = UINT32_MAX, bnnc_drawn.on = true;
    bnnc_draw_block(0);
    bnnc_drawn.down = bnnc_within(bnnc_drawn.word[0], BNNC_AUGMENT_UP);
    bnnc_drawn.right = bnnc_within(bnnc_drawn.word[1], BNNC_AUGMENT_ACROSS);
    bnnc_drawn.flip = BNNC_AUGMENT_FLIP && bnnc_drawn.word[2] >> 31;
}

BNNC_FN int32_t bnnc_clamp(int32_t i, int32_t end) { return i < 0 ? 0 : i < end ? i : end - 1; }

/* Value i of the sample that was read; asked for in order, noise is drawn once in four. */
BNNC_FN bnnc_seen_value bnnc_seen(const bnnc_seen_value *raw, uint32_t i) {
    const uint32_t pixel = i / BNNC_AUGMENT_CHANNELS;
    int32_t r = (int32_t)(pixel / BNNC_AUGMENT_COLUMNS), c = (int32_t)(pixel % BNNC_AUGMENT_COLUMNS);
    if (!bnnc_drawn.on) return raw[i];
    if (bnnc_drawn.flip) c = BNNC_AUGMENT_COLUMNS - 1 - c;
    r += bnnc_drawn.down, c += bnnc_drawn.right;
    const int32_t rr = bnnc_clamp(r, BNNC_AUGMENT_ROWS), cc = bnnc_clamp(c, BNNC_AUGMENT_COLUMNS);
    bnnc_seen_value v =
        raw[((uint32_t)rr * BNNC_AUGMENT_COLUMNS + (uint32_t)cc) * BNNC_AUGMENT_CHANNELS + i % BNNC_AUGMENT_CHANNELS];
    if (!BNNC_AUGMENT_CLAMP && (r != rr || c != cc)) v = 0;
#ifdef BNNC_AUGMENT_JITTER
    bnnc_draw_block(1 + i / 4);
    const uint32_t w = bnnc_drawn.word[i % 4];
    const int32_t sum = (int32_t)((w & 255) + (w >> 8 & 255) + (w >> 16 & 255) + (w >> 24)) - 510;
    v = v + (float)sum * BNNC_AUGMENT_JITTER;
#endif
    return v;
}

#endif

/* bnnc_raw.h: of a network that only predicts: a sample, as it is measured, into the arena as the network takes it.
 *
 * net.c defines BNNC_RAW, the type of a value (of bits, that of eight: bit i is bit i%8 of byte i/8), BNNC_RAW_BITS where that
 * is so, and THRESHOLDS where the encoder was fitted.
 */
#ifndef BNNC_RAW_H
#define BNNC_RAW_H
#include "bnnc_encode_row.h"
#include "bnnc_sample.h"

#ifdef BNNC_FITTED
BNNC_FN const bnnc_value *bnnc_thresholds_of(uint32_t row) { return THRESHOLDS + row * NET.encoding.cols; }
#else
BNNC_FN const bnnc_value *bnnc_thresholds_of(uint32_t row) { return (void)row, NULL; }
#endif

/* Steps at the end of a sequence that are all NaN do not exist. */
BNNC_FN uint32_t bnnc_steps_missing(const BNNC_RAW *raw) {
    uint32_t values = NET.encoding.steps * NET.encoding.channels;
    while (NET.encoding.lengths && values) {
        const float v = (float)BNNC_RAW_AT(raw, values - 1);
        if (v <= 0 || v >= 0) break;
        values--;
    }
    return NET.encoding.lengths ? NET.encoding.steps - (values + NET.encoding.channels - 1) / NET.encoding.channels : 0;
}

BNNC_FN void bnnc_take(const BNNC_RAW *raw) {
    uint8_t *const row = bnnc_arena + NET.eval_x;
    if (NET.encoding.how)
        bnnc_encode_row(raw, bnnc_steps_missing(raw), row);
    else
        memcpy(row, raw, bnnc_kind_bytes(bnnc_net_kind()));
    bnnc_pad_row(row);
}

#endif

/* bnnc_seen.h: a row of the batch from a sample that was read as it is: augmented, then encoded (bnnc_augment.h). */
#ifndef BNNC_SEEN_H
#define BNNC_SEEN_H
#include "bnnc_augment.h"
#ifdef BNNC_LATE
#define BNNC_RAW bnnc_seen_value
#define BNNC_RAW_AT(raw, i) bnnc_seen(raw, i)
#include "bnnc_encode_row.h"
#endif

/* What was read becomes a row of the batch. False: a number that no encoder takes. */
BNNC_FN bool bnnc_see(uint8_t *row) {
    const bnnc_seen_value *raw = (const bnnc_seen_value *)(const void *)bnnc_read_row;
#ifdef BNNC_LATE
    for (uint32_t i = 0; NET.encoding.in_kind == BNNC_F32 && NET.encoding.how != BNNC_SIGN && i < BNNC_SEEN; i++)
        if (!(raw[i] - raw[i] <= 0)) return false;
    bnnc_encode_row(raw, 0, row);
#else
    for (uint32_t i = 0; i < BNNC_SEEN; i++) {
        const bnnc_seen_value v = bnnc_seen(raw, i);
        memcpy(row + i * sizeof v, &v, sizeof v);
    }
#endif
    bnnc_drawn.on = false;
    return true;
}

#endif

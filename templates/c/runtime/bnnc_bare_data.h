/* bnnc_bare_data.h: without an operating system samples come from the firmware, one at a time. */
#ifndef BNNC_BARE_DATA_H
#define BNNC_BARE_DATA_H
#include "bnnc_sample.h"

typedef struct {
    uint32_t n, first;
} bnnc_set;

BNNC_FN bool bnnc_set_read(const bnnc_set *s, uint32_t i, uint8_t *row, uint8_t *label) {
    int error = 0;
    if (bnnc_board_now->sample(bnnc_board_now->me, s->first + i, row, label))
        error = BNNC_NO_SAMPLE;
    else if (*label >= NET.classes)
        error = BNNC_BAD_LABEL;
    bnnc_pad_row(row);
    if (error) atomic_store(&bnnc_signal, error);
    return !error;
}

#endif

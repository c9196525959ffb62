/* bnnc_encode_row.h: one sample to bits, with thresholds that are there. bnnc/inputs/encode.py is the definition.
 *
 * Who includes this may say what type the values of a sample are, BNNC_RAW, or BNNC_RAW_BITS: eight a byte; and defines where
 * a row of thresholds lies.
 */
#ifndef BNNC_ENCODE_ROW_H
#define BNNC_ENCODE_ROW_H
#include "bnnc_net.h"

typedef float __attribute__((may_alias)) bnnc_value;
static const bnnc_value *bnnc_thresholds_of(uint32_t row);

#ifndef BNNC_RAW
#define BNNC_RAW bnnc_value
#endif
#ifdef BNNC_RAW_BITS
#define BNNC_RAW_AT(raw, i) ((raw)[(i) / 8] >> (i) % 8 & 1)
#elif !defined(BNNC_RAW_AT)
#define BNNC_RAW_AT(raw, i) ((raw)[i])
#endif

/* Which of the one-hot channels c is, or n_onehot. */
BNNC_FN uint32_t bnnc_onehot(uint32_t c) {
    uint32_t i = 0;
    while (i < NET.encoding.n_onehot && NET.encoding.onehot[2 * i] != c) i++;
    return i;
}

/* The bits of a sample, as a row of a .bnnd file; `missing` steps do not exist, and the others are `raw`. */
BNNC_FN void bnnc_encode_row(const BNNC_RAW *raw, uint32_t missing, uint8_t *out) {
    const bnnc_encoding *e = &NET.encoding;
    uint32_t at = 0, numeric = 0, i = 0;
    memset(out, 0, (NET.elems + 7) / 8);
    for (uint32_t t = 0; t < e->steps; t++) {
        const bool here = t >= missing;
        const uint32_t first = at;
        if (e->per != BNNC_COLUMN) numeric = 0;
        for (uint32_t c = 0; c < e->channels; c++) {
            const uint32_t hot = bnnc_onehot(c), count = hot < e->n_onehot ? e->onehot[2 * hot + 1] : e->bits;
            const uint32_t row = hot < e->n_onehot ? e->rows - e->n_onehot + hot : e->per == BNNC_GLOBAL ? 0 : numeric;
            const float v = here ? (float)BNNC_RAW_AT(raw, i) : 0;
            i += here;
            numeric += hot == e->n_onehot;
            for (uint32_t k = 0; k < count; k++, at++) {
                const float own = e->rows ? bnnc_thresholds_of(row)[k] : e->threshold;
                bool on = e->how == BNNC_MEDIAN || e->how == BNNC_PAD ? v > own : v >= own;
                if (hot < e->n_onehot) on = !(v < own) && !(v > own);
                if (here && on) out[at / 8] |= (uint8_t)(1u << at % 8);
            }
        }
        if (e->pad_odd && (at - first) % 2 == 0) out[at / 8] |= (uint8_t)(here << at % 8), at++;
        if (e->lengths) out[at / 8] |= (uint8_t)(here << at % 8), at++;
    }
}

#endif

/* bnnc_sample.h: how large a sample is, in a file and in the arena. */
#ifndef BNNC_SAMPLE_H
#define BNNC_SAMPLE_H
#include "bnnc_net.h"

BNNC_FN uint32_t bnnc_kind_as_bnnd(uint32_t kind) { return kind == BNNC_U8 ? 0 : kind == BNNC_BIT ? 1 : 2; }
BNNC_FN uint32_t bnnc_net_kind(void) { return bnnc_kind_as_bnnd(NET.in_kind); }
BNNC_FN uint32_t bnnc_kind_bytes(uint32_t kind) {
    return kind == 0 ? NET.elems : kind == 1 ? (NET.elems + 7) / 8 : NET.elems * 4;
}
BNNC_FN uint32_t bnnc_row_bytes(void) { /* of x in the arena */
    return NET.in_kind == BNNC_BIT ? (NET.elems + 31) / 32 * 4 : bnnc_kind_bytes(bnnc_net_kind());
}

#ifdef BNNC_LATE
#define BNNC_ENCODED_LATE true
#else
#define BNNC_ENCODED_LATE false
#endif

/* A set's samples: as the network takes them, but where they are augmented: those are encoded when they are read. */
BNNC_FN uint32_t bnnc_set_kind(void) {
#ifdef BNNC_LATE
    return bnnc_kind_as_bnnd(NET.encoding.in_kind);
#else
    return bnnc_net_kind();
#endif
}
BNNC_FN uint32_t bnnc_set_elems(void) {
#ifdef BNNC_LATE
    return NET.encoding.steps * NET.encoding.channels;
#else
    return NET.elems;
#endif
}
BNNC_FN uint32_t bnnc_set_bytes(void) {
#ifdef BNNC_LATE
    return NET.encoding.in_kind == BNNC_U8 ? bnnc_set_elems() : bnnc_set_elems() * 4;
#else
    return bnnc_kind_bytes(bnnc_net_kind());
#endif
}

/* What a row holds beyond its sample: the bytes up to whole words, and the bits up to whole bytes, are 0. */
BNNC_FN void bnnc_pad_row(uint8_t *row) {
    const uint32_t used = bnnc_kind_bytes(bnnc_net_kind());
    for (uint32_t b = used; b < bnnc_row_bytes(); b++) row[b] = 0;
    if (NET.in_kind == BNNC_BIT && NET.elems % 8 != 0) row[used - 1] &= (uint8_t)((1u << NET.elems % 8) - 1);
}

#endif

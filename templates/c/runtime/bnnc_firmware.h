/* bnnc_firmware.h: what a firmware, or another program of yours, gives to a trainer and gets from it: a board, codes, a result.
 * NAME.h, which bnnc writes for a network, has the functions. */
#ifndef BNNC_FIRMWARE_H
#define BNNC_FIRMWARE_H
#include <stddef.h>
#include <stdint.h>

enum {
    BNNC_DONE = 0,
    BNNC_STOPPED = 1 /* `stop` asked for it */,
    BNNC_NO_SAMPLE = 2 /* `sample` failed */,
    BNNC_BAD_LABEL = 3 /* not below the number of classes */,
    BNNC_TOO_FEW = 4 /* less than one batch */,
    BNNC_NO_CHECKPOINT = 5 /* one could not be written or read back */
};

typedef struct {
    uint32_t n_train,
        n_test; /* samples 0 to n_train - 1 are trained on, the n_test after them only measure; 0: no test */

    /* Writes sample i to x, as the network takes it, and its class to *label. Bits: bit c%8 of byte c/8, 1 is +1; u8 and f32 as
   * they are; NAME_sample_bytes() bytes, at an address that is a multiple of 4 (u8: any). 0: done; else no step is
   * made. Who reads a sensor may ignore i and give what comes next: then no two runs are alike, and so are no two resumed. */
    int (*sample)(void *me, uint32_t i, void *x, uint8_t *label);

    /* All below may be left out. */
    void (*print)(void *me, const char *text, uint32_t n); /* n characters; lines end with \n */
    int (*stop)(void *me);  /* asked after each step: other than 0 writes a checkpoint and ends training */
    uint32_t epochs, steps; /* instead of the spec's; at most so many steps in total */
    const uint32_t *seed;   /* instead of the spec's */

    /* Two slots, 0 and 1, of NAME_slot_bytes() each, for checkpoints that survive a power cut at any moment. A save
   * writes one slot from byte 512 on, upwards, then its bytes 0 to 63: erase the slot when asked to write at 512. `sync`
   * returns when what was written would survive. Each: 0 done, other than 0 failed. */
    int (*slot_read)(void *me, int slot, void *to, uint32_t n, uint32_t at);
    int (*slot_write)(void *me, int slot, const void *from, uint32_t n, uint32_t at);
    int (*slot_sync)(void *me, int slot);
    uint32_t save_every; /* steps between checkpoints; 0: only at the end, and when stopped */

    const float *
        thresholds; /* an encoder's, where the spec has one that is fitted: `bnnc compile` writes them with the samples */
    void *me;       /* handed back to each function */
} bnnc_board;

typedef struct {
    uint32_t epochs, steps;  /* done, in total */
    float train, held, test; /* accuracies 0..1 of the last epoch measured; -1: none */
    uint64_t state;          /* fingerprint of all trained bits: the same on every machine */
} bnnc_result;

#endif

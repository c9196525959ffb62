/* bnnc_firmware.h: the trainer as a part of your firmware. All that your code needs to know of it.
 *
 *     static int sample(void *me, uint32_t i, void *x, uint8_t *label) { ... return 0; }
 *     static void print(void *me, const char *text, uint32_t n) { uart_send(text, n); }
 *     static const bnnc_board board = {.n_train = 1437, .n_test = 360, .sample = sample, .print = print};
 *
 *     bnnc_result r;
 *     int error = bnnc_firmware_train(&board, &r);
 *     int32_t class = bnnc_firmware_predict(x);
 *
 * Compile the generated NET.c (it says with which options) and link it to this; keep one board, and call from one task:
 * the functions share one static arena. They allocate nothing, do not recurse, and enable, disable or wait for nothing.
 */
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
   * they are; bnnc_firmware_sample_bytes() bytes, at an address that is a multiple of 4 (u8: any). 0: done; else no step is
   * made. Who reads a sensor may ignore i and give what comes next: then no two runs are alike, and so are no two resumed. */
    int (*sample)(void *me, uint32_t i, void *x, uint8_t *label);

    /* All below may be left out. */
    void (*print)(void *me, const char *text, uint32_t n); /* n characters; lines end with \n */
    int (*stop)(void *me);  /* asked after each step: other than 0 writes a checkpoint and ends training */
    uint32_t epochs, steps; /* instead of the spec's; at most so many steps in total */
    const uint32_t *seed;   /* instead of the spec's */

    /* Two slots, 0 and 1, of bnnc_firmware_slot_bytes() each, for checkpoints that survive a power cut at any moment. A save
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

/* Trains to the end; goes on from the newest checkpoint where there is one. BNNC_DONE, or what went wrong. */
int bnnc_firmware_train(const bnnc_board *board, bnnc_result *result);

/* The class of one sample, or -1 where x is NULL. The weights are those of the last training, or of bnnc_firmware_resume. */
int32_t bnnc_firmware_predict(const void *x);

/* Takes the weights of the newest checkpoint; BNNC_NO_CHECKPOINT: there is none. */
int bnnc_firmware_resume(const bnnc_board *board);

/* Prints what the network is, and the memory table. */
void bnnc_firmware_info(const bnnc_board *board);

uint32_t bnnc_firmware_sample_bytes(void), bnnc_firmware_slot_bytes(void);

#endif

/* bnnc_work.h: how much a call of each of bnnc_rate.h's kernels does. */
#ifndef BNNC_WORK_H
#define BNNC_WORK_H
#include "bnnc_net.h"

enum { BNNC_RATE_TIMES = 16384, BNNC_RATE_TABLES = 4096 }; /* lanes' turns of a call */
/* On each thread, but of BNNC_RATE_MOVED all of them together. */
static const double bnnc_rate_work[BNNC_RATE_RUN] __attribute__((unused)) = {
    (double)BNNC_RATE_TIMES * 30 * 4 * 32, (double)BNNC_RATE_TABLES * 64 * 32, (double)BNNC_RATE_TIMES * 16 * 16,
    (double)BNNC_RATE_TIMES * 16 * 4, 2 * (double)ARENA_BYTES};

/* How fast an instruction set does these, in the order of BNNC_RATE_..: a row of RATES. */
#define BNNC_RATES_OF(level) \
    {bnnc_rate_bits_##level,     bnnc_rate_signed_##level, bnnc_rate_numbers_##level, \
     bnnc_rate_elements_##level, bnnc_rate_moved_##level,  bnnc_rate_run_##level}

#endif

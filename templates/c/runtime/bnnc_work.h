/* bnnc_work.h: how much a call of each of bnnc_rate.h's kernels does. */
#ifndef BNNC_WORK_H
#define BNNC_WORK_H
#include "bnnc_net.h"

enum { BNNC_RATE_TIMES = 16384, BNNC_RATE_TABLES = 4096 }; /* lanes' turns of a call */
/* On each thread, but of BNNC_RATE_MOVED all of them together. */
static const double bnnc_rate_work[BNNC_RATE_RUN] __attribute__((unused)) = {
    (double)BNNC_RATE_TIMES * 30 * 4 * 32, (double)BNNC_RATE_TABLES * 64 * 32, (double)BNNC_RATE_TIMES * 16 * 16,
    (double)BNNC_RATE_TIMES * 16 * 4, 2 * (double)ARENA_BYTES};

#endif

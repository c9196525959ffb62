/* bnnc_library.h: the network as a shared library instead of a program (-DBNNC_LIBRARY): its kernels one by one, and whole
 * steps on the best instruction set and one thread.  For tests and tools; included last, in the place of bnnc_main.h. */
#ifndef BNNC_LIBRARY_H
#define BNNC_LIBRARY_H
#include "bnnc_cpu.h"
#include "bnnc_net.h"

uint8_t *bnnc_test_arena(void);
int bnnc_test_kernel(int level, int index, int tid, int nt), bnnc_test_levels(void);
void bnnc_test_step(int evaluate);
#ifdef BNNC_STRIPS
int bnnc_test_next(int index);
int bnnc_test_next(int index) { return net_next(index); }
#endif
uint8_t *bnnc_test_arena(void) { return bnnc_arena; }
int bnnc_test_levels(void) { return bnnc_cpu_detect() + 1; }
int bnnc_test_kernel(int level, int index, int tid, int nt) {
    if (level >= (int)(sizeof KERNELS / sizeof KERNELS[0]) || index >= TRAIN_KERNELS + EVAL_KERNELS) return 1;
    KERNELS[level][index](PLACES[index], tid, nt);
    return 0;
}
void bnnc_test_step(int evaluate) { (evaluate ? net_eval_step : net_train_step)(); }
static const void *const bnnc_test_unused[] __attribute__((unused)) = {&NET, STATE, SPEC_HASH};
#endif

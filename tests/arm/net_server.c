/* Runs the kernels of a network for a test on another machine: the generated file NET_FILE as a library, freestanding, with two threads.
 *
 * Requests on standard input, three u32 each: what, a, b.  'w': b bytes for the arena at a follow; 'r': answers b bytes of it;
 * 'f': fills it with byte a; 'k': runs kernel a; 's': a training step (a = 0) or an evaluation; 'd': answers how many bytes
 * of the first stack kernels have used below this file's own, and of each other one, as two u32. */
#define BNNC_LIBRARY 1
#include NET_FILE
#include "take.h"
enum { PAINT = 0xC5, DEPTH = 64 << 10 };
static uint8_t *painted; /* the lowest byte of the first stack that was painted */

static uint32_t unpainted(const uint8_t *p, uint32_t n) {
    uint32_t free = 0;
    while (free < n && p[free] == PAINT) free++;
    return n - free;
}

static __attribute__((noinline)) void paint(uint8_t *top) {
    painted = top - DEPTH;
    for (uint8_t *p = painted; p < (uint8_t *)__builtin_frame_address(0) - 512; p++) *(volatile uint8_t *)p = PAINT;
}

static int serve(int argc, char **argv, char **envp) {
    uint32_t q[3];
    (void)argc, (void)argv;
    bnnc_environ = envp;
    memset(bnnc_stacks, PAINT, sizeof bnnc_stacks);
    bnnc_pool_start(BNNC_MAX_THREADS);
    paint(__builtin_frame_address(0));
    while (take(q, sizeof q)) {
        uint32_t used[2];
        switch (q[0]) {
        case 'w':
            if (!take(bnnc_arena + q[1], q[2])) return BNNC_E_DATA;
            break;
        case 'r': bnnc_write_all(1, bnnc_arena + q[1], q[2]); break;
        case 'f': memset(bnnc_arena, (int)q[1], sizeof bnnc_arena); break;
        case 'k': net_run(net_kernels(), (int)q[1]); break;
        case 's': bnnc_test_step((int)q[1]); break;
        default:
            used[0] = unpainted(painted, DEPTH);
            used[1] = unpainted(bnnc_stacks[0], BNNC_THREAD_STACK);
            bnnc_write_all(1, used, sizeof used);
        }
    }
    return BNNC_OK;
}

BNNC_ENTRY(serve)

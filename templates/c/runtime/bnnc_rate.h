/* bnnc_rate.h: how fast this machine runs the inner loops of kernels, for `bench`. Included once per instruction set, after the
 * kernels, whose names end in the level too.
 *
 * Each function is a kernel (bnnc_pool.h) that does a fixed amount of one kind of work (BNNC_RATE_.., bnnc_net.h) on every thread: the
 * loads, operations and stores that the skeletons do, on arrays in the first-level cache. bnnc_rate_moved reads and writes the arena.
 */
#ifndef BNNC_RATE_H
#define BNNC_RATE_H
#include "bnnc_vec.h"
#include "bnnc_bits.h"
#include "bnnc_work.h"
/* The compiler must take it that the array has changed, and is read. */
#define BNNC_RATE_TOUCH(array) __asm__ volatile("" : : "r"(array) : "memory")
#define BNNC_RATE(name) \
    __attribute__((unused)) BNNC_KERNEL BNNC_AT_LEVEL(bnnc_rate_##name)( \
        const uint32_t *at __attribute__((unused)), int tid __attribute__((unused)), int nt __attribute__((unused)))

/* Nothing: what it costs to run a kernel. */
BNNC_RATE(run) {}

/* Products of bits: 30 words of 32 by four rows a turn. */
BNNC_RATE(bits) {
    VARRAY uint32_t row[4][30];
    VARRAY vu b[30];
    vi sum[4] = {{0}};
    BNNC_RATE_TOUCH(row);
    BNNC_RATE_TOUCH(b);
    for (int times = 0; times < BNNC_RATE_TIMES / VL; times++) {
        vu count[4] = {{0}};
        for (int k = 0; k < 30; k += 3) {
            const vu w0 = b[k], w1 = b[k + 1], w2 = b[k + 2];
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) count[i] += vpop3(w0 ^ row[i][k], w1 ^ row[i][k + 1], w2 ^ row[i][k + 2]);
        }
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) sum[i] += vpopsum(count[i]);
        BNNC_RATE_TOUCH(row);
    }
    BNNC_RATE_TOUCH(sum);
}

/* Numbers that are added or taken away, 64 x 32 a turn: eight tables of signed sums, and what 64 words select from them. */
BNNC_RATE(signed) {
    VARRAY vf table[8 * 16], term[32], sum[64];
    VARRAY uint32_t word[64];
    for (int i = 0; i < 64; i++) sum[i] = vbc(0.0f);
    for (int j = 0; j < 32; j++) term[j] = vbc((float)j);
    BNNC_RATE_TOUCH(word);
    for (int times = 0; times < BNNC_RATE_TABLES / VL; times++) {
        BNNC_RATE_TOUCH(term);
        for (int g = 0; g < 8; g++)
            vtable(table + 16 * g, term[4 * g], term[4 * g + 1], term[4 * g + 2], term[4 * g + 3]);
        for (int i = 0; i < 64; i++) sum[i] = vlookup(sum[i], table, word[i], 8);
    }
    BNNC_RATE_TOUCH(sum);
}

/* Products of numbers, added: 16 x 16 a turn. */
BNNC_RATE(numbers) {
    VARRAY float left[16][8];
    VARRAY vf right[16][2];
    vf sum[8][2];
    for (int j = 0; j < 16; j++) {
        right[j][0] = right[j][1] = vbc((float)j);
        for (int k = 0; k < 8; k++) left[j][k] = 1.0f;
    }
#pragma GCC unroll 8
    for (int k = 0; k < 8; k++) sum[k][0] = sum[k][1] = vbc(0.0f);
    for (int times = 0; times < BNNC_RATE_TIMES / VL; times++) {
        BNNC_RATE_TOUCH(left);
        for (int j = 0; j < 16; j++)
#pragma GCC unroll 8
            for (int k = 0; k < 8; k++)
#pragma GCC unroll 2
                for (int h = 0; h < 2; h++) sum[k][h] += left[j][k] * right[j][h];
    }
    BNNC_RATE_TOUCH(sum);
}

/* Operations of expressions, 16 x 4 a turn: four for each element that is read and written. */
BNNC_RATE(elements) {
    VARRAY vf x[16];
    for (int j = 0; j < 16; j++) x[j] = vbc((float)j);
    for (int times = 0; times < BNNC_RATE_TIMES / VL; times++) {
        BNNC_RATE_TOUCH(x);
        for (int j = 0; j < 16; j++) x[j] = vmax((x[j] - 2.0f) * 0.5f, vbc(0.25f)) + 1.0f;
    }
    BNNC_RATE_TOUCH(x);
}

/* All of the arena is read and written, in 64 bytes at a time. */
BNNC_RATE(moved) {
    const uint64_t lines = ARENA_BYTES / 64, last = lines * (unsigned)(tid + 1) / (unsigned)nt;
    for (uint64_t i = lines * (unsigned)tid / (unsigned)nt; i < last; i++) {
        vi *p = (vi *)(void *)(bnnc_arena + 64 * i);
        for (int k = 0; k < 16 / VL; k++) p[k] = ~p[k];
    }
}
#undef BNNC_RATE
#endif

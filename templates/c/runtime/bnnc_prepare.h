/* bnnc_prepare.h: what every verb that runs kernels does first: the instruction set, the memory, the threads. */
#ifndef BNNC_PREPARE_H
#define BNNC_PREPARE_H
#include "bnnc_cli.h"
#include "bnnc_cpu.h"
#include "bnnc_net.h"
#include "bnnc_pool.h"

#ifndef BNNC_MEMINFO
#define BNNC_MEMINFO "/proc/meminfo" /* a test puts another file here */
#endif

/* The arena is part of the program: the kernel gives its pages on first touch, and kills us where there are none left.
 * Better to say so before the first step. */
BNNC_COLD void bnnc_check_memory(void) {
    char text[512];
    uint64_t kib = 0;
    int fd = bnnc_open(BNNC_MEMINFO, BNNC_READ);
    if (fd < 0) return;
    int64_t n = bnnc_read(fd, text, sizeof text - 1), i = 0;
    bnnc_close(fd);
    while (i + 14 < n && memcmp(text + i, "MemAvailable:", 13)) i++;
    if (i + 14 >= n) return; /* not a Linux that tells */
    for (i += 13; i < n && text[i] == ' '; i++) {}
    for (; i < n && text[i] >= '0' && text[i] <= '9'; i++) kib = kib * 10 + (uint64_t)(text[i] - '0');
    const uint64_t have = kib * 1024, of_batch = NET.arena_bytes - NET.state_bytes;
    /* The arena grows so, but for rounding; the code may need two more pages where a batch does not fill vectors. */
    const uint64_t other = NET.total_bytes - of_batch + 8192;
    const uint64_t batch = have > other ? NET.batch * (have - other) / of_batch * 31 / 32 : 0;
    const double need_mib = (double)NET.total_bytes / 0x1p20, have_mib = (double)have / 0x1p20;
    if (have >= NET.total_bytes) return;
    if (batch)
        bnnc_fail(BNNC_E_MEMORY,
                  "this network needs %.1f MiB of memory, the machine has %.1f MiB free\n"
                  "  hint: end other programs, or compile with --ram %UKiB --batch %U",
                  need_mib, have_mib, kib, batch);
    bnnc_fail(BNNC_E_MEMORY,
              "this network needs %.1f MiB of memory, the machine has %.1f MiB free\n"
              "  hint: end other programs; no batch is small enough, a smaller network may be",
              need_mib, have_mib);
}

/* Takes the arena's pages now: what happens where they are not there happens before the first step, not in the night. */
BNNC_COLD void bnnc_take_arena(void) {
    volatile uint8_t *p = bnnc_arena;
    for (uint64_t i = 0; i < NET.arena_bytes; i += 4096) p[i] = p[i];
}

/* What every verb that runs kernels needs. */
BNNC_COLD void bnnc_prepare(void) {
    int cores = bnnc_cores(), most = (int)NET.max_threads;
    bnnc_no_huge_pages(); /* a huge page under a partly used array would count in full */
    bnnc_cpu_choose(bnnc_opt.isa);
    bnnc_check_memory();
    BNNC_START();
    bnnc_take_arena();
    bnnc_pool_start(bnnc_opt.threads_given ? (int)bnnc_opt.threads : cores < most ? cores : most);
}

#endif

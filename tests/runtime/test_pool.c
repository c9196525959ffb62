/* test_pool.c: the thread pool under load: every part of a kernel runs once, whoever runs it, and each sees what the one
 * before wrote; no kernel waits for a thread that does not run. */
#define BNNC_MAX_THREADS 8
#include "bnnc_net.h"
#include "bnnc_pool.h"

enum { N = 64 };
static uint32_t a[N], b[N], runs[8];

static void first(const uint32_t *at, int tid, int n) { /* b[i] from a[i-1]: another thread's share */
    runs[tid]++;
    for (int i = N * tid / n; i < N * (tid + 1) / n; i++) b[i] = a[(i + N - 1) % N] * 3 + at[0];
}
static void second(const uint32_t *at, int tid, int n) {
    runs[tid]++;
    for (int i = N * tid / n; i < N * (tid + 1) / n; i++) a[i] = b[(i + N - 1) % N] + at[1];
}

static int test_main(int argc, char **argv, char **envp) {
    uint32_t threads = 2, rounds = 1000, x[N], y[N];
    bnnc_environ = envp;
    if (argc > 1) (void)bnnc_parse_u32(argv[1], &threads);
    if (argc > 2) (void)bnnc_parse_u32(argv[2], &rounds);
    for (uint32_t i = 0; i < N; i++) a[i] = x[i] = i;
    static const uint32_t one[] = {1}, seven[] = {0, 7};
    bnnc_pool.n = (int)threads; /* the others do not run yet */
    bnnc_run(first, one);
    bnnc_run(second, seven);
    bnnc_pool_start((int)threads);
    const uint64_t start = bnnc_clock_ns();
    for (uint32_t r = 0; r < rounds; r++) {
        bnnc_run(first, one);
        bnnc_run(second, seven);
        if (r % 256 == 255) /* long enough for the others to fall asleep */
            for (uint64_t until = bnnc_clock_ns() + 1000000; bnnc_clock_ns() < until;) bnnc_pause();
    }
    const uint64_t took = bnnc_clock_ns() - start;
    for (uint32_t r = 0; r <= rounds; r++) { /* the same, alone */
        for (uint32_t i = 0; i < N; i++) y[i] = x[(i + N - 1) % N] * 3 + 1;
        for (uint32_t i = 0; i < N; i++) x[i] = y[(i + N - 1) % N] + 7;
    }
    if (memcmp(a, x, sizeof x)) bnnc_fail(1, "the threads computed something else");
    for (uint32_t t = 0; t < threads; t++)
        if (runs[t] != 2 * rounds + 2) bnnc_fail(1, "part %u ran %u times, not %u", t, runs[t], 2 * rounds + 2);
    bnnc_say(1, "ok %U ns a run\n", took / (2 * (uint64_t)rounds));
    return 0;
}
BNNC_ENTRY(test_main)

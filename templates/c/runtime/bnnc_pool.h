/* bnnc_pool.h: a fixed set of threads that run one kernel at a time.
 *
 * bnnc_run(k, at) calls k(at, tid, nthreads) once for each tid in 0..nthreads-1, tid 0 on the caller, and returns when all are
 * done: a barrier on both sides, so what one kernel wrote the next one may read. One thread: a plain call. Threads
 * start at bnnc_pool_start, on static stacks, and never end. They wait by spinning for some microseconds, since
 * kernels follow each other closely, and then sleep in a futex. While spinning they yield now and then: where two of
 * them share a core, the one that has work runs at once, and both stay runnable, so the kernel moves one to a free
 * core.
 *
 * A kernel has nthreads parts, and who runs which does not matter to its result: a thread begins with its own and goes on with
 * those that nobody has begun. So where other programs keep a thread from running, the others do not wait for it.
 *
 * Correct because: `go` is released after `kernel` and `at` are written and acquired before they are read. Part t of run g
 * is for the one that changes begun[t] from g - 1 to g, so who comes late, with a `go` of long ago, takes nothing; and the
 * next run begins when all parts of this one are done: `left` counts them down with release, and the caller acquires zero. A
 * sleeper first announces itself and then looks again, a waker first changes the word and then looks for sleepers; both
 * with sequential consistency, so one of the two sees the other.
 */
#ifndef BNNC_POOL_H
#define BNNC_POOL_H
#include "bnnc_fmt.h"

#ifndef BNNC_MAX_THREADS
#define BNNC_MAX_THREADS 1
#endif
#ifndef BNNC_THREAD_STACK
#define BNNC_THREAD_STACK 65536
#endif
#ifndef BNNC_STACK_MORE
#define BNNC_STACK_MORE 0
#endif
#ifndef BNNC_SPIN
#define BNNC_SPIN 100 /* looks before sleeping, each with 64 pauses and a yield: 50 to 300 us */
#endif

typedef void (*bnnc_kernel)(const uint32_t *at, int tid, int nthreads); /* at: arena offsets of what it works on */

static struct {
    _Alignas(64) _Atomic uint32_t go; /* counts runs; each word that one side polls has a cache line of its own */
    _Alignas(64) _Atomic uint32_t left;
    _Alignas(64) _Atomic uint32_t sleepers;
    _Atomic uint32_t caller_sleeps;
    _Atomic uint32_t begun[BNNC_MAX_THREADS]; /* by part: the last run in which somebody took it */
    bnnc_kernel kernel;
    const uint32_t *at;
    int n, home; /* home: the caller's CPU at the start */
} bnnc_pool = {.n = 1};

BNNC_FN void bnnc_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield" ::: "memory");
#endif
}

/* Spins while (word == value) is `equal`; true: it no longer is. */
BNNC_FN bool bnnc_spin_while(_Atomic uint32_t *word, uint32_t value, bool equal) {
    for (int i = 0; i < BNNC_SPIN; i++) {
        for (int k = 0; k < 64; k++) {
            if ((atomic_load_explicit(word, memory_order_acquire) == value) != equal) return true;
            bnnc_pause();
        }
        bnnc_yield();
    }
    return false;
}

#if BNNC_MAX_THREADS > 1
static _Alignas(64) uint8_t bnnc_stacks[BNNC_MAX_THREADS - 1][BNNC_THREAD_STACK + BNNC_STACK_MORE];
static bnnc_thread_call bnnc_calls[BNNC_MAX_THREADS - 1];

/* The parts of this run that nobody has begun, one's own first; how many. */
BNNC_FN uint32_t bnnc_take(uint32_t run, int tid) {
    uint32_t taken = 0;
    for (int i = 0; i < bnnc_pool.n; i++) {
        const int part = tid + i < bnnc_pool.n ? tid + i : tid + i - bnnc_pool.n;
        uint32_t last = run - 1;
        if (!atomic_compare_exchange_strong(&bnnc_pool.begun[part], &last, run)) continue;
        bnnc_pool.kernel(bnnc_pool.at, part, bnnc_pool.n);
        taken++;
    }
    return taken;
}

static void bnnc_worker(void *arg) {
    int tid = (int)(intptr_t)arg;
    bnnc_move_away(bnnc_pool.home, tid);
    for (uint32_t seen = 0;;) {
        if (!bnnc_spin_while(&bnnc_pool.go, seen, true)) {
            atomic_fetch_add(&bnnc_pool.sleepers, 1);
            while (atomic_load(&bnnc_pool.go) == seen) bnnc_futex_wait(&bnnc_pool.go, seen);
            atomic_fetch_sub(&bnnc_pool.sleepers, 1);
        }
        seen = atomic_load_explicit(&bnnc_pool.go, memory_order_acquire);
        const uint32_t done = bnnc_take(seen, tid);
        if (done && atomic_fetch_sub(&bnnc_pool.left, done) == done && atomic_load(&bnnc_pool.caller_sleeps))
            bnnc_futex_wake(&bnnc_pool.left, 1);
    }
}
#endif

/* Starts n - 1 threads. Call once. */
BNNC_FN void bnnc_pool_start(int n) {
    bnnc_pool.n = n < BNNC_MAX_THREADS ? n : BNNC_MAX_THREADS;
    bnnc_pool.home = bnnc_this_cpu();
#if BNNC_MAX_THREADS > 1
    for (int i = 1; i < bnnc_pool.n; i++) {
        int r = bnnc_thread_start(bnnc_worker, (void *)(intptr_t)i, bnnc_stacks[i - 1], sizeof bnnc_stacks[0],
                                  &bnnc_calls[i - 1]);
        if (r < 0) bnnc_fail(BNNC_E_INTERNAL, "cannot start thread %d: %s\n  hint: --threads 1", i, bnnc_errname(r));
    }
#endif
}

BNNC_FN void bnnc_run(bnnc_kernel k, const uint32_t *at) {
#if BNNC_MAX_THREADS > 1
    if (bnnc_pool.n > 1) {
        bnnc_pool.kernel = k, bnnc_pool.at = at;
        atomic_store_explicit(&bnnc_pool.left, (uint32_t)bnnc_pool.n, memory_order_relaxed);
        const uint32_t run = atomic_fetch_add(&bnnc_pool.go, 1) + 1;
        if (atomic_load(&bnnc_pool.sleepers)) bnnc_futex_wake(&bnnc_pool.go, BNNC_MAX_THREADS);
        atomic_fetch_sub(&bnnc_pool.left, bnnc_take(run, 0));
        if (!bnnc_spin_while(&bnnc_pool.left, 0, false)) {
            uint32_t left;
            atomic_store(&bnnc_pool.caller_sleeps, 1);
            while ((left = atomic_load(&bnnc_pool.left)) != 0) bnnc_futex_wait(&bnnc_pool.left, left);
            atomic_store(&bnnc_pool.caller_sleeps, 0);
        }
        return;
    }
#endif
    k(at, 0, 1);
}

#endif

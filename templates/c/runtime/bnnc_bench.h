/* bnnc_bench.h: the verb bench: how long a training step takes, how long it should by what the plan counts and by how fast this machine
 * is, and with --kernels the same of each kernel.
 *
 * The generated file has COSTS, RATES and BNNC_NEXT(i) (the kernel after i) where kernels run on this CPU; elsewhere, and with
 * --quiet, nothing is predicted, and the program does the same work in each run.
 */
#ifndef BNNC_BENCH_H
#define BNNC_BENCH_H

#include "bnnc_prepare.h"
#include "bnnc_progress.h"
#ifdef BNNC_NEXT
#include "bnnc_work.h"
#endif

#ifdef BNNC_NEXT
static double bnnc_speed[BNNC_RATES]; /* how much a ns, all threads together; BNNC_RATE_RUN: ns */
static struct {
    double predicted, measured, step;
} bnnc_times[TRAIN_KERNELS]; /* ns; measured: in the best step */

/* Measures the rates: the best call of some milliseconds each. Overwrites the arena. */
BNNC_COLD void bnnc_measure_rates(void) {
    const bnnc_kernel *rate = RATES[net_level()];
    for (int what = BNNC_RATE_RUN; what >= 0; what--) {
        double best = 1e30;
        for (uint64_t start = bnnc_clock_ns(), from = start, now = 0; now < start + 12000000u; from = now) {
            bnnc_run(rate[what], NULL);
            now = bnnc_clock_ns();
            if ((double)(now - from) < best) best = (double)(now - from);
        }
        if (what == BNNC_RATE_RUN) {
            bnnc_speed[what] = best;
            continue;
        }
        const double took = best > bnnc_speed[BNNC_RATE_RUN] ? best - bnnc_speed[BNNC_RATE_RUN] : 1;
        bnnc_speed[what] = bnnc_rate_work[what] * (what == BNNC_RATE_MOVED ? 1 : bnnc_pool.n) / took;
    }
}

/* Of each kernel: the time that its operations take, or its bytes if that is more; returns the step's, in ns. */
BNNC_COLD double bnnc_expected(void) {
    double sum = 0;
    for (int i = 0; i < TRAIN_KERNELS; i++) {
        const float *work = COSTS[i].work;
        double compute = 0, move = (double)work[BNNC_RATE_MOVED] / bnnc_speed[BNNC_RATE_MOVED];
        for (int what = 0; what < BNNC_RATE_MOVED; what++) compute += (double)work[what] / bnnc_speed[what];
        bnnc_times[i].predicted = (compute > move ? compute : move) + bnnc_speed[BNNC_RATE_RUN];
        sum += bnnc_times[i].predicted;
    }
    return sum;
}

/* `steps` more steps, kernel by kernel: the least time of each. */
BNNC_COLD void bnnc_measure_kernels(uint32_t steps, float lr) {
    const bnnc_kernel *kernel = net_kernels();
    for (uint32_t s = 0; s < steps && !atomic_load(&bnnc_signal); s++) {
        bnnc_random_batch(NET.train_x, NET.train_labels, bnnc_opt.seed + s);
        bnnc_put_scalars(lr, (uint64_t)s + 1);
        for (int i = 0; i < TRAIN_KERNELS; i++) bnnc_times[i].step = 0;
        for (int i = 0; i < TRAIN_KERNELS;) {
            const uint64_t start = bnnc_clock_ns();
            net_run(kernel, i);
            bnnc_times[i].step += (double)(bnnc_clock_ns() - start);
            i = BNNC_NEXT(i);
        }
        for (int i = 0; i < TRAIN_KERNELS; i++)
            if (!s || bnnc_times[i].step < bnnc_times[i].measured) bnnc_times[i].measured = bnnc_times[i].step;
    }
}

/* What takes a kernel's time, in words. */
BNNC_COLD const char *bnnc_limit(const bnnc_cost *c) {
    static const char *const words[] = {"products of bits", "additions", "products", "operations", "memory", "call"};
    int most = BNNC_RATE_RUN;
    double longest = bnnc_speed[BNNC_RATE_RUN];
    for (int what = 0; what < BNNC_RATE_RUN; what++)
        if ((double)c->work[what] / bnnc_speed[what] > longest)
            longest = (double)c->work[what] / bnnc_speed[what], most = what;
    return words[most];
}

/* The kernels, those first that take longest: a table, or a JSON list. */
BNNC_COLD void bnnc_show_kernels(bnnc_text *t, bool json) {
    static uint16_t order[TRAIN_KERNELS];
    double predicted = 0, measured = 0;
    for (int i = 0; i < TRAIN_KERNELS; i++) {
        int at = i;
        for (; at && bnnc_times[order[at - 1]].measured < bnnc_times[i].measured; at--) order[at] = order[at - 1];
        order[at] = (uint16_t)i;
        predicted += bnnc_times[i].predicted, measured += bnnc_times[i].measured;
    }
    if (!json)
        bnnc_put(t, "\n%-38s %5s  %11s  %11s  %5s  %s\n", "kernel (its best step)", "line", "measured", "predicted",
                 "ratio", "limited by");
    for (int k = 0; k < TRAIN_KERNELS; k++) {
        const bnnc_cost *c = &COSTS[order[k]];
        const double have = bnnc_times[order[k]].measured, want = bnnc_times[order[k]].predicted;
        if (json)
            bnnc_put(t, "%s{\"name\":%q,\"line\":%u,\"measured_ms\":%j,\"predicted_ms\":%j,\"limit\":%q}", k ? "," : "",
                     c->name, c->line, have * 1e-6, want * 1e-6, bnnc_limit(c));
        else
            bnnc_put(t, "%-38s %5u  %8.3f ms  %8.3f ms  %5.2f  %s\n", c->name, c->line, have * 1e-6, want * 1e-6,
                     have / want, bnnc_limit(c));
    }
    if (!json)
        bnnc_put(t, "%-38s %5s  %8.3f ms  %8.3f ms  %5.2f\n", "all", "", measured * 1e-6, predicted * 1e-6,
                 measured / predicted);
}
#else /* kernels run elsewhere */
BNNC_FN void bnnc_measure_rates(void) {}
BNNC_FN double bnnc_expected(void) { return -1; }
BNNC_FN void bnnc_measure_kernels(uint32_t steps, float lr) {
    (void)steps, (void)lr;
    bnnc_fail(BNNC_E_USAGE,
              "--kernels: this program does not run its kernels one by one on this CPU\n  hint: leave it out");
}
BNNC_FN void bnnc_show_kernels(bnnc_text *t, bool json) { (void)t, (void)json; }
#endif

BNNC_FN int bnnc_bench(void) {
    /* times of the steps in 16 ns (a step may take a minute), sorted as they come */
    uint32_t *const ns16 = (uint32_t *)(void *)bnnc_io;
    const uint32_t n = bnnc_opt.steps_given ? bnnc_opt.steps : 50;
    const bool predicts = !bnnc_opt.quiet || bnnc_opt.kernels;
    const float lr = NET.lr0;
    _Static_assert(sizeof bnnc_io >= 1000 * sizeof(uint32_t), "the times of all steps");
    if (n < 1 || n > 1000) bnnc_fail(BNNC_E_USAGE, "--steps %u: bench takes 1 to 1000", n);
    bnnc_prepare();
    bnnc_catch_signals();
    if (predicts) bnnc_measure_rates();
    bnnc_state_init(bnnc_opt.seed);
    BNNC_STATES_WRITTEN();
    bnnc_cur.seed = bnnc_opt.seed, bnnc_cur.errors = bnnc_cur.samples = 1;
    for (uint32_t i = 0; i < n + 3; i++) { /* three to warm up */
        /* new ones, or a rule that stops when it is right would soon have nothing to do */
        bnnc_random_batch(NET.train_x, NET.train_labels, bnnc_opt.seed + i);
        const uint64_t start = bnnc_clock_ns();
        bnnc_put_scalars(lr, (uint64_t)i + 1);
        net_train_step();
        const uint64_t took = bnnc_clock_ns() - start;
        if (atomic_load(&bnnc_signal)) return 128 + atomic_load(&bnnc_signal);
        if (i < 3) continue;
        uint32_t at = i - 3, v = took / 16 < UINT32_MAX ? (uint32_t)(took / 16) : UINT32_MAX;
        for (; at && ns16[at - 1] > v; at--) ns16[at] = ns16[at - 1];
        ns16[at] = v;
    }
    const uint64_t state = bnnc_state_hash();
    if (bnnc_opt.kernels) bnnc_measure_kernels(n, lr);
    if (atomic_load(&bnnc_signal)) return 128 + atomic_load(&bnnc_signal);
    char line[256];
    bnnc_text t = {line, sizeof line, 0, 1};
    const double median = 16.0 * ns16[n / 2], least = 16.0 * ns16[0], predicted = predicts ? bnnc_expected() : -1;
    if (bnnc_opt.json) {
        bnnc_put(&t,
                 "{\"name\":%q,\"batch\":%u,\"threads\":%d,\"isa\":%q,\"steps\":%u,\"median_ms\":%j,\"min_ms\":%j,"
                 "\"steps_per_s\":%j,"
                 "\"samples_per_s\":%j,\"predicted_operations\":%U,\"predicted_bytes\":%U,",
                 NET.name, NET.batch, bnnc_pool.n, bnnc_cpu_names[bnnc_cpu_level()], n, median * 1e-6, least * 1e-6,
                 1e9 / median, 1e9 / median * NET.batch, NET.step_operations, NET.step_moved);
        if (predicted > 0) bnnc_put(&t, "\"predicted_ms\":%j,", predicted * 1e-6);
        if (bnnc_opt.kernels) {
            bnnc_puts(&t, "\"kernels\":[");
            bnnc_show_kernels(&t, true);
            bnnc_puts(&t, "],");
        }
        bnnc_put(&t, "\"state\":\"%X\"}\n", state);
        bnnc_flush(&t);
        return BNNC_OK;
    }
    bnnc_put(&t,
             "%s  batch %u  threads %d  isa %s: median %.3f ms a step, min %.3f ms, %.1f steps/s, %.0f samples/s (%u "
             "steps)\n",
             NET.name, NET.batch, bnnc_pool.n, bnnc_cpu_names[bnnc_cpu_level()], median * 1e-6, least * 1e-6,
             1e9 / median, 1e9 / median * NET.batch, n);
    if (predicted > 0)
        bnnc_put(&t,
                 "predicted: %.3f ms, from %.1f million operations and %.1f MB moved at this machine's rates; "
                 "measured: %.2f times that\n",
                 predicted * 1e-6, (double)NET.step_operations * 1e-6, (double)NET.step_moved * 1e-6,
                 median / predicted);
    bnnc_put(&t, "ETA of %u epochs: ", NET.epochs);
    bnnc_put_time(&t, median * 1e-9 * NET.epochs * 1000 / NET.batch);
    bnnc_put(&t, " for each 1000 training samples\n");
    if (bnnc_opt.kernels) bnnc_show_kernels(&t, false);
    bnnc_flush(&t);
    return BNNC_OK;
}

#endif

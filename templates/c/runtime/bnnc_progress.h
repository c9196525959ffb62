/* bnnc_progress.h: what the user sees while training: a live line on a terminal, one line an epoch, the JSON log. */
#ifndef BNNC_PROGRESS_H
#define BNNC_PROGRESS_H
#include "bnnc_cpu.h"
#include "bnnc_pool.h"
#include "bnnc_train.h"

static struct {
    bool live;                                  /* standard output is a terminal */
    int log;                                    /* the JSON log, or -1 */
    uint64_t start, epoch_start, last_shown;    /* ns */
    uint32_t steps_per_epoch, epoch_first_step; /* epoch_first_step: 0 unless the epoch was resumed */
    double epochs_done, epoch_seconds;          /* of this process, for the ETA */
} bnnc_view = {.log = -1};

BNNC_FN double bnnc_seconds(uint64_t from, uint64_t to) { return (double)(to - from) * 1e-9; }

BNNC_COLD void bnnc_put_time(bnnc_text *t, double s) {
    uint32_t n = s < 4e9 ? (uint32_t)(s + 0.5) : 0;
    if (s < 9.95)
        bnnc_put(t, "%.1f s", s);
    else if (n < 120)
        bnnc_put(t, "%u s", n);
    else if (n < 7200)
        bnnc_put(t, "%u m %u s", n / 60, n % 60);
    else
        bnnc_put(t, "%u h %u m", n / 3600, n / 60 % 60);
}

BNNC_COLD void bnnc_put_percent(bnnc_text *t, const char *label, double share) {
    if (share >= 0) bnnc_put(t, "  %s %.2f %%", label, share * 100);
}

BNNC_COLD double bnnc_mean(double sum) { return bnnc_cur.seen ? sum / (double)bnnc_cur.seen : 0; }

/* What a sample's loss is called: that of an integer network is its mistake. */
BNNC_COLD const char *bnnc_loss_name(void) { return NET.loss_is_int ? "error" : "loss"; }

/* Seconds to the end of the run, from what this process has measured so far. */
BNNC_COLD double bnnc_eta(uint64_t now) {
    double part = (double)(bnnc_cur.step - bnnc_view.epoch_first_step) / (double)bnnc_view.steps_per_epoch;
    double done = bnnc_view.epochs_done + part,
           spent = bnnc_view.epoch_seconds + bnnc_seconds(bnnc_view.epoch_start, now);
    double left = (double)bnnc_opt.epochs - bnnc_cur.epoch - (double)bnnc_cur.step / (double)bnnc_view.steps_per_epoch;
    return done > 0 && left > 0 ? spent / done * left : 0;
}

/* The live line, five times a second. */
BNNC_FN void bnnc_show_step(void) {
    uint64_t now = bnnc_clock_ns();
    if (!bnnc_view.live || now - bnnc_view.last_shown < 200000000u) return;
    char line[256];
    bnnc_text t = {line, sizeof line, 0, 1};
    double s = bnnc_seconds(bnnc_view.epoch_start, now);
    uint64_t samples = (uint64_t)(bnnc_cur.step - bnnc_view.epoch_first_step) * NET.batch * NET.parts;
    bnnc_view.last_shown = now;
    bnnc_put(&t, "\repoch %2u/%u  step %u/%u  %s %.4f", bnnc_cur.epoch + 1, bnnc_opt.epochs, bnnc_cur.step,
             bnnc_view.steps_per_epoch, bnnc_loss_name(), bnnc_mean(bnnc_cur.loss_sum));
    bnnc_put_percent(&t, "train", bnnc_mean((double)bnnc_cur.hits));
    bnnc_put(&t, "  %.0f samples/s  ETA ", s > 0 ? (double)samples / s : 0);
    bnnc_put_time(&t, bnnc_eta(now));
    bnnc_puts(&t, "\x1b[K");
    bnnc_flush(&t);
}

/* The share of each integer weight's values that are at their limit, where they learn no more: into the log each weight's,
 * under its layer's name where it is that layer's only one (NAME.weight), on the terminal the largest. */
BNNC_COLD void bnnc_put_saturation(bnnc_text *t, bool json) {
    const char *before = ",\"saturation\":{";
    double most = -1;
    for (uint32_t k = 0; k < NET.n_state; k++) {
        const bnnc_state *s = &NET.state[k];
        char layer[128];
        bnnc_text name = {layer, sizeof layer, 0, -1};
        if (s->dtype != BNNC_I16 && s->dtype != BNNC_I8) continue;
        const double share = bnnc_state_saturation(s);
        if (share > most) most = share;
        bnnc_puts(&name, s->name);
        if (name.n > 7 && !memcmp(layer + name.n - 7, ".weight", 7)) name.n -= 7;
        if (json) bnnc_put(t, "%s%q:%j", before, bnnc_cstr(&name), share);
        before = ",";
    }
    if (json && !before[1]) bnnc_putc(t, '}');
    if (!json) bnnc_put_percent(t, "saturation", most);
}

/* The epoch's counters: into the log each layer's, on the terminal the mean share, or the sum, over the layers. */
BNNC_COLD void bnnc_put_counters(bnnc_text *t, bool json) {
    for (int k = 0, end; k < BNNC_COUNTERS; k = end) {
        const bnnc_counter *c = &NET.counter[k];
        int64_t sum = 0;
        for (end = k; end < BNNC_COUNTERS && bnnc_streq(NET.counter[end].name, c->name); end++) {
            const double share = bnnc_mean((double)bnnc_cur.count[end]);
            sum += bnnc_cur.count[end];
            if (!json) continue;
            if (end == k) bnnc_put(t, ",%q:%s", c->name, *c->layer ? "{" : "");
            if (*c->layer) bnnc_put(t, "%s%q:", end == k ? "" : ",", NET.counter[end].layer);
            if (c->share)
                bnnc_put(t, "%j", share);
            else
                bnnc_put(t, "%U", (uint64_t)bnnc_cur.count[end]);
        }
        if (json && *c->layer)
            bnnc_putc(t, '}');
        else if (!json && c->share)
            bnnc_put_percent(t, c->name, bnnc_mean((double)sum) / (end - k));
        else if (!json)
            bnnc_put(t, "  %s %U", c->name, (uint64_t)sum);
    }
}

/* The line that stays, and the log's record. Called when the epoch's evaluation is done, before the counters restart.
 * */
BNNC_COLD void bnnc_show_epoch(double rate, double train_seconds, double held, double test) {
    char line[256];
    bnnc_text t = {line, sizeof line, 0, 1};
    uint64_t now = bnnc_clock_ns();
    double loss = bnnc_mean(bnnc_cur.loss_sum), hits = bnnc_mean((double)bnnc_cur.hits);
    double speed = (double)(bnnc_view.steps_per_epoch - bnnc_view.epoch_first_step) * NET.batch * NET.parts /
                   (train_seconds > 0 ? train_seconds : 1);
    double s = bnnc_seconds(bnnc_view.epoch_start, now);
    if (!bnnc_opt.quiet) {
        if (bnnc_view.live) bnnc_putc(&t, '\r');
        bnnc_put(&t, "epoch %2u/%u  %s %.4f", bnnc_cur.epoch + 1, bnnc_opt.epochs, bnnc_loss_name(), loss);
        bnnc_put_percent(&t, "train", hits);
        bnnc_put_percent(&t, "held out", held);
        bnnc_put_percent(&t, "test", test);
        bnnc_put_percent(&t, "best", bnnc_cur.best_test);
        if (NET.lr != BNNC_NOWHERE)
            bnnc_put(&t, "  lr %g", rate);
        else if (NET.schedule == BNNC_SCHED_PLATEAU)
            bnnc_put(&t, "  stage %u", bnnc_cur.stage);
        bnnc_put_counters(&t, false);
        bnnc_put_saturation(&t, false);
        bnnc_put(&t, "  %.0f samples/s  %.1f s", speed, s);
        if (bnnc_cur.epoch + 1 < bnnc_opt.epochs) {
            bnnc_puts(&t, "  ETA ");
            bnnc_put_time(&t, bnnc_eta(now));
        }
        bnnc_puts(&t, bnnc_view.live ? "\x1b[K\n" : "\n");
        bnnc_flush(&t);
    }
    if (bnnc_view.log < 0) return;
    t.fd = bnnc_view.log;
    bnnc_put(&t, "{\"event\":\"epoch\",\"epoch\":%u,\"step\":%U,\"loss\":%j,\"train_acc\":%j", bnnc_cur.epoch + 1,
             bnnc_cur.step_total, loss, hits);
    if (held >= 0) bnnc_put(&t, ",\"holdout_acc\":%j", held);
    if (test >= 0) bnnc_put(&t, ",\"test_acc\":%j,\"best_test_acc\":%j", test, bnnc_cur.best_test);
    if (NET.lr != BNNC_NOWHERE)
        bnnc_put(&t, ",\"lr\":%j", rate);
    else if (NET.schedule == BNNC_SCHED_PLATEAU)
        bnnc_put(&t, ",\"stage\":%u", bnnc_cur.stage);
    bnnc_put_counters(&t, true);
    bnnc_put_saturation(&t, true);
    bnnc_put(&t, ",\"seconds\":%j,\"samples_per_s\":%j,\"state\":\"%X\",\"weights_hash\":\"%X\"}\n", s, speed,
             bnnc_state_hash(), bnnc_weights_hash());
    bnnc_flush(&t);
}

BNNC_COLD void bnnc_show_start(bool resumed) {
    if (!bnnc_opt.quiet) {
        bnnc_say(1, "%s  target %s  arena %U bytes  threads %d  isa %s  seed %u", NET.name, NET.target, NET.arena_bytes,
                 bnnc_pool.n, bnnc_cpu_names[bnnc_cpu_level()], bnnc_cur.seed);
        if (resumed) {
            bnnc_say(1, "  resumed epoch %u", bnnc_cur.epoch + 1);
            if (bnnc_cur.step) bnnc_say(1, " step %u", bnnc_cur.step);
            if (bnnc_opt.init) bnnc_say(1, " (--init was not read)");
        }
        bnnc_say(1, "\n");
    }
    bnnc_view.live = !bnnc_opt.quiet && bnnc_isatty(1);
    if (!bnnc_opt.log) return;
    if (!resumed) (void)bnnc_unlink(bnnc_opt.log);
    bnnc_view.log = bnnc_open(bnnc_opt.log, BNNC_APPEND);
    if (bnnc_view.log < 0)
        bnnc_fail(BNNC_E_USAGE, "cannot write the log %s: %s", bnnc_opt.log, bnnc_errname(bnnc_view.log));
    bnnc_say(
        bnnc_view.log,
        "{\"event\":\"start\",\"name\":%q,\"hash\":%q,\"version\":%q,\"target\":%q,\"rule\":%q,\"optimizer\":%q,"
        "\"seed\":%u,\"threads\":%d,\"isa\":%q,\"batch\":%u,\"epochs\":%u,\"train_samples\":%u,\"holdout_samples\":%u,"
        "\"test_samples\":%u,\"resumed_epoch\":%u,\"resumed_step\":%u,\"arena_bytes\":%U}\n",
        NET.name, NET.hash, NET.version, NET.target, NET.rule, NET.optimizer, bnnc_cur.seed, bnnc_pool.n,
        bnnc_cpu_names[bnnc_cpu_level()], NET.batch * NET.parts, bnnc_opt.epochs, bnnc_cur.n_fit, bnnc_cur.n_hold,
        bnnc_test_set.n, resumed ? bnnc_cur.epoch + 1 : 0, bnnc_cur.step, NET.arena_bytes);
}

/* Resident set in bytes, exact: /proc/self/smaps_rollup (VmHWM is off by up to 64 KiB). Static memory never shrinks, so
 * what is resident at the end is the peak. 0 where the kernel does not say. */
BNNC_COLD uint64_t bnnc_resident(void) {
    char text[512];
    uint64_t kib = 0;
    int fd = bnnc_open("/proc/self/smaps_rollup", BNNC_READ);
    if (fd < 0) return 0;
    int64_t n = bnnc_read(fd, text, sizeof text - 1);
    bnnc_close(fd);
    for (int64_t i = 0; i + 4 < n; i++)
        if (text[i] == '\n' && !memcmp(text + i + 1, "Rss:", 4)) {
            for (i += 5; i < n && text[i] == ' '; i++) {}
            for (; i < n && text[i] >= '0' && text[i] <= '9'; i++) kib = kib * 10 + (uint64_t)(text[i] - '0');
            break;
        }
    return kib * 1024;
}

BNNC_COLD void bnnc_show_end(double test) {
    char line[256];
    bnnc_text t = {line, sizeof line, 0, 1};
    const double s = bnnc_seconds(bnnc_view.start, bnnc_clock_ns());
    const uint64_t hash = bnnc_state_hash(), resident = BNNC_RESIDENT();
    bnnc_put(&t, "done: %u epochs, %U steps", bnnc_cur.epoch, bnnc_cur.step_total);
    bnnc_put_percent(&t, "test", test);
    bnnc_put_percent(&t, "best", bnnc_cur.best_test);
    bnnc_puts(&t, "  ");
    bnnc_put_time(&t, s);
    if (bnnc_cur.best_epoch)
        bnnc_put(&t, "\nepoch %u was best: held out %.2f %%; eval and predict take it%s", bnnc_cur.best_epoch,
                 bnnc_cur.best_hold * 100, bnnc_ends_early(bnnc_cur.epoch) ? ", stopped early" : "");
    bnnc_put(&t, "\nmemory: predicted %U bytes, measured peak %U bytes\nstate %X\n", NET.total_bytes, resident, hash);
    bnnc_flush(&t);
    if (bnnc_view.log < 0) return;
    t.fd = bnnc_view.log;
    bnnc_put(&t, "{\"event\":\"end\",\"epochs\":%u,\"steps\":%U", bnnc_cur.epoch, bnnc_cur.step_total);
    if (test >= 0) bnnc_put(&t, ",\"test_acc\":%j", test);
    if (bnnc_cur.best_test >= 0) bnnc_put(&t, ",\"best_test_acc\":%j", bnnc_cur.best_test);
    if (bnnc_cur.best_epoch)
        bnnc_put(&t, ",\"best_epoch\":%u,\"best_holdout_acc\":%j", bnnc_cur.best_epoch, bnnc_cur.best_hold);
    bnnc_put(&t, ",\"seconds\":%j,\"memory_predicted\":%U,\"memory_measured\":%U,\"state\":\"%X\"}\n", s,
             NET.total_bytes, resident, hash);
    bnnc_flush(&t);
}

#endif

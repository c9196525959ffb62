/* bnnc_main.h: the verbs train, eval, predict, info, and the program's entry. Include it last: see bnnc_net.h. */
#ifndef BNNC_MAIN_H
#define BNNC_MAIN_H
#include "bnnc_set.h" /* reads the samples of each step */

/* What follows runs once an epoch, a step or never, and was a quarter of a program's compilation: gcc makes it small, and
 * leaves out passes that take long and make it hardly smaller. */
#if defined(__OPTIMIZE__) && !defined(__OPTIMIZE_SIZE__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC optimize("Os", "no-dse", "no-expensive-optimizations", "no-forward-propagate", "no-gcse", \
                     "no-if-conversion", "no-ipa-sra", "no-schedule-insns2", "no-shrink-wrap", "no-split-wide-types", \
                     "no-thread-jumps", "no-tree-ccp", "no-tree-dominator-opts", "no-tree-fre", \
                     "no-tree-loop-optimize", "no-tree-pre", "no-tree-sink", "no-tree-vrp")
#define BNNC_FEWER_PASSES 1
#endif
#include "bnnc_predicted.h"
#include "bnnc_bench.h"
#include "bnnc_measure.h"
#include "bnnc_prepare.h"
#include "bnnc_progress.h"
#include "bnnc_selftest.h"
#include "bnnc_tensors.h"
#include "bnnc_train.h"

/* ---- train ---- */

/* --export of a run: the network that eval and predict would take. */
BNNC_COLD void bnnc_export_kept(void) {
    if (!bnnc_opt.export_to) return;
    (void)bnnc_load_best();
    bnnc_export(bnnc_opt.export_to);
}

BNNC_COLD void bnnc_stop_on_signal(void) {
    const int number = atomic_load(&bnnc_signal);
    if (!number) return;
    bnnc_save();
    bnnc_say(2, "%scheckpoint %s written (%U bytes); the same command goes on from here\n", bnnc_view.live ? "\n" : "",
             bnnc_slot_path[bnnc_booted.slot], (uint64_t)BNNC_PAYLOAD + sizeof bnnc_cur + NET.state_bytes);
    bnnc_export_kept();
    bnnc_exit(128 + number);
}

/* With --ask the run waits after each epoch for who has read its record in the log. False: stop here. */
BNNC_COLD bool bnnc_go_on(void) {
    char c = 0;
    int64_t r;
    if (!bnnc_opt.ask) return true;
    bnnc_say(1, "epoch %u is done; a line goes on, the end of standard input stops\n", bnnc_cur.epoch);
    do r = bnnc_read(0, &c, 1);
    while ((r > 0 && c != '\n') || (r == -BNNC_EINTR && !atomic_load(&bnnc_signal)));
    bnnc_stop_on_signal();
    return r > 0;
}

/* The states of --init, or of a checkpoint, without --last the best one: one of them must be there. */
BNNC_COLD void bnnc_load(void) {
    if (bnnc_opt.init) {
        bnnc_state_init(bnnc_opt.seed);
        bnnc_init_from(bnnc_opt.init);
        BNNC_STATES_WRITTEN();
        return;
    }
    if (!bnnc_opt.last && bnnc_load_best()) return;
    bnnc_open_slots(false);
    if (!bnnc_resume())
        bnnc_fail(BNNC_E_CHECKPOINT,
                  "no checkpoint in %s\n  hint: --out FOLDER of a training run, or --init FILE.safetensors",
                  bnnc_opt.out);
}

/* An encoder's thresholds are needed before the data is opened, which then has the rest of the arena for itself. A run
 * that is resumed, or starts from --init, has those that are stored there and fits none. */
BNNC_COLD void bnnc_find_thresholds(bool train) {
    bool resumed = false;
    if (!NET.encoding.rows) return;
    if (!train)
        bnnc_load();
    else if (bnnc_streq(bnnc_opt.resume, "auto")) {
        bnnc_open_slots(false);
        resumed = bnnc_resume();
    }
    if (train && !resumed && bnnc_opt.init) bnnc_init_from(bnnc_opt.init);
    for (int i = 0; i < 2; i++)
        if (bnnc_slot_file[i].folder && bnnc_slot_file[i].fd >= 0) bnnc_close(bnnc_slot_file[i].fd);
    bnnc_fitted = (!train || resumed || bnnc_opt.init) && bnnc_finite(*bnnc_threshold(0));
    bnnc_may_fit = train && !resumed;
}

/* Fresh, or from a checkpoint; true: resumed. */
BNNC_COLD bool bnnc_begin(uint32_t n_fit, uint32_t n_hold) {
    bnnc_open_slots(true);
    bool resumed = bnnc_resume();
    if (!resumed) {
        bnnc_forget_best();
        bnnc_start_afresh(bnnc_opt.seed, bnnc_opt.lr, n_fit, n_hold);
        if (bnnc_opt.init) bnnc_init_from(bnnc_opt.init);
        BNNC_STATES_WRITTEN();
        return false;
    }
    if (bnnc_cur.n_fit != n_fit || bnnc_cur.n_hold != n_hold)
        bnnc_fail(BNNC_E_CHECKPOINT,
                  "the checkpoint in %s was made with %u training samples and %u held out, now there are %u and %u\n"
                  "  hint: use the same data, or --resume never",
                  bnnc_opt.out, bnnc_cur.n_fit, bnnc_cur.n_hold, n_fit, n_hold);
    if (bnnc_opt.seed_given && bnnc_cur.seed != bnnc_opt.seed)
        bnnc_fail(BNNC_E_CHECKPOINT,
                  "the checkpoint in %s was made with seed %u, not %u\n  hint: --out ANOTHER_FOLDER, or --resume never",
                  bnnc_opt.out, bnnc_cur.seed, bnnc_opt.seed);
    if (bnnc_opt.lr_given) bnnc_cur.lr0 = (double)(float)bnnc_opt.lr;
    return true;
}

/* After the last step of an epoch: measure, report, adapt, go to the next. */
BNNC_FN void bnnc_end_epoch(float rate, double train_seconds) {
    const double held = bnnc_evaluate(&bnnc_train_set, true, bnnc_cur.n_hold, NULL, NULL);
    const bool last =
        bnnc_cur.epoch + 1 == bnnc_opt.epochs || (held <= bnnc_cur.best_hold && bnnc_ends_early(bnnc_cur.epoch + 1));
    double test = -1;
    if (last || (bnnc_cur.epoch + 1) % bnnc_opt.eval_every == 0)
        test = bnnc_evaluate(&bnnc_test_set, false, bnnc_test_set.n, NULL, NULL);
    bnnc_stop_on_signal(); /* the evaluation may be incomplete: a resumed run does it again */
    if (test >= 0) bnnc_cur.last_test = test;
    if (test > bnnc_cur.best_test) bnnc_cur.best_test = test;
    bnnc_show_epoch((double)rate, train_seconds, held, test);
    if (bnnc_next_epoch(held)) bnnc_keep_best();
}

BNNC_FN int bnnc_train(void) {
    bnnc_view.start = bnnc_clock_ns();
    bnnc_prepare();
    bnnc_catch_signals();
    bnnc_find_thresholds(true);
    bnnc_open_data(true);
    const uint32_t n = bnnc_train_set.n, n_hold = (uint32_t)((double)NET.holdout * n), n_fit = n - n_hold,
                   per_epoch = n_fit / (NET.batch * NET.parts);
    if (!per_epoch)
        bnnc_fail(BNNC_E_DATA,
                  "%s has %u samples to train on, fewer than one batch of %u\n  hint: a smaller batch in the spec",
                  bnnc_train_set.path, n_fit, NET.batch * NET.parts);
    if (NET.patience && !n_hold)
        bnnc_fail(BNNC_E_DATA,
                  "%s has %u samples, too few to hold some out: `stop = early` has nothing to judge by\n"
                  "  hint: more samples, or a larger holdout in the spec",
                  bnnc_train_set.path, n);
    const bool resumed = bnnc_begin(n_fit, n_hold);
    bnnc_names_keep(bnnc_opt.out);
    bnnc_view.steps_per_epoch = per_epoch;
    bnnc_show_start(resumed);
    if (n_hold) bnnc_perm_init(&bnnc_split, bnnc_cur.seed, (uint32_t)BNNC_STREAM_HOLDOUT, 0, n);
#ifdef BNNC_CLASSES
    bnnc_balance_begin(&bnnc_train_set, n_fit, n_hold ? &bnnc_split : NULL);
#endif

    const uint64_t most = bnnc_opt.steps_given ? bnnc_opt.steps : UINT64_MAX;
    uint64_t saved_at = bnnc_clock_ns(), saved_step = resumed ? bnnc_cur.step_total : UINT64_MAX;
    bool changed = !resumed; /* since the last checkpoint */
    while (bnnc_cur.epoch < bnnc_opt.epochs && bnnc_cur.step_total < most && !bnnc_ends_early(bnnc_cur.epoch)) {
        bnnc_perm order;
        float rate = bnnc_lr(per_epoch, bnnc_opt.epochs);
        bnnc_perm_init(&order, bnnc_cur.seed, (uint32_t)BNNC_STREAM_ORDER, bnnc_cur.epoch, n_fit);
        bnnc_view.epoch_start = bnnc_clock_ns();
        bnnc_view.epoch_first_step = bnnc_cur.step;
        while (bnnc_cur.step < per_epoch && bnnc_cur.step_total < most) {
            rate = bnnc_lr(per_epoch, bnnc_opt.epochs);
            (void)bnnc_train_batch(&bnnc_train_set, &order, rate);
            changed = true;
            bnnc_stop_on_signal();
            bnnc_show_step();
            const bool due = bnnc_opt.save_every_steps ? bnnc_cur.step_total % bnnc_opt.save_every_steps == 0
                                                       : bnnc_seconds(saved_at, bnnc_clock_ns()) >= bnnc_opt.save_every;
            if (due) {
                bnnc_save();
                changed = false, saved_at = bnnc_clock_ns(), saved_step = bnnc_cur.step_total;
            }
        }
        if (bnnc_cur.step < per_epoch) break; /* --steps */
        bnnc_end_epoch(rate, bnnc_seconds(bnnc_view.epoch_start, bnnc_clock_ns()));
        changed = true;
        bnnc_view.epochs_done += (double)(per_epoch - bnnc_view.epoch_first_step) / per_epoch;
        bnnc_view.epoch_seconds += bnnc_seconds(bnnc_view.epoch_start, bnnc_clock_ns());
        if (bnnc_seconds(saved_at, bnnc_clock_ns()) > 1 && saved_step != bnnc_cur.step_total) {
            bnnc_save();
            changed = false, saved_at = bnnc_clock_ns(), saved_step = bnnc_cur.step_total;
        }
        if (!bnnc_go_on()) break;
    }
    if (changed) bnnc_save();
    double test = bnnc_cur.last_test;
    if (bnnc_cur.step) { /* stopped inside an epoch: measured for the report only */
        test = bnnc_evaluate(&bnnc_test_set, false, bnnc_test_set.n, NULL, NULL);
        bnnc_stop_on_signal();
    }
    if (bnnc_view.live) bnnc_say(1, "\r\x1b[K");
    bnnc_show_end(test);
    bnnc_export_kept();
    return BNNC_OK;
}

/* ---- eval, predict ---- */

/* The test set, without one at least the training set where `held`, and the states. */
BNNC_COLD void bnnc_open_test(bool held) {
    bnnc_prepare();
    bnnc_catch_signals();
    bnnc_find_thresholds(false);
    if (!bnnc_opt.init) bnnc_names_in(bnnc_opt.out);
    bnnc_open_data(false);
    if (!bnnc_test_set.path && !(held && bnnc_train_set.path))
        bnnc_fail(BNNC_E_USAGE, "no test data: the spec names none\n  hint: --test %s",
                  bnnc_labels_optional ? "FILE, of samples" : "IMAGES,LABELS or --test FILE.bnnd");
    bnnc_load();
}

/* Without test data the samples that training held out. */
BNNC_COLD int bnnc_eval(void) {
    bnnc_open_test(NET.holdout > 0 && !bnnc_opt.init);
    const bool held = !bnnc_test_set.path;
    const uint32_t all = bnnc_cur.n_fit + bnnc_cur.n_hold, n = held ? bnnc_cur.n_hold : bnnc_test_set.n;
    if (held && bnnc_train_set.n != all)
        bnnc_fail(BNNC_E_DATA,
                  "%s has %u samples, but the checkpoint in %s was made with %u: which were held out is not known\n"
                  "  hint: give the same training data, or --test",
                  bnnc_train_set.path, bnnc_train_set.n, bnnc_opt.out, all);
    if (!n) bnnc_fail(BNNC_E_DATA, "%s has no samples", held ? "the hold-out" : bnnc_test_set.path);
    if (held) bnnc_perm_init(&bnnc_split, bnnc_cur.seed, (uint32_t)BNNC_STREAM_HOLDOUT, 0, all);
    const int code = bnnc_measure(held ? &bnnc_train_set : &bnnc_test_set, held, n);
    if (!code && bnnc_opt.export_to) bnnc_export(bnnc_opt.export_to);
    return code;
}

/* One line a sample, written batch by batch for those who wait for it. */
BNNC_COLD int bnnc_predict(void) {
    bnnc_text t = {(char *)bnnc_io, sizeof bnnc_io, 0, 1};
    bnnc_labels_optional = true;
    bnnc_open_test(false);
    for (uint32_t at = 0, real; at < bnnc_test_set.n && !bnnc_lost && !atomic_load(&bnnc_signal); at += real) {
        if (!(real = bnnc_eval_batch(&bnnc_test_set, false, bnnc_test_set.n, at))) break;
        for (uint32_t b = 0; b < real; b++) {
            uint32_t class;
            memcpy(&class, bnnc_arena + NET.eval_pred + (uint64_t)b * 4, 4);
            bnnc_predicted(&t, at + b, class, b);
        }
        bnnc_flush(&t);
    }
    return atomic_load(&bnnc_signal) ? 128 + atomic_load(&bnnc_signal) : BNNC_OK;
}

/* ---- info ---- */

BNNC_COLD int bnnc_info(void) {
    if (bnnc_opt.json) {
        bnnc_say(1, "%s\n", NET.plan_json);
        return BNNC_OK;
    }
    bnnc_say(1,
             "%s  spec %s  bnnc %s  target %s\nrule %s  optimizer %s  batch %u  classes %u  epochs %u  seed %u\n"
             "memory: arena %U bytes, whole process %U bytes predicted\n",
             NET.name, NET.hash, NET.version, NET.target, NET.rule, NET.optimizer, NET.batch * NET.parts, NET.classes,
             NET.epochs, NET.seed, NET.arena_bytes, NET.total_bytes);
    bnnc_say_memory();
    BNNC_INFO_MORE();
    return BNNC_OK;
}

BNNC_FN int bnnc_do(int verb) {
    switch (verb) {
    case BNNC_TRAIN: return bnnc_train();
    case BNNC_EVAL: return bnnc_eval();
    case BNNC_PREDICT: return bnnc_predict();
    case BNNC_INFO: return bnnc_info();
    case BNNC_BENCH: return bnnc_bench();
    case BNNC_SELFTEST: return bnnc_selftest();
    default: return BNNC_OK;
    }
}

/* Text that is lost is lost work, but for a training run's: its checkpoint is written. */
static int bnnc_main(int argc, char **argv, char **envp) {
    bnnc_environ = envp;
    const int verb = bnnc_parse_args(argc, argv), code = bnnc_do(verb);
    if (!bnnc_lost || verb == BNNC_TRAIN || code) return code;
    if (atomic_load(&bnnc_signal)) return 128 + atomic_load(&bnnc_signal);
    bnnc_fail(BNNC_E_DATA, "cannot write to standard output: %s",
              bnnc_lost == -32 /* EPIPE */ ? "nobody reads it any more" : bnnc_errname(bnnc_lost));
}

#ifndef BNNC_NO_MAIN /* a test that has a main of its own defines it */
BNNC_ENTRY(bnnc_main)
#endif

#ifdef BNNC_FEWER_PASSES
#pragma GCC pop_options
#endif
#endif

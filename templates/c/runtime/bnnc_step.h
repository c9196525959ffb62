/* bnnc_step.h: what a run is, and a step of it: batches, learning rate, hold-out, evaluation, the end of an epoch. No files.
 *
 * Samples are those of a bnnc_set, which has a member `n`:
 *     bool bnnc_set_read(const bnnc_set *set, uint32_t i, uint8_t *row, uint8_t *label)
 * puts sample i of a set into a row of the batch, and is false where there is no more than an end.
 */
#ifndef BNNC_STEP_H
#define BNNC_STEP_H
#ifdef BNNC_BARE
#include "bnnc_bare_data.h"
#else
#include "bnnc_data.h"
#endif
#include "bnnc_sample.h"
#include "bnnc_states.h"
#include "bnnc_store.h"

typedef struct {
    uint64_t step_total;                    /* training steps done, all epochs */
    uint64_t hits, seen;                    /* in this epoch so far */
    double loss_sum;                        /* in this epoch so far, summed batch by batch */
    double lr0, lr_scale;                   /* lr_scale: what the plateau schedule made of it */
    double best_hold, best_test, last_test; /* accuracies, 0..1; -1: not measured */
    uint32_t epoch, step;                   /* epochs done; steps done in this one */
    uint32_t seed, n_fit, n_hold, bad_epochs;
    uint32_t errors, samples;     /* of the epoch before this one, while it trained; 1 and 1 in the first */
    uint32_t stage;               /* how often training stagnated, where the rule asks */
    uint32_t best_epoch;          /* epochs done when the hold-out's accuracy was best_hold; 0: none was */
    int64_t count[BNNC_COUNTERS]; /* in this epoch so far: the sums of NET.counter */
} bnnc_cursor;
_Static_assert(sizeof(bnnc_cursor) == 112 + 8 * BNNC_COUNTERS, "part of a checkpoint: no padding");

static bnnc_cursor bnnc_cur;

/* The first position, and the first values of all states. */
BNNC_COLD void bnnc_start_afresh(uint32_t seed, double lr, uint32_t n_fit, uint32_t n_hold) {
    bnnc_cur = (bnnc_cursor){.lr0 = (double)(float)lr,
                             .lr_scale = 1,
                             .best_hold = -1,
                             .best_test = -1,
                             .last_test = -1,
                             .seed = seed,
                             .n_fit = n_fit,
                             .n_hold = n_hold,
                             .errors = 1,
                             .samples = 1};
    bnnc_state_init(seed);
}

/* ---- batches ---- */

/* Position in the fixed permutation that sets the hold-out apart -> sample. Without a hold-out: the same number. */
static bnnc_perm bnnc_split;
BNNC_FN uint32_t bnnc_split_at(uint32_t p) { return bnnc_cur.n_hold ? bnnc_perm_at(&bnnc_split, p) : p; }

/* The sample at a place of this epoch; `order` is that of all samples. */
BNNC_FN uint32_t bnnc_sample_at(const bnnc_set *set, const bnnc_perm *order, uint32_t place) {
#ifdef BNNC_AUGMENT_ROWS
    bnnc_draw(bnnc_cur.seed, bnnc_cur.epoch, place);
#endif
#ifdef BNNC_CLASSES
    (void)order;
    return bnnc_balanced_at(set, bnnc_cur.seed, bnnc_cur.epoch, place);
#else
    (void)set;
    return bnnc_split_at(bnnc_perm_at(order, place));
#endif
}

/* The rate of the next step, of a run of so many epochs. */
BNNC_FN float bnnc_lr(uint32_t steps_per_epoch, uint32_t epochs) {
    const uint64_t t = bnnc_cur.step_total + 1;
    double lr = bnnc_cur.lr0;
    if (NET.schedule == BNNC_SCHED_COSINE)
        return bnnc_cosine_lr((float)lr, NET.sched_a, t, (uint64_t)epochs * steps_per_epoch);
    if (NET.schedule == BNNC_SCHED_STEP)
        for (uint32_t k = (uint32_t)((float)bnnc_cur.epoch / NET.sched_a); k; k--) lr *= (double)NET.sched_b;
    if (NET.schedule == BNNC_SCHED_PLATEAU) lr *= bnnc_cur.lr_scale;
    return (float)lr;
}

BNNC_FN float bnnc_arena_f32(uint32_t offset, uint32_t i) {
    float v;
    memcpy(&v, bnnc_arena + offset + (uint64_t)i * 4, 4);
    return v;
}
BNNC_FN uint32_t bnnc_count_hits(uint32_t pred, uint32_t labels, uint32_t n) {
    uint32_t hits = 0;
    for (uint32_t b = 0; b < n; b++) {
        int32_t p;
        memcpy(&p, bnnc_arena + pred + (uint64_t)b * 4, 4);
        hits += p == bnnc_arena[labels + b];
    }
    return hits;
}

/* The sum of the first n losses. */
BNNC_FN double bnnc_sum_loss(uint32_t loss, uint32_t n) {
    double sum = 0;
    for (uint32_t b = 0; b < n; b++) {
        int32_t whole;
        memcpy(&whole, bnnc_arena + loss + (uint64_t)b * 4, 4);
        sum += NET.loss_is_int ? (double)whole : (double)bnnc_arena_f32(loss, b);
    }
    return sum;
}

/* Adds what a step has counted to the epoch's sums. */
BNNC_FN void bnnc_add_counts(void) {
    for (int k = 0; k < BNNC_COUNTERS; k++)
        for (uint32_t i = 0; i < NET.counter[k].n; i++) {
            int32_t n;
            memcpy(&n, bnnc_arena + NET.counter[k].offset + (uint64_t)i * 4, 4);
            bnnc_cur.count[k] += n;
        }
}

BNNC_FN void bnnc_put_scalar(uint32_t offset, const void *four_bytes) {
    if (offset != BNNC_NOWHERE) memcpy(bnnc_arena + offset, four_bytes, 4);
}

/* What step t = 1, 2, ... reads besides its batch and the states. */
BNNC_FN void bnnc_put_scalars(float lr, uint64_t t) {
    const float step = (float)t;
    const uint32_t tick = (uint32_t)t;
    bnnc_put_scalar(NET.lr, &lr);
    bnnc_put_scalar(NET.step, &step);
    bnnc_put_scalar(NET.tick, &tick);
    bnnc_put_scalar(NET.seed_at, &bnnc_cur.seed);
    bnnc_put_scalar(NET.errors, &bnnc_cur.errors);
    bnnc_put_scalar(NET.samples, &bnnc_cur.samples);
    bnnc_put_scalar(NET.stage, &bnnc_cur.stage);
}

/* Random samples and labels at two places in the arena, the same in every run. */
BNNC_COLD void bnnc_random_batch(uint32_t at, uint32_t labels, uint32_t seed) {
    const uint32_t row = bnnc_row_bytes(), used = bnnc_kind_bytes(bnnc_net_kind());
    uint32_t w[4] = {0};
    for (uint32_t b = 0; b < NET.batch; b++) {
        uint8_t *x = bnnc_arena + at + (uint64_t)b * row;
        for (uint32_t i = 0; i < row; i++) {
            if (i % 16 == 0) bnnc_random4(seed, 1000 + b, i / 16, w);
            x[i] = (uint8_t)(i < used ? w[i / 4 % 4] >> 8 * (i % 4) : 0);
        }
        for (uint32_t i = 0; NET.in_kind == BNNC_F32 && i < NET.elems; i++) {
            if (i % 4 == 0) bnnc_random4(seed, 1000 + b, i / 4, w);
            float v = bnnc_uniform(w[i % 4], 1);
            memcpy(x + (uint64_t)i * 4, &v, 4);
        }
        if (NET.in_kind == BNNC_BIT && NET.elems % 8 != 0) x[used - 1] &= (uint8_t)((1u << NET.elems % 8) - 1);
        bnnc_random4(seed, 999, b, w);
        bnnc_arena[labels + b] = (uint8_t)(w[0] % NET.classes);
    }
}

/* One step on the next batch in this order, part by part. False where a sample cannot be had: the step is not done then, and no
 * weight has changed. */
BNNC_FN bool bnnc_train_batch(const bnnc_set *set, const bnnc_perm *order, float lr) {
    const uint32_t row = bnnc_row_bytes();
    for (uint32_t k = 0; k < NET.parts; k++) {
        const float part = (float)k;
        for (uint32_t b = 0; b < NET.batch; b++) {
            uint32_t i = bnnc_sample_at(set, order, (bnnc_cur.step * NET.parts + k) * NET.batch + b);
            if (!bnnc_set_read(set, i, bnnc_arena + NET.train_x + (uint64_t)b * row, bnnc_arena + NET.train_labels + b))
                return false;
        }
        bnnc_put_scalars(lr, bnnc_cur.step_total + 1);
        bnnc_put_scalar(NET.part, &part);
        net_train_step();
        bnnc_cur.loss_sum += bnnc_sum_loss(NET.train_loss, NET.batch);
        bnnc_cur.hits += bnnc_count_hits(NET.train_pred, NET.train_labels, NET.batch);
        bnnc_cur.seen += NET.batch;
        bnnc_add_counts();
    }
    bnnc_cur.step++, bnnc_cur.step_total++;
    return true;
}

/* An evaluation step on the samples `at` and up of n: of the test set, or of the hold-out (`held`). The last batch is filled up by
 * starting again at the front. Returns how many are not filled in; 0 where a sample cannot be had. */
BNNC_FN uint32_t bnnc_eval_batch(const bnnc_set *set, bool held, uint32_t n, uint32_t at) {
    const uint32_t real = n - at < NET.batch ? n - at : NET.batch, row = bnnc_row_bytes();
    for (uint32_t b = 0; b < NET.batch; b++) {
        uint32_t p = b < real ? at + b : (at + b) % n;
        if (!bnnc_set_read(set, held ? bnnc_split_at(bnnc_cur.n_fit + p) : p,
                           bnnc_arena + NET.eval_x + (uint64_t)b * row, bnnc_arena + NET.eval_labels + b))
            return 0;
    }
    net_eval_step();
    return real;
}

/* What an evaluation found class by class: how often each was taken for each (`pairs`: n[class * NET.classes + said]), or only
 * of each how many were there, found, and said. */
typedef struct {
    uint32_t there, found, said;
} bnnc_class_count;
typedef struct {
    uint32_t *n;
    bool pairs;
} bnnc_tally;

BNNC_COLD void bnnc_count_classes(const bnnc_tally *t, uint32_t n) {
    bnnc_class_count *const of = (bnnc_class_count *)(void *)t->n;
    for (uint32_t b = 0; b < n; b++) {
        const uint32_t class = bnnc_arena[NET.eval_labels + b];
        uint32_t said;
        memcpy(&said, bnnc_arena + NET.eval_pred + (uint64_t)b * 4, 4);
        if (t->pairs)
            t->n[class * NET.classes + said]++;
        else
            of[class].there++, of[said].said++, of[class].found += class == said;
    }
}

/* Accuracy on n samples of a set; `loss` and `tally` may be NULL. -1 where a signal has come, a sample cannot be had, or there is
 * nothing to measure. */
BNNC_FN double bnnc_evaluate(const bnnc_set *set, bool held, uint32_t n, double *loss, const bnnc_tally *tally) {
    uint64_t hits = 0;
    double sum = 0;
    if (!n) return -1;
    for (uint32_t at = 0, real; at < n; at += real) {
        if (atomic_load_explicit(&bnnc_signal, memory_order_relaxed)) return -1;
        real = bnnc_eval_batch(set, held, n, at);
        if (!real) return -1;
        hits += bnnc_count_hits(NET.eval_pred, NET.eval_labels, real);
        if (tally) bnnc_count_classes(tally, real);
        sum += bnnc_sum_loss(NET.eval_loss, real);
    }
    if (loss) *loss = sum / (double)n;
    return (double)hits / (double)n;
}

/* `stop = early`: so many epochs have passed since the best one. */
BNNC_FN bool bnnc_ends_early(uint32_t epochs) { return NET.patience && epochs - bnnc_cur.best_epoch >= NET.patience; }

/* What the end of an epoch changes: the schedule, by the accuracy on the hold-out (`held`; without one, on the training
 * samples), and the position. True: no network before was as good on the hold-out. */
BNNC_FN bool bnnc_next_epoch(double held) {
    const double seen = bnnc_cur.n_hold ? held : bnnc_cur.seen ? (double)bnnc_cur.hits / (double)bnnc_cur.seen : 0;
    const bool watched = bnnc_cur.n_hold || NET.schedule == BNNC_SCHED_PLATEAU,
               better = watched && seen > bnnc_cur.best_hold;
    if (better) {
        bnnc_cur.best_hold = seen, bnnc_cur.bad_epochs = 0;
        bnnc_cur.best_epoch = bnnc_cur.n_hold ? bnnc_cur.epoch + 1 : 0;
    } else if (NET.schedule == BNNC_SCHED_PLATEAU && (float)++bnnc_cur.bad_epochs >= NET.sched_a) {
        bnnc_cur.bad_epochs = 0;
        if (NET.stage != BNNC_NOWHERE)
            bnnc_cur.stage++;
        else
            bnnc_cur.lr_scale *= (double)NET.sched_b;
    }
    bnnc_cur.errors = (uint32_t)(bnnc_cur.seen - bnnc_cur.hits), bnnc_cur.samples = (uint32_t)bnnc_cur.seen;
    bnnc_cur.epoch++, bnnc_cur.step = 0, bnnc_cur.hits = bnnc_cur.seen = 0, bnnc_cur.loss_sum = 0;
    memset(bnnc_cur.count, 0, sizeof bnnc_cur.count);
    return better && bnnc_cur.n_hold;
}

/* What a checkpoint holds. */
BNNC_COLD void bnnc_payload(bnnc_span span[2]) {
    span[0] = (bnnc_span){&bnnc_cur, sizeof bnnc_cur};
    span[1] = (bnnc_span){bnnc_arena + NET.state_begin, NET.state_bytes};
}

#endif

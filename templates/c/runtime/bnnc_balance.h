/* bnnc_balance.h: `sampling = balanced`: each class comes equally often, whatever its share. bnnc/rng.py (`balanced`) is the
 * definition.
 *
 * Classes take turns. Each goes through a random order of all samples and takes those that are its own, in another order when
 * it has come to the end: the labels are read on the way, and no list of samples is in memory. Where a run goes on inside an
 * epoch, that is done again up to there.
 */
#ifndef BNNC_BALANCE_H
#define BNNC_BALANCE_H
#include "bnnc_rng.h"
#include "bnnc_set.h"

#define BNNC_STREAM_BALANCE 0xF0022100u
enum { BNNC_ORDERS = 0x1000 };

typedef struct {
    bnnc_perm order;
    uint32_t at, round;
} bnnc_turn_of;
static struct {
    uint32_t seed, epoch, next; /* the place that comes next */
    uint32_t present, n;        /* classes that have samples; samples */
    const bnnc_perm *split;     /* NULL: nothing is held out */
    bnnc_turn_of of[BNNC_CLASSES];
    uint8_t class[BNNC_CLASSES];
} bnnc_balance;

/* The label of position p of what is trained on; *i: its sample. */
BNNC_FN uint32_t bnnc_label_at(const bnnc_set *s, uint32_t p, uint32_t *i) {
    uint8_t label = 0;
    *i = bnnc_balance.split ? bnnc_perm_at(bnnc_balance.split, p) : p;
    if (s->label_fd >= 0 && bnnc_read_at(s->label_fd, &label, 1, s->y_off + (uint64_t)*i * s->y_step) != 1)
        bnnc_fail(BNNC_E_DATA, "cannot read label %u of %s\n  hint: leave data files alone while training", *i,
                  s->path);
    return label;
}

/* Once, before the first epoch. */
BNNC_COLD void bnnc_balance_begin(const bnnc_set *s, uint32_t n, const bnnc_perm *split) {
    bool there[BNNC_CLASSES] = {false};
    uint32_t i;
    bnnc_balance.n = n, bnnc_balance.split = split, bnnc_balance.next = UINT32_MAX;
    for (uint32_t p = 0; p < n; p++) there[bnnc_label_at(s, p, &i)] = true;
    for (uint32_t c = 0; c < BNNC_CLASSES; c++)
        if (there[c]) bnnc_balance.class[bnnc_balance.present++] = (uint8_t)c;
}

BNNC_FN void bnnc_balance_order(bnnc_turn_of *t) {
    bnnc_perm_init(&t->order, bnnc_balance.seed, BNNC_STREAM_BALANCE + t->round % BNNC_ORDERS, bnnc_balance.epoch,
                   bnnc_balance.n);
    t->at = 0;
}

/* The sample at the next place. */
BNNC_FN uint32_t bnnc_balance_next(const bnnc_set *s) {
    const uint32_t turn = bnnc_balance.next++ % bnnc_balance.present;
    bnnc_turn_of *t = &bnnc_balance.of[turn];
    for (uint32_t i;;) {
        if (t->at == bnnc_balance.n) t->round++, bnnc_balance_order(t);
        if (bnnc_label_at(s, bnnc_perm_at(&t->order, t->at++), &i) == bnnc_balance.class[turn]) return i;
    }
}

/* The sample at a place of an epoch; places are asked for in order. */
BNNC_FN uint32_t bnnc_balanced_at(const bnnc_set *s, uint32_t seed, uint32_t epoch, uint32_t place) {
    if (bnnc_balance.next != place || bnnc_balance.epoch != epoch || bnnc_balance.seed != seed) {
        bnnc_balance.seed = seed, bnnc_balance.epoch = epoch, bnnc_balance.next = 0;
        for (uint32_t k = 0; k < bnnc_balance.present; k++)
            bnnc_balance.of[k].round = 0, bnnc_balance_order(&bnnc_balance.of[k]);
        while (bnnc_balance.next < place) (void)bnnc_balance_next(s);
    }
    return bnnc_balance_next(s);
}

#endif

/* bnnc_bare.h: the functions of NAME.h; included last, in the place of bnnc_main.h. */
#ifndef BNNC_BARE_H
#define BNNC_BARE_H
#include "bnnc_fmt.h"
#include "bnnc_sample.h"
#include "bnnc_step.h"

static bnnc_boot bnnc_booted;

/* ---- checkpoints ---- */

BNNC_COLD int64_t bnnc_slot_read(int slot, void *to, uint64_t n, uint64_t at) {
    return bnnc_board_now->slot_read(bnnc_board_now->me, slot, to, (uint32_t)n, (uint32_t)at) ? -BNNC_EIO : (int64_t)n;
}
BNNC_COLD int bnnc_slot_write(int slot, const void *from, uint64_t n, uint64_t at) {
    return bnnc_board_now->slot_write(bnnc_board_now->me, slot, from, (uint32_t)n, (uint32_t)at) ? -BNNC_EIO : 0;
}
BNNC_COLD int bnnc_slot_sync(int slot) { return bnnc_board_now->slot_sync(bnnc_board_now->me, slot) ? -BNNC_EIO : 0; }
#define BNNC_SLOT(i) \
    BNNC_COLD int64_t bnnc_read_##i(void *c, void *p, uint64_t n, uint64_t at) { \
        (void)c; \
        return bnnc_slot_read(i, p, n, at); \
    } \
    BNNC_COLD int bnnc_write_##i(void *c, const void *p, uint64_t n, uint64_t at) { \
        (void)c; \
        return bnnc_slot_write(i, p, n, at); \
    } \
    BNNC_COLD int bnnc_sync_##i(void *c) { \
        (void)c; \
        return bnnc_slot_sync(i); \
    }
BNNC_SLOT(0)
BNNC_SLOT(1)
BNNC_COLD int64_t bnnc_slot_size(void *c) {
    (void)c;
    return BNNC_PAYLOAD;
} /* there is something to look at */
static const bnnc_store bnnc_slot[2] = {{bnnc_read_0, bnnc_write_0, bnnc_sync_0, bnnc_slot_size, NULL},
                                        {bnnc_read_1, bnnc_write_1, bnnc_sync_1, bnnc_slot_size, NULL}};

BNNC_COLD bool bnnc_pick_up(void) {
    bnnc_span span[2];
    if (!bnnc_board_now->slot_read) return false;
    bnnc_booted = bnnc_ckpt_find(bnnc_slot, NET.hash, sizeof bnnc_cur + NET.state_bytes);
    if (bnnc_booted.slot < 0) return false;
    bnnc_payload(span);
    return bnnc_ckpt_load(&bnnc_slot[bnnc_booted.slot], span);
}

BNNC_COLD int bnnc_save(void) {
    bnnc_span span[2];
    if (!bnnc_board_now->slot_write) return BNNC_DONE;
    bnnc_payload(span);
    return bnnc_ckpt_save(bnnc_slot, &bnnc_booted, NET.hash, span) < 0 ? BNNC_NO_CHECKPOINT : BNNC_DONE;
}

/* ---- training ---- */

/* Thresholds are a state: there before the other states get their values, and untouched by them. */
BNNC_COLD void bnnc_take_thresholds(void) {
    if (!NET.encoding.rows || !bnnc_board_now->thresholds) return;
    memcpy(bnnc_arena + NET.encoding.at, bnnc_board_now->thresholds, NET.encoding.rows * NET.encoding.cols * 4);
    bnnc_fitted = true;
}

BNNC_COLD void bnnc_print_share(const char *label, double share) {
    if (share >= 0) bnnc_say(1, "  %s %.2f %%", label, share * 100);
}

/* Trains to the end of the epoch, or to the last step; a code. */
BNNC_FN int bnnc_bare_epoch(const bnnc_set *train, uint32_t per_epoch, uint32_t epochs, uint64_t most) {
    const bnnc_board *b = bnnc_board_now;
    bnnc_perm order;
    bnnc_perm_init(&order, bnnc_cur.seed, (uint32_t)BNNC_STREAM_ORDER, bnnc_cur.epoch, bnnc_cur.n_fit);
    while (bnnc_cur.step < per_epoch && bnnc_cur.step_total < most) {
        if (!bnnc_train_batch(train, &order, bnnc_lr(per_epoch, epochs))) return atomic_load(&bnnc_signal);
        if (b->stop && b->stop(b->me)) return bnnc_save() ? BNNC_NO_CHECKPOINT : BNNC_STOPPED;
        if (b->save_every && bnnc_cur.step_total % b->save_every == 0 && bnnc_save()) return BNNC_NO_CHECKPOINT;
    }
    return BNNC_DONE;
}

int BNNC_NAMED(train)(const bnnc_board *board, bnnc_result *result) {
    const uint32_t n = board->n_train, n_hold = (uint32_t)((double)NET.holdout * n), n_fit = n - n_hold,
                   per_epoch = n_fit / (NET.batch * NET.parts), epochs = board->epochs ? board->epochs : NET.epochs,
                   seed = board->seed ? *board->seed : NET.seed;
    const uint64_t most = board->steps ? board->steps : UINT64_MAX;
    const bnnc_set train = {n, 0}, test = {board->n_test, n};
    int code = BNNC_DONE;
    bnnc_board_now = board;
    atomic_store(&bnnc_signal, 0);
    *result = (bnnc_result){0, 0, -1, -1, -1, 0};
    if (!per_epoch) return BNNC_TOO_FEW;
    bnnc_take_thresholds();
    const bool resumed =
        bnnc_pick_up() && bnnc_cur.n_fit == n_fit && bnnc_cur.n_hold == n_hold && bnnc_cur.seed == seed;
    if (!resumed) bnnc_start_afresh(seed, (double)NET.lr0, n_fit, n_hold);
    if (n_hold) bnnc_perm_init(&bnnc_split, seed, (uint32_t)BNNC_STREAM_HOLDOUT, 0, n);
    bnnc_say(1, "%s  target %s  arena %U bytes  seed %u%s\n", NET.name, NET.target, NET.arena_bytes, seed,
             resumed ? "  resumed" : "");
    while (!code && bnnc_cur.epoch < epochs && bnnc_cur.step_total < most && !bnnc_ends_early(bnnc_cur.epoch)) {
        code = bnnc_bare_epoch(&train, per_epoch, epochs, most);
        if (code || bnnc_cur.step < per_epoch) break;
        const double held = bnnc_evaluate(&train, true, n_hold, NULL, NULL),
                     hits = (double)bnnc_cur.hits / (double)bnnc_cur.seen,
                     accuracy = bnnc_evaluate(&test, false, test.n, NULL, NULL);
        if ((code = atomic_load(&bnnc_signal)) != 0)
            break; /* the evaluation is incomplete: a resumed run does it again */
        if (accuracy >= 0) bnnc_cur.last_test = accuracy;
        if (accuracy > bnnc_cur.best_test) bnnc_cur.best_test = accuracy;
        result->train = (float)hits, result->held = (float)held, result->test = (float)accuracy;
        bnnc_say(1, "epoch %2u/%u  %s %.4f", bnnc_cur.epoch + 1, epochs, NET.loss_is_int ? "error" : "loss",
                 bnnc_cur.loss_sum / (double)bnnc_cur.seen);
        bnnc_print_share("train", hits), bnnc_print_share("held out", held), bnnc_print_share("test", accuracy);
        bnnc_say(1, "\n");
        (void)bnnc_next_epoch(held);
    }
    if (code == BNNC_DONE) code = bnnc_save();
    result->epochs = bnnc_cur.epoch, result->steps = (uint32_t)bnnc_cur.step_total, result->state = bnnc_state_hash();
    return code;
}

int32_t BNNC_NAMED(predict)(const void *x) {
    int32_t class = -1;
    if (!x) return class;
    for (uint32_t b = 0; b < NET.batch; b++) { /* a whole batch of it */
        uint8_t *row = bnnc_arena + NET.eval_x + b * bnnc_row_bytes();
        memcpy(row, x, bnnc_kind_bytes(bnnc_net_kind()));
        bnnc_pad_row(row);
    }
    memset(bnnc_arena + NET.eval_labels, 0, NET.batch);
    net_eval_step();
    memcpy(&class, bnnc_arena + NET.eval_pred, 4);
    return class;
}

int BNNC_NAMED(resume)(const bnnc_board *board) {
    bnnc_board_now = board;
    return bnnc_pick_up() ? BNNC_DONE : BNNC_NO_CHECKPOINT;
}

void BNNC_NAMED(info)(const bnnc_board *board) {
    bnnc_board_now = board;
    bnnc_say(1, "%s  spec %s  bnnc %s  target %s\nrule %s  optimizer %s  batch %u  classes %u  epochs %u\n", NET.name,
             NET.hash, NET.version, NET.target, NET.rule, NET.optimizer, NET.batch * NET.parts, NET.classes,
             NET.epochs);
    bnnc_say_memory();
}

uint32_t BNNC_NAMED(sample_bytes)(void) { return bnnc_kind_bytes(bnnc_net_kind()); }
uint32_t BNNC_NAMED(slot_bytes)(void) { return BNNC_PAYLOAD + (uint32_t)(sizeof bnnc_cur + NET.state_bytes); }

#endif

/* bnnc_measure.h: the verb eval: accuracy, of each class too, and what is taken for what. */
#ifndef BNNC_MEASURE_H
#define BNNC_MEASURE_H
#include "bnnc_names.h"
#include "bnnc_progress.h"

enum { BNNC_SHOWN = 12 }; /* classes whose confusions a terminal shows */

/* How many of class k are there, were found, and were said. */
BNNC_COLD bnnc_class_count bnnc_of_class(const bnnc_tally *t, uint32_t k) {
    bnnc_class_count c = {0, 0, 0};
    if (!t->pairs) return ((const bnnc_class_count *)(const void *)t->n)[k];
    for (uint32_t other = 0; other < NET.classes; other++)
        c.there += t->n[k * NET.classes + other], c.said += t->n[other * NET.classes + k];
    c.found = t->n[k * NET.classes + k];
    return c;
}

BNNC_COLD double bnnc_share(uint32_t part, uint32_t whole) { return whole ? (double)part / whole : -1; }

/* The mean over the classes that are there of the share that was found. */
BNNC_COLD double bnnc_balanced(const bnnc_tally *t) {
    double sum = 0;
    uint32_t n = 0;
    for (uint32_t k = 0; k < NET.classes; k++) {
        const bnnc_class_count c = bnnc_of_class(t, k);
        if (c.there) sum += bnnc_share(c.found, c.there), n++;
    }
    return n ? sum / n : 0;
}

BNNC_COLD void bnnc_put_percent_in(bnnc_text *t, double share) {
    if (share < 0)
        bnnc_puts(t, "         -");
    else
        bnnc_put(t, "%8.2f %%", share * 100);
}

/* A line a class, and where they are few what the samples of each were taken for. */
BNNC_COLD void bnnc_show_classes(const bnnc_tally *tally) {
    char line[256], name[BNNC_NAME_MAX + 1];
    bnnc_text t = {line, sizeof line, 0, 1};
    bnnc_put(&t, "balanced accuracy %.2f %%\n\n%-24s%8s%10s%10s\n", bnnc_balanced(tally) * 100, "class", "samples",
             "recall", "precision");
    for (uint32_t k = 0; k < NET.classes; k++) {
        const bnnc_class_count c = bnnc_of_class(tally, k);
        const bool named = bnnc_class_name(k, name);
        bnnc_put(&t, "%3u %-20s%8u", k, named ? name : "", c.there);
        bnnc_put_percent_in(&t, bnnc_share(c.found, c.there));
        bnnc_put_percent_in(&t, bnnc_share(c.found, c.said));
        bnnc_putc(&t, '\n');
    }
    if (tally->pairs && NET.classes <= BNNC_SHOWN) {
        bnnc_puts(&t, "\ntaken as");
        for (uint32_t k = 0; k < NET.classes; k++) bnnc_put(&t, k ? "%6u" : "%2u", k);
        for (uint32_t k = 0; k < NET.classes; k++) {
            bnnc_put(&t, "\n%3u ", k);
            for (uint32_t other = 0; other < NET.classes; other++)
                bnnc_put(&t, "%6u", tally->n[k * NET.classes + other]);
        }
        bnnc_putc(&t, '\n');
    }
    bnnc_flush(&t);
}

BNNC_COLD void bnnc_classes_as_json(bnnc_text *t, const bnnc_tally *tally) {
    char name[BNNC_NAME_MAX + 1];
    bnnc_put(t, ",\"balanced_acc\":%j,\"classes\":[", bnnc_balanced(tally));
    for (uint32_t k = 0; k < NET.classes; k++) {
        const bnnc_class_count c = bnnc_of_class(tally, k);
        bnnc_put(t, "%s{\"class\":%u", k ? "," : "", k);
        if (bnnc_class_name(k, name)) bnnc_put(t, ",\"name\":%q", name);
        bnnc_put(t, ",\"samples\":%u,\"found\":%u,\"said\":%u}", c.there, c.found, c.said);
    }
    bnnc_puts(t, tally->pairs ? "],\"confusion\":[" : "]");
    for (uint32_t k = 0; tally->pairs && k < NET.classes; k++) {
        for (uint32_t other = 0; other < NET.classes; other++)
            bnnc_put(t, "%s%u", other ? "," : k ? ",[" : "[", tally->n[k * NET.classes + other]);
        bnnc_putc(t, ']');
    }
    if (tally->pairs) bnnc_putc(t, ']');
}

/* The samples of a set (`held`: of the training set those that were held out) under the states that are there. */
BNNC_COLD int bnnc_measure(const bnnc_set *set, bool held, uint32_t n) {
    char line[256];
    bnnc_text t = {line, sizeof line, 0, 1};
    bnnc_tally tally = {(uint32_t *)(void *)bnnc_io, (uint64_t)NET.classes * NET.classes <= sizeof bnnc_io / 4};
    double loss = 0;
    const uint64_t start = bnnc_clock_ns();
    memset(bnnc_io, 0, sizeof bnnc_io);
    const double hits = bnnc_evaluate(set, held, n, &loss, &tally), s = bnnc_seconds(start, bnnc_clock_ns());
    if (atomic_load(&bnnc_signal)) return 128 + atomic_load(&bnnc_signal);
    if (!bnnc_opt.json) {
        bnnc_put(&t, "%s %.2f %%  %s %.4f  %u samples  %.1f s\nstate %X\n", held ? "held out" : "test", hits * 100,
                 bnnc_loss_name(), loss, n, s, bnnc_state_hash());
        bnnc_flush(&t);
        if (bnnc_opt.quiet) return BNNC_OK;
        if (!bnnc_opt.last && bnnc_cur.best_epoch && bnnc_cur.best_epoch == bnnc_cur.epoch)
            bnnc_say(1, "epoch %u, the best on held-out samples (--last: the last one)\n", bnnc_cur.epoch);
        bnnc_show_classes(&tally);
        return BNNC_OK;
    }
    bnnc_put(
        &t,
        "{\"epoch\":%u,\"samples\":%u,\"%s\":%j,\"loss\":%j,\"seconds\":%j,\"state\":\"%X\",\"weights_hash\":\"%X\"",
        bnnc_cur.epoch, n, held ? "holdout_acc" : "test_acc", hits, loss, s, bnnc_state_hash(), bnnc_weights_hash());
    bnnc_classes_as_json(&t, &tally);
    bnnc_puts(&t, "}\n");
    bnnc_flush(&t);
    return BNNC_OK;
}
_Static_assert(sizeof bnnc_io >= 256 * sizeof(bnnc_class_count), "as many classes as a label byte can say");

#endif

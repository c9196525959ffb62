/* bnnc_predicted.h: what `predict` says of a sample: its class, by name where it has one, and with --proba how sure it is.
 *
 * net.c defines BNNC_SCORES where an evaluation leaves them: f32[batch][BNNC_SCORES] (i32 where NET.loss_is_int) at
 * BNNC_SCORES_AT, what the loss compares the classes by. BNNC_LOGITS: a softmax of them gives probabilities.
 */
#ifndef BNNC_PREDICTED_H
#define BNNC_PREDICTED_H
#include "bnnc_cli.h"
#include "bnnc_names.h"
#include "bnnc_num.h"

#ifdef BNNC_SCORES
/* Score c of row b of the batch. */
BNNC_COLD float bnnc_score(uint32_t b, uint32_t c) {
    const uint64_t at = BNNC_SCORES_AT + ((uint64_t)b * BNNC_SCORES + c) * 4;
    int32_t whole;
    float v;
    memcpy(&whole, bnnc_arena + at, 4), memcpy(&v, bnnc_arena + at, 4);
    return NET.loss_is_int ? (float)whole : v;
}

/* The class's probability, or its score: of one score for two classes, that one. */
BNNC_COLD double bnnc_surety(uint32_t b, uint32_t class) {
    const float own = bnnc_score(b, BNNC_SCORES > 1 ? class : 0);
    float total = 0;
    if (!BNNC_LOGITS) return (double)own;
    for (uint32_t c = 0; c < BNNC_SCORES; c++) total += bnnc_exp(bnnc_score(b, c) - own);
    return (double)(1 / total);
}
#endif

/* A line: of a sample of the file, which is row b of the batch. */
BNNC_COLD void bnnc_predicted(bnnc_text *t, uint32_t sample, uint32_t class, uint32_t b) {
    char name[BNNC_NAME_MAX + 1];
    const bool named = bnnc_class_name(class, name);
    if (bnnc_opt.json) {
        bnnc_put(t, "{\"sample\":%u,\"class\":%u", sample, class);
        if (named) bnnc_put(t, ",\"name\":%q", name);
    } else
        bnnc_put(t, "%s", name);
#ifdef BNNC_SCORES
    if (bnnc_opt.proba) {
        bnnc_put(t,
                 !bnnc_opt.json ? "\t%g"
                 : BNNC_LOGITS  ? ",\"probability\":%j"
                                : ",\"score\":%j",
                 bnnc_surety(b, class));
        for (uint32_t c = 0; bnnc_opt.json && c < BNNC_SCORES; c++)
            bnnc_put(t, c ? ",%J" : ",\"scores\":[%J", (double)bnnc_score(b, c));
        if (bnnc_opt.json) bnnc_putc(t, ']');
    }
#endif
    bnnc_puts(t, bnnc_opt.json ? "}\n" : "\n");
    (void)b;
}

#endif

/* dummy_net.c: a net.c written by hand: softmax regression with momentum. Lets the runtime be tested without the
 * compiler. -DKIND=BNNC_U8, BNNC_BIT or BNNC_F32 chooses the input; 37 inputs, 4 classes, batches of 10 unless told
 * otherwise. */
#define BNNC_MAX_THREADS 4
#define BNNC_SAMPLE_BYTES (KIND == BNNC_BIT ? (5 * ELEMS + 15) / 8 * 8 : 0)
#include "bnnc_net.h"
#include "bnnc_cpu.h"
#include "bnnc_pool.h"
#include "bnnc_rng.h"

#ifndef KIND
#define KIND BNNC_BIT
#endif
#ifndef SCHEDULE
#define SCHEDULE BNNC_SCHED_COSINE, 0.05f, 0.1f, 0
#endif
#ifndef HOLDOUT
#define HOLDOUT 0
#endif
#ifndef PATIENCE
#define PATIENCE 0
#endif
#ifndef HASH
#define HASH "0123456789abcdef"
#endif
#ifndef CLASSES
#define CLASSES 4
#endif
#ifndef TRAIN_IMAGES
#define TRAIN_IMAGES "train-images-idx3-ubyte"
#endif
#ifndef ELEMS
#define ELEMS 37
#endif
#ifndef BATCH
#define BATCH 10
#endif
#ifndef PAD
#define PAD 0 /* 40000 makes the arena large enough to hold the stream that expands the data */
#endif
enum { ROW = 4 * ELEMS }; /* room for f32; u8 and bit rows are shorter */

enum {
    W = 0,
    BIAS = W + 4 * CLASSES * ELEMS,
    MOMENT = BIAS + 4 * CLASSES,
    FLIPS = MOMENT + 2 * CLASSES * ELEMS,
    STATE_END = FLIPS + 3 * 8,
    LR = STATE_END + 4,
    STEP = LR + 4,
    LOSS = STEP + 4,
    PRED = LOSS + 4 * BATCH,
    GRAD = PRED + 4 * BATCH,
    LABELS = GRAD + 4 * BATCH * CLASSES,
    X = LABELS + (BATCH + 3) / 4 * 4,
    END = X + BATCH * ROW + PAD
};
_Static_assert(MOMENT % 4 == 0 && STATE_END % 4 == 0, "alignment");

static const bnnc_state STATE[] = {
    {"dense1.weight", BNNC_F32, BNNC_INIT_UNIFORM, 1, 0.2f, 0, 7, CLASSES, ELEMS, W, 4 * CLASSES * ELEMS},
    {"dense1.bias", BNNC_F32, BNNC_INIT_CONST, 1, 0, 0, 0, 1, CLASSES, BIAS, 4 * CLASSES},
    {"dense1.momentum", BNNC_F16, BNNC_INIT_CONST, 0, 0, 0, 0, CLASSES, ELEMS, MOMENT, 2 * CLASSES * ELEMS},
    {"dense1.flips", BNNC_BIT, BNNC_INIT_SIGN, 1, 0, 0, 9, 3, 37, FLIPS, 3 * 8},
};

static const bnnc_net NET = {
    "dummy",
    HASH,
    "0.1.0",
    "test",
    "softmax",
    "momentum",
    "no memory table: written by hand\n",
    "{\"name\":\"dummy\"}",
    BATCH,
    1,
    ELEMS,
    CLASSES,
    KIND,
    {KIND == BNNC_BIT ? BNNC_SIGN : BNNC_NUMBERS, 0, 0, 0, BNNC_U8, 1, ELEMS, 1, 128.0f, 0, 0, 0, 0, NULL, NULL},
    X,
    LABELS,
    LOSS,
    PRED,
    X,
    LABELS,
    LOSS,
    PRED,
    LR,
    STEP,
    BNNC_NOWHERE,
    BNNC_NOWHERE,
    BNNC_NOWHERE,
    BNNC_NOWHERE,
    BNNC_NOWHERE,
    BNNC_NOWHERE,
    NULL,
    0,
    0,
    STATE_END,
    STATE,
    sizeof STATE / sizeof STATE[0],
    NULL,
    0,
    SCHEDULE,
    3,
    1,
    HOLDOUT,
    PATIENCE,
    TRAIN_IMAGES,
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
    0,
    0,
    END,
    131072 + END,
    BNNC_MAX_THREADS};

static _Alignas(64) uint8_t bnnc_arena[END];

static float get(int offset, int i) {
    float v;
    memcpy(&v, bnnc_arena + offset + 4 * i, 4);
    return v;
}
static void set(int offset, int i, float v) { memcpy(bnnc_arena + offset + 4 * i, &v, 4); }

static float input(int b, int i) { /* one input of one sample */
    if (KIND == BNNC_F32) return get(X, b * ELEMS + i);
    if (KIND == BNNC_U8) return (float)bnnc_arena[X + b * ELEMS + i] / 128.0f - 1.0f;
    return bnnc_arena[X + b * ((ELEMS + 31) / 32 * 4) + i / 8] >> i % 8 & 1 ? 1.0f : -1.0f;
}

static float small_exp(float x) { /* (1 + x/256)^256: rough, and the same everywhere */
    float v = 1 + x / 256;
    if (v < 0) v = 0;
    for (int i = 0; i < 8; i++) v *= v;
    return v;
}

static void forward(const uint32_t *at, int tid, int n) { /* threads share the samples */
    (void)at;
    for (int b = BATCH * tid / n; b < BATCH * (tid + 1) / n; b++) {
        float p[CLASSES], sum = 0, loss = 0, top = 0;
        int32_t best = 0;
        for (int c = 0; c < CLASSES; c++) {
            p[c] = get(BIAS, c);
            for (int i = 0; i < ELEMS; i++) p[c] += get(W, c * ELEMS + i) * input(b, i);
            if (p[c] > p[best]) best = c;
        }
        top = p[best];
        for (int c = 0; c < CLASSES; c++) sum += p[c] = small_exp(p[c] - top);
        for (int c = 0; c < CLASSES; c++) {
            float d = p[c] / sum - (c == bnnc_arena[LABELS + b] ? 1.0f : 0.0f);
            set(GRAD, b * CLASSES + c, d);
            loss += d * d;
        }
        set(LOSS, b, loss);
        memcpy(bnnc_arena + PRED + 4 * b, &best, 4);
    }
}

/* threads share the classes; sums go over the batch in its order */
static void update(const uint32_t *at, int tid, int n) {
    (void)at;
    for (int c = CLASSES * tid / n; c < CLASSES * (tid + 1) / n; c++) {
        float g = 0;
        for (int b = 0; b < BATCH; b++) g += get(GRAD, b * CLASSES + c);
        set(BIAS, c, get(BIAS, c) - get(LR, 0) * g / BATCH);
        for (int i = 0; i < ELEMS; i++) {
            int32_t m16;
            int16_t stored;
            float m;
            g = 0;
            for (int b = 0; b < BATCH; b++) g += get(GRAD, b * CLASSES + c) * input(b, i);
            memcpy(&stored, bnnc_arena + MOMENT + 2 * (c * ELEMS + i), 2);
            m = (float)stored / 4096 * 0.9f + g / BATCH; /* kept as fixed point in the 16 bits */
            m16 = (int32_t)(m * 4096);
            stored = (int16_t)(m16 > 32767 ? 32767 : m16 < -32768 ? -32768 : m16);
            memcpy(bnnc_arena + MOMENT + 2 * (c * ELEMS + i), &stored, 2);
            set(W, c * ELEMS + i, get(W, c * ELEMS + i) - get(LR, 0) * m);
        }
    }
}

/* A planner lets buffers share their bytes: so the batch is spoiled after use, and what must be 0 is checked before it. */
static void check_batch(void) {
    for (int i = END - PAD; i < END; i++)
        if (bnnc_arena[i]) bnnc_fail(1, "the arena was not cleared after the data was expanded");
    for (int b = 0; KIND == BNNC_BIT && b < BATCH; b++)
        for (int i = ELEMS; i % 32; i++)
            if (bnnc_arena[X + b * ((ELEMS + 31) / 32 * 4) + i / 8] >> i % 8 & 1)
                bnnc_fail(1, "a padding bit is not 0");
}
static void spoil_batch(void) { memset(bnnc_arena + X, 0xFF, BATCH * ROW); }

static void net_train_step(void) {
    check_batch();
    bnnc_run(forward, NULL);
    bnnc_run(update, NULL);
    spoil_batch();
#ifdef SLOW /* milliseconds a step: gives a test the time to interrupt */
    for (uint64_t until = bnnc_clock_ns() + SLOW * 1000000u; bnnc_clock_ns() < until;) bnnc_pause();
#endif
}
static void net_eval_step(void) {
    check_batch();
    bnnc_run(forward, NULL);
    spoil_batch();
}

#include "bnnc_main.h"

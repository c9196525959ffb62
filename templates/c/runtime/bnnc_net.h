/* bnnc_net.h: the contract between the generated file and the runtime. Everything that the trainer knows of a network.
 *
 * net.c, in this order:
 *     #define BNNC_MAX_THREADS 4              // the pool's stacks are static
 *     #define BNNC_THREAD_STACK 24576         // bytes of each but the first thread's
 *     #define BNNC_COUNTERS 2                 // entries of NET.counter; may be left out, as all that follow
 *     #define BNNC_..                         // STRIPS: loops over strips; KEPT_AT, KEPT_BYTES: an encoder's thresholds;
 *                                             // SAMPLE_BYTES: what reading one takes; STEP: of whole states (below);
 *                                             // SCORES, SCORES_AT, LOGITS: bnnc_predicted.h; CLASSES: bnnc_balance.h;
 *                                             // AUGMENT_.., LATE: bnnc_augment.h
 *     #include "bnnc_net.h"  "bnnc_rng.h"  "bnnc_cpu.h"  "bnnc_pool.h"  "bnnc_num.h"
 *     static _Alignas(64) uint8_t bnnc_arena[...];
 *     static const char SPEC_HASH[] = "...";
 *     static const bnnc_state STATE[] = {...};
 *     static const bnnc_buffer BUFFER[] = {...};
 *     the kernels, for each instruction set (BNNC_LEVEL) between a bnnc_.._begin.h and bnnc_end.h
 *     KERNELS, PLACES, net_level, net_kernels, net_run: the kernels of each set, the arena offsets that each is given,
 *         which set this CPU has, its kernels, and to have one done by the pool
 *     static void net_train_step(void) {...}  // forward, backward, update of one batch, on the pool
 *     static void net_eval_step(void) {...}   // forward of one batch; leaves every state as it is
 *     static const bnnc_net NET = {...};
 *     COSTS, RATES and BNNC_NEXT              // for `bench` (bnnc_bench.h)
 *     #include "bnnc_main.h"                  // the trainer, and main or _start
 */
#ifndef BNNC_NET_H
#define BNNC_NET_H
#include "bnnc_sys.h"

/* Where kernels run elsewhere than on this CPU, the generated file says what to do when the program starts to use them, before
 * states are read from bnnc_arena, after they were written there, for `info`, and what memory was taken. */
#ifndef BNNC_START
#define BNNC_START() ((void)0)
#define BNNC_STATES_READ() ((void)0)
#define BNNC_STATES_WRITTEN() ((void)0)
#define BNNC_INFO_MORE() ((void)0)
#define BNNC_RESIDENT() bnnc_resident()
#endif

enum { BNNC_F32, BNNC_F16, BNNC_BIT, BNNC_U8, BNNC_I32, BNNC_I16, BNNC_I8 };
enum {
    BNNC_INIT_CONST,
    BNNC_INIT_UNIFORM /* U[-a, a) */,
    BNNC_INIT_SIGN /* random bits */,
    BNNC_INIT_NORMAL /* deviation a: whole numbers, or a times multiples of 2^-12 */
};
enum {
    BNNC_NUMBERS /* data is taken as it is */,
    BNNC_SIGN,
    BNNC_PAD /* bits */,
    BNNC_MEDIAN /* from here on fitted */,
    BNNC_QUANTILE,
    BNNC_UNIFORM,
    BNNC_GAUSS
};
enum { BNNC_GLOBAL, BNNC_CHANNEL, BNNC_COLUMN };
#define BNNC_NOWHERE 0xFFFFFFFFu /* the arena offset of what a network does not have */
enum {
    BNNC_SCHED_CONSTANT,
    BNNC_SCHED_STEP /* a every, b factor */,
    BNNC_SCHED_COSINE /* a final share */,
    BNNC_SCHED_PLATEAU /* a patience, b factor */
};

/* One array of the network that outlives a step: a weight, a running mean, an optimiser's moment.
 * Bits: `rows` rows of ceil(cols/32) little-endian u32 words; bit c of a row is bit c%32 of word c/32; 1 means +1;
 * padding bits are 0. */
typedef struct {
    const char *name;        /* "dense1.weight" */
    uint8_t dtype, init;     /* BNNC_F32.., BNNC_INIT_.. */
    uint8_t exported;        /* written by --export, and required by --init; 2: as BNNC_STEP says */
    float init_value;        /* the constant, or the bound a */
    int32_t limit;           /* whole numbers stay in [-limit, limit - 1]; 0: in what the dtype holds */
    uint32_t stream;         /* stream number of the generator; 0xFFFFFFFE and up are the runtime's own */
    uint32_t rows, cols;     /* a vector has rows = 1 */
    uint32_t offset, nbytes; /* in the arena; inside [state_begin, state_begin + state_bytes) */
} bnnc_state;

/* Any other buffer, for `info`. */
typedef struct {
    const char *name;        /* "dense1.y" */
    uint32_t rows, cols;     /* as a state's */
    uint32_t offset, nbytes; /* in the arena */
    uint16_t first, last;    /* alive; kernels are counted, from 1 for the first; 0 is the batch's arrival */
    uint16_t line;           /* of the spec; 0: of none */
    uint8_t dtype;           /* BNNC_F32.. */
} bnnc_buffer;

#ifndef BNNC_COUNTERS
#define BNNC_COUNTERS 0
#endif

/* i32[n] in the arena that a training step leaves behind. The trainer sums them over the steps of an epoch. */
typedef struct {
    const char *name, *layer; /* "flips", "dense1"; layer "": of the whole network. One name's are neighbours */
    uint32_t offset, n;
    uint32_t share; /* reported per training sample */
} bnnc_counter;
/* How samples become bits: see bnnc_encode.h. Where there are thresholds, `rows` x `cols` f32 at `at` in the arena are a
 * state: a row for each group of values that share thresholds, then one for each one-hot channel; the rest is +inf, and
 * so is everything while nothing is fitted. net.c also defines BNNC_KEPT_AT and BNNC_KEPT_BYTES, their place. */
typedef struct {
    uint8_t how, per, pad_odd, lengths;
    uint32_t in_kind; /* of a sample in a file: BNNC_U8, BNNC_F32 or BNNC_BIT; steps x channels values */
    uint32_t steps, channels;
    uint32_t bits;   /* of one value */
    float threshold; /* BNNC_SIGN: +1 where the value in the file is >= threshold */
    uint32_t rows, cols, at;
    uint32_t n_onehot;
    const uint32_t *onehot; /* pairs: channel, number of categories */
    const double *quantile; /* BNNC_GAUSS: the normal distribution's */
} bnnc_encoding;

/* net.c defines BNNC_STEP where some states are whole numbers n that stand for the real ones (n + 1/2) BNNC_STEP. */
#ifdef BNNC_STEP
#define BNNC_STANDS_FOR_REAL(s) ((s)->exported == 2)
#else
#define BNNC_STEP 1.0f
#define BNNC_STANDS_FOR_REAL(s) false
#endif

#ifndef BNNC_KEPT_BYTES
#define BNNC_KEPT_AT 0
#define BNNC_KEPT_BYTES 0
#endif
#ifndef BNNC_SAMPLE_BYTES
#define BNNC_SAMPLE_BYTES 0 /* what encoding one sample needs beside the stream, BNNC_FIT_MIN for fitting included */
#endif
#define BNNC_FIT_MIN 4096

/* What the plan counts of one kernel's work; the kinds of it, and what it takes to run a kernel at all (bnnc_rate.h). */
enum {
    BNNC_RATE_BITS,
    BNNC_RATE_SIGNED,
    BNNC_RATE_NUMBERS,
    BNNC_RATE_ELEMENTS,
    BNNC_RATE_MOVED,
    BNNC_RATE_RUN,
    BNNC_RATES
};
typedef struct {
    const char *name;
    uint32_t line;             /* of the spec; 0: of none */
    float work[BNNC_RATE_RUN]; /* BNNC_RATE_..: products of bits, additions by a bit, products, operations, bytes */
} bnnc_cost;

typedef struct {
    const char *name, *hash; /* "mnist_mlp"; 16 hex digits that name the layout of the state */
    const char *version, *target, *rule, *optimizer;
    const char *summary;   /* lines for `info`: what a process needs, in sum */
    const char *plan_json; /* for `info --json` */

    uint32_t batch, parts; /* samples in memory at once, and how many times that many make a batch of the spec */
    uint32_t elems, classes;
    uint32_t in_kind;       /* BNNC_U8, BNNC_F32 or BNNC_BIT: what the batch buffer holds */
    bnnc_encoding encoding; /* BNNC_BIT: what makes them bits */

    /* Arena offsets of the batch. A row of x has `elems` bytes (u8), 4*elems (f32) or 4*ceil(elems/32) (bit, words as in
   * a state). labels: u8[batch]; loss: f32[batch], per sample; pred: i32[batch], the best class. x and labels are
   * written before each step; x may be overwritten within it; labels, loss and pred are read when it returns. */
    uint32_t train_x, train_labels, train_loss, train_pred;
    uint32_t eval_x, eval_labels, eval_loss, eval_pred;
    uint32_t lr, step; /* two f32, written before each train step: learning rate, and t = 1, 2, ...; or NOWHERE */
    uint32_t part;     /* f32, or NOWHERE: which part of the batch, 0 and up */
    uint32_t tick, seed_at, errors, samples,
        stage;                   /* five i32, likewise, of rules without floats: t, the seed, mistakes and
                                * samples of the epoch before (1 and 1 in the first), and how often training stagnated */
    const bnnc_counter *counter; /* BNNC_COUNTERS of them */
    uint32_t loss_is_int;        /* loss is i32[batch] */

    uint32_t state_begin, state_bytes; /* all states are one range at the arena's start: the checkpoint's payload */
    const bnnc_state *state;
    uint32_t n_state;
    const bnnc_buffer *buffer; /* what is not a state */
    uint32_t n_buffer;

    uint32_t schedule; /* BNNC_SCHED_.. */
    float lr0, sched_a, sched_b;
    uint32_t epochs, seed;
    float holdout;     /* share of the training samples that is never trained on */
    uint32_t patience; /* `stop = early`: epochs that the best one may be behind; 0: any number */
    const char *train_images, *train_labels_file, *test_images, *test_labels_file; /* the spec's; may be "" */

    uint64_t step_operations,
        step_moved;                    /* counted by the plan: what a training step computes, and the bytes it moves */
    uint64_t arena_bytes, total_bytes; /* predicted by the plan: the arena; the whole process */
    uint32_t max_threads;
} bnnc_net;

#endif

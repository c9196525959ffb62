/* encode_probe.c: the encoder alone, its record read from the command line: one build encodes anything.
 *
 *     encode_probe OUT how per pad_odd lengths in_kind steps channels bits threshold rows cols elems
 *                  [-h channel categories]... [-q quantile]... [-t FILE] -- TRAIN,LABELS TEST,LABELS
 *
 * Opens the two sets as a trainer does, with OUT as cache, and writes the thresholds to OUT/thresholds; -t takes them
 * from there and fits nothing. */
#define BNNC_MAX_THREADS 1
#ifndef KEPT_AT
#define KEPT_AT 64
#endif
#ifndef ARENA
#define ARENA (256 * 1024)
#endif
#define BNNC_KEPT_AT KEPT_AT
#define BNNC_KEPT_BYTES 8192
#define BNNC_SAMPLE_BYTES (4096 + BNNC_FIT_MIN)
#include "bnnc_net.h"

static uint32_t onehot[64];
static double quantile[64];
static bnnc_net NET = {.name = "probe",
                       .classes = 4,
                       .in_kind = BNNC_BIT,
                       .encoding = {.onehot = onehot, .quantile = quantile, .at = KEPT_AT},
                       .state_bytes = KEPT_AT + 8192};
static _Alignas(64) uint8_t bnnc_arena[ARENA];

#include "bnnc_data.h"

static uint32_t number(const char *s) {
    uint32_t v;
    if (!bnnc_parse_u32(s, &v)) bnnc_fail(2, "not a number: %s", s);
    return v;
}

static const char *labels_of(char *files) {
    for (; *files; files++)
        if (*files == ',') {
            *files = 0;
            return files + 1;
        }
    return "";
}

static int run(int argc, char **argv, char **envp) {
    bnnc_encoding *e = &NET.encoding;
    char path[2][BNNC_PATH_MAX], name[BNNC_PATH_MAX];
    const char *stored = NULL;
    bnnc_set train, test;
    double threshold;
    int i = 14, q = 0;
    if (argc < 17 || !bnnc_parse_float(argv[10], &threshold)) bnnc_fail(2, "usage: see the source");
    bnnc_environ = envp;
    e->how = (uint8_t)number(argv[2]), e->per = (uint8_t)number(argv[3]), e->pad_odd = (uint8_t)number(argv[4]);
    e->lengths = (uint8_t)number(argv[5]), e->in_kind = number(argv[6]), e->steps = number(argv[7]);
    e->channels = number(argv[8]), e->bits = number(argv[9]), e->threshold = (float)threshold;
    e->rows = number(argv[11]), e->cols = number(argv[12]), NET.elems = number(argv[13]);
    for (; argv[i][0] == '-' && argv[i][1] != '-'; i += 2) {
        if (argv[i][1] == 't')
            stored = argv[i + 1];
        else if (argv[i][1] == 'h') {
            onehot[2 * e->n_onehot] = number(argv[i + 1]), onehot[2 * e->n_onehot++ + 1] = number(argv[i + 2]);
            i++;
        } else {
            uint64_t bits = 0; /* sixteen hexadecimal digits */
            for (const char *p = argv[i + 1]; *p; p++)
                bits = bits << 4 | (uint64_t)(*p <= '9' ? *p - '0' : *p - 'a' + 10);
            memcpy(&quantile[q++], &bits, 8);
        }
    }
    bnnc_may_fit = !stored;
    if (stored) {
        int fd = bnnc_open(stored, BNNC_READ);
        if (bnnc_read_at(fd, bnnc_threshold(0), e->rows * e->cols * 4, 0) < 0) bnnc_fail(2, "no thresholds");
        bnnc_fitted = bnnc_finite(*bnnc_threshold(0));
    }
    const char *train_labels = labels_of(argv[i + 1]), *test_labels = labels_of(argv[i + 2]);
    bnnc_data_open(&train, NULL, "train", argv[i + 1], train_labels, argv[1], true, path[0]);
    bnnc_data_open(&test, NULL, "test", argv[i + 2], test_labels, argv[1], true, path[1]);
    bnnc_data_done();
    for (uint32_t at = 0; at < ARENA; at++)
        if ((at < KEPT_AT || at >= KEPT_AT + 8192) && bnnc_arena[at])
            bnnc_fail(1, "byte %u of the arena is not clear", at);
    bnnc_text t = {name, sizeof name, 0, -1};
    bnnc_put(&t, "%s/thresholds", argv[1]);
    int fd = bnnc_open(bnnc_cstr(&t), BNNC_CREATE);
    return bnnc_write_all(fd, bnnc_threshold(0), e->rows * e->cols * 4) < 0;
}

BNNC_ENTRY(run)

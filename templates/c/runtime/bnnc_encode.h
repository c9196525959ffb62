/* bnnc_encode.h: samples to bits. bnnc/inputs/encode.py is the definition; every bit here is what it says.
 *
 * The thresholds are a state of the network. What does not have them from a checkpoint or --init fits them to the
 * training samples before the first step, in passes over the file: minimum and maximum; mean, then variance; or the
 * values of given ranks, exactly, by a radix select on 32-bit keys in the order of the numbers, 8 bits a pass. All that
 * is counted lies in the scratch of bnnc_format.h, as much at a time as fits there.
 */
#ifndef BNNC_ENCODE_H
#define BNNC_ENCODE_H
#include "bnnc_encode_row.h"
#include "bnnc_format.h"
#include "bnnc_states.h"

/* The sample that is being encoded, as numbers: steps x channels; the first `bnnc_missing` steps do not exist. */
#define bnnc_values ((bnnc_value *)(void *)(bnnc_scratch + BNNC_VALUES_AT))
static uint32_t bnnc_missing;
static bool bnnc_may_fit;     /* nothing is stored, and there is training data */
static uint32_t bnnc_raw_crc; /* of the records read since the pass began */

BNNC_FN uint32_t bnnc_raw_elems(void) { return NET.encoding.steps * NET.encoding.channels; }
BNNC_FN bnnc_value *bnnc_threshold(uint32_t row) {
    return (bnnc_value *)(void *)(bnnc_arena + NET.encoding.at) + (uint64_t)row * NET.encoding.cols;
}

BNNC_FN bool bnnc_finite(float v) {
    uint32_t u;
    memcpy(&u, &v, 4);
    return (u & 0x7F800000) != 0x7F800000;
}
BNNC_FN bool bnnc_is_nan(float v) { return !(v <= 0) && !(v >= 0); }

/* Starts at sample 0 again. */
BNNC_COLD void bnnc_stream_samples(const bnnc_file *a) {
    bnnc_raw_crc = 0;
    if (a->format == BNNC_BNND && a->bnnd.compression) {
        bnnc_inflate_open(&bnnc_z, a->fd, 96, a->size - a->bnnd.names_bytes, BNNC_RAW_DEFLATE);
        return;
    }
    bnnc_stream(a);
    bnnc_stream_skip(a, a->data_off);
}

/* A sequence that ends before its time: what is there moves to the end. */
BNNC_COLD void bnnc_move_sequence(const bnnc_file *a, uint32_t sample) {
    const uint32_t width = NET.encoding.channels;
    bnnc_value *v = bnnc_values;
    uint32_t length = NET.encoding.steps;
    for (; length; length--) {
        uint32_t c = 0;
        while (c < width && bnnc_is_nan(v[(uint64_t)(length - 1) * width + c])) c++;
        if (c < width) break;
    }
    if (!length)
        bnnc_fail(BNNC_E_DATA, "%s: sample %u has no steps: all its values are NaN\n  hint: remove the sample", a->path,
                  sample);
    bnnc_missing = NET.encoding.steps - length;
    for (uint64_t i = (uint64_t)length * width; bnnc_missing && i-- > 0;) v[i + (uint64_t)bnnc_missing * width] = v[i];
}

/* Sample number `sample`, the next of the stream, into bnnc_values; -0 becomes 0. */
BNNC_FN void bnnc_next_values(const bnnc_file *a, uint32_t sample) {
    const uint64_t n = bnnc_raw_elems(), bytes = a->width ? n * a->width : (n + 7) / 8;
    const uint32_t width = NET.encoding.channels ? NET.encoding.channels : 1; /* without an encoder: not called */
    bnnc_value *v = bnnc_values;
    uint8_t *raw = (uint8_t *)v + n * 4 - bytes; /* at the end: number i is written after byte i has been read */
    if (a->format == BNNC_CIFAR)
        bnnc_next_cifar(a);
    else
        bnnc_stream_get(a, raw, bytes), bnnc_raw_crc = bnnc_crc32(bnnc_raw_crc, raw, bytes);
    if (a->format == BNNC_CIFAR)
        for (uint64_t i = 0; i < n; i++) v[i] = bnnc_io[i];
    else if (a->width == 1)
        for (uint64_t i = 0; i < n; i++) v[i] = raw[i];
    else if (!a->width)
        for (uint64_t i = 0; i < n; i++) v[i] = (float)(raw[i / 8] >> i % 8 & 1);
    else
        for (uint64_t i = 0; i < n; i++) v[i] += 0.0f;
    bnnc_missing = 0;
    if (a->width != 4) return;
    if (NET.encoding.lengths) bnnc_move_sequence(a, sample);
    for (uint64_t i = (uint64_t)bnnc_missing * width; NET.encoding.how != BNNC_SIGN && i < n; i++)
        if (!bnnc_finite(v[i]))
            bnnc_fail(BNNC_E_DATA,
                      "%s: sample %u, step %u, column %u is not a finite number\n  hint: fill in the value%s", a->path,
                      sample, (uint32_t)(i / width) - bnnc_missing, (uint32_t)(i % width),
                      NET.encoding.lengths ? "; only steps at the end with NaN in every column count as missing"
                      : n > width ? "; steps after a sequence's end need `lengths = on` in the encoder, no values"
                                  : "");
}

BNNC_FN const bnnc_value *bnnc_thresholds_of(uint32_t row) { return bnnc_threshold(row); }

/* The bits of bnnc_values, as a row of a .bnnd file. */
BNNC_FN void bnnc_encode_values(uint8_t *out) {
#ifdef BNNC_LATE /* samples are encoded when they are read */
    (void)out;
#else
    bnnc_encode_row(bnnc_values + (uint64_t)bnnc_missing * NET.encoding.channels, bnnc_missing, out);
#endif
}

/* ---- fitting ---- */

typedef struct {
    double a, b; /* minimum and maximum; or sum, then mean, and the sum of squares */
    uint64_t n;
} __attribute__((may_alias)) bnnc_moments;

typedef struct {         /* the value with a given rank among those of a group */
    uint32_t count[256]; /* of the values that begin with `prefix`, by their next 8 bits */
    uint32_t prefix, rank;
} __attribute__((may_alias)) bnnc_target;
_Static_assert(2 * sizeof(bnnc_target) <= BNNC_FIT_MIN, "a median needs two");

enum { BNNC_PASS_CATEGORIES, BNNC_PASS_COUNT, BNNC_PASS_RANGE, BNNC_PASS_SUM, BNNC_PASS_SQUARES };
typedef struct {
    int what, shift;
    uint32_t first, end, per_group; /* targets, or moments, in the scratch; targets of a group */
} bnnc_pass;

#define bnnc_fit_area ((void *)(bnnc_scratch + BNNC_VALUES_AT + BNNC_SAMPLE_BYTES - BNNC_FIT_MIN))
BNNC_FN uint64_t bnnc_fit_room(void) { return bnnc_scratch_bytes - BNNC_VALUES_AT - BNNC_SAMPLE_BYTES + BNNC_FIT_MIN; }

BNNC_FN void bnnc_note_category(const bnnc_file *a, uint32_t hot, float v) {
    bnnc_value *x = bnnc_threshold(NET.encoding.rows - NET.encoding.n_onehot + hot);
    const uint32_t most = NET.encoding.onehot[2 * hot + 1];
    uint32_t k = 0;
    while (k < most && x[k] < v) k++;
    if (k < most && !(x[k] > v)) return;
    if (bnnc_finite(x[most - 1]))
        bnnc_fail(BNNC_E_DATA,
                  "%s: column %u holds more different values than the %u that `categories` gives it\n"
                  "  hint: a larger number in the spec, or `onehot` without this column",
                  a->path, NET.encoding.onehot[2 * hot], most);
    for (uint32_t i = most - 1; i > k; i--) x[i] = x[i - 1];
    x[k] = v;
}

/* The order of keys is that of the numbers; u8 are their own keys. */
BNNC_FN uint32_t bnnc_key(float v, bool wide) {
    uint32_t u;
    if (!wide) return (uint32_t)v;
    memcpy(&u, &v, 4);
    return u >> 31 ? ~u : u | 0x80000000;
}
BNNC_FN float bnnc_of_key(uint32_t key, bool wide) {
    const uint32_t u = key >> 31 ? key & 0x7FFFFFFF : ~key;
    float v;
    memcpy(&v, &u, 4);
    return wide ? v : (float)key;
}

BNNC_FN void bnnc_note_value(const bnnc_pass *p, uint32_t group, float v, bool wide) {
    if (p->what == BNNC_PASS_COUNT) {
        const uint32_t lo = group * p->per_group > p->first ? group * p->per_group : p->first,
                       hi = (group + 1) * p->per_group < p->end ? (group + 1) * p->per_group : p->end;
        const uint32_t key = bnnc_key(v, wide);
        for (uint32_t i = lo; i < hi; i++) {
            bnnc_target *t = (bnnc_target *)bnnc_fit_area + (i - p->first);
            if (i > lo && t->prefix == t[-1].prefix) continue; /* the one before counts for both */
            if (t->prefix == key >> p->shift >> 8) t->count[key >> p->shift & 255]++;
        }
        return;
    }
    if (group < p->first || group >= p->end) return;
    bnnc_moments *m = (bnnc_moments *)bnnc_fit_area + (group - p->first);
    const double d = (double)v;
    if (p->what == BNNC_PASS_RANGE) {
        if (!m->n || d < m->a) m->a = d;
        if (!m->n || d > m->b) m->b = d;
    } else if (p->what == BNNC_PASS_SUM)
        m->a += d;
    else
        m->b += (d - m->a) * (d - m->a);
    if (p->what != BNNC_PASS_SQUARES) m->n++;
}

/* One pass over the first n samples. */
BNNC_FN void bnnc_fit_pass(const bnnc_file *a, uint32_t n, const bnnc_pass *p) {
    const bnnc_encoding *e = &NET.encoding;
    const uint32_t numeric = e->channels - e->n_onehot;
    bnnc_stream_samples(a);
    for (uint32_t i = 0; i < n; i++) {
        uint8_t label;
        bnnc_next_values(a, i);
        if (a->format == BNNC_BNND) bnnc_stream_get(a, &label, 1);
        const bnnc_value *v = bnnc_values + (uint64_t)bnnc_missing * e->channels;
        for (uint32_t t = bnnc_missing; t < e->steps; t++)
            for (uint32_t c = 0, j = 0; c < e->channels; c++, v++) {
                const uint32_t hot = e->n_onehot ? bnnc_onehot(c) : 0;
                if (hot < e->n_onehot) {
                    if (p->what == BNNC_PASS_CATEGORIES) bnnc_note_category(a, hot, *v);
                    continue;
                }
                if (p->what != BNNC_PASS_CATEGORIES)
                    bnnc_note_value(p,
                                    e->per == BNNC_GLOBAL    ? 0
                                    : e->per == BNNC_CHANNEL ? j
                                                             : t * numeric + j,
                                    *v, a->width == 4);
                j++;
            }
    }
}

/* After a pass: each target's next 8 bits. Last to first, since targets of one prefix share the first one's counts. */
BNNC_COLD void bnnc_narrow(const bnnc_pass *p, bool wide) {
    const bnnc_encoding *e = &NET.encoding;
    for (uint32_t i = p->end; i-- > p->first;) {
        bnnc_target *t = (bnnc_target *)bnnc_fit_area + (i - p->first), *owner = t;
        const uint32_t k = i % p->per_group;
        uint32_t total = 0, d = 0;
        for (uint32_t j = i; j > p->first && j % p->per_group && owner[-1].prefix == t->prefix; j--) owner--;
        for (uint32_t j = 0; j < 256; j++) total += owner->count[j];
        if (p->shift == (wide ? 24 : 0) && total)
            t->rank = e->how == BNNC_MEDIAN ? (uint32_t)(((uint64_t)total - 1 + k) / 2)
                                            : (uint32_t)((uint64_t)(k + 1) * (total - 1) / (e->bits + 1));
        if (!total)
            d = bnnc_key(0, wide) >> p->shift & 255; /* no values: the threshold becomes 0 */
        else
            for (; d < 255 && t->rank >= owner->count[d]; d++) t->rank -= owner->count[d];
        t->prefix = t->prefix << 8 | d;
    }
}

BNNC_FN void bnnc_fit_ranks(const bnnc_file *a, uint32_t n, uint32_t groups) {
    const bnnc_encoding *e = &NET.encoding;
    const bool wide = a->width == 4, median = e->how == BNNC_MEDIAN;
    const uint32_t per_group = median ? 2 : e->bits, all = groups * per_group;
    const uint64_t room = bnnc_fit_room() / sizeof(bnnc_target) / (median ? 2 : 1) * (median ? 2 : 1);
    bnnc_target *const t = bnnc_fit_area;
    for (uint32_t first = 0, end; first < all; first = end) {
        end = all - first < room ? all : first + (uint32_t)room;
        memset(t, 0, (end - first) * sizeof *t);
        for (int shift = wide ? 24 : 0; shift >= 0; shift -= 8) {
            const bnnc_pass p = {BNNC_PASS_COUNT, shift, first, end, per_group};
            for (uint32_t i = first; i < end; i++) memset(t[i - first].count, 0, sizeof t->count);
            bnnc_fit_pass(a, n, &p);
            bnnc_narrow(&p, wide);
        }
        for (uint32_t i = first; i < end; i++) {
            const float v = bnnc_of_key(t[i - first].prefix, wide);
            if (!median)
                bnnc_threshold(i / per_group)[i % per_group] = v;
            else if (i % 2)
                bnnc_threshold(i / 2)[0] = (float)(((double)bnnc_threshold(i / 2)[0] + (double)v) / 2);
            else
                bnnc_threshold(i / 2)[0] = v;
        }
    }
}

BNNC_FN void bnnc_fit_moments(const bnnc_file *a, uint32_t n, uint32_t groups) {
    const bnnc_encoding *e = &NET.encoding;
    const bool uniform = e->how == BNNC_UNIFORM;
    const uint64_t room = bnnc_fit_room() / sizeof(bnnc_moments);
    bnnc_moments *const all = bnnc_fit_area;
    for (uint32_t first = 0, end; first < groups; first = end) {
        end = groups - first < room ? groups : first + (uint32_t)room;
        bnnc_pass p = {uniform ? BNNC_PASS_RANGE : BNNC_PASS_SUM, 0, first, end, 1};
        memset(all, 0, (end - first) * sizeof *all);
        bnnc_fit_pass(a, n, &p);
        if (!uniform) {
            for (uint32_t i = first; i < end; i++)
                if (all[i - first].n) all[i - first].a /= (double)all[i - first].n;
            p.what = BNNC_PASS_SQUARES;
            bnnc_fit_pass(a, n, &p);
        }
        for (uint32_t i = first; i < end; i++) {
            const bnnc_moments *m = &all[i - first];
            const double deviation = uniform || !m->n ? 0 : __builtin_sqrt(m->b / (double)m->n);
            for (uint32_t k = 0; k < e->bits; k++)
                bnnc_threshold(i)[k] = (float)(uniform ? m->a + (double)(k + 1) * (m->b - m->a) / (double)(e->bits + 1)
                                                       : m->a + deviation * e->quantile[k]);
        }
    }
}

/* The thresholds, from the first n samples of `a`. */
BNNC_FN void bnnc_fit(const bnnc_file *a, uint32_t n, bool quiet) {
    const bnnc_encoding *e = &NET.encoding;
    const uint32_t groups = e->rows - e->n_onehot;
    const float none = __builtin_inff();
    if (!bnnc_may_fit)
        bnnc_fail(BNNC_E_DATA,
                  "%s must be encoded, but no thresholds were fitted: what was trained on was bits already\n"
                  "  hint: give bits here too (`bnnc data pack --encode`), or train again with --resume never",
                  a->path);
    if (!n) bnnc_fail(BNNC_E_DATA, "%s: no samples to fit the encoder to", a->path);
    if (groups && (uint64_t)n * bnnc_raw_elems() / groups > UINT32_MAX)
        bnnc_fail(BNNC_E_DATA, "%s: too many values for one threshold\n  hint: `per = column` in the spec", a->path);
    if (!quiet) bnnc_say(1, "fitting the encoder's thresholds to %s\n", a->path);
    for (uint32_t i = 0; i < e->rows * e->cols; i++) bnnc_threshold(0)[i] = none;
    if (e->n_onehot) bnnc_fit_pass(a, n, &(bnnc_pass){BNNC_PASS_CATEGORIES, 0, 0, 0, 1});
    if (e->how == BNNC_MEDIAN || e->how == BNNC_QUANTILE)
        bnnc_fit_ranks(a, n, groups);
    else
        bnnc_fit_moments(a, n, groups);
    bnnc_fitted = true;
}

#endif

/* bnnc_tensors.h: --init and --export: the network's states as safetensors.
 *
 * safetensors: u64 length of a JSON header, the header, the data. Export writes f32 as F32, f16 as F16, bits as I8 of
 * +1 and -1, whole numbers as I8, I16, I32 or U8, or where they stand for real ones these as F32; init takes any of
 * these and converts to the state's own type (a bit is +1 where the value is >= 0; a whole number that stands for a real
 * one is the nearest; for another state of whole numbers the value must be one, and within its limits; for one of floats
 * whole numbers must be signs, since what a step of others is worth is not in the file).
 * Every exported state must be there, with its shape; a name that no state has is an error; states that are not
 * exported (the optimiser's) may be there or not. The header is parsed as it streams by, one token at a time: no tree,
 * no recursion, names up to 128 bytes.
 */
#ifndef BNNC_TENSORS_H
#define BNNC_TENSORS_H
#include "bnnc_fmt.h"
#include "bnnc_states.h"

/* ---- export ---- */
BNNC_COLD uint8_t bnnc_export_dtype(const bnnc_state *s) { return BNNC_STANDS_FOR_REAL(s) ? BNNC_F32 : s->dtype; }

BNNC_COLD uint64_t bnnc_export_bytes(const bnnc_state *s) {
    static const uint8_t width[] = {4, 2, 1, 1, 4, 2, 1};
    return (uint64_t)s->rows * s->cols * width[bnnc_export_dtype(s)];
}

BNNC_COLD uint64_t bnnc_export_header(bnnc_text *t) {
    static const char *const names[] = {"F32", "F16", "I8", "U8", "I32", "I16", "I8"};
    uint64_t at = 0;
    bnnc_put(t, "{\"__metadata__\":{\"net\":%q,\"hash\":%q}", NET.name, NET.hash);
    for (uint32_t k = 0; k < NET.n_state; k++) {
        const bnnc_state *s = &NET.state[k];
        if (!s->exported) continue;
        bnnc_put(t, ",%q:{\"dtype\":%q,\"shape\":[", s->name, names[bnnc_export_dtype(s)]);
        if (s->rows > 1) bnnc_put(t, "%u,", s->rows);
        bnnc_put(t, "%u],\"data_offsets\":[%U,%U]}", s->cols, at, at + bnnc_export_bytes(s));
        at += bnnc_export_bytes(s);
    }
    bnnc_putc(t, '}');
    return at;
}

BNNC_COLD void bnnc_export(const char *path) {
    char temp[BNNC_PATH_MAX], line[256];
    bnnc_text name = {temp, sizeof temp, 0, -1}, t = {line, sizeof line, 0, -1};
    BNNC_STATES_READ();
    bnnc_put(&name, "%s.tmp", path);
    int fd = bnnc_open(bnnc_cstr(&name), BNNC_CREATE), r = fd;
    if (fd >= 0) {
        uint64_t length = 0;
        t.fd = fd;
        r = bnnc_write_all(fd, &length, 8); /* unknown yet: the header is written first, then measured */
        bnnc_export_header(&t);
        bnnc_flush(&t);
        while (bnnc_size(fd) % 8) bnnc_putc(&t, ' '), bnnc_flush(&t); /* the format wants the data aligned */
        length = (uint64_t)bnnc_size(fd) - 8;
        if (r == 0) r = bnnc_write_at(fd, &length, 8, 0);
        for (uint32_t k = 0; k < NET.n_state && r == 0; k++) {
            const bnnc_state *s = &NET.state[k];
            if (!s->exported) continue;
            if (s->dtype != BNNC_BIT && !BNNC_STANDS_FOR_REAL(s)) {
                r = bnnc_write_all(fd, bnnc_arena + s->offset, bnnc_export_bytes(s));
                continue;
            }
            for (uint32_t i = 0; i < s->rows; i++)
                for (uint32_t c = 0; c < s->cols; c++) {
                    if (!BNNC_STANDS_FOR_REAL(s)) {
                        bnnc_putc(&t, (char)(bnnc_state_bit(s, i, c) ? 1 : 255)); /* -1 as I8 */
                        continue;
                    }
                    const uint8_t n = bnnc_arena[s->offset + (uint64_t)i * s->cols + c];
                    const float v = ((float)(n < 128 ? n : n - 256) + 0.5f) * BNNC_STEP;
                    char raw[4];
                    memcpy(raw, &v, 4);
                    for (int b = 0; b < 4; b++) bnnc_putc(&t, raw[b]);
                }
            bnnc_flush(&t);
        }
        if (r == 0 && bnnc_size(fd) < 8) r = -BNNC_EIO;
        if (r == 0) r = bnnc_fsync(fd);
        bnnc_close(fd);
        if (r == 0) r = bnnc_rename(temp, path);
        uint32_t slash = name.n; /* the folder that holds it */
        while (slash && temp[slash - 1] != '/') slash--;
        temp[slash] = 0;
        if (r == 0) r = bnnc_sync_folder(slash ? temp : ".");
    }
    if (r < 0) bnnc_fail(BNNC_E_DATA, "cannot export to %s: %s", path, bnnc_errname(r));
}

/* ---- init ---- */
typedef struct {
    const char *path;
    int fd;
    uint64_t pos, end, size; /* in the header; of the file */
    uint32_t buf_n, buf_pos;
    uint8_t buf[256];
} bnnc_json;

BNNC_COLD _Noreturn void bnnc_json_fail(const bnnc_json *j, const char *why) {
    bnnc_fail(BNNC_E_DATA, "%s: %s\n  hint: --init takes a .safetensors file, such as --export writes", j->path, why);
}

BNNC_COLD int bnnc_json_peek(bnnc_json *j) { /* the next character, or -1 at the header's end */
    if (j->buf_pos == j->buf_n) {
        uint64_t left = j->end - j->pos;
        int64_t r = left ? bnnc_read_at(j->fd, j->buf, left < sizeof j->buf ? left : sizeof j->buf, j->pos) : 0;
        if (r <= 0) return -1;
        j->pos += (uint64_t)r, j->buf_n = (uint32_t)r, j->buf_pos = 0;
    }
    return j->buf[j->buf_pos];
}

/* The next character that is not blank, taken. */
BNNC_COLD int bnnc_json_next(bnnc_json *j) {
    int c;
    do c = bnnc_json_peek(j), j->buf_pos += c >= 0;
    while (c == ' ' || c == '\n' || c == '\t' || c == '\r');
    return c;
}

BNNC_COLD void bnnc_json_want(bnnc_json *j, int c) {
    if (bnnc_json_next(j) != c) bnnc_json_fail(j, "a damaged header");
}

/* A string, after its opening quote; what does not fit in `cap` is an error unless `cap` is 0 (skip it). */
BNNC_COLD void bnnc_json_string(bnnc_json *j, char *out, uint32_t cap) {
    uint32_t n = 0;
    for (;;) {
        int c = bnnc_json_peek(j);
        if (c < 0) bnnc_json_fail(j, "a damaged header");
        j->buf_pos++;
        if (c == '"') break;
        if (c == '\\') { /* names of states need no escapes; in metadata they are skipped */
            if (cap || bnnc_json_peek(j) < 0) bnnc_json_fail(j, "a name with an escape in it");
            j->buf_pos++;
            continue;
        }
        if (cap && n + 1 >= cap) bnnc_json_fail(j, "a name of more than 127 bytes");
        if (cap) out[n++] = (char)c;
    }
    if (cap) out[n] = 0;
}

BNNC_COLD uint64_t bnnc_json_number(bnnc_json *j) {
    uint64_t v = 0;
    int c = bnnc_json_next(j), digits = 0;
    for (; c >= '0' && c <= '9'; digits++) {
        v = v * 10 + (uint64_t)(c - '0');
        c = bnnc_json_peek(j);
        if (digits > 17 || c < 0) bnnc_json_fail(j, "a damaged header");
        j->buf_pos++;
    }
    if (!digits) bnnc_json_fail(j, "a damaged header");
    j->buf_pos--; /* the character after the number: it came from this buffer */
    return v;
}

typedef struct {
    char name[128], dtype[8];
    uint64_t dims[8], begin, end;
    uint32_t ndim;
} bnnc_tensor;

/* The object of one tensor, after its name and colon. */
BNNC_COLD void bnnc_json_tensor(bnnc_json *j, bnnc_tensor *t) {
    char key[16];
    int seen = 0, c;
    t->ndim = 0;
    bnnc_json_want(j, '{');
    do {
        bnnc_json_want(j, '"');
        bnnc_json_string(j, key, sizeof key);
        bnnc_json_want(j, ':');
        if (bnnc_streq(key, "dtype")) {
            bnnc_json_want(j, '"');
            bnnc_json_string(j, t->dtype, sizeof t->dtype);
            seen |= 1;
        } else if (bnnc_streq(key, "shape")) {
            bnnc_json_want(j, '[');
            while (bnnc_json_peek(j) == ' ') j->buf_pos++;
            if (bnnc_json_peek(j) == ']')
                bnnc_json_next(j);
            else
                do {
                    if (t->ndim == 8) bnnc_json_fail(j, "a tensor of more than 8 dimensions");
                    t->dims[t->ndim++] = bnnc_json_number(j);
                    c = bnnc_json_next(j);
                    if (c != ',' && c != ']') bnnc_json_fail(j, "a damaged header");
                } while (c == ',');
            seen |= 2;
        } else if (bnnc_streq(key, "data_offsets")) {
            bnnc_json_want(j, '[');
            t->begin = bnnc_json_number(j);
            bnnc_json_want(j, ',');
            t->end = bnnc_json_number(j);
            bnnc_json_want(j, ']');
            seen |= 4;
        } else
            bnnc_json_fail(j, "an unknown field in the header");
        c = bnnc_json_next(j);
    } while (c == ',');
    if (c != '}' || seen != 7) bnnc_json_fail(j, "a damaged header");
}

/* Reads one tensor's data into its state, converting. */
BNNC_COLD void bnnc_init_state(const bnnc_json *j, const bnnc_state *s, const bnnc_tensor *t) {
    const uint32_t width = bnnc_streq(t->dtype, "F32") || bnnc_streq(t->dtype, "I32")   ? 4
                           : bnnc_streq(t->dtype, "F16") || bnnc_streq(t->dtype, "I16") ? 2
                           : bnnc_streq(t->dtype, "I8") || bnnc_streq(t->dtype, "U8")   ? 1
                                                                                        : 0;
    const bool number = s->dtype == BNNC_F32 || s->dtype == BNNC_F16;
    const bool whole = bnnc_state_whole(s), real = BNNC_STANDS_FOR_REAL(s) && t->dtype[0] == 'F';
    const bnnc_range range = bnnc_state_range(s);
    uint64_t rest = 1, count = (uint64_t)s->rows * s->cols;
    if (!width)
        bnnc_fail(BNNC_E_DATA, "%s: tensor %s has type %s, expected %s", j->path, t->name, t->dtype,
                  whole && !BNNC_STANDS_FOR_REAL(s) ? "I8, I16 or I32\n  hint: tensor.int()"
                                                    : "F32 or F16\n  hint: tensor.float()");
    for (uint32_t i = 0; i < t->ndim; i++)
        rest = rest > UINT32_MAX || t->dims[i] > UINT32_MAX ? UINT64_MAX : rest * t->dims[i];
    /* (rows, anything with cols values in all), or a vector */
    bool shape_ok = rest == count && (s->rows == 1 || s->cols == 1 || (t->ndim > 1 && t->dims[0] == s->rows));
    if (!shape_ok)
        bnnc_fail(BNNC_E_DATA,
                  "%s: tensor %s has %U values in %u dimensions, expected shape [%u, %u]\n"
                  "  hint: was it exported from another network?",
                  j->path, t->name, rest, t->ndim, s->rows, s->cols);
    if (t->end < t->begin || t->end - t->begin != count * width || t->end > j->size - j->end)
        bnnc_json_fail(j, "truncated, or a header that contradicts itself");
    if (bnnc_state_kept(s)) return;
    uint64_t off = j->end + t->begin, i = 0;
    for (uint32_t r = 0; r < s->rows; r++)
        for (uint32_t c = 0; c < s->cols; c++, i++) {
            const uint32_t in_buffer = (uint32_t)(i % (sizeof bnnc_io / 4));
            if (!in_buffer) {
                uint64_t n = (count - i < sizeof bnnc_io / 4 ? count - i : sizeof bnnc_io / 4) * width;
                if (bnnc_read_at(j->fd, bnnc_io, n, off) != (int64_t)n) bnnc_json_fail(j, "it cannot be read");
                off += n;
            }
            const uint8_t *p = bnnc_io + (uint64_t)in_buffer * width;
            double v;
            int32_t n;
            int16_t n16;
            float f;
            memcpy(&n, p, 4); /* a quarter of bnnc_io's size is used as a count: four bytes are there */
            memcpy(&n16, p, 2);
            memcpy(&f, p, 4);
            if (width == 1)
                v = t->dtype[0] == 'U' || p[0] < 128 ? p[0] : p[0] - 256;
            else if (t->dtype[0] == 'I')
                v = width == 2 ? n16 : n;
            else
                v = (double)(width == 2 ? bnnc_half_to_f32((uint16_t)n16) : f);
            if (number && t->dtype[0] != 'F' && v * v > 1)
                bnnc_fail(BNNC_E_DATA,
                          "%s: tensor %s holds %g in whole numbers, whose step is not in the file\n"
                          "  hint: a network with `state = i8` reads them, and exports numbers",
                          j->path, t->name, v);
            if (real) { /* rounded down: n stands for the middle between n and n + 1 */
                v /= (double)BNNC_STEP;
                v = v < range.least ? range.least : v > range.most ? range.most : v; /* what is no number stays none */
                if (v >= range.least) v = (double)(int32_t)v > v ? (double)(int32_t)v - 1 : (double)(int32_t)v;
            }
            if (whole && !(v >= range.least && v <= range.most && (double)(int32_t)v >= v && (double)(int32_t)v <= v))
                bnnc_fail(BNNC_E_DATA,
                          real ? "%s: tensor %s holds %g, expected numbers\n  hint: did its training go astray?"
                               : "%s: tensor %s holds %g, expected whole numbers from %d to %d\n"
                                 "  hint: was it exported from another network, or with other `bits`?",
                          j->path, t->name, v, range.least, range.most);
            bnnc_state_set(s, r, c, v);
        }
}

BNNC_COLD void bnnc_init_from(const char *path) {
    static uint32_t seen[8]; /* one bit a state; a network of more than 256 is refused below */
    static bnnc_json j;
    static bnnc_tensor t;
    uint64_t length = 0;
    j.path = path, j.buf_n = j.buf_pos = 0;
    j.fd = bnnc_open(path, BNNC_READ);
    if (j.fd < 0) bnnc_fail(BNNC_E_DATA, "cannot open %s: %s", path, bnnc_errname(j.fd));
    int64_t size = bnnc_size(j.fd);
    if (size < 8 || bnnc_read_at(j.fd, &length, 8, 0) != 8 || length > (uint64_t)size - 8)
        bnnc_json_fail(&j, "not a safetensors file");
    if (NET.n_state > 256)
        bnnc_fail(BNNC_E_INTERNAL, "--init is limited to 256 tensors, this network has %u", NET.n_state);
    j.pos = 8, j.end = 8 + length, j.size = (uint64_t)size;
    bnnc_json_want(&j, '{');
    for (int c = ','; c == ',';) {
        c = bnnc_json_next(&j);
        if (c == '}') break; /* no tensor at all */
        if (c != '"') bnnc_json_fail(&j, "a damaged header");
        bnnc_json_string(&j, t.name, sizeof t.name);
        bnnc_json_want(&j, ':');
        if (bnnc_streq(t.name, "__metadata__")) { /* one flat object of strings */
            bnnc_json_want(&j, '{');
            while ((c = bnnc_json_next(&j)) != '}') {
                if (c == '"')
                    bnnc_json_string(&j, NULL, 0);
                else if (c != ':' && c != ',')
                    bnnc_json_fail(&j, "a damaged header");
            }
        } else {
            uint32_t k = 0;
            bnnc_json_tensor(&j, &t);
            while (k < NET.n_state && !bnnc_streq(NET.state[k].name, t.name)) k++;
            if (k == NET.n_state)
                bnnc_fail(BNNC_E_DATA, "%s: the network has no tensor named %s\n  hint: `info` lists the names", path,
                          t.name);
            bnnc_init_state(&j, &NET.state[k], &t);
            seen[k / 32] |= 1u << k % 32;
        }
        c = bnnc_json_next(&j);
        if (c != ',' && c != '}') bnnc_json_fail(&j, "a damaged header");
    }
    bnnc_close(j.fd);
    for (uint32_t k = 0; k < NET.n_state; k++)
        if (NET.state[k].exported && !(seen[k / 32] >> k % 32 & 1))
            bnnc_fail(BNNC_E_DATA, "%s: tensor %s is missing\n  hint: `info` lists the names", path, NET.state[k].name);
}

#endif

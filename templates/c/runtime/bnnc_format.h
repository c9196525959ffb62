/* bnnc_format.h: recognises a data file by its first bytes: idx (MNIST), NPY, bnnc's own .bnnd; each also inside gzip; and
 * by its name and size CIFAR-10's .bin.
 *
 * bnnc_describe fills a bnnc_file or ends the process with exit code 5 and the reason. Only u8 idx; NPY in C order with
 * little-endian integers (1 to 8 bytes, labels) or u1 / <f4 (samples). The header of .bnnd is described at bnnc_bnnd.
 */
#ifndef BNNC_FORMAT_H
#define BNNC_FORMAT_H
#include "bnnc_fmt.h"
#include "bnnc_inflate.h"
#include "bnnc_net.h"

enum { BNNC_IDX, BNNC_NPY, BNNC_BNND, BNNC_CIFAR };
enum { BNNC_CIFAR_PLANE = 32 * 32, BNNC_CIFAR_ELEMS = 3 * BNNC_CIFAR_PLANE, BNNC_CIFAR_RECORD = 1 + BNNC_CIFAR_ELEMS };

static const char *const bnnc_kind_names[] = {"u8", "bit", "f32"}; /* as .bnnd counts them */

/* .bnnd: 96 bytes, then n records of payload and one label byte, then the classes' names, a line each. Every field is little-endian and naturally aligned but
 * for none, so the struct is the file. */
typedef struct {
    char magic[8];                   /* "BNNDATA1" */
    uint32_t header_bytes;           /* 96 */
    uint32_t kind;                   /* 0 u8, 1 bit, 2 f32 */
    uint32_t n, elems, record_bytes; /* samples; values of one; bytes of one with its label */
    uint32_t classes, ndim, dims[4];
    uint32_t encoder;                /* 0 none, 1 sign */
    float threshold;                 /* of the encoder */
    uint32_t compression;            /* 0 none, 1 all records are one raw deflate stream */
    uint32_t stored[2];              /* u64: bytes of the payload in the file */
    uint32_t payload_crc;            /* of the records, uncompressed */
    uint32_t n_test;                 /* the last n_test samples are the test split */
    uint32_t source_key;             /* spools: names the source's content and the encoding */
    uint32_t names_bytes, names_crc; /* of the classes' names, behind the payload */
    uint32_t header_crc;             /* of the bytes before it */
} bnnc_bnnd;
_Static_assert(sizeof(bnnc_bnnd) == 96, "the header of .bnnd");
_Static_assert(offsetof(bnnc_bnnd, threshold) == 56 && offsetof(bnnc_bnnd, payload_crc) == 72, "the header of .bnnd");

typedef struct {
    const char *path;
    int fd;
    uint64_t size, data_off; /* of the file; of the first sample after decompression */
    uint8_t format, gzip;
    uint8_t is_float, is_signed, width; /* of one value; width 0: bits */
    uint32_t n, elems;
    bnnc_bnnd bnnd; /* format BNNC_BNND only */
} bnnc_file;

/* Scratch for what is done once with data: the one stream that is open, the sample that is encoded, what fitting counts.
 * Data is only expanded before the first step, when the arena holds nothing yet but the encoder's thresholds; so it lies
 * there, before or behind them, and costs no memory of its own, unless there is too little room (38 KiB and a sample).
 * bnnc_data_done clears it. */
enum {
    BNNC_SCRATCH_NEED = (sizeof(bnnc_inflate) + 7) / 8 * 8 + BNNC_SAMPLE_BYTES,
    BNNC_BEHIND = (BNNC_KEPT_AT + BNNC_KEPT_BYTES + 63) / 64 * 64,
    BNNC_SCRATCH_AT = BNNC_KEPT_AT > sizeof bnnc_arena - BNNC_BEHIND ? 0 : BNNC_BEHIND,
#ifdef BNNC_PREDICTS /* the arena is used between two samples */
    BNNC_SCRATCH_THERE = 0,
#else
    BNNC_SCRATCH_THERE = BNNC_SCRATCH_AT < BNNC_BEHIND ? BNNC_KEPT_AT : sizeof bnnc_arena - BNNC_BEHIND,
#endif
    BNNC_VALUES_AT = (sizeof(bnnc_inflate) + 7) / 8 * 8
};
static _Alignas(8) uint8_t bnnc_own[BNNC_SCRATCH_THERE >= BNNC_SCRATCH_NEED ? 1 : BNNC_SCRATCH_NEED];
#define bnnc_scratch (sizeof bnnc_own == 1 ? bnnc_arena + BNNC_SCRATCH_AT : bnnc_own)
#define bnnc_scratch_bytes ((uint64_t)(sizeof bnnc_own == 1 ? (uint64_t)BNNC_SCRATCH_THERE : sizeof bnnc_own))
#define bnnc_z (*(bnnc_inflate *)(void *)bnnc_scratch)

BNNC_COLD void bnnc_data_done(void) {
    if (sizeof bnnc_own == 1) memset(bnnc_scratch, 0, NET.encoding.rows ? bnnc_scratch_bytes : BNNC_SCRATCH_NEED);
}

/* Ctrl-C while files are read: leave nothing half-written behind. */
BNNC_COLD void bnnc_data_interrupted(void) {
    const int number = atomic_load_explicit(&bnnc_signal, memory_order_relaxed);
    if (!number) return;
    if (bnnc_unfinished) (void)bnnc_unlink(bnnc_unfinished);
    bnnc_exit(128 + number);
}

/* (Re)starts the stream of the file's uncompressed bytes. */
BNNC_COLD void bnnc_stream(const bnnc_file *f) {
    bnnc_inflate_open(&bnnc_z, f->fd, 0, f->size, f->gzip ? BNNC_GZIP : BNNC_PLAIN);
}

/* Exactly n bytes, or the end of the process. */
BNNC_COLD void bnnc_stream_get(const bnnc_file *f, void *dst, uint64_t n) {
    int64_t r = bnnc_inflate_read(&bnnc_z, dst, n);
    bnnc_data_interrupted();
    if (r == (int64_t)n) return;
    if (r < 0) bnnc_fail(BNNC_E_DATA, "%s: %s\n  hint: copy or download the file again", f->path, bnnc_z.error);
    bnnc_fail(BNNC_E_DATA,
              "%s is truncated: its header promises more data than there is\n"
              "  hint: copy or download the file again",
              f->path);
}

BNNC_COLD void bnnc_stream_skip(const bnnc_file *f, uint64_t n) {
    for (uint64_t part; n; n -= part) bnnc_stream_get(f, bnnc_io, part = n < sizeof bnnc_io ? n : sizeof bnnc_io);
}

/* The file's bytes end here, but for names: a stream of its own says so too, and its checksum is right. */
BNNC_COLD void bnnc_stream_end(const bnnc_file *f) {
    uint8_t more;
    if (f->format == BNNC_BNND && !f->bnnd.compression) bnnc_stream_skip(f, f->bnnd.names_bytes);
    if (bnnc_inflate_read(&bnnc_z, &more, 1) != 0)
        bnnc_fail(BNNC_E_DATA, "%s: %s\n  hint: copy or download the file again", f->path,
                  bnnc_z.error ? bnnc_z.error : "more data than its header promises");
}

/* The next record of a CIFAR-10 file (a label, all reds, all greens, all blues) into bnnc_io, as one of .bnnd: pixel by
 * pixel, the label last. */
BNNC_FN void bnnc_next_cifar(const bnnc_file *f) {
    uint8_t plane[BNNC_CIFAR_PLANE];
    bnnc_stream_get(f, bnnc_io + BNNC_CIFAR_ELEMS, 1);
    for (uint32_t c = 0; c < 3; c++) {
        bnnc_stream_get(f, plane, sizeof plane);
        for (uint32_t i = 0; i < sizeof plane; i++) bnnc_io[3 * i + c] = plane[i];
    }
}
_Static_assert(sizeof bnnc_io >= BNNC_CIFAR_RECORD, "a record of CIFAR-10");

/* Its records begin with nothing of their own: the name and the size tell. */
BNNC_COLD bool bnnc_is_cifar(const bnnc_file *f) {
    const uint32_t n = bnnc_strlen(f->path);
    return n >= 4 && !memcmp(f->path + n - 4, ".bin", 4) && f->size && f->size % BNNC_CIFAR_RECORD == 0;
}

BNNC_COLD void bnnc_describe_cifar(bnnc_file *f) {
    if (f->size / BNNC_CIFAR_RECORD > UINT32_MAX)
        bnnc_fail(BNNC_E_DATA, "%s: too many samples for this trainer", f->path);
    f->n = (uint32_t)(f->size / BNNC_CIFAR_RECORD), f->elems = BNNC_CIFAR_ELEMS, f->width = 1;
}

BNNC_COLD void bnnc_describe_idx(bnnc_file *f, const uint8_t *head) {
    uint32_t ndim = head[3];
    uint64_t elems = 1;
    if (head[2] != 8)
        bnnc_fail(BNNC_E_DATA,
                  "%s: an idx file of type 0x%x, expected 0x08 (unsigned bytes)\n"
                  "  hint: convert it to .npy or pack it with `bnnc data pack`",
                  f->path, (uint32_t)head[2]);
    if (ndim < 1 || ndim > 4)
        bnnc_fail(BNNC_E_DATA, "%s: an idx file of %u dimensions, expected 1 to 4", f->path, ndim);
    for (uint32_t i = 0; i < ndim; i++) {
        uint8_t b[4];
        bnnc_stream_get(f, b, 4);
        uint32_t d = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
        if (i == 0)
            f->n = d;
        else
            elems = elems > UINT32_MAX ? elems : elems * d;
    }
    f->elems = elems > UINT32_MAX ? UINT32_MAX : (uint32_t)elems;
    f->width = 1;
    f->data_off = 4 + 4 * ndim;
}

/* Finds 'key': in the header's text; returns what follows, with blanks skipped, or NULL. */
BNNC_COLD const char *bnnc_npy_key(const char *text, const char *key) {
    for (; *text; text++) {
        uint32_t i = 0;
        while (key[i] && text[i] == key[i]) i++;
        if (key[i]) continue;
        for (text += i; *text == ' ' || *text == ':'; text++) {}
        return text;
    }
    return NULL;
}

BNNC_COLD void bnnc_describe_npy(bnnc_file *f) {
    uint8_t head[8]; /* the two bytes of the magic that are left, version, length */
    char *text = (char *)bnnc_io;
    bnnc_stream_get(f, head, 6);
    uint32_t n = head[4] | (uint32_t)head[5] << 8, at = 10;
    if (head[2] > 1) {
        bnnc_stream_get(f, head + 6, 2);
        n |= (uint32_t)head[6] << 16 | (uint32_t)head[7] << 24;
        at = 12;
    }
    if (n > sizeof bnnc_io - 8) bnnc_fail(BNNC_E_DATA, "%s: an .npy header of %u bytes is too long", f->path, n);
    bnnc_stream_get(f, text, n);
    text[n] = 0;
    const char *d = bnnc_npy_key(text, "'descr'"), *o = bnnc_npy_key(text, "'fortran_order'"),
               *s = bnnc_npy_key(text, "'shape'");
    if (!d || !o || !s || *d != '\'' || *s != '(') bnnc_fail(BNNC_E_DATA, "%s: a damaged .npy header", f->path);
    bool order_ok = d[1] == '|' || d[1] == '<', type_ok = d[2] == 'u' || d[2] == 'i' || d[2] == 'f';
    f->is_float = d[2] == 'f';
    f->is_signed = d[2] == 'i';
    f->width = (uint8_t)(type_ok && d[3] ? d[3] - '0' : 0);
    bool width_ok = f->width == 4 || (!f->is_float && (f->width == 1 || f->width == 2 || f->width == 8));
    if (!order_ok || !type_ok || !width_ok || d[4] != '\'' || *o != 'F')
        bnnc_fail(BNNC_E_DATA,
                  "%s: expected little-endian u1 or f4 samples (or integer labels) in C order\n"
                  "  hint: numpy.save(path, numpy.ascontiguousarray(x, dtype='u1'))",
                  f->path);
    uint64_t elems = 1;
    uint32_t ndim = 0;
    for (s++; *s && *s != ')'; ndim++) {
        uint64_t v = 0;
        if (*s < '0' || *s > '9') bnnc_fail(BNNC_E_DATA, "%s: a damaged .npy header", f->path);
        for (; *s >= '0' && *s <= '9'; s++) v = v > UINT32_MAX ? v : v * 10 + (uint64_t)(*s - '0');
        while (*s == ',' || *s == ' ') s++;
        if (v > UINT32_MAX) bnnc_fail(BNNC_E_DATA, "%s: too many samples for this trainer", f->path);
        if (ndim == 0)
            f->n = (uint32_t)v;
        else
            elems = elems > UINT32_MAX ? elems : elems * v;
    }
    if (ndim == 0) bnnc_fail(BNNC_E_DATA, "%s: a single number, expected an array with one row a sample", f->path);
    f->elems = elems > UINT32_MAX ? UINT32_MAX : (uint32_t)elems;
    f->data_off = at + n;
}

BNNC_COLD void bnnc_describe_bnnd(bnnc_file *f, const uint8_t *head) {
    bnnc_bnnd *h = &f->bnnd;
    memcpy(h, head, 4);
    bnnc_stream_get(f, (uint8_t *)h + 4, sizeof *h - 4);
    if (memcmp(h->magic, "BNNDATA1", 8) || h->header_bytes != 96)
        bnnc_fail(BNNC_E_DATA,
                  "%s: not a version of .bnnd that this trainer reads\n  hint: pack it again with `bnnc data pack`",
                  f->path);
    if (bnnc_crc32(0, h, 92) != h->header_crc)
        bnnc_fail(BNNC_E_DATA, "%s: the header is damaged (its checksum does not match)\n  hint: copy the file again",
                  f->path);
    uint64_t elems = h->elems, payload = h->kind == 0 ? elems : h->kind == 1 ? (elems + 7) / 8 : elems * 4;
    if (f->gzip && h->compression)
        bnnc_fail(BNNC_E_DATA, "%s: compressed twice\n  hint: gunzip it; what is inside is compressed already",
                  f->path);
    if (h->kind > 2 || h->compression > 1 || h->encoder > 1 || h->record_bytes != payload + 1 || h->n_test > h->n)
        bnnc_fail(BNNC_E_DATA, "%s: the header contradicts itself\n  hint: pack it again with `bnnc data pack`",
                  f->path);
    f->n = h->n, f->elems = h->elems;
    f->is_float = h->kind == 2, f->width = h->kind == 0 ? 1 : h->kind == 1 ? 0 : 4;
    f->data_off = 96;
}

/* Opens and recognises `path`. `what` is for messages: "training images". */
BNNC_COLD void bnnc_describe(bnnc_file *f, const char *path, const char *what) {
    uint8_t head[4];
    memset(f, 0, sizeof *f);
    f->path = path;
    f->fd = bnnc_open(path, BNNC_READ);
    if (f->fd < 0)
        bnnc_fail(BNNC_E_DATA,
                  "cannot open the %s %s: %s\n  hint: --data FOLDER says where the files are, --train and --test "
                  "name others",
                  what, path, bnnc_errname(f->fd));
    int64_t size = bnnc_size(f->fd), r = bnnc_read_at(f->fd, head, 4, 0);
    if (size < 0 || r < 0)
        bnnc_fail(BNNC_E_DATA, "cannot read the %s %s: %s", what, path, bnnc_errname(r < 0 ? r : size));
    f->size = (uint64_t)size;
    if (bnnc_is_cifar(f)) {
        f->format = BNNC_CIFAR, bnnc_describe_cifar(f);
        return;
    }
    f->gzip = r >= 2 && head[0] == 0x1F && head[1] == 0x8B;
    bnnc_stream(f);
    bnnc_stream_get(f, head, 4);
    if (!memcmp(head, "BNND", 4))
        f->format = BNNC_BNND, bnnc_describe_bnnd(f, head);
    else if (!memcmp(head, "\x93NUM", 4))
        f->format = BNNC_NPY, bnnc_describe_npy(f);
    else if (!head[0] && !head[1])
        f->format = BNNC_IDX, bnnc_describe_idx(f, head);
    else
        bnnc_fail(
            BNNC_E_DATA,
            "%s: neither idx nor .npy nor .bnnd nor CIFAR-10's .bin (it starts with %x)\n"
            "  hint: `bnnc data pack` turns image folders, .npz and .csv into .bnnd; a .bin has records of 3073 bytes",
            path, (uint32_t)head[0] << 24 | (uint32_t)head[1] << 16 | (uint32_t)head[2] << 8 | head[3]);
    if (f->gzip) return; /* the length shows when it is expanded */
    uint64_t expected = f->format != BNNC_BNND ? (uint64_t)f->n * f->elems * f->width
                        : f->bnnd.compression  ? f->bnnd.stored[0] | (uint64_t)f->bnnd.stored[1] << 32
                                               : (uint64_t)f->n * f->bnnd.record_bytes;
    if (f->format == BNNC_BNND) expected += f->bnnd.names_bytes;
    if (f->size - f->data_off != expected)
        bnnc_fail(BNNC_E_DATA,
                  "%s %s: expected %U bytes after the header, found %U\n  hint: copy or download the file again", path,
                  f->size - f->data_off < expected ? "is truncated" : "is too long", expected, f->size - f->data_off);
}

#endif

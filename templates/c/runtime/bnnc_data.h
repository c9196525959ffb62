/* bnnc_data.h: opens files as sets of samples (bnnc_set.h).
 *
 * A file that can be read at random and is encoded as the network wants it is used in place. Anything else (gzip, a
 * compressed .bnnd, bytes for a network of bits, wide labels) is expanded and encoded once, as a stream, into a raw
 * .bnnd in the cache folder: written under another name, synced, renamed. Its header names the source's content, so a
 * later run takes it as it is and a changed source makes a new one. All that can be wrong with the data is found here,
 * before the first step, and ends the process with exit code 5.
 */
#ifndef BNNC_DATA_H
#define BNNC_DATA_H
#ifdef BNNC_CLASSES
#include "bnnc_balance.h"
#endif
#include "bnnc_encode.h"
#include "bnnc_names.h"
#include "bnnc_set.h"

static bool bnnc_labels_optional; /* a file of samples alone will do */

BNNC_COLD void bnnc_check_label(const char *path, uint32_t sample, uint64_t label) {
    if (label >= NET.classes)
        bnnc_fail(BNNC_E_DATA,
                  "%s: sample %u has label %s%U, but the network has %u classes (labels 0 to %u)\n"
                  "  hint: change the number of classes in the spec, or the labels",
                  path, sample, label > INT64_MAX ? "-" : "", label > INT64_MAX ? 0 - label : label, NET.classes,
                  NET.classes - 1);
}

BNNC_COLD _Noreturn void bnnc_damaged(const char *path, const char *more) {
    bnnc_fail(BNNC_E_DATA, "%s is damaged: the checksum of its samples does not match\n  hint: copy the file again%s",
              path, more);
}

/* One integer of the label file, as u64 (a negative one is huge, and refused). */
BNNC_COLD uint64_t bnnc_label_value(const bnnc_file *f, const uint8_t *p) {
    uint64_t v = 0;
    for (uint32_t b = 0; b < f->width; b++) v |= (uint64_t)p[b] << 8 * b;
    if (f->is_signed && f->width < 8 && v >> (8 * f->width - 1)) v |= ~(uint64_t)0 << 8 * f->width;
    return v;
}

/* One pass over a file of labels: each is in range. Where `spool` >= 0, label i also goes to byte i of its record. */
BNNC_COLD void bnnc_scan_labels(const bnnc_file *f, int spool, uint32_t record) {
    uint32_t per_read = (uint32_t)sizeof bnnc_io / f->width;
    bnnc_stream(f);
    bnnc_stream_skip(f, f->data_off);
    for (uint32_t i = 0, m; i < f->n; i += m) {
        m = f->n - i < per_read ? f->n - i : per_read;
        bnnc_stream_get(f, bnnc_io, (uint64_t)m * f->width);
        for (uint32_t j = 0; j < m; j++) {
            uint64_t v = bnnc_label_value(f, bnnc_io + (uint64_t)j * f->width);
            bnnc_check_label(f->path, i + j, v);
            uint8_t byte = (uint8_t)v;
            int r = spool < 0 ? 0 : bnnc_write_at(spool, &byte, 1, 96 + (uint64_t)(i + j + 1) * record - 1);
            if (r < 0)
                bnnc_fail(BNNC_E_DATA, "cannot write the data cache: %s\n  hint: --cache FOLDER", bnnc_errname(r));
        }
    }
    bnnc_stream_end(f);
}

/* One pass over raw records: CRC of all, and each label is in range. */
BNNC_FN uint32_t bnnc_scan_records(const char *path, int fd, uint32_t n, uint32_t record) {
    uint32_t crc = 0, in_record = 0, sample = 0;
    uint64_t left = (uint64_t)n * record, off = 96;
    while (left) {
        uint64_t part = left < sizeof bnnc_io ? left : sizeof bnnc_io;
        int64_t r = bnnc_read_at(fd, bnnc_io, part, off);
        if (r != (int64_t)part)
            bnnc_fail(BNNC_E_DATA, "cannot read %s: %s", path, r < 0 ? bnnc_errname(r) : "it is truncated");
        crc = bnnc_crc32(crc, bnnc_io, part);
        bnnc_data_interrupted();
        for (uint64_t next = record - 1 - in_record; next < part; next += record)
            bnnc_check_label(path, sample++, bnnc_io[next]);
        in_record = (uint32_t)((in_record + part) % record);
        left -= part, off += part;
    }
    return crc;
}

/* ---- the spool ---- */

BNNC_COLD uint32_t bnnc_kind_of(const bnnc_file *a) {
    return a->format == BNNC_BNND ? a->bnnd.kind : a->is_float ? 2 : 0;
}

/* The samples in the file are what a set holds, with nothing to encode. */
BNNC_COLD bool bnnc_as_it_is(const bnnc_file *a) {
    return a->elems == bnnc_set_elems() && bnnc_kind_of(a) == bnnc_set_kind();
}

/* Reads the samples of `a` as a stream and writes their payloads, encoded as the network wants them. */
BNNC_FN void bnnc_spool_payload(const bnnc_file *a, int out, uint32_t record) {
    const bool encode = NET.encoding.how && !bnnc_as_it_is(a); /* else the bytes are taken as they are */
    const bool cifar = a->format == BNNC_CIFAR;
    uint8_t *const bits = (uint8_t *)bnnc_values + (uint64_t)bnnc_raw_elems() * 4;
    bnnc_stream_samples(a);
    for (uint32_t i = 0; i < a->n; i++) {
        uint64_t at = 96 + (uint64_t)i * record;
        if (encode)
            bnnc_next_values(a, i), bnnc_encode_values(bits);
        else if (cifar)
            bnnc_next_cifar(a);
        for (uint32_t left = record - 1, part; left; left -= part, at += part) {
            part = encode || left < sizeof bnnc_io ? left : sizeof bnnc_io;
            if (!encode && !cifar) bnnc_stream_get(a, bnnc_io, part);
            int r = bnnc_write_at(out, encode ? bits : bnnc_io, part, at);
            if (r < 0)
                bnnc_fail(BNNC_E_DATA, "cannot write the data cache: %s\n  hint: --cache FOLDER", bnnc_errname(r));
        }
        if (a->format != BNNC_BNND && !cifar) continue;
        uint8_t label = bnnc_io[BNNC_CIFAR_ELEMS];
        if (!cifar) bnnc_stream_get(a, &label, 1);
        bnnc_raw_crc = bnnc_crc32(bnnc_raw_crc, &label, 1);
        bnnc_check_label(a->path, i, label);
        if (bnnc_write_at(out, &label, 1, at) < 0)
            bnnc_fail(BNNC_E_DATA, "cannot write the data cache\n  hint: --cache FOLDER");
    }
    bnnc_stream_end(a);
    if (encode && a->format == BNNC_BNND && bnnc_raw_crc != a->bnnd.payload_crc) bnnc_damaged(a->path, "");
}

BNNC_FN uint32_t bnnc_file_crc(uint32_t crc, const bnnc_file *f) {
    uint64_t off = 0;
    for (int64_t r; off < f->size; off += (uint64_t)r) {
        r = bnnc_read_at(f->fd, bnnc_io, sizeof bnnc_io, off);
        if (r <= 0) bnnc_fail(BNNC_E_DATA, "cannot read %s: %s", f->path, bnnc_errname(r ? r : BNNC_EIO));
        crc = bnnc_crc32(crc, bnnc_io, (uint64_t)r);
        bnnc_data_interrupted();
    }
    return crc;
}

/* Names the content of the source and the encoding: sizes, bytes, kind, encoder, thresholds. */
BNNC_COLD uint32_t bnnc_source_key(const bnnc_file *a, const bnnc_file *b) {
    const bnnc_encoding *e = &NET.encoding;
    struct {
        uint64_t sizes[2];
        uint32_t kind, elems, classes, shape[2], encoder[6];
        float threshold;
    } what = {{a->size, b ? b->size : 0},
              NET.in_kind,
              bnnc_set_elems(),
              NET.classes,
              {e->steps, e->channels},
              {e->how, e->per, e->pad_odd, e->lengths, e->bits, e->n_onehot},
              e->threshold};
    uint32_t crc = bnnc_crc32(0, &what, sizeof what);
    if (e->n_onehot) crc = bnnc_crc32(crc, e->onehot, e->n_onehot * 8);
    if (e->rows) crc = bnnc_crc32(crc, bnnc_arena + e->at, (uint64_t)e->rows * e->cols * 4);
    crc = bnnc_file_crc(crc, a);
    return b ? bnnc_file_crc(crc, b) : crc;
}

/* Makes, or finds, the spool of a (samples) and b (labels; NULL where a has both, or there are none: 0). On return *a is the spool. */
BNNC_COLD void bnnc_spool(bnnc_file *a, bnnc_file *b, const char *role, const char *cache, bool quiet, char *path) {
    char temp[BNNC_PATH_MAX];
    bnnc_text t = {path, BNNC_PATH_MAX, 0, -1}, u = {temp, BNNC_PATH_MAX, 0, -1};
    const uint32_t kind = bnnc_set_kind(), record = bnnc_set_bytes() + 1, key = bnnc_source_key(a, b);
    bnnc_bnnd h;
    bnnc_put(&t, "%s/%s.%s.bnnd", cache, role, bnnc_kind_names[kind]);
    bnnc_put(&u, "%s.%d", bnnc_cstr(&t), bnnc_pid()); /* two trainers may share the folder */
    (void)bnnc_cstr(&u);
    int fd = bnnc_open(path, BNNC_READ);
    if (fd >= 0) {
        bool same = bnnc_read_at(fd, &h, sizeof h, 0) == sizeof h && !memcmp(h.magic, "BNNDATA1", 8) &&
                    h.source_key == key && bnnc_crc32(0, &h, 92) == h.header_crc &&
                    bnnc_size(fd) == (int64_t)(96 + (uint64_t)h.n * h.record_bytes);
        bnnc_close(fd);
        if (same) {
            bnnc_describe(a, path, "data cache");
            return;
        }
    }
    int r = bnnc_make_folders(cache);
    int out = r < 0 ? r : bnnc_open(temp, BNNC_CREATE);
    if (out < 0)
        bnnc_fail(BNNC_E_DATA, "cannot write the data cache %s: %s\n  hint: --cache FOLDER", path, bnnc_errname(out));
    bnnc_unfinished = temp;
    if (!quiet) bnnc_say(1, "expanding %s into %s (once)\n", a->path, path);
    if (b)
        bnnc_scan_labels(b, out, record);
    else if (a->format != BNNC_BNND && a->format != BNNC_CIFAR &&
             (r = bnnc_truncate(out, 96 + (uint64_t)a->n * record)) < 0)
        bnnc_fail(BNNC_E_DATA, "cannot write the data cache %s: %s\n  hint: --cache FOLDER", path,
                  bnnc_errname(r)); /* zeros: labels */
    memset(&h, 0, sizeof h);
    memcpy(h.magic, "BNNDATA1", 8);
    h.header_bytes = 96, h.kind = kind, h.n = a->n, h.elems = bnnc_set_elems(), h.record_bytes = record;
    h.classes = NET.classes, h.ndim = 1, h.dims[0] = bnnc_set_elems();
    const bool sign = NET.encoding.how == BNNC_SIGN && !bnnc_as_it_is(a);
    h.encoder = sign ? 1 : a->bnnd.encoder, h.threshold = sign ? NET.encoding.threshold : a->bnnd.threshold;
    h.n_test = a->bnnd.n_test, h.source_key = key;
    h.stored[0] = (uint32_t)((uint64_t)h.n * record), h.stored[1] = (uint32_t)((uint64_t)h.n * record >> 32);
    bnnc_spool_payload(a, out, record);
    bnnc_close(out);
    out = bnnc_open(temp, BNNC_UPDATE);
    if (out < 0) bnnc_fail(BNNC_E_DATA, "cannot open the data cache %s: %s", temp, bnnc_errname(out));
    h.payload_crc = bnnc_scan_records(temp, out, h.n, record);
    if (a->format == BNNC_BNND && bnnc_as_it_is(a) && h.payload_crc != a->bnnd.payload_crc) bnnc_damaged(a->path, "");
    h.header_crc = bnnc_crc32(0, &h, 92);
    if ((r = bnnc_write_at(out, &h, sizeof h, 0)) < 0 || (r = bnnc_fsync(out)) < 0 || (r = bnnc_rename(temp, path)) < 0)
        bnnc_fail(BNNC_E_DATA, "cannot write the data cache %s: %s\n  hint: --cache FOLDER", path, bnnc_errname(r));
    bnnc_unfinished = NULL;
    (void)bnnc_sync_folder(cache);
    bnnc_close(out);
    bnnc_close(a->fd);
    bnnc_describe(a, path, "data cache");
}

/* ---- opening ---- */

BNNC_COLD void bnnc_check_samples(const bnnc_file *a) {
    const uint32_t how = NET.encoding.how, have = bnnc_kind_of(a);
    const bool raw = !bnnc_as_it_is(a) && how != 0 && (have != 1 || how == BNNC_PAD); /* to be encoded */
    const uint32_t want = raw ? bnnc_kind_as_bnnd(NET.encoding.in_kind) : bnnc_set_kind(),
                   elems = raw ? bnnc_raw_elems() : bnnc_set_elems();
    if (a->elems != elems)
        bnnc_fail(BNNC_E_DATA,
                  "%s: expected %u values in a sample, found %u\n  hint: the `input` line of the spec gives the shape",
                  a->path, elems, a->elems);
    if (a->format == BNNC_NPY && !(a->is_float || (a->width == 1 && !a->is_signed)))
        bnnc_fail(BNNC_E_DATA, "%s: samples must be u1 or f4, found %s%d\n  hint: x.astype('u1') or x.astype('f4')",
                  a->path, a->is_signed ? "i" : "u", (int)a->width);
    if (want != have && !(raw && how == BNNC_SIGN && !BNNC_ENCODED_LATE))
        bnnc_fail(BNNC_E_DATA,
                  "%s: the network takes %s samples, found %s\n  hint: the `input` line of the spec gives the type",
                  a->path, bnnc_kind_names[want], bnnc_kind_names[have]);
    if (how == BNNC_SIGN && have == 1 && a->bnnd.encoder == 1 &&
        (a->bnnd.threshold < NET.encoding.threshold || a->bnnd.threshold > NET.encoding.threshold))
        bnnc_fail(BNNC_E_DATA,
                  "%s: packed with threshold %g, but the network was compiled for %g\n"
                  "  hint: pack it again with the network's threshold, or change the spec",
                  a->path, (double)a->bnnd.threshold, (double)NET.encoding.threshold);
}

/* Opens images (and labels, "" where one file has both) as `set`. Where the file has a test split and `test` is not
 * NULL, it goes there; `path` is room for the spool's name, and must live as long as the sets. */
BNNC_COLD void bnnc_data_open(bnnc_set *set, bnnc_set *test, const char *role, const char *images, const char *labels,
                              const char *cache, bool quiet, char *path) {
    static const char hint[] = "  hint: --train IMAGES,LABELS";
    bnnc_file a, b;
    bnnc_describe(&a, images, bnnc_streq(role, "train") ? "training samples" : "test samples");
    bnnc_check_samples(&a);
    bnnc_names_of(&a);
    const bool same = bnnc_as_it_is(&a);
    bool direct = !a.gzip && same;
    if ((!same || BNNC_ENCODED_LATE) && NET.encoding.rows > 0 && !bnnc_fitted)
        bnnc_fit(&a, a.n - (test ? a.bnnd.n_test : 0), quiet);
    if (a.format == BNNC_BNND) {
        direct = !a.gzip && same && !a.bnnd.compression;
        if (!direct) bnnc_spool(&a, NULL, role, cache, quiet, path);
    } else if (a.format == BNNC_CIFAR) {
        bnnc_spool(&a, NULL, role, cache, quiet, path);
    } else {
        const bool labelled = *labels != 0;
        if (!labelled && !bnnc_labels_optional)
            bnnc_fail(BNNC_E_DATA, "%s has no labels, and no file of labels was given\n%s", images, hint);
        if (labelled) {
            bnnc_describe(&b, labels, "labels");
            if (b.format == BNNC_BNND || b.elems != 1 || b.is_float)
                bnnc_fail(BNNC_E_DATA, "%s: expected a list of integer labels, found %u values a sample\n%s", labels,
                          b.elems, hint);
            if (b.n != a.n)
                bnnc_fail(BNNC_E_DATA, "%s has %u samples, but %s has %u labels\n%s", images, a.n, labels, b.n, hint);
        }
        if (direct && (!labelled || (!b.gzip && b.width == 1))) {
            if (labelled) bnnc_scan_labels(&b, -1, 0);
            *set = (bnnc_set){a.fd,
                              labelled ? b.fd : -1,
                              a.data_off,
                              labelled ? b.data_off : 0,
                              bnnc_set_bytes(),
                              1,
                              bnnc_set_bytes(),
                              a.n,
                              images};
            return;
        }
        bnnc_spool(&a, labelled ? &b : NULL, labelled ? role : "samples", cache, quiet, path);
        if (labelled) bnnc_close(b.fd);
    }
    const uint32_t record = a.bnnd.record_bytes, n_fit = a.bnnd.n - (test ? a.bnnd.n_test : 0);
    if (bnnc_scan_records(a.path, a.fd, a.bnnd.n, record) != a.bnnd.payload_crc)
        bnnc_damaged(a.path, "; if it is the data cache, delete it");
    *set = (bnnc_set){a.fd, a.fd, 96, 96 + record - 1, record, record, record - 1, n_fit, a.path};
    if (test && a.bnnd.n_test) {
        *test = *set;
        test->x_off += (uint64_t)n_fit * record;
        test->y_off += (uint64_t)n_fit * record;
        test->n = a.bnnd.n_test;
    }
}

#endif

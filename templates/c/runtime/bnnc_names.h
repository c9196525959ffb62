/* bnnc_names.h: what classes are called. A .bnnd file may say so; the names of the training file go beside the
 * checkpoints, into classes.txt, a line each. They are read where a class is named, and take no memory. */
#ifndef BNNC_NAMES_H
#define BNNC_NAMES_H
#include "bnnc_format.h"

enum { BNNC_NAME_MAX = 200 };
static struct {
    int fd;
    uint64_t at, end; /* the bytes of the file that are names; 0 and 0: none are known */
} bnnc_names;

/* Those that a described file brings, where none are known yet. */
BNNC_COLD void bnnc_names_of(const bnnc_file *f) {
    const uint64_t n = f->format == BNNC_BNND && !f->gzip ? f->bnnd.names_bytes : 0;
    uint32_t crc = 0;
    if (!n || bnnc_names.end) return;
    bnnc_names.fd = bnnc_open(f->path, BNNC_READ); /* of its own: the other is closed where the samples are expanded */
    bnnc_names.at = f->size - n, bnnc_names.end = f->size;
    for (uint64_t at = bnnc_names.at, part; at < f->size; at += part) {
        part = f->size - at < sizeof bnnc_io ? f->size - at : sizeof bnnc_io;
        (void)bnnc_read_at(bnnc_names.fd, bnnc_io, part, at);
        crc = bnnc_crc32(crc, bnnc_io, part);
    }
    if (crc != f->bnnd.names_crc)
        bnnc_fail(BNNC_E_DATA,
                  "%s is damaged: the checksum of its classes' names does not match\n  hint: copy the file again",
                  f->path);
}

BNNC_COLD void bnnc_names_path(char *path, const char *folder) {
    bnnc_text t = {path, BNNC_PATH_MAX, 0, -1};
    bnnc_put(&t, "%s/classes.txt", folder);
    (void)bnnc_cstr(&t);
}

/* Those that a training run left in its folder. */
BNNC_COLD void bnnc_names_in(const char *folder) {
    char path[BNNC_PATH_MAX];
    bnnc_names_path(path, folder);
    const int fd = bnnc_open(path, BNNC_READ);
    const int64_t size = fd < 0 ? 0 : bnnc_size(fd);
    if (size <= 0) return;
    bnnc_names.fd = fd, bnnc_names.at = 0, bnnc_names.end = (uint64_t)size;
}

/* Leaves the known ones in a folder: whole, or as it was. */
BNNC_COLD void bnnc_names_keep(const char *folder) {
    char path[BNNC_PATH_MAX], temp[BNNC_PATH_MAX];
    bnnc_text t = {temp, BNNC_PATH_MAX, 0, -1};
    int r = 0;
    bnnc_names_path(path, folder);
    bnnc_put(&t, "%s.%d", path, bnnc_pid());
    (void)bnnc_cstr(&t);
    if (!bnnc_names.end) {
        (void)bnnc_unlink(path);
        return;
    }
    const int out = bnnc_open(bnnc_unfinished = temp, BNNC_CREATE);
    for (uint64_t at = bnnc_names.at, part; out >= 0 && r >= 0 && at < bnnc_names.end; at += part) {
        part = bnnc_names.end - at < sizeof bnnc_io ? bnnc_names.end - at : sizeof bnnc_io;
        r = bnnc_read_at(bnnc_names.fd, bnnc_io, part, at) == (int64_t)part
                ? bnnc_write_at(out, bnnc_io, part, at - bnnc_names.at)
                : -BNNC_EIO;
    }
    if (out < 0 || r < 0 || (r = bnnc_fsync(out)) < 0 || (r = bnnc_rename(temp, path)) < 0)
        bnnc_fail(BNNC_E_CHECKPOINT, "cannot write %s: %s\n  hint: --out FOLDER", path,
                  bnnc_errname(out < 0 ? out : r));
    bnnc_unfinished = NULL;
    bnnc_close(out);
    (void)bnnc_sync_folder(folder);
}

/* The name of class k, or its number; `out` has room for BNNC_NAME_MAX + 1 bytes. False: it is the number. */
BNNC_COLD bool bnnc_class_name(uint32_t k, char *out) {
    bnnc_text t = {out, BNNC_NAME_MAX + 1, 0, -1};
#ifdef BNNC_CLASS_NAMES /* those of a network that only predicts are constants */
    bnnc_puts(&t, BNNC_CLASS_NAMES[k]);
    (void)bnnc_cstr(&t);
    return true;
#else
    char part[128];
    uint32_t left = k;
    for (uint64_t at = bnnc_names.at; at < bnnc_names.end;) {
        const uint64_t n = bnnc_names.end - at < sizeof part ? bnnc_names.end - at : sizeof part;
        if (bnnc_read_at(bnnc_names.fd, part, n, at) != (int64_t)n) break;
        for (uint64_t i = 0; i < n; i++) {
            if (part[i] != '\n' && !left)
                bnnc_putc(&t, part[i]);
            else if (part[i] == '\n' && !left--) {
                (void)bnnc_cstr(&t);
                return true;
            }
        }
        at += n;
    }
    t.n = 0;
    bnnc_put(&t, "%u", k);
    (void)bnnc_cstr(&t);
    return false;
#endif
}

#endif

/* bnnc_set.h: a set of samples, read from disk one record at a time; the data is never resident. */
#ifndef BNNC_SET_H
#define BNNC_SET_H
#include "bnnc_fmt.h"
#include "bnnc_sample.h"
#ifdef BNNC_AUGMENT_ROWS
#include "bnnc_seen.h"
#endif

typedef struct {
    int fd, label_fd; /* the same file where a record holds both; label_fd -1: without labels, 0 takes their place */
    uint64_t x_off, y_off;   /* of sample 0 */
    uint32_t x_step, y_step; /* bytes from one sample to the next */
    uint32_t x_bytes, n;     /* of one sample in the file; number of samples, 0: there is no such set */
    const char *path;
} bnnc_set;

/* Sample i into a row of the batch buffer, and its label. False would end the step, but here the process ends. */
BNNC_FN bool bnnc_set_read(const bnnc_set *s, uint32_t i, uint8_t *row, uint8_t *label) {
    int64_t r;
#ifdef BNNC_AUGMENT_ROWS
    uint8_t *const seen = row;
    row = bnnc_read_row;
#endif
    if (s->fd == s->label_fd)
        r = bnnc_read2_at(s->fd, row, s->x_bytes, label, 1, s->x_off + (uint64_t)i * s->x_step);
    else {
        r = bnnc_read_at(s->fd, row, s->x_bytes, s->x_off + (uint64_t)i * s->x_step);
        if (s->label_fd < 0)
            *label = 0, r += r == s->x_bytes;
        else if (r == s->x_bytes)
            r += bnnc_read_at(s->label_fd, label, 1, s->y_off + (uint64_t)i * s->y_step);
    }
    if (r != (int64_t)s->x_bytes + 1 || *label >= NET.classes)
        bnnc_fail(BNNC_E_DATA, "cannot read sample %u of %s: %s\n  hint: leave data files alone while training", i,
                  s->path, r < 0 ? bnnc_errname(r) : "the file has changed");
#ifdef BNNC_AUGMENT_ROWS
    row = seen;
    if (!bnnc_see(row)) bnnc_fail(BNNC_E_DATA, "%s: sample %u holds a number that is not finite", s->path, i);
#endif
    bnnc_pad_row(row);
    return true;
}

#endif

/* bnnc_store.h: checkpoints that survive a power cut at any write.
 *
 * Two slots, written in turn. A save writes the payload, syncs, and only then the header (one write of 64 bytes, in a
 * sector of its own), and syncs again; so a cut leaves either the old header, whose CRC does not fit a half-written
 * payload, or the new one. The other slot is not touched. Boot takes the valid slot with the highest generation.
 *
 * Slots are reached through four functions, so that a test can put a failing medium in the place of a file.
 */
#ifndef BNNC_STORE_H
#define BNNC_STORE_H
#include "bnnc_crc.h"

typedef struct {
    int64_t (*read)(void *ctx, void *dst, uint64_t n, uint64_t off);    /* bytes read, fewer at the end; or -errno */
    int (*write)(void *ctx, const void *src, uint64_t n, uint64_t off); /* all, 0; or -errno */
    int (*sync)(void *ctx); /* what was written is on the medium; or -errno */
    int64_t (*size)(void *ctx);
    void *ctx;
} bnnc_store;

typedef struct {
    void *p;
    uint64_t n;
} bnnc_span; /* of bytes; the payload is two, end to end */

typedef struct {
    char magic[8]; /* "BNNCKPT1" */
    uint32_t version, header_bytes;
    char hash[16];       /* of the spec: not the same layout, not the same checkpoint */
    uint64_t generation; /* 1, 2, ... */
    uint64_t length;     /* bytes of the payload, from offset BNNC_PAYLOAD */
    uint32_t payload_crc, zero[2], header_crc;
} bnnc_slot_header;
_Static_assert(sizeof(bnnc_slot_header) == 64, "the header of a checkpoint");
enum { BNNC_PAYLOAD = 512, BNNC_CKPT_VERSION = 1 };

enum {
    BNNC_SLOT_EMPTY,
    BNNC_SLOT_TORN /* no whole header: a save that did not end */,
    BNNC_SLOT_DAMAGED /* a whole header over another payload */,
    BNNC_SLOT_FOREIGN /* another spec's */,
    BNNC_SLOT_VALID
};

/* What a slot holds; its header too, where it is foreign or valid. */
BNNC_COLD int bnnc_slot_look(const bnnc_store *s, const char *hash, uint64_t length, bnnc_slot_header *h) {
    uint32_t crc = 0;
    int64_t r = s->size(s->ctx);
    memset(h, 0, sizeof *h);
    if (r <= 0) return BNNC_SLOT_EMPTY;
    r = s->read(s->ctx, h, sizeof *h, 0);
    if (r < (int64_t)sizeof *h || memcmp(h->magic, "BNNCKPT1", 8) || bnnc_crc32(0, h, 60) != h->header_crc)
        return BNNC_SLOT_TORN;
    if (h->version != BNNC_CKPT_VERSION || memcmp(h->hash, hash, 16) || h->length != length) return BNNC_SLOT_FOREIGN;
    for (uint64_t at = 0, part; at < length; at += part) {
        part = length - at < sizeof bnnc_io ? length - at : sizeof bnnc_io;
        if (s->read(s->ctx, bnnc_io, part, BNNC_PAYLOAD + at) != (int64_t)part) return BNNC_SLOT_DAMAGED;
        crc = bnnc_crc32(crc, bnnc_io, part);
    }
    return crc == h->payload_crc ? BNNC_SLOT_VALID : BNNC_SLOT_DAMAGED;
}

typedef struct {
    int slot; /* the one to resume from, or -1 */
    int state[2];
    uint64_t generation; /* of that slot, or 0 */
} bnnc_boot;

BNNC_COLD bnnc_boot bnnc_ckpt_find(const bnnc_store store[2], const char *hash, uint64_t length) {
    bnnc_boot b = {-1, {0, 0}, 0};
    for (int i = 0; i < 2; i++) {
        bnnc_slot_header h;
        b.state[i] = bnnc_slot_look(&store[i], hash, length, &h);
        if (b.state[i] == BNNC_SLOT_VALID && h.generation > b.generation) b.slot = i, b.generation = h.generation;
    }
    return b;
}

/* No slot is valid, and no power cut leaves it so: the first save goes into slot 0 and writes its header when the payload is
 * on the medium, so a cut there leaves slot 0 torn and slot 1 empty; from then on one of the two is valid. */
BNNC_COLD bool bnnc_ckpt_lost(const bnnc_boot *b) {
    return b->slot < 0 &&
           (b->state[0] == BNNC_SLOT_DAMAGED || b->state[1] == BNNC_SLOT_DAMAGED || b->state[1] == BNNC_SLOT_TORN);
}

/* Reads the payload of a slot that was found valid. False: it no longer is. */
BNNC_COLD bool bnnc_ckpt_load(const bnnc_store *s, const bnnc_span span[2]) {
    bnnc_slot_header h;
    uint32_t crc = 0;
    uint64_t at = BNNC_PAYLOAD;
    if (s->read(s->ctx, &h, sizeof h, 0) != sizeof h) return false;
    for (int i = 0; i < 2; i++) {
        if (s->read(s->ctx, span[i].p, span[i].n, at) != (int64_t)span[i].n) return false;
        crc = bnnc_crc32(crc, span[i].p, span[i].n);
        at += span[i].n;
    }
    return crc == h.payload_crc;
}

/* Writes a slot: the payload, and when that is on the medium the header; 0 or -errno. */
BNNC_COLD int bnnc_ckpt_write(const bnnc_store *s, uint64_t generation, const char *hash, const bnnc_span span[2]) {
    uint64_t at = BNNC_PAYLOAD;
    int r;
    bnnc_slot_header h;
    memset(&h, 0, sizeof h);
    memcpy(h.magic, "BNNCKPT1", 8);
    memcpy(h.hash, hash, 16);
    h.version = BNNC_CKPT_VERSION, h.header_bytes = sizeof h, h.generation = generation;
    for (int i = 0; i < 2; i++) {
        if ((r = s->write(s->ctx, span[i].p, span[i].n, at)) < 0) return r;
        h.payload_crc = bnnc_crc32(h.payload_crc, span[i].p, span[i].n);
        at += span[i].n;
    }
    h.length = at - BNNC_PAYLOAD;
    h.header_crc = bnnc_crc32(0, &h, 60);
    if ((r = s->sync(s->ctx)) < 0) return r;
    if ((r = s->write(s->ctx, &h, sizeof h, 0)) < 0) return r;
    return s->sync(s->ctx);
}

/* Writes generation b->generation + 1 into the slot that does not hold the latest; 0 or -errno, and then *b is as
 * before. */
BNNC_COLD int bnnc_ckpt_save(const bnnc_store store[2], bnnc_boot *b, const char *hash, const bnnc_span span[2]) {
    const int slot = b->slot == 0 ? 1 : 0, r = bnnc_ckpt_write(&store[slot], b->generation + 1, hash, span);
    if (r < 0) return r;
    b->slot = slot, b->generation++, b->state[slot] = BNNC_SLOT_VALID;
    return 0;
}

#ifndef BNNC_BARE
/* ---- slots that are files ---- */
typedef struct {
    int fd;
    const char *folder;
    bool listed; /* the folder's entry is on the disk */
} bnnc_file_ctx; /* fd < 0: no such file */

BNNC_COLD int64_t bnnc_file_read(void *ctx, void *dst, uint64_t n, uint64_t off) {
    return bnnc_read_at(((bnnc_file_ctx *)ctx)->fd, dst, n, off);
}
BNNC_COLD int bnnc_file_write(void *ctx, const void *src, uint64_t n, uint64_t off) {
    return bnnc_write_at(((bnnc_file_ctx *)ctx)->fd, src, n, off);
}
BNNC_COLD int bnnc_file_sync(void *ctx) {
    bnnc_file_ctx *f = ctx;
    int r = bnnc_fsync(f->fd);
    if (r == 0 && !f->listed) {
        r = bnnc_sync_folder(f->folder);
        f->listed = r == 0;
    }
    return r;
}
BNNC_COLD int64_t bnnc_file_size(void *ctx) {
    return ((bnnc_file_ctx *)ctx)->fd < 0 ? 0 : bnnc_size(((bnnc_file_ctx *)ctx)->fd);
}
BNNC_COLD bnnc_store bnnc_file_store(bnnc_file_ctx *ctx) {
    return (bnnc_store){bnnc_file_read, bnnc_file_write, bnnc_file_sync, bnnc_file_size, ctx};
}
#endif

#endif

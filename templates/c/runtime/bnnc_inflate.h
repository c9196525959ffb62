/* bnnc_inflate.h: streaming decompression: raw deflate (RFC 1951), zlib (RFC 1950), gzip (RFC 1952); or no compression.
 *
 * Pulls compressed bytes from a file and hands out as many plain bytes as are asked for. One bnnc_inflate (38 KiB) is
 * all the memory it uses; no input can make it read or write outside, loop for ever, or hand out bytes that a checksum
 * of the stream disproves without reporting it: after any failure every call returns -1 and `error` says why. Not
 * reentrant for one object; several gzip members in a row are one stream, as gzip itself has it.
 */
#ifndef BNNC_INFLATE_H
#define BNNC_INFLATE_H
#include "bnnc_crc.h"

enum { BNNC_PLAIN, BNNC_RAW_DEFLATE, BNNC_ZLIB, BNNC_GZIP };
enum { BNNC_FAST_BITS = 9, BNNC_MAX_BITS = 15 };

typedef struct {
    uint16_t fast[1 << BNNC_FAST_BITS]; /* next 9 bits -> symbol << 4 | length; 0: the code is longer */
    uint16_t count[BNNC_MAX_BITS + 1];  /* canonical code: number of codes of each length, and the symbols in order */
    uint16_t symbol[288];
} __attribute__((may_alias)) bnnc_huffman;

typedef struct {
    uint8_t window[32768]; /* the last 32 KiB of output, a ring */
    uint8_t in[4096];
    bnnc_huffman lit, dist;
    int fd;
    uint64_t in_off, in_end; /* the compressed bytes that were not read yet, as offsets in the file */
    uint32_t in_n, in_pos, bits, n_bits;
    uint64_t total; /* bytes of output of this member */
    uint32_t check, copy_len, copy_dist, stored;
    uint8_t format, state, last, truncated;
    const char *error;
} __attribute__((may_alias)) bnnc_inflate; /* it may lie in the trainer's arena */

enum { BNNC_Z_HEAD, BNNC_Z_BLOCK, BNNC_Z_STORED, BNNC_Z_CODES, BNNC_Z_COPY, BNNC_Z_TAIL, BNNC_Z_END };

/* Bytes [off, end) of fd are the stream. */
BNNC_FN void bnnc_inflate_open(bnnc_inflate *z, int fd, uint64_t off, uint64_t end, uint8_t format) {
    z->fd = fd, z->in_off = off, z->in_end = end, z->format = format;
    z->in_n = z->in_pos = z->bits = z->n_bits = z->copy_len = z->copy_dist = z->stored = 0;
    z->total = 0, z->check = format == BNNC_ZLIB, z->state = BNNC_Z_HEAD, z->last = z->truncated = 0;
    z->error = NULL;
}

BNNC_FN void bnnc_z_fail(bnnc_inflate *z, const char *why) {
    if (!z->error) z->error = why;
}

/* Next byte; 0 with `truncated` set past the end, so that callers check once. */
BNNC_FN uint32_t bnnc_z_byte(bnnc_inflate *z) {
    if (z->in_pos == z->in_n) {
        uint64_t want = z->in_end - z->in_off;
        int64_t r = want ? bnnc_read_at(z->fd, z->in, want < sizeof z->in ? want : sizeof z->in, z->in_off) : 0;
        if (r <= 0) {
            z->truncated = 1;
            bnnc_z_fail(z, r < 0 ? bnnc_errname(r) : "the compressed data ends too early");
            return 0;
        }
        z->in_off += (uint64_t)r;
        z->in_n = (uint32_t)r, z->in_pos = 0;
    }
    return z->in[z->in_pos++];
}

BNNC_FN uint32_t bnnc_z_bits(bnnc_inflate *z, uint32_t n) {
    while (z->n_bits < n) {
        z->bits |= bnnc_z_byte(z) << z->n_bits;
        z->n_bits += 8;
    }
    uint32_t v = z->bits & ((1u << n) - 1);
    z->bits >>= n, z->n_bits -= n;
    return v;
}

BNNC_FN void bnnc_z_align(bnnc_inflate *z) {
    z->bits >>= z->n_bits & 7;
    z->n_bits &= ~7u;
}

/* Builds a canonical code from lengths. False: over-subscribed, or incomplete (allowed for one code of one bit). */
BNNC_FN bool bnnc_z_build(bnnc_huffman *h, const uint8_t *len, uint32_t n) {
    uint32_t offset[BNNC_MAX_BITS + 2], code[BNNC_MAX_BITS + 2], used;
    int32_t left = 1;
    memset(h->count, 0, sizeof h->count);
    memset(h->fast, 0, sizeof h->fast);
    for (uint32_t i = 0; i < n; i++) h->count[len[i]]++;
    used = n - h->count[0];
    h->count[0] = 0;
    offset[1] = code[1] = 0;
    for (uint32_t b = 1; b <= BNNC_MAX_BITS; b++) {
        left = left * 2 - h->count[b];
        if (left < 0) return false;
        offset[b + 1] = offset[b] + h->count[b];
        code[b + 1] = (code[b] + h->count[b]) << 1;
    }
    if (left > 0 && !(used <= 1 && h->count[1] == used)) return false;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t l = len[i], c, reversed = 0;
        if (!l) continue;
        h->symbol[offset[l]++] = (uint16_t)i;
        c = code[l]++;
        if (l > BNNC_FAST_BITS) continue;
        for (uint32_t b = 0; b < l; b++)
            reversed |= (c >> b & 1) << (l - 1 - b); /* codes come most significant bit first */
        for (; reversed < 1 << BNNC_FAST_BITS; reversed += 1u << l) h->fast[reversed] = (uint16_t)(i << 4 | l);
    }
    return true;
}

BNNC_FN uint32_t bnnc_z_symbol(bnnc_inflate *z, const bnnc_huffman *h) {
    /* Look at the next bits where they are there; near the end of the input they may not be, and need not be. */
    while (z->n_bits < BNNC_FAST_BITS && (z->in_pos < z->in_n || z->in_off < z->in_end) && !z->error) {
        z->bits |= bnnc_z_byte(z) << z->n_bits;
        z->n_bits += 8;
    }
    uint32_t f = h->fast[z->bits & ((1 << BNNC_FAST_BITS) - 1)];
    if (f && (f & 15) <= z->n_bits) {
        z->bits >>= f & 15, z->n_bits -= f & 15;
        return f >> 4;
    }
    uint32_t code = 0, first = 0, index = 0;
    for (uint32_t b = 1; b <= BNNC_MAX_BITS && !z->error; b++) {
        code |= bnnc_z_bits(z, 1);
        uint32_t n = h->count[b];
        if (code < first + n) return h->symbol[index + code - first];
        index += n;
        first = (first + n) << 1;
        code <<= 1;
    }
    bnnc_z_fail(z, "an invalid code in the compressed data");
    return 256;
}

BNNC_FN void bnnc_z_fixed(bnnc_inflate *z) {
    uint8_t len[288];
    for (uint32_t i = 0; i < 288; i++) len[i] = i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8;
    (void)bnnc_z_build(&z->lit, len, 288);
    memset(len, 5, 32);
    (void)bnnc_z_build(&z->dist, len, 32); /* with the two codes that never occur, the set is complete */
}

BNNC_FN void bnnc_z_dynamic(bnnc_inflate *z) {
    static const uint8_t order[19] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
    uint8_t len[288 + 32] = {0};
    uint32_t n_lit = bnnc_z_bits(z, 5) + 257, n_dist = bnnc_z_bits(z, 5) + 1, n_code = bnnc_z_bits(z, 4) + 4;
    if (n_lit > 286 || n_dist > 30) {
        bnnc_z_fail(z, "too many codes in a block");
        return;
    }
    for (uint32_t i = 0; i < n_code; i++) len[order[i]] = (uint8_t)bnnc_z_bits(z, 3);
    if (z->error || !bnnc_z_build(&z->lit, len, 19)) {
        bnnc_z_fail(z, "an invalid set of code lengths");
        return;
    }
    memset(len, 0, sizeof len);
    for (uint32_t i = 0; i < n_lit + n_dist;) {
        uint32_t s = bnnc_z_symbol(z, &z->lit), repeat = 1;
        uint8_t value = (uint8_t)s;
        if (z->error) return;
        if (s == 16) {
            if (!i) {
                bnnc_z_fail(z, "a repeat without a first code length");
                return;
            }
            value = len[i - 1];
            repeat = 3 + bnnc_z_bits(z, 2);
        } else if (s > 16) {
            value = 0;
            repeat = s == 17 ? 3 + bnnc_z_bits(z, 3) : 11 + bnnc_z_bits(z, 7);
        }
        if (i + repeat > n_lit + n_dist) {
            bnnc_z_fail(z, "too many code lengths");
            return;
        }
        while (repeat--) len[i++] = value;
    }
    if (!len[256]) {
        bnnc_z_fail(z, "a block without an end");
        return;
    }
    if (!bnnc_z_build(&z->lit, len, n_lit) || !bnnc_z_build(&z->dist, len + n_lit, n_dist))
        bnnc_z_fail(z, "an invalid set of codes");
}

BNNC_FN void bnnc_z_block(bnnc_inflate *z) {
    if (z->last) {
        z->state = BNNC_Z_TAIL;
        return;
    }
    z->last = (uint8_t)bnnc_z_bits(z, 1);
    uint32_t type = bnnc_z_bits(z, 2);
    z->state = BNNC_Z_CODES;
    if (type == 0) {
        bnnc_z_align(z);
        z->stored = bnnc_z_bits(z, 16);
        if (bnnc_z_bits(z, 16) != (~z->stored & 0xFFFF)) bnnc_z_fail(z, "a stored block with a damaged length");
        z->state = BNNC_Z_STORED;
    } else if (type == 1)
        bnnc_z_fixed(z);
    else if (type == 2)
        bnnc_z_dynamic(z);
    else
        bnnc_z_fail(z, "an unknown kind of block");
}

/* A length symbol was read: fills copy_len and copy_dist. */
BNNC_FN void bnnc_z_match(bnnc_inflate *z, uint32_t s) {
    static const uint16_t len_base[29] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                          31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
    static const uint8_t len_extra[29] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                          2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
    static const uint16_t dist_base[30] = {1,    2,    3,    4,    5,    7,    9,    13,    17,    25,
                                           33,   49,   65,   97,   129,  193,  257,  385,   513,   769,
                                           1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
    if (s > 285) {
        bnnc_z_fail(z, "an invalid length code");
        return;
    }
    z->copy_len = len_base[s - 257] + bnnc_z_bits(z, len_extra[s - 257]);
    uint32_t d = bnnc_z_symbol(z, &z->dist);
    if (z->error) return;
    if (d > 29) {
        bnnc_z_fail(z, "an invalid distance code");
        return;
    }
    z->copy_dist = dist_base[d] + bnnc_z_bits(z, d < 4 ? 0 : (d - 2) / 2);
    if (z->copy_dist > z->total) bnnc_z_fail(z, "a reference to before the data's start");
    z->state = BNNC_Z_COPY;
}

BNNC_FN void bnnc_z_head(bnnc_inflate *z) {
    z->state = BNNC_Z_BLOCK;
    if (z->format == BNNC_ZLIB) {
        uint32_t cmf = bnnc_z_bits(z, 8), flags = bnnc_z_bits(z, 8);
        if ((cmf << 8 | flags) % 31 || (cmf & 15) != 8 || cmf >> 4 > 7 || flags & 32)
            bnnc_z_fail(z, "not a zlib stream");
    } else if (z->format == BNNC_GZIP) {
        uint32_t magic = bnnc_z_bits(z, 16), method = bnnc_z_bits(z, 8), flags = bnnc_z_bits(z, 8);
        if (magic != 0x8B1F || method != 8 || flags & 0xE0) {
            bnnc_z_fail(z, "not a gzip stream");
            return;
        }
        for (int i = 0; i < 6; i++) (void)bnnc_z_bits(z, 8); /* time, level, system */
        if (flags & 4)
            for (uint32_t n = bnnc_z_bits(z, 16); n && !z->error; n--) (void)bnnc_z_bits(z, 8);
        for (uint32_t f = 8; f <= 16; f *= 2) /* name, comment: each ends with a zero */
            if (flags & f)
                while (bnnc_z_bits(z, 8) && !z->error) {}
        if (flags & 2) (void)bnnc_z_bits(z, 16);
    }
}

BNNC_FN void bnnc_z_tail(bnnc_inflate *z) {
    z->state = BNNC_Z_END;
    bnnc_z_align(z);
    if (z->format == BNNC_RAW_DEFLATE) return;
    uint32_t a = bnnc_z_bits(z, 16);
    a |= bnnc_z_bits(z, 16) << 16;
    if (z->format == BNNC_ZLIB) {
        if (__builtin_bswap32(a) != z->check) bnnc_z_fail(z, "the checksum does not match: the file is damaged");
        return;
    }
    uint32_t n = bnnc_z_bits(z, 16);
    n |= bnnc_z_bits(z, 16) << 16;
    if (a != z->check || n != (uint32_t)z->total) bnnc_z_fail(z, "the checksum does not match: the file is damaged");
    if (z->error || z->n_bits || (z->in_pos == z->in_n && z->in_off == z->in_end)) return;
    uint32_t next = bnnc_z_byte(z); /* another member, or padding that gzip ignores too */
    z->in_pos--;
    if (next != 0x1F || z->truncated) return;
    z->check = 0, z->total = 0, z->last = 0, z->state = BNNC_Z_HEAD;
}

BNNC_FN void bnnc_z_check(bnnc_inflate *z, const uint8_t *p, uint64_t n) {
    if (z->format == BNNC_GZIP) z->check = bnnc_crc32(z->check, p, n);
    if (z->format == BNNC_ZLIB) z->check = bnnc_adler32(z->check, p, n);
}

/* Hands out up to n bytes; fewer only at the stream's end; -1 on an error. Every member's checksum is verified before
 * the call that reaches its end returns; ask for one byte more than expected to be sure of the last one. */
BNNC_FN int64_t bnnc_inflate_read(bnnc_inflate *z, uint8_t *dst, uint64_t n) {
    uint64_t out = 0, checked = 0;
    if (z->format == BNNC_PLAIN) {
        uint64_t left = z->in_end - z->in_off;
        int64_t r = bnnc_read_at(z->fd, dst, n < left ? n : left, z->in_off);
        if (r < 0)
            bnnc_z_fail(z, bnnc_errname(r));
        else
            z->in_off += (uint64_t)r;
        return z->error ? -1 : r;
    }
    while (!z->error) {
        switch (z->state) {
        case BNNC_Z_HEAD: bnnc_z_head(z); continue;
        case BNNC_Z_BLOCK: bnnc_z_block(z); continue;
        case BNNC_Z_TAIL:
            bnnc_z_check(z, dst + checked, out - checked);
            checked = out;
            bnnc_z_tail(z);
            continue;
        default: break;
        }
        if (out == n || z->state == BNNC_Z_END) break;
        if (z->state == BNNC_Z_STORED) {
            if (!z->stored) {
                z->state = BNNC_Z_BLOCK;
                continue;
            }
            z->stored--;
            dst[out++] = z->window[z->total++ & 32767] = (uint8_t)bnnc_z_bits(z, 8);
        } else if (z->state == BNNC_Z_CODES) {
            uint32_t s = bnnc_z_symbol(z, &z->lit);
            if (z->error) break;
            if (s < 256)
                dst[out++] = z->window[z->total++ & 32767] = (uint8_t)s;
            else if (s == 256)
                z->state = BNNC_Z_BLOCK;
            else
                bnnc_z_match(z, s);
        } else { /* BNNC_Z_COPY */
            uint32_t from = (uint32_t)(z->total - z->copy_dist);
            for (; z->copy_len && out < n; z->copy_len--)
                dst[out++] = z->window[z->total++ & 32767] = z->window[from++ & 32767];
            if (!z->copy_len) z->state = BNNC_Z_CODES;
        }
    }
    if (z->error) return -1;
    bnnc_z_check(z, dst + checked, out - checked);
    return (int64_t)out;
}

#endif

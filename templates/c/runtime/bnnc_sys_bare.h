/* bnnc_sys_bare.h: no operating system: what is left of bnnc_sys.h on a bare machine. One core, no files, no heap; text goes
 * to the firmware, and what fails is returned to it. */
#ifndef BNNC_SYS_BARE_H
#define BNNC_SYS_BARE_H
#include "bnnc_firmware.h"
#include "bnnc_sys_common.h"

static const bnnc_board *bnnc_board_now; /* of the call in progress */

/* The four functions that a compiler calls by itself; a libc's take their place. The empty asm keeps the loops what they are. */
#define BNNC_WEAK __attribute__((weak, used))
#define BNNC_OPAQUE __asm__ volatile("" ::: "memory")
void *memcpy(void *restrict d, const void *restrict s, size_t n), *memset(void *d, int c, size_t n);
void *memmove(void *d, const void *s, size_t n);
int memcmp(const void *a, const void *b, size_t n);

typedef uint32_t __attribute__((may_alias)) bnnc_word;
BNNC_WEAK void *memcpy(void *restrict d, const void *restrict s, size_t n) {
    uint8_t *p = d;
    const uint8_t *q = s;
    for (; n >= 4 && (((uintptr_t)p | (uintptr_t)q) & 3) == 0; n -= 4, p += 4, q += 4) {
        *(bnnc_word *)(void *)p = *(const bnnc_word *)(const void *)q;
        BNNC_OPAQUE;
    }
    for (; n; n--) {
        *p++ = *q++;
        BNNC_OPAQUE;
    }
    return d;
}
BNNC_WEAK void *memset(void *d, int c, size_t n) {
    uint8_t *p = d;
    for (; n >= 4 && ((uintptr_t)p & 3) == 0; n -= 4, p += 4) {
        *(bnnc_word *)(void *)p = (uint32_t)(uint8_t)c * 0x01010101u;
        BNNC_OPAQUE;
    }
    for (; n; n--) {
        *p++ = (uint8_t)c;
        BNNC_OPAQUE;
    }
    return d;
}
BNNC_WEAK void *memmove(void *d, const void *s, size_t n) {
    uint8_t *p = d;
    const uint8_t *q = s;
    if ((uintptr_t)p <= (uintptr_t)q || (uintptr_t)p >= (uintptr_t)q + n) return memcpy(d, s, n);
    while (n--) {
        p[n] = q[n];
        BNNC_OPAQUE;
    }
    return d;
}
BNNC_WEAK int memcmp(const void *a, const void *b, size_t n) {
    const uint8_t *p = a, *q = b;
    for (size_t i = 0; i < n; i++) {
        if (p[i] != q[i]) return p[i] - q[i];
        BNNC_OPAQUE;
    }
    return 0;
}
#define memcpy(d, s, n) __builtin_memcpy(d, s, n)
#define memset(d, c, n) __builtin_memset(d, c, n)
#define memmove(d, s, n) __builtin_memmove(d, s, n)
#define memcmp(a, b, n) __builtin_memcmp(a, b, n)

/* Whatever the file: there is one place for text. */
BNNC_FN int bnnc_write_all(int fd, const void *src, uint64_t n) {
    (void)fd;
    if (bnnc_board_now && bnnc_board_now->print) bnnc_board_now->print(bnnc_board_now->me, src, (uint32_t)n);
    return 0;
}

/* ---- one core, one instruction set ---- */
typedef void (*bnnc_kernel)(const uint32_t *at, int tid, int nthreads);
BNNC_FN void bnnc_run(bnnc_kernel k, const uint32_t *at) { k(at, 0, 1); }
BNNC_FN int bnnc_cpu_level(void) { return 0; }

#endif

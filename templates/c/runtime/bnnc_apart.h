/* bnnc_apart.h: only the kernels of the chosen instruction set are in memory (-DBNNC_APART, with NAME.ld).
 *
 * The linker script puts each level's kernels into a segment of a type of its own, which Linux does not load, in the order of
 * the levels and behind the first segment, which holds the table of segments. The one that is needed is mapped from the
 * program's own file: code pages of a file, as those that Linux maps itself. No memory is allocated.
 */
#ifndef BNNC_APART_H
#define BNNC_APART_H
#include "bnnc_fmt.h"

typedef struct {
    uint32_t type, flags;
    uint64_t offset, at, physical, in_file, bytes, align;
} bnnc_segment;
extern const uint8_t bnnc_image[]; /* the ELF header */
enum { BNNC_SEGMENT = 0x626e6e63, NR_mmap = 9, NR_munmap = 11 };

BNNC_COLD const bnnc_segment *bnnc_kernels_of(int level) {
    return (const bnnc_segment *)(const void *)(bnnc_image + 64) + 1 + level;
}

BNNC_COLD void bnnc_unmap_kernels(int level) {
    const bnnc_segment *s = bnnc_kernels_of(level);
    if (s->type == BNNC_SEGMENT) (void)bnnc_call(NR_munmap, (long)s->at, (long)s->bytes, 0, 0, 0, 0);
}

BNNC_COLD void bnnc_map_kernels(int level) {
    const bnnc_segment *s = bnnc_kernels_of(level);
    if (s->type != BNNC_SEGMENT) return; /* loaded with the rest */
    const char *name = (const char *)bnnc_told(31 /* AT_EXECFN */);
    int fd = bnnc_open("/proc/self/exe", BNNC_READ);
    if (fd < 0 && name) fd = bnnc_open(name, BNNC_READ); /* no /proc: as it was started */
    const long want = (long)s->at, got = fd < 0 ? fd
                                                : bnnc_call(NR_mmap, want, (long)s->bytes, 1 | 4 /* PROT_READ | EXEC */,
                                                            2 | 16 /* MAP_PRIVATE | FIXED */, fd, (long)s->offset);
    if (got != want)
        bnnc_fail(
            BNNC_E_USAGE,
            "cannot map the kernels from the program's own file: %s\n  hint: it must be readable, not only executable",
            bnnc_errname(got));
    bnnc_close(fd);
}
#endif

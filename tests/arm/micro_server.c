/* Runs the functions of tests/kernels/micro.c for a test on another machine: freestanding, so under QEMU on the oldest CPU.
 *
 * Request on standard input, little-endian u32: number of the function in TABLE, number of arguments (at most 6), and for each
 * its kind (0 a number, 1 an array) with its value (its low 32 bits) or its size in bytes; then the arrays.  Answer on standard output: the
 * result as u32, then the arrays as the function left them. */
#include "bnnc_sys.h"
#include "bnnc_num.h"
#include "micro_table.h"
#include "take.h"

enum { ROOM = 8 << 20 };
static _Alignas(64) uint8_t room[ROOM];

static int serve(int argc, char **argv, char **envp) {
    uint32_t head[2], kind[6], size[6];
    (void)argc, (void)argv, (void)envp;
    while (take(head, sizeof head)) {
        unsigned long a[6] = {0};
        uint8_t *p = room;
        for (uint32_t i = 0; i < head[1]; i++) {
            if (!take(&kind[i], 4) || !take(&size[i], 4)) return BNNC_E_DATA;
            a[i] = (unsigned long)(long)(int32_t)size[i];
            if (kind[i]) {
                a[i] = (unsigned long)(uintptr_t)p;
                p += (size[i] + 63u) & ~63u;
                if (p > room + ROOM) return BNNC_E_MEMORY;
            }
        }
        for (uint32_t i = 0; i < head[1]; i++)
            if (kind[i] && !take((void *)(uintptr_t)a[i], size[i])) return BNNC_E_DATA;
        uint32_t result = (uint32_t)TABLE[head[0]](a[0], a[1], a[2], a[3], a[4], a[5]);
        bnnc_write_all(1, &result, 4);
        for (uint32_t i = 0; i < head[1]; i++)
            if (kind[i]) bnnc_write_all(1, (void *)(uintptr_t)a[i], size[i]);
    }
    return BNNC_OK;
}

BNNC_ENTRY(serve)

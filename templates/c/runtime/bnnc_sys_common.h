/* bnnc_sys_common.h: what all builds of bnnc_sys.h share: exit codes, ways to open a file, and the two things that a signal and
 * file functions need.
 */
#ifndef BNNC_SYS_COMMON_H
#define BNNC_SYS_COMMON_H
#if !defined(BNNC_FREESTANDING) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE 1 /* syscall(), preadv(), pthread attributes */
#endif
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "bnnc trainers need a little-endian machine: files and packed bits are read in place"
#endif

#define BNNC_FN static __attribute__((unused)) /* a program need not use every function of a header */
/* The same for what runs once, or seldom: compiled for size, kept apart. Never for a caller of kernels: gcc takes what
 * is called only from cold functions to be cold too. */
#define BNNC_COLD static __attribute__((unused, cold))

enum { BNNC_PATH_MAX = 512 };
/* how bnnc_open opens; the values are ours, each build maps them to its flags */
enum { BNNC_READ, BNNC_CREATE /* write, truncate */, BNNC_UPDATE /* read and write, keep */, BNNC_APPEND };
/* exit codes: part of the command line's contract */
enum {
    BNNC_OK = 0,
    BNNC_E_INTERNAL = 1,
    BNNC_E_USAGE = 2,
    BNNC_E_DATA = 5,
    BNNC_E_CHECKPOINT = 6,
    BNNC_E_CPU = 7,
    BNNC_E_MEMORY = 8,
    BNNC_E_SELFTEST = 9
};
/* the errno values that deserve words; the same numbers on every Linux that we run on */
enum { BNNC_ENOENT = 2, BNNC_EINTR = 4, BNNC_EIO = 5, BNNC_EEXIST = 17 };

static _Atomic int __attribute__((
    unused)) bnnc_signal; /* SIGINT, SIGTERM, SIGHUP (the terminal is closed) or SIGPIPE once one has come, else 0 */

/* Scratch of whichever function moves bytes between files, or counts; holds nothing between calls. */
#ifdef BNNC_BARE
enum { BNNC_IO_BYTES = 64 };
#else
enum { BNNC_IO_BYTES = 4096 };
#endif
static _Alignas(8) __attribute__((unused)) uint8_t bnnc_io[BNNC_IO_BYTES];

#endif

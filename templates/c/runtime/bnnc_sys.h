/* bnnc_sys.h: the one door to the operating system.
 *
 * Three builds of the same trainer:
 *   freestanding  -DBNNC_FREESTANDING -static -nostdlib -ffreestanding -fno-stack-protector: raw system calls, own
 *                 _start, no libc at all, so that the process holds nothing but what the memory plan lists
 *                 (bnnc_sys_raw.h: x86-64, aarch64 with -mno-outline-atomics, arm EABI). Not -static-pie.
 *   hosted        any C11 compiler with POSIX and Linux futexes, -lpthread: for sanitizers and ports (bnnc_sys_posix.h).
 *
 *   bare          -DBNNC_BARE: no operating system at all; the firmware brings samples and takes text (bnnc_sys_bare.h,
 *                 bnnc_firmware.h).
 *
 * The first two give the same functions; what can fail returns a negative errno value. Nothing here allocates memory.
 * This file adds what is the same in both: reads and writes that survive EINTR and short transfers, mkdir -p, getenv.
 */
#ifndef BNNC_SYS_H
#define BNNC_SYS_H
#include "bnnc_sys_common.h"
#ifdef BNNC_BARE
#include "bnnc_sys_bare.h"
#elif defined(BNNC_FREESTANDING)
#include "bnnc_sys_raw.h"
#else
#include "bnnc_sys_posix.h"
#endif

BNNC_FN bool bnnc_streq(const char *a, const char *b) {
    while (*a && *a == *b) a++, b++;
    return *a == *b;
}

BNNC_FN uint32_t bnnc_strlen(const char *s) {
    uint32_t n = 0;
    while (s[n]) n++;
    return n;
}

#ifndef BNNC_BARE           /* all that follows asks the operating system */
static char **bnnc_environ; /* set by bnnc_main */

BNNC_FN const char *bnnc_getenv(const char *name) {
    uint32_t n = bnnc_strlen(name);
    for (char **e = bnnc_environ; e && *e; e++) {
        uint32_t i = 0;
        while (i < n && (*e)[i] == name[i]) i++;
        if (i == n && (*e)[n] == '=') return *e + n + 1;
    }
    return NULL;
}

/* An entry of what Linux tells a new process behind its environment (the auxiliary vector, getauxval(3)); 0: there is none. */
BNNC_FN unsigned long bnnc_told(unsigned long type) {
    char **e = bnnc_environ;
    if (!e) return 0;
    while (*e) e++;
    const unsigned long *told = (const unsigned long *)(void *)(e + 1);
    while (told[0] && told[0] != type) told += 2;
    return told[0] ? told[1] : 0;
}

BNNC_FN int bnnc_cores(void) {
    uint64_t mask[16]; /* 1024 CPUs */
    int n = 0;
    bnnc_get_cpus(mask);
    for (int i = 0; i < 16; i++)
        for (uint64_t m = mask[i]; m; m &= m - 1) n++;
    return n;
}

/* Moves this thread to the CPU that is the i-th after `cpu`, of those it may use, and then lets it free again. Without
 * this, some kernels leave a new thread on its maker's core for seconds, both waiting for each other. */
BNNC_FN void bnnc_move_away(int cpu, int i) {
    uint64_t all[16], one[16] = {0};
    bnnc_get_cpus(all);
    for (int guard = 0; i > 0 && guard < 4096; guard++) {
        cpu = (cpu + 1) % 1024;
        i -= (int)(all[cpu / 64] >> cpu % 64 & 1);
    }
    one[cpu / 64] = (uint64_t)1 << cpu % 64;
    bnnc_set_cpus(one);
    bnnc_set_cpus(all);
}

/* Reads n bytes at `off`. Returns how many there were: fewer than n only at the end of the file; or -errno. */
BNNC_FN int64_t bnnc_read_at(int fd, void *dst, uint64_t n, uint64_t off) {
    uint64_t done = 0;
    while (done < n) {
        int64_t r = bnnc_pread(fd, (uint8_t *)dst + done, n - done, off + done);
        if (r == -BNNC_EINTR) continue;
        if (r < 0) return r;
        if (r == 0) break;
        done += (uint64_t)r;
    }
    return (int64_t)done;
}

/* One record into two places (payload, label) with one system call. Same result as bnnc_read_at. */
BNNC_FN int64_t bnnc_read2_at(int fd, void *a, uint32_t na, void *b, uint32_t nb, uint64_t off) {
    int64_t r = bnnc_preadv2(fd, a, na, b, nb, off);
    if (r == (int64_t)na + nb) return r;
    int64_t first = bnnc_read_at(fd, a, na, off); /* interrupted or at the end: start again, slowly */
    if (first < (int64_t)na) return first;
    int64_t second = bnnc_read_at(fd, b, nb, off + na);
    return second < 0 ? second : first + second;
}

/* Writes all n bytes at `off`; 0 or -errno. */
BNNC_FN int bnnc_write_at(int fd, const void *src, uint64_t n, uint64_t off) {
    for (uint64_t done = 0; done < n;) {
        int64_t r = bnnc_pwrite(fd, (const uint8_t *)src + done, n - done, off + done);
        if (r == -BNNC_EINTR) continue;
        if (r <= 0) return r < 0 ? (int)r : -BNNC_EIO;
        done += (uint64_t)r;
    }
    return 0;
}

/* Writes all n bytes where the file stands; 0 or -errno. */
BNNC_FN int bnnc_write_all(int fd, const void *src, uint64_t n) {
    for (uint64_t done = 0; done < n;) {
        int64_t r = bnnc_write(fd, (const uint8_t *)src + done, n - done);
        if (r == -BNNC_EINTR) continue;
        if (r <= 0) return r < 0 ? (int)r : -BNNC_EIO;
        done += (uint64_t)r;
    }
    return 0;
}

/* The folder's own entry must reach the disk too, or a new file can vanish with the power. */
BNNC_FN int bnnc_sync_folder(const char *path) {
    int fd = bnnc_open(path, BNNC_READ);
    if (fd < 0) return fd;
    int r = bnnc_fsync(fd);
    bnnc_close(fd);
    return r == -22 ? 0 : r; /* EINVAL: a file system that cannot, such as some network mounts */
}

/* mkdir -p; 0 or -errno. */
BNNC_FN int bnnc_make_folders(const char *path) {
    char part[BNNC_PATH_MAX];
    for (uint32_t i = 0; i < BNNC_PATH_MAX; i++) {
        part[i] = path[i];
        if (path[i] && path[i] != '/') continue;
        part[i] = 0;
        if (i > 0) {
            int r = bnnc_mkdir(part);
            if (r < 0 && r != -BNNC_EEXIST && !path[i]) return r;
        }
        if (!path[i]) return 0;
        part[i] = '/';
    }
    return -36; /* ENAMETOOLONG */
}

BNNC_FN const char *bnnc_errname(int64_t error) {
    switch (error < 0 ? -error : error) {
    case 1: return "operation not permitted";
    case BNNC_ENOENT: return "no such file or folder";
    case BNNC_EIO: return "input/output error";
    case 12: return "out of memory";
    case 13: return "permission denied";
    case BNNC_EEXIST: return "exists already";
    case 20: return "a part of the path is not a folder";
    case 21: return "is a folder";
    case 22: return "invalid argument";
    case 24: return "too many open files";
    case 27: return "file too large";
    case 28: return "no space left on the device";
    case 30: return "read-only file system";
    case 36: return "name too long";
    case 122: return "disk quota exceeded";
    default: return "system error";
    }
}
#endif

#endif

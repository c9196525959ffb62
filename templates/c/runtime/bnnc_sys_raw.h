/* bnnc_sys_raw.h: the freestanding half of bnnc_sys.h: Linux system calls, _start, threads by clone. No libc.
 * See bnnc_sys.h for the contract. What depends on the CPU (call numbers, the call itself, _start, clone)
 * is in a file a CPU. */
#ifndef BNNC_SYS_RAW_H
#define BNNC_SYS_RAW_H
#if defined(__x86_64__)
#include "bnnc_sys_x86.h"
#elif defined(__aarch64__) || defined(__ARM_EABI__)
#include "bnnc_sys_arm.h"
#else
#error "no freestanding build for this CPU yet: leave out -DBNNC_FREESTANDING and link with libc"
#endif

#ifdef BNNC_BYTE_LOOPS
/* The empty asm keeps the compiler from recognising the loop and replacing it by a call of the function itself. */
#define BNNC_OPAQUE __asm__ volatile("" ::: "memory")
typedef struct {
    uint64_t v;
} __attribute__((packed, may_alias)) bnnc_word; /* any address, any type */
void *memcpy(void *restrict d, const void *restrict s, size_t n) {
    uint8_t *p = d;
    const uint8_t *q = s;
    for (; n >= 8; n -= 8, p += 8, q += 8) {
        ((bnnc_word *)(void *)p)->v = ((const bnnc_word *)(const void *)q)->v;
        BNNC_OPAQUE;
    }
    for (; n; n--) {
        *p++ = *q++;
        BNNC_OPAQUE;
    }
    return d;
}
void *memset(void *d, int c, size_t n) {
    uint8_t *p = d;
    uint64_t w = (uint8_t)c * 0x0101010101010101u;
    for (; n >= 8; n -= 8, p += 8) {
        ((bnnc_word *)(void *)p)->v = w;
        BNNC_OPAQUE;
    }
    for (; n; n--) {
        *p++ = (uint8_t)c;
        BNNC_OPAQUE;
    }
    return d;
}
#endif

void *memmove(void *d, const void *s, size_t n) {
    uint8_t *p = d;
    const uint8_t *q = s;
    if ((uintptr_t)p <= (uintptr_t)q || (uintptr_t)p >= (uintptr_t)q + n) {
        for (size_t i = 0; i < n; i++) {
            p[i] = q[i];
            __asm__ volatile("" ::: "memory");
        }
    } else {
        while (n--) {
            p[n] = q[n];
            __asm__ volatile("" ::: "memory");
        }
    }
    return d;
}
int memcmp(const void *a, const void *b, size_t n) {
    const uint8_t *p = a, *q = b;
    for (size_t i = 0; i < n; i++) {
        if (p[i] != q[i]) return p[i] - q[i];
        __asm__ volatile("" ::: "memory");
    }
    return 0;
}

/* -ffreestanding makes every memcpy a call; these let the compiler expand the small ones in place again. */
#define memcpy(d, s, n) __builtin_memcpy(d, s, n)
#define memset(d, c, n) __builtin_memset(d, c, n)
#define memmove(d, s, n) __builtin_memmove(d, s, n)
#define memcmp(a, b, n) __builtin_memcmp(a, b, n)

/* ---- the same on every CPU ---------------------------------------------------------------------------------- */
enum { BNNC_AT_CWD = -100, BNNC_CLOEXEC = 02000000 };
#ifdef BNNC_32_BIT
enum { BNNC_LARGEFILE = 0400000 };
#define BNNC_OFFSET(off) 0 /* pairs start at an even register */, (long)(uint32_t)(off), (long)(uint32_t)((off) >> 32)
#define BNNC_OFFSET5(off) (long)(uint32_t)(off), (long)(uint32_t)((off) >> 32), 0
typedef int32_t bnnc_time;
#else
enum { BNNC_LARGEFILE = 0 };
#define BNNC_OFFSET(off) (long)(off), 0, 0
#define BNNC_OFFSET5(off) (long)(off), 0, 0
typedef int64_t bnnc_time;
#endif

BNNC_FN int bnnc_open(const char *path, int how) {
    static const int flags[] = {0, 01 | 0100 | 01000, 02 | 0100, 01 | 0100 | 02000};
    return (int)bnnc_call(NR_openat, BNNC_AT_CWD, (long)path, flags[how] | BNNC_CLOEXEC | BNNC_LARGEFILE, 0644, 0, 0);
}
BNNC_FN int64_t bnnc_read(int fd, void *p, uint64_t n) { return bnnc_call(NR_read, fd, (long)p, (long)n, 0, 0, 0); }
BNNC_FN int64_t bnnc_write(int fd, const void *p, uint64_t n) {
    return bnnc_call(NR_write, fd, (long)p, (long)n, 0, 0, 0);
}
BNNC_FN int64_t bnnc_pread(int fd, void *p, uint64_t n, uint64_t off) {
    return bnnc_call(NR_pread, fd, (long)p, (long)n, BNNC_OFFSET(off));
}
BNNC_FN int64_t bnnc_pwrite(int fd, const void *p, uint64_t n, uint64_t off) {
    return bnnc_call(NR_pwrite, fd, (long)p, (long)n, BNNC_OFFSET(off));
}
BNNC_FN int64_t bnnc_preadv2(int fd, void *a, uint32_t na, void *b, uint32_t nb, uint64_t off) {
    struct {
        void *p;
        size_t n;
    } v[2] = {{a, na}, {b, nb}};
    return bnnc_call(NR_preadv, fd, (long)v, 2, BNNC_OFFSET5(off));
}
BNNC_FN int bnnc_fsync(int fd) { return (int)bnnc_call(NR_fsync, fd, 0, 0, 0, 0, 0); }
BNNC_FN int bnnc_close(int fd) { return (int)bnnc_call(NR_close, fd, 0, 0, 0, 0, 0); }
BNNC_FN int bnnc_rename(const char *from, const char *to) {
    return (int)bnnc_call(NR_renameat, BNNC_AT_CWD, (long)from, BNNC_AT_CWD, (long)to, 0, 0);
}
BNNC_FN int bnnc_mkdir(const char *path) { return (int)bnnc_call(NR_mkdirat, BNNC_AT_CWD, (long)path, 0755, 0, 0, 0); }
BNNC_FN int bnnc_unlink(const char *path) { return (int)bnnc_call(NR_unlinkat, BNNC_AT_CWD, (long)path, 0, 0, 0, 0); }
#ifdef BNNC_32_BIT
BNNC_FN int bnnc_truncate(int fd, uint64_t n) {
    return (int)bnnc_call(NR_ftruncate, fd, 0, (long)(uint32_t)n, (long)(uint32_t)(n >> 32), 0, 0);
}
BNNC_FN int64_t bnnc_size(int fd) {
    int64_t end = 0;
    long r = bnnc_call(NR_lseek, fd, 0, 0, (long)&end, 2 /* SEEK_END */, 0);
    return r < 0 ? r : end;
}
#else
BNNC_FN int bnnc_truncate(int fd, uint64_t n) { return (int)bnnc_call(NR_ftruncate, fd, (long)n, 0, 0, 0, 0); }
BNNC_FN int64_t bnnc_size(int fd) { return bnnc_call(NR_lseek, fd, 0, 2 /* SEEK_END */, 0, 0, 0); }
#endif
BNNC_FN bool bnnc_isatty(int fd) {
    uint8_t termios[64];
    return bnnc_call(NR_ioctl, fd, 0x5401 /* TCGETS */, (long)termios, 0, 0, 0) == 0;
}
BNNC_FN void bnnc_yield(void) { (void)bnnc_call(NR_yield, 0, 0, 0, 0, 0, 0); }
BNNC_FN int bnnc_pid(void) { return (int)bnnc_call(NR_getpid, 0, 0, 0, 0, 0, 0); }
BNNC_FN void bnnc_no_huge_pages(void) { (void)bnnc_call(NR_prctl, 41 /* PR_SET_THP_DISABLE */, 1, 0, 0, 0, 0); }
BNNC_FN _Noreturn void bnnc_exit(int code) {
    for (;;) bnnc_call(NR_exit_group, code, 0, 0, 0, 0, 0);
}

BNNC_FN uint64_t bnnc_clock_ns(void) {
    bnnc_time t[2] = {0, 0};
    (void)bnnc_call(NR_clock_gettime, 1 /* CLOCK_MONOTONIC */, (long)t, 0, 0, 0, 0);
    return (uint64_t)t[0] * 1000000000u + (uint64_t)t[1];
}

/* The CPUs this thread may run on, one bit each. */
BNNC_FN void bnnc_get_cpus(uint64_t mask[16]) {
    for (int i = 0; i < 16; i++) mask[i] = 0;
    if (bnnc_call(NR_sched_getaffinity, 0, 128, (long)mask, 0, 0, 0) < 0) mask[0] = 1;
}
BNNC_FN void bnnc_set_cpus(const uint64_t mask[16]) {
    (void)bnnc_call(NR_sched_setaffinity, 0, 128, (long)mask, 0, 0, 0);
}
BNNC_FN int bnnc_this_cpu(void) {
    unsigned cpu = 0;
    return bnnc_call(NR_getcpu, (long)&cpu, 0, 0, 0, 0, 0) < 0 ? 0 : (int)cpu;
}

void bnnc_sigreturn(void);
BNNC_FN void bnnc_on_signal(int number) { atomic_store(&bnnc_signal, number); }
BNNC_FN void bnnc_catch_signals(void) {
    struct {
        void (*handler)(int);
        unsigned long flags;
        void (*restorer)(void);
        unsigned long mask[8 / sizeof(long)];
    } a = {bnnc_on_signal, 0x04000004 /* SA_RESTORER, and SA_SIGINFO: a frame for rt_sigreturn */, bnnc_sigreturn, {0}},
      old = a;
    (void)bnnc_call(NR_rt_sigaction, 2 /* SIGINT */, (long)&a, 0, 8, 0, 0);
    (void)bnnc_call(NR_rt_sigaction, 15 /* SIGTERM */, (long)&a, 0, 8, 0, 0);
    for (int i = 0; i < 2; i++) { /* what nohup or a service manager has set to be ignored (1, SIG_IGN) stays so */
        const int number = i ? 13 /* SIGPIPE */ : 1 /* SIGHUP */;
        if (!bnnc_call(NR_rt_sigaction, number, 0, (long)&old, 8, 0, 0) && (uintptr_t)old.handler != 1)
            (void)bnnc_call(NR_rt_sigaction, number, (long)&a, 0, 8, 0, 0);
    }
}

BNNC_FN void bnnc_futex_wait(_Atomic uint32_t *word, uint32_t expected) {
    (void)bnnc_call(NR_futex, (long)word, 128 /* WAIT_PRIVATE */, (long)expected, 0, 0, 0);
}
BNNC_FN void bnnc_futex_wake(_Atomic uint32_t *word, int n) {
    (void)bnnc_call(NR_futex, (long)word, 129 /* WAKE_PRIVATE */, n, 0, 0, 0);
}

/* Starts fn(arg) on the given stack with signals blocked, so that only the main thread sees them. */
typedef struct {
    char unused;
} bnnc_thread_call;
long bnnc_clone(long flags, void *stack_top, void (*fn)(void *), void *arg);
BNNC_FN int bnnc_thread_start(void (*fn)(void *), void *arg, void *stack, uint32_t bytes, bnnc_thread_call *call) {
    /* CLONE_VM | FS | FILES | SIGHAND | THREAD | SYSVSEM: a thread of this process, without thread-local storage */
    const long flags = 0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x40000;
    uint64_t all = ~(uint64_t)0, old = 0;
    (void)call;
    (void)bnnc_call(NR_rt_sigprocmask, 2 /* SIG_SETMASK */, (long)&all, (long)&old, 8, 0, 0);
    long r = bnnc_clone(flags, (uint8_t *)stack + bytes, fn, arg);
    (void)bnnc_call(NR_rt_sigprocmask, 2, (long)&old, 0, 8, 0, 0);
    return r < 0 ? (int)r : 0;
}

/* The program's main function, and _start's way to it. */
#define BNNC_ENTRY(function) \
    __attribute__((used, noreturn)) static void bnnc_start(long *sp) { \
        char **argv = (char **)(void *)(sp + 1); \
        bnnc_exit(function((int)sp[0], argv, argv + sp[0] + 1)); \
    }

#endif

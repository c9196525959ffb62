/* bnnc_sys_posix.h: the hosted half of bnnc_sys.h, over libc and pthreads. See there for the contract. */
#ifndef BNNC_SYS_POSIX_H
#define BNNC_SYS_POSIX_H
#include "bnnc_sys_common.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h> /* rename; no stream is ever opened */
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define BNNC_STACK_MORE \
    (64 * 1024) /* of each thread's: pthreads keep data of their own there, and any compiler's frames must fit */

extern char **environ;

BNNC_FN int64_t bnnc_ret(int64_t r) { return r < 0 ? -(int64_t)errno : r; }
BNNC_FN int bnnc_reti(int r) { return r < 0 ? -errno : r; }

BNNC_FN int bnnc_open(const char *path, int how) {
    static const int flags[] = {O_RDONLY, O_WRONLY | O_CREAT | O_TRUNC, O_RDWR | O_CREAT,
                                O_WRONLY | O_CREAT | O_APPEND};
    return bnnc_reti(open(path, flags[how] | O_CLOEXEC, 0644));
}
BNNC_FN int64_t bnnc_read(int fd, void *p, uint64_t n) { return bnnc_ret(read(fd, p, (size_t)n)); }
BNNC_FN int64_t bnnc_write(int fd, const void *p, uint64_t n) { return bnnc_ret(write(fd, p, (size_t)n)); }
BNNC_FN int64_t bnnc_pread(int fd, void *p, uint64_t n, uint64_t off) {
    return bnnc_ret(pread(fd, p, (size_t)n, (off_t)off));
}
BNNC_FN int64_t bnnc_pwrite(int fd, const void *p, uint64_t n, uint64_t off) {
    return bnnc_ret(pwrite(fd, p, (size_t)n, (off_t)off));
}
BNNC_FN int64_t bnnc_preadv2(int fd, void *a, uint32_t na, void *b, uint32_t nb, uint64_t off) {
    struct iovec v[2] = {{a, na}, {b, nb}};
    return bnnc_ret(preadv(fd, v, 2, (off_t)off));
}
BNNC_FN int bnnc_fsync(int fd) { return bnnc_reti(fsync(fd)); }
BNNC_FN int bnnc_close(int fd) { return bnnc_reti(close(fd)); }
BNNC_FN int bnnc_rename(const char *from, const char *to) { return bnnc_reti(rename(from, to)); }
BNNC_FN int bnnc_mkdir(const char *path) { return bnnc_reti(mkdir(path, 0755)); }
BNNC_FN int bnnc_unlink(const char *path) { return bnnc_reti(unlink(path)); }
BNNC_FN int bnnc_truncate(int fd, uint64_t n) { return bnnc_reti(ftruncate(fd, (off_t)n)); }
BNNC_FN int64_t bnnc_size(int fd) { return bnnc_ret(lseek(fd, 0, SEEK_END)); }
BNNC_FN bool bnnc_isatty(int fd) { return isatty(fd) == 1; }
BNNC_FN void bnnc_yield(void) { (void)sched_yield(); }
BNNC_FN int bnnc_pid(void) { return (int)getpid(); }
BNNC_FN void bnnc_no_huge_pages(void) { (void)prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0); }
BNNC_FN _Noreturn void bnnc_exit(int code) { exit(code); }

BNNC_FN uint64_t bnnc_clock_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* The CPUs this thread may run on, one bit each. */
BNNC_FN void bnnc_get_cpus(uint64_t mask[16]) {
    memset(mask, 0, 128);
    if (syscall(SYS_sched_getaffinity, 0, (size_t)128, mask) < 0) mask[0] = 1;
}
BNNC_FN void bnnc_set_cpus(const uint64_t mask[16]) { syscall(SYS_sched_setaffinity, 0, (size_t)128, mask); }
BNNC_FN int bnnc_this_cpu(void) {
    unsigned cpu = 0;
    return syscall(SYS_getcpu, &cpu, NULL, NULL) < 0 ? 0 : (int)cpu;
}

BNNC_FN void bnnc_on_signal(int number) { atomic_store(&bnnc_signal, number); }
BNNC_FN void bnnc_catch_signals(void) {
    struct sigaction a;
    memset(&a, 0, sizeof a);
    a.sa_handler = bnnc_on_signal;
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
    for (int i = 0; i < 2; i++) { /* what nohup or a service manager has set to be ignored stays so */
        const int number = i ? SIGPIPE : SIGHUP;
        struct sigaction old;
        if (!sigaction(number, NULL, &old) && old.sa_handler != SIG_IGN) sigaction(number, &a, NULL);
    }
}

BNNC_FN void bnnc_futex_wait(_Atomic uint32_t *word, uint32_t expected) {
    syscall(SYS_futex, word, 128 /* WAIT_PRIVATE */, expected, NULL, NULL, 0);
}
BNNC_FN void bnnc_futex_wake(_Atomic uint32_t *word, int n) {
    syscall(SYS_futex, word, 129 /* WAKE_PRIVATE */, n, NULL, NULL, 0);
}

/* Starts fn(arg) on the given stack with signals blocked, so that only the main thread sees them. */
typedef struct {
    void (*fn)(void *);
    void *arg;
} bnnc_thread_call;
BNNC_FN void *bnnc_thread_entry(void *p) {
    bnnc_thread_call *c = p;
    c->fn(c->arg);
    return NULL;
}
BNNC_FN int bnnc_thread_start(void (*fn)(void *), void *arg, void *stack, uint32_t bytes, bnnc_thread_call *call) {
    sigset_t all, old;
    pthread_attr_t attr;
    pthread_t id;
    call->fn = fn;
    call->arg = arg;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pthread_attr_init(&attr);
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
    (void)stack, (void)bytes; /* sanitizers need larger stacks of their own */
#else
    pthread_attr_setstack(&attr, stack, bytes);
#endif
    int r = pthread_create(&id, &attr, bnnc_thread_entry, call);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return -r;
}

#define BNNC_ENTRY(function) \
    int main(int argc, char **argv) { return function(argc, argv, environ); }

#endif

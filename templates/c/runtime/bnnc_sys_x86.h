/* bnnc_sys_x86.h: the x86-64 half of bnnc_sys_raw.h: call numbers, the call itself, _start and clone. */
#ifndef BNNC_SYS_X86_H
#define BNNC_SYS_X86_H
#include "bnnc_sys_common.h"

enum {
    NR_read = 0,
    NR_write = 1,
    NR_close = 3,
    NR_lseek = 8,
    NR_rt_sigaction = 13,
    NR_rt_sigprocmask = 14,
    NR_ioctl = 16,
    NR_pread = 17,
    NR_pwrite = 18,
    NR_yield = 24,
    NR_getpid = 39,
    NR_fsync = 74,
    NR_ftruncate = 77,
    NR_prctl = 157,
    NR_futex = 202,
    NR_sched_setaffinity = 203,
    NR_sched_getaffinity = 204,
    NR_clock_gettime = 228,
    NR_exit_group = 231,
    NR_openat = 257,
    NR_mkdirat = 258,
    NR_unlinkat = 263,
    NR_renameat = 264,
    NR_preadv = 295,
    NR_getcpu = 309
};

BNNC_FN long bnnc_call(long nr, long a, long b, long c, long d, long e, long f) {
    register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
    long r;
    __asm__ volatile("syscall"
                     : "=a"(r)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return r;
}

/* The kernel enters with argc at the stack pointer. clone: the child finds fn and arg on its new stack. */
__asm__(".text\n"
        ".globl _start\n"
        "_start:\n  xor %ebp,%ebp\n  mov %rsp,%rdi\n  and $-16,%rsp\n  call bnnc_start\n  hlt\n"
        "bnnc_clone:\n"
        "  and $-16,%rsi\n  sub $16,%rsi\n  mov %rdx,(%rsi)\n  mov %rcx,8(%rsi)\n"
        "  xor %edx,%edx\n  xor %r10d,%r10d\n  xor %r8d,%r8d\n"
        "  mov $56,%eax\n  syscall\n  test %rax,%rax\n  jnz 1f\n"
        "  xor %ebp,%ebp\n  pop %rax\n  pop %rdi\n  call *%rax\n"
        "  mov $60,%eax\n  xor %edi,%edi\n  syscall\n"
        "1: ret\n"
        "bnnc_sigreturn:\n  mov $15,%eax\n  syscall\n");

/* rep movsb: one instruction, fast on every CPU of the last ten years, and no compiler turns it into a call of itself
 * */
void *memcpy(void *restrict d, const void *restrict s, size_t n) {
    void *r = d;
    __asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n) : : "memory");
    return r;
}
void *memset(void *d, int c, size_t n) {
    void *r = d;
    __asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"(c) : "memory");
    return r;
}

#endif

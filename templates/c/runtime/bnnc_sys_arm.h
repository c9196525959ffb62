/* bnnc_sys_arm.h: the ARM half of bnnc_sys_raw.h: call numbers, the call itself, _start and clone; aarch64 and arm EABI.
 *
 * _start looks at the hardware capabilities that the kernel hands over before any instruction runs that this program was
 * compiled to use: on an older CPU it says so and exits with BNNC_E_CPU instead of dying of an illegal instruction.
 */
#ifndef BNNC_SYS_ARM_H
#define BNNC_SYS_ARM_H
#include "bnnc_sys_common.h"

#define BNNC_TEXT2(x) #x
#define BNNC_TEXT(x) BNNC_TEXT2(x)
#define BNNC_BYTE_LOOPS 1
/* Bits of AT_HWCAP (asm/hwcap.h) that the compiler's feature macros ask for. */
#ifdef __aarch64__
enum {
    BNNC_NEED = 1 << 0 | 1 << 1 /* FP, ASIMD */
#ifdef __ARM_FEATURE_CRC32
    | 1 << 7
#endif
#ifdef __ARM_FEATURE_ATOMICS
    | 1 << 8
#endif
#ifdef __ARM_FEATURE_FP16_VECTOR_ARITHMETIC
    | 1 << 9 | 1 << 10
#endif
#ifdef __ARM_FEATURE_DOTPROD
    | 1 << 20
#endif
};
#else
enum {
    BNNC_NEED = 1 << 6 | 1 << 15 /* VFP, and a thread register: ARMv6K and later */
#ifdef __ARM_NEON
    | 1 << 12
#endif
#ifdef __ARM_FEATURE_FMA /* VFPv4, which converts halves */
    | 1 << 16
#endif
#if defined(__ARM_FEATURE_IDIV) && __ARM_ARCH_ISA_THUMB == 2
    | 1 << 17 | 1 << 18
#endif
};
#endif
__attribute__((used)) static const uint32_t bnnc_need = BNNC_NEED;
#define BNNC_OLD_CPU \
    "this program was compiled for a newer CPU than this one\\n  hint: bnnc targets lists what to compile for " \
    "instead\\n"

#ifdef __aarch64__
enum {
    NR_read = 63,
    NR_write = 64,
    NR_close = 57,
    NR_lseek = 62,
    NR_rt_sigaction = 134,
    NR_rt_sigprocmask = 135,
    NR_ioctl = 29,
    NR_pread = 67,
    NR_pwrite = 68,
    NR_yield = 124,
    NR_getpid = 172,
    NR_fsync = 82,
    NR_ftruncate = 46,
    NR_prctl = 167,
    NR_futex = 98,
    NR_sched_setaffinity = 122,
    NR_sched_getaffinity = 123,
    NR_clock_gettime = 113,
    NR_exit_group = 94,
    NR_openat = 56,
    NR_mkdirat = 34,
    NR_unlinkat = 35,
    NR_renameat = 38,
    NR_preadv = 69,
    NR_getcpu = 168
};

BNNC_FN long bnnc_call(long nr, long a, long b, long c, long d, long e, long f) {
    register long x8 __asm__("x8") = nr, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c,
                     x3 __asm__("x3") = d, x4 __asm__("x4") = e, x5 __asm__("x5") = f;
    __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory", "cc");
    return x0;
}

/* The stack: argc, argv, 0, environment, 0, then pairs of the auxiliary vector; 16 is AT_HWCAP. */
__asm__(".text\n"
        ".globl _start\n"
        "_start:\n  mov x29,#0\n  mov x30,#0\n  mov x0,sp\n  and sp,x0,#-16\n"
        "  ldr x1,[x0]\n  add x2,x0,x1,lsl #3\n  add x2,x2,#16\n"
        "1: ldr x3,[x2],#8\n  cbnz x3,1b\n"
        "2: ldp x3,x4,[x2],#16\n  cbz x3,3f\n  cmp x3,#16\n  b.ne 2b\n"
        "  adrp x5,bnnc_need\n  add x5,x5,:lo12:bnnc_need\n  ldr w5,[x5]\n  bic w5,w5,w4\n  cbnz w5,4f\n"
        "3: b bnnc_start\n"
        "4: mov x0,#2\n  adr x1,5f\n  mov x2,#(6f - 5f)\n  mov x8,#64\n  svc #0\n"
        "  mov x0,#7\n  mov x8,#94\n  svc #0\n"
        "5: .ascii \"" BNNC_OLD_CPU "\"\n6:\n  .balign 4\n"
        "bnnc_clone:\n"
        "  and x1,x1,#-16\n  stp x2,x3,[x1,#-16]!\n  mov x2,#0\n  mov x3,#0\n  mov x4,#0\n"
        "  mov x8,#220\n  svc #0\n  cbz x0,1f\n  ret\n"
        "1: mov x29,#0\n  mov x30,#0\n  ldp x9,x0,[sp],#16\n  blr x9\n"
        "  mov x8,#93\n  mov x0,#0\n  svc #0\n"
        "bnnc_sigreturn:\n  mov x8,#139\n  svc #0\n");

#else /* arm EABI; no compiler's library is linked: Debian's holds ARMv7 code, which ends a program on a Pi Zero */
enum {
    NR_read = 3,
    NR_write = 4,
    NR_close = 6,
    NR_lseek = 140,
    NR_rt_sigaction = 174,
    NR_rt_sigprocmask = 175,
    NR_ioctl = 54,
    NR_pread = 180,
    NR_pwrite = 181,
    NR_yield = 158,
    NR_getpid = 20,
    NR_fsync = 118,
    NR_ftruncate = 194,
    NR_prctl = 172,
    NR_futex = 240,
    NR_sched_setaffinity = 241,
    NR_sched_getaffinity = 242,
    NR_clock_gettime = 263,
    NR_exit_group = 248,
    NR_openat = 322,
    NR_mkdirat = 323,
    NR_unlinkat = 328,
    NR_renameat = 329,
    NR_preadv = 361,
    NR_getcpu = 345
};
#define BNNC_32_BIT 1 /* a 64-bit offset is two arguments */

BNNC_FN long bnnc_call(long nr, long a, long b, long c, long d, long e, long f) {
    register long r0 __asm__("r0") = a, r1 __asm__("r1") = b, r2 __asm__("r2") = c, r3 __asm__("r3") = d,
                     r4 __asm__("r4") = e, r5 __asm__("r5") = f;
    long r7; /* in Thumb code r7 may be the frame pointer, so it is put back by hand */
    __asm__ volatile("mov %[r7], r7\n  mov r7, %[nr]\n  svc #0\n  mov r7, %[r7]"
                     : "+r"(r0), [r7] "=&r"(r7)
                     : [nr] "r"(nr), "r"(r1), "r"(r2), "r"(r3), "r"(r4), "r"(r5)
                     : "memory", "cc");
    return r0;
}

/* As above, in instructions of ARMv5. */
__asm__(".text\n.syntax unified\n.arm\n"
        ".globl _start\n.type _start,%function\n.type bnnc_clone,%function\n.type bnnc_sigreturn,%function\n"
        "_start:\n  mov r11,#0\n  mov lr,#0\n  mov r0,sp\n  bic sp,sp,#15\n"
        "  ldr r1,[r0]\n  add r2,r0,r1,lsl #2\n  add r2,r2,#8\n"
        "1: ldr r3,[r2],#4\n  cmp r3,#0\n  bne 1b\n"
        "2: ldr r3,[r2],#4\n  ldr r4,[r2],#4\n  cmp r3,#0\n  beq 3f\n  cmp r3,#16\n  bne 2b\n"
        "  ldr r5,7f\n  ldr r5,[r5]\n  bics r5,r5,r4\n  bne 4f\n"
        "3: bl bnnc_start\n"
        "4: mov r0,#2\n  adr r1,5f\n  ldr r2,8f\n  mov r7,#4\n  svc #0\n"
        "  mov r0,#7\n  mov r7,#248\n  svc #0\n"
        "7: .word bnnc_need\n8: .word 6f - 5f\n"
        "5: .ascii \"" BNNC_OLD_CPU "\"\n6:\n  .balign 4\n"
        "bnnc_clone:\n"
        "  push {r4,r7}\n  bic r1,r1,#15\n  sub r1,r1,#16\n  str r2,[r1]\n  str r3,[r1,#4]\n"
        "  mov r2,#0\n  mov r3,#0\n  mov r4,#0\n  mov r7,#120\n  svc #0\n  cmp r0,#0\n  beq 1f\n"
        "  pop {r4,r7}\n  bx lr\n"
        "1: mov r11,#0\n  ldr r12,[sp]\n  ldr r0,[sp,#4]\n  add sp,sp,#16\n  blx r12\n"
        "  mov r7,#1\n  mov r0,#0\n  svc #0\n"
        "bnnc_sigreturn:\n  mov r7,#173\n  svc #0\n");

/* What the EABI has a compiler call for (run-time ABI, 4.2 and 4.3); r0:r1 hold a u64, so a pair of results is one.
 * Floats are passed in core registers, whatever the program does elsewhere. */
#define BNNC_BASE_PCS __attribute__((pcs("aapcs")))
uint32_t __aeabi_uidiv(uint32_t n, uint32_t d);
uint64_t __aeabi_uidivmod(uint32_t n, uint32_t d), bnnc_divide(uint64_t n, uint64_t d, uint64_t *rest);
int32_t __aeabi_idiv(int32_t n, int32_t d);
uint64_t __aeabi_idivmod(int32_t n, int32_t d);
BNNC_BASE_PCS double __aeabi_ul2d(uint64_t x), __aeabi_l2d(int64_t x);
BNNC_BASE_PCS float __aeabi_ul2f(uint64_t x), __aeabi_l2f(int64_t x);
BNNC_BASE_PCS uint64_t __aeabi_d2ulz(double x), __aeabi_f2ulz(float x);
BNNC_BASE_PCS int64_t __aeabi_d2lz(double x);

/* Long division, one bit of the quotient a turn; 0 where d is 0. */
uint64_t bnnc_divide(uint64_t n, uint64_t d, uint64_t *rest) {
    uint64_t q = 0;
    if (d && n >= d) {
        int s = __builtin_clzll(d) - __builtin_clzll(n);
        for (d <<= s; s >= 0; s--, d >>= 1)
            if (n >= d) n -= d, q |= (uint64_t)1 << s;
    }
    *rest = n;
    return q;
}
uint64_t __aeabi_uidivmod(uint32_t n, uint32_t d) {
    uint32_t q = 0;
    if (d && n >= d) {
        int s = __builtin_clz(d) - __builtin_clz(n);
        for (d <<= s; s >= 0; s--, d >>= 1)
            if (n >= d) n -= d, q |= 1u << s;
    }
    return (uint64_t)n << 32 | q;
}
uint32_t __aeabi_uidiv(uint32_t n, uint32_t d) { return (uint32_t)__aeabi_uidivmod(n, d); }
uint64_t __aeabi_idivmod(int32_t n, int32_t d) { /* truncated; the rest has the sign of n */
    const uint64_t u = __aeabi_uidivmod(n < 0 ? 0u - (uint32_t)n : (uint32_t)n, d < 0 ? 0u - (uint32_t)d : (uint32_t)d);
    const uint32_t q = (uint32_t)u, r = (uint32_t)(u >> 32);
    return (uint64_t)(n < 0 ? 0u - r : r) << 32 | ((n ^ d) < 0 ? 0u - q : q);
}
int32_t __aeabi_idiv(int32_t n, int32_t d) { return (int32_t)(uint32_t)__aeabi_idivmod(n, d); }
/* quotient in r0:r1, rest in r2:r3 */
__asm__(".text\n.syntax unified\n.arm\n.globl __aeabi_uldivmod\n.type __aeabi_uldivmod,%function\n"
        "__aeabi_uldivmod:\n  push {r4,lr}\n  sub sp,sp,#16\n  add r4,sp,#8\n  str r4,[sp]\n  bl bnnc_divide\n"
        "  ldr r2,[sp,#8]\n  ldr r3,[sp,#12]\n  add sp,sp,#16\n  pop {r4,pc}\n"
#if defined(__thumb__)
        ".thumb\n"
#endif
);
/* Each half is exact, so the sum rounds once. */
double __aeabi_ul2d(uint64_t x) { return (double)(uint32_t)(x >> 32) * 0x1p32 + (double)(uint32_t)x; }
double __aeabi_l2d(int64_t x) { return (double)(int32_t)(x >> 32) * 0x1p32 + (double)(uint32_t)x; }
/* What does not fit a double is first cut to 53 bits, with a bit set for what was cut: then only the last step rounds. */
float __aeabi_ul2f(uint64_t x) {
    if (x >> 53) x = (x & ~(uint64_t)0xfff) | (uint64_t)((x & 0xfff) != 0) << 11;
    return (float)__aeabi_ul2d(x);
}
float __aeabi_l2f(int64_t x) {
    const float y = __aeabi_ul2f(x < 0 ? 0u - (uint64_t)x : (uint64_t)x);
    return x < 0 ? -y : y;
}
uint64_t __aeabi_d2ulz(double x) {
    const uint32_t high = (uint32_t)(x * 0x1p-32);
    return (uint64_t)high << 32 | (uint32_t)(x - (double)high * 0x1p32);
}
uint64_t __aeabi_f2ulz(float x) { return __aeabi_d2ulz((double)x); }
int64_t __aeabi_d2lz(double x) { return x < 0 ? -(int64_t)__aeabi_d2ulz(-x) : (int64_t)__aeabi_d2ulz(x); }
#endif
#endif

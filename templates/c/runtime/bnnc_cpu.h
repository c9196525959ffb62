/* bnnc_cpu.h: which kernels this CPU can run.
 *
 * bnnc_cpu_level(): on x86 0 base, 1 avx2 (AVX2, F16C, POPCNT), 2 avx512 (also AVX-512 F, BW, DQ, VL, VPOPCNTDQ), asking cpuid and,
 * since the operating system must save the registers, xgetbv; on a 64-bit ARM 0 neon, 1 dotprod (products of bytes, ARMv8.2), asking
 * what Linux says of the CPU; elsewhere 0. What a whole program was compiled to need is asked before it begins (bnnc_sys_arm.h).
 * All levels compute the same bits. The flag --isa, or else BNNC_ISA, chooses a lower level; bnnc_cpu_choose has the last word.
 */
#ifndef BNNC_CPU_H
#define BNNC_CPU_H
#include "bnnc_fmt.h"
#ifdef BNNC_APART
#include "bnnc_apart.h"
#endif
#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

#if defined(__x86_64__) || defined(__i386__)
#define BNNC_CPU_NAMES "base, avx2, avx512"
static const char *const bnnc_cpu_names[] = {"base", "avx2", "avx512"};
#elif defined(__aarch64__) && defined(__ARM_NEON) && defined(BNNC_HAS_DOTPROD)
#define BNNC_CPU_NAMES "neon, dotprod"
static const char *const bnnc_cpu_names[] = {"neon", "dotprod"};
#elif defined(__ARM_FEATURE_DOTPROD) && defined(__ARM_NEON)
#define BNNC_CPU_NAMES "dotprod"
static const char *const bnnc_cpu_names[] = {"dotprod"};
#elif defined(__ARM_NEON)
#define BNNC_CPU_NAMES "neon"
static const char *const bnnc_cpu_names[] = {"neon"};
#else
#define BNNC_CPU_NAMES "scalar"
static const char *const bnnc_cpu_names[] = {"scalar"};
#endif
enum { BNNC_CPU_LEVELS = sizeof bnnc_cpu_names / sizeof bnnc_cpu_names[0] };
static int bnnc_cpu_chosen = -1; /* set by bnnc_cpu_choose */

#if defined(__x86_64__) || defined(__i386__)
BNNC_COLD int bnnc_cpu_detect(void) {
    uint32_t a, b, c, d, xcr0, high;
    if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
    const uint32_t need1 = 1u << 23 /* POPCNT */ | 1u << 27 /* OSXSAVE */ | 1u << 28 /* AVX */ | 1u << 29 /* F16C */;
    if ((c & need1) != need1) return 0;
    __asm__ volatile("xgetbv" : "=a"(xcr0), "=d"(high) : "c"(0));
    if ((xcr0 & 0x06) != 0x06) return 0; /* XMM, YMM */
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & 1u << 5 /* AVX2 */)) return 0;
    const uint32_t need7 = 1u << 16 /* F */ | 1u << 17 /* DQ */ | 1u << 30 /* BW */ | 1u << 31 /* VL */;
    if ((b & need7) != need7 || !(c & 1u << 14 /* VPOPCNTDQ */)) return 1;
    return (xcr0 & 0xE6) == 0xE6 ? 2 : 1; /* opmask, upper halves of ZMM */
}
#elif defined(__aarch64__)
BNNC_COLD int bnnc_cpu_detect(void) {
    return BNNC_CPU_LEVELS > 1 && (bnnc_told(16 /* AT_HWCAP */) >> 20 & 1) /* ASIMDDP */;
}
#else
BNNC_COLD int bnnc_cpu_detect(void) { return 0; }
#endif

BNNC_FN int bnnc_cpu_level(void) { return bnnc_cpu_chosen >= 0 ? bnnc_cpu_chosen : bnnc_cpu_detect(); }

/* From now on the kernels of this level, one that the CPU has; never while kernels run. */
BNNC_COLD void bnnc_cpu_switch(int level) {
#ifdef BNNC_APART
    if (bnnc_cpu_chosen >= 0) bnnc_unmap_kernels(bnnc_cpu_chosen);
    bnnc_map_kernels(level);
#endif
    bnnc_cpu_chosen = level;
}

/* Fixes the level for this run. `asked` is the flag's value, or NULL. */
BNNC_COLD void bnnc_cpu_choose(const char *asked) {
    const char *from = "--isa";
    int have = bnnc_cpu_detect(), want = have;
    if (!asked && (asked = bnnc_getenv("BNNC_ISA")) != NULL) from = "BNNC_ISA";
    if (asked && !bnnc_streq(asked, "auto")) {
        for (want = 0; want < BNNC_CPU_LEVELS && !bnnc_streq(asked, bnnc_cpu_names[want]); want++) {}
        if (want == BNNC_CPU_LEVELS)
            bnnc_fail(BNNC_E_USAGE, "%s: unknown level '%s'\n  hint: " BNNC_CPU_NAMES " or auto", from, asked);
        if (want > have)
            bnnc_fail(BNNC_E_CPU,
                      "%s asks for %s, but this CPU (or its operating system) has only %s\n"
                      "  hint: leave it out, and the best level that there is will be used; all give the same bits",
                      from, asked, bnnc_cpu_names[have]);
    }
    bnnc_cpu_switch(want);
}

#endif

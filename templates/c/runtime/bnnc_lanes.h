/* bnnc_lanes.h: the types of an instruction set's vectors, VL lanes of f32 or i32, and the smallest operations on them.
 *
 * Each instruction set (BNNC_LEVEL: base, avx2, ..) includes this file, bnnc_vec.h and so on anew and gives every name its own
 * suffix, so that one program holds all of them; bnnc_end.h forgets what one has defined. Lanes are neighbouring columns.
 * A mask (`vi`) is all ones for true and for the bit +1, all zeros for false and -1.
 */
#ifndef BNNC_LANES_ONCE
#define BNNC_LANES_ONCE
#include <stdint.h>
#pragma GCC diagnostic ignored "-Wpsabi" /* every function that passes a vector is inlined: there is no ABI */
#define BNNC_CAT2(a, b) a##_##b
#define BNNC_CAT(a, b) BNNC_CAT2(a, b)
#define BNNC_AT_LEVEL(name) BNNC_CAT(name, BNNC_LEVEL)
#define VINLINE static inline __attribute__((always_inline, unused))
/* no_icf: kernels on the same bytes of the arena may be the same code, and gcc 12 then loses one of them (aarch64, -O2: the
 * function that is left counts as one that stores nothing) */
#ifdef BNNC_APART
#define BNNC_TEXT2(x) #x
#define BNNC_TEXT(x) BNNC_TEXT2(x)
#define BNNC_KERNEL static __attribute__((no_icf, section("bnnc_" BNNC_TEXT(BNNC_LEVEL)))) void
#elif defined(__GNUC__) && !defined(__clang__)
#define BNNC_KERNEL static __attribute__((no_icf)) void
#else
#define BNNC_KERNEL static void
#endif
#define BNNC_UNUSED __attribute__((unused))
#define VARRAY _Alignas(64) /* local arrays of vectors: no load crosses a cache line */
#define VTYPE(name, bytes) name __attribute__((vector_size((bytes) * VL), aligned(bytes), may_alias))
#define vf BNNC_AT_LEVEL(vf)
#define vi BNNC_AT_LEVEL(vi)
#define vu BNNC_AT_LEVEL(vu)
#define vb BNNC_AT_LEVEL(vb)
#define vc BNNC_AT_LEVEL(vc)
#define vs BNNC_AT_LEVEL(vs)
#define vh BNNC_AT_LEVEL(vh)
#define vbc BNNC_AT_LEVEL(vbc)
#define vbci BNNC_AT_LEVEL(vbci)
#define vcol BNNC_AT_LEVEL(vcol)
#define vseli BNNC_AT_LEVEL(vseli)
#define vld_u32 BNNC_AT_LEVEL(vld_u32)
#define vst_u32 BNNC_AT_LEVEL(vst_u32)
#endif

#ifndef BNNC_LANES_H
#define BNNC_LANES_H
#ifndef VL
#define VL 1 /* no vectors */
#endif

typedef float VTYPE(vf, 4);
typedef int32_t VTYPE(vi, 4);
typedef uint32_t VTYPE(vu, 4);
typedef uint8_t VTYPE(vb, 1);
typedef int8_t VTYPE(vc, 1);
typedef int16_t VTYPE(vs, 2);
typedef uint16_t VTYPE(vh, 2);

VINLINE vf vbc(float x) { return x - (vf){0}; }

VINLINE vi vbci(int32_t x) { return x - (vi){0}; }

/* The column numbers c, c+1, ... */
VINLINE vi vcol(int c) {
    vi v = {0};
    for (int i = 0; i < VL; i++) v[i] = c + i;
    return v;
}

VINLINE vi vseli(vi m, vi a, vi b) { return (m & a) | (~m & b); }

VINLINE vu vld_u32(const uint32_t *p) { return *(const vu *)p; }
VINLINE void vst_u32(uint32_t *p, vu v) { *(vu *)p = v; }

#endif

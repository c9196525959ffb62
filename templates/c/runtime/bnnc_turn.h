/* bnnc_turn.h: rows become columns in an instruction set's registers of one, two or four parts of 16 bytes: what bnnc_sse2.h and others
 * write vwturn and vwcross with.
 */
#ifndef BNNC_TURN_ONCE
#define BNNC_TURN_ONCE

/* Each part of 8 registers turned, by three riffles: low(a, b) and high(a, b) take elements of both in turn, from the lower or upper
 * half of each part. */
#define BNNC_RIFFLES(type, x, low, high) \
    do { \
        _Pragma("GCC unroll 3") for (int round = 0; round < 3; round++) { \
            type from[8]; \
            _Pragma("GCC unroll 8") for (int k = 0; k < 8; k++) from[k] = (x)[k]; \
            _Pragma("GCC unroll 4") for (int k = 0; k < 4; k++) { \
                (x)[2 * k] = low(from[k], from[k + 4]); \
                (x)[2 * k + 1] = high(from[k], from[k + 4]); \
            } \
        } \
    } while (0)

/* Rows of 16 bytes from p on to 16 columns of 16 bits: rows(p) are row p and each eighth after it, a part each, and wide_low(x) and
 * wide_high(x) a half's bytes in 16 bits. */
#define BNNC_TURN_BYTES(type, out, p, stride, rows, low, high, wide_low, wide_high) \
    do { \
        type x[8]; \
        _Pragma("GCC unroll 8") for (int k = 0; k < 8; k++) x[k] = rows((p) + k * (stride)); \
        BNNC_RIFFLES(type, x, low, high); \
        _Pragma("GCC unroll 8") for (int k = 0; k < 8; k++) { \
            ((type *)(void *)(out))[2 * k] = wide_low(x[k]); \
            ((type *)(void *)(out))[2 * k + 1] = wide_high(x[k]); \
        } \
    } while (0)
#endif

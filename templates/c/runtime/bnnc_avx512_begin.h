/* bnnc_avx512_begin.h: from here to bnnc_end.h functions are for AVX-512, whatever the rest of the program is for. */
#ifdef __clang__
#pragma clang attribute push( \
    __attribute__((target("avx2,f16c,popcnt,bmi,bmi2,avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,f16c,popcnt,bmi,bmi2,avx512f,avx512bw,avx512dq,avx512vl,avx512vpopcntdq")
#endif
#define BNNC_BEGUN 1
#define BNNC_LEVEL avx512
#define BNNC_FOR_AVX512 1 /* clang defines no macro for it */

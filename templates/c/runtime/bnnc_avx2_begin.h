/* bnnc_avx2_begin.h: from here to bnnc_end.h functions are for AVX2, whatever the rest of the program is for. */
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,f16c,popcnt,bmi,bmi2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,f16c,popcnt,bmi,bmi2")
#endif
#define BNNC_BEGUN 1
#define BNNC_LEVEL avx2
#define BNNC_FOR_AVX2 1 /* clang defines no macro for it */

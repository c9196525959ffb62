/* bnnc_end.h: the end of an instruction set's kernels: what it defined is forgotten, so that the next one can begin. */
#ifdef BNNC_BEGUN
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#undef BNNC_BEGUN
#endif
#undef BNNC_LEVEL
#undef BNNC_ONLY
#undef BNNC_FOR_AVX2
#undef BNNC_FOR_AVX512
#undef BNNC_FOR_DOTPROD
#undef BNNC_LANES_H
#undef BNNC_VEC_H
#undef BNNC_BITS_H
#undef BNNC_IMAGE_H
#undef BNNC_WHOLE_H
#undef BNNC_RATE_H
#undef VL
/* What an instruction set may do better than bnnc_vec.h, bnnc_bits.h, bnnc_whole.h, bnnc_image.h and bnnc_num.h. */
#undef vsel
#undef vsum
#undef vmaxi
#undef vmini
#undef vsqrt
#undef vwiden_u8
#undef vwiden_i8
#undef vwiden_i16
#undef vwiden_f16
#undef vnarrow_i16
#undef vnarrow_i8
#undef vnarrow_f16
#undef vld_words
#undef vld_halves
#undef vst_words
#undef vst_halves
#undef vmovemask
#undef vbits
#undef vbit01
#undef vpop1
#undef vpop3
#undef vpopsum
#undef bnnc_f16_to_f32
#undef bnnc_f32_to_f16
#undef vlay
#undef bnnc_planes
#undef vweigh
#undef vtranspose
#undef vmulwide
#undef vturn8
#undef vwwide
#undef vwturn
#undef vwcross

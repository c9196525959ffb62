/* bnnc_states.h: the network's states: first values, bits and halves, the fingerprint of all. */
#ifndef BNNC_STATES_H
#define BNNC_STATES_H
#include "bnnc_crc.h"
#include "bnnc_net.h"
#include "bnnc_rng.h"

/* ---- half precision, rounded to nearest even ---- */
BNNC_FN float bnnc_half_to_f32(uint16_t h) {
  uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = h >> 10 & 31, m = h & 1023u, u;
  float f;
  if (e == 31) u = sign | 0x7F800000 | m << 13;
  else if (e) u = sign | (e + 112) << 23 | m << 13;
  else { /* subnormal or zero: exact in float */ f = (float)m * 0x1p-24f;
    return sign ? -f : f;
  }
  memcpy(&f, &u, 4);
  return f;
}

BNNC_FN uint16_t bnnc_f32_to_half(float f) {
  uint32_t u;
  memcpy(&u, &f, 4);
  uint32_t sign = u >> 16 & 0x8000, a = u & 0x7FFFFFFF;
  if (a > 0x7F800000) return (uint16_t)(sign | 0x7E00);
  if (a >= 0x477FF000) return (uint16_t)(sign | 0x7C00); /* rounds to 65536 or more */
  if (a < 0x38800000) {                                  /* below the smallest normal half: units of 2^-24 */
    float x, y = 8388608.0f;                             /* adding 2^23 rounds to an integer, ties to even */
    memcpy(&x, &a, 4);
    x = x * 0x1p24f + y - y;
    return (uint16_t)(sign | (uint32_t)x);
  }
  a += 0xFFF + (a >> 13 & 1);
  return (uint16_t)(sign | (a - 0x38000000) >> 13);
}

/* ---- one value of a state ---- */
BNNC_COLD void bnnc_state_set(const bnnc_state *s, uint32_t row, uint32_t col, float v) {
  const uint64_t i = (uint64_t)row * s->cols + col;
  uint8_t *base = bnnc_arena + s->offset;
  if (s->dtype == BNNC_F32) memcpy(base + i * 4, &v, 4);
  else if (s->dtype == BNNC_F16) {
    uint16_t h = bnnc_f32_to_half(v);
    memcpy(base + i * 2, &h, 2);
  } else if (s->dtype == BNNC_I32) {
    int32_t n = v > -2e9f && v < 2e9f ? (int32_t)v : 0;
    memcpy(base + i * 4, &n, 4);
  } else if (s->dtype == BNNC_U8) base[i] = v > 0 && v < 256 ? (uint8_t)v : 0;
  else { /* little-endian words: bit c is bit c%8 of byte c/8 */
    uint8_t *p = base + (uint64_t)row * ((s->cols + 31) / 32 * 4) + col / 8, mask = (uint8_t)(1u << col % 8);
    *p = (uint8_t)(v >= 0 ? *p | mask : *p & ~mask);
  }
}

BNNC_COLD bool bnnc_state_bit(const bnnc_state *s, uint32_t row, uint32_t col) {
  return bnnc_arena[s->offset + (uint64_t)row * ((s->cols + 31) / 32 * 4) + col / 8] >> col % 8 & 1;
}

/* First values of every state, from the seed. */
BNNC_COLD void bnnc_state_init(uint32_t seed) {
  memset(bnnc_arena + NET.state_begin, 0, NET.state_bytes);
  for (uint32_t k = 0; k < NET.n_state; k++) {
    const bnnc_state *s = &NET.state[k];
    uint64_t i = 0;
    uint32_t w[4] = {0};
    for (uint32_t r = 0; r < s->rows; r++)
      for (uint32_t c = 0; c < s->cols; c++, i++) {
        float v = s->init_value;
        if (s->init != BNNC_INIT_CONST && i % 4 == 0) bnnc_random4(seed, s->stream, i / 4, w);
        if (s->init == BNNC_INIT_UNIFORM) v = bnnc_uniform(w[i % 4], s->init_value);
        if (s->init == BNNC_INIT_SIGN) v = bnnc_random_bit(w[i % 4]) ? 1.0f : -1.0f;
        bnnc_state_set(s, r, c, v);
      }
  }
}

BNNC_COLD uint64_t bnnc_state_hash(void) {
  return bnnc_fnv64(0xCBF29CE484222325u, bnnc_arena + NET.state_begin, NET.state_bytes);
}

#endif

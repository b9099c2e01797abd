/* Tiles of a matrix product in registers: bfloat16 operands, float32 sums, AVX-512.
 *
 * A tile has `rows` rows and 16 * `wide` columns. Both are constants where a function is inlined, so that its sums stay
 * in registers. Products take pairs along the direction that is summed over: a pair of the left operand is broadcast,
 * those of the right one are adjacent: right[sum / 2][column][2]. */
#pragma once

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

typedef uint16_t bf16;

#define LANES 16     /* float32 numbers in a register */
#define MOST_ROWS 12 /* 24 registers of sums, two of the right operand, one of the left: 27 of 32 */
#define INLINE static inline __attribute__((always_inline))
#define UNROLLED _Pragma("GCC unroll 16")

/* Calls TILE(rows, wide, ...) with constants in place of the variables `rows` and `wide`. */
#define BY_SIZE(TILE, ...) \
  switch (rows) { \
    OF_HEIGHT(1, TILE, __VA_ARGS__) OF_HEIGHT(2, TILE, __VA_ARGS__) OF_HEIGHT(3, TILE, __VA_ARGS__) \
    OF_HEIGHT(4, TILE, __VA_ARGS__) OF_HEIGHT(5, TILE, __VA_ARGS__) OF_HEIGHT(6, TILE, __VA_ARGS__) \
    OF_HEIGHT(7, TILE, __VA_ARGS__) OF_HEIGHT(8, TILE, __VA_ARGS__) OF_HEIGHT(9, TILE, __VA_ARGS__) \
    OF_HEIGHT(10, TILE, __VA_ARGS__) OF_HEIGHT(11, TILE, __VA_ARGS__) OF_HEIGHT(12, TILE, __VA_ARGS__) \
  }
#define OF_HEIGHT(ROWS, TILE, ...) \
  case ROWS: \
    if (wide == 2) TILE(ROWS, 2, __VA_ARGS__); \
    else TILE(ROWS, 1, __VA_ARGS__); \
    break;

typedef struct {
  __m512 at[MOST_ROWS][2];
} tile;

INLINE __m512bh pair_everywhere(const bf16 *pair) {
  int32_t both;
  memcpy(&both, pair, sizeof both);
  return (__m512bh)_mm512_set1_epi32(both);
}

INLINE void tile_load(tile *sums, const int rows, const int wide, const float *from, long stride) {
  UNROLLED for (int row = 0; row < rows; row++)
    for (int j = 0; j < wide; j++) sums->at[row][j] = _mm512_loadu_ps(from + row * stride + j * LANES);
}

INLINE void tile_store(const tile *sums, const int rows, const int wide, float *to, long stride) {
  UNROLLED for (int row = 0; row < rows; row++)
    for (int j = 0; j < wide; j++) _mm512_storeu_ps(to + row * stride + j * LANES, sums->at[row][j]);
}

/* Adds the products of `steps` pairs to each sum: left[row * stride + step * left_step] and the number after it, times
 * right[step * right_step + 2 * column] and the number after that. */
INLINE void tile_multiply(tile *sums, const int rows, const int wide, const bf16 *left, long stride, long left_step,
                          const bf16 *right, long right_step, long steps) {
  for (long step = 0; step < steps; step++, left += left_step, right += right_step) {
    __m512bh columns[2];
    for (int j = 0; j < wide; j++) columns[j] = (__m512bh)_mm512_loadu_si512(right + 2 * LANES * j);
    UNROLLED for (int row = 0; row < rows; row++) {
      __m512bh value = pair_everywhere(left + row * stride);
      for (int j = 0; j < wide; j++) sums->at[row][j] = _mm512_dpbf16_ps(sums->at[row][j], value, columns[j]);
    }
  }
}

/* Returns the height of tiles that divide `rows` rows evenly. */
INLINE int even_height(int rows) {
  int tiles = (rows + MOST_ROWS - 1) / MOST_ROWS;
  return (rows + tiles - 1) / tiles;
}

INLINE int least(int a, int b) { return a < b ? a : b; }

/* Sets to[i] = (one[i], other[i]); a NULL other counts as zero. */
INLINE void interleave(const bf16 *one, const bf16 *other, bf16 *to, int64_t length) {
  __m512i low = _mm512_cvtepu16_epi32(_mm256_set_epi16(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0));
  low = _mm512_or_si512(low, _mm512_slli_epi32(_mm512_add_epi32(low, _mm512_set1_epi32(32)), 16));
  __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
  int64_t i = 0;
  for (; i + 32 <= length; i += 32) {
    __m512i a = _mm512_loadu_si512(one + i), b = other ? _mm512_loadu_si512(other + i) : _mm512_setzero_si512();
    _mm512_storeu_si512(to + 2 * i, _mm512_permutex2var_epi16(a, low, b));
    _mm512_storeu_si512(to + 2 * i + 32, _mm512_permutex2var_epi16(a, high, b));
  }
  if (i == length) return;
  __mmask32 rest = (1u << (length - i)) - 1;
  __m512i a = _mm512_maskz_loadu_epi16(rest, one + i);
  __m512i b = other ? _mm512_maskz_loadu_epi16(rest, other + i) : _mm512_setzero_si512();
  _mm512_mask_storeu_epi32(to + 2 * i, (__mmask16)rest, _mm512_permutex2var_epi16(a, low, b));
  _mm512_mask_storeu_epi32(to + 2 * i + 32, (__mmask16)(rest >> 16), _mm512_permutex2var_epi16(a, high, b));
}

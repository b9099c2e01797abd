/* Matrix products in AMX's tile registers: bfloat16 operands, float32 sums.
 *
 * Registers 0 to 3 hold sums, 16 columns each; 4 and 5 left operands [rows][steps][2]; 6 and 7 right operands
 * [steps][16][2]. `rows` and `steps` are at most 16 and the same for all. Pairs are as in tile.h. */
#pragma once

#include "convolution.h"

/* Says whether AMX is used: the processor has it, the system allows it and use_amx has not turned it off. */
int amx_in_use(void);

/* Turns AMX on (1, as at the start) or off (0); returns whether it is used now. */
int64_t use_amx(int64_t wanted);

#define AMX_ZERO(SUM) __asm__ volatile("tilezero %%tmm" #SUM ::)
#define AMX_LOAD(REGISTER, FROM, BYTES) \
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #REGISTER ::"r"(FROM), "r"((int64_t)(BYTES)) : "memory")
#define AMX_STORE(REGISTER, TO, BYTES) \
  __asm__ volatile("tilestored %%tmm" #REGISTER ", (%0,%1,1)" ::"r"(TO), "r"((int64_t)(BYTES)) : "memory")
#define AMX_ADD_PRODUCT(SUM, LEFT, RIGHT) \
  __asm__ volatile("tdpbf16ps %%tmm" #RIGHT ", %%tmm" #LEFT ", %%tmm" #SUM ::)

/* Prepares this thread's registers for sums of `rows` rows over `steps` pairs. Call amx_end when done. */
INLINE void amx_begin(int rows, int steps) {
  struct {
    uint8_t palette, start, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
  } shape = {.palette = 1};
  for (int i = 0; i < 8; i++) {
    shape.rows[i] = i < 6 ? rows : steps;
    shape.bytes[i] = i == 4 || i == 5 ? 4 * steps : 4 * LANES;
  }
  __asm__ volatile("ldtilecfg %0" ::"m"(shape) : "memory");
}

INLINE void amx_end(void) { __asm__ volatile("tilerelease" ::); }

/* Adds the products of `tall` left operands, `below` numbers apart, and `wide` right ones that are adjacent.
 * Rows of the left operands are left_row numbers apart, pairs of the right ones right_row numbers. */
INLINE void amx_multiply(const int tall, const int wide, const bf16 *left, long below, long left_row,
                         const bf16 *right, long right_row) {
  AMX_LOAD(4, left, 2 * left_row);
  AMX_LOAD(6, right, 2 * right_row);
  AMX_ADD_PRODUCT(0, 4, 6);
  if (wide == 2) {
    AMX_LOAD(7, right + 2 * LANES, 2 * right_row);
    AMX_ADD_PRODUCT(1, 4, 7);
  }
  if (tall == 2) {
    AMX_LOAD(5, left + below, 2 * left_row);
    AMX_ADD_PRODUCT(2, 5, 6);
    if (wide == 2) AMX_ADD_PRODUCT(3, 5, 7);
  }
}

INLINE void amx_zero(void) {
  AMX_ZERO(0);
  AMX_ZERO(1);
  AMX_ZERO(2);
  AMX_ZERO(3);
}

/* Stores sums: row `i` of the left operand `j` at to + (16 j + i) * row. */
INLINE void amx_store(const int tall, const int wide, float *to, long row) {
  AMX_STORE(0, to, 4 * row);
  if (wide == 2) AMX_STORE(1, to + LANES, 4 * row);
  if (tall == 2) AMX_STORE(2, to + LANES * row, 4 * row);
  if (tall == 2 && wide == 2) AMX_STORE(3, to + LANES * row + LANES, 4 * row);
}

/* Returns the largest divisor of a number up to 16: into so many rows or steps it divides evenly. */
INLINE int even_part(int64_t number) {
  int part = number < LANES ? number : LANES;
  while (number % part) part--;
  return part;
}

/* Says whether even parts of a number are large enough to be worth a register. */
INLINE int divides_well(int64_t number) { return 3 * even_part(number) >= (number < LANES ? number : LANES); }

/* Transposes 16 registers of 16 numbers of 32 bits. */
INLINE void transpose(__m512i *rows) {
  __m512i half[16];
  UNROLLED for (int i = 0; i < 16; i += 2) {
    half[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
    half[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
  }
  UNROLLED for (int i = 0; i < 16; i += 4) {
    rows[i] = _mm512_unpacklo_epi64(half[i], half[i + 2]);
    rows[i + 1] = _mm512_unpackhi_epi64(half[i], half[i + 2]);
    rows[i + 2] = _mm512_unpacklo_epi64(half[i + 1], half[i + 3]);
    rows[i + 3] = _mm512_unpackhi_epi64(half[i + 1], half[i + 3]);
  }
  UNROLLED for (int i = 0; i < 4; i++) { /* quarters of a register: 0 and 2 of two of them, then 1 and 3 */
    half[i] = _mm512_shuffle_i32x4(rows[i], rows[4 + i], 0x88);
    half[4 + i] = _mm512_shuffle_i32x4(rows[i], rows[4 + i], 0xdd);
    half[8 + i] = _mm512_shuffle_i32x4(rows[8 + i], rows[12 + i], 0x88);
    half[12 + i] = _mm512_shuffle_i32x4(rows[8 + i], rows[12 + i], 0xdd);
  }
  UNROLLED for (int i = 0; i < 8; i++) {
    rows[i] = _mm512_shuffle_i32x4(half[i], half[8 + i], 0x88);
    rows[8 + i] = _mm512_shuffle_i32x4(half[i], half[8 + i], 0xdd);
  }
}

/* Packs a left operand of 16 rows: to[row][step] = (one[step * apart + row], other[step * apart + row]). Numbers after
 * the first `ones` and `others` steps count as zero. */
INLINE void pack_left(const bf16 *one, const bf16 *other, long apart, int steps, int ones, int others, bf16 *to) {
  __m512i rows[LANES];
  for (int step = 0; step < LANES; step++) {
    __m512i first = _mm512_setzero_si512(), second = first;
    if (step < ones) first = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(one + step * apart)));
    if (step < others) second = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(other + step * apart)));
    rows[step] = _mm512_or_si512(first, _mm512_slli_epi32(second, 16));
  }
  transpose(rows);
  __mmask16 some = (__mmask16)((1u << steps) - 1);
  for (int row = 0; row < LANES; row++) _mm512_mask_storeu_epi32(to + 2 * row * steps, some, rows[row]);
}

/* The functions of convolution.c and outer.c in these registers, and whether the shapes suit them. `packed` holds up to
 * 8 images and their gradients, `scratch` both operands with the pairs of observations rounded up to whole steps. */
int amx_suits_weights(const layer *of);
void amx_gradients_of_weights(const layer *of, const bf16 *images, const bf16 *gradients, float *weights, float *bias,
                              bf16 *packed, int64_t count);
int amx_suits_outer_products(int64_t rows);
void amx_outer_products(const bf16 *left, const bf16 *right, float *result, bf16 *scratch, int64_t count, int64_t rows,
                        int64_t columns);

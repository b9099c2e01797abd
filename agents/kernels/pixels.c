/* Stacks of frames before the first convolution, and the features' order after the last. */
#include "pixels.h"

void stacks_of_frames(const uint8_t *frames, const int64_t *where, const int64_t *missing, bf16 *stacks, int64_t count,
                      int64_t envs, int64_t pixels, int64_t stack) {
  for (int64_t i = 0; i < count; i++, stacks += pixels * stack) {
    const uint8_t *first = frames + where[i] * pixels;
    int64_t short_of = missing[where[i]], p = 0;
    for (; stack == 4 && p + LANES <= pixels; p += LANES) {
      __m512i four = _mm512_setzero_si512(); /* 16 pixels, one byte per frame */
      for (int k = 3; k >= 0; k--) {
        four = _mm512_slli_epi32(four, 8);
        if (k < short_of) continue;
        const uint8_t *from = first + k * envs * pixels + p;
        four = _mm512_or_si512(four, _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)from)));
      }
      __m512 quarter[4] = {_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32(four, 0))),
                           _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32(four, 1))),
                           _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32(four, 2))),
                           _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm512_extracti32x4_epi32(four, 3)))};
      _mm512_storeu_si512(stacks + 4 * p, (__m512i)_mm512_cvtne2ps_pbh(quarter[1], quarter[0]));
      _mm512_storeu_si512(stacks + 4 * p + 32, (__m512i)_mm512_cvtne2ps_pbh(quarter[3], quarter[2]));
    }
    for (; p < pixels; p++)
      for (int k = 0; k < stack; k++) {
        float value = k < short_of ? 0 : first[k * envs * pixels + p];
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        stacks[p * stack + k] = bits >> 16; /* whole numbers up to 255 are exact */
      }
  }
}

void transposed(const bf16 *matrices, const bf16 *gate, bf16 *result, int64_t count, int64_t rows, int64_t columns) {
  int64_t size = rows * columns;
  for (int64_t i = 0; i < count; i++, matrices += size, result += size)
    for (int64_t row = 0; row < columns; row++)
      for (int64_t column = 0; column < rows; column++) {
        bf16 value = matrices[column * columns + row];
        result[row * rows + column] = !gate || gate[i * size + row * rows + column] ? value : 0;
      }
}

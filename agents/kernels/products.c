/* Inner products and mean of a few long float32 vectors. Bound by memory, which is read once for both. */
#include "tile.h"

#define CHUNK 2048 /* columns summed in float32, then in float64; those of a few rows fit the first-level cache */
#define LEFT 4     /* rows whose products with another row are summed at once */

/* Selects a register's worth of columns, or as many as are left. */
INLINE __mmask16 there(int64_t left) { return left < LANES ? (__mmask16)((1u << left) - 1) : (__mmask16)0xffff; }

INLINE void chunk_products(const int rows, const float *left, const float *right, int64_t stride, int64_t columns,
                           double *products, int64_t step) {
  __m512 sums[LEFT][2];
  UNROLLED for (int row = 0; row < rows; row++) sums[row][0] = sums[row][1] = _mm512_setzero_ps();
  int64_t i = 0;
  for (; i + 2 * LANES <= columns; i += 2 * LANES) {
    __m512 a = _mm512_loadu_ps(right + i), b = _mm512_loadu_ps(right + i + LANES);
    UNROLLED for (int row = 0; row < rows; row++) {
      sums[row][0] = _mm512_fmadd_ps(_mm512_loadu_ps(left + row * stride + i), a, sums[row][0]);
      sums[row][1] = _mm512_fmadd_ps(_mm512_loadu_ps(left + row * stride + i + LANES), b, sums[row][1]);
    }
  }
  for (; i < columns; i += LANES) {
    __mmask16 some = there(columns - i);
    __m512 a = _mm512_maskz_loadu_ps(some, right + i);
    UNROLLED for (int row = 0; row < rows; row++)
      sums[row][0] = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(some, left + row * stride + i), a, sums[row][0]);
  }
  UNROLLED for (int row = 0; row < rows; row++)
    products[row * step] += _mm512_reduce_add_ps(_mm512_add_ps(sums[row][0], sums[row][1]));
}

/* Adds a chunk's inner products of each row with itself and the rows before it. */
static void add_products(const float *vectors, int64_t stride, int64_t rows, int64_t columns, double *products) {
  for (int64_t right = 0; right < rows; right++)
    for (int64_t left = 0; left <= right; left += LEFT) {
      const float *a = vectors + left * stride, *b = vectors + right * stride;
      double *to = products + left * rows + right;
      switch (right + 1 - left) {
        case 1: chunk_products(1, a, b, stride, columns, to, rows); break;
        case 2: chunk_products(2, a, b, stride, columns, to, rows); break;
        case 3: chunk_products(3, a, b, stride, columns, to, rows); break;
        default: chunk_products(4, a, b, stride, columns, to, rows);
      }
    }
}

static void put_mean(float *vectors, int64_t stride, int64_t rows, int64_t columns) {
  __m512 share = _mm512_set1_ps(1.0f / rows);
  for (int64_t i = 0; i < columns; i += LANES) {
    __mmask16 some = there(columns - i);
    __m512 sum = _mm512_maskz_loadu_ps(some, vectors + i);
    for (int64_t row = 1; row < rows; row++)
      sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(some, vectors + row * stride + i));
    _mm512_mask_storeu_ps(vectors + i, some, _mm512_mul_ps(sum, share));
  }
}

/* Writes the inner products of rows, float32 [rows, columns] `stride` numbers apart, to float64 products [rows, rows].
 * If `mean`, replaces the first row by the mean of all, summed in order. */
void inner_products(float *vectors, int64_t stride, int64_t rows, int64_t columns, double *products, int64_t mean) {
  memset(products, 0, rows * rows * sizeof *products);
  for (int64_t begin = 0; begin < columns; begin += CHUNK) {
    int64_t some = columns - begin < CHUNK ? columns - begin : CHUNK;
    add_products(vectors + begin, stride, rows, some, products);
    if (mean) put_mean(vectors + begin, stride, rows, some);
  }
  for (int64_t row = 0; row < rows; row++)
    for (int64_t column = 0; column < row; column++) products[row * rows + column] = products[column * rows + row];
}

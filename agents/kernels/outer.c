/* Sums of outer products: the gradient by a fully connected layer's weights. */
#include "amx.h"

#define HEIGHT 8
#define WIDTH (2 * LANES)

/* Packs a matrix [count, columns] by blocks of columns and pairs of rows: [columns / block][count / 2][block][2]. */
static void pack_pairs(const bf16 *matrix, bf16 *packed, int64_t count, int64_t columns, int block) {
  for (int64_t column = 0; column < columns; column += block) {
    int width = least(block, columns - column);
    for (int64_t row = 0; row < count; row += 2, packed += 2 * block) {
      const bf16 *at = matrix + row * columns + column;
      interleave(at, row + 1 < count ? at + columns : NULL, packed, width);
    }
  }
}

INLINE void sum_tile(const int rows, const int wide, const bf16 *left, const bf16 *right, int64_t pairs, float *result,
                     int64_t stride) {
  tile sums;
  UNROLLED for (int row = 0; row < rows; row++)
    for (int j = 0; j < wide; j++) sums.at[row][j] = _mm512_setzero_ps();
  tile_multiply(&sums, rows, wide, left, 2, 2 * HEIGHT, right, 2 * WIDTH, pairs);
  tile_store(&sums, rows, wide, result, stride);
}

static void sum_rows(int rows, int wide, const bf16 *left, const bf16 *right, int64_t pairs, float *result,
                     int64_t stride) {
  BY_SIZE(sum_tile, left, right, pairs, result, stride)
}

/* Writes left^T right to float32 result [rows, columns]; left [count, rows], right [count, columns].
 * columns is a multiple of 16; scratch holds both operands, padded to multiples of 32 in every direction. */
void outer_products(const bf16 *left, const bf16 *right, float *result, bf16 *scratch, int64_t count, int64_t rows,
                    int64_t columns) {
  if (amx_suits_outer_products(rows)) {
    amx_outer_products(left, right, result, scratch, count, rows, columns);
    return;
  }
  int64_t pairs = (count + 1) / 2, blocks = (rows + HEIGHT - 1) / HEIGHT;
  bf16 *packed_left = scratch, *packed_right = scratch + blocks * HEIGHT * 2 * pairs;
  pack_pairs(left, packed_left, count, rows, HEIGHT);
  pack_pairs(right, packed_right, count, columns, WIDTH);
  for (int64_t column = 0; column < columns; column += WIDTH)
    for (int64_t row = 0; row < rows; row += HEIGHT)
      sum_rows(least(HEIGHT, rows - row), least(WIDTH, columns - column) / LANES, packed_left + row * 2 * pairs,
               packed_right + column * 2 * pairs, pairs, result + row * columns + column, columns);
}

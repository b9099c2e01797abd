/* Convolutions of small images, channels last: outputs, gradients by the inputs, gradients by the weights.
 *
 * With channels last, one row of a kernel covers kernel * in adjacent numbers of an image. So a row of outputs is a
 * matrix product whose left operand is the image itself, with rows `stride * in` numbers apart: nothing is unfolded.
 * Gradients by weights sum over positions. There the pairs that a bfloat16 product needs are two images of the batch,
 * which are interleaved once. One image's data and the weights stay in one core's caches. */
#include "amx.h"

/* Columns of a block of packed weights: two registers, or one where the channels do not fill two. */
static int block_of(int64_t channels) { return channels % (2 * LANES) ? LANES : 2 * LANES; }

/* ---- outputs ---- */

INLINE void outputs_tile(const int rows, const int wide, const layer *of, const bf16 *images, const bf16 *weights,
                         const float *bias, bf16 *to) {
  tile sums;
  long pairs = of->kernel * of->in / 2;
  tile_load(&sums, rows, wide, bias, 0);
  for (int y = 0; y < of->kernel; y++)
    tile_multiply(&sums, rows, wide, images + y * of->side * of->in, of->stride * of->in, 2,
                  weights + y * pairs * wide * 2 * LANES, wide * 2 * LANES, pairs);
  __m512 zero = _mm512_setzero_ps();
  UNROLLED for (int row = 0; row < rows; row++)
    for (int j = 0; j < wide; j++)
      _mm256_storeu_si256((__m256i *)(to + row * of->out + j * LANES),
                          (__m256i)_mm512_cvtneps_pbh(_mm512_max_ps(sums.at[row][j], zero)));
}

/* The same for the rows of one register. Taps of a row of the kernel are `steps` pairs at a time. */
INLINE void outputs_by_amx(const int wide, int rows, int steps, const layer *of, const bf16 *images,
                           const bf16 *weights, const float *bias, bf16 *to) {
  float sums[LANES * 2 * LANES];
  long pairs = of->kernel * of->in / 2;
  amx_zero();
  for (int y = 0; y < of->kernel; y++, images += of->side * of->in)
    for (long pair = 0; pair < pairs; pair += steps, weights += steps * wide * 2 * LANES)
      amx_multiply(1, wide, images + 2 * pair, 0, of->stride * of->in, weights, wide * 2 * LANES);
  amx_store(1, wide, sums, wide * LANES);
  __m512 zero = _mm512_setzero_ps();
  for (int row = 0; row < rows; row++)
    for (int j = 0; j < wide; j++) {
      __m512 sum = _mm512_add_ps(_mm512_loadu_ps(sums + (row * wide + j) * LANES), _mm512_loadu_ps(bias + j * LANES));
      _mm256_storeu_si256((__m256i *)(to + row * of->out + j * LANES),
                          (__m256i)_mm512_cvtneps_pbh(_mm512_max_ps(sum, zero)));
    }
}

static void outputs_row(int rows, int wide, const layer *of, const bf16 *images, const bf16 *weights,
                        const float *bias, bf16 *to) {
  BY_SIZE(outputs_tile, of, images, weights, bias, to)
}

void rectified_outputs(const layer *of, const bf16 *images, const bf16 *weights, const float *bias, bf16 *outputs,
                       int64_t count) {
  int block = block_of(of->out), height = even_height(of->out_side), steps = even_part(of->kernel * of->in / 2);
  int amx = amx_in_use() && divides_well(of->out_side) && divides_well(of->kernel * of->in / 2);
  long packed = of->kernel * of->kernel * of->in * block;
  if (amx) amx_begin(height = even_part(of->out_side), steps);
  for (int column = 0; column < of->out; column += block, weights += packed)
    for (int64_t row = 0; row < count * of->out_side; row++) {
      int64_t image = row / of->out_side, top = row % of->out_side * of->stride;
      const bf16 *from = images + (image * of->side + top) * of->side * of->in;
      bf16 *to = outputs + row * of->out_side * of->out + column;
      for (int x = 0; x < of->out_side; x += height, from += height * of->stride * of->in, to += height * of->out)
        if (!amx) outputs_row(least(height, of->out_side - x), block / LANES, of, from, weights, bias + column, to);
        else if (block == LANES) outputs_by_amx(1, height, steps, of, from, weights, bias + column, to);
        else outputs_by_amx(2, height, steps, of, from, weights, bias + column, to);
    }
  if (amx) amx_end();
}

/* ---- gradients by the inputs ---- */

INLINE void inputs_tile(const int rows, const int wide, const layer *of, const bf16 *gradients, const bf16 *weights,
                        int taps, float *sum) {
  tile sums;
  tile_load(&sums, rows, wide, sum, of->stride * wide * LANES);
  for (int tap = 0; tap < taps; tap++) /* one row of outputs up is `stride` rows down in the kernel */
    tile_multiply(&sums, rows, wide, gradients - tap * of->out_side * of->out, of->out, 2,
                  weights + tap * of->stride * of->out * wide * LANES, wide * 2 * LANES, of->out / 2);
  tile_store(&sums, rows, wide, sum, of->stride * wide * LANES);
}

INLINE void inputs_by_amx(const int wide, int steps, const layer *of, const bf16 *gradients, const bf16 *weights,
                          int taps, float *sum) {
  long row = of->stride * wide * LANES;
  AMX_LOAD(0, sum, 4 * row);
  if (wide == 2) AMX_LOAD(1, sum + LANES, 4 * row);
  for (int tap = 0; tap < taps; tap++)
    for (long pair = 0; pair < of->out / 2; pair += steps)
      amx_multiply(1, wide, gradients - tap * of->out_side * of->out + 2 * pair, 0, of->out,
                   weights + (tap * of->stride * of->out + 2 * pair) * wide * LANES, wide * 2 * LANES);
  amx_store(1, wide, sum, row);
}

static void inputs_row(int rows, int wide, const layer *of, const bf16 *gradients, const bf16 *weights, int taps,
                       float *sum) {
  BY_SIZE(inputs_tile, of, gradients, weights, taps, sum)
}

/* Computes one row of the inputs' gradient for a block of columns, float32 [side, block]. amx: pairs at a time in AMX's
 * registers; 0 for none. */
static void sum_inputs_row(const layer *of, const bf16 *gradients, const bf16 *weights, int y, int block, int amx,
                           float *sum) {
  int height = amx ? even_part(of->out_side) : even_height(of->out_side), first = -1, taps = 0;
  long tap_size = of->out * block;
  memset(sum, 0, of->side * block * sizeof *sum);
  for (int tap = of->kernel - 1; tap >= 0; tap--)
    if (y >= tap && (y - tap) % of->stride == 0 && (y - tap) / of->stride < of->out_side) first = tap, taps++;
  if (!taps) return;
  const bf16 *row = gradients + (y - first) / of->stride * of->out_side * of->out;
  for (int tap = 0; tap < of->kernel; tap++, weights += of->kernel * tap_size)
    for (int x = 0; x < of->out_side; x += height) {
      const bf16 *from = row + x * of->out, *by = weights + first * tap_size;
      float *to = sum + (x * of->stride + tap) * block;
      if (!amx) inputs_row(least(height, of->out_side - x), block / LANES, of, from, by, taps, to);
      else if (block == LANES) inputs_by_amx(1, amx, of, from, by, taps, to);
      else inputs_by_amx(2, amx, of, from, by, taps, to);
    }
}

/* Rounds sums into a block of the result's columns; writes zero where the images are zero. */
static void put_inputs_row(const layer *of, const float *sum, const bf16 *images, bf16 *result, int block) {
  for (int x = 0; x < of->side; x++, images += of->in, result += of->in, sum += block)
    for (int i = 0; i < block; i += LANES) {
      __m256i passed = _mm256_loadu_si256((const __m256i *)(images + i));
      __m256i rounded = (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(sum + i));
      passed = _mm256_maskz_mov_epi16(_mm256_test_epi16_mask(passed, passed), rounded);
      _mm256_storeu_si256((__m256i *)(result + i), passed);
    }
}

/* Goes by blocks of columns and by every stride-th row, so that the weights in use stay in the first-level cache. */
void gradients_of_inputs(const layer *of, const bf16 *gradients, const bf16 *weights, const bf16 *images,
                         bf16 *result, float *sum, int64_t count) {
  int block = block_of(of->in), amx = amx_in_use() && divides_well(of->out_side) ? even_part(of->out / 2) : 0;
  long packed = of->kernel * of->kernel * of->out * block;
  if (amx) amx_begin(even_part(of->out_side), amx);
  for (int column = 0; column < of->in; column += block, weights += packed)
    for (int phase = 0; phase < of->stride; phase++)
      for (int64_t image = 0; image < count; image++)
        for (int y = phase; y < of->side; y += of->stride) {
          long at = (image * of->side + y) * of->side * of->in + column;
          sum_inputs_row(of, gradients + image * of->out_side * of->out_side * of->out, weights, y, block, amx,
                         sum);
          put_inputs_row(of, sum, images + at, result + at, block);
        }
  if (amx) amx_end();
}

/* ---- gradients by the weights ---- */

INLINE void weights_tile(const int rows, const int wide, const layer *of, const bf16 *images, long step, long row_step,
                         const bf16 *gradients, int from, int to, float *sum) {
  tile sums;
  tile_load(&sums, rows, wide, sum, of->out);
  for (int y = from; y < to; y++)
    tile_multiply(&sums, rows, wide, images + y * row_step, 2, step, gradients + 2 * y * of->out_side * of->out,
                  2 * of->out, of->out_side);
  tile_store(&sums, rows, wide, sum, of->out);
}

static void weights_rows(int rows, int wide, const layer *of, const bf16 *images, long step, long row_step,
                         const bf16 *gradients, int from, int to, float *sum) {
  BY_SIZE(weights_tile, of, images, step, row_step, gradients, from, to, sum)
}

/* Adds the share of rows `from` to `to` - 1 of a pair's outputs to float32 [kernel, kernel * in, out] and [out]. */
static void add_pair(const layer *of, const bf16 *images, const bf16 *gradients, int from, int to, float *weights,
                     float *bias) {
  static const bf16 ones[2] = {0x3f80, 0x3f80};
  int block = block_of(of->out), run = of->kernel * of->in, height = 8;
  long step = 2 * of->stride * of->in, row_step = step * of->side;
  for (int y = 0; y < of->kernel; y++)
    for (int k = 0; k < run; k += height)
      for (int column = 0; column < of->out; column += block)
        weights_rows(least(height, run - k), block / LANES, of, images + 2 * (y * of->side * of->in + k), step,
                     row_step, gradients + 2 * column, from, to, weights + ((long)y * run + k) * of->out + column);
  for (int column = 0; column < of->out; column += block)
    weights_rows(1, block / LANES, of, ones, 0, 0, gradients + 2 * column, from, to, bias + column);
}

void gradients_of_weights(const layer *of, const bf16 *images, const bf16 *gradients, float *weights, float *bias,
                          bf16 *packed, int64_t count) {
  int64_t image = of->side * of->side * of->in, gradient = of->out_side * of->out_side * of->out;
  int64_t in_cache = 24 * 1024 / (4 * of->out_side * of->out); /* rows of interleaved gradients, read by every tile */
  int rows = in_cache < 1 ? 1 : least(in_cache, of->out_side), amx = amx_suits_weights(of);
  for (int64_t i = 0; amx && i < count; i += TOGETHER)
    amx_gradients_of_weights(of, images + i * image, gradients + i * gradient, weights, bias, packed,
                             least(TOGETHER, count - i));
  for (int64_t i = 0; !amx && i < count; i += 2) {
    int alone = i + 1 == count;
    interleave(images + i * image, alone ? NULL : images + (i + 1) * image, packed, image);
    interleave(gradients + i * gradient, alone ? NULL : gradients + (i + 1) * gradient, packed + 2 * image, gradient);
    for (int y = 0; y < of->out_side; y += rows)
      add_pair(of, packed, packed + 2 * image, y, least(y + rows, of->out_side), weights, bias);
  }
}

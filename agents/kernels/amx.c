/* The sums over images and positions in AMX's registers, and whether these can be used. */
#include "amx.h"

#include <cpuid.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

/* ---- whether they can be used ---- */

#define REQUEST_PERMISSION 0x1023 /* ARCH_REQ_XCOMP_PERM of arch_prctl, for a process and its threads to come */
#define TILE_DATA 18

static int can_be_used(void) {
#ifdef __linux__
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
  int has = (d >> 22 & 1) && (d >> 24 & 1); /* AMX-BF16 and AMX-TILE */
  return has && syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
  return 0;
#endif
}

static int in_use = -1;

int64_t use_amx(int64_t wanted) { return in_use = wanted && can_be_used(); }

int amx_in_use(void) { return in_use < 0 ? use_amx(1) : in_use; }

/* ---- gradients by the weights ---- */

/* Adds the first `some` columns of sums [out][32] to weights [some][out]; `tall` of 16 rows. */
INLINE void add_transposed(const float *sums, int tall, int some, float *weights, long out) {
  for (int o = 0; o < tall; o++)
    for (int k = 0; k * LANES < some; k++) {
      __m512i rows[LANES];
      for (int i = 0; i < LANES; i++)
        rows[i] = _mm512_loadu_si512(sums + (o * LANES + i) * 2 * LANES + k * LANES);
      transpose(rows);
      for (int i = 0; i < least(LANES, some - k * LANES); i++) {
        float *to = weights + (k * LANES + i) * out + o * LANES;
        _mm512_storeu_ps(to, _mm512_add_ps(_mm512_loadu_ps(to), _mm512_castsi512_ps(rows[i])));
      }
    }
}

/* Adds, for up to 32 outputs and `some` numbers of a kernel's row, up to 32, what all pairs of images give. Registers
 * are filled with numbers after those, whose sums are not used. */
INLINE void block_of_weights(const int tall, const int wide, const layer *of, const bf16 *images,
                             const bf16 *gradients, int64_t pairs, int steps, int some, float *weights) {
  float sums[2 * LANES * 2 * LANES];
  long across = 2 * of->stride * of->in, image = 2 * of->side * of->side * of->in;
  long part = 2 * steps * of->out, parts = of->out_side / steps;
  amx_zero();
  for (int64_t pair = 0; pair < pairs; pair++, images += image)
    for (int64_t y = 0; y < of->out_side; y++)
      for (int64_t x = 0; x < parts; x++, gradients += part)
        amx_multiply(tall, wide, gradients, 2 * LANES * steps, 2 * steps,
                     images + y * across * of->side + x * steps * across, across);
  amx_store(tall, wide, sums, 2 * LANES);
  add_transposed(sums, tall, some, weights, of->out);
}

static void add_to_bias(const layer *of, const bf16 *gradients, float *bias, int64_t count) {
  int64_t positions = count * of->out_side * of->out_side;
  for (int64_t column = 0; column < of->out; column += LANES) {
    __m512 sum = _mm512_loadu_ps(bias + column);
    for (int64_t i = 0; i < positions; i++) {
      __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(gradients + i * of->out + column)));
      sum = _mm512_add_ps(sum, _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16)));
    }
    _mm512_storeu_ps(bias + column, sum);
  }
}

/* Packs gradients of two images by rows, parts of a row and 16 outputs: [y][x / steps][out / 16][16][steps][2]. */
static void pack_gradients(const layer *of, const bf16 *one, const bf16 *other, int steps, int others, bf16 *to) {
  for (int64_t x = 0; x < of->out_side * of->out_side; x += steps)
    for (int64_t column = 0; column < of->out; column += LANES, to += 2 * LANES * steps)
      pack_left(one + x * of->out + column, other + x * of->out + column, of->out, steps, steps, others, to);
}

int amx_suits_weights(const layer *of) {
  return amx_in_use() && divides_well(of->out_side);
}

void amx_gradients_of_weights(const layer *of, const bf16 *images, const bf16 *gradients, float *weights, float *bias,
                              bf16 *packed, int64_t count) {
  int64_t image = of->side * of->side * of->in, gradient = of->out_side * of->out_side * of->out;
  int64_t pairs = (count + 1) / 2, run = of->kernel * of->in;
  int steps = even_part(of->out_side);
  bf16 *packed_gradients = packed + pairs * 2 * image;
  for (int64_t i = 0; i < count; i += 2) {
    int alone = i + 1 == count;
    interleave(images + i * image, alone ? NULL : images + (i + 1) * image, packed + i * image, image);
    pack_gradients(of, gradients + i * gradient, gradients + (i + 1) * gradient, steps, alone ? 0 : steps,
                   packed_gradients + i * gradient);
  }
  add_to_bias(of, gradients, bias, count);
  amx_begin(LANES, steps);
  for (int64_t y = 0; y < of->kernel; y++)
    for (int64_t k = 0; k < run; k += 2 * LANES)
      for (int64_t column = 0; column < of->out; column += 2 * LANES) {
        int tall = least(2, (of->out - column) / LANES), some = least(2 * LANES, run - k);
        const bf16 *from = packed + 2 * (y * of->side * of->in + k), *left = packed_gradients + 2 * column * steps;
        float *to = weights + (y * run + k) * of->out + column;
        if (tall == 2 && some > LANES) block_of_weights(2, 2, of, from, left, pairs, steps, some, to);
        else if (tall == 2) block_of_weights(2, 1, of, from, left, pairs, steps, some, to);
        else if (some > LANES) block_of_weights(1, 2, of, from, left, pairs, steps, some, to);
        else block_of_weights(1, 1, of, from, left, pairs, steps, some, to);
      }
  amx_end();
}

/* ---- outer products ---- */

INLINE void block_of_products(const int tall, const int wide, const bf16 *left, const bf16 *right, int64_t pairs,
                              int steps, float *result, long columns) {
  amx_zero();
  for (int64_t pair = 0; pair < pairs; pair += steps)
    amx_multiply(tall, wide, left + 2 * LANES * pair, 2 * LANES * pairs, 2 * steps, right + 2 * LANES * wide * pair,
                 2 * LANES * wide);
  amx_store(tall, wide, result, columns);
}

int amx_suits_outer_products(int64_t rows) { return amx_in_use() && rows % LANES == 0; }

void amx_outer_products(const bf16 *left, const bf16 *right, float *result, bf16 *scratch, int64_t count, int64_t rows,
                        int64_t columns) {
  int64_t parts = ((count + 1) / 2 + LANES - 1) / LANES, steps = ((count + 1) / 2 + parts - 1) / parts;
  int64_t pairs = parts * steps; /* whole parts: the last ones may count as zero */
  bf16 *packed_left = scratch, *packed_right = scratch + 2 * pairs * rows, *to = packed_left;
  for (int64_t row = 0; row < rows; row += LANES)
    for (int64_t pair = 0; pair < pairs; pair += steps, to += 2 * LANES * steps) {
      const bf16 *at = left + 2 * pair * rows + row;
      int64_t rest = count - 2 * pair;
      pack_left(at, at + rows, 2 * rows, steps, least(steps, (rest + 1) / 2), least(steps, rest / 2), to);
    }
  memset(packed_right, 0, 2 * pairs * columns * sizeof *packed_right);
  to = packed_right;
  for (int64_t column = 0, block; column < columns; column += block, to += 2 * block * pairs) {
    block = columns - column < 2 * LANES ? LANES : 2 * LANES;
    for (int64_t row = 0; row < count; row += 2) {
      const bf16 *at = right + row * columns + column;
      interleave(at, row + 1 < count ? at + columns : NULL, to + row * block, block);
    }
  }
  amx_begin(LANES, steps);
  to = packed_right;
  for (int64_t column = 0, block; column < columns; column += block, to += 2 * block * pairs) {
    block = columns - column < 2 * LANES ? LANES : 2 * LANES;
    for (int64_t row = 0; row < rows; row += 2 * LANES) {
      int tall = least(2, (rows - row) / LANES), wide = block / LANES;
      const bf16 *from = packed_left + 2 * row * pairs;
      float *at = result + row * columns + column;
      if (tall == 2 && wide == 2) block_of_products(2, 2, from, to, pairs, steps, at, columns);
      else if (tall == 2) block_of_products(2, 1, from, to, pairs, steps, at, columns);
      else if (wide == 2) block_of_products(1, 2, from, to, pairs, steps, at, columns);
      else block_of_products(1, 1, from, to, pairs, steps, at, columns);
    }
  }
  amx_end();
}

/* Forward and backward passes through all convolutions, a few images at a time.
 *
 * Each layer reads what the one before wrote while it is still in the core's second-level cache. Stacks of frames, the
 * largest arrays, are rebuilt for the backward pass instead of being kept. */
#include "convolution.h"
#include "pixels.h"

#define MOST_LAYERS 8

typedef struct {
  int64_t layers, stack;
  layer of[MOST_LAYERS];
  const bf16 *forward[MOST_LAYERS], *backward[MOST_LAYERS]; /* packed weights; the first layer has none backward */
  const float *bias[MOST_LAYERS];
} network;

typedef struct {
  const uint8_t *frames; /* [time * envs, pixels] */
  const int64_t *missing;
  int64_t envs;
} source;

static int64_t size_in(const layer *of) { return of->side * of->side * of->in; }
static int64_t size_out(const layer *of) { return of->out_side * of->out_side * of->out; }
static int64_t largest(int64_t a, int64_t b) { return a > b ? a : b; }
static int64_t whole_lines(int64_t numbers) { return (numbers + 31) / 32 * 32; } /* of 64 bytes */

/* Scratch memory of a pass in bfloat16 numbers, each a multiple of a cache line. */
typedef struct {
  int64_t images, gradients; /* of one image: the first layer's input, the largest layer's output */
  int64_t packed;            /* inputs and gradients of one layer, of all images at a time */
  int64_t row;               /* one row of an image, in float32 */
} room;

static room room_of(const network *net) {
  room most = {whole_lines(size_in(net->of)), 0, 0, 0};
  for (const layer *of = net->of; of < net->of + net->layers; of++) {
    most.gradients = largest(most.gradients, whole_lines(size_out(of)));
    most.packed = largest(most.packed, TOGETHER * (whole_lines(size_in(of)) + whole_lines(size_out(of))));
    most.row = largest(most.row, whole_lines(2 * of->side * of->in));
  }
  return most;
}

int64_t scratch_size(const network *net) {
  room most = room_of(net);
  return TOGETHER * (most.images + 2 * most.gradients) + most.packed + most.row;
}

static void stacks(const network *net, const source *from, const int64_t *where, bf16 *to, int64_t count) {
  stacks_of_frames(from->frames, where, from->missing, to, count, from->envs, net->of->side * net->of->side, net->stack);
}

/* outputs: those of every layer for all images, layer after layer [count, out_side, out_side, out];
 * features: the last layer's, [count, out, out_side, out_side]. */
void forward_pass(const network *net, const source *from, const int64_t *where, int64_t count, bf16 *outputs,
                  bf16 *features, bf16 *scratch) {
  for (int64_t begin = 0; begin < count; begin += TOGETHER) {
    int64_t some = least(TOGETHER, count - begin);
    const bf16 *images = scratch;
    bf16 *to = outputs;
    stacks(net, from, where + begin, scratch, some);
    for (int i = 0; i < net->layers; i++) {
      const layer *of = net->of + i;
      bf16 *mine = to + begin * size_out(of);
      rectified_outputs(of, images, net->forward[i], net->bias[i], mine, some);
      images = mine;
      to += count * size_out(of);
    }
    const layer *last = net->of + net->layers - 1;
    transposed(images, NULL, features + begin * size_out(last), some, last->out_side * last->out_side, last->out);
  }
}

/* Adds the gradients by weights and biases of every layer to `weights`: for each layer in turn
 * [kernel, kernel * in, out] and [out], float32. Only images `begin` to `end` - 1 of `count` take part.
 * gradient: the gradient by the features. */
void backward_pass(const network *net, const source *from, const int64_t *where, int64_t count, int64_t begin,
                   int64_t end, const bf16 *outputs, const bf16 *gradient, float *weights, bf16 *scratch) {
  const layer *last = net->of + net->layers - 1;
  room most = room_of(net);
  bf16 *first = scratch, *one = first + TOGETHER * most.images, *other = one + TOGETHER * most.gradients;
  bf16 *packed = other + TOGETHER * most.gradients;
  float *row = (float *)(packed + most.packed);

  for (; begin < end; begin += TOGETHER) {
    int64_t some = least(TOGETHER, end - begin);
    const bf16 *after = outputs; /* outputs of layer i for all images; i runs backward */
    float *sums = weights;
    for (int i = 0; i < net->layers; i++) {
      const layer *of = net->of + i;
      after += count * size_out(of);
      sums += of->kernel * of->kernel * of->in * of->out + of->out;
    }
    after -= count * size_out(last);
    stacks(net, from, where + begin, first, some);
    transposed(gradient + begin * size_out(last), after + begin * size_out(last), one, some, last->out,
               last->out_side * last->out_side);
    for (int i = net->layers - 1; i >= 0; i--) {
      const layer *of = net->of + i;
      int64_t size = of->kernel * of->kernel * of->in * of->out;
      if (i) after -= count * size_in(of);
      const bf16 *images = i ? after + begin * size_in(of) : first;
      sums -= size + of->out;
      gradients_of_weights(of, images, one, sums, sums + size, packed, some);
      if (!i) break;
      gradients_of_inputs(of, one, net->backward[i], images, other, row, some);
      bf16 *swap = one;
      one = other, other = swap;
    }
  }
}

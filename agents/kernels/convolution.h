/* Functions of convolution.c. */
#pragma once

#include "tile.h"

#define TOGETHER 8 /* images of which a pass computes at a time; even, since gradients by weights take pairs */

typedef struct {
  int64_t side, in, kernel, stride, out_side, out; /* from square images of `in` channels to ones of `out` */
} layer;

/* Rectified outputs [count, out_side, out_side, out] of images [count, side, side, in].
 * weights: [out / block][kernel][kernel * in / 2][block][2], bias float32 [out]. */
void rectified_outputs(const layer *of, const bf16 *images, const bf16 *weights, const float *bias, bf16 *outputs,
                       int64_t count);

/* Gradients by the images before their rectifier: zero where the images are zero.
 * gradients [count, out_side, out_side, out], weights [in / block][kernel column][kernel row][out / 2][block][2],
 * images and result [count, side, side, in]; sum, float32 for one row of an image, is overwritten. */
void gradients_of_inputs(const layer *of, const bf16 *gradients, const bf16 *weights, const bf16 *images,
                         bf16 *result, float *sum, int64_t count);

/* Adds the gradients by weights, float32 [kernel, kernel * in, out], and by biases, float32 [out].
 * images [count, side, side, in], gradients [count, out_side, out_side, out]; packed holds TOGETHER images and their
 * gradients. */
void gradients_of_weights(const layer *of, const bf16 *images, const bf16 *gradients, float *weights, float *bias,
                          bf16 *packed, int64_t count);

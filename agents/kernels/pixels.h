/* Functions of pixels.c. */
#pragma once

#include "tile.h"

/* Builds stacks of frames as bfloat16 numbers, channels last: [count, pixels, stack].
 *
 * frames uint8 [time * envs, pixels]; frame k of stack i is frames[where[i] + k * envs], or zero where
 * k < missing[where[i]]. */
void stacks_of_frames(const uint8_t *frames, const int64_t *where, const int64_t *missing, bf16 *stacks, int64_t count,
                      int64_t envs, int64_t pixels, int64_t stack);

/* Transposes each of `count` matrices [rows, columns]; where gate, unless NULL, is zero, so is the result. */
void transposed(const bf16 *matrices, const bf16 *gate, bf16 *result, int64_t count, int64_t rows, int64_t columns);

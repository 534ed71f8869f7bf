/*===- demo_code.c - Code image of the test artifacts ------------*- C -*-===*
 *
 * Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
 *
 * Written by hand against runtime/Abi.h, as the compiler's code would be. The model:
 *   symbols  batch, n
 *   inputs   x f32 [batch, 8], y f32 [batch, n], index i64 [batch], z f32 ["n + 1"]
 *   outputs  sum f32 [batch, n]:  sum[i][j] = y[i][j] * scale[index[i]] + z[j]
 *            product f32 [batch, 16]:  product = relu(x * weight + bias)
 *   constants  scale f32 [4], weight f32 [8, 16], bias f32 [16]
 *   kernels    0 rows, 1 matmul
 *   checks     0 index out of range, 1 batch above 1000
 *
 *===----------------------------------------------------------------------===*/
#include "test/unit/runtime/demo_code.h"

/* A number, then a buffer as generated code describes it. */
struct rows_args {
  int64_t n;
  const void *allocated, *out;
  int64_t offset, sizes[2], strides[2];
};

static void rows(lathe_frame *frame, const void *opaque, int64_t begin, int64_t end) {
  const struct rows_args *args = opaque;
  const float *y = frame->inputs[1];
  const int64_t *index = frame->inputs[2];
  const float *z = frame->inputs[3];
  const float *scale = frame->constants[0];
  float *out = frame->outputs[0];
  /* Through the arena, so that its size and sharing are exercised. */
  float *temporary = (float *)frame->arena;
  for (int64_t i = begin; i < end; ++i) {
    if (index[i] < 0 || index[i] >= 4) {
      frame->rt->fail(frame, 0);
      continue;
    }
    for (int64_t j = 0; j < args->n; ++j)
      temporary[i * args->n + j] = y[i * args->n + j] * scale[index[i]];
    for (int64_t j = 0; j < args->n; ++j)
      out[i * args->n + j] = temporary[i * args->n + j] + z[j];
  }
}

ENTRY(plan) int64_t demo_plan(const int64_t *symbols, int64_t *dims, int64_t *arena_bytes) {
  int64_t batch = symbols[0], n = symbols[1];
  int64_t all[] = {batch, 8, batch, n, batch, n + 1, batch, n, batch, 16};
  for (int i = 0; i < 10; ++i)
    dims[i] = all[i];
  *arena_bytes = batch * n * 4;
  return batch > 1000 ? 2 : 0;
}

ENTRY(run) void demo_run(lathe_frame *frame) {
  int64_t batch = frame->symbols[0];
  int64_t n = frame->symbols[1];
  struct rows_args args = {n, frame->outputs[0], frame->outputs[0], 0, {batch, n}, {n, 1}};
  frame->rt->parallel_for(frame, 0, rows, &args, batch, 1);
  demo_product(frame, batch);
}

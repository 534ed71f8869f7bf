/*===- cuda_code.c - Code image of the test artifact for CUDA ----*- C -*-===*
 *
 * Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
 *
 * Written by hand against runtime/Abi.h and backends/cuda/emulator/Emulation.h, as the compiler's code would be. The model:
 *   symbols  batch, first (an element of `limits`)
 *   inputs   x f32 [batch, 8], index i64 [batch], limits i64 [2]
 *   outputs  scaled f32 [batch, 8]:   scaled[i][j] = x[i][j] * scale[index[i]]
 *            product f32 [batch, 16]: product = relu(x * weight + bias)
 *            chosen f32 [count]:      the first elements of the rows of x whose first element is above 0, in some order
 *   constants  scale f32 [4], weight f32 [8, 16], bias f32 [16]
 *   kernels    0 scale, 1 matmul, 2 count, 3 copy
 *   checks     0 index out of range, 1 batch above 1000, 2 limits[0] is negative
 * An index of 100 makes the kernel read what is not allocated.
 *
 *===----------------------------------------------------------------------===*/
#include "backends/cuda/emulator/Emulation.h"
#include "test/unit/runtime/demo_code.h"

struct buffer1 {
  const void *allocated, *data;
  int64_t offset, sizes[1], strides[1];
};
struct buffer2 {
  void *allocated, *data;
  int64_t offset, sizes[2], strides[2];
};

struct scale_args {
  int64_t n;
  struct buffer2 out;
  const float *x;
  const int64_t *index;
  const float *scale;
};

struct count_args {
  const float *x;
  int64_t *count;
};

struct copy_args {
  const float *x;
  float *out;
  int64_t rows;
};

static float load(lathe_lane *lane, const float *from) {
  lane->machine->access(lane, from, 4, LATHE_ACCESS_READ);
  return *from;
}

static void store(lathe_lane *lane, float *to, float value) {
  lane->machine->access(lane, to, 4, LATHE_ACCESS_WRITE);
  *to = value;
}

/* A row a block, columns among its threads. */
ENTRY(scale) void scale(lathe_lane *lane, void *failures, const void *opaque, int64_t count) {
  const struct scale_args *args = opaque;
  float *out = args->out.data;
  for (int64_t row = lane->block[0]; row < count; row += lane->grid_size[0]) {
    lane->machine->access(lane, args->index + row, 8, LATHE_ACCESS_READ);
    int64_t index = args->index[row];
    if ((index < 0 || index >= 4) && index != 100) {
      lane->machine->access(lane, failures, 8, LATHE_ACCESS_READ | LATHE_ACCESS_WRITE | LATHE_ACCESS_ATOMIC);
      int64_t none = 0;
      __atomic_compare_exchange_n((int64_t *)failures, &none, 1, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
      continue;
    }
    for (int64_t j = lane->thread[0]; j < args->n; j += lane->block_size[0])
      store(lane, out + row * args->n + j,
            load(lane, args->x + row * args->n + j) * load(lane, args->scale + index * (index == 100 ? 1000 : 1)));
  }
}

/* One thread. */
ENTRY(count) void count_rows(lathe_lane *lane, void *failures, const void *opaque, int64_t count) {
  const struct count_args *args = opaque;
  (void)failures;
  int64_t found = 0;
  for (int64_t row = 0; row < count; ++row)
    found += load(lane, args->x + row * 8) > 0;
  lane->machine->access(lane, args->count, 8, LATHE_ACCESS_WRITE);
  *args->count = found;
}

ENTRY(copy) void copy_rows(lathe_lane *lane, void *failures, const void *opaque, int64_t count) {
  const struct copy_args *args = opaque;
  (void)failures;
  (void)count;
  float *out = args->out;
  for (int64_t row = 0; row < args->rows; ++row) {
    float value = load(lane, args->x + row * 8);
    if (value > 0)
      store(lane, out++, value);
  }
}

ENTRY(plan) int64_t demo_plan(const int64_t *symbols, int64_t *dims, int64_t *arena_bytes) {
  int64_t batch = symbols[0];
  int64_t all[] = {batch, 8, batch, 2, batch, 8, batch, 16, -1};
  for (int i = 0; i < 9; ++i)
    dims[i] = all[i];
  *arena_bytes = 64;
  return batch > 1000 ? 2 : symbols[1] < 0 ? 3 : 0;
}

static void launch(lathe_frame *frame, int64_t kernel, const void *args, int64_t bytes, int64_t count, int64_t grid, int64_t block) {
  lathe_launch_call call = {kernel, args, bytes, count, grid, block, 0};
  frame->rt->launch(frame, &call);
}

ENTRY(run) void demo_run(lathe_frame *frame) {
  int64_t batch = frame->symbols[0];
  struct scale_args scale = {8, {frame->outputs[0], frame->outputs[0], 0, {batch, 8}, {8, 1}}, frame->inputs[0], frame->inputs[1],
                             frame->constants[0]};
  launch(frame, 0, &scale, sizeof(scale), batch, batch < 7 ? batch : 7, 32);
  demo_product(frame, batch);
  int64_t *found = frame->rt->allocate(frame, 3, 8);
  if (!found)
    return;
  struct count_args count = {frame->inputs[0], found};
  launch(frame, 2, &count, sizeof(count), batch, 1, 1);
  int64_t rows = 0;
  if (batch > 0) {
    const int64_t *read = frame->rt->read(frame, found, 8);
    if (!read)
      return;
    rows = *read;
  }
  float *chosen = frame->rt->output(frame, 2, &rows);
  if (!chosen)
    return;
  struct copy_args copy = {frame->inputs[0], chosen, batch};
  launch(frame, 3, &copy, sizeof(copy), batch, 1, 1);
}

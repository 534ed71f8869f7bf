/*===- demo_code.h - What code images of test artifacts share ----*- C -*-===*
 *
 * Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
 *
 *===----------------------------------------------------------------------===*/
#ifndef LATHE_TEST_UNIT_RUNTIME_DEMO_CODE_H
#define LATHE_TEST_UNIT_RUNTIME_DEMO_CODE_H

#include "runtime/Abi.h"

#define ENTRY(name) __attribute__((section(".entry." #name), used))

/* Kernel 1: output 1 [batch, 16] = relu(input 0 [batch, 8] * constant 1 + constant 2). */
static inline void demo_product(lathe_frame *frame, int64_t batch) {
  lathe_matmul_call call;
  /* Word by word: the image has no memset to call. */
  for (unsigned i = 0; i < sizeof(call) / 8; ++i)
    ((volatile int64_t *)&call)[i] = 0;
  call.kernel = 1;
  call.weight = 1;
  call.activation = LATHE_ACT_RELU;
  call.alpha = 1;
  call.a = frame->inputs[0];
  call.bias = frame->constants[2];
  call.out = frame->outputs[1];
  call.m = batch;
  call.n = 16;
  call.k = 8;
  call.a_row = 8;
  call.a_col = 1;
  call.b_row = 16;
  call.b_col = 1;
  call.out_row = 16;
  for (int i = 0; i < 3; ++i)
    call.batch[i] = 1;
  frame->rt->matmul(frame, &call);
}

#endif

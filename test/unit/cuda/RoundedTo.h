//===- RoundedTo.h - Numbers as those of 16 bits ----------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_TEST_UNIT_CUDA_ROUNDEDTO_H
#define LATHE_TEST_UNIT_CUDA_ROUNDEDTO_H

#include "runtime/SmallFloats.h"
#include "runtime/include/lathe/lathe.h"

namespace lathe::test {

/// A number as one of that type.
inline float roundedTo(int64_t dtype, float value) {
  return dtype == LATHE_F16    ? runtime::halfValue(runtime::toHalf(value))
         : dtype == LATHE_BF16 ? runtime::bfloatValue(runtime::toBfloat(value))
                               : value;
}

} // namespace lathe::test

#endif // LATHE_TEST_UNIT_CUDA_ROUNDEDTO_H

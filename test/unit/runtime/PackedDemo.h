//===- PackedDemo.h - The weight of the artifacts that tests write -*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_TEST_UNIT_RUNTIME_PACKEDDEMO_H
#define LATHE_TEST_UNIT_RUNTIME_PACKEDDEMO_H

#include "runtime/PackedLayout.h"

#include <nlohmann/json.hpp>
#include <vector>

namespace lathe::test {

/// A weight [8, 16] in one padded panel, and in `constant` how that lies.
inline std::vector<float> packedDemo(const std::vector<float> &weight, nlohmann::ordered_json &constant) {
  runtime::PackedLayout layout;
  layout.dims[0] = 8;
  layout.dims[1] = 16;
  layout.paddedDims[0] = 16;
  layout.paddedDims[1] = 64;
  layout.strides[0] = layout.strides[1] = 1024;
  layout.blockCount = 2;
  layout.blocks[0] = 16;
  layout.blocks[1] = 64;
  layout.blockDims[1] = 1;
  std::vector<float> packed(1024, 0);
  runtime::pack(layout, 4, weight.data(), 16, 1, packed.data());
  constant["packed"] = nlohmann::ordered_json::parse(
      R"({"dims": [8, 16], "padded_dims": [16, 64], "strides": [1024, 1024], "inner_blocks": [16, 64], "inner_index": [0, 1]})");
  return packed;
}

} // namespace lathe::test

#endif // LATHE_TEST_UNIT_RUNTIME_PACKEDDEMO_H

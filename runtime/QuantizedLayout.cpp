//===- QuantizedLayout.cpp - Panels of a quantized matrix -------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/QuantizedLayout.h"

#include "runtime/Status.h"

#include <cmath>

using namespace lathe::runtime;

bool QuantizedLayout::valid(std::string *why) const {
  auto refuse = [&](auto... parts) {
    *why = join(parts...);
    return false;
  };
  if (k < 1 || n < 1 || k > kMaxExtent || n > kMaxExtent)
    return refuse("must have from 1 to ", kMaxExtent, " rows and columns, found [", k, ", ", n, "]");
  if (bits != 8 && bits != 4 && bits != 3 && bits != 2)
    return refuse("must have codes of 8, 4, 3 or 2 bits, found ", bits);
  bool isFloat = values == CodeValues::e4m3 || values == CodeValues::e5m2;
  if (isFloat && bits != 8)
    return refuse("must have codes of 8 bits for values ", name(values), ", found ", bits);
  if (values == CodeValues::codebook ? dimension != 2 && dimension != 4 && dimension != 8 : dimension != 1)
    return refuse("must have a dimension of ", values == CodeValues::codebook ? "2, 4 or 8" : "1", " for values ",
                  name(values), ", found ", dimension);
  if (group < 1 || group > k || (group != k && group % unitRows() != 0))
    return refuse("must have groups of ", k, " rows, all of them, or of a multiple of ", unitRows(), " rows, found ", group);
  if (panel < kBlockColumns || panel > kMaxPanel || panel % kBlockColumns != 0)
    return refuse("must have panels of 16, 32, 48 or 64 columns, found ", panel);
  if (zeros == ZeroType::scale && scale == ScaleType::e8m0)
    return refuse("must have zero points of 8 bits or none with scales of type e8m0");
  if (!std::isfinite(zero))
    return refuse("must have a finite zero point");
  return true;
}

namespace {
constexpr const char *kValues[] = {"integer", "table", "e4m3", "e5m2", "codebook"};
constexpr const char *kScales[] = {"f32", "f16", "bf16", "e8m0"};

template <typename Enum, size_t N> bool find(const char *const (&names)[N], std::string_view name, Enum *result) {
  for (size_t i = 0; i < N; ++i)
    if (name == names[i]) {
      *result = static_cast<Enum>(i);
      return true;
    }
  return false;
}
} // namespace

const char *lathe::runtime::name(CodeValues values) { return kValues[static_cast<size_t>(values)]; }
const char *lathe::runtime::name(ScaleType type) { return kScales[static_cast<size_t>(type)]; }
bool lathe::runtime::parse(std::string_view name, CodeValues *values) { return find(kValues, name, values); }
bool lathe::runtime::parse(std::string_view name, ScaleType *type) { return find(kScales, name, type); }

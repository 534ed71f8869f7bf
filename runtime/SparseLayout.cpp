//===- SparseLayout.cpp - Lists of a matrix with zeros ----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/SparseLayout.h"

#include "runtime/Status.h"

#include <cstring>

using namespace lathe::runtime;

bool SparseLayout::valid(std::string *why) const {
  auto refuse = [&](auto... parts) {
    *why = join(parts...);
    return false;
  };
  if (k < 1 || n < 1 || k > kMaxExtent || n > kMaxExtent || blocks() * panels() > kMaxPanels)
    return refuse("must have from 1 to ", kMaxExtent, " rows and columns, and at most ", kMaxPanels,
                  " panels of 256 x 64, found [", k, ", ", n, "]");
  if (height != 1 && height != 4)
    return refuse("must have strips of 1 or 4 columns, found ", height);
  bool isDivisor = group >= 1 && group <= kBlockRows && (group & (group - 1)) == 0;
  if (values == SparseValues::i8 ? group != k && !isDivisor : group != 0)
    return refuse(values == SparseValues::i8
                      ? "must have groups of all rows, or of a power of two that divides 256, found "
                      : "must have no groups with values of floats, found ",
                  group);
  if (fours < 0 || fours > kMaxFours || fours > blocks() * panels() * panelLists() * (kBlockRows / kFour))
    return refuse("must have as many fours of rows as fit into the matrix, found ", fours);
  return true;
}

bool SparseLayout::verify(const unsigned char *image, std::string *why) const {
  const unsigned char *order = image + orderOffset(), *counts = image + foursOffset();
  uint64_t total = 0;
  for (int64_t i = 0; i <= blocks() * panels(); ++i) {
    uint32_t offset = 0;
    memcpy(&offset, image + i * 4, sizeof offset);
    if (offset != total) {
      *why = join("has lists of a panel that begin at ", offset, ", expected ", total);
      return false;
    }
    for (int64_t list = 0; i < blocks() * panels() && list < panelLists(); ++list) {
      int64_t at = i * panelLists() + list;
      if (order[at] >= panelLists() || counts[at] > kBlockRows / kFour) {
        *why = join("has a list ", int(order[at]), " of ", int(counts[at]), " fours of rows, expected less than ",
                    panelLists(), " and at most ", kBlockRows / kFour);
        return false;
      }
      total += counts[at];
    }
  }
  if (total != static_cast<uint64_t>(fours)) {
    *why = join("has lists of ", total, " fours of rows, expected ", fours);
    return false;
  }
  return true;
}

namespace {
constexpr const char *kNames[] = {"f32", "f16", "bf16", "i8"};
}

const char *lathe::runtime::name(SparseValues values) { return kNames[static_cast<size_t>(values)]; }
bool lathe::runtime::parse(std::string_view name, SparseValues *values) {
  for (size_t i = 0; i < 4; ++i)
    if (name == kNames[i]) {
      *values = static_cast<SparseValues>(i);
      return true;
    }
  return false;
}

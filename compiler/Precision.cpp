//===- Precision.cpp - Which weights are stored in 16 bits --------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/Precision.h"
#include "compiler/WeightValues.h"
#include "passes/precision/Passes.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"
#include <cmath>
#include <cstring>
#include <set>

using namespace mlir;

namespace lathe {
namespace {

struct Range {
  double largest = 0, squares = 0; ///< of the finite elements
  uint64_t tiny = 0;               ///< elements below the normal numbers of f16, but not 0
};

constexpr double kLargestF16 = 65504, kLargestBf16 = 0x1.fep127;
constexpr float kSmallestF16 = 0x1p-14f;
/// Half a step of bf16 next to 1, which is the error that storing in 16 bits may make.
constexpr double kAllowedError = 0x1p-9;

/// `data` may lie anywhere in a model's file.
Range rangeOf(const char *data, uint64_t count) {
  Range range;
  constexpr uint64_t kPiece = 4096; // whose squares f32 adds well enough
  for (uint64_t begin = 0; begin < count; begin += kPiece) {
    float largest = 0, squares = 0;
    for (uint64_t i = begin; i < std::min(begin + kPiece, count); ++i) {
      float x;
      memcpy(&x, data + i * sizeof x, sizeof x);
      x = std::isfinite(x) ? std::abs(x) : 0;
      largest = std::max(largest, x);
      squares += x * x;
      range.tiny += x > 0 && x < kSmallestF16;
    }
    range.largest = std::max<double>(range.largest, largest);
    range.squares += squares;
  }
  return range;
}

std::string number(double x) {
  std::string text;
  llvm::raw_string_ostream(text) << llvm::format("%.4g", x);
  return text;
}

/// Why f16 does not hold a weight; empty where it does.
std::string againstF16(const Range &range) {
  if (range.largest > kLargestF16)
    return "its largest magnitude " + number(range.largest) + " is beyond the 65504 of f16";
  // Each is rounded to a multiple of 2^-24.
  double error = 0x1p-25 * std::sqrt(static_cast<double>(range.tiny) / 3);
  if (error > kAllowedError * std::sqrt(range.squares))
    return std::to_string(range.tiny) + " of its elements are below the normal numbers of f16";
  return "";
}

std::string againstBf16(const Range &range) {
  return range.largest > kLargestBf16 ? "its largest magnitude " + number(range.largest) + " is beyond what bf16 holds" : "";
}

} // namespace

bool choosePrecision(ArrayRef<func::FuncOp> programs, WeightFiles &files, const std::string &precision, PrecisionPlan &plan,
                     std::string &error) {
  using Place = std::pair<StringRef, uint64_t>;
  auto placeOf = [](WeightOp weight) { return Place(weight.getFile(), weight.getOffset()); };
  std::set<Place> narrow, wide;
  for (func::FuncOp program : programs)
    program.walk([&](WeightOp weight) {
      if (!weight->use_empty())
        (precision::canNarrow(weight) ? narrow : wide).insert(placeOf(weight));
    });
  std::set<std::pair<Place, StringRef>> done;
  auto decide = [&](WeightOp weight) {
    if (!narrow.count(placeOf(weight)) || !done.insert({placeOf(weight), weight.getName()}).second)
      return WalkResult::advance();
    PrecisionPlan::Decision decision{weight.getName().str(), "f32", "it is read as something else than a matrix or a table, too"};
    if (!wide.count(placeOf(weight))) {
      uint64_t count = cast<RankedTensorType>(weight.getType()).getNumElements();
      const char *data = files.bytes(weight.getFile(), weight.getOffset(), count * 4, error);
      if (!data) {
        error = "initializer '" + weight.getName().str() + "': " + error;
        return WalkResult::interrupt();
      }
      Range range = rangeOf(data, count);
      files.release(data, count * 4);
      decision = {weight.getName().str(), precision == "bf16" ? "bf16" : "f16",
                  precision == "bf16" ? againstBf16(range) : againstF16(range)};
      if (!decision.reason.empty())
        decision.type = "f32";
      if (precision == "auto" && decision.type == "f32" && againstBf16(range).empty())
        decision.type = "bf16";
    }
    plan.decisions.push_back(decision);
    return WalkResult::advance();
  };
  return llvm::none_of(programs, [&](func::FuncOp program) { return program.walk(decide).wasInterrupted(); });
}

bool widenVectors(func::FuncOp program, WeightFiles &files, std::string &error) {
  SmallVector<CastOp> casts;
  program.walk([&](CastOp op) {
    auto weight = op.getInput().getDefiningOp<WeightOp>();
    Type from = cast<RankedTensorType>(op.getInput().getType()).getElementType();
    auto type = cast<RankedTensorType>(op.getType());
    if (weight && (from.isF16() || from.isBF16()) && type.getElementType().isF32() && type.getRank() <= 1 &&
        type.getNumElements() > 0)
      casts.push_back(op);
  });
  NewConstants constants(files, error);
  for (CastOp op : casts) {
    auto weight = op.getInput().getDefiningOp<WeightOp>();
    std::string key = weight.getFile().str() + ":" + std::to_string(weight.getOffset());
    Value wide = constants.make(weight, cast<RankedTensorType>(op.getType()), weight.getName(), key,
                                [&] { return numbersOf(weight, files, error).value_or(std::vector<float>()); });
    if (!wide)
      return false;
    op.getResult().replaceAllUsesWith(wide);
    op.erase();
  }
  return true;
}

} // namespace lathe

//===- Pattern.h - Which weights become zero together -----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_PRUNING_METHODS_PATTERN_H
#define LATHE_PASSES_PRUNING_METHODS_PATTERN_H

#include <cstdint>
#include <string>

namespace lathe::pruning {

enum class PatternKind {
  Unstructured, ///< any weights
  NofM,         ///< of each `of` neighbouring inputs of an output at most `kept` stay
  Block,        ///< blocks of `rows` outputs x `columns` inputs; those at the edges may be smaller
};

/// Which weights of a matrix [n outputs][k inputs] become zero together, or are compared with each other.
struct Pattern {
  PatternKind kind = PatternKind::Unstructured;
  int64_t kept = 2, of = 4;
  int64_t rows = 1, columns = 1; ///< 1 x 1 for the other kinds

  /// "unstructured", "2:4", "block:4x16".
  std::string name() const;
  /// The share of zeros that the pattern makes by itself: that of N:M. 0 for the others, which are told one.
  double ownSparsity() const {
    return kind == PatternKind::NofM ? 1 - static_cast<double>(kept) / static_cast<double>(of) : 0;
  }
  /// Inputs that belong together: of a group, or of a block.
  int64_t inputsTogether() const { return kind == PatternKind::NofM ? of : columns; }
};

/// Inputs of a group N:M, and sides of a block, at most.
constexpr int64_t kLargestGroup = 32;
constexpr int64_t kLargestBlock = 256;

/// Reads a name. Returns an empty text, or what is wrong with the nearest name that is right, such as "expects N:M with
/// 0 < N < M <= 32, got '4:2'; did you mean '2:4'?".
std::string parsePattern(const std::string &text, Pattern &pattern);

} // namespace lathe::pruning

#endif // LATHE_PASSES_PRUNING_METHODS_PATTERN_H

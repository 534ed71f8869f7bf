//===- Passes.h - Passes that make programs for generation ------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_GENERATION_PASSES_H
#define LATHE_PASSES_GENERATION_PASSES_H

#include "dialects/lathe/Lathe.h"
#include "mlir/Pass/Pass.h"
#include <string>
#include <vector>

namespace lathe::generation {
#define GEN_PASS_DECL
#include "passes/generation/Passes.h.inc"
#define GEN_PASS_REGISTRATION
#include "passes/generation/Passes.h.inc"

/// What an input of the program is for generation: "tokens" or "source".
inline constexpr llvm::StringLiteral kRoleAttr = "lathe.role";
/// Names of what make-step adds.
inline constexpr llvm::StringLiteral kPositionsName = "positions", kKeyPositionsName = "key_positions", kTotalSymbol = "total";
/// The places among the new tokens whose logits are wanted.
inline constexpr llvm::StringLiteral kWantedName = "wanted";
/// The same where there are caches that do not grow: the numbers of the longest one's rows, and the last of each sequence's.
inline constexpr llvm::StringLiteral kSourcePositionsName = "source_positions", kSourceLastName = "source_last",
                                     kSourceSymbol = "source";
/// The function that computes the caches that do not grow.
inline constexpr llvm::StringLiteral kEncodeName = "encode";

/// Whether the program may be a decoder: one of its outputs has a number for each row of a table that integers of an
/// input look up. Cheap.
bool resemblesDecoder(mlir::func::FuncOp main);

/// A cache of a program that rounds, or can round, its rows to codes.
struct RoundedCache {
  std::string name;
  int64_t heads = 0, size = 0;
  bool rounded = false; ///< has codes already
};
/// The caches of f32 of a program, in their order.
std::vector<RoundedCache> findCaches(mlir::func::FuncOp main);
/// Rounds rows of those of `names`, as the pass quantize-caches says. `codes` is one of its types.
void quantizeCaches(mlir::func::FuncOp main, llvm::ArrayRef<std::string> names, llvm::StringRef codes, int64_t groupSize, bool rotate);
} // namespace lathe::generation

#endif // LATHE_PASSES_GENERATION_PASSES_H

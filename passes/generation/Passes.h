//===- Passes.h - Passes that make programs for generation ------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_GENERATION_PASSES_H
#define LATHE_PASSES_GENERATION_PASSES_H

#include "dialects/lathe/Lathe.h"
#include "mlir/Pass/Pass.h"

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
} // namespace lathe::generation

#endif // LATHE_PASSES_GENERATION_PASSES_H

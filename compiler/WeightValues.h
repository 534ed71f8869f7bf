//===- WeightValues.h - Constants as numbers, and new ones ------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_WEIGHTVALUES_H
#define LATHE_COMPILER_WEIGHTVALUES_H

#include "compiler/WeightFiles.h"
#include "dialects/lathe/Lathe.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace lathe {

/// Element `index` of what lies at `data`, of f32, f16 or bf16, in f32.
float numberAt(const char *data, int64_t index, mlir::Type type);

/// The numbers of a constant of floats: a weight, a constant, one of them in another type of floats, or products and
/// sums of such of one shape or with one number. Row-major; nullopt, with `error` set where a file can't be read, for
/// anything else.
std::optional<std::vector<float>> numbersOf(mlir::Value value, WeightFiles &files, std::string &error);

/// The transpose of a matrix [rows][columns].
std::vector<float> turned(const std::vector<float> &matrix, int64_t rows, int64_t columns);

/// Stands for numbers in keys.
std::string keyOf(const std::vector<float> &numbers);

/// Makes new constants of f32 in place of others. What several programs make of the same key is stored once.
class NewConstants {
public:
  NewConstants(WeightFiles &files, std::string &error) : files(files), error(error) {}

  /// A lathe.weight of `type` and `name` behind `place`, one for each place and key; `numbers` is called where the key
  /// is new, and gives an empty vector after a failure, with `error` set. Null then.
  mlir::Value make(mlir::Value place, mlir::RankedTensorType type, llvm::StringRef name, const std::string &key,
                   llvm::function_ref<std::vector<float>()> numbers);

private:
  WeightFiles &files;
  std::string &error;
  std::map<std::string, uint64_t> made;
  std::map<std::pair<void *, std::string>, mlir::Value> values; ///< looked up only
};

/// Adds a vector, one number for each output, to a product: to the constant that is added to it, where nothing else is
/// done with it, or by an operation of its own. `key` as for NewConstants. False after a failure.
bool addToProduct(MatmulOp product, const std::vector<float> &vector, llvm::StringRef name, const std::string &key,
                  NewConstants &constants, WeightFiles &files, std::string &error);

/// Takes the names of the model's values off values that are not what they were, and off what is computed from them up
/// to the uses that `ends` tells, where they are changed back: what compares models must not take one for the other.
void forgetNames(llvm::ArrayRef<mlir::Value> changed, llvm::function_ref<bool(mlir::OpOperand &use)> ends);

} // namespace lathe

#endif // LATHE_COMPILER_WEIGHTVALUES_H

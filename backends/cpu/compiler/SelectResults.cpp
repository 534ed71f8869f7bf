//===- SelectResults.cpp - What kernels compute, by the model's names -----===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/compiler/Selector.h"
#include "dialects/kernel/Kernel.h"
#include "dialects/lathe/ValueNames.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;

namespace lathe::cpu {

/// Kernels that computed what operations read, through operations of which nothing is stored.
SmallVector<int64_t> Selector::kernelsReadBy(ArrayRef<Operation *> ops) {
  llvm::SmallPtrSet<Operation *, 16> inside(ops.begin(), ops.end());
  llvm::SmallSetVector<Value, 16> values;
  for (Operation *op : ops)
    values.insert(op->operand_begin(), op->operand_end());
  SmallVector<int64_t> kernels;
  for (size_t i = 0; i < values.size(); ++i) { // grows
    Value value = values[i];
    Operation *op = value.getDefiningOp();
    auto it = kernelOf.find(value);
    if (it != kernelOf.end() && !inside.contains(op))
      kernels.push_back(it->second);
    else if (op && !inside.contains(op) && isa<RankedTensorType>(value.getType()))
      values.insert(op->operand_begin(), op->operand_end());
  }
  llvm::sort(kernels);
  kernels.erase(std::unique(kernels.begin(), kernels.end()), kernels.end());
  return kernels;
}

void Selector::describeResult(int64_t kernel, Value result, ArrayRef<Operation *> ops,
                              std::optional<ValueRange> arguments, bool isStored) {
  NamedAttrList entry(cast<DictionaryAttr>(kernels[kernel]));
  if (SmallVector<int64_t> reads = kernelsReadBy(ops); !reads.empty())
    entry.set("reads", b.getDenseI64ArrayAttr(reads));
  kernelOf[result] = kernel;
  std::optional<ModelValue> value = modelValue(result.getLoc());
  if (value && isStored) {
    auto table = cast<DictionaryAttr>(valueTable(result, value->name, ""));
    NamedAttrList description(dictionary(
        {{"value", value->name}, {"node", value->node}, {"type", table.get("type")}, {"shape", table.get("shape")}}));
    if (arguments) {
      int64_t offset = 0;
      for (Value argument : arguments->drop_back())
        offset += argumentBytes(argument.getType());
      description.set("argument", b.getI64IntegerAttr(offset));
      description.set("rank", b.getI64IntegerAttr(cast<MemRefType>(arguments->back().getType()).getRank()));
    }
    entry.set("result", description.getDictionary(context));
  }
  kernels[kernel] = entry.getDictionary(context);
}

} // namespace lathe::cpu

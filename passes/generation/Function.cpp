//===- Function.cpp - What is left of a program ---------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/generation/Function.h"
#include "llvm/ADT/BitVector.h"

using namespace mlir;

namespace lathe::generation {

void reduceTo(func::FuncOp function, ArrayRef<Value> results, ArrayRef<DictionaryAttr> resultAttrs,
              llvm::function_ref<bool(BlockArgument)> drops) {
  Block &block = function.getBody().front();
  block.getTerminator()->setOperands(results);
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(block)))
    if (isOpTriviallyDead(&op))
      op.erase();
  llvm::BitVector dropped(function.getNumArguments());
  SmallVector<DictionaryAttr> attrs;
  for (BlockArgument argument : function.getArguments())
    if (drops(argument))
      dropped.set(argument.getArgNumber());
    else
      attrs.push_back(function.getArgAttrDict(argument.getArgNumber()));
  block.eraseArguments(dropped);
  function.setFunctionType(
      FunctionType::get(function.getContext(), block.getArgumentTypes(), TypeRange(ValueRange(results))));
  function.setAllArgAttrs(attrs);
  function.setAllResultAttrs(resultAttrs);
}

} // namespace lathe::generation

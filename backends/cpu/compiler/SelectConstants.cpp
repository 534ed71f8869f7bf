//===- SelectConstants.cpp - The table of constants of a program ----------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/compiler/CompressedWeight.h"
#include "backends/cpu/compiler/Selector.h"
#include "backends/cpu/runtime/PackWeights.h"
#include "dialects/kernel/Kernel.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;

namespace lathe::cpu {

/// What makes an entry of the table what it is, without what describes it: its name, and how many rows are read.
static DictionaryAttr contentOf(DictionaryAttr entry) {
  NamedAttrList content(entry);
  content.erase("name");
  content.erase("rows");
  return content.getDictionary(entry.getContext());
}

DictionaryAttr Selector::contentOf(Value tensor, bool packed, bool transposed) {
  if (isCompressed(tensor))
    return tensor.getDefiningOp()->getAttrOfType<DictionaryAttr>(kernel::kCompressedAttr);
  NamedAttrList entry;
  entry.set("type", TypeAttr::get(tensor.getType()));
  entry.set("packed", b.getBoolAttr(packed));
  entry.set("transposed", b.getBoolAttr(transposed));
  // What is rounded when it is written.
  auto rounding = tensor.getDefiningOp<CastOp>();
  Value source = rounding ? rounding.getInput() : tensor;
  if (rounding)
    entry.set("source", TypeAttr::get(source.getType()));
  if (auto weight = source.getDefiningOp<WeightOp>()) {
    entry.set("file", weight.getFileAttr());
    entry.set("offset", weight.getOffsetAttr());
  } else {
    entry.set("value", tensor.getDefiningOp<ConstantOp>().getValue());
  }
  return entry.getDictionary(context);
}

void Selector::takeConstants() {
  auto table = module->getAttrOfType<ArrayAttr>(kernel::kConstantsAttr);
  for (Attribute entry : table ? table.getValue() : ArrayRef<Attribute>()) {
    byContent.try_emplace(cpu::contentOf(cast<DictionaryAttr>(entry)), constants.size());
    constants.push_back(entry);
  }
  given = constants.size();
  isFirst = !table;
}

bool Selector::isGiven(Value stored, std::optional<bool> transposed) {
  auto it = byContent.find(contentOf(stored, transposed.has_value(), transposed.value_or(false)));
  return it != byContent.end() && it->second < static_cast<int64_t>(given);
}

int64_t Selector::addConstant(Value tensor, bool packed, bool transposed) {
  auto [it, inserted] = constantIndex.try_emplace({tensor, packed + 2 * transposed}, constants.size());
  if (!inserted)
    return it->second;
  DictionaryAttr content = contentOf(tensor, packed, transposed);
  auto [known, isNew] = byContent.try_emplace(content, constants.size());
  it->second = known->second;
  if (isNew) {
    Value source = tensor.getDefiningOp<CastOp>() ? tensor.getDefiningOp()->getOperand(0) : tensor;
    auto weight = source.getDefiningOp<WeightOp>();
    NamedAttrList entry(content);
    entry.set("name", weight ? weight.getNameAttr() : b.getStringAttr("constant_" + std::to_string(constants.size())));
    constants.push_back(entry.getDictionary(context));
  }
  // Of what several tensors are, the rows of all of them are read, or all rows.
  auto rows = packed ? rowsRead.end() : rowsRead.find(tensor);
  std::optional<SymExpr> own = rows == rowsRead.end() ? std::nullopt : std::optional<SymExpr>(rows->second);
  auto [sum, isOnly] = rowsOf.try_emplace(it->second, own);
  if (!isOnly)
    sum->second = sum->second && own ? std::optional<SymExpr>(*sum->second + *own) : std::nullopt;
  return it->second;
}

void Selector::setConstants() {
  SmallVector<Attribute> reads;
  for (auto [i, attribute] : llvm::enumerate(constants)) {
    auto it = rowsOf.find(i);
    if (it == rowsOf.end())
      continue; // another program's
    NamedAttrList entry(cast<DictionaryAttr>(attribute)), read;
    read.set("constant", b.getI64IntegerAttr(i));
    if (it->second) {
      StringAttr rows = b.getStringAttr(it->second->str());
      read.set("rows", rows);
      if (i >= given)
        entry.set("rows", rows);
    }
    attribute = entry.getDictionary(context);
    reads.push_back(read.getDictionary(context));
  }
  module->setAttr(kernel::kConstantsAttr, b.getArrayAttr(constants));
  if (!isFirst)
    module->setAttr(kernel::kReadsAttr, b.getArrayAttr(reads));
}

std::optional<bool> Selector::packedAs(Value stored) {
  if (isCompressed(stored))
    return stored.getDefiningOp()->getAttrOfType<DictionaryAttr>(kernel::kCompressedAttr).getAs<BoolAttr>("transposed").getValue();
  bool isRead[2] = {}; // by products, as it is and transposed
  auto isReader = [&](OpOperand &use) {
    // Rows of a table are few: they are read where they lie.
    if (isa<GatherOp>(use.getOwner()))
      return use.getOperandNumber() == 0;
    auto matmul = dyn_cast<MatmulOp>(use.getOwner());
    if (!matmul || use.getOperandNumber() != 1 || !grouping.matmuls.count(matmul) || matmul.getLhs() == use.get())
      return false;
    return isRead[matmul.getTransposeRhs()] = true;
  };
  bool all =
      cast<RankedTensorType>(stored.getType()).getRank() == 2 && llvm::all_of(stored.getUses(), [&](OpOperand &use) {
        Operation *user = use.getOwner();
        bool isWidened = isa<CastOp>(user) && storedMatrix(user->getResult(0)) == stored;
        return isWidened ? llvm::all_of(user->getUses(), isReader) : isReader(use);
      });
  std::optional<bool> best = all && isRead[0] != isRead[1] ? std::optional<bool>(isRead[1]) : std::nullopt;
  if (device && best && !isGiven(stored, best)) // nothing is packed for devices; what is for the processor is unpacked when it is copied
    best = std::nullopt;
  if (given == 0 || isGiven(stored, best))
    return best;
  // Another layout that is in the table already is better than a second copy of a weight.
  for (bool transposed : {false, true})
    if (all && !isRead[!transposed] && isGiven(stored, transposed))
      return transposed;
  return isGiven(stored, std::nullopt) ? std::nullopt : best;
}

/// A packed constant as the tensor that it is of, for a kernel's group: element (k, n) lies in panel n / width.
Value Selector::readPanels(Value stored, bool transposed, OpBuilder &body, Block *block,
                           SmallVectorImpl<Value> &arguments) {
  Location loc = stored.getLoc();
  auto type = cast<RankedTensorType>(stored.getType());
  int64_t k = type.getDimSize(transposed ? 1 : 0), n = type.getDimSize(transposed ? 0 : 1), width = panelWidth(n);
  SmallVector<int64_t> shape{(n + width - 1) / width, k, width};
  // What would be one panel without padding is stored as it is; and a device has all panels as rows of k.
  if (n == width || (device && !transposed)) {
    arguments.push_back(b.create<kernel::ConstantOp>(loc, bufferType(type), frame, addConstant(stored, /*packed=*/true, transposed)));
    return block->addArgument(type, loc);
  }
  if (device) {
    width = n;
    shape = {1, k, n};
  }
  auto panels = RankedTensorType::get(shape, type.getElementType());
  arguments.push_back(
      b.create<kernel::ConstantOp>(loc, bufferType(panels), frame, addConstant(stored, /*packed=*/true, transposed)));
  Value argument = block->addArgument(panels, loc);
  Value empty = body.create<tensor::EmptyOp>(loc, type.getShape(), type.getElementType());
  SmallVector<AffineMap> maps{AffineMap::getMultiDimIdentityMap(2, context)};
  SmallVector<utils::IteratorType> iterators(2, utils::IteratorType::parallel);
  auto generic = body.create<linalg::GenericOp>(
      loc, type, ValueRange{}, empty, maps, iterators, [&](OpBuilder &inner, Location, ValueRange) {
        Value row = inner.create<linalg::IndexOp>(loc, transposed ? 1 : 0);
        Value column = inner.create<linalg::IndexOp>(loc, transposed ? 0 : 1);
        Value step = inner.create<arith::ConstantIndexOp>(loc, width);
        Value panel = inner.create<arith::DivUIOp>(loc, column, step),
              rest = inner.create<arith::RemUIOp>(loc, column, step);
        Value element = inner.create<tensor::ExtractOp>(loc, argument, ValueRange{panel, row, rest});
        inner.create<linalg::YieldOp>(loc, element);
      });
  return generic.getResult(0);
}

} // namespace lathe::cpu

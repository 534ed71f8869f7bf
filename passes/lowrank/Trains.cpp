//===- Trains.cpp - Weights as trains of small tensors --------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "passes/lowrank/Trains.h"
#include "dialects/lathe/ValueNames.h"
#include "passes/lowrank/Expressions.h"
#include "passes/lowrank/FormBuilder.h"
#include "passes/lowrank/Passes.h"

using namespace mlir;

namespace lathe::lowrank {
namespace {

RankedTensorType typeOf(Value value) { return cast<RankedTensorType>(value.getType()); }

/// A matrix that is the expression of a train, and its cores as they are stored, in one or the other way.
struct Train {
  Value matrix;
  TrainShape shape;
  std::vector<int64_t> ranks;
  SmallVector<Value> cores;
  bool transposed = false; ///< the matrix is [outputs, inputs]

  int64_t before(size_t core) const { return core ? ranks[core - 1] : 1; }
  int64_t behind(size_t core) const { return core < ranks.size() ? ranks[core] : 1; }
};

/// The dense matrix. Partial products begin with the last core, so that of both the core and what is done the axes that
/// are summed over lie where products want them: [outputs so far][rank][inputs so far].
Value expressionOf(FormBuilder &f, const TrainShape &shape, const std::vector<int64_t> &ranks, ArrayRef<Value> cores,
                   bool transposed) {
  const auto count = static_cast<int64_t>(shape.cores());
  int64_t outputs = shape.n.back(), inputs = shape.k.back();
  Value done = f.reshapeTo(cores.back(), {outputs, ranks.back(), inputs});
  for (int64_t core = count - 2; core >= 0; --core) {
    int64_t n = shape.n[core], k = shape.k[core], rank = ranks[core], before = core ? ranks[core - 1] : 1;
    done = f.matmul(f.reshapeTo(cores[core], {n * before * k, rank}), done);
    outputs *= n;
    inputs *= k;
    if (core > 0)
      done = f.reshapeTo(done, {outputs, before, inputs});
  }
  SmallVector<int64_t> parts(shape.n.rbegin(), shape.n.rend()), order;
  parts.push_back(inputs);
  for (int64_t axis = count - 1; axis >= 0; --axis)
    order.push_back(axis);
  order.insert(transposed ? order.end() : order.begin(), count);
  Value whole = f.transpose(f.reshapeTo(done, parts), order);
  return f.reshapeTo(whole, transposed ? ArrayRef<int64_t>{outputs, inputs} : ArrayRef<int64_t>{inputs, outputs});
}

/// The parts of the outputs, first to last, that the transpose of an expression puts in order; empty for none.
std::vector<int64_t> partsOf(TransposeOp order, bool &transposed) {
  auto type = typeOf(order.getInput());
  const int64_t count = type.getRank() - 1;
  ArrayRef<int64_t> permutation = order.getPermutation();
  if (!type.hasStaticShape() || count < 2)
    return {};
  transposed = permutation.back() == count;
  if (!transposed && permutation.front() != count)
    return {};
  permutation = transposed ? permutation.drop_back() : permutation.drop_front();
  std::vector<int64_t> parts;
  for (auto [i, axis] : llvm::enumerate(permutation)) {
    if (axis != count - 1 - static_cast<int64_t>(i))
      return {};
    parts.push_back(type.getDimSize(axis));
  }
  return parts;
}

/// What a reshape of a value of static shape reads, or the value where it is none.
Value beforeReshape(Value value) {
  auto reshape = value.getDefiningOp<ReshapeOp>();
  return reshape && typeOf(reshape.getInput()).hasStaticShape() ? reshape.getInput() : value;
}

/// Reads cores from the first to the last off the products that make `done`, whose parts of the outputs are known.
bool readCores(Value done, int64_t inputs, Train &train) {
  int64_t outputs = train.shape.outputs(), before = 1;
  for (size_t core = 0; core + 1 < train.shape.cores(); ++core) {
    auto product = done.getDefiningOp<MatmulOp>();
    if (!product || product.getTransposeLhs() || product.getTransposeRhs() || typeOf(product.getLhs()).getRank() != 2 ||
        typeOf(product.getRhs()).getRank() != 3 || !typeOf(product).hasStaticShape())
      return false;
    const int64_t rows = typeOf(product.getLhs()).getDimSize(0), rank = typeOf(product.getLhs()).getDimSize(1),
                  n = train.shape.n[core];
    if (rows % (n * before) != 0)
      return false;
    const int64_t k = rows / (n * before), rest = typeOf(product.getRhs()).getDimSize(2);
    outputs /= n;
    if (k * rest != inputs || typeOf(product.getRhs()).getDimSize(0) != outputs)
      return false;
    train.cores.push_back(beforeReshape(product.getLhs()));
    train.shape.k.push_back(k);
    train.ranks.push_back(rank);
    done = beforeReshape(product.getRhs());
    inputs = rest;
    before = rank;
  }
  train.cores.push_back(done);
  train.shape.k.push_back(inputs);
  return true;
}

/// The train that a matrix is the expression of.
std::optional<Train> trainOf(ReshapeOp matrix) {
  auto order = matrix.getInput().getDefiningOp<TransposeOp>();
  if (!order || typeOf(matrix).getRank() != 2 || !typeOf(matrix).hasStaticShape() ||
      typeOf(matrix).getNumElements() == 0)
    return std::nullopt;
  Train train;
  train.matrix = matrix;
  train.shape.n = partsOf(order, train.transposed);
  if (train.shape.n.empty())
    return std::nullopt;
  const int64_t outputs = train.shape.outputs(), inputs = typeOf(matrix).getNumElements() / outputs;
  ArrayRef<int64_t> extents = typeOf(matrix).getShape();
  if (extents[train.transposed ? 0 : 1] != outputs || !readCores(beforeReshape(order.getInput()), inputs, train))
    return std::nullopt;
  return train;
}

/// x times the matrix: from the last core on, each sums over its part of the inputs and makes one of the outputs. What
/// is done is [leading…, inputs to come, outputs done, rank].
Value multiply(FormBuilder &f, Value x, const Train &train) {
  const TrainShape &shape = train.shape;
  SymShape leading = f.shape(x);
  leading.pop_back();
  auto with = [&](ArrayRef<int64_t> inner) {
    SymShape dims = leading;
    for (int64_t extent : inner)
      dims.push_back(SymExpr(extent));
    return dims;
  };
  const auto axes = static_cast<int64_t>(leading.size());
  auto exchange = [&](Value value, ArrayRef<int64_t> inner) {
    SmallVector<int64_t> order;
    for (int64_t axis = 0; axis < axes; ++axis)
      order.push_back(axis);
    for (int64_t axis : inner)
      order.push_back(axes + axis);
    return f.transpose(value, order);
  };
  int64_t open = shape.inputs(), outputs = 1;
  for (size_t core = shape.cores(); core-- > 0;) {
    const int64_t n = shape.n[core], k = shape.k[core], before = train.before(core), behind = train.behind(core);
    open /= k;
    if (k > 1 && outputs > 1)
      x = exchange(f.reshape(x, with({open, k, outputs, behind})), {0, 2, 1, 3});
    x = f.matmul(f.reshape(x, with({open * outputs, k * behind})),
                 f.reshapeTo(train.cores[core], {n * before, k * behind}), /*transposeRhs=*/true);
    outputs *= n;
  }
  // Parts of the outputs come last to first.
  SmallVector<int64_t> parts, order;
  for (int64_t n : llvm::reverse(shape.n))
    if (n > 1)
      parts.push_back(n);
  for (auto i = static_cast<int64_t>(parts.size()); i-- > 0;)
    order.push_back(i);
  if (parts.size() > 1)
    x = exchange(f.reshape(x, with(parts)), order);
  return f.reshape(x, with({outputs}));
}

/// A core's part of indices of rows. What is out of bounds is so for the first core, which `isFirst` tells.
Value digit(FormBuilder &f, Value index, int64_t stride, int64_t extent, bool isFirst) {
  if (stride > 1)
    index = f.binary<DivOp>(index, f.number(index, stride));
  return isFirst ? index : f.binary<ModOp>(index, f.number(index, extent));
}

/// Rows of the matrix [outputs, inputs]: products of what is looked up in cores.
Value lookUp(FormBuilder &f, Value indices, const Train &train) {
  const TrainShape &shape = train.shape;
  // Counted from the front; those before it are none, and are beyond the end then.
  Value rows = f.number(indices, shape.outputs()), zero = f.number(indices, 0);
  indices = f.selectBelow(indices, zero, f.binary<AddOp>(indices, rows), indices);
  indices = f.selectBelow(indices, zero, rows, indices);
  Value done;
  int64_t stride = 1, inputs = 1;
  for (size_t core = shape.cores(); core-- > 0;) {
    const int64_t n = shape.n[core], k = shape.k[core], before = train.before(core), behind = train.behind(core);
    Value own = digit(f, indices, stride, n, core == 0);
    own = f.gather(f.reshapeTo(train.cores[core], {n, before * k * behind}), own, 0);
    if (!own)
      return {};
    inputs *= k;
    stride *= n;
    own = f.reshape(own, f.shapeWith(own, 1, {before * k, behind}));
    done = done ? f.matmul(own, done) : own;
    if (!done)
      return {};
    done = f.reshape(done, core ? f.shapeWith(done, 2, {before, inputs}) : f.shapeWith(done, 2, {inputs}));
  }
  return done;
}

bool isOfSymbols(FormBuilder &f, Value value) {
  return llvm::none_of(f.shape(value), [](const SymExpr &dim) { return dim.dependsOnData(); });
}

/// The value of a use of the matrix by its cores; null where there is none.
Value byCores(OpBuilder &b, ShapeContext &shapes, OpOperand &use, const Train &train) {
  Operation *user = use.getOwner();
  b.setInsertionPoint(user);
  FormBuilder f(b, withoutValue(user->getLoc()), shapes);
  if (auto product = dyn_cast<MatmulOp>(user)) {
    Value x = product.getLhs();
    if (product.getTransposeLhs()) {
      auto order = llvm::to_vector(llvm::seq<int64_t>(0, typeOf(x).getRank()));
      std::swap(order[order.size() - 2], order.back());
      x = f.transpose(x, order);
    }
    return multiply(f, x, train);
  }
  return lookUp(f, cast<GatherOp>(user).getIndices(), train);
}

/// Why a use can't be computed by cores, or is not to be; empty where it can.
std::string whyNotCores(OpOperand &use, const Train &train, FormBuilder &f) {
  if (std::string reason = whyNotFactors(use); !reason.empty())
    return reason;
  if (auto product = dyn_cast<MatmulOp>(use.getOwner())) {
    if (product.getTransposeRhs() != train.transposed)
      return "a product sums over its other axis";
    return isOfSymbols(f, product.getLhs()) ? "" : "a product's shape follows from data";
  }
  auto lookup = cast<GatherOp>(use.getOwner());
  return !train.transposed                     ? "rows of its other axis are looked up"
         : isOfSymbols(f, lookup.getIndices()) ? ""
                                               : "a lookup's shape follows from data";
}

void order(const Train &train, ShapeContext &shapes, SmallVectorImpl<Operation *> &dead) {
  OpBuilder b(train.matrix.getContext());
  FormBuilder f(b, train.matrix.getLoc(), shapes);
  SmallVector<OpOperand *> uses;
  bool hasProduct = false;
  for (OpOperand &use : train.matrix.getUses()) {
    if (!whyNotCores(use, train, f).empty())
      return;
    hasProduct |= isa<MatmulOp>(use.getOwner());
    uses.push_back(&use);
  }
  double dense = static_cast<double>(typeOf(train.matrix).getNumElements());
  if (uses.empty() || (hasProduct && trainMultiplications(train.shape, train.ranks) >= dense))
    return;
  for (OpOperand *use : uses) {
    Value result = byCores(b, shapes, *use, train);
    if (!result)
      return;
    Operation *user = use->getOwner();
    result.getDefiningOp()->setLoc(user->getLoc());
    replaceUses(user->getResult(0), result);
    dead.push_back(user);
  }
}

} // namespace

bool replaceByTrain(Value weight, StringRef name, bool transposed, bool isTable, Type stored, const TensorTrain &train,
                    const compression::MakeConstant &make) {
  OpBuilder b(weight.getContext());
  b.setInsertionPointAfterValue(weight);
  ShapeContext shapes;
  FormBuilder f(b, weight.getLoc(), shapes);
  SmallVector<Value> cores;
  std::vector<std::string> names = trainNames(name, train.shape.cores());
  for (size_t core = 0; core < train.shape.cores(); ++core) {
    const int64_t rows = train.shape.n[core] * (isTable ? 1 : train.before(core)),
                  columns = static_cast<int64_t>(train.cores[core].size()) / rows;
    cores.push_back(
        makeMatrix(b, weight.getLoc(), stored, names[core], train.cores[core], rows, columns, /*turned=*/false, make));
    if (!cores.back())
      return false;
  }
  Value dense = expressionOf(f, train.shape, train.ranks, cores, transposed);
  weight.replaceAllUsesWith(dense); // cores read constants of their own
  return true;
}

std::vector<std::string> trainNames(StringRef name, size_t cores) {
  std::vector<std::string> names;
  for (size_t core = 0; core < cores; ++core)
    names.push_back((name + ".c" + Twine(core)).str());
  return names;
}

void orderTrains(func::FuncOp program) {
  SmallVector<Train> trains;
  program.walk([&](ReshapeOp matrix) {
    if (std::optional<Train> train = trainOf(matrix))
      trains.push_back(std::move(*train));
  });
  ShapeContext shapes;
  // Nothing is erased while shapes are asked for.
  SmallVector<Operation *> dead;
  for (const Train &train : trains)
    order(train, shapes, dead);
  for (Operation *op : llvm::reverse(dead))
    op->erase();
  eraseDead(llvm::map_to_vector(trains, [](const Train &train) -> Value { return train.matrix; }));
}

} // namespace lathe::lowrank

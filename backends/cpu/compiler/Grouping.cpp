//===- Grouping.cpp - Which operations share a generated kernel -----------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/compiler/Grouping.h"
#include "backends/cpu/compiler/CompressedWeight.h"
#include "dialects/kernel/Kernel.h"
#include "runtime/Abi.h"
#include "mlir/Dialect/Utils/IndexingUtils.h"
#include "llvm/ADT/SmallPtrSet.h"
#include "llvm/ADT/TypeSwitch.h"
#include <cmath>
#include <limits>

using namespace mlir;

namespace lathe::cpu {
namespace {

bool isElementwise(Operation *op) {
  return op->hasTrait<OpTrait::BroadcastingElementwise>() || isa<QuantizeOp, DequantizeOp, DequantizeLog2Op>(op) ||
         (isa<CodebookLookupOp>(op) && !cast<CodebookLookupOp>(op).getAxis());
}

/// Computing it again costs about as much as reading it back.
bool isCheap(Operation *op) {
  return isa<CastOp, CompareOp, SelectOp, AndOp, OrOp, XorOp, NotOp, NegOp, AddOp, SubOp, MulOp, MinOp, MaxOp, AbsOp,
             ReluOp, IsNanOp, IsInfOp, ShiftLeftOp, ShiftRightOp, DequantizeOp, DequantizeLog2Op, CodebookLookupOp, BroadcastOp, TransposeOp, SliceOp,
             PadOp, WindowsOp, RangeOp, FromIndexOp, ShapeOfOp>(op);
}

bool isReduction(Operation *op) { return isa<ReduceOp, SoftmaxOp, LayerNormOp, RmsNormOp, CumSumOp, MatmulOp>(op); }

/// How often an element of the operand is computed for one of the result.
int64_t evaluations(Operation *user) {
  constexpr int64_t kOnceAnElement = 1000; // of an axis: too often, whatever its extent is
  if (isa<SoftmaxOp, LayerNormOp, RmsNormOp>(user))
    return 3;
  return isa<CumSumOp, MatmulOp, TopKOp>(user) ? kOnceAnElement : 1;
}

int64_t axisOf(Operation *op) {
  return TypeSwitch<Operation *, int64_t>(op)
      .Case<SoftmaxOp, LayerNormOp, RmsNormOp>([](auto o) { return o.getAxis(); })
      .Case<ReduceOp>(
          [](ReduceOp o) { return o.getAxes().size() == 1 && o.getKeepDims() ? o.getAxes()[0] : int64_t(-1); })
      .Default(int64_t(-1));
}

/// Bytes of tensors that a kernel for a device has as arguments at most: less than the 4064 that a launch takes, since
/// extents and numbers come with them.
constexpr int64_t kMostArguments = 3072;

/// Bytes that a kernel's arguments have of a tensor.
int64_t argumentOf(Value tensor) { return 24 + 16 * cast<RankedTensorType>(tensor.getType()).getRank(); }

/// A reduction along the last axis alone, whose rows are those of its result.
bool reducesRows(Operation *op) {
  return isReduction(op) && axisOf(op) == cast<RankedTensorType>(op->getOperand(0).getType()).getRank() - 1;
}

class Former {
public:
  Former(Block &block, ShapeContext &shapes, bool fuse, bool library, bool device)
      : block(block), shapes(shapes), fuse(fuse), library(library), device(device) {}

  Grouping run() {
    SmallVector<Operation *> ops;
    for (Operation &op : block)
      if (isa<SymbolicShapeOpInterface>(op) && !isStored(op.getResult(0)))
        ops.push_back(&op);
    for (Operation *op : ops)
      if (auto matmul = dyn_cast<MatmulOp>(op); matmul && isLibraryMatmul(matmul))
        lastOf[(grouping.matmuls[op] = epilogue(matmul)).last] = op;
    for (Operation *op : ops)
      if (isa<CastOp>(op) && isWeight(op->getResult(0)) && llvm::all_of(op->getUses(), [&](OpOperand &use) {
            return grouping.matmuls.count(use.getOwner()) && use.getOperandNumber() == 1 &&
                   use.getOwner()->getOperand(0) != use.get();
          }))
        absorbed.insert(op); // the product widens what it reads
    for (Operation *op : ops)
      if (isa<DequantizeOp>(op) && !op->use_empty() && llvm::all_of(op->getUses(), [&](OpOperand &use) {
            return grouping.matmuls.count(use.getOwner()) && use.getOperandNumber() == 0 && readsBytes(use.getOwner()) &&
                   use.getOwner()->getOperand(1) != use.get();
          }))
        absorbed.insert(op); // the product reads the bytes
    for (auto &[op, end] : grouping.matmuls)
      if (CastOp widening = wideningOf(cast<MatmulOp>(op)))
        absorbed.insert(widening); // the product reads 16 bits
    for (Operation *op : ops)
      if (auto attention = dyn_cast<AttentionOp>(op))
        grouping.attentions[op] = callOf(attention);
    for (Operation *op : ops)
      if (auto cache = dyn_cast<CacheOp>(op))
        grouping.caches[op] = callOf(cache);
    for (Operation *op : ops)
      if (auto lookup = dyn_cast<GatherOp>(op); lookup && isCompressed(lookup.getInput()))
        grouping.lookups.insert(op);
    for (Operation *op : llvm::reverse(ops)) {
      if (grouping.matmuls.count(op) || grouping.attentions.count(op) || grouping.caches.count(op) ||
          grouping.lookups.contains(op) || absorbed.contains(op) || isa<ReshapeOp>(op))
        continue;
      Operation *root = joined(op);
      if (device && !takeArguments(root, op))
        root = nullptr;
      member[op].root = root ? root : op;
      if (!root)
        member[op] = {op, 1, true};
    }
    for (Operation *op : ops)
      if (auto it = member.find(op); it != member.end())
        if (it->second.root == op)
          grouping.kernels[op];
    for (Operation *op : ops)
      if (auto it = member.find(op); it != member.end())
        grouping.kernels[it->second.root].push_back(op);
    grouping.absorbed.insert(absorbed.begin(), absorbed.end());
    return std::move(grouping);
  }

private:
  struct Member {
    Operation *root = nullptr;
    int64_t count = 1;    ///< how often each element is computed
    bool aligned = false; ///< element (i, j) of the root needs only row i of this
    int64_t distance = 0; ///< length of the longest chain of operations from this to the root
  };

  /// A constant that a product reads packed.
  static bool isWeight(Value rhs) { return cast<RankedTensorType>(rhs.getType()).getRank() == 2 && storedMatrix(rhs); }

  bool isLibraryMatmul(MatmulOp op) {
    auto type = cast<RankedTensorType>(op.getType());
    return library && type.getElementType().isF32() && type.getRank() <= 5;
  }

  /// Whether a product rounds its left side by a scale that is that tensor's, not what it is a multiple of.
  static bool isRounded(Operation *matmul) {
    auto rounding = matmul->getAttrOfType<DictionaryAttr>(kernel::kLhsQuantizationAttr);
    return rounding && rounding.getAs<IntegerAttr>("mode").getInt() == LATHE_QUANTIZE_STATIC;
  }

  /// Whether a product takes its left side as bytes: what the operation before it makes numbers again.
  static bool readsBytes(Operation *matmul) {
    auto rounding = matmul->getAttrOfType<DictionaryAttr>(kernel::kLhsQuantizationAttr);
    return rounding && rounding.get("bytes");
  }

  /// The number that all elements of an f32 constant are.
  static std::optional<double> splat(Value value) {
    auto constant = value.getDefiningOp<ConstantOp>();
    auto dense = constant ? dyn_cast<DenseFPElementsAttr>(constant.getValue()) : DenseFPElementsAttr();
    if (!dense || !dense.isSplat() || !dense.getElementType().isF32())
      return std::nullopt;
    return dense.getSplatValue<APFloat>().convertToDouble();
  }

  /// The factor that an operation multiplies one tensor of its own shape by.
  static std::optional<std::pair<Value, double>> scaled(Operation *op) {
    if (!isa<MulOp, DivOp>(op))
      return std::nullopt;
    for (unsigned i = 0; i < (isa<MulOp>(op) ? 2 : 1); ++i) {
      std::optional<double> factor = splat(op->getOperand(1 - i));
      if (factor && op->getOperand(i).getType() == op->getResult(0).getType())
        return std::pair(op->getOperand(i), isa<MulOp>(op) ? *factor : 1 / *factor);
    }
    return std::nullopt;
  }

  /// Multiplies the product's factor, where it stays a normal number of f32, as the library takes it.
  static bool takeFactor(double factor, Epilogue &result) {
    double alpha = std::abs(result.alpha * factor);
    if (!(alpha >= std::numeric_limits<float>::min() && alpha <= std::numeric_limits<float>::max())) // nor NaN
      return false;
    result.alpha *= factor;
    return true;
  }

  /// Looks through transposes and factors that nothing else reads.
  void lookThrough(MatrixOperand &operand, bool transposes, Epilogue &result) {
    for (;;) {
      Operation *op = operand.tensor.getDefiningOp();
      // What is a step of the product before is stored behind it.
      if (!op || op->getBlock() != &block || !operand.tensor.hasOneUse() || absorbed.contains(op))
        return;
      if (auto factor = scaled(op); factor && takeFactor(factor->second, result)) {
        operand.tensor = factor->first;
      } else if (auto transpose = dyn_cast<TransposeOp>(op); transpose && transposes) {
        ArrayRef<int64_t> permutation = transpose.getPermutation();
        SmallVector<int64_t> axes(permutation);
        if (operand.axes)
          for (auto [axis, own] : llvm::zip(axes, *operand.axes))
            axis = permutation[own];
        // The library reads matrices of which one axis is dense.
        auto rank = static_cast<int64_t>(axes.size());
        if (axes[rank - 1] != rank - 1 && axes[rank - 2] != rank - 1)
          return;
        operand.axes = axes;
        operand.tensor = transpose.getInput();
      } else {
        return;
      }
      absorbed.insert(op);
      result.before.push_back(op);
    }
  }

  AttentionCall callOf(AttentionOp op) {
    AttentionCall result;
    auto mayTake = [&](Operation *other) { return fuse && !absorbed.contains(other); };
    auto view = [&](Value operand) {
      TensorView found = viewOperand(operand, block, shapes, mayTake);
      absorbed.insert(found.ops.begin(), found.ops.end());
      return found;
    };
    result.query = view(op.getQuery());
    result.key = view(op.getKey());
    result.value = view(op.getValue());
    for (Value bias : op.getBiases())
      result.biases.push_back(view(bias));
    result.last = op;
    if (op->hasOneUse())
      if (auto transpose = dyn_cast<TransposeOp>(*op->getUsers().begin());
          transpose && transpose->getBlock() == &block && mayTake(transpose) &&
          transpose.getPermutation().back() + 1 == static_cast<int64_t>(transpose.getPermutation().size())) {
        result.last = transpose;
        absorbed.insert(transpose);
      }
    return result;
  }

  CacheCall callOf(CacheOp op) {
    CacheCall result;
    if (op.getRows()) {
      result.rows = viewOperand(op.getRows(), block, shapes, [&](Operation *other) { return fuse && !absorbed.contains(other); });
      absorbed.insert(result.rows->ops.begin(), result.rows->ops.end());
    }
    result.isRead = llvm::any_of(op->getUses(), [&](OpOperand &use) { return !library || !readsCache(use); });
    return result;
  }

  /// On a device: what widens the left side of a product from the 16 bits that its weight has, too, for nothing but such
  /// products; null where it has no such left side.
  CastOp wideningOf(MatmulOp matmul) {
    auto widening = device && fuse ? matmul.getLhs().getDefiningOp<CastOp>() : CastOp();
    if (!widening || widening->getBlock() != &block || isStored(widening.getInput()))
      return {};
    Type from = cast<RankedTensorType>(widening.getInput().getType()).getElementType();
    auto isReader = [&](OpOperand &use) {
      auto product = dyn_cast<MatmulOp>(use.getOwner());
      Value stored = product && isLibraryMatmul(product) && isWeight(product.getRhs()) ? storedMatrix(product.getRhs()) : Value();
      return stored && stored != product.getRhs() && use.getOperandNumber() == 0 && product->getBlock() == &block &&
             cast<RankedTensorType>(stored.getType()).getElementType() == from;
    };
    return llvm::all_of(widening->getUses(), isReader) ? widening : CastOp();
  }

  Epilogue epilogue(MatmulOp matmul) {
    Epilogue result;
    result.last = matmul;
    result.lhs.tensor = matmul.getLhs();
    result.rhs.tensor = matmul.getRhs();
    if (readsBytes(matmul)) {
      auto numbers = matmul.getLhs().getDefiningOp<DequantizeOp>();
      result.lhs.tensor = numbers.getInput();
      result.before.push_back(numbers);
    }
    if (!fuse)
      return result;
    bool hasWeight = isWeight(matmul.getRhs());
    CastOp widening = wideningOf(matmul);
    if (widening) {
      result.lhs.tensor = widening.getInput();
      result.before.push_back(widening);
    }
    if (!isRounded(matmul) && !widening)
      lookThrough(result.lhs, !hasWeight, result);
    if (!hasWeight)
      lookThrough(result.rhs, true, result);
    afterProduct(matmul, result);
    if (!hasWeight && !result.residual && result.last->hasOneUse())
      if (auto transpose = dyn_cast<TransposeOp>(*result.last->getUsers().begin());
          transpose && transpose->getBlock() == &block) {
        ArrayRef<int64_t> permutation = transpose.getPermutation();
        if (permutation.back() + 1 == static_cast<int64_t>(permutation.size())) {
          result.outAxes = invertPermutationVector(permutation);
          result.last = transpose;
          absorbed.insert(transpose);
        }
      }
    return result;
  }

  void afterProduct(MatmulOp matmul, Epilogue &result) {
    auto onlyUser = [&]() -> Operation * {
      Operation *user = result.last->hasOneUse() ? *result.last->getUsers().begin() : nullptr;
      return user && user->getBlock() == &block ? user : nullptr;
    };
    auto type = cast<RankedTensorType>(matmul.getType());
    Operation *user = onlyUser();
    if (auto factor = user ? scaled(user) : std::nullopt;
        factor && factor->first == result.last->getResult(0) && takeFactor(factor->second, result)) {
      result.last = user;
      absorbed.insert(user);
      user = onlyUser();
    }
    if (auto add = dyn_cast_or_null<AddOp>(user); add && add.getType() == type) {
      Value other = add.getLhs() == result.last->getResult(0) ? add.getRhs() : add.getLhs();
      auto otherType = cast<RankedTensorType>(other.getType());
      if (isa_and_nonnull<WeightOp, ConstantOp>(other.getDefiningOp()) && otherType.getRank() == 1 &&
          otherType.getDimSize(0) == type.getShape().back()) {
        result.bias = other;
        result.last = add;
        absorbed.insert(add);
        user = onlyUser();
      }
    }
    if (!user)
      return;
    if (isa<QuantizeOp>(user))
      return roundResult(matmul, result);
    int64_t activation =
        TypeSwitch<Operation *, int64_t>(user)
            .Case<ReluOp>([](auto) { return LATHE_ACT_RELU; })
            .Case<TanhOp>([](auto) { return LATHE_ACT_TANH; })
            .Case<SigmoidOp>([](auto) { return LATHE_ACT_SIGMOID; })
            .Case<GeluOp>([](GeluOp op) {
              return op.getApproximation() == GeluApproximation::erf ? LATHE_ACT_GELU_ERF : LATHE_ACT_GELU_TANH;
            })
            .Case<SwishOp>([](SwishOp op) { return op.getBeta().isExactlyValue(1) ? LATHE_ACT_SILU : LATHE_ACT_NONE; })
            .Default(int64_t(LATHE_ACT_NONE));
    if (activation != LATHE_ACT_NONE) {
      result.activation = activation;
      result.last = user;
      absorbed.insert(user);
    }
    // Those of a gated layer; products that a run computes have no place for it.
    if (isWeight(matmul.getRhs()))
      if (Value other = besideProduct<MulOp>(matmul, result))
        result.multiplier = other;
    if (Value other = besideProduct<AddOp>(matmul, result))
      result.residual = other;
    roundResult(matmul, result);
  }

  /// Lets a product write bytes, where that is all that its result is for.
  void roundResult(MatmulOp matmul, Epilogue &result) {
    if (device)
      narrowResult(matmul, result);
    auto weight = matmul.getRhs().getDefiningOp<WeightOp>();
    auto content = weight ? weight->getAttrOfType<DictionaryAttr>(kernel::kCompressedAttr) : DictionaryAttr();
    auto rounding = result.last->hasOneUse() ? dyn_cast<QuantizeOp>(*result.last->getUsers().begin()) : QuantizeOp();
    if (!content || content.get("sparse") || !rounding || rounding->getBlock() != &block || rounding.getInput() != result.last->getResult(0))
      return;
    result.rounding = staticRounding(rounding);
    if (!result.rounding)
      return;
    result.last = rounding;
    absorbed.insert(rounding);
  }

  /// Lets a product on a device write 16 bits, where that is all that its result is for: with the bounds of f16, as its last
  /// step has them, or of bf16.
  void narrowResult(MatmulOp matmul, Epilogue &result) {
    if (!isWeight(matmul.getRhs()) || storedMatrix(matmul.getRhs()) == matmul.getRhs())
      return;
    Value value = result.last->getResult(0);
    SmallVector<Operation *, 3> steps;
    auto next = [&]() -> Operation * {
      Operation *user = value.hasOneUse() ? *value.getUsers().begin() : nullptr;
      return user && user->getBlock() == &block && !absorbed.contains(user) ? user : nullptr;
    };
    auto bound = [&](Operation *op, double number) {
      auto tensor = op ? dyn_cast<RankedTensorType>(op->getResult(0).getType()) : RankedTensorType();
      if (!tensor || tensor != value.getType())
        return false;
      std::optional<double> limit = splat(op->getOperand(op->getOperand(0) == value ? 1 : 0));
      if (!limit || *limit != number)
        return false;
      steps.push_back(op);
      value = op->getResult(0);
      return true;
    };
    constexpr double kMostF16 = 65504;
    auto least = dyn_cast_or_null<MaxOp>(next());
    bool isBounded = least && bound(least, -kMostF16);
    if (isBounded) {
      auto most = dyn_cast_or_null<MinOp>(next());
      if (!most || !bound(most, kMostF16))
        return;
    }
    auto narrowing = dyn_cast_or_null<CastOp>(next());
    auto to = narrowing ? dyn_cast<RankedTensorType>(narrowing.getType()) : RankedTensorType();
    if (!to || !(isBounded ? to.getElementType().isF16() : to.getElementType().isBF16()))
      return;
    steps.push_back(narrowing);
    absorbed.insert(steps.begin(), steps.end());
    result.last = narrowing;
  }

  /// Makes a sum or product with a tensor of the matrix product's own shape its step, if that tensor is there before the matrix
  /// product is; returns the tensor.
  template <typename OpTy> Value besideProduct(MatmulOp matmul, Epilogue &result) {
    auto op = result.last->hasOneUse() ? dyn_cast<OpTy>(*result.last->getUsers().begin()) : OpTy();
    if (!op || op->getBlock() != &block || absorbed.contains(op) || op.getType() != matmul.getType())
      return {};
    Value other = op.getLhs() == result.last->getResult(0) ? op.getRhs() : op.getLhs();
    Operation *producer = other.getDefiningOp();
    // What another product computes is there when that is.
    Operation *place = producer;
    if (auto it = lastOf.find(producer); producer && it != lastOf.end())
      place = it->second;
    bool isBefore = place ? place->getBlock() == &block && place->isBeforeInBlock(matmul)
                          : cast<BlockArgument>(other).getOwner() == &block;
    // What nothing else reads is computed where it is used, in a kernel of the sum or product.
    bool isStored = !producer || place != producer || !other.hasOneUse() || !isElementwise(producer);
    if (!isBefore || !isStored || other.getType() != op.getType() || shape(other) != shape(op) || shape(op).empty())
      return {};
    result.last = op;
    absorbed.insert(op);
    return other;
  }

  SymShape shape(Value value) {
    auto result = shapes.shapeOf(value);
    return succeeded(result) ? *result : SymShape{};
  }

  /// Of the root's shape, or of its rows' shape (last axis 1).
  bool sameRows(Value value, Value root) {
    SymShape a = shape(value), b = shape(root);
    if (a.empty() || a.size() != b.size())
      return false;
    for (size_t i = 0; i + 1 < a.size(); ++i)
      if (a[i] != b[i])
        return false;
    return a.back() == b.back() || a.back().isConstant(1) || b.back().isConstant(1);
  }

  /// The root of the group that `op` joins, null for none; fills in its membership.
  Operation *joined(Operation *op) {
    if (!fuse || op->use_empty() || isScatter(op))
      return nullptr;
    Value value = op->getResult(0);
    Member self;
    self.count = 0;
    self.aligned = true;
    SymShape own = shape(value);
    for (Operation *user : op->getUsers()) {
      auto it = member.find(user);
      if (it == member.end() || isScatter(user) || (self.root && self.root != it->second.root))
        return nullptr; // returned, or read by a library call, a reshape, a scatter or several kernels
      self.root = it->second.root;
      self.distance = std::max(self.distance, it->second.distance + 1);
      bool rowwise = isElementwise(user) || reducesRows(user);
      self.aligned = self.aligned && it->second.aligned && rowwise && sameRows(value, self.root->getResult(0));
      int64_t repeats = evaluations(user);
      // A smaller operand is computed again for every element that it is broadcast to, unless its rows are the root's.
      SymShape theirs = shape(reducesRows(user) ? user->getOperand(0) : user->getResult(0));
      if (own != theirs && !self.aligned && !isa<SliceOp, TransposeOp, ConcatOp, PadOp>(user))
        repeats *= 16;
      // Operands that are read at computed places may be read any number of times.
      if (isa<GatherOp, GatherElementsOp, GatherNDOp>(user))
        repeats *= 4;
      self.count += it->second.count * repeats;
    }
    // The loops of a group are made by descending from its root, which takes stack.
    constexpr int64_t kLongest = 128;
    if (self.distance > kLongest)
      return nullptr;
    if (isReduction(op)) {
      if (!reducesRows(op) || !self.aligned ||
          (isa<SoftmaxOp, LayerNormOp, RmsNormOp>(op) && own != shape(self.root->getResult(0))))
        return nullptr;
      // Rows' reductions are computed once a row however often they are read; so is what they are made of.
      self.count = 1;
    } else if (!isCheap(op) ? self.count > 1 : self.count > 16 * 16) {
      return nullptr;
    }
    // A chain of cheap operations read by something expensive to repeat is stored once instead.
    if (isCheap(op) && self.count > 16 && !own.empty() && depth(op) > 8)
      return nullptr;
    member[op] = self;
    return self.root;
  }

  /// Whether a group has room for what an operation reads that joins it; null for one that begins a group.
  bool takeArguments(Operation *root, Operation *op) {
    int64_t own = 0;
    for (Value operand : op->getOperands())
      own += isa<RankedTensorType>(operand.getType()) ? argumentOf(operand) : 8;
    own += (root ? -1 : 1) * argumentOf(op->getResult(0));
    int64_t all = arguments.lookup(root ? root : op) + own;
    if (root && all > kMostArguments) {
      takeArguments(nullptr, op);
      return false;
    }
    arguments[root ? root : op] = all;
    return true;
  }

  /// Length of the longest chain of operations above, up to a bound.
  int64_t depth(Operation *op, int64_t bound = 10) {
    int64_t result = 0;
    if (bound > 0)
      for (Value operand : op->getOperands())
        if (Operation *producer = operand.getDefiningOp(); producer && isElementwise(producer))
          result = std::max(result, 1 + depth(producer, bound - 1));
    return result;
  }

  Block &block;
  ShapeContext &shapes;
  bool fuse, library, device;
  Grouping grouping;
  llvm::DenseMap<Operation *, Member> member;
  llvm::DenseMap<Operation *, int64_t> arguments; ///< bytes that a group's kernel has, by its root: at most
  llvm::DenseMap<Operation *, Operation *> lastOf; ///< products, by the operation whose result they compute
  llvm::SmallPtrSet<Operation *, 32> absorbed;
};

} // namespace

LogicalResult splitConcats(Block &block, ShapeContext &shapes) {
  constexpr size_t kMost = 16;
  SmallVector<ConcatOp> ops;
  block.walk([&](ConcatOp op) { ops.push_back(op); });
  for (ConcatOp op : ops) {
    OpBuilder b(op);
    SmallVector<Value> parts(op.getInputs());
    while (parts.size() > kMost) {
      SmallVector<Value> fewer;
      for (ArrayRef<Value> rest = parts; !rest.empty(); rest = rest.drop_front(std::min(kMost, rest.size()))) {
        auto part = createInferred<ConcatOp>(b, op.getLoc(), shapes, op.getType().getElementType(),
                                             ValueRange(rest.take_front(kMost)), op.getAxis());
        if (failed(part))
          return failure();
        fewer.push_back(part->getResult());
      }
      parts = std::move(fewer);
    }
    op->setOperands(parts);
  }
  return success();
}

bool isStored(Value value) {
  Operation *op = value.getDefiningOp();
  if (isa_and_nonnull<ConstantOp, WeightOp>(op))
    return true;
  auto rounding = dyn_cast_or_null<CastOp>(op);
  auto element = [](Value tensor) { return cast<RankedTensorType>(tensor.getType()).getElementType(); };
  return rounding && rounding.getInput().getDefiningOp<WeightOp>() && element(rounding.getInput()).isF32() &&
         (element(value).isBF16() || element(value).isF16());
}

Value storedMatrix(Value value) {
  if (isStored(value))
    return value;
  auto widening = value.getDefiningOp<CastOp>();
  if (!widening || !isStored(widening.getInput()))
    return {};
  Type from = cast<RankedTensorType>(widening.getInput().getType()).getElementType();
  return (from.isBF16() || from.isF16()) && cast<RankedTensorType>(value.getType()).getElementType().isF32()
             ? widening.getInput()
             : Value();
}

bool isLibraryAttention(AttentionOp op) {
  constexpr size_t kMostBiases = 2;
  return cast<RankedTensorType>(op.getType()).getElementType().isF32() && op.getBiases().size() <= kMostBiases;
}

bool readsCache(OpOperand &use) {
  auto attention = dyn_cast<AttentionOp>(use.getOwner());
  if (!attention || !isLibraryAttention(attention) || !attention.getPositions() || !use.get().getDefiningOp<CacheOp>())
    return false;
  return &use == &attention.getKeyMutable() || &use == &attention.getValueMutable();
}

Grouping formGroups(Block &block, ShapeContext &shapes, bool fuse, bool library, bool device) {
  return Former(block, shapes, fuse, library, device).run();
}

} // namespace lathe::cpu

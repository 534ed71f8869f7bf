//===- KernelDialect.cpp - The kernel dialect -----------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "dialects/kernel/Kernel.h"
#include "dialects/kernel/LoopAttributes.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Utils/IndexingUtils.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/TypeUtilities.h"
#include "runtime/Abi.h"

using namespace mlir;

#include "dialects/kernel/KernelDialect.cpp.inc"
#define GET_OP_CLASSES
#include "dialects/kernel/KernelOps.cpp.inc"

namespace lathe::kernel {

void KernelDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "dialects/kernel/KernelOps.cpp.inc"
      >();
}

bool isBuffer(Type type) {
  auto memref = dyn_cast<MemRefType>(type);
  if (!memref || !memref.getLayout().isIdentity() || memref.getMemorySpace() || !memref.getElementType().isIntOrFloat())
    return false;
  unsigned width = memref.getElementTypeBitWidth();
  return width == 8 || width == 16 || width == 32 || width == 64;
}

//===----------------------------------------------------------------------===//
// Tables of the module
//===----------------------------------------------------------------------===//

namespace {

/// A list of dictionaries, checked so that passes and the manifest's writer can take its entries for granted.
class TableVerifier {
public:
  TableVerifier(Operation *op, NamedAttribute table) : op(op), table(table) {}

  LogicalResult verify() {
    if (!isa<ModuleOp>(op))
      return op->emitOpError() << "expects '" << table.getName().getValue() << "' on a module";
    auto list = dyn_cast<ArrayAttr>(table.getValue());
    if (!list)
      return op->emitOpError() << "expects '" << table.getName().getValue() << "' to be a list, got "
                               << table.getValue();
    for (auto [i, element] : llvm::enumerate(list)) {
      position = i;
      entry = dyn_cast<DictionaryAttr>(element);
      if (!entry)
        return op->emitOpError() << "expects '" << table.getName().getValue() << "' to hold dictionaries, got "
                                 << element;
      if (failed(verifyEntry()))
        return failure();
    }
    return success();
  }

  /// The attribute is the one entry itself.
  LogicalResult verifySingle() {
    entry = dyn_cast<DictionaryAttr>(table.getValue());
    StringRef name = table.getName();
    bool isWeight = name == kCompressedAttr;
    if (!entry || op->getName().getStringRef() != (isWeight ? "lathe.weight" : "lathe.matmul"))
      return op->emitOpError() << "expects '" << name << "' to be a dictionary, of a " << (isWeight ? "lathe.weight" : "lathe.matmul");
    if (isWeight)
      return verifyCompressed();
    return failure(failed(word("mode")) || failed(word("zero")) ||
                   (!entry.getAs<FloatAttr>("scale") && failed(misfit("scale", "a number"))));
  }

private:
  LogicalResult misfit(StringRef key, StringRef expected) {
    auto error = op->emitOpError() << "expects '" << key << "' of entry " << position << " of '"
                                   << table.getName().getValue() << "' to be " << expected;
    if (Attribute value = entry.get(key))
      return error << ", got " << value;
    return error << ", got nothing";
  }
  LogicalResult text(StringRef key) { return entry.getAs<StringAttr>(key) ? success() : misfit(key, "a string"); }
  LogicalResult word(StringRef key) {
    auto value = entry.getAs<IntegerAttr>(key);
    return value && value.getType().isSignlessInteger(64) ? success() : misfit(key, "a 64-bit integer");
  }
  LogicalResult flag(StringRef key) { return entry.getAs<BoolAttr>(key) ? success() : misfit(key, "true or false"); }

  static bool isResult(DictionaryAttr result) {
    auto isWord = [&](StringRef key) {
      auto number = result.getAs<IntegerAttr>(key);
      return number && number.getType().isSignlessInteger(64) && number.getInt() >= 0;
    };
    auto shape = result ? result.getAs<ArrayAttr>("shape") : ArrayAttr();
    return shape && llvm::all_of(shape, llvm::IsaPred<StringAttr, IntegerAttr>) && result.getAs<StringAttr>("value") &&
           result.getAs<StringAttr>("node") && result.getAs<TypeAttr>("type") &&
           (result.get("argument") || result.get("rank") ? isWord("argument") && isWord("rank") : true);
  }

  static bool isComputation(DictionaryAttr computes) {
    auto places = computes ? computes.getAs<DenseI64ArrayAttr>("arguments") : DenseI64ArrayAttr();
    return places && places.size() == 4 && computes.getAs<StringAttr>("operation") && computes.getAs<IntegerAttr>("columns") &&
           (computes.getAs<FloatAttr>("epsilon") || computes.getAs<DenseI64ArrayAttr>("order")) &&
           (!computes.get("type") || computes.getAs<TypeAttr>("type"));
  }

  LogicalResult verifyEntry() {
    StringRef name = table.getName();
    if (name == kSymbolsAttr)
      return failure(failed(text("name")) || failed(word("min")) || failed(word("max")));
    if (name == kConstantsAttr)
      return verifyConstant();
    if (name == kReadsAttr) {
      if (failed(word("constant")) || (entry.get("rows") && failed(text("rows"))))
        return failure();
      auto constants = op->getAttrOfType<ArrayAttr>(kConstantsAttr);
      int64_t index = entry.getAs<IntegerAttr>("constant").getInt(), count = constants ? constants.size() : 0;
      return index >= 0 && index < count ? success() : misfit("constant", "below " + std::to_string(count));
    }
    if (name == kKernelsAttr) {
      auto nodes = entry.getAs<ArrayAttr>("nodes");
      if (!nodes || !llvm::all_of(nodes, llvm::IsaPred<StringAttr>))
        return misfit("nodes", "a list of strings");
      if (entry.get("reads") && !entry.getAs<DenseI64ArrayAttr>("reads"))
        return misfit("reads", "a list of 64-bit integers");
      if (entry.get("result") && !isResult(entry.getAs<DictionaryAttr>("result")))
        return misfit("result", "a dictionary of 'value', 'node', 'type' and 'shape', and for launches 'argument' and 'rank'");
      if (entry.get("computes") && !isComputation(entry.getAs<DictionaryAttr>("computes")))
        return misfit("computes", "a dictionary of 'operation', four 'arguments', 'columns', and 'epsilon' or 'order'");
      return failure(failed(text("name")) || failed(text("kind")));
    }
    if (name == kCachesAttr) {
      if (!entry.getAs<TypeAttr>("type"))
        return misfit("type", "a type");
      if (entry.get("group") && (failed(word("group")) || failed(flag("rotated"))))
        return failure();
      return failure(failed(text("name")) || failed(word("heads")) || failed(word("size")) || failed(flag("appended")));
    }
    if (name == kChecksAttr)
      return failure(failed(text("node")) || failed(text("message")));
    if (name == kInputsAttr || name == kOutputsAttr) {
      auto shape = entry.getAs<ArrayAttr>("shape");
      if (!shape || !llvm::all_of(shape, llvm::IsaPred<StringAttr, IntegerAttr>))
        return misfit("shape", "a list of integers and strings");
      if (!entry.getAs<TypeAttr>("type"))
        return misfit("type", "a type");
      if (entry.get("below") && failed(word("below")))
        return failure();
      return text("name");
    }
    return op->emitOpError() << "unexpected attribute '" << name << "'";
  }

  /// Whether the entry of a constant of a compressed weight is of such a type, and has its bytes.
  bool isPart(StringRef key, llvm::function_ref<bool(Type)> isType) {
    auto part = entry.getAs<DictionaryAttr>(key);
    auto type = part ? part.getAs<TypeAttr>("type") : TypeAttr();
    auto tensor = type ? dyn_cast<RankedTensorType>(type.getValue()) : RankedTensorType();
    if (!tensor || !tensor.hasStaticShape() || tensor.getNumElements() == 0 || !isType(tensor.getElementType()))
      return false;
    if (auto value = part.getAs<DenseElementsAttr>("value"))
      return value.getType() == tensor;
    return part.getAs<StringAttr>("file") && part.getAs<IntegerAttr>("offset");
  }

  /// A matrix that is stored by lathe.sparse_to_dense.
  LogicalResult verifySparse() {
    auto isFloat = [](Type type) { return type.isF32() || type.isF16() || type.isBF16(); };
    auto format = entry.getAs<StringAttr>("sparse");
    if (!format || !llvm::is_contained({"csr", "bsr", "bitmap", "n_of_m"}, format.getValue()))
      return misfit("sparse", "a format of lathe.sparse_to_dense");
    if (!isPart("stored", [&](Type type) { return isFloat(type) || type.isInteger(8); }))
      return misfit("stored", "a constant of f32, f16, bf16 or i8");
    for (StringRef key : {"indices", "pointers"})
      if ((entry.get(key) || key == "indices") && !isPart(key, [](Type type) { return isa<IntegerType>(type); }))
        return misfit(key, "a constant of integers");
    if (entry.get("scale") && !isPart("scale", isFloat))
      return misfit("scale", "a constant of f32, f16 or bf16");
    if (entry.get("block") && !entry.getAs<DenseI64ArrayAttr>("block"))
      return misfit("block", "two extents");
    for (StringRef key : {"m", "axis"})
      if (entry.get(key) && failed(word(key)))
        return failure();
    if (failed(word("group")))
      return failure();
    return verifyMatrix();
  }

  LogicalResult verifyCompressed() {
    if (entry.get("sparse"))
      return verifySparse();
    for (StringRef key : {"values", "bits", "dimension", "group"})
      if (failed(word(key)))
        return failure();
    int64_t bits = entry.getAs<IntegerAttr>("bits").getInt();
    auto isCode = [&](Type type) {
      return type.isIntOrFloat() && type.getIntOrFloatBitWidth() == bits && bits >= 2 && bits <= 8;
    };
    auto isFloat = [](Type type) { return type.isF32() || type.isF16() || type.isBF16(); };
    if (!isPart("codes", isCode))
      return misfit("codes", "a constant of integers of 2 to 8 bits or of 8-bit floats");
    for (StringRef key : {"scale", "table"})
      if (entry.get(key) && !isPart(key, isFloat))
        return misfit(key, "a constant of f32, f16 or bf16");
    if (entry.get("zero") && !isPart("zero", [&](Type type) { return isCode(type) || isFloat(type); }))
      return misfit("zero", "a constant of the codes' or the scales' type");
    return verifyMatrix();
  }

  LogicalResult verifyMatrix() {
    auto type = entry.getAs<TypeAttr>("type");
    auto dense = type ? dyn_cast<RankedTensorType>(type.getValue()) : RankedTensorType();
    if (!dense || !dense.hasStaticShape() || dense.getRank() != 2 || !dense.getElementType().isF32())
      return misfit("type", "a static matrix of f32");
    return failure(failed(flag("packed")) || failed(flag("transposed")));
  }

  LogicalResult verifyConstant() {
    if (entry.get("codes") || entry.get("sparse"))
      return failure(failed(text("name")) || failed(verifyCompressed()));
    auto type = entry.getAs<TypeAttr>("type");
    auto tensor = type ? dyn_cast<RankedTensorType>(type.getValue()) : RankedTensorType();
    if (!tensor || !tensor.hasStaticShape() || !tensor.getElementType().isIntOrFloat())
      return misfit("type", "a static tensor type of numbers");
    if (failed(text("name")) || failed(flag("packed")) || failed(flag("transposed")))
      return failure();
    if (entry.get("rows") && failed(text("rows")))
      return failure();
    bool packed = entry.getAs<BoolAttr>("packed").getValue();
    Type element = tensor.getElementType();
    if (packed && (tensor.getRank() != 2 || !(element.isF32() || element.isBF16() || element.isF16())))
      return misfit("type", "a matrix of f32, bf16 or f16 where it is packed");
    if (Attribute given = entry.get("source")) {
      auto source = dyn_cast<TypeAttr>(given);
      auto wide = source ? dyn_cast<RankedTensorType>(source.getValue()) : RankedTensorType();
      if (!wide || !wide.getElementType().isF32() || wide.getShape() != tensor.getShape() || entry.get("value") ||
          !(element.isBF16() || element.isF16()))
        return misfit("source", "the type of a weight of f32 that is rounded to bf16 or f16");
    }
    if (!entry.get("value"))
      return failure(failed(text("file")) || failed(word("offset")));
    auto value = entry.getAs<DenseElementsAttr>("value");
    return value && value.getType() == tensor ? success() : misfit("value", "dense elements of the type");
  }

  Operation *op;
  NamedAttribute table;
  DictionaryAttr entry;
  size_t position = 0;
};

} // namespace

static LogicalResult verifyInPlace(Operation *op, Attribute attribute) {
  auto launch = dyn_cast<LaunchOp>(op);
  auto positions = dyn_cast<DenseI64ArrayAttr>(attribute);
  auto isOperand = [&](int64_t i) {
    return i >= 0 && i + 1 < static_cast<int64_t>(launch.getArgs().size()) &&
           isa<MemRefType>(launch.getArgs()[i].getType());
  };
  if (!launch || !positions || !llvm::all_of(positions.asArrayRef(), isOperand))
    return op->emitOpError() << "expects '" << kInPlaceAttr
                             << "' on a launch, with positions of buffers before its last argument, got " << attribute;
  return success();
}

LogicalResult KernelDialect::verifyOperationAttribute(Operation *op, NamedAttribute attribute) {
  if (attribute.getName() == kInPlaceAttr)
    return verifyInPlace(op, attribute.getValue());
  if (attribute.getName() == kScalarAttr) {
    if (!isa<scf::ForOp>(op) || !isa<StringAttr>(attribute.getValue()))
      return op->emitOpError() << "expects '" << kScalarAttr << "' to be a text, on a loop";
    return success();
  }
  if (attribute.getName() == kArithmeticAttr) {
    auto type = dyn_cast<TypeAttr>(attribute.getValue());
    if (!type || (!type.getValue().isF16() && !type.getValue().isBF16()))
      return op->emitOpError() << "expects '" << kArithmeticAttr << "' to be f16 or bf16, got " << attribute.getValue();
    return success();
  }
  if (attribute.getName() == kCompressedAttr || attribute.getName() == kLhsQuantizationAttr)
    return TableVerifier(op, attribute).verifySingle();
  return TableVerifier(op, attribute).verify();
}

//===----------------------------------------------------------------------===//
// Operations
//===----------------------------------------------------------------------===//

/// Offsets into tables are 32-bit numbers of bytes in generated code.
static LogicalResult verifyIndex(Operation *op, StringRef what, uint64_t value) {
  constexpr uint64_t kLimit = 1 << 24;
  if (value >= kLimit)
    return op->emitOpError() << "expects '" << what << "' from 0 to " << kLimit - 1 << ", got "
                             << static_cast<int64_t>(value);
  return success();
}

static LogicalResult verifySizes(Operation *op, MemRefType type, ValueRange sizes) {
  if (type.getNumDynamicDims() != static_cast<int64_t>(sizes.size()))
    return op->emitOpError() << "expects a size for each of the " << type.getNumDynamicDims()
                             << " dynamic dimensions of " << type << ", got " << sizes.size();
  return success();
}

LogicalResult InputOp::verify() {
  return failure(failed(verifyIndex(*this, "index", getIndex())) || failed(verifySizes(*this, getType(), getDims())));
}

LogicalResult OutputOp::verify() {
  return failure(failed(verifyIndex(*this, "index", getIndex())) || failed(verifySizes(*this, getType(), getDims())));
}

LogicalResult ConstantOp::verify() {
  if (!getType().hasStaticShape())
    return emitOpError() << "expects a buffer of static shape, got " << getType();
  return verifyIndex(*this, "index", getIndex());
}

LogicalResult AllocOp::verify() { return verifySizes(*this, getType(), getDims()); }

LogicalResult ArenaOp::verify() { return verifySizes(*this, getType(), getDims()); }

LogicalResult DynamicAllocOp::verify() {
  return failure(failed(verifyIndex(*this, "slot", getSlot())) || failed(verifySizes(*this, getType(), getDims())));
}

LogicalResult DynamicOutputOp::verify() {
  return failure(failed(verifyIndex(*this, "index", getIndex())) || failed(verifySizes(*this, getType(), getDims())));
}

LogicalResult ViewOp::verify() {
  MemRefType from = getSource().getType(), to = getType();
  bool fits = from.getElementType() == to.getElementType() &&
              (!from.hasStaticShape() || !to.hasStaticShape() || from.getNumElements() == to.getNumElements());
  if (!fits)
    return emitOpError() << "expects as many elements of the same type, got " << from << " and " << to;
  return verifySizes(*this, to, getDims());
}

LogicalResult RowOp::verify() {
  MemRefType from = getSource().getType(), to = getType();
  if (from.getRank() == 0 || from.getElementType() != to.getElementType() ||
      failed(verifyCompatibleShape(from.getShape().drop_front(), to.getShape())))
    return emitOpError() << "expects a buffer that has entries of type " << to << ", got " << from;
  return verifySizes(*this, to, getDims());
}

SmallVector<int64_t> MatmulOp::matrixShape(Value buffer, std::optional<ArrayRef<int64_t>> axes) {
  ArrayRef<int64_t> shape = cast<MemRefType>(buffer.getType()).getShape();
  return axes ? applyPermutation(shape, *axes) : SmallVector<int64_t>(shape);
}

/// Of a left side of i8: how it was rounded is known, and where by rows, what belongs to these.
static LogicalResult verifyBytes(MatmulOp op) {
  uint64_t quantization = op.getLhsQuantization();
  bool hasScales = op.getLhsScales() != nullptr;
  if (op.readsBytes() && quantization != static_cast<uint64_t>(hasScales ? LATHE_QUANTIZE_ROWS : LATHE_QUANTIZE_STATIC))
    return op.emitOpError() << "expects a left side of i8 with lhs_quantization "
                            << static_cast<int>(LATHE_QUANTIZE_STATIC) << ", or "
                            << static_cast<int>(LATHE_QUANTIZE_ROWS) << " and scales, got "
                            << static_cast<int64_t>(quantization) << (hasScales ? " and scales" : "");
  SmallVector<int64_t> rows(op.getLhs().getType().getShape());
  if (!rows.empty())
    rows.back() = 1;
  for (auto [name, buffer, bits] : {std::tuple("scales of f32", Value(op.getLhsScales()), 0),
                                    std::tuple("sums of i32", Value(op.getLhsSums()), 32)}) {
    auto type = buffer ? cast<MemRefType>(buffer.getType()) : MemRefType();
    bool fits = !type || (type.getShape() == ArrayRef(rows) &&
                          (bits ? type.getElementType().isInteger(bits) : type.getElementType().isF32()));
    if (!fits || (type && (!op.readsBytes() || !hasScales || op.getTransposeLhs() || op.getLhsUnsigned())))
      return op.emitOpError() << "expects " << name << " for the rows of a left side of i8 with a sign, got "
                              << buffer.getType() << " for " << op.getLhs().getType();
  }
  return success();
}

/// Where the right side is: a buffer, or a constant with its shape.
static LogicalResult verifyRightSide(MatmulOp op) {
  auto weight = static_cast<int64_t>(op.getWeight());
  if (weight != -1 && failed(verifyIndex(op, "weight", weight)))
    return failure();
  if (bool(op.getRhs()) == (weight >= 0))
    return op.emitOpError() << "expects either rhs or a weight, got " << (op.getRhs() ? "both" : "neither");
  ArrayRef<int64_t> shape = op.getWeightShape();
  if (shape.size() != (weight >= 0 ? 2 : 0) || llvm::any_of(shape, [](int64_t d) { return d < 0; }))
    return op.emitOpError() << "expects a weight_shape of " << (weight >= 0 ? 2 : 0) << " dimensions, got [" << shape
                            << "]";
  if (op.getMultiplier() && weight < 0)
    return op.emitOpError() << "expects a multiplier with a weight alone, got one with rhs";
  return success();
}

/// Types of elements, and orders of axes.
static LogicalResult verifyBuffers(MatmulOp op) {
  bool hasWeight = !op.getRhs();
  for (Value buffer : {Value(op.getLhs()), Value(op.getRhs()), Value(op.getBias()), Value(op.getMultiplier()),
                       Value(op.getResidual()), Value(op.getOut())}) {
    if (!buffer)
      continue;
    bool mayBeNarrow = hasWeight && (buffer == op.getLhs() || buffer == op.getOut());
    Type element = cast<MemRefType>(buffer.getType()).getElementType();
    if (!element.isF32() && !(mayBeNarrow && (element.isInteger(8) || element.isF16() || element.isBF16())))
      return op.emitOpError() << "expects elements of f32" << (mayBeNarrow ? ", i8, f16 or bf16" : "") << ", got "
                              << buffer.getType();
  }
  for (auto [axes, buffer] :
       {std::pair(op.getLhsAxes(), Value(op.getLhs())), std::pair(op.getRhsAxes(), Value(op.getRhs())),
        std::pair(op.getOutAxes(), Value(op.getOut()))}) {
    if (!axes)
      continue;
    if (hasWeight)
      return op.emitOpError() << "expects no order of axes with a weight";
    if (static_cast<int64_t>(axes->size()) != cast<MemRefType>(buffer.getType()).getRank() || !isPermutationVector(*axes))
      return op.emitOpError() << "expects axes that are a permutation of those of the buffer, got [" << *axes
                              << "] for " << buffer.getType();
  }
  if (op.getOutAxes() && op.getOutAxes()->back() + 1 != static_cast<int64_t>(op.getOutAxes()->size()))
    return op.emitOpError() << "expects axes of the result that keep the last one, got [" << *op.getOutAxes() << "]";
  return success();
}

/// What is multiplied, and what is added to or multiplied with the result.
static LogicalResult verifyShapes(MatmulOp op) {
  SmallVector<int64_t> lhs = MatmulOp::matrixShape(op.getLhs(), op.getLhsAxes()),
                       out = MatmulOp::matrixShape(op.getOut(), op.getOutAxes());
  SmallVector<int64_t> rhs =
      op.getRhs() ? MatmulOp::matrixShape(op.getRhs(), op.getRhsAxes()) : SmallVector<int64_t>(op.getWeightShape());
  int64_t ra = lhs.size(), rb = rhs.size(), ro = out.size();
  if (ra < 2 || rb < 2 || ro > 5 || ro != std::max(ra, rb))
    return op.emitOpError() << "expects ranks from 2 to 5, the result's the largest, got " << ra << " and " << rb
                            << " for " << ro;
  auto fit = [](int64_t x, int64_t y) { return ShapedType::isDynamic(x) || ShapedType::isDynamic(y) || x == y; };
  bool ta = op.getTransposeLhs(),
       tb = op.getRhs() && op.getTransposeRhs(); // weight_shape is [k, n] whatever the attribute
  int64_t m = lhs[ra - (ta ? 1 : 2)], k = lhs[ra - (ta ? 2 : 1)];
  int64_t kb = rhs[rb - (tb ? 1 : 2)], n = rhs[rb - (tb ? 2 : 1)];
  MemRefType result = op.getOut().getType();
  if (!fit(k, kb))
    return op.emitOpError() << "expects inner dimensions to match, got " << k << " and " << kb;
  if (!fit(m, out[ro - 2]) || !fit(n, out[ro - 1]))
    return op.emitOpError() << "expects a result that fits the operands, got " << result;
  if (op.getBias() && (op.getBias().getType().getRank() != 1 || !fit(op.getBias().getType().getDimSize(0), n)))
    return op.emitOpError() << "expects a bias of rank 1 that fits the result's columns, got "
                            << op.getBias().getType();
  if (op.getResidual() && op.getResidual().getType().getShape() != result.getShape())
    return op.emitOpError() << "expects a residual of the result's shape, that of " << result << ", got "
                            << op.getResidual().getType();
  if (op.getResidual() && op.getOutAxes())
    return op.emitOpError() << "expects no order of the result's axes with a residual";
  if (op.getMultiplier() && op.getMultiplier().getType().getShape() != result.getShape())
    return op.emitOpError() << "expects a multiplier of the result's shape, that of " << result << ", got "
                            << op.getMultiplier().getType();
  return success();
}

/// How the left side and the result are rounded.
static LogicalResult verifyRounding(MatmulOp op) {
  auto isByte = [](uint64_t zero) { return static_cast<int64_t>(zero) >= -128 && static_cast<int64_t>(zero) <= 127; };
  double scale = op.getLhsScale().convertToDouble(), outScale = op.getOutScale().convertToDouble();
  if (op.getLhsQuantization() > LATHE_QUANTIZE_ROWS_E4M3 ||
      (op.getLhsQuantization() != LATHE_QUANTIZE_NONE && op.getRhs()) || !(scale > 0) || !isByte(op.getLhsZero()))
    return op.emitOpError() << "expects a quantization of the left side from 0 to "
                            << static_cast<int>(LATHE_QUANTIZE_ROWS_E4M3)
                            << ", with a weight, a scale above 0 and a zero from -128 to 127, got "
                            << static_cast<int64_t>(op.getLhsQuantization()) << ", " << scale << " and "
                            << static_cast<int64_t>(op.getLhsZero());
  if (failed(verifyBytes(op)))
    return failure();
  Type element = op.getLhs().getType().getElementType();
  if ((element.isF16() || element.isBF16()) && op.getLhsQuantization() != LATHE_QUANTIZE_NONE)
    return op.emitOpError() << "expects a left side of " << element << " without lhs_quantization, got "
                            << static_cast<int64_t>(op.getLhsQuantization());
  std::optional<Type> arithmetic = op.getArithmetic();
  bool isPlain = !op.getRhs() && op.getLhsQuantization() == LATHE_QUANTIZE_NONE;
  if (arithmetic && ((!arithmetic->isF16() && !arithmetic->isBF16()) || !isPlain))
    return op.emitOpError() << "expects an arithmetic of f16 or bf16, with a weight and without lhs_quantization, got "
                            << *arithmetic;
  if (!(outScale > 0) || !isByte(op.getOutZero()))
    return op.emitOpError() << "expects an out_scale above 0 and an out_zero from -128 to 127, got " << outScale
                            << " and " << static_cast<int64_t>(op.getOutZero());
  return success();
}

LogicalResult MatmulOp::verify() {
  if (failed(verifyIndex(*this, "kernel", getKernel())))
    return failure();
  if (getActivation() > LATHE_ACT_SIGMOID)
    return emitOpError() << "expects an activation from 0 to " << static_cast<int>(LATHE_ACT_SIGMOID) << ", got "
                         << static_cast<int64_t>(getActivation());
  if (failed(verifyRightSide(*this)) || failed(verifyBuffers(*this)) || failed(verifyShapes(*this)))
    return failure();
  return verifyRounding(*this);
}

LogicalResult LookupOp::verify() {
  if (failed(verifyIndex(*this, "kernel", getKernel())) || failed(verifyIndex(*this, "weight", getWeight())) ||
      failed(verifyIndex(*this, "check", getCheck())))
    return failure();
  auto indices = cast<MemRefType>(getIndices().getType()), out = cast<MemRefType>(getOut().getType());
  if (!indices.getElementType().isInteger(64) && !indices.getElementType().isInteger(32))
    return emitOpError() << "expects indices of i64 or i32, got " << indices;
  if (!out.getElementType().isF32() || out.getRank() != indices.getRank() + 1)
    return emitOpError() << "expects a result of f32 with one axis more than the indices, got " << out << " for " << indices;
  return success();
}

LogicalResult AttentionOp::verify() {
  constexpr size_t kSizes = 8, kView = 6, kMostBiases = 2;
  if (failed(verifyIndex(*this, "kernel", getKernel())))
    return failure();
  if (getSizes().size() != kSizes)
    return emitOpError() << "expects " << kSizes << " sizes, got " << getSizes().size();
  if (getBiases().size() > kMostBiases)
    return emitOpError() << "expects at most " << kMostBiases << " biases, got " << getBiases().size();
  for (auto [name, view, buffers] :
       {std::tuple("query", getQueryView(), size_t(1)), std::tuple("key", getKeyView(), size_t(getKey() ? 1 : 0)),
        std::tuple("value", getValueView(), size_t(getValue() ? 1 : 0)), std::tuple("out", getOutView(), size_t(1)),
        std::tuple("biases", getBiasViews(), size_t(getBiases().size()))})
    if (view.size() != kView * buffers)
      return emitOpError() << "expects an offset and " << kView - 1 << " strides for each view of '" << name << "', got "
                           << view.size() << " numbers for " << buffers;
  for (Value operand : getOperands())
    if (auto buffer = dyn_cast<MemRefType>(operand.getType());
        buffer && operand != getPositions() && !buffer.getElementType().isF32())
      return emitOpError() << "expects elements of f32, got " << buffer;
  for (auto [name, buffer, cache] : {std::tuple("key", getKey(), getKeyCache()), std::tuple("value", getValue(), getValueCache())})
    if (!buffer != cache.has_value() || (cache && failed(verifyIndex(*this, "cache", *cache))))
      return emitOpError() << "expects a buffer or a cache as '" << name << "', got " << (buffer ? "both" : "none");
  if (getPositions() && !cast<MemRefType>(getPositions().getType()).getElementType().isInteger(64))
    return emitOpError() << "expects positions of i64, got " << getPositions().getType();
  if (getPositionsView().size() != (getPositions() ? 3 : 0))
    return emitOpError() << "expects an offset and 2 strides for a view of positions, got " << getPositionsView().size()
                         << " numbers";
  if (static_cast<int64_t>(getWindow()) < 0 || (getWindow() != 0 && !getPositions()))
    return emitOpError() << "expects a window of at least 0 that goes with positions, got " << static_cast<int64_t>(getWindow());
  if (!(getSoftcap().convertToDouble() >= 0))
    return emitOpError() << "expects a softcap of at least 0, got " << getSoftcap().convertToDouble();
  if (std::optional<Type> type = getArithmetic(); type && !type->isBF16() && !type->isF16() && !type->isSignlessInteger(8))
    return emitOpError() << "expects an arithmetic of bf16, f16 or i8, got " << *type;
  return success();
}

LogicalResult CacheAppendOp::verify() {
  constexpr size_t kRank = 4;
  if (failed(verifyIndex(*this, "kernel", getKernel())) || failed(verifyIndex(*this, "cache", getCache())))
    return failure();
  if (getSizes().size() != kRank || getView().size() != kRank + 1)
    return emitOpError() << "expects " << kRank << " sizes, an offset and as many strides, got " << getSizes().size() << " and "
                         << getView().size() << " numbers";
  if (auto type = cast<MemRefType>(getRows().getType()); !type.getElementType().isF32())
    return emitOpError() << "expects elements of f32, got " << type;
  return success();
}

LogicalResult CacheReadOp::verify() {
  if (failed(verifyIndex(*this, "kernel", getKernel())) || failed(verifyIndex(*this, "cache", getCache())))
    return failure();
  if (auto type = cast<MemRefType>(getOut().getType()); type.getRank() != 4 || !type.getElementType().isF32())
    return emitOpError() << "expects a buffer of f32 of rank 4, got " << type;
  return success();
}

LogicalResult LaunchOp::verify() { return verifyIndex(*this, "kernel", getKernel()); }

LogicalResult LaunchOp::verifySymbolUses(SymbolTableCollection &symbols) {
  auto callee = symbols.lookupNearestSymbolFrom<func::FuncOp>(*this, getCalleeAttr());
  if (!callee)
    return emitOpError() << "expects a kernel of the module, got " << getCalleeAttr();
  Type pointer = LLVM::LLVMPointerType::get(getContext()), index = IndexType::get(getContext());
  auto expected = FunctionType::get(getContext(), {pointer, pointer, index, index}, {});
  if (callee.getFunctionType() != expected)
    return emitOpError() << "expects a kernel of type " << expected << ", got " << getCalleeAttr() << " of type "
                         << callee.getFunctionType();
  return success();
}

LogicalResult DeviceLaunchOp::verify() {
  int64_t bytes = 0;
  for (Type type : getArgs().getTypes()) {
    auto memref = dyn_cast<MemRefType>(type);
    bytes += memref ? 8 * (3 + 2 * memref.getRank()) : 8;
  }
  if (bytes > kMaxDeviceArguments)
    return emitOpError() << "expects arguments of at most " << kMaxDeviceArguments << " bytes, got " << bytes;
  return failure(failed(verifyIndex(*this, "kernel", getKernel())) || failed(verifyIndex(*this, "shared", getShared())));
}

LogicalResult ReadOp::verify() {
  int64_t rank = cast<MemRefType>(getBuffer().getType()).getRank(), given = getIndices().size();
  if (given != rank)
    return emitOpError() << "expects an index for each of " << rank << " axes, got " << given;
  return success();
}

LogicalResult ArgOp::verify() {
  if (getOffset() % 8 != 0)
    return emitOpError() << "expects an offset that is a multiple of 8, got " << static_cast<int64_t>(getOffset());
  return verifyIndex(*this, "offset", getOffset());
}

LogicalResult RequireOp::verify() { return verifyIndex(*this, "check", getCheck()); }

LogicalResult CheckOp::verify() { return verifyIndex(*this, "check", getCheck()); }

} // namespace lathe::kernel

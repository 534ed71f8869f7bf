//===- KernelToLLVM.cpp - Lower the kernel dialect to LLVM ----------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/compiler/Passes.h"
#include "backends/cpu/compiler/RowKernel.h"
#include "mlir/Dialect/Utils/IndexingUtils.h"
#include "mlir/Conversion/LLVMCommon/MemRefBuilder.h"
#include "mlir/Conversion/LLVMCommon/TypeConverter.h"
#include "mlir/Conversion/SCFToControlFlow/SCFToControlFlow.h"
#include "mlir/Transforms/DialectConversion.h"
#include "runtime/Abi.h"
#include "runtime/include/lathe/lathe.h"
#include "llvm/ADT/TypeSwitch.h"
#include <cstddef>

namespace lathe::cpu {
#define GEN_PASS_DEF_KERNELTOLLVMPASS
#include "backends/cpu/compiler/Passes.h.inc"
} // namespace lathe::cpu

using namespace mlir;

namespace lathe::cpu {
namespace {

/// Whether it is a kernel (failures, arguments, count) of a device.
bool isDeviceKernel(func::FuncOp func) {
  return func.getNumArguments() == 3 && func.getArgumentTypes()[2].isIndex();
}

class Lowering {
public:
  explicit Lowering(ModuleOp module)
      : module(module), context(module.getContext()), b(context), converter(context),
        pointer(LLVM::LLVMPointerType::get(context)), i64(b.getI64Type()) {}

  LogicalResult run();

private:
  Value word(Location loc, int64_t value) { return b.create<LLVM::ConstantOp>(loc, i64, b.getI64IntegerAttr(value)); }
  Value at(Location loc, Value base, int64_t bytes) {
    return b.create<LLVM::GEPOp>(loc, pointer, b.getI8Type(), base,
                                 ArrayRef<LLVM::GEPArg>{static_cast<int32_t>(bytes)});
  }
  Value loadPointer(Location loc, Value base, int64_t bytes) {
    return b.create<LLVM::LoadOp>(loc, pointer, at(loc, base, bytes));
  }
  Value toWord(Value index) { return b.create<arith::IndexCastOp>(index.getLoc(), i64, index); }
  /// A dense buffer at an address as a memref value.
  Value describe(Location loc, MemRefType type, Value address, ValueRange dynamicDims);
  Value bytesOf(Location loc, MemRefType type, ValueRange dynamicDims);
  Value addressOf(Location loc, Value memref);
  LogicalResult flatten(func::FuncOp run);
  Value scratch(Operation *op, int64_t bytes);
  LogicalResult lower(Operation &op);
  // What an operation is replaced by, which has its result; else that of `emit` stands in its place.
  FailureOr<Value> valueOf(SymbolOp op);
  Value valueOf(kernel::InputOp op) { return fromTable(op, offsetof(lathe_frame, inputs), op.getDims()); }
  Value valueOf(kernel::OutputOp op) { return fromTable(op, offsetof(lathe_frame, outputs), op.getDims()); }
  Value valueOf(kernel::ConstantOp op) { return fromTable(op, offsetof(lathe_frame, constants), {}); }
  Value valueOf(kernel::ArenaOp op);
  Value valueOf(kernel::ViewOp op) {
    return describe(op.getLoc(), op.getType(), addressOf(op.getLoc(), op.getSource()), op.getDims());
  }
  Value valueOf(kernel::RowOp op);
  Value valueOf(kernel::ArgOp op);
  Value valueOf(kernel::DynamicAllocOp op);
  Value valueOf(kernel::DynamicOutputOp op);
  Value valueOf(kernel::ReadOp op);
  LogicalResult emit(kernel::DefineOp op);
  void emit(kernel::CheckOp op);
  void emit(kernel::MatmulOp op);
  void emit(kernel::LookupOp op);
  void emit(kernel::AttentionOp op);
  void emit(kernel::LaunchOp op);
  void emit(kernel::DeviceLaunchOp op);
  void emitCache(Operation *op, Value frame, int64_t kernelIndex, int64_t cache, bool read, Value rows,
                 ValueRange sizes, ValueRange view);
  /// A buffer of one of the frame's tables.
  template <typename OpTy> Value fromTable(OpTy op, size_t member, ValueRange dims) {
    Location loc = op.getLoc();
    Value address = loadPointer(loc, loadPointer(loc, op.getFrame(), member), 8 * static_cast<int64_t>(op.getIndex()));
    return describe(loc, op.getType(), address, dims);
  }
  /// Extents and strides of matrices, their axes in the order in which a product reads them.
  struct Matrices {
    SmallVector<Value> extents, strides;
    SmallVector<int64_t> shape;
    int64_t rank() const { return static_cast<int64_t>(shape.size()); }
  };
  Matrices matricesOf(Location loc, Value memref, std::optional<ArrayRef<int64_t>> axes);
  /// How a product reads and writes its matrices.
  struct ProductShape {
    Value m, n, k, aRow, aCol, bRow, bCol, outRow;
    SmallVector<Value> batch, aBatch, bBatch, outBatch; ///< of three axes
  };
  ProductShape shapeOf(kernel::MatmulOp op);
  int64_t storeArguments(Location loc, OperandRange args, Value into);
  /// Calls a function of the runtime's table, whose first argument is the frame.
  LLVM::CallOp callRuntime(Location loc, Value frame, size_t member, Type result, ArrayRef<Value> arguments);
  void callFail(Location loc, Value frame, int64_t check);
  void noteFailure(Location loc, Value failures, int64_t check);
  void returnUnless(Value condition, llvm::function_ref<void()> before);
  Value unlessNull(Value address);

  ModuleOp module;
  MLIRContext *context;
  OpBuilder b;
  LLVMTypeConverter converter;
  Type pointer, i64;
  DenseMap<Operation *, LLVM::AllocaOp> scratches; ///< by function; calls are synchronous and share it
  llvm::StringMap<int64_t> symbols;
};

Value Lowering::describe(Location loc, MemRefType type, Value address, ValueRange dynamicDims) {
  MemRefDescriptor descriptor = MemRefDescriptor::undef(b, loc, converter.convertType(type));
  descriptor.setAllocatedPtr(b, loc, address);
  descriptor.setAlignedPtr(b, loc, address);
  descriptor.setConstantOffset(b, loc, 0);
  SmallVector<Value> sizes;
  size_t next = 0;
  for (int64_t extent : type.getShape())
    sizes.push_back(ShapedType::isDynamic(extent) ? toWord(dynamicDims[next++]) : word(loc, extent));
  Value stride = word(loc, 1);
  for (int64_t i = type.getRank() - 1; i >= 0; --i) {
    descriptor.setSize(b, loc, i, sizes[i]);
    descriptor.setStride(b, loc, i, stride);
    if (i > 0)
      stride = b.create<LLVM::MulOp>(loc, stride, sizes[i]);
  }
  return b.create<UnrealizedConversionCastOp>(loc, type, Value(descriptor)).getResult(0);
}

Value Lowering::bytesOf(Location loc, MemRefType type, ValueRange dynamicDims) {
  Value bytes = word(loc, (type.getElementTypeBitWidth() + 7) / 8);
  size_t next = 0;
  for (int64_t extent : type.getShape())
    bytes = b.create<LLVM::MulOp>(loc, bytes,
                                  ShapedType::isDynamic(extent) ? toWord(dynamicDims[next++]) : word(loc, extent));
  return bytes;
}

Value Lowering::addressOf(Location loc, Value memref) {
  Value structure =
      b.create<UnrealizedConversionCastOp>(loc, converter.convertType(memref.getType()), memref).getResult(0);
  return MemRefDescriptor(structure).alignedPtr(b, loc);
}

Value Lowering::scratch(Operation *op, int64_t bytes) {
  auto func = op->getParentOfType<func::FuncOp>();
  LLVM::AllocaOp &alloca = scratches[func];
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(&func.getBody().front());
  if (!alloca)
    alloca =
        b.create<LLVM::AllocaOp>(func.getLoc(), pointer, b.getI8Type(), word(func.getLoc(), bytes), /*alignment=*/64);
  auto size = alloca.getArraySize().getDefiningOp<LLVM::ConstantOp>();
  if (cast<IntegerAttr>(size.getValue()).getInt() < bytes)
    size.setValueAttr(b.getI64IntegerAttr(bytes));
  return alloca;
}

LLVM::CallOp Lowering::callRuntime(Location loc, Value frame, size_t member, Type result, ArrayRef<Value> arguments) {
  Value function = loadPointer(loc, loadPointer(loc, frame, offsetof(lathe_frame, rt)), member);
  SmallVector<Value> operands{function, frame};
  llvm::append_range(operands, arguments);
  auto types = llvm::map_to_vector(ArrayRef(operands).drop_front(), [](Value value) { return value.getType(); });
  return b.create<LLVM::CallOp>(loc, LLVM::LLVMFunctionType::get(result, types), operands);
}

Lowering::Matrices Lowering::matricesOf(Location loc, Value memref, std::optional<ArrayRef<int64_t>> axes) {
  Matrices result;
  result.shape = kernel::MatmulOp::matrixShape(memref, axes);
  int64_t rank = result.rank();
  SmallVector<Value> extents(rank), strides(rank, word(loc, 1));
  for (int64_t i = 0; i < rank; ++i)
    extents[i] = toWord(b.create<memref::DimOp>(loc, memref, i));
  for (int64_t i = rank - 2; i >= 0; --i)
    strides[i] =
        i == rank - 2 ? extents[i + 1] : b.create<LLVM::MulOp>(loc, strides[i + 1], extents[i + 1]).getResult();
  result.extents = axes ? applyPermutation<Value>(extents, *axes) : extents;
  result.strides = axes ? applyPermutation<Value>(strides, *axes) : strides;
  return result;
}

Lowering::ProductShape Lowering::shapeOf(kernel::MatmulOp op) {
  Location loc = op.getLoc();
  Value one = word(loc, 1), zero = word(loc, 0);
  Matrices a = matricesOf(loc, op.getLhs(), op.getLhsAxes()), out = matricesOf(loc, op.getOut(), op.getOutAxes());
  int64_t ra = a.rank(), ro = out.rank();
  bool ta = op.getTransposeLhs(), tb = op.getTransposeRhs();
  int64_t aRows = ra - (ta ? 1 : 2), aColumns = ra - (ta ? 2 : 1);
  ProductShape s{a.extents[aRows],
                 out.extents[ro - 1],
                 a.extents[aColumns],
                 a.strides[aRows],
                 a.strides[aColumns],
                 {},
                 {},
                 out.strides[ro - 2],
                 {},
                 {},
                 {},
                 {}};
  s.batch.assign(3, one);
  for (SmallVector<Value> *strides : {&s.aBatch, &s.bBatch, &s.outBatch})
    strides->assign(3, zero);
  // The rows of all matrices as those of one.
  bool flat = !ta && !op.getLhsAxes() && !op.getOutAxes() && (!op.getRhs() || op.getRhs().getType().getRank() == 2);
  if (op.getRhs()) {
    Matrices rhs = matricesOf(loc, op.getRhs(), op.getRhsAxes());
    int64_t rb = rhs.rank();
    s.bRow = rhs.strides[rb - (tb ? 1 : 2)];
    s.bCol = rhs.strides[rb - (tb ? 2 : 1)];
    if (!flat) {
      // An extent of 1 against a larger one is read again and again.
      auto strides = [&](const Matrices &operand, SmallVector<Value> &into) {
        for (int64_t i = 0; i < operand.rank() - 2; ++i) {
          int64_t axis = i + ro - operand.rank();
          bool repeated = operand.shape[i] == 1 && out.shape[axis] != 1;
          into[axis + 3 - (ro - 2)] = repeated ? zero : operand.strides[i];
        }
      };
      strides(a, s.aBatch);
      strides(rhs, s.bBatch);
      strides(out, s.outBatch);
      for (int64_t i = 0; i < ro - 2; ++i)
        s.batch[i + 3 - (ro - 2)] = out.extents[i];
    }
  } else {
    ArrayRef<int64_t> shape = op.getWeightShape();
    s.bRow = tb ? one : word(loc, shape[1]);
    s.bCol = tb ? word(loc, shape[0]) : one;
    if (ta) // a transposed left side keeps its batch: its rows are not those of one matrix
      for (int64_t i = 0; i < ra - 2; ++i) {
        int64_t slot = i + 3 - (ra - 2);
        s.batch[slot] = a.extents[i];
        s.aBatch[slot] = a.strides[i];
        s.outBatch[slot] = out.strides[i];
      }
  }
  if (flat)
    for (int64_t i = 0; i < ra - 2; ++i)
      s.m = b.create<LLVM::MulOp>(loc, s.m, a.extents[i]);
  return s;
}

/// What a side of a product has in place of f32 (`lathe_bytes`).
static int64_t narrowKind(Value side, bool isUnsigned) {
  Type element = cast<MemRefType>(side.getType()).getElementType();
  if (element.isF16() || element.isBF16())
    return element.isF16() ? LATHE_BYTES_F16 : LATHE_BYTES_BF16;
  return !element.isInteger(8) ? LATHE_BYTES_NONE : isUnsigned ? LATHE_BYTES_UNSIGNED : LATHE_BYTES_SIGNED;
}

void Lowering::emit(kernel::MatmulOp op) {
  using Call = lathe_matmul_call;
  Location loc = op.getLoc();
  Value call = scratch(op, sizeof(Call));
  auto set = [&](size_t offset, Value value) { b.create<LLVM::StoreOp>(loc, value, at(loc, call, offset)); };
  auto setNumber = [&](size_t offset, int64_t value) { set(offset, word(loc, value)); };
  auto setReal = [&](size_t offset, FloatAttr value) {
    set(offset, b.create<LLVM::ConstantOp>(loc, b.getF64Type(), value));
  };
  auto setBuffer = [&](size_t offset, Value buffer) {
    set(offset, buffer ? addressOf(loc, buffer) : b.create<LLVM::ZeroOp>(loc, pointer));
  };
  ProductShape s = shapeOf(op);
  setNumber(offsetof(Call, kernel), op.getKernel());
  setNumber(offsetof(Call, dtype), LATHE_F32);
  setNumber(offsetof(Call, weight), op.getWeight());
  setNumber(offsetof(Call, activation), op.getActivation());
  setReal(offsetof(Call, alpha), op.getAlphaAttr());
  setBuffer(offsetof(Call, a), op.getLhs());
  setBuffer(offsetof(Call, b), op.getRhs());
  setBuffer(offsetof(Call, bias), op.getBias());
  setBuffer(offsetof(Call, multiplier), op.getMultiplier());
  setBuffer(offsetof(Call, residual), op.getResidual());
  setBuffer(offsetof(Call, out), op.getOut());
  set(offsetof(Call, m), s.m);
  set(offsetof(Call, n), s.n);
  set(offsetof(Call, k), s.k);
  set(offsetof(Call, a_row), s.aRow);
  set(offsetof(Call, a_col), s.aCol);
  set(offsetof(Call, b_row), s.bRow);
  set(offsetof(Call, b_col), s.bCol);
  set(offsetof(Call, out_row), s.outRow);
  for (size_t i = 0; i < 3; ++i) {
    set(offsetof(Call, batch) + 8 * i, s.batch[i]);
    set(offsetof(Call, a_batch) + 8 * i, s.aBatch[i]);
    set(offsetof(Call, b_batch) + 8 * i, s.bBatch[i]);
    set(offsetof(Call, out_batch) + 8 * i, s.outBatch[i]);
  }
  setNumber(offsetof(Call, a_quantization), op.getLhsQuantization());
  setReal(offsetof(Call, a_scale), op.getLhsScaleAttr());
  setNumber(offsetof(Call, a_zero), op.getLhsZero());
  setNumber(offsetof(Call, a_again), op.getLhsAgain());
  setNumber(offsetof(Call, a_bytes), narrowKind(op.getLhs(), op.getLhsUnsigned()));
  setNumber(offsetof(Call, out_bytes), narrowKind(op.getOut(), op.getOutUnsigned()));
  setReal(offsetof(Call, out_scale), op.getOutScaleAttr());
  setNumber(offsetof(Call, out_zero), op.getOutZero());
  setBuffer(offsetof(Call, a_scales), op.getLhsScales());
  setBuffer(offsetof(Call, a_sums), op.getLhsSums());
  std::optional<Type> arithmetic = op.getArithmetic();
  setNumber(offsetof(Call, arithmetic), !arithmetic ? LATHE_F32 : arithmetic->isBF16() ? LATHE_BF16 : LATHE_F16);
  callRuntime(loc, op.getFrame(), offsetof(lathe_runtime_table, matmul), LLVM::LLVMVoidType::get(context), call);
}

void Lowering::emit(kernel::LookupOp op) {
  using Call = lathe_rows_call;
  Location loc = op.getLoc();
  Value call = scratch(op, sizeof(Call));
  auto set = [&](size_t offset, Value value) { b.create<LLVM::StoreOp>(loc, value, at(loc, call, offset)); };
  auto indices = cast<MemRefType>(op.getIndices().getType());
  Value count = word(loc, 1);
  for (int64_t axis = 0; axis < indices.getRank(); ++axis)
    count = b.create<LLVM::MulOp>(loc, count, toWord(b.create<memref::DimOp>(loc, op.getIndices(), axis)));
  set(offsetof(Call, kernel), word(loc, op.getKernel()));
  set(offsetof(Call, weight), word(loc, op.getWeight()));
  set(offsetof(Call, check), word(loc, op.getCheck()));
  set(offsetof(Call, index_type), word(loc, indices.getElementType().isInteger(64) ? LATHE_I64 : LATHE_I32));
  set(offsetof(Call, indices), addressOf(loc, op.getIndices()));
  set(offsetof(Call, count), count);
  set(offsetof(Call, index_stride), word(loc, 1));
  set(offsetof(Call, out), addressOf(loc, op.getOut()));
  set(offsetof(Call, out_row), toWord(b.create<memref::DimOp>(loc, op.getOut(), indices.getRank())));
  callRuntime(loc, op.getFrame(), offsetof(lathe_runtime_table, dequantize_rows), LLVM::LLVMVoidType::get(context),
              call);
}

void Lowering::emit(kernel::AttentionOp op) {
  using Call = lathe_attention_call;
  using View = lathe_attention_view;
  Location loc = op.getLoc();
  Value call = scratch(op, sizeof(Call));
  auto set = [&](size_t offset, Value value) { b.create<LLVM::StoreOp>(loc, value, at(loc, call, offset)); };
  auto real = [&](const APFloat &value) {
    return b.create<LLVM::ConstantOp>(loc, b.getF64FloatAttr(value.convertToDouble()));
  };
  auto setWords = [&](size_t offset, ValueRange values) {
    for (auto [i, value] : llvm::enumerate(values))
      set(offset + 8 * i, toWord(value));
  };
  set(offsetof(Call, kernel), word(loc, op.getKernel()));
  set(offsetof(Call, dtype), word(loc, LATHE_F32));
  set(offsetof(Call, zero_masked), word(loc, op.getZeroMasked()));
  set(offsetof(Call, zero_nan), word(loc, op.getZeroNan()));
  set(offsetof(Call, biases), word(loc, op.getBiases().size()));
  set(offsetof(Call, scale), real(op.getScale()));
  set(offsetof(Call, softcap), real(op.getSoftcap()));
  static_assert(offsetof(Call, e) == offsetof(Call, batch) + 7 * 8, "sizes are written one behind the other");
  static_assert(offsetof(View, col) == offsetof(View, batch) + 4 * 8, "strides are written one behind the other");
  setWords(offsetof(Call, batch), op.getSizes());
  auto setView = [&](size_t offset, Value buffer, ValueRange view) {
    Value first = b.create<LLVM::GEPOp>(loc, pointer, b.getF32Type(), addressOf(loc, buffer),
                                        ArrayRef<LLVM::GEPArg>{toWord(view.front())});
    set(offset + offsetof(View, data), first);
    setWords(offset + offsetof(View, batch), view.drop_front());
  };
  setView(offsetof(Call, query), op.getQuery(), op.getQueryView());
  if (op.getKey())
    setView(offsetof(Call, key), op.getKey(), op.getKeyView());
  if (op.getValue())
    setView(offsetof(Call, value), op.getValue(), op.getValueView());
  set(offsetof(Call, key_cache), word(loc, op.getKeyCache().value_or(-1)));
  set(offsetof(Call, value_cache), word(loc, op.getValueCache().value_or(-1)));
  set(offsetof(Call, window), word(loc, op.getWindow()));
  std::optional<Type> arithmetic = op.getArithmetic();
  int64_t rounded = !arithmetic ? LATHE_F32 : arithmetic->isBF16() ? LATHE_BF16 : arithmetic->isF16() ? LATHE_F16 : LATHE_I8;
  set(offsetof(Call, arithmetic), word(loc, rounded));
  if (Value positions = op.getPositions()) {
    ValueRange view = op.getPositionsView();
    set(offsetof(Call, positions), b.create<LLVM::GEPOp>(loc, pointer, i64, addressOf(loc, positions),
                                                         ArrayRef<LLVM::GEPArg>{toWord(view.front())}));
    setWords(offsetof(Call, position_batch), view.drop_front());
  } else {
    set(offsetof(Call, positions), b.create<LLVM::ZeroOp>(loc, pointer));
  }
  setView(offsetof(Call, out), op.getOut(), op.getOutView());
  constexpr size_t kNumbers = 6;
  for (auto [i, bias] : llvm::enumerate(op.getBiases()))
    setView(offsetof(Call, bias) + i * sizeof(View), bias, op.getBiasViews().slice(i * kNumbers, kNumbers));
  callRuntime(loc, op.getFrame(), offsetof(lathe_runtime_table, attention), LLVM::LLVMVoidType::get(context), call);
}

/// `view` is empty for a dense buffer.
void Lowering::emitCache(Operation *op, Value frame, int64_t kernelIndex, int64_t cache, bool read, Value rows,
                         ValueRange sizes, ValueRange view) {
  using Call = lathe_cache_call;
  Location loc = op->getLoc();
  Value call = scratch(op, sizeof(Call));
  auto set = [&](size_t offset, Value value) { b.create<LLVM::StoreOp>(loc, value, at(loc, call, offset)); };
  set(offsetof(Call, kernel), word(loc, kernelIndex));
  set(offsetof(Call, cache), word(loc, cache));
  set(offsetof(Call, dtype), word(loc, LATHE_F32));
  set(offsetof(Call, read), word(loc, read));
  SmallVector<Value> extents, strides;
  for (Value size : sizes)
    extents.push_back(toWord(size));
  Value offset = word(loc, 0);
  if (view.empty()) {
    auto rank = cast<MemRefType>(rows.getType()).getRank();
    for (int64_t i = 0; i < rank; ++i)
      extents.push_back(toWord(b.create<memref::DimOp>(loc, rows, i)));
    strides.assign(rank, word(loc, 1));
    for (int64_t i = rank - 2; i >= 0; --i)
      strides[i] = b.create<LLVM::MulOp>(loc, strides[i + 1], extents[i + 1]);
  } else {
    offset = toWord(view.front());
    for (Value stride : view.drop_front())
      strides.push_back(toWord(stride));
  }
  set(offsetof(Call, data), b.create<LLVM::GEPOp>(loc, pointer, b.getF32Type(), addressOf(loc, rows),
                                                  ArrayRef<LLVM::GEPArg>{offset}));
  for (size_t i = 0; i < 4; ++i) {
    set(offsetof(Call, sizes) + 8 * i, extents[i]);
    set(offsetof(Call, strides) + 8 * i, strides[i]);
  }
  callRuntime(loc, frame, offsetof(lathe_runtime_table, cache), LLVM::LLVMVoidType::get(context), call);
}

static int64_t sizeOfArguments(OperandRange args) {
  int64_t bytes = 0;
  for (Value argument : args)
    bytes += argumentBytes(argument.getType());
  return bytes;
}

/// Lays out the arguments of a kernel; returns how many bytes they take.
int64_t Lowering::storeArguments(Location loc, OperandRange args, Value into) {
  int64_t offset = 0;
  for (Value argument : args) {
    Value value = argument.getType().isIndex()
                      ? toWord(argument)
                      : b.create<UnrealizedConversionCastOp>(loc, converter.convertType(argument.getType()), argument)
                            .getResult(0);
    b.create<LLVM::StoreOp>(loc, value, at(loc, into, offset));
    offset += argumentBytes(argument.getType());
  }
  return offset;
}

void Lowering::emit(kernel::DeviceLaunchOp op) {
  using Call = lathe_launch_call;
  Location loc = op.getLoc();
  Value call = scratch(op, sizeof(Call) + sizeOfArguments(op.getArgs())), args = at(loc, call, sizeof(Call));
  auto set = [&](size_t offset, Value value) { b.create<LLVM::StoreOp>(loc, value, at(loc, call, offset)); };
  int64_t bytes = storeArguments(loc, op.getArgs(), args);
  set(offsetof(Call, kernel), word(loc, op.getKernel()));
  set(offsetof(Call, args), args);
  set(offsetof(Call, args_bytes), word(loc, bytes));
  set(offsetof(Call, count), toWord(op.getCount()));
  set(offsetof(Call, grid), toWord(op.getGrid()));
  set(offsetof(Call, block), toWord(op.getBlock()));
  set(offsetof(Call, shared_bytes), word(loc, op.getShared()));
  callRuntime(loc, op.getFrame(), offsetof(lathe_runtime_table, launch), LLVM::LLVMVoidType::get(context), call);
}

Value Lowering::valueOf(kernel::ReadOp op) {
  Location loc = op.getLoc();
  auto memref = cast<MemRefType>(op.getBuffer().getType());
  Value place = word(loc, 0);
  for (auto [axis, index] : llvm::enumerate(op.getIndices())) {
    Value extent = toWord(b.create<memref::DimOp>(loc, op.getBuffer(), axis));
    place = b.create<LLVM::AddOp>(loc, b.create<LLVM::MulOp>(loc, place, extent), toWord(index));
  }
  Type element = memref.getElementType();
  Value address = b.create<LLVM::GEPOp>(loc, pointer, element, addressOf(loc, op.getBuffer()), ArrayRef<LLVM::GEPArg>{place});
  Value bytes = word(loc, (memref.getElementTypeBitWidth() + 7) / 8);
  LLVM::CallOp copy = callRuntime(loc, op.getFrame(), offsetof(lathe_runtime_table, read), pointer, {address, bytes});
  return b.create<LLVM::LoadOp>(loc, element, unlessNull(copy.getResult()));
}

void Lowering::emit(kernel::LaunchOp op) {
  Location loc = op.getLoc();
  Value arguments = scratch(op, std::max<int64_t>(sizeOfArguments(op.getArgs()), 8));
  storeArguments(loc, op.getArgs(), arguments);
  auto callee = SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(op, op.getCalleeAttr());
  Value task = b.create<UnrealizedConversionCastOp>(
                    loc, pointer, b.create<func::ConstantOp>(loc, callee.getFunctionType(), op.getCallee()).getResult())
                   .getResult(0);
  callRuntime(loc, op.getFrame(), offsetof(lathe_runtime_table, parallel_for), LLVM::LLVMVoidType::get(context),
              {word(loc, op.getKernel()), task, arguments, toWord(op.getCount()), toWord(op.getGrain())});
}

void Lowering::callFail(Location loc, Value frame, int64_t check) {
  callRuntime(loc, frame, offsetof(lathe_runtime_table, fail), LLVM::LLVMVoidType::get(context), word(loc, check));
}

/// On a device: 1 + the number of the first check that failed.
void Lowering::noteFailure(Location loc, Value failures, int64_t check) {
  using Order = LLVM::AtomicOrdering;
  b.create<LLVM::AtomicCmpXchgOp>(loc, failures, word(loc, 0), word(loc, check + 1), Order::monotonic, Order::monotonic);
}

/// Leaves the function of the insertion point where the condition does not hold, after what `before` emits.
void Lowering::returnUnless(Value condition, llvm::function_ref<void()> before) {
  Location loc = condition.getLoc();
  Block *head = b.getInsertionBlock();
  Block *rest = head->splitBlock(b.getInsertionPoint());
  Block *leave = b.createBlock(rest);
  before();
  b.create<func::ReturnOp>(loc);
  b.setInsertionPointToEnd(head);
  b.create<LLVM::CondBrOp>(loc, condition, rest, leave);
  b.setInsertionPointToStart(rest);
}

/// An address that the runtime has given; returns from the run when there is none.
Value Lowering::unlessNull(Value address) {
  Location loc = address.getLoc();
  Value null = b.create<LLVM::ZeroOp>(loc, pointer);
  returnUnless(b.create<LLVM::ICmpOp>(loc, LLVM::ICmpPredicate::ne, address, null), [] {});
  return address;
}

FailureOr<Value> Lowering::valueOf(SymbolOp op) {
  Location loc = op.getLoc();
  auto func = op->getParentOfType<func::FuncOp>();
  auto it = symbols.find(op.getName());
  if (it == symbols.end())
    return op.emitError() << "the symbolic dimension '" << op.getName() << "' is not bound by an input";
  if (func.getNumArguments() == 0 || func.getArgumentTypes()[0] != pointer)
    return op.emitOpError() << "expects to stand in a function of a frame, got one of type " << func.getFunctionType();
  Value base = func.getName() == kernel::kPlanName
                   ? func.getArgument(0)
                   : loadPointer(loc, func.getArgument(0), offsetof(lathe_frame, symbols));
  Value value = b.create<LLVM::LoadOp>(loc, i64, at(loc, base, 8 * it->second));
  return b.create<arith::IndexCastOp>(loc, b.getIndexType(), value).getResult();
}

Value Lowering::valueOf(kernel::ArenaOp op) {
  Location loc = op.getLoc();
  Value base = loadPointer(loc, op.getFrame(), offsetof(lathe_frame, arena));
  Value address =
      b.create<LLVM::GEPOp>(loc, pointer, b.getI8Type(), base, ArrayRef<LLVM::GEPArg>{toWord(op.getOffset())});
  return describe(loc, op.getType(), address, op.getDims());
}

Value Lowering::valueOf(kernel::RowOp op) {
  Location loc = op.getLoc();
  MemRefType type = op.getType();
  Value bytes = b.create<LLVM::MulOp>(loc, toWord(op.getIndex()), bytesOf(loc, type, op.getDims()));
  Value address =
      b.create<LLVM::GEPOp>(loc, pointer, b.getI8Type(), addressOf(loc, op.getSource()), ArrayRef<LLVM::GEPArg>{bytes});
  return describe(loc, type, address, op.getDims());
}

Value Lowering::valueOf(kernel::ArgOp op) {
  Location loc = op.getLoc();
  Type type = op.getType();
  Value value = b.create<LLVM::LoadOp>(loc, type.isIndex() ? i64 : converter.convertType(type),
                                       at(loc, op.getArgs(), op.getOffset()));
  return type.isIndex() ? b.create<arith::IndexCastOp>(loc, type, value).getResult()
                        : b.create<UnrealizedConversionCastOp>(loc, type, value).getResult(0);
}

Value Lowering::valueOf(kernel::DynamicAllocOp op) {
  Location loc = op.getLoc();
  MemRefType type = op.getType();
  Value bytes = bytesOf(loc, type, op.getDims());
  LLVM::CallOp address = callRuntime(loc, op.getFrame(), offsetof(lathe_runtime_table, allocate), pointer,
                                     {word(loc, op.getSlot()), bytes});
  return describe(loc, type, unlessNull(address.getResult()), op.getDims());
}

Value Lowering::valueOf(kernel::DynamicOutputOp op) {
  Location loc = op.getLoc();
  MemRefType type = op.getType();
  Value dims = scratch(op, std::max<int64_t>(8 * type.getRank(), 8));
  size_t next = 0;
  for (auto [i, extent] : llvm::enumerate(type.getShape())) {
    Value size = ShapedType::isDynamic(extent) ? toWord(op.getDims()[next++]) : word(loc, extent);
    b.create<LLVM::StoreOp>(loc, size, at(loc, dims, 8 * static_cast<int64_t>(i)));
  }
  LLVM::CallOp address =
      callRuntime(loc, op.getFrame(), offsetof(lathe_runtime_table, output), pointer, {word(loc, op.getIndex()), dims});
  return describe(loc, type, unlessNull(address.getResult()), op.getDims());
}

void Lowering::emit(kernel::CheckOp op) {
  Location loc = op.getLoc();
  Value bad = b.create<arith::XOrIOp>(loc, op.getCondition(), b.create<arith::ConstantIntOp>(loc, 1, 1));
  auto branch = b.create<scf::IfOp>(loc, bad);
  b.setInsertionPointToStart(branch.thenBlock());
  if (isDeviceKernel(op->getParentOfType<func::FuncOp>()))
    noteFailure(loc, op.getFrame(), op.getCheck());
  else
    callFail(loc, op.getFrame(), op.getCheck());
}

LogicalResult Lowering::emit(kernel::DefineOp op) {
  auto it = symbols.find(op.getName());
  if (it == symbols.end())
    return op.emitOpError() << "expects a symbol of 'kernel.symbols', got '" << op.getName() << "'";
  Location loc = op.getLoc();
  Value base = loadPointer(loc, op.getFrame(), offsetof(lathe_frame, symbols));
  b.create<LLVM::StoreOp>(loc, toWord(op.getValue()), at(loc, base, 8 * it->second));
  return success();
}

LogicalResult Lowering::lower(Operation &op) {
  auto func = op.getParentOfType<func::FuncOp>();
  if (!func)
    return op.emitOpError() << "expects to stand in a function";
  if (isa<kernel::RequireOp, kernel::DynamicAllocOp, kernel::DynamicOutputOp, kernel::ReadOp>(op) && // may return from there
      (op.getParentOp() != func || func.getNumResults() != 0))
    return op.emitOpError() << "expects to stand in the block of a function without results";
  b.setInsertionPoint(&op);
  using Result = FailureOr<Value>; // null: none
  Result result =
      TypeSwitch<Operation *, Result>(&op)
          .Case<SymbolOp, kernel::InputOp, kernel::OutputOp, kernel::ConstantOp, kernel::ArenaOp, kernel::ViewOp,
                kernel::RowOp, kernel::ArgOp, kernel::DynamicAllocOp, kernel::DynamicOutputOp, kernel::ReadOp>(
              [&](auto own) -> Result { return valueOf(own); })
          .Case<kernel::CheckOp, kernel::MatmulOp, kernel::LookupOp, kernel::AttentionOp, kernel::LaunchOp,
                kernel::DeviceLaunchOp>([&](auto own) -> Result {
            emit(own);
            return Value();
          })
          .Case([&](kernel::DefineOp define) -> Result {
            if (failed(emit(define)))
              return failure();
            return Value();
          })
          .Case([&](kernel::RequireOp require) -> Result {
            returnUnless(require.getCondition(),
                         [&] { callFail(require.getLoc(), require.getFrame(), require.getCheck()); });
            return Value();
          })
          .Case([&](kernel::CacheAppendOp append) -> Result {
            emitCache(append, append.getFrame(), append.getKernel(), append.getCache(), /*read=*/false,
                      append.getRows(), append.getSizes(), append.getView());
            return Value();
          })
          .Case([&](kernel::CacheReadOp read) -> Result {
            emitCache(read, read.getFrame(), read.getKernel(), read.getCache(), /*read=*/true, read.getOut(), {}, {});
            return Value();
          })
          .Default([](Operation *other) -> Result {
            return other->emitError() << "unexpected operation " << other->getName() << ": expected "
                                      << (isa<kernel::AllocOp>(other) ? "the arena to be planned"
                                                                      : "kernels to be selected");
          });
  if (failed(result))
    return failure();
  if (*result)
    op.getResult(0).replaceAllUsesWith(*result);
  op.erase();
  return success();
}

/// Branches and loops of the program as blocks, any of which may return.
LogicalResult Lowering::flatten(func::FuncOp run) {
  RewritePatternSet patterns(context);
  populateSCFToControlFlowConversionPatterns(patterns);
  ConversionTarget target(*context);
  target.addIllegalOp<scf::IfOp, scf::WhileOp>();
  target.markUnknownOpDynamicallyLegal([](Operation *) { return true; });
  return applyPartialConversion(run, target, std::move(patterns));
}

LogicalResult Lowering::run() {
  if (auto run = module.lookupSymbol<func::FuncOp>(kernel::kRunName); run && failed(flatten(run)))
    return failure();
  if (auto list = module->getAttrOfType<ArrayAttr>(kernel::kSymbolsAttr))
    for (auto [i, entry] : llvm::enumerate(list.getAsRange<DictionaryAttr>()))
      symbols[cast<StringAttr>(entry.get("name")).getValue()] = i;
  SmallVector<Operation *> ops;
  module.walk([&](Operation *op) {
    if (isa_and_nonnull<LatheDialect, kernel::KernelDialect>(op->getDialect()))
      ops.push_back(op);
  });
  for (Operation *op : ops)
    if (failed(lower(*op)))
      return failure();
  return success();
}

struct KernelToLLVM : impl::KernelToLLVMPassBase<KernelToLLVM> {
  void runOnOperation() override {
    if (failed(Lowering(getOperation()).run()))
      signalPassFailure();
  }
};

} // namespace
} // namespace lathe::cpu

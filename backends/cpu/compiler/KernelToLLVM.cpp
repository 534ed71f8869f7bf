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
  void lowerMatmul(kernel::MatmulOp op);
  void lowerLookup(kernel::LookupOp op);
  void lowerAttention(kernel::AttentionOp op);
  void lowerCache(Operation *op, Value frame, int64_t kernelIndex, int64_t cache, bool read, Value rows, ValueRange sizes,
                  ValueRange view);
  void lowerLaunch(kernel::LaunchOp op);
  void lowerLaunch(kernel::DeviceLaunchOp op);
  Value lowerRead(kernel::ReadOp op);
  int64_t storeArguments(Location loc, OperandRange args, Value into);
  void callFail(Location loc, Value frame, int64_t check);
  void noteFailure(Location loc, Value failures, int64_t check);
  void returnUnless(Value condition, llvm::function_ref<void()> before);
  Value callForMemory(Operation *op, Value frame, size_t member, int64_t number, Value argument);

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

void Lowering::lowerMatmul(kernel::MatmulOp op) {
  Location loc = op.getLoc();
  Value call = scratch(op, sizeof(lathe_matmul_call));
  auto set = [&](size_t offset, Value value) { b.create<LLVM::StoreOp>(loc, value, at(loc, call, offset)); };
  auto mul = [&](Value x, Value y) { return b.create<LLVM::MulOp>(loc, x, y).getResult(); };
  Value one = word(loc, 1), zero = word(loc, 0), null = b.create<LLVM::ZeroOp>(loc, pointer);
  struct Matrices {
    SmallVector<Value> extents, strides;
    SmallVector<int64_t> shape;
    int64_t rank() const { return static_cast<int64_t>(shape.size()); }
  };
  auto matrices = [&](Value memref, std::optional<ArrayRef<int64_t>> axes) {
    Matrices result;
    result.shape = kernel::MatmulOp::matrixShape(memref, axes);
    int64_t rank = result.rank();
    SmallVector<Value> extents(rank), strides(rank, one);
    for (int64_t i = 0; i < rank; ++i)
      extents[i] = toWord(b.create<memref::DimOp>(loc, memref, i));
    for (int64_t i = rank - 2; i >= 0; --i)
      strides[i] = i == rank - 2 ? extents[i + 1] : mul(strides[i + 1], extents[i + 1]);
    result.extents = axes ? applyPermutation<Value>(extents, *axes) : extents;
    result.strides = axes ? applyPermutation<Value>(strides, *axes) : strides;
    return result;
  };
  Matrices a = matrices(op.getLhs(), op.getLhsAxes()), out = matrices(op.getOut(), op.getOutAxes());
  int64_t ra = a.rank(), ro = out.rank();
  bool ta = op.getTransposeLhs(), tb = op.getTransposeRhs();
  int64_t aRows = ra - (ta ? 1 : 2), aColumns = ra - (ta ? 2 : 1);
  Value m = a.extents[aRows], k = a.extents[aColumns], n = out.extents[ro - 1];
  Value aRow = a.strides[aRows], aCol = a.strides[aColumns], bRow, bCol;
  SmallVector<Value> batch(3, one), aBatch(3, zero), bBatch(3, zero), outBatch(3, zero);
  // The rows of all matrices as those of one.
  bool flat = !ta && !op.getLhsAxes() && !op.getOutAxes() && (!op.getRhs() || op.getRhs().getType().getRank() == 2);
  if (op.getRhs()) {
    Matrices rhs = matrices(op.getRhs(), op.getRhsAxes());
    int64_t rb = rhs.rank();
    bRow = rhs.strides[rb - (tb ? 1 : 2)];
    bCol = rhs.strides[rb - (tb ? 2 : 1)];
    if (!flat) {
      // An extent of 1 against a larger one is read again and again.
      auto strides = [&](const Matrices &operand, SmallVector<Value> &into) {
        for (int64_t i = 0; i < operand.rank() - 2; ++i) {
          int64_t axis = i + ro - operand.rank();
          bool repeated = operand.shape[i] == 1 && out.shape[axis] != 1;
          into[axis + 3 - (ro - 2)] = repeated ? zero : operand.strides[i];
        }
      };
      strides(a, aBatch);
      strides(rhs, bBatch);
      strides(out, outBatch);
      for (int64_t i = 0; i < ro - 2; ++i)
        batch[i + 3 - (ro - 2)] = out.extents[i];
    }
  } else {
    ArrayRef<int64_t> shape = op.getWeightShape();
    bRow = tb ? one : word(loc, shape[1]);
    bCol = tb ? word(loc, shape[0]) : one;
    if (ta) // a transposed left side keeps its batch: its rows are not those of one matrix
      for (int64_t i = 0; i < ra - 2; ++i) {
        int64_t slot = i + 3 - (ra - 2);
        batch[slot] = a.extents[i];
        aBatch[slot] = a.strides[i];
        outBatch[slot] = out.strides[i];
      }
  }
  if (flat)
    for (int64_t i = 0; i < ra - 2; ++i)
      m = mul(m, a.extents[i]);

  using Call = lathe_matmul_call;
  set(offsetof(Call, kernel), word(loc, op.getKernel()));
  set(offsetof(Call, dtype), word(loc, LATHE_F32));
  set(offsetof(Call, weight), word(loc, op.getWeight()));
  set(offsetof(Call, activation), word(loc, op.getActivation()));
  set(offsetof(Call, alpha), b.create<LLVM::ConstantOp>(loc, b.getF64Type(), op.getAlphaAttr()));
  set(offsetof(Call, a), addressOf(loc, op.getLhs()));
  set(offsetof(Call, b), op.getRhs() ? addressOf(loc, op.getRhs()) : null);
  set(offsetof(Call, bias), op.getBias() ? addressOf(loc, op.getBias()) : null);
  set(offsetof(Call, multiplier), op.getMultiplier() ? addressOf(loc, op.getMultiplier()) : null);
  set(offsetof(Call, residual), op.getResidual() ? addressOf(loc, op.getResidual()) : null);
  set(offsetof(Call, out), addressOf(loc, op.getOut()));
  set(offsetof(Call, m), m);
  set(offsetof(Call, n), n);
  set(offsetof(Call, k), k);
  set(offsetof(Call, a_row), aRow);
  set(offsetof(Call, a_col), aCol);
  set(offsetof(Call, b_row), bRow);
  set(offsetof(Call, b_col), bCol);
  set(offsetof(Call, out_row), out.strides[ro - 2]);
  for (size_t i = 0; i < 3; ++i) {
    set(offsetof(Call, batch) + 8 * i, batch[i]);
    set(offsetof(Call, a_batch) + 8 * i, aBatch[i]);
    set(offsetof(Call, b_batch) + 8 * i, bBatch[i]);
    set(offsetof(Call, out_batch) + 8 * i, outBatch[i]);
  }
  set(offsetof(Call, a_quantization), word(loc, op.getLhsQuantization()));
  set(offsetof(Call, a_scale), b.create<LLVM::ConstantOp>(loc, b.getF64Type(), op.getLhsScaleAttr()));
  set(offsetof(Call, a_zero), word(loc, op.getLhsZero()));
  auto bytes = [&](Value side, bool isUnsigned) {
    Type element = cast<MemRefType>(side.getType()).getElementType();
    if (element.isF16() || element.isBF16())
      return word(loc, element.isF16() ? LATHE_BYTES_F16 : LATHE_BYTES_BF16);
    return word(loc, !element.isInteger(8) ? LATHE_BYTES_NONE : isUnsigned ? LATHE_BYTES_UNSIGNED : LATHE_BYTES_SIGNED);
  };
  set(offsetof(Call, a_again), word(loc, op.getLhsAgain()));
  set(offsetof(Call, a_bytes), bytes(op.getLhs(), op.getLhsUnsigned()));
  set(offsetof(Call, out_bytes), bytes(op.getOut(), op.getOutUnsigned()));
  set(offsetof(Call, out_scale), b.create<LLVM::ConstantOp>(loc, b.getF64Type(), op.getOutScaleAttr()));
  set(offsetof(Call, out_zero), word(loc, op.getOutZero()));
  Value table = loadPointer(loc, op.getFrame(), offsetof(lathe_frame, rt));
  Value function = loadPointer(loc, table, offsetof(lathe_runtime_table, matmul));
  auto type = LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(context), {pointer, pointer});
  b.create<LLVM::CallOp>(loc, type, ValueRange{function, op.getFrame(), call});
}

void Lowering::lowerLookup(kernel::LookupOp op) {
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
  Value table = loadPointer(loc, op.getFrame(), offsetof(lathe_frame, rt));
  Value function = loadPointer(loc, table, offsetof(lathe_runtime_table, dequantize_rows));
  auto type = LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(context), {pointer, pointer});
  b.create<LLVM::CallOp>(loc, type, ValueRange{function, op.getFrame(), call});
}

void Lowering::lowerAttention(kernel::AttentionOp op) {
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
  Value table = loadPointer(loc, op.getFrame(), offsetof(lathe_frame, rt));
  Value function = loadPointer(loc, table, offsetof(lathe_runtime_table, attention));
  auto type = LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(context), {pointer, pointer});
  b.create<LLVM::CallOp>(loc, type, ValueRange{function, op.getFrame(), call});
}

/// `view` is empty for a dense buffer.
void Lowering::lowerCache(Operation *op, Value frame, int64_t kernelIndex, int64_t cache, bool read, Value rows, ValueRange sizes,
                          ValueRange view) {
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
  Value table = loadPointer(loc, frame, offsetof(lathe_frame, rt));
  Value function = loadPointer(loc, table, offsetof(lathe_runtime_table, cache));
  auto type = LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(context), {pointer, pointer});
  b.create<LLVM::CallOp>(loc, type, ValueRange{function, frame, call});
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

void Lowering::lowerLaunch(kernel::DeviceLaunchOp op) {
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
  Value table = loadPointer(loc, op.getFrame(), offsetof(lathe_frame, rt));
  Value function = loadPointer(loc, table, offsetof(lathe_runtime_table, launch));
  auto type = LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(context), {pointer, pointer});
  b.create<LLVM::CallOp>(loc, type, ValueRange{function, op.getFrame(), call});
}

Value Lowering::lowerRead(kernel::ReadOp op) {
  Location loc = op.getLoc();
  auto memref = cast<MemRefType>(op.getBuffer().getType());
  Value place = word(loc, 0);
  for (auto [axis, index] : llvm::enumerate(op.getIndices())) {
    Value extent = toWord(b.create<memref::DimOp>(loc, op.getBuffer(), axis));
    place = b.create<LLVM::AddOp>(loc, b.create<LLVM::MulOp>(loc, place, extent), toWord(index));
  }
  Type element = memref.getElementType();
  Value address = b.create<LLVM::GEPOp>(loc, pointer, element, addressOf(loc, op.getBuffer()), ArrayRef<LLVM::GEPArg>{place});
  Value table = loadPointer(loc, op.getFrame(), offsetof(lathe_frame, rt));
  Value function = loadPointer(loc, table, offsetof(lathe_runtime_table, read));
  auto type = LLVM::LLVMFunctionType::get(pointer, {pointer, pointer, i64});
  Value bytes = word(loc, (memref.getElementTypeBitWidth() + 7) / 8);
  Value copy = b.create<LLVM::CallOp>(loc, type, ValueRange{function, op.getFrame(), address, bytes}).getResult();
  Value null = b.create<LLVM::ZeroOp>(loc, pointer);
  returnUnless(b.create<LLVM::ICmpOp>(loc, LLVM::ICmpPredicate::ne, copy, null), [] {});
  return b.create<LLVM::LoadOp>(loc, element, copy);
}

void Lowering::lowerLaunch(kernel::LaunchOp op) {
  Location loc = op.getLoc();
  Value arguments = scratch(op, std::max<int64_t>(sizeOfArguments(op.getArgs()), 8));
  storeArguments(loc, op.getArgs(), arguments);
  auto callee = SymbolTable::lookupNearestSymbolFrom<func::FuncOp>(op, op.getCalleeAttr());
  Value task = b.create<UnrealizedConversionCastOp>(
                    loc, pointer, b.create<func::ConstantOp>(loc, callee.getFunctionType(), op.getCallee()).getResult())
                   .getResult(0);
  Value table = loadPointer(loc, op.getFrame(), offsetof(lathe_frame, rt));
  Value function = loadPointer(loc, table, offsetof(lathe_runtime_table, parallel_for));
  auto type = LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(context), {pointer, i64, pointer, pointer, i64, i64});
  b.create<LLVM::CallOp>(loc, type,
                         ValueRange{function, op.getFrame(), word(loc, op.getKernel()), task, arguments,
                                    toWord(op.getCount()), toWord(op.getGrain())});
}

void Lowering::callFail(Location loc, Value frame, int64_t check) {
  Value function =
      loadPointer(loc, loadPointer(loc, frame, offsetof(lathe_frame, rt)), offsetof(lathe_runtime_table, fail));
  auto type = LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(context), {pointer, i64});
  b.create<LLVM::CallOp>(loc, type, ValueRange{function, frame, word(loc, check)});
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

/// Address that a function of the runtime's table gives; returns from the run when there is none.
Value Lowering::callForMemory(Operation *op, Value frame, size_t member, int64_t number, Value argument) {
  Location loc = op->getLoc();
  Value function = loadPointer(loc, loadPointer(loc, frame, offsetof(lathe_frame, rt)), member);
  auto type = LLVM::LLVMFunctionType::get(pointer, {pointer, i64, argument.getType()});
  Value address =
      b.create<LLVM::CallOp>(loc, type, ValueRange{function, frame, word(loc, number), argument}).getResult();
  Value null = b.create<LLVM::ZeroOp>(loc, pointer);
  returnUnless(b.create<LLVM::ICmpOp>(loc, LLVM::ICmpPredicate::ne, address, null), [] {});
  return address;
}

LogicalResult Lowering::lower(Operation &op) {
  Location loc = op.getLoc();
  auto func = op.getParentOfType<func::FuncOp>();
  if (!func)
    return op.emitOpError() << "expects to stand in a function";
  if (isa<kernel::RequireOp, kernel::DynamicAllocOp, kernel::DynamicOutputOp, kernel::ReadOp>(op) && // may return from there
      (op.getParentOp() != func || func.getNumResults() != 0))
    return op.emitOpError() << "expects to stand in the block of a function without results";
  b.setInsertionPoint(&op);
  auto table = [&](Value frame, size_t member, int64_t index) {
    return loadPointer(loc, loadPointer(loc, frame, member), 8 * index);
  };
  Value result;
  if (auto symbol = dyn_cast<SymbolOp>(op)) {
    auto it = symbols.find(symbol.getName());
    if (it == symbols.end())
      return op.emitError() << "the symbolic dimension '" << symbol.getName() << "' is not bound by an input";
    if (func.getNumArguments() == 0 || func.getArgumentTypes()[0] != pointer)
      return op.emitOpError() << "expects to stand in a function of a frame, got one of type "
                              << func.getFunctionType();
    Value base = func.getName() == kernel::kPlanName
                     ? func.getArgument(0)
                     : loadPointer(loc, func.getArgument(0), offsetof(lathe_frame, symbols));
    Value value = b.create<LLVM::LoadOp>(loc, i64, at(loc, base, 8 * it->second));
    result = b.create<arith::IndexCastOp>(loc, b.getIndexType(), value);
  } else if (auto input = dyn_cast<kernel::InputOp>(op)) {
    result = describe(loc, cast<MemRefType>(input.getType()),
                      table(input.getFrame(), offsetof(lathe_frame, inputs), input.getIndex()), input.getDims());
  } else if (auto output = dyn_cast<kernel::OutputOp>(op)) {
    result = describe(loc, cast<MemRefType>(output.getType()),
                      table(output.getFrame(), offsetof(lathe_frame, outputs), output.getIndex()), output.getDims());
  } else if (auto constant = dyn_cast<kernel::ConstantOp>(op)) {
    result = describe(loc, cast<MemRefType>(constant.getType()),
                      table(constant.getFrame(), offsetof(lathe_frame, constants), constant.getIndex()), {});
  } else if (auto arena = dyn_cast<kernel::ArenaOp>(op)) {
    Value base = loadPointer(loc, arena.getFrame(), offsetof(lathe_frame, arena));
    Value address =
        b.create<LLVM::GEPOp>(loc, pointer, b.getI8Type(), base, ArrayRef<LLVM::GEPArg>{toWord(arena.getOffset())});
    result = describe(loc, cast<MemRefType>(arena.getType()), address, arena.getDims());
  } else if (auto view = dyn_cast<kernel::ViewOp>(op)) {
    result = describe(loc, cast<MemRefType>(view.getType()), addressOf(loc, view.getSource()), view.getDims());
  } else if (auto row = dyn_cast<kernel::RowOp>(op)) {
    auto type = cast<MemRefType>(row.getType());
    Value bytes = b.create<LLVM::MulOp>(loc, toWord(row.getIndex()), bytesOf(loc, type, row.getDims()));
    Value address = b.create<LLVM::GEPOp>(loc, pointer, b.getI8Type(), addressOf(loc, row.getSource()),
                                          ArrayRef<LLVM::GEPArg>{bytes});
    result = describe(loc, type, address, row.getDims());
  } else if (auto argument = dyn_cast<kernel::ArgOp>(op)) {
    Type type = argument.getType();
    Value value = b.create<LLVM::LoadOp>(loc, type.isIndex() ? i64 : converter.convertType(type),
                                         at(loc, argument.getArgs(), argument.getOffset()));
    result = type.isIndex() ? b.create<arith::IndexCastOp>(loc, type, value).getResult()
                            : b.create<UnrealizedConversionCastOp>(loc, type, value).getResult(0);
  } else if (auto check = dyn_cast<kernel::CheckOp>(op)) {
    Value bad = b.create<arith::XOrIOp>(loc, check.getCondition(), b.create<arith::ConstantIntOp>(loc, 1, 1));
    auto branch = b.create<scf::IfOp>(loc, bad);
    b.setInsertionPointToStart(branch.thenBlock());
    isDeviceKernel(func) ? noteFailure(loc, check.getFrame(), check.getCheck()) : callFail(loc, check.getFrame(), check.getCheck());
  } else if (auto require = dyn_cast<kernel::RequireOp>(op)) {
    returnUnless(require.getCondition(), [&] { callFail(loc, require.getFrame(), require.getCheck()); });
  } else if (auto define = dyn_cast<kernel::DefineOp>(op)) {
    auto it = symbols.find(define.getName());
    if (it == symbols.end())
      return op.emitOpError() << "expects a symbol of 'kernel.symbols', got '" << define.getName() << "'";
    Value base = loadPointer(loc, define.getFrame(), offsetof(lathe_frame, symbols));
    b.create<LLVM::StoreOp>(loc, toWord(define.getValue()), at(loc, base, 8 * it->second));
  } else if (auto alloc = dyn_cast<kernel::DynamicAllocOp>(op)) {
    auto type = cast<MemRefType>(alloc.getType());
    Value bytes = bytesOf(loc, type, alloc.getDims());
    Value address = callForMemory(&op, alloc.getFrame(), offsetof(lathe_runtime_table, allocate),
                                  static_cast<int64_t>(alloc.getSlot()), bytes);
    result = describe(loc, type, address, alloc.getDims());
  } else if (auto output = dyn_cast<kernel::DynamicOutputOp>(op)) {
    auto type = cast<MemRefType>(output.getType());
    Value dims = scratch(&op, std::max<int64_t>(8 * type.getRank(), 8));
    size_t next = 0;
    for (auto [i, extent] : llvm::enumerate(type.getShape())) {
      Value size = ShapedType::isDynamic(extent) ? toWord(output.getDims()[next++]) : word(loc, extent);
      b.create<LLVM::StoreOp>(loc, size, at(loc, dims, 8 * static_cast<int64_t>(i)));
    }
    Value address = callForMemory(&op, output.getFrame(), offsetof(lathe_runtime_table, output),
                                  static_cast<int64_t>(output.getIndex()), dims);
    result = describe(loc, type, address, output.getDims());
  } else if (auto matmul = dyn_cast<kernel::MatmulOp>(op)) {
    lowerMatmul(matmul);
  } else if (auto lookup = dyn_cast<kernel::LookupOp>(op)) {
    lowerLookup(lookup);
  } else if (auto attention = dyn_cast<kernel::AttentionOp>(op)) {
    lowerAttention(attention);
  } else if (auto append = dyn_cast<kernel::CacheAppendOp>(op)) {
    lowerCache(append, append.getFrame(), append.getKernel(), append.getCache(), /*read=*/false, append.getRows(),
               append.getSizes(), append.getView());
  } else if (auto read = dyn_cast<kernel::CacheReadOp>(op)) {
    lowerCache(read, read.getFrame(), read.getKernel(), read.getCache(), /*read=*/true, read.getOut(), {}, {});
  } else if (auto launch = dyn_cast<kernel::LaunchOp>(op)) {
    lowerLaunch(launch);
  } else if (auto launch = dyn_cast<kernel::DeviceLaunchOp>(op)) {
    lowerLaunch(launch);
  } else if (auto read = dyn_cast<kernel::ReadOp>(op)) {
    result = lowerRead(read);
  } else {
    return op.emitError() << "unexpected operation " << op.getName() << ": expected "
                          << (isa<kernel::AllocOp>(op) ? "the arena to be planned" : "kernels to be selected");
  }
  if (result)
    op.getResult(0).replaceAllUsesWith(result);
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

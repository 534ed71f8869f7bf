//===- ToNvvm.cpp - Lower what only a GPU has to NVVM ---------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/compiler/DeviceCode.h"
#include "backends/cuda/compiler/Passes.h"
#include "mlir/Conversion/LLVMCommon/MemRefBuilder.h"
#include "mlir/Conversion/LLVMCommon/TypeConverter.h"

namespace lathe::cuda {
#define GEN_PASS_DEF_CUDATONVVMPASS
#include "backends/cuda/compiler/Passes.h.inc"
} // namespace lathe::cuda

using namespace mlir;

namespace lathe::cuda {
namespace {

/// The memory space that PTX calls .shared.
constexpr unsigned kSharedSpace = 3;
constexpr unsigned kSharedAlignment = 16;

struct CudaToNvvm : impl::CudaToNvvmPassBase<CudaToNvvm> {
  void runOnOperation() override {
    AttrTypeReplacer replacer;
    replacer.addReplacement([](MemRefType type) -> std::optional<Type> {
      auto space = dyn_cast_or_null<gpu::AddressSpaceAttr>(type.getMemorySpace());
      if (!space || space.getValue() != gpu::AddressSpace::Workgroup)
        return std::nullopt;
      Attribute number = IntegerAttr::get(IntegerType::get(type.getContext(), 64), kSharedSpace);
      return MemRefType::get(type.getShape(), type.getElementType(), type.getLayout(), number);
    });
    for (auto func : getOperation().getOps<func::FuncOp>())
      replacer.recursivelyReplaceElementsIn(func, /*replaceAttrs=*/true, /*replaceLocs=*/false, /*replaceTypes=*/true);
    WalkResult walked = getOperation().walk([&](Operation *op) { return lower(op); });
    if (walked.wasInterrupted())
      signalPassFailure();
  }

  template <typename X, typename Y, typename Z>
  static Value special(OpBuilder &b, Location loc, gpu::Dimension dimension) {
    Type i32 = b.getI32Type();
    switch (dimension) {
    case gpu::Dimension::x:
      return b.create<X>(loc, i32);
    case gpu::Dimension::y:
      return b.create<Y>(loc, i32);
    default:
      return b.create<Z>(loc, i32);
    }
  }

  WalkResult lower(Operation *op) {
    if (!isa_and_nonnull<gpu::GPUDialect>(op->getDialect()))
      return WalkResult::advance();
    OpBuilder b(op);
    Location loc = op->getLoc();
    Value number;
    if (auto id = dyn_cast<gpu::ThreadIdOp>(op)) {
      number = special<NVVM::ThreadIdXOp, NVVM::ThreadIdYOp, NVVM::ThreadIdZOp>(b, loc, id.getDimension());
    } else if (auto id = dyn_cast<gpu::BlockIdOp>(op)) {
      number = special<NVVM::BlockIdXOp, NVVM::BlockIdYOp, NVVM::BlockIdZOp>(b, loc, id.getDimension());
    } else if (auto size = dyn_cast<gpu::BlockDimOp>(op)) {
      number = special<NVVM::BlockDimXOp, NVVM::BlockDimYOp, NVVM::BlockDimZOp>(b, loc, size.getDimension());
    } else if (auto size = dyn_cast<gpu::GridDimOp>(op)) {
      number = special<NVVM::GridDimXOp, NVVM::GridDimYOp, NVVM::GridDimZOp>(b, loc, size.getDimension());
    } else if (isa<gpu::BarrierOp>(op)) {
      b.create<NVVM::Barrier0Op>(loc);
    } else if (auto shuffle = dyn_cast<gpu::ShuffleOp>(op); shuffle && shuffle.getMode() == gpu::ShuffleMode::XOR &&
                                                            shuffle.getShuffleResult().getType().isInteger(32) &&
                                                            shuffle.getValid().use_empty()) {
      Type i32 = b.getI32Type();
      Value all = b.create<LLVM::ConstantOp>(loc, i32, -1), clamp = b.create<LLVM::ConstantOp>(loc, i32, 31);
      Value result = b.create<NVVM::ShflOp>(loc, i32, all, shuffle.getValue(), shuffle.getOffset(), clamp,
                                            NVVM::ShflKind::bfly, UnitAttr());
      shuffle.getShuffleResult().replaceAllUsesWith(result);
    } else if (isa<gpu::DynamicSharedMemoryOp>(op)) {
      op->getResult(0).replaceAllUsesWith(sharedMemory(b, op));
    } else {
      op->emitOpError() << "has no lowering to NVVM";
      return WalkResult::interrupt();
    }
    if (number)
      op->getResult(0).replaceAllUsesWith(b.create<arith::IndexCastUIOp>(loc, b.getIndexType(), number));
    op->erase();
    return WalkResult::advance();
  }

  /// A view of the block's memory, of a size that only its launch knows.
  Value sharedMemory(OpBuilder &b, Operation *op) {
    Location loc = op->getLoc();
    ModuleOp module = getOperation();
    auto global = module.lookupSymbol<LLVM::GlobalOp>(kSharedSymbol);
    if (!global) {
      OpBuilder top = OpBuilder::atBlockBegin(module.getBody());
      auto type = LLVM::LLVMArrayType::get(b.getI8Type(), 0);
      global = top.create<LLVM::GlobalOp>(module.getLoc(), type, /*isConstant=*/false, LLVM::Linkage::External,
                                          kSharedSymbol, Attribute(), kSharedAlignment, kSharedSpace);
    }
    auto type = cast<MemRefType>(op->getResult(0).getType());
    LLVMTypeConverter converter(&getContext());
    Value address = b.create<LLVM::AddressOfOp>(loc, global);
    MemRefDescriptor descriptor = MemRefDescriptor::undef(b, loc, converter.convertType(type));
    descriptor.setAllocatedPtr(b, loc, address);
    descriptor.setAlignedPtr(b, loc, address);
    descriptor.setConstantOffset(b, loc, 0);
    descriptor.setConstantSize(b, loc, 0, 0);
    descriptor.setConstantStride(b, loc, 0, 1);
    return b.create<UnrealizedConversionCastOp>(loc, type, Value(descriptor)).getResult(0);
  }
};

} // namespace
} // namespace lathe::cuda

//===- EmulationCode.cpp - Kernels as functions of the emulator's threads -===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/compiler/DeviceCode.h"
#include "backends/cuda/compiler/DeviceIr.h"
#include "backends/cuda/emulator/Emulation.h"
#include "llvm/Analysis/ValueTracking.h"
#include "llvm/IR/IRBuilder.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/IntrinsicInst.h"
#include "llvm/IR/IntrinsicsNVPTX.h"
#include "llvm/IR/ReplaceConstant.h"
#include <cstddef>
#include <optional>

using namespace llvm;

namespace lathe::cuda {
namespace {

/// Makes functions (lane, failures, arguments, count) of a module's kernels.
class Rewriter {
public:
  Rewriter(Module &module, std::string &error)
      : module(module), error(error), b(module.getContext()), pointer(b.getPtrTy()), i32(b.getInt32Ty()),
        i64(b.getInt64Ty()) {}

  std::vector<std::string> run();

private:
  void rewrite(Function &kernel);
  Value *at(Value *base, uint64_t offset) { return b.CreateConstInBoundsGEP1_64(b.getInt8Ty(), base, offset); }
  CallInst *call(size_t member, Type *result, ArrayRef<Value *> operands);
  bool lower(IntrinsicInst &intrinsic);
  void announce(Instruction &access, Value *address, Type *type, int64_t kind);

  Module &module;
  std::string &error;
  IRBuilder<> b;
  Type *pointer, *i32, *i64;
  Function *function = nullptr;
  int64_t sites = 0; ///< of barriers
};

CallInst *Rewriter::call(size_t member, Type *result, ArrayRef<Value *> operands) {
  Value *lane = function->getArg(0);
  Value *table = b.CreateLoad(pointer, at(lane, offsetof(lathe_lane, machine)));
  Value *callee = b.CreateLoad(pointer, at(table, member));
  SmallVector<Value *> all{lane};
  all.append(operands.begin(), operands.end());
  SmallVector<Type *> types;
  for (Value *value : all)
    types.push_back(value->getType());
  return b.CreateCall(FunctionType::get(result, types, false), callee, all);
}

/// Where a lane has what a special register holds.
std::optional<size_t> memberOf(Intrinsic::ID id) {
  switch (id) {
  case Intrinsic::nvvm_read_ptx_sreg_tid_x:
    return offsetof(lathe_lane, thread);
  case Intrinsic::nvvm_read_ptx_sreg_tid_y:
    return offsetof(lathe_lane, thread) + 4;
  case Intrinsic::nvvm_read_ptx_sreg_tid_z:
    return offsetof(lathe_lane, thread) + 8;
  case Intrinsic::nvvm_read_ptx_sreg_ctaid_x:
    return offsetof(lathe_lane, block);
  case Intrinsic::nvvm_read_ptx_sreg_ctaid_y:
    return offsetof(lathe_lane, block) + 4;
  case Intrinsic::nvvm_read_ptx_sreg_ctaid_z:
    return offsetof(lathe_lane, block) + 8;
  case Intrinsic::nvvm_read_ptx_sreg_ntid_x:
    return offsetof(lathe_lane, block_size);
  case Intrinsic::nvvm_read_ptx_sreg_ntid_y:
    return offsetof(lathe_lane, block_size) + 4;
  case Intrinsic::nvvm_read_ptx_sreg_ntid_z:
    return offsetof(lathe_lane, block_size) + 8;
  case Intrinsic::nvvm_read_ptx_sreg_nctaid_x:
    return offsetof(lathe_lane, grid_size);
  case Intrinsic::nvvm_read_ptx_sreg_nctaid_y:
    return offsetof(lathe_lane, grid_size) + 4;
  case Intrinsic::nvvm_read_ptx_sreg_nctaid_z:
    return offsetof(lathe_lane, grid_size) + 8;
  default:
    return std::nullopt;
  }
}

/// Replaces what only a GPU has; false where it is not known.
bool Rewriter::lower(IntrinsicInst &intrinsic) {
  b.SetInsertPoint(&intrinsic);
  auto shuffle = [&](lathe_shuffle kind) -> Value * {
    return call(offsetof(lathe_lane_table, shuffle), i32,
                {b.getInt64(kind), intrinsic.getArgOperand(0), intrinsic.getArgOperand(1), intrinsic.getArgOperand(2),
                 intrinsic.getArgOperand(3)});
  };
  auto vote = [&](lathe_vote kind) -> Value * {
    Value *result = call(offsetof(lathe_lane_table, vote), i32,
                         {b.getInt64(kind), intrinsic.getArgOperand(0), b.CreateZExt(intrinsic.getArgOperand(1), i32)});
    return intrinsic.getType()->isIntegerTy(1) ? b.CreateICmpNE(result, b.getInt32(0)) : result;
  };
  Value *result = nullptr;
  if (std::optional<size_t> member = memberOf(intrinsic.getIntrinsicID())) {
    intrinsic.replaceAllUsesWith(b.CreateLoad(i32, at(function->getArg(0), *member)));
    intrinsic.eraseFromParent();
    return true;
  }
  switch (intrinsic.getIntrinsicID()) {
  case Intrinsic::nvvm_barrier0:
    call(offsetof(lathe_lane_table, barrier), b.getVoidTy(), {b.getInt64(sites++)});
    break;
  case Intrinsic::nvvm_bar_warp_sync:
    call(offsetof(lathe_lane_table, warp_barrier), b.getVoidTy(), {intrinsic.getArgOperand(0), b.getInt64(sites++)});
    break;
  case Intrinsic::nvvm_shfl_sync_up_i32:
    result = shuffle(LATHE_SHUFFLE_UP);
    break;
  case Intrinsic::nvvm_shfl_sync_down_i32:
    result = shuffle(LATHE_SHUFFLE_DOWN);
    break;
  case Intrinsic::nvvm_shfl_sync_bfly_i32:
    result = shuffle(LATHE_SHUFFLE_BUTTERFLY);
    break;
  case Intrinsic::nvvm_shfl_sync_idx_i32:
    result = shuffle(LATHE_SHUFFLE_INDEX);
    break;
  case Intrinsic::nvvm_vote_all_sync:
    result = vote(LATHE_VOTE_ALL);
    break;
  case Intrinsic::nvvm_vote_any_sync:
    result = vote(LATHE_VOTE_ANY);
    break;
  case Intrinsic::nvvm_vote_uni_sync:
    result = vote(LATHE_VOTE_UNIFORM);
    break;
  case Intrinsic::nvvm_vote_ballot_sync:
    result = vote(LATHE_VOTE_BALLOT);
    break;
  default:
    return false;
  }
  if (result)
    intrinsic.replaceAllUsesWith(result);
  intrinsic.eraseFromParent();
  return true;
}

/// Arguments are the machine's, and what is on the stack the thread's own.
void Rewriter::announce(Instruction &access, Value *address, Type *type, int64_t kind) {
  const Value *base = getUnderlyingObject(address, /*MaxLookup=*/0);
  if (base == function->getArg(2) || isa<AllocaInst>(base))
    return;
  b.SetInsertPoint(&access);
  uint64_t bytes = module.getDataLayout().getTypeStoreSize(type);
  if (address->getType()->getPointerAddressSpace() != 0)
    address = b.CreateAddrSpaceCast(address, pointer);
  call(offsetof(lathe_lane_table, access), b.getVoidTy(), {address, b.getInt64(bytes), b.getInt64(kind)});
}

void Rewriter::rewrite(Function &kernel) {
  auto *type = FunctionType::get(b.getVoidTy(), {pointer, pointer, pointer, i64}, false);
  function = Function::Create(type, GlobalValue::ExternalLinkage, "", module);
  function->takeName(&kernel);
  function->splice(function->begin(), &kernel);
  for (unsigned i = 0; i < 3; ++i)
    kernel.getArg(i)->replaceAllUsesWith(function->getArg(i + 1));
  SmallVector<Instruction *> all(make_pointer_range(instructions(*function)));
  // Shared memory is where the lane says. It is read once, where the function begins.
  if (GlobalVariable *shared = module.getNamedGlobal(kSharedSymbol)) {
    b.SetInsertPoint(&*function->getEntryBlock().getFirstInsertionPt());
    Value *base = b.CreateLoad(pointer, at(function->getArg(0), offsetof(lathe_lane, shared)));
    base = b.CreateAddrSpaceCast(base, shared->getType());
    shared->replaceUsesWithIf(base, [&](Use &use) {
      auto *user = dyn_cast<Instruction>(use.getUser());
      return user && user->getFunction() == function;
    });
  }
  for (Instruction *instruction : all) {
    if (auto *load = dyn_cast<LoadInst>(instruction))
      announce(*load, load->getPointerOperand(), load->getType(), LATHE_ACCESS_READ);
    else if (auto *store = dyn_cast<StoreInst>(instruction))
      announce(*store, store->getPointerOperand(), store->getValueOperand()->getType(), LATHE_ACCESS_WRITE);
    else if (auto *change = dyn_cast<AtomicRMWInst>(instruction))
      announce(*change, change->getPointerOperand(), change->getType(),
               LATHE_ACCESS_READ | LATHE_ACCESS_WRITE | LATHE_ACCESS_ATOMIC);
    else if (auto *exchange = dyn_cast<AtomicCmpXchgInst>(instruction))
      announce(*exchange, exchange->getPointerOperand(), exchange->getNewValOperand()->getType(),
               LATHE_ACCESS_READ | LATHE_ACCESS_WRITE | LATHE_ACCESS_ATOMIC);
    else if (auto *intrinsic = dyn_cast<IntrinsicInst>(instruction))
      if (intrinsic->getCalledFunction()->getName().starts_with("llvm.nvvm.") && !lower(*intrinsic))
        error = "the emulator has no '" + intrinsic->getCalledFunction()->getName().str() + "'";
  }
}

std::vector<std::string> Rewriter::run() {
  // Addresses of shared memory are constants, and what is made of them.
  if (GlobalVariable *shared = module.getNamedGlobal(kSharedSymbol))
    convertUsersOfConstantsToInstructions({shared});
  std::vector<std::string> names;
  SmallVector<Function *> kernels;
  for (Function &candidate : module)
    if (!candidate.isDeclaration())
      kernels.push_back(&candidate);
  for (Function *kernel : kernels) {
    names.push_back(kernel->getName().str());
    rewrite(*kernel);
    kernel->eraseFromParent();
  }
  if (GlobalVariable *shared = module.getNamedGlobal(kSharedSymbol)) {
    shared->removeDeadConstantUsers();
    if (shared->use_empty())
      shared->eraseFromParent();
  }
  return names;
}

} // namespace

std::optional<cpu::FlatCode> emitEmulation(mlir::ModuleOp kernels, const cpu::InstructionSet &isa, unsigned level,
                                           std::string &error) {
  LLVMContext context;
  ArgumentBytes bytes;
  std::unique_ptr<Module> module = translate(kernels, context, bytes, error);
  if (!module)
    return std::nullopt;
  std::vector<std::string> names = Rewriter(*module, error).run();
  if (!error.empty())
    return std::nullopt;
  cpu::CompiledCode result;
  std::optional<cpu::FlatCode> code = cpu::compileFlat(*module, isa, level, names, cpu::CodeText::none, result);
  error = result.error;
  return code;
}

} // namespace lathe::cuda

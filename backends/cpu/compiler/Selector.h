//===- Selector.h - Selects the kernels of one program ----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CPU_COMPILER_SELECTOR_H
#define LATHE_BACKENDS_CPU_COMPILER_SELECTOR_H

#include "backends/cpu/compiler/Grouping.h"
#include "backends/cpu/compiler/RowKernel.h"
#include "dialects/lathe/Materialize.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/ADT/StringSet.h"
#include <functional>
#include <map>

namespace lathe::cpu {
using namespace mlir;

/// Names of the model's nodes in a location.
void collectNames(Location loc, llvm::SetVector<StringAttr> &names);

/// An expression as a user reads it: of a long one, what it depends on.
std::string describe(const SymExpr &expr);

/// Kernels tell by types alone what they broadcast: what an extent of at most one is broadcast from, as the last element of
/// an axis that may have none, gets an extent of one. Shapes must have been asked for, with what they require.
void padExtentsOfOne(func::FuncOp main, ShapeContext &shapes);

/// Selects one program.
class Selector {
public:
  Selector(ModuleOp module, func::FuncOp main, bool fuse, bool library, bool device,
           llvm::function_ref<LogicalResult(func::FuncOp)> lowerToLinalg)
      : module(module), main(main), fuse(fuse), library(library), device(device), lowerToLinalg(lowerToLinalg), b(module.getContext()),
        context(module.getContext()) {}

  LogicalResult run();

private:
  LogicalResult verifyProgram();
  LogicalResult verifyBlock(Block &block);
  LogicalResult analyze();
  LogicalResult analyze(Block &block);
  void findComputed(Block &block);
  void collectConditions();
  /// `violated` emits an i1, where `b` stands; `mentioned` is all that it depends on.
  void addCondition(Location at, const Twine &message, ArrayRef<SymExpr> mentioned, std::function<Value()> violated);
  void addRequired(RequireOp op);
  void addChecked(const ShapeCheck &check);
  void addBounded(Location at, const SymShape &dims);
  Value guarded(Value violated, const SymExpr &guard);
  LogicalResult emitPlan();
  Attribute inputEntry(BlockArgument argument);
  LogicalResult setSymbols(const llvm::SetVector<StringRef> &alone, ArrayRef<std::string> mentioned);
  /// Of tables that are only looked up, how many rows a run reads at most; of inputs that look them up, how many rows there are.
  void findLookups();
  LogicalResult addElements(SmallVectorImpl<Attribute> &symbolTable);
  LogicalResult emitRun();
  LogicalResult emitBlock(Block &block);
  LogicalResult emitIf(IfOp op);
  LogicalResult emitLoop(LoopOp op);
  LogicalResult emitBody(LoopOp op, Value number, ArrayRef<Value> results);
  /// Lets what a kernel computes in `block` go where it is wanted at once, to a buffer of another static type perhaps.
  void place(Value tensor, Block &block, Value target);
  /// Copies what place() could not.
  LogicalResult fill(Value tensor, Value target);
  Value viewAs(Value buffer, Value tensor);
  /// Names an index value that the run computes.
  void addComputed(Value index, std::string base, int64_t position, Region *region);
  void define(ToIndexOp op);
  /// Gives a computed symbol its value, and ends the run where what it completes does not hold.
  void define(Value index, Value value);
  /// Whether it mentions a symbol that the run computes.
  bool isComputed(const SymExpr &expr);
  /// A copy: what shapeOf returns does not outlive a range-for's header.
  SymShape shape(Value tensor) { return *shapes.shapeOf(tensor); }
  /// Code of the run or of @plan, where `b` stands, that computes an expression.
  Value host(const SymExpr &expr);
  SmallVector<Value> dynamicDims(Value tensor);
  Value buffer(Value tensor);
  Value destination(Value tensor);
  Value output(Location loc, Value tensor, int64_t number);
  /// Begins with the constants of the programs before this one, where the module has them.
  void takeConstants();
  /// Gives the module the table of those and of what was added, and says which of them this program reads.
  void setConstants();
  DictionaryAttr contentOf(Value tensor, bool packed, bool transposed);
  /// Whether another program has a stored constant, packed and transposed or not, or not packed at all.
  bool isGiven(Value stored, std::optional<bool> transposed);
  int64_t addConstant(Value tensor, bool packed, bool transposed);
  int64_t addKernel(StringRef name, StringRef kind, ArrayRef<Operation *> ops);
  /// Says which value of the model a kernel's result is, where it is one, and which kernels computed what `ops`, its
  /// operations, read. The last of a launch's arguments is the result's buffer; calls of the library tell where it is.
  /// Where it is not `isStored` there is nothing to tell of it but who reads it.
  void describeResult(int64_t kernel, Value result, ArrayRef<Operation *> ops,
                      std::optional<ValueRange> arguments = std::nullopt, bool isStored = true);
  SmallVector<int64_t> kernelsReadBy(ArrayRef<Operation *> ops);
  /// Says what a launch for a device computes, where that has a name that the device may know a better way for. `arguments` are the
  /// launch's, the result's buffer last, and `tensors` what those before it are buffers of.
  void describeComputation(int64_t kernel, ArrayRef<Operation *> ops, Value root, ArrayRef<Value> arguments, ArrayRef<Value> tensors);
  int64_t addCheck(Location loc, StringRef message);
  /// A kernel without a body.
  func::FuncOp addKernelFunc(Location loc, StringRef name);
  /// Whether a stored constant is transposed when it is packed for products; nullopt where it is not packed, since
  /// something else than products, and gathers beside them, reads it, or since another program has it so.
  std::optional<bool> packedAs(Value stored);
  Value readPanels(Value stored, bool transposed, OpBuilder &body, Block *block, SmallVectorImpl<Value> &arguments);
  LogicalResult emitMatmul(MatmulOp op, const Epilogue &epilogue);
  LogicalResult decomposeAttentions();
  void emitAttention(AttentionOp op, const AttentionCall &call);
  /// Appends an offset and strides along five axes.
  void appendView(const SymExpr &offset, const SymShape &dims, ArrayRef<SymExpr> strides, SmallVectorImpl<Value> &into);
  LogicalResult emitCache(CacheOp op, const CacheCall &call);
  void emitLookup(GatherOp op);
  LogicalResult emitGroup(ArrayRef<Operation *> ops, Value root, Value target);
  /// Operations that one kernel computes, as a function of tensors.
  struct Group {
    func::FuncOp func;
    SmallVector<Value> arguments; ///< of the launch, without the result's buffers
    SmallVector<Value> tensors;   ///< that these are buffers of; null where of none
    bool isFlat = false;          ///< all tensors have the result's shape, or a static one
  };
  Group outline(ArrayRef<Operation *> ops, Value root);
  SymExpr flatten(Group &group, Value root, Value target);
  /// A left side that products round by rows, as the kernel that computes it writes it.
  struct RoundedRows {
    bool hasSums = false;      ///< some product takes what the bytes of a row add up to
    bool isStored = true;      ///< as numbers, too
    Value bytes, scales, sums; ///< buffers, once the kernel is emitted
  };
  /// Finds the left sides that generated kernels compute and products round by rows: these kernels round.
  void findRoundedRows();
  /// Lets a group, lowered to linalg, return what it returns rounded by rows: bytes, scales, what bytes add up to, and
  /// the numbers, as far as they are wanted.
  void roundRows(func::FuncOp group, const RoundedRows &rounding);
  /// Buffers for these.
  SmallVector<Value> allocRoundedRows(Value x, RoundedRows &rows);
  LogicalResult emitScatter(Operation *op);
  DictionaryAttr dictionary(std::initializer_list<std::pair<StringRef, Attribute>> entries);
  Attribute valueTable(Value value, Attribute name, const Twine &otherwise);

  ModuleOp module;
  func::FuncOp main;
  bool fuse, library, device;
  llvm::function_ref<LogicalResult(func::FuncOp)> lowerToLinalg;
  OpBuilder b;
  MLIRContext *context;
  ShapeContext shapes;
  Grouping grouping;
  Value frame;
  DenseMap<Value, Value> buffers;
  DenseMap<Value, int64_t> outputs;          ///< of values that are computed where the caller wants them
  DenseMap<Value, Value> placed;             ///< of values that are computed where a branch or loop wants them
  llvm::SmallPtrSet<Operation *, 32> stored; ///< operations whose results get buffers of their own
  DenseMap<std::pair<Value, int64_t>, int64_t> constantIndex;
  SmallVector<Attribute> constants, kernels, checks, caches;
  DenseMap<Value, RoundedRows> rounded;
  DenseSet<std::pair<Block *, Value>> readByProducts; ///< left sides that products of a block round
  DenseMap<Value, int64_t> kernelOf; ///< that computes a tensor
  llvm::StringMap<int64_t> cacheIndex; ///< by name
  bool isFirst = true;                 ///< no program was selected before it
  size_t given = 0;                    ///< how many of the constants are other programs'
  DenseMap<Attribute, int64_t> byContent;
  DenseMap<int64_t, std::optional<SymExpr>> rowsOf; ///< of constants, how many rows this program reads at most

  /// Something that shapes must satisfy, with the entry of `kernel.checks` that says so.
  struct Condition {
    int64_t check;
    SmallVector<std::string> awaited; ///< computed symbols that it mentions
    std::function<Value()> violated;  ///< emits an i1
  };
  std::vector<Condition> conditions;
  std::map<Operation *, SymExpr> guards; ///< of conditions that the model states, what must hold for them to matter
  llvm::MapVector<Value, SymExpr> rowsRead;
  DenseMap<Value, int64_t> below; ///< smallest table that the values of an input are rows of
  llvm::StringMap<Region *> computed;    ///< symbols that the run gives their values, and where it does
  DenseMap<std::pair<Value, uint64_t>, SmallVector<ToIndexOp>> reads; ///< of elements that the run computes
  llvm::StringSet<> defined;             ///< those that it has computed so far
  WrittenAtoms written;                  ///< by host() in the entry block of `writtenIn`
  func::FuncOp writtenIn;
};

} // namespace lathe::cpu

#endif // LATHE_BACKENDS_CPU_COMPILER_SELECTOR_H

//===- SymbolicShape.h - Dimensions as expressions over symbols -*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// A dimension is a polynomial with integer coefficients over atoms: named symbols, index values, and operations that
// no polynomial expresses (floor division, minimum…). Two dimensions are provably equal when their difference is the
// polynomial 0.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_DIALECTS_LATHE_SYMBOLICSHAPE_H
#define LATHE_DIALECTS_LATHE_SYMBOLICSHAPE_H

#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Value.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringMap.h"
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace lathe {

struct SymAtom;
using SymAtomRef = std::shared_ptr<const SymAtom>;

/// A polynomial over atoms. Immutable in use; cheap for the handful of terms that shapes have.
class SymExpr {
public:
  SymExpr() = default;
  SymExpr(int64_t constant); // NOLINT: an integer is an expression
  static SymExpr symbol(llvm::StringRef name);
  static SymExpr atom(SymAtomRef atom);

  /// Whether a symbol is `input[position]`: an element of an integer input, any number, rather than a dimension.
  static bool isInputElement(llvm::StringRef symbol) { return symbol.ends_with("]"); }

  std::optional<int64_t> constant() const;
  bool isConstant(int64_t value) const { return constant() == value; }
  bool operator==(const SymExpr &other) const { return terms == other.terms; }
  bool operator!=(const SymExpr &other) const { return !(*this == other); }
  SymExpr operator+(const SymExpr &other) const;
  SymExpr operator-(const SymExpr &other) const;
  SymExpr operator*(const SymExpr &other) const;

  /// Text such as `batch*sequence + 2`; equal expressions print the same. Parsed back by parse().
  std::string str() const;
  /// Parses `+ - * ( )`, integers and names, a sum's first term perhaps negative; nullopt for anything else.
  static std::optional<SymExpr> parse(llvm::StringRef text);
  /// The name, if this is a symbol alone.
  std::optional<llvm::StringRef> symbolName() const;
  /// All symbol names, also those inside atoms.
  void collectSymbols(llvm::SmallVectorImpl<std::string> &names) const;

  struct AtomLess {
    bool operator()(const SymAtomRef &a, const SymAtomRef &b) const;
  };
  /// Product of atoms, sorted by key.
  struct Monomial {
    std::vector<SymAtomRef> atoms;
    bool operator<(const Monomial &other) const;
    bool operator==(const Monomial &other) const;
  };
  const std::map<Monomial, int64_t> &getTerms() const { return terms; }
  /// Number of atoms written out, those inside atoms included: what printing, comparing and materializing costs. An
  /// atom of more than kShared counts once: expressions mention it by a digest, and it is computed once.
  size_t size() const;
  static constexpr size_t kShared = 64;
  /// Operations in operations, at most: they are followed by recursion.
  static constexpr unsigned kDeepest = 512;
  /// An expression of this size or above says nothing useful of a shape: it is treated as data.
  static constexpr size_t kTooLarge = 1024;
  /// Not a function of symbols alone.
  bool dependsOnData() const;

private:
  std::map<Monomial, int64_t> terms;
};

/// floor_div and mod are of mathematics (towards minus infinity); wrap(x, d) is x < 0 ? x + d : x;
/// broadcast(a, b) is a == 1 ? b : a; eq and lt give 0 or 1; select(c, a, b) is c != 0 ? a : b. product stands for one
/// that would have too many terms.
enum class SymOp { symbol, value, product, floor_div, mod, min, max, wrap, broadcast, eq, lt, select };

struct SymAtom {
  SymOp op;
  std::string key;           ///< canonical text, or its digest where that is long; equality and order of atoms
  size_t size = 1;           ///< 1 and the sizes of args, or 1 of a shared one; stays at SymExpr::kTooLarge
  unsigned depth = 1;        ///< of operations in operations
  bool shared = false;       ///< large, and so counted, written and computed as if it had a name
  bool ofData = false;       ///< SymExpr::dependsOnData() of this alone
  std::string name;          ///< of a symbol
  mlir::Value value;         ///< of a value
  std::vector<SymExpr> args; ///< of the others
};

using SymShape = llvm::SmallVector<SymExpr, 4>;

/// A condition on symbols that could not be proven when the program was compiled. It holds when `kind` does.
struct ShapeCheck {
  enum Kind { equal, broadcastable, at_most, not_zero } kind;
  SymExpr lhs, rhs;
  mlir::Location loc;
  std::string message;
  SymExpr guard = 1; ///< it must hold where this is not 0
};

/// Shapes of values, memoized (so the values must live as long as it is asked), and the facts known of symbols. Values
/// without a SymbolicShapeOpInterface producer get their shape from argument attributes (`lathe.dims`) or from their
/// type, with an atom for each dynamic dimension.
class ShapeContext {
public:
  /// With `typesOnly`, producers are not asked: shapes follow from the operands' types alone (verifiers).
  explicit ShapeContext(bool typesOnly = false) : typesOnly(typesOnly) {}

  mlir::FailureOr<SymShape> shapeOf(mlir::Value tensor);
  /// Expression of an index value; an atom for what is not understood.
  SymExpr indexValue(mlir::Value index);
  /// Element `position` (row-major) of a small integer or boolean tensor, nullopt where it depends on data.
  std::optional<SymExpr> element(mlir::Value tensor, int64_t position);
  void setShape(mlir::Value tensor, SymShape shape) { shapes[tensor] = std::move(shape); }
  void forget(mlir::Value tensor) { shapes.erase(tensor); }
  void setIndexValue(mlir::Value index, SymExpr value) { indexValues[index] = std::move(value); }

  // Arithmetic that folds with what is known of symbols.
  SymExpr floorDiv(const SymExpr &a, const SymExpr &b);
  SymExpr ceilDiv(const SymExpr &a, const SymExpr &b) { return SymExpr(0) - floorDiv(SymExpr(0) - a, b); }
  /// Rounded towards zero, for b of at least 0.
  SymExpr truncatedDiv(const SymExpr &a, const SymExpr &b);
  SymExpr mod(const SymExpr &a, const SymExpr &b);
  SymExpr min(const SymExpr &a, const SymExpr &b);
  SymExpr max(const SymExpr &a, const SymExpr &b);
  SymExpr eq(const SymExpr &a, const SymExpr &b);
  SymExpr lt(const SymExpr &a, const SymExpr &b);
  SymExpr select(const SymExpr &c, const SymExpr &a, const SymExpr &b);
  /// x counted from the end where negative, clamped to [low, d + high].
  SymExpr clampedIndex(const SymExpr &x, const SymExpr &d, int64_t low = 0, int64_t high = 0);
  /// Provably at least `bound`.
  bool atLeast(const SymExpr &a, int64_t bound);
  /// Provably at most `bound`.
  bool atMost(const SymExpr &a, int64_t bound);

  /// numpy's broadcast of two dimensions. Provable misfits fail (the caller says it better); others become checks.
  mlir::FailureOr<SymExpr> broadcast(const SymExpr &a, const SymExpr &b, mlir::Operation *op);
  /// The same of a target and a dimension where either may be 1 in one run and not in the next: where elements of tensors
  /// say what the dimensions are. Elementwise operations leave that to lathe.broadcast.
  mlir::FailureOr<SymExpr> broadcastTo(const SymExpr &target, const SymExpr &dim, mlir::Operation *op);
  /// Requires a == b: fails if provably not, records a check if not provable.
  mlir::LogicalResult requireEqual(const SymExpr &a, const SymExpr &b, mlir::Operation *op, const llvm::Twine &what);
  /// Requires a <= b in the same way.
  mlir::LogicalResult requireAtMost(const SymExpr &a, const SymExpr &b, mlir::Operation *op, const llvm::Twine &what);

  /// Facts about symbols: 0 <= min <= symbol <= max.
  struct Range {
    int64_t min = 0;
    std::optional<int64_t> max;
  };
  llvm::StringMap<Range> ranges;
  std::vector<ShapeCheck> checks;
  /// Not 0 where what is asked for now is run: of a branch its condition.
  SymExpr guard = 1;

private:
  SymExpr op2(SymOp op, const SymExpr &a, const SymExpr &b);
  SymAtomRef valueAtom(mlir::Value value, int64_t axis);
  std::pair<std::optional<int64_t>, std::optional<int64_t>> bounds(const SymExpr &a);
  std::pair<std::optional<int64_t>, std::optional<int64_t>> bounds(const SymAtom &atom);
  bool isBoolean(const SymExpr &a) { return atLeast(a, 0) && atMost(a, 1); }
  /// Provably a + gap <= b.
  bool isBelow(const SymExpr &a, const SymExpr &b, int64_t gap);
  std::optional<SymExpr> computeElement(mlir::Value tensor, int64_t position);
  SymExpr computeIndexValue(mlir::Value index);
  void addCheck(ShapeCheck check);

  bool typesOnly;
  int nesting = 0; ///< of calls through chains of operations
  llvm::DenseMap<mlir::Value, SymShape> shapes;
  llvm::DenseMap<std::pair<mlir::Value, int64_t>, SymAtomRef> valueAtoms;
  llvm::DenseMap<mlir::Value, SymExpr> indexValues;
  llvm::StringMap<std::pair<std::optional<int64_t>, std::optional<int64_t>>> sharedBounds; ///< by key
  llvm::DenseMap<std::pair<mlir::Value, int64_t>, std::optional<SymExpr>> elements;
};

/// While it lives, what is asked for belongs to a region, which may not be run.
class RegionScope {
public:
  RegionScope(ShapeContext &context, mlir::Region &region);
  ~RegionScope() { context.guard = outer; }
  RegionScope(const RegionScope &) = delete;
  RegionScope &operator=(const RegionScope &) = delete;

private:
  ShapeContext &context;
  SymExpr outer;
};

/// Index value of an expression, built at the insertion point out of arith ops over lathe.symbol.
mlir::Value materialize(mlir::OpBuilder &builder, mlir::Location loc, const SymExpr &expr);

/// Static dimensions where expressions are constants, dynamic ones elsewhere.
llvm::SmallVector<int64_t, 4> staticDims(const SymShape &shape);
std::string str(const SymShape &shape);

namespace detail {
mlir::LogicalResult verifySymbolicShape(mlir::Operation *op);
} // namespace detail
} // namespace lathe

#endif // LATHE_DIALECTS_LATHE_SYMBOLICSHAPE_H

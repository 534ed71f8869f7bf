//===- Einsum.cpp - Importer of Einstein's summation ----------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/Compose.h"
#include "llvm/ADT/SmallSet.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;

namespace lathe::frontend {
namespace {

/// A letter, or kEllipsis + n for the n-th axis from the right of what an ellipsis stands for.
using Label = int;
using Labels = SmallVector<Label>;
constexpr Label kEllipsis = 256;

/// A tensor whose axes have names, each its own.
struct Term {
  Value value;
  Labels labels;
};

bool has(ArrayRef<Label> labels, Label label) { return llvm::is_contained(labels, label); }

class EinsumImporter {
public:
  explicit EinsumImporter(Node &node) : node(node), c(node) {}
  LogicalResult run();

private:
  bool parse();
  std::optional<Labels> parseTerm(StringRef text, int64_t rank, StringRef what);
  Labels impliedOutput();
  Term withoutRepeats(Value value, ArrayRef<Label> labels);
  Term arranged(const Term &term, ArrayRef<Label> labels);
  Term summed(Term term, ArrayRef<Label> kept);
  Term product(Term a, Term b, ArrayRef<Label> kept);
  Term matrixProduct(const Term &a, const Term &b, ArrayRef<Label> batch, ArrayRef<Label> rows,
                     ArrayRef<Label> contracted, ArrayRef<Label> columns);

  Node &node;
  Compose c;
  SmallVector<Labels> inputs;
  Labels output;
  int64_t ellipsisRank = 0; ///< of the longest ellipsis
};

} // namespace

/// Axes of a term. An ellipsis takes what `rank` leaves to it; without a rank, the longest one.
std::optional<Labels> EinsumImporter::parseTerm(StringRef text, int64_t rank, StringRef what) {
  auto fail = [&](const Twine &reason) {
    (void)node.invalid(reason);
    return std::nullopt;
  };
  Labels labels;
  int64_t letters = llvm::count_if(text, [](char letter) { return llvm::isAlpha(letter); });
  int64_t rest = rank < 0 ? ellipsisRank : rank - letters;
  bool seen = false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (llvm::isAlpha(text[i])) {
      labels.push_back(static_cast<Label>(text[i]));
    } else if (text.substr(i).starts_with("...") && !seen) {
      seen = true;
      i += 2;
      for (int64_t axis = rest; axis-- > 0;)
        labels.push_back(kEllipsis + static_cast<Label>(axis));
    } else {
      return fail("expects letters, one ellipsis, commas and one arrow in the equation, got '" + text.substr(i, 1) +
                  "' in '" + text + "'");
    }
  }
  if (rank >= 0 && (rest < 0 || static_cast<int64_t>(labels.size()) != rank))
    return fail("expects " + what + " of rank " + Twine(letters) + (seen ? " or more" : "") + " for '" + text +
                "', got rank " + Twine(rank));
  if (seen && rank >= 0)
    ellipsisRank = std::max(ellipsisRank, rest);
  return labels;
}

/// Without an arrow: the ellipsis, and then the letters that stand once, in alphabetical order.
Labels EinsumImporter::impliedOutput() {
  Labels result, letters;
  for (int64_t axis = ellipsisRank; axis-- > 0;)
    result.push_back(kEllipsis + static_cast<Label>(axis));
  for (const Labels &labels : inputs)
    for (Label label : labels)
      if (label < kEllipsis)
        letters.push_back(label);
  llvm::sort(letters);
  for (Label label : letters)
    if (llvm::count(letters, label) == 1)
      result.push_back(label);
  return result;
}

bool EinsumImporter::parse() {
  std::string equation = node.stringAttr("equation", "");
  llvm::erase_if(equation, [](char letter) { return letter == ' '; });
  auto [left, right] = StringRef(equation).split("->");
  SmallVector<StringRef> terms;
  left.split(terms, ',');
  if (terms.size() != node.numInputs())
    return (void)node.invalid("expects as many inputs as the equation has terms, " + Twine(terms.size()) + ", got " +
                              Twine(node.numInputs())),
           false;
  for (auto [text, input] : llvm::zip_equal(terms, node.inputs)) {
    std::optional<Labels> labels = parseTerm(text, Node::rank(input), "an input");
    if (!labels)
      return false;
    inputs.push_back(*labels);
  }
  if (!StringRef(equation).contains("->")) {
    output = impliedOutput();
    return true;
  }
  std::optional<Labels> labels = parseTerm(right, -1, "the output");
  if (!labels)
    return false;
  output = *labels;
  for (auto [i, label] : llvm::enumerate(output)) {
    if (has(ArrayRef(output).take_front(i), label))
      return (void)node.invalid("expects distinct letters in the output, got '" + right + "'"), false;
    if (llvm::none_of(inputs, [&](const Labels &input) { return has(input, label); }))
      return (void)node.invalid("expects letters of the inputs in the output, got '" + right + "'"), false;
  }
  return true;
}

/// The diagonal where axes have the same name.
Term EinsumImporter::withoutRepeats(Value value, ArrayRef<Label> labels) {
  Term term{value, Labels(labels)};
  for (size_t i = 0; i < term.labels.size(); ++i)
    for (size_t j = term.labels.size(); --j > i;) {
      if (term.labels[i] != term.labels[j] || !term.value)
        continue;
      auto first = static_cast<int64_t>(i), second = static_cast<int64_t>(j);
      if (!c.sameExtent(term.value, first, term.value, second, "axes of one name"))
        return {};
      int64_t rank = Node::rank(term.value);
      Value diagonal = c.compare(Comparison::eq, c.iota(node.dim(term.value, first), first, rank),
                                 c.iota(node.dim(term.value, second), second, rank));
      Value zero = node.scalar(Node::element(term.value), 0);
      term.value = c.reduce(Reduction::sum, c.select(diagonal, term.value, zero), {second}, /*keepDims=*/false);
      term.labels.erase(term.labels.begin() + second);
    }
  return term;
}

/// The term with these axes in this order: extents of 1 for those that it has none of.
Term EinsumImporter::arranged(const Term &term, ArrayRef<Label> labels) {
  SmallVector<int64_t> permutation, missing;
  for (auto [i, label] : llvm::enumerate(labels)) {
    if (has(term.labels, label))
      permutation.push_back(llvm::find(term.labels, label) - term.labels.begin());
    else
      missing.push_back(static_cast<int64_t>(i));
  }
  Value value = term.value;
  if (!llvm::is_sorted(permutation))
    value = c.transpose(value, permutation);
  return {missing.empty() ? value : c.unsqueeze(value, missing), Labels(labels)};
}

Term EinsumImporter::summed(Term term, ArrayRef<Label> kept) {
  SmallVector<int64_t> axes;
  Labels labels;
  for (auto [i, label] : llvm::enumerate(term.labels)) {
    if (has(kept, label))
      labels.push_back(label);
    else
      axes.push_back(static_cast<int64_t>(i));
  }
  if (axes.empty())
    return term;
  return {c.reduce(Reduction::sum, term.value, axes, /*keepDims=*/false), labels};
}

Term EinsumImporter::matrixProduct(const Term &a, const Term &b, ArrayRef<Label> batch, ArrayRef<Label> rows,
                                   ArrayRef<Label> contracted, ArrayRef<Label> columns) {
  auto joined = [&](ArrayRef<Label> x, ArrayRef<Label> y) {
    Labels all(batch);
    all.append(x.begin(), x.end());
    all.append(y.begin(), y.end());
    return all;
  };
  Value left = arranged(a, joined(rows, contracted)).value, right = arranged(b, joined(contracted, columns)).value;
  if (!left || !right)
    return {};
  SmallVector<Value> leftDims = node.dims(left), rightDims = node.dims(right);
  auto folded = [&](Value value, ArrayRef<Value> dims, size_t first) {
    SmallVector<Value> shape(dims.take_front(batch.size()));
    shape.push_back(node.product(dims.slice(batch.size(), first)));
    shape.push_back(node.product(dims.drop_front(batch.size() + first)));
    return node.reshape(value, shape);
  };
  Value result = c.matmul(folded(left, leftDims, rows.size()), folded(right, rightDims, contracted.size()));
  if (!result)
    return {};
  SmallVector<Value> dims(node.dims(result));
  dims.resize(batch.size());
  dims.append(leftDims.begin() + batch.size(), leftDims.begin() + batch.size() + rows.size());
  dims.append(rightDims.begin() + batch.size() + contracted.size(), rightDims.end());
  return {node.reshape(result, dims), joined(rows, columns)};
}

Term EinsumImporter::product(Term a, Term b, ArrayRef<Label> kept) {
  Labels batch, rows, contracted, columns;
  Labels keptByA(kept), keptByB(kept);
  keptByA.append(b.labels);
  keptByB.append(a.labels);
  a = summed(a, keptByA);
  b = summed(b, keptByB);
  if (!a.value || !b.value)
    return {};
  auto extent = [](const Term &term, Label label) {
    return Node::type(term.value).getDimSize(llvm::find(term.labels, label) - term.labels.begin());
  };
  // An axis of extent 1 is broadcast, which a matrix product does not do with the one that it sums over.
  for (Term *term : {&a, &b}) {
    const Term &other = term == &a ? b : a;
    Labels broadcast;
    for (Label label : term->labels)
      if (has(other.labels, label) && !has(kept, label) && extent(*term, label) == 1 && extent(other, label) != 1)
        broadcast.push_back(label);
    Labels left;
    for (Label label : term->labels)
      if (!has(broadcast, label))
        left.push_back(label);
    *term = summed(*term, left);
  }
  Labels needed(kept);
  a = summed(a, (needed.append(b.labels), needed));
  needed.assign(kept.begin(), kept.end());
  b = summed(b, (needed.append(a.labels), needed));
  if (!a.value || !b.value)
    return {};
  for (Label label : a.labels)
    (!has(b.labels, label) ? rows : has(kept, label) ? batch : contracted).push_back(label);
  for (Label label : b.labels)
    if (!has(a.labels, label))
      columns.push_back(label);
  if (!contracted.empty() && !(rows.empty() && columns.empty()))
    return matrixProduct(a, b, batch, rows, contracted, columns);
  Labels all(batch);
  for (const Labels &more : {rows, columns, contracted})
    all.append(more);
  return summed({c.mul(arranged(a, all).value, arranged(b, all).value), all}, kept);
}

LogicalResult EinsumImporter::run() {
  if (!parse())
    return failure();
  Type element = Node::element(node.input(0));
  for (Value input : node.inputs)
    if (Node::element(input) != element || element.isInteger(1))
      return node.invalid("expects numbers of one type");
  Term result = withoutRepeats(node.input(0), inputs[0]);
  for (size_t i = 1; i < inputs.size() && result.value; ++i) {
    Labels kept(output);
    for (const Labels &later : ArrayRef(inputs).drop_front(i + 1))
      kept.append(later);
    Term next = withoutRepeats(node.input(i), inputs[i]);
    if (!next.value)
      return failure();
    result = product(result, next, kept);
  }
  if (!result.value)
    return failure();
  result = summed(result, output);
  return node.result(result.value ? arranged(result, output).value : Value());
}

static LogicalResult importEinsum(Node &node) { return EinsumImporter(node).run(); }

ArrayRef<Operator> einsumOperators() {
  static constexpr Operator table[] = {
      {"Einsum", 13, 1, -1, 1, "equation:s", importEinsum},
  };
  return table;
}

} // namespace lathe::frontend

//===- ModuleMutator.cpp - Mutations of modules ---------------------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// A module is changed as a graph of operations and written again in the generic form, or it is changed as a text, word
// by word or line by line. What comes out need not be valid: parsers and verifiers are to say so.
//
//===----------------------------------------------------------------------===//
#include "test/fuzz/Random.h"
#include "compiler/Dialects.h"
#include "mlir/IR/AsmState.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Parser/Parser.h"
#include "llvm/ADT/StringExtras.h"
#include <cstdint>
#include <string>

using namespace mlir;
using lathe::fuzz::Random;

extern "C" size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t maxSize);

namespace {

//===----------------------------------------------------------------------===//
// Operations
//===----------------------------------------------------------------------===//

class GraphMutator {
public:
  GraphMutator(ModuleOp module, Random &random) : module(module), random(random), builder(module.getContext()) {}

  void run() {
    for (size_t count = 1 + random.pick(3); count > 0; --count) {
      operations.clear();
      values.clear();
      module->walk([&](Operation *op) {
        if (op != module)
          operations.push_back(op);
        llvm::append_range(values, op->getResults());
        for (Region &region : op->getRegions())
          for (Block &block : region)
            llvm::append_range(values, block.getArguments());
      });
      if (operations.empty())
        return;
      change(operations[random.pick(operations.size())]);
    }
  }

private:
  Value value() { return values.empty() ? Value() : values[random.pick(values.size())]; }

  Type type(Type old) {
    if (random.pick(4) == 0)
      if (Value other = value())
        return other.getType();
    auto shaped = dyn_cast<RankedTensorType>(old);
    if (!shaped || random.pick(8) == 0)
      return element();
    SmallVector<int64_t> shape(shaped.getShape());
    switch (random.pick(4)) {
    case 0:
      return RankedTensorType::get(shape, element());
    case 1:
      shape.insert(shape.begin() + static_cast<ptrdiff_t>(random.pick(shape.size() + 1)), extent());
      break;
    case 2:
      if (!shape.empty())
        shape.erase(shape.begin() + static_cast<ptrdiff_t>(random.pick(shape.size())));
      break;
    default:
      if (!shape.empty())
        shape[random.pick(shape.size())] = extent();
    }
    return RankedTensorType::get(shape, shaped.getElementType());
  }

  int64_t extent() {
    int64_t number = random.number();
    return number < 0 ? ShapedType::kDynamic : number;
  }

  Type element() {
    Type known[] = {builder.getF32Type(),
                    builder.getF16Type(),
                    builder.getBF16Type(),
                    builder.getF64Type(),
                    builder.getFloat8E4M3FNType(),
                    builder.getI1Type(),
                    builder.getI8Type(),
                    builder.getI32Type(),
                    builder.getI64Type(),
                    builder.getIntegerType(4),
                    builder.getIntegerType(8, false),
                    builder.getIntegerType(64, false),
                    builder.getIntegerType(2, false),
                    builder.getIndexType(),
                    builder.getIntegerType(1 + static_cast<unsigned>(random.pick(130)))};
    return known[random.pick(std::size(known))];
  }

  Attribute attribute(Attribute old, int depth = 0) {
    if (auto integer = dyn_cast_or_null<IntegerAttr>(old)) {
      if (integer.getType().isIntOrIndex()) {
        unsigned width = integer.getValue().getBitWidth();
        return IntegerAttr::get(integer.getType(),
                                APInt(64, static_cast<uint64_t>(random.number())).sextOrTrunc(width));
      }
    } else if (auto list = dyn_cast_or_null<DenseI64ArrayAttr>(old)) {
      SmallVector<int64_t> numbers(list.asArrayRef());
      if (numbers.empty() || random.pick(4) == 0)
        numbers.push_back(random.number());
      else if (random.pick(4) == 0)
        numbers.pop_back();
      else
        numbers[random.pick(numbers.size())] = random.number();
      return builder.getDenseI64ArrayAttr(numbers);
    } else if (auto array = dyn_cast_or_null<ArrayAttr>(old); array && depth < 4) {
      SmallVector<Attribute> elements(array.getValue());
      if (elements.empty() || random.pick(4) == 0)
        elements.push_back(elements.empty() ? other() : elements[random.pick(elements.size())]);
      else if (random.pick(4) == 0)
        elements.pop_back();
      else if (Attribute &picked = elements[random.pick(elements.size())])
        picked = attribute(picked, depth + 1);
      return builder.getArrayAttr(elements);
    } else if (auto dictionary = dyn_cast_or_null<DictionaryAttr>(old);
               dictionary && depth < 4 && !dictionary.empty()) {
      SmallVector<NamedAttribute> entries(dictionary.getValue());
      NamedAttribute &entry = entries[random.pick(entries.size())];
      entry.setValue(attribute(entry.getValue(), depth + 1));
      return builder.getDictionaryAttr(entries);
    } else if (auto of = dyn_cast_or_null<TypeAttr>(old); of && !isa<FunctionType>(of.getValue())) {
      return TypeAttr::get(type(of.getValue()));
    } else if (auto dense = dyn_cast_or_null<DenseElementsAttr>(old)) {
      auto shape = dyn_cast<RankedTensorType>(type(dense.getType()));
      if (shape && shape.hasStaticShape() && shape.getElementType() == dense.getElementType() && dense.isSplat())
        return dense.resizeSplat(shape);
      if (dense.getElementType().isInteger(64))
        return DenseElementsAttr::get(dense.getType(), builder.getI64IntegerAttr(random.number()));
    }
    return other();
  }

  Attribute other() {
    switch (random.pick(5)) {
    case 0:
      return builder.getUnitAttr();
    case 1:
      return builder.getI64IntegerAttr(random.number());
    case 2:
      return builder.getStringAttr(random.pick(2) ? "n" : "");
    case 3:
      return builder.getDenseI64ArrayAttr({random.number()});
    default: {
      Operation *op = operations[random.pick(operations.size())];
      ArrayRef<NamedAttribute> attributes = op->getAttrs();
      return attributes.empty() ? builder.getI64IntegerAttr(0) : attributes[random.pick(attributes.size())].getValue();
    }
    }
  }

  void change(Operation *op) {
    switch (random.pick(7)) {
    case 0:
      if (Value operand = value(); operand && op->getNumOperands() > 0)
        op->setOperand(static_cast<unsigned>(random.pick(op->getNumOperands())), operand);
      break;
    case 1: {
      SmallVector<Value> operands(op->getOperands());
      if (!operands.empty() && random.pick(2))
        operands.erase(operands.begin() + static_cast<ptrdiff_t>(random.pick(operands.size())));
      else if (Value added = value())
        operands.insert(operands.begin() + static_cast<ptrdiff_t>(random.pick(operands.size() + 1)), added);
      op->setOperands(operands);
      break;
    }
    case 2:
    case 3: {
      SmallVector<NamedAttribute> attributes(op->getAttrs());
      if (attributes.empty())
        break;
      NamedAttribute &entry = attributes[random.pick(attributes.size())];
      if (random.pick(8) == 0)
        op->removeAttr(entry.getName());
      else
        op->setAttr(entry.getName(), attribute(entry.getValue()));
      break;
    }
    case 4:
      if (Value changed = value())
        changed.setType(type(changed.getType()));
      break;
    case 5:
      // One that takes the place of this one in some of its uses.
      if (op->getBlock() && !op->hasTrait<OpTrait::IsTerminator>()) {
        Operation *copy = op->clone();
        op->getBlock()->getOperations().insertAfter(op->getIterator(), copy);
        for (auto [before, after] : llvm::zip(op->getResults(), copy->getResults()))
          before.replaceUsesWithIf(after, [&](OpOperand &) { return random.pick(2) == 0; });
      }
      break;
    default:
      if (Operation *other = operations[random.pick(operations.size())];
          other->getBlock() == op->getBlock() && op != other)
        op->moveBefore(other);
    }
  }

  ModuleOp module;
  Random &random;
  OpBuilder builder;
  std::vector<Operation *> operations;
  std::vector<Value> values;
};

/// Nothing where the text is no module.
std::string changeGraph(const std::string &text, Random &random) {
  // What it interns grows, so it is renewed now and then.
  static std::unique_ptr<MLIRContext> context;
  static int uses = 0;
  if (!context || ++uses % 1000 == 0) {
    DialectRegistry registry;
    lathe::registerDialects(registry);
    context = std::make_unique<MLIRContext>(registry, MLIRContext::Threading::DISABLED);
    context->getDiagEngine().registerHandler([](Diagnostic &) { return success(); });
  }
  OwningOpRef<ModuleOp> module =
      parseSourceString<ModuleOp>(text, ParserConfig(context.get(), /*verifyAfterParse=*/false));
  if (!module)
    return "";
  GraphMutator(*module, random).run();
  std::string result;
  llvm::raw_string_ostream stream(result);
  OpPrintingFlags flags;
  flags.printGenericOpForm().useLocalScope();
  module->print(stream, flags);
  return result;
}

//===----------------------------------------------------------------------===//
// Text
//===----------------------------------------------------------------------===//

/// Words: names, numbers, whole types in angle brackets, single characters.
std::vector<StringRef> wordsOf(StringRef text) {
  std::vector<StringRef> words;
  auto isName = [](char c) { return llvm::isAlnum(c) || c == '_' || c == '.' || c == '$'; };
  while (!text.empty()) {
    size_t size = 1;
    if (isName(text.front()) || StringRef("%@#!\"").contains(text.front()))
      while (size < text.size() && isName(text[size]))
        ++size;
    if (size < text.size() && text[size] == '<' && size > 1) {
      size_t end = text.find('>', size);
      if (end != StringRef::npos && end - size < 80)
        size = end + 1;
    }
    words.push_back(text.take_front(size));
    text = text.drop_front(size);
  }
  return words;
}

std::string changeWords(StringRef text, Random &random) {
  static const char *known[] = {"tensor<?xf32>",
                                "tensor<0x?xi64>",
                                "tensor<f32>",
                                "tensor<4x4xi8>",
                                "index",
                                "i64",
                                "i4",
                                "ui8",
                                "f8E4M3FN",
                                "bf16",
                                "memref<?xf32>",
                                "unit",
                                "?",
                                "*",
                                "array<i64>",
                                "array<i64: 0, 1>",
                                "dense<0>",
                                "true",
                                "{}",
                                "[]",
                                "()",
                                "dense<[1, 2]>",
                                "affine_map<(d0) -> (d0)>",
                                "none",
                                "1.0",
                                "0x7FC00000"};
  std::vector<StringRef> words = wordsOf(text);
  if (words.empty())
    return "";
  std::vector<std::string> changed(words.begin(), words.end());
  auto kind = [](StringRef word) {
    return llvm::isDigit(word.front())   ? '0'
           : llvm::isAlpha(word.front()) ? (word.contains('<')   ? '<'
                                            : word.contains('.') ? '.'
                                                                 : 'a')
                                         : word.front();
  };
  for (size_t count = 1 + random.pick(4); count > 0; --count) {
    // Blanks and punctuation are most of the words, and the least of what there is to change.
    size_t at = random.pick(words.size());
    for (int tries = 0; tries < 8 && !llvm::isAlnum(words[at].back()) && words[at].back() != '>'; ++tries)
      at = random.pick(words.size());
    std::string &word = changed[at];
    char wanted = kind(words[at]);
    if (random.pick(4) == 0) {
      word = random.pick(2) ? known[random.pick(std::size(known))] : words[random.pick(words.size())].str();
    } else if (wanted == '0') {
      word = std::to_string(random.number());
    } else if (random.pick(10) == 0) {
      word.clear();
    } else {
      std::vector<StringRef> same;
      for (StringRef other : words)
        if (kind(other) == wanted)
          same.push_back(other);
      if (!same.empty())
        word = same[random.pick(same.size())].str();
    }
  }
  return llvm::join(changed, "");
}

std::string changeLines(StringRef text, StringRef other, Random &random) {
  SmallVector<StringRef> lines, others;
  text.split(lines, '\n');
  other.split(others, '\n');
  size_t at = random.pick(lines.size());
  switch (random.pick(4)) {
  case 0:
    lines.erase(lines.begin() + static_cast<ptrdiff_t>(at));
    break;
  case 1:
    std::swap(lines[at], lines[random.pick(lines.size())]);
    break;
  default: {
    size_t from = random.pick(others.size()), count = std::min(1 + random.pick(4), others.size() - from);
    SmallVector<StringRef> taken(others.begin() + static_cast<ptrdiff_t>(from),
                                 others.begin() + static_cast<ptrdiff_t>(from + count));
    lines.insert(lines.begin() + static_cast<ptrdiff_t>(at), taken.begin(), taken.end());
  }
  }
  return llvm::join(lines, "\n");
}

/// The first line says which passes run.
std::pair<std::string, std::string> split(const uint8_t *data, size_t size) {
  StringRef text(reinterpret_cast<const char *>(data), size);
  if (!text.starts_with("// passes: "))
    return {"// passes: 1\n", text.str()};
  auto [first, rest] = text.split('\n');
  return {first.str() + "\n", rest.str()};
}

size_t write(const std::string &first, const std::string &text, uint8_t *data, size_t maxSize) {
  if (text.empty() || first.size() + text.size() > maxSize)
    return 0;
  std::copy(first.begin(), first.end(), data);
  std::copy(text.begin(), text.end(), data + first.size());
  return first.size() + text.size();
}

} // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t maxSize, unsigned seed) {
  Random random(seed);
  auto [first, text] = split(data, size);
  if (random.pick(20) == 0)
    first = "// passes: " + std::to_string(random.pick(32)) + "\n";
  std::string changed;
  size_t choice = random.pick(16);
  if (choice < 8)
    changed = changeGraph(text, random);
  if (choice < 13 && changed.empty())
    changed = changeWords(text, random);
  if (choice < 15 && changed.empty())
    changed = changeLines(text, text, random);
  size_t written = write(first, changed, data, maxSize);
  return written ? written : LLVMFuzzerMutate(data, size, maxSize);
}

extern "C" size_t LLVMFuzzerCustomCrossOver(const uint8_t *data1, size_t size1, const uint8_t *data2, size_t size2,
                                            uint8_t *out, size_t maxSize, unsigned seed) {
  Random random(seed);
  auto [first, text] = split(data1, size1);
  auto [otherFirst, other] = split(data2, size2);
  return write(random.pick(4) ? first : otherFirst, changeLines(text, other, random), out, maxSize);
}

//===- Manifest.cpp - Description of an artifact's content ------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/Manifest.h"

#include "runtime/Abi.h"
#include "runtime/ArtifactFormat.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <unordered_set>

using namespace lathe::runtime;
using nlohmann::json;

namespace {

/// Reads members of JSON objects, none of whose types are taken on trust. The first problem is kept; what is read after
/// it is default values.
class Reader {
public:
  Status status;

  void fail(const std::string &where, const std::string &what) {
    if (!status.failed())
      status = failure(LATHE_INVALID_ARTIFACT, "invalid manifest: ", where, " ", what);
  }

  const json *member(const json &object, const char *key, const std::string &where) {
    if (!object.is_object()) {
      fail(where, "must be an object");
      return nullptr;
    }
    auto it = object.find(key);
    if (it == object.end()) {
      fail(where, join("has no '", key, "'"));
      return nullptr;
    }
    return &*it;
  }

  const json::array_t *array(const json &object, const char *key, const std::string &where) {
    const json *value = member(object, key, where);
    if (!value)
      return nullptr;
    auto *result = value->get_ptr<const json::array_t *>();
    if (!result)
      fail(join(where, ".", key), "must be an array");
    return result;
  }

  std::string string(const json &value, const std::string &where) {
    auto *text = value.get_ptr<const json::string_t *>();
    if (!text) {
      fail(where, "must be a string");
      return {};
    }
    // Names travel through C strings.
    if (text->find('\0') != std::string::npos)
      fail(where, "must not contain zero bytes");
    return *text;
  }

  std::string string(const json &object, const char *key, const std::string &where) {
    const json *value = member(object, key, where);
    return value ? string(*value, join(where, ".", key)) : std::string();
  }

  /// A non-negative integer.
  int64_t integer(const json &value, const std::string &where) {
    // Non-negative literals are parsed as unsigned; floating point and what does not fit are not.
    auto *number = value.get_ptr<const json::number_unsigned_t *>();
    if (!number || *number > static_cast<uint64_t>(INT64_MAX)) {
      fail(where, "must be an integer from 0 to 2^63 - 1");
      return 0;
    }
    return static_cast<int64_t>(*number);
  }

  bool boolean(const json &object, const char *key, const std::string &where) {
    const json *value = member(object, key, where);
    if (value && !value->is_boolean())
      fail(join(where, ".", key), "must be true or false");
    return value && value->is_boolean() && value->get<bool>();
  }

  int64_t integer(const json &object, const char *key, const std::string &where) {
    const json *value = member(object, key, where);
    return value ? integer(*value, join(where, ".", key)) : 0;
  }

  /// One of the names that `parse` knows.
  template <typename Enum> Enum named(const json &object, const char *key, const std::string &where) {
    std::string text = string(object, key, where);
    Enum result = Enum();
    if (!parse(text, &result))
      fail(join(where, ".", key), join("has unknown value '", text, "'"));
    return result;
  }

  const DataType *type(const json &object, const std::string &where) {
    std::string name = string(object, "type", where);
    const DataType *result = dataType(std::string_view(name));
    if (!result) {
      fail(where, join("has unknown type '", name, "'"));
      result = dataType(LATHE_F32);
    }
    return result;
  }

  /// Calls `read(element, where)` for every element of an array.
  template <typename Fn> void each(const json &object, const char *key, const std::string &where, Fn read) {
    const json::array_t *values = array(object, key, where);
    if (!values)
      return;
    size_t index = 0;
    for (const json &value : *values) {
      if (status.failed())
        return;
      read(value, join(where, ".", key, "[", index++, "]"));
    }
  }
};

/// The parser keeps its own stack, but a document nested a million deep is an attack all the same.
bool tooDeep(std::string_view text) {
  constexpr int kMaxDepth = 64;
  int depth = 0;
  bool inString = false;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (inString) {
      if (c == '\\')
        ++i;
      else if (c == '"')
        inString = false;
    } else if (c == '"') {
      inString = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxDepth)
        return true;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return false;
}

Symbol readSymbol(Reader &reader, const json &value, const std::string &where) {
  Symbol symbol;
  symbol.name = reader.string(value, "name", where);
  if (symbol.name.empty())
    reader.fail(where, "must have a name");
  if (value.is_object() && value.contains("computed"))
    symbol.computed = true;
  if (value.is_object() && value.contains("element")) {
    symbol.element = reader.integer(value["element"], where + ".element");
    symbol.inputName = reader.string(value, "input", where);
    if (symbol.element < 0)
      reader.fail(where + ".element", "must not be negative");
  }
  if (const json *min = reader.member(value, "min", where); min && !min->is_null())
    symbol.min = reader.integer(*min, where + ".min");
  if (const json *max = reader.member(value, "max", where); max && !max->is_null())
    symbol.max = reader.integer(*max, where + ".max");
  if (symbol.min > symbol.max)
    reader.fail(where, "has min above max");
  return symbol;
}

Tensor readTensor(Reader &reader, const json &value, const std::string &where, const std::vector<Symbol> &symbols) {
  Tensor tensor;
  tensor.name = reader.string(value, "name", where);
  tensor.type = reader.type(value, where);
  reader.each(value, "shape", where, [&](const json &dim, const std::string &at) {
    Dimension dimension;
    if (dim.is_string()) {
      dimension.text = reader.string(dim, at);
      for (size_t i = 0; i < symbols.size(); ++i)
        if (symbols[i].name == dimension.text)
          dimension.symbol = static_cast<int>(i);
    } else {
      dimension.value = reader.integer(dim, at);
      dimension.text = std::to_string(dimension.value);
    }
    tensor.dims.push_back(std::move(dimension));
  });
  if (value.contains("below"))
    tensor.below = reader.integer(value, "below", where);
  if (tensor.dims.size() > Manifest::kMaxRank)
    reader.fail(where, join("has more than ", Manifest::kMaxRank, " dimensions"));
  return tensor;
}

void pair(Reader &reader, const json &object, const char *key, const std::string &where, int64_t (&out)[2]) {
  size_t count = 0;
  reader.each(object, key, where, [&](const json &value, const std::string &at) {
    int64_t number = reader.integer(value, at);
    if (count < 2)
      out[count] = number;
    ++count;
  });
  if (count != 2)
    reader.fail(join(where, ".", key), "must have two elements");
}

PackedLayout readPacked(Reader &reader, const json &value, const std::string &where) {
  PackedLayout layout;
  pair(reader, value, "dims", where, layout.dims);
  pair(reader, value, "padded_dims", where, layout.paddedDims);
  pair(reader, value, "strides", where, layout.strides);
  size_t blocks = 0;
  reader.each(value, "inner_blocks", where, [&](const json &block, const std::string &at) {
    if (blocks < PackedLayout::kMaxBlocks)
      layout.blocks[blocks] = reader.integer(block, at);
    ++blocks;
  });
  size_t indices = 0;
  reader.each(value, "inner_index", where, [&](const json &index, const std::string &at) {
    int64_t dim = reader.integer(index, at);
    if (dim > 1)
      reader.fail(at, "must be 0 or 1");
    if (indices < PackedLayout::kMaxBlocks)
      layout.blockDims[indices] = static_cast<int>(dim);
    ++indices;
  });
  if (blocks != indices || blocks > PackedLayout::kMaxBlocks)
    reader.fail(where, "must have as many inner_index as inner_blocks, and at most 8");
  else
    layout.blockCount = static_cast<int>(blocks);
  if (!reader.status.failed() && !layout.valid())
    reader.fail(where, "describes a layout that does not fit its own size");
  return layout;
}

QuantizedLayout readQuantized(Reader &reader, const json &value, const std::string &where, const Constant &constant) {
  QuantizedLayout layout;
  layout.k = constant.dims.size() == 2 ? constant.dims[0] : 0;
  layout.n = constant.dims.size() == 2 ? constant.dims[1] : 0;
  layout.bits = reader.integer(value, "bits", where);
  layout.values = reader.named<CodeValues>(value, "values", where);
  layout.dimension = reader.integer(value, "dimension", where);
  layout.group = reader.integer(value, "group", where);
  layout.panel = reader.integer(value, "panel", where);
  layout.scale = reader.named<ScaleType>(value, "scale", where);
  if (const json *zero = reader.member(value, "zero", where)) {
    if (zero->is_number())
      layout.zero = zero->get<float>();
    else if (*zero == "u8" || *zero == "scale")
      layout.zeros = *zero == "u8" ? ZeroType::u8 : ZeroType::scale;
    else
      reader.fail(where + ".zero", "must be a number, \"u8\" or \"scale\"");
  }
  std::string why;
  if (!reader.status.failed() && !layout.valid(&why))
    reader.fail(where, why);
  return layout;
}

SparseLayout readSparse(Reader &reader, const json &value, const std::string &where, const Constant &constant) {
  SparseLayout layout;
  layout.k = constant.dims.size() == 2 ? constant.dims[0] : 0;
  layout.n = constant.dims.size() == 2 ? constant.dims[1] : 0;
  layout.values = reader.named<SparseValues>(value, "values", where);
  layout.height = reader.integer(value, "height", where);
  layout.group = reader.integer(value, "group", where);
  layout.fours = reader.integer(value, "fours", where);
  std::string why;
  if (!reader.status.failed() && !layout.valid(&why))
    reader.fail(where, why);
  return layout;
}

Constant readConstant(Reader &reader, const json &value, const std::string &where) {
  Constant constant;
  constant.name = reader.string(value, "name", where);
  constant.type = reader.type(value, where);
  reader.each(value, "shape", where,
              [&](const json &dim, const std::string &at) { constant.dims.push_back(reader.integer(dim, at)); });
  constant.offset = static_cast<uint64_t>(reader.integer(value, "offset", where));
  constant.size = static_cast<uint64_t>(reader.integer(value, "size", where));
  if (constant.offset % lathe::artifact::kConstantAlignment != 0)
    reader.fail(where, join("has an offset that is no multiple of ", lathe::artifact::kConstantAlignment));
  if (auto zeros = value.find("half_zeros"); zeros != value.end()) {
    int64_t axes = reader.integer(*zeros, where + ".half_zeros");
    if (axes < 0 || axes > 3)
      reader.fail(where, join("has half_zeros ", axes, ", expected 0 to 3"));
    constant.halfZeros = static_cast<unsigned>(axes);
  }
  if (reader.status.failed())
    return constant;
  int64_t bytes = 0;
  if (auto quantized = value.find("quantized"); quantized != value.end() && !quantized->is_null()) {
    constant.quantized = readQuantized(reader, *quantized, where + ".quantized", constant);
    if (!reader.status.failed() && constant.type->dtype != LATHE_F32)
      reader.fail(where, join("is quantized and must be of type f32, found ", constant.type->name));
    if (!reader.status.failed() && static_cast<uint64_t>(constant.quantized->bytes()) != constant.size)
      reader.fail(where, join("has a size that is not that of its quantized form, ", constant.quantized->bytes()));
    if (value.contains("packed"))
      reader.fail(where, "is both packed and quantized");
    return constant;
  }
  if (auto sparse = value.find("sparse"); sparse != value.end() && !sparse->is_null()) {
    constant.sparse = readSparse(reader, *sparse, where + ".sparse", constant);
    if (!reader.status.failed() && constant.type->dtype != LATHE_F32)
      reader.fail(where, join("is sparse and must be of type f32, found ", constant.type->name));
    if (!reader.status.failed() && static_cast<uint64_t>(constant.sparse->bytes()) != constant.size)
      reader.fail(where, join("has a size that is not that of its sparse form, ", constant.sparse->bytes()));
    if (value.contains("packed"))
      reader.fail(where, "is both packed and sparse");
    return constant;
  }
  if (auto packed = value.find("packed"); packed != value.end() && !packed->is_null()) {
    PackedLayout layout = readPacked(reader, *packed, where + ".packed");
    if (reader.status.failed())
      return constant;
    if (constant.dims.size() != 2 || constant.dims[0] != layout.dims[0] || constant.dims[1] != layout.dims[1])
      reader.fail(where, "has a shape that is not the packed one");
    if (!tensorBytes(*constant.type, layout.paddedDims, 2, &bytes) || static_cast<uint64_t>(bytes) != constant.size)
      reader.fail(where, "has a size that is not that of its padded dimensions");
    constant.packed = layout;
  } else if (!tensorBytes(*constant.type, constant.dims.data(), constant.dims.size(), &bytes) ||
             static_cast<uint64_t>(bytes) != constant.size) {
    reader.fail(where, "has a size that is not that of its shape");
  }
  return constant;
}

void readCaches(Reader &reader, const json &object, const std::string &where, std::vector<Cache> &caches) {
  reader.each(object, "caches", where, [&](const json &value, const std::string &at) {
    constexpr int64_t kMost = 1 << 24;
    Cache cache;
    cache.name = reader.string(value, "name", at);
    CacheLayout &layout = cache.layout;
    std::string type = reader.string(value, "type", at);
    layout.heads = reader.integer(value, "heads", at);
    layout.size = reader.integer(value, "size", at);
    cache.appended = reader.boolean(value, "appended", at);
    if (!layout.setType(type))
      reader.fail(at, "must be of type f32, i8, u8, i4 or u4");
    if (layout.hasCodes()) {
      layout.group = reader.integer(value, "group", at);
      layout.rotated = reader.boolean(value, "rotated", at);
    }
    if (layout.heads < 1 || layout.heads > kMost || layout.size < 1 || layout.size > kMost || layout.heads * layout.size > kMost)
      reader.fail(at, join("must have from 1 to ", kMost, " heads, columns, and numbers in a row of all heads, found ", layout.heads, " and ",
                           layout.size));
    if (layout.group < 0 || layout.group > kMost || layout.group % CacheLayout::kGroupUnit != 0)
      reader.fail(at, join("must have groups of a multiple of ", CacheLayout::kGroupUnit, " columns, or 0, found ", layout.group));
    caches.push_back(std::move(cache));
  });
}

KernelResult readResult(Reader &reader, const json &object, const std::string &at) {
  KernelResult result;
  result.value = reader.string(object, "value", at);
  result.node = reader.string(object, "node", at);
  result.type = reader.type(object, at);
  result.isLaunched = object.is_object() && object.contains("argument");
  if (!result.isLaunched)
    return result;
  result.argument = reader.integer(object, "argument", at);
  result.rank = reader.integer(object, "rank", at);
  if (result.argument > KernelResult::kMaxArgument || result.argument % 8 != 0)
    reader.fail(at + ".argument", join("must be a multiple of 8 up to ", KernelResult::kMaxArgument, ", found ", result.argument));
  if (result.rank > static_cast<int64_t>(Manifest::kMaxRank))
    reader.fail(at + ".rank", join("must be at most ", Manifest::kMaxRank, ", found ", result.rank));
  return result;
}

Computation readComputation(Reader &reader, const json &object, const std::string &at) {
  Computation result;
  std::string operation = reader.string(object, "operation", at);
  if (operation == "rms_norm")
    result.operation = Computation::Operation::rmsNorm;
  else if (operation == "layer_norm")
    result.operation = Computation::Operation::layerNorm;
  else if (operation == "rotate_half")
    result.operation = Computation::Operation::rotateHalf;
  else
    reader.fail(at + ".operation", join("must be 'rms_norm', 'layer_norm' or 'rotate_half', found '", operation, "'"));
  bool isRotation = result.operation == Computation::Operation::rotateHalf;
  size_t next = 0;
  reader.each(object, "arguments", at, [&](const json &value, const std::string &inner) {
    int64_t offset = value.is_null() ? -1 : reader.integer(value, inner);
    if (offset > KernelResult::kMaxArgument || (offset >= 0 && offset % 8 != 0))
      reader.fail(inner, join("must be a multiple of 8 up to ", KernelResult::kMaxArgument, ", found ", offset));
    if (next < 4)
      result.arguments[next] = offset;
    ++next;
  });
  if (next != 4 || result.arguments[0] < 0 || result.arguments[3] < 0 || (isRotation && (result.arguments[1] < 0 || result.arguments[2] < 0)))
    reader.fail(at + ".arguments", "must be four, of which only parameters of norms may be null");
  result.columns = reader.integer(object, "columns", at);
  if (result.columns > INT32_MAX)
    reader.fail(at + ".columns", join("must be at most ", INT32_MAX, ", found ", result.columns));
  if (isRotation && result.columns % 2 != 0)
    reader.fail(at + ".columns", join("must be even, found ", result.columns));
  if (isRotation) {
    size_t axis = 0;
    bool seen[4] = {};
    reader.each(object, "order", at, [&](const json &value, const std::string &inner) {
      int64_t from = reader.integer(value, inner);
      if (axis >= 4 || from > 3 || seen[from])
        return reader.fail(inner, "must be a permutation of four axes");
      seen[from] = true;
      result.order[axis++] = from;
    });
    if (axis != 4)
      reader.fail(at + ".order", "must be a permutation of four axes");
  } else if (const json *epsilon = reader.member(object, "epsilon", at)) {
    if (!epsilon->is_number() || !(epsilon->get<double>() >= 0))
      reader.fail(at + ".epsilon", "must be a number that is not negative");
    else
      result.epsilon = epsilon->get<double>();
    if (object.contains("type"))
      result.type = reader.type(object, at)->dtype;
    if (result.type != LATHE_F32 && result.type != LATHE_F16 && result.type != LATHE_BF16)
      reader.fail(at + ".type", "must be 'f32', 'f16' or 'bf16'");
  }
  return result;
}

void readCode(Reader &reader, const json &object, const std::string &where, Program &program) {
  reader.each(object, "code", where, [&](const json &value, const std::string &at) {
    Code code;
    code.isa = reader.string(value, "isa", at);
    code.section = reader.string(value, "section", at);
    code.plan = static_cast<uint64_t>(reader.integer(value, "plan", at));
    code.run = static_cast<uint64_t>(reader.integer(value, "run", at));
    program.code.push_back(std::move(code));
  });
  // Programs are compared by them; each has a section of its own anyway.
  if (program.code.size() > lathe::artifact::kMaxSections)
    reader.fail(where + ".code", join("must not have more than ", lathe::artifact::kMaxSections, " elements"));
  reader.each(object, "kernels", where, [&](const json &value, const std::string &at) {
    Kernel kernel;
    kernel.name = reader.string(value, "name", at);
    kernel.kind = reader.string(value, "kind", at);
    reader.each(value, "nodes", at, [&](const json &node, const std::string &inner) {
      kernel.nodes.push_back(reader.string(node, inner));
    });
    if (value.is_object() && value.contains("result"))
      kernel.result = readResult(reader, value["result"], at + ".result");
    if (value.is_object() && value.contains("function")) {
      kernel.function = reader.string(value, "function", at);
      if (kernel.function.empty())
        reader.fail(at + ".function", "must not be empty");
    }
    if (value.is_object() && value.contains("computes"))
      kernel.computes = readComputation(reader, value["computes"], at + ".computes");
    program.kernels.push_back(std::move(kernel));
  });
  reader.each(object, "checks", where, [&](const json &value, const std::string &at) {
    program.checks.push_back({reader.string(value, "node", at), reader.string(value, "message", at)});
  });
  if (object.contains("caches"))
    readCaches(reader, object, where, program.caches);
}

void checkUnique(Reader &reader, const std::vector<Tensor> &tensors, const std::string &where) {
  std::unordered_set<std::string_view> seen;
  for (const Tensor &tensor : tensors)
    if (tensor.name.empty() || !seen.insert(tensor.name).second)
      reader.fail(where, join("must have distinct names that are not empty, found '", tensor.name, "' again"));
}

/// Finds, for every symbol, the first input dimension that is that symbol alone.
void locateSymbols(Reader &reader, const std::string &where, Program &program) {
  const std::string symbolsAt = where + ".symbols";
  std::vector<bool> found(program.symbols.size());
  std::unordered_map<std::string_view, size_t> inputs;
  for (size_t i = 0; i < program.inputs.size(); ++i)
    inputs.emplace(program.inputs[i].name, i);
  for (size_t s = 0; s < found.size(); ++s) {
    Symbol &symbol = program.symbols[s];
    if (symbol.computed) {
      found[s] = true;
      continue;
    }
    if (symbol.element < 0) {
      if (s != program.dimensionSymbols++)
        reader.fail(symbolsAt, "must have dimensions before elements and computed ones");
      continue;
    }
    program.dependsOnElements = true;
    if (auto it = inputs.find(symbol.inputName); it != inputs.end()) {
      const Tensor &input = program.inputs[it->second];
      int64_t count = 1;
      for (const Dimension &dimension : input.dims)
        count = dimension.value < 0 || dimension.value > 65536 || count > 65536 ? 0 : count * dimension.value;
      if (input.type->dtype != LATHE_I64 && input.type->dtype != LATHE_I32 && input.type->dtype != LATHE_BOOL)
        reader.fail(symbolsAt,
                    join("has '", symbol.name, "' from an input that is not of type i64, i32 or bool"));
      else if (symbol.element >= count)
        reader.fail(symbolsAt, join("has '", symbol.name, "', which is no element of its input"));
      symbol.input = it->second;
      found[s] = true;
    }
  }
  for (size_t i = 0; i < program.inputs.size(); ++i)
    for (size_t d = 0; d < program.inputs[i].dims.size(); ++d) {
      int symbol = program.inputs[i].dims[d].symbol;
      if (symbol < 0 || found[static_cast<size_t>(symbol)])
        continue;
      found[static_cast<size_t>(symbol)] = true;
      program.symbols[static_cast<size_t>(symbol)].input = i;
      program.symbols[static_cast<size_t>(symbol)].dimension = d;
    }
  for (size_t s = 0; s < found.size(); ++s)
    if (!found[s])
      reader.fail(symbolsAt, join("has '", program.symbols[s].name, "', which is the dimension of no input"));
}

/// The members that describe one program: those of the manifest itself for `main`.
Program readProgram(Reader &reader, const json &object, const std::string &where, std::string name) {
  Program program;
  program.name = std::move(name);
  if (object.is_object() && object.contains("device"))
    program.device = reader.string(object, "device", where);
  std::unordered_set<std::string> names;
  reader.each(object, "symbols", where, [&](const json &value, const std::string &at) {
    program.symbols.push_back(readSymbol(reader, value, at));
    if (!names.insert(program.symbols.back().name).second)
      reader.fail(at, "repeats a name");
  });
  // Each dimension is compared with each symbol.
  if (program.symbols.size() > 4096)
    reader.fail(where + ".symbols", "must not have more than 4096 elements");
  reader.each(object, "inputs", where, [&](const json &value, const std::string &at) {
    program.inputs.push_back(readTensor(reader, value, at, program.symbols));
  });
  reader.each(object, "outputs", where, [&](const json &value, const std::string &at) {
    program.outputs.push_back(readTensor(reader, value, at, program.symbols));
  });
  readCode(reader, object, where, program);
  checkUnique(reader, program.inputs, where + ".inputs");
  checkUnique(reader, program.outputs, where + ".outputs");
  locateSymbols(reader, where, program);
  return program;
}

/// The programs beside `main`, which artifacts need not have.
void readPrograms(Reader &reader, const json &root, Manifest &manifest) {
  if (!root.is_object() || !root.contains("programs"))
    return;
  reader.each(root, "programs", "manifest", [&](const json &value, const std::string &where) {
    Program program = readProgram(reader, value, where, reader.string(value, "name", where));
    if (program.name.empty())
      reader.fail(where, "must have a name");
    const Program *main = nullptr;
    for (const Program &other : manifest.programs) {
      if (other.device != program.device)
        continue;
      if (!main)
        main = &other;
      if (other.name == program.name)
        reader.fail(where, join("is called '", program.name, "', as another program is"));
    }
    if (reader.status.failed())
      return;
    // One instruction set is chosen for all of a device.
    for (const Code &code : main ? main->code : std::vector<Code>())
      if (std::none_of(program.code.begin(), program.code.end(), [&](const Code &own) { return own.isa == code.isa; }))
        reader.fail(where, join("has no code for instruction set '", code.isa, "', which 'main' has"));
    if (manifest.programs.size() >= lathe::artifact::kMaxPrograms)
      reader.fail("manifest.programs", join("must not have more than ", lathe::artifact::kMaxPrograms - 1, " elements"));
    manifest.programs.push_back(std::move(program));
  });
}

/// Files that travel with the model, which artifacts need not have.
void readDocuments(Reader &reader, const json &root, Manifest &manifest) {
  if (!root.is_object() || !root.contains("documents"))
    return;
  reader.each(root, "documents", "manifest", [&](const json &value, const std::string &where) {
    Document document;
    document.name = reader.string(value, "name", where);
    document.format = reader.string(value, "format", where);
    document.section = reader.string(value, "section", where);
    if (document.name.empty())
      reader.fail(where, "must have a name");
    for (const Document &other : manifest.documents)
      if (other.name == document.name)
        reader.fail(where, join("is called '", document.name, "', as another document is"));
    if (manifest.documents.size() >= lathe::artifact::kMaxDocuments)
      reader.fail("manifest.documents", join("must not have more than ", lathe::artifact::kMaxDocuments, " elements"));
    manifest.documents.push_back(std::move(document));
  });
}

/// Code for devices, which artifacts for the processor alone do not have.
DeviceCode readDeviceCode(Reader &reader, const json &value, const std::string &where) {
  DeviceCode code;
  code.device = reader.string(value, "device", where);
  code.section = reader.string(value, "section", where);
  std::string kind = reader.string(value, "kind", where);
  if (kind == "emulation")
    code.kind = DeviceCode::Kind::emulation;
  else if (kind == "cubin")
    code.kind = DeviceCode::Kind::cubin;
  else if (kind != "ptx")
    reader.fail(where + ".kind", join("has unknown value '", kind, "'"));
  if (code.kind != DeviceCode::Kind::emulation) {
    code.arch = reader.string(value, "arch", where);
    return code;
  }
  code.isa = reader.string(value, "isa", where);
  const json *kernels = reader.member(value, "kernels", where);
  auto *functions = kernels ? kernels->get_ptr<const json::object_t *>() : nullptr;
  if (kernels && !functions)
    reader.fail(where + ".kernels", "must be an object");
  for (const auto &function : functions ? *functions : json::object_t())
    code.kernels.emplace_back(function.first,
                              static_cast<uint64_t>(reader.integer(function.second, where + ".kernels." + function.first)));
  return code;
}

/// The devices that the artifact says it is for are those that it has programs and code for.
void readDevices(Reader &reader, const json &root, Manifest &manifest) {
  if (root.is_object() && root.contains("device_code"))
    reader.each(root, "device_code", "manifest", [&](const json &value, const std::string &where) {
      if (manifest.deviceCode.size() >= lathe::artifact::kMaxSections)
        reader.fail("manifest.device_code", join("must not have more than ", lathe::artifact::kMaxSections, " elements"));
      manifest.deviceCode.push_back(readDeviceCode(reader, value, where));
    });
  auto listed = [&](const std::string &device) {
    return std::find(manifest.devices.begin(), manifest.devices.end(), device) != manifest.devices.end();
  };
  for (const Program &program : manifest.programs)
    if (!listed(program.device))
      reader.fail("manifest.devices", join("must have '", program.device, "', which program '", program.name, "' is for"));
  for (const DeviceCode &code : manifest.deviceCode)
    if (!listed(code.device))
      reader.fail("manifest.devices", join("must have '", code.device, "', which section '", code.section, "' is for"));
}

/// Gives the place of what is called `name`; NOT_FOUND, with the names that there are, if there is none.
template <typename Named>
Status findNamed(const std::vector<Named> &list, const char *what, std::string_view name, size_t *index) {
  std::string names;
  for (size_t i = 0; i < list.size(); ++i) {
    if (list[i].name == name) {
      *index = i;
      return success();
    }
    names += (i ? ", '" : "'") + list[i].name + "'";
  }
  return failure(LATHE_NOT_FOUND, "the artifact has no ", what, " '", std::string(name),
                 "'; it has: ", names.empty() ? "none" : names);
}

} // namespace

Status Manifest::parse(std::string_view text, Manifest *manifest) {
  Reader reader;
  if (tooDeep(text))
    return failure(LATHE_INVALID_ARTIFACT, "invalid manifest: it is nested too deeply");
  json root = json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (root.is_discarded())
    return failure(LATHE_INVALID_ARTIFACT, "invalid manifest: it is not JSON");

  int64_t abi = reader.integer(root, "abi_version", "manifest");
  if (!reader.status.failed() && abi != LATHE_ABI_VERSION)
    return failure(LATHE_UNSUPPORTED_VERSION, "the artifact's code is for version ", abi,
                   " of the runtime interface, this runtime has version ", LATHE_ABI_VERSION,
                   "; compile the model again with a matching compiler");

  Manifest result;
  reader.each(root, "devices", "manifest", [&](const json &value, const std::string &where) {
    result.devices.push_back(reader.string(value, where));
  });
  if (result.devices.empty() || result.devices.front().empty())
    reader.fail("manifest.devices", "must have an element that is not empty");
  reader.each(root, "constants", "manifest", [&](const json &value, const std::string &where) {
    result.constants.push_back(readConstant(reader, value, where));
  });
  result.programs.push_back(readProgram(reader, root, "manifest", kMainProgram));
  readPrograms(reader, root, result);
  readDocuments(reader, root, result);
  readDevices(reader, root, result);
  if (reader.status.failed())
    return reader.status;

  *manifest = std::move(result);
  for (Program &program : manifest->programs)
    for (std::vector<Tensor> *tensors : {&program.inputs, &program.outputs})
      for (Tensor &tensor : *tensors)
        for (Dimension &dim : tensor.dims) {
          tensor.dimValues.push_back(dim.value);
          tensor.dimTexts.push_back(dim.text.c_str());
        }
  return success();
}

Status Manifest::select(std::string_view device) {
  std::vector<Program> chosen;
  for (Program &program : programs)
    if (program.device == device)
      chosen.push_back(std::move(program));
  programs = std::move(chosen);
  if (programs.empty() || programs.front().name != kMainProgram)
    return failure(LATHE_INVALID_ARTIFACT, "invalid manifest: manifest.devices has '", std::string(device),
                   "', whose first program must be '", kMainProgram, "', found ",
                   programs.empty() ? "none" : join("'", programs.front().name, "'"));
  return success();
}

Status Manifest::findProgram(std::string_view name, size_t *index) const {
  return findNamed(programs, "program", name, index);
}

Status Manifest::findDocument(std::string_view name, size_t *index) const {
  return findNamed(documents, "document", name, index);
}

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
  if (reader.status.failed())
    return constant;
  int64_t bytes = 0;
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

void readCaches(Reader &reader, const json &root, std::vector<Cache> &caches) {
  reader.each(root, "caches", "manifest", [&](const json &value, const std::string &where) {
    constexpr int64_t kMost = 1 << 24;
    Cache cache;
    cache.name = reader.string(value, "name", where);
    cache.type = dataType(reader.string(value, "type", where));
    cache.heads = reader.integer(value, "heads", where);
    cache.size = reader.integer(value, "size", where);
    cache.appended = reader.boolean(value, "appended", where);
    if (!cache.type || cache.type->dtype != LATHE_F32)
      reader.fail(where, "must be of type f32");
    if (cache.heads < 1 || cache.heads > kMost || cache.size < 1 || cache.size > kMost)
      reader.fail(where, join("must have from 1 to ", kMost, " heads and columns, found ", cache.heads, " and ", cache.size));
    caches.push_back(std::move(cache));
  });
}

void readCode(Reader &reader, const json &root, Manifest &manifest) {
  reader.each(root, "code", "manifest", [&](const json &value, const std::string &where) {
    Code code;
    code.isa = reader.string(value, "isa", where);
    code.section = reader.string(value, "section", where);
    code.plan = static_cast<uint64_t>(reader.integer(value, "plan", where));
    code.run = static_cast<uint64_t>(reader.integer(value, "run", where));
    manifest.code.push_back(std::move(code));
  });
  reader.each(root, "kernels", "manifest", [&](const json &value, const std::string &where) {
    Kernel kernel;
    kernel.name = reader.string(value, "name", where);
    kernel.kind = reader.string(value, "kind", where);
    reader.each(value, "nodes", where,
                [&](const json &node, const std::string &at) { kernel.nodes.push_back(reader.string(node, at)); });
    manifest.kernels.push_back(std::move(kernel));
  });
  reader.each(root, "checks", "manifest", [&](const json &value, const std::string &where) {
    manifest.checks.push_back({reader.string(value, "node", where), reader.string(value, "message", where)});
  });
  if (root.contains("caches"))
    readCaches(reader, root, manifest.caches);
}

void checkUnique(Reader &reader, const std::vector<Tensor> &tensors, const char *what) {
  std::unordered_set<std::string_view> seen;
  for (const Tensor &tensor : tensors)
    if (tensor.name.empty() || !seen.insert(tensor.name).second)
      reader.fail(what, join("must have distinct names that are not empty, found '", tensor.name, "' again"));
}

/// Finds, for every symbol, the first input dimension that is that symbol alone.
void locateSymbols(Reader &reader, Manifest &manifest) {
  std::vector<bool> found(manifest.symbols.size());
  std::unordered_map<std::string_view, size_t> inputs;
  for (size_t i = 0; i < manifest.inputs.size(); ++i)
    inputs.emplace(manifest.inputs[i].name, i);
  for (size_t s = 0; s < found.size(); ++s) {
    Symbol &symbol = manifest.symbols[s];
    if (symbol.computed) {
      found[s] = true;
      continue;
    }
    if (symbol.element < 0) {
      if (s != manifest.dimensionSymbols++)
        reader.fail("manifest.symbols", "must have dimensions before elements and computed ones");
      continue;
    }
    manifest.dependsOnElements = true;
    if (auto it = inputs.find(symbol.inputName); it != inputs.end()) {
      const Tensor &input = manifest.inputs[it->second];
      int64_t count = 1;
      for (const Dimension &dimension : input.dims)
        count = dimension.value < 0 || dimension.value > 65536 || count > 65536 ? 0 : count * dimension.value;
      if (input.type->dtype != LATHE_I64 && input.type->dtype != LATHE_I32 && input.type->dtype != LATHE_BOOL)
        reader.fail("manifest.symbols",
                    join("has '", symbol.name, "' from an input that is not of type i64, i32 or bool"));
      else if (symbol.element >= count)
        reader.fail("manifest.symbols", join("has '", symbol.name, "', which is no element of its input"));
      symbol.input = it->second;
      found[s] = true;
    }
  }
  for (size_t i = 0; i < manifest.inputs.size(); ++i)
    for (size_t d = 0; d < manifest.inputs[i].dims.size(); ++d) {
      int symbol = manifest.inputs[i].dims[d].symbol;
      if (symbol < 0 || found[static_cast<size_t>(symbol)])
        continue;
      found[static_cast<size_t>(symbol)] = true;
      manifest.symbols[static_cast<size_t>(symbol)].input = i;
      manifest.symbols[static_cast<size_t>(symbol)].dimension = d;
    }
  for (size_t s = 0; s < found.size(); ++s)
    if (!found[s])
      reader.fail("manifest.symbols", join("has '", manifest.symbols[s].name, "', which is the dimension of no input"));
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
  std::unordered_set<std::string> names;
  reader.each(root, "symbols", "manifest", [&](const json &value, const std::string &where) {
    result.symbols.push_back(readSymbol(reader, value, where));
    if (!names.insert(result.symbols.back().name).second)
      reader.fail(where, "repeats a name");
  });
  // Each dimension is compared with each symbol.
  if (result.symbols.size() > 4096)
    reader.fail("manifest.symbols", "must not have more than 4096 elements");
  reader.each(root, "inputs", "manifest", [&](const json &value, const std::string &where) {
    result.inputs.push_back(readTensor(reader, value, where, result.symbols));
  });
  reader.each(root, "outputs", "manifest", [&](const json &value, const std::string &where) {
    result.outputs.push_back(readTensor(reader, value, where, result.symbols));
  });
  reader.each(root, "constants", "manifest", [&](const json &value, const std::string &where) {
    result.constants.push_back(readConstant(reader, value, where));
  });
  readCode(reader, root, result);
  checkUnique(reader, result.inputs, "manifest.inputs");
  checkUnique(reader, result.outputs, "manifest.outputs");
  locateSymbols(reader, result);
  if (reader.status.failed())
    return reader.status;

  *manifest = std::move(result);
  for (std::vector<Tensor> *tensors : {&manifest->inputs, &manifest->outputs})
    for (Tensor &tensor : *tensors)
      for (Dimension &dim : tensor.dims) {
        tensor.dimValues.push_back(dim.value);
        tensor.dimTexts.push_back(dim.text.c_str());
      }
  return success();
}

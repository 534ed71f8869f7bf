//===- Checkpoint.cpp - The weights of a model in safetensors -------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/safetensors/Checkpoint.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include <nlohmann/json.hpp>
#include <set>

using llvm::StringRef;
using nlohmann::json;
namespace fs = llvm::sys::fs;

namespace lathe::safetensors {

static constexpr llvm::StringLiteral kSuffix = ".safetensors", kIndexSuffix = ".safetensors.index.json";

/// The files that an index names: they lie beside it.
std::string Checkpoint::readIndex(const std::string &file, std::vector<std::string> &names,
                                  std::map<std::string, std::string> &index) const {
  std::string prefix = "'" + llvm::sys::path::filename(file).str() + "': ";
  auto text = llvm::MemoryBuffer::getFile(file);
  if (!text)
    return prefix + "cannot be read: " + text.getError().message();
  json document =
      json::parse((*text)->getBuffer().begin(), (*text)->getBuffer().end(), nullptr, /*allow_exceptions=*/false);
  if (document.is_discarded() || !document.is_object() || !document.contains("weight_map") ||
      !document["weight_map"].is_object())
    return prefix + "expects a JSON object with an object 'weight_map'";
  std::set<std::string> known;
  for (const auto &[tensor, place] : document["weight_map"].items()) {
    const auto *name = place.get_ptr<const std::string *>();
    if (!name || name->empty() || *name == "." || *name == ".." ||
        StringRef(*name).find_first_of(StringRef("/\\\0", 3)) != StringRef::npos)
      return prefix + "expects the file of tensor '" + tensor + "' to be a name in the same folder, got " +
             place.dump();
    index[tensor] = *name;
    known.insert(*name);
  }
  names.assign(known.begin(), known.end());
  return "";
}

std::string Checkpoint::findFiles(std::string &folder, std::vector<std::string> &names,
                                  std::map<std::string, std::string> &index) const {
  if (!fs::is_directory(path)) {
    llvm::SmallString<256> whole(path);
    if (std::error_code error = fs::make_absolute(whole))
      return error.message();
    folder = llvm::sys::path::parent_path(whole).str();
    if (StringRef(path).ends_with(kIndexSuffix))
      return readIndex(path, names, index);
    names = {llvm::sys::path::filename(path).str()};
    return "";
  }
  folder = path;
  std::vector<std::string> indices;
  std::error_code error;
  for (fs::directory_iterator entry(path, error), end; entry != end && !error; entry.increment(error)) {
    std::string name = llvm::sys::path::filename(entry->path()).str();
    if (StringRef(name).ends_with(kIndexSuffix))
      indices.push_back(entry->path());
    else if (StringRef(name).ends_with(kSuffix))
      names.push_back(name);
  }
  if (error)
    return "cannot be read: " + error.message();
  if (indices.size() > 1)
    return "expects one index (*" + kIndexSuffix.str() + "), found " + std::to_string(indices.size()) +
           ": name one of them";
  if (indices.size() == 1)
    return readIndex(indices.front(), names, index);
  llvm::sort(names);
  return names.empty() ? "expects a file *" + kSuffix.str() + " in the folder, found none" : "";
}

std::string Checkpoint::openFile(const std::string &folder, const std::string &name) {
  llvm::SmallString<256> whole(folder);
  llvm::sys::path::append(whole, name);
  fs::file_status status;
  if (std::error_code error = fs::status(whole, status))
    return "'" + name + "' cannot be read: " + error.message();
  if (!fs::is_regular_file(status))
    return "expects '" + name + "' to be a regular file";
  auto buffer = llvm::MemoryBuffer::getFile(whole, /*IsText=*/false, /*RequiresNullTerminator=*/false);
  if (!buffer)
    return "'" + name + "' cannot be read: " + buffer.getError().message();
  Tensors own;
  if (std::string problem = readTensors((*buffer)->getBuffer(), own); !problem.empty())
    return "'" + name + "' is not a safetensors file: " + problem;
  for (auto &[tensor, entry] : own) {
    entry.file = static_cast<uint32_t>(files.size());
    auto [it, isNew] = tensors.try_emplace(tensor, std::move(entry));
    if (!isNew)
      return "tensor '" + tensor + "' is in '" + llvm::sys::path::filename(files[it->second.file].path).str() +
             "' and in '" + name + "'";
  }
  files.push_back({whole.str().str(), std::move(*buffer)});
  return "";
}

namespace {
/// What the tensors of a quantized layer are called.
struct Names {
  StringRef codes, zeros, scales, groupIndex, shape; ///< empty for none
};
} // namespace

static const Names kNames[] = {{"qweight", "qzeros", "scales", "g_idx", ""},
                               {"weight_packed", "weight_zero_point", "weight_scale", "weight_g_idx", "weight_shape"}};

/// The names of a layer of which this is the codes; `layer` becomes the layer's.
static const Names *namesOf(StringRef &layer) {
  for (const Names &names : kNames)
    if (layer.ends_with(names.codes) && layer.drop_back(names.codes.size()).ends_with(".")) {
      layer = layer.drop_back(names.codes.size() + 1);
      return &names;
    }
  return nullptr;
}

/// Puts the tensors of quantized layers together; the others are parameters as they are.
std::string Checkpoint::findLayers(const QuantizationConfig &config) {
  std::set<std::string> taken;
  for (const auto &[name, tensor] : tensors) {
    StringRef layer(name);
    const Names *names = namesOf(layer);
    if (!names)
      continue;
    auto part = [&](StringRef suffix) {
      auto it = suffix.empty() ? tensors.end() : tensors.find((layer + "." + suffix).str());
      if (it == tensors.end())
        return PackedWeight::Part();
      taken.insert(it->first);
      return PackedWeight::Part{&it->second, bytes(it->second)};
    };
    PackedWeight::Parts parts{part(names->codes), part(names->zeros), part(names->scales), part(names->groupIndex),
                              part(names->shape)};
    StringRef missing = !parts.scales.tensor                           ? names->scales
                        : !names->shape.empty() && !parts.shape.tensor ? names->shape
                        : names->shape.empty() && !parts.zeros.tensor  ? names->zeros
                                                                       : StringRef();
    if (!missing.empty())
      return "tensor '" + name + "' has no '" + (layer + "." + missing).str() + "' beside it";
    if (tensors.count((layer + ".weight").str()) || byName.count((layer + ".weight").str()))
      return "tensor '" + name + "' stands for a weight that is there too, '" + (layer + ".weight").str() + "'";
    PackedWeight &packed = layers[layer.str()];
    if (std::string problem = PackedWeight::make(parts, config, packed); !problem.empty())
      return "layer '" + layer.str() + "': " + problem;
    byName[(layer + ".weight").str()] = {nullptr, &packed, name};
  }
  for (const auto &[name, tensor] : tensors) {
    if (taken.count(name))
      continue;
    for (const Names &names : kNames)
      for (StringRef part : {names.zeros, names.groupIndex})
        if (StringRef layer(name); layer.consume_back(part) && layer.consume_back("."))
          return "tensor '" + name + "' has no '" + (layer + "." + names.codes).str() + "' beside it";
    byName[name] = {&tensor, nullptr, name};
  }
  return "";
}

std::string Checkpoint::open(const std::string &given) {
  path = given;
  std::string folder, problem;
  std::vector<std::string> names;
  std::map<std::string, std::string> index;
  problem = findFiles(folder, names, index);
  for (const std::string &name : names)
    if (problem.empty())
      problem = openFile(folder, name);
  for (const auto &[tensor, name] : index)
    if (problem.empty() && !tensors.count(tensor))
      problem = "the index says that tensor '" + tensor + "' is in '" + name + "', which does not have it";
  QuantizationConfig config;
  if (problem.empty() && llvm::any_of(tensors, [](const auto &tensor) {
        StringRef name(tensor.first);
        return namesOf(name) != nullptr;
      }))
    problem = readQuantizationConfig(folder, config);
  return problem.empty() ? findLayers(config) : problem;
}

} // namespace lathe::safetensors

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

/// Puts the tensors of quantized layers together; the others are parameters as they are.
std::string Checkpoint::findLayers(const std::string &folder) {
  std::set<std::string> taken;
  std::optional<QuantizationConfig> config;
  auto bytesOf = [this](const Tensor &tensor) { return bytes(tensor); };
  for (const auto &[name, tensor] : tensors) {
    std::optional<LayerTensors> found = findLayerTensors(tensors, name, bytesOf);
    if (!found)
      continue;
    if (!config)
      if (std::string problem = readQuantizationConfig(folder, config.emplace()); !problem.empty())
        return problem;
    if (!found->missing.empty())
      return "tensor '" + name + "' has no '" + found->missing + "' beside it";
    taken.insert(found->taken.begin(), found->taken.end());
    std::string weight = found->layer + ".weight";
    if ((weight != name && tensors.count(weight)) || byName.count(weight))
      return "tensor '" + name + "' stands for a weight that is there too, '" + weight + "'";
    PackedWeight &packed = layers[found->layer];
    if (std::string problem = PackedWeight::make(found->parts, *config, packed); !problem.empty())
      return "layer '" + found->layer + "': " + problem;
    byName[weight] = {nullptr, &packed, name};
  }
  for (const auto &[name, tensor] : tensors) {
    if (taken.count(name))
      continue;
    if (std::string codes = codesBeside(name); !codes.empty())
      return "tensor '" + name + "' has no '" + codes + "' beside it";
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
  return problem.empty() ? findLayers(folder) : problem;
}

} // namespace lathe::safetensors

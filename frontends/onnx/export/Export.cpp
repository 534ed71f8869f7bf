//===- Export.cpp - From the lathe dialect to an ONNX file ----------------===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "frontends/onnx/export/Emitter.h"
#include "frontends/onnx/export/StreamFile.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;

namespace lathe {
namespace {

/// A protobuf message can't be as long as this.
constexpr uint64_t kLargestModel = uint64_t(2000) << 20;

void addEntry(onnx::TensorProto &tensor, const char *key, const std::string &value) {
  onnx::StringStringEntryProto &entry = *tensor.add_external_data();
  entry.set_key(key);
  entry.set_value(value);
}

/// Where each constant begins in the file beside the model, and the file's size.
uint64_t placeOutside(const std::vector<frontend::Initializer> &initializers, const std::string &fileName,
                      std::vector<std::pair<uint64_t, const frontend::Initializer *>> &places) {
  constexpr uint64_t kSmallest = 1024, kLarge = 1 << 20, kPage = 4096, kLine = 64;
  uint64_t end = 0;
  for (const frontend::Initializer &initializer : initializers) {
    if (initializer.size < kSmallest)
      continue;
    // So that large ones can be mapped.
    end = llvm::alignTo(end, initializer.size >= kLarge ? kPage : kLine);
    places.emplace_back(end, &initializer);
    initializer.tensor->set_data_location(onnx::TensorProto::EXTERNAL);
    addEntry(*initializer.tensor, "location", fileName);
    addEntry(*initializer.tensor, "offset", std::to_string(end));
    addEntry(*initializer.tensor, "length", std::to_string(initializer.size));
    end += initializer.size;
  }
  return end;
}

void writePlaces(llvm::raw_ostream &stream, ArrayRef<std::pair<uint64_t, const frontend::Initializer *>> places) {
  uint64_t at = 0;
  for (auto [place, initializer] : places) {
    stream.write_zeros(static_cast<unsigned>(place - at));
    initializer->write(stream);
    at = place + initializer->size;
  }
}

void setData(const frontend::Initializer &initializer) {
  std::string bytes;
  llvm::raw_string_ostream stream(bytes);
  initializer.write(stream);
  stream.flush();
  initializer.tensor->set_raw_data(std::move(bytes));
}

} // namespace

LogicalResult exportOnnx(ModuleOp module, onnx::ModelProto &model, const ExportOptions &options, std::string &error) {
  frontend::Emitter emitter(module, model, options);
  if (failed(emitter.run())) {
    error = emitter.getError();
    return failure();
  }
  for (const frontend::Initializer &initializer : emitter.getInitializers())
    setData(initializer);
  return success();
}

LogicalResult exportOnnx(ModuleOp module, const std::string &path, const ExportOptions &options, std::string &error,
                         bool *isUnwritable) {
  onnx::ModelProto model;
  frontend::Emitter emitter(module, model, options);
  if (failed(emitter.run())) {
    error = emitter.getError();
    return failure();
  }
  uint64_t total = 0;
  for (const frontend::Initializer &initializer : emitter.getInitializers())
    total += initializer.size;
  runtime::NewFile file(path), data(path + ".data");
  auto check = [&](const std::string &problem, const runtime::NewFile &own) {
    if (!problem.empty())
      error = "can't write '" + own.path() + "': " + problem;
    if (!problem.empty() && isUnwritable)
      *isUnwritable = true;
    return problem.empty();
  };
  std::vector<std::pair<uint64_t, const frontend::Initializer *>> places;
  if (total > std::min(options.embedded, kLargestModel)) {
    placeOutside(emitter.getInitializers(), llvm::sys::path::filename(path).str() + ".data", places);
    if (!check(writeStream(data, [&](llvm::raw_ostream &stream) { writePlaces(stream, places); }), data))
      return failure();
  }
  for (const frontend::Initializer &initializer : emitter.getInitializers())
    if (initializer.tensor->data_location() != onnx::TensorProto::EXTERNAL)
      setData(initializer);
  if (model.ByteSizeLong() > kLargestModel) {
    error = "expects a model of at most 2000 MiB without its large constants, got " + std::to_string(model.ByteSizeLong() >> 20) + " MiB";
    return failure();
  }
  std::string text;
  if (!model.SerializeToString(&text)) {
    error = "can't write '" + path + "': the model can't be put into the format";
    return failure();
  }
  if (!check(writeStream(file, [&](llvm::raw_ostream &stream) { stream << text; }), file))
    return failure();
  // The model that was there before must not be seen with other data.
  if (!places.empty()) {
    llvm::sys::fs::remove(file.target());
    if (!check(data.finish(), data))
      return failure();
  }
  return success(check(file.finish(), file));
}

} // namespace lathe

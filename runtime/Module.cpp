//===- Module.cpp - A loaded artifact ---------------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/Module.h"

#include "runtime/BackendLibrary.h"

using namespace lathe::runtime;

Status Module::load(const char *path, const Artifact::Options &options, std::shared_ptr<Module> *module) {
  auto result = std::make_shared<Module>();
  result->path_ = path;
  result->allowsTf32_ = options.allowsTf32;
  if (Status status = Artifact::open(path, options, &result->artifact_); status.failed())
    return status;
  const Artifact &artifact = result->artifact_;
  result->memoryBudget_ = options.memoryBudget;
  for (size_t i = 0; i < artifact.manifest().constants.size(); ++i)
    result->constants_.push_back(artifact.constant(i));
  if (!artifact.runs()) {
    *module = std::move(result);
    return success();
  }
  if (Status status = openBackend(artifact.device(), &result->backend_); status.failed())
    return failure(status.code(), "'", path, "': device '", artifact.device(),
                   "' does not work here: ", status.message());
  if (Status status = result->backend_->createModule(*result, &result->backendModule_); status.failed())
    return failure(status.code(), "'", path, "': ", status.message());
  *module = std::move(result);
  return success();
}

bool Module::chargePrivate(uint64_t bytes) {
  uint64_t total = privateBytes_.fetch_add(bytes) + bytes;
  if (memoryBudget_ == 0 || total + artifact_.fileSize() <= memoryBudget_)
    return true;
  privateBytes_.fetch_sub(bytes);
  return false;
}

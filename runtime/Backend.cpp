//===- Backend.cpp - Registry of backends -----------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "runtime/Backend.h"

#include <mutex>

using namespace lathe::runtime;

namespace {
struct Registry {
  std::mutex mutex;
  std::vector<Backend *> backends;
};

Registry &registry() {
  // Never destroyed: sessions may outlive static objects.
  static Registry *instance = new Registry;
  return *instance;
}
} // namespace

void lathe::runtime::registerBackend(Backend &backend) {
  Registry &all = registry();
  std::lock_guard<std::mutex> lock(all.mutex);
  all.backends.push_back(&backend);
}

Backend *lathe::runtime::findBackend(std::string_view name) {
  Registry &all = registry();
  std::lock_guard<std::mutex> lock(all.mutex);
  for (Backend *backend : all.backends)
    if (name == backend->name())
      return backend;
  return nullptr;
}

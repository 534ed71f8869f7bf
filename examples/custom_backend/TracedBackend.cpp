//===- TracedBackend.cpp - The processor, telling what it is asked for ----===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// The device `traced`: it runs programs for the processor by the backend that the runtime has for it, and writes a line
// to standard error for each product, lookup and attention. A backend for other hardware has the same three classes
// (runtime/Backend.h), and another way to do what is asked.
//
//     cmake -B build -DCMAKE_PREFIX_PATH=/where/lathe/is && cmake --build build
//     LATHE_BACKEND_PATH=$PWD/build lathe run model.lathe --inputs in.npz --device traced
//
//===----------------------------------------------------------------------===//
#include "runtime/BackendLibrary.h"

#include <cinttypes>
#include <cstdio>

using namespace lathe::runtime;

namespace {

/// A session of the processor's backend behind ours. Pieces of products come from several threads, the calls below from
/// one.
class TracedSession final : public BackendSession {
public:
  explicit TracedSession(std::unique_ptr<BackendSession> inner) : inner_(std::move(inner)) {}

  DeviceQueue *device() override { return inner_->device(); }
  void beginRun() override {
    calls_ = 0;
    inner_->beginRun();
  }
  void endRun() override {
    inner_->endRun();
    fprintf(stderr, "traced: %" PRId64 " calls\n", calls_);
  }
  void matmul(const lathe_matmul_call &call) override {
    ++calls_;
    fprintf(stderr, "traced: matmul [%" PRId64 ", %" PRId64 "] x [%" PRId64 ", %" PRId64 "]\n", call.m, call.k, call.k,
            call.n);
    inner_->matmul(call);
  }
  void prepareMatmul(const lathe_matmul_call &call) override { inner_->prepareMatmul(call); }
  int64_t dequantizeRows(const lathe_rows_call &call) override {
    ++calls_;
    fprintf(stderr, "traced: dequantize_rows\n");
    return inner_->dequantizeRows(call);
  }
  void attention(const lathe_attention_call &call, const CacheRows *keys, const CacheRows *values) override {
    ++calls_;
    fprintf(stderr, "traced: attention\n");
    inner_->attention(call, keys, values);
  }
  void prepareAttention(const lathe_attention_call &call) override { inner_->prepareAttention(call); }

private:
  std::unique_ptr<BackendSession> inner_;
  int64_t calls_ = 0;
};

class TracedModule final : public BackendModule {
public:
  explicit TracedModule(std::unique_ptr<BackendModule> inner) : inner_(std::move(inner)) {}

  const void *const *constants() const override { return inner_->constants(); }
  Status createSession(SessionServices &services, std::unique_ptr<BackendSession> *session) override {
    std::unique_ptr<BackendSession> inner;
    if (Status status = inner_->createSession(services, &inner); status.failed())
      return status;
    *session = std::make_unique<TracedSession>(std::move(inner));
    return success();
  }

private:
  std::unique_ptr<BackendModule> inner_;
};

class TracedBackend final : public Backend {
public:
  explicit TracedBackend(Backend &inner) : inner_(inner) {}

  const char *name() const override { return "traced"; }
  const char *programs() const override { return inner_.programs(); } // artifacts that were compiled for the processor
  Status available() override { return inner_.available(); }
  Status createModule(ModuleServices &services, std::unique_ptr<BackendModule> *module) override {
    std::unique_ptr<BackendModule> inner;
    if (Status status = inner_.createModule(services, &inner); status.failed())
      return status;
    *module = std::make_unique<TracedModule>(std::move(inner));
    return success();
  }
  void (*threadStart() const)() override { return inner_.threadStart(); }

private:
  Backend &inner_;
};

Status openTraced(BackendHost &host, std::vector<Backend *> &backends) {
  Backend *processor = nullptr;
  if (Status status = host.find("cpu", &processor); status.failed())
    return status;
  backends = {new TracedBackend(*processor)}; // never destroyed: modules may outlive static objects
  return success();
}

} // namespace

const lathe_backend_library *lathe_backend_v1() {
  static const lathe_backend_library library = {kBackendBuild, openTraced};
  return &library;
}

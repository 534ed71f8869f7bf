//===- AttentionServices.h - Attention without an artifact ------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_TEST_UNIT_RUNTIME_ATTENTIONSERVICES_H
#define LATHE_TEST_UNIT_RUNTIME_ATTENTIONSERVICES_H

#include "backends/cpu/runtime/CpuBackend.h"
#include "runtime/Backend.h"

#include <gtest/gtest.h>
#include <memory>

namespace lathe::test {

/// A module without constants, and a session on it, without an artifact.
class AttentionServices final : public runtime::ModuleServices, public runtime::SessionServices {
public:
  AttentionServices(int threads, const char *isa) : isa_(isa) {
    EXPECT_FALSE(pool_.start(threads, cpu::cpuBackend().threadStart()).failed());
    EXPECT_FALSE(cpu::cpuBackend().createModule(*this, &module_).failed());
    EXPECT_FALSE(module_->createSession(*this, &session_).failed());
  }

  runtime::Status attention(const lathe_attention_call &call, const runtime::CacheRows *keys = nullptr,
                            const runtime::CacheRows *values = nullptr) {
    failure_ = {};
    session_->beginRun();
    session_->attention(call, keys, values);
    session_->endRun();
    return failure_;
  }

  const runtime::Manifest &manifest() const override { return manifest_; }
  const void *constant(size_t) const override { return nullptr; }
  std::string_view isa() const override { return isa_; }
  bool chargePrivate(uint64_t) override { return true; }
  const runtime::Program &program() const override { return program_; }
  runtime::ThreadPool &pool() override { return pool_; }
  void fail(runtime::Status status) override { failure_ = std::move(status); }
  bool charge(int64_t bytes) override { return (charged_ += bytes) <= budget; }

  int64_t budget = INT64_MAX; ///< bytes that it may take in all

private:
  const char *isa_;
  int64_t charged_ = 0;
  runtime::ThreadPool pool_;
  runtime::Manifest manifest_;
  runtime::Program program_;
  runtime::Status failure_;
  std::unique_ptr<runtime::BackendModule> module_;
  std::unique_ptr<runtime::BackendSession> session_;
};

} // namespace lathe::test

#endif // LATHE_TEST_UNIT_RUNTIME_ATTENTIONSERVICES_H

//===- CpuBackend.cpp - The device 'cpu' ------------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cpu/runtime/CpuBackend.h"

#include "backends/cpu/runtime/Attention.h"
#include "backends/cpu/runtime/EmptyMatmul.h"
#include "backends/cpu/runtime/GemmPlan.h"
#include "backends/cpu/runtime/MatmulPlan.h"
#include "backends/cpu/runtime/QuantPlan.h"
#include "backends/cpu/runtime/QuantRows.h"
#include "backends/cpu/runtime/SparsePlan.h"
#include "backends/cpu/runtime/TilePlan.h"

#include <unordered_map>

using namespace lathe;
using namespace lathe::cpu;
using runtime::CacheRows;
using runtime::failure;
using runtime::Status;
using runtime::success;

namespace {

/// oneDNN writes the code of its plain matrix products, some megabytes for all shapes together, when the first of them runs.
void makeGemmKernels() {
  constexpr int kSize = 32;
  static const bool done = [] {
    std::vector<float> a(kSize * kSize), b(kSize * kSize), c(kSize * kSize);
    int threads = setOpenmpThreads(1);
    dnnl_sgemm('N', 'N', kSize, kSize, kSize, 1, a.data(), kSize, b.data(), kSize, 0, c.data(), kSize);
    setOpenmpThreads(threads);
    return true;
  }();
  (void)done;
}

/// Caches that the sessions of a module share.
class CpuModule final : public runtime::BackendModule {
public:
  explicit CpuModule(runtime::ModuleServices &services) : services_(services), weights_(services) {}
  Status createSession(runtime::SessionServices &services, std::unique_ptr<runtime::BackendSession> *session) override;

  runtime::ModuleServices &services() { return services_; }
  PrimitiveCache &primitives() { return primitives_; }
  WeightStore &weights() { return weights_; }

private:
  runtime::ModuleServices &services_;
  PrimitiveCache primitives_;
  WeightStore weights_;
};

class CpuSession final : public runtime::BackendSession {
public:
  CpuSession(CpuModule &module, runtime::SessionServices &services) : module_(module), services_(services) {}

  Status start() {
    for (int i = 0; i < services_.pool().threads(); ++i) {
      dnnl_stream_t stream = nullptr;
      if (dnnl_stream_create(&stream, engine(), dnnl_stream_default_flags) != dnnl_success)
        return failure(LATHE_OUT_OF_MEMORY, "oneDNN cannot create a stream");
      streams_.emplace_back(stream);
    }
    return success();
  }

  // We cut the work ourselves and call oneDNN from each of our threads, so inside of it there is one thread.
  void beginRun() override { callerThreads_ = setOpenmpThreads(1); }
  void endRun() override { setOpenmpThreads(callerThreads_); }

  void matmul(const lathe_matmul_call &call) override { report(call.kernel, execute(call)); }
  void prepareMatmul(const lathe_matmul_call &call) override {
    Plan *plan = nullptr;
    report(call.kernel, findWork(call, &plan));
    bool isMatrix = call.m > 1 && call.n > 1 && call.k > 1; // for vectors oneDNN has other code
    if (plan && isMatrix && PlanKey(call).weight < 0)
      makeGemmKernels();
  }

  int64_t dequantizeRows(const lathe_rows_call &call) override {
    int64_t bad = 0;
    report(call.kernel, cpu::dequantizeRows(call, module_.weights(), services_.pool(), &bad));
    return bad;
  }

  void attention(const lathe_attention_call &call, const CacheRows *keys, const CacheRows *values) override {
    report(call.kernel, execute(call, keys, values));
  }
  void prepareAttention(const lathe_attention_call &call) override {
    Status status = verifyAttention(call);
    if (status.failed())
      return report(call.kernel, std::move(status));
    AttentionPlan plan(call, services_.pool().threads());
    plan.useBytes(byteAttention(module_.services().isa()));
    report(call.kernel, reserve(plan));
  }

private:
  /// Plans of a session; models with more distinct shapes than this pay for planning again.
  static constexpr size_t kMaxPlans = 1024;

  struct CachedPlan {
    std::unique_ptr<Plan> plan;
    uint64_t used = 0;
  };

  void report(int64_t kernel, Status status);
  Status execute(const lathe_matmul_call &call);
  Status execute(const lathe_attention_call &call, const CacheRows *keys, const CacheRows *values);
  Status findWork(const lathe_matmul_call &call, Plan **plan);
  Status findPlan(const PlanKey &key, Plan **plan);
  Status createPlan(const PlanKey &key, std::unique_ptr<Plan> *plan);
  Status reserveScratch(size_t bytes);
  Status reserveParts(size_t bytes);
  Status reserve(const AttentionPlan &plan);
  void dropOldest();

  CpuModule &module_;
  runtime::SessionServices &services_;
  std::vector<Dnnl<dnnl_stream_t>> streams_;
  std::unordered_map<PlanKey, CachedPlan, HashBytes<PlanKey>> plans_;
  uint64_t clock_ = 0;
  runtime::Buffer scratch_;
  size_t threadScratch_ = 0;
  runtime::Buffer parts_; ///< of attentions; what pieces of a product share
  size_t partBytes_ = 0;
  const Plan *preparedBy_ = nullptr; ///< whose preparations are in `parts_`, if any's are...
  const void *preparedFor_ = nullptr; ///< ...and the left side that they are of
  int callerThreads_ = 1;
};

Status CpuModule::createSession(runtime::SessionServices &services, std::unique_ptr<runtime::BackendSession> *session) {
  auto result = std::make_unique<CpuSession>(*this, services);
  if (Status status = result->start(); status.failed())
    return status;
  *session = std::move(result);
  return success();
}

void CpuSession::report(int64_t kernel, Status status) {
  if (!status.failed())
    return;
  const auto &kernels = services_.program().kernels;
  bool known = kernel >= 0 && static_cast<size_t>(kernel) < kernels.size();
  services_.fail(failure(status.code(), "kernel '",
                         known ? kernels[static_cast<size_t>(kernel)].name : std::to_string(kernel),
                         "': ", status.message()));
}

void CpuSession::dropOldest() {
  auto oldest = plans_.begin();
  for (auto it = plans_.begin(); it != plans_.end(); ++it)
    if (it->second.used < oldest->second.used)
      oldest = it;
  if (oldest->second.plan.get() == preparedBy_)
    preparedBy_ = nullptr;
  plans_.erase(oldest);
}

Status CpuSession::createPlan(const PlanKey &key, std::unique_ptr<Plan> *plan) {
  int threads = services_.pool().threads();
  std::string_view isa = module_.services().isa();
  WeightStore &weights = module_.weights();
  const runtime::Constant *constant = key.weight >= 0 ? weights.quantized(key.weight) : nullptr;
  if (key.aQuantization != LATHE_QUANTIZE_NONE && !constant)
    return failure(LATHE_INTERNAL, "a product of integers needs a quantized weight");
  if ((key.aBytes != LATHE_BYTES_NONE || key.outBytes != LATHE_BYTES_NONE) && !constant)
    return failure(LATHE_INTERNAL, "a product from or to bytes needs a quantized weight");
  if (const runtime::Constant *sparse = key.weight >= 0 ? weights.sparse(key.weight) : nullptr)
    return SparsePlan::create(key, threads, isa, *sparse->sparse, weights.stored(key.weight), plan);
  if (constant)
    return QuantPlan::create(key, threads, isa, *constant->quantized, weights.stored(key.weight), plan);
  if (key.weight < 0)
    return MatmulPlan::create(key, threads, module_.primitives(), plan);
  lathe_dtype type = LATHE_F32;
  if (Status status = weights.type(key.weight, &type); status.failed())
    return status;
  if (const TileKernels *tiles = tileKernels(isa); tiles && type == LATHE_BF16 && TilePlan::suits(key))
    return TilePlan::create(key, threads, *tiles, weights, plan);
  return GemmPlan::create(key, threads, isa, weights, plan);
}

Status CpuSession::findPlan(const PlanKey &key, Plan **plan) {
  auto it = plans_.find(key);
  if (it == plans_.end()) {
    std::unique_ptr<Plan> created;
    if (Status status = createPlan(key, &created); status.failed())
      return status;
    if (plans_.size() >= kMaxPlans)
      dropOldest();
    it = plans_.emplace(key, CachedPlan{std::move(created), 0}).first;
  }
  it->second.used = ++clock_;
  *plan = it->second.plan.get();
  return success();
}

Status CpuSession::reserveScratch(size_t bytes) {
  if (bytes <= threadScratch_)
    return success();
  auto threads = static_cast<size_t>(services_.pool().threads());
  auto held = static_cast<int64_t>(threadScratch_ * threads);
  if (bytes > SIZE_MAX / 2 / threads || !services_.charge(static_cast<int64_t>(bytes * threads) - held))
    return failure(LATHE_OVER_BUDGET, bytes, " bytes of scratch for each of ", threads,
                   " threads would pass the session's memory budget");
  bool ok = scratch_.reserve(bytes * threads);
  threadScratch_ = ok ? bytes : 0;
  if (!ok) {
    services_.charge(-static_cast<int64_t>(bytes * threads));
    return failure(LATHE_OUT_OF_MEMORY, "cannot allocate ", bytes * threads, " bytes of scratch");
  }
  return success();
}

/// The plan of a matmul, with memory for it; none where there is nothing to multiply.
Status CpuSession::findWork(const lathe_matmul_call &call, Plan **plan) {
  for (int64_t extent : {call.m, call.n, call.k, call.batch[0], call.batch[1], call.batch[2]})
    if (extent < 0)
      return failure(LATHE_INTERNAL, "negative extent in matmul");
  bool isEmpty = call.m == 0 || call.n == 0 || call.batch[0] == 0 || call.batch[1] == 0 || call.batch[2] == 0;
  if (!isEmpty && call.k == 0 && call.out_bytes != LATHE_BYTES_NONE)
    return failure(LATHE_INTERNAL, "a product to bytes sums over nothing");
  if (isEmpty || call.k == 0)
    return success();
  if (call.a_bytes != LATHE_BYTES_NONE && (call.a_quantization == LATHE_QUANTIZE_ROWS) != (call.a_scales != nullptr))
    return failure(LATHE_INTERNAL, "a matmul from bytes ", call.a_bytes, " of quantization ", call.a_quantization,
                   call.a_scales ? " with" : " without", " scales of rows");
  if (call.multiplier && PlanKey(call).weight < 0)
    return failure(LATHE_INTERNAL, "a multiplier of a matmul without a constant");
  if (Status status = findPlan(PlanKey(call), plan); status.failed())
    return status;
  Status status = reserveScratch((*plan)->scratchBytes());
  return status.failed() ? std::move(status) : reserveParts((*plan)->sharedBytes());
}

Status CpuSession::execute(const lathe_matmul_call &call) {
  Plan *plan = nullptr;
  if (Status status = findWork(call, &plan); status.failed())
    return status;
  if (!plan)
    return call.k == 0 ? emptyMatmul(call) : success();

  struct Loop {
    CpuSession *session;
    Plan *plan;
    const lathe_matmul_call *call;
    std::atomic<bool> ok{true};
  } loop{this, plan, &call};
  int64_t preparations = plan->preparations();
  bool isPrepared = call.a_again && preparedBy_ && preparedFor_ == call.a && !plan->preparation().empty() &&
                    plan->preparation() == preparedBy_->preparation();
  if (preparations > 0 && !isPrepared) {
    preparedBy_ = plan;
    preparedFor_ = call.a;
    services_.pool().parallelFor(
        preparations, 1,
        [](void *context, int64_t begin, int64_t end, int) {
          auto *loop = static_cast<Loop *>(context);
          for (int64_t i = begin; i < end; ++i)
            loop->plan->prepare(*loop->call, i, loop->session->parts_.data());
        },
        &loop);
  }
  int64_t pieces = plan->pieces();
  services_.pool().parallelFor(
      pieces, plan->parallel() ? 1 : pieces,
      [](void *context, int64_t begin, int64_t end, int thread) {
        auto *loop = static_cast<Loop *>(context);
        auto index = static_cast<size_t>(thread);
        unsigned char *scratch = loop->session->scratch_.data() + index * loop->session->threadScratch_;
        // Threads take chunks one after another, as long as they are equally fast.
        int64_t other = end + (loop->session->services_.pool().threads() - 1) * (end - begin);
        for (int64_t piece = begin; piece < end; ++piece)
          if (!loop->plan->execute(*loop->call, piece, piece + 1 < end ? piece + 1 : other, thread, loop->session->streams_[index].get(), scratch,
                                   loop->session->parts_.data()))
            loop->ok.store(false, std::memory_order_relaxed);
      },
      &loop);
  return loop.ok ? success() : failure(LATHE_INTERNAL, "oneDNN failed to execute a matmul");
}

Status CpuSession::reserveParts(size_t bytes) {
  if (bytes <= partBytes_)
    return success();
  preparedBy_ = nullptr;
  auto more = static_cast<int64_t>(bytes - partBytes_);
  if (!services_.charge(more))
    return failure(LATHE_OVER_BUDGET, bytes, " bytes that threads share would pass the session's memory budget");
  if (!parts_.reserve(bytes)) {
    services_.charge(-static_cast<int64_t>(bytes));
    partBytes_ = 0;
    return failure(LATHE_OUT_OF_MEMORY, "cannot allocate ", bytes, " bytes that threads share");
  }
  partBytes_ = bytes;
  return success();
}

Status CpuSession::reserve(const AttentionPlan &plan) {
  if (plan.blocks() == 0)
    return success();
  Status status = reserveScratch(plan.scratchBytes());
  return status.failed() ? std::move(status) : reserveParts(plan.partBytes());
}

Status CpuSession::execute(const lathe_attention_call &call, const CacheRows *keys, const CacheRows *values) {
  if (Status status = verifyAttention(call, keys, values); status.failed())
    return status;
  AttentionPlan plan(call, services_.pool().threads(), keys, values);
  if (plan.blocks() == 0)
    return success();
  bool ofBytes = plan.useBytes(byteAttention(module_.services().isa()));
  if (Status status = reserve(plan); status.failed())
    return status;
  if (plan.parts() > 1)
    preparedBy_ = nullptr;
  struct Loop {
    CpuSession *session;
    const AttentionPlan *plan;
    const AttentionKernels *kernels;
    float *parts;
    float *scratch(int thread) {
      return reinterpret_cast<float *>(session->scratch_.data() + static_cast<size_t>(thread) * session->threadScratch_);
    }
  } loop{this, &plan, &attentionKernels(module_.services().isa(), call.arithmetic),
         reinterpret_cast<float *>(parts_.data())};
  if (ofBytes) {
    services_.pool().parallelFor(
        plan.bytePieces(), plan.parallel() ? 1 : plan.bytePieces(),
        [](void *context, int64_t begin, int64_t end, int thread) {
          auto *loop = static_cast<Loop *>(context);
          for (int64_t i = begin; i < end; ++i)
            loop->plan->runBytes(*loop->kernels, i, loop->scratch(thread));
        },
        &loop);
    return success();
  }
  int64_t pieces = plan.blocks() * plan.parts();
  services_.pool().parallelFor(
      pieces, plan.parallel() ? 1 : pieces,
      [](void *context, int64_t begin, int64_t end, int thread) {
        auto *loop = static_cast<Loop *>(context);
        int64_t parts = loop->plan->parts();
        for (int64_t i = begin; i < end; ++i)
          loop->plan->run(*loop->kernels, i / parts, i % parts, loop->parts, loop->scratch(thread));
      },
      &loop);
  if (plan.parts() > 1)
    services_.pool().parallelFor(
        plan.blocks(), 1,
        [](void *context, int64_t begin, int64_t end, int thread) {
          auto *loop = static_cast<Loop *>(context);
          for (int64_t i = begin; i < end; ++i)
            loop->plan->combine(*loop->kernels, i, loop->parts, loop->scratch(thread));
        },
        &loop);
  return success();
}

class CpuBackend final : public runtime::Backend {
public:
  const char *name() const override { return "cpu"; }

  Status createModule(runtime::ModuleServices &services, std::unique_ptr<runtime::BackendModule> *module) override {
    if (!engine())
      return failure(LATHE_UNSUPPORTED_DEVICE, "oneDNN cannot use this processor");
    *module = std::make_unique<CpuModule>(services);
    return success();
  }

  void (*threadStart() const)() override {
    return [] { setOpenmpThreads(1); };
  }
};

} // namespace

runtime::Backend &cpu::cpuBackend() {
  // Never destroyed: modules may outlive static objects.
  static CpuBackend *instance = new CpuBackend;
  return *instance;
}

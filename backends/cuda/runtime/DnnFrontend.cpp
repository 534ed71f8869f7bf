//===- DnnFrontend.cpp - cuDNN through its frontend -------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// The frontend makes the operation graph that the library's version wants for an attention, and knows what each
// version refuses or gets wrong. Its headers throw, so this file alone is compiled with exceptions, and lets none out.
// The library is opened when the first attention asks for it, and stays open.
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/runtime/Dnn.h"

#define NV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING
#define CUDNN_FRONTEND_SKIP_JSON_LIB
#include <cudnn_frontend.h>

#include <dlfcn.h>

#include <mutex>
#include <unordered_map>

namespace cudnn_frontend {
void *cudnn_dlhandle = nullptr; // where the frontend looks for the library's functions
}

namespace fe = cudnn_frontend;
using namespace lathe;
using namespace lathe::cuda;
using runtime::failure;
using runtime::Status;
using runtime::success;

namespace {

constexpr const char *kLibrary = "libcudnn.so.9";
/// Plans that want more memory than this are not taken.
constexpr int64_t kMaxWorkspace = int64_t(256) << 20;

/// Without line ends, which some of the frontend's words have, and no longer than someone reads.
std::string line(std::string text) {
  constexpr size_t kMost = 300;
  if (text.size() > kMost)
    text = text.substr(0, kMost) + "...";
  for (char &c : text)
    if (c == '\n' || c == '\r')
      c = ' ';
  while (!text.empty() && text.back() == ' ')
    text.pop_back();
  return text;
}

Status refused(const std::string &why) {
  return failure(LATHE_UNSUPPORTED_DEVICE, "cuDNN refuses it: ", why.empty() ? "without a word" : line(why));
}

/// What `fn`, which returns a Status, gives, or what it throws.
template <typename Fn> Status guarded(const char *what, Fn fn) {
  try {
    return fn();
  } catch (const std::exception &error) {
    return failure(LATHE_UNSUPPORTED_DEVICE, what, ": ", line(error.what()));
  } catch (...) {
    return failure(LATHE_UNSUPPORTED_DEVICE, what, ": cuDNN's frontend failed");
  }
}

enum Uid : int64_t { kQuery = 1, kKey, kValue, kOut, kBias };

fe::DataType_t typeOf(int64_t type) {
  return type == kDnnF16 ? fe::DataType_t::HALF : type == kDnnBf16 ? fe::DataType_t::BFLOAT16 : fe::DataType_t::FLOAT;
}

fe::graph::Tensor_attributes tensor(Uid uid, const char *name, int64_t type, std::vector<int64_t> dims,
                                    const int64_t (&strides)[4]) {
  fe::graph::Tensor_attributes result;
  result.set_name(name)
      .set_uid(uid)
      .set_data_type(typeOf(type))
      .set_dim(dims)
      .set_stride(std::vector<int64_t>(strides, strides + 4));
  return result;
}

class FrontendPlan final : public DnnPlan {
public:
  /// `handle` is null with `properties`, those of a device that is not here.
  FrontendPlan(cudnnHandle_t handle, std::shared_ptr<const fe::DeviceProperties> properties)
      : handle_(handle), properties_(std::move(properties)) {}

  Status build(const DnnAttention &p, int capability) {
    graph_.set_io_data_type(typeOf(p.type))
        .set_intermediate_data_type(fe::DataType_t::FLOAT)
        .set_compute_data_type(fe::DataType_t::FLOAT)
        .set_sm_version(capability);
    if (properties_)
      graph_.set_device_properties(properties_);
    auto query = graph_.tensor(tensor(kQuery, "query", p.type, {p.batch, p.heads, p.s, p.d}, p.query));
    auto key = graph_.tensor(tensor(kKey, "key", p.type, {p.batch, p.keyHeads, p.t, p.d}, p.key));
    auto value = graph_.tensor(tensor(kValue, "value", p.type, {p.batch, p.keyHeads, p.t, p.e}, p.value));
    fe::graph::SDPA_attributes options;
    options.set_name("attention").set_generate_stats(false).set_attn_scale(static_cast<float>(p.scale));
    if (p.biasType >= 0)
      options.set_bias(graph_.tensor(tensor(kBias, "bias", p.biasType, {p.biasBatch, p.biasHeads, p.s, p.t}, p.bias)));
    if (p.isCausal)
      options
          .set_diagonal_alignment(p.s == p.t ? fe::DiagonalAlignment_t::TOP_LEFT
                                             : fe::DiagonalAlignment_t::BOTTOM_RIGHT)
          .set_diagonal_band_right_bound(0);
    auto [out, statistics] = graph_.sdpa(query, key, value, options);
    out->set_output(true)
        .set_uid(kOut)
        .set_data_type(typeOf(p.type))
        .set_dim({p.batch, p.heads, p.s, p.e})
        .set_stride(std::vector<int64_t>(p.out, p.out + 4));
    return plan();
  }

  uint64_t workspaceBytes() const override { return static_cast<uint64_t>(workspaceBytes_); }

  Status execute(const DnnOperands &operands, void *workspace, Stream stream) override {
    return guarded("attention by cuDNN", [&]() -> Status {
      if (!handle_)
        return failure(LATHE_INTERNAL, "an attention is planned for a device that is not here");
      cudnnStatus_t set = fe::detail::set_stream(handle_, reinterpret_cast<cudaStream_t>(stream));
      if (set != CUDNN_STATUS_SUCCESS)
        return failure(LATHE_INTERNAL, "cuDNN takes no stream: ", std::string(fe::detail::get_error_string(set)));
      std::unordered_map<int64_t, void *> addresses = {{kQuery, const_cast<void *>(operands.query)},
                                                       {kKey, const_cast<void *>(operands.key)},
                                                       {kValue, const_cast<void *>(operands.value)},
                                                       {kOut, operands.out}};
      if (operands.bias)
        addresses[kBias] = const_cast<void *>(operands.bias);
      fe::error_t result = graph_.execute(handle_, addresses, workspace);
      return result.is_good() ? success()
                              : failure(LATHE_DEVICE_LOST, "attention by cuDNN failed: ", line(result.get_message()));
    });
  }

private:
  Status plan() {
    fe::error_t result = graph_.validate();
    if (result.is_good())
      result = handle_ ? graph_.build_operation_graph(handle_) : graph_.build_operation_graph();
    if (result.is_good())
      result = graph_.create_execution_plans({fe::HeurMode_t::A});
    if (result.is_bad())
      return refused(result.get_message());
    graph_.deselect_workspace_greater_than(kMaxWorkspace);
    result = graph_.check_support();
    if (result.is_good())
      result = graph_.build_plans();
    if (result.is_good())
      result = graph_.get_workspace_size(workspaceBytes_);
    return result.is_good() ? success() : refused(result.get_message());
  }

  cudnnHandle_t handle_;
  std::shared_ptr<const fe::DeviceProperties> properties_;
  fe::graph::Graph graph_;
  int64_t workspaceBytes_ = 0;
};

class FrontendDnn final : public Dnn {
public:
  explicit FrontendDnn(int capability) : capability_(capability) {}
  ~FrontendDnn() override {
    if (handle_)
      (void)guarded("closing cuDNN", [&]() -> Status {
        fe::detail::destroy_handle(handle_);
        return success();
      });
  }

  /// For the device of the current context, or, with its properties, for one that is not here.
  Status open(const char *properties) {
    return guarded("cuDNN does not start", [&]() -> Status {
      version_ = static_cast<int64_t>(fe::detail::get_backend_version());
      if (version_ < 90000)
        return failure(LATHE_UNSUPPORTED_DEVICE, "expected cuDNN 9.0 or newer, found version ", version_);
      if (properties) {
        auto made = std::make_shared<fe::DeviceProperties>();
        fe::error_t result = made->deserialize({properties, properties + strlen(properties)});
        properties_ = std::move(made);
        return result.is_good() ? success() : refused(result.get_message());
      }
      cudnnStatus_t result = fe::detail::create_handle(&handle_);
      return result == CUDNN_STATUS_SUCCESS
                 ? success()
                 : failure(result == CUDNN_STATUS_ALLOC_FAILED ? LATHE_OUT_OF_MEMORY : LATHE_UNSUPPORTED_DEVICE,
                           "cuDNN ", version_, " does not start: ", std::string(fe::detail::get_error_string(result)));
    });
  }

  int64_t version() const override { return version_; }

  Status plan(const DnnAttention &problem, std::unique_ptr<DnnPlan> *plan) override {
    return guarded("planning an attention of cuDNN", [&]() -> Status {
      auto made = std::make_unique<FrontendPlan>(handle_, properties_);
      if (Status status = made->build(problem, capability_); status.failed())
        return status;
      *plan = std::move(made);
      return success();
    });
  }

private:
  int capability_;
  int64_t version_ = 0;
  cudnnHandle_t handle_ = nullptr;
  std::shared_ptr<const fe::DeviceProperties> properties_;
};

Status open(int capability, const char *properties, std::unique_ptr<Dnn> *dnn) {
  static std::mutex mutex;
  {
    std::lock_guard<std::mutex> lock(mutex);
    if (!fe::cudnn_dlhandle)
      fe::cudnn_dlhandle = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
    if (!fe::cudnn_dlhandle)
      return failure(LATHE_UNSUPPORTED_DEVICE, "'", kLibrary, "' can't be opened");
  }
  auto made = std::make_unique<FrontendDnn>(capability);
  if (Status status = made->open(properties); status.failed())
    return status;
  *dnn = std::move(made);
  return success();
}

} // namespace

Status cuda::openDnn(int capability, std::unique_ptr<Dnn> *dnn) { return open(capability, nullptr, dnn); }

Status cuda::openDnnFor(int capability, const char *properties, std::unique_ptr<Dnn> *dnn) {
  return open(capability, properties, dnn);
}

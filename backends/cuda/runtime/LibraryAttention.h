//===- LibraryAttention.h - Attention by cuDNN ------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_BACKENDS_CUDA_RUNTIME_LIBRARYATTENTION_H
#define LATHE_BACKENDS_CUDA_RUNTIME_LIBRARYATTENTION_H

#include "backends/cuda/runtime/CudaModule.h"
#include "backends/cuda/runtime/Scratch.h"
#include "runtime/Abi.h"

#include <map>

namespace lathe::cuda {

/// An attention as the library is asked for it, and where copies of its operands lie. Only 8-byte members: compared as
/// bytes.
struct LibraryCall {
  DnnAttention problem;
  int64_t isRounded = 0;                                     ///< query, key, value and result are copies of 16 bits
  int64_t copiesBias = 0;                                    ///< the bias has strides that the library does not read
  uint64_t query = 0, key = 0, value = 0, out = 0, bias = 0; ///< where copies begin
  uint64_t bytes = 0;                                        ///< of all of them

  bool operator<(const LibraryCall &other) const { return memcmp(this, &other, sizeof(*this)) < 0; }
};

/// A call, and the caches that its keys and values are rows of. Only 8-byte members: compared as bytes.
struct AttentionInput {
  lathe_attention_call call = {};
  /// Not 0: of each sequence the last query sees all of the call's t keys, and each query one less than the next.
  int64_t isCached = 0;
  CacheArgs key = {}, value = {}; ///< what is read of them, without an address and strides
};

/// Attentions of a session with many queries, by cuDNN where it has them and is faster than the kernel of
/// backends/cuda/kernels. The library multiplies numbers of 16 bits: those of f32 are rounded before and its results
/// widened, where the call allows it (lathe_attention_call::arithmetic). Scores, the softmax and sums are in f32. The
/// device's context is current in all calls.
class LibraryAttention {
public:
  /// `replay`: whose graphs have attentions.
  LibraryAttention(CudaModule &module, runtime::SessionServices &services, Stream stream, Replay *replay)
      : module_(module), services_(services), stream_(stream), replay_(replay),
        copies_(module.device(), services, stream, replay), workspace_(module.device(), services, stream, replay) {}
  ~LibraryAttention();
  LibraryAttention(const LibraryAttention &) = delete;

  /// Whether the library takes the call; if so execute() needs no memory and no plan any more.
  /// Else *why in one line, which is no failure.
  runtime::Status offer(const AttentionInput &input, bool *isTaken, std::string *why);
  /// Puts a call that is taken into the stream.
  runtime::Status execute(const AttentionInput &input);
  /// Of the library; 0 before it was opened.
  int64_t version() const { return dnn_ ? dnn_->version() : 0; }

private:
  /// Models with more distinct shapes pay for planning again.
  static constexpr size_t kMaxPlans = 256;
  struct Known {
    std::unique_ptr<DnnPlan> plan; ///< null where the library has none, or it is slower
    std::string why;
  };

  runtime::Status open();
  runtime::Status find(const AttentionInput &input, const LibraryCall &asked, Known **known);
  runtime::Status choose(const AttentionInput &input, const LibraryCall &asked, Known &known);
  runtime::Status compare(const AttentionInput &input, const LibraryCall &asked, DnnPlan &plan, std::string *faster,
                          float *milliseconds);
  runtime::Status reserve(const LibraryCall &asked, const DnnPlan &plan);
  runtime::Status compute(const AttentionInput &input, const LibraryCall &asked, DnnPlan &plan);
  runtime::Status roundOperands(const AttentionInput &input, const LibraryCall &asked, DnnOperands *operands);
  runtime::Status start(bool possible, const KernelLaunch &launch, const std::string &why);

  CudaModule &module_;
  runtime::SessionServices &services_;
  Stream stream_;
  Replay *replay_;
  Scratch copies_, workspace_;
  std::unique_ptr<Dnn> dnn_;
  bool isAsked_ = false;
  std::string whyNot_; ///< there is no library
  std::map<LibraryCall, Known> known_;
};

/// What the library is asked for a call, which does not say whether it has it. False with *why, in one line, where it
/// is not to be asked.
bool describeAttention(const AttentionInput &input, LibraryCall *asked, std::string *why);

} // namespace lathe::cuda

#endif // LATHE_BACKENDS_CUDA_RUNTIME_LIBRARYATTENTION_H

//===- Blas.cpp - cuBLASLt by plain loops -----------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Matrices by columns, as the library has them: D = epilogue(alpha * op(A) * op(B) + beta * C).
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/emulator/Driver.h"
#include "backends/cuda/emulator/Streams.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

using namespace lathe;
using namespace lathe::cuda;
using runtime::join;

namespace lathe::cuda {

struct BlasHandleTag {};

struct BlasDescTag {
  int32_t transA = 0, transB = 0;
  uint32_t epilogue = kEpilogueDefault;
  const float *bias = nullptr;
};

struct BlasLayoutTag {
  int type = kBlasF32;
  int64_t rows = 0, cols = 0, ld = 0;
  int32_t batch = 1;
  int64_t stride = 0;
};

struct BlasPreferenceTag {
  uint64_t workspaceBytes = 0;
  uint32_t alignment[4] = {256, 256, 256, 256};
};

} // namespace lathe::cuda

namespace {

constexpr int kOpN = 0, kOpT = 1;

/// What the emulator's algorithms hold: that they are one, and the alignment of A, B, C and D that they rely on.
struct Algo {
  static constexpr uint64_t kMagic = 0x4c41544845;
  uint64_t magic = kMagic;
  uint32_t alignment[4] = {};
};
static_assert(sizeof(Algo) <= sizeof(BlasAlgo), "kept in the library's");

int refuse(int status, std::string why) {
  emulator::explain(std::move(why));
  return status;
}

template <typename T> int setValue(T *member, const void *value, size_t bytes) {
  if (!value || bytes != sizeof(T))
    return kBlasInvalidValue;
  memcpy(member, value, bytes);
  return kBlasSuccess;
}

int create(BlasHandle *handle) {
  *handle = new BlasHandleTag;
  return kBlasSuccess;
}

int destroy(BlasHandle handle) {
  delete handle;
  return kBlasSuccess;
}

size_t version() { return 130000; }

/// As the real one names them, with what the emulator found.
const char *statusName(int status) {
  thread_local std::string text;
  switch (status) {
  case kBlasSuccess:
    text = "CUBLAS_STATUS_SUCCESS";
    break;
  case kBlasInvalidValue:
    text = "CUBLAS_STATUS_INVALID_VALUE";
    break;
  case kBlasNotSupported:
    text = "CUBLAS_STATUS_NOT_SUPPORTED";
    break;
  case kBlasExecutionFailed:
    text = "CUBLAS_STATUS_EXECUTION_FAILED";
    break;
  default:
    text = "CUBLAS_STATUS_INTERNAL_ERROR";
  }
  if (std::string why = emulator::takeExplanation(); !why.empty())
    text += ": " + why;
  return text.c_str();
}

int descCreate(BlasDesc *desc, int computeType, int scaleType) {
  if (computeType != kBlasComputeF32 || scaleType != kBlasF32)
    return kBlasNotSupported;
  *desc = new BlasDescTag;
  return kBlasSuccess;
}

int descDestroy(BlasDesc desc) {
  delete desc;
  return kBlasSuccess;
}

int descSet(BlasDesc desc, int attribute, const void *value, size_t bytes) {
  switch (attribute) {
  case kDescTransA:
    return setValue(&desc->transA, value, bytes);
  case kDescTransB:
    return setValue(&desc->transB, value, bytes);
  case kDescEpilogue:
    return setValue(&desc->epilogue, value, bytes);
  case kDescBiasPointer:
    return setValue(&desc->bias, value, bytes);
  default:
    return kBlasInvalidValue;
  }
}

int layoutCreate(BlasLayout *layout, int type, uint64_t rows, uint64_t cols, int64_t ld) {
  auto made = new BlasLayoutTag;
  made->type = type;
  made->rows = static_cast<int64_t>(rows);
  made->cols = static_cast<int64_t>(cols);
  made->ld = ld;
  *layout = made;
  return kBlasSuccess;
}

int layoutDestroy(BlasLayout layout) {
  delete layout;
  return kBlasSuccess;
}

int layoutSet(BlasLayout layout, int attribute, const void *value, size_t bytes) {
  switch (attribute) {
  case kLayoutBatchCount:
    return setValue(&layout->batch, value, bytes);
  case kLayoutBatchStride:
    return setValue(&layout->stride, value, bytes);
  default:
    return kBlasInvalidValue;
  }
}

int preferenceCreate(BlasPreference *preference) {
  *preference = new BlasPreferenceTag;
  return kBlasSuccess;
}

int preferenceDestroy(BlasPreference preference) {
  delete preference;
  return kBlasSuccess;
}

int preferenceSet(BlasPreference preference, int attribute, const void *value, size_t bytes) {
  if (attribute == kPreferenceWorkspaceBytes)
    return setValue(&preference->workspaceBytes, value, bytes);
  if (attribute >= kPreferenceAlignmentA && attribute <= kPreferenceAlignmentD)
    return setValue(&preference->alignment[attribute - kPreferenceAlignmentA], value, bytes);
  return kBlasInvalidValue;
}

/// What the library refuses of a description.
int check(const BlasDescTag &desc, const BlasLayoutTag &a, const BlasLayoutTag &b, const BlasLayoutTag &c,
          const BlasLayoutTag &d) {
  for (const BlasLayoutTag *layout : {&a, &b, &c, &d}) {
    if (layout->type != kBlasF32)
      return refuse(kBlasNotSupported, "a combination of types that has no algorithm");
    if (layout->rows < 1 || layout->cols < 1 || layout->batch < 1)
      return refuse(kBlasInvalidValue, "a matrix without elements");
    if (layout->ld < layout->rows)
      return refuse(kBlasInvalidValue, join("a leading dimension of ", layout->ld, " for ", layout->rows, " rows"));
    if (layout->batch != d.batch)
      return refuse(kBlasInvalidValue, "batches of different sizes");
  }
  if ((desc.transA != kOpN && desc.transA != kOpT) || (desc.transB != kOpN && desc.transB != kOpT))
    return refuse(kBlasNotSupported, "an operation that real numbers do not have");
  int64_t m = desc.transA ? a.cols : a.rows, ka = desc.transA ? a.rows : a.cols;
  int64_t kb = desc.transB ? b.cols : b.rows, n = desc.transB ? b.rows : b.cols;
  if (ka != kb || d.rows != m || d.cols != n || c.rows != m || c.cols != n)
    return refuse(kBlasInvalidValue,
                  join("[", m, ", ", ka, "] times [", kb, ", ", n, "] into [", d.rows, ", ", d.cols, "]"));
  // One behind another, or between each other's columns.
  bool isApart = d.stride >= (d.cols - 1) * d.ld + d.rows;
  bool isBetween = d.stride >= d.rows && d.ld >= (d.batch - 1) * d.stride + d.rows;
  if (d.batch > 1 && !isApart && !isBetween)
    return refuse(kBlasInvalidValue, "results that overlap");
  switch (desc.epilogue) {
  case kEpilogueDefault:
  case kEpilogueRelu:
  case kEpilogueBias:
  case kEpilogueReluBias:
  case kEpilogueGelu:
  case kEpilogueGeluBias:
    return kBlasSuccess;
  default:
    return refuse(kBlasNotSupported, join("epilogue ", desc.epilogue));
  }
}

int heuristic(BlasHandle handle, BlasDesc desc, BlasLayout a, BlasLayout b, BlasLayout c, BlasLayout d,
              BlasPreference preference, int requested, BlasHeuristic *results, int *returned) {
  *returned = 0;
  if (!handle || requested < 1)
    return kBlasInvalidValue;
  if (int status = check(*desc, *a, *b, *c, *d))
    return status;
  Algo algo;
  for (int i = 0; i < 4; ++i) {
    // Algorithms rely on no more than 16 bytes, and on no less than an element.
    algo.alignment[i] = preference->alignment[i] < 16 ? preference->alignment[i] : 16;
    if (algo.alignment[i] < 4)
      return refuse(kBlasNotSupported, "operands that are not aligned to their elements");
  }
  results[0] = {};
  memcpy(&results[0].algo, &algo, sizeof(algo));
  results[0].workspaceBytes = preference->workspaceBytes < 4096 ? 0 : 4096;
  *returned = 1;
  return kBlasSuccess;
}

float gelu(float x) { return 0.5f * x * (1 + std::tanh(0.79788456f * (x + 0.044715f * x * x * x))); }

/// One product of the batch.
void multiply(const BlasDescTag &desc, float alpha, const float *a, const BlasLayoutTag &aLayout, const float *b,
              const BlasLayoutTag &bLayout, float beta, const float *c, const BlasLayoutTag &cLayout, float *d,
              const BlasLayoutTag &dLayout) {
  int64_t m = dLayout.rows, n = dLayout.cols, k = desc.transA ? aLayout.rows : aLayout.cols;
  std::vector<float> sums(static_cast<size_t>(m));
  for (int64_t j = 0; j < n; ++j) {
    std::fill(sums.begin(), sums.end(), 0.0f);
    auto right = [&](int64_t l) { return desc.transB ? b[l * bLayout.ld + j] : b[j * bLayout.ld + l]; };
    if (desc.transA)
      for (int64_t i = 0; i < m; ++i)
        for (int64_t l = 0; l < k; ++l)
          sums[static_cast<size_t>(i)] += a[i * aLayout.ld + l] * right(l);
    else
      for (int64_t l = 0; l < k; ++l) {
        float factor = right(l);
        for (int64_t i = 0; i < m; ++i)
          sums[static_cast<size_t>(i)] += a[l * aLayout.ld + i] * factor;
      }
    for (int64_t i = 0; i < m; ++i) {
      float value = alpha * sums[static_cast<size_t>(i)];
      if (beta != 0) // C is not read else
        value += beta * c[j * cLayout.ld + i];
      if (desc.epilogue & kEpilogueBias)
        value += desc.bias[i];
      if (desc.epilogue & kEpilogueRelu)
        value = value > 0 ? value : value == value ? 0 : value; // NaN stays
      if (desc.epilogue & kEpilogueGelu)
        value = gelu(value);
      d[j * dLayout.ld + i] = value;
    }
  }
}

/// Whether the allocations hold all that a matrix covers.
bool covers(const void *data, const BlasLayoutTag &layout) {
  int64_t last =
      (layout.batch - 1) * (layout.stride > 0 ? layout.stride : 0) + (layout.cols - 1) * layout.ld + layout.rows;
  return layout.stride >= 0 && emulator::inBounds(data, last * 4);
}

int matmul(BlasHandle handle, BlasDesc desc, const void *alpha, const void *a, BlasLayout aLayout, const void *b,
           BlasLayout bLayout, const void *beta, const void *c, BlasLayout cLayout, void *d, BlasLayout dLayout,
           const BlasAlgo *given, void *workspace, size_t workspaceBytes, Stream stream) {
  if (!handle || !desc || !alpha || !beta || !a || !b || !d)
    return refuse(kBlasInvalidValue, "an argument is missing");
  if (int status = check(*desc, *aLayout, *bLayout, *cLayout, *dLayout))
    return status;
  float scale = *static_cast<const float *>(alpha), add = *static_cast<const float *>(beta);
  if (c == d && (cLayout->ld != dLayout->ld || cLayout->stride != dLayout->stride))
    return refuse(kBlasInvalidValue, "C and D are one matrix with two layouts");
  Algo algo;
  if (!given || (memcpy(&algo, given, sizeof(algo)), algo.magic != Algo::kMagic))
    return refuse(kBlasInvalidValue, "no algorithm that the library gave");
  const void *operands[] = {a, b, add != 0 ? c : d, d};
  for (int i = 0; i < 4; ++i)
    if (reinterpret_cast<uintptr_t>(operands[i]) % algo.alignment[i] != 0)
      return refuse(kBlasInvalidValue, join("operand ", i, " is not aligned to the ", algo.alignment[i],
                                            " bytes that the algorithm relies on"));
  if (workspaceBytes > 0 && !emulator::inBounds(workspace, static_cast<int64_t>(workspaceBytes)))
    return refuse(kBlasInvalidValue, "a workspace that is not allocated");
  const BlasLayoutTag *layouts[] = {aLayout, bLayout, cLayout, dLayout};
  for (int i = 0; i < 4; ++i)
    if (!covers(operands[i], *layouts[i]))
      return refuse(kBlasExecutionFailed, join("operand ", i, " reaches outside of what is allocated"));
  if ((desc->epilogue & kEpilogueBias) && (!desc->bias || !emulator::inBounds(desc->bias, dLayout->rows * 4)))
    return refuse(desc->bias ? kBlasExecutionFailed : kBlasInvalidValue, "a bias that is not allocated");
  // Descriptions may change, or go, before the stream comes here.
  auto compute = [=, desc = *desc, aLayout = *aLayout, bLayout = *bLayout, cLayout = *cLayout, dLayout = *dLayout] {
    for (int64_t i = 0; i < dLayout.batch; ++i)
      multiply(desc, scale, static_cast<const float *>(a) + i * aLayout.stride, aLayout,
               static_cast<const float *>(b) + i * bLayout.stride, bLayout, add,
               c ? static_cast<const float *>(c) + i * cLayout.stride : nullptr, cLayout,
               static_cast<float *>(d) + i * dLayout.stride, dLayout);
    return int(kDriverSuccess);
  };
  return emulator::enqueue(stream, compute) ? int(kBlasExecutionFailed) : int(kBlasSuccess);
}

} // namespace

const BlasApi &cuda::emulatorBlas() {
  static const BlasApi api = [] {
    BlasApi table;
#define LATHE_CUDA_FILL(result, member, symbol, parameters) table.member = ::member;
    LATHE_CUDA_BLAS(LATHE_CUDA_FILL)
#undef LATHE_CUDA_FILL
    return table;
  }();
  return api;
}

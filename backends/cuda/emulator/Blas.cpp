//===- Blas.cpp - cuBLASLt by plain loops -----------------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Matrices by columns, as the library has them: D = epilogue(alpha * op(A) * op(B) + beta * C). Sums and epilogues of
// floats are in f32, and what they become is rounded once; sums of bytes are in i32. Operands of 8-bit floats have
// scales: one, or one for each row of op(A) and one for each column of op(B).
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/emulator/Driver.h"
#include "backends/cuda/emulator/Streams.h"
#include "runtime/SmallFloats.h"

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
  int compute = kBlasComputeF32;
  int32_t transA = 0, transB = 0;
  uint32_t epilogue = kEpilogueDefault;
  const void *bias = nullptr;
  const float *scaleA = nullptr, *scaleB = nullptr;
  int32_t scaleModeA = kScaleScalar, scaleModeB = kScaleScalar;
};

struct BlasLayoutTag {
  int type = kBlasF32;
  int64_t rows = 0, cols = 0, ld = 0;
  int32_t batch = 1;
  int64_t stride = 0;
};

struct BlasPreferenceTag {
  uint64_t workspaceBytes = 0;
  uint32_t reductions = kReductionsAll;
  uint32_t alignment[4] = {256, 256, 256, 256};
};

} // namespace lathe::cuda

namespace {

constexpr int kOpN = 0, kOpT = 1;
/// Blocks along the last axis of a grid, of which some algorithms have one for each matrix.
constexpr int32_t kMaxBatch = 65535;

/// What the emulator's algorithms hold: that they are one, which, and the alignment of A, B, C and D that they rely on,
/// and of the bias and scales, which those have that a description holds when algorithms are asked for.
struct Algo {
  static constexpr uint64_t kMagic = 0x4c41544845;
  uint64_t magic = kMagic;
  uint32_t alignment[4] = {};
  uint32_t bias = 0, scales = 0; ///< alignment of these
  uint32_t isSplit = 0;          ///< sums are of two parts, of which each is rounded as results are
  uint32_t number = 0;           ///< of EmulatorSettings::algorithmMilliseconds
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
  if (!emulator::isReady() || emulator::refuseInCapture("a library is started"))
    return kBlasNotInitialized;
  *handle = new BlasHandleTag;
  emulator::countHandle(1);
  return kBlasSuccess;
}

int destroy(BlasHandle handle) {
  if (!emulator::isReady())
    return kBlasNotInitialized;
  delete handle;
  emulator::countHandle(-1);
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
  case kBlasNotInitialized:
    text = "CUBLAS_STATUS_NOT_INITIALIZED";
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
  bool isInteger = computeType == kBlasComputeS32;
  if ((computeType != kBlasComputeF32 && computeType != kBlasComputeTf32 && !isInteger) ||
      scaleType != (isInteger ? kBlasS32 : kBlasF32))
    return kBlasNotSupported;
  *desc = new BlasDescTag;
  (*desc)->compute = computeType;
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
  case kDescScalePointerA:
    return setValue(&desc->scaleA, value, bytes);
  case kDescScalePointerB:
    return setValue(&desc->scaleB, value, bytes);
  case kDescScaleModeA:
    return setValue(&desc->scaleModeA, value, bytes);
  case kDescScaleModeB:
    return setValue(&desc->scaleModeB, value, bytes);
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
  if (attribute == kPreferenceReductions)
    return setValue(&preference->reductions, value, bytes);
  if (attribute >= kPreferenceAlignmentA && attribute <= kPreferenceAlignmentD)
    return setValue(&preference->alignment[attribute - kPreferenceAlignmentA], value, bytes);
  return kBlasInvalidValue;
}

/// Types that go together: the tables of cublasLtMatmul's documentation, as far as their types are used. C and D are of
/// one type; a bias is of theirs, but with 8-bit floats, where it is of 16 bits, and which have no epilogue here.
struct Combination {
  int compute, operands, result;
  bool hasEpilogues;
};
constexpr Combination kCombinations[] = {
    {kBlasComputeF32, kBlasF32, kBlasF32, true},    {kBlasComputeTf32, kBlasF32, kBlasF32, true},
    {kBlasComputeF32, kBlasF16, kBlasF16, true},    {kBlasComputeF32, kBlasF16, kBlasF32, true},
    {kBlasComputeF32, kBlasBf16, kBlasBf16, true},  {kBlasComputeF32, kBlasBf16, kBlasF32, true},
    {kBlasComputeF32, kBlasS8, kBlasF32, false},    {kBlasComputeS32, kBlasS8, kBlasS32, false},
    {kBlasComputeF32, kBlasE4m3, kBlasF32, false},  {kBlasComputeF32, kBlasE4m3, kBlasF16, false},
    {kBlasComputeF32, kBlasE4m3, kBlasBf16, false},
};

int checkTypes(const BlasDescTag &desc, const BlasLayoutTag &a, const BlasLayoutTag &b, const BlasLayoutTag &c,
               const BlasLayoutTag &d) {
  for (const Combination &known : kCombinations)
    if (desc.compute == known.compute && a.type == known.operands && b.type == known.operands &&
        c.type == known.result && d.type == known.result)
      return known.hasEpilogues || desc.epilogue == kEpilogueDefault
                 ? int(kBlasSuccess)
                 : refuse(kBlasNotSupported, "an epilogue of a product of bytes");
  return refuse(kBlasNotSupported, join("a combination of types that has no algorithm: ", a.type, " by ", b.type,
                                        " and ", c.type, " into ", d.type, " in ", desc.compute));
}

/// Matrix instructions of bytes read A by rows and B by columns, in words.
int checkBytes(const BlasDescTag &desc, const BlasLayoutTag &a, const BlasLayoutTag &b, const BlasLayoutTag &d) {
  if (a.type != kBlasS8)
    return kBlasSuccess;
  if (desc.transA != kOpT || desc.transB != kOpN)
    return refuse(kBlasNotSupported, "bytes that are not multiplied as transposed by plain");
  for (const BlasLayoutTag *layout : {&a, &b, &d})
    if (layout->ld % 4 != 0)
      return refuse(kBlasNotSupported, join("a leading dimension of ", layout->ld, " bytes, which 4 does not divide"));
  if (d.rows % 4 != 0 || a.rows % 4 != 0)
    return refuse(kBlasNotSupported,
                  join("a product of bytes with m = ", d.rows, " and k = ", a.rows, ", which 4 does not divide"));
  return kBlasSuccess;
}

/// 8-bit floats: "requirements for FP8 kernels" of the documentation, and its table of scaling modes.
int checkFloats(const BlasDescTag &desc, const BlasLayoutTag &a, const BlasLayoutTag &b, const BlasLayoutTag &d) {
  bool isScaled = desc.scaleModeA != kScaleScalar || desc.scaleModeB != kScaleScalar;
  if (a.type != kBlasE4m3)
    return isScaled || desc.scaleA || desc.scaleB ? refuse(kBlasInvalidValue, "scales of operands that have none")
                                                  : int(kBlasSuccess);
  int capability = emulatorSettings().capability;
  if (capability < 89)
    return refuse(kBlasNotSupported, join("8-bit floats on a device of capability ", capability));
  if (desc.transA != kOpT || desc.transB != kOpN)
    return refuse(kBlasNotSupported, "8-bit floats that are not multiplied as transposed by plain");
  if (a.rows % 16 != 0 || d.rows % 16 != 0)
    return refuse(kBlasNotSupported, join("a product of 8-bit floats with m = ", d.rows, " and k = ", a.rows,
                                          ", which 16 does not divide"));
  for (const BlasLayoutTag *layout : {&a, &b, &d})
    if (layout->ld * bytesOf(layout->type) % 16 != 0)
      return refuse(kBlasNotSupported, join("a leading dimension of ", layout->ld * bytesOf(layout->type),
                                            " bytes, which 16 does not divide"));
  if (!isScaled)
    return kBlasSuccess;
  if (desc.scaleModeA != kScaleOuterVector || desc.scaleModeB != kScaleOuterVector)
    return refuse(kBlasNotSupported, join("scaling modes ", desc.scaleModeA, " and ", desc.scaleModeB));
  if (capability != 90)
    return refuse(kBlasNotSupported, join("scales of rows and columns on a device of capability ", capability));
  return d.batch == 1 ? int(kBlasSuccess) : refuse(kBlasNotSupported, "scales of rows and columns of a batch");
}

/// What the library refuses of a description.
int check(const BlasDescTag &desc, const BlasLayoutTag &a, const BlasLayoutTag &b, const BlasLayoutTag &c,
          const BlasLayoutTag &d) {
  if (int status = checkTypes(desc, a, b, c, d))
    return status;
  for (const BlasLayoutTag *layout : {&a, &b, &c, &d}) {
    if (layout->rows < 1 || layout->cols < 1 || layout->batch < 1)
      return refuse(kBlasInvalidValue, "a matrix without elements");
    if (layout->ld < layout->rows)
      return refuse(kBlasInvalidValue, join("a leading dimension of ", layout->ld, " for ", layout->rows, " rows"));
    if (layout->batch != d.batch)
      return refuse(kBlasInvalidValue, "batches of different sizes");
    if (layout->batch > kMaxBatch)
      return refuse(kBlasNotSupported, join("a batch of ", layout->batch, ", expected up to ", kMaxBatch));
  }
  if ((desc.transA != kOpN && desc.transA != kOpT) || (desc.transB != kOpN && desc.transB != kOpT))
    return refuse(kBlasNotSupported, "an operation that real numbers do not have");
  if (int status = checkBytes(desc, a, b, d))
    return status;
  if (int status = checkFloats(desc, a, b, d))
    return status;
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
  if (desc.epilogue != kEpilogueDefault && !emulatorSettings().hasEpilogues)
    return refuse(kBlasNotSupported, "an epilogue for which there is no algorithm");
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

/// What algorithms rely on that read from an address as aligned as this one, or from any where it is null.
uint32_t reliedUpon(const void *address) {
  auto bits = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(address)) | 16;
  return bits & (~bits + 1);
}

int heuristic(BlasHandle handle, BlasDesc desc, BlasLayout a, BlasLayout b, BlasLayout c, BlasLayout d,
              BlasPreference preference, int requested, BlasHeuristic *results, int *returned) {
  *returned = 0;
  if (!emulator::isReady())
    return kBlasNotInitialized;
  if (!handle || requested < 1)
    return kBlasInvalidValue;
  if (int status = check(*desc, *a, *b, *c, *d))
    return status;
  Algo algo;
  const BlasLayout layouts[] = {a, b, c, d};
  for (int i = 0; i < 4; ++i) {
    // Algorithms rely on no more than 16 bytes, and on no less than an element; those of bytes on a word, and of 8-bit
    // floats on all 16.
    algo.alignment[i] = preference->alignment[i] < 16 ? preference->alignment[i] : 16;
    if (algo.alignment[i] < (a->type == kBlasE4m3 ? 16 : layouts[i]->type == kBlasS8 ? 4 : bytesOf(layouts[i]->type)))
      return refuse(kBlasNotSupported, "operands that are not aligned to their elements");
  }
  algo.isSplit = preference->reductions != kReductionsInSums && bytesOf(d->type) < 4; // as those that add in place
  algo.bias = reliedUpon(desc->bias);
  algo.scales = std::min(reliedUpon(desc->scaleA), reliedUpon(desc->scaleB));
  auto offered = static_cast<int>(std::max<size_t>(emulatorSettings().algorithmMilliseconds.size(), 1));
  for (int i = 0; i < std::min(offered, requested); ++i) {
    results[i] = {};
    algo.number = static_cast<uint32_t>(i);
    memcpy(results[i].algo.data, &algo, sizeof(algo));
    results[i].workspaceBytes = preference->workspaceBytes < 4096 ? 0 : 4096;
    ++*returned;
  }
  return kBlasSuccess;
}

float gelu(float x) { return 0.5f * x * (1 + std::tanh(0.79788456f * (x + 0.044715f * x * x * x))); }

float numberAt(const void *data, int type, int64_t index) {
  switch (type) {
  case kBlasF16:
    return runtime::halfValue(static_cast<const uint16_t *>(data)[index]);
  case kBlasBf16:
    return runtime::bfloatValue(static_cast<const uint16_t *>(data)[index]);
  case kBlasS8:
    return static_cast<const int8_t *>(data)[index];
  case kBlasE4m3: {
    uint8_t code = static_cast<const uint8_t *>(data)[index];
    return (code & 0x7f) == 0x7f ? NAN : runtime::e4m3Value(code);
  }
  default:
    return static_cast<const float *>(data)[index];
  }
}

void setNumber(void *data, int type, int64_t index, float value) {
  if (type == kBlasF32)
    static_cast<float *>(data)[index] = value;
  else
    static_cast<uint16_t *>(data)[index] = type == kBlasF16 ? runtime::toHalf(value) : runtime::toBfloat(value);
}

/// To the nearest number with 10 bits behind the first, of two the one with the larger magnitude.
float roundedToTf32(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  if ((bits & 0x7f800000) != 0x7f800000)
    bits = (bits + 0x1000) & ~uint32_t(0x1fff);
  memcpy(&value, &bits, 4);
  return value;
}

/// An operand as numbers that are multiplied: where it lies, or in `own`.
const float *numbersOf(const BlasDescTag &desc, const void *data, const BlasLayoutTag &layout,
                       std::vector<float> *own) {
  if (layout.type == kBlasF32 && desc.compute == kBlasComputeF32)
    return static_cast<const float *>(data);
  own->assign(static_cast<size_t>((layout.cols - 1) * layout.ld + layout.rows), 0.0f);
  for (int64_t j = 0; j < layout.cols; ++j)
    for (int64_t i = 0; i < layout.rows; ++i) {
      float value = numberAt(data, layout.type, j * layout.ld + i);
      (*own)[static_cast<size_t>(j * layout.ld + i)] = desc.compute == kBlasComputeTf32 ? roundedToTf32(value) : value;
    }
  return own->data();
}

/// The factor of an element of op(A) * op(B).
float scaleAt(const BlasDescTag &desc, int64_t i, int64_t j) {
  bool isOuter = desc.scaleModeA == kScaleOuterVector;
  return (desc.scaleA ? desc.scaleA[isOuter ? i : 0] : 1.0f) * (desc.scaleB ? desc.scaleB[isOuter ? j : 0] : 1.0f);
}

/// One product of the batch.
void multiply(const BlasDescTag &desc, bool isSplit, float alpha, const void *left, const BlasLayoutTag &aLayout,
              const void *rightSide, const BlasLayoutTag &bLayout, float beta, const void *c,
              const BlasLayoutTag &cLayout, void *d, const BlasLayoutTag &dLayout) {
  int64_t m = dLayout.rows, n = dLayout.cols, k = desc.transA ? aLayout.rows : aLayout.cols;
  std::vector<float> sums(static_cast<size_t>(m)), ownA, ownB;
  const float *a = numbersOf(desc, left, aLayout, &ownA), *b = numbersOf(desc, rightSide, bLayout, &ownB);
  for (int64_t j = 0; j < n; ++j) {
    std::fill(sums.begin(), sums.end(), 0.0f);
    auto round = [&](float &sum) {
      uint16_t bits = 0;
      setNumber(&bits, dLayout.type, 0, sum);
      sum = numberAt(&bits, dLayout.type, 0);
    };
    auto right = [&](int64_t l) { return desc.transB ? b[l * bLayout.ld + j] : b[j * bLayout.ld + l]; };
    if (desc.transA)
      for (int64_t i = 0; i < m; ++i)
        for (int64_t l = 0; l < k; ++l) {
          if (isSplit && l == k / 2)
            round(sums[static_cast<size_t>(i)]);
          sums[static_cast<size_t>(i)] += a[i * aLayout.ld + l] * right(l);
        }
    else
      for (int64_t l = 0; l < k; ++l) {
        if (isSplit && l == k / 2)
          std::for_each(sums.begin(), sums.end(), round);
        float factor = right(l);
        for (int64_t i = 0; i < m; ++i)
          sums[static_cast<size_t>(i)] += a[l * aLayout.ld + i] * factor;
      }
    for (int64_t i = 0; i < m; ++i) {
      float value = alpha * sums[static_cast<size_t>(i)] * scaleAt(desc, i, j);
      if (beta != 0) // C is not read else
        value += beta * numberAt(c, cLayout.type, j * cLayout.ld + i);
      if (desc.epilogue & kEpilogueBias)
        value += numberAt(desc.bias, dLayout.type, i);
      if (desc.epilogue & kEpilogueRelu)
        value = value > 0 ? value : value == value ? 0 : value; // NaN stays
      if (desc.epilogue & kEpilogueGelu)
        value = gelu(value);
      setNumber(d, dLayout.type, j * dLayout.ld + i, value);
    }
  }
}

/// One of integers: transposed by plain, as checkBytes has found.
void multiplyIntegers(int32_t alpha, const int8_t *a, const BlasLayoutTag &aLayout, const int8_t *b,
                      const BlasLayoutTag &bLayout, int32_t beta, const int32_t *c, const BlasLayoutTag &cLayout,
                      int32_t *d, const BlasLayoutTag &dLayout) {
  for (int64_t j = 0; j < dLayout.cols; ++j)
    for (int64_t i = 0; i < dLayout.rows; ++i) {
      int32_t sum = 0;
      for (int64_t l = 0; l < aLayout.rows; ++l)
        sum += a[i * aLayout.ld + l] * b[j * bLayout.ld + l];
      int64_t at = j * dLayout.ld + i;
      d[at] = alpha * sum + (beta != 0 ? beta * c[j * cLayout.ld + i] : 0);
    }
}

/// Whether the allocations hold all that a matrix covers.
bool covers(const void *data, const BlasLayoutTag &layout) {
  int64_t last =
      (layout.batch - 1) * (layout.stride > 0 ? layout.stride : 0) + (layout.cols - 1) * layout.ld + layout.rows;
  return layout.stride >= 0 && emulator::inBounds(data, last * bytesOf(layout.type));
}

int matmul(BlasHandle handle, BlasDesc desc, const void *alpha, const void *a, BlasLayout aLayout, const void *b,
           BlasLayout bLayout, const void *beta, const void *c, BlasLayout cLayout, void *d, BlasLayout dLayout,
           const BlasAlgo *given, void *workspace, size_t workspaceBytes, Stream stream) {
  if (!emulator::isReady())
    return kBlasNotInitialized;
  if (!handle || !desc || !alpha || !beta || !a || !b || !d)
    return refuse(kBlasInvalidValue, "an argument is missing");
  if (int status = check(*desc, *aLayout, *bLayout, *cLayout, *dLayout))
    return status;
  bool isInteger = desc->compute == kBlasComputeS32;
  int32_t alphaOf = isInteger ? *static_cast<const int32_t *>(alpha) : 0;
  int32_t betaOf = isInteger ? *static_cast<const int32_t *>(beta) : 0;
  if (isInteger && ((alphaOf != 0 && alphaOf != 1) || (betaOf != 0 && betaOf != 1)))
    return refuse(kBlasInvalidValue, "a factor of integers that is neither 0 nor 1");
  float scale = isInteger ? 1.0f : *static_cast<const float *>(alpha);
  float add = isInteger ? float(betaOf) : *static_cast<const float *>(beta);
  if (c == d && (cLayout->ld != dLayout->ld || cLayout->stride != dLayout->stride))
    return refuse(kBlasInvalidValue, "C and D are one matrix with two layouts");
  Algo algo;
  if (!given || (memcpy(static_cast<void *>(&algo), given->data, sizeof(algo)), algo.magic != Algo::kMagic))
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
  if ((desc->epilogue & kEpilogueBias) &&
      (!desc->bias || !emulator::inBounds(desc->bias, dLayout->rows * bytesOf(dLayout->type))))
    return refuse(desc->bias ? kBlasExecutionFailed : kBlasInvalidValue, "a bias that is not allocated");
  if ((desc->epilogue & kEpilogueBias) && reinterpret_cast<uintptr_t>(desc->bias) % algo.bias != 0)
    return refuse(kBlasInvalidValue,
                  join("the bias is not aligned to the ", algo.bias, " bytes that the algorithm relies on"));
  bool isOuter = desc->scaleModeA == kScaleOuterVector;
  for (const float *scales : {desc->scaleA, desc->scaleB})
    if (isOuter && reinterpret_cast<uintptr_t>(scales) % algo.scales != 0)
      return refuse(kBlasInvalidValue,
                    join("scales are not aligned to the ", algo.scales, " bytes that the algorithm relies on"));
  for (auto [scales, count] : {std::pair(desc->scaleA, dLayout->rows), std::pair(desc->scaleB, dLayout->cols)})
    if (scales ? !emulator::inBounds(scales, (isOuter ? count : 1) * 4) : isOuter)
      return refuse(scales ? kBlasExecutionFailed : kBlasInvalidValue, "scales that are not allocated");
  emulator::Work compute = [=, desc = *desc, aLayout = *aLayout, bLayout = *bLayout, cLayout = *cLayout,
                            dLayout = *dLayout] { // descriptions may change, or go, before the stream comes here
    auto item = [](auto *data, const BlasLayoutTag &layout, int64_t i) {
      return data ? data + i * layout.stride * bytesOf(layout.type) : data;
    };
    emulator::countProduct(aLayout.type, algo.number);
    for (int64_t i = 0; i < dLayout.batch; ++i) {
      const char *left = item(static_cast<const char *>(a), aLayout, i);
      const char *right = item(static_cast<const char *>(b), bLayout, i);
      const char *added = item(static_cast<const char *>(c), cLayout, i);
      char *result = item(static_cast<char *>(d), dLayout, i);
      if (isInteger)
        multiplyIntegers(
            alphaOf, reinterpret_cast<const int8_t *>(left), aLayout, reinterpret_cast<const int8_t *>(right), bLayout,
            betaOf, reinterpret_cast<const int32_t *>(added), cLayout, reinterpret_cast<int32_t *>(result), dLayout);
      else
        multiply(desc, algo.isSplit != 0, scale, left, aLayout, right, bLayout, add, added, cLayout, result, dLayout);
    }
    return int(kDriverSuccess);
  };
  return emulator::enqueue(stream, std::move(compute)) ? int(kBlasExecutionFailed) : int(kBlasSuccess);
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

//===- Fusion.cpp - Calls of a run that share a kernel ----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/runtime/Fusion.h"

#include "backends/cuda/runtime/FewRows.h"

#include <algorithm>
#include <cstring>

using namespace lathe;
using namespace lathe::cuda;
using runtime::Computation;

namespace {

/// Bytes of memory; none where end <= begin.
struct Range {
  uintptr_t begin = 0, end = 0;
};

bool meet(const Range &a, const Range &b) { return a.begin < b.end && b.begin < a.end; }

/// Of `count` numbers.
Range dense(const void *address, int64_t count, int64_t bytes = 4) {
  auto begin = reinterpret_cast<uintptr_t>(address);
  return address ? Range{begin, begin + static_cast<uintptr_t>(count * bytes)} : Range();
}

/// Of a tensor whose last element's distance from the first is the sum of all strides' lengths.
Range strided(const void *address, const int64_t *sizes, const int64_t *strides, int axes, int64_t bytes = 4) {
  int64_t last = 0;
  for (int i = 0; i < axes; ++i) {
    if (sizes[i] <= 0)
      return {};
    last += (sizes[i] - 1) * strides[i];
  }
  return dense(address, last + 1, bytes);
}

int64_t bytesOfType(int64_t dtype) { return dtype == LATHE_F32 ? 4 : 2; }

/// Bytes of a number of a call's result; bias, multiplier and residual have those of its dtype.
int64_t bytesOfResult(const lathe_matmul_call &call) {
  return call.out_bytes != LATHE_BYTES_NONE ? 2 : bytesOfType(call.dtype);
}

/// What has the strides of a product's result.
Range resultRange(const lathe_matmul_call &call, const void *address, int64_t bytes) {
  const int64_t sizes[] = {call.batch[0], call.batch[1], call.batch[2], call.m, call.n};
  const int64_t strides[] = {call.out_batch[0], call.out_batch[1], call.out_batch[2], call.out_row, 1};
  return strided(address, sizes, strides, 5, bytes);
}
Range resultRange(const lathe_matmul_call &call) { return resultRange(call, call.out, bytesOfResult(call)); }
/// Of a multiplier or residual.
Range sideRange(const lathe_matmul_call &call, const void *address) {
  return resultRange(call, address, bytesOfType(call.dtype));
}
Range biasRange(const lathe_matmul_call &call) { return dense(call.bias, call.n, bytesOfType(call.dtype)); }

/// Whether results of both lie alike.
bool haveSameResult(const lathe_matmul_call &a, const lathe_matmul_call &b) {
  return a.n == b.n && a.out_row == b.out_row && std::equal(a.out_batch, a.out_batch + 3, b.out_batch);
}

/// Whether they read one left side in one way.
bool haveSameLeft(const lathe_matmul_call &a, const lathe_matmul_call &b) {
  return a.a == b.a && a.dtype == b.dtype && a.a_bytes == b.a_bytes && a.m == b.m && a.k == b.k && a.a_row == b.a_row &&
         a.a_col == b.a_col && std::equal(a.batch, a.batch + 3, b.batch) &&
         std::equal(a.a_batch, a.a_batch + 3, b.a_batch) && a.a_quantization == b.a_quantization &&
         a.a_scale == b.a_scale && a.a_zero == b.a_zero && a.arithmetic == b.arithmetic;
}

/// Whether codes stand for numbers in one way; panels may differ.
bool haveSameFormat(const runtime::QuantizedLayout &a, const runtime::QuantizedLayout &b) {
  return a.k == b.k && a.bits == b.bits && a.values == b.values && a.dimension == b.dimension && a.group == b.group &&
         a.scale == b.scale && a.zeros == b.zeros && a.zero == b.zero && a.tableBytes() == b.tableBytes();
}

bool haveSameFormat(const NumbersWeight &a, const NumbersWeight &b) {
  return a.dtype == b.dtype && a.transposed == b.transposed;
}

/// A buffer as the arguments of a launch describe it: dense.
struct Buffer {
  static constexpr int64_t kMaxRank = 4;
  float *data = nullptr;
  int64_t sizes[kMaxRank] = {};

  /// Reads its address, and the sizes of the first `rank` axes.
  bool read(const void *args, int64_t bytes, int64_t offset, int rank) {
    if (offset < 0 || offset + 24 + 8 * rank > bytes)
      return false;
    auto *from = static_cast<const unsigned char *>(args) + offset;
    memcpy(&data, from + 8, 8);
    memcpy(sizes, from + 24, static_cast<size_t>(8 * rank));
    return true;
  }
};

bool readNorm(const Computation &computes, const LaunchCall &launch, const void *args, NormArgs *norm, const void **x) {
  Buffer in, gain, bias, out;
  const int64_t *places = computes.arguments;
  if (!in.read(args, launch.argsBytes, places[0], 0) || !out.read(args, launch.argsBytes, places[3], 0) ||
      (places[1] >= 0 && !gain.read(args, launch.argsBytes, places[1], 0)) ||
      (places[2] >= 0 && !bias.read(args, launch.argsBytes, places[2], 0)))
    return false;
  *norm = {computes.operation == Computation::Operation::rmsNorm ? 1 : 2,
           gain.data,
           bias.data,
           out.data,
           computes.epsilon,
           computes.type != LATHE_F32};
  *x = in.data;
  int64_t count = launch.count * computes.columns;
  return !meet(dense(in.data, count), dense(out.data, count, bytesOfType(computes.type)));
}

/// A rotation as a part of a launch; false where it is another one.
bool readRotation(const Computation &computes, const LaunchCall &launch, const void *args, StepRowsPart *part) {
  Buffer x, cosine, sine, out;
  const int64_t *places = computes.arguments;
  if (!x.read(args, launch.argsBytes, places[0], 4) || !cosine.read(args, launch.argsBytes, places[1], 4) ||
      !sine.read(args, launch.argsBytes, places[2], 4) || !out.read(args, launch.argsBytes, places[3], 4))
    return false;
  int64_t strides[4] = {x.sizes[1] * x.sizes[2] * x.sizes[3], x.sizes[2] * x.sizes[3], x.sizes[3], 1};
  int64_t angle[3] = {cosine.sizes[1] * cosine.sizes[2] * cosine.sizes[3], cosine.sizes[2] * cosine.sizes[3],
                      cosine.sizes[3]};
  *part = {};
  for (int i = 0; i < 4; ++i) {
    int64_t from = computes.order[i];
    part->sizes[i] = out.sizes[i];
    part->strides[i] = strides[from];
    if (x.sizes[from] != out.sizes[i] || cosine.sizes[i] != sine.sizes[i] ||
        (cosine.sizes[i] != out.sizes[i] && cosine.sizes[i] != 1))
      return false;
    if (i < 3)
      part->angle_strides[i] = cosine.sizes[i] == 1 ? 0 : angle[i];
  }
  if (part->sizes[3] != computes.columns || cosine.sizes[3] != computes.columns)
    return false;
  part->from = x.data;
  part->cosine = cosine.data;
  part->sine = sine.data;
  part->out = out.data;
  return true;
}

int64_t rowsOf(const StepRowsPart &part) { return part.sizes[0] * part.sizes[1] * part.sizes[2]; }
Range writtenBy(const StepRowsPart &part) { return dense(part.out, rowsOf(part) * part.sizes[3]); }
/// Whether a part reads what is in `range`.
bool reads(const StepRowsPart &part, const Range &range) {
  auto angles = [&](const float *address) {
    const int64_t strides[] = {part.angle_strides[0], part.angle_strides[1], part.angle_strides[2], 1};
    return strided(address, part.sizes, strides, 4);
  };
  return meet(strided(part.from, part.sizes, part.strides, 4), range) || meet(angles(part.cosine), range) ||
         meet(angles(part.sine), range);
}

} // namespace

//===----------------------------------------------------------------------===//
// What comes
//===----------------------------------------------------------------------===//

void Fusion::launch(int64_t kernel, const LaunchCall &launch, const void *args) {
  std::initializer_list<Replay::Part> parts = {{&launch, sizeof(launch)},
                                               {args, static_cast<size_t>(launch.argsBytes)}};
  const auto &computes = program_.kernels[static_cast<size_t>(kernel)].computes;
  if (isOn_ && computes && computes->operation != Computation::Operation::rotateHalf) {
    Norm norm;
    norm.rows = launch.count;
    norm.columns = computes->columns;
    norm.type = computes->type;
    if (launch.count <= kFewRows && readNorm(*computes, launch, args, &norm.args, &norm.x)) {
      flush();
      norm_ = norm;
      return hold(State::norm, kGeneratedCall, kernel, parts);
    }
  }
  StepRowsPart part;
  if (isOn_ && computes && computes->operation == Computation::Operation::rotateHalf &&
      readRotation(*computes, launch, args, &part) && !reads(part, writtenBy(part))) {
    addRows(part);
    return hold(State::rows, kGeneratedCall, kernel, parts);
  }
  flush();
  sink_.make(kGeneratedCall, kernel, parts);
}

void Fusion::product(const lathe_matmul_call &call) {
  bool isChained = false;
  if (!isOn_ || !mayJoin(call)) {
    flush();
    return sink_.make(kProductCall, call.kernel, {{&call, sizeof(call)}});
  }
  if (state_ == State::norm && followsNorm(call)) {
    group_ = {};
    group_.norm = norm_.args;
    group_.x = norm_.x;
  } else if (state_ == State::products && followsProducts(call, &isChained)) {
    group_.isChained = isChained;
  } else {
    flush();
    group_ = {};
  }
  group_.calls[group_.count++] = call;
  hold(State::products, kProductCall, call.kernel, {{&call, sizeof(call)}});
}

void Fusion::append(int64_t kernel, const CacheArgs &args, const LaunchCall &launch) {
  std::initializer_list<Replay::Part> parts = {{&launch, sizeof(launch)}, {&args, sizeof(args)}};
  if (!isOn_ || launch.argsBytes != sizeof(args)) {
    flush();
    return sink_.make(kWrittenCall, kernel, parts);
  }
  StepRowsPart part = {};
  part.from = static_cast<const float *>(args.data);
  std::copy(args.sizes, args.sizes + 4, part.sizes);
  std::copy(args.strides, args.strides + 4, part.strides);
  part.pages = args.pages;
  part.counts = args.counts;
  part.offset = args.offset;
  part.head_bytes = args.head_bytes;
  // What was rotated just before goes there at once.
  const int64_t denseStrides[] = {part.sizes[1] * part.sizes[2] * part.sizes[3], part.sizes[2] * part.sizes[3],
                                  part.sizes[3], 1};
  for (int64_t i = 0; i < rows_.count && state_ == State::rows; ++i) {
    StepRowsPart &made = rows_.parts[i];
    bool isSame = made.out == part.from && !made.pages && std::equal(made.sizes, made.sizes + 4, part.sizes);
    for (int axis = 0; axis < 4; ++axis)
      isSame &= part.sizes[axis] == 1 || part.strides[axis] == denseStrides[axis];
    if (!isSame)
      continue;
    made.pages = part.pages;
    made.counts = part.counts;
    made.offset = part.offset;
    made.head_bytes = part.head_bytes;
    return hold(State::rows, kWrittenCall, kernel, parts);
  }
  addRows(part);
  hold(State::rows, kWrittenCall, kernel, parts);
}

void Fusion::hold(State state, int64_t kind, int64_t kernel, std::initializer_list<Replay::Part> parts) {
  state_ = state;
  originals_.push_back({kind, kernel, {}});
  for (const Replay::Part &part : parts) {
    auto *bytes = static_cast<const unsigned char *>(part.data);
    originals_.back().bytes.insert(originals_.back().bytes.end(), bytes, bytes + part.bytes);
  }
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

/// Of a call that may join.
const runtime::Constant &Fusion::weightOf(const lathe_matmul_call &call) const {
  return module_.services().manifest().constants[static_cast<size_t>(call.weight)];
}

bool Fusion::mayJoin(const lathe_matmul_call &call) const {
  for (int64_t extent : {call.m, call.n, call.k, call.batch[0], call.batch[1], call.batch[2]})
    if (extent < 1)
      return false;
  if (call.weight < 0 || static_cast<size_t>(call.weight) >= module_.services().manifest().constants.size())
    return false;
  const runtime::Constant &weight = weightOf(call);
  std::string why;
  if (!weight.quantized) // those that cuSPARSELt may multiply by stay apart: what is faster is timed for each
    return numbersWeight(call, weight) && !(weight.halfZeros && module_.sparse().isThere(&why));
  int64_t most = multipliesCodes(call, *weight.quantized) ? kMatrixRows : kFewRows;
  return weight.dims[0] == call.k && weight.dims[1] == call.n && rowsOf(call) <= most && call.dtype == LATHE_F32 &&
         !call.a_bytes && !call.out_bytes;
}

/// Whether one kernel multiplies by the weights of both, each of which may join.
bool Fusion::haveSameFormat(const lathe_matmul_call &a, const lathe_matmul_call &b) const {
  const runtime::Constant &first = weightOf(a), &second = weightOf(b);
  if (first.quantized || second.quantized)
    return first.quantized && second.quantized && ::haveSameFormat(*first.quantized, *second.quantized);
  return ::haveSameFormat(*numbersWeight(a, first), *numbersWeight(b, second));
}

/// Whether neither side writes what the other one touches.
bool Fusion::isApartFromNorm(const lathe_matmul_call &call) const {
  int64_t count = norm_.rows * norm_.columns;
  Range x = dense(norm_.x, count), out = dense(norm_.args.out, count, bytesOfType(norm_.type));
  Range result = resultRange(call);
  return !meet(result, x) && !meet(result, out) && !meet(biasRange(call), out) &&
         !meet(sideRange(call, call.multiplier), out) && !meet(sideRange(call, call.residual), out) &&
         !meet(result, dense(norm_.args.gain, norm_.columns)) && !meet(result, dense(norm_.args.bias, norm_.columns));
}

/// Type of a left side, which is not bytes.
static int64_t leftType(const lathe_matmul_call &call) {
  return call.a_bytes == LATHE_BYTES_F16    ? int64_t(LATHE_F16)
         : call.a_bytes == LATHE_BYTES_BF16 ? int64_t(LATHE_BF16)
                                            : call.dtype;
}

/// Whether the left side is what the norm writes, row by row.
bool Fusion::followsNorm(const lathe_matmul_call &call) const {
  if (call.a != norm_.args.out || call.dtype != LATHE_F32 || leftType(call) != norm_.type || call.k != norm_.columns ||
      rowsOf(call) != norm_.rows || (call.a_col != 1 && call.k > 1) || (call.a_row != call.k && call.m > 1))
    return false;
  int64_t stride = call.m * call.k;
  for (int i = 2; i >= 0; --i) {
    if (call.batch[i] > 1 && call.a_batch[i] != stride)
      return false;
    stride *= call.batch[i];
  }
  return isApartFromNorm(call);
}

/// Whether a product may be computed beside those that are held back, or, `isChained`, each of its elements behind the
/// one that it is multiplied by.
bool Fusion::followsProducts(const lathe_matmul_call &call, bool *isChained) const {
  const lathe_matmul_call &first = group_.calls[0];
  if (group_.count == kMostQuantizedParts || group_.isChained || !haveSameLeft(first, call) ||
      !haveSameFormat(first, call) || (group_.norm.kind != 0 && !isApartFromNorm(call)))
    return false;
  auto isApart = [&](const lathe_matmul_call &writer, const lathe_matmul_call &other, bool mayEqual) {
    Range written = resultRange(writer);
    auto touches = [&](const void *address, int64_t bytes) {
      return !(mayEqual && address == writer.out && bytes == bytesOfResult(writer)) &&
             meet(resultRange(other, address, bytes), written);
    };
    int64_t bytes = bytesOfType(other.dtype);
    return !touches(other.out, bytesOfResult(other)) && !touches(other.multiplier, bytes) &&
           !touches(other.residual, bytes) && !meet(biasRange(other), written);
  };
  *isChained = group_.count == 1 && call.multiplier == first.out && haveSameResult(first, call);
  if (*isChained) // one thread has the same element of all
    return isApart(first, call, true) && isApart(call, first, true);
  for (int64_t i = 0; i < group_.count; ++i)
    if (!isApart(group_.calls[i], call, false) || !isApart(call, group_.calls[i], false))
      return false;
  return true;
}

//===----------------------------------------------------------------------===//
// Rows of a step
//===----------------------------------------------------------------------===//

bool Fusion::fits(const StepRowsPart &part) const {
  if (state_ != State::rows || rows_.count == kMostStepRows)
    return false;
  for (int64_t i = 0; i < rows_.count; ++i) {
    const StepRowsPart &other = rows_.parts[i];
    if (reads(part, writtenBy(other)) || reads(other, writtenBy(part)) || meet(writtenBy(part), writtenBy(other)))
      return false;
  }
  return true;
}

void Fusion::addRows(const StepRowsPart &part) {
  if (!fits(part)) {
    flush();
    rows_ = {};
  }
  rows_.parts[rows_.count++] = part;
}

//===----------------------------------------------------------------------===//
// What goes
//===----------------------------------------------------------------------===//

void Fusion::flush() {
  State state = state_;
  state_ = State::nothing;
  if (state == State::nothing)
    return;
  const Original &last = originals_.back();
  if (originals_.size() == 1) {
    sink_.make(last.kind, last.kernel, {{last.bytes.data(), last.bytes.size()}});
  } else if (state == State::products) {
    sink_.make(kProductGroupCall, last.kernel, {{&group_, sizeof(group_)}});
  } else {
    KernelLaunch launch;
    std::string why;
    if (stepRowsLaunch(rows_, &launch, &why))
      sink_.makeWritten(last.kernel, launch);
    else
      for (const Original &original : originals_)
        sink_.make(original.kind, original.kernel, {{original.bytes.data(), original.bytes.size()}});
  }
  originals_.clear();
}

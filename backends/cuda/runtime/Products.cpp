//===- Products.cpp - Matrix products by cuBLASLt ---------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// The library stores matrices by columns: our row-major out = a * b is its out^T = b^T * a^T, whose left side is our b.
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/runtime/Products.h"

#include "backends/cuda/runtime/UnpackSparse.h"

#include <algorithm>
#include <vector>

using namespace lathe;
using namespace lathe::cuda;
using runtime::failure;
using runtime::join;
using runtime::Status;
using runtime::success;

namespace {

/// Matrices of a batch at once: along two of a grid's axes there are no more blocks, and not all algorithms go around.
constexpr int64_t kMaxBatch = 65535;

DevicePointer pointerOf(const void *address) { return reinterpret_cast<DevicePointer>(address); }

/// The largest power of two up to 256 that divides the addresses of all batches.
int64_t alignmentOf(DevicePointer address, const MatrixView &view) {
  uint64_t bits = address | 256;
  for (int64_t stride : {view.batch[0], view.batch[1]})
    bits |= static_cast<uint64_t>(stride * bytesOf(view.type));
  return static_cast<int64_t>(bits & (~bits + 1));
}

/// BlasType of what a call computes in; -1 where there is none.
int64_t blasType(int64_t dtype) {
  return dtype == LATHE_F32    ? int(kBlasF32)
         : dtype == LATHE_F16  ? int(kBlasF16)
         : dtype == LATHE_BF16 ? int(kBlasBf16)
                               : -1;
}

/// BlasType of a side of a call, whose other sides are of `type`; -1 for bytes.
int64_t sideType(int64_t bytes, int64_t type) {
  return bytes == LATHE_BYTES_NONE   ? type
         : bytes == LATHE_BYTES_F16  ? int64_t(kBlasF16)
         : bytes == LATHE_BYTES_BF16 ? int64_t(kBlasBf16)
                                     : -1;
}

/// The epilogue that computes bias, activation and residual in the order of lathe_activation; false where none does.
bool findEpilogue(int64_t activation, bool hasBias, bool hasResidual, int64_t *epilogue) {
  // The library adds the residual before it applies the activation.
  if (hasResidual && activation != LATHE_ACT_NONE)
    return false;
  switch (activation) {
  case LATHE_ACT_NONE:
    *epilogue = hasBias ? kEpilogueBias : kEpilogueDefault;
    return true;
  case LATHE_ACT_RELU:
    *epilogue = hasBias ? kEpilogueReluBias : kEpilogueRelu;
    return true;
  case LATHE_ACT_GELU_TANH:
    *epilogue = hasBias ? kEpilogueGeluBias : kEpilogueGelu;
    return true;
  default:
    return false;
  }
}

} // namespace

Orientation cuda::orient(int64_t rows, int64_t cols, int64_t rowStride, int64_t colStride) {
  if (cols == 1)
    colStride = 1;
  if (colStride == 1 && (rows == 1 || rowStride >= cols))
    return {true, false, rows == 1 ? cols : rowStride};
  if (rows == 1)
    rowStride = 1;
  if (rowStride == 1 && (cols == 1 || colStride >= rows))
    return {true, true, cols == 1 ? rows : colStride};
  return {};
}

Product::Product(const lathe_matmul_call &call)
    : m(call.m), n(call.n), k(call.k), bias(pointerOf(call.bias)), residual(pointerOf(call.residual)),
      alpha(static_cast<float>(call.alpha)), activation(call.activation) {
  int64_t type = blasType(call.dtype);
  a = {pointerOf(call.a), call.a_row, call.a_col, {}, sideType(call.a_bytes, type)};
  b = {pointerOf(call.b), call.b_row, call.b_col, {}, type};
  out = {pointerOf(call.out), call.out_row, 1, {}, sideType(call.out_bytes, type)};
  for (int i = 0; i < 3; ++i) {
    batch[i] = call.batch[i];
    a.batch[i] = call.a_batch[i];
    b.batch[i] = call.b_batch[i];
    out.batch[i] = call.out_batch[i];
  }
}

void Product::simplify() {
  struct Axis {
    int64_t extent, a, b, out;
  };
  std::vector<Axis> axes; // innermost first
  for (int i = 2; i >= 0; --i) {
    if (batch[i] == 1)
      continue;
    Axis axis = {batch[i], a.batch[i], b.batch[i], out.batch[i]};
    Axis *inner = axes.empty() ? nullptr : &axes.back();
    if (inner && axis.a == inner->a * inner->extent && axis.b == inner->b * inner->extent &&
        axis.out == inner->out * inner->extent)
      inner->extent *= axis.extent;
    else
      axes.push_back(axis);
  }
  // Items that share the right side, and follow each other as rows do, are rows.
  if (!axes.empty() && axes.front().b == 0 &&
      (m == 1 || (axes.front().a == m * a.row && axes.front().out == m * out.row))) {
    if (m == 1) {
      a.row = axes.front().a;
      out.row = axes.front().out;
    }
    m *= axes.front().extent;
    axes.erase(axes.begin());
  }
  for (size_t i = 0; i < 3; ++i) {
    Axis axis = i < axes.size() ? axes[i] : Axis{1, 0, 0, 0};
    batch[2 - i] = axis.extent;
    a.batch[2 - i] = axis.a;
    b.batch[2 - i] = axis.b;
    out.batch[2 - i] = axis.out;
  }
}

//===----------------------------------------------------------------------===//
// Operands that the library can't read
//===----------------------------------------------------------------------===//

bool Products::isStaged(const Staged &wanted, bool again, bool prepareOnly) {
  if (again && memcmp(&wanted, &staged_, sizeof(wanted)) == 0)
    return true;
  staged_ = prepareOnly ? Staged() : wanted; // nothing is written then
  return false;
}

/// Makes a matrix dense where its strides are none that the library reads, or its type is another one; or `always`.
Status Products::stage(Product &product, MatrixView &matrix, int64_t rows, int64_t cols, int64_t type, Scratch &scratch,
                       bool again, bool prepareOnly, bool always) {
  if (!always && matrix.type == type && orient(rows, cols, matrix.row, matrix.col).possible)
    return success();
  if (matrix.type != type && (matrix.type != kBlasF32 || (type != kBlasF16 && type != kBlasBf16)))
    return failure(LATHE_INTERNAL, "the device has no product of operands of these types");
  int64_t extents[3], strides[3], items = 1, element = bytesOf(type);
  // Rows of 16 bits begin where matrix instructions like them to.
  int64_t row = element == 2 && rows > 1 ? (cols + 7) / 8 * 8 : cols;
  for (int i = 2; i >= 0; --i) {
    extents[i] = matrix.batch[i] == 0 ? 1 : product.batch[i]; // shared ones are copied once
    strides[i] = matrix.batch[i] == 0 ? 0 : items * rows * row;
    items *= extents[i];
  }
  if (Status status =
          scratch.reserve(static_cast<uint64_t>(items * rows * row * element), "a dense copy of an operand");
      status.failed())
    return status;
  bool isThere = false;
  if (&scratch == &stagedA_) {
    Staged wanted = {matrix, {extents[0], extents[1], extents[2]}, rows, cols, type, LATHE_QUANTIZE_NONE, 0, 0};
    isThere = isStaged(wanted, again, prepareOnly);
  }
  if (!prepareOnly && !isThere) {
    CopyArgs args = {reinterpret_cast<const void *>(matrix.data),
                     reinterpret_cast<void *>(scratch.address()),
                     {extents[0], extents[1], extents[2], rows, cols},
                     {matrix.batch[0], matrix.batch[1], matrix.batch[2], matrix.row, matrix.col},
                     {strides[0], strides[1], strides[2], row, 1}};
    KernelLaunch launch;
    std::string why;
    bool possible = matrix.type == type ? copyLaunch(args, element, &launch, &why)
                                        : narrowLaunch(args, type == kBlasF16 ? LATHE_F16 : LATHE_BF16, &launch, &why);
    if (Status status = start(possible, launch, why); status.failed())
      return status;
  }
  matrix = {scratch.address(), row, 1, {strides[0], strides[1], strides[2]}, type};
  return success();
}

/// A product over nothing is one over a column and a row of zeros.
Status Products::zeroOperands(Product &product, bool prepareOnly) {
  auto bytes = static_cast<uint64_t>(std::max(product.m, product.n) * 4);
  if (Status status = stagedA_.reserve(bytes, "zeros"); status.failed())
    return status;
  staged_ = {};
  product.k = 1;
  product.a = {stagedA_.address(), 1, 1, {}, product.a.type};
  product.b = {stagedA_.address(), product.n, 1, {}, product.a.type};
  return prepareOnly ? success()
                     : device_.status(driver_.memsetD8Async(stagedA_.address(), 0, bytes, stream_), "writing zeros");
}

//===----------------------------------------------------------------------===//
// Which product it is
//===----------------------------------------------------------------------===//

Status Products::start(bool possible, const KernelLaunch &launch, const std::string &why) {
  return possible ? module_.start(launch, stream_) : failure(LATHE_INTERNAL, why);
}

/// What is in stagedA_ is of a left side that one before has read, maybe in another run, unless this is the same.
void Products::beginLeft(const lathe_matmul_call &call) {
  if (!call.a_again)
    staged_ = {};
}

Status Products::execute(const lathe_matmul_call &call) {
  beginLeft(call);
  return run(call, false);
}

Status Products::run(const lathe_matmul_call &call, bool prepareOnly) {
  for (int64_t extent : {call.m, call.n, call.k, call.batch[0], call.batch[1], call.batch[2]})
    if (extent < 0)
      return failure(LATHE_INTERNAL, "negative extent in matmul");
  if (call.m == 0 || call.n == 0 || call.batch[0] == 0 || call.batch[1] == 0 || call.batch[2] == 0)
    return success();
  int64_t type = blasType(call.dtype);
  if (type < 0)
    return failure(LATHE_INTERNAL, "the device has no product of this type; expected f32, f16 or bf16");
  const std::vector<runtime::Constant> &constants = module_.services().manifest().constants;
  bool known = call.weight >= 0 && static_cast<size_t>(call.weight) < constants.size();
  if (known && constants[static_cast<size_t>(call.weight)].quantized)
    return runQuantized(call, constants[static_cast<size_t>(call.weight)], prepareOnly);
  if (call.a_quantization != LATHE_QUANTIZE_NONE)
    return failure(LATHE_INTERNAL, "the device has no product of integers without a quantized weight");
  MatrixView right = {pointerOf(call.b), call.b_row, call.b_col, {}, type};
  std::copy(call.b_batch, call.b_batch + 3, right.batch);
  int64_t left = sideType(call.a_bytes, type), out = sideType(call.out_bytes, type);
  if (left < 0 || out < 0 || ((left != type || out != type) && (type != kBlasF32 || call.weight < 0)))
    return failure(LATHE_INTERNAL, "the device has no product whose sides are of these types");
  if (call.weight < 0)
    return runDense(call, right, prepareOnly);
  if (!known)
    return failure(LATHE_INTERNAL, "the artifact's code multiplies by constant ", call.weight, " of ",
                   constants.size());
  const runtime::Constant &weight = constants[static_cast<size_t>(call.weight)];
  right.type = blasType(weight.sparse ? denseType(*weight.sparse) : weight.type->dtype);
  if (right.type < 0 || (type != kBlasF32 && right.type != type) || (left != type && left != right.type))
    return failure(LATHE_INTERNAL, "the device has no product by constant '", weight.name, "' of ", weight.type->name,
                   " in its form");
  right.data = pointerOf(module_.constants()[call.weight]);
  if (weight.packed || weight.sparse) { // and unpacked when it was copied
    right.row = call.n;
    right.col = 1;
  }
  // Along the axis that is summed over, of strides as products read the matrix.
  int64_t summed = right.col == 1 && right.row == call.n ? 0 : 1;
  if (weight.halfZeros >> summed & 1) {
    bool isTaken = false;
    if (Status status = runSparse(call, right, prepareOnly, &isTaken); status.failed() || isTaken)
      return status;
  }
  return runByWeight(call, right, prepareOnly);
}

/// By a constant of numbers that is multiplied as it is.
Status Products::runByWeight(const lathe_matmul_call &call, const MatrixView &right, bool prepareOnly) {
  const runtime::Constant &weight = module_.services().manifest().constants[static_cast<size_t>(call.weight)];
  if (std::optional<NumbersWeight> form = numbersWeight(call, weight))
    return prepareOnly ? success() : runFewRows(&call, 1, *form, nullptr);
  return runDense(call, right, prepareOnly);
}

/// By the library, with its epilogue or with one behind it. `right` is the right side, whatever the call says.
Status Products::runDense(const lathe_matmul_call &call, const MatrixView &right, bool prepareOnly) {
  Product product(call);
  product.b = right;
  int64_t epilogue = kEpilogueDefault;
  bool again = call.a_again != 0;
  // Biases and residuals are of f32 where the result is not, which is rounded once and within the bounds of its type.
  bool isNarrow = product.out.type != blasType(call.dtype);
  bool isPlain = !call.bias && !call.multiplier && !call.residual && call.activation == LATHE_ACT_NONE;
  if (isNarrow && isPlain && product.out.type == kBlasBf16 && right.type == kBlasBf16)
    return runByLibrary(product, kEpilogueDefault, right.type, again, prepareOnly);
  if (!isNarrow && !call.multiplier && findEpilogue(call.activation, call.bias, call.residual, &epilogue)) {
    bool isRefused = false;
    Status status = runByLibrary(product, epilogue, right.type, again, prepareOnly,
                                 epilogue == kEpilogueDefault ? nullptr : &isRefused);
    if (!isRefused)
      return status;
  }
  product.bias = product.residual = 0;
  product.activation = LATHE_ACT_NONE;
  KernelLaunch launch;
  std::string why;
  EpilogueArgs args = epilogueArgs(call);
  args.alpha = 1; // is in the product
  // In place what is added or multiplied last would be overwritten, and numbers of 16 bits rounded twice.
  if (call.residual != call.out && call.multiplier != call.out && product.out.type == kBlasF32) {
    if (Status status = runByLibrary(product, kEpilogueDefault, right.type, again, prepareOnly);
        status.failed() || prepareOnly)
      return status;
    return start(epilogueLaunch(args, call.dtype, &launch, &why), launch, why);
  }
  int64_t item = call.m * call.n;
  if (Status status = stagedOut_.reserve(
          static_cast<uint64_t>(call.batch[0] * call.batch[1] * call.batch[2] * item * 4), "a product's sums");
      status.failed())
    return status;
  int64_t written = product.out.type;
  product.out = {
      stagedOut_.address(), call.n, 1, {call.batch[1] * call.batch[2] * item, call.batch[2] * item, item}, kBlasF32};
  if (Status status = runByLibrary(product, kEpilogueDefault, right.type, again, prepareOnly);
      status.failed() || prepareOnly)
    return status;
  FinishArgs finish = {args, reinterpret_cast<const float *>(stagedOut_.address())};
  bool isPossible = isNarrow ? finishNarrowLaunch(finish, written == kBlasF16 ? LATHE_F16 : LATHE_BF16, &launch, &why)
                             : finishLaunch(finish, call.dtype, &launch, &why);
  return start(isPossible, launch, why);
}

Status Products::runByLibrary(Product product, int64_t epilogue, int64_t operands, bool again, bool prepareOnly,
                              bool *isRefused) {
  product.simplify();
  Status status = success();
  if (product.batch[2] > kMaxBatch) {
    for (int64_t first = 0; first < product.batch[2] && !status.failed(); first += kMaxBatch) {
      Product part = product;
      part.batch[2] = std::min(kMaxBatch, product.batch[2] - first);
      for (MatrixView *view : {&part.a, &part.b, &part.out})
        view->data += static_cast<DevicePointer>(first * view->batch[2] * bytesOf(view->type));
      if (product.residual)
        part.residual += part.out.data - product.out.data;
      status = runByLibrary(part, epilogue, operands, again, prepareOnly, first == 0 ? isRefused : nullptr);
      if (isRefused && *isRefused)
        break;
    }
    return status;
  }
  if (product.k == 0) {
    product.a.type = operands;
    status = zeroOperands(product, prepareOnly);
  }
  if (!status.failed())
    status = stage(product, product.a, product.m, product.k, operands, stagedA_, again, prepareOnly);
  if (!status.failed())
    status = stage(product, product.b, product.k, product.n, operands, stagedB_, false, prepareOnly);
  if (status.failed())
    return status;

  // The library's left side is our right one, and its rows are our columns.
  const MatrixView &a = product.a, &b = product.b, &out = product.out;
  Orientation left = orient(product.k, product.n, b.row, b.col), right = orient(product.m, product.k, a.row, a.col);
  BlasProblem problem;
  problem.epilogue = epilogue;
  problem.operands = operands;
  problem.result = out.type;
  if (operands == kBlasF32 && module_.allowsTf32())
    problem.compute = kBlasComputeTf32;
  problem.m = product.n, problem.n = product.m, problem.k = product.k;
  problem.transA = left.transposed, problem.lda = left.ld;
  problem.transB = right.transposed, problem.ldb = right.ld;
  problem.ldc = product.m == 1 ? product.n : out.row;
  problem.batch = product.batch[2];
  if (problem.batch > 1)
    problem.strideA = b.batch[2], problem.strideB = a.batch[2], problem.strideC = out.batch[2];
  problem.alignA = alignmentOf(b.data, b);
  problem.alignB = alignmentOf(a.data, a);
  problem.alignD = alignmentOf(out.data, out);
  problem.alignC = product.residual ? alignmentOf(product.residual, out) : problem.alignD;
  if (epilogue & kEpilogueBias)
    problem.alignBias = alignmentOf(product.bias, MatrixView());
  BlasPlan *plan = nullptr;
  if (status = plans_.find(problem, &plan, isRefused); status.failed() || prepareOnly || !plan)
    return status;
  float beta = product.residual ? 1.0f : 0.0f;
  std::string what = join("product of [", product.m, ", ", product.k, "] and [", product.k, ", ", product.n, "]");
  for (int64_t i = 0; i < product.batch[0] && !status.failed(); ++i)
    for (int64_t j = 0; j < product.batch[1] && !status.failed(); ++j) {
      auto at = [&](DevicePointer data, const MatrixView &view) {
        int64_t elements = i * view.batch[0] + j * view.batch[1];
        return reinterpret_cast<void *>(data + static_cast<DevicePointer>(elements * bytesOf(view.type)));
      };
      BlasOperands addresses;
      addresses.a = at(b.data, b);
      addresses.b = at(a.data, a);
      addresses.d = at(out.data, out);
      addresses.c = product.residual ? at(product.residual, out) : addresses.d;
      addresses.alpha = &product.alpha;
      addresses.beta = &beta;
      addresses.bias = (epilogue & kEpilogueBias) ? product.bias : 0;
      status = plans_.multiply(*plan, addresses, what);
    }
  return status;
}

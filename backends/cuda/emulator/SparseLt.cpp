//===- SparseLt.cpp - cuSPARSELt by plain loops -----------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// Refuses what the library does ("Key features" and the constraints of each function in its documentation): extents
// that are no multiples, alignment below 16 bytes, combinations of types, a structured matrix that is not A, objects
// that were not made, or are gone. Sums are in f32, and what they become is rounded once, to the type of the operands,
// of which alone the library writes results. What is compressed has a form of its own, as the library's has.
//
//===----------------------------------------------------------------------===//
#include "backends/cuda/emulator/Driver.h"
#include "backends/cuda/emulator/Streams.h"
#include "runtime/SmallFloats.h"

#include <algorithm>
#include <cstring>
#include <vector>

using namespace lathe;
using namespace lathe::cuda;
using runtime::failure;
using runtime::join;

namespace {

constexpr size_t kWorkspaceBytes = 4096;
/// Of sparse matrices; of dense ones half of it.
constexpr int64_t kMultiple = 16;

int refuse(int status, std::string why) {
  emulator::explain(std::move(why));
  return status;
}

enum class Kind : uint64_t { none, handle, matrix, product, selection, plan };

/// What objects begin with.
struct Head {
  static constexpr uint64_t kMagic = 0x4c41535041525345;
  uint64_t magic = 0;
  Kind kind = Kind::none;
};

struct Handle : Head {
  static constexpr Kind kKind = Kind::handle;
};

struct Matrix : Head {
  static constexpr Kind kKind = Kind::matrix;
  int64_t rows = 0, cols = 0, ld = 0;
  int type = 0, order = 0;
  bool isStructured = false;

  int64_t at(int64_t row, int64_t col) const { return order == kSparseLtByRows ? row * ld + col : col * ld + row; }
  int64_t bytes() const { return (at(rows - 1, cols - 1) + 1) * bytesOf(type); }
};

struct Product : Head {
  static constexpr Kind kKind = Kind::product;
  int operationA = 0, operationB = 0;
  const SparseLtMatrix *a = nullptr, *b = nullptr, *c = nullptr, *d = nullptr;
};

struct Selection : Head {
  static constexpr Kind kKind = Kind::selection;
  const SparseLtProduct *product = nullptr;
  int config = 0;
};

struct Plan : Head {
  static constexpr Kind kKind = Kind::plan;
  const SparseLtProduct *product = nullptr;
  int config = 0;
};

/// What an object holds; null where it is none, or is gone.
template <typename T> const T *get(const SparseLtObject *object) {
  static_assert(sizeof(T) <= sizeof(SparseLtObject), "kept in the library's");
  auto *held = reinterpret_cast<const T *>(object ? object->data : nullptr);
  return held && held->magic == Head::kMagic && held->kind == T::kKind ? held : nullptr;
}

template <typename T> T *make(SparseLtObject *object) {
  T *made = new (object->data) T();
  made->magic = Head::kMagic;
  made->kind = T::kKind;
  return made;
}

template <typename T> int drop(const SparseLtObject *object) {
  if (!get<T>(object))
    return refuse(kSparseLtInvalidValue, "an object that is not there is destroyed");
  const_cast<SparseLtObject *>(object)->data[0] ^= 0xff;
  return kSparseLtSuccess;
}

int offered() { return static_cast<int>(std::max<size_t>(emulatorSettings().sparseMilliseconds.size(), 1)); }

int init(SparseLtHandle *handle) {
  if (!emulator::isReady() || emulator::refuseInCapture("a library is started"))
    return kSparseLtNotInitialized;
  if (!handle)
    return kSparseLtInvalidValue;
  if (emulatorSettings().capability < 80)
    return refuse(kSparseLtArchMismatch, join("compute capability ", emulatorSettings().capability, ", expected 80"));
  make<Handle>(handle);
  emulator::countHandle(1);
  return kSparseLtSuccess;
}

int destroy(const SparseLtHandle *handle) {
  if (!emulator::isReady())
    return kSparseLtNotInitialized;
  int status = drop<Handle>(handle);
  if (!status)
    emulator::countHandle(-1);
  return status;
}

int getVersion(const SparseLtHandle *handle, int *version) {
  if (!get<Handle>(handle) || !version)
    return kSparseLtInvalidValue;
  *version = 1000; // 0.10.0
  return kSparseLtSuccess;
}

int describe(const SparseLtHandle *handle, SparseLtMatrix *matrix, int64_t rows, int64_t cols, int64_t ld,
             uint32_t alignment, int type, int order, bool isStructured) {
  if (!get<Handle>(handle) || !matrix)
    return refuse(kSparseLtInvalidValue, "a matrix without a handle");
  if (type != kBlasF16 && type != kBlasBf16)
    return refuse(kSparseLtNotSupported, join("a matrix of type ", type, ", expected f16 or bf16"));
  if (order != kSparseLtByRows && order != kSparseLtByColumns)
    return refuse(kSparseLtInvalidValue, join("order ", order));
  if (alignment == 0 || alignment % 16 != 0)
    return refuse(kSparseLtNotSupported, join("an alignment of ", alignment, " bytes, expected a multiple of 16"));
  int64_t multiple = isStructured ? kMultiple : kMultiple / 2;
  if (rows < multiple || cols < multiple || rows % multiple != 0 || cols % multiple != 0 || ld % (kMultiple / 2) != 0)
    return refuse(kSparseLtNotSupported, join(isStructured ? "a structured" : "a dense", " matrix of [", rows, ", ",
                                              cols, "] with rows of ", ld, ", expected multiples of ", multiple));
  if (ld < (order == kSparseLtByRows ? cols : rows))
    return refuse(kSparseLtInvalidValue, join("a leading dimension of ", ld, " for [", rows, ", ", cols, "]"));
  auto *made = make<Matrix>(matrix);
  made->rows = rows, made->cols = cols, made->ld = ld;
  made->type = type, made->order = order;
  made->isStructured = isStructured;
  return kSparseLtSuccess;
}

int denseInit(const SparseLtHandle *handle, SparseLtMatrix *matrix, int64_t rows, int64_t cols, int64_t ld,
              uint32_t alignment, int type, int order) {
  return describe(handle, matrix, rows, cols, ld, alignment, type, order, false);
}

int structuredInit(const SparseLtHandle *handle, SparseLtMatrix *matrix, int64_t rows, int64_t cols, int64_t ld,
                   uint32_t alignment, int type, int order, int sparsity) {
  return sparsity == kSparseLtHalfZeros ? describe(handle, matrix, rows, cols, ld, alignment, type, order, true)
                                        : refuse(kSparseLtInvalidValue, join("sparsity ", sparsity));
}

int matrixDestroy(const SparseLtMatrix *matrix) { return drop<Matrix>(matrix); }

int productInit(const SparseLtHandle *handle, SparseLtProduct *product, int operationA, int operationB,
                const SparseLtMatrix *matrixA, const SparseLtMatrix *matrixB, const SparseLtMatrix *matrixC,
                const SparseLtMatrix *matrixD, int compute) {
  const Matrix *a = get<Matrix>(matrixA), *b = get<Matrix>(matrixB), *c = get<Matrix>(matrixC),
               *d = get<Matrix>(matrixD);
  if (!get<Handle>(handle) || !product || !a || !b || !c || !d)
    return refuse(kSparseLtInvalidValue, "a product of matrices that are not described");
  if (!a->isStructured || b->isStructured || c->isStructured || d->isStructured)
    return refuse(kSparseLtNotSupported, "a product whose structured matrix is not A alone");
  if (compute != kSparseLtComputeF32 || b->type != a->type || c->type != a->type || d->type != a->type)
    return refuse(kSparseLtNotSupported, join("a combination of types: ", a->type, " by ", b->type, " and ", c->type,
                                              " into ", d->type, " in ", compute));
  auto isOperation = [](int operation) { return operation == kSparseLtPlain || operation == kSparseLtTransposed; };
  if (!isOperation(operationA) || !isOperation(operationB))
    return refuse(kSparseLtInvalidValue, "an operation that there is not");
  int64_t m = operationA ? a->cols : a->rows, ka = operationA ? a->rows : a->cols;
  int64_t kb = operationB ? b->cols : b->rows, n = operationB ? b->rows : b->cols;
  if (ka != kb || d->rows != m || d->cols != n || c->rows != m || c->cols != n)
    return refuse(kSparseLtInvalidValue,
                  join("[", m, ", ", ka, "] times [", kb, ", ", n, "] into [", d->rows, ", ", d->cols, "]"));
  if (c->order != d->order || c->ld != d->ld)
    return refuse(kSparseLtInvalidValue, "C and D lie otherwise");
  auto *made = make<Product>(product);
  made->operationA = operationA, made->operationB = operationB;
  made->a = matrixA, made->b = matrixB, made->c = matrixC, made->d = matrixD;
  return kSparseLtSuccess;
}

int selectionInit(const SparseLtHandle *handle, SparseLtSelection *selection, const SparseLtProduct *product,
                  int algorithm) {
  if (!get<Handle>(handle) || !selection || !get<Product>(product) || algorithm != kSparseLtAnyAlgorithm)
    return refuse(kSparseLtInvalidValue, "algorithms of a product that is not described");
  make<Selection>(selection)->product = product;
  return kSparseLtSuccess;
}

int selectionDestroy(const SparseLtSelection *selection) { return drop<Selection>(selection); }

int selectionSet(const SparseLtHandle *handle, SparseLtSelection *selection, int attribute, const void *value,
                 size_t bytes) {
  int config = 0;
  if (!get<Handle>(handle) || !get<Selection>(selection) || attribute != kSparseLtConfig || !value ||
      bytes != sizeof(config))
    return refuse(kSparseLtInvalidValue, join("attribute ", attribute, " of ", bytes, " bytes"));
  memcpy(&config, value, sizeof(config));
  if (config < 0 || config >= offered())
    return refuse(kSparseLtInvalidValue, join("algorithm ", config, " of ", offered()));
  reinterpret_cast<Selection *>(selection->data)->config = config;
  return kSparseLtSuccess;
}

int selectionGet(const SparseLtHandle *handle, const SparseLtSelection *selection, int attribute, void *value,
                 size_t bytes) {
  const Selection *held = get<Selection>(selection);
  if (!get<Handle>(handle) || !held || (attribute != kSparseLtConfig && attribute != kSparseLtConfigs) || !value ||
      bytes != sizeof(int))
    return refuse(kSparseLtInvalidValue, join("attribute ", attribute, " of ", bytes, " bytes"));
  int number = attribute == kSparseLtConfig ? held->config : offered();
  memcpy(value, &number, sizeof(number));
  return kSparseLtSuccess;
}

int planInit(const SparseLtHandle *handle, SparseLtPlan *plan, const SparseLtProduct *product,
             const SparseLtSelection *selection) {
  const Selection *held = get<Selection>(selection);
  if (!get<Handle>(handle) || !plan || !get<Product>(product) || !held || held->product != product)
    return refuse(kSparseLtInvalidValue, "a plan of a product that no algorithm was chosen for");
  auto *made = make<Plan>(plan);
  made->product = product;
  made->config = held->config;
  return kSparseLtSuccess;
}

int planDestroy(const SparseLtPlan *plan) { return drop<Plan>(plan); }

int workspace(const SparseLtHandle *handle, const SparseLtPlan *plan, size_t *bytes) {
  if (!get<Handle>(handle) || !get<Plan>(plan) || !bytes)
    return refuse(kSparseLtInvalidValue, "the workspace of no plan");
  *bytes = kWorkspaceBytes;
  return kSparseLtSuccess;
}

//===----------------------------------------------------------------------===//
// The structured matrix
//===----------------------------------------------------------------------===//

/// A row of op(A) goes along what products sum over. Of each four numbers two are kept, and their places in a byte.
struct Groups {
  Matrix matrix;
  bool isTransposed;

  int64_t rows() const { return isTransposed ? matrix.cols : matrix.rows; }
  int64_t columns() const { return isTransposed ? matrix.rows : matrix.cols; }
  int64_t at(int64_t row, int64_t column) const {
    return isTransposed ? matrix.at(column, row) : matrix.at(row, column);
  }
  /// The places of those that are no zeros; false where there are more than two.
  bool find(const uint16_t *data, int64_t row, int64_t group, int (&places)[2]) const {
    int count = 0;
    for (int i = 0; i < 4; ++i)
      if (data[at(row, group * 4 + i)] & 0x7fff) {
        if (count == 2)
          return false;
        places[count++] = i;
      }
    // Zeros stand for the rest.
    for (int i = 0; count < 2; ++i)
      if (count == 0 || places[0] != i)
        places[count++] = i;
    return true;
  }
  int64_t bytes() const { return rows() * columns() / 4 * 5; }
};

int checkStructured(const SparseLtHandle *handle, const SparseLtMatrix *object, int isA, int operation,
                    const void *dense, Groups *groups) {
  const Matrix *matrix = get<Matrix>(object);
  if (!get<Handle>(handle) || !matrix || !matrix->isStructured || !isA || !dense ||
      (operation != kSparseLtPlain && operation != kSparseLtTransposed))
    return refuse(kSparseLtInvalidValue, "a matrix that is not the structured A");
  if (reinterpret_cast<uintptr_t>(dense) % 16 != 0)
    return refuse(kSparseLtInvalidValue, "a matrix that is not aligned to 16 bytes");
  *groups = {*matrix, operation == kSparseLtTransposed};
  return emulator::inBounds(dense, matrix->bytes())
             ? int(kSparseLtSuccess)
             : refuse(kSparseLtExecutionFailed, "a matrix that reaches outside of what is allocated");
}

int enqueue(Stream stream, emulator::Work work) {
  return emulator::enqueue(stream, std::move(work)) ? int(kSparseLtExecutionFailed) : int(kSparseLtSuccess);
}

int pruneCheck(const SparseLtHandle *handle, const SparseLtMatrix *matrix, int isA, int operation, const void *dense,
               int *isWrong, Stream stream) {
  Groups groups;
  if (int status = checkStructured(handle, matrix, isA, operation, dense, &groups))
    return status;
  if (!emulator::inBounds(isWrong, sizeof(int)))
    return refuse(kSparseLtInvalidValue, "an answer that does not lie on the device");
  return enqueue(stream, [=] {
    int places[2], wrong = 0;
    for (int64_t row = 0; row < groups.rows(); ++row)
      for (int64_t group = 0; group < groups.columns() / 4; ++group)
        wrong |= !groups.find(static_cast<const uint16_t *>(dense), row, group, places);
    *isWrong = wrong;
    return int(kDriverSuccess);
  });
}

int compressedSize(const SparseLtHandle *handle, const SparseLtMatrix *object, size_t *bytes, size_t *bufferBytes) {
  const Matrix *matrix = get<Matrix>(object);
  if (!get<Handle>(handle) || !matrix || !matrix->isStructured || !bytes || !bufferBytes)
    return refuse(kSparseLtInvalidValue, "the size of a matrix that is not structured");
  *bytes = static_cast<size_t>(Groups{*matrix, false}.bytes());
  *bufferBytes = kWorkspaceBytes;
  return kSparseLtSuccess;
}

int compress(const SparseLtHandle *handle, const SparseLtMatrix *matrix, int isA, int operation, const void *dense,
             void *compressed, void *buffer, Stream stream) {
  Groups groups;
  if (int status = checkStructured(handle, matrix, isA, operation, dense, &groups))
    return status;
  if (reinterpret_cast<uintptr_t>(compressed) % 16 != 0 || !emulator::inBounds(compressed, groups.bytes()) ||
      !emulator::inBounds(buffer, kWorkspaceBytes))
    return refuse(kSparseLtInvalidValue, "memory for the compressed matrix that is not aligned or not allocated");
  return enqueue(stream, [=] {
    auto *data = static_cast<const uint16_t *>(dense);
    auto *values = static_cast<uint16_t *>(compressed);
    auto *bytes = static_cast<unsigned char *>(compressed) + groups.rows() * groups.columns();
    for (int64_t row = 0; row < groups.rows(); ++row)
      for (int64_t group = 0; group < groups.columns() / 4; ++group) {
        int places[2] = {0, 1};
        groups.find(data, row, group, places);
        for (int place : places)
          *values++ = data[groups.at(row, group * 4 + place)];
        *bytes++ = static_cast<unsigned char>(places[0] | places[1] << 2);
      }
    return int(kDriverSuccess);
  });
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

float valueOf(int type, uint16_t bits) {
  return type == kBlasF16 ? runtime::halfValue(bits) : runtime::bfloatValue(bits);
}

/// Addresses and descriptions, as they were when the product was put into the stream.
struct Work {
  Groups a;
  Matrix b, c, d;
  bool transposesB = false;
  float alpha = 1, beta = 0;
  const void *compressed = nullptr;
  const uint16_t *right = nullptr, *added = nullptr;
  uint16_t *out = nullptr;

  void compute() const {
    int64_t k = a.columns();
    std::vector<float> row(static_cast<size_t>(k)), column(static_cast<size_t>(k));
    auto *values = static_cast<const uint16_t *>(compressed);
    auto *places = static_cast<const unsigned char *>(compressed) + a.rows() * k;
    for (int64_t i = 0; i < a.rows(); ++i) {
      std::fill(row.begin(), row.end(), 0.0f);
      for (int64_t group = 0; group < k / 4; ++group, values += 2, ++places) {
        row[static_cast<size_t>(group * 4 + (*places & 3))] = valueOf(a.matrix.type, values[0]);
        row[static_cast<size_t>(group * 4 + (*places >> 2 & 3))] = valueOf(a.matrix.type, values[1]);
      }
      for (int64_t j = 0; j < d.cols; ++j) {
        float sum = 0;
        for (int64_t l = 0; l < k; ++l)
          if (row[static_cast<size_t>(l)] != 0)
            sum += row[static_cast<size_t>(l)] * valueOf(b.type, right[transposesB ? b.at(j, l) : b.at(l, j)]);
        float value = alpha * sum;
        if (beta != 0) // C is not read else
          value += beta * valueOf(c.type, added[c.at(i, j)]);
        out[d.at(i, j)] = d.type == kBlasF16 ? runtime::toHalf(value) : runtime::toBfloat(value);
      }
    }
  }
};

int matmul(const SparseLtHandle *handle, const SparseLtPlan *object, const void *alpha, const void *a, const void *b,
           const void *beta, const void *c, void *d, void *memory, Stream *streams, int32_t count) {
  const Plan *plan = get<Plan>(object);
  const Product *product = plan ? get<Product>(plan->product) : nullptr;
  const Matrix *matrices[4] = {};
  if (product) {
    const SparseLtMatrix *objects[] = {product->a, product->b, product->c, product->d};
    for (int i = 0; i < 4; ++i)
      matrices[i] = get<Matrix>(objects[i]);
  }
  if (!get<Handle>(handle) || std::count(matrices, matrices + 4, nullptr) > 0)
    return refuse(kSparseLtInvalidValue, "a plan, or what it was made of, is gone");
  if (!alpha || !beta || !a || !b || !c || !d || !streams || count != 1)
    return refuse(kSparseLtInvalidValue, "an argument is missing");
  Work work;
  work.a = {*matrices[0], product->operationA == kSparseLtTransposed};
  work.b = *matrices[1], work.c = *matrices[2], work.d = *matrices[3];
  work.transposesB = product->operationB == kSparseLtTransposed;
  work.alpha = *static_cast<const float *>(alpha), work.beta = *static_cast<const float *>(beta);
  work.compressed = a;
  work.right = static_cast<const uint16_t *>(b), work.added = static_cast<const uint16_t *>(c);
  work.out = static_cast<uint16_t *>(d);
  const void *addresses[] = {a, b, c, d};
  for (int i = 0; i < 4; ++i) {
    if (reinterpret_cast<uintptr_t>(addresses[i]) % 16 != 0)
      return refuse(kSparseLtInvalidValue, join("operand ", i, " is not aligned to 16 bytes"));
    if (!emulator::inBounds(addresses[i], i == 0 ? work.a.bytes() : matrices[i]->bytes()))
      return refuse(kSparseLtExecutionFailed, join("operand ", i, " reaches outside of what is allocated"));
  }
  if (!emulator::inBounds(memory, kWorkspaceBytes))
    return refuse(kSparseLtInvalidValue, "a workspace that is not allocated");
  // Objects may be gone before the stream comes here.
  return enqueue(*streams, [work, config = static_cast<size_t>(plan->config)] {
    emulator::countSparseProduct(config);
    work.compute();
    return int(kDriverSuccess);
  });
}

/// As the real one names them, with what the emulator found.
const char *statusText(int status) {
  thread_local std::string text;
  text = status == kSparseLtInvalidValue      ? "CUSPARSE_STATUS_INVALID_VALUE"
         : status == kSparseLtArchMismatch    ? "CUSPARSE_STATUS_ARCH_MISMATCH"
         : status == kSparseLtNotSupported    ? "CUSPARSE_STATUS_NOT_SUPPORTED"
         : status == kSparseLtExecutionFailed ? "CUSPARSE_STATUS_EXECUTION_FAILED"
                                              : "CUSPARSE_STATUS_INTERNAL_ERROR";
  if (std::string why = emulator::takeExplanation(); !why.empty())
    text += ": " + why;
  return text.c_str();
}

} // namespace

runtime::Status cuda::emulatorSparseLt(SparseLtApi *api) {
  if (!emulatorSettings().hasSparseLt)
    return failure(LATHE_UNSUPPORTED_DEVICE, "'libcusparseLt.so.0' can't be opened");
#define LATHE_CUDA_FILL(member, symbol, parameters) api->member = ::member;
  LATHE_CUDA_SPARSELT(LATHE_CUDA_FILL, LATHE_CUDA_FILL)
#undef LATHE_CUDA_FILL
  api->statusText = statusText;
  return runtime::success();
}

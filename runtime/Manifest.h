//===- Manifest.h - Description of an artifact's content --------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_MANIFEST_H
#define LATHE_RUNTIME_MANIFEST_H

#include "runtime/CacheLayout.h"
#include "runtime/DataType.h"
#include "runtime/PackedLayout.h"
#include "runtime/QuantizedLayout.h"
#include "runtime/SparseLayout.h"
#include "runtime/Status.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lathe::runtime {

struct Symbol {
  std::string name;
  int64_t min = 0;
  int64_t max = INT64_MAX;
  /// The input that gives the value, by a dimension, or by an element (row-major) where that is not negative.
  size_t input = 0;
  size_t dimension = 0;
  int64_t element = -1;
  std::string inputName; ///< of an element
  bool computed = false; ///< the run gives the value
};

struct Dimension {
  std::string text;   ///< number, symbol or expression
  int64_t value = -1; ///< -1 when it is not a number
  int symbol = -1;    ///< index, when it is a symbol alone
};

struct Tensor {
  std::string name;
  const DataType *type = nullptr;
  std::vector<Dimension> dims;
  int64_t below = 0; ///< not 0: rows of the smallest table that the values of an input look up
  /// For the C interface.
  std::vector<int64_t> dimValues;
  std::vector<const char *> dimTexts;
};

struct Constant {
  std::string name;
  const DataType *type = nullptr;
  std::vector<int64_t> dims;
  uint64_t offset = 0; ///< in the section of constants
  uint64_t size = 0;
  std::optional<PackedLayout> packed;
  std::optional<QuantizedLayout> quantized; ///< instead of that
  std::optional<SparseLayout> sparse;       ///< instead of either
  /// Bit i: of each four neighbours along axis i of a matrix at most two are no zeros, as the compiler found.
  unsigned halfZeros = 0;
};

struct Code {
  std::string isa;
  std::string section;
  uint64_t plan = 0; ///< entry points, from the start of the image
  uint64_t run = 0;
};

/// An output of a node of the model that a kernel computes.
struct KernelResult {
  std::string value, node;
  const DataType *type = nullptr;
  bool isLaunched = false;   ///< generated code computes it: its buffer is an argument of the launch
  int64_t argument = 0;      ///< where the buffer's description begins in the arguments, in bytes
  int64_t rank = 0;          ///< of the buffer, which may have fewer axes than the value

  static constexpr int64_t kMaxArgument = 1 << 16;
};

/// What a generated kernel for a device computes, where that has a name: a device may compute it on the way of another
/// kernel instead.
struct Computation {
  enum class Operation {
    rmsNorm,    ///< of rows of `columns` numbers: x, scale, nothing; out
    layerNorm,  ///< likewise: x, scale, bias; out
    rotateHalf, ///< x, whose axes `order` permutes, cosine, sine; out [b, h, n, columns]: x * cosine + turned(x) * sine, where
                ///< turned(x) is the second half of the columns, negated, before the first
  };
  Operation operation = Operation::rmsNorm;
  /// Where the descriptions of three buffers of f32, and of the result's, begin in the arguments of a launch, in bytes; -1: none.
  int64_t arguments[4] = {-1, -1, -1, -1};
  int64_t columns = 0;
  double epsilon = 0;            ///< of norms
  int64_t type = LATHE_F32;      ///< of a norm's result, which in f16 and bf16 lies within the bounds of that type
  int64_t order[4] = {0, 1, 2, 3}; ///< of rotations
};

struct Kernel {
  std::string name;
  std::string kind;
  std::vector<std::string> nodes;
  std::optional<KernelResult> result;
  std::string function; ///< of the device's code, which a launch starts; empty where the kernel is no launch
  std::optional<Computation> computes = std::nullopt;
};

struct Check {
  std::string node;
  std::string message;
};

/// Rows that a program keeps for each sequence between runs.
struct Cache {
  std::string name;
  CacheLayout layout;
  bool appended = false; ///< runs put new rows behind; else they are given once
};

/// What kernels of programs for a device are, in one of the forms that devices take.
struct DeviceCode {
  enum class Kind {
    ptx,       ///< text that the driver compiles
    cubin,     ///< code of one architecture
    emulation, ///< a code image of the host's processor, for the emulator of the device
  };
  std::string device;
  Kind kind = Kind::ptx;
  std::string arch;    ///< such as "sm_80": what a cubin is for, the least that PTX needs; empty for emulation
  std::string isa;     ///< of emulation
  std::string section;
  std::vector<std::pair<std::string, uint64_t>> kernels; ///< of emulation: functions, and where they begin in the image
};

/// A file that travels with the model.
struct Document {
  std::string name;   ///< what it is for, such as "tokenizer"
  std::string format; ///< how it is written, such as "tokenizer.json"
  std::string section;
};

/// What a session runs: one of the entry points into the model, over the constants that all of them share.
struct Program {
  std::string name;
  std::string device = "cpu";
  std::vector<Symbol> symbols; ///< those of dimensions, then those of elements and computed ones
  size_t dimensionSymbols = 0;     ///< how many are dimensions
  bool dependsOnElements = false;  ///< shapes follow from what inputs hold, too
  std::vector<Tensor> inputs;
  std::vector<Tensor> outputs;
  std::vector<Code> code; ///< one for each instruction set, the same of every program
  std::vector<Kernel> kernels;
  std::vector<Check> checks;
  std::vector<Cache> caches;
};

/// docs/artifact.md, read and checked. Whatever it says about offsets, sizes and indices holds within itself; what
/// depends on the sections is checked by the artifact.
struct Manifest {
  std::vector<std::string> devices;
  std::vector<Constant> constants;
  std::vector<Program> programs; ///< `main` is the first
  std::vector<Document> documents;
  std::vector<DeviceCode> deviceCode;

  static constexpr size_t kMaxRank = 64;
  static constexpr const char *kMainProgram = "main";

  const Program &main() const { return programs.front(); }
  /// Gives the place of the program called `name` in *index; NOT_FOUND, with the names that there are, if there is none.
  Status findProgram(std::string_view name, size_t *index) const;

  /// Likewise of the document called `name`.
  Status findDocument(std::string_view name, size_t *index) const;

  /// Leaves the programs of a device alone; INVALID_ARTIFACT if `main` is not the first of them.
  Status select(std::string_view device);

  /// Parses `text`, in which nothing is trusted.
  static Status parse(std::string_view text, Manifest *manifest);
};

} // namespace lathe::runtime

#endif // LATHE_RUNTIME_MANIFEST_H

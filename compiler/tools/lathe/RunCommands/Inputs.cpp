//===- Inputs.cpp - What models are measured with ---------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#include "compiler/tools/lathe/RunCommands/Inputs.h"
#include "compiler/tools/lathe/RunCommands/DimExpression.h"
#include "compiler/tools/lathe/RunCommands/ManifestJson.h"
#include "compiler/tools/lathe/RunCommands/Support.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstring>
#include <random>

using namespace lathe;
using namespace lathe::tool;

namespace {

Dims parseDims(const Module &module, const InputOptions &options) {
  Dims dims;
  std::string names;
  for (const SymbolInfo &symbol : module.symbols()) {
    // What is not said is one, or as near as the model allows.
    dims[symbol.name] = std::clamp<int64_t>(1, symbol.min, symbol.max);
    names += (names.empty() ? "'" : ", '") + symbol.name + "'";
  }
  for (const std::string &text : options.dims) {
    size_t split = text.rfind('=');
    int64_t value = -1;
    if (split != std::string::npos && split > 0)
      value = evaluateDim(text.substr(split + 1), {}).value_or(-1);
    if (value < 0)
      throw CommandError(kUsage, "--dim '" + text + "' must have the form name=number");
    std::string name = text.substr(0, split);
    if (!dims.count(name))
      throw CommandError(kUsage,
                         "the model has no dimension '" + name + "'; it has: " + (names.empty() ? "none" : names));
    dims[name] = value;
  }
  return dims;
}

/// Numbers that say nothing about the model: ones for integers and booleans, for they may be masks or indices, any below `below`
/// for integers that are known to be indices of so many rows, and a normal distribution for floating point. The same at every call.
void fill(Tensor &tensor, int64_t count, int64_t below) {
  std::mt19937 random(42);
  std::uniform_int_distribution<int64_t> row(0, std::max<int64_t>(below, 1) - 1);
  std::normal_distribution<float> normal;
  auto put = [&](auto value, int64_t i) {
    memcpy(tensor.bytes.data() + static_cast<size_t>(i) * sizeof(value), &value, sizeof(value));
  };
  for (int64_t i = 0; i < count; ++i)
    switch (tensor.dtype) {
    case LATHE_F32:
      put(normal(random), i);
      break;
    case LATHE_F64:
      put(static_cast<double>(normal(random)), i);
      break;
    case LATHE_F16:
      // Half precision of numbers between 0.5 and 1: random mantissas.
      put(static_cast<uint16_t>(0x3800 | (random() & 0x83ff)), i);
      break;
    case LATHE_BF16: {
      float value = normal(random);
      uint32_t bits;
      memcpy(&bits, &value, sizeof(bits));
      put(static_cast<uint16_t>(bits >> 16), i);
      break;
    }
    case LATHE_F8E4M3:
    case LATHE_F8E4M3FN:
    case LATHE_F8E4M3FNUZ:
    case LATHE_F8E5M2:
    case LATHE_F8E5M2FNUZ:
      // Numbers from 1/4 to 2, of either sign: neither format has NaN there.
      put(static_cast<uint8_t>(0x38 | (random() & 0x87)), i);
      break;
    case LATHE_I16:
    case LATHE_U16:
      put(uint16_t(1), i);
      break;
    case LATHE_I32:
    case LATHE_U32:
      put(below ? static_cast<uint32_t>(row(random)) : uint32_t(1), i);
      break;
    case LATHE_I64:
    case LATHE_U64:
      put(below ? static_cast<uint64_t>(row(random)) : uint64_t(1), i);
      break;
    case LATHE_I8:
    case LATHE_U8:
    case LATHE_BOOL:
    case LATHE_I4:
    case LATHE_U4:
    case LATHE_I2:
    case LATHE_U2:
      put(uint8_t(1), i);
      break;
    }
}

/// Of inputs whose values are indices of a table, how many rows that has, as the manifest tells. Not of inputs whose elements shapes
/// depend on: these would become as large.
std::map<std::string, int64_t> rowsOfInputs(const nlohmann::ordered_json &manifest) {
  std::map<std::string, int64_t> result;
  for (const nlohmann::ordered_json &input : member(manifest, "inputs"))
    if (nlohmann::ordered_json below = member(input, "below"); below.is_number_integer())
      result[member(input, "name").get<std::string>()] = below.get<int64_t>();
  for (const nlohmann::ordered_json &symbol : member(manifest, "symbols"))
    if (nlohmann::ordered_json input = member(symbol, "input"); input.is_string())
      result.erase(input.get<std::string>());
  return result;
}

std::vector<Tensor> makeInputs(const Module &module, const Dims &dims) {
  std::vector<Tensor> tensors;
  std::map<std::string, int64_t> below = rowsOfInputs(manifestOf(module));
  for (const TensorInfo &info : module.inputs()) {
    Tensor tensor;
    tensor.name = info.name;
    tensor.dtype = info.dtype;
    int64_t bytes = static_cast<int64_t>(lathe_dtype_size(info.dtype));
    for (size_t d = 0; d < info.dims.size(); ++d) {
      int64_t dim = info.dims[d];
      if (dim < 0) {
        std::optional<int64_t> value = evaluateDim(info.dimTexts[d], dims);
        if (!value || *value < 0)
          throw CommandError(kUsage, "cannot tell dimension " + std::to_string(d) + " ('" + info.dimTexts[d] +
                                         "') of input '" + info.name + "'; give the inputs by --inputs");
        dim = *value;
      }
      tensor.dims.push_back(dim);
      if (__builtin_mul_overflow(bytes, dim, &bytes) || bytes > int64_t(1) << 40)
        throw CommandError(kUsage, "input '" + info.name + "' with shape " + shapeText(tensor.dims) + " is too large");
    }
    tensor.bytes.resize(static_cast<size_t>(bytes));
    fill(tensor, tensor.elements(), below[info.name]);
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

/// Symbols as given inputs say them.
Dims readDims(const Module &module, const std::vector<Tensor> &tensors) {
  Dims dims;
  std::vector<SymbolInfo> symbols = module.symbols();
  for (const TensorInfo &info : module.inputs())
    for (const Tensor &tensor : tensors)
      for (size_t d = 0; tensor.name == info.name && d < std::min(info.dims.size(), tensor.dims.size()); ++d)
        for (const SymbolInfo &symbol : symbols)
          if (symbol.name == info.dimTexts[d])
            dims.emplace(symbol.name, tensor.dims[d]);
  return dims;
}

/// Bytes that a run reads of a constant: of a table that is only looked up, `rows` at most, of which each counts `leastOfRow` at least.
uint64_t bytesOf(const nlohmann::ordered_json &constant, const nlohmann::ordered_json &rows, const Dims &dims, uint64_t leastOfRow) {
  auto size = member(constant, "size").get<uint64_t>();
  nlohmann::ordered_json shape = member(constant, "shape");
  std::optional<int64_t> read = rows.is_string() ? evaluateDim(rows.get<std::string>(), dims) : std::nullopt;
  if (read && *read >= 0 && !shape.empty() && shape.front().is_number_unsigned() && shape.front() != 0) {
    uint64_t row = std::max(size / shape.front().get<uint64_t>(), leastOfRow), bytes = 0;
    if (!__builtin_mul_overflow(row, static_cast<uint64_t>(*read), &bytes))
      size = std::min(size, bytes);
  }
  return size;
}

} // namespace

uint64_t tool::bytesRead(const Module &module, const Dims &dims, uint64_t leastOfRow) {
  uint64_t sum = 0;
  for (const nlohmann::ordered_json &constant : member(manifestOf(module), "constants"))
    if (member(constant, "program").is_null()) // else of another program than the model's
      sum += bytesOf(constant, member(constant, "rows"), dims, leastOfRow);
  return sum;
}

uint64_t tool::bytesReadBy(const Module &module, const std::string &program, const Dims &dims) {
  nlohmann::ordered_json manifest = manifestOf(module), constants = member(manifest, "constants");
  uint64_t sum = 0;
  for (const nlohmann::ordered_json &other : member(manifest, "programs"))
    if (member(other, "name") == program)
      for (const nlohmann::ordered_json &read : member(other, "reads"))
        if (nlohmann::ordered_json index = member(read, "constant"); index.is_number_unsigned() && index < constants.size())
          sum += bytesOf(constants[index.get<size_t>()], member(read, "rows"), dims, 0);
  return sum;
}

void tool::addMeasureOptions(CLI::App &command, MeasureOptions &options) {
  command.add_option("artifact", options.artifact, "Compiled model (.lathe)");
  command.add_option("--dim", options.inputs.dims, "Value of a symbolic dimension: name=number (repeatable; default 1)")
      ->take_all();
  command.add_option("--inputs", options.inputs.file, "Inputs by name (.npz), instead of made-up ones");
  command.add_option("--device", options.device, "Device to run on: cpu, cuda, cuda-emulator, or auto for the best that works (default: the artifact's first)");
  command.add_flag("--tf32", options.tf32, "On GPUs products of f32 may round their operands to TF32: 10 bits behind the first");
  command.add_option("--threads", options.threads, "Threads (default: every processor)")->check(CLI::Range(0, 1024));
  command.add_option("--warmup", options.warmup, "Runs before measuring (3)")->check(CLI::Range(1, 1000000));
  command.add_option("--iterations", options.iterations, "Runs to measure (20)")->check(CLI::Range(1, 10000000));
  command.add_flag("--json", options.json, "Print one JSON object");
}

std::vector<Tensor> tool::readNamedTensors(const std::string &npz, const std::vector<std::string> &named) {
  std::vector<Tensor> tensors;
  if (!npz.empty())
    tensors = readNpz(npz);
  for (const std::string &text : named) {
    size_t split = text.find("=@");
    if (split == std::string::npos || split == 0)
      throw CommandError(kUsage, "--input '" + text + "' must have the form name=@file.npy");
    Tensor tensor = readNpy(text.substr(split + 2));
    tensor.name = text.substr(0, split);
    for (const Tensor &other : tensors)
      if (other.name == tensor.name)
        throw CommandError(kUsage, "input '" + tensor.name + "' is given twice");
    tensors.push_back(std::move(tensor));
  }
  return tensors;
}

ChosenInputs tool::chooseInputs(const Module &module, const InputOptions &options) {
  if (!options.file.empty() && !options.dims.empty())
    throw CommandError(kUsage, "--dim and --inputs exclude each other");
  ChosenInputs result;
  if (!options.file.empty()) {
    result.tensors = readNpz(options.file);
    result.dims = readDims(module, result.tensors);
  } else {
    result.dims = parseDims(module, options);
    result.tensors = makeInputs(module, result.dims);
  }
  return result;
}

//===- main.cpp - Runs a compiled model from C++ ----------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//
// Usage: cpp_embed model.lathe [symbol=value ...]
//
// Prints the inputs of a model, runs it with the given values of its symbolic dimensions (default 1) and every element
// set to 1, and prints the shapes of the outputs with the sum of their elements.
//
//===----------------------------------------------------------------------===//
#include <lathe/lathe.hpp>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

namespace {

std::string text(const std::vector<std::string> &dims) {
  std::string result = "[";
  for (size_t i = 0; i < dims.size(); ++i)
    result += (i ? ", " : "") + dims[i];
  return result + "]";
}

/// A tensor of ones of any type.
std::vector<char> ones(lathe_dtype dtype, size_t count) {
  float f32 = 1;
  double f64 = 1;
  uint16_t f16 = 0x3c00, bf16 = 0x3f80;
  int64_t integer = 1; // little endian: its first bytes are a smaller 1
  const void *one = &integer;
  if (dtype == LATHE_F32)
    one = &f32;
  else if (dtype == LATHE_F64)
    one = &f64;
  else if (dtype == LATHE_F16)
    one = &f16;
  else if (dtype == LATHE_BF16)
    one = &bf16;
  size_t size = lathe_dtype_size(dtype);
  std::vector<char> data(count * size);
  for (size_t i = 0; i < count; ++i)
    std::memcpy(data.data() + i * size, one, size);
  return data;
}

void run(const std::string &path, std::map<std::string, int64_t> dims) {
  lathe::Module module(path);
  lathe::Session session(module);
  std::vector<lathe::TensorInfo> inputs = module.inputs();
  std::vector<std::vector<char>> data;
  for (size_t i = 0; i < inputs.size(); ++i) {
    std::printf("input %s %s %s\n", inputs[i].name.c_str(), lathe_dtype_name(inputs[i].dtype),
                text(inputs[i].dimTexts).c_str());
    std::vector<int64_t> shape = inputs[i].dims;
    size_t count = 1;
    for (size_t d = 0; d < shape.size(); ++d) {
      if (shape[d] < 0)
        shape[d] = dims.emplace(inputs[i].dimTexts[d], 1).first->second;
      count *= static_cast<size_t>(shape[d]);
    }
    data.push_back(ones(inputs[i].dtype, count));
    session.setInput(i, inputs[i].dtype, shape, data.back().data());
  }
  session.run();
  std::vector<lathe::TensorInfo> outputs = module.outputs();
  for (size_t i = 0; i < outputs.size(); ++i) {
    lathe::Output output = session.output(i);
    std::vector<std::string> shape;
    for (int64_t dim : output.dims)
      shape.push_back(std::to_string(dim));
    double sum = 0;
    if (output.dtype == LATHE_F32)
      for (size_t j = 0; j < output.size / sizeof(float); ++j)
        sum += output.as<float>()[j];
    std::printf("output %s %s %s checksum %g\n", outputs[i].name.c_str(), lathe_dtype_name(output.dtype),
                text(shape).c_str(), sum);
  }
}

} // namespace

int main(int argc, char **argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: cpp_embed model.lathe [symbol=value ...]\n");
    return 2;
  }
  std::map<std::string, int64_t> dims;
  for (int i = 2; i < argc; ++i) {
    std::string argument = argv[i];
    size_t split = argument.rfind('=');
    if (split == std::string::npos) {
      std::fprintf(stderr, "expected symbol=value, got '%s'\n", argv[i]);
      return 2;
    }
    dims[argument.substr(0, split)] = std::atoll(argument.c_str() + split + 1);
  }
  try {
    run(argv[1], dims);
  } catch (const lathe::Error &error) {
    std::fprintf(stderr, "%s: %s\n", lathe_status_string(error.status()), error.what());
    return 1;
  }
  return 0;
}

//===- TensorFiles.h - Tensors in .npy and .npz files -----------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_TENSORFILES_H
#define LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_TENSORFILES_H

#include "runtime/include/lathe/lathe.h"

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace lathe::tool {

/// A file that cannot be read, understood or written.
class FileError : public std::runtime_error {
public:
  FileError(const std::string &message, bool writing = false) : std::runtime_error(message), writing_(writing) {}
  bool writing() const { return writing_; }

private:
  bool writing_;
};

/// A dense row-major tensor under its ONNX name.
struct Tensor {
  std::string name;
  lathe_dtype dtype = LATHE_F32;
  std::vector<int64_t> dims;
  std::vector<unsigned char> bytes; ///< the allocator aligns them for every element type

  const void *data() const { return bytes.data(); }
  int64_t elements() const;
};

/// Element `index` as a double; bool is 0 or 1.
double element(const Tensor &tensor, int64_t index);

/// Reads the content of a .npy file. `where` names it in errors. Takes format versions 1 to 3, either byte order, C and
/// Fortran order (converted); throws FileError for anything else.
Tensor parseNpy(const unsigned char *data, size_t size, const std::string &where);

/// What a tensor of type `inFile` that was read from a file is where `expected` is wanted: bytes stand for the values of
/// types that NumPy lacks.
lathe_dtype fileType(lathe_dtype inFile, lathe_dtype expected);

/// The content of a .npy file (version 1.0). bf16 has no NumPy type and is written as raw two-byte items ("<V2"),
/// 8-bit floats and integers below 8 bits are written as bytes ("|u1", "|i1").
std::vector<unsigned char> formatNpy(const Tensor &tensor);

/// Reads a .npy file; the tensor has no name.
Tensor readNpy(const std::string &path);

/// Reads every member of a .npz file.
std::vector<Tensor> readNpz(const std::string &path);

/// The content of a regular file. Throws FileError.
std::vector<unsigned char> readWhole(const std::string &path);

/// Writes a file beside `path` and renames it when it is complete. Throws FileError.
void writeText(const std::string &path, const std::string &text);

/// The same for a .npz file.
void writeNpz(const std::string &path, const std::vector<Tensor> &tensors);

} // namespace lathe::tool

#endif // LATHE_COMPILER_TOOLS_LATHE_RUNCOMMANDS_TENSORFILES_H

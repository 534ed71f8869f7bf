//===- Safetensors.h - A mapped file of tensors -----------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_FRONTENDS_SAFETENSORS_SAFETENSORS_H
#define LATHE_FRONTENDS_SAFETENSORS_SAFETENSORS_H

#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/MemoryBuffer.h"
#include <cstdint>
#include <map>
#include <memory>
#include <string>

namespace lathe::safetensors {

/// A tensor of a file: row-major, little-endian.
struct Tensor {
  std::string dtype; ///< one of dtypeBytes()
  llvm::SmallVector<int64_t> shape;
  uint64_t offset = 0; ///< of its bytes in the file
  uint64_t bytes = 0;
  uint32_t file = 0; ///< of a checkpoint of several

  int64_t rank() const { return static_cast<int64_t>(shape.size()); }
  int64_t elements() const;
  /// Such as "I32 [64, 8]".
  std::string type() const;
};

using Tensors = std::map<std::string, Tensor>;

/// Bytes of an element of a type by its name in the format, such as "BF16"; 0 for a name that is none.
int64_t dtypeBytes(llvm::StringRef name);

/// Reads the header of a file of these bytes: eight bytes that say how long it is, JSON, then the tensors without gaps.
/// Returns what is wrong, naming the tensor, or an empty string; then all bytes of all tensors lie in the file.
std::string readTensors(llvm::StringRef bytes, Tensors &tensors);

struct File {
  std::string path;
  std::unique_ptr<llvm::MemoryBuffer> buffer; ///< mapped

  llvm::StringRef bytes(const Tensor &tensor) const { return buffer->getBuffer().substr(tensor.offset, tensor.bytes); }
};

} // namespace lathe::safetensors

#endif // LATHE_FRONTENDS_SAFETENSORS_SAFETENSORS_H

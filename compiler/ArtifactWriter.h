//===- ArtifactWriter.h - Writer of .lathe files ----------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_ARTIFACTWRITER_H
#define LATHE_COMPILER_ARTIFACTWRITER_H

#include "runtime/ArtifactFormat.h"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace lathe::artifact {

/// Takes the bytes of a constant, in order.
class Sink {
public:
  virtual ~Sink() = default;
  /// False when the bytes could not be written; the writer reports why.
  virtual bool write(const void *data, size_t size) = 0;
};

/// The content of a section between the manifest and the constants.
struct SectionSource {
  std::string name; ///< such as "code.avx2"; at most 31 bytes
  const void *data = nullptr;
  size_t size = 0;
  SectionKind kind = SectionKind::code;
};

/// The content of a constant: bytes in memory, or a function that produces them when they are written, so that large
/// constants never lie in memory together.
struct ConstantSource {
  uint64_t size = 0;
  const void *data = nullptr;
  /// Used when `data` is NULL. Writes exactly `size` bytes; returns false, with *error set unless the sink refused.
  std::function<bool(Sink &sink, std::string *error)> produce;
};

/// Told the bytes written so far and those of the whole file, now and then; false stops the writing.
using WriteProgress = std::function<bool(uint64_t written, uint64_t total)>;

/// Writes an artifact. Entry i of manifest["constants"] describes constants[i]; its "offset" and "size" are set here.
/// The file is written beside `path` and renamed when it is complete: on failure `path` is as it was, nothing else is
/// left behind, and *error says why. The same input gives the same bytes.
bool writeArtifact(const std::string &path, nlohmann::ordered_json manifest, const std::vector<SectionSource> &sections,
                   const std::vector<ConstantSource> &constants, std::string *error,
                   const WriteProgress &progress = {});

} // namespace lathe::artifact

#endif // LATHE_COMPILER_ARTIFACTWRITER_H

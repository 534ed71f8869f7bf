//===- ArtifactFormat.h - Layout of a .lathe file ---------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// File: header, section table, padding to a page, then sections, each page-aligned and padded to a page with zeros. Little endian. Writer:
// compiler/ArtifactWriter; reader: runtime/Artifact. The manifest's schema is in docs/artifact.md.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_RUNTIME_ARTIFACTFORMAT_H
#define LATHE_RUNTIME_ARTIFACTFORMAT_H

#include <cstdint>

namespace lathe::artifact {

/// First bytes of every artifact; the line ending in it detects text-mode transfers.
inline constexpr char kMagic[8] = {'\x89', 'L', 'A', 'T', 'H', 'E', '\r', '\n'};
inline constexpr uint32_t kFormatVersion = 1;
/// Sections start at multiples of this and are padded to it.
inline constexpr uint64_t kPageSize = 4096;
/// Constants start at multiples of this inside their section.
inline constexpr uint64_t kConstantAlignment = 64;
inline constexpr uint32_t kMaxSections = 64;
/// Each has a section of code for each instruction set.
inline constexpr uint32_t kMaxPrograms = 16;
/// Each has a section.
inline constexpr uint32_t kMaxDocuments = 16;

enum class SectionKind : uint32_t {
  manifest = 1,  ///< JSON, UTF-8
  code = 2,      ///< code image (runtime/Abi.h); the manifest says for which instruction set
  constants = 3, ///< concatenated constants
  document = 4,  ///< a file that travels with the model, and a zero; the manifest says which
  device = 5,    ///< code that a device's driver loads; the manifest says which
};

/// XXH3 128-bit, canonical (big-endian) representation.
struct Hash128 {
  uint8_t bytes[16];
};

struct SectionEntry {
  SectionKind kind;
  uint32_t reserved;
  char name[32];        ///< NUL-padded, e.g. "code.avx512"
  uint64_t offset;      ///< from the start of the file, a multiple of kPageSize
  uint64_t size;        ///< payload bytes
  uint64_t padded_size; ///< size rounded up to kPageSize
  Hash128 hash;         ///< of the padded payload
};
static_assert(sizeof(SectionEntry) == 80);

struct Header {
  char magic[8];
  uint32_t format_version;
  uint32_t section_count;
  uint64_t file_size;  ///< of the whole file; sections are contiguous and end here
  uint64_t table_size; ///< bytes from the start of the file to the first section (a multiple of kPageSize)
  Hash128 hash;        ///< of bytes [0, table_size) with this field zero
  uint64_t reserved[2];
};
static_assert(sizeof(Header) == 64);

} // namespace lathe::artifact

#endif // LATHE_RUNTIME_ARTIFACTFORMAT_H

//===- CompressionJson.h - The report of compression as JSON ----*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_COMPILER_COMPRESSIONJSON_H
#define LATHE_COMPILER_COMPRESSIONJSON_H

#include "compiler/CompressionReport.h"
#include <nlohmann/json.hpp>

namespace lathe {

/// What `--report` tells of compression (docs/compression.md).
nlohmann::ordered_json reportJson(const CompressionReport &compression);

/// A weight that an artifact has in codes or without zeros, for its report: an entry of a manifest's table of constants, of `bytes`. `imported`
/// where the model had it so, and no step made it. Null for other constants.
nlohmann::ordered_json storedJson(const nlohmann::ordered_json &constant, uint64_t bytes, const CompressionReport &compression);

} // namespace lathe

#endif // LATHE_COMPILER_COMPRESSIONJSON_H

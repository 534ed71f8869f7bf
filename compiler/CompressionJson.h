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

} // namespace lathe

#endif // LATHE_COMPILER_COMPRESSIONJSON_H

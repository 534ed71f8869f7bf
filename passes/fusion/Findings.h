//===- Findings.h - What fused, and what nearly did -------------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_PASSES_FUSION_FINDINGS_H
#define LATHE_PASSES_FUSION_FINDINGS_H

#include <string>
#include <vector>

namespace lathe::fusion {

/// What `lathe explain --fusions` tells of a model. Sees no MLIR: the tool that prints it has none.
struct Findings {
  struct Fusion {
    std::string kind;
    std::vector<std::string> nodes; ///< of the model
    bool stated = false;            ///< the model has it as an operation, nothing was to be recognised
  };
  struct NearMiss {
    std::string kind;
    std::string node;             ///< by which it was noticed
    std::string at;               ///< whose condition failed
    std::vector<std::string> met; ///< conditions that hold
    std::string failed, advice;
  };
  std::vector<Fusion> fusions;
  std::vector<NearMiss> nearMisses;
};

} // namespace lathe::fusion

#endif // LATHE_PASSES_FUSION_FINDINGS_H

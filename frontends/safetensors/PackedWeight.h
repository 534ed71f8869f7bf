//===- PackedWeight.h - Codes as GPTQ and AWQ pack them ---------*- C++ -*-===//
//
// Part of Lathe, under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
//
// A layer of a quantized checkpoint is tensors of its name: 'qweight' and 'qzeros' of i32, in which codes of 2, 3, 4 or
// 8 bits lie one behind the other, 'scales', and of GPTQ 'g_idx'. Of k inputs and n outputs they are
//
//            GPTQ (AutoGPTQ, GPTQModel)          AWQ (AutoAWQ, version gemm)
//   qweight  [k * bits / 32, n], along inputs    [k, n * bits / 32], along outputs
//   qzeros   [groups, n * bits / 32]             [groups, n * bits / 32]
//   scales   [groups, n]                         [groups, n]
//   g_idx    [k], the group of each input
//
// Of compressed-tensors ('pack-quantized', by llm-compressor) the names are 'weight_packed', 'weight_zero_point',
// 'weight_scale', 'weight_g_idx', and 'weight_shape' with n and k:
//
//   codes    [n, k * bits / 32], along inputs      zero points  [n * bits / 32, groups], along outputs, or none
//   scales   [n, groups]
//
// AWQ has eight codes of a word in the order 0, 2, 4, 6, 1, 3, 5, 7. The first format of GPTQ has zero points minus
// one, modulo 2^bits, 'gptq_v2' as they are. Sources: Frantar et al. 2022, "GPTQ"; Lin et al. 2023, "AWQ"; and what
// these programs write.
//
//===----------------------------------------------------------------------===//
#ifndef LATHE_FRONTENDS_SAFETENSORS_PACKEDWEIGHT_H
#define LATHE_FRONTENDS_SAFETENSORS_PACKEDWEIGHT_H

#include "frontends/safetensors/QuantizationConfig.h"
#include "frontends/safetensors/Safetensors.h"
#include <string>
#include <vector>

namespace lathe::safetensors {

/// The tensors of a quantized layer, of which the shapes fit, where they lie in their files.
class PackedWeight {
public:
  /// A tensor with its bytes.
  struct Part {
    const Tensor *tensor = nullptr;
    llvm::StringRef bytes;
  };
  /// Which may be left out: `groupIndex`; `shape`, by which it is compressed-tensors', and the zero points of that.
  struct Parts {
    Part codes, zeros, scales, groupIndex, shape;
  };
  /// Returns what is wrong, or an empty string.
  static std::string make(const Parts &parts, const QuantizationConfig &config, PackedWeight &weight);

  int64_t inputs() const { return k; }
  int64_t outputs() const { return n; }
  int64_t bits() const { return width; }
  int64_t groups() const { return groupCount; }
  /// Inputs of a group; the last one may have fewer.
  int64_t groupSize() const { return group; }
  const Tensor &scales() const { return *scalePart.tensor; }           ///< of F16, BF16 or F32
  bool scalesByOutput() const { return layout == Layout::Compressed; } ///< they lie as [n, groups], else as [groups, n]
  llvm::StringRef scaleBytes() const { return scalePart.bytes; }
  /// Whether inputs of a group are no neighbours (GPTQ with act-order).
  bool isReordered() const { return !order.empty(); }
  /// Where it is reordered: the inputs, those of the first group first.
  llvm::ArrayRef<int64_t> inputOrder() const { return order; }
  /// Whether all zero points are the middle of the codes: then a code less 2^(bits-1) is a signed integer.
  bool isSymmetric() const { return symmetric; }

  /// Codes, a byte each, [n][k] where `transposed`, else [k][n]; inputs in the order of groups.
  std::vector<uint8_t> codes(bool transposed) const;
  /// Zero points, a byte each, [n][groups] where `transposed`, else [groups][n].
  std::vector<uint8_t> zeros(bool transposed) const;
  /// One weight in f32, of an input as the layer has it.
  float at(int64_t input, int64_t output) const;

private:
  enum class Layout { Gptq, Awq, Compressed };
  std::string checkTypes();
  std::string checkShapes(const QuantizationConfig &config);
  std::string checkCompressed();
  std::string checkConfig(const QuantizationConfig &config);
  std::string readGroups();
  unsigned codeAt(int64_t input, int64_t output) const;
  unsigned zeroAt(int64_t g, int64_t output) const;
  float scaleAt(int64_t g, int64_t output) const;

  Part codePart, zeroPart, scalePart, groupPart, shapePart;
  int64_t k = 0, n = 0, width = 0, group = 0, groupCount = 0;
  Layout layout = Layout::Gptq;
  unsigned zeroOffset = 0; ///< what is missing from zero points as they are stored
  bool symmetric = false;
  std::vector<int32_t> groupOf; ///< of each input, where it is reordered
  std::vector<int64_t> order;
};

} // namespace lathe::safetensors

#endif // LATHE_FRONTENDS_SAFETENSORS_PACKEDWEIGHT_H
